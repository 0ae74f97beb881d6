//! Columns cut into at most 255 intervals, as trees see them.

use crate::matrix::Matrix;

/// Intervals of a column at most.
pub(super) const MOST: usize = 255;

/// Columns as numbers of intervals, column after column.
pub(super) struct Binned {
    /// Upper ends of the intervals of each column but the last, ascending.
    pub(super) ends: Vec<Vec<f64>>,
    /// The interval of each row, by column.
    pub(super) places: Vec<Vec<u8>>,
}

impl Binned {
    /// Of finite values: an interval for each value where they are few, else of about as many rows each.
    pub(super) fn of(x: &Matrix) -> Self {
        let mut found = Binned { ends: Vec::new(), places: Vec::new() };
        for col in 0..x.cols() {
            let values = x.column(col);
            let ends = ends(&values);
            let place = |value: &f64| ends.partition_point(|end| end < value) as u8;
            found.places.push(values.iter().map(place).collect());
            found.ends.push(ends);
        }
        found
    }
}

/// Places between values where intervals end.
fn ends(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let mut distinct = sorted.clone();
    distinct.dedup();
    let middle = |a: f64, b: f64| a + (b - a) * 0.5;
    if distinct.len() <= MOST {
        return distinct.windows(2).map(|pair| middle(pair[0], pair[1])).collect();
    }
    let cut = |k: usize| {
        let place = k * sorted.len() / MOST;
        middle(sorted[place.saturating_sub(1)], sorted[place])
    };
    let mut ends: Vec<f64> = (1..MOST).map(cut).collect();
    ends.dedup();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_left_of_the_end_of_their_interval() {
        let values: Vec<f64> = (0..2000).map(|i| f64::from(i * 7919 % 2003)).collect();
        let x = Matrix::new(1, values.clone());
        let binned = Binned::of(&x);
        assert!(binned.ends[0].len() < MOST && binned.ends[0].len() > 200);
        for (value, place) in values.iter().zip(&binned.places[0]) {
            let place = usize::from(*place);
            assert!(binned.ends[0].get(place).is_none_or(|end| value <= end));
            assert!(place == 0 || *value > binned.ends[0][place - 1]);
        }
        let few = Binned::of(&Matrix::new(1, vec![1.0, 3.0, 1.0]));
        assert_eq!(
            (few.ends[0].as_slice(), few.places[0].as_slice()),
            ([2.0].as_slice(), [0, 1, 0].as_slice())
        );
        assert!(Binned::of(&Matrix::new(1, vec![4.0; 9])).ends[0].is_empty());
    }
}
