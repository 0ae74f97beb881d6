//! Sections of a sketch: for each vector a record and its codes in up to three planes, as named bytes.
//!
//! Invariants
//! - vector i of a section is vector i of the segment, in the order of its blocks
//! - everything is little-endian; a section has a fixed number of bytes for each vector

use crate::indexes::CHUNK;
use crate::kernel::CodeKind;

/// Least bytes of nibbles that are compared with a digest together: the footer has 32 digits for each.
const LEAST_CHUNK: u64 = 8 << 10;

/// What a vector's estimate of one plane is made with.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Factor {
    /// The f of `f <q', c>`.
    pub factor: f32,
    /// Standard deviation of the estimate over rotations for a query of length 1 that is not rounded.
    pub spread: f32,
}

/// What the certificate of a vector's int8 codes is made with.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct Residual {
    /// What one step of the codes stands for.
    pub scale: f32,
    /// At least `|x' - scale c|`, where x' is the exact rotation.
    pub residual: f32,
}

/// The record of a vector: what a sketch has in addition to its codes.
#[derive(Debug, Clone, Copy, PartialEq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(crate) struct RowRecord {
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
pub(crate) enum Class {
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
pub(crate) struct ByteFactors {
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

// Names in a file, in its order.
gstore_core::named!(Section {
    Rows = "rows",
    SignFactors = "sign_factors",
    Signs = "signs",
    NibbleFactors = "nibble_factors",
    Nibbles = "nibbles",
    ByteFactors = "byte_factors",
    Bytes = "bytes",
});

impl Section {
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

    /// Bytes that are compared with a digest together. Of nibbles those of some vectors here and there are
    /// read, one in a hundred after signs; other sections are read as a whole, or of a few vectors.
    pub(super) fn chunk_bytes(self, padded: usize) -> u64 {
        match self {
            Self::Nibbles => {
                (2 * self.vector_bytes(padded) as u64).next_power_of_two().clamp(LEAST_CHUNK, CHUNK)
            }
            _ => CHUNK,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_nibbles_have_few_vectors() {
        let chunk = |dim| Section::Nibbles.chunk_bytes(dim);
        assert_eq!([64, 4096, 8192, 16_384, 1 << 20].map(chunk), [8, 8, 8, 16, 64].map(|kib| kib << 10));
        assert_eq!(Section::Signs.chunk_bytes(4096), CHUNK);
    }
}
