//! The sink that forms per-sample gradients of whole weights: of every linear layer, the head included.

use std::ops::Range;

use crate::checkpoint::{LinearId, LinearKind, LlamaConfig};
use crate::model::{Backend, BackendError, SampleRows, Sink};
use crate::params::{TensorSpec, total_len};

/// Full weight gradients of the linear layers of a batch. Memory: samples times parameters.
///
/// A tied head gets the head's share of the gradient only; the embedding's share is not formed.
pub struct WeightSink {
    layers: Vec<(LinearId, usize)>,
    params: Vec<TensorSpec>,
    width: usize,
    values: Vec<f32>,
}

impl WeightSink {
    /// A sink for the linear layers that `wanted` accepts.
    pub fn new(config: &LlamaConfig, samples: usize, wanted: impl Fn(LinearId) -> bool) -> WeightSink {
        let layer_ids = (0..config.layers).flat_map(|layer| LinearKind::ALL.map(|kind| (layer, kind)));
        let mut ids: Vec<_> = layer_ids
            .map(|(layer, kind)| (LinearId::Layer { layer, kind }, kind.shape(config).to_vec()))
            .collect();
        ids.push((LinearId::Head, vec![config.vocab_size, config.hidden_size]));
        let (mut layers, mut params, mut width) = (Vec::new(), Vec::new(), 0);
        for (id, shape) in ids.into_iter().filter(|(id, _)| wanted(*id)) {
            layers.push((id, width));
            params.push(TensorSpec { name: format!("{}.weight", id.module()), shape });
            width = total_len(&params);
        }
        WeightSink { layers, params, width, values: vec![0.0; samples * width] }
    }

    /// The weights, in the order of the gradients.
    pub fn params(&self) -> &[TensorSpec] {
        &self.params
    }

    /// The gradient of one sample: all weights, concatenated.
    pub fn grad(&self, sample: usize) -> &[f32] {
        self.values.get(sample * self.width..(sample + 1) * self.width).unwrap_or_default()
    }

    fn offset(&self, id: LinearId) -> Option<usize> {
        self.layers.iter().find(|(layer, _)| *layer == id).map(|(_, offset)| *offset)
    }
}

impl<B: Backend> Sink<B> for WeightSink {
    fn wants(&self, id: LinearId) -> bool {
        self.offset(id).is_some()
    }

    fn take(
        &mut self,
        backend: &B,
        x: &B::Tensor,
        grads: &[(LinearId, &B::Tensor)],
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        for (id, grad) in grads {
            if let Some(offset) = self.offset(*id) {
                let mut out = SampleRows { values: &mut self.values, width: self.width };
                backend.weight_grads(x, grad, spans, &mut out, offset)?;
            }
        }
        Ok(())
    }
}
