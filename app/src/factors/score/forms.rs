//! Preconditioned queries in the form in which rows are multiplied with them.
//!
//! A score has the same bits with any other row and query, and on any thread, as the products of
//! [`Cpu::dots`] have.

use std::ops::Range;

use gstore_curvature::{Damping, Filter, LowRank, Module, dot};
use gstore_model::cpu::{Cpu, Vectors};

use crate::factors::error::FactorJobError;

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
            "module `{}`: the filter {filter}{damping} turns a query into {found} in f32: use a {wanted} damping or another filter",
            module.name
        )))
    }
}

/// Form in which the columns of a module are multiplied with rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnForm {
    /// Vectors `[out * input]`, with the gradients of samples.
    Gradients,
    /// Matrices `[out, input]`, with the factors of tokens.
    Tokens,
    /// Both factors of matrices of this rank, `[rank, out]` and `[rank, input]`, with the factors of tokens.
    LowRank(usize),
}

impl ColumnForm {
    /// Of a module's columns; a rank counts where it saves something.
    pub(super) fn new(module: &Module, by_token: bool, rank: Option<usize>) -> Self {
        match rank.filter(|rank| *rank > 0 && *rank < module.out.min(module.input)) {
            Some(rank) => Self::LowRank(rank),
            None if by_token => Self::Tokens,
            None => Self::Gradients,
        }
    }

    /// The vectors of a column, and how wide they are: those of a whole matrix or of its left factor, and of
    /// its right factor.
    fn vectors(self, module: &Module) -> [(usize, usize); 2] {
        match self {
            Self::Gradients => [(1, module.len()), (0, 0)],
            Self::Tokens => [(module.out, module.input), (0, 0)],
            Self::LowRank(rank) => [(rank, module.out), (rank, module.input)],
        }
    }

    pub(super) fn bytes(self, module: &Module) -> u64 {
        let of = |(count, width)| (count * Vectors::bytes_of(width)) as u64;
        self.vectors(module).map(of).iter().sum()
    }
}

/// The columns of a module for the queries with one filter.
#[derive(Debug, Clone)]
pub(super) struct FilterColumns {
    pub form: ColumnForm,
    /// Whole matrices, or left factors, transposed.
    left: Vectors,
    /// Right factors.
    right: Vectors,
    /// Squared length of each query: what is kept of it, and the whole.
    pub lengths: Vec<[f64; 2]>,
}

impl FilterColumns {
    pub(super) fn new(form: ColumnForm, module: &Module) -> Self {
        let [left, right] = form.vectors(module).map(|(_, width)| Vectors::new(width));
        Self { form, left, right, lengths: Vec::new() }
    }

    /// Makes room for so many more queries.
    pub(super) fn reserve(&mut self, queries: usize, module: &Module) {
        let [left, right] = self.form.vectors(module).map(|(count, _)| count * queries);
        self.left.reserve(left);
        self.right.reserve(right);
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
        let mut start = 0;
        while start < matrix.len() {
            let row = self.left.push();
            for to in row.chunks_mut(BLOCK) {
                let span = start..start + to.len();
                let values = to.iter_mut().zip(&matrix[span.clone()]);
                match scale {
                    Some(scale) => {
                        let scaled = values.zip(&scale[span.clone()]);
                        scaled.for_each(|((to, value), scale)| *to = ((*value).into() * scale) as f32);
                    }
                    None => values.for_each(|(to, value)| *to = (*value).into() as f32),
                }
                found.add(to.iter().copied());
                start = span.end;
            }
        }
        found
    }

    /// Adds a matrix of a low rank in place of the whole one.
    pub(super) fn push_low_rank(&mut self, low: &LowRank, matrix: &[f64]) {
        // The right vectors have length 1 and are orthogonal.
        self.lengths.push([squared(&low.left), squared(matrix)]);
        for at in 0..low.rank {
            let column = low.left.iter().skip(at).step_by(low.rank);
            self.left.push().iter_mut().zip(column).for_each(|(to, value)| *to = *value as f32);
        }
        for row in low.right.chunks_exact(low.right.len() / low.rank) {
            self.right.push().iter_mut().zip(row).for_each(|(to, value)| *to = *value as f32);
        }
    }
}

/// The columns of a module: each query with each filter, the filters one after the other.
pub(super) struct ModuleColumns(pub Vec<FilterColumns>);

impl ModuleColumns {
    /// Products of gradients with all columns, `[rows, columns]`.
    pub(super) fn products(&self, cpu: &Cpu, gradients: &[f32]) -> Vec<f64> {
        cpu.dots(gradients, &self.left())
    }

    /// Products of all tokens with all columns, `[tokens, columns]`, from the inputs `[tokens, input]`
    /// and the gradients of the outputs `[tokens, out]`.
    pub(super) fn token_products(
        &self,
        cpu: &Cpu,
        (inputs, grads): (&[f32], &[f32]),
        module: &Module,
    ) -> Vec<f64> {
        let (left, tokens) = (self.left(), inputs.len() / module.input);
        let mut all =
            Vec::with_capacity(tokens * self.0.iter().map(|filter| filter.lengths.len()).sum::<usize>());
        let right: Vec<&Vectors> = self.0.iter().map(|filter| &filter.right).collect();
        let parts = inputs.chunks(TOKENS * module.input).zip(grads.chunks(TOKENS * module.out));
        for (inputs, grads) in parts {
            if let Some(ColumnForm::LowRank(rank)) = self.0.first().map(|filter| filter.form) {
                let (left, right) = (cpu.dots(grads, &left), cpu.dots(inputs, &right));
                let pairs = left.chunks_exact(rank).zip(right.chunks_exact(rank));
                all.extend(pairs.map(|(left, right)| dot(left, right)));
                continue;
            }
            let mapped = cpu.dots(inputs, &left);
            let of_token = mapped.len() / (inputs.len() / module.input);
            for (token, grad) in grads.chunks_exact(module.out).enumerate() {
                let of =
                    |mapped: &[f64]| mapped.iter().zip(grad).map(|(m, g)| m * f64::from(*g)).sum::<f64>();
                let mapped = mapped[token * of_token..][..of_token].chunks_exact(module.out);
                all.extend(mapped.map(of));
            }
        }
        all
    }

    fn left(&self) -> Vec<&Vectors> {
        self.0.iter().map(|filter| &filter.left).collect()
    }
}

fn squared(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// A range in ranges of at most so many, at least one.
pub(super) fn cut(all: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let (most, end) = (most.max(1), all.end);
    all.step_by(most).map(move |start| start..end.min(start + most))
}

#[cfg(test)]
mod tests {
    use gstore_curvature::{low_rank, product};
    use gstore_model::ComputePrecision;

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
        let cpu = Cpu::new(ComputePrecision::F32);
        let columns = |by_token: bool, rank: Option<usize>| {
            FilterColumns::new(ColumnForm::new(&module, by_token, rank), &module)
        };
        let mut whole = columns(false, None);
        whole.push(&matrix);
        let expected = ModuleColumns(vec![whole]).products(&cpu, &gradient)[0];
        let mut of_tokens = columns(true, Some(4));
        of_tokens.push(&matrix);
        let mut low = columns(true, Some(2));
        low.push_low_rank(&low_rank(&matrix, (5, 4), 2).expect("a rank of 2"), &matrix);
        let [kept, all] = low.lengths[0];
        assert!((kept - all).abs() < 1e-9 * all, "the matrix has this rank: {kept} of {all}");
        let one = low_rank(&matrix, (5, 4), 1).expect("a rank of 1");
        let mut less = columns(true, Some(1));
        less.push_low_rank(&one, &matrix);
        let near = product(&one.left, &one.right, (5, 1, 4));
        let off: f64 = near.iter().zip(&matrix).map(|(found, whole)| (found - whole).powi(2)).sum();
        let [kept, all] = less.lengths[0];
        assert!(
            (all - kept - off).abs() < 1e-9 * all,
            "what is ignored is the rest: {kept} and {off} of {all}"
        );
        // Each filter has columns of its own.
        for filter in [of_tokens, low] {
            let found = ModuleColumns(vec![filter; 2]).token_products(&cpu, (&inputs, &grads), &module);
            assert_eq!(found.len(), 2 * tokens);
            for at in 0..2 {
                let sum: f64 = found.iter().skip(at).step_by(2).sum();
                assert!((sum - expected).abs() < 1e-5 * expected.abs().max(1.0), "{sum} {expected}");
            }
        }
        let bytes = |rank| ColumnForm::new(&module, true, Some(rank)).bytes(&module);
        assert_eq!((bytes(2), bytes(4)), (72, 80));
    }
}
