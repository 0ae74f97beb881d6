//! The sink that forms per-sample gradients of LoRA factors.

use std::collections::BTreeMap;
use std::ops::Range;

use super::layout::RowOrder;
use gstore_model::architectures::{Decoder, LinearId, Role};
use gstore_model::weights::{AdaptedWeight, Adapter, ModelError, ModelFolder};
use gstore_model::{Backend, BackendError, LinearWeights, LoadError, LoraPart, Sink, Slot};

/// The factors of one linear map on a backend, and where their gradients go in a flat vector.
struct Factors<B: Backend> {
    a: B::Tensor,
    b: B::Tensor,
    scaling: f32,
    a_offset: usize,
    b_offset: usize,
}

/// The factors of every adapted map.
pub(super) struct LoraFactors<B: Backend> {
    maps: BTreeMap<LinearId, Factors<B>>,
    /// Factors B of fused modules whose rows are formed in another order than they have: offset, length,
    /// order.
    pub orders: Vec<(usize, usize, RowOrder)>,
}

/// Factors as read, in `named_parameters()` order.
pub(super) struct HostFactors {
    modules: Vec<HostModule>,
}

struct HostModule {
    name: String,
    a: Vec<f32>,
    b: Vec<f32>,
    rank: usize,
    scaling: f64,
}

impl HostFactors {
    pub fn read(adapter: &Adapter, base: &ModelFolder) -> Result<HostFactors, ModelError> {
        let tensors = adapter.tensors();
        let read = adapter.fit(base)?.into_iter().map(|AdaptedWeight { param, lora }| {
            Ok(HostModule {
                name: param.module().to_owned(),
                a: tensors.read_f32(&lora.a)?,
                b: tensors.read_f32(&lora.b)?,
                rank: lora.rank,
                scaling: lora.scaling,
            })
        });
        Ok(HostFactors { modules: read.collect::<Result<_, ModelError>>()? })
    }

    /// Adds `scaling * B A` to a module's weight `[out, input]`.
    pub fn merge(&self, module: &str, weights: &mut LinearWeights) {
        let Some(HostModule { a, b, rank, scaling, .. }) = self.modules.iter().find(|m| m.name == module)
        else {
            return;
        };
        for (row, b) in weights.weight.chunks_exact_mut(weights.input).zip(b.chunks_exact(*rank)) {
            for (a, b) in a.chunks_exact(weights.input).zip(b) {
                let factor = (*scaling * f64::from(*b)) as f32;
                row.iter_mut().zip(a).for_each(|(w, a)| *w += factor * a);
            }
        }
    }

    /// Puts the factors on a backend; their offsets follow parameter order.
    pub fn upload<B: Backend>(self, decoder: &Decoder, backend: &B) -> Result<LoraFactors<B>, LoadError> {
        let mut uploaded = LoraFactors { maps: BTreeMap::new(), orders: Vec::new() };
        let mut offset = 0;
        for HostModule { name, a, b, rank, scaling } in self.modules {
            let weight = decoder.param(&format!("{name}.weight"));
            let Some(Role::Weight(pieces)) = weight.map(|param| &param.role) else { continue };
            let (a_offset, mut b_offset) = (offset, offset + a.len());
            offset = b_offset + b.len();
            if let Some(order) = RowOrder::of(pieces, rank) {
                uploaded.orders.push((b_offset, b.len(), order));
            }
            let a = backend.tensor(a, rank, weight.map_or(0, |param| param.shape[1]))?;
            for piece in pieces {
                let rows = piece.rows.len();
                let part = piece.rows.iter().flat_map(|r| &b[r * rank..(r + 1) * rank]).copied().collect();
                let factors = Factors {
                    a: a.clone(),
                    b: backend.tensor(part, rows, rank)?,
                    scaling: scaling as f32,
                    a_offset,
                    b_offset,
                };
                uploaded.maps.insert(piece.linear, factors);
                b_offset += rows * rank;
            }
        }
        Ok(uploaded)
    }
}

/// Adds each sample's gradient to its vector of `out`, which is not needed to ask what the sink wants.
pub(super) struct LoraSink<'a, B: Backend> {
    pub factors: &'a LoraFactors<B>,
    pub out: Option<&'a mut B::Rows>,
}

impl<B: Backend> Sink<B> for LoraSink<'_, B> {
    fn wants(&self, slot: Slot) -> bool {
        matches!(slot, Slot::Linear(id) if self.factors.maps.contains_key(&id))
    }

    fn linear(
        &mut self,
        backend: &B,
        x: &B::Tensor,
        grads: &[(LinearId, &B::Tensor)],
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let parts: Vec<_> = grads
            .iter()
            .filter_map(|(id, grad)| {
                let Factors { a, b, scaling, a_offset, b_offset } = self.factors.maps.get(id)?;
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
        match &mut self.out {
            Some(out) => backend.lora_grads(x, &parts, spans, out),
            None => Ok(()),
        }
    }
}
