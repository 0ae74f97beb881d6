//! The sink that forms gradients of whole tensors, for consumers of their single values.

use std::ops::Range;

use super::layout::GradLayout;
use crate::architectures::NormId;
use crate::backend::{Backend, BackendError, NormFactors};
use crate::passes::{LinearFactors, Sink, Slot, TableFactors};

/// Memory of gradients that can be used again.
pub struct GradientBuffers<B: Backend> {
    /// Of the tensors of one layer.
    pub layer: Option<B::Rows>,
    /// Of the tensors of no layer.
    pub loose: Option<B::Rows>,
}

impl<B: Backend> Default for GradientBuffers<B> {
    fn default() -> Self {
        GradientBuffers { layer: None, loose: None }
    }
}

impl<B: Backend> GradientBuffers<B> {
    fn of(&mut self, group: usize) -> &mut Option<B::Rows> {
        if group == 0 { &mut self.loose } else { &mut self.layer }
    }
}

/// Forms gradients group by group and hands each on when it is complete: layers from the last to the first,
/// then tensors of no layer.
///
/// Memory: for each sample the tensors of no layer and those of one layer.
pub struct FormedSink<'a, B: Backend, F> {
    layout: &'a GradLayout,
    /// None: all rows are those of one sample, as [`BatchSumSink`](super::BatchSumSink) hands them on.
    samples: Option<usize>,
    /// Of what something was added to.
    own: GradientBuffers<B>,
    spare: &'a mut GradientBuffers<B>,
    finish: F,
}

impl<'a, B, F> FormedSink<'a, B, F>
where
    B: Backend,
    F: FnMut(&B, usize, Option<&mut B::Rows>) -> Result<(), BackendError>,
{
    /// A vector for each of the samples, or without their number one for all rows, which
    /// [`BatchSumSink`](super::BatchSumSink) hands on as one sample's. `finish` takes the number of a group
    /// and its vectors, if it has tensors; their memory goes to `spare`.
    pub fn new(
        layout: &'a GradLayout,
        samples: Option<usize>,
        spare: &'a mut GradientBuffers<B>,
        finish: F,
    ) -> FormedSink<'a, B, F> {
        FormedSink { layout, samples, own: GradientBuffers::default(), spare, finish }
    }

    fn rows(&mut self, backend: &B, group: usize) -> Result<&mut B::Rows, BackendError> {
        let rows = self.own.of(group);
        if rows.is_none() {
            let spare = self.spare.of(group).take().or_else(|| self.spare.layer.take());
            *rows = Some(backend.rows(self.samples.unwrap_or(1), self.layout.widths[group], spare)?);
        }
        rows.as_mut().ok_or_else(|| BackendError::new("no vectors for gradients"))
    }
}

impl<B, F> Sink<B> for FormedSink<'_, B, F>
where
    B: Backend,
    F: FnMut(&B, usize, Option<&mut B::Rows>) -> Result<(), BackendError>,
{
    fn wants(&self, slot: Slot) -> bool {
        self.layout.targets.contains_key(&slot)
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let LinearFactors { x, grads, spans } = *maps;
        for (id, grad) in grads {
            let Some(target) = self.layout.targets.get(&Slot::Linear(*id)).copied() else { continue };
            let is_one_sum = self.samples.is_none();
            let out = self.rows(backend, target.group)?;
            match target.weight {
                // At the precision of the backend's linear layers.
                Some(offset) if is_one_sum => backend.summed_weight_grads(x, grad, out, offset)?,
                Some(offset) => backend.weight_grads(x, grad, spans, out, offset)?,
                None => {}
            }
            if let Some(offset) = target.bias {
                // The bias is a table of one row, looked up at every position.
                let ids = vec![0; backend.size(grad).0];
                backend.table_grads(&ids, grad, 1.0, spans, out, offset)?;
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
        let Some(target) = self.layout.targets.get(&Slot::Norm(id)).copied() else { return Ok(()) };
        let width = self.layout.norm_width(&target);
        let out = self.rows(backend, target.group)?;
        backend.norm_grads(factors, width, spans, out, [target.weight, target.bias])
    }

    fn table(&mut self, backend: &B, factors: &TableFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let Some(target) = self.layout.targets.get(&factors.slot).copied() else { return Ok(()) };
        let Some(offset) = target.weight else { return Ok(()) };
        let out = self.rows(backend, target.group)?;
        backend.table_grads(factors.ids, factors.grad, factors.scale, factors.spans, out, offset)
    }

    fn finished(&mut self, backend: &B, layer: Option<usize>) -> Result<(), BackendError> {
        let group = layer.map_or(0, |layer| layer + 1);
        if self.layout.groups[group].is_empty() {
            return (self.finish)(backend, group, None);
        }
        self.rows(backend, group)?;
        let mut rows = self.own.of(group).take();
        (self.finish)(backend, group, rows.as_mut())?;
        *self.spare.of(group) = rows;
        Ok(())
    }
}
