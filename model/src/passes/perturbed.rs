//! Starting point of a perturbed objective, which compares a model's logits with those there.

use super::forward::Forward;
use super::model::Model;
use crate::backend::{Backend, BackendError, check};

/// Where a perturbed objective starts from, for one batch.
///
/// Logits of the starting point come from its hidden states a chunk of rows at a time, by its own head:
/// those of a batch never exist.
pub struct StartingPoint<'a, B: Backend> {
    /// The model there.
    pub model: &'a Model<B>,
    /// Its final norm's outputs at the scored rows of the batch, in their order.
    pub hidden: &'a B::Tensor,
    /// Factors `[change, linear]` of each scored row: its loss is
    /// `change * (L(z) - L(z0)) - linear * <z - z0, dL(z0) / dz0>`.
    pub factors: &'a [[f32; 2]],
}

impl<B: Backend> StartingPoint<'_, B> {
    /// An error unless it is of the rows of the batch.
    pub(super) fn check(&self, forward: &Forward<B>) -> Result<(), BackendError> {
        let (due, width) = (forward.layout.scored_rows.len(), self.model.decoder.hidden_size);
        let (found, factors) = (self.model.backend.size(self.hidden), self.factors.len());
        check(found == (due, width) && factors == due, || {
            format!("hidden states of {found:?} and {factors} factors where {due} rows of {width} are due")
        })
    }

    /// Logits of some of the rows, as the softmax takes them.
    pub(super) fn logits(&self, rows: &[u32]) -> Result<B::Tensor, BackendError> {
        let (model, hidden) = (self.model, self.model.backend.gather(self.hidden, rows)?);
        match model.decoder.logit_softcap {
            None => model.backend.linear(&model.head, &hidden, None),
            Some(_) => model.backend.tensor(model.logits(&hidden)?, rows.len(), model.decoder.vocab_size),
        }
    }
}
