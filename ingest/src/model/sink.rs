//! Where the factors of weight gradients go.

use std::ops::Range;

use super::backend::{Backend, BackendError};
use crate::checkpoint::LinearId;

/// Receives, for each linear layer that it wants, the layer's inputs and the gradients of its outputs; the weight gradient of sample i is
/// the sum over its rows of output gradient times input.
pub trait Sink<B: Backend> {
    /// Whether the layer's factors are wanted. The backward pass goes no further down than the lowest wanted layer.
    fn wants(&self, id: LinearId) -> bool;

    /// Takes the factors of layers that share their inputs `x`. `spans[i]` are the rows of sample i; a layer may come in several pieces,
    /// each with other rows of the same samples.
    fn take(
        &mut self,
        backend: &B,
        x: &B::Tensor,
        grads: &[(LinearId, &B::Tensor)],
        spans: &[Range<usize>],
    ) -> Result<(), BackendError>;
}
