//! Many queries: rows are unpacked once, and all tiles of queries pass over them in cache.
//!
//! Invariants
//! - a cut of a row ends at a multiple of the step, or with its module group; sums that go on in the next cut
//!   are kept lane by lane, so where a row is cut does not show in its products
//! - while one cut is multiplied, the bytes of the next are fetched

use std::ops::Range;

use super::packing::{Line, MAX_TILE, Packing};

/// Rows unpacked at a time, a multiple of the rows of any panel, and lines of a cut of them.
struct Shape {
    rows: usize,
    cut: usize,
}

impl Shape {
    /// For few tiles all of a cut (rows, queries and sums) stays in the first-level cache; for many the tile
    /// of queries does, and the rows stay in the second.
    fn of(tiles: usize) -> Self {
        match tiles {
            0 | 1 => Self { rows: 12, cut: 16 },
            2 | 3 => Self { rows: 12, cut: 32 },
            _ => Self { rows: 48, cut: 64 },
        }
    }
}

/// Bytes of rows that can be fetched while as many others are multiplied, and are still in the second-level
/// cache when their turn comes.
const FETCHED: usize = 512 << 10;

/// Tiles that pass over the same unpacked rows: their sums stay in the second-level cache.
const TILES: usize = 32;

/// Most addresses to fetch in one step: lines of four rows of 32 f32 values.
const MAX_AHEAD: usize = 8;

/// Most sums of one call of the inner kernel.
pub(super) const MAX_SUMS: usize = 24;

/// How rows are unpacked and multiplied.
pub(super) trait Panels {
    /// A stored value.
    type Value: Copy;

    /// Values in a line of unpacked ones.
    const STEP: usize;

    /// Unpacks values `range` of a row into lines `stride` apart, the last one padded with zeros.
    ///
    /// # Safety
    /// There is room for the lines; the processor has the instructions.
    unsafe fn unpack(&mut self, values: &[Self::Value], to: *mut Line, stride: usize);

    /// Adds the products of `R` rows and `Q` queries to the sums `[row][query]`, which are
    /// zero before where `fresh`.
    ///
    /// # Safety
    /// `rows` has `steps` x `R` lines, `queries` `steps` x `Q`, `sums` `R` x `Q`; the
    /// processor has the instructions.
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands<'_>, sums: *mut Line, fresh: bool);

    /// The products from their sums; both have the same length.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn reduce(sums: &[Line], products: &mut [f32]);

    /// Takes the products of a row and a module group with queries `from..from + products.len()`.
    fn put(&mut self, row: usize, group: usize, from: usize, products: &[f32]);
}

/// What one call of the inner kernel multiplies.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
pub(super) struct Operands<'a> {
    pub(super) rows: *const Line,
    pub(super) queries: *const Line,
    pub(super) steps: usize,
    /// Rows to fetch meanwhile, and their bytes per step.
    pub(super) ahead: &'a [*const u8],
    pub(super) bytes: usize,
}

/// Memory that a thread uses again for every call.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) unpacked: Vec<Line>,
    pub(super) sums: Vec<Line>,
    /// Rows of signs as bytes.
    pub(super) bytes: Vec<i8>,
}

/// Lines `steps` of the part that a row has in a module group.
#[derive(Clone)]
struct Cut {
    group: usize,
    span: Range<usize>,
    steps: Range<usize>,
    last: bool,
}

/// Hands out the products of all rows, groups and queries: for each row and query the groups in their order.
///
/// # Safety
/// The processor has the instructions of `P`.
pub(super) unsafe fn run<P: Panels>(
    panels: &mut P,
    values: &[P::Value],
    queries: &Packing,
    groups: &[usize],
    scratch: &mut Scratch,
) {
    // As many rows as their sums fit the registers together with the rows' values and a query; of scattered
    // rows there is one at a time. SAFETY: the caller's promise, passed on.
    unsafe {
        if values.len() == queries.dim() {
            panelled::<P, 1>(panels, values, queries, groups, scratch);
        } else if queries.tile_width() <= 6 {
            panelled::<P, 4>(panels, values, queries, groups, scratch);
        } else {
            panelled::<P, 3>(panels, values, queries, groups, scratch);
        }
    }
}

fn cuts(queries: &Packing, groups: &[usize], most: usize) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for &group in groups {
        let (span, steps) = (queries.span(group), queries.steps(group));
        // A group of no values has products too: zeros.
        for start in (0..steps.max(1)).step_by(most) {
            let end = (start + most).min(steps);
            cuts.push(Cut { group, span: span.clone(), steps: start..end, last: end == steps });
        }
    }
    cuts
}

/// # Safety
/// As `run`; no tile has more than `MAX_SUMS / R` queries.
unsafe fn panelled<P: Panels, const R: usize>(
    panels: &mut P,
    values: &[P::Value],
    queries: &Packing,
    groups: &[usize],
    scratch: &mut Scratch,
) {
    let dim = queries.dim();
    let count = values.len() / dim;
    let shape = Shape::of(queries.tiles());
    let cuts = cuts(queries, groups, shape.cut);
    // Few tiles wait for memory: where every value is used, they fetch the next rows as one stretch.
    let stretch = shape.rows * dim * size_of::<P::Value>();
    let linear = shape.rows < 48
        && stretch <= FETCHED
        && groups.iter().map(|group| queries.span(*group).len()).sum::<usize>() >= dim;
    let grow = |lines: &mut Vec<Line>, len: usize| {
        if lines.len() < len {
            lines.resize(len, Line([0; 64]));
        }
    };
    grow(&mut scratch.unpacked, shape.rows * shape.cut);
    grow(&mut scratch.sums, shape.rows.div_ceil(R) * queries.tiles().min(TILES) * MAX_SUMS);
    // Values of a cut of a row.
    let part = |cut: &Cut, row: usize| {
        let start = row * dim + cut.span.start + cut.steps.start * P::STEP;
        start..(start + cut.steps.len() * P::STEP).min(row * dim + cut.span.end)
    };
    for first in (0..count).step_by(shape.rows) {
        let rows = shape.rows.min(count - first);
        let used = rows.div_ceil(R);
        for block in (0..queries.tiles()).step_by(TILES) {
            let tiles = TILES.min(queries.tiles() - block);
            for (c, cut) in cuts.iter().enumerate() {
                let steps = cut.steps.len();
                for i in 0..rows {
                    let (panel, r) = (i / R, i % R);
                    let to = &mut scratch.unpacked[panel * steps * R..(panel + 1) * steps * R];
                    if let Some(to) = to.get_mut(r..) {
                        // SAFETY: from line r on, every R-th of steps x R is there.
                        unsafe { panels.unpack(&values[part(cut, first + i)], to.as_mut_ptr(), R) };
                    }
                }
                let (next, start) = match cuts.get(c + 1) {
                    Some(next) => (next, first),
                    None => (&cuts[0], first + shape.rows),
                };
                for tile in 0..tiles {
                    let range = queries.tile_queries(block + tile);
                    let packed = &queries.tile(cut.group, block + tile)[cut.steps.start * range.len()..]
                        [..steps * range.len()];
                    for panel in 0..used {
                        // The tiles share what comes next between them.
                        let mut ahead = [std::ptr::null(); MAX_AHEAD];
                        let mut taken = 0;
                        let mut bytes = P::STEP * size_of::<P::Value>();
                        if linear {
                            let of_panel = (c * used + panel) * shape.cut * R * bytes;
                            bytes = (R * bytes).div_ceil(tiles);
                            let here = size_of_val(&values[..first * dim]) + of_panel + tile * bytes * steps;
                            for line in (0..bytes).step_by(64) {
                                ahead[taken] =
                                    values.as_ptr().cast::<u8>().wrapping_add(here + stretch + line);
                                taken += 1;
                            }
                        } else {
                            for r in (tile..R).step_by(tiles) {
                                let from = part(next, start + panel * R + r).start;
                                ahead[taken] = values.as_ptr().wrapping_add(from).cast();
                                taken += 1;
                            }
                        }
                        let at = Operands {
                            rows: scratch.unpacked[panel * steps * R..(panel + 1) * steps * R].as_ptr(),
                            queries: packed.as_ptr(),
                            steps,
                            ahead: &ahead[..taken],
                            bytes,
                        };
                        let sums = &mut scratch.sums[(tile * used + panel) * MAX_SUMS..][..R * range.len()];
                        let fresh = cut.steps.start == 0;
                        // SAFETY: the lengths are those of the slices.
                        unsafe { multiply::<P, R>(range.len(), at, sums.as_mut_ptr(), fresh) };
                        if cut.last {
                            let mut products = [0.0; MAX_SUMS];
                            // SAFETY: the processor has the instructions.
                            unsafe { P::reduce(sums, &mut products[..R * range.len()]) };
                            let of_rows = products.chunks_exact(range.len()).take(rows - panel * R);
                            for (r, products) in of_rows.take(R).enumerate() {
                                panels.put(first + panel * R + r, cut.group, range.start, products);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// As `Panels::multiply` with `width` queries.
#[inline]
unsafe fn multiply<P: Panels, const R: usize>(width: usize, at: Operands<'_>, sums: *mut Line, fresh: bool) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match width {
            1 => P::multiply::<R, 1>(at, sums, fresh),
            2 => P::multiply::<R, 2>(at, sums, fresh),
            3 => P::multiply::<R, 3>(at, sums, fresh),
            4 => P::multiply::<R, 4>(at, sums, fresh),
            5 => P::multiply::<R, 5>(at, sums, fresh),
            6 => P::multiply::<R, 6>(at, sums, fresh),
            7 => P::multiply::<R, 7>(at, sums, fresh),
            _ => P::multiply::<R, MAX_TILE>(at, sums, fresh),
        }
    }
}
