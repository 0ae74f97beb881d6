//! Score aggregation: values of target samples, `within` a subtask, then `across` the subtasks.

use std::ops::Range;

use crate::influence::result::NO_SUBTASK;
use crate::influence::spec::{Across, Within};

/// The aggregation of one question.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// How the values of a subtask become one.
    pub within: Within,
    /// How the subtasks' values become the score.
    pub across: Across,
    /// Which values belong to each subtask: ranges that are not empty.
    pub subtasks: Vec<Range<usize>>,
}

impl Terms {
    /// Each of so many values by itself. A row counts if all of them are finite, of
    /// covariances those that are.
    pub(crate) fn each(values: usize) -> Self {
        let subtasks = (0..values).map(|value| value..value + 1).collect();
        Self { within: Within::Max, across: Across::Max, subtasks }
    }

    /// Whether each subtask has one value, in their order.
    pub(crate) fn is_of_values(&self) -> bool {
        self.subtasks.iter().enumerate().all(|(s, values)| *values == (s..s + 1))
    }

    /// Of subtasks with a value each: one of all values, which makes of them what the score does.
    pub(crate) fn flat(&self) -> Self {
        let all = 0..self.subtasks.len();
        Self { within: self.across.into(), across: self.across, subtasks: std::iter::once(all).collect() }
    }

    /// The value of one subtask. Sums are taken in f64 in the order of the samples, so only the
    /// last rounding is to f32.
    pub fn subtask(&self, subtask: usize, values: &[f32]) -> f32 {
        let values = &values[self.subtasks[subtask].clone()];
        if let [only] = values {
            return *only;
        }
        // max and min of Rust skip NaN; it must not vanish here.
        if values.chunks(LANES).any(|some| some.iter().fold(false, |found, v| found | v.is_nan())) {
            return f32::NAN;
        }
        let sum = || values.iter().map(|&v| f64::from(v)).sum::<f64>();
        match self.within {
            Within::Mean => (sum() / values.len() as f64) as f32,
            Within::Sum => sum() as f32,
            Within::Max => best(values, f32::NEG_INFINITY, |a, b| a > b),
            Within::Min => best(values, f32::INFINITY, |a, b| a < b),
        }
    }

    /// The score of a row and the subtask that it is due to: the largest for `max`, the smallest for `min`,
    /// the largest contribution for `mean` and `sum`; the first of equals. A score that is not finite comes
    /// without a subtask, also where one subtask's value is not finite and the aggregation would hide it.
    pub fn score(&self, values: &[f32]) -> (f32, u32) {
        let mut sum = 0.0f64;
        let mut high = (f32::NEG_INFINITY, NO_SUBTASK);
        let mut low = (f32::INFINITY, NO_SUBTASK);
        for s in 0..self.subtasks.len() {
            let value = self.subtask(s, values);
            if !value.is_finite() {
                return (f32::NAN, NO_SUBTASK);
            }
            sum += f64::from(value);
            if value > high.0 {
                high = (value, s as u32);
            }
            if value < low.0 {
                low = (value, s as u32);
            }
        }
        let (score, subtask) = match self.across {
            Across::Max => high,
            Across::Min => low,
            Across::Mean => ((sum / self.subtasks.len() as f64) as f32, high.1),
            Across::Sum => (sum as f32, high.1),
        };
        // A sum of nothing is no score.
        if score.is_finite() && subtask != NO_SUBTASK { (score, subtask) } else { (f32::NAN, NO_SUBTASK) }
    }

    /// The score in f64, and by how much each value counts in it.
    pub(crate) fn in_full(&self, values: &[f64]) -> (f64, Vec<f64>) {
        let within: Vec<Vec<f64>> =
            self.subtasks.iter().map(|span| shares(self.within, &values[span.clone()])).collect();
        let value = |(span, shares): (&Range<usize>, &Vec<f64>)| dot(&values[span.clone()], shares);
        let of_subtasks: Vec<f64> = self.subtasks.iter().zip(&within).map(value).collect();
        let across = shares(self.across.into(), &of_subtasks);
        let mut counts = vec![0.0; values.len()];
        for ((span, own), share) in self.subtasks.iter().zip(&within).zip(&across) {
            counts[span.clone()].iter_mut().zip(own).for_each(|(count, own)| *count = own * share);
        }
        (dot(&of_subtasks, &across), counts)
    }
}

impl From<Across> for Within {
    fn from(across: Across) -> Self {
        match across {
            Across::Mean => Self::Mean,
            Across::Sum => Self::Sum,
            Across::Max => Self::Max,
            Across::Min => Self::Min,
        }
    }
}

/// Values that are compared side by side.
const LANES: usize = 16;

/// The best of values of which none is NaN; `worst` without any. In lanes, since of many values each would
/// wait for the one before.
#[inline(always)]
fn best(values: &[f32], worst: f32, better: impl Fn(f32, f32) -> bool) -> f32 {
    let pick = |best: f32, v: &f32| if better(*v, best) { *v } else { best };
    let (chunks, rest) = values.as_chunks::<LANES>();
    let of_rest = rest.iter().fold(worst, pick);
    if chunks.is_empty() {
        return of_rest;
    }
    let mut lanes = [worst; LANES];
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane = pick(*lane, v);
        }
    }
    lanes.iter().fold(of_rest, pick)
}

/// By how much each value counts; of equal ones the first is the largest, or the smallest.
fn shares(how: Within, values: &[f64]) -> Vec<f64> {
    let only = |better: fn(f64, f64) -> bool| {
        let at = (1..values.len()).fold(0, |best, i| if better(values[i], values[best]) { i } else { best });
        (0..values.len()).map(|i| f64::from(u8::from(i == at))).collect()
    };
    match how {
        Within::Mean => vec![1.0 / values.len() as f64; values.len()],
        Within::Sum => vec![1.0; values.len()],
        Within::Max => only(|a, b| a > b),
        Within::Min => only(|a, b| a < b),
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(within: Within, across: Across, values: &[f32]) -> (f32, u32) {
        Terms { within, across, subtasks: vec![0..2, 2..4] }.score(values)
    }

    #[test]
    fn each_aggregation() {
        let v = [1.0, 3.0, -2.0, 8.0];
        assert_eq!(score(Within::Mean, Across::Max, &v), (3.0, 1));
        assert_eq!(score(Within::Max, Across::Min, &v), (3.0, 0));
        assert_eq!(score(Within::Min, Across::Max, &v), (1.0, 0));
        assert_eq!(score(Within::Sum, Across::Sum, &v), (10.0, 1));
        assert_eq!(score(Within::Sum, Across::Mean, &v), (5.0, 1));
        assert_eq!(score(Within::Min, Across::Min, &v), (-2.0, 1));
    }

    #[test]
    fn without_a_subtask_there_is_no_score() {
        for across in [Across::Mean, Across::Sum, Across::Max, Across::Min] {
            let (score, subtask) = Terms { within: Within::Mean, across, subtasks: Vec::new() }.score(&[]);
            assert!(score.is_nan() && subtask == NO_SUBTASK, "{across}");
        }
    }

    #[test]
    fn the_best_of_any_number_of_values_is_found() {
        for count in 1..70usize {
            let values: Vec<f32> = (0..count).map(|i| ((i * 37 + 11) % 101) as f32 - 50.0).collect();
            for shift in 0..count {
                let mut values = values.clone();
                values.rotate_left(shift);
                let of = |within, values: &[f32]| {
                    let subtasks = vec![0..values.len()];
                    Terms { within, across: Across::Max, subtasks }.subtask(0, values)
                };
                let mut sorted = values.clone();
                sorted.sort_by(f32::total_cmp);
                assert_eq!(of(Within::Max, &values), sorted[count - 1]);
                assert_eq!(of(Within::Min, &values), sorted[0]);
                values.push(0.0);
                values[shift] = f32::NAN;
                assert!(of(Within::Max, &values).is_nan() && of(Within::Min, &values).is_nan());
            }
        }
    }

    #[test]
    fn what_each_value_counts_makes_up_the_score() {
        let v = [1.0, 3.0, -2.0, 8.0];
        let words = [Within::Mean, Within::Max, Within::Min, Within::Sum];
        for within in words {
            for across in [Across::Mean, Across::Max, Across::Min, Across::Sum] {
                let terms = Terms { within, across, subtasks: vec![0..2, 2..4] };
                let (whole, counts) = terms.in_full(&v);
                assert!((whole - dot(&v, &counts)).abs() < 1e-12, "{within} {across}");
                assert!((whole - f64::from(score(within, across, &v.map(|x| x as f32)).0)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn the_first_of_equal_subtasks_decides() {
        assert_eq!(score(Within::Mean, Across::Max, &[1.0, 1.0, 0.0, 2.0]).1, 0);
        assert_eq!(score(Within::Mean, Across::Min, &[1.0, 1.0, 0.0, 2.0]).1, 0);
        assert_eq!(score(Within::Max, Across::Max, &[-0.0, -0.0, 0.0, 0.0]).1, 0);
    }

    #[test]
    fn what_is_not_finite_never_hides() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..4 {
                for across in [Across::Max, Across::Min, Across::Mean, Across::Sum] {
                    let mut v = [1.0, 2.0, 3.0, 4.0];
                    v[at] = bad;
                    let within = if bad > 0.0 { Within::Max } else { Within::Min };
                    assert!(score(within, across, &v).0.is_nan(), "{bad} at {at}");
                }
            }
        }
        assert!(score(Within::Sum, Across::Sum, &[f32::MAX; 4]).0.is_nan());
    }
}
