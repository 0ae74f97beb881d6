//! Rows of signs.
//!
//! With several queries the rows become signed bytes, a few rows at a time, and go through the kernels of
//! these. With one, what is added to the lanes is the query's value with the sign of the row's.
//!
//! Where rows were rotated before their signs were taken, so are the queries, once: products stay what they
//! are.
//!
//! Invariants
//! - both give the bits of the order of summation: a product with 1 or -1 is exact, so the fused step rounds
//!   once, as the addition does. Signs beyond the end of a group meet the zeros of the query, and a sum that
//!   began with +0 stays what it is when a zero is added

use std::ops::Range;

use gstore_store::{SIGNS, Signs};

#[cfg(target_arch = "x86_64")]
use super::Isa;
use super::Kernel;
use super::job::{Job, SignJob, words};
use super::panels::Scratch;

/// Bytes of rows that are made at a time: they stay in the second-level cache.
const MADE: usize = 256 << 10;
/// Rows that are made at a time at least, whatever they need: as many as the widest panels take.
const LEAST: usize = 12;
/// More rows are of no use to any panel.
const MOST: usize = 48;

/// The eight signs of a byte as values.
static VALUES: [[i8; 8]; 256] = {
    let mut all = [[1i8; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                all[byte][bit] = -1;
            }
            bit += 1;
        }
        byte += 1;
    }
    all
};

impl SignJob<'_> {
    /// Adds the products of the rows with all groups and queries to `out`, as of any other type.
    pub(super) fn run(mut self, kernel: Kernel, scratch: &mut Scratch, out: &mut [f32]) {
        let queries = self.queries.of_signs(self.rows.rotation());
        self.queries = queries;
        let spans: Vec<Range<usize>> = (0..queries.groups()).map(|group| queries.span(group)).collect();
        assert!(out.len() == self.count() * queries.len());
        assert!(self.factors.len() == self.count() * spans.len());
        #[cfg(target_arch = "x86_64")]
        if queries.len() == 1 && kernel.0 != Isa::Portable {
            let firsts = firsts(self.rows, &spans);
            // SAFETY: `Kernel::available` found the instructions; the words of a group, as many as `firsts`
            // leaves to it, have 16 signs for each line of the query.
            unsafe {
                match kernel.0 {
                    Isa::Avx512 => super::avx512::signs(&self, &firsts, out),
                    _ => super::avx2::signs(&self, &firsts, out),
                }
            }
            return;
        }
        let mut bytes = std::mem::take(&mut scratch.bytes);
        as_bytes(self.rows, self.chosen, &spans, self.groups, &mut bytes, |some, values| {
            let factors = &self.factors[some.start * spans.len()..some.end * spans.len()];
            let out = &mut out[some.start * queries.len()..some.end * queries.len()];
            kernel.run(Job { values, queries, groups: self.groups, factors }, scratch, out);
        });
        scratch.bytes = bytes;
    }
}

/// The first word of each module group in a row.
///
/// # Panics
/// When rows have another number of words.
fn firsts(rows: Signs<'_>, spans: &[Range<usize>]) -> Vec<usize> {
    let mut words = 0;
    let first = |span: &Range<usize>| {
        let first = words;
        words += span.len().div_ceil(SIGNS);
        first
    };
    let firsts = spans.iter().map(first).collect();
    assert!(words == rows.each(), "rows of {} words for {words}", rows.each());
    firsts
}

/// Hands out ranges of rows, or of those chosen, with their values in some of the module groups; the others
/// have any value.
///
/// # Panics
/// When rows have another number of words than the groups, which cover every coordinate.
pub(super) fn as_bytes(
    rows: Signs<'_>,
    chosen: Option<&[usize]>,
    spans: &[Range<usize>],
    groups: &[usize],
    bytes: &mut Vec<i8>,
    mut take: impl FnMut(Range<usize>, &[i8]),
) {
    let firsts = firsts(rows, spans);
    let dim = spans.last().map_or(0, |span| span.end);
    let count = chosen.map_or(rows.vectors(), <[usize]>::len);
    let step = (MADE / dim.max(1)).clamp(LEAST, MOST);
    for start in (0..count).step_by(step) {
        let some = start..(start + step).min(count);
        bytes.resize(some.len() * dim, 0);
        for (place, values) in some.clone().zip(bytes.chunks_exact_mut(dim)) {
            let words = words(rows, chosen, place);
            for &group in groups {
                widen(&words[firsts[group]..], &mut values[spans[group].clone()]);
            }
        }
        take(some, bytes);
    }
}

/// The signs of a module group as values.
fn widen(words: &[u64], values: &mut [i8]) {
    for (word, values) in words.iter().zip(values.chunks_mut(SIGNS)) {
        for (byte, values) in word.to_le_bytes().into_iter().zip(values.chunks_mut(8)) {
            values.copy_from_slice(&VALUES[usize::from(byte)][..values.len()]);
        }
    }
}
