//! Spearman's correlation of many resamples: values are sorted once, each resample counts them.

use gstore_core::correlation;

/// Pairs of values, of which rows are drawn.
pub(super) struct Pairs {
    sides: [DistinctRanks; 2],
    /// Whether both values of a row are finite.
    finite: Vec<bool>,
}

struct DistinctRanks {
    /// Of each row, how many distinct values are lower.
    of_row: Vec<usize>,
    distinct: usize,
}

impl Pairs {
    /// Sorts both sides, which have a value for each row.
    pub(super) fn new(a: &[f64], b: &[f64]) -> Self {
        let finite = a.iter().zip(b).map(|(a, b)| a.is_finite() && b.is_finite()).collect();
        Self { sides: [DistinctRanks::new(a), DistinctRanks::new(b)], finite }
    }

    /// The correlation of these rows, each as often as it is among them: what [`super::spearman`]
    /// gives for them.
    pub(super) fn spearman(&self, rows: &[usize]) -> f64 {
        if rows.len() < 2 || rows.iter().any(|row| !self.finite[*row]) {
            return 0.0;
        }
        let [a, b] = [0, 1].map(|side: usize| self.sides[side].ranks(rows));
        correlation::of_ranks(&a, &b).unwrap_or(0.0)
    }
}

impl DistinctRanks {
    fn new(values: &[f64]) -> Self {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_unstable_by(|a, b| values[*a].total_cmp(&values[*b]));
        let mut of_row = vec![0; values.len()];
        let mut distinct = 0;
        for equal in order.chunk_by(|a, b| values[*a] == values[*b]) {
            equal.iter().for_each(|row| of_row[*row] = distinct);
            distinct += 1;
        }
        Self { of_row, distinct }
    }

    /// Ranks of drawn rows from 1; equal values have their mean rank.
    fn ranks(&self, rows: &[usize]) -> Vec<f64> {
        let mut counts = vec![0usize; self.distinct];
        rows.iter().for_each(|row| counts[self.of_row[*row]] += 1);
        let mut before = 0usize;
        let rank = |count: usize| {
            let rank = before as f64 + (count + 1) as f64 / 2.0;
            before += count;
            rank
        };
        let of_value: Vec<f64> = counts.into_iter().map(rank).collect();
        rows.iter().map(|row| of_value[self.of_row[*row]]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::spearman;
    use crate::random;

    #[test]
    fn a_resample_has_the_bits_that_sorting_it_gives() {
        let n = 60;
        let of = |stream: u64| move |row: u64| (random::uniform(4, stream, row) * 20.0).floor() - 10.0;
        let a: Vec<f64> = (0..n).map(of(1)).collect();
        let b: Vec<f64> = (0..n).map(of(2)).zip(&a).map(|(own, a)| own + a / 2.0).collect();
        let pairs = Pairs::new(&a, &b);
        for resample in 0..50 {
            let rows: Vec<usize> = (0..n).map(|i| random::below(5, resample, i, a.len())).collect();
            let pick = |values: &[f64]| rows.iter().map(|row| values[*row]).collect::<Vec<f64>>();
            assert_eq!(pairs.spearman(&rows).to_bits(), spearman(&pick(&a), &pick(&b)).to_bits());
        }
        // One row again and again is constant, and what is not finite has no rank.
        assert_eq!(pairs.spearman(&[7; 60]), 0.0);
        let lacking = Pairs::new(&[1.0, f64::NAN, 2.0], &[1.0, 2.0, 3.0]);
        assert_eq!((lacking.spearman(&[0, 1, 2]), lacking.spearman(&[0, 2, 2])), (0.0, 1.0));
        assert_eq!((pairs.spearman(&[]), pairs.spearman(&[3])), (0.0, 0.0));
    }
}
