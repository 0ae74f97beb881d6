//! The sink that adds up the gradients of a model's own tensors in one vector for each sample.

use std::ops::Range;

use super::layout::GradLayout;
use crate::architectures::{LinearId, NormId};
use crate::backend::{Backend, BackendError, NormFactors};
use crate::passes::{Sink, Slot, TableFactors};

/// Adds each sample's gradient to its vector of `out`, laid out by [`GradLayout::flat`]; rows of fused weights lie piece by piece until
/// [`GradLayout::reorder`]. `out` is not needed to ask what the sink wants.
pub struct WeightSink<'a, B: Backend> {
    /// Where each tensor goes.
    pub layout: &'a GradLayout,
    /// The vectors.
    pub out: Option<&'a mut B::Rows>,
}

impl<B: Backend> Sink<B> for WeightSink<'_, B> {
    fn wants(&self, slot: Slot) -> bool {
        self.layout.targets.contains_key(&slot)
    }

    fn linear(
        &mut self,
        backend: &B,
        x: &B::Tensor,
        grads: &[(LinearId, &B::Tensor)],
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let Some(out) = &mut self.out else { return Ok(()) };
        for (id, grad) in grads {
            if let Some(target) = self.layout.targets.get(&Slot::Linear(*id)) {
                target.add_linear(backend, x, grad, spans, out)?;
            }
        }
        Ok(())
    }

    fn norm(
        &mut self,
        backend: &B,
        id: NormId,
        factors: &NormFactors<'_, B::Tensor>,
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let (Some(out), Some(target)) = (&mut self.out, self.layout.targets.get(&Slot::Norm(id))) else {
            return Ok(());
        };
        let width = self.layout.norm_width(target);
        backend.norm_grads(factors, width, spans, out, [target.weight, target.bias])
    }

    fn table(
        &mut self,
        backend: &B,
        slot: Slot,
        factors: &TableFactors<'_, B::Tensor>,
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let (Some(out), Some(target)) = (&mut self.out, self.layout.targets.get(&slot)) else {
            return Ok(());
        };
        let Some(offset) = target.weight else { return Ok(()) };
        backend.table_grads(factors.ids, factors.grad, factors.scale, spans, out, offset)
    }
}
