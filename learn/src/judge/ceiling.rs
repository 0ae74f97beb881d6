//! Expected recall of a perfect prediction where labels are noisy.

use gstore_core::Cancel;
use gstore_core::correlation::is_constant;
use gstore_core::normal::{upper_quantile, upper_tail};
use serde::{Deserialize, Serialize};

use super::resample::{Bootstrap, Interval};

/// The share of a label's variance that is not noise: the correlation of labels that differ in
/// their noise alone.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reliability {
    /// The share.
    pub value: f64,
    /// Its interval.
    pub interval: Interval,
    /// Rows it was measured on.
    pub rows: usize,
}

/// Odds of a correlation up to which the growth from quarters to halves is taken for that of linear scores,
/// more or less: quarters that hardly agree say nothing of it.
const LITTLE: f64 = 0.05;

/// The correlation that scores would have with those of another projection of the same gradients, from the
/// scores that parts of the coordinates give.
///
/// `parts`: for each row and each of `WAYS` ways to part the coordinates the scores of its four quarters,
/// then of the halves that two of them make, three times one and the other.
///
/// The scores of halves are correlated, and this correlation is stepped up to that of the whole. With
/// `c / (1 - c)` as the odds of a correlation c, twice the coordinates have twice the odds where a score is
/// linear in them (Spearman 1910, Brown 1910). A maximum is not, and its noise is another one in a part; so
/// the odds grow from halves to the whole as they did from quarters to halves. Errors that all rows have in
/// common change no order and are no noise.
///
/// Each resample of the interval has rows that are drawn and one of the ways: which noise the coordinates
/// happen to have is in it. None for fewer than two rows, or scores that are all equal or not finite.
pub fn reliability<const WAYS: usize>(
    parts: &[[[f64; 10]; WAYS]],
    bootstrap: &Bootstrap,
) -> Option<Reliability> {
    if parts.len() < 2 || WAYS == 0 || is_constant(parts) {
        return None;
    }
    let columns = columns(parts);
    let all: Vec<usize> = (0..parts.len()).collect();
    let of = |rows: &[usize], ways: &[Vec<Column>]| {
        let each = ways.iter().map(|columns| Agreement::of(columns, rows));
        each.fold(Agreement::default(), Agreement::plus).stepped_up()
    };
    let value = of(&all, &columns);
    if !value.is_finite() {
        return None;
    }
    let never = Cancel::new();
    let mut ways = (0..WAYS).cycle();
    let one = |rows: &[usize]| {
        let way = ways.next().unwrap_or_default();
        of(rows, &columns[way..way + 1])
    };
    let found = bootstrap.interval(parts.len(), &never, one).ok()??;
    // What chance has put below 0 is 0, and as uncertain.
    let moved = |end: f64| (end + (-value).max(0.0)).clamp(0.0, 1.0);
    let interval = Interval { low: moved(found.low), high: moved(found.high) };
    Some(Reliability { value: value.clamp(0.0, 1.0), interval, rows: parts.len() })
}

/// Values of the rows, less their mean: scores that are far from 0 lose no digits.
type Column = Vec<f64>;

/// For each way the columns of its ten parts, of the sum of the quarters, and of those of the three
/// pairs of halves.
fn columns<const WAYS: usize>(parts: &[[[f64; 10]; WAYS]]) -> Vec<Vec<Column>> {
    let column = |of: &dyn Fn(&[[f64; 10]; WAYS]) -> f64| {
        let values: Column = parts.iter().map(of).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        values.into_iter().map(|value| value - mean).collect::<Column>()
    };
    let of_way = |way: usize| {
        let mut columns: Vec<Column> = (0..10).map(|part| column(&|row| row[way][part])).collect();
        columns.push(column(&|row| row[way][..4].iter().sum()));
        columns.extend([4, 6, 8].map(|half| column(&|row| row[way][half] + row[way][half + 1])));
        columns
    };
    (0..WAYS).map(of_way).collect()
}

/// Mean covariances of scores of different parts, and mean variances of these.
#[derive(Debug, Default, Clone, Copy)]
struct Agreement {
    quarters: (f64, f64),
    halves: (f64, f64),
}

impl Agreement {
    /// Of some rows, with the columns of a way.
    fn of(columns: &[Column], rows: &[usize]) -> Self {
        let n = rows.len() as f64;
        let variance = |column: &Column| {
            let add = |(sum, squares): (f64, f64), row: &usize| {
                let value = column[*row];
                (sum + value, squares + value * value)
            };
            let (sum, squares) = rows.iter().fold((0.0, 0.0), add);
            (squares - sum * sum / n) / n
        };
        let variances: Vec<f64> = columns.iter().map(variance).collect();
        let of = |parts: &[f64], sums: &[f64], pairs: f64| {
            let own: f64 = parts.iter().sum();
            // The variance of a sum has the covariance of each two twice.
            ((sums.iter().sum::<f64>() - own) / (2.0 * pairs), own / parts.len() as f64)
        };
        Self {
            quarters: of(&variances[..4], &variances[10..11], 6.0),
            halves: of(&variances[4..10], &variances[11..], 3.0),
        }
    }

    fn plus(self, other: Self) -> Self {
        let plus = |a: (f64, f64), b: (f64, f64)| (a.0 + b.0, a.1 + b.1);
        Self { quarters: plus(self.quarters, other.quarters), halves: plus(self.halves, other.halves) }
    }

    /// The correlation of the whole; below 0 as far as that of the halves is, in proportion.
    fn stepped_up(self) -> f64 {
        let odds = |(common, all): (f64, f64)| common.max(0.0) / (all - common).max(1e-12 * all);
        let (common, all) = self.halves;
        let halves = odds(self.halves);
        if common < 0.0 {
            return 2.0 * common / all;
        }
        let growth = (halves + 2.0 * LITTLE) / (odds(self.quarters) + LITTLE);
        let whole = halves * growth.max(1.0);
        whole / (1.0 + whole)
    }
}

/// The recall of the top share of noisy labels that the noiseless score would reach when a share of rows is
/// kept, both normal.
pub fn expected_recall(reliability: f64, top: f64, kept: f64) -> f64 {
    if kept >= 1.0 || !(top > 0.0 && top < 1.0) {
        return 1.0;
    }
    if kept <= 0.0 {
        return 0.0;
    }
    let (common, own) = (reliability.max(0.0).sqrt(), (1.0 - reliability).max(1e-12).sqrt());
    // Exceeded by a standard normal value with such a probability; and the probability of values below x.
    let exceeded = |p: f64| if p <= 0.5 { upper_quantile(p) } else { -upper_quantile(1.0 - p) };
    let below = |x: f64| if x >= 0.0 { 1.0 - upper_tail(x) } else { upper_tail(-x) };
    let cut = exceeded(kept);
    const STEPS: usize = 2000;
    let at = |step: usize| {
        let label = exceeded(top * (step as f64 + 0.5) / STEPS as f64);
        below((common * label - cut) / own)
    };
    (0..STEPS).map(at).sum::<f64>() / STEPS as f64
}

#[cfg(test)]
mod tests {
    use gstore_core::correlation::pearson;

    use super::*;
    use crate::random;

    #[test]
    fn ceilings_are_those_of_the_simulation() {
        // The table of docs/prefilter.md: the share of noise, and recalls at 10, 20, 36.5 and 50 %.
        for (noise, recalls) in [
            (0.25, [0.80, 0.95, 1.00, 1.00]),
            (0.50, [0.59, 0.79, 0.93, 0.98]),
            (0.75, [0.38, 0.58, 0.78, 0.88]),
            (0.95, [0.20, 0.35, 0.55, 0.68]),
        ] {
            for (kept, recall) in [0.1, 0.2, 0.365, 0.5].into_iter().zip(recalls) {
                let found = expected_recall(1.0 - noise, 0.05, kept);
                assert!((found - recall).abs() < 0.012, "{noise} {kept}: {found}");
            }
        }
        assert_eq!((expected_recall(0.5, 0.05, 1.0), expected_recall(0.5, 0.05, 0.0)), (1.0, 0.0));
    }

    fn normal(of: u64, row: u64) -> f64 {
        (0..12).map(|i| random::uniform(of, row, i)).sum::<f64>() - 6.0
    }

    const ROWS: u64 = 2000;

    /// Scores of rows by sixteen classes of coordinates, whose noise has a variance of 16 each: that of
    /// parts, and that of all with two seeds of the noise. `score` makes one of the values of some subtasks.
    fn scores(
        signals: &[f64],
        common: f64,
        score: impl Fn(&[f64]) -> f64,
    ) -> (Vec<[[f64; 10]; 3]>, [Vec<f64>; 2]) {
        let value = |seed: u64, row: u64, classes: &[u64]| {
            let of = |(subtask, signal): (usize, &f64)| {
                let noise = |class: &u64| {
                    4.0 * normal(seed + 100 * subtask as u64 + class, row) + common * *class as f64
                };
                let noise: f64 = classes.iter().map(noise).sum();
                signal * normal(10_000 + subtask as u64, row) + noise / classes.len() as f64
            };
            score(&signals.iter().enumerate().map(of).collect::<Vec<f64>>())
        };
        let quarter = |way: u64, q: u64| (0..16).filter(move |class| (class * (2 * way + 1)) % 16 / 4 == q);
        let part = |row: u64, way: u64, part: usize| {
            let quarters: &[u64] =
                [&[0][..], &[1], &[2], &[3], &[0, 1], &[2, 3], &[0, 2], &[1, 3], &[0, 3], &[1, 2]][part];
            value(1000, row, &quarters.iter().flat_map(|q| quarter(way, *q)).collect::<Vec<u64>>())
        };
        let of_row =
            |row| std::array::from_fn(|way| std::array::from_fn(|which| part(row, way as u64, which)));
        let all: Vec<u64> = (0..16).collect();
        let whole = |seed: u64| (0..ROWS).map(|row| value(seed, row, &all)).collect();
        ((0..ROWS).map(of_row).collect(), [whole(1000), whole(5000)])
    }

    #[test]
    fn noise_is_told_from_signal() {
        // A variance of 2 of the signal and 1 of the noise. Errors that all rows have in common are none, and
        // change nothing.
        let of = |common: f64| {
            let (parts, _) = scores(&[2.0f64.sqrt()], common, |values| values[0]);
            reliability(&parts, &Bootstrap::default()).unwrap()
        };
        let found = of(0.0);
        assert!((found.value - 2.0 / 3.0).abs() < 0.04, "{found:?}");
        assert!(found.interval.low < found.value && found.value < found.interval.high);
        let shifted = of(10.0);
        assert!((shifted.value - found.value).abs() < 1e-9, "{shifted:?}");
        assert!(reliability(&[[[1.0; 10]; 3]; 5], &Bootstrap::default()).is_none());
        assert!(reliability(&[[[f64::NAN; 10]; 3]; 5], &Bootstrap::default()).is_none());
    }

    #[test]
    fn the_noise_of_a_maximum_is_that_of_the_maximum() {
        for signal in [0.5, 1.0, 2.0] {
            for is_max in [true, false] {
                let best = move |values: &[f64]| {
                    let better = if is_max { f64::max } else { f64::min };
                    values.iter().copied().fold(values[0], better)
                };
                let (parts, whole) = scores(&[signal; 6], 0.0, best);
                let found = reliability(&parts, &Bootstrap::default()).unwrap();
                let truth = pearson(&whole[0], &whole[1]).unwrap();
                assert!((found.value - truth).abs() < 0.05, "{signal}: {found:?} and {truth}");
                assert!(found.interval.low < truth && truth < found.interval.high, "{found:?} and {truth}");
            }
        }
    }

    #[test]
    fn labels_of_noise_alone_have_an_interval() {
        let (parts, _) = scores(&[0.0; 6], 0.0, |values| values.iter().copied().fold(values[0], f64::max));
        for rows in [50, 100, 500, 2000] {
            let found = reliability(&parts[..rows], &Bootstrap::default()).unwrap();
            assert!(found.value < 0.3 && found.interval.low == 0.0, "{rows}: {found:?}");
            assert!(found.interval.high > 0.5 / (rows as f64).sqrt(), "{rows}: {found:?}");
        }
    }
}
