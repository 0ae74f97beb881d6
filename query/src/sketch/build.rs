//! Construction of sketches, block by block.

use std::ops::Range;

use gstore_store::{Block, BlockBuffer, BlockRef, FeatureReader, Granularity, RowFlags, Values};

use super::encode::{Encoder, RowCodes};
use super::format::can_sketch;
use super::planes::Planes;
use super::rotation::Rotation;
use super::section::{ByteFactors, Class, Factor, RowRecord, Section};
use crate::error::QueryError;
use crate::kernel::MAX_CODE_DIM;
use crate::values::{groups, norm};

/// Lengths of vectors that are coded: within them and [`super::query::QUERY_NORMS`] nothing overflows, and
/// what underflow does is bounded.
const NORMS: Range<f64> = 9.1e-13..1.1e12;
/// Scales of module groups of such vectors, at least.
const LEAST_SCALE: f64 = 7.9e-31;
/// The same over the length of the vector, at most: what underflow does to products of stored values is
/// multiplied by them.
const MOST_SCALE: f64 = 1.1e12;
/// Scales over lengths of such vectors.
const FACTORS: Range<f64> = 7.6e-37..1.3e36;

/// The codes of the vectors of a block.
#[derive(Debug, Default)]
pub struct BlockCodes {
    rows: Vec<RowRecord>,
    sign_factors: Vec<Factor>,
    signs: Vec<u8>,
    nibble_factors: Vec<Factor>,
    nibbles: Vec<u8>,
    byte_factors: Vec<ByteFactors>,
    bytes: Vec<i8>,
}

impl BlockCodes {
    /// The bytes of a section.
    pub fn section(&self, section: Section) -> &[u8] {
        match section {
            Section::Rows => bytemuck::cast_slice(&self.rows),
            Section::SignFactors => bytemuck::cast_slice(&self.sign_factors),
            Section::Signs => &self.signs,
            Section::NibbleFactors => bytemuck::cast_slice(&self.nibble_factors),
            Section::Nibbles => &self.nibbles,
            Section::ByteFactors => bytemuck::cast_slice(&self.byte_factors),
            Section::Bytes => bytemuck::cast_slice(&self.bytes),
        }
    }

    fn push(&mut self, record: RowRecord, codes: &RowCodes) {
        self.rows.push(record);
        self.sign_factors.push(codes.sign_factor);
        self.signs.extend_from_slice(&codes.sign);
        self.nibble_factors.push(codes.nibble_factor);
        self.nibbles.extend_from_slice(&codes.nibble);
        self.byte_factors.push(ByteFactors { residual: codes.residual, factor: codes.int8_factor });
        self.bytes.extend_from_slice(&codes.int8);
    }
}

/// Refuses features that cannot have a sketch.
pub fn check(reader: &FeatureReader) -> Result<(), QueryError> {
    let part = reader.part();
    let dim = part.desc.dim() as usize;
    let why = if part.desc.granularity == Granularity::Token {
        "vectors of tokens; sketches are built from samples' vectors".to_owned()
    } else if part.desc.ensemble.is_some() {
        "losses of an ensemble, which are compared by their covariance".to_owned()
    } else if !can_sketch(dim) {
        format!("{dim} coordinates; a sketch can have {MAX_CODE_DIM} at most")
    } else {
        return Ok(());
    };
    Err(QueryError::Sketch(format!("{} has {why}", part.display_name())))
}

/// The codes of one block of a reader in some planes, a function of its bytes and the rotation.
pub fn encode_block(
    reader: &FeatureReader,
    block: BlockRef,
    rotation: &Rotation,
    planes: Planes,
    scratch: &mut BlockBuffer,
) -> Result<BlockCodes, QueryError> {
    let first = block.range().start;
    let block = reader.read_block(block, scratch)?;
    let groups = groups(reader.part());
    let mut encoder = Encoder::new(rotation, planes);
    let mut buffer = vec![0.0f32; rotation.dim()];
    let mut codes = BlockCodes::default();
    // Scales apply with one rounding of each value, and signs of rotated groups are rotated back first.
    let inexact = f64::from(f32::EPSILON) + f64::from(reader.part().desc.rotation.rounding());
    for i in 0..block.len() {
        block.vector(i, &groups, &mut buffer);
        let measured = measure(&block, i, &groups, &buffer);
        let record = RowRecord {
            length: measured.length as f32,
            norm: ((measured.norm * (1.0 + 1e-6)) as f32).next_up(),
            // Blocks lie inside a cell of 4,096 rows.
            offset: (block.rows[i] - first) as u16,
            flags: block.flags[i],
            class: measured.class as u8,
        };
        let row = match measured.class {
            Class::Coded => encoder.encode(&buffer, measured.norm, inexact),
            Class::Zero | Class::Odd => encoder.blank(),
        };
        codes.push(record, row);
    }
    Ok(codes)
}

struct MeasuredVector {
    class: Class,
    norm: f64,
    length: f64,
}

fn measure(block: &Block<'_>, i: usize, groups: &[Range<usize>], vector: &[f32]) -> MeasuredVector {
    if RowFlags::from_bits(block.flags[i]).intersects(RowFlags::UNSCORED) {
        return MeasuredVector { class: Class::Zero, norm: 0.0, length: 0.0 };
    }
    let of_row = i * groups.len()..(i + 1) * groups.len();
    let ones = vec![1.0; groups.len()];
    let length = norm(&block.norm[of_row.clone()], &ones);
    let own = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    let mut class = if own == 0.0 { Class::Zero } else { Class::Coded };
    if class == Class::Coded && !(NORMS.contains(&own) && NORMS.contains(&length)) || !length.is_finite() {
        class = Class::Odd;
    }
    for (group, scale) in groups.iter().zip(&block.scale[of_row]) {
        let scale = f64::from(*scale);
        let silent = stored_zeros(block, i, vector, group);
        let usable = (LEAST_SCALE..MOST_SCALE * own).contains(&scale)
            && FACTORS.contains(&(scale / length.max(1e-12)));
        // A group of zeros adds zeros, if its scale is a number.
        if !(usable || silent && scale.is_finite() && scale.abs() < 1e18) {
            class = Class::Odd;
        }
    }
    // Stored values that a scale takes to zero are not zeros to the products of the exact scan.
    if class == Class::Zero && !stored_zeros(block, i, vector, &(0..vector.len())) {
        class = Class::Odd;
    }
    MeasuredVector { class, norm: own, length }
}

fn stored_zeros(block: &Block<'_>, i: usize, vector: &[f32], group: &Range<usize>) -> bool {
    let start = i * vector.len();
    let span = start + group.start..start + group.end;
    match block.values {
        Values::F16(v) => v[span].iter().all(|x| x.to_bits() << 1 == 0),
        Values::F32(v) => v[span].iter().all(|x| *x == 0.0),
        Values::I8(v) => v[span].iter().all(|x| *x == 0),
        // A sign is none; with scale 0, which the products of the exact scan are multiplied by, it is zero.
        Values::I1(_) => vector[group.clone()].iter().all(|x| *x == 0.0),
    }
}
