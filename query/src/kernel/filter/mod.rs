//! bf16 approximation of the exact products with an error bound, twice as fast for many queries.
//!
//! Rows and queries are rounded to bf16 and multiplied by `vdpbf16ps`. With x a row's vector times its
//! factors, q a query, x' and q' what bf16 makes of them:
//!
//! ```text
//! <x', q'> - <x, q> = <x' - x, q> + <x', q' - q>, so
//! |<x', q'> - <x, q>| <= |x' - x||q| + |x'||q' - q|      (Cauchy-Schwarz)
//! ```
//!
//! Both sums are rounded as well. A sum of m terms, each addition of which is off by a factor of at most
//! 1 + d, is within (e^(md) - 1) sum |x_k q_k| <= (e^(md) - 1)|x||q| of the true one (Higham, Accuracy and
//! Stability of Numerical Algorithms, section 3.1). For the exact kernel d = 2^-24; for `vdpbf16ps` 2^-22 is
//! taken for a step of two products, which allows it to truncate and to add in any order. It flushes
//! denormals, and products and sums below 2^-126 with them: 2^-126 for each of four results a step and lane.
//!
//! Invariants
//! - norms and residuals are upper bounds, whatever was rounded in computing them
//! - what could overflow or is not finite has an infinite residual: it bounds nothing, and nothing may be
//!   left out because of it

#[cfg(target_arch = "x86_64")]
mod avx512;
mod bound;

use std::ops::Range;

use gstore_store::Values;
use half::bf16;

pub use bound::{FilterBound, RowNorms};

#[cfg(target_arch = "x86_64")]
use super::Isa;
use super::Kernel;
use super::lanes::{LanePacking, WORD};
use super::panels::Scratch;
use super::signs::as_bytes;

/// Values in a word.
const PAIR: usize = 2;

/// Norms from which on products could overflow.
const HUGE: f64 = (1u64 << 60) as f64;

/// The filter of a processor that has the instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter(());

impl Kernel {
    /// The filter that goes with this kernel, if the processor has one (`avx512_bf16`).
    pub fn filter(self) -> Option<Filter> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512
                if is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bf16") =>
            {
                Some(Filter(()))
            }
            _ => None,
        }
    }
}

/// Query vectors rounded to bf16, with the norms of what the rounding left and took.
#[derive(Debug, Clone)]
pub struct FilterQueries {
    dim: usize,
    groups: Vec<Range<usize>>,
    packing: LanePacking,
    /// Groups x queries: squares of the norm and of what rounding took.
    squares: Vec<[f64; 2]>,
}

impl FilterQueries {
    /// As [`super::Queries::new`].
    ///
    /// # Panics
    /// When the lengths disagree or a group reaches beyond `dim`.
    pub fn new(vectors: &[f32], dim: usize, groups: &[Range<usize>]) -> Self {
        assert!(dim > 0 && vectors.len().is_multiple_of(dim));
        let groups = if groups.is_empty() { vec![0..dim] } else { groups.to_vec() };
        assert!(groups.iter().all(|group| group.start <= group.end && group.end <= dim));
        let packing = LanePacking::new(vectors.len() / dim, &groups, PAIR, |query, range| {
            let mut pair = [0u16; PAIR];
            for (to, value) in pair.iter_mut().zip(&vectors[query * dim..][range]) {
                *to = round(*value).to_bits();
            }
            bytemuck::cast::<_, [u8; WORD]>(pair)
        });
        let mut squares = Vec::with_capacity(groups.len() * packing.len());
        for group in &groups {
            for vector in vectors.chunks_exact(dim) {
                let mut sums = [0.0; 2];
                for value in &vector[group.clone()] {
                    let (value, kept) = (f64::from(*value), f64::from(round(*value)));
                    sums[0] += value * value;
                    sums[1] += (value - kept) * (value - kept);
                }
                squares.push(sums);
            }
        }
        Self { dim, groups, packing, squares }
    }

    /// Values per vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.packing.len()
    }

    /// True without vectors.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of module groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }
}

/// To the nearest, ties to even; below the normal numbers to zero, as which the instruction takes them.
fn round(value: f32) -> bf16 {
    if value.abs() < f32::MIN_POSITIVE { bf16::ZERO } else { bf16::from_f32(value) }
}

impl Filter {
    /// Approximates [`Kernel::scaled_dots`] with the same arguments. `norms` receives for each row what
    /// [`FilterBound`] needs to bound the difference. Signs of rotated rows are for queries that were made of
    /// rotated ones.
    ///
    /// # Panics
    /// As [`Kernel::scaled_dots`], and when `norms` does not have one entry per row.
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
                Values::F16(values) => avx512::products(job, values, scratch, out, norms),
                Values::F32(values) => avx512::products(job, values, scratch, out, norms),
                Values::I8(values) => avx512::products(job, values, scratch, out, norms),
                // Are bytes by now.
                Values::I1(_) => {}
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (job, scratch);
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

#[cfg(test)]
mod tests;
