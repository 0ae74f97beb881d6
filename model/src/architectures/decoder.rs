//! Decoder descriptions: computation and tensors, the form that every architecture is reduced to.
//!
//! Invariants
//! - the engine knows a model by its [`Decoder`] alone; nothing below it looks at `config.json`
//! - `params` lists the trainable tensors in `named_parameters()` order, a tied head once
//! - every linear map of the engine is one [`WeightSlice`] of exactly one [`Param`], fused or not

use crate::backend::{Activation, Heads, NormForm};

/// The seven linear maps of a decoder layer. An MLP without a gate has no `Gate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinearKind {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Output projection of attention.
    O,
    /// Gate of the MLP.
    Gate,
    /// Up projection of the MLP, its first map where it has no gate.
    Up,
    /// Down projection of the MLP, its last map.
    Down,
}

impl LinearKind {
    /// All kinds, in the order of the forward pass.
    pub const ALL: [LinearKind; 7] = [
        LinearKind::Q,
        LinearKind::K,
        LinearKind::V,
        LinearKind::O,
        LinearKind::Gate,
        LinearKind::Up,
        LinearKind::Down,
    ];
}

/// One linear map as the engine computes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LinearId {
    /// A map of decoder layer `layer`.
    Layer {
        /// Index of the decoder layer.
        layer: usize,
        /// Which of its maps.
        kind: LinearKind,
    },
    /// The language-model head.
    Head,
}

/// The norms of a decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NormPlace {
    /// Of attention's inputs.
    BeforeAttention,
    /// Of the queries of a head, or of all.
    Query,
    /// Of the keys of a head, or of all.
    Key,
    /// Of attention's outputs, before they join the residual stream.
    AfterAttention,
    /// Of the MLP's inputs.
    BeforeMlp,
    /// Of the MLP's outputs, before they join the residual stream.
    AfterMlp,
}

/// One norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NormId {
    /// A norm of decoder layer `layer`.
    Layer {
        /// Index of the decoder layer.
        layer: usize,
        /// Which of its norms.
        place: NormPlace,
    },
    /// The norm before the head.
    Final,
}

/// Rows of a weight `[out, input]`: `count` runs of `run` rows each, the first at `start`, each `stride`
/// rows after the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRuns {
    /// First row.
    pub start: usize,
    /// Rows of a run.
    pub run: usize,
    /// From the start of a run to that of the next.
    pub stride: usize,
    /// Number of runs.
    pub count: usize,
}

impl RowRuns {
    /// `len` rows from `start` on.
    pub fn range(start: usize, len: usize) -> RowRuns {
        RowRuns { start, run: len, stride: len, count: 1 }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.run * self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows, in the order of the piece's outputs.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let RowRuns { start, run, stride, count } = *self;
        (0..count).flat_map(move |i| (0..run).map(move |j| start + i * stride + j))
    }
}

/// The part of a stored weight that is one linear map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeightSlice {
    /// The map.
    pub linear: LinearId,
    /// Its outputs among those of the weight.
    pub rows: RowRuns,
}

/// What a tensor is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TensorRole {
    /// Token embedding `[vocab, hidden]`; a tied head as well.
    Embedding,
    /// Learned positions `[positions, hidden]`.
    Positions,
    /// Weight `[out, input]` of one or more linear maps.
    Weight(Vec<WeightSlice>),
    /// Their bias `[out]`.
    Bias(Vec<WeightSlice>),
    /// Weight of a norm.
    NormWeight(NormId),
    /// Bias of a norm.
    NormBias(NormId),
}

/// A trainable tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Param {
    /// Canonical name: that of the plain causal-LM state dict.
    pub name: String,
    /// Other names under which files have it.
    pub aliases: Vec<String>,
    /// Sizes; those of a linear weight as `[out, input]`.
    pub shape: Vec<usize>,
    /// Files hold the weight as `[input, out]`. Gradients and vectors always have it as `[out, input]`.
    pub transposed: bool,
    /// What it is for.
    pub role: TensorRole,
}

impl Param {
    /// Name of the module: the tensor's name without `.weight` or `.bias`.
    pub fn module(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(module, _)| module)
    }

    /// Whether it is the weight of linear maps of a decoder layer, fused or not.
    pub fn is_map_of_layer(&self) -> bool {
        match &self.role {
            TensorRole::Weight(pieces) => pieces.iter().all(|piece| piece.linear != LinearId::Head),
            _ => false,
        }
    }

    /// Sizes as files hold them.
    pub fn file_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.transposed {
            shape.reverse();
        }
        shape
    }
}

/// How rotary frequencies are stretched for long contexts, with the factor that cosines and sines then have.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Plain rotary embedding.
    Default,
    /// All frequencies divided by the factor.
    Linear {
        /// Divisor.
        factor: f64,
    },
    /// Llama 3: low frequencies divided, high ones kept, a smooth passage between.
    Llama3 {
        /// Divisor of the low frequencies.
        factor: f64,
        /// Wavelengths above `original / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length before stretching.
        original: f64,
    },
    /// Dynamic NTK: a base that grows with the sequence's length beyond `original`.
    Dynamic {
        /// Growth of the base.
        factor: f64,
        /// Positions that the model was made for.
        original: f64,
    },
    /// YaRN: low frequencies divided, high ones kept, a linear passage between.
    Yarn {
        /// Divisor.
        factor: f64,
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// More turns than this within `original`: the frequency is kept.
        beta_fast: f64,
        /// Fewer turns than this: it is divided.
        beta_slow: f64,
        /// Context length before stretching.
        original: f64,
        /// The passage begins and ends at whole numbers of frequencies.
        truncate: bool,
    },
    /// LongRoPE: a divisor for each frequency, by whether the sequence is longer than `original`.
    LongRope {
        /// Factor of cosines and sines.
        attention_factor: f64,
        /// Context length before stretching.
        original: f64,
        /// Divisors for sequences of at most `original` tokens.
        short: Vec<f64>,
        /// Divisors for longer ones.
        long: Vec<f64>,
    },
}

/// How a model knows the order of its tokens.
#[derive(Debug, Clone, PartialEq)]
pub enum PositionEncoding {
    /// Rotations of queries and keys.
    Rotary {
        /// Base of the frequencies.
        theta: f64,
        /// Stretching of the frequencies.
        scaling: RopeScaling,
        /// Coordinates of each head that turn: the frequencies are `theta^(-2i / dims)` for `2i < dims`, so
        /// of an odd number one more turns. These are the leading ones; the rest stays.
        dims: usize,
    },
    /// A vector per position, added to the embedding. Longer samples than `max_positions` cannot be computed.
    Learned,
}

/// How attention and MLP join the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// The MLP sees attention's result.
    Sequential,
    /// Both see the layer's inputs.
    Parallel,
}

/// Whether queries and keys are normed before they turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// They are not.
    None,
    /// Each head alone; the weight has the width of a head.
    Each,
    /// All heads together; the weight has the width of all.
    Whole,
}

/// The MLP's form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// `down(act(gate(x)) * up(x))`
    Gated(Activation),
    /// `down(act(up(x)))`
    Plain(Activation),
}

/// A decoder: sizes, constants, form, tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    /// The architecture's name in `config.json`, e.g. `LlamaForCausalLM`.
    pub architecture: &'static str,
    /// Rows of the embedding and of the head.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// Heads of attention.
    pub heads: Heads,
    /// Positions that the model was made for.
    pub max_positions: usize,
    /// How tokens are ordered.
    pub positions: PositionEncoding,
    /// Row of the embedding whose lookups have no gradient; a head tied to it trains it.
    pub padding_row: Option<u32>,
    /// Factor of the embedding.
    pub embedding_scale: f32,
    /// Form of every norm.
    pub norm: NormForm,
    /// Added to the weight of every norm, those of queries and keys too.
    pub norm_offset: f32,
    /// How a layer's halves are joined.
    pub residual: Residual,
    /// Norms of a layer other than those of heads, in any of the four places.
    pub norms: Vec<NormPlace>,
    /// Norms of queries and keys.
    pub head_norm: QkNorm,
    /// Factor of attention's scores.
    pub attention_scale: f32,
    /// Scores of layer i, counted from 0, are also divided by i + 1.
    pub scale_by_layer: bool,
    /// Scores s become `cap * tanh(s / cap)` after scaling.
    pub attention_softcap: Option<f32>,
    /// For each layer, how many keys up to its own position a query sees; none: all.
    pub windows: Vec<Option<usize>>,
    /// The MLP.
    pub mlp: Mlp,
    /// Logits z become `cap * tanh(z / cap)`.
    pub logit_softcap: Option<f32>,
    /// The head shares the embedding's weight.
    pub tied: bool,
    /// Trainable tensors in `named_parameters()` order.
    pub params: Vec<Param>,
}

impl Decoder {
    /// Output and input width of a linear map.
    pub fn linear_shape(&self, id: LinearId) -> [usize; 2] {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.heads.query * self.heads.dim, self.heads.kv * self.heads.dim);
        match id {
            LinearId::Head => [self.vocab_size, hidden],
            LinearId::Layer { kind, .. } => match kind {
                LinearKind::Q => [q, hidden],
                LinearKind::K | LinearKind::V => [kv, hidden],
                LinearKind::O => [hidden, q],
                LinearKind::Gate | LinearKind::Up => [inner, hidden],
                LinearKind::Down => [hidden, inner],
            },
        }
    }

    /// Factor of attention's scores in a layer.
    pub fn attention_scale_of(&self, layer: usize) -> f32 {
        match self.scale_by_layer {
            true => self.attention_scale / (layer + 1) as f32,
            false => self.attention_scale,
        }
    }

    /// The tensor of a canonical name.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.iter().find(|param| param.name == name)
    }
}
