//! Stored values of a block that is being filled.

use super::block::Values;
use super::signs::Signs;
use gstore_core::DType;
use half::f16;

/// The values of a block in memory.
#[derive(Debug)]
pub(crate) enum ValueVec {
    F16(Vec<f16>),
    F32(Vec<f32>),
    I8(Vec<i8>),
    /// Words, and how many of them are a vector.
    I1(Vec<u64>, usize),
}

impl ValueVec {
    /// Room for `vectors` of `items` stored items each.
    pub(crate) fn new(dtype: DType, items: usize, vectors: usize) -> Self {
        let capacity = items.saturating_mul(vectors);
        match dtype {
            DType::F16 => ValueVec::F16(Vec::with_capacity(capacity)),
            DType::F32 => ValueVec::F32(Vec::with_capacity(capacity)),
            DType::I8 => ValueVec::I8(Vec::with_capacity(capacity)),
            DType::I1 => ValueVec::I1(Vec::with_capacity(capacity), items),
        }
    }

    /// Adds the stored items of one vector; false if they are of another type or number.
    pub(crate) fn extend_from(&mut self, values: &Values<'_>, items: usize) -> bool {
        match (self, values) {
            (ValueVec::F16(to), Values::F16(from)) if from.len() == items => to.extend_from_slice(from),
            (ValueVec::F32(to), Values::F32(from)) if from.len() == items => to.extend_from_slice(from),
            (ValueVec::I8(to), Values::I8(from)) if from.len() == items => to.extend_from_slice(from),
            (ValueVec::I1(to, _), Values::I1(from)) if from.words().len() == items => {
                to.extend_from_slice(from.words());
            }
            _ => return false,
        }
        true
    }

    /// Number of stored items.
    pub(crate) fn len(&self) -> usize {
        match self {
            ValueVec::F16(v) => v.len(),
            ValueVec::F32(v) => v.len(),
            ValueVec::I8(v) => v.len(),
            ValueVec::I1(v, _) => v.len(),
        }
    }

    /// Keeps the first `items`.
    pub(crate) fn truncate(&mut self, items: usize) {
        match self {
            ValueVec::F16(v) => v.truncate(items),
            ValueVec::F32(v) => v.truncate(items),
            ValueVec::I8(v) => v.truncate(items),
            ValueVec::I1(v, _) => v.truncate(items),
        }
    }

    /// Makes those of the last values NaN that are NaN in `vector`, always with the same bits. Only single
    /// precision has missing values.
    pub(crate) fn mark_missing(&mut self, vector: &[f32]) {
        let ValueVec::F32(values) = self else { return };
        let start = values.len().saturating_sub(vector.len());
        for (value, given) in values.iter_mut().skip(start).zip(vector) {
            if given.is_nan() {
                *value = f32::NAN;
            }
        }
    }

    /// The values as a block has them.
    pub(crate) fn view(&self) -> Values<'_> {
        match self {
            ValueVec::F16(v) => Values::F16(v),
            ValueVec::F32(v) => Values::F32(v),
            ValueVec::I8(v) => Values::I8(v),
            ValueVec::I1(v, each) => Values::I1(Signs::new(v, *each)),
        }
    }

    /// Moves the items from `at` on to the end of another of the same type.
    pub(crate) fn move_tail(&mut self, at: usize, to: &mut ValueVec) {
        fn tail<T>(from: &mut Vec<T>, at: usize, to: &mut Vec<T>) {
            to.extend(from.drain(at.min(from.len())..));
        }
        match (self, to) {
            (ValueVec::F16(from), ValueVec::F16(to)) => tail(from, at, to),
            (ValueVec::F32(from), ValueVec::F32(to)) => tail(from, at, to),
            (ValueVec::I8(from), ValueVec::I8(to)) => tail(from, at, to),
            (ValueVec::I1(from, _), ValueVec::I1(to, _)) => tail(from, at, to),
            _ => {}
        }
    }
}
