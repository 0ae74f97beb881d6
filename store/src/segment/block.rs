//! A block of rows as the kernels see it, and single rows.

use super::layout::{BlockLayout, SegmentShape};
use super::signs::Signs;
use gstore_core::{DType, RowFlags};
use half::f16;
use std::ops::Range;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The stored values of a block, row after row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// Half precision.
    F16(&'a [f16]),
    /// Single precision.
    F32(&'a [f32]),
    /// Signed bytes.
    I8(&'a [i8]),
    /// Signs.
    I1(Signs<'a>),
}

/// Rows of a feature, as slices of the map or of a buffer. Value = stored value * scale of its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block<'a> {
    /// The row of each vector, ascending, all of one cell. Where vectors belong to tokens, a row stands there
    /// once for each; all vectors of a row are in one block.
    pub rows: &'a [u64],
    /// Where vectors belong to tokens, the position of each one's token in its sample, ascending inside a
    /// row; 0 stands for a sample without a scored token. Empty where vectors belong to samples.
    pub pos: &'a [u32],
    /// vectors x dim stored values. Starts on a 64-byte boundary.
    pub values: Values<'a>,
    /// vectors x groups scales.
    pub scale: &'a [f32],
    /// vectors x groups L2 norms before rounding.
    pub norm: &'a [f32],
    /// Flags of the vectors, see [`RowFlags`].
    pub flags: &'a [u8],
    /// XXH3-64 of each vector's other columns.
    pub check: &'a [u64],
}

/// One vector of a block, as it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vector<'a> {
    pub row: u64,
    pub pos: Option<u32>,
    pub values: Values<'a>,
    pub scale: &'a [f32],
    pub norm: &'a [f32],
    pub flags: u8,
    /// What [`Vector::compute_check`] must give.
    pub check: u64,
}

/// One vector with its scales applied.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredRow {
    /// The position of its token, if it belongs to one.
    pub pos: Option<u32>,
    /// The vector.
    pub vector: Vec<f32>,
    /// L2 norm of each module group before rounding.
    pub norm: Vec<f32>,
    /// Flags.
    pub flags: RowFlags,
}

/// The digest that verifies a single vector: XXH3-64 over row, position where there is one, values, scales,
/// norms (little-endian bytes) and flags.
pub(crate) fn row_check(
    hash: &mut Xxh3,
    (row, pos): (u64, Option<u32>),
    values: &[u8],
    scale: &[u8],
    norm: &[u8],
    flags: u8,
) -> u64 {
    hash.reset();
    hash.update(&row.to_le_bytes());
    if let Some(pos) = pos {
        hash.update(&pos.to_le_bytes());
    }
    hash.update(values);
    hash.update(scale);
    hash.update(norm);
    hash.update(&[flags]);
    hash.digest()
}

fn cast<'a, T: bytemuck::Pod>(bytes: &'a [u8], range: &Range<usize>) -> Option<&'a [T]> {
    bytemuck::try_cast_slice(bytes.get(range.clone())?).ok()
}

impl<'a> Values<'a> {
    /// Those of the `i`-th of `n` vectors.
    fn of_vector(self, i: usize, n: usize) -> Option<Values<'a>> {
        Some(match self {
            Values::F16(v) => Values::F16(part(v, i, n)?),
            Values::F32(v) => Values::F32(part(v, i, n)?),
            Values::I8(v) => Values::I8(part(v, i, n)?),
            Values::I1(v) => {
                Values::I1(Signs::new(part(v.words(), i, n)?, v.each()).of_rotated(v.rotation()))
            }
        })
    }

    /// As they are stored, little-endian.
    pub fn bytes(self) -> &'a [u8] {
        match self {
            Values::F16(v) => bytemuck::cast_slice(v),
            Values::F32(v) => bytemuck::cast_slice(v),
            Values::I8(v) => bytemuck::cast_slice(v),
            Values::I1(v) => bytemuck::cast_slice(v.words()),
        }
    }

    /// Those of one vector, widened, without its scales: exactly but for signs of rotated vectors.
    pub(super) fn widen(self, groups: &[Range<usize>], out: &mut [f32]) {
        match self {
            Values::F16(v) => v.iter().zip(out).for_each(|(x, out)| *out = x.to_f32()),
            Values::F32(v) => v.iter().zip(out).for_each(|(x, out)| *out = *x),
            Values::I8(v) => v.iter().zip(out).for_each(|(x, out)| *out = f32::from(*x)),
            Values::I1(v) => v.widen(groups, out),
        }
    }
}

/// Multiplies the values of each module group with its scale.
pub(super) fn apply(scale: &[f32], groups: &[Range<usize>], vector: &mut [f32]) {
    for (group, scale) in groups.iter().zip(scale) {
        let values = vector.get_mut(group.clone()).unwrap_or_default();
        values.iter_mut().for_each(|value| *value *= scale);
    }
}

/// The `i`-th of `n` equal parts.
fn part<T>(all: &[T], i: usize, n: usize) -> Option<&[T]> {
    let each = all.len().checked_div(n)?;
    all.get(i * each..(i + 1) * each)
}

impl Vector<'_> {
    /// The check that its other columns ask for.
    pub(crate) fn compute_check(&self, hash: &mut Xxh3) -> u64 {
        let (scale, norm) = (bytemuck::cast_slice(self.scale), bytemuck::cast_slice(self.norm));
        row_check(hash, (self.row, self.pos), self.values.bytes(), scale, norm, self.flags)
    }
}

impl<'a> Block<'a> {
    /// The columns of a block whose bytes start at `bytes`; `None` if they are not aligned.
    pub(crate) fn view(bytes: &'a [u8], layout: &BlockLayout, shape: &SegmentShape) -> Option<Block<'a>> {
        Some(Block {
            rows: cast(bytes, &layout.row)?,
            pos: cast(bytes, &layout.pos)?,
            values: match shape.dtype {
                DType::F16 => Values::F16(cast(bytes, &layout.values)?),
                DType::F32 => Values::F32(cast(bytes, &layout.values)?),
                DType::I8 => Values::I8(cast(bytes, &layout.values)?),
                DType::I1 => {
                    let words: &[u64] = cast(bytes, &layout.values)?;
                    let signs = Signs::new(words, words.len().checked_div(layout.vectors)?);
                    Values::I1(signs.of_rotated(shape.rotation))
                }
            },
            scale: cast(bytes, &layout.scale)?,
            norm: cast(bytes, &layout.norm)?,
            flags: cast(bytes, &layout.flags)?,
            check: cast(bytes, &layout.check)?,
        })
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether it has no vectors; none is ever stored like that.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes the `i`-th vector, its scales applied, to `out`, which has as many coordinates; `groups` are
    /// those of its modules. Powers of two and ones (f16, f32) apply exactly.
    pub fn vector(&self, i: usize, groups: &[Range<usize>], out: &mut [f32]) {
        let (values, scale) = (self.values.of_vector(i, self.len()), part(self.scale, i, self.len()));
        debug_assert!(values.is_some() && scale.is_some_and(|scale| scale.len() == groups.len()));
        if let (Some(values), Some(scale)) = (values, scale) {
            values.widen(groups, out);
            apply(scale, groups, out);
        }
    }

    /// Positions of the vectors of a row.
    pub fn of_row(&self, row: u64) -> Range<usize> {
        self.rows.partition_point(|r| *r < row)..self.rows.partition_point(|r| *r <= row)
    }

    /// One digest for each row, in order: its vector's check, or one over the checks of its tokens.
    pub(crate) fn row_digests(&self) -> Vec<(u64, u64)> {
        if self.pos.is_empty() {
            return self.rows.iter().copied().zip(self.check.iter().copied()).collect();
        }
        let (mut checks, mut out) = (self.check, Vec::new());
        for run in self.rows.chunk_by(|a, b| a == b) {
            let (own, rest) = checks.split_at(run.len().min(checks.len()));
            out.extend(run.first().map(|row| (*row, xxh3_64(bytemuck::cast_slice(own)))));
            checks = rest;
        }
        out
    }

    /// Its vectors in order. All columns have as many, which is looked at when the block's layout is parsed.
    pub(crate) fn vectors(&self) -> impl Iterator<Item = Vector<'a>> + use<'a> {
        let block = *self;
        (0..block.len()).map_while(move |i| block.at(i))
    }

    /// The `i`-th of them.
    pub(super) fn at(&self, i: usize) -> Option<Vector<'a>> {
        let n = self.len();
        Some(Vector {
            row: *self.rows.get(i)?,
            pos: self.pos.get(i).copied(),
            values: self.values.of_vector(i, n)?,
            scale: part(self.scale, i, n)?,
            norm: part(self.norm, i, n)?,
            flags: *self.flags.get(i)?,
            check: *self.check.get(i)?,
        })
    }
}
