//! Dot products of stored rows with query vectors.
//!
//! - [`Kernel::scaled_dots`]: exact, for one to a thousand queries
//! - [`Filter`]: in bf16 or bytes, for many queries, with a bound on how far it is from the exact ones
//! - `Kernel::half_dot`: of two vectors of f16, for graphs of neighbours
//! - [`Kernel::code_dots`]: of the codes of a sketch with int8 queries
//! - [`RowProducts`]: the exact ones by something else than this processor, such as a GPU
//!
//! Invariants
//! - one order of summation for every implementation, tile shape and number of queries: 16 lanes (lane = k
//!   mod 16), ascending k, fused multiply-add in f32, the last partial step padded with zeros, then the fixed
//!   tree of `reduce`. A dot product therefore has the same bits on every instruction set and together with
//!   any other row or query
//! - stored types are widened to f32 exactly; signs are 1 and -1
//! - `unsafe` of this crate lives here and in nothing else

#![allow(unsafe_code)]

mod ahead;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod codes;
mod device;
mod filter;
mod half_dot;
mod job;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod packing;
mod panels;
mod portable;
mod queries;
mod signs;

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use gstore_core::instructions::Instructions;
use gstore_store::Values;
use half::f16;

pub use codes::{CODE_STEP, CodeKind, CodeQueries, Codes};
pub(crate) use codes::{MAX_CODE_DIM, MAX_SIGN_VALUE};
pub use device::{
    BlockKey, Combined, EstimatedRows, Folding, KeptRows, ProductsError, RowBlock, RowProducts,
};
pub use filter::{Filter, FilterBound, FilterQueries, HUGE_NORM, Rounding, RowNorms, sum_upper_bound};
#[cfg(feature = "ann")]
pub(crate) use half_dot::usearch_metric;
pub use panels::Scratch;
pub use queries::Queries;

use job::{Job, SignJob};

/// Lanes of the summation order.
pub(crate) const LANES: usize = 16;

/// Rows of a run from which on a stream of memory pays.
#[cfg(target_arch = "x86_64")]
const LONG_RUN: usize = 8;

/// An implementation that this processor can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Isa);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isa {
    Portable,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// AVX2 and AVX-VNNI, which multiplies bytes: processors from 2021 on that have no AVX-512.
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
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
        #[cfg(target_arch = "aarch64")]
        found.push(Self(Isa::Neon));
        #[cfg(target_arch = "x86_64")]
        {
            if Instructions::Avx2.may_be_used()
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                found.push(Self(Isa::Avx2));
                if Instructions::AvxVnni.may_be_used() && is_x86_feature_detected!("avxvnni") {
                    found.push(Self(Isa::AvxVnni));
                }
            }
            if Instructions::Widest.may_be_used() && is_x86_feature_detected!("avx512f") {
                found.push(Self(Isa::Avx512));
            }
        }
        found
    }

    /// `portable`, `neon`, `avx2`, `avxvnni` or `avx512`.
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Portable => "portable",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => "avxvnni",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
        }
    }

    /// Sums over module groups of the dot products of every row with every query. `rows` holds vectors of
    /// `queries.dim()` values; `groups` are indices into the groups of `queries`.
    /// `out[r * queries.len() + q]` starts at zero and receives, group after group in the order of `groups`,
    /// the product rounded to f32, times `factors[r * queries.groups() + group]`, rounded, added, rounded.
    /// Rows come from memory once, however many groups there are.
    ///
    /// # Panics
    /// When `rows` is not a whole number of vectors, or `factors` or `out` do not have one value per row and
    /// group, or row and query.
    pub fn scaled_dots(
        self,
        rows: Values<'_>,
        queries: &Queries,
        groups: &[usize],
        factors: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        out.fill(0.0);
        match rows {
            Values::F16(values) => self.run(Job { values, queries, groups, factors }, scratch, out),
            Values::F32(values) => self.run(Job { values, queries, groups, factors }, scratch, out),
            Values::I8(values) => self.run(Job { values, queries, groups, factors }, scratch, out),
            Values::I1(rows) => {
                SignJob { rows, chosen: None, queries, groups, factors }.run(self, scratch, out);
            }
        }
    }

    /// The same of the rows at `chosen` alone, whose factors and sums follow one another:
    /// `out[i * queries.len() + q]` belongs to row `chosen[i]`.
    ///
    /// # Panics
    /// As [`Kernel::scaled_dots`], and when a row lies beyond `rows`.
    #[allow(clippy::too_many_arguments)] // as above, and the choice
    pub fn scaled_dots_at(
        self,
        rows: Values<'_>,
        chosen: &[usize],
        queries: &Queries,
        groups: &[usize],
        factors: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) {
        if let Values::I1(rows) = rows {
            out.fill(0.0);
            let job = SignJob { rows, chosen: Some(chosen), queries, groups, factors };
            return job.run(self, scratch, out);
        }
        let runs = chosen.chunk_by(|a, b| a + 1 == *b);
        // Long runs are read faster one after the other.
        #[cfg(target_arch = "x86_64")]
        if self.0 != Isa::Portable && queries.len() == 1 && runs.clone().count() * LONG_RUN > chosen.len() {
            out.fill(0.0);
            match rows {
                Values::F16(values) => {
                    return self.picked(Job { values, queries, groups, factors }, chosen, out);
                }
                Values::F32(values) => {
                    return self.picked(Job { values, queries, groups, factors }, chosen, out);
                }
                Values::I8(values) => {
                    return self.picked(Job { values, queries, groups, factors }, chosen, out);
                }
                // As above.
                Values::I1(_) => {}
            }
        }
        let mut done = 0;
        for run in runs {
            let places = done..done + run.len();
            done = places.end;
            let factors = &factors[places.start * queries.groups()..places.end * queries.groups()];
            let out = &mut out[places.start * queries.len()..places.end * queries.len()];
            let rows = rows_of(rows, queries.dim(), run[0]..run[0] + run.len());
            self.scaled_dots(rows, queries, groups, factors, scratch, out);
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn picked<T: Element>(self, job: Job<'_, T>, chosen: &[usize], out: &mut [f32]) {
        job.check_at(chosen, out);
        // SAFETY: `available` found the instructions; `check_at` has held every pointer range.
        unsafe {
            match self.0 {
                Isa::Avx512 => avx512::picked(&job, chosen, out),
                _ => avx2::picked(&job, chosen, out),
            }
        }
    }

    fn run<T: Element>(self, job: Job<'_, T>, scratch: &mut Scratch, out: &mut [f32]) {
        job.check(out);
        match self.0 {
            Isa::Portable => portable::products(&job, out),
            // SAFETY: every 64-bit ARM has NEON; `check` has held every pointer range.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { neon::products(&job, scratch, out) },
            // SAFETY: `available` found the instructions that the implementation is compiled for; `check` has
            // held every pointer range.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2::products(&job, scratch, out) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512::products(&job, scratch, out) },
        }
    }
}

/// A stored type, exactly convertible to f32.
trait Element: Copy + Default + simd::Lanes {
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

/// How a stored type gets into registers.
#[cfg(target_arch = "aarch64")]
mod simd {
    pub(super) trait Lanes: super::neon::Load {}
    impl<T: super::neon::Load> Lanes for T {}
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod simd {
    pub(super) trait Lanes {}
    impl<T> Lanes for T {}
}

/// Rows `range` of a block's values.
pub(crate) fn rows_of<'a>(values: Values<'a>, dim: usize, range: Range<usize>) -> Values<'a> {
    let span = range.start * dim..range.end * dim;
    match values {
        Values::F16(v) => Values::F16(&v[span]),
        Values::F32(v) => Values::F32(&v[span]),
        Values::I8(v) => Values::I8(&v[span]),
        Values::I1(v) => Values::I1(v.rows(range)),
    }
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
