//! The order of samples, and the batch of each step.

use crate::error::TrainError;
use crate::random::Stream;

/// The samples of every step.
#[derive(Debug, Clone, PartialEq)]
pub enum Plan {
    /// Each epoch in its own order.
    Shuffled {
        /// Of the orders.
        seed: u64,
    },
    /// Each epoch in the order of the data.
    InOrder,
    /// As listed: step, micro-batch, samples.
    Given(Vec<Vec<Vec<usize>>>),
}

/// A plan over some samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Steps {
    plan: Plan,
    samples: usize,
    micro: usize,
    accumulate: usize,
    total: u64,
    /// The epoch of the current order.
    cached: Option<(u64, Vec<usize>)>,
}

impl Steps {
    /// Steps of `accumulate` micro-batches of `micro` samples: `max_steps` of them, else as many as `epochs`
    /// take.
    ///
    /// # Errors
    /// Nothing to train on, or no step.
    pub fn new(
        plan: Plan,
        samples: usize,
        (micro, accumulate): (usize, usize),
        epochs: f64,
        max_steps: Option<u64>,
    ) -> Result<Steps, TrainError> {
        if samples == 0 {
            return Err(TrainError::NoSamples);
        }
        if micro == 0 || accumulate == 0 {
            return Err(TrainError::Option("a step needs at least one sample and one micro-batch".into()));
        }
        let mut steps = Steps { plan, samples, micro, accumulate, total: 0, cached: None };
        let of_epochs = (epochs * steps.per_epoch() as f64).ceil();
        steps.total = match (&steps.plan, max_steps) {
            (Plan::Given(list), _) => list.len() as u64,
            (_, Some(steps)) => steps,
            (_, None) if of_epochs.is_finite() && of_epochs >= 0.0 => of_epochs as u64,
            (_, None) => 0,
        };
        match steps.total {
            0 => Err(TrainError::Option(format!("{epochs} epochs are no step"))),
            _ => Ok(steps),
        }
    }

    /// Steps of an epoch; the last one may have fewer samples.
    pub fn per_epoch(&self) -> u64 {
        match &self.plan {
            Plan::Given(list) => list.len() as u64,
            _ => self.samples.div_ceil(self.micro).div_ceil(self.accumulate) as u64,
        }
    }

    /// Steps in all.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Epochs that end with step `done`, with a fraction.
    pub fn epoch(&self, done: u64) -> f64 {
        done as f64 / self.per_epoch() as f64
    }

    /// The micro-batches of step `step`, counted from 0.
    pub fn batch(&mut self, step: u64) -> Vec<Vec<usize>> {
        if let Plan::Given(list) = &self.plan {
            return list.get(step as usize).cloned().unwrap_or_default();
        }
        let (epoch, within) = (step / self.per_epoch(), (step % self.per_epoch()) as usize);
        let size = self.micro * self.accumulate;
        let (start, end) = (within * size, self.samples.min((within + 1) * size));
        let micro = self.micro;
        self.order(epoch)[start..end].chunks(micro).map(<[usize]>::to_vec).collect()
    }

    fn order(&mut self, epoch: u64) -> &[usize] {
        if self.cached.as_ref().is_none_or(|(cached, _)| *cached != epoch) {
            let order = match self.plan {
                Plan::Shuffled { seed } => Stream::new(seed, "order of samples", epoch).order(self.samples),
                _ => (0..self.samples).collect(),
            };
            self.cached = Some((epoch, order));
        }
        self.cached.as_ref().map_or(&[], |(_, order)| order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_every_sample_once() {
        let mut steps = Steps::new(Plan::Shuffled { seed: 3 }, 23, (4, 2), 2.0, None).unwrap();
        assert_eq!((steps.per_epoch(), steps.total()), (3, 6));
        let epoch = |steps: &mut Steps, n: u64| -> Vec<usize> {
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
    fn what_is_no_step_is_refused() {
        assert!(matches!(Steps::new(Plan::InOrder, 0, (1, 1), 1.0, None), Err(TrainError::NoSamples)));
        assert!(Steps::new(Plan::InOrder, 5, (1, 1), 0.0, None).is_err());
        assert!(Steps::new(Plan::InOrder, 5, (0, 1), 1.0, None).is_err());
        assert!(Steps::new(Plan::InOrder, 5, (1, 1), f64::NAN, None).is_err());
        assert_eq!(Steps::new(Plan::InOrder, 5, (2, 1), 9.0, Some(4)).unwrap().total(), 4);
    }
}
