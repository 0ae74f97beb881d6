//! Vectors of a block that belong to rows of a window, and the products of their codes.

use std::ops::Range;

use super::WindowOffsets;
use crate::kernel::{CodeQueries, Codes, Kernel};

/// Vectors of a block, and for each the place of its row among those that are asked about; both ascend.
#[derive(Default)]
pub(super) struct FoundVectors {
    pub(super) vectors: Vec<u32>,
    pub(super) places: Vec<u32>,
}

impl FoundVectors {
    /// Finds rows among the `count` vectors of a block, whose rows `row` gives and which ascend.
    pub(super) fn find(&mut self, rows: WindowOffsets<'_>, count: usize, row: impl Fn(usize) -> u64) {
        let Self { vectors, places } = self;
        vectors.clear();
        places.clear();
        let Some(last) = count.checked_sub(1) else { return };
        let (first, end) = (row(0), row(last) + 1);
        let wanted = rows.within(first..end);
        let dense = end.wrapping_sub(first) == count as u64;
        // Mostly every row of a stretch of the block is wanted.
        if let (true, Some(span)) = (dense, stretch(&rows.offsets[wanted.clone()])) {
            let at = (rows.start + span.start as u64 - first) as u32;
            vectors.extend(at..at + span.len() as u32);
            places.extend(wanted.start as u32..wanted.end as u32);
            return;
        }
        for (place, offset) in wanted.clone().zip(&rows.offsets[wanted]) {
            let wanted = rows.start + u64::from(*offset);
            let at = match dense {
                true => (wanted - first) as usize,
                false => partition_point(count, |i| row(i) < wanted),
            };
            if at < count && row(at) == wanted {
                vectors.push(at as u32);
                places.push(place as u32);
            }
        }
    }

    /// The vectors, those that follow one another as one range.
    pub(super) fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let runs = self.vectors.chunk_by(|a, b| a + 1 == *b);
        runs.map(|run| run[0] as usize..run[0] as usize + run.len())
    }

    /// The ranges of vectors and places, where each of both follows the one before.
    pub(super) fn stretches(&self) -> Option<(Range<usize>, Range<usize>)> {
        Some((stretch(&self.vectors)?, stretch(&self.places)?))
    }

    /// Products of the vectors' codes with queries.
    pub(super) fn dots(&self, kernel: Kernel, codes: Codes<'_>, queries: &CodeQueries, dots: &mut Vec<i32>) {
        dots.resize(self.vectors.len() * queries.len(), 0);
        let bytes = codes.kind.row_bytes(queries.dim());
        match stretch(&self.vectors) {
            Some(span) => {
                let bytes = &codes.bytes[span.start * bytes..span.end * bytes];
                kernel.code_dots(Codes { bytes, ..codes }, queries, dots);
            }
            None => kernel.code_dots_at(codes, &self.vectors, queries, dots),
        }
    }
}

/// The range of numbers that follow one another.
pub(super) fn stretch(numbers: &[u32]) -> Option<Range<usize>> {
    let (first, last) = (*numbers.first()? as usize, *numbers.last()? as usize);
    (last - first + 1 == numbers.len()).then_some(first..last + 1)
}

fn partition_point(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        match is_before(middle) {
            true => low = middle + 1,
            false => high = middle,
        }
    }
    low
}
