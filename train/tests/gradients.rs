//! Promise: a summed gradient is the derivative of the loss, tensor by tensor, for every family; threads
//! change no bit of it.

use gstore_core::Cancel;
use gstore_model::architectures::Decoder;
use gstore_model::cpu::Cpu;
use gstore_model::weights::ModelFolder;
use gstore_model::{ComputePrecision, SavedActivations};
use gstore_train::{
    DropoutRates, LoraChoice, Optimizer, OptimizerKind, Parameters, Sample, Trainer, TrainerOptions,
};

/// Relative error of a central difference in f32 along a tensor's own gradient.
const TOLERANCE: f64 = 0.03;

/// Error of a central difference in a direction of its own, in parts of what the gradient has in such a
/// direction: its norm over the root of its length.
const OTHERWISE: f64 = 0.05;

/// Length of a step in such a direction.
const STEP: f64 = 2e-2;

/// Error of a slope over such a step by rounding of the losses.
const ROUNDING: f64 = 1e-5;

/// Norm of a gradient below which a difference of losses is rounding: errors of smaller ones are in parts of
/// this one.
const TINY: f64 = 2e-3;

/// Samples of a vocabulary, of several lengths, some tokens of each scored.
fn samples(vocab: usize) -> Vec<Sample> {
    let sample = |seed: u32| {
        let len = 7 + seed % 9;
        let ids = (0..len).map(|i| (seed * 7919 + i * 104_729 + i * i * 31) % vocab as u32).collect();
        let scored = (0..len).map(|i| i > seed % 4 && !(i + seed).is_multiple_of(5)).collect();
        Sample { ids, scored }
    };
    (1..=6).map(sample).collect()
}

/// The same without the padding token: the loss depends on its row of the embedding, which has no gradient.
fn unpadded_samples(decoder: &Decoder) -> Vec<Sample> {
    let vocab = decoder.vocab_size;
    let mut samples = samples(vocab);
    let tokens = samples.iter_mut().flat_map(|sample| &mut sample.ids);
    tokens.filter(|id| Some(**id) == decoder.padding_row).for_each(|id| *id = (*id + 1) % vocab as u32);
    samples
}

fn trainer(parameters: Parameters<Cpu>, threads: usize) -> Trainer<Cpu> {
    let kind: OptimizerKind = "sgd".parse().unwrap();
    let optimizer = Optimizer::new(kind, parameters.store().specs().len());
    let options = TrainerOptions { threads, piece_tokens: 16, ..TrainerOptions::default() };
    Trainer::new(parameters, optimizer, options)
}

fn gradient(trainer: &Trainer<Cpu>, samples: &[Sample]) -> (f64, Vec<Vec<f32>>) {
    let (first, second) = samples.split_at(samples.len() / 2);
    let batch = [first.iter().collect(), second.iter().collect()];
    trainer.gradient(&batch, &Cancel::new()).unwrap()
}

/// One of the directions of length 1 that know nothing of gradients: a sign for each value.
fn signs(tensor: &str, number: u64, len: usize) -> Vec<f64> {
    let mut state = tensor.bytes().fold(0x9e37_79b9_7f4a_7c15_u64 ^ number, |state, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let size = 1.0 / (len as f64).sqrt();
    let mut sign = || {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (z ^ (z >> 31)) & 1 == 0 { size } else { -size }
    };
    (0..len).map(|_| sign()).collect()
}

/// What is wrong with gradients, tensor by tensor: by central differences along each gradient, and along
/// directions that do not follow from it, in which a value that is zero by mistake is missing.
fn wrong(name: &str, trainer: &mut Trainer<Cpu>, samples: &[Sample], gradients: &[Vec<f32>]) -> Vec<String> {
    let places: Vec<_> = trainer.parameters.store().places().map(|(s, r)| (s.name.clone(), r)).collect();
    let (mut wrong, mut tiny) = (Vec::new(), 0);
    for ((tensor, range), grad) in places.into_iter().zip(gradients) {
        let norm = grad.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        let before: Vec<f32> = trainer.parameters.store().values()[range.clone()].to_vec();
        let mut slope = |direction: &[f64], step: f64| {
            let mut loss_at = |sign: f64| {
                trainer
                    .parameters
                    .change(1, |store| {
                        let values = &mut store.values_mut()[range.clone()];
                        for ((value, before), along) in values.iter_mut().zip(&before).zip(direction) {
                            *value = before + (sign * step * along) as f32;
                        }
                    })
                    .unwrap();
                gradient(trainer, samples).0
            };
            let slope = (loss_at(1.0) - loss_at(-1.0)) / (2.0 * step);
            loss_at(0.0);
            slope
        };
        // Where a gradient is large, so is what a step changes of it.
        let scale = norm.max(1.0);
        let allowed = OTHERWISE * norm.max(TINY) / (grad.len() as f64).sqrt() + ROUNDING * scale;
        // One of zeros has no direction of its own, and in one other what it lacks may not show by chance.
        let directions = if norm < TINY { 3 } else { 1 };
        for number in 0..directions {
            let random = signs(&tensor, number, grad.len());
            let along: f64 = grad.iter().zip(&random).map(|(g, d)| f64::from(*g) * d).sum();
            let found = slope(&random, STEP / scale);
            if (found - along).abs() > allowed {
                wrong.push(format!(
                    "{name} {tensor}: slope {found:e} by signs, {along:e} expected (to {allowed:e})"
                ));
                break;
            }
        }
        tiny += usize::from(norm < TINY);
        let own: Vec<f64> = grad.iter().map(|g| f64::from(*g) / norm.max(f64::MIN_POSITIVE)).collect();
        let found = slope(&own, 4e-3 / norm.max(0.2));
        let error = (found - norm).abs() / norm.max(TINY);
        if error > TOLERANCE {
            wrong.push(format!("{name} {tensor}: slope {found}, gradient {norm} ({error:e})"));
        }
    }
    if 2 * tiny > gradients.len() {
        wrong.push(format!("{name}: {tiny} of {} gradients are tiny", gradients.len()));
    }
    wrong
}

/// The derivatives of each tensor, by central differences.
fn check(name: &str, parameters: Parameters<Cpu>, dropout: DropoutRates) {
    let samples = unpadded_samples(parameters.decoder());
    let mut trainer = trainer(parameters, 1);
    trainer.options.dropout = dropout;
    let (_, gradients) = gradient(&trainer, &samples);
    let wrong = wrong(name, &mut trainer, &samples, &gradients);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The model folders of all families.
fn families() -> Vec<(String, ModelFolder)> {
    let zoo = crate::common::support::shared().join("models/zoo");
    let mut found: Vec<_> = fs_err::read_dir(zoo).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    found.iter().map(|path| (name(path), ModelFolder::open(path).unwrap())).collect()
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn finite_differences_of_whole_models() {
    let families = families();
    for (name, folder) in families {
        check(
            &name,
            Parameters::full(&folder, Cpu::new(ComputePrecision::F32)).unwrap(),
            DropoutRates::default(),
        );
    }
}

/// What is dropped is the same for the losses whose difference is taken.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn finite_differences_with_dropout() {
    let families = families();
    for (name, folder) in families {
        let hidden = DropoutRates { lora: 0.0, hidden: 0.2, attention: 0.3 };
        check(&name, Parameters::full(&folder, Cpu::new(ComputePrecision::F32)).unwrap(), hidden);
        check(&name, adapted(&folder), DropoutRates { lora: 0.3, hidden: 0.1, attention: 0.2 });
    }
}

/// A layer that is computed twice drops the same values, and the pieces of a step do not matter.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn dropout_is_that_of_the_step() {
    let families = families();
    for (name, folder) in families {
        let samples = samples(folder.decoder().vocab_size);
        let mut trainer = trainer(adapted(&folder), 2);
        trainer.options.dropout = DropoutRates { lora: 0.3, hidden: 0.2, attention: 0.1 };
        let (loss, kept) = gradient(&trainer, &samples);
        trainer.options.keep = SavedActivations::Inputs;
        assert_eq!(gradient(&trainer, &samples).1, kept, "{name}");
        trainer.options.piece_tokens = 4096;
        let whole = gradient(&trainer, &samples).0;
        assert!((whole - loss).abs() < 1e-5 * loss, "{name}: {whole} and {loss}");
        trainer.options.seed += 1;
        assert!((gradient(&trainer, &samples).0 - loss).abs() > 1e-6 * loss, "{name}");
        // Held-out samples lose nothing.
        let plain = trainer.evaluate(&samples, &Cancel::new()).unwrap();
        trainer.options.dropout = DropoutRates::default();
        assert_eq!(trainer.evaluate(&samples, &Cancel::new()).unwrap(), plain, "{name}");
        let (of_step, plain) = (gradient(&trainer, &samples).0, plain.unwrap());
        assert!((of_step - plain).abs() < 1e-5 * plain, "{name}: {of_step} and {plain}");
    }
}

/// Factors on all maps of a model, none of them zero.
fn adapted(folder: &ModelFolder) -> Parameters<Cpu> {
    let choice = LoraChoice { rank: 3, alpha: 6.0, targets: vec!["all-linear".to_owned()] };
    let mut parameters = Parameters::new_lora(folder, &choice, 1, Cpu::new(ComputePrecision::F32)).unwrap();
    // B is zero at the start, and A has no gradient then.
    parameters
        .change(1, |store| {
            let values = store.values_mut();
            values.iter_mut().enumerate().for_each(|(i, v)| *v += 0.05 * (i as f32 * 0.37).sin());
        })
        .unwrap();
    parameters
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn finite_differences_of_adapters() {
    let families = families();
    for (name, folder) in families {
        check(&name, adapted(&folder), DropoutRates::default());
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn threads_change_no_bit() {
    let families = families();
    let choice = LoraChoice { rank: 3, alpha: 6.0, targets: Vec::new() };
    for (name, folder) in families {
        let bits = |threads: usize, lora: bool| {
            let backend = Cpu::new(ComputePrecision::F32);
            let parameters = match lora {
                true => Parameters::new_lora(&folder, &choice, 1, backend),
                false => Parameters::full(&folder, backend),
            };
            let trainer = trainer(parameters.unwrap(), threads);
            let (loss, gradient) = gradient(&trainer, &samples(folder.decoder().vocab_size));
            let bits: Vec<u32> = gradient.into_iter().flatten().map(f32::to_bits).collect();
            (loss.to_bits(), bits)
        };
        for lora in [false, true] {
            let one = bits(1, lora);
            assert!([2, 3, 7].into_iter().all(|threads| bits(threads, lora) == one), "{name}");
        }
    }
}

/// A gradient that lacks a part, or all, is that of its own direction all the same: other directions show it.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn a_missing_part_of_a_gradient_is_seen() {
    let families = families();
    let (name, folder) = &families[0];
    let parameters = Parameters::full(folder, Cpu::new(ComputePrecision::F32)).unwrap();
    let samples = unpadded_samples(parameters.decoder());
    let mut trainer = trainer(parameters, 1);
    let (_, mut gradients) = gradient(&trainer, &samples);
    let last = gradients.iter().rposition(|grad| grad.len() > 1000).unwrap();
    for from in [gradients[last].len() / 2, 0] {
        gradients[last][from..].fill(0.0);
        let wrong = wrong(name, &mut trainer, &samples, &gradients);
        assert!(wrong.len() == 1 && wrong[0].contains("by signs"), "from {from}: {wrong:?}");
    }
}
