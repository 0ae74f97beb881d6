//! Promise: threads that a training keeps, and devices that share its steps, change no bit, a gradient that
//! is told to stop on them ends, and a step without a scored token changes nothing.

use gstore_core::Cancel;
use gstore_core::parallel::with_workers;
use gstore_model::ComputePrecision;
use gstore_model::architectures::Decoder;
use gstore_model::cpu::Cpu;
use gstore_train::{Optimizer, OptimizerKind, Parameters, Sample, TrainError, Trainer, TrainerOptions};
use serde_json::json;

const THREADS: usize = 3;

/// A small model of random weights; a piece is a sample or two.
fn trainer() -> Trainer<Cpu> {
    trainer_on(1)
}

/// The same on some devices.
fn trainer_on(devices: usize) -> Trainer<Cpu> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 6,
        "vocab_size": 37, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null,
        "max_position_embeddings": 64, "tie_word_embeddings": false,
    });
    fs_err::write(&path, config.to_string()).unwrap();
    let decoder = Decoder::read(&path).unwrap();
    let parameters = Parameters::random(&decoder, 0.1, 1, Cpu::new(ComputePrecision::F32)).unwrap();
    let parameters = parameters.beside(None, vec![Cpu::new(ComputePrecision::F32); devices - 1]).unwrap();
    let kind: OptimizerKind = "sgd".parse().unwrap();
    let optimizer = Optimizer::new(kind, parameters.store().specs().len());
    let options = TrainerOptions { threads: THREADS, piece_tokens: 16, ..TrainerOptions::default() };
    Trainer::new(parameters, optimizer, options)
}

fn samples() -> Vec<Sample> {
    let sample = |seed: u32| {
        let len = 7 + seed % 9;
        let ids = (0..len).map(|i| (seed * 11 + i * i * 5) % 37).collect();
        Sample { ids, scored: (0..len).map(|i| i > 0).collect() }
    };
    (0..24).map(sample).collect()
}

/// The bits of loss and gradient.
fn gradient(trainer: &Trainer<Cpu>, samples: &[Sample], cancel: &Cancel) -> Result<Vec<u64>, TrainError> {
    let (loss, gradient) = trainer.gradient(&[samples.iter().collect()], cancel)?;
    let values = gradient.into_iter().flatten().map(|value| u64::from(value.to_bits()));
    Ok(std::iter::once(loss.to_bits()).chain(values).collect())
}

#[test]
fn workers_change_no_bit_of_a_gradient() {
    let (trainer, samples) = (trainer(), samples());
    let without = gradient(&trainer, &samples, &Cancel::new()).unwrap();
    assert!(without.iter().any(|bits| *bits != 0));
    with_workers(THREADS, || {
        for _ in 0..3 {
            assert!(gradient(&trainer, &samples, &Cancel::new()).unwrap() == without);
        }
    })
    .unwrap();
}

#[test]
fn devices_change_no_bit_of_a_training() {
    let samples = samples();
    let trained = |devices: usize| {
        let mut trainer = trainer_on(devices);
        for _ in 0..3 {
            trainer.step(&[samples.iter().collect()], 0.1, &Cancel::new()).unwrap();
        }
        let loss = trainer.evaluate(&samples, &Cancel::new()).unwrap();
        (loss.map(f64::to_bits), trainer.parameters.store().values().to_vec())
    };
    let one = trained(1);
    // Also more than there are threads, and more than there are pieces.
    for devices in [2, 5, 30] {
        assert!(trained(devices) == one, "{devices} devices");
    }
    with_workers(THREADS, || assert!(trained(2) == one)).unwrap();
}

/// Whenever the flag is raised: all threads end, with the whole gradient or told to stop.
#[test]
fn a_gradient_that_is_stopped_ends_and_another_begins() {
    let (trainer, samples) = (trainer(), samples());
    let whole = gradient(&trainer, &samples, &Cancel::new()).unwrap();
    with_workers(THREADS, || {
        for round in 0..40 {
            let cancel = Cancel::new();
            let found = std::thread::scope(|scope| {
                let raise = || {
                    (0..round * 2_000).for_each(|_| std::hint::spin_loop());
                    cancel.raise();
                };
                if round == 0 {
                    // Before the first piece.
                    raise();
                } else {
                    scope.spawn(raise);
                }
                gradient(&trainer, &samples, &cancel)
            });
            match found {
                Ok(found) => assert!(round > 0 && found == whole, "round {round}"),
                Err(error) => assert!(matches!(error, TrainError::Stopped(_)), "round {round}: {error}"),
            }
        }
        assert!(gradient(&trainer, &samples, &Cancel::new()).unwrap() == whole);
    })
    .unwrap();
}

/// A piece that fails while others wait for their turn stops them.
#[test]
fn a_piece_that_fails_ends_all() {
    let (trainer, mut samples) = (trainer(), samples());
    let whole = gradient(&trainer, &samples, &Cancel::new()).unwrap();
    let kept = std::mem::replace(&mut samples[5].ids[2], 4_000);
    with_workers(THREADS, || {
        for _ in 0..20 {
            assert!(gradient(&trainer, &samples, &Cancel::new()).is_err());
        }
        samples[5].ids[2] = kept;
        assert!(gradient(&trainer, &samples, &Cancel::new()).unwrap() == whole);
    })
    .unwrap();
}

#[test]
fn a_step_without_a_scored_token_is_refused() {
    let (mut trainer, mut samples) = (trainer(), samples());
    samples.iter_mut().for_each(|sample| sample.scored.fill(false));
    let before = trainer.parameters.store().values().to_vec();
    let refused = trainer.step(&[samples.iter().collect()], 0.1, &Cancel::new());
    assert!(matches!(refused, Err(TrainError::NothingScored { step: 1 })), "{refused:?}");
    assert!(trainer.optimizer.steps() == 0 && trainer.parameters.store().values() == before);
}

/// As transformers begins it: GPT-2's weights that add to the hidden states by the root of twice the layers
/// less.
#[test]
fn new_weights_have_the_deviation_of_their_family() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new",
        "n_embd": 64, "n_layer": 8, "n_head": 4, "n_positions": 64, "vocab_size": 200,
        "layer_norm_epsilon": 1e-5,
    });
    fs_err::write(&path, config.to_string()).unwrap();
    let decoder = Decoder::read(&path).unwrap();
    let parameters = Parameters::random(&decoder, 0.02, 1, Cpu::new(ComputePrecision::F32)).unwrap();
    for (name, expected) in [
        ("transformer.wte.weight", 0.02),
        ("transformer.h.3.attn.c_attn.weight", 0.02),
        ("transformer.h.3.attn.c_proj.weight", 0.005),
        ("transformer.h.7.mlp.c_fc.weight", 0.02),
        ("transformer.h.7.mlp.c_proj.weight", 0.005),
    ] {
        let values = parameters.store().get(name).expect(name);
        let square = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        let deviation = (square / values.len() as f64).sqrt();
        assert!((deviation / expected - 1.0).abs() < 0.05, "{name}: {deviation}");
    }
}

/// As transformers begins it, also where the head is the same tensor.
#[test]
fn the_new_row_of_padding_is_zero() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({
        "architectures": ["Olmo2ForCausalLM"], "model_type": "olmo2", "hidden_act": "silu",
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 4,
        "vocab_size": 37, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "rope_scaling": null,
        "max_position_embeddings": 64, "tie_word_embeddings": true, "pad_token_id": 3,
    });
    fs_err::write(&path, config.to_string()).unwrap();
    let decoder = Decoder::read(&path).unwrap();
    let parameters = Parameters::random(&decoder, 0.02, 1, Cpu::new(ComputePrecision::F32)).unwrap();
    let embedding = parameters.store().get("model.embed_tokens.weight").unwrap();
    let is_zero = embedding.chunks(16).map(|row| row.iter().all(|value| *value == 0.0));
    assert_eq!(is_zero.enumerate().filter(|(_, is)| *is).map(|(row, _)| row).collect::<Vec<_>>(), [3]);
}
