//! Promise: a resumed training says which settings of its checkpoint's optimizer it does not keep, as does
//! its forecast, and does not go on from an optimizer that stepped by other moments.

use std::path::Path;

use crate::jobs::{Notes, World, copy, go, go_for, lora};
use gstore_core::Cancel;
use gstore_model::weights::{PickleValue, SavedValue, TorchArchive, write_torch};
use gstore_train::{AdamW, OptimizerKind, TrainRequest, forecast, run};

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
    let says = "checkpoint-3: its optimizer had beta2 0.999, eps 1e-8, learning rate 0.001; the training goes on \
                with beta2 0.95, eps 1e-6, learning rate 0.002";
    for notes in told(other) {
        assert_eq!(notes.matches(says).count(), 1, "{notes}");
    }
    // One that divided by another moment cannot be gone on from.
    let amsgrad = world.path("amsgrad");
    copy(&from, &amsgrad);
    make_amsgrad(&amsgrad.join("optimizer.pt"));
    // Another program's checkpoint has no digests.
    fs_err::remove_file(amsgrad.join("gstore_state.json")).unwrap();
    let mut onward = world.request("onward", lora());
    onward.saving.resume_from = Some(amsgrad);
    let error = go(&onward).unwrap_err().to_string();
    assert!(error.contains("its optimizer was AMSGrad"), "{error}");
}

/// Makes an optimizer's state one of AMSGrad, with zeros in its tensors.
fn make_amsgrad(path: &Path) {
    fn saved<'z>(value: &PickleValue, zeros: &'z [f32]) -> SavedValue<'z> {
        let all = |items: &[PickleValue]| -> Vec<SavedValue<'z>> {
            items.iter().map(|item| saved(item, zeros)).collect()
        };
        match value {
            PickleValue::Dict(entries) => {
                let entry = |(key, value): &(PickleValue, PickleValue)| match key.as_str() {
                    Some("amsgrad") => (saved(key, zeros), SavedValue::Bool(true)),
                    _ => (saved(key, zeros), saved(value, zeros)),
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
    write_torch(path, "optimizer", &saved(archive.root(), &vec![0.0; 1 << 20])).unwrap();
}
