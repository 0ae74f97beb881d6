//! Counts of values whose range is not known before, in bounded memory.

use std::collections::{BTreeMap, HashMap};

use super::super::scale::round_step;

/// Different values that are counted by themselves, at most.
const APART: usize = 65_536;

/// Fine intervals between the lowest and the highest value, at most.
const FINE: f64 = 65_536.0;

/// Intervals of a histogram, about.
const INTERVALS: f64 = 60.0;

/// Counts of the first different values, and of all further ones in fine intervals whose width is a power of
/// two that grows with the range.
#[derive(Debug, Default)]
pub(super) struct Bins {
    power: i32,
    range: Option<(f64, f64)>,
    /// By the bits of the value.
    apart: HashMap<u64, u64>,
    counts: BTreeMap<i64, u64>,
}

impl Bins {
    pub(super) fn add(&mut self, value: f64) {
        let (low, high) = match self.range {
            Some((low, high)) => (low.min(value), high.max(value)),
            None => {
                // Fine enough to tell neighbours of the first value apart, in numbers of intervals that fit.
                let size = value.abs().max(f64::MIN_POSITIVE);
                self.power = (size.log2().floor() as i32 - 50).max(-1000);
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
        let is_known = self.apart.len() < APART || self.apart.contains_key(&value.to_bits());
        *match is_known {
            true => self.apart.entry(value.to_bits()).or_default(),
            false => self.counts.entry((value / 2f64.powi(self.power)).floor() as i64).or_default(),
        } += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.counted().map(|(_, count)| count).sum()
    }

    /// How many values lie closer to zero than `most`, to the width of a fine interval.
    pub(super) fn within(&self, most: f64) -> u64 {
        self.counted().filter(|(value, _)| value.abs() <= most).map(|(_, count)| count).sum()
    }

    /// Lower end and width of intervals of a round width, and their counts. A value on a bound is in the
    /// interval above it.
    pub(super) fn intervals(&self) -> (f64, f64, Vec<u64>) {
        let (low, high) = self.range.unwrap_or((0.0, 1.0));
        let span = if high > low { high - low } else { low.abs().max(1e-6) };
        let width = round_step(span / INTERVALS);
        // The number nearest to the decimal, which 29 * 0.02 is not: a round width below 1 is a part of 1.
        let bound = |at: f64| if width < 1.0 { at / (1.0 / width).round() } else { at * width };
        let place = |value: f64| {
            let at = (value / width).floor();
            match value {
                _ if value < bound(at) => at - 1.0,
                _ if value >= bound(at + 1.0) => at + 1.0,
                _ => at,
            }
        };
        let first = place(low);
        let mut counts = vec![0; (place(high) - first).max(0.0) as usize + 1];
        let last = counts.len() - 1;
        for (value, count) in self.counted() {
            let at = (place(value) - first).max(0.0) as usize;
            counts[at.min(last)] += count;
        }
        (bound(first), width, counts)
    }

    /// Values and how often they were; all of a fine interval are taken for its middle.
    fn counted(&self) -> impl Iterator<Item = (f64, u64)> {
        let width = 2f64.powi(self.power);
        let apart = self.apart.iter().map(|(bits, count)| (f64::from_bits(*bits), *count));
        apart.chain(self.counts.iter().map(move |(at, count)| ((*at as f64 + 0.5) * width, *count)))
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

    #[test]
    fn values_on_and_near_a_bound_are_in_the_interval_above_it() {
        let counted = |values: &[f64]| {
            let mut bins = Bins::default();
            values.iter().for_each(|v| bins.add(*v));
            bins.intervals()
        };
        let tenths: Vec<f64> = (0..110).map(|i| f64::from(i % 11) / 10.0).collect();
        let (first, width, counts) = counted(&tenths);
        assert_eq!((first, width, counts.len()), (0.0, 0.02, 51));
        let expected: Vec<u64> = (0..51).map(|i| if i % 5 == 0 { 10 } else { 0 }).collect();
        assert_eq!(counts, expected);
        // A quotient of these and the width is below the bound.
        let hundredths: Vec<f64> = (0..=100).map(|i| f64::from(i) / 100.0).collect();
        assert_eq!(counted(&hundredths).2, [vec![2; 50], vec![1]].concat());
        let below = f64::from_bits(0.002f64.to_bits() - 1);
        assert_eq!(counted(&[0.0, below, 0.002, 0.002_013_6, 0.12]).2[..2], [2, 2]);
        assert_eq!(counted(&[-0.6, -0.1, 0.4]).2.iter().filter(|count| **count == 1).count(), 3);
        assert_eq!(counted(&[1e10, 1e10 + 1.0, 1e10 + 59.0]).2[..2], [1, 1]);
    }

    #[test]
    fn of_more_values_than_are_kept_few_are_moved_and_none_of_the_first() {
        let mut bins = Bins::default();
        (0..1000).for_each(|_| bins.add(0.7));
        (0..200_000).for_each(|i| bins.add(f64::from(i) / 200_000.0));
        (0..1000).for_each(|_| bins.add(0.7));
        let (_, width, counts) = bins.intervals();
        assert_eq!((bins.total(), counts.len(), bins.apart.len()), (202_000, 50, APART));
        assert!((width - 0.02).abs() < 1e-12 && bins.counts.len() <= FINE as usize, "{width}");
        for (i, count) in counts.into_iter().enumerate() {
            let expected = if i == 35 { 6000 } else { 4000_u64 };
            assert!(count.abs_diff(expected) <= 8, "{i}: {count}");
        }
    }
}
