//! A job cut into pieces that fit the caches.

use std::marker::PhantomData;
use std::ops::Range;

use super::shape::{GroupLines, cuts};
use super::{Operands, Panels, Scratch, Shape};
use crate::kernel::ahead::{FETCH_STEPS, RowPrefetch, near};
use crate::kernel::job::Job;
use crate::kernel::packing::{CacheLine, MAX_TILE, grow};
use crate::kernel::{Element, LANES};

/// Most sums of one call of the inner kernel.
const MAX_SUMS: usize = 24;

/// Bytes of rows that can be fetched while as many others are multiplied, and are still in the second-level
/// cache when their turn comes.
const FETCHED: usize = 512 << 10;

/// Rows of a block that the tiles of few queries pass over so fast that they wait for memory.
const SHORT: usize = 48;

/// A job in pieces, of panels of `R` rows.
pub(super) struct Pieces<'a, P, T, const R: usize> {
    job: &'a Job<'a, T>,
    shape: Shape,
    /// Rows of a block.
    rows: usize,
    cuts: Vec<GroupLines>,
    /// Whether the next block is fetched as one stretch of memory.
    linear: bool,
    panels: PhantomData<P>,
}

/// A block of rows, the tiles of queries that pass over it, and the cut of both.
struct BlockTiles {
    rows: Range<usize>,
    tiles: Range<usize>,
    cut: usize,
}

impl<'a, P: Panels, T: Element, const R: usize> Pieces<'a, P, T, R> {
    pub(super) fn of(job: &'a Job<'a, T>) -> Self {
        let queries = job.queries.packing();
        let shape = P::shape(queries.tiles());
        let rows = shape.rows_of(job.rows(), R);
        // Few tiles wait for memory: where every value is used, they fetch the next rows as one stretch.
        let used: usize = job.groups.iter().map(|group| queries.span(*group).len()).sum();
        let linear =
            shape.rows < SHORT && rows * queries.dim() * size_of::<T>() <= FETCHED && used >= queries.dim();
        let cuts = cuts(queries, job.groups, shape.cut);
        Self { job, shape, rows, cuts, linear, panels: PhantomData }
    }

    /// # Safety
    /// As the function `super::run`; no tile has more than `MAX_SUMS / R` queries.
    pub(super) unsafe fn run(&self, scratch: &mut Scratch, out: &mut [f32]) {
        let (count, tiles) = (self.job.rows(), self.job.queries.packing().tiles());
        grow(&mut scratch.unpacked, self.rows * self.shape.cut);
        grow(&mut scratch.sums, self.rows / R * tiles.min(self.shape.tiles) * MAX_SUMS);
        for first in (0..count).step_by(self.rows) {
            let rows = first..(first + self.rows).min(count);
            for block in (0..tiles).step_by(self.shape.tiles) {
                let tiles = block..(block + self.shape.tiles).min(tiles);
                for cut in 0..self.cuts.len() {
                    let piece = BlockTiles { rows: rows.clone(), tiles: tiles.clone(), cut };
                    // SAFETY: the caller's promise, passed on; the memory has the lines of a block.
                    unsafe { self.multiply(&piece, scratch, out) };
                }
            }
        }
    }

    /// # Safety
    /// As `run`; `scratch` has room for the piece.
    unsafe fn multiply(&self, piece: &BlockTiles, scratch: &mut Scratch, out: &mut [f32]) {
        let (cut, panels) = (&self.cuts[piece.cut], piece.rows.len().div_ceil(R));
        let steps = cut.steps.len();
        for (i, row) in piece.rows.clone().enumerate() {
            let next = self.part(cut, row + 1);
            near(self.job.values.as_ptr().wrapping_add(next.start).cast(), next.len() * size_of::<T>());
            let to = &mut scratch.unpacked[i / R * steps * R..(i / R + 1) * steps * R];
            if let Some(to) = to.get_mut(i % R..) {
                // SAFETY: from line i % R on, every R-th of steps x R is there.
                unsafe { P::unpack(&self.job.values[self.part(cut, row)], to.as_mut_ptr(), R) };
            }
        }
        for (t, tile) in piece.tiles.clone().enumerate() {
            let queries = self.job.queries.packing().tile_queries(tile);
            let (mut rows_ahead, mut queries_ahead) =
                (self.rows_ahead(piece, t), self.queries_ahead(piece, t));
            let packed = self.packed(tile, cut).as_ptr();
            let times = (panels * (steps / FETCH_STEPS)).max(1);
            let at_a_time = [&rows_ahead, &queries_ahead].map(|ahead| ahead.lines().div_ceil(times));
            for panel in 0..panels {
                let mut at = Operands {
                    rows: scratch.unpacked[panel * steps * R..(panel + 1) * steps * R].as_ptr(),
                    queries: packed,
                    steps,
                    rows_ahead: &mut rows_ahead,
                    queries_ahead: &mut queries_ahead,
                    at_a_time,
                };
                let sums = &mut scratch.sums[(t * panels + panel) * MAX_SUMS..][..R * queries.len()];
                // SAFETY: the lengths are those of the slices.
                unsafe {
                    multiply_tile::<P, R>(queries.len(), &mut at, sums.as_mut_ptr(), cut.steps.start == 0)
                };
                if cut.last {
                    let mut products = [0.0; MAX_SUMS];
                    // SAFETY: the processor has the instructions.
                    unsafe { P::reduce(sums, &mut products[..R * queries.len()]) };
                    let rows = (piece.rows.start + panel * R..piece.rows.end).take(R);
                    for (row, products) in rows.zip(products.chunks_exact(queries.len())) {
                        self.job.put(out, row, cut.group, queries.start, products);
                    }
                }
            }
        }
    }

    /// The values of a cut of a row, which may be beyond the last.
    fn part(&self, cut: &GroupLines, row: usize) -> Range<usize> {
        let (span, before) = (self.job.queries.span(cut.group), row * self.job.queries.dim());
        let start = before + span.start + cut.steps.start * LANES;
        start..(start + cut.steps.len() * LANES).min(before + span.end)
    }

    fn packed(&self, tile: usize, cut: &GroupLines) -> &[CacheLine] {
        let packing = self.job.queries.packing();
        let width = packing.tile_queries(tile).len();
        &packing.tile(cut.group, tile)[cut.steps.start * width..cut.steps.end * width]
    }

    /// What tile `t` of a piece fetches of the rows: its share of the next cut, or of the next block.
    fn rows_ahead(&self, piece: &BlockTiles, t: usize) -> RowPrefetch {
        let (values, tiles) = (self.job.values, piece.tiles.len());
        let (dim, bytes) = (self.job.queries.dim(), size_of::<T>());
        if self.linear {
            let (stretch, parts) = (self.rows * dim * bytes, self.cuts.len() * tiles);
            let part = piece.cut * tiles + t;
            let (start, end) = (part * stretch / parts, (part + 1) * stretch / parts);
            let at = values.as_ptr().wrapping_add(piece.rows.end * dim).wrapping_byte_add(start);
            return RowPrefetch::new(at.cast(), end - start, 0, 1);
        }
        let (cut, first) = match self.cuts.get(piece.cut + 1) {
            Some(cut) => (cut, piece.rows.start),
            None => (&self.cuts[0], piece.rows.end),
        };
        let (start, end) = (t * self.rows / tiles, (t + 1) * self.rows / tiles);
        let part = self.part(cut, first + start);
        let at = values.as_ptr().wrapping_add(part.start);
        RowPrefetch::new(at.cast(), part.len() * bytes, dim * bytes, end - start)
    }

    /// What tile `t` of a piece fetches of the queries: the next tile. All of few queries stay in the
    /// second-level cache.
    fn queries_ahead(&self, piece: &BlockTiles, t: usize) -> RowPrefetch {
        let next = match piece.tiles.start + t + 1 {
            _ if self.shape.rows < SHORT => &[],
            tile if tile < piece.tiles.end => self.packed(tile, &self.cuts[piece.cut]),
            _ => match self.cuts.get(piece.cut + 1) {
                Some(cut) => self.packed(piece.tiles.start, cut),
                None => &[],
            },
        };
        RowPrefetch::new(next.as_ptr().cast(), size_of_val(next), 0, 1)
    }
}

/// # Safety
/// As `Panels::multiply` with `width` queries.
#[inline]
unsafe fn multiply_tile<P: Panels, const R: usize>(
    width: usize,
    at: &mut Operands<'_>,
    sums: *mut CacheLine,
    fresh: bool,
) {
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
