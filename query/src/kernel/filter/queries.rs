//! Query vectors rounded as a filter multiplies them.

use std::ops::Range;

use half::bf16;

use super::super::lanes::{LanePacking, WORD};
use super::{Filter, Multiply, NARROW_SUM, NARROW_SUMS, NARROW_WORDS, PAIR, Rounding};

/// Query vectors rounded to bf16 or bytes, with the norms of what the rounding left and took.
#[derive(Debug, Clone)]
pub struct FilterQueries {
    pub(super) filter: Filter,
    pub(super) dim: usize,
    pub(super) groups: Vec<Range<usize>>,
    pub(super) packing: LanePacking,
    /// Groups x queries: squares of the norm and of what rounding took.
    pub(super) squares: Vec<[f64; 2]>,
    /// Groups x queries, of bytes: the value of one unit.
    pub(super) steps: Vec<f32>,
    /// Groups x queries: the sum of the bytes.
    pub(super) sums: Vec<i32>,
}

impl FilterQueries {
    /// As [`super::super::Queries::new`], for the products of `filter`.
    ///
    /// # Panics
    /// When the lengths disagree, a group reaches beyond `dim`, or one that becomes bytes reaches into
    /// another.
    pub fn new(filter: Filter, vectors: &[f32], dim: usize, groups: &[Range<usize>]) -> Self {
        assert!(dim > 0 && vectors.len().is_multiple_of(dim));
        let groups = if groups.is_empty() { vec![0..dim] } else { groups.to_vec() };
        assert!(groups.iter().all(|group| group.start <= group.end && group.end <= dim));
        match filter.rounding() {
            Rounding::Bf16 => Self::of_bf16(filter, vectors, dim, groups),
            Rounding::Bytes => Self::of_bytes(filter, vectors, dim, groups),
        }
    }

    fn of_bf16(filter: Filter, vectors: &[f32], dim: usize, groups: Vec<Range<usize>>) -> Self {
        let packing = LanePacking::new(vectors.len() / dim, &groups, PAIR, |query, range| {
            let mut pair = [0u16; PAIR];
            for (to, value) in pair.iter_mut().zip(&vectors[query * dim..][range]) {
                *to = round(*value).to_bits();
            }
            bytemuck::cast::<_, [u8; WORD]>(pair)
        });
        let each = groups.iter().flat_map(|group| vectors.chunks_exact(dim).map(|v| &v[group.clone()]));
        let squares = each.map(|values| squares(values, |value| f64::from(round(value)))).collect();
        Self { filter, dim, groups, packing, squares, steps: Vec::new(), sums: Vec::new() }
    }

    fn of_bytes(filter: Filter, vectors: &[f32], dim: usize, groups: Vec<Range<usize>>) -> Self {
        assert!(groups.windows(2).all(|pair| pair[0].end <= pair[1].start), "groups lie one after the other");
        let count = vectors.len() / dim;
        let mut bytes = vec![0i8; vectors.len()];
        let (mut all_squares, mut steps, mut sums) = (Vec::new(), Vec::new(), Vec::new());
        for group in &groups {
            for query in 0..count {
                let span = query * dim + group.start..query * dim + group.end;
                let (values, bytes) = (&vectors[span.clone()], &mut bytes[span]);
                let step = step(filter, values);
                for (to, value) in bytes.iter_mut().zip(values) {
                    *to = if step > 0.0 { (value / step).round_ties_even() as i8 } else { 0 };
                }
                let mut kept = bytes.iter().map(|byte| f64::from(*byte) * f64::from(step));
                all_squares.push(match filter.takes(std::slice::from_ref(group)) {
                    true => squares(values, |_| kept.next().unwrap_or_default()),
                    false => [f64::INFINITY; 2],
                });
                sums.push(bytes.iter().map(|byte| i32::from(*byte)).fold(0, i32::wrapping_add));
                steps.push(step);
            }
        }
        let packing = LanePacking::new(count, &groups, WORD, |query, range| {
            let mut word = [0; WORD];
            for (to, byte) in word.iter_mut().zip(&bytes[query * dim..][range]) {
                *to = *byte as u8;
            }
            word
        });
        Self { filter, dim, groups, packing, squares: all_squares, steps, sums }
    }

    /// Values per vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.packing.len()
    }

    /// True without vectors.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of module groups.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }
}

/// The value of one unit of bytes up to `largest` that stand for values up to `peak`. Zero for numbers so
/// small, and for those that are none: nothing is kept of them.
pub(super) fn unit(peak: f32, largest: i8) -> f32 {
    if (TINY..f32::INFINITY).contains(&peak) { peak / f32::from(largest) } else { 0.0 }
}

/// The value of one unit of a query's bytes.
fn step(filter: Filter, values: &[f32]) -> f32 {
    let peak = values.iter().fold(0.0f32, |peak, value| peak.max(value.abs()));
    let step = unit(peak, i8::MAX);
    if step == 0.0 || filter.0 != Multiply::Avx2 {
        return step;
    }
    let sums = values.chunks(NARROW_WORDS * WORD).flat_map(|words| {
        NARROW_SUMS.map(|sum| {
            let values = sum.iter().filter_map(|at| words.get(*at));
            values.map(|value| value.abs()).sum::<f32>()
        })
    });
    // Rounding makes each of four bytes larger by half a unit at most.
    step.max(sums.fold(0.0, f32::max) / f32::from(NARROW_SUM - 2))
}

/// Largest magnitude of values below which bytes keep nothing of them: their step would be no normal number.
const TINY: f32 = 1e-30;

/// Squares of the norm of values, and of what rounding takes from them.
fn squares(values: &[f32], mut rounded: impl FnMut(f32) -> f64) -> [f64; 2] {
    let mut sums = [0.0; 2];
    for value in values {
        let (kept, value) = (rounded(*value), f64::from(*value));
        sums[0] += value * value;
        sums[1] += (value - kept) * (value - kept);
    }
    sums
}

/// To the nearest, ties to even; below the normal numbers to zero, as which the instruction takes them.
fn round(value: f32) -> bf16 {
    if value.abs() < f32::MIN_POSITIVE { bf16::ZERO } else { bf16::from_f32(value) }
}
