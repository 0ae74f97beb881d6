//! A linear map of a layer: its packed weight, and LoRA factors that are trained next to it.

use crate::architectures::{LinearId, LinearKind};
use crate::backend::{Backend, BackendError, LinearWeights, check};

use super::model::{Layer, Model};

/// A packed weight with the factors that are not merged into it, if it has some.
pub(super) struct Map<B: Backend> {
    weight: B::Linear,
    factors: Option<Factors<B>>,
}

/// Packed factors; the scaling is in B.
struct Factors<B: Backend> {
    a: B::Linear,
    b: B::Linear,
}

/// LoRA factors of one linear map: the update is `scaling * B A`.
#[derive(Debug, Clone)]
pub struct LoraWeights {
    /// Factor A, row-major `[rank, input]`.
    pub a: Vec<f32>,
    /// Factor B, row-major `[out, rank]`.
    pub b: Vec<f32>,
    /// Rows of A, columns of B.
    pub rank: usize,
    /// Factor of the update.
    pub scaling: f64,
}

impl<B: Backend> Map<B> {
    pub fn new(weight: B::Linear) -> Map<B> {
        Map { weight, factors: None }
    }

    /// `x (W + scaling B A)^T + bias`, added to `residual` if there is one.
    pub fn forward(
        &self,
        backend: &B,
        x: &B::Tensor,
        residual: Option<&B::Tensor>,
    ) -> Result<B::Tensor, BackendError> {
        let out = backend.linear(&self.weight, x, residual)?;
        match &self.factors {
            None => Ok(out),
            Some(Factors { a, b }) => backend.linear(b, &backend.linear(a, x, None)?, Some(&out)),
        }
    }

    /// The gradient of the inputs, added to `acc` if there is one.
    pub fn backward(
        &self,
        backend: &B,
        grad: &B::Tensor,
        acc: Option<B::Tensor>,
    ) -> Result<B::Tensor, BackendError> {
        let acc = backend.linear_backward(&self.weight, grad, acc)?;
        match &self.factors {
            None => Ok(acc),
            Some(Factors { a, b }) => {
                backend.linear_backward(a, &backend.linear_backward(b, grad, None)?, Some(acc))
            }
        }
    }
}

impl<B: Backend> Model<B> {
    /// Attaches LoRA factors to the weight of a layer's map, in place of earlier ones.
    ///
    /// # Errors
    /// Factors of other sizes than the map's, and a map that the model lacks.
    pub fn set_lora(&mut self, id: LinearId, lora: LoraWeights) -> Result<(), BackendError> {
        let [out, input] = self.decoder.linear_shape(id);
        let LoraWeights { a, mut b, rank, scaling } = lora;
        check(a.len() == rank * input && b.len() == out * rank, || {
            format!("factors of {} and {} values for a map of {out} x {input}", a.len(), b.len())
        })?;
        b.iter_mut().for_each(|b| *b = (scaling * f64::from(*b)) as f32);
        let pack = |weight, out, input| self.backend.pack(LinearWeights { weight, out, input, bias: None });
        let factors = Factors { a: pack(a, rank, input)?, b: pack(b, out, rank)? };
        let map = match id {
            LinearId::Layer { layer, kind } => self.layers.get_mut(layer).and_then(|l| l.map_mut(kind)),
            LinearId::Head => None,
        };
        let map = map.ok_or_else(|| BackendError(format!("the model has no {id:?} that can be adapted")))?;
        map.factors = Some(factors);
        Ok(())
    }
}

impl<B: Backend> Layer<B> {
    fn map_mut(&mut self, kind: LinearKind) -> Option<&mut Map<B>> {
        Some(match kind {
            LinearKind::Q => &mut self.q,
            LinearKind::K => &mut self.k,
            LinearKind::V => &mut self.v,
            LinearKind::O => &mut self.o,
            LinearKind::Gate => return self.gate.as_mut(),
            LinearKind::Up => &mut self.up,
            LinearKind::Down => &mut self.down,
        })
    }
}
