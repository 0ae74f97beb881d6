//! Tensors on their way to a backend: which maps, norms and tables of a decoder each one holds.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Mutex;

use gstore_core::locked;

use super::load::{LoadError, incomplete};
use crate::architectures::{Decoder, LinearId, NormId, Param, TensorRole, WeightSlice};
use crate::backend::{Backend, BackendError, LinearWeights, NormWeights};
use crate::weights::ModelError;

/// Gives the values of a tensor, its own or lent.
pub(super) type ParamValues<'a, 'v> = &'a mut dyn FnMut(&Param) -> Result<Cow<'v, [f32]>, ModelError>;

pub(super) struct PackedTensors<B: Backend> {
    /// Scaled as the model scales it.
    pub embedding: Option<B::Tensor>,
    pub positions: Option<B::Tensor>,
    pub linears: BTreeMap<LinearId, B::Linear>,
    pub norms: BTreeMap<NormId, NormWeights<B::Tensor>>,
}

/// What one tensor holds: its maps on the backend, and values that [`PackedTensors::take`] puts there. A
/// backend may keep the memory of a tensor for the thread that drops it, which is to be the thread that makes
/// the next one.
pub(super) struct PackedTensor<'v, B: Backend> {
    linears: BTreeMap<LinearId, B::Linear>,
    rest: Option<UnmappedValues<'v>>,
}

enum UnmappedValues<'v> {
    Embedding(Cow<'v, [f32]>),
    Positions(Cow<'v, [f32]>),
    Norm(NormId, Vec<f32>, Option<Cow<'v, [f32]>>),
}

impl<B: Backend> PackedTensors<B> {
    /// Nothing yet.
    pub fn none() -> PackedTensors<B> {
        PackedTensors { embedding: None, positions: None, linears: BTreeMap::new(), norms: BTreeMap::new() }
    }

    /// Adds what a tensor holds.
    pub fn take(
        &mut self,
        backend: &B,
        param: &Param,
        mut part: PackedTensor<'_, B>,
    ) -> Result<(), LoadError> {
        self.linears.append(&mut part.linears);
        let table = |values: Cow<'_, [f32]>| match param.shape[..] {
            [rows, cols] => backend.tensor(values.into_owned(), rows, cols),
            _ => Err(BackendError::new("a table has two axes")),
        };
        match part.rest {
            Some(UnmappedValues::Embedding(values)) => self.embedding = Some(table(values)?),
            Some(UnmappedValues::Positions(values)) => self.positions = Some(table(values)?),
            Some(UnmappedValues::Norm(id, weight, bias)) => {
                let row = |values: Vec<f32>| {
                    let width = values.len();
                    backend.tensor(values, 1, width)
                };
                let bias = bias.map(|bias| row(bias.into_owned())).transpose()?;
                self.norms.insert(id, NormWeights { weight: row(weight)?, bias });
            }
            None => {}
        }
        Ok(())
    }
}

pub(super) struct TensorPacker<'a, B: Backend> {
    pub decoder: &'a Decoder,
    pub backend: &'a B,
    /// Maps that nothing needs any more: their memory is used again.
    pub old: Mutex<BTreeMap<LinearId, B::Linear>>,
}

impl<B: Backend> TensorPacker<'_, B> {
    /// What a tensor holds; biases come with what they belong to.
    pub fn part<'v>(
        &self,
        param: &Param,
        values: ParamValues<'_, 'v>,
    ) -> Result<PackedTensor<'v, B>, LoadError> {
        let mut linears = BTreeMap::new();
        let rest = match &param.role {
            TensorRole::Embedding => {
                let mut table = values(param)?;
                if self.decoder.tied {
                    let sizes = [self.decoder.vocab_size, self.decoder.hidden_size];
                    linears.insert(LinearId::Head, self.linear(LinearId::Head, sizes, &table, None)?);
                }
                if self.decoder.embedding_scale != 1.0 {
                    table.to_mut().iter_mut().for_each(|v| *v *= self.decoder.embedding_scale);
                }
                Some(UnmappedValues::Embedding(table))
            }
            TensorRole::Positions => Some(UnmappedValues::Positions(values(param)?)),
            TensorRole::Weight(pieces) => {
                linears = self.linears(param, pieces, values)?;
                None
            }
            TensorRole::NormWeight(id) => {
                let mut weight = values(param)?.into_owned();
                weight.iter_mut().for_each(|w| *w += self.decoder.norm_offset);
                Some(UnmappedValues::Norm(*id, weight, self.bias(param, values)?))
            }
            TensorRole::Bias(_) | TensorRole::NormBias(_) => None,
        };
        Ok(PackedTensor { linears, rest })
    }

    fn linears(
        &self,
        param: &Param,
        pieces: &[WeightSlice],
        values: ParamValues<'_, '_>,
    ) -> Result<BTreeMap<LinearId, B::Linear>, LoadError> {
        let [out, input] = param.shape[..] else { return Err(incomplete(self.decoder, "a matrix")) };
        let (bias, weight) = (self.bias(param, values)?, values(param)?);
        let mut linears = BTreeMap::new();
        for WeightSlice { linear: id, rows } in pieces {
            let [_, expected] = self.decoder.linear_shape(*id);
            if expected != input {
                return Err(incomplete(self.decoder, "a weight of the right width"));
            }
            let linear = if rows.len() == out {
                self.linear(*id, [out, input], &weight, bias.as_deref())?
            } else {
                let lines = rows.iter().flat_map(|r| &weight[r * input..(r + 1) * input]);
                let part: Vec<f32> = lines.copied().collect();
                let bias: Option<Vec<f32>> = bias.as_ref().map(|bias| rows.iter().map(|r| bias[r]).collect());
                self.linear(*id, [rows.len(), input], &part, bias.as_deref())?
            };
            linears.insert(*id, linear);
        }
        Ok(linears)
    }

    /// A linear map, in the memory of the old one if there is one.
    fn linear(
        &self,
        id: LinearId,
        [out, input]: [usize; 2],
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<B::Linear, BackendError> {
        let old = locked(&self.old).remove(&id);
        match old {
            Some(mut layer) => {
                self.backend.repack(&mut layer, weight, bias)?;
                Ok(layer)
            }
            None => {
                let (weight, bias) = (weight.to_vec(), bias.map(<[f32]>::to_vec));
                let weights = LinearWeights { weight, out, input, bias };
                match id {
                    LinearId::Layer { .. } => self.backend.pack_of_layer(weights),
                    LinearId::Head => self.backend.pack(weights),
                }
            }
        }
    }

    /// The values of the bias next to a weight, if it has one.
    fn bias<'v>(
        &self,
        param: &Param,
        values: ParamValues<'_, 'v>,
    ) -> Result<Option<Cow<'v, [f32]>>, ModelError> {
        let bias = self.decoder.param(&format!("{}.bias", param.module()));
        bias.map(values).transpose()
    }
}
