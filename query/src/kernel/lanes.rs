//! Many queries whose values lie side by side: a word of a row is broadcast and multiplied with that word of 16 queries at once. No sum over
//! lanes is left at the end, and a row is read as it lies.
//!
//! The order of summation is not that of the exact kernels, so this is for integers and for products that are known up to a bound.

use std::ops::Range;

use super::packing::Line;
use super::panels::Scratch;

/// Bytes that one lane multiplies at a time.
pub(super) const WORD: usize = 4;

/// Words in a line of a row.
pub(super) const LINE_WORDS: usize = 16;

/// Queries in a line of packed queries, and their products in a line of sums.
const LINE_QUERIES: usize = 16;

/// Most lines of queries that a block of rows is multiplied with at a time, and the rows of a block: their sums fill 24 registers, or 16.
const PANEL: usize = 3;
const BLOCK: usize = 8;
const TALL_BLOCK: usize = 16;

/// Most words of a cut: a panel of queries then stays in the first-level cache.
pub(super) const CUT: usize = 192;

/// How much of the rows is packed at a time.
struct Shape {
    /// Rows of a block.
    block: usize,
    /// Most rows,
    rows: usize,
    /// words of all of them,
    packed: usize,
    /// and words of one.
    segment: usize,
}

impl Shape {
    /// For few queries what is packed stays in the first-level cache; for many in the second, with the bytes of the rows that come next.
    fn of(queries: &LanePacking) -> Self {
        match queries.width() {
            1 => Self { block: TALL_BLOCK, rows: 16, packed: 16 * CUT, segment: CUT },
            _ => Self { block: BLOCK, rows: 128, packed: 1 << 16, segment: 1 << 13 },
        }
    }
}

/// A stretch of the values of a module group.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    pub(super) group: usize,
    /// The values, all of a vector's counted.
    pub(super) values: Range<usize>,
    /// Words of them, the last ones padded: a multiple of [`LINE_WORDS`].
    words: usize,
    /// Its first line of queries.
    lines: usize,
    /// Whether the group begins, and ends, with it.
    first: bool,
    last: bool,
}

/// Query vectors packed by cut, panel, word and line.
#[derive(Debug, Clone)]
pub(super) struct LanePacking {
    count: usize,
    cuts: Vec<Cut>,
    lines: Vec<Line>,
}

impl LanePacking {
    /// Packs `count` vectors with module groups `groups`, `values` of their values to a word; `word` gives the bytes of those that a vector has
    /// in a range, which at the end of a group is shorter.
    pub(super) fn new(
        count: usize,
        groups: &[Range<usize>],
        values: usize,
        mut word: impl FnMut(usize, Range<usize>) -> [u8; WORD],
    ) -> Self {
        let mut packed = Self { count, cuts: Vec::new(), lines: Vec::new() };
        let padded = |span: &Range<usize>| span.len().div_ceil(values).next_multiple_of(LINE_WORDS);
        packed.lines.reserve_exact(groups.iter().map(padded).sum::<usize>() * packed.width());
        for (group, span) in groups.iter().enumerate() {
            let words = span.len().div_ceil(values);
            // A group of no values has products too: zeros.
            let pieces = words.div_ceil(CUT).max(1);
            let length = words.div_ceil(pieces).next_multiple_of(LINE_WORDS) * values;
            let mut start = span.start;
            loop {
                let end = (start + length).min(span.end);
                let (first, last) = (start == span.start, end == span.end);
                let words = (end - start).div_ceil(values).next_multiple_of(LINE_WORDS);
                let lines = packed.lines.len();
                packed.cuts.push(Cut { group, values: start..end, words, lines, first, last });
                packed.fill(start..end, words, values, &mut word);
                if last {
                    break;
                }
                start = end;
            }
        }
        packed
    }

    fn fill(
        &mut self,
        cut: Range<usize>,
        words: usize,
        values: usize,
        word: &mut impl FnMut(usize, Range<usize>) -> [u8; WORD],
    ) {
        for panel in 0..self.panels() {
            for w in 0..words {
                let start = (cut.start + w * values).min(cut.end);
                let range = start..(start + values).min(cut.end);
                for line in self.panel(panel) {
                    let mut packed = Line([0; 64]);
                    let queries = line * LINE_QUERIES..((line + 1) * LINE_QUERIES).min(self.count);
                    for (query, to) in queries.zip(packed.0.chunks_exact_mut(WORD)) {
                        if !range.is_empty() {
                            to.copy_from_slice(&word(query, range.clone()));
                        }
                    }
                    self.lines.push(packed);
                }
            }
        }
    }

    /// Number of vectors.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// The words of at most 16 vectors, which are a line each.
    pub(super) fn line(&self) -> Option<&[Line]> {
        (self.width() == 1).then_some(&self.lines)
    }

    /// Lines of the sums of a row.
    fn width(&self) -> usize {
        self.count.div_ceil(LINE_QUERIES)
    }

    fn panels(&self) -> usize {
        self.width().div_ceil(PANEL)
    }

    /// Lines of a panel: as even as possible.
    fn panel(&self, panel: usize) -> Range<usize> {
        let (panels, width) = (self.panels(), self.width());
        panel * width / panels..(panel + 1) * width / panels
    }
}

/// Additions that a product of a group of `values` values passes through, `word` of them to a word.
pub(super) fn chain(values: usize, word: usize) -> usize {
    let words = values.div_ceil(word);
    words.min(CUT) + LINE_WORDS + words.div_ceil(CUT)
}

/// What is multiplied, and how.
pub(super) trait Lanes {
    /// Writes the words of a cut of a row, the last line padded with zeros.
    ///
    /// # Safety
    /// There is room for the lines; the processor has the instructions.
    unsafe fn pack(&mut self, row: usize, cut: &Cut, to: *mut Line);

    /// Where a cut of the rows from `row` on starts, to be fetched ahead; the row may be beyond the last.
    fn ahead(&self, row: usize, cut: &Cut) -> Ahead;

    /// Adds the products of `R` rows with `Q` lines of queries to their sums.
    ///
    /// # Safety
    /// The pointers of `at` are good for what its fields say; the processor has the instructions.
    unsafe fn multiply<const R: usize, const Q: usize>(at: Operands);

    /// Takes the sums of a row and a group over all queries.
    fn put(&mut self, row: usize, group: usize, sums: &[Line]);
}

/// What one call of the inner kernel multiplies.
#[derive(Clone, Copy)]
pub(super) struct Operands {
    /// `words` words of each of R rows, `row_bytes` apart,
    pub(super) rows: *const u8,
    pub(super) row_bytes: usize,
    /// `words` x Q lines.
    pub(super) queries: *const Line,
    pub(super) words: usize,
    /// Q lines of each row, `width` lines apart; `fresh`: what is there is not added to.
    pub(super) sums: *mut Line,
    pub(super) width: usize,
    pub(super) fresh: bool,
    /// What is fetched meanwhile, `at_a_time` lines for every [`FETCH_WORDS`] words.
    pub(super) ahead: Ahead,
    pub(super) at_a_time: usize,
}

/// Words that are multiplied between two fetches: a burst of them would hold the processor up.
pub(super) const FETCH_WORDS: usize = 4;

/// Bytes of rows to come.
#[derive(Clone, Copy)]
pub(super) struct Ahead {
    pub(super) at: *const u8,
    /// Of each row,
    pub(super) bytes: usize,
    /// and from row to row.
    pub(super) row_bytes: usize,
    /// Rows.
    pub(super) rows: usize,
    /// Bytes of the first row that were fetched.
    pub(super) done: usize,
}

impl Ahead {
    /// Has the next lines brought to the second-level cache.
    #[inline(always)]
    pub(super) fn fetch(&mut self, lines: usize) {
        for _ in 0..lines {
            if self.rows == 0 {
                return;
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a hint reads nothing.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T1>(self.at.wrapping_add(self.done).cast());
            }
            self.done += size_of::<Line>();
            if self.done >= self.bytes {
                (self.done, self.rows) = (0, self.rows - 1);
                self.at = self.at.wrapping_add(self.row_bytes);
            }
        }
    }
}

/// Hands out the products of `count` rows with all queries over `groups`, for each row the groups in their order.
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
    let chosen = groups.iter().flat_map(|group| queries.cuts.iter().filter(|cut| cut.group == *group));
    let shape = Shape::of(queries);
    let segments = segments(chosen.collect(), shape.segment);
    let words = |segment: &[&Cut]| segment.iter().map(|cut| cut.words).sum::<usize>();
    let Some(longest) = segments.iter().map(|segment| words(segment)).max() else { return };
    let (width, panels) = (queries.width(), queries.panels());
    if width == 0 {
        return;
    }
    let Shape { block: tall, .. } = shape;
    let most = (shape.packed / longest.max(1) / tall * tall)
        .clamp(tall, shape.rows)
        .min(count.next_multiple_of(tall).max(tall));
    // One line more, so that rows do not fall on one another in the first-level cache.
    let row_lines = longest / LINE_WORDS + 1;
    let grow = |lines: &mut Vec<Line>, len: usize| {
        if lines.len() < len {
            lines.resize(len, Line([0; 64]));
        }
    };
    grow(&mut memory.unpacked, most * row_lines);
    grow(&mut memory.sums, most * width);
    for first in (0..count).step_by(most) {
        let rows = most.min(count - first);
        let blocks = rows.div_ceil(tall);
        for (s, segment) in segments.iter().enumerate() {
            for (row, to) in memory.unpacked.chunks_exact_mut(row_lines).enumerate().take(rows) {
                let mut to = to.as_mut_ptr();
                for cut in segment {
                    // SAFETY: the longest segment fits.
                    unsafe { lanes.pack(first + row, cut, to) };
                    to = to.wrapping_add(cut.words / LINE_WORDS);
                }
            }
            let (next, from) = match segments.get(s + 1) {
                Some(next) => (next, first),
                None => (&segments[0], first + most),
            };
            let mut start = 0;
            for (c, cut) in segment.iter().enumerate() {
                let mut lines = cut.lines;
                for panel in 0..panels {
                    let of_panel = queries.panel(panel);
                    let packed = &queries.lines[lines..lines + cut.words * of_panel.len()];
                    lines += packed.len();
                    for block in 0..blocks {
                        // What comes next is fetched by all calls together.
                        let (call, calls) = (panel * blocks + block, panels * blocks);
                        let (begin, end) = (call * rows / calls, (call + 1) * rows / calls);
                        let mut ahead = lanes.ahead(from + begin, next.get(c).unwrap_or(cut));
                        ahead.rows = end - begin;
                        let fetched = ahead.rows * ahead.bytes.div_ceil(size_of::<Line>());
                        let sums = &mut memory.sums[block * tall * width + of_panel.start..];
                        let at = Operands {
                            rows: memory.unpacked[block * tall * row_lines + start..].as_ptr().cast(),
                            row_bytes: row_lines * size_of::<Line>(),
                            queries: packed.as_ptr(),
                            words: cut.words,
                            sums: sums.as_mut_ptr(),
                            width,
                            fresh: cut.first,
                            ahead,
                            at_a_time: fetched.div_ceil((cut.words / FETCH_WORDS).max(1)),
                        };
                        // SAFETY: rows and sums of a whole block are there, and the queries are those of the panel.
                        unsafe { multiply::<L>(rows - block * tall, of_panel.len(), at) };
                    }
                }
                start += cut.words / LINE_WORDS;
                if cut.last {
                    for (row, sums) in memory.sums.chunks_exact(width).enumerate().take(rows) {
                        lanes.put(first + row, cut.group, sums);
                    }
                }
            }
        }
    }
}

/// Runs of cuts of at most `most` words, or one cut.
fn segments(cuts: Vec<&Cut>, most: usize) -> Vec<Vec<&Cut>> {
    let mut segments: Vec<Vec<&Cut>> = Vec::new();
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

/// # Safety
/// As `Lanes::multiply` for a block of rows.
#[inline]
unsafe fn multiply<L: Lanes>(rows: usize, width: usize, at: Operands) {
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
