//! The block that a writer is filling.

use super::block::{Block, Vector, row_check};
use super::layout::SegmentShape;
use super::quantize::{Scratch, store_row, store_zeros};
use super::values::ValueVec;
use arrow_array::types::{Float16Type, Float32Type, Int8Type, UInt64Type};
use arrow_array::{
    ArrayRef, FixedSizeListArray, PrimitiveArray, RecordBatch, UInt8Array, UInt32Array, UInt64Array,
};
use arrow_schema::{ArrowError, DataType, Schema};
use gstore_core::RowFlags;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Columns of the vectors of a block that is not written yet.
pub(super) struct Pending {
    /// Stored items of a vector.
    items: usize,
    groups: usize,
    /// The row of each vector.
    pub rows: Vec<u64>,
    /// Empty where a row has one vector.
    pub pos: Vec<u32>,
    values: ValueVec,
    scale: Vec<f32>,
    norm: Vec<f32>,
    flags: Vec<u8>,
    check: Vec<u64>,
}

impl Pending {
    /// A block with room for `vectors`.
    pub fn new(shape: &SegmentShape, vectors: usize) -> Self {
        Pending {
            items: shape.items(),
            groups: shape.groups.len(),
            rows: Vec::new(),
            pos: Vec::new(),
            values: ValueVec::new(shape.dtype, shape.items(), vectors),
            scale: Vec::new(),
            norm: Vec::new(),
            flags: Vec::new(),
            check: Vec::new(),
        }
    }

    /// Number of different rows.
    pub fn distinct(&self) -> u64 {
        self.rows.chunk_by(|a, b| a == b).count() as u64
    }

    /// Adds a vector of a verified block, bit for bit; false if it is of another type or length.
    pub(crate) fn push_stored(&mut self, vector: &Vector<'_>) -> bool {
        if vector.scale.len() != self.groups || !self.values.extend_from(&vector.values, self.items) {
            return false;
        }
        self.scale.extend_from_slice(vector.scale);
        self.norm.extend_from_slice(vector.norm);
        self.rows.push(vector.row);
        self.pos.extend(vector.pos);
        self.flags.push(vector.flags);
        self.check.push(vector.check);
        true
    }

    /// Quantises a vector and adds it. One with a value or a norm that is not finite becomes zeros and is
    /// flagged, and one that has that flag becomes zeros; whether it was finite.
    pub fn push(
        &mut self,
        key: (u64, Option<u32>),
        vector: &[f32],
        mut flags: RowFlags,
        shape: &SegmentShape,
        (scratch, hash): (&mut Scratch, &mut Xxh3),
    ) -> bool {
        let gaps = shape.gaps && vector.iter().any(|value| value.is_nan());
        let filled: Vec<f32> = match gaps {
            true => vector.iter().map(|value| if value.is_nan() { 0.0 } else { *value }).collect(),
            false => Vec::new(),
        };
        let known = if gaps { &filled } else { vector };
        let (values, scale, norm) = (&mut self.values, &mut self.scale, &mut self.norm);
        let is_finite = match flags.contains(RowFlags::NON_FINITE) {
            false => store_row(known, &shape.groups, values, scale, norm, scratch),
            true => {
                store_zeros(known.len(), &shape.groups, values, scale, norm);
                false
            }
        };
        if !is_finite {
            flags.insert(RowFlags::NON_FINITE);
        } else if gaps {
            self.values.mark_missing(vector);
            flags.insert(RowFlags::MISSING);
        }
        let added = self.scale.len() - self.groups;
        let values = self.values.view().bytes();
        let own = values.len().saturating_sub(self.items * shape.dtype.item_bytes());
        let check = row_check(
            hash,
            key,
            values.split_at(own).1,
            bytemuck::cast_slice(self.scale.split_at(added).1),
            bytemuck::cast_slice(self.norm.split_at(added).1),
            flags.bits(),
        );
        self.rows.push(key.0);
        self.pos.extend(key.1);
        self.flags.push(flags.bits());
        self.check.push(check);
        is_finite
    }

    /// Takes out the vectors from `at` on, into a block with room for `vectors`.
    pub fn split_off(&mut self, at: usize, shape: &SegmentShape, vectors: usize) -> Pending {
        let mut rest = Pending::new(shape, vectors);
        rest.rows = self.rows.split_off(at);
        rest.pos = self.pos.split_off(at.min(self.pos.len()));
        self.values.move_tail(at * self.items, &mut rest.values);
        rest.scale = self.scale.split_off(at * self.groups);
        rest.norm = self.norm.split_off(at * self.groups);
        rest.flags = self.flags.split_off(at);
        rest.check = self.check.split_off(at);
        rest
    }

    /// The vectors as a block has them.
    pub fn view(&self) -> Block<'_> {
        Block {
            rows: &self.rows,
            pos: &self.pos,
            values: self.values.view(),
            scale: &self.scale,
            norm: &self.norm,
            flags: &self.flags,
            check: &self.check,
        }
    }

    /// The block as Arrow has it.
    pub(crate) fn into_batch(self, schema: &Arc<Schema>) -> Result<RecordBatch, ArrowError> {
        let list = |name: &str, items: ArrayRef| -> Result<ArrayRef, ArrowError> {
            match schema.field_with_name(name)?.data_type() {
                DataType::FixedSizeList(field, n) => {
                    Ok(Arc::new(FixedSizeListArray::try_new(Arc::clone(field), *n, items, None)?))
                }
                other => Err(ArrowError::SchemaError(format!("column {name} is {other}"))),
            }
        };
        let values: ArrayRef = match self.values {
            ValueVec::F16(v) => Arc::new(PrimitiveArray::<Float16Type>::new(v.into(), None)),
            ValueVec::F32(v) => Arc::new(PrimitiveArray::<Float32Type>::new(v.into(), None)),
            ValueVec::I8(v) => Arc::new(PrimitiveArray::<Int8Type>::new(v.into(), None)),
            ValueVec::I1(v, _) => Arc::new(PrimitiveArray::<UInt64Type>::new(v.into(), None)),
        };
        let floats =
            |v: Vec<f32>| -> ArrayRef { Arc::new(PrimitiveArray::<Float32Type>::new(v.into(), None)) };
        let mut columns: Vec<ArrayRef> = vec![Arc::new(UInt64Array::new(self.rows.into(), None))];
        if schema.field_with_name("pos").is_ok() {
            columns.push(Arc::new(UInt32Array::new(self.pos.into(), None)));
        }
        columns.extend([
            list("vector", values)?,
            list("scale", floats(self.scale))?,
            list("norm", floats(self.norm))?,
            Arc::new(UInt8Array::new(self.flags.into(), None)),
            Arc::new(UInt64Array::new(self.check.into(), None)),
        ]);
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}
