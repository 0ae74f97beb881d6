//! The narrow boundary between the decoder and what computes it.
//!
//! The decoder is written once against these fused operations; a backend decides where tensors live and how each operation runs.
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

/// How an attention turns scores into weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionForm {
    /// Heads.
    pub heads: Heads,
    /// Factor of the scores.
    pub scale: f32,
    /// Scaled scores s become `cap * tanh(s / cap)`.
    pub softcap: Option<f32>,
    /// How many keys up to its own position a query sees; none: all.
    pub window: Option<usize>,
}

/// One sequence of a packed batch as attention sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionSpan {
    /// Its rows among the keys and values; position 0 first, without gaps.
    pub keys: Range<usize>,
    /// Its rows among the queries, in ascending position.
    pub queries: Range<usize>,
}

/// Block-diagonal causal attention of a packed batch: the query at position p of a sequence sees its keys 0 to p, or the last of them.
#[derive(Debug, Clone, Default)]
pub struct AttentionPlan {
    /// The sequences.
    pub spans: Vec<AttentionSpan>,
    /// Position of each query row in its sequence.
    pub positions: Vec<u32>,
}

/// What a norm subtracts and divides by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps)`
    Rms,
    /// `(x - mean(x)) / sqrt(var(x) + eps)`
    Layer,
}

/// A norm without its weights.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormForm {
    /// What is subtracted and divided by.
    pub kind: NormKind,
    /// Added inside the root.
    pub eps: f32,
}

/// The weights of a norm, each one row. Rows that are wider than the weight are normed in groups of its width.
#[derive(Debug, Clone)]
pub struct NormWeights<T> {
    /// Factor of each coordinate.
    pub weight: T,
    /// Added to each coordinate.
    pub bias: Option<T>,
}

/// Elementwise functions of MLPs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`
    Silu,
    /// `x * Phi(x)` with the normal distribution function.
    Gelu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`
    GeluTanh,
    /// `max(x, 0)`
    Relu,
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

/// A sparse map of columns, the side of a factored projection. Output columns are sums of scaled input columns.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnMap {
    /// Width of the inputs.
    pub input: usize,
    /// Width of the outputs.
    pub out: usize,
    /// Output column, input column and factor of each entry; ascending by input column.
    pub entries: Vec<(u32, u32, f32)>,
    /// Added to every output row, if given: what a constant input of one maps to.
    pub constant: Option<(u32, f32)>,
}

/// The form of a head's losses.
#[derive(Debug, Clone, Copy)]
pub enum Objective<'a, T> {
    /// Cross-entropy against `(1 - smoothing) * onehot(target) + smoothing / vocab`.
    CrossEntropy {
        /// Share of the uniform distribution; 0 for none.
        smoothing: f32,
    },
    /// `KL(p || q)` of the model's distribution p from that of another model's head inputs, with the same head.
    Kl {
        /// The other model's head inputs, `[rows, hidden]`.
        reference: &'a T,
    },
}

/// What the head is asked for.
pub struct HeadTask<'a, T> {
    /// The scored tokens, one per row.
    pub targets: &'a [u32],
    /// Weight of each row's loss in the sum that is differentiated; none: no gradient.
    pub weights: Option<&'a [f32]>,
    /// Logits z become `cap * tanh(z / cap)`.
    pub softcap: Option<f32>,
    /// What a loss is.
    pub objective: Objective<'a, T>,
}

/// Receives the factors of the head's weight gradient: rows of the chunk, its inputs, and the gradient of its logits.
pub type HeadTap<'a, T> = &'a mut dyn FnMut(Range<usize>, &T, &T) -> Result<(), BackendError>;

/// Rows of a chunk of the head. A call with no more rows is one chunk, and its tap is called once.
pub const HEAD_ROWS: usize = 128;

/// What the head computes.
pub struct HeadOutput<T> {
    /// Loss of each row.
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
    /// Rows and columns.
    fn size(&self, x: &Self::Tensor) -> (usize, usize);
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
    /// `acc + x`.
    fn add(&self, acc: Self::Tensor, x: &Self::Tensor) -> Result<Self::Tensor, BackendError>;

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

    /// Norms each row, or each group of a row, and multiplies by the weight. Returns the result and one column `r = 1 / root` per group;
    /// of a layer norm as many columns with the means follow.
    fn norm(
        &self,
        x: &Self::Tensor,
        weights: &NormWeights<Self::Tensor>,
        form: NormForm,
    ) -> Result<(Self::Tensor, Self::Tensor), BackendError>;
    /// Gradient of the norm's inputs `x`, added to `acc` if there is one. `stats` is what [`Backend::norm`] returned beside its result.
    fn norm_backward(
        &self,
        grad: &Self::Tensor,
        x: &Self::Tensor,
        stats: &Self::Tensor,
        weights: &NormWeights<Self::Tensor>,
        form: NormForm,
        acc: Option<Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError>;
    /// Adds the gradient of a norm's weight (of width `width`) to each sample's vector at `offset`, and that of its bias at `bias_offset`.
    #[allow(clippy::too_many_arguments)]
    fn norm_grads(
        &self,
        grad: &Self::Tensor,
        x: &Self::Tensor,
        stats: &Self::Tensor,
        width: usize,
        form: NormForm,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: Option<usize>,
        bias_offset: Option<usize>,
    ) -> Result<(), BackendError>;

    /// Rotates coordinate pairs `(i, i + half)` of the first `2 * half` coordinates of every head of width `head_dim` by the row's angles;
    /// `inverse` turns back, which is also the backward. `cos` and `sin` have `half` columns.
    fn rope(
        &self,
        x: Self::Tensor,
        cos: &Self::Tensor,
        sin: &Self::Tensor,
        head_dim: usize,
        inverse: bool,
    ) -> Result<Self::Tensor, BackendError>;

    /// Packed causal attention; returns the outputs and the log-sum-exp of the (capped) scores, one column per query head.
    fn attention(
        &self,
        q: &Self::Tensor,
        k: &Self::Tensor,
        v: &Self::Tensor,
        form: AttentionForm,
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
        form: AttentionForm,
        plan: &AttentionPlan,
    ) -> Result<[Self::Tensor; 3], BackendError>;

    /// `act(gate) * up`.
    fn gated(
        &self,
        act: Activation,
        gate: &Self::Tensor,
        up: &Self::Tensor,
    ) -> Result<Self::Tensor, BackendError>;
    /// Gradients of gate and up.
    fn gated_backward(
        &self,
        act: Activation,
        grad: &Self::Tensor,
        gate: &Self::Tensor,
        up: &Self::Tensor,
    ) -> Result<[Self::Tensor; 2], BackendError>;
    /// `act(x)`.
    fn activate(&self, act: Activation, x: &Self::Tensor) -> Result<Self::Tensor, BackendError>;
    /// Gradient of `x`; may reuse `grad`.
    fn activate_backward(
        &self,
        act: Activation,
        grad: Self::Tensor,
        x: &Self::Tensor,
    ) -> Result<Self::Tensor, BackendError>;

    /// Logits of the rows of `x`, their losses, and, if weights are given, the gradient of the weighted sum of the losses. Works in
    /// chunks of [`HEAD_ROWS`] rows: logits of the whole batch never exist.
    fn head(
        &self,
        layer: &Self::Linear,
        x: &Self::Tensor,
        task: &HeadTask<'_, Self::Tensor>,
        tap: Option<HeadTap<'_, Self::Tensor>>,
    ) -> Result<HeadOutput<Self::Tensor>, BackendError>;

    /// For each span the sum of its rows times `weights` (one per row of `x`), one vector after the other on the host.
    fn span_sums(
        &self,
        x: &Self::Tensor,
        weights: &[f32],
        spans: &[Range<usize>],
    ) -> Result<Vec<f32>, BackendError>;

    /// Adds the gradients of LoRA factors of layers that share the inputs `x`: for sample i, with rows t of `spans[i]`,
    /// `dA += scaling * sum_t (B^T e_t) x_t^T` and `dB += scaling * sum_t e_t (A x_t)^T`.
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
    /// Adds `scale` times each row of `grad` to row `ids[t]` of a table of that width, which starts at `offset` of the sample's vector.
    fn table_grads(
        &self,
        ids: &[u32],
        grad: &Self::Tensor,
        scale: f32,
        spans: &[Range<usize>],
        out: &mut SampleRows<'_>,
        offset: usize,
    ) -> Result<(), BackendError>;
    /// `x M^T`: the columns of `x` mapped by a sparse matrix.
    fn map_columns(&self, x: &Self::Tensor, map: &ColumnMap) -> Result<Self::Tensor, BackendError>;
}
