//! The sink that forms per-sample gradients of LoRA factors.

use std::collections::BTreeMap;
use std::ops::Range;

use super::layout::{RowOrder, TensorSlice};
use crate::architectures::{Decoder, LinearId, Param, TensorRole};
use crate::backend::{Backend, BackendError, LoraOperands};
use crate::params::{TensorSpec, tensor_ranges};
use crate::passes::{LinearFactors, LoadError, LoraWeights, Model, Sink, Slot};
use crate::weights::{AdaptedWeight, Adapter, ModelError, ModelFolder};

/// The factors of one linear map on a backend, and where their gradients go in a flat vector.
struct MapFactors<B: Backend> {
    a: B::Tensor,
    b: B::Tensor,
    scaling: f32,
    a_offset: usize,
    b_offset: usize,
}

/// The factors of every adapted map.
pub struct LoraFactors<B: Backend> {
    maps: BTreeMap<LinearId, MapFactors<B>>,
    /// Factors B of fused modules whose rows are formed in another order than they have: offset, length,
    /// order.
    pub orders: Vec<(usize, usize, RowOrder)>,
}

impl<B: Backend> LoraFactors<B> {
    /// Where the gradients of the factors, `tensors`, are in the flat vector.
    pub fn places(&self, tensors: &[TensorSpec]) -> Vec<TensorSlice> {
        let place = |(tensor, part): (usize, Range<usize>)| {
            let order = self.orders.iter().find(|(offset, ..)| *offset == part.start);
            let order = order.map(|(.., order)| order.clone());
            TensorSlice { tensor, offset: part.start, len: part.len(), order }
        };
        tensor_ranges(tensors).enumerate().map(place).collect()
    }
}

/// Factors as read, in `named_parameters()` order.
pub struct HostFactors {
    modules: Vec<HostModule>,
}

/// The factors of one module, fused or not.
#[derive(Clone)]
pub struct HostModule {
    /// Canonical name of the module.
    pub name: String,
    /// Factor A and B, the rank and the scaling; B has the rows of the whole module.
    pub lora: LoraWeights,
}

impl HostFactors {
    /// Factors of modules in `named_parameters()` order.
    pub fn new(modules: Vec<HostModule>) -> HostFactors {
        HostFactors { modules }
    }

    /// Reads an adapter that fits the base.
    ///
    /// # Errors
    /// One that does not fit, or has a value which is not finite.
    pub fn read(adapter: &Adapter, base: &ModelFolder) -> Result<HostFactors, ModelError> {
        let read = adapter.fit(base)?.into_iter().map(|AdaptedWeight { param, lora }| {
            Ok(HostModule {
                name: param.module().to_owned(),
                lora: LoraWeights {
                    a: adapter.factor(&lora.a)?,
                    b: adapter.factor(&lora.b)?,
                    rank: lora.rank,
                    scaling: lora.scaling,
                },
            })
        });
        Ok(HostFactors { modules: read.collect::<Result<_, ModelError>>()? })
    }

    /// Loads a model with factors merged into its weights, if there are some.
    pub fn load_merged<B: Backend>(
        folder: &ModelFolder,
        backend: B,
        factors: Option<&HostFactors>,
    ) -> Result<Model<B>, LoadError> {
        Model::build(folder.decoder(), backend, &mut |param| {
            let mut values = folder.read(param)?;
            if let Some(factors) = factors {
                factors.merge(param, &mut values);
            }
            Ok(values)
        })
    }

    /// Adds `scaling * B A` to the weight `[out, input]` of an adapted module; leaves other tensors as they
    /// are.
    pub fn merge(&self, param: &Param, values: &mut [f32]) {
        let (TensorRole::Weight(_), [_, input]) = (&param.role, &param.shape[..]) else { return };
        let adapted = self.modules.iter().find(|adapted| adapted.name == param.module());
        let Some(LoraWeights { a, b, rank, scaling }) = adapted.map(|adapted| &adapted.lora) else { return };
        for (row, b) in values.chunks_exact_mut(*input).zip(b.chunks_exact(*rank)) {
            for (a, b) in a.chunks_exact(*input).zip(b) {
                let factor = (*scaling * f64::from(*b)) as f32;
                row.iter_mut().zip(a).for_each(|(w, a)| *w += factor * a);
            }
        }
    }

    /// Attaches the factors to a model's weights, on its backend, so that it computes with them.
    pub fn attach<B: Backend>(self, model: &mut Model<B>) -> Result<LoraFactors<B>, LoadError> {
        let decoder = model.decoder().clone();
        for HostModule { name, lora } in &self.modules {
            let weight = decoder.param(&format!("{name}.weight"));
            let Some(TensorRole::Weight(pieces)) = weight.map(|param| &param.role) else { continue };
            for piece in pieces {
                let rank = lora.rank;
                let rows = piece.rows.iter().flat_map(|r| &lora.b[r * rank..(r + 1) * rank]);
                let part = LoraWeights { b: rows.copied().collect(), ..lora.clone() };
                model.set_lora(piece.linear, part)?;
            }
        }
        self.upload(&decoder, model.backend())
    }

    /// Puts the factors on a backend; their offsets follow parameter order.
    pub fn upload<B: Backend>(self, decoder: &Decoder, backend: &B) -> Result<LoraFactors<B>, LoadError> {
        let mut uploaded = LoraFactors { maps: BTreeMap::new(), orders: Vec::new() };
        let mut offset = 0;
        for HostModule { name, lora: LoraWeights { a, b, rank, scaling } } in self.modules {
            let weight = decoder.param(&format!("{name}.weight"));
            let Some(TensorRole::Weight(pieces)) = weight.map(|param| &param.role) else { continue };
            let (a_offset, mut b_offset) = (offset, offset + a.len());
            offset = b_offset + b.len();
            if let Some(order) = RowOrder::of(pieces, rank) {
                uploaded.orders.push((b_offset, b.len(), order));
            }
            let a = backend.tensor(a, rank, weight.map_or(0, |param| param.shape[1]))?;
            for piece in pieces {
                let rows = piece.rows.len();
                let part = piece.rows.iter().flat_map(|r| &b[r * rank..(r + 1) * rank]).copied().collect();
                let factors = MapFactors {
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
pub struct LoraSink<'a, B: Backend> {
    /// The factors.
    pub factors: &'a LoraFactors<B>,
    /// The vectors.
    pub out: Option<&'a mut B::Rows>,
    /// The entropies of the scored rows, if they are wanted.
    pub entropies: Option<&'a mut Vec<f32>>,
}

impl<B: Backend> Sink<B> for LoraSink<'_, B> {
    fn wants(&self, slot: Slot) -> bool {
        matches!(slot, Slot::Linear(id) if self.factors.maps.contains_key(&id))
    }

    fn entropies(&mut self) -> Option<&mut Vec<f32>> {
        self.entropies.as_deref_mut()
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let parts: Vec<_> = maps
            .grads
            .iter()
            .filter_map(|(id, grad)| {
                let MapFactors { a, b, scaling, a_offset, b_offset } = self.factors.maps.get(id)?;
                Some(LoraOperands {
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
            Some(out) => backend.lora_grads(maps.x, &parts, maps.spans, out),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[path = "lora_tests.rs"]
mod tests;
