//! Few queries: straight from the rows' bytes.

use std::arch::x86_64::*;

use super::super::job::Job;
use super::super::{Element, LANES};
use super::load_part;
use super::reduce::reduce;

/// What is fetched while rows are multiplied.
#[derive(Clone, Copy)]
enum Fetch {
    /// The rows that come next, as one stretch of memory this many bytes ahead.
    Stretch(usize),
    /// Of each row what lies this many bytes ahead.
    Rows(usize),
}

impl Fetch {
    fn of<T>(job: &Job<'_, T>, rows: usize) -> Self {
        let dim = job.queries.dim();
        let strip = rows * dim * size_of::<T>();
        let used: usize = job.groups.iter().map(|group| job.queries.span(*group).len()).sum();
        if used < dim {
            Self::Rows(strip)
        } else if strip <= FETCHED {
            Self::Stretch(strip.max(NEAREST))
        } else {
            Self::Rows(FAR)
        }
    }
}

/// Bytes that can be fetched ahead and are still in the second-level cache when their turn comes.
const FETCHED: usize = 256 << 10;

/// Bytes ahead of which memory would come too late.
const NEAREST: usize = 16 << 10;

/// Bytes ahead in rows so long that several are separate streams.
const FAR: usize = 4 << 10;

/// Rows here and there, for one query. Four at a time: each waits for memory by itself.
///
/// # Safety
/// The processor has AVX-512F, `Job::check_at` passed and there is one query.
#[target_feature(enable = "avx512f")]
pub(in super::super) unsafe fn picked<T: Element>(job: &Job<'_, T>, chosen: &[usize], out: &mut [f32]) {
    let (fours, rest) = chosen.as_chunks();
    for (i, rows) in fours.iter().enumerate() {
        // SAFETY: the caller's promise, passed on.
        unsafe { strip::<T, 4, 1, _MM_HINT_T0>(job, (*rows, 4 * i), NEAR, out) };
    }
    let first = 4 * fours.len();
    // SAFETY: as above.
    unsafe {
        match *rest {
            [a] => strip::<T, 1, 1, _MM_HINT_T0>(job, ([a], first), NEAR, out),
            [a, b] => strip::<T, 2, 1, _MM_HINT_T0>(job, ([a, b], first), NEAR, out),
            [a, b, c] => strip::<T, 3, 1, _MM_HINT_T0>(job, ([a, b, c], first), NEAR, out),
            _ => {}
        }
    }
}

/// Ahead in rows that are read by themselves.
const NEAR: Fetch = Fetch::Rows(1 << 10);

/// Some rows at a time and of these group by group, so that rows come from memory once however
/// many groups they have.
///
/// # Safety
/// The processor has AVX-512F, `Job::check` passed and there are `Q` queries.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn rows<T: Element, const R: usize, const Q: usize>(job: &Job<'_, T>, out: &mut [f32]) {
    let count = job.rows();
    let fetch = Fetch::of(job, R);
    let mut row = 0;
    // Into the second-level cache: the first is full of queries.
    while row + R <= count {
        let rows = std::array::from_fn(|r| row + r);
        // SAFETY: these rows exist.
        unsafe { strip::<T, R, Q, _MM_HINT_T1>(job, (rows, row), fetch, out) };
        row += R;
    }
    while row < count {
        // SAFETY: the row exists.
        unsafe { strip::<T, 1, Q, _MM_HINT_T1>(job, ([row], row), fetch, out) };
        row += 1;
    }
}

/// Steps of a row that are taken together: the fewer other instructions there are, the more of the next row
/// is under way while the sum of this one, a chain, is not done.
const STEPS: usize = 8;

/// Bytes ahead of a stream for which the first-level cache has room together with a query.
const SOON: usize = 8 << 10;

/// Most groups of [`stream`].
pub(super) const FEW: usize = 16;

/// One row at a time, for one query: the stream of memory stays linear.
///
/// # Safety
/// The processor has AVX-512F, `Job::check` passed, there is one query, and there are at most [`FEW`] groups.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) unsafe fn stream<T: Element>(job: &Job<'_, T>, out: &mut [f32]) {
    let dim = job.queries.dim();
    let mut spans = [const { (0..0, std::ptr::null::<f32>()) }; FEW];
    for (span, &group) in spans.iter_mut().zip(job.groups) {
        *span = (job.queries.span(group), job.queries.tile(group, 0).as_ptr().cast());
    }
    for row in 0..job.rows() {
        // After the last row there may be none, or one that is not wanted.
        let soon = if row + 1 < job.rows() { SOON } else { 0 };
        for (&group, (span, q0)) in job.groups.iter().zip(&spans) {
            let values = &job.values[row * dim + span.start..][..span.len()];
            let (x0, steps) = (values.as_ptr(), values.len() / LANES);
            let mut acc = _mm512_setzero_ps();
            let mut step = 0;
            while step + STEPS <= steps {
                let ahead = x0.wrapping_add(step * LANES).wrapping_byte_add(soon);
                for line in (0..STEPS * LANES * size_of::<T>()).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_byte_add(line).cast());
                }
                for step in step..step + STEPS {
                    // SAFETY: the row has as many steps, and so has the packed query.
                    let (x, query) =
                        unsafe { (T::load(x0.add(step * LANES)), _mm512_load_ps(q0.add(step * LANES))) };
                    acc = _mm512_fmadd_ps(x, query, acc);
                }
                step += STEPS;
            }
            while step < steps {
                // SAFETY: as above.
                let (x, query) =
                    unsafe { (T::load(x0.add(step * LANES)), _mm512_load_ps(q0.add(step * LANES))) };
                acc = _mm512_fmadd_ps(x, query, acc);
                step += 1;
            }
            if steps * LANES < values.len() {
                let x = load_part(&values[steps * LANES..]);
                // SAFETY: the padded step is there too.
                let query = unsafe { _mm512_load_ps(q0.add(steps * LANES)) };
                acc = _mm512_fmadd_ps(x, query, acc);
            }
            let mut product = [0.0f32];
            reduce(&[acc], &mut product);
            job.put(out, row, group, 0, &product);
        }
    }
}

/// Some rows, whose sums have places from the first on. What is fetched meanwhile goes into the cache that
/// the hint names.
///
/// # Safety
/// As `rows` or `picked`; the rows exist.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn strip<T: Element, const R: usize, const Q: usize, const HINT: i32>(
    job: &Job<'_, T>,
    (rows, first): ([usize; R], usize),
    fetch: Fetch,
    out: &mut [f32],
) {
    let dim = job.queries.dim();
    let (x0, starts) = (job.values.as_ptr(), rows.map(|row| row * dim));
    for &group in job.groups {
        let span = job.queries.span(group);
        let packed = job.queries.tile(group, 0);
        let (bases, steps) = (starts.map(|start| start + span.start), span.len() / LANES);
        let mut acc = [[_mm512_setzero_ps(); Q]; R];
        let q0 = packed.as_ptr().cast::<f32>();
        for step in 0..steps {
            let mut x = [_mm512_setzero_ps(); R];
            if let Fetch::Stretch(ahead) = fetch {
                let at = (starts[0] + (span.start + step * LANES) * R) * size_of::<T>() + ahead;
                for line in (0..R * LANES * size_of::<T>()).step_by(64) {
                    _mm_prefetch::<HINT>(x0.cast::<u8>().wrapping_add(at + line).cast());
                }
            }
            for r in 0..R {
                // SAFETY: bases[r] + span.len() <= values.len(), by `check` or `check_at` and the caller, and
                // step * 16 + 16 <= span.len(). The prefetch may point anywhere.
                unsafe {
                    let p = x0.add(bases[r] + step * LANES);
                    if let Fetch::Rows(ahead) = fetch {
                        _mm_prefetch::<HINT>(p.wrapping_byte_add(ahead).cast());
                    }
                    x[r] = T::load(p);
                }
            }
            for q in 0..Q {
                // SAFETY: the packed queries hold at least steps * Q lines.
                let query = unsafe { _mm512_load_ps(q0.add((step * Q + q) * LANES)) };
                for r in 0..R {
                    acc[r][q] = _mm512_fmadd_ps(x[r], query, acc[r][q]);
                }
            }
        }
        if steps * LANES < span.len() {
            for r in 0..R {
                let x = load_part(&job.values[bases[r] + steps * LANES..bases[r] + span.len()]);
                for q in 0..Q {
                    // SAFETY: the padded step is there too.
                    let query = unsafe { _mm512_load_ps(q0.add((steps * Q + q) * LANES)) };
                    acc[r][q] = _mm512_fmadd_ps(x, query, acc[r][q]);
                }
            }
        }
        // The sums leave the registers once, here: indexed anywhere else they would live in
        // memory during the loop above.
        let mut products = [[0.0f32; Q]; R];
        reduce(acc.as_flattened(), products.as_flattened_mut());
        for (r, products) in products.iter().enumerate() {
            job.put(out, first + r, group, 0, products);
        }
    }
}
