//! The backend trait: the narrow boundary between the decoder and the device that computes it.
//!
//! The decoder is written once against these fused operations; a backend decides where tensors live and how
//! each operation runs.
//!
//! Invariants of every backend
//! - tensors are matrices, row-major in meaning: one row per position of a packed batch. They are in f32, but for those
//!   inside a layer ([`Backend::linear_inside`])
//! - an operation's result depends on its arguments only, not on threads or on earlier calls
//! - operations that take a tensor by value may reuse its memory; the caller passes the only handle

mod attention;
mod cached;
mod dropout;
mod energy;
mod forms;
mod head;
mod parts;

use std::ops::Range;
use std::slice;

pub use attention::Attention;
pub use cached::CachedAttention;
pub use dropout::AttentionDropout;
pub(crate) use dropout::{drop_values, mixed};
pub(crate) use head::LOGIT_BYTES;
pub use head::{HEAD_ROWS, HeadOutput, HeadTap, HeadTask, LOGITS_BUDGET, Objective, head_rows};
pub use parts::{LoraOperands, NormFactors};
pub(crate) use parts::{RowVisitor, steps};

pub(crate) use forms::check_cap;
pub use forms::{
    Activation, AttentionForm, AttentionPlan, AttentionSpan, BackendError, CacheSpan, ColumnMap,
    ComputePrecision, Heads, LinearWeights, NormForm, NormKind, NormWeights, check, check_rows, check_spans,
};

/// Writes out operations of a [`Backend`] that are methods of its type, which have names of their own.
#[macro_export]
macro_rules! operations {
    ($($operation:ident = $method:ident($($arg:ident: $ty:ty),+) -> $out:ty;)+) => {
        $(fn $operation(&self, $($arg: $ty),+) -> ::std::result::Result<$out, $crate::BackendError> {
            self.$method($($arg),+)
        })+
    };
}

/// Fused operations of a decoder, forward and backward.
pub trait Backend: Send + Sync + 'static {
    /// A matrix. Cloning shares it.
    type Tensor: Clone + Send + Sync;
    /// A linear layer in the form that is fastest to multiply with.
    type Linear: Send + Sync;
    /// One vector for each sample of a batch, all of one width, where gradients are added up.
    type Rows: Send;
    /// Keys and values of one layer for sequences that grow; none at first.
    type Cache: Default + Send;

    /// Whether it computes on the calling thread, in memory of the host. Else its memory is scarcer: none is
    /// kept beyond a step, and one thread at a time brings weights.
    fn on_host(&self) -> bool;

    /// Makes a tensor of row-major values.
    fn tensor(&self, values: Vec<f32>, rows: usize, cols: usize) -> Result<Self::Tensor, BackendError>;
    /// Copies a tensor to the host, row-major.
    fn to_host(&self, x: &Self::Tensor) -> Result<Vec<f32>, BackendError>;
    /// Rows and columns.
    fn size(&self, x: &Self::Tensor) -> (usize, usize);
    /// Prepares a linear layer.
    fn pack(&self, weights: LinearWeights) -> Result<Self::Linear, BackendError>;
    /// Prepares a map of a model's layer, which a backend may hold more coarsely than others
    /// ([`ComputePrecision::I8`]).
    fn pack_of_layer(&self, weights: LinearWeights) -> Result<Self::Linear, BackendError> {
        self.pack(weights)
    }
    /// Prepares a layer with another weight, row-major and of the same sizes, and another bias; in its memory
    /// where that is possible.
    fn repack(
        &self,
        layer: &mut Self::Linear,
        weight: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<(), BackendError>;

    /// Vectors of `width` zeros, one for each of `samples`, in the memory of `old` ones where that is
    /// possible.
    fn rows(&self, samples: usize, width: usize, old: Option<Self::Rows>)
    -> Result<Self::Rows, BackendError>;
    /// The vectors on the host, one after the other; a copy where they are not there.
    fn host_rows<'a>(&self, rows: &'a mut Self::Rows) -> Result<&'a mut [f32], BackendError>;

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
    /// As [`Backend::linear`] without a residual, for outputs that only attention, rotary positions, activations and
    /// products read: they, and what activations make of them, may be as precise as factors of products.
    fn linear_inside(&self, layer: &Self::Linear, x: &Self::Tensor) -> Result<Self::Tensor, BackendError> {
        self.linear(layer, x, None)
    }
    /// As [`Backend::linear_backward`], for a gradient that only attention, activations and products read.
    fn linear_backward_inside(
        &self,
        layer: &Self::Linear,
        grad: &Self::Tensor,
    ) -> Result<Self::Tensor, BackendError> {
        self.linear_backward(layer, grad, None)
    }

    /// `x W^T` without the bias, the tangent of the outputs along one of the inputs, added to `acc` if there
    /// is one.
    fn linear_tangent(
        &self,
        layer: &Self::Linear,
        x: &Self::Tensor,
        acc: Option<Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError>;

    /// Norms each row, or each group of a row, and multiplies by the weight. Returns the result and one
    /// column `r = 1 / root` per group; of a layer norm as many columns with the means follow.
    fn norm(
        &self,
        x: &Self::Tensor,
        weights: &NormWeights<Self::Tensor>,
        form: NormForm,
    ) -> Result<(Self::Tensor, Self::Tensor), BackendError>;
    /// Gradient of the norm's inputs, added to `acc` if there is one.
    fn norm_backward(
        &self,
        factors: &NormFactors<'_, Self::Tensor>,
        weights: &NormWeights<Self::Tensor>,
        acc: Option<Self::Tensor>,
    ) -> Result<Self::Tensor, BackendError>;
    /// Adds the gradient of a norm's weight (of width `width`) to each sample's vector at the first of
    /// `offsets`, and that of its bias at the second.
    fn norm_grads(
        &self,
        factors: &NormFactors<'_, Self::Tensor>,
        width: usize,
        spans: &[Range<usize>],
        out: &mut Self::Rows,
        offsets: [Option<usize>; 2],
    ) -> Result<(), BackendError>;

    /// Rotates coordinate pairs `(i, i + half)` of the first `2 * half` coordinates of every head of width
    /// `head_dim` by the row's angles; `inverse` turns back, which is also the backward. `cos` and `sin` have
    /// `half` columns.
    fn rope(
        &self,
        x: Self::Tensor,
        cos: &Self::Tensor,
        sin: &Self::Tensor,
        head_dim: usize,
        inverse: bool,
    ) -> Result<Self::Tensor, BackendError>;

    /// Packed causal attention; returns the outputs and the log-sum-exp of the (capped) scores, one column
    /// per query head.
    fn attention(
        &self,
        of: &Attention<'_, Self::Tensor>,
    ) -> Result<(Self::Tensor, Self::Tensor), BackendError>;
    /// Adds the new keys and values of each span to its sequence, and returns for the queries what
    /// [`Backend::attention`] gives over all keys and values that the sequence then has.
    fn attention_cached(
        &self,
        of: &CachedAttention<'_, Self::Tensor>,
        cache: &mut Self::Cache,
    ) -> Result<(Self::Tensor, Self::Tensor), BackendError>;
    /// Forgets a sequence, whose slot may then begin another.
    fn forget(&self, cache: &mut Self::Cache, slot: usize);
    /// Gradients of q, k and v from that of the outputs and from what [`Backend::attention`] returned. The
    /// probabilities are computed again, so memory stays linear in the rows.
    fn attention_backward(
        &self,
        of: &Attention<'_, Self::Tensor>,
        grad: &Self::Tensor,
        out: &Self::Tensor,
        log_sum: &Self::Tensor,
    ) -> Result<[Self::Tensor; 3], BackendError>;
    /// Tangent of the outputs along tangents of q, k and v, from the log-sum-exp that [`Backend::attention`]
    /// returned. Nothing may be dropped of the weights.
    fn attention_tangent(
        &self,
        of: &Attention<'_, Self::Tensor>,
        tangents: [&Self::Tensor; 3],
        log_sum: &Self::Tensor,
    ) -> Result<Self::Tensor, BackendError>;

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

    /// Logits of the rows of `x`, their losses, and, if weights are given, the gradient of the weighted sum
    /// of the losses. Works in chunks of [`HEAD_ROWS`] rows, or of more, whose number depends on the
    /// vocabulary alone: logits of a large batch never exist at once.
    fn head(
        &self,
        layer: &Self::Linear,
        x: &Self::Tensor,
        task: &HeadTask<'_, Self::Tensor>,
        tap: Option<HeadTap<'_, Self::Tensor>>,
    ) -> Result<HeadOutput<Self::Tensor>, BackendError>;

    /// For each span the sum of its rows times `weights` (one per row of `x`), one vector after the other on
    /// the host.
    fn span_sums(
        &self,
        x: &Self::Tensor,
        weights: &[f32],
        spans: &[Range<usize>],
    ) -> Result<Vec<f32>, BackendError>;

    /// Adds the gradients of LoRA factors of layers that share the inputs `x`: for sample i, with rows t of
    /// `spans[i]`, `dA += scaling * sum_t (B^T e_t) x_t^T` and `dB += scaling * sum_t e_t (A x_t)^T`.
    fn lora_grads(
        &self,
        x: &Self::Tensor,
        parts: &[LoraOperands<'_, Self::Tensor>],
        spans: &[Range<usize>],
        out: &mut Self::Rows,
    ) -> Result<(), BackendError>;
    /// Adds the weight gradient `sum_t e_t x_t^T` of each span to the sample's vector at `offset`, row-major
    /// `[out, input]`.
    fn weight_grads(
        &self,
        x: &Self::Tensor,
        grad: &Self::Tensor,
        spans: &[Range<usize>],
        out: &mut Self::Rows,
        offset: usize,
    ) -> Result<(), BackendError>;
    /// Adds the weight gradient of all rows together to the first vector at `offset`, as
    /// [`Backend::weight_grads`] of one span; factors are rounded where those of linear layers are.
    fn summed_weight_grads(
        &self,
        x: &Self::Tensor,
        grad: &Self::Tensor,
        out: &mut Self::Rows,
        offset: usize,
    ) -> Result<(), BackendError> {
        self.weight_grads(x, grad, slice::from_ref(&(0..self.size(x).0)), out, offset)
    }
    /// For each span the squared length of its weight gradient `sum_t e_t x_t^T`, in f64.
    fn weight_energies(
        &self,
        x: &Self::Tensor,
        grad: &Self::Tensor,
        spans: &[Range<usize>],
    ) -> Result<Vec<f64>, BackendError> {
        energy::span_energies(self, x, grad, spans)
    }
    /// Hands `sum_t x_t x_t^T` over each `step` rows to `each`, some rows of a sum at a time: which, the first
    /// of their columns, which is on the diagonal or before it, and their values from there on, row-major. The
    /// rows of a sum, and the sums of the same rows, come in order. Each value has the bits of
    /// [`Backend::weight_grads`] of these rows of `x` with themselves. Of no rows nothing is handed.
    fn grams(&self, x: &Self::Tensor, step: usize, each: RowVisitor<'_>) -> Result<(), BackendError> {
        let (rows, width) = self.size(x);
        for span in steps(rows, step) {
            let mut sums = self.rows(1, width * width, None)?;
            self.weight_grads(x, x, slice::from_ref(&span), &mut sums, 0)?;
            each(0..width, 0, self.host_rows(&mut sums)?);
        }
        Ok(())
    }
    /// Adds `scale` times each row of `grad` to row `ids[t]` of a table of that width, which starts at
    /// `offset` of the sample's vector.
    fn table_grads(
        &self,
        ids: &[u32],
        grad: &Self::Tensor,
        scale: f32,
        spans: &[Range<usize>],
        out: &mut Self::Rows,
        offset: usize,
    ) -> Result<(), BackendError>;
    /// `x M^T`: the columns of `x` mapped by a sparse matrix.
    fn map_columns(&self, x: &Self::Tensor, map: &ColumnMap) -> Result<Self::Tensor, BackendError>;
}

/// A backend of which there may be several, on devices with numbers.
pub trait MultiDevice: Backend + Clone {
    /// The same on the device of another number.
    ///
    /// # Errors
    /// A device that is not there.
    fn beside(&self, number: usize) -> Result<Self, BackendError>;
}
