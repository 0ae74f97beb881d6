//! Peak memory of an ingest, predicted from sizes, and what is given up to stay below a limit.
//!
//! Nothing that is given up changes a result: layers are computed twice rather than kept, and fewer workers run.

use gstore_store::CELL_ROWS;

use super::IngestError;
use super::request::{IngestRequest, Kind};
use super::window::BatchLimits;
use crate::family::{Decoder, Mlp, Role};
use crate::gradient::LossForm;
use crate::model::cpu::Cpu;
use crate::model::{HEAD_ROWS, Keep};
use crate::projection::{ModuleShape, ProjectionKind, ProjectionSpec, table_bytes};

/// What a checkpoint will need, and how it is computed for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What layers keep for their backward.
    pub keep: Keep,
    /// Workers.
    pub threads: usize,
    /// Bytes of weights, moments and projection matrices, which the workers share.
    pub shared: u64,
    /// Bytes of texts and tokens that wait for a worker.
    pub waiting: u64,
    /// Bytes of each worker.
    pub worker: WorkerBytes,
    /// Bytes of the vectors of one row.
    pub vectors: u64,
    /// The largest batch that there can be.
    pub largest: BatchSize,
}

/// What a worker holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerBytes {
    /// Whatever the batch.
    pub fixed: u64,
    /// For each token of its batch.
    pub token: u64,
    /// For each row of its batch.
    pub row: u64,
}

/// Size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSize {
    /// Rows.
    pub rows: u64,
    /// Tokens of all rows.
    pub tokens: u64,
}

impl MemoryPlan {
    /// Bytes at the peak, whatever the rows are: what `--max-memory` is held against.
    pub fn bytes(&self) -> u64 {
        self.bytes_of(self.largest)
    }

    /// Bytes at the peak if no batch is larger than this.
    pub fn bytes_of(&self, batch: BatchSize) -> u64 {
        let rows = batch.rows.min(self.largest.rows);
        let tokens = batch.tokens.min(self.largest.tokens);
        let finished = super::run::ahead(self.threads) * rows * self.vectors;
        let WorkerBytes { fixed, token, row } = self.worker;
        self.shared + self.waiting + finished + (fixed + token * tokens + row * rows) * self.threads as u64
    }
}

/// What decides the memory of a checkpoint.
pub struct Sizes<'a> {
    /// Name of the checkpoint.
    pub checkpoint: &'a str,
    /// The model.
    pub decoder: &'a Decoder,
    /// Values of the differentiated tensors.
    pub tracked: u64,
    /// Their modules.
    pub modules: &'a [ModuleShape],
    /// Projection of the gradients.
    pub projection: &'a ProjectionSpec,
    /// Length of a projected gradient.
    pub gradient_dim: u64,
    /// Values of a row's gradient that are held at the same time.
    pub held: usize,
    /// Where a batch ends.
    pub limits: BatchLimits,
}

/// The program, thread stacks, the tokenizer and what allocators hold back.
const PROCESS: u64 = 48 << 20;

/// Bytes of a sample's record and text while its window is read.
const TEXT: u64 = 2 << 10;

/// Bytes of a tokenised sample beside its tokens.
const ENCODED: u64 = 128;

/// Plans a checkpoint within the request's limit.
///
/// # Errors
/// A limit below what the least memory-hungry way needs.
pub fn plan(request: &IngestRequest, sizes: &Sizes<'_>) -> Result<MemoryPlan, IngestError> {
    let of = |keep, threads: usize| MemoryPlan {
        keep,
        threads,
        shared: PROCESS + sizes.shared(request),
        worker: sizes.worker(request, keep),
        // One window: the next is read when all batches of this one are on their way. A token takes its id and its flag.
        waiting: CELL_ROWS * (TEXT + ENCODED + 5 * u64::from(request.max_length).min(512)),
        vectors: 4 * sizes.vectors(request),
        largest: sizes.largest(request),
    };
    let wanted = of(Keep::All, request.threads.max(1));
    let Some(limit) = request.max_memory.filter(|limit| wanted.bytes() > *limit) else { return Ok(wanted) };
    let mut fewer = (1..=request.threads.max(1)).rev().map(|threads| of(Keep::Inputs, threads));
    fewer.find(|plan| plan.bytes() <= limit).ok_or_else(|| IngestError::MaxMemory {
        checkpoint: sizes.checkpoint.to_owned(),
        limit,
        least: of(Keep::Inputs, 1).bytes(),
    })
}

impl Sizes<'_> {
    /// Values of all vectors of a row.
    fn vectors(&self, request: &IngestRequest) -> u64 {
        let dim = |kind: &Kind| match kind {
            Kind::Loss => 1,
            Kind::EmbedMean | Kind::EmbedLast | Kind::EmbedWeighted => self.decoder.hidden_size as u64,
            Kind::GradSgd | Kind::GradAdam | Kind::GradSign | Kind::GradNormalised => self.gradient_dim,
        };
        request.kinds.iter().map(dim).sum()
    }

    /// Bytes of weights, moments and matrices.
    fn shared(&self, request: &IngestRequest) -> u64 {
        let packed = Cpu::new(request.compute).bytes_per_weight();
        let mut weights = 0;
        for param in &self.decoder.params {
            let values = values(&param.shape);
            weights += match &param.role {
                // Panels for the forward pass and for the backward.
                Role::Weight(_) => 2 * packed * values,
                Role::Embedding if self.decoder.tied => (4 + 2 * packed) * values,
                _ => 4 * values,
            };
        }
        if request.loss == LossForm::KlToBase {
            weights *= 2;
        }
        let forms = request.kinds.iter().filter_map(|kind| kind.form(request.adam));
        let moments = forms.fold([false; 2], |[m, v], form| [m | form.moments()[0], v | form.moments()[1]]);
        let moments = 4 * self.tracked * moments.iter().filter(|needed| **needed).count() as u64;
        weights + moments + self.matrices(request)
    }

    /// Bytes of the projection's matrices.
    fn matrices(&self, request: &IngestRequest) -> u64 {
        if !request.kinds.iter().any(|kind| kind.is_gradient()) {
            return 0;
        }
        let tables: u64 = self.modules.iter().map(|module| table_bytes(self.projection, module.shape)).sum();
        match self.projection.kind {
            ProjectionKind::None => 0,
            // As drawn, and as the backend holds them.
            kind if kind.is_factored() => 2 * tables,
            // Beyond its budget a flat projection draws entries anew for each batch.
            _ => tables.min(crate::projection::TABLE_BUDGET as u64),
        }
    }

    /// The largest batch: a row of more tokens than a batch is one of its own; few are longer than what the model was made for.
    fn largest(&self, request: &IngestRequest) -> BatchSize {
        let longest = u64::from(request.max_length).min(self.decoder.max_positions as u64);
        BatchSize { rows: self.limits.rows as u64, tokens: (request.batch_tokens as u64).max(longest) }
    }

    /// Bytes of one worker: activations of a batch, and the gradients of its rows.
    fn worker(&self, request: &IngestRequest, keep: Keep) -> WorkerBytes {
        let decoder = self.decoder;
        let gradients = request.kinds.iter().any(|kind| kind.is_gradient());
        let layer = kept_per_token(decoder);
        let stream = decoder.hidden_size as u64;
        let layers = decoder.layers as u64;
        let kept = match (gradients, keep) {
            (false, _) => 2 * layer,
            (true, Keep::All) => (layers + 1) * layer,
            (true, Keep::Inputs) => layers * stream + 2 * layer,
        };
        // The backward of a layer holds about as many gradients as it has activations.
        let activations = kept + layer + 4 * stream;
        let head = (2 * HEAD_ROWS * decoder.vocab_size) as u64;
        // Sums of projections are in double precision, beside the rounded result.
        let gradient = if gradients { self.held as u64 + 3 * self.vectors(request) } else { 0 };
        // Values of four bytes; buffers that are kept for reuse are not always of the size that is wanted next.
        let bytes = |values: u64| 4 * values * 5 / 4;
        WorkerBytes { fixed: bytes(head), token: bytes(activations), row: bytes(gradient) }
    }
}

/// Values that a layer keeps of a token.
fn kept_per_token(decoder: &Decoder) -> u64 {
    let (hidden, inner) = (decoder.hidden_size as u64, decoder.intermediate_size as u64);
    let heads = decoder.heads;
    let (query, key) = ((heads.query * heads.dim) as u64, (heads.kv * heads.dim) as u64);
    let norms = 2 + decoder.norms.len() as u64;
    let mlp = match decoder.mlp {
        Mlp::Gated(_) => 3 * inner,
        Mlp::Plain(_) => 2 * inner,
    };
    norms * hidden + 3 * query + 3 * key + mlp + heads.query as u64
}

fn values(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |n, d| n.saturating_mul(*d as u64))
}
