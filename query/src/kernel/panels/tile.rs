//! A panel of rows against a tile of queries, in registers.

use super::super::packing::{CacheLine, MAX_TILE};
use super::super::{Element, LANES};
use super::{Operands, Panels};
use crate::kernel::ahead::FETCH_STEPS;

/// Writes widened values to lines `stride` apart, the last one padded with zeros. It becomes part of the
/// caller, whose instructions it has.
///
/// # Safety
/// There is room for the lines; the processor has the instructions of `P`.
#[inline(always)]
pub(in crate::kernel) unsafe fn unpack<P: Panels, T: Element>(
    values: &[T],
    mut to: *mut CacheLine,
    stride: usize,
) {
    let (whole, part) = values.as_chunks::<LANES>();
    for step in whole {
        // SAFETY: 16 values; the caller's promise.
        unsafe { P::widen(step.as_ptr(), to.cast()) };
        to = to.wrapping_add(stride);
    }
    if !part.is_empty() {
        let mut step = [T::default(); LANES];
        step[..part.len()].copy_from_slice(part);
        // SAFETY: as above.
        unsafe { P::widen(step.as_ptr(), to.cast()) };
    }
}

/// `Panels::multiply` for any instruction set, as part of the caller, whose instructions it has. Lanes are
/// taken one register after another, and of the queries as many as there are registers for the sums.
///
/// # Safety
/// As `Panels::multiply`.
#[inline(always)]
pub(in crate::kernel) unsafe fn multiply<P: Panels, const R: usize, const Q: usize>(
    at: &mut Operands<'_>,
    sums: *mut CacheLine,
    fresh: bool,
) {
    for lane in (0..LANES).step_by(P::WIDTH) {
        // SAFETY: the caller's promise.
        unsafe {
            part::<P, R, Q, 0>(at, lane, sums, fresh);
            if const { parts::<P>(R, Q) > 1 } {
                part::<P, R, Q, 1>(at, lane, sums, fresh);
            }
            if const { parts::<P>(R, Q) > 2 } {
                part::<P, R, Q, 2>(at, lane, sums, fresh);
            }
        }
    }
}

/// Parts in which the queries of a tile are multiplied with a panel of `rows`.
#[inline(always)]
pub(super) const fn parts<P: Panels>(rows: usize, queries: usize) -> usize {
    queries.div_ceil(P::SUMS / rows)
}

/// The first query of a part.
const fn first<P: Panels>(rows: usize, queries: usize, part: usize) -> usize {
    part * queries / parts::<P>(rows, queries)
}

/// Part `I` of the queries. Its width is a `const`, so that only the registers of this one are compiled; as a
/// number that optimisation finds out, those of all widths would be written out first, for every part.
///
/// # Safety
/// As `Panels::multiply`; the part exists.
#[inline(always)]
unsafe fn part<P: Panels, const R: usize, const Q: usize, const I: usize>(
    at: &mut Operands<'_>,
    lane: usize,
    sums: *mut CacheLine,
    fresh: bool,
) {
    let from = const { first::<P>(R, Q, I) };
    // SAFETY: the caller's promise; the queries of the part exist.
    unsafe {
        match const { first::<P>(R, Q, I + 1) - first::<P>(R, Q, I) } {
            1 => registers::<P, R, Q, 1>(at, lane, from, sums, fresh),
            2 => registers::<P, R, Q, 2>(at, lane, from, sums, fresh),
            3 => registers::<P, R, Q, 3>(at, lane, from, sums, fresh),
            4 => registers::<P, R, Q, 4>(at, lane, from, sums, fresh),
            5 => registers::<P, R, Q, 5>(at, lane, from, sums, fresh),
            6 => registers::<P, R, Q, 6>(at, lane, from, sums, fresh),
            7 => registers::<P, R, Q, 7>(at, lane, from, sums, fresh),
            _ => registers::<P, R, Q, MAX_TILE>(at, lane, from, sums, fresh),
        }
    }
}

/// Lanes `lane..lane + P::WIDTH` of `R` rows with queries `from..from + N` of `Q`.
///
/// # Safety
/// As `Panels::multiply`.
#[inline(always)]
unsafe fn registers<P: Panels, const R: usize, const Q: usize, const N: usize>(
    at: &mut Operands<'_>,
    lane: usize,
    from: usize,
    sums: *mut CacheLine,
    fresh: bool,
) {
    // Once a call: the other passes are left to multiply alone.
    let fetch = lane == 0 && from == 0;
    // SAFETY: steps x R lines of rows, steps x Q of queries and R x Q of sums; a hint reads nothing.
    unsafe {
        let rows = at.rows.cast::<f32>().add(lane);
        let queries = at.queries.cast::<f32>().add(from * LANES + lane);
        let sums = sums.cast::<f32>().add(from * LANES + lane);
        let mut acc = [[P::zero(); N]; R];
        if !fresh {
            for r in 0..R {
                for q in 0..N {
                    acc[r][q] = P::load(sums.add((r * Q + q) * LANES));
                }
            }
        }
        let whole = at.steps / FETCH_STEPS * FETCH_STEPS;
        for first in (0..whole).step_by(FETCH_STEPS) {
            if fetch {
                at.rows_ahead.fetch(at.at_a_time[0]);
                at.queries_ahead.fetch(at.at_a_time[1]);
            }
            for step in first..first + FETCH_STEPS {
                add_step::<P, R, N>(rows.add(step * R * LANES), queries.add(step * Q * LANES), &mut acc);
            }
        }
        for step in whole..at.steps {
            add_step::<P, R, N>(rows.add(step * R * LANES), queries.add(step * Q * LANES), &mut acc);
        }
        for r in 0..R {
            for q in 0..N {
                P::store(sums.add((r * Q + q) * LANES), acc[r][q]);
            }
        }
    }
}

/// A step of `R` rows and `N` queries. The fewer of both stay in registers with the sums, and the
/// others come one at a time.
///
/// # Safety
/// As `Panels::multiply`, of one step.
#[inline(always)]
unsafe fn add_step<P: Panels, const R: usize, const N: usize>(
    rows: *const f32,
    queries: *const f32,
    acc: &mut [[P::Register; N]; R],
) {
    // SAFETY: R lines of rows, N of queries.
    unsafe {
        if const { R <= N } {
            let mut x = [P::zero(); R];
            for r in 0..R {
                x[r] = P::load(rows.add(r * LANES));
            }
            for q in 0..N {
                let query = P::load(queries.add(q * LANES));
                for r in 0..R {
                    acc[r][q] = P::add(acc[r][q], x[r], query);
                }
            }
        } else {
            let mut y = [P::zero(); N];
            for q in 0..N {
                y[q] = P::load(queries.add(q * LANES));
            }
            for r in 0..R {
                let row = P::load(rows.add(r * LANES));
                for q in 0..N {
                    acc[r][q] = P::add(acc[r][q], row, y[q]);
                }
            }
        }
    }
}
