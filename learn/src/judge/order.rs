//! Ranks and top shares of values.

use std::ops::Range;

use gstore_core::correlation::{self, descending};

/// Ranks from the lowest as shares of all, in (0, 1]; equal values have their mean rank.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    correlation::ranks(values).into_iter().map(|rank| rank / n).collect()
}

/// Whether a value is a prediction: it is infinite of a row that is kept, as nothing is predicted of it.
pub(super) fn is_predicted(value: &f64) -> bool {
    *value != f64::INFINITY
}

/// How many of `n` rows a share is, rounded down.
pub fn kept_rows(share: f64, n: usize) -> usize {
    // A share of ten is ten of a hundred, whatever its last bit says.
    ((share * n as f64 + 1e-9).floor() as usize).min(n)
}

/// Which values are the `k` largest.
pub fn top_k(values: &[f64], k: usize) -> Vec<bool> {
    let mut top = vec![false; values.len()];
    descending(values).into_iter().take(k).for_each(|i| top[i] = true);
    top
}

/// Which values are in the largest share; at least one is.
pub fn top(values: &[f64], share: f64) -> Vec<bool> {
    top_k(values, kept_rows(share, values.len()).max(1))
}

/// Rows of equal values, with their places in the order of all.
pub(super) fn equal<'a>(
    order: &'a [usize],
    values: &'a [f64],
) -> impl Iterator<Item = (Range<usize>, &'a [usize])> {
    let mut start = 0;
    order.chunk_by(move |a, b| values[*a] == values[*b]).map(move |rows| {
        let places = start..start + rows.len();
        start = places.end;
        (places, rows)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_share_ranks_and_the_first_is_in_the_top() {
        let values = [2.0, -0.0, 5.0, 0.0, 2.0];
        assert_eq!(ranks(&values), [0.7, 0.3, 1.0, 0.3, 0.7]);
        let order = descending(&values);
        let of_equal: Vec<_> = equal(&order, &values).collect();
        let expected: [(Range<usize>, &[usize]); 3] = [(0..1, &[2]), (1..3, &[0, 4]), (3..5, &[1, 3])];
        assert_eq!(of_equal, expected);
        assert_eq!(top_k(&values, 2), [true, false, true, false, false]);
        assert_eq!(top(&values, 0.01), [false, false, true, false, false]);
        assert_eq!((kept_rows(0.7, 1500), kept_rows(0.29, 100), kept_rows(2.0, 3)), (1050, 29, 3));
    }
}
