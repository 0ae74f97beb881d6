//! The narrow boundary between the decoder and what computes it.
//!
//! The decoder family is written once against these fused operations; a backend decides where tensors live and how each operation runs.
//!
//! Invariants of every backend
//! - tensors are f32 matrices, row-major in meaning: one row per position of a packed batch
//! - an operation's result depends on its arguments only, not on threads or on earlier calls
//! - operations that take a tensor by value may reuse its memory; the caller passes the only handle

use std::ops::Range;

/// A backend could not compute: out of memory, a device error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BackendError(pub String);

/// Weight of a linear layer, row-major `[out, input]`, and its bias.
#[derive(Debug, Clone)]
pub struct LinearWeights {
    /// Row-major values.
    pub weight: Vec<f32>,
    /// Output width.
    pub out: usize,
    /// Input width.
    pub input: usize,
    /// One value per output.
    pub bias: Option<Vec<f32>>,
}

/// Head counts and width of an attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; divides `query`.
    pub kv: usize,
    /// Width of a head.
    pub dim: usize,
}

impl Heads {
    /// Query heads that share a key head.
    pub fn group(self) -> usize {
        self.query / self.kv
    }
}

/// One sequence of a packed batch as attention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionSpan {
    /// Its rows among the keys and values; position 0 first, without gaps.
    pub keys: Range<usize>,
    /// Its rows among the queries, in ascending position.
    pub queries: Range<usize>,
}

/// Block-diagonal causal attention of a packed batch: the query at position p of a sequence sees its keys 0 to p.
#[derive(Debug, Clone, Default)]
pub struct AttentionPlan {
    /// The sequences.
    pub spans: Vec<AttentionSpan>,
    /// Position of each query row in its sequence.
    pub positions: Vec<u32>,
}

/// The LoRA factors of one linear layer and where its gradient goes.
pub struct LoraPart<'a, T> {
    /// Gradient of the layer's outputs, `[rows, out]`.
    pub grad: &'a T,
    /// Factor A, `[rank, input]`.
    pub a: &'a T,
    /// Factor B, `[out, rank]`.
    pub b: &'a T,
    /// The update is `scaling * B A`.
    pub scaling: f32,
    /// Where the gradient of A starts in a sample's vector.
    pub a_offset: usize,
    /// Where the gradient of B starts in a sample's vector.
    pub b_offset: usize,
}

/// One vector per sample, on the host.
pub struct SampleRows<'a> {
    /// All vectors, one after the other.
    pub values: &'a mut [f32],
    /// Length of one.
    pub width: usize,
}

impl SampleRows<'_> {
    /// The part of sample `sample`'s vector that starts at `offset`.
    pub fn part(&mut self, sample: usize, offset: usize, len: usize) -> &mut [f32] {
        let start = sample * self.width + offset;
        &mut self.values[start..start + len]
    }
}

/// Receives the factors of the head's weight gradient: rows of the chunk, its inputs, and the gradient of its logits.
pub type HeadTap<'a, T> = &'a mut dyn FnMut(Range<usize>, &T, &T) -> Result<(), BackendError>;

/// What the head computes.
pub struct HeadOutput<T> {
    /// Cross-entropy of each row.
    pub losses: Vec<f32>,
    /// Gradient of the head's inputs, if asked for.
    pub grad: Option<T>,
}

/// Fused operations of a decoder, forward and backward.
pub trait Backend: Send + Sync + 'static {
    /// An f32 matrix. Cloning shares it.
    type Tensor: Clone + Send + Sync;
    /// A linear layer in the form that is fastest to multiply with.
    type Linear: Send + Sync;

    /// Makes a tensor of row-major values.
    fn tensor(&self, values: Vec<f32>, rows: usize, cols: usize) -> Result<Self::Tensor, BackendError>;
    /// Copies a tensor to the host, row-major.
    fn to_host(&self, x: &Self::Tensor) -> Result<Vec<f32>, BackendError>;
    /// Prepares a linear layer.
    fn pack(&self, weights: LinearWeights) -> Result<Self::Linear, BackendError>;

    /// Rows `rows` of `x`, in that order.
    fn gather(&self, x: &Self::Tensor, rows: &[u32]) -> Result<Self::Tensor, BackendError>;
    /// `acc` with row `i` of `x` added to its row `rows[i]`; `rows` are distinct.
    fn scatter_add(
        &self,
        acc: Self::Tensor,
        rows: &[u32],
        x: &Self::Tensor,
    ) -> Result<Self::Tensor, BackendError>;

    /// `x W^T + bias`, added to `residual` if there is one.
    fn linear(
        &self,
        layer: &Self::Linear,
        x: &Self::Tensor,
        residual: Option<&Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError>;
    /// `grad W`, the gradient of the inputs, added to `acc` if there is one.
    fn linear_backward(
        &self,
        layer: &Self::Linear,
        grad: &Self::Tensor,
        acc: Option<Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError>;

    /// `x * r * weight` with `r = 1 / sqrt(mean(x^2) + eps)` per row; returns it and `r` as one column.
    fn rms_norm(
        &self,
        x: &Self::Tensor,
        weight: &Self::Tensor,
        eps: f32,
    ) -> Result<(Self::Tensor, Self::Tensor), BackendError>;
    /// Gradient of the norm's inputs, added to `acc` if there is one.
    fn rms_norm_backward(
        &self,
        grad: &Self::Tensor,
        x: &Self::Tensor,
        r: &Self::Tensor,
        weight: &Self::Tensor,
        acc: Option<Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError>;

    /// Rotates coordinate pairs `(i, i + dim/2)` of every head by the row's angles; `inverse` turns back, which is also the backward.
    /// `cos` and `sin` have `dim / 2` columns.
    fn rope(
        &self,
        x: Self::Tensor,
        cos: &Self::Tensor,
        sin: &Self::Tensor,
        inverse: bool,
    ) -> Result<Self::Tensor, BackendError>;

    /// Packed causal attention with scale `1 / sqrt(dim)`; returns the outputs and the log-sum-exp of the scores, one column per query head.
    fn attention(
        &self,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        heads: Heads,
        plan: &AttentionPlan,
    ) -> Result<(Self::Tensor, Self::Tensor), BackendError>;
    /// Gradients of q, k and v. The probabilities are computed again, so memory stays linear in the rows.
    #[allow(clippy::too_many_arguments)]
    fn attention_backward(
        &self,
        grad: &Self::Tensor,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        out: &Self::Tensor,
        log_sum: &Self::Tensor,
        heads: Heads,
        plan: &AttentionPlan,
    ) -> Result<[Self::Tensor; 3], BackendError>;

    /// `silu(gate) * up`.
    fn swiglu(&self, gate: &Self::Tensor, up: &Self::Tensor) -> Result<Self::Tensor, BackendError>;
    /// Gradients of gate and up.
    fn swiglu_backward(
        &self,
        grad: &Self::Tensor,
        gate: &Self::Tensor,
        up: &Self::Tensor,
    ) -> Result<[Self::Tensor; 2], BackendError>;

    /// Logits of the rows of `x`, cross-entropy against `targets`, and, if `weights` are given, the gradient of the weighted sum of the
    /// rows' losses. Works in chunks of rows: logits of the whole batch never exist.
    fn head(
        &self,
        layer: &Self::Linear,
        x: &Self::Tensor,
        targets: &[u32],
        weights: Option<&[f32]>,
        tap: Option<HeadTap<'_, Self::Tensor>>,
    ) -> Result<HeadOutput<Self::Tensor>, BackendError>;

    /// Mean of the rows of each span, one vector after the other on the host; zeros for an empty span.
    fn span_means(&self, x: &Self::Tensor, spans: &[Range<usize>]) -> Result<Vec<f32>, BackendError>;

    /// Writes the gradients of LoRA factors of layers that share the inputs `x`: for sample i, with rows t of `spans[i]`,
    /// `dA = scaling * sum_t (B^T e_t) x_t^T` and `dB = scaling * sum_t e_t (A x_t)^T`.
    fn lora_grads(
        &self,
        x: &Self::Tensor,
        parts: &[LoraPart<'_, Self::Tensor>],
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
    ) -> Result<(), BackendError>;
    /// Adds the weight gradient `sum_t e_t x_t^T` of each span to the sample's vector at `offset`, row-major `[out, input]`.
    fn weight_grads(
        &self,
        x: &Self::Tensor,
        grad: &Self::Tensor,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: usize,
    ) -> Result<(), BackendError>;
}
