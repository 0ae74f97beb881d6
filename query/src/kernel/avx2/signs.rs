//! One query with rows of signs: bits that are shifted to the place of a sign flip those of its values, which
//! are then added.

use std::arch::x86_64::*;

use super::super::job::SignJob;
use super::super::{LANES, reduce};

/// Rows at a time: each sum is a chain, so others go on while one waits.
const ROWS: usize = 4;

/// # Safety
/// The processor has AVX2; there is one query; rows have the words of `firsts`, those of module group g from
/// `firsts[g]` on.
#[target_feature(enable = "avx2,fma,f16c")]
pub(in super::super) unsafe fn signs(job: &SignJob<'_>, firsts: &[usize], out: &mut [f32]) {
    let count = job.count();
    let mut row = 0;
    // SAFETY: the caller's promise, passed on; the rows exist.
    unsafe {
        while row + ROWS <= count {
            strip::<ROWS>(job, firsts, row, out);
            row += ROWS;
        }
        while row < count {
            strip::<1>(job, firsts, row, out);
            row += 1;
        }
    }
}

/// # Safety
/// As `signs`; rows `first..first + R` exist.
#[target_feature(enable = "avx2,fma,f16c")]
#[inline]
unsafe fn strip<const R: usize>(job: &SignJob<'_>, firsts: &[usize], first: usize, out: &mut [f32]) {
    let minus = _mm256_set1_epi32(i32::MIN);
    // By which bit i of 16 becomes the highest.
    let low_bits = _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24);
    let high_bits = _mm256_setr_epi32(23, 22, 21, 20, 19, 18, 17, 16);
    let rows: [&[u64]; R] = std::array::from_fn(|r| job.words(first + r));
    for &group in job.groups {
        let query = job.queries.tile(group, 0);
        let words = rows.map(|row| row[firsts[group]..].as_ptr().cast::<u16>());
        let (mut low, mut high) = ([_mm256_setzero_ps(); R], [_mm256_setzero_ps(); R]);
        for (step, query) in query.iter().enumerate() {
            // SAFETY: a line is 16 values.
            let (left, right) =
                unsafe { (_mm256_loadu_ps(query.as_ptr()), _mm256_loadu_ps(query.as_ptr().add(LANES / 2))) };
            for r in 0..R {
                // SAFETY: a row has 16 signs for each line of the query, in words that a group begins with;
                // on this little-endian processor they lie in the order of their bits.
                let bits = _mm256_set1_epi32(i32::from(unsafe { words[r].add(step).read() }));
                let signs =
                    |places| _mm256_castsi256_ps(_mm256_and_si256(_mm256_sllv_epi32(bits, places), minus));
                low[r] = _mm256_add_ps(low[r], _mm256_xor_ps(left, signs(low_bits)));
                high[r] = _mm256_add_ps(high[r], _mm256_xor_ps(right, signs(high_bits)));
            }
        }
        for r in 0..R {
            let mut lanes = [0.0f32; LANES];
            // SAFETY: 16 values.
            unsafe {
                _mm256_storeu_ps(lanes.as_mut_ptr(), low[r]);
                _mm256_storeu_ps(lanes.as_mut_ptr().add(LANES / 2), high[r]);
            }
            job.put(out, first + r, group, reduce(&lanes));
        }
    }
}
