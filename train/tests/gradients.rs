//! Promise: a summed gradient is the derivative of the loss, tensor by tensor, for every family; threads
//! change no bit of it.

use gstore_core::Cancel;

use gstore_model::cpu::Cpu;
use gstore_model::weights::ModelFolder;
use gstore_model::{Compute, Keep};
use gstore_train::{
    DropoutRates, LoraChoice, Optimizer, OptimizerKind, Parameters, Sample, Trainer, TrainerOptions,
};

/// Relative error of a central difference in f32 along a tensor's own gradient.
const TOLERANCE: f64 = 0.03;

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

/// The derivative along each tensor's gradient, by a central difference.
fn check(name: &str, parameters: Parameters<Cpu>, dropout: DropoutRates) {
    let samples = samples(parameters.decoder().vocab_size);
    let mut trainer = trainer(parameters, 1);
    trainer.options.dropout = dropout;
    let (_, gradient_here) = gradient(&trainer, &samples);
    let places: Vec<_> = trainer.parameters.store().places().map(|(s, r)| (s.name.clone(), r)).collect();
    let mut checked = 0;
    for ((tensor, range), grad) in places.into_iter().zip(&gradient_here) {
        let norm = grad.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        // Below that a difference of losses is rounding.
        if norm < 2e-3 {
            continue;
        }
        let before: Vec<f32> = trainer.parameters.store().values()[range.clone()].to_vec();
        let step = 4e-3 / norm.max(0.2);
        let mut loss_at = |sign: f64| {
            trainer
                .parameters
                .change(1, |store| {
                    let values = &mut store.values_mut()[range.clone()];
                    for ((value, before), grad) in values.iter_mut().zip(&before).zip(grad) {
                        *value = before + (sign * step * f64::from(*grad) / norm) as f32;
                    }
                })
                .unwrap();
            gradient(&trainer, &samples).0
        };
        let slope = (loss_at(1.0) - loss_at(-1.0)) / (2.0 * step);
        loss_at(0.0);
        let error = (slope - norm).abs() / norm;
        assert!(error <= TOLERANCE, "{name} {tensor}: slope {slope}, gradient {norm} ({error:e})");
        checked += 1;
    }
    assert!(checked > 0, "{name}: every gradient is tiny");
}

/// The model folders of all families.
fn families() -> Option<Vec<(String, ModelFolder)>> {
    let zoo = crate::common::support::shared()?.join("models/zoo");
    let mut found: Vec<_> = fs_err::read_dir(zoo).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    let name = |path: &std::path::Path| path.file_name().unwrap().to_string_lossy().into_owned();
    Some(found.iter().map(|path| (name(path), ModelFolder::open(path).unwrap())).collect())
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn finite_differences_of_whole_models() {
    let Some(families) = families() else { return };
    for (name, folder) in families {
        check(&name, Parameters::full(&folder, Cpu::new(Compute::F32)).unwrap(), DropoutRates::default());
    }
}

/// What is dropped is the same for the losses whose difference is taken.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn finite_differences_with_dropout() {
    let Some(families) = families() else { return };
    for (name, folder) in families {
        let hidden = DropoutRates { lora: 0.0, hidden: 0.2, attention: 0.3 };
        check(&name, Parameters::full(&folder, Cpu::new(Compute::F32)).unwrap(), hidden);
        check(&name, adapted(&folder), DropoutRates { lora: 0.3, hidden: 0.1, attention: 0.2 });
    }
}

/// A layer that is computed twice drops the same values, and the pieces of a step do not matter.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn dropout_is_that_of_the_step() {
    let Some(families) = families() else { return };
    for (name, folder) in families {
        let samples = samples(folder.decoder().vocab_size);
        let mut trainer = trainer(adapted(&folder), 2);
        trainer.options.dropout = DropoutRates { lora: 0.3, hidden: 0.2, attention: 0.1 };
        let (loss, kept) = gradient(&trainer, &samples);
        trainer.options.keep = Keep::Inputs;
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
    let mut parameters = Parameters::new_lora(folder, &choice, 1, Cpu::new(Compute::F32)).unwrap();
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
    let Some(families) = families() else { return };
    for (name, folder) in families {
        check(&name, adapted(&folder), DropoutRates::default());
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn threads_change_no_bit() {
    let Some(families) = families() else { return };
    let choice = LoraChoice { rank: 3, alpha: 6.0, targets: Vec::new() };
    for (name, folder) in families {
        let bits = |threads: usize, lora: bool| {
            let backend = Cpu::new(Compute::F32);
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
