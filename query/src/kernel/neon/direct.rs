//! Few queries: straight from the rows' bytes.

use super::super::job::Job;
use super::super::{Element, LANES};
use super::{Load, add, load_part, over_lanes, zero};

/// Some rows at a time and of these group by group, so that rows come from memory once however
/// many groups they have.
///
/// # Safety
/// `Job::check` passed and there are `Q` queries.
#[target_feature(enable = "neon")]
#[inline]
pub(super) unsafe fn rows<T: Element, const R: usize, const Q: usize>(job: &Job<'_, T>, out: &mut [f32]) {
    let count = job.rows();
    let mut row = 0;
    while row + R <= count {
        // SAFETY: rows row..row + R exist.
        unsafe { strip::<T, R, Q>(job, row, out) };
        row += R;
    }
    while row < count {
        // SAFETY: the row exists.
        unsafe { strip::<T, 1, Q>(job, row, out) };
        row += 1;
    }
}

/// # Safety
/// As `rows`; rows `first..first + R` exist.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn strip<T: Element, const R: usize, const Q: usize>(job: &Job<'_, T>, first: usize, out: &mut [f32]) {
    let dim = job.queries.dim();
    for &group in job.groups {
        let span = job.queries.span(group);
        let q0 = job.queries.tile(group, 0).as_ptr().cast::<f32>();
        let (base, steps) = (first * dim + span.start, span.len() / LANES);
        let mut sums = [[zero(); Q]; R];
        for step in 0..steps {
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: base + r * dim + span.len() <= values.len(), by `check` and the caller, and
                // step * 16 + 16 <= span.len().
                let x = unsafe { T::step(job.values.as_ptr().add(base + r * dim + step * LANES)) };
                for (q, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the packed queries hold at least steps * Q lines.
                    add(sum, &x, &unsafe { f32::step(q0.add((step * Q + q) * LANES)) });
                }
            }
        }
        if steps * LANES < span.len() {
            for (r, sums) in sums.iter_mut().enumerate() {
                let x = load_part(&job.values[base + r * dim + steps * LANES..base + r * dim + span.len()]);
                for (q, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the padded step is there too.
                    add(sum, &x, &unsafe { f32::step(q0.add((steps * Q + q) * LANES)) });
                }
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let mut products = [0.0f32; Q];
            for (product, sum) in products.iter_mut().zip(sums) {
                *product = over_lanes(sum);
            }
            job.put(out, first + r, group, 0, &products);
        }
    }
}
