//! How close a run is to that of the reference: its parameters, and what the optimizer has of them.

use std::borrow::Cow;

use gstore_model::cpu::Cpu;
use gstore_model::weights::{TrainedTensor, WeightDecay, canonical};
use gstore_train::{Parameters, Trainer};
use serde_json::Value;

use super::golden::{Run, numbers};
use super::relative_l2;

/// Within how many times the drift of f32 from f64 a run is right.
const DRIFTS: f64 = 10.0;

/// The same of moments.
const DRIFTS_OF_MOMENTS: f64 = 30.0;

/// At most how many times as far as losses the parameters of a run are taken to drift.
const FURTHER: f64 = 20.0;

/// How far f32 takes a run from f64, relatively: the change of its parameters, as the manifest states it.
///
/// A few elements without a gradient can make up most of that change, see [`Run::rounded`], and losses do not
/// depend on them: it counts up to some multiple of how far the losses drift. Where this is not stated, it
/// is the largest distance of losses and norms from those of f64; without these, 0.
pub fn drift(run: &Value) -> f64 {
    let stated = |key: &str| run["float32_against_float64"][key].as_f64();
    let listed = || {
        let distances = ["loss", "grad_norm"].into_iter().flat_map(|key| {
            let exact = numbers(run, &format!("{key}_f64"));
            numbers(run, key).into_iter().zip(exact).map(|(own, exact)| (own - exact).abs() / exact.abs())
        });
        distances.filter(|distance| distance.is_finite()).reduce(f64::max)
    };
    match (stated("change_relative_l2"), stated("loss").or_else(listed)) {
        (Some(change), Some(losses)) => change.clamp(losses, FURTHER * losses),
        (change, losses) => change.or(losses).unwrap_or(0.0),
    }
}

impl Run {
    /// Relative tolerance of losses, norms and parameters.
    pub fn tolerance(&self) -> f64 {
        self.usual.max(DRIFTS * drift(&self.value))
    }

    /// The same of moments.
    pub fn tolerance_of_moments(&self) -> f64 {
        self.usual_of_moments.max(DRIFTS_OF_MOMENTS * drift(&self.value))
    }

    /// The elements of a bias whose gradients are rounding: less than a hundredth of the largest ones there.
    ///
    /// AdamW divides by what it sees, so that it moves them by about the rate in each step whatever they are.
    /// The loss does not depend on biases of keys without rotary positions, and hardly on those of slow
    /// rotations.
    pub fn rounded(trainer: &Trainer<Cpu>, name: &str) -> Vec<usize> {
        if !name.ends_with(".bias") {
            return Vec::new();
        }
        let trained = trainer.parameters.trained();
        let place = trained.iter().position(|trained| is_called(trained, name)).expect(name);
        // Of SGD there are none, and no such steps.
        let squares = &trainer.optimizer.state()[place].second;
        let most = squares.iter().fold(0f32, |most, square| most.max(*square));
        (0..squares.len()).filter(|i| squares[*i] < 1e-4 * most).collect()
    }

    /// How far such an element may be from that of the reference after some steps: ten times as far as an
    /// element of f32 is from that of f64; where the manifest does not state this, the sum of the rates.
    fn off_by_rounding(&self, steps: usize) -> f64 {
        let stated = self.value["float32_against_float64"]["parameters_max"].as_f64();
        stated.map_or_else(|| self.learning_rate.iter().take(steps).sum(), |most| DRIFTS * most)
    }

    /// Compares a tensor after the last step with that of the reference.
    pub fn check_tensor(&self, trainer: &Trainer<Cpu>, name: &str, expected: &[f32]) {
        let mut found = stored(&trainer.parameters, name).into_owned();
        assert_eq!(found.len(), expected.len(), "{} {name}", self.name);
        for i in Run::rounded(trainer, name) {
            let off = f64::from(found[i] - expected[i]).abs();
            assert!(off <= self.off_by_rounding(self.steps), "{} {name}[{i}]: off by {off:e}", self.name);
            found[i] = expected[i];
        }
        let distance = relative_l2(&found, expected);
        assert!(distance <= self.tolerance(), "{} {name}: {distance:e}", self.name);
    }

    /// Compares checksums of the parameters after a step, if the manifest has some.
    pub fn check_sums(&self, step: usize, trainer: &Trainer<Cpu>) {
        let sums = &self.value["checksums"][step.to_string()];
        for name in sums.as_object().into_iter().flat_map(serde_json::Map::keys) {
            // Which way each one is off is chance.
            let rounded = Run::rounded(trainer, name).len() as f64;
            let off = self.off_by_rounding(step) * rounded.sqrt();
            let note = format!("{} step {step} {name}", self.name);
            let found = stored(&trainer.parameters, name);
            check_sum(&found, &numbers(sums, name), (self.tolerance(), off), &note);
        }
    }

    /// The optimizer's groups are those of the manifest, which lists or counts what is in them: the two of
    /// the Trainer, or one.
    pub fn check_groups(&self, parameters: &Parameters<Cpu>) {
        let groups = &self.value["optimizer_index"];
        let is_one = self.is_in_one_group();
        for (group, is_first) in [("decay", true), ("no_decay", false)] {
            let belongs = |t: &&TrainedTensor| (is_one || t.decay == WeightDecay::Yes) == is_first;
            let own: Vec<&TrainedTensor> = parameters.trained().iter().filter(belongs).collect();
            let note = format!("{} {group}", self.name);
            match &groups[group] {
                Value::Null => {}
                Value::Array(names) => {
                    assert_eq!(own.len(), names.len(), "{note}");
                    for (own, name) in own.into_iter().zip(names) {
                        let name = name.as_str().expect("a name");
                        assert!(is_called(own, name), "{note}: {} in the place of {name}", own.spec.name);
                    }
                }
                count => assert_eq!(Some(own.len() as u64), count.as_u64(), "{note}"),
            }
        }
    }
}

/// Sum, norm, and product with a wave over the values in the order of files.
pub fn checksum(values: &[f32]) -> [f64; 3] {
    let values = || values.iter().map(|v| f64::from(*v));
    let wave = values().enumerate().map(|(i, v)| v * (0.7 * i as f64).cos()).sum();
    [values().sum(), values().map(|v| v * v).sum::<f64>().sqrt(), wave]
}

/// Compares the checksum of values in the order of files, to a relative tolerance and an absolute one.
#[track_caller]
pub fn check_sum(values: &[f32], expected: &[f64], (relative, absolute): (f64, f64), note: &str) {
    let &[_, norm, _] = expected else { panic!("{note}: {expected:?} is no checksum") };
    // Sums may cancel: what counts is their error against the size of the tensor.
    for (found, expected) in checksum(values).into_iter().zip(expected) {
        let allowed = relative * expected.abs().max(norm) + absolute;
        assert!((found - expected).abs() <= allowed, "{note}: {found} instead of {expected}");
    }
}

/// The values of a tensor of the parameters in the order of files.
pub fn stored<'p>(parameters: &'p Parameters<Cpu>, name: &str) -> Cow<'p, [f32]> {
    let trained = parameters.trained().iter().find(|trained| is_called(trained, name)).expect(name);
    trained.stored(parameters.store().get(&trained.spec.name).expect(name))
}

/// Whether a file may call a tensor so.
pub fn is_called(trained: &TrainedTensor, name: &str) -> bool {
    let own = &trained.spec.name;
    *own == name || *own == canonical(name) || trained.aliases.iter().any(|alias| alias == name)
}
