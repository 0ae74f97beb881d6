//! A block of rows as the kernels see it, and single rows.

use super::layout::{BlockLayout, Shape};
use crate::ident::{DType, RowFlags};
use half::f16;
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// The stored values of a block, row after row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// Half precision.
    F16(&'a [f16]),
    /// Single precision.
    F32(&'a [f32]),
    /// Signed bytes.
    I8(&'a [i8]),
}

/// Rows of a feature, as slices of the map or of a buffer. Value = stored value * scale of its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block<'a> {
    /// The rows, ascending, all of one cell.
    pub rows: &'a [u64],
    /// rows x dim stored values. Starts on a 64-byte boundary.
    pub values: Values<'a>,
    /// rows x groups scales.
    pub scale: &'a [f32],
    /// rows x groups L2 norms before rounding.
    pub norm: &'a [f32],
    /// Flags of the rows, see [`RowFlags`].
    pub flags: &'a [u8],
    /// XXH3-64 of each row's other columns.
    pub check: &'a [u64],
}

/// One row with its scales applied.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The vector.
    pub vector: Vec<f32>,
    /// L2 norm of each module group before rounding.
    pub norm: Vec<f32>,
    /// Flags.
    pub flags: RowFlags,
}

/// The digest that verifies a single row: XXH3-64 over row, values, scales, norms (little-endian bytes) and flags.
pub(crate) fn row_check(
    hash: &mut Xxh3,
    row: u64,
    values: &[u8],
    scale: &[u8],
    norm: &[u8],
    flags: u8,
) -> u64 {
    hash.reset();
    hash.update(&row.to_le_bytes());
    hash.update(values);
    hash.update(scale);
    hash.update(norm);
    hash.update(&[flags]);
    hash.digest()
}

fn cast<'a, T: bytemuck::Pod>(bytes: &'a [u8], range: &Range<usize>) -> Option<&'a [T]> {
    bytemuck::try_cast_slice(bytes.get(range.clone())?).ok()
}

impl<'a> Block<'a> {
    /// The columns of a block whose bytes start at `bytes`; `None` if they are not aligned.
    pub(crate) fn view(bytes: &'a [u8], layout: &BlockLayout, dtype: DType) -> Option<Block<'a>> {
        Some(Block {
            rows: cast(bytes, &layout.row)?,
            values: match dtype {
                DType::F16 => Values::F16(cast(bytes, &layout.values)?),
                DType::F32 => Values::F32(cast(bytes, &layout.values)?),
                DType::I8 => Values::I8(cast(bytes, &layout.values)?),
            },
            scale: cast(bytes, &layout.scale)?,
            norm: cast(bytes, &layout.norm)?,
            flags: cast(bytes, &layout.flags)?,
            check: cast(bytes, &layout.check)?,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no rows; none is ever stored like that.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Recomputes the check of the row at position `i`; `None` beyond the end.
    pub(crate) fn compute_check(&self, i: usize, hash: &mut Xxh3) -> Option<u64> {
        fn part<T: bytemuck::Pod>(all: &[T], i: usize, rows: usize) -> Option<&[u8]> {
            let n = all.len().checked_div(rows)?;
            Some(bytemuck::cast_slice(all.get(i * n..(i + 1) * n)?))
        }
        let n = self.rows.len();
        let values = match self.values {
            Values::F16(v) => part(v, i, n)?,
            Values::F32(v) => part(v, i, n)?,
            Values::I8(v) => part(v, i, n)?,
        };
        Some(row_check(
            hash,
            *self.rows.get(i)?,
            values,
            part(self.scale, i, n)?,
            part(self.norm, i, n)?,
            *self.flags.get(i)?,
        ))
    }
}

/// The bytes of one row's columns.
pub(crate) struct RowBytes {
    pub row: u64,
    pub values: Vec<u8>,
    pub scale: Vec<u8>,
    pub norm: Vec<u8>,
    pub flags: u8,
}

impl RowBytes {
    pub(crate) fn check(&self) -> u64 {
        row_check(&mut Xxh3::new(), self.row, &self.values, &self.scale, &self.norm, self.flags)
    }

    pub(crate) fn decode(&self, shape: &Shape) -> StoredRow {
        let floats = |bytes: &[u8]| -> Vec<f32> {
            let (chunks, _) = bytes.as_chunks::<4>();
            chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
        };
        let mut vector: Vec<f32> = match shape.dtype {
            DType::F32 => floats(&self.values),
            DType::F16 => {
                let (chunks, _) = self.values.as_chunks::<2>();
                chunks.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()
            }
            DType::I8 => self.values.iter().map(|b| f32::from(*b as i8)).collect(),
        };
        for (group, scale) in shape.groups.iter().zip(floats(&self.scale)) {
            for v in vector.get_mut(group.clone()).unwrap_or_default() {
                *v *= scale;
            }
        }
        StoredRow { vector, norm: floats(&self.norm), flags: RowFlags::from_bits(self.flags) }
    }
}
