//! One query with rows of signs: a mask of 16 flips the signs of its values, which are then added.

use std::arch::x86_64::*;

use super::super::job::SignJob;
use super::reduce::reduce;

/// Rows at a time: each sum is a chain, so others go on while one waits.
const ROWS: usize = 8;

/// Bytes of rows that can be fetched while as many others are added up.
const FETCHED: usize = 256 << 10;

/// Bytes ahead in rows that are longer.
const FAR: usize = 4 << 10;

/// Steps of a cache line of signs.
const STEPS: usize = 32;

/// # Safety
/// The processor has AVX-512F; there is one query; rows have the words of `firsts`, those of module group g
/// from `firsts[g]` on.
#[target_feature(enable = "avx512f")]
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
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn strip<const R: usize>(job: &SignJob<'_>, firsts: &[usize], first: usize, out: &mut [f32]) {
    let minus = _mm512_set1_epi32(i32::MIN);
    let rows: [&[u64]; R] = std::array::from_fn(|r| job.words(first + r));
    let strip = R * job.rows.each() * size_of::<u64>();
    let ahead = if strip <= FETCHED { strip } else { FAR };
    for &group in job.groups {
        let query = job.queries.tile(group, 0);
        let words = rows.map(|row| row[firsts[group]..].as_ptr().cast::<u16>());
        let mut acc = [_mm512_setzero_ps(); R];
        for (step, query) in query.iter().enumerate() {
            // SAFETY: a line is 16 values.
            let query = _mm512_castps_si512(unsafe { _mm512_loadu_ps(query.as_ptr()) });
            if step.is_multiple_of(STEPS) {
                for r in 0..R {
                    // A fetch may point anywhere.
                    let next = words[r].wrapping_add(step).wrapping_byte_add(ahead);
                    _mm_prefetch::<_MM_HINT_T0>(next.cast());
                }
            }
            for r in 0..R {
                // SAFETY: a row has 16 signs for each line of the query, in words that a group begins with;
                // on this little-endian processor they lie in the order of their bits.
                let mask = unsafe { words[r].add(step).read() };
                let signed = _mm512_mask_xor_epi32(query, mask, query, minus);
                acc[r] = _mm512_add_ps(acc[r], _mm512_castsi512_ps(signed));
            }
        }
        let mut products = [0.0f32; R];
        reduce(&acc, &mut products);
        for (r, product) in products.into_iter().enumerate() {
            job.put(out, first + r, group, product);
        }
    }
}
