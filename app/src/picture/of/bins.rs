//! Counts of values whose range is not known before, in bounded memory.

use std::collections::BTreeMap;

use super::super::scale::round_step;

/// Fine intervals between the lowest and the highest value, at most.
const FINE: f64 = 4096.0;

/// Intervals of a histogram, about.
const INTERVALS: f64 = 60.0;

/// Counts in fine intervals whose width is a power of two that grows with the range.
#[derive(Debug, Default)]
pub(super) struct Bins {
    power: i32,
    range: Option<(f64, f64)>,
    counts: BTreeMap<i64, u64>,
}

impl Bins {
    pub(super) fn add(&mut self, value: f64) {
        let (low, high) = match self.range {
            Some((low, high)) => (low.min(value), high.max(value)),
            None => {
                // Fine enough to tell neighbours of the first value apart, in numbers of intervals that fit.
                self.power =
                    if value == 0.0 { -60 } else { (value.abs().log2().floor() as i32 - 24).max(-1000) };
                (value, value)
            }
        };
        self.range = Some((low, high));
        while (high - low) / 2f64.powi(self.power) >= FINE {
            self.power += 1;
            let mut wider = BTreeMap::new();
            for (at, count) in std::mem::take(&mut self.counts) {
                *wider.entry(at >> 1).or_default() += count;
            }
            self.counts = wider;
        }
        *self.counts.entry((value / 2f64.powi(self.power)).floor() as i64).or_default() += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// How many values lie closer to zero than `most`, to the width of a fine interval.
    pub(super) fn within(&self, most: f64) -> u64 {
        self.middles().filter(|(middle, _)| middle.abs() <= most).map(|(_, count)| count).sum()
    }

    /// Lower end and width of intervals of a round width, and their counts.
    pub(super) fn intervals(&self) -> (f64, f64, Vec<u64>) {
        let (low, high) = self.range.unwrap_or((0.0, 1.0));
        let span = if high > low { high - low } else { low.abs().max(1e-6) };
        let width = round_step(span / INTERVALS);
        let first = (low / width).floor();
        let mut counts = vec![0; ((high / width).floor() - first).max(0.0) as usize + 1];
        for (middle, count) in self.middles() {
            let at = ((middle / width).floor() - first).max(0.0) as usize;
            let last = counts.len() - 1;
            counts[at.min(last)] += count;
        }
        (first * width, width, counts)
    }

    fn middles(&self) -> impl Iterator<Item = (f64, u64)> {
        let width = 2f64.powi(self.power);
        self.counts.iter().map(move |(at, count)| ((*at as f64 + 0.5) * width, *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_whatever_the_order() {
        let values: Vec<f64> = (0..5000).map(|i| f64::from(i) / 5000.0 - 0.25).collect();
        let counted = |values: &mut dyn Iterator<Item = f64>| {
            let mut bins = Bins::default();
            values.for_each(|v| bins.add(v));
            (bins.total(), bins.intervals())
        };
        let (total, (first, width, counts)) = counted(&mut values.iter().copied());
        assert_eq!((total, counts.iter().sum::<u64>(), counts.len()), (5000, 5000, 51));
        assert!((first + 0.26).abs() < 0.02 && (width - 0.02).abs() < 1e-12, "{first} {width}");
        assert_eq!(counted(&mut values.iter().rev().copied()).0, 5000);
    }

    #[test]
    fn values_of_any_size_fit() {
        let mut bins = Bins::default();
        for v in [1e-30, 0.0, 3e38, -3e38] {
            bins.add(v);
        }
        assert_eq!((bins.total(), bins.intervals().2.iter().sum::<u64>()), (4, 4));
        let mut same = Bins::default();
        (0..9).for_each(|_| same.add(0.5));
        assert_eq!(same.intervals().2.iter().filter(|count| **count > 0).count(), 1);
        assert_eq!((same.within(0.4), same.within(0.6)), (0, 9));
        assert_eq!(Bins::default().intervals().2.iter().sum::<u64>(), 0);
    }
}
