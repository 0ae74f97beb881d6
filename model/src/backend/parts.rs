//! Factors that gradients of norms and of LoRA are computed from, and the taker of a matrix's rows.

use std::ops::Range;

use super::NormForm;

/// What the gradients of a norm are computed from.
pub struct NormFactors<'a, T> {
    /// Gradient of the norm's outputs.
    pub grad: &'a T,
    /// Inputs.
    pub x: &'a T,
    /// What [`Backend::norm`](super::Backend::norm) returned in addition to its result.
    pub stats: &'a T,
    /// Which norm.
    pub form: NormForm,
}

/// The LoRA factors of one linear layer and where its gradient goes.
pub struct LoraOperands<'a, T> {
    /// Gradient of the layer's outputs, `[rows, out]`.
    pub grad: &'a T,
    /// Factor A, `[rank, input]`.
    pub a: &'a T,
    /// Factor B, `[out, rank]`.
    pub b: &'a T,
    /// The update is `scaling * B A`.
    pub scaling: f32,
    /// Where the gradient of A starts in a sample's vector.
    pub a_offset: usize,
    /// Where the gradient of B starts in a sample's vector.
    pub b_offset: usize,
}

/// Each `step` of so many rows, at least one, in order.
pub(crate) fn steps(rows: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(step).map(move |start| start..rows.min(start + step))
}

/// Takes rows of a matrix: which, the first of their columns, and their values from there on.
pub(crate) type RowVisitor<'a> = &'a mut dyn FnMut(Range<usize>, usize, &[f32]);
