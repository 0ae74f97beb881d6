//! Products of sketch codes with int8 queries.
//!
//! Invariants
//! - sums are integers and cannot overflow, so every implementation, tile and cut gives the same result
//! - codes are decoded to the same values everywhere: a sign bit to +1 (set) or -1 (clear), a nibble c to
//!   2c - 15, a byte to itself

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bits;
#[cfg(target_arch = "x86_64")]
mod blocks;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod queries;
#[cfg(target_arch = "x86_64")]
mod shuffles;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod tables;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod tiles;
#[cfg(target_arch = "x86_64")]
mod vnni;

pub use queries::CodeQueries;
#[cfg(target_arch = "x86_64")]
use queries::LANES_FROM;
pub(crate) use tables::MAX_SIGN_VALUE;

#[cfg(target_arch = "x86_64")]
use blocks::BLOCKS_FROM;
#[cfg(target_arch = "x86_64")]
use gstore_core::instructions::Instructions;

use super::{Isa, Kernel};

/// Coordinates of one step of the kernels; vectors are padded to a multiple of it.
pub const CODE_STEP: usize = 64;

/// Most coordinates of a vector: the largest sum, of bytes, is then 2^17 x 128 x 127 < 2^31.
pub(crate) const MAX_CODE_DIM: usize = 1 << 17;

/// Most queries whose bits are counted.
#[cfg(target_arch = "x86_64")]
const BIT_QUERIES: usize = 2;

/// How a code stands for a coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeKind {
    /// One bit, the lowest of a byte first: set is +1, clear is -1.
    Sign,
    /// Four bits, the low half of a byte first: c stands for 2c - 15.
    Nibble,
    /// A signed byte.
    Int8,
}

impl CodeKind {
    /// Bytes of a vector of `dim` coordinates, a multiple of [`CODE_STEP`].
    pub const fn row_bytes(self, dim: usize) -> usize {
        match self {
            Self::Sign => dim / 8,
            Self::Nibble => dim / 2,
            Self::Int8 => dim,
        }
    }
}

/// Codes of whole vectors, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes<'a> {
    /// How the bytes are read.
    pub kind: CodeKind,
    /// `kind.row_bytes(dim)` for each vector.
    pub bytes: &'a [u8],
}

impl Kernel {
    /// Products of every vector of codes with every query: `out[r * queries.len() + q]` receives the sum over
    /// the coordinates of the decoded value times the query's.
    ///
    /// # Panics
    /// When `codes` is not a whole number of vectors of `queries.dim()`, `out` does not have one value per
    /// vector and query, or a value that signs are multiplied with is above 15.
    pub fn code_dots(self, codes: Codes<'_>, queries: &CodeQueries, out: &mut [i32]) {
        let row_bytes = codes.kind.row_bytes(queries.dim());
        assert!(codes.bytes.len().is_multiple_of(row_bytes));
        self.rows(CodeRows { codes, row_bytes, chosen: None }, queries, out);
    }

    /// The same for the vectors at `chosen` alone: `out[i * queries.len() + q]` belongs to vector
    /// `chosen[i]`. Vectors that are to come are fetched ahead, so scattered ones are best given
    /// in one call, ascending.
    ///
    /// # Panics
    /// As [`Kernel::code_dots`], and when a vector lies beyond `codes`.
    pub(crate) fn code_dots_at(
        self,
        codes: Codes<'_>,
        chosen: &[u32],
        queries: &CodeQueries,
        out: &mut [i32],
    ) {
        let row_bytes = codes.kind.row_bytes(queries.dim());
        assert!(codes.bytes.len().is_multiple_of(row_bytes));
        self.rows(CodeRows { codes, row_bytes, chosen: Some(chosen) }, queries, out);
    }

    /// Whether it multiplies bytes by an instruction that adds the products up as well.
    pub(crate) fn multiplies_bytes(self) -> bool {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => byte_products(),
            _ => false,
        }
    }

    fn rows(self, rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
        assert_eq!(out.len(), rows.len() * queries.len());
        let kind = rows.codes.kind;
        let largest = if kind == CodeKind::Sign { MAX_SIGN_VALUE as usize } else { queries::LARGEST };
        assert!(queries.largest() <= largest, "{kind:?} codes are multiplied with values up to {largest}");
        match (self.0, kind) {
            (Isa::Portable, _) => portable::rows(rows, queries, out),
            // SAFETY: every 64-bit ARM has NEON; the lengths are checked above.
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon, _) => unsafe { tiles::rows::<neon::Neon>(rows, queries, out) },
            // SAFETY: the instructions were found; the lengths are checked above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, CodeKind::Sign) if (1..=BIT_QUERIES).contains(&queries.len()) && bit_counts() => unsafe {
                match queries.len() {
                    1 => bits::rows::<1>(rows, queries, out),
                    _ => bits::rows::<BIT_QUERIES>(rows, queries, out),
                }
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, CodeKind::Sign) if is_x86_feature_detected!("avx512bw") => unsafe {
                shuffles::rows::<shuffles::Avx512>(rows, queries, out);
            },
            // SAFETY: as above; a processor with AVX-512 has AVX2.
            #[cfg(target_arch = "x86_64")]
            (_, CodeKind::Sign) => unsafe { shuffles::rows::<shuffles::Avx2>(rows, queries, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, _) if byte_products() => unsafe {
                match queries.len() {
                    ..LANES_FROM => avx512::rows(rows, queries, out),
                    _ => lanes::rows(rows, queries, out),
                }
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (Isa::AvxVnni, _) => unsafe { tiles::rows::<vnni::Vnni>(rows, queries, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            (_, CodeKind::Nibble) if queries.len() >= BLOCKS_FROM => unsafe {
                blocks::rows(rows, queries, out);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            _ => unsafe { tiles::rows::<avx2::Avx2>(rows, queries, out) },
        }
    }
}

/// Whether the processor multiplies bytes by the registers of AVX-512.
#[cfg(target_arch = "x86_64")]
fn byte_products() -> bool {
    Instructions::Widest.may_be_used()
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni")
}

/// Whether the processor counts the bits of registers of AVX-512.
#[cfg(target_arch = "x86_64")]
fn bit_counts() -> bool {
    is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512vpopcntdq")
}

/// The sum over the decoded values, from that over the unsigned codes that the instructions multiply: bit b
/// stands for 2b - 1, nibble c for 2c - 15, byte b (its sign bit flipped) for b - 128. Wraps where the
/// unsigned sum did, so the result is exact.
#[inline(always)]
fn finish(kind: CodeKind, unsigned: i32, query: i32) -> i32 {
    match kind {
        CodeKind::Sign => unsigned.wrapping_mul(2).wrapping_sub(query),
        CodeKind::Nibble => unsigned.wrapping_mul(2).wrapping_sub(query.wrapping_mul(15)),
        CodeKind::Int8 => unsigned.wrapping_sub(query.wrapping_mul(128)),
    }
}

/// The vectors of one call.
#[derive(Clone, Copy)]
struct CodeRows<'a> {
    codes: Codes<'a>,
    row_bytes: usize,
    chosen: Option<&'a [u32]>,
}

impl<'a> CodeRows<'a> {
    fn len(&self) -> usize {
        self.chosen.map_or(self.codes.bytes.len() / self.row_bytes, <[u32]>::len)
    }

    /// Those from place `i` on.
    #[cfg(target_arch = "x86_64")]
    fn from(self, i: usize) -> Self {
        match self.chosen {
            Some(chosen) => Self { chosen: Some(&chosen[i..]), ..self },
            None => {
                let bytes = &self.codes.bytes[i * self.row_bytes..];
                Self { codes: Codes { bytes, ..self.codes }, ..self }
            }
        }
    }

    /// The codes of the vector at place `i` of the call.
    #[inline]
    fn row(&self, i: usize) -> &'a [u8] {
        let row = self.chosen.map_or(i, |chosen| chosen[i] as usize);
        &self.codes.bytes[row * self.row_bytes..(row + 1) * self.row_bytes]
    }

    /// Where the vector at place `i` starts, if there is one: to fetch ahead, not to read.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn address(&self, i: usize) -> *const u8 {
        let row = self.chosen.map_or(i, |chosen| chosen.get(i).map_or(0, |row| *row as usize));
        self.codes.bytes.as_ptr().wrapping_add(row * self.row_bytes)
    }
}

#[cfg(test)]
mod tests;
