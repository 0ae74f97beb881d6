//! Spectrum of a module's curvature: how many directions matter, and how widely eigenvalues are spread.

/// Statistics of a set of eigenvalues.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// The eigenvalues, descending.
    pub values: Vec<f64>,
    /// Their sum.
    pub total: f64,
    /// The damping used for the effective dimension and the condition.
    pub damping: f64,
}

impl Spectrum {
    /// From eigenvalues in any order.
    pub fn new(mut values: Vec<f64>, damping: f64) -> Self {
        values.sort_by(|a, b| b.total_cmp(a));
        let total = values.iter().sum();
        Self { values, total, damping }
    }

    /// `sum L / (L + damping)`: the number of directions that damping leaves.
    pub fn effective_dimension(&self) -> f64 {
        let part = |value: &f64| if *value > 0.0 { value / (value + self.damping) } else { 0.0 };
        self.values.iter().map(part).sum()
    }

    /// The largest damped eigenvalue over the smallest; infinite if that is 0.
    pub fn condition(&self) -> f64 {
        match (self.values.first(), self.values.last()) {
            (Some(_), Some(last)) if last + self.damping <= 0.0 => f64::INFINITY,
            (Some(first), Some(last)) => (first + self.damping) / (last + self.damping),
            _ => 1.0,
        }
    }

    /// The smallest number of largest eigenvalues with this share of the sum.
    pub fn needed_for(&self, share: f64) -> usize {
        let mut sum = 0.0;
        let enough = |value: &f64| {
            sum += value;
            sum >= share * self.total
        };
        self.values.iter().position(enough).map_or(self.values.len(), |at| at + 1)
    }

    /// The mean.
    pub fn mean(&self) -> f64 {
        self.total / self.values.len().max(1) as f64
    }

    /// The distance of another spectrum's eigenvalues from these, by rank: the Euclidean norm of the
    /// difference over that of these; 0 if both are 0.
    pub fn difference(&self, other: &Spectrum) -> f64 {
        let norm =
            |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
        let longest = self.values.len().max(other.values.len());
        let at = |values: &[f64], rank: usize| values.get(rank).copied().unwrap_or(0.0);
        let off = norm(&mut (0..longest).map(|rank| at(&self.values, rank) - at(&other.values, rank)));
        if off > 0.0 { off / norm(&mut self.values.iter().copied()) } else { 0.0 }
    }

    /// The median.
    pub fn median(&self) -> f64 {
        let n = self.values.len();
        match n {
            0 => 0.0,
            n if n % 2 == 1 => self.values[n / 2],
            n => (self.values[n / 2] + self.values[n / 2 - 1]) / 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_a_few_values() {
        let spectrum = Spectrum::new(vec![1.0, 4.0, 0.0, 3.0], 1.0);
        assert_eq!(spectrum.values, [4.0, 3.0, 1.0, 0.0]);
        assert_eq!(spectrum.effective_dimension(), 0.8 + 0.75 + 0.5);
        assert_eq!(spectrum.condition(), 5.0);
        assert_eq!((spectrum.needed_for(0.5), spectrum.needed_for(0.9), spectrum.needed_for(1.0)), (1, 3, 3));
        assert_eq!((spectrum.mean(), spectrum.median()), (2.0, 2.0));
        for values in [vec![3.0, 0.0], vec![0.0; 2]] {
            assert_eq!(Spectrum::new(values, 0.0).condition(), f64::INFINITY);
        }
        let other = Spectrum::new(vec![0.0, 4.0, 2.0, 3.0], 1.0);
        assert_eq!(spectrum.difference(&other), 1.0 / 26.0f64.sqrt());
        assert_eq!(spectrum.difference(&spectrum), 0.0);
        assert_eq!(Spectrum::new(vec![0.0; 2], 0.0).difference(&Spectrum::new(vec![0.0; 2], 0.0)), 0.0);
    }
}
