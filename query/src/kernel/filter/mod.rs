//! Approximations of the exact products with an error bound, faster for many queries.
//!
//! Rows and queries are rounded to bf16 or to bytes, whichever the processor multiplies. With x a row's
//! vector times its factors, q a query, x' and q' what rounding makes of them:
//!
//! ```text
//! <x', q'> - <x, q> = <x' - x, q> + <x', q' - q>, so
//! |<x', q'> - <x, q>| <= |x' - x||q| + |x'||q' - q|      (Cauchy-Schwarz)
//! ```
//!
//! The sums of the exact kernel are rounded as well, and those of bf16. A sum of m terms, each addition of
//! which is off by a factor of at most 1 + d, is within (e^(md) - 1) sum |x_k q_k| <= (e^(md) - 1)|x||q| of
//! the true one (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). For the exact kernel d
//! = 2^-24; for `vdpbf16ps` 2^-22 is taken for a step of two products, which allows it to truncate and to add
//! in any order. It flushes denormals, and products and sums below 2^-126 with them: 2^-126 for each of four
//! results a step and lane. Sums of bytes are exact.
//!
//! Bytes are multiples of a step of each vector and group. Their bounds are some times as wide as those of
//! bf16, and every processor with AVX2 multiplies them.
//!
//! Invariants
//! - norms and residuals are upper bounds, whatever was rounded in computing them
//! - what could overflow or is not finite has an infinite residual: it bounds nothing, and nothing may be
//!   left out because of it

#[cfg(target_arch = "x86_64")]
mod bf16;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod bound;
#[cfg(target_arch = "x86_64")]
mod bytes;
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod queries;

use std::ops::Range;

use gstore_store::Values;

pub use bound::{FilterBound, RowNorms, sum_upper_bound};
pub use queries::FilterQueries;

use super::Kernel;
use super::MAX_CODE_DIM;
use super::panels::Scratch;
use super::signs::as_bytes;
#[cfg(target_arch = "x86_64")]
use super::{Isa, ahead::RowPrefetch, lanes::GroupValues};

/// Values of bf16 in a word.
const PAIR: usize = 2;

/// Words of a row whose products `vpmaddubsw` adds up in 16 bits.
const NARROW_WORDS: usize = 2;

/// Which of their values meet in one sum.
const NARROW_SUMS: [[usize; 4]; 2] = [[0, 1, 4, 5], [2, 3, 6, 7]];

/// The largest magnitude of a row's byte there, and what those of a query's in one sum come to at most if the
/// row's are made positive. The larger the one, the smaller the other: with this one both lose about as much.
const NARROW_BYTE: i8 = 85;
const NARROW_SUM: i16 = i16::MAX / (2 * NARROW_BYTE as i16 + 1);

/// Norms from which on sums of products could overflow.
pub const HUGE_NORM: f64 = (1u64 << 60) as f64;

/// What rows and queries are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To bytes, times a step of each vector and group.
    Bytes,
    /// To bf16.
    Bf16,
}

/// Approximate products that a processor has the instructions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter(Multiply);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
enum Multiply {
    /// `vdpbf16ps`.
    Bf16,
    /// `vpmaddubsw`.
    Avx2,
    /// `vpdpbusd`, with registers of AVX2.
    AvxVnni,
    /// `vpdpbusd`, with registers of AVX-512.
    Avx512Vnni,
}

impl Kernel {
    /// The filter that goes with this kernel, if there is one for the processor: in bf16 where it has the
    /// instruction.
    pub fn filter(self) -> Option<Filter> {
        let multiply = match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512
                if is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bf16") =>
            {
                Some(Multiply::Bf16)
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 if self.multiplies_bytes() => Some(Multiply::Avx512Vnni),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => Some(Multiply::AvxVnni),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx2 => Some(Multiply::Avx2),
            _ => None,
        };
        multiply.map(Filter)
    }
}

impl Filter {
    /// What it rounds to.
    pub fn rounding(self) -> Rounding {
        match self.0 {
            Multiply::Bf16 => Rounding::Bf16,
            Multiply::Avx2 | Multiply::AvxVnni | Multiply::Avx512Vnni => Rounding::Bytes,
        }
    }

    /// All that this processor has, whatever the kernel prefers.
    #[cfg(test)]
    fn all() -> Vec<Self> {
        let mut all: Vec<Self> = Kernel::available().into_iter().filter_map(Kernel::filter).collect();
        #[cfg(target_arch = "x86_64")]
        if Kernel::available().iter().any(|kernel| kernel.0 == Isa::Avx512 && kernel.multiplies_bytes()) {
            all.push(Self(Multiply::Avx512Vnni));
        }
        all.dedup();
        all
    }

    /// Whether it bounds anything of vectors with these module groups: sums of bytes have 32 bits.
    pub(crate) fn takes(self, groups: &[Range<usize>]) -> bool {
        self.rounding() == Rounding::Bf16 || groups.iter().all(|group| group.len() <= MAX_CODE_DIM)
    }

    /// Approximates [`Kernel::scaled_dots`] with the same arguments. `norms` receives for each row what
    /// [`FilterBound`] needs to bound the difference. Signs of rotated rows are for queries that were made of
    /// rotated ones.
    ///
    /// # Panics
    /// As [`Kernel::scaled_dots`], when `norms` does not have one entry per row, and with queries of another
    /// filter.
    #[allow(clippy::too_many_arguments)] // those of the exact kernel, and one more
    pub fn scaled_dots(
        self,
        rows: Values<'_>,
        queries: &FilterQueries,
        groups: &[usize],
        factors: &[f32],
        scratch: &mut Scratch,
        out: &mut [f32],
        norms: &mut [RowNorms],
    ) {
        let len = match rows {
            Values::F16(values) => values.len(),
            Values::F32(values) => values.len(),
            Values::I8(values) => values.len(),
            Values::I1(rows) => {
                assert!(out.len() == rows.vectors() * queries.len() && norms.len() == rows.vectors());
                let mut bytes = std::mem::take(&mut scratch.bytes);
                as_bytes(rows, None, &queries.groups, groups, &mut bytes, |some, values| {
                    let values = Values::I8(values);
                    let factors = &factors[some.start * queries.groups()..some.end * queries.groups()];
                    let out = &mut out[some.start * queries.len()..some.end * queries.len()];
                    self.scaled_dots(values, queries, groups, factors, scratch, out, &mut norms[some]);
                });
                scratch.bytes = bytes;
                return;
            }
        };
        assert_eq!(self, queries.filter);
        let count = len / queries.dim();
        assert!(len == count * queries.dim() && out.len() == count * queries.len() && norms.len() == count);
        assert!(factors.len() == count * queries.groups());
        assert!(groups.iter().all(|group| *group < queries.groups()));
        out.fill(0.0);
        norms.fill(RowNorms::default());
        let job = Job { queries, groups, factors };
        // SAFETY: only `Kernel::filter` makes a `Filter`, and it found the instructions; the
        // lengths are checked above.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match rows {
                Values::F16(values) => self.products(job, values, scratch, out, norms),
                Values::F32(values) => self.products(job, values, scratch, out, norms),
                Values::I8(values) => self.products(job, values, scratch, out, norms),
                // Are bytes by now.
                Values::I1(_) => {}
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (job, scratch);
    }

    /// # Safety
    /// The processor has the instructions; the lengths agree as `scaled_dots` asks.
    #[cfg(target_arch = "x86_64")]
    unsafe fn products<T: super::Element>(
        self,
        job: Job<'_>,
        values: &[T],
        scratch: &mut Scratch,
        out: &mut [f32],
        norms: &mut [RowNorms],
    ) {
        // SAFETY: the caller's promise, passed on.
        unsafe {
            match self.0 {
                Multiply::Bf16 => bf16::products(job, values, scratch, out, norms),
                Multiply::Avx2 => bytes::products::<bytes::Avx2, T>(job, values, scratch, out, norms),
                Multiply::AvxVnni => bytes::products::<bytes::AvxVnni, T>(job, values, scratch, out, norms),
                Multiply::Avx512Vnni => {
                    bytes::products::<bytes::Avx512Vnni, T>(job, values, scratch, out, norms);
                }
            }
        }
    }
}

/// What rows are multiplied with.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
struct Job<'a> {
    queries: &'a FilterQueries,
    groups: &'a [usize],
    /// Rows x groups of the queries.
    factors: &'a [f32],
}

#[cfg(target_arch = "x86_64")]
impl Job<'_> {
    /// Where a cut of some rows lies, to be fetched ahead; they may be beyond the last of the `values`.
    #[inline]
    fn ahead<T>(&self, values: &[T], rows: Range<usize>, cut: &GroupValues) -> RowPrefetch {
        let (dim, size) = (self.queries.dim(), size_of::<T>());
        let at = values.as_ptr().wrapping_add(rows.start * dim + cut.values.start).cast();
        RowPrefetch::new(at, cut.values.len() * size, dim * size, rows.len())
    }
}

#[cfg(test)]
mod tests;
