//! Many queries side by side in vector lanes.
//!
//! A word of a row is broadcast and multiplied with that word of 16 queries at once. No sum over lanes is
//! left at the end, and a row is read as it lies.
//!
//! The order of summation is not that of the exact kernels, so this is for integers and for products that
//! are known up to a bound.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
mod packing;

use std::ops::Range;

pub(super) use packing::{GroupValues, LanePacking, chain};

use super::ahead::{FETCH_STEPS, RowPrefetch};
use super::packing::{CacheLine, grow};
use super::panels::Scratch;

/// Bytes that one lane multiplies at a time.
pub(super) const WORD: usize = 4;

/// Words in a line of a row.
const LINE_WORDS: usize = 16;

/// Queries in a line of packed queries, and their products in a line of sums.
const LINE_QUERIES: usize = 16;

/// Most lines of queries that a block of rows is multiplied with at a time, and the rows of a block: their
/// sums fill 24 registers, or 16.
const PANEL: usize = 3;
const BLOCK: usize = 8;
const TALL_BLOCK: usize = 16;

/// Most words of a cut: a panel of queries then stays in the first-level cache.
const CUT: usize = 192;

/// How much of the rows is packed at a time.
struct PackSizes {
    /// Rows of a block.
    tall: usize,
    /// Rows at most.
    rows: usize,
    /// Words of all rows at most.
    packed: usize,
    /// Words of one row at most.
    segment: usize,
}

impl PackSizes {
    /// For few queries what is packed stays in the first-level cache; for many in the second, with the bytes
    /// of the rows that come next.
    fn of(queries: &LanePacking) -> Self {
        match queries.width() {
            1 => Self { tall: TALL_BLOCK, rows: 16, packed: 16 * CUT, segment: CUT },
            _ => Self { tall: BLOCK, rows: 128, packed: 1 << 16, segment: 1 << 13 },
        }
    }
}

/// What is multiplied, and how.
pub(super) trait Lanes {
    /// Writes the words of a cut of a row, the last line padded with zeros.
    ///
    /// # Safety
    /// There is room for the lines; the processor has the instructions.
    unsafe fn pack(&mut self, row: usize, cut: &GroupValues, to: *mut CacheLine);

    /// Where a cut of some rows lies, to be fetched ahead; they may be beyond the last.
    fn ahead(&self, rows: Range<usize>, cut: &GroupValues) -> RowPrefetch;

    /// Adds the products of `R` rows with `Q` lines of queries to their sums.
    ///
    /// # Safety
    /// The pointers of `at` are good for what its fields say; the processor has the instructions.
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands);

    /// Takes the sums of a row and a group over all queries.
    fn put(&mut self, row: usize, group: usize, sums: &[CacheLine]);
}

/// What one call of the inner kernel multiplies.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// `words` words of each of R rows, `row_bytes` apart,
    pub(super) rows: *const u8,
    pub(super) row_bytes: usize,
    /// `words` x Q lines.
    pub(super) queries: *const CacheLine,
    pub(super) words: usize,
    /// Q lines of each row, `width` lines apart; `fresh`: what is there is not added to.
    pub(super) sums: *mut CacheLine,
    pub(super) width: usize,
    pub(super) fresh: bool,
    /// What is fetched meanwhile, `at_a_time` lines for every [`FETCH_STEPS`] words.
    pub(super) ahead: RowPrefetch,
    pub(super) at_a_time: usize,
}

/// Hands out the products of `count` rows with all queries over `groups`, for each row the
/// groups in their order.
///
/// # Safety
/// The processor has the instructions of `L`.
pub(super) unsafe fn run<L: Lanes>(
    lanes: &mut L,
    count: usize,
    queries: &LanePacking,
    groups: &[usize],
    memory: &mut Scratch,
) {
    let shape = PackSizes::of(queries);
    let segments = segments(groups.iter().flat_map(|group| queries.cuts(*group)), shape.segment);
    let words = |segment: &Vec<&GroupValues>| segment.iter().map(|cut| cut.words).sum::<usize>();
    let Some(longest) = segments.iter().map(words).max().filter(|_| queries.len() > 0) else { return };
    let (tall, width) = (shape.tall, queries.width());
    let most = (shape.packed / longest.max(1) / tall * tall)
        .clamp(tall, shape.rows)
        .min(count.next_multiple_of(tall).max(tall));
    // One line more, so that rows do not fall on one another in the first-level cache.
    let row_lines = longest / LINE_WORDS + 1;
    grow(&mut memory.unpacked, most * row_lines);
    grow(&mut memory.sums, most * width);
    for first in (0..count).step_by(most) {
        let rows = first..(first + most).min(count);
        for (s, segment) in segments.iter().enumerate() {
            // SAFETY: the longest segment fits.
            unsafe { pack(lanes, rows.clone(), segment, memory.unpacked.chunks_exact_mut(row_lines)) };
            let (next, from) = match segments.get(s + 1) {
                Some(next) => (next, first),
                None => (&segments[0], first + most),
            };
            let mut start = 0;
            for (c, cut) in segment.iter().enumerate() {
                let packed = Packed { lines: &memory.unpacked[start..], row_lines, count: rows.len(), tall };
                let coming = (from, *next.get(c).unwrap_or(cut));
                // SAFETY: whole blocks of rows and sums are there, and so many words of each row.
                unsafe { multiply_cut(lanes, packed, (queries, cut), coming, &mut memory.sums) };
                start += cut.words / LINE_WORDS;
                if cut.last {
                    for (row, sums) in rows.clone().zip(memory.sums.chunks_exact(width)) {
                        lanes.put(row, cut.group, sums);
                    }
                }
            }
        }
    }
}

/// Runs of cuts of at most `most` words, or one cut.
fn segments<'a>(cuts: impl Iterator<Item = &'a GroupValues>, most: usize) -> Vec<Vec<&'a GroupValues>> {
    let mut segments: Vec<Vec<&GroupValues>> = Vec::new();
    let mut words = 0;
    for cut in cuts {
        words += cut.words;
        match segments.last_mut() {
            Some(segment) if words <= most => segment.push(cut),
            _ => {
                segments.push(vec![cut]);
                words = cut.words;
            }
        }
    }
    segments
}

/// Packs the cuts of a segment of rows, one after the other.
///
/// # Safety
/// There is room for them; the processor has the instructions.
unsafe fn pack<'a, L: Lanes>(
    lanes: &mut L,
    rows: Range<usize>,
    segment: &[&GroupValues],
    to: impl Iterator<Item = &'a mut [CacheLine]>,
) {
    for (row, to) in rows.zip(to) {
        let mut to = to.as_mut_ptr();
        for cut in segment {
            // SAFETY: the caller's promise, passed on.
            unsafe { lanes.pack(row, cut, to) };
            to = to.wrapping_add(cut.words / LINE_WORDS);
        }
    }
}

/// A cut of packed rows.
struct Packed<'a> {
    lines: &'a [CacheLine],
    /// Lines from row to row.
    row_lines: usize,
    /// Rows.
    count: usize,
    /// Rows of a block.
    tall: usize,
}

/// Adds the products of a cut of rows with all queries to their sums. As many rows that are `coming`, given
/// as the first of them and their cut, are fetched by all calls together.
///
/// # Safety
/// `rows` and `sums` have whole blocks; the processor has the instructions.
unsafe fn multiply_cut<L: Lanes>(
    lanes: &L,
    rows: Packed<'_>,
    (queries, cut): (&LanePacking, &GroupValues),
    coming: (usize, &GroupValues),
    sums: &mut [CacheLine],
) {
    let Packed { lines, row_lines, count, tall } = rows;
    let (width, panels, blocks) = (queries.width(), queries.panels(), count.div_ceil(tall));
    for panel in 0..panels {
        let of_panel = queries.panel(panel);
        let packed = queries.lines(cut, panel);
        for block in 0..blocks {
            let (call, calls) = (panel * blocks + block, panels * blocks);
            let (begin, end) = (call * count / calls, (call + 1) * count / calls);
            let ahead = lanes.ahead(coming.0 + begin..coming.0 + end, coming.1);
            let at = Operands {
                rows: lines[block * tall * row_lines..].as_ptr().cast(),
                row_bytes: row_lines * size_of::<CacheLine>(),
                queries: packed.as_ptr(),
                words: cut.words,
                sums: sums[block * tall * width + of_panel.start..].as_mut_ptr(),
                width,
                fresh: cut.first,
                ahead,
                at_a_time: ahead.lines().div_ceil((cut.words / FETCH_STEPS).max(1)),
            };
            // SAFETY: the caller's promise, and the queries are those of the panel.
            unsafe { multiply_block::<L>(count - block * tall, of_panel.len(), at) };
        }
    }
}

/// # Safety
/// As `Lanes::multiply` for a block of rows.
#[inline]
unsafe fn multiply_block<L: Lanes>(rows: usize, width: usize, at: Operands) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match (rows, width) {
            (1, 1) => L::multiply::<1, 1>(at),
            (1, 2) => L::multiply::<1, 2>(at),
            (1, _) => L::multiply::<1, PANEL>(at),
            (2..=4, 1) => L::multiply::<4, 1>(at),
            (2..=4, 2) => L::multiply::<4, 2>(at),
            (2..=4, _) => L::multiply::<4, PANEL>(at),
            (5..=BLOCK, 1) => L::multiply::<BLOCK, 1>(at),
            (_, 1) => L::multiply::<TALL_BLOCK, 1>(at),
            (_, 2) => L::multiply::<BLOCK, 2>(at),
            _ => L::multiply::<BLOCK, PANEL>(at),
        }
    }
}
