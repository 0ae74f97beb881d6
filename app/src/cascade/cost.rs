//! Cost of a cascade by stage: forward passes, which decide, and seconds where they were measured.

use gstore_learn::GRADIENT_PASSES;
use gstore_learn::judge::CascadeCost;

use super::source::{MissingFeatures, StepTime};
use super::stages::Stage;

/// What was computed, and in what time.
pub(super) struct ComputeCost {
    stages: Vec<StageCost>,
    /// Checkpoints of the question whose gradients are missing.
    checkpoints: usize,
    gradients: StepTime,
}

struct StageCost {
    /// Whether a forward pass is among it.
    is_forward: bool,
    /// Checkpoints whose gradients are missing, and that no stage before it has.
    checkpoints: usize,
    forward: StepTime,
}

impl ComputeCost {
    /// Nothing yet.
    pub(super) fn new(stages: &[Stage], missing: &MissingFeatures) -> Self {
        let count = |gradients: &[bool]| gradients.iter().filter(|is_missing| **is_missing).count();
        let mut before = 0;
        let of_stage = |(stage, is_forward): (&Stage, &bool)| {
            let end = stage.checkpoints.clamp(before, missing.gradients.len());
            let own = count(&missing.gradients[before..end]);
            before = end;
            StageCost { is_forward: *is_forward, checkpoints: own, forward: StepTime::default() }
        };
        Self {
            stages: stages.iter().zip(&missing.forward).map(of_stage).collect(),
            checkpoints: count(&missing.gradients),
            gradients: StepTime::default(),
        }
    }

    /// Notes the forward passes of a stage.
    pub(super) fn forward(&mut self, place: usize, measured: StepTime) {
        self.stages[place].forward.add(measured);
    }

    pub(super) fn gradients(&mut self, measured: StepTime) {
        self.gradients.add(measured);
    }

    pub(super) fn seconds(&self) -> f64 {
        self.gradients.seconds + self.stages.iter().map(|stage| stage.forward.seconds).sum::<f64>()
    }

    /// What a cascade takes in forward passes: what decides whether it saves anything does not look at the
    /// clock. `entering`: rows that are not labelled, by stage.
    pub(super) fn passes(&self, rows: u64, labelled: u64, entering: Vec<f64>) -> CascadeCost {
        let each = |stage: &StageCost| if stage.is_forward { 1.0 } else { 0.0 };
        let forward: Vec<f64> = self.stages.iter().map(each).collect();
        self.cost((&forward, f64::from(GRADIENT_PASSES)), false, (rows, labelled, entering))
    }

    /// The same in seconds, where all kinds of its steps were measured.
    pub(super) fn time(&self, rows: u64, labelled: u64, entering: Vec<f64>) -> Option<CascadeCost> {
        let each = |stage: &StageCost| if stage.is_forward { stage.forward.each() } else { Some(0.0) };
        let forward: Vec<f64> = self.stages.iter().map(each).collect::<Option<_>>()?;
        Some(self.cost((&forward, self.gradients.each()?), true, (rows, labelled, entering)))
    }

    /// With what the forward passes of each stage take for a row, and a gradient.
    fn cost(
        &self,
        (forward, gradient): (&[f64], f64),
        measured: bool,
        (rows, labelled, entering): (u64, u64, Vec<f64>),
    ) -> CascadeCost {
        let before: usize = self.stages.iter().map(|stage| stage.checkpoints).sum();
        let last = gradient * self.checkpoints.saturating_sub(before) as f64;
        let full = gradient * self.checkpoints as f64;
        let stages = self.stages.iter().zip(forward);
        let of_stages = stages.map(|(stage, forward)| forward + gradient * stage.checkpoints as f64);
        CascadeCost {
            rows,
            labelled,
            entering,
            each: of_stages.chain([last]).collect(),
            label: full + forward.iter().sum::<f64>(),
            full,
            measured,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_takes_what_no_stage_before_has() {
        let stages =
            crate::cascade::stages::parse("loss -> 1 checkpoint -> 2 checkpoints -> all", &[]).unwrap();
        let mut spent = ComputeCost::new(&stages, &MissingFeatures::all(&stages, 4));
        let cost = spent.passes(100, 10, vec![90.0, 50.0, 20.0, 5.0]);
        assert_eq!((cost.each, cost.label, cost.full), (vec![1.0, 3.0, 3.0, 6.0], 13.0, 12.0));
        spent.gradients(StepTime { rows: 40, seconds: 20.0 });
        assert_eq!(spent.time(100, 10, Vec::new()), None);
        spent.forward(0, StepTime { rows: 10, seconds: 1.0 });
        let cost = spent.time(100, 10, Vec::new()).unwrap();
        assert_eq!((cost.measured, cost.each, cost.full), (true, vec![0.1, 0.5, 0.5, 1.0], 2.0));
        assert_eq!(spent.seconds(), 21.0);
    }

    #[test]
    fn what_the_pool_has_costs_nothing() {
        let stages = crate::cascade::stages::parse("loss -> embed,2 checkpoints -> all", &[]).unwrap();
        let missing =
            MissingFeatures { forward: vec![false, true], gradients: vec![false, true, true, false] };
        let cost = ComputeCost::new(&stages, &missing).passes(100, 10, vec![90.0, 50.0, 20.0]);
        assert_eq!((cost.each, cost.label, cost.full), (vec![0.0, 4.0, 3.0], 7.0, 6.0));
    }
}
