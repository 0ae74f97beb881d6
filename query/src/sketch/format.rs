//! Sketch format: for each vector a record and its codes in up to three planes, as named sections of bytes.
//!
//! Invariants
//! - vector i of a section is vector i of the segment, in the order of its blocks
//! - everything is little-endian; a section has a fixed number of bytes for each vector

use serde::{Deserialize, Serialize};

use super::encode::{Factor, Residual};
use super::planes::Planes;
use super::rotation::padded_dim;
use crate::kernel::{CodeKind, MAX_CODE_DIM};

/// The record of a vector: what a sketch has in addition to its codes.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct RowRecord {
    /// What a cosine divides by: the length before the values were rounded for storage.
    pub length: f32,
    /// At least the length of the stored vector.
    pub norm: f32,
    /// Row of the vector, from the first row of its block.
    pub offset: u16,
    /// Flags of the vector.
    pub flags: u8,
    /// A [`Class`].
    pub class: u8,
}

/// How a vector's score is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// By its codes.
    Coded = 0,
    /// Every product with it is zero; or its flags keep it from being scored.
    Zero = 1,
    /// Not at all: so short, so long or scaled so far that single precision may round its score without
    /// bound.
    Odd = 2,
}

impl RowRecord {
    /// The class; a number that none has is [`Class::Odd`].
    pub fn class(&self) -> Class {
        match self.class {
            0 => Class::Coded,
            1 => Class::Zero,
            _ => Class::Odd,
        }
    }
}

/// What estimates and bounds of a vector's int8 codes are made with.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct ByteFactors {
    /// For the certificate.
    pub residual: Residual,
    /// For an estimate without bias.
    pub factor: Factor,
}

/// A part of a sketch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Section {
    /// A `RowRecord` for each vector.
    Rows,
    /// A `Factor` for each vector's signs.
    SignFactors,
    /// Sign bits.
    Signs,
    /// A `Factor` for each vector's nibbles.
    NibbleFactors,
    /// Nibbles.
    Nibbles,
    /// `ByteFactors` for each vector.
    ByteFactors,
    /// Signed bytes.
    Bytes,
}

impl Section {
    /// All of them, in the order of a file.
    pub const ALL: [Self; 7] = [
        Self::Rows,
        Self::SignFactors,
        Self::Signs,
        Self::NibbleFactors,
        Self::Nibbles,
        Self::ByteFactors,
        Self::Bytes,
    ];

    /// Its name in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::SignFactors => "sign_factors",
            Self::Signs => "signs",
            Self::NibbleFactors => "nibble_factors",
            Self::Nibbles => "nibbles",
            Self::ByteFactors => "byte_factors",
            Self::Bytes => "bytes",
        }
    }

    /// The plane that it belongs to; `None`: every sketch has it.
    pub(super) const fn plane(self) -> Option<CodeKind> {
        match self {
            Self::Rows => None,
            Self::SignFactors | Self::Signs => Some(CodeKind::Sign),
            Self::NibbleFactors | Self::Nibbles => Some(CodeKind::Nibble),
            Self::ByteFactors | Self::Bytes => Some(CodeKind::Int8),
        }
    }

    /// Bytes that it has for each vector of `padded` rotated coordinates.
    pub const fn vector_bytes(self, padded: usize) -> usize {
        match self {
            Self::Rows => size_of::<RowRecord>(),
            Self::SignFactors | Self::NibbleFactors => size_of::<Factor>(),
            Self::ByteFactors => size_of::<ByteFactors>(),
            Self::Signs => CodeKind::Sign.row_bytes(padded),
            Self::Nibbles => CodeKind::Nibble.row_bytes(padded),
            Self::Bytes => CodeKind::Int8.row_bytes(padded),
        }
    }
}

/// Metadata of a sketch, read before its sections.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SketchHeader {
    /// Of this format.
    pub version: u32,
    /// 16 hexadecimal digits. Who knows it could make data for which the stated probabilities do not hold.
    pub seed: String,
    /// Coordinates of a vector.
    pub dim: usize,
    /// Coordinates of a rotated vector.
    pub padded: usize,
    /// Number of vectors.
    pub vectors: u64,
    /// The planes of codes that it keeps; version 1 has all and does not name them.
    #[serde(default, skip_serializing_if = "Planes::is_all")]
    pub planes: Planes,
}

/// The newest version that is understood.
const NEWEST: u32 = 2;

/// The oldest version whose readers understand a sketch of these planes.
fn version(planes: Planes) -> u32 {
    if planes.is_all() { 1 } else { 2 }
}

impl SketchHeader {
    /// Of `vectors` vectors of `dim` coordinates, with all planes.
    pub fn new(dim: usize, seed: u64, vectors: u64) -> Self {
        let (planes, seed) = (Planes::ALL, format!("{seed:016x}"));
        Self { version: version(planes), seed, dim, padded: padded_dim(dim), vectors, planes }
    }

    /// The same with these planes.
    pub fn keeping(self, planes: Planes) -> Self {
        Self { version: version(planes), planes, ..self }
    }

    /// The seed, where the header is one that can be used for vectors of `dim` coordinates.
    pub fn check(&self, dim: usize) -> Result<u64, String> {
        if self.version > NEWEST {
            return Err(format!("it has version {}, this program reads up to {NEWEST}", self.version));
        }
        if self.version != version(self.planes) {
            return Err(format!(
                "it has version {}, and with the planes {} it would have {}",
                self.version,
                self.planes,
                version(self.planes)
            ));
        }
        if self.dim != dim || !can_sketch(dim) || self.padded != padded_dim(dim) {
            return Err(format!(
                "it is of {} coordinates, padded to {}, and the vectors have {dim}",
                self.dim, self.padded
            ));
        }
        match u64::from_str_radix(&self.seed, 16) {
            Ok(seed) if format!("{seed:016x}") == self.seed => Ok(seed),
            _ => Err(format!("its seed `{}` is not 16 hexadecimal digits", self.seed)),
        }
    }
}

/// Whether vectors of `dim` coordinates can have a sketch: products of more than 2^17 int8 codes
/// would not fit into 32 bits.
pub fn can_sketch(dim: usize) -> bool {
    dim > 0 && dim <= MAX_CODE_DIM && padded_dim(dim) <= MAX_CODE_DIM
}
