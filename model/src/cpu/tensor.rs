//! Row-major f32 matrices.
//!
//! Invariants
//! - a tensor has at least one column, and its buffer has exactly `rows * cols` values
//! - clones share the values; only a tensor without clones is written to

use std::sync::Arc;

use super::pool::Buffer;
use crate::backend::{BackendError, check};

/// A matrix of the CPU backend. Cloning shares it.
#[derive(Clone)]
pub struct CpuTensor {
    values: Arc<Buffer>,
    rows: usize,
    cols: usize,
}

impl CpuTensor {
    /// A matrix of unspecified values. `cols` is not zero.
    pub(super) fn unspecified(rows: usize, cols: usize) -> CpuTensor {
        CpuTensor { values: Arc::new(Buffer::take(rows * cols)), rows, cols }
    }

    /// A matrix of zeros. `cols` is not zero.
    pub(super) fn zeros(rows: usize, cols: usize) -> CpuTensor {
        CpuTensor { values: Arc::new(Buffer::zeroed(rows * cols)), rows, cols }
    }

    pub(super) fn from_values(values: &[f32], rows: usize, cols: usize) -> Result<CpuTensor, BackendError> {
        check(cols > 0, || format!("a tensor of {rows} rows has no columns"))?;
        check(rows.checked_mul(cols) == Some(values.len()), || {
            format!("{} values do not fill {rows} rows of {cols}", values.len())
        })?;
        Ok(CpuTensor { values: Arc::new(Buffer::copy_of(values)), rows, cols })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The values, row by row.
    pub(super) fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values for writing; copied before if a clone shares them.
    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        let buffer: &mut Buffer = Arc::make_mut(&mut self.values);
        buffer
    }

    /// An error unless the size is this one.
    pub(super) fn expect(&self, rows: usize, cols: usize, what: &str) -> Result<(), BackendError> {
        check(self.size() == (rows, cols), || {
            format!("{what}: {} rows of {} where {rows} of {cols} are due", self.rows, self.cols)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_does_not_see_what_is_written() {
        let mut x = CpuTensor::from_values(&[1.0, 2.0], 1, 2).unwrap();
        let address = x.values().as_ptr();
        x.values_mut()[0] = 3.0;
        assert_eq!(x.values().as_ptr(), address);
        let clone = x.clone();
        x.values_mut()[0] = 4.0;
        assert_eq!((clone.values()[0], x.values()[0]), (3.0, 4.0));
    }
}
