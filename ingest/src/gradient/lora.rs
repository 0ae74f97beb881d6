//! The sink that forms per-sample gradients of LoRA factors.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::checkpoint::{Adapter, LinearId, ModelError};
use crate::model::{Backend, BackendError, LinearWeights, LoadError, LoraPart, SampleRows, Sink};

/// The factors of one layer on a backend, and where their gradients go in a flat vector.
pub(super) struct LoraFactors<B: Backend> {
    a: B::Tensor,
    b: B::Tensor,
    scaling: f32,
    a_offset: usize,
    b_offset: usize,
}

/// Factors as read, in `named_parameters()` order.
pub(super) struct HostFactors {
    factors: BTreeMap<LinearId, (Vec<f32>, Vec<f32>, usize, f64)>,
}

impl HostFactors {
    pub fn read(adapter: &Adapter) -> Result<HostFactors, ModelError> {
        let tensors = adapter.tensors();
        let read = adapter.modules().iter().map(|(id, module)| {
            let (a, b) = (tensors.read_f32(&module.a)?, tensors.read_f32(&module.b)?);
            Ok((*id, (a, b, module.rank, module.scaling)))
        });
        Ok(HostFactors { factors: read.collect::<Result<_, ModelError>>()? })
    }

    /// Adds `scaling * B A` to a layer's weight.
    pub fn merge(&self, id: LinearId, weights: &mut LinearWeights) {
        let Some((a, b, rank, scaling)) = self.factors.get(&id) else { return };
        for (row, b) in weights.weight.chunks_exact_mut(weights.input).zip(b.chunks_exact(*rank)) {
            for (a, b) in a.chunks_exact(weights.input).zip(b) {
                let factor = (*scaling * f64::from(*b)) as f32;
                row.iter_mut().zip(a).for_each(|(w, a)| *w += factor * a);
            }
        }
    }

    /// Puts the factors on a backend; their offsets follow parameter order.
    pub fn upload<B: Backend>(self, backend: &B) -> Result<BTreeMap<LinearId, LoraFactors<B>>, LoadError> {
        let mut offset = 0;
        let mut uploaded = BTreeMap::new();
        for (id, (a, b, rank, scaling)) in self.factors {
            let (input, out) = (a.len() / rank, b.len() / rank);
            let (a_offset, b_offset) = (offset, offset + a.len());
            offset = b_offset + b.len();
            let factors = LoraFactors {
                a: backend.tensor(a, rank, input)?,
                b: backend.tensor(b, out, rank)?,
                scaling: scaling as f32,
                a_offset,
                b_offset,
            };
            uploaded.insert(id, factors);
        }
        Ok(uploaded)
    }
}

/// Writes each sample's gradient into its row of `out`.
pub(super) struct LoraSink<'a, B: Backend> {
    pub factors: &'a BTreeMap<LinearId, LoraFactors<B>>,
    pub out: SampleRows<'a>,
}

impl<B: Backend> Sink<B> for LoraSink<'_, B> {
    fn wants(&self, id: LinearId) -> bool {
        self.factors.contains_key(&id)
    }

    fn take(
        &mut self,
        backend: &B,
        x: &B::Tensor,
        grads: &[(LinearId, &B::Tensor)],
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let parts: Vec<_> = grads
            .iter()
            .filter_map(|(id, grad)| {
                let LoraFactors { a, b, scaling, a_offset, b_offset } = self.factors.get(id)?;
                Some(LoraPart {
                    grad: *grad,
                    a,
                    b,
                    scaling: *scaling,
                    a_offset: *a_offset,
                    b_offset: *b_offset,
                })
            })
            .collect();
        backend.lora_grads(x, &parts, spans, &mut self.out)
    }
}
