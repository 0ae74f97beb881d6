//! A cell of given losses next to what the store has of it.

use gstore_store::LossBlock;

/// A cell of the dataset: what is given of its rows, and what is stored.
#[derive(Default)]
pub(super) struct CellLosses {
    pub rows: Vec<(u64, usize)>,
    pub given: Vec<f64>,
    pub base: Vec<f64>,
    /// Offset of each row.
    pub offset: Vec<f32>,
    pub stored: LossBlock,
}

impl CellLosses {
    /// A loss as it is given; NaN where there is none.
    pub fn loss(&self, at: usize, column: usize, models: usize) -> f64 {
        self.given.get(at * models + column).copied().unwrap_or(f64::NAN)
    }

    /// What is stored of it.
    pub fn delta(&self, at: usize, column: usize, models: usize) -> f32 {
        let offset = self.offset.get(at).copied().filter(|offset| offset.is_finite()).unwrap_or(0.0);
        (self.loss(at, column, models) - f64::from(offset)) as f32
    }

    /// Mean of the losses of a row; NaN where it has none.
    pub fn mean(&self, at: usize, models: usize) -> f32 {
        let known = (0..models).map(|column| self.loss(at, column, models)).filter(|loss| !loss.is_nan());
        let (sum, count) = known.fold((0.0, 0u32), |(sum, count), loss| (sum + loss, count + 1));
        if count == 0 { f32::NAN } else { (sum / f64::from(count)) as f32 }
    }

    /// What the store has of a row and a column of its own.
    pub(crate) fn stored_delta(&self, at: usize, column: Option<usize>) -> Option<f32> {
        let (row, _) = self.rows.get(at)?;
        let place = self.stored.rows.binary_search(row).ok()?;
        self.stored.row(place).get(column?).copied().filter(|value| !value.is_nan())
    }

    /// The same as a loss.
    pub(crate) fn stored_loss(&self, at: usize, column: Option<usize>) -> f64 {
        let delta = self.stored_delta(at, column).unwrap_or(f32::NAN);
        let offset = self.offset.get(at).copied().filter(|offset| offset.is_finite()).unwrap_or(0.0);
        f64::from(offset) + f64::from(delta)
    }

    /// Whether the store has a loss of a row.
    pub(crate) fn has_stored(&self, at: usize) -> bool {
        let place = self.rows.get(at).and_then(|(row, _)| self.stored.rows.binary_search(row).ok());
        place.is_some_and(|place| self.stored.row(place).iter().any(|value| !value.is_nan()))
    }
}
