//! Query vectors for [`super::run`].

use std::ops::Range;

use super::{CUT, LINE_QUERIES, LINE_WORDS, PANEL, WORD};
use crate::kernel::packing::CacheLine;

/// A stretch of the values of a module group.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct GroupValues {
    pub(in crate::kernel) group: usize,
    /// The values, all of a vector's counted.
    pub(in crate::kernel) values: Range<usize>,
    /// Words of them, the last ones padded: a multiple of [`LINE_WORDS`].
    pub(super) words: usize,
    /// Its first line of queries.
    lines: usize,
    /// Whether the group begins, and ends, with it.
    pub(in crate::kernel) first: bool,
    pub(super) last: bool,
}

/// Query vectors packed by cut, panel, word and line.
#[derive(Debug, Clone)]
pub(in crate::kernel) struct LanePacking {
    count: usize,
    cuts: Vec<GroupValues>,
    /// By group its first cut, and one past the last cut of all.
    groups: Vec<usize>,
    lines: Vec<CacheLine>,
}

impl LanePacking {
    /// Packs `count` vectors with module groups `groups`, `values` of their values to a word; `word` gives
    /// the bytes of those that a vector has in a range, which at the end of a group is shorter.
    pub(in crate::kernel) fn new(
        count: usize,
        groups: &[Range<usize>],
        values: usize,
        mut word: impl FnMut(usize, Range<usize>) -> [u8; WORD],
    ) -> Self {
        let mut packed = Self { count, cuts: Vec::new(), groups: vec![0], lines: Vec::new() };
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
                packed.cuts.push(GroupValues { group, values: start..end, words, lines, first, last });
                packed.fill(start..end, words, values, &mut word);
                if last {
                    break;
                }
                start = end;
            }
            packed.groups.push(packed.cuts.len());
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
                    let mut packed = CacheLine([0; 64]);
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
    pub(in crate::kernel) fn len(&self) -> usize {
        self.count
    }

    /// The words of at most 16 vectors, which are a line each.
    pub(in crate::kernel) fn line(&self) -> Option<&[CacheLine]> {
        (self.width() == 1).then_some(&self.lines)
    }

    pub(super) fn cuts(&self, group: usize) -> &[GroupValues] {
        &self.cuts[self.groups[group]..self.groups[group + 1]]
    }

    /// Words x lines of a panel.
    pub(super) fn lines(&self, cut: &GroupValues, panel: usize) -> &[CacheLine] {
        let panel = self.panel(panel);
        &self.lines[cut.lines + panel.start * cut.words..][..panel.len() * cut.words]
    }

    /// Lines of the sums of a row.
    pub(super) fn width(&self) -> usize {
        self.count.div_ceil(LINE_QUERIES)
    }

    pub(super) fn panels(&self) -> usize {
        self.width().div_ceil(PANEL)
    }

    /// Lines of a panel: as even as possible.
    pub(super) fn panel(&self, panel: usize) -> Range<usize> {
        let (panels, width) = (self.panels(), self.width());
        panel * width / panels..(panel + 1) * width / panels
    }
}

/// Additions that a product of a group of `values` values passes through, `word` of them to a word.
pub(in crate::kernel) fn chain(values: usize, word: usize) -> usize {
    let words = values.div_ceil(word);
    words.min(CUT) + LINE_WORDS + words.div_ceil(CUT)
}
