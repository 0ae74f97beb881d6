//! Promise: gradients are the slopes of the losses, for every kind of adapted layer; samples of a batch
//! do not touch each other.

use crate::common::tiny::{Tiny, TinyAdapter, VOCAB, noise};
use crate::common::{EVERYTHING, GRAD, Sample, raw_engine, relative_error};
use gstore_core::Cancel;
use gstore_ingest::gradient::{Engine, EngineError, RequestedOutputs};
use gstore_model::PackedSample;
use gstore_model::candle::Candle;
use gstore_model::params::total_len;
use tempfile::TempDir;

const ALL: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

fn of_noise(seed: u64, len: usize, first_scored: usize) -> Sample {
    Sample::noise(seed, len, first_scored, VOCAB)
}

fn engine(folder: &TempDir, model: &Tiny, adapter: Option<&TinyAdapter>) -> Engine {
    let adapter = adapter.map(|a| a.write(&folder.path().join("adapter")));
    raw_engine(&model.write(&folder.path().join("base")), adapter.as_deref(), Candle::cpu())
}

/// Loss, mean embedding, last embedding, gradient.
type Output = (f32, Vec<f32>, Vec<f32>, Vec<f32>);

fn run(engine: &Engine, samples: &[&Sample], want: RequestedOutputs) -> Vec<Output> {
    let batch: Vec<_> = samples.iter().map(|s| s.packed()).collect();
    let mut outputs = Vec::new();
    engine
        .run(&batch, want, &mut |i, o| {
            assert_eq!(i, outputs.len());
            outputs.push((o.loss, o.embed_mean.to_vec(), o.embed_last.to_vec(), o.grads.to_vec()));
        })
        .unwrap();
    outputs
}

/// Central differences of the loss along random directions in each trainable tensor.
fn check_slopes(model: &Tiny, adapter: &TinyAdapter) {
    let folder = TempDir::new().unwrap();
    let sample = of_noise(5, 13, 4);
    let exact = engine(&folder, model, Some(adapter));
    let grad = run(&exact, &[&sample], GRAD).remove(0).3;
    let mut offset = 0;
    for spec in exact.tensors().to_vec() {
        let grad = &grad[offset..offset + spec.numel()];
        offset += spec.numel();
        let direction = noise(offset as u64, spec.numel(), 1.0);
        let slope: f64 = grad.iter().zip(&direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let loss_at = |step: f32| {
            let mut moved = adapter.clone();
            let name = format!("base_model.model.{}", spec.name);
            let values = &mut moved.weights.get_mut(&name).unwrap().1;
            values.iter_mut().zip(&direction).for_each(|(v, d)| *v += step * d);
            f64::from(run(&engine(&folder, model, Some(&moved)), &[&sample], GRAD)[0].0)
        };
        let step = 4e-3f32;
        let found = (loss_at(step) - loss_at(-step)) / (2.0 * f64::from(step));
        let scale = slope.abs().max(grad.iter().map(|g| f64::from(g.abs())).fold(0.0, f64::max)).max(0.01);
        assert!((found - slope).abs() < 0.02 * scale, "{}: slope {found}, gradient says {slope}", spec.name);
    }
}

#[test]
fn gradients_are_slopes() {
    check_slopes(&Tiny::new(), &TinyAdapter::new(&ALL, 3));
}

#[test]
fn gradients_are_slopes_with_biases() {
    check_slopes(&Tiny::new().with_biases(), &TinyAdapter::new(&["q_proj", "v_proj", "down_proj"], 2));
}

#[test]
fn a_part_of_the_layers_gets_the_same_gradients_as_all() {
    let folder = TempDir::new().unwrap();
    let model = Tiny::new();
    let full = TinyAdapter::new(&ALL, 2);
    let sample = of_noise(9, 17, 6);
    let all = engine(&folder, &model, Some(&full));
    let all_grad = run(&all, &[&sample], GRAD).remove(0).3;
    for target in ALL {
        // The other factors move into the base, so that the model computes the same.
        let mut merged = model.clone();
        let mut only = TinyAdapter::new(&[target], 2);
        only.config = full.config.clone();
        only.config["target_modules"] = serde_json::json!([target]);
        for (name, (shape, b)) in
            full.weights.iter().filter(|(n, _)| n.ends_with("lora_B.weight") && !n.contains(target))
        {
            let (a_shape, a) = &full.weights[&name.replace("lora_B", "lora_A")];
            let weight_name = name.trim_start_matches("base_model.model.").replace("lora_B.weight", "weight");
            let weight = &mut merged.weights.get_mut(&weight_name).unwrap().1;
            for i in 0..shape[0] {
                for j in 0..a_shape[1] {
                    let sum: f32 = (0..2).map(|r| b[i * 2 + r] * a[r * a_shape[1] + j]).sum();
                    weight[i * a_shape[1] + j] += 2.0 * sum;
                }
            }
        }
        only.weights.retain(|name, _| name.contains(target));
        for (name, value) in &mut only.weights {
            value.clone_from(&full.weights[name]);
        }
        let part = engine(&folder, &merged, Some(&only));
        let found = run(&part, &[&sample], GRAD).remove(0).3;
        let mut expected = Vec::new();
        let mut offset = 0;
        for spec in all.tensors() {
            if spec.name.contains(target) {
                expected.extend_from_slice(&all_grad[offset..offset + spec.numel()]);
            }
            offset += spec.numel();
        }
        let error = relative_error(&found, &expected);
        assert!(error < 1e-5, "{target}: {error}");
    }
}

#[test]
fn samples_of_a_batch_do_not_touch_each_other() {
    let folder = TempDir::new().unwrap();
    let engine = engine(&folder, &Tiny::new(), Some(&TinyAdapter::new(&ALL, 2)));
    // Lengths around the tile sizes, one without a scored token, one with a single token.
    let samples: Vec<Sample> = [(3, 1), (1, 1), (9, 40), (31, 5), (33, 1), (64, 63), (70, 8), (2, 1)]
        .into_iter()
        .enumerate()
        .map(|(i, (len, scored))| of_noise(i as u64 + 1, len, scored))
        .collect();
    for want in [GRAD, EVERYTHING] {
        let together = run(&engine, &samples.iter().collect::<Vec<_>>(), want);
        for (sample, packed) in samples.iter().zip(&together) {
            let alone = run(&engine, &[sample], want).remove(0);
            assert!((alone.0 - packed.0).abs() < 1e-5);
            assert!(relative_error(&packed.1, &alone.1) < 1e-5);
            assert!(relative_error(&packed.2, &alone.2) < 1e-5);
            assert!(relative_error(&packed.3, &alone.3) < 1e-5);
        }
    }
}

#[test]
fn a_sample_without_scored_tokens_has_zero_loss_and_gradient() {
    let folder = TempDir::new().unwrap();
    let engine = engine(&folder, &Tiny::new(), Some(&TinyAdapter::new(&["q_proj"], 2)));
    let sample = of_noise(1, 6, 6);
    for want in [GRAD, EVERYTHING] {
        engine
            .run(&[sample.packed()], want, &mut |_, o| {
                assert_eq!((o.loss, o.scored), (0.0, 0));
                assert!(
                    o.grads.len() == if want.grad { total_len(engine.tensors()) } else { 0 }
                        && o.grads.iter().all(|g| *g == 0.0)
                );
                assert_eq!(
                    o.embed_mean.len(),
                    if want.embed_mean { engine.decoder().hidden_size } else { 0 }
                );
            })
            .unwrap();
    }
}

#[test]
fn embeddings_are_the_mean_and_the_last_of_all_tokens() {
    let folder = TempDir::new().unwrap();
    let engine = engine(&folder, &Tiny::new(), None);
    let sample = of_noise(3, 1, 1);
    let want = RequestedOutputs { embed_mean: true, embed_last: true, ..RequestedOutputs::default() };
    let (_, mean, last, _) = run(&engine, &[&sample], want).remove(0);
    assert_eq!(mean, last, "with one token the mean is the last");
    // Causality: the first token's state does not depend on what follows.
    let mut longer = of_noise(3, 2, 2);
    longer.ids[0] = sample.ids[0];
    let (_, mean2, last2, _) = run(&engine, &[&longer], want).remove(0);
    let expected: Vec<f32> = last.iter().zip(&last2).map(|(a, b)| (a + b) / 2.0).collect();
    assert!(relative_error(&mean2, &expected) < 1e-6);
}

#[test]
fn wrong_batches_are_refused() {
    let folder = TempDir::new().unwrap();
    let base = engine(&folder, &Tiny::new(), None);
    let mut nothing = |_: usize, _: gstore_ingest::gradient::SampleOutput<'_>| {};
    let good = of_noise(1, 4, 2);
    let empty = PackedSample::new(&[], &[]);
    let loss = RequestedOutputs { loss: true, ..RequestedOutputs::default() };
    let run = |batch: &[PackedSample<'_>],
               want,
               out: &mut dyn FnMut(usize, gstore_ingest::gradient::SampleOutput<'_>)| {
        base.run(batch, want, out).unwrap_err()
    };
    assert!(matches!(
        run(&[good.packed(), empty], loss, &mut nothing),
        EngineError::EmptySample { index: 1 }
    ));
    let unknown = [1, VOCAB as u32];
    let unknown = PackedSample::new(&unknown, &[false, true]);
    assert!(
        matches!(run(&[unknown], loss, &mut nothing), EngineError::UnknownToken { token, .. } if token == VOCAB as u32)
    );
    let flags = PackedSample::new(&good.ids, &[true]);
    assert!(matches!(run(&[flags], loss, &mut nothing), EngineError::FlagCount { tokens: 4, flags: 1, .. }));
    assert!(matches!(run(&[good.packed()], GRAD, &mut nothing), EngineError::NoParameters));
    let stopped = base.run_until(&[good.packed()], loss, &Cancel::raised(), &mut nothing);
    assert!(matches!(stopped, Err(EngineError::Cancelled(_))));
}
