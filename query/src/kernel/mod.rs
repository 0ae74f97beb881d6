//! Dot products of stored rows with query vectors.
//!
//! Invariants
//! - one order of summation for every implementation, tile shape and number of queries: 16 lanes (lane = k mod 16), ascending k, fused
//!   multiply-add in f32, the last partial step padded with zeros, then the fixed tree of `reduce`. A dot product therefore has
//!   the same bits on every instruction set and beside any other row or query
//! - stored types are widened to f32 exactly
//! - `unsafe` of this crate lives here and in nothing else

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod codes;
mod portable;
mod queries;

use std::ops::Range;

use gstore_store::Values;
use half::f16;

pub use codes::{CODE_STEP, CodeKind, CodeQueries, Codes, MAX_CODE_DIM};
pub use queries::Queries;

/// Lanes of the summation order.
pub const LANES: usize = 16;

/// Widest tile of queries that an implementation takes at a time.
pub const MAX_TILE: usize = 4;

/// An implementation that this processor can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Isa);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Kernel {
    /// The fastest one.
    pub fn detect() -> Self {
        Self::available().last().copied().unwrap_or(Self(Isa::Portable))
    }

    /// All of them, slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut found = vec![Self(Isa::Portable)];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                found.push(Self(Isa::Avx2));
            }
            if is_x86_feature_detected!("avx512f") {
                found.push(Self(Isa::Avx512));
            }
        }
        found
    }

    /// `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
        }
    }

    /// Dot products of every row with every query over the coordinates of one module group.
    ///
    /// `rows` holds vectors of `queries.dim()` values; `group` is an index into the groups of `queries`. `out[r * queries.len() + q]`
    /// receives the product of row r and query q, not multiplied by the row's scale.
    ///
    /// # Panics
    /// When `rows` is not a whole number of vectors, or `out` does not have one value per row and query.
    pub fn dots(self, rows: Values<'_>, queries: &Queries, group: usize, out: &mut [f32]) {
        match rows {
            Values::F16(values) => self.dots_of(values, queries, group, out),
            Values::F32(values) => self.dots_of(values, queries, group, out),
            Values::I8(values) => self.dots_of(values, queries, group, out),
        }
    }

    fn dots_of<T: Element>(self, values: &[T], queries: &Queries, group: usize, out: &mut [f32]) {
        let (dim, span) = (queries.dim(), queries.span(group));
        assert!(span.end <= dim && dim > 0 && values.len().is_multiple_of(dim));
        let count = values.len() / dim;
        assert_eq!(out.len(), count * queries.len());
        // A chunk of rows stays in cache while every tile of queries passes over it.
        let chunk = match queries.tiles() {
            0 | 1 => count.max(1),
            _ => (CHUNK_BYTES / (dim * size_of::<T>())).next_multiple_of(CHUNK_ROWS).max(CHUNK_ROWS),
        };
        for start in (0..count).step_by(chunk) {
            let end = (start + chunk).min(count);
            for tile in 0..queries.tiles() {
                let job = Tile {
                    values: &values[start * dim..end * dim],
                    dim,
                    span: span.clone(),
                    queries: queries.tile(group, tile),
                    width: queries.tile_queries(tile).len(),
                    out_stride: queries.len(),
                };
                let first = start * queries.len() + queries.tile_queries(tile).start;
                self.tile(job, &mut out[first..]);
            }
        }
    }

    fn tile<T: Element>(self, job: Tile<'_, T>, out: &mut [f32]) {
        job.check(out);
        match self.0 {
            Isa::Portable => portable::tile(job, out),
            // SAFETY: `available` found the instructions that the implementation is compiled for; `check` has held every pointer range.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { avx2::tile(job, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::tile(job, out) },
        }
    }
}

/// Bytes of rows that several tiles of queries pass over: what stays in a core's own cache beside one tile of queries.
const CHUNK_BYTES: usize = 384 << 10;

/// Chunks hold a multiple of this many rows, which is one of what every implementation takes at a time.
const CHUNK_ROWS: usize = 6;

/// Rows against at most [`MAX_TILE`] queries.
#[derive(Clone)]
struct Tile<'a, T> {
    /// Whole vectors of `dim` values.
    values: &'a [T],
    dim: usize,
    /// Coordinates of the group inside a vector.
    span: Range<usize>,
    /// `[step][query][lane]`, zero-padded.
    queries: &'a [[f32; LANES]],
    width: usize,
    /// Distance between the results of two rows.
    out_stride: usize,
}

impl<T> Tile<'_, T> {
    fn rows(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Adds the last, partial step of a row (its coordinates in the span), if it has one, to the sums of the
    /// queries that start with `from`.
    #[inline(always)]
    fn last_step(&self, row: &[T], from: usize, acc: &mut [[f32; LANES]])
    where
        T: Element,
    {
        let whole = row.len() / LANES;
        if whole * LANES < row.len() {
            portable::add_step(&row[whole * LANES..], &self.queries[whole * self.width + from..], acc);
        }
    }

    /// What the implementations rely on when they form pointers.
    fn check(&self, out: &[f32]) {
        let rows = self.rows();
        assert!(self.span.end <= self.dim && rows * self.dim == self.values.len());
        assert!((1..=MAX_TILE).contains(&self.width));
        assert_eq!(self.queries.len(), self.span.len().div_ceil(LANES) * self.width);
        assert!(rows == 0 || (rows - 1) * self.out_stride + self.width <= out.len());
    }
}

/// A stored type, exactly convertible to f32.
trait Element: Copy + simd::Lanes {
    fn widen(self) -> f32;
}

impl Element for f16 {
    #[inline]
    fn widen(self) -> f32 {
        self.to_f32()
    }
}

impl Element for f32 {
    #[inline]
    fn widen(self) -> f32 {
        self
    }
}

impl Element for i8 {
    #[inline]
    fn widen(self) -> f32 {
        f32::from(self)
    }
}

/// How a stored type gets into registers.
#[cfg(target_arch = "x86_64")]
mod simd {
    pub(super) trait Lanes: super::avx2::Load + super::avx512::Load {}
    impl<T: super::avx2::Load + super::avx512::Load> Lanes for T {}
}

#[cfg(not(target_arch = "x86_64"))]
mod simd {
    pub(super) trait Lanes {}
    impl<T> Lanes for T {}
}

/// The fixed tree: lanes 8 apart, then 4, 2 and 1 apart.
#[inline(always)]
fn reduce(lanes: &[f32; LANES]) -> f32 {
    let mut a = [0.0f32; 8];
    for i in 0..8 {
        a[i] = lanes[i] + lanes[i + 8];
    }
    let b = [a[0] + a[4], a[1] + a[5], a[2] + a[6], a[3] + a[7]];
    (b[0] + b[2]) + (b[1] + b[3])
}

#[cfg(test)]
mod tests;
