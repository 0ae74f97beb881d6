//! Sinks: consumers of the factors of weight gradients.

use std::ops::Range;

use crate::architectures::{LinearId, NormId};
use crate::backend::{Backend, BackendError, NormFactors};

/// A place of the decoder whose weights can be differentiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Token embedding.
    Embedding,
    /// Learned positions.
    Positions,
    /// A linear map, its bias as well.
    Linear(LinearId),
    /// A norm's weight and bias.
    Norm(NormId),
}

/// Linear maps that share their inputs: the weight gradient of sample i is the sum over its rows of output
/// gradient times input.
pub struct LinearFactors<'a, T> {
    /// The inputs.
    pub x: &'a T,
    /// The maps, and the gradients of their outputs.
    pub grads: &'a [(LinearId, &'a T)],
    /// The rows of each sample.
    pub spans: &'a [Range<usize>],
}

/// Rows of a table and the gradients of what was looked up there.
pub struct TableFactors<'a, T> {
    /// [`Slot::Embedding`] or [`Slot::Positions`].
    pub slot: Slot,
    /// Row of the table of each row of `grad`.
    pub ids: &'a [u32],
    /// Gradient of the looked-up rows.
    pub grad: &'a T,
    /// Factor that the rows were multiplied by.
    pub scale: f32,
    /// The rows of each sample.
    pub spans: &'a [Range<usize>],
}

/// Receives, for each slot that it wants, the factors of its weights' gradients. `spans[i]` are the rows of
/// sample i.
///
/// A slot may come in several pieces, each with other rows of the same samples; the gradient is their sum.
pub trait Sink<B: Backend> {
    /// Whether the slot's factors are wanted. The backward pass goes no further down than
    /// the lowest wanted slot.
    fn wants(&self, slot: Slot) -> bool;

    /// Whether a layer's maps are wanted at every row, also where the gradient of the last layer is zero: its
    /// inputs there may matter. The forward pass must have computed all rows of the last layer.
    fn every_row(&self) -> bool {
        false
    }

    /// Where the entropy of each scored row's distribution goes, in nats; none: it is not wanted. It is of
    /// the logits that the losses are of, which exist for a chunk of rows at a time only.
    fn entropies(&mut self) -> Option<&mut Vec<f32>> {
        None
    }

    /// Linear maps.
    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError>;

    /// A norm. Not called if the sink wants none; one that passes on what others want
    /// skips what is not its own.
    fn norm(
        &mut self,
        _backend: &B,
        _id: NormId,
        _factors: &NormFactors<'_, B::Tensor>,
        _spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        Ok(())
    }

    /// A table. Not called if the sink wants none.
    fn table(&mut self, _backend: &B, _factors: &TableFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        Ok(())
    }

    /// Every factor of layer `layer` was given (none: of everything).
    fn finished(&mut self, _backend: &B, _layer: Option<usize>) -> Result<(), BackendError> {
        Ok(())
    }
}
