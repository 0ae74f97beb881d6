//! Sums of scores over sets of rows, and means of outputs over runs, in which rounding alone makes no
//! difference.
//!
//! Invariants
//! - sets of the same values have the same sum to the bit, in whatever order they come
//! - sums that differ by less than the rounding of their values can explain are one number, so that ranks
//!   give them a tie

/// What each value may be off, as a part of its size: half an epsilon of two sums from the values as they
/// were rounded to f64, as much from the sums, and twice that to be safe.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

/// A sum, and how far rounding may have moved it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    pub total: f64,
    slack: f64,
}

impl Sum {
    /// The sum of the scores at some places. A place beyond the last adds nothing.
    pub fn of(scores: &[f64], places: &[u32]) -> Sum {
        Sum::of_values(places.iter().filter_map(|place| scores.get(*place as usize).copied()).collect())
    }

    /// The mean of some values; none of no value.
    pub fn mean(values: Vec<f64>) -> Option<Sum> {
        let count = values.len() as f64;
        let Sum { total, slack } = Sum::of_values(values);
        (count > 0.0).then(|| Sum { total: total / count, slack: slack / count })
    }

    /// Adds values from the largest size down, and what each addition loses at the end (Neumaier 1974). A
    /// value and its negative take no part: rounding moves the sum by a share of what is left.
    fn of_values(mut values: Vec<f64>) -> Sum {
        values.sort_unstable_by(f64::total_cmp);
        let (mut total, mut lost, mut slack) = (0.0f64, 0.0, 0.0);
        let mut rest = values.as_slice();
        loop {
            let value: f64;
            (value, rest) = match rest {
                [] => break,
                [least, others @ .., most] if *least == -*most => (0.0, others),
                [least, .., most] if least.abs() > most.abs() => (*least, &rest[1..]),
                [others @ .., most] => (*most, others),
            };
            let next = total + value;
            lost += if total.abs() >= value.abs() { (total - next) + value } else { (value - next) + total };
            total = next;
            slack += ROUNDING * value.abs();
        }
        Sum { total: total + lost, slack }
    }

    /// Whether the rounding of one of them explains what a sum that is no smaller has more.
    fn ties(&self, above: &Sum) -> bool {
        above.total - self.total <= self.slack.max(above.slack)
    }
}

/// Totals of sums. Those from the smallest up that lie within rounding of the first of them, and of the one
/// among them that rounding moves least, become the first: a rough sum ties no exact ones with each other.
pub(super) fn tied(found: &[Sum]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..found.len()).collect();
    let by_sum = |a: &Sum, b: &Sum| a.total.total_cmp(&b.total).then(a.slack.total_cmp(&b.slack));
    order.sort_unstable_by(|a, b| by_sum(&found[*a], &found[*b]));
    let mut tied = vec![0.0; found.len()];
    let mut tie: Option<(Sum, Sum)> = None;
    for place in order {
        let own = found[place];
        let (first, exact) = match tie {
            Some((first, exact)) if first.ties(&own) && exact.ties(&own) => {
                (first, if own.slack < exact.slack { own } else { exact })
            }
            _ => (own, own),
        };
        tied[place] = first.total;
        tie = Some((first, exact));
    }
    tied
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(scores: &[f64], sets: &[&[u32]]) -> Vec<f64> {
        tied(&sets.iter().map(|places| Sum::of(scores, places)).collect::<Vec<Sum>>())
    }

    #[test]
    fn the_order_of_rows_does_not_move_a_sum() {
        // Row by row 0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in their last bit.
        let scores = [0.1, 0.2, 0.3, 0.3, 0.2, 0.1];
        assert_ne!(0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1);
        let found = of(&scores, &[&[0, 1, 2], &[3, 4, 5]]);
        assert_eq!(found[0].to_bits(), found[1].to_bits());
        // What cancels leaves the rest: row by row it would be 0.
        assert_eq!(of(&[1e20, 1.0, -1e20], &[&[0, 1, 2]]), [1.0]);
    }

    #[test]
    fn sums_that_rounding_tells_apart_are_one_and_others_stay() {
        // As f64 both sides of 0.1 + 0.2 = 0.3 differ.
        let found = of(&[0.1, 0.2, 0.3], &[&[2], &[0, 1], &[0]]);
        assert!(found[0] == found[1] && found[2] == 0.1, "{found:?}");
        // A sum that is 0 as decimals is that of scores that are all 0, and of none.
        let found = of(&[0.1, 0.2, -0.3, 0.0], &[&[0, 1, 2], &[3], &[], &[0], &[2]]);
        assert_eq!(found[..3], [found[0]; 3]);
        assert_eq!(found[3..], [0.1, -0.3]);
        let found = of(&[-0.1, -0.2, 0.3, 0.0], &[&[3], &[0, 1, 2], &[], &[3, 3]]);
        assert!(found[0] < 0.0 && found == [found[0]; 4], "{found:?}");
        // A rough sum makes no tie of exact ones.
        let found = of(&[1e15, 0.5 - 1e15, 0.6, 0.7], &[&[0, 1], &[2], &[3]]);
        assert_eq!(found, [0.5, 0.5, 0.7]);
        let close = 1.0 + 1e-14;
        assert_eq!(of(&[1.0, close], &[&[0], &[1]]), [1.0, close]);
        // A large score that another one cancels makes no tie of what is small.
        let found = of(&[1e20, -1e20, 1.0, 2.0], &[&[2], &[0, 1, 2], &[3]]);
        assert_eq!(found, [1.0, 1.0, 2.0]);
        assert_eq!(of(&[f64::MAX, -f64::MAX, 1.0, 2.0], &[&[0, 1, 2], &[0, 1, 3], &[3]])[2], 2.0);
    }

    #[test]
    fn means_of_which_rounding_makes_several_are_one() {
        let zeros: Vec<Sum> =
            [vec![0.1, 0.2, -0.3], vec![0.0; 3]].into_iter().filter_map(Sum::mean).collect();
        let found = tied(&zeros);
        assert!(found.len() == 2 && found[0] == found[1], "{found:?}");
        let runs = [vec![0.1, 0.2, 0.3], vec![0.2, 0.2, 0.2], vec![0.3, 0.2, 0.1], vec![0.5, 0.5, 0.5]];
        let plain = |runs: &Vec<f64>| runs.iter().sum::<f64>() / 3.0;
        assert_ne!(plain(&runs[0]), plain(&runs[2]));
        let means: Vec<Sum> = runs.into_iter().filter_map(Sum::mean).collect();
        let found = tied(&means);
        assert!(found[0] == found[1] && found[1] == found[2] && found[3] == 0.5, "{found:?}");
        assert!(Sum::mean(Vec::new()).is_none());
    }
}
