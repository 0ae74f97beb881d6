//! Operands of backend operations: sizes, forms, plans, host weights, and checks of them.

use std::ops::Range;

use crate::oom_backoff::OutOfMemory;

/// A backend could not compute.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BackendError {
    message: String,
    is_memory: bool,
}

impl BackendError {
    /// An operation that cannot be done, or a device that failed.
    pub fn new(message: impl Into<String>) -> BackendError {
        BackendError { message: message.into(), is_memory: false }
    }

    /// A device that has too little memory for all that it was asked to hold at once.
    pub fn out_of_memory(message: impl Into<String>) -> BackendError {
        BackendError { is_memory: true, ..BackendError::new(message) }
    }

    /// The error of a part of something.
    pub fn within(self, whole: impl std::fmt::Display) -> BackendError {
        BackendError { message: format!("{whole}: {}", self.message), ..self }
    }
}

impl OutOfMemory for BackendError {
    fn is_out_of_memory(&self) -> bool {
        self.is_memory
    }
}

/// An error unless `holds`.
pub fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), BackendError> {
    if holds { Ok(()) } else { Err(BackendError::new(what())) }
}

/// An error unless all spans lie in `rows` rows.
pub fn check_spans(spans: &[Range<usize>], rows: usize) -> Result<(), BackendError> {
    match spans.iter().find(|span| span.start > span.end || span.end > rows) {
        Some(span) => Err(BackendError::new(format!("a span has rows {span:?} of {rows}"))),
        None => Ok(()),
    }
}

/// An error unless every row number is below `count`.
pub fn check_rows(rows: &[u32], count: usize) -> Result<(), BackendError> {
    match rows.iter().find(|row| **row as usize >= count) {
        Some(row) => Err(BackendError::new(format!("row {row} of a tensor of {count} rows"))),
        None => Ok(()),
    }
}

/// An error unless scores or logits can be capped at `cap`.
pub(crate) fn check_cap(cap: Option<f32>) -> Result<(), BackendError> {
    check(cap.is_none_or(|cap| cap > 0.0 && cap.is_finite()), || format!("a cap of {cap:?} is not positive"))
}

/// The precision of the factors of linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ComputePrecision {
    /// f32.
    #[default]
    F32,
    /// f32 in memory, rounded to 10 bits of mantissa by the units of a GPU that multiply; summed in f32.
    Tf32,
    /// The sum of two bf16, with 16 bits of mantissa; three products of bf16, all but that of the low parts,
    /// summed in f32.
    Bf16x3,
    /// bf16, summed in f32.
    Bf16,
    /// As bf16, and the weights of a model's layers are bytes in memory, with a scale for each output.
    I8,
}

// Names in the store and on the command line.
gstore_core::named!(ComputePrecision { F32 = "f32", Tf32 = "tf32", Bf16x3 = "bf16x3", Bf16 = "bf16", I8 = "i8" });

impl ComputePrecision {
    /// The precision of products, which is also that of maps that are no weights of layers: the head's, for
    /// one.
    pub(crate) fn product_precision(self) -> ComputePrecision {
        match self {
            ComputePrecision::I8 => ComputePrecision::Bf16,
            _ => self,
        }
    }
}

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

impl AttentionForm {
    /// An error unless there are such heads, and the window and the cap leave something to see.
    pub(crate) fn check(&self) -> Result<(), BackendError> {
        let AttentionForm { heads, window, softcap, .. } = *self;
        check(
            heads.kv > 0 && heads.dim > 0 && heads.query > 0 && heads.query.is_multiple_of(heads.kv),
            || format!("attention with {heads:?}"),
        )?;
        check(window != Some(0), || "attention with a window of no keys".to_owned())?;
        check_cap(softcap)
    }

    /// Keys of its sequence that a query at `position` sees.
    #[inline(always)]
    pub fn visible_keys(&self, position: u32) -> Range<usize> {
        let end = position as usize + 1;
        self.window.map_or(0, |window| end.saturating_sub(window))..end
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

/// Block-diagonal causal attention of a packed batch: the query at position p of a sequence sees its keys 0
/// to p, or the last of them.
#[derive(Debug, Clone, Default)]
pub struct AttentionPlan {
    /// The sequences.
    pub spans: Vec<AttentionSpan>,
    /// Position of each query row in its sequence.
    pub positions: Vec<u32>,
}

/// New rows of one sequence of a cache, and which of them are queries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheSpan {
    /// Number of the sequence in the cache.
    pub slot: usize,
    /// Its new rows among the keys and values; they follow those that the cache has.
    pub keys: Range<usize>,
    /// Its queries: the last of its new rows, as many as this range has.
    pub queries: Range<usize>,
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

impl NormForm {
    /// Groups of a row; an error if the weight's width does not divide it.
    pub fn groups(self, cols: usize, width: usize) -> Result<usize, BackendError> {
        check(width > 0 && cols.is_multiple_of(width), || {
            format!("a norm of width {width} cannot take rows of {cols}")
        })?;
        Ok(cols / width)
    }

    /// Columns of the statistics of a row of `groups` groups.
    pub fn stat_columns(self, groups: usize) -> usize {
        match self.kind {
            NormKind::Rms => groups,
            NormKind::Layer => 2 * groups,
        }
    }
}

/// The weights of a norm, each one row. Rows that are wider than the weight are normed in groups of its
/// width.
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

/// A sparse map of columns, the side of a factored projection. Output columns are sums of scaled input
/// columns.
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

impl ColumnMap {
    /// An error unless the entries lie inside, and inputs of `input` columns can be mapped.
    pub fn check(&self, input: usize) -> Result<(), BackendError> {
        check(input == self.input, || format!("inputs of {input} columns where {} are mapped", self.input))?;
        let inside = |(o, i, _): &(u32, u32, f32)| (*o as usize) < self.out && (*i as usize) < input;
        check(self.out > 0 && self.entries.iter().all(inside), || {
            format!("a column map of {input} to {} columns has an entry outside", self.out)
        })?;
        check(self.constant.is_none_or(|(o, _)| (o as usize) < self.out), || {
            format!("a column map's constant lies outside its {} columns", self.out)
        })
    }
}
