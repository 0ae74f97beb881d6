//! Confidence intervals: Wilson's for shares, and the paired bootstrap for means and their differences.
//!
//! Invariants
//! - a resample draws rows within each group, so that every group keeps its size
//! - all systems and metrics have the same draws, so that differences are paired
//! - draws depend on the seed, the number of the resample and the row alone: not on threads
//! - a mean, or a difference of two means, within the rounding error of its sums counts as 0, since its sign
//!   decides what improved

use std::ops::Range;

use gstore_core::{Cancel, Cancelled, parallel};
use gstore_generate::uniform;

/// Confidence of every interval.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// Quantile of the normal distribution that leaves half of the rest on each side.
const Z: f64 = 1.959_963_984_540_054;

/// Rows below which a bootstrap says nothing: it draws what is there, and of one row always the same.
pub(crate) const LEAST_ROWS: usize = 5;

/// Where a value lies with [`CONFIDENCE`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Wilson's score interval of a share (Wilson 1927).
pub(crate) fn wilson(successes: f64, rows: usize) -> Interval {
    if rows == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let n = rows as f64;
    let share = successes / n;
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    // Rounding must not put the share itself outside.
    Interval { low: (middle - half).max(0.0).min(share), high: (middle + half).min(1.0).max(share) }
}

/// How often rows are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Resamples.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Bootstrap {
    /// Resamples, unless another number is asked for.
    pub const RESAMPLES: usize = 10_000;
    /// Resamples at most: 80 MB for each group and system.
    pub const MOST: usize = 10_000_000;
    /// Seed, unless another is asked for.
    pub const SEED: u64 = 42;
}

impl Default for Bootstrap {
    fn default() -> Self {
        Bootstrap { resamples: Self::RESAMPLES, seed: Self::SEED }
    }
}

/// A difference of two means over the same rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Paired {
    /// The difference.
    pub difference: f64,
    /// Its percentile interval.
    pub interval: Interval,
    /// Two-sided: `2 (n + 1) / (N + 1)`, at most 1, where n of N resamples have a difference on the other
    /// side of 0, or on it.
    pub p: f64,
}

/// Means of the systems over some rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Means {
    /// Rows.
    pub rows: usize,
    /// The mean of each system, and its percentile interval.
    pub means: Vec<(f64, Interval)>,
    /// Each system but the one that others are compared with, less that one.
    pub differences: Vec<(usize, Paired)>,
}

/// Means over groups of rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resampled {
    /// Of each group.
    pub groups: Vec<Means>,
    /// Of all rows.
    pub all: Means,
    /// The mean of the groups' means.
    pub of_groups: Means,
}

/// Resamples that a thread draws at a time.
const SHARE: usize = 64;

/// Means of each system's values over groups of rows, with their intervals and those of the differences from
/// system `base`. `values` are by system and row; groups are adjacent ranges of rows, none of them empty.
///
/// Memory: 8 bytes for each resample, group and system.
///
/// # Errors
/// Being told to stop.
pub(crate) fn resample(
    values: &[Vec<f64>],
    groups: &[Range<usize>],
    base: usize,
    bootstrap: &Bootstrap,
    (threads, cancel): (usize, &Cancel),
) -> Result<Resampled, Cancelled> {
    let draw = |resample: u64, row: usize, group: &Range<usize>| {
        let place = uniform(bootstrap.seed, resample, row as u64) * group.len() as f64;
        group.start + (place as usize).min(group.len().saturating_sub(1))
    };
    // Of each part (the groups, all rows, the mean of groups) and system a value for each resample.
    let parts = groups.len() + 2;
    let mut drawn: Vec<Vec<f64>> = vec![Vec::new(); parts * values.len()];
    let numbers: Vec<u64> = (0..bootstrap.resamples as u64).collect();
    let of = |number: &u64| -> Result<Vec<f64>, Cancelled> {
        Ok(means(values, groups, |row, group| draw(*number, row, group)))
    };
    for means in parallel::map(&numbers, SHARE, threads, cancel, of)? {
        drawn.iter_mut().zip(means).for_each(|(all, mean)| all.push(mean));
    }
    let found = means(values, groups, |row, _| row);
    let every = groups.first().map_or(0, |first| first.start)..groups.last().map_or(0, |last| last.end);
    let mut all: Vec<Means> = Vec::with_capacity(parts);
    for part in 0..parts {
        let systems = part * values.len()..(part + 1) * values.len();
        let own = groups.get(part).unwrap_or(&every);
        let noise: Vec<f64> = values.iter().map(|values| rounding(&values[own.clone()])).collect();
        all.push(summary(&found[systems.clone()], &drawn[systems], &noise, own.len(), base));
    }
    let of_groups = all.pop().unwrap_or_default();
    let total = all.pop().unwrap_or_default();
    Ok(Resampled { groups: all, all: total, of_groups })
}

/// The means of the groups, of all rows and of the groups' means, each for every system.
fn means(
    values: &[Vec<f64>],
    groups: &[Range<usize>],
    row_of: impl Fn(usize, &Range<usize>) -> usize,
) -> Vec<f64> {
    let systems = values.len();
    let mut found = Vec::with_capacity((groups.len() + 2) * systems);
    let (mut total, mut of_groups) = (vec![0.0; systems], vec![0.0; systems]);
    let mut sums = vec![0.0; systems];
    for group in groups {
        sums.fill(0.0);
        for row in group.clone() {
            let drawn = row_of(row, group);
            sums.iter_mut().zip(values).for_each(|(sum, values)| *sum += values[drawn]);
        }
        for (system, sum) in sums.iter().enumerate() {
            let mean = sum / group.len().max(1) as f64;
            total[system] += sum;
            of_groups[system] += mean;
            found.push(mean);
        }
    }
    let rows: usize = groups.iter().map(Range::len).sum();
    found.extend(total.iter().map(|sum| sum / rows.max(1) as f64));
    found.extend(of_groups.iter().map(|sum| sum / groups.len().max(1) as f64));
    found
}

/// How far a mean of as many of these values may be from 0 if only rounding makes it differ. Adding n values is
/// wrong by at most n/2 epsilons of n times the largest; the other half is for the values, which are rounded
/// themselves.
pub(crate) fn rounding(values: &[f64]) -> f64 {
    let largest = values.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    values.len() as f64 * f64::EPSILON * largest
}

/// The value, or 0 if it lies within `noise` of 0.
pub(crate) fn settled(value: f64, noise: f64) -> f64 {
    if value.abs() <= noise { 0.0 } else { value }
}

/// `noise`: of each system what rounding makes of a mean that is 0.
fn summary(found: &[f64], drawn: &[Vec<f64>], noise: &[f64], rows: usize, base: usize) -> Means {
    let means = found.iter().zip(drawn).zip(noise).map(|((mean, drawn), noise)| {
        let drawn = drawn.iter().map(|mean| settled(*mean, *noise));
        (settled(*mean, *noise), percentiles(drawn.collect()))
    });
    let others = (0..found.len()).filter(|system| *system != base);
    let differences = others.map(|system| {
        let noise = noise[system] + noise[base];
        let pairs = drawn[system].iter().zip(&drawn[base]);
        let differences: Vec<f64> = pairs.map(|(a, b)| settled(a - b, noise)).collect();
        let n = differences.len() as f64;
        let below = differences.iter().filter(|d| **d <= 0.0).count() as f64;
        let above = differences.iter().filter(|d| **d >= 0.0).count() as f64;
        let p = (2.0 * (below.min(above) + 1.0) / (n + 1.0)).min(1.0);
        let difference = settled(found[system] - found[base], noise);
        (system, Paired { difference, interval: percentiles(differences), p })
    });
    Means { rows, means: means.collect(), differences: differences.collect() }
}

/// The interval between two quantiles, interpolated between values.
fn percentiles(mut values: Vec<f64>) -> Interval {
    values.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * values.len().saturating_sub(1) as f64;
        let (low, part) = (place.floor() as usize, place.fract());
        let value = |index: usize| values.get(index).or(values.last()).copied().unwrap_or(f64::NAN);
        let (a, b) = (value(low), value(low + 1));
        if part > 0.0 { a + part * (b - a) } else { a }
    };
    let tail = (1.0 - CONFIDENCE) / 2.0;
    Interval { low: at(tail), high: at(1.0 - tail) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn the_interval_of_wilson() {
        // 8 of 10, as R's prop.test without continuity correction has it.
        let Interval { low, high } = wilson(8.0, 10);
        assert!((low - 0.490_162).abs() < 1e-6 && (high - 0.943_318).abs() < 1e-6, "{low} {high}");
        let none = wilson(0.0, 20);
        assert!(none.low == 0.0 && (none.high - 0.161_125).abs() < 1e-6, "{none:?}");
        assert_eq!(wilson(0.0, 0), Interval { low: 0.0, high: 1.0 });
    }

    fn of(values: &[Vec<f64>], groups: &[Range<usize>], threads: usize) -> Resampled {
        let bootstrap = Bootstrap { resamples: 2000, seed: 7 };
        resample(values, groups, 0, &bootstrap, (threads, &Cancel::new())).expect("not stopped")
    }

    #[test]
    fn a_difference_is_as_sure_as_its_rows() {
        let worse: Vec<f64> = (0..200).map(|row| f64::from(row % 2)).collect();
        let better: Vec<f64> =
            (0..200).map(|row| f64::from(u8::from(row % 2 == 1 || row % 8 == 0))).collect();
        let found = of(&[worse.clone(), better, worse], &[0..200], 2);
        let [(1, better), (2, same)] = found.all.differences[..] else { panic!("two differences") };
        assert!((better.difference - 0.125).abs() < 1e-12);
        assert!(
            better.interval.low > 0.05 && better.interval.high < 0.2 && better.p == 2.0 / 2001.0,
            "{better:?}"
        );
        assert_eq!((same.difference, same.p), (0.0, 1.0));
        assert_eq!(same.interval, Interval { low: 0.0, high: 0.0 });
        // The standard error of a share of a half over 200 rows is 0.035.
        let (mean, interval) = found.all.means[0];
        assert!(mean == 0.5 && (interval.high - interval.low - 0.139).abs() < 0.02, "{interval:?}");
    }

    /// Rows of two systems whose differences (-0.2, 1.2 or 1, 0.8, -0.2, 1) have 0 as the 2.5 % quantile of their
    /// resampled mean: 1 % of the resamples are below 0, and 2.6 %, of one 0.8 and four -0.2, are 0. So p is 0.0717.
    pub(crate) const TIED: [[[f64; 5]; 2]; 2] = [
        [[0.6, -0.6, -0.4, 0.2, -0.8], [0.4, 0.6, 0.4, 0.0, 0.2]],
        // F1 in tenths.
        [[0.3, 0.0, 0.0, 0.3, 0.0], [0.1, 1.0, 0.8, 0.1, 1.0]],
    ];

    #[test]
    fn a_difference_of_0_is_not_moved_from_there_by_rounding() {
        for rows in TIED {
            let [base, other] = rows.map(|values| values.to_vec());
            let higher = of(&[base.clone(), other.clone()], &[0..5], 1).all.differences[0].1;
            let lower = of(&[other, base], &[0..5], 1).all.differences[0].1;
            assert_eq!((higher.interval.low, lower.interval.high), (0.0, 0.0), "{higher:?} {lower:?}");
            assert!(higher.interval.high > 0.9 && lower.interval.low < -0.9, "{higher:?} {lower:?}");
            for found in [higher, lower] {
                assert!((found.p - 0.0717).abs() < 0.01, "{found:?}");
            }
        }
    }

    #[test]
    fn what_is_0_but_for_rounding_is_0_whatever_the_part() {
        // 0.1 + 0.2 - 0.3 is 5.6e-17.
        let own = vec![0.1, 0.2, -0.3, 0.1, 0.2, -0.3];
        let found = of(&[own, vec![0.0; 6]], &[0..3, 3..6], 1);
        for part in [&found.groups[0], &found.groups[1], &found.all, &found.of_groups] {
            assert_eq!((part.means[0].0, part.differences[0].1.difference), (0.0, 0.0), "{part:?}");
        }
        // What is more than rounding stays, however small it is.
        let small = of(&[vec![0.0; 6], vec![1e-300; 6]], &[0..6], 1);
        assert!(small.all.differences[0].1.interval.low > 0.0, "{small:?}");
        let close = of(&[vec![1.0; 6], vec![1.0 + 1e-12; 6]], &[0..6], 1);
        assert!(close.all.differences[0].1.interval.low > 0.9e-12, "{close:?}");
    }

    #[test]
    fn groups_count_by_rows_or_alike() {
        let values = [vec![1.0, 1.0, 1.0, 0.0], vec![0.0, 0.0, 0.0, 1.0]];
        let found = of(&values, &[0..3, 3..4], 1);
        assert_eq!((found.all.means[0].0, found.of_groups.means[0].0), (0.75, 0.5));
        assert_eq!(found.groups[1].means[1].0, 1.0);
        assert_eq!(found.groups[0].differences[0].1.difference, -1.0);
        assert_eq!((found.groups[0].rows, found.all.rows), (3, 4));
        assert_eq!(found, of(&values, &[0..3, 3..4], 3));
    }
}
