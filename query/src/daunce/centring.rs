//! Centring of losses over models: by row, by model, within groups.

use gstore_core::correlation::is_constant;

use super::how::{Center, CovarianceOptions};

/// Lanes in which means are summed, so that the sum has one order and still keeps a processor busy.
const LANES: usize = 8;

/// How often the mean is subtracted. What rounding leaves of it the first time is a share of the losses'
/// level, which products would multiply with the level of the other row: that may be more than a covariance
/// near 0.
const CENTRINGS: usize = 2;

/// The models that scores are taken over, and which group each is of: the copies of one base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Models {
    group: Vec<u32>,
    groups: usize,
}

impl Models {
    /// Of one base model.
    pub fn one(models: usize) -> Self {
        Self { group: vec![0; models], groups: models.min(1) }
    }

    /// Of several: the group of each model, numbered from 0 without gaps.
    pub fn grouped(group: Vec<u32>) -> Self {
        let groups = group.iter().map(|g| *g as usize + 1).max().unwrap_or(0);
        Self { group, groups }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.group.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.group.is_empty()
    }

    /// How many groups there are.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// The group of each model.
    pub fn group(&self) -> &[u32] {
        &self.group
    }

    /// Dimensions of the losses of a row once they are centred.
    pub(crate) fn dimensions(&self, center: Center) -> usize {
        self.len().saturating_sub(if center.of_rows() { self.groups } else { 0 })
    }

    /// The largest `min_models` that they are enough for: a score takes that many, and one dimension less.
    pub(crate) fn enough_for(&self, center: Center) -> usize {
        self.len().min(self.dimensions(center) + 1)
    }

    /// Some of the models, by their places.
    pub(crate) fn some(&self, places: &[usize]) -> Self {
        let mut known: Vec<u32> = Vec::new();
        let number = |place: &usize| {
            let old = self.group[*place];
            let at = known.iter().position(|g| *g == old).unwrap_or_else(|| {
                known.push(old);
                known.len() - 1
            });
            at as u32
        };
        let group = places.iter().map(number).collect();
        Self { group, groups: known.len() }
    }
}

/// What is subtracted from the losses of a row, and what sums of products are divided by.
#[derive(Debug, Clone, PartialEq)]
pub struct Centring {
    models: Models,
    how: CovarianceOptions,
    /// Mean of each model over the pool's rows; empty where none is subtracted.
    pub(super) means: Vec<f64>,
}

impl Centring {
    /// `means`: the mean of each model over the pool's rows, needed where `how` subtracts it.
    ///
    /// # Panics
    /// When it is needed and has another length than `models`.
    pub fn new(models: Models, how: CovarianceOptions, means: Vec<f64>) -> Self {
        let means = if how.center.of_models() { means } else { Vec::new() };
        assert!(!how.center.of_models() || means.len() == models.len(), "a mean for each model");
        Self { models, how, means }
    }

    /// The models.
    pub fn models(&self) -> &Models {
        &self.models
    }

    /// How the score is taken.
    pub fn how(&self) -> CovarianceOptions {
        self.how
    }

    /// What sums of products are divided by.
    pub(super) fn degrees(&self) -> f64 {
        let estimated = if self.how.center.of_rows() { self.models.groups } else { 1 };
        self.models.len() as f64 - f64::from(self.how.ddof) * estimated as f64
    }

    /// Subtracts from the sum of so many rows' losses the means of the models for all rows but one, so that
    /// centring, which subtracts them once, leaves the sum of what it leaves of each row.
    pub(crate) fn subtract_other_means(&self, sum: &mut [f64], rows: usize) {
        let others = rows.saturating_sub(1) as f64;
        sum.iter_mut().zip(&self.means).for_each(|(sum, mean)| *sum -= others * mean);
    }

    /// Centres the losses of a row that has all of them.
    pub(super) fn centre(&self, values: &mut [f64]) {
        for (value, mean) in values.iter_mut().zip(&self.means) {
            *value -= mean;
        }
        if !self.how.center.of_rows() {
            return;
        }
        if self.models.groups <= 1 {
            return centre_one(values);
        }
        for g in 0..self.models.groups as u32 {
            self.centre_group(values, g, |_| true);
        }
    }

    /// The same over the models that `used` names alone; the values of the others become 0.
    pub(crate) fn centre_used(&self, values: &mut [f64], used: &[bool]) {
        for (k, value) in values.iter_mut().enumerate() {
            *value = if used[k] { *value - self.means.get(k).unwrap_or(&0.0) } else { 0.0 };
        }
        if self.how.center.of_rows() {
            for g in 0..self.models.groups as u32 {
                self.centre_group(values, g, |k| used[k]);
            }
        }
    }

    fn centre_group(&self, values: &mut [f64], g: u32, used: impl Fn(usize) -> bool) {
        let group = &self.models.group;
        let own = |k: &usize| group[*k] == g && used(*k);
        let (mut count, mut first, mut varies) = (0usize, None, false);
        for k in (0..values.len()).filter(own) {
            count += 1;
            varies |= *first.get_or_insert(values[k]) != values[k];
        }
        // The mean of equal values may be off by a rounding.
        if !varies {
            return (0..values.len()).filter(own).for_each(|k| values[k] = 0.0);
        }
        for _ in 0..CENTRINGS {
            let mean = (0..values.len()).filter(own).map(|k| values[k]).sum::<f64>() / count as f64;
            (0..values.len()).filter(own).for_each(|k| values[k] -= mean);
        }
    }
}

fn centre_one(values: &mut [f64]) {
    if is_constant(values) {
        return values.fill(0.0);
    }
    for _ in 0..CENTRINGS {
        let mean = sum(values.iter().copied()) / values.len() as f64;
        values.iter_mut().for_each(|value| *value -= mean);
    }
}

/// A sum in lanes.
pub(crate) fn sum(values: impl Iterator<Item = f64>) -> f64 {
    let mut lanes = [0.0f64; LANES];
    for (i, value) in values.enumerate() {
        lanes[i % LANES] += value;
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_vary_becomes_nothing() {
        // The mean of three times 0.1 is not 0.1.
        let centring = Centring::new(Models::one(3), CovarianceOptions::default(), Vec::new());
        let mut values = [0.1; 3];
        centring.centre(&mut values);
        assert_eq!(values, [0.0; 3]);
        let centring =
            Centring::new(Models::grouped(vec![0, 1, 0, 1, 1]), CovarianceOptions::default(), Vec::new());
        let mut values = [0.1, 2.3, 0.1, 2.3, 2.3];
        centring.centre(&mut values);
        assert_eq!(values, [0.0; 5]);
    }

    #[test]
    fn nothing_is_left_of_a_high_level() {
        let levels: Vec<f64> = (0..24).map(|k| 3.7 + f64::from(k * k % 7) * 1e-6).collect();
        for models in [Models::one(24), Models::grouped((0..24).map(|k| k % 2).collect())] {
            let centring = Centring::new(models, CovarianceOptions::default(), Vec::new());
            let mut values = levels.clone();
            centring.centre(&mut values);
            let left = values.iter().sum::<f64>().abs();
            assert!(left < 1e-19, "{left:e}");
        }
    }

    #[test]
    fn groups_have_their_own_means() {
        let centring =
            Centring::new(Models::grouped(vec![0, 0, 1, 1]), CovarianceOptions::default(), Vec::new());
        let mut values = [1.0, 3.0, 10.0, 30.0];
        centring.centre(&mut values);
        assert_eq!(values, [-1.0, 1.0, -10.0, 10.0]);
        assert_eq!(centring.degrees(), 2.0);
    }

    #[test]
    fn some_of_the_models_keep_their_groups() {
        let models = Models::grouped(vec![0, 0, 1, 2, 2]);
        assert_eq!(models.some(&[3, 0, 4]), Models::grouped(vec![0, 1, 0]));
    }
}
