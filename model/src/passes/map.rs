//! A linear map of a layer: its packed weight, and LoRA factors that are trained next to it.

use std::sync::Arc;

use crate::backend::{Backend, BackendError, LinearWeights, check};

use super::dropout::{DropoutSite, RowDropout, dropped, drops};

/// A packed weight with the factors that are not merged into it, if it has some.
pub(super) struct LinearMap<B: Backend> {
    /// Models may have it in common.
    weight: Arc<B::Linear>,
    factors: Option<PackedFactors<B>>,
}

/// Packed factors; the scaling is in B.
struct PackedFactors<B: Backend> {
    a: B::Linear,
    b: B::Linear,
    /// Number of the module that they adapt; fused maps share it, and with it what is dropped.
    module: usize,
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

impl<B: Backend> LinearMap<B> {
    pub fn new(weight: B::Linear) -> LinearMap<B> {
        LinearMap { weight: Arc::new(weight), factors: None }
    }

    /// Attaches factors in place of earlier ones. `[out, input]`: the sizes of the weight; `module`: the
    /// number of the module that they adapt.
    ///
    /// # Errors
    /// Factors of other sizes than the weight's.
    pub fn adapt(
        &mut self,
        backend: &B,
        [out, input]: [usize; 2],
        lora: LoraWeights,
        module: usize,
    ) -> Result<(), BackendError> {
        let LoraWeights { a, mut b, rank, scaling } = lora;
        check(a.len() == rank * input && b.len() == out * rank, || {
            format!("factors of {} and {} values for a map of {out} x {input}", a.len(), b.len())
        })?;
        b.iter_mut().for_each(|b| *b = (scaling * f64::from(*b)) as f32);
        let pack = |weight, out, input| backend.pack(LinearWeights { weight, out, input, bias: None });
        self.factors = Some(PackedFactors { a: pack(a, rank, input)?, b: pack(b, out, rank)?, module });
        Ok(())
    }

    /// The same weight, without factors.
    pub fn share(&self) -> LinearMap<B> {
        LinearMap { weight: Arc::clone(&self.weight), factors: None }
    }

    pub(crate) fn into_weight(self) -> Arc<B::Linear> {
        self.weight
    }

    /// `x (W + scaling B A)^T + bias`, added to `residual` if there is one.
    pub fn forward(
        &self,
        backend: &B,
        x: &B::Tensor,
        residual: Option<&B::Tensor>,
        dropout: Option<RowDropout<'_>>,
    ) -> Result<B::Tensor, BackendError> {
        let out = backend.linear(&self.weight, x, residual)?;
        match &self.factors {
            None => Ok(out),
            Some(PackedFactors { a, b, module }) => {
                let x = dropped(backend, dropout, DropoutSite::Lora(*module), x.clone())?;
                backend.linear(b, &backend.linear(a, &x, None)?, Some(&out))
            }
        }
    }

    /// `x (W + scaling B A)^T + bias` for the operations inside a layer.
    pub(super) fn forward_inside(
        &self,
        backend: &B,
        x: &B::Tensor,
        dropout: Option<RowDropout<'_>>,
    ) -> Result<B::Tensor, BackendError> {
        match self.factors {
            None => backend.linear_inside(&self.weight, x),
            Some(_) => self.forward(backend, x, None, dropout),
        }
    }

    /// The tangent of the outputs along one of the inputs.
    pub fn tangent(&self, backend: &B, dx: &B::Tensor) -> Result<B::Tensor, BackendError> {
        let out = backend.linear_tangent(&self.weight, dx, None)?;
        match &self.factors {
            None => Ok(out),
            Some(PackedFactors { a, b, .. }) => {
                backend.linear_tangent(b, &backend.linear_tangent(a, dx, None)?, Some(out))
            }
        }
    }

    /// What the map's factors multiply where values of `x` are dropped for them; none: `x` itself.
    pub(crate) fn dropped_inputs(
        &self,
        backend: &B,
        x: &B::Tensor,
        dropout: Option<RowDropout<'_>>,
    ) -> Result<Option<B::Tensor>, BackendError> {
        let place = self.factors.as_ref().map(|factors| DropoutSite::Lora(factors.module));
        match place.filter(|place| drops(dropout, *place)) {
            Some(place) => dropped(backend, dropout, place, x.clone()).map(Some),
            None => Ok(None),
        }
    }

    /// The gradient of the inputs for the operations inside a layer.
    pub(super) fn backward_inside(
        &self,
        backend: &B,
        grad: &B::Tensor,
        dropout: Option<RowDropout<'_>>,
    ) -> Result<B::Tensor, BackendError> {
        match self.factors {
            None => backend.linear_backward_inside(&self.weight, grad),
            Some(_) => self.backward(backend, grad, None, dropout),
        }
    }

    /// The gradient of the inputs, added to `acc` if there is one.
    pub fn backward(
        &self,
        backend: &B,
        grad: &B::Tensor,
        acc: Option<B::Tensor>,
        dropout: Option<RowDropout<'_>>,
    ) -> Result<B::Tensor, BackendError> {
        let acc = backend.linear_backward(&self.weight, grad, acc)?;
        let Some(PackedFactors { a, b, module }) = &self.factors else { return Ok(acc) };
        let (inner, place) = (backend.linear_backward(b, grad, None)?, DropoutSite::Lora(*module));
        if !drops(dropout, place) {
            return backend.linear_backward(a, &inner, Some(acc));
        }
        let through = backend.linear_backward(a, &inner, None)?;
        backend.add(acc, &dropped(backend, dropout, place, through)?)
    }
}
