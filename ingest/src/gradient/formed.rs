//! The sink that forms the gradients of whole tensors, for what needs each of their values.

use std::ops::Range;

use super::layout::{GradLayout, Place};
use gstore_model::architectures::{LinearId, NormId};
use gstore_model::{Backend, BackendError, NormFactors, SampleRows, Sink, Slot, TableFactors};

/// Takes the finished gradient of a tensor: which of the tracked tensors, the sample, the values (row-major, weights as `[out, input]`).
pub type Consume<'a> = &'a mut dyn FnMut(usize, usize, &[f32]);

/// Forms gradients group by group and hands each on when it is whole: layers from the last to the first, then tensors of no layer.
/// Within a group by sample, then in the order of the tracked tensors.
///
/// Memory: for each sample the tensors of no layer and those of one layer.
pub(super) struct FormedSink<'a> {
    layout: &'a GradLayout,
    samples: usize,
    /// Buffers of the tensors of no layer, and of the layer that is being differentiated.
    loose: Vec<f32>,
    layer: Vec<f32>,
    scratch: Vec<f32>,
    consume: Consume<'a>,
}

impl<'a> FormedSink<'a> {
    pub fn new(layout: &'a GradLayout, samples: usize, consume: Consume<'a>) -> FormedSink<'a> {
        let loose = vec![0.0; samples * layout.widths.first().copied().unwrap_or(0)];
        let widest = layout.widths.iter().skip(1).max().copied().unwrap_or(0);
        let layer = vec![0.0; samples * widest];
        FormedSink { layout, samples, loose, layer, scratch: Vec::new(), consume }
    }

    /// The rows of a group.
    fn rows(&mut self, group: usize) -> SampleRows<'_> {
        let width = self.layout.widths[group];
        let buffer = if group == 0 { &mut self.loose } else { &mut self.layer };
        SampleRows { values: &mut buffer[..self.samples * width], width }
    }

    fn flush(&mut self, group: usize) {
        let width = self.layout.widths[group];
        let buffer = if group == 0 { &mut self.loose } else { &mut self.layer };
        let values = &mut buffer[..self.samples * width];
        for (sample, values) in values.chunks_exact(width.max(1)).enumerate() {
            for Place { tensor, offset, len, order } in &self.layout.groups[group] {
                let formed = &values[*offset..offset + len];
                match order {
                    Some(order) => {
                        order.apply(formed, &mut self.scratch);
                        (self.consume)(*tensor, sample, &self.scratch);
                    }
                    None => (self.consume)(*tensor, sample, formed),
                }
            }
        }
        values.fill(0.0);
    }
}

impl<B: Backend> Sink<B> for FormedSink<'_> {
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
        for (id, grad) in grads {
            let Some(target) = self.layout.targets.get(&Slot::Linear(*id)).copied() else { continue };
            let mut out = self.rows(target.group);
            if let Some(offset) = target.weight {
                backend.weight_grads(x, grad, spans, &mut out, offset)?;
            }
            if let Some(offset) = target.bias {
                // The bias is a table of one row, looked up at every position.
                let ids = vec![0; backend.size(grad).0];
                backend.table_grads(&ids, grad, 1.0, spans, &mut out, offset)?;
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
        let width = self.norm_width(target.group, target.weight.or(target.bias));
        let NormFactors { grad, x, stats, form } = *factors;
        let mut out = self.rows(target.group);
        backend.norm_grads(grad, x, stats, width, form, spans, &mut out, target.weight, target.bias)
    }

    fn table(
        &mut self,
        backend: &B,
        slot: Slot,
        factors: &TableFactors<'_, B::Tensor>,
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let Some(target) = self.layout.targets.get(&slot).copied() else { return Ok(()) };
        let Some(offset) = target.weight else { return Ok(()) };
        let mut out = self.rows(target.group);
        backend.table_grads(factors.ids, factors.grad, factors.scale, spans, &mut out, offset)
    }

    fn finished(&mut self, layer: Option<usize>) -> Result<(), BackendError> {
        self.flush(layer.map_or(0, |layer| layer + 1));
        Ok(())
    }
}

impl FormedSink<'_> {
    /// Length of the tensor that starts at an offset of a group: a norm's weight has one axis.
    fn norm_width(&self, group: usize, offset: Option<usize>) -> usize {
        let places = &self.layout.groups[group];
        places.iter().find(|place| Some(place.offset) == offset).map_or(0, |place| place.len)
    }
}
