//! Requests for an ensemble of perturbed copies, as plain values.

use std::ops::Range;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::error::TrainError;
use crate::order::{LeftoverBatches, SampleOrder, StepPlan};
use crate::perturbed::Perturbation;
use crate::request::{TrainMethod, TrainRequest};
use crate::schedule::Schedule;

/// An ensemble, and which of its models are wanted.
#[derive(Clone)]
pub struct EnsembleRequest {
    /// A training as each copy has it: model, method, data, encoding, rows of a step (`micro`), steps or
    /// epochs, optimizer, schedule, computation. Its seed is that of the ensemble, its output the ensemble's
    /// folder.
    pub training: TrainRequest,
    /// The objective.
    pub perturbation: Perturbation,
    /// How many rows a model is trained on.
    pub subset: SubsetSize,
    /// Numbers of the models. Those of other numbers may be trained by other processes, in this folder or in
    /// one of their own.
    pub models: Range<u64>,
    /// Models after which the caller is told, and may end the job.
    pub round: u64,
    /// Models that are trained at the same time; none: as many as threads and memory allow. Changes no bit.
    pub at_once: Option<usize>,
    /// Where the starting point's logits come from.
    pub states: BaseStates,
    /// File of hidden states; none: one in the ensemble's folder.
    pub states_file: Option<PathBuf>,
    /// Rate of the first step.
    pub first_rate: FirstRate,
}

/// How many rows a model is trained on.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum SubsetSize {
    /// As many as its steps take once; all of them where epochs are asked for.
    #[default]
    OfSteps,
    /// So many.
    Rows(usize),
    /// A share of all, above 0 and at most 1.
    Share(f64),
}

/// Where logits of the starting point come from. Both ways give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BaseStates {
    /// A file where there is one, where all weights are trained, and where it is not large; else a forward
    /// pass for each batch.
    #[default]
    Auto,
    /// A file of hidden states, made if it is missing.
    Stored,
    /// A forward pass for each batch.
    Forward,
}

impl BaseStates {
    /// Bytes up to which [`BaseStates::Auto`] makes a file where a forward pass would do.
    pub(super) const LARGE: u64 = 1 << 30;
}

/// Rate of the first step of a schedule with a warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstRate {
    /// Above zero: the warm-up counts steps from one, and the last step's rate is above zero as well.
    #[default]
    Rising,
    /// Zero, as in the reference, where the first step changes nothing.
    Zero,
}

impl FirstRate {
    /// The rate of step `step`, counted from 0.
    pub fn rate(self, schedule: Schedule, step: u64) -> f64 {
        match self {
            FirstRate::Rising if schedule.warmup > 0 => {
                Schedule { total: schedule.total.saturating_add(1), ..schedule }.rate(step + 1)
            }
            _ => schedule.rate(step),
        }
    }
}

impl EnsembleRequest {
    /// Models of a round unless others are asked for.
    pub const ROUND: u64 = 8;

    /// Models of a request at most.
    pub const MOST: u64 = 1_000_000;

    /// The folder of the ensemble's models.
    pub(super) fn members(&self) -> PathBuf {
        self.training.output.join("members")
    }

    pub(super) fn states_file(&self) -> PathBuf {
        let own = || self.training.output.join("base").join("hidden.states");
        self.states_file.clone().unwrap_or_else(own)
    }

    /// Whether hidden states of another start may be replaced. A file that is given is an input, which others
    /// may have in common, unless it is what is made.
    pub(super) fn replaces_states(&self) -> bool {
        let is_own = self.states_file.as_ref().is_none_or(|file| *file == self.training.output);
        is_own && self.training.saving.overwrite
    }

    /// An error unless a step changes something.
    pub(super) fn check_rates(&self, schedule: Schedule) -> Result<(), TrainError> {
        let is_above = |step: u64| self.first_rate.rate(schedule, step) > 0.0;
        if schedule.peak > 0.0 && (0..schedule.total).any(is_above) {
            return Ok(());
        }
        Err(TrainError::Option("no rate is above zero, so no copy would differ from its start".to_owned()))
    }

    /// An error unless it can be trained.
    pub(super) fn check(&self) -> Result<(), TrainError> {
        let refuse = |what: &str| Err(TrainError::Option(what.to_owned()));
        self.perturbation.check()?;
        let training = &self.training;
        if self.models.is_empty() {
            return refuse("no model is asked for");
        }
        let count = self.models.end - self.models.start;
        if count > Self::MOST {
            return Err(TrainError::Option(format!("{count} models are asked for: at most {}", Self::MOST)));
        }
        if training.method == TrainMethod::FromScratch {
            return refuse(
                "copies begin at a trained model: random weights have no losses that mean anything",
            );
        }
        if training.batching.packing || training.batching.accumulate != 1 {
            return refuse("a step of a perturbed copy is one batch of rows, and is never padded");
        }
        if training.evaluation.is_some() || training.saving.resume_from.is_some() {
            return refuse("copies are short trainings: their losses are computed when they are complete");
        }
        if let SubsetSize::Share(share) = self.subset
            && !(share > 0.0 && share <= 1.0)
        {
            return Err(TrainError::Option(format!(
                "a share of the rows must be above 0 and at most 1, not {share}"
            )));
        }
        if self.round == 0 || self.at_once == Some(0) {
            return refuse("at least one model at a time");
        }
        Ok(())
    }

    /// How many of `rows` rows a model is trained on, and the places of each step among them.
    pub(super) fn steps(&self, rows: usize) -> Result<(usize, StepPlan), TrainError> {
        let batching = &self.training.batching;
        let of_steps = batching
            .max_steps
            .map(|steps| usize::try_from(steps).unwrap_or(usize::MAX).saturating_mul(batching.micro));
        let size = match (self.subset, of_steps) {
            (SubsetSize::Rows(size), _) => size,
            (SubsetSize::Share(share), _) => ((rows as f64 * share) as usize).max(1),
            (SubsetSize::OfSteps, of_steps) => of_steps.unwrap_or(rows),
        };
        super::noise::check_size(size, rows)?;
        let per_step = (batching.micro, batching.accumulate);
        let steps = StepPlan::new(
            SampleOrder::InOrder,
            size,
            per_step,
            LeftoverBatches::Step,
            batching.epochs,
            batching.max_steps,
        )?;
        Ok((size, steps))
    }

    /// Settings that decide the bits of every model, in addition to those of a training.
    pub(super) fn identity(&self, size: usize, rows: &[u64]) -> Value {
        let Perturbation { variant, rho, gamma, normalizer } = self.perturbation;
        let rows: Vec<u8> = rows.iter().flat_map(|row| row.to_le_bytes()).collect();
        json!({
            "variant": variant.name(),
            "rho": rho,
            "gamma": gamma,
            "tokens that losses are divided by": normalizer.name(),
            "rows of a model": size,
            "numbers of the rows": blake3::hash(&rows).to_hex().to_string(),
            "rate of the first step": match self.first_rate {
                FirstRate::Rising => "rising",
                FirstRate::Zero => "zero",
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::ScheduleKind;

    #[test]
    fn no_step_is_wasted() {
        let schedule = Schedule { kind: ScheduleKind::Cosine, peak: 1.0, warmup: 1, total: 4 };
        let rates = |first: FirstRate| (0..4).map(|step| first.rate(schedule, step)).collect::<Vec<_>>();
        assert_eq!(rates(FirstRate::Zero)[0], 0.0);
        let rising = rates(FirstRate::Rising);
        assert_eq!(rising[0], 1.0);
        assert!(rising.iter().all(|rate| *rate > 0.0) && rising.is_sorted_by(|a, b| a >= b), "{rising:?}");
        // The only step of the reference's own configuration.
        let one = Schedule { total: 1, ..schedule };
        assert_eq!([FirstRate::Zero, FirstRate::Rising].map(|first| first.rate(one, 0)), [0.0, 1.0]);
        let plain = Schedule { warmup: 0, ..schedule };
        assert_eq!(FirstRate::Rising.rate(plain, 0), FirstRate::Zero.rate(plain, 0));
    }
}
