//! Preconditioned queries in the form in which rows are multiplied with them.
//!
//! Products of up to [`CHUNK`] coordinates are summed in f32, in the order of the kernel, and these in f64. A
//! score therefore has the same bits with any other row and query, and on any thread.

use std::ops::Range;

use gstore_curvature::{Damping, Filter, LowRank, Module};
use gstore_query::kernel::{Kernel, Queries};
use gstore_store::Values;

use crate::factors::error::FactorJobError;

/// Coordinates whose products are summed in f32.
const CHUNK: usize = 4096;

/// Tokens that are multiplied at a time.
pub(super) const TOKENS: usize = 64;

/// Values that are read again while they are in the first cache.
const BLOCK: usize = 4096;

/// What there is among the values of a column in f32, in which rows are multiplied with it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ColumnValues {
    /// The bits of the largest magnitude.
    largest: u32,
}

impl ColumnValues {
    /// Of some values.
    pub(super) fn of(column: &[f64]) -> Self {
        let mut found = Self::default();
        found.add(column.iter().map(|value| *value as f32));
        found
    }

    /// Takes more values into account. Magnitudes are ordered as their bits are, and those of what is not
    /// finite are the largest.
    fn add(&mut self, values: impl Iterator<Item = f32>) {
        let magnitude = |value: f32| value.to_bits() & !(1 << 31);
        self.largest = values.map(magnitude).fold(self.largest, u32::max);
    }

    /// Refuses values that are not finite, or all 0 by a damping whose inverse is too small for f32.
    pub(super) fn check(self, module: &Module, filter: Filter) -> Result<(), FactorJobError> {
        let damping = match filter.damping() {
            Some(Damping::Value(value)) => Some(value),
            Some(Damping::OfMean) | None => None,
        };
        let is_huge = damping.is_some_and(|value| value.recip() < f64::from(f32::MIN_POSITIVE));
        let (found, wanted) = match self.largest {
            0 if is_huge => ("nothing but zeros", "smaller"),
            largest if largest >= f32::INFINITY.to_bits() => ("what is not finite", "larger"),
            _ => return Ok(()),
        };
        let damping = damping.map_or_else(String::new, |value| format!(" with a damping of {value:e}"));
        Err(FactorJobError::Refused(format!(
            "module `{}`: the filter {filter}{damping} makes of a query {found} in f32: a {wanted} damping, or another filter, is needed",
            module.name
        )))
    }
}

/// The columns of a module: each query with each filter.
pub(super) enum ModuleColumns {
    /// For the gradients of samples: vectors `[out * input]`.
    Gradients(Queries),
    /// For tokens: matrices whose rows are multiplied with inputs, `out` for each column.
    Tokens { rows: Queries, out: usize },
    /// For tokens: both factors of matrices of a low rank.
    LowRank { left: Queries, right: Queries, rank: usize },
}

/// The values of a module's columns while they are collected.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnBuffers {
    /// Matrices `[out, input]`, one after the other, or left factors, transposed: `[rank, out]`.
    left: Vec<f32>,
    /// Right factors `[rank, input]`.
    right: Vec<f32>,
    /// Squared length of each query: what is kept of it, and the whole.
    pub lengths: Vec<[f64; 2]>,
}

impl ColumnBuffers {
    /// Makes room for so many queries.
    pub(super) fn reserve(&mut self, queries: usize, module: &Module, rank: Option<usize>) {
        match has_low_rank(module, rank) {
            Some(rank) => {
                self.left.reserve_exact(queries * rank * module.out);
                self.right.reserve_exact(queries * rank * module.input);
            }
            None => self.left.reserve_exact(queries * module.len()),
        }
    }

    /// Adds a whole matrix.
    pub(super) fn push(&mut self, matrix: &[f64]) {
        self.push_scaled(matrix, None);
        if let Some(length) = self.lengths.last_mut() {
            *length = [squared(matrix); 2];
        }
    }

    /// Adds a whole matrix, each value times its scale, if there is one; its length is not measured.
    pub(super) fn push_scaled(
        &mut self,
        matrix: &[impl Copy + Into<f64>],
        scale: Option<&[f64]>,
    ) -> ColumnValues {
        let mut found = ColumnValues::default();
        self.lengths.push([0.0; 2]);
        for span in cut(0..matrix.len(), BLOCK) {
            let first = self.left.len();
            let values = matrix[span.clone()].iter();
            match scale {
                Some(scale) => {
                    let scaled = values.zip(&scale[span]).map(|(value, scale)| (*value).into() * scale);
                    self.left.extend(scaled.map(|value| value as f32));
                }
                None => self.left.extend(values.map(|value| (*value).into() as f32)),
            }
            found.add(self.left[first..].iter().copied());
        }
        found
    }

    /// Adds a matrix of a low rank in place of the whole one.
    pub(super) fn push_low_rank(&mut self, low: &LowRank, matrix: &[f64], out: usize) {
        let rank = low.rank;
        // The right vectors have length 1 and are orthogonal.
        self.lengths.push([squared(&low.left), squared(matrix)]);
        self.left.extend((0..rank * out).map(|at| low.left[at % out * rank + at / out] as f32));
        self.right.extend(low.right.iter().map(|value| *value as f32));
    }

    /// The columns of several filters, one after the other.
    pub(super) fn joined(parts: Vec<Self>) -> Self {
        let mut parts = parts.into_iter();
        let mut all = parts.next().unwrap_or_default();
        all.left.reserve_exact(parts.as_slice().iter().map(|part| part.left.len()).sum());
        all.right.reserve_exact(parts.as_slice().iter().map(|part| part.right.len()).sum());
        for part in parts {
            all.left.extend(part.left);
            all.right.extend(part.right);
            all.lengths.extend(part.lengths);
        }
        all
    }

    /// As rows are multiplied with them.
    pub(super) fn packed(self, module: &Module, by_token: bool, rank: Option<usize>) -> ModuleColumns {
        let (out, input) = (module.out, module.input);
        match rank.filter(|_| !self.right.is_empty()) {
            Some(rank) => ModuleColumns::LowRank {
                left: Queries::new(&self.left, out, &chunks(out)),
                right: Queries::new(&self.right, input, &chunks(input)),
                rank,
            },
            None if by_token => {
                ModuleColumns::Tokens { rows: Queries::new(&self.left, input, &chunks(input)), out }
            }
            None => ModuleColumns::Gradients(Queries::new(&self.left, out * input, &chunks(out * input))),
        }
    }
}

/// Bytes of a column of a module, as it is kept.
pub(super) fn column_bytes(module: &Module, rank: Option<usize>) -> u64 {
    let values = match has_low_rank(module, rank) {
        Some(rank) => rank * (module.out + module.input),
        None => module.len(),
    };
    (values * size_of::<f32>()) as u64
}

fn squared(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// The rank of a module's columns, where a low one saves something.
pub(super) fn has_low_rank(module: &Module, rank: Option<usize>) -> Option<usize> {
    rank.filter(|rank| *rank > 0 && *rank < module.out.min(module.input))
}

fn chunks(dim: usize) -> Vec<Range<usize>> {
    cut(0..dim, CHUNK).collect()
}

/// A range in ranges of at most so many, at least one.
pub(super) fn cut(all: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (most, end) = (most.max(1), all.end);
    all.step_by(most).map(move |start| start..end.min(start + most))
}

/// Products of all rows with all queries, `[rows, queries]`.
pub(super) fn products(kernel: Kernel, rows: &[f32], queries: &Queries) -> Vec<f64> {
    let count = rows.len() / queries.dim() * queries.len();
    let (mut sums, mut part) = (vec![0.0f64; count], vec![0.0f32; count]);
    for group in 0..queries.groups() {
        kernel.dots(Values::F32(rows), queries, group, &mut part);
        sums.iter_mut().zip(&part).for_each(|(sum, part)| *sum += f64::from(*part));
    }
    sums
}

/// Products of all tokens with all columns, `[tokens, columns]`, from the inputs `[tokens, input]` and the
/// gradients of the outputs `[tokens, out]`. None for columns of whole gradients.
pub(super) fn token_products(
    kernel: Kernel,
    columns: &ModuleColumns,
    (inputs, grads): (&[f32], &[f32]),
    module: &Module,
) -> Option<Vec<f64>> {
    let mut all = Vec::new();
    let inputs = inputs.chunks(TOKENS * module.input);
    for (inputs, grads) in inputs.zip(grads.chunks(TOKENS * module.out)) {
        match columns {
            ModuleColumns::Gradients(_) => return None,
            ModuleColumns::Tokens { rows, out } => {
                let mapped = products(kernel, inputs, rows);
                for (mapped, grad) in mapped.chunks_exact(rows.len()).zip(grads.chunks_exact(*out)) {
                    let of =
                        |mapped: &[f64]| mapped.iter().zip(grad).map(|(m, g)| m * f64::from(*g)).sum::<f64>();
                    all.extend(mapped.chunks_exact(*out).map(of));
                }
            }
            ModuleColumns::LowRank { left, right, rank } => {
                let (left, right) = (products(kernel, grads, left), products(kernel, inputs, right));
                let pairs = left.chunks_exact(*rank).zip(right.chunks_exact(*rank));
                all.extend(pairs.map(|(left, right)| gstore_curvature::dot(left, right)));
            }
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use gstore_curvature::{low_rank, product};

    use super::*;

    #[test]
    fn a_matrix_its_tokens_and_its_whole_rank_give_the_same_products() {
        let module = Module { name: "m".into(), out: 5, input: 4, bias: false };
        let value = |at: usize| ((at * 7919 % 101) as f64 / 50.0 - 1.0) as f32;
        let tokens = 3;
        let inputs: Vec<f32> = (0..tokens * 4).map(value).collect();
        let grads: Vec<f32> = (0..tokens * 5).map(|at| value(at + 100)).collect();
        let thin: Vec<f64> = (0..10).map(|at| f64::from(value(at + 200))).collect();
        let wide: Vec<f64> = (0..8).map(|at| f64::from(value(at + 300))).collect();
        let matrix = product(&thin, &wide, (5, 2, 4));
        // The gradient of the sample: the sum of its tokens' outer products.
        let mut gradient = vec![0.0f32; 20];
        for (input, grad) in inputs.chunks(4).zip(grads.chunks(5)) {
            (0..20).for_each(|at| gradient[at] += grad[at / 4] * input[at % 4]);
        }
        let kernel = Kernel::detect();
        let mut whole = ColumnBuffers::default();
        whole.push(&matrix);
        let ModuleColumns::Gradients(queries) = whole.clone().packed(&module, false, None) else {
            panic!("a column of gradients");
        };
        let expected = products(kernel, &gradient, &queries)[0];
        let mut low = ColumnBuffers::default();
        low.push_low_rank(&low_rank(&matrix, (5, 4), 2).expect("a rank of 2"), &matrix, 5);
        let [kept, all] = low.lengths[0];
        assert!((kept - all).abs() < 1e-9 * all, "the matrix has this rank: {kept} of {all}");
        let one = low_rank(&matrix, (5, 4), 1).expect("a rank of 1");
        let mut less = ColumnBuffers::default();
        less.push_low_rank(&one, &matrix, 5);
        let near = product(&one.left, &one.right, (5, 1, 4));
        let off: f64 = near.iter().zip(&matrix).map(|(found, whole)| (found - whole).powi(2)).sum();
        let [kept, all] = less.lengths[0];
        assert!(
            (all - kept - off).abs() < 1e-9 * all,
            "what is ignored is the rest: {kept} and {off} of {all}"
        );
        for columns in [whole.packed(&module, true, None), low.packed(&module, true, Some(2))] {
            let found = token_products(kernel, &columns, (&inputs, &grads), &module).expect("by token");
            assert_eq!(found.len(), tokens);
            let sum: f64 = found.iter().sum();
            assert!((sum - expected).abs() < 1e-5 * expected.abs().max(1.0), "{sum} {expected}");
        }
        assert_eq!((column_bytes(&module, Some(2)), column_bytes(&module, Some(4))), (72, 80));
    }
}
