//! The sink that materializes gradients of whole tensors, for consumers of their single values.

use std::ops::Range;

use super::device::{BatchVectors, GradientBackend};
use gstore_model::architectures::NormId;
use gstore_model::gradients::GradLayout;
use gstore_model::{BackendError, LinearFactors, NormFactors, Sink, Slot, TableFactors};

/// Forms gradients group by group and hands each on when it is complete: layers from the last to the first,
/// then tensors of no layer.
///
/// Memory: for each sample the tensors of no layer and those of one layer.
pub(super) struct FormedSink<'a, 'f, B: GradientBackend> {
    layout: &'a GradLayout,
    samples: usize,
    /// The tensors of no layer, and those of the layer that is being differentiated, once something was added
    /// to them.
    loose: Option<B::Rows>,
    layer: Option<B::Rows>,
    /// Memory of the last layer.
    spare: Option<B::Rows>,
    /// Where finished tensors go; none if the sink is only asked what it wants.
    sums: Option<&'a mut BatchVectors<'f, B>>,
}

impl<'a, 'f, B: GradientBackend> FormedSink<'a, 'f, B> {
    pub fn new(
        layout: &'a GradLayout,
        samples: usize,
        sums: Option<&'a mut BatchVectors<'f, B>>,
    ) -> FormedSink<'a, 'f, B> {
        FormedSink { layout, samples, loose: None, layer: None, spare: None, sums }
    }

    fn rows(&mut self, backend: &B, group: usize) -> Result<&mut B::Rows, BackendError> {
        let rows = if group == 0 { &mut self.loose } else { &mut self.layer };
        if rows.is_none() {
            *rows = Some(backend.rows(self.samples, self.layout.widths[group], self.spare.take())?);
        }
        rows.as_mut().ok_or_else(|| BackendError::new("no vectors for gradients"))
    }

    fn flush(&mut self, backend: &B, group: usize) -> Result<(), BackendError> {
        let places = &self.layout.groups[group];
        if places.is_empty() {
            return Ok(());
        }
        self.rows(backend, group)?;
        let rows = if group == 0 { self.loose.take() } else { self.layer.take() };
        if let (Some(mut rows), Some(sums)) = (rows, &mut self.sums) {
            sums.add_formed(backend, &mut rows, self.layout.widths[group], places)?;
            self.spare = Some(rows);
        }
        Ok(())
    }
}

impl<B: GradientBackend> Sink<B> for FormedSink<'_, '_, B> {
    fn wants(&self, slot: Slot) -> bool {
        self.layout.targets.contains_key(&slot)
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        for (id, grad) in maps.grads {
            let Some(target) = self.layout.targets.get(&Slot::Linear(*id)).copied() else { continue };
            let out = self.rows(backend, target.group)?;
            target.add_linear(backend, maps.x, grad, maps.spans, out)?;
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
        self.flush(backend, layer.map_or(0, |layer| layer + 1))
    }
}
