//! The forward pass: what it computes, and what it keeps for the backward pass.

use super::backend::{AttentionPlan, Backend, BackendError};
use super::layout::Layout;
use super::llama::{Layer, Llama};

/// Which rows of the last layer are computed beyond attention's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastRows {
    /// All: for embeddings.
    All,
    /// Those that predict scored tokens: enough for losses and gradients.
    Scored,
}

/// What one layer keeps. Row counts differ only in the last layer, where queries may be a subset of the rows.
pub(super) struct Saved<B: Backend> {
    /// Inputs of the layer, all rows.
    pub x: B::Tensor,
    /// First norm's scale, all rows.
    pub r1: B::Tensor,
    /// First norm's outputs, all rows.
    pub xn1: B::Tensor,
    /// Keys with positions, all rows.
    pub k: B::Tensor,
    /// Values, all rows.
    pub v: B::Tensor,
    /// The rest, at the query rows.
    pub tail: SavedTail<B>,
}

/// What a layer keeps of its query rows.
pub(super) struct SavedTail<B: Backend> {
    /// First norm's outputs at the query rows.
    pub xn1: B::Tensor,
    /// Queries with positions.
    pub q: B::Tensor,
    /// Attention's outputs.
    pub attention: B::Tensor,
    /// Log-sum-exp of attention's scores.
    pub log_sum: B::Tensor,
    /// Residual stream between attention and MLP.
    pub x2: B::Tensor,
    /// Second norm's scale.
    pub r2: B::Tensor,
    /// Second norm's outputs.
    pub xn2: B::Tensor,
    /// Gate before its activation.
    pub gate: B::Tensor,
    /// Up projection.
    pub up: B::Tensor,
    /// Inputs of the down projection.
    pub product: B::Tensor,
}

impl<B: Backend> SavedTail<B> {
    /// The same at fewer rows.
    pub fn gather(&self, backend: &B, rows: &[u32]) -> Result<SavedTail<B>, BackendError> {
        let at = |x: &B::Tensor| backend.gather(x, rows);
        Ok(SavedTail {
            xn1: at(&self.xn1)?,
            q: at(&self.q)?,
            attention: at(&self.attention)?,
            log_sum: at(&self.log_sum)?,
            x2: at(&self.x2)?,
            r2: at(&self.r2)?,
            xn2: at(&self.xn2)?,
            gate: at(&self.gate)?,
            up: at(&self.up)?,
            product: at(&self.product)?,
        })
    }
}

/// A finished forward pass.
pub struct Forward<B: Backend> {
    /// The rows that went in.
    pub layout: Layout,
    /// Residual stream after the last layer, at `last_rows`.
    pub(super) x: B::Tensor,
    /// Final norm's outputs, at `last_rows`.
    pub hidden: B::Tensor,
    /// Final norm's scale, at `last_rows`.
    pub(super) r: B::Tensor,
    /// Which rows the fields above have.
    pub last_rows: LastRows,
    /// Layers from the lowest that is differentiated, bottom first.
    pub(super) saved: Vec<Saved<B>>,
    /// Index of the first saved layer.
    pub(super) first_saved: usize,
}

/// Rotary angles of some rows.
pub(super) struct Angles<B: Backend> {
    pub cos: B::Tensor,
    pub sin: B::Tensor,
}

impl<B: Backend> Llama<B> {
    pub(super) fn angles(&self, positions: &[u32]) -> Result<Angles<B>, BackendError> {
        let table = self.rope.rows(positions);
        let width = self.config.head_dim / 2;
        Ok(Angles {
            cos: self.backend.tensor(table.cos, positions.len(), width)?,
            sin: self.backend.tensor(table.sin, positions.len(), width)?,
        })
    }

    /// Runs the model over a packed batch of at least one row. Layers from `keep_from` on keep what their backward needs.
    pub fn forward(
        &self,
        layout: Layout,
        last_rows: LastRows,
        keep_from: Option<usize>,
    ) -> Result<Forward<B>, BackendError> {
        let b = &self.backend;
        let eps = self.config.rms_norm_eps;
        let plan = layout.full_plan();
        let angles = self.angles(&layout.positions)?;
        let first_saved = keep_from.unwrap_or(usize::MAX);
        let mut saved = Vec::new();
        let mut x = b.gather(&self.embedding, &layout.ids)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let narrow = index + 1 == self.layers.len() && last_rows == LastRows::Scored;
            let (xn1, r1) = b.rms_norm(&x, &layer.norm1, eps)?;
            let k = b.rope(b.linear(&layer.k, &xn1, None)?, &angles.cos, &angles.sin, false)?;
            let v = b.linear(&layer.v, &xn1, None)?;
            let (out, tail) = if narrow {
                let rows = &layout.scored_rows;
                let plan = layout.scored_plan();
                let angles = self.angles(&plan.positions)?;
                let (x, xn1) = (b.gather(&x, rows)?, b.gather(&xn1, rows)?);
                self.tail(layer, &x, xn1, &k, &v, &angles, &plan)?
            } else {
                self.tail(layer, &x, xn1.clone(), &k, &v, &angles, &plan)?
            };
            if index >= first_saved {
                saved.push(Saved { x, r1, xn1, k, v, tail });
            }
            x = out;
        }
        let (hidden, r) = b.rms_norm(&x, &self.norm, eps)?;
        Ok(Forward { layout, x, hidden, r, last_rows, saved, first_saved })
    }

    /// The part of a layer that runs at the query rows: queries, attention, output projection and MLP.
    #[allow(clippy::too_many_arguments)]
    fn tail(
        &self,
        layer: &Layer<B>,
        x: &B::Tensor,
        xn1: B::Tensor,
        k: &B::Tensor,
        v: &B::Tensor,
        angles: &Angles<B>,
        plan: &AttentionPlan,
    ) -> Result<(B::Tensor, SavedTail<B>), BackendError> {
        let b = &self.backend;
        let q = b.rope(b.linear(&layer.q, &xn1, None)?, &angles.cos, &angles.sin, false)?;
        let (attention, log_sum) = b.attention(&q, k, v, self.heads(), plan)?;
        let x2 = b.linear(&layer.o, &attention, Some(x))?;
        let (xn2, r2) = b.rms_norm(&x2, &layer.norm2, self.config.rms_norm_eps)?;
        let gate = b.linear(&layer.gate, &xn2, None)?;
        let up = b.linear(&layer.up, &xn2, None)?;
        let product = b.swiglu(&gate, &up)?;
        let out = b.linear(&layer.down, &product, Some(&x2))?;
        Ok((out, SavedTail { xn1, q, attention, log_sum, x2, r2, xn2, gate, up, product }))
    }

    /// Logits of rows of final hidden states, row-major on the host; for tests and short prompts.
    pub fn logits(&self, hidden: &B::Tensor) -> Result<Vec<f32>, BackendError> {
        self.backend.to_host(&self.backend.linear(&self.head, hidden, None)?)
    }
}
