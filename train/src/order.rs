//! The order of samples, and the batch of each step.

use gstore_model::weights::MOST_STEPS;

use crate::error::TrainError;
use crate::random::RandomStream;

/// The order in which a training goes through its samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum SampleOrder {
    /// Each epoch in its own order.
    Shuffled {
        /// Of the orders.
        seed: u64,
    },
    /// Each epoch in the order of the data.
    InOrder,
}

/// What becomes of the micro-batches that an epoch leaves over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftoverBatches {
    /// They are a step of their own.
    Step,
    /// They begin the next epoch's first step, and are left at the end: transformers before 4.46.
    Carried,
}

/// The samples of every step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct StepPlan {
    order: SampleOrder,
    samples: usize,
    micro: usize,
    accumulate: usize,
    leftover: LeftoverBatches,
    total: u64,
    /// The epoch of the current order.
    cached: Option<(u64, Vec<usize>)>,
}

impl StepPlan {
    /// Steps of `accumulate` micro-batches of `micro` samples: `max_steps` of them, else as many as `epochs`
    /// take. An epoch of no more than one step is one, whatever `leftover` says.
    ///
    /// # Errors
    /// Nothing to train on, no step, or more than [`MOST_STEPS`].
    pub fn new(
        order: SampleOrder,
        samples: usize,
        (micro, accumulate): (usize, usize),
        leftover: LeftoverBatches,
        epochs: f64,
        max_steps: Option<u64>,
    ) -> Result<StepPlan, TrainError> {
        if samples == 0 {
            return Err(TrainError::NoSamples);
        }
        if micro == 0 || accumulate == 0 {
            return Err(TrainError::Option("a step needs at least one sample and one micro-batch".into()));
        }
        let may_span = samples.div_ceil(micro) > accumulate;
        let leftover = if may_span { leftover } else { LeftoverBatches::Step };
        let mut steps = StepPlan { order, samples, micro, accumulate, leftover, total: 0, cached: None };
        let of_epochs = (epochs * steps.per_epoch() as f64).ceil();
        steps.total = match max_steps {
            Some(steps) => steps,
            None if of_epochs.is_finite() && of_epochs >= 0.0 => of_epochs as u64,
            None => 0,
        };
        match steps.total {
            0 => Err(TrainError::Option(format!(
                "{epochs} epochs take no step: expected a finite number above 0"
            ))),
            total if total > MOST_STEPS => {
                let steps = max_steps.map_or_else(|| format!("{of_epochs:e}"), |steps| steps.to_string());
                Err(TrainError::Option(format!(
                    "{steps} steps are too many: a training takes {MOST_STEPS} at most"
                )))
            }
            _ => Ok(steps),
        }
    }

    /// Micro-batches of an epoch; the last one may have fewer samples.
    fn micro_batches(&self) -> usize {
        self.samples.div_ceil(self.micro)
    }

    /// Steps of an epoch, those that are begun in it where micro-batches are carried.
    pub fn per_epoch(&self) -> u64 {
        match self.leftover {
            LeftoverBatches::Carried => (self.micro_batches() / self.accumulate) as u64,
            LeftoverBatches::Step => self.micro_batches().div_ceil(self.accumulate) as u64,
        }
    }

    /// Steps in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether a step has micro-batches of two epochs.
    pub(crate) fn spans_epochs(&self) -> bool {
        let is_whole = self.micro_batches().is_multiple_of(self.accumulate);
        self.leftover == LeftoverBatches::Carried && !is_whole && self.total > self.per_epoch()
    }

    /// Epochs that end with step `done`, with the share of the next one's micro-batches, as the Trainer of
    /// transformers counts them.
    pub fn epoch(&self, done: u64) -> f64 {
        let (whole, within) = match self.leftover {
            LeftoverBatches::Carried => (0, done),
            LeftoverBatches::Step => (done / self.per_epoch(), done % self.per_epoch()),
        };
        whole as f64 + within as f64 * self.accumulate as f64 / self.micro_batches() as f64
    }

    /// The first step of the epoch of step `taken`, both counted from 1.
    pub(crate) fn epoch_start(&self, taken: u64) -> u64 {
        (1..taken).rev().find(|step| self.ends_epoch(*step)).map_or(1, |last| last + 1)
    }

    /// Whether what is done every so many steps, or after each epoch, is done after `taken` of them; after
    /// the last it always is.
    pub(crate) fn is_due(&self, every: Option<u64>, taken: u64) -> bool {
        taken == self.total
            || every.map_or_else(|| self.ends_epoch(taken), |every| taken.is_multiple_of(every))
    }

    /// Whether step `taken`, counted from 1, is the last one of an epoch.
    fn ends_epoch(&self, taken: u64) -> bool {
        if self.leftover == LeftoverBatches::Step {
            return taken.is_multiple_of(self.per_epoch());
        }
        let (of_epoch, of_step) = (self.micro_batches() as u64, self.accumulate as u64);
        taken.saturating_mul(of_step).div_ceil(of_epoch).saturating_mul(of_epoch) / of_step == taken
    }

    /// The micro-batches of step `step`, counted from 0.
    pub fn batch(&mut self, step: u64) -> Vec<Vec<usize>> {
        let (of_epoch, of_step) = (self.micro_batches() as u64, self.accumulate as u64);
        let numbers = match self.leftover {
            LeftoverBatches::Carried => step.saturating_mul(of_step)..(step + 1).saturating_mul(of_step),
            LeftoverBatches::Step => {
                let (epoch, within) = (step / self.per_epoch(), step % self.per_epoch());
                let first = epoch.saturating_mul(of_epoch).saturating_add(within * of_step);
                first..(epoch + 1).saturating_mul(of_epoch).min(first.saturating_add(of_step))
            }
        };
        let micro = self.micro;
        let samples = |number: u64| {
            let (epoch, within) = (number / of_epoch, (number % of_epoch) as usize);
            self.order(epoch).chunks(micro).nth(within).unwrap_or_default().to_vec()
        };
        numbers.map(samples).collect()
    }

    fn order(&mut self, epoch: u64) -> &[usize] {
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != epoch) {
            let order = match self.order {
                SampleOrder::Shuffled { seed } => {
                    RandomStream::new(seed, "order of samples", epoch).order(self.samples)
                }
                SampleOrder::InOrder => (0..self.samples).collect(),
            };
            self.cached = Some((epoch, order));
        }
        self.cached.as_ref().map_or(&[], |(_, order)| order)
    }
}

#[cfg(test)]
mod tests {
    use super::LeftoverBatches::{Carried, Step};
    use super::SampleOrder::{InOrder, Shuffled};
    use super::*;

    #[test]
    fn an_epoch_has_every_sample_once() {
        let mut steps = StepPlan::new(Shuffled { seed: 3 }, 23, (4, 2), Step, 2.0, None).unwrap();
        assert_eq!((steps.per_epoch(), steps.total()), (3, 6));
        let epoch = |steps: &mut StepPlan, n: u64| -> Vec<usize> {
            (3 * n..3 * n + 3).flat_map(|step| steps.batch(step)).flatten().collect()
        };
        let (first, second) = (epoch(&mut steps, 0), epoch(&mut steps, 1));
        assert_ne!(first, second);
        assert_eq!(first, epoch(&mut steps, 0));
        for mut order in [first, second] {
            order.sort_unstable();
            assert_eq!(order, (0..23).collect::<Vec<_>>());
        }
        assert_eq!(steps.batch(2).iter().map(Vec::len).collect::<Vec<_>>(), [4, 3]);
    }

    #[test]
    fn epochs_are_counted_in_micro_batches() {
        let steps = StepPlan::new(InOrder, 13, (2, 2), Step, 2.0, None).unwrap();
        let epochs: Vec<f64> = (0..=8).map(|done| steps.epoch(done)).collect();
        let parts = [0.0, 2.0 / 7.0, 4.0 / 7.0, 6.0 / 7.0];
        let expected: Vec<f64> = parts.into_iter().chain(parts.map(|part| 1.0 + part)).chain([2.0]).collect();
        assert_eq!(epochs, expected);
    }

    /// less.md, 3.2: transformers 4.36.2 saves LESS's warm-up of 13,533 samples, 32 micro-batches of one of
    /// them a step, after these steps.
    #[test]
    fn micro_batches_that_an_epoch_leaves_over_are_carried() {
        let mut steps = StepPlan::new(Shuffled { seed: 3 }, 13_533, (1, 32), Carried, 4.0, None).unwrap();
        assert_eq!((steps.per_epoch(), steps.total()), (422, 1688));
        let saved =
            |steps: &StepPlan| (1..=steps.total()).filter(|n| steps.is_due(None, *n)).collect::<Vec<_>>();
        assert_eq!(saved(&steps), [422, 845, 1268, 1688]);
        let starts = [1, 422, 423, 845, 1688].map(|step| steps.epoch_start(step));
        assert_eq!(starts, [1, 1, 423, 423, 1269]);
        assert!((0..1688).all(|step| steps.batch(step).len() == 32));
        assert!((steps.epoch(845) - 1.998).abs() < 1e-3);
        let short = StepPlan::new(InOrder, 13_533, (1, 32), Step, 4.0, None).unwrap();
        assert_eq!(saved(&short), [423, 846, 1269, 1692]);
        assert_eq!([423, 424, 1692].map(|step| short.epoch_start(step)), [1, 424, 1270]);

        // A short micro-batch stays one, and every sample of an epoch comes before the next epoch's.
        let carried =
            |samples, epochs, steps| StepPlan::new(InOrder, samples, (2, 3), Carried, epochs, steps).unwrap();
        let mut steps = carried(7, 3.0, None);
        assert_eq!((steps.per_epoch(), steps.total()), (1, 3));
        assert_eq!(steps.batch(0), [[0, 1], [2, 3], [4, 5]]);
        assert_eq!(steps.batch(1), [vec![6], vec![0, 1], vec![2, 3]]);
        assert!(steps.spans_epochs());
        let spans = |samples, epochs, steps| carried(samples, epochs, steps).spans_epochs();
        // One epoch, one of whole steps, one that ends before what is left over.
        assert!(!spans(7, 1.0, None) && !spans(12, 3.0, None) && !spans(7, 3.0, Some(1)));
        assert!(spans(7, 1.0, Some(2)));
        // An epoch of fewer is one step.
        let mut steps = carried(3, 2.0, None);
        assert_eq!((steps.total(), steps.batch(1)), (2, vec![vec![0, 1], vec![2]]));
    }

    #[test]
    fn what_is_no_step_is_refused() {
        let of =
            |samples, micro, epochs, steps| StepPlan::new(InOrder, samples, (micro, 1), Step, epochs, steps);
        assert!(matches!(of(0, 1, 1.0, None), Err(TrainError::NoSamples)));
        assert!(of(5, 1, 0.0, None).is_err());
        assert!(of(5, 0, 1.0, None).is_err());
        assert!(of(5, 1, f64::NAN, None).is_err());
        assert_eq!(of(5, 2, 9.0, Some(4)).unwrap().total(), 4);
        for (epochs, steps, says) in [
            (1e18, None, "5e18 steps are too many"),
            (1e300, None, "steps are too many"),
            (1.0, Some(u64::MAX), "18446744073709551615 steps are too many"),
        ] {
            let refused = of(5, 1, epochs, steps).unwrap_err();
            assert!(refused.to_string().contains(says), "{refused}");
        }
    }
}
