//! The sink that sums gradients over a batch in place of one for each sample.

use std::ops::Range;

use crate::architectures::NormId;
use crate::backend::{Backend, BackendError, NormFactors};
use crate::passes::{LinearFactors, Sink, Slot, TableFactors};

/// A sink that sees the whole batch as one sample: what it adds up is the gradient of the sum of all losses.
///
/// The sums then run over the rows of all samples in their order, in one product for each weight.
pub struct BatchSumSink<S>(pub S);

impl<B: Backend, S: Sink<B>> Sink<B> for BatchSumSink<S> {
    fn wants(&self, slot: Slot) -> bool {
        self.0.wants(slot)
    }

    fn every_row(&self) -> bool {
        self.0.every_row()
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let LinearFactors { x, grads, .. } = *maps;
        self.0.linear(backend, &LinearFactors { x, grads, spans: &[0..backend.size(x).0] })
    }

    fn norm(
        &mut self,
        backend: &B,
        id: NormId,
        factors: &NormFactors<'_, B::Tensor>,
        _spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        self.0.norm(backend, id, factors, &[0..backend.size(factors.grad).0])
    }

    fn table(&mut self, backend: &B, factors: &TableFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let TableFactors { slot, ids, grad, scale, .. } = *factors;
        let spans = &[0..backend.size(grad).0];
        self.0.table(backend, &TableFactors { slot, ids, grad, scale, spans })
    }

    fn finished(&mut self, backend: &B, layer: Option<usize>) -> Result<(), BackendError> {
        self.0.finished(backend, layer)
    }
}
