//! One vector for each sample of a batch.

use std::slice::ChunksExactMut;

use crate::backend::{BackendError, check};

/// Vectors of the CPU backend.
#[derive(Debug, Default)]
pub struct CpuRows {
    /// All vectors, one after the other.
    values: Vec<f32>,
    /// Length of one.
    width: usize,
    /// Whether all values count as zero and are yet to be written: a first product over whole vectors
    /// replaces them, which saves writing zeros and reading them again.
    unwritten: bool,
}

impl CpuRows {
    /// Zeros, in the memory of `old` vectors if it is enough.
    pub(super) fn zeros(samples: usize, width: usize, old: Option<CpuRows>) -> Result<CpuRows, BackendError> {
        let len = samples.checked_mul(width);
        let len = len.ok_or_else(|| BackendError::new(format!("{samples} vectors of {width} values")))?;
        let values = match old.map(|old| old.values).filter(|values| values.capacity() >= len) {
            Some(mut values) => {
                values.resize(len, 0.0);
                values
            }
            None => vec![0.0; len],
        };
        // In new memory too, so that a sum that underflows has the same sign there.
        Ok(CpuRows { values, width, unwritten: true })
    }

    pub(super) fn values_mut(&mut self) -> &mut [f32] {
        if std::mem::take(&mut self.unwritten) {
            self.values.fill(0.0);
        }
        &mut self.values
    }

    /// The part of sample `sample`'s vector that starts at `offset`.
    pub(super) fn part(&mut self, sample: usize, offset: usize, len: usize) -> &mut [f32] {
        let start = sample * self.width + offset;
        &mut self.values_mut()[start..start + len]
    }

    /// The vectors in turn, to be replaced each as a whole, if nothing has been added to them and this is the
    /// length of `samples` whole vectors, which are all there are.
    pub(super) fn replaced(&mut self, samples: usize, len: usize) -> Option<ChunksExactMut<'_, f32>> {
        let whole = self.unwritten && len == self.width && samples * len == self.values.len() && len > 0;
        whole.then(|| {
            self.unwritten = false;
            self.values.chunks_exact_mut(len)
        })
    }

    /// An error unless there are `samples` vectors with `len` values at `offset`.
    pub(super) fn check(&self, samples: usize, offset: usize, len: usize) -> Result<(), BackendError> {
        check(samples.checked_mul(self.width).is_some_and(|all| all <= self.values.len()), || {
            format!("{samples} vectors of {} values do not fit {}", self.width, self.values.len())
        })?;
        check(offset.checked_add(len).is_some_and(|end| end <= self.width), || {
            format!("{len} values at {offset} of a vector of {}", self.width)
        })
    }
}
