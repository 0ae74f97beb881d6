//! Promise: training matches the reference step by step: losses, learning rates, gradient norms, parameters.
//!
//! The manifest of `golden/train` lists the runs, their rows and their files, and may state tolerances.

use std::path::Path;

use crate::common::closeness::{check_sum, checksum, drift, is_called, stored};
use crate::common::golden::{Golden, Run};
use crate::common::{assert_close, relative_l2, support};
use gstore_core::Cancel;
use gstore_model::ComputePrecision;
use gstore_model::cpu::Cpu;
use gstore_model::weights::{Adapter, ModelFolder, TensorSet};
use gstore_train::{AdamW, Optimizer, OptimizerKind, Parameters, Sample, Trainer, TrainerOptions};
use serde_json::{Value, json};

/// Losses, norms and rates of every step, and the parameters at the steps that have checksums.
fn check_run(golden: &Golden, run: &Run) -> Trainer<Cpu> {
    let mut trainer = run.trainer(golden);
    run.check_groups(&trainer.parameters);
    check_steps(golden, run, &mut trainer, 0);
    if let Some(folder) = run.last_folder(golden) {
        check_optimizer(golden, run, &trainer, &folder);
    }
    trainer
}

/// The same from step `first` on, counted from 0.
fn check_steps(golden: &Golden, run: &Run, trainer: &mut Trainer<Cpu>, first: usize) {
    let samples = run.samples(golden);
    let (schedule, tolerance) = (run.schedule(), run.tolerance());
    for step in first..run.steps {
        let batch = run.batch(&samples, step);
        let report = trainer.step(&batch, schedule.rate(step as u64), &Cancel::new()).unwrap();
        let name = format!("{} step {}", run.name, step + 1);
        // Cosines may differ in their last digits.
        let (rate, due) = (report.learning_rate, run.learning_rate[step]);
        assert!((rate - due).abs() <= 1e-12 * schedule.peak, "{name}: rate {rate} instead of {due}");
        assert_close(report.loss, run.loss[step], tolerance, &name);
        assert_close(report.grad_norm, run.grad_norm[step], tolerance, &name);
        for (found, exact) in [(report.loss, &run.loss_f64), (report.grad_norm, &run.grad_norm_f64)] {
            if let Some(exact) = exact.get(step) {
                assert_close(found, *exact, tolerance, &name);
            }
        }
        run.check_sums(step + 1, trainer);
    }
}

/// The factors are those of an adapter.
fn check_factors(golden: &Golden, run: &Run, trainer: &Trainer<Cpu>, folder: &Path) {
    let base = ModelFolder::open(&run.model(golden)).unwrap();
    let adapter = Adapter::open(folder).unwrap();
    for fitted in adapter.fit(&base).unwrap() {
        for name in [&fitted.lora.a, &fitted.lora.b] {
            run.check_tensor(trainer, name, &adapter.tensors().read_f32(name).unwrap());
        }
    }
}

/// The optimizer's state is that of a checkpoint of the same step.
fn check_optimizer(golden: &Golden, run: &Run, trainer: &Trainer<Cpu>, folder: &Path) {
    if !folder.join("optimizer.pt").is_file() {
        return;
    }
    let base = ModelFolder::open(&run.model(golden)).unwrap();
    let backend = Cpu::new(ComputePrecision::F32);
    let there = Trainer::resume(folder, &base, run.optimizer(), run.options(), backend).unwrap();
    assert_eq!(there.optimizer.steps(), trainer.optimizer.steps(), "{}", run.name);
    let states = trainer.optimizer.state().iter().zip(there.optimizer.state());
    for ((found, expected), spec) in states.zip(trainer.parameters.store().specs()) {
        for (found, expected) in [(&found.first, &expected.first), (&found.second, &expected.second)] {
            let distance = relative_l2(found, expected);
            assert!(distance <= run.tolerance_of_moments(), "{} {}: {distance:e}", run.name, spec.name);
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_train_of_adapters() {
    let golden = Golden::read();
    for run in golden.runs_of("an adapter", |run| run.kind == "lora") {
        let trainer = check_run(&golden, run);
        if let Some(folder) = run.last_folder(&golden) {
            check_factors(&golden, run, &trainer, &folder);
        }
    }
}

/// From a checkpoint in the middle, as the Hugging Face Trainer wrote it, the run ends where that one ended.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_train_goes_on_from_what_the_trainer_wrote() {
    let golden = Golden::read();
    let middle = |run: &Run| run.checkpoints(&golden).into_iter().find(|(step, _)| *step < run.steps);
    for run in golden.runs_of("checkpoints in the middle", |run| middle(run).is_some()) {
        let (step, folder) = middle(run).unwrap();
        let base = ModelFolder::open(&run.model(&golden)).unwrap();
        let backend = Cpu::new(ComputePrecision::F32);
        let mut trainer = Trainer::resume(&folder, &base, run.optimizer(), run.options(), backend).unwrap();
        assert_eq!(trainer.optimizer.steps(), step as u64);
        check_steps(&golden, run, &mut trainer, step);
        let last = run.last_folder(&golden).unwrap();
        check_optimizer(&golden, run, &trainer, &last);
        if run.kind == "lora" {
            check_factors(&golden, run, &trainer, &last);
        }
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_train_of_whole_models() {
    let golden = Golden::read();
    for run in golden.runs_of("a whole model", |run| run.kind != "lora") {
        let trainer = check_run(&golden, run);
        let Some(folder) = run.last_folder(&golden) else { continue };
        let stem = if folder.join("params.safetensors").is_file() { "params" } else { "model" };
        let tensors = TensorSet::open(&folder, stem).unwrap();
        let mut compared = 0;
        for name in tensors.names() {
            let expected = tensors.read_f32(name).unwrap();
            // Slices are named otherwise; the checksums of the last step cover what they are slices of.
            if trainer.parameters.store().get(name).is_none() {
                continue;
            }
            run.check_tensor(&trainer, name, &expected);
            compared += 1;
        }
        assert!(compared > 0, "{}", run.name);
    }
}

/// Checksums go by the order of files, in which some families have their matrices the other way round.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_train_checksums_are_of_values_in_the_order_of_files() {
    let golden = Golden::read();
    let mut compared = 0;
    for path in golden.models() {
        let base = ModelFolder::open(&path).unwrap();
        let parameters = Parameters::full(&base, Cpu::new(ComputePrecision::F32)).unwrap();
        let tensors = TensorSet::open(&path, "model").unwrap();
        let mut turned = false;
        for name in tensors.names() {
            let Some(trained) = parameters.trained().iter().find(|trained| is_called(trained, name)) else {
                continue;
            };
            let expected = checksum(&tensors.read_f32(name).unwrap());
            let note = format!("{} {name}", path.display());
            check_sum(&stored(&parameters, name), &expected, (1e-6, 0.0), &note);
            turned |= trained.transposed;
            compared += 1;
        }
        let due = base.decoder().params.iter().any(|param| param.transposed);
        assert_eq!(turned, due, "{}: matrices the other way round", path.display());
    }
    assert!(compared > 0, "no model has a parameter that could be compared");
}

#[test]
fn runs_drift_as_the_manifest_states_it() {
    let run = |stated: Value| {
        json!({
            "float32_against_float64": stated, "loss": [4.0, 2.0], "loss_f64": [4.0, 2.5],
            "grad_norm": [1.0, 1.0], "grad_norm_f64": [0.8, 1.0]
        })
    };
    for (stated, due) in [
        (json!({ "loss": 1e-6, "change_relative_l2": 1e-5 }), 1e-5),
        // Elements without a gradient.
        (json!({ "loss": 1e-6, "change_relative_l2": 5e-4 }), 2e-5),
        (json!({ "loss": 1e-3, "change_relative_l2": 5e-4 }), 1e-3),
        (json!({ "loss": 1e-6 }), 1e-6),
        (Value::Null, 0.25),
    ] {
        let found = drift(&run(stated.clone()));
        assert!((found - due).abs() < 1e-12, "{stated}: {found} instead of {due}");
    }
    assert_eq!(drift(&json!({ "float32_against_float64": { "change_relative_l2": 1e-3 } })), 1e-3);
    assert_eq!(drift(&json!({ "loss": [4.0] })), 0.0);
}

#[test]
fn checksums_of_other_values_are_refused() {
    let values: Vec<f32> = (0..48u8).map(|i| 1.0 + f32::from(i % 7) / 100.0).collect();
    let expected = checksum(&values);
    let refused = |change: &dyn Fn(&mut [f32]), absolute: f64| {
        let mut values = values.clone();
        change(&mut values);
        let check = move || check_sum(&values, &expected, (1e-4, absolute), "values");
        std::panic::catch_unwind(check).is_err()
    };
    let grown = |values: &mut [f32]| values.iter_mut().for_each(|v| *v *= 1.001);
    let one_off = |values: &mut [f32]| values[7] += 0.02;
    let turned = |values: &mut [f32]| values.reverse();
    assert!(
        !refused(&|_| {}, 0.0) && refused(&grown, 0.0) && refused(&one_off, 0.0) && refused(&turned, 0.0)
    );
    assert!(!refused(&one_off, 0.021) && refused(&grown, 0.021));
}

/// Each query's scores move by the same number for all keys, so that no probability changes.
#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn gradients_of_the_bias_of_keys_without_rotary_positions_are_rounding() {
    let folder = support::shared().join("models/zoo/gpt2");
    if !folder.is_dir() {
        eprintln!("skipped: no model {}", folder.display());
        return;
    }
    let base = ModelFolder::open(&folder).unwrap();
    let parameters = Parameters::full(&base, Cpu::new(ComputePrecision::F32)).unwrap();
    let optimizer = Optimizer::new(OptimizerKind::AdamW(AdamW::default()), parameters.trained().len());
    let mut trainer = Trainer::new(parameters, optimizer, TrainerOptions::default());
    let sample = Sample { ids: (1..25).collect(), scored: vec![true; 24] };
    for _ in 0..3 {
        trainer.step(&[vec![&sample]], 1e-3, &Cancel::new()).unwrap();
    }
    let name = "transformer.h.0.attn.c_attn.bias";
    let width = stored(&trainer.parameters, name).len() / 3;
    let rounded = Run::rounded(&trainer, name);
    assert!((width..2 * width).all(|key| rounded.contains(&key)), "{rounded:?}");
    for name in ["transformer.h.0.ln_1.weight", "transformer.h.0.attn.c_attn.weight"] {
        assert!(Run::rounded(&trainer, name).is_empty(), "{name}");
    }
}
