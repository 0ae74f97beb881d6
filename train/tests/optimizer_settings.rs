//! Promise: a resumed training says which settings of its checkpoint's optimizer it does not keep, as does
//! its forecast, and does not go on from an optimizer that stepped by other moments.

use std::path::{Path, PathBuf};

use crate::jobs::{Notes, World, copy, go, go_for, lora};
use gstore_core::Cancel;
use gstore_model::weights::{PickleValue, SavedValue, TorchArchive, write_torch};
use gstore_train::{AdamW, OptimizerKind, Sgd, TrainRequest, forecast, run};

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn settings_of_a_checkpoint_that_are_not_gone_on_with_are_told() {
    let world = World::new();
    let first = world.request("first", lora());
    assert_eq!(go_for(&first, 4).steps, 4);
    let from = first.output.join("checkpoint-3");
    let told = |mut onward: TrainRequest| {
        onward.saving.resume_from = Some(from.clone());
        let (mut before, mut notes) = (Notes::default(), Notes::default());
        forecast(&onward, &mut before, &Cancel::new()).unwrap();
        assert!(run(&onward, &mut notes, &Cancel::new()).unwrap().finished);
        [before, notes].map(|notes| notes.0.join("\n"))
    };
    for same in told(world.request("same", lora())) {
        assert!(!same.contains("its optimizer had"), "{same}");
    }
    let mut other = world.request("other", lora());
    other.steps.learning_rate = 2e-3;
    let adamw = AdamW { beta2: 0.95, eps: 1e-6, weight_decay: 0.1, ..AdamW::default() };
    other.steps.optimizer = OptimizerKind::AdamW(adamw);
    let says = "checkpoint-3: its optimizer had beta2 0.999, eps 1e-8, learning rate 0.001; the training \
    continues with beta2 0.95, eps 1e-6, learning rate 0.002";
    for notes in told(other) {
        assert_eq!(notes.matches(says).count(), 1, "{notes}");
    }
    // One that divided by another moment, or went up the gradient, cannot be gone on from.
    for (name, says) in
        [("amsgrad", "its optimizer was AMSGrad"), ("maximize", "its optimizer had maximize set")]
    {
        let mut onward = world.request("onward", lora());
        onward.saving.resume_from = Some(with_setting(&world, &from, name));
        let error = go(&onward).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn sgd_goes_on_only_from_sgd_that_stepped_alike() {
    let world = World::new();
    let of = |name: &str, momentum: f64| {
        let mut request = world.request(name, lora());
        request.steps.optimizer = OptimizerKind::Sgd(Sgd { momentum, weight_decay: 0.0 });
        request
    };
    let first = of("first", 0.9);
    assert_eq!(go_for(&first, 4).steps, 4);
    let from = first.output.join("checkpoint-3");
    for (name, momentum, says) in
        [("same", 0.9, None), ("other", 0.5, Some("momentum 0.9; the training continues"))]
    {
        let (mut onward, mut notes) = (of(name, momentum), Notes::default());
        onward.saving.resume_from = Some(from.clone());
        assert!(run(&onward, &mut notes, &Cancel::new()).unwrap().finished);
        let notes = notes.0.join("\n");
        assert_eq!(notes.contains("its optimizer had"), says.is_some(), "{notes}");
        assert!(says.is_none_or(|says| notes.contains(says)), "{notes}");
    }
    let plain = of("plain", 0.0);
    assert_eq!(go_for(&plain, 4).steps, 4);
    for (from, momentum, setting, says) in [
        (&from, 0.9, "nesterov", "SGD with Nesterov's momentum or dampening"),
        (&from, 0.9, "maximize", "its optimizer had maximize set"),
        (&plain.output.join("checkpoint-3"), 0.0, "maximize", "its optimizer had maximize set"),
    ] {
        let mut onward = of("refused", momentum);
        onward.saving.resume_from = Some(with_setting(&world, from, setting));
        let error = go(&onward).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn another_optimizer_than_that_of_the_checkpoint_is_refused_by_its_name() {
    let world = World::new();
    let sgd = |momentum| OptimizerKind::Sgd(Sgd { momentum, weight_decay: 0.0 });
    let all = [
        ("AdamW", OptimizerKind::AdamW(AdamW::default()), "optim=adamw continues it"),
        ("SGD with momentum", sgd(0.9), "optim=sgd with momentum continues it"),
        ("SGD without momentum", sgd(0.0), "optim=sgd without momentum continues it"),
    ];
    for (saved, kind, way) in all {
        let mut first = world.request(saved, lora());
        first.steps.optimizer = kind;
        assert_eq!(go_for(&first, 4).steps, 4);
        for (asked, kind, _) in all {
            let mut onward = world.request(&format!("{saved}, {asked}"), lora());
            onward.steps.optimizer = kind;
            onward.saving.resume_from = Some(first.output.join("checkpoint-3"));
            if asked == saved {
                assert!(go(&onward).unwrap().finished, "{saved}");
                continue;
            }
            let error = go(&onward).unwrap_err().to_string();
            let says = format!(
                "its optimizer was {saved}, so a training by {asked} cannot continue from it: {way}, and adapter="
            );
            assert!(error.contains(&says), "{error}");
        }
    }
}

/// A copy of a checkpoint whose optimizer has a setting switched on, with zeros in its tensors.
fn with_setting(world: &World, from: &Path, name: &str) -> PathBuf {
    let folder = world.path(name);
    copy(from, &folder);
    switch_on(&folder.join("optimizer.pt"), name);
    // Another program's checkpoint has no digests.
    fs_err::remove_file(folder.join("gstore_state.json")).unwrap();
    folder
}

fn switch_on(path: &Path, name: &str) {
    fn saved<'z>(value: &PickleValue, name: &str, zeros: &'z [f32]) -> SavedValue<'z> {
        let all = |items: &[PickleValue]| -> Vec<SavedValue<'z>> {
            items.iter().map(|item| saved(item, name, zeros)).collect()
        };
        match value {
            PickleValue::Dict(entries) => {
                let entry = |(key, value): &(PickleValue, PickleValue)| match key.as_str() {
                    Some(key_name) if key_name == name => (saved(key, name, zeros), SavedValue::Bool(true)),
                    _ => (saved(key, name, zeros), saved(value, name, zeros)),
                };
                SavedValue::Dict(entries.iter().map(entry).collect())
            }
            PickleValue::List(items) | PickleValue::Tuple(items) => SavedValue::List(all(items)),
            PickleValue::Tensor(tensor) => {
                SavedValue::Tensor(tensor.shape.clone(), &zeros[..tensor.shape.iter().product::<usize>()])
            }
            PickleValue::Int(number) => SavedValue::Int(*number),
            PickleValue::Float(number) => SavedValue::Float(*number),
            PickleValue::Str(text) => SavedValue::Str(text.to_string()),
            _ => SavedValue::None,
        }
    }
    let archive = TorchArchive::open(path).unwrap();
    write_torch(path, "optimizer", &saved(archive.root(), name, &vec![0.0; 1 << 20])).unwrap();
}
