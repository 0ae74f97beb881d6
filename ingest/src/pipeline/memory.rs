//! Peak memory of an ingest, predicted from sizes, and what is given up to stay below a limit.
//!
//! Nothing that is given up changes a result: layers are computed twice rather than kept, and fewer workers run.

use gstore_store::CELL_ROWS;

use super::IngestError;
use super::plan::CheckpointPlan;
use super::request::IngestRequest;
use crate::family::{Decoder, Mlp, Role};
use crate::gradient::LossForm;
use crate::model::cpu::Compute;
use crate::model::{HEAD_ROWS, Keep};
use crate::projection::{ProjectionKind, table_bytes};

/// What a checkpoint will need, and how it is computed for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What layers keep for their backward.
    pub keep: Keep,
    /// Workers.
    pub threads: usize,
    /// Bytes of weights, moments and projection matrices, which the workers share.
    pub shared: u64,
    /// Bytes of each worker.
    pub worker: u64,
    /// Bytes of texts and finished vectors on their way.
    pub queue: u64,
}

impl MemoryPlan {
    /// Bytes at the peak.
    pub fn bytes(&self) -> u64 {
        self.shared + self.queue + self.worker * self.threads as u64
    }
}

/// Programs, thread stacks, the tokenizer and what allocators hold back.
const PROCESS: u64 = 48 << 20;

/// Bytes of a sample's text, record and tokens while it waits.
const TEXT: u64 = 8 << 10;

/// Plans a checkpoint within the request's limit.
///
/// # Errors
/// A limit below what the least memory-hungry way needs.
pub fn plan(request: &IngestRequest, checkpoint: &CheckpointPlan) -> Result<MemoryPlan, IngestError> {
    let shared = PROCESS + shared(request, checkpoint);
    let of = |keep, threads: usize| MemoryPlan {
        keep,
        threads,
        shared,
        worker: worker(request, checkpoint, keep),
        queue: queue(checkpoint, threads),
    };
    let wanted = of(Keep::All, request.threads.max(1));
    let Some(limit) = request.max_memory.filter(|limit| wanted.bytes() > *limit) else { return Ok(wanted) };
    let fewer = (1..=request.threads.max(1)).rev().map(|threads| of(Keep::Inputs, threads));
    let least = of(Keep::Inputs, 1).bytes();
    fewer.into_iter().find(|plan| plan.bytes() <= limit).ok_or(IngestError::MaxMemory {
        checkpoint: checkpoint.arg.name.clone(),
        limit,
        least,
    })
}

/// Bytes of weights, moments and matrices.
fn shared(request: &IngestRequest, checkpoint: &CheckpointPlan) -> u64 {
    let decoder = &checkpoint.decoder;
    let value = match request.compute {
        Compute::F32 => 4,
        Compute::Bf16 => 2,
    };
    let mut weights = 0;
    for param in &decoder.params {
        let values = values(&param.shape);
        weights += match &param.role {
            // Panels for the forward pass and for the backward.
            Role::Weight(_) => 2 * value * values,
            Role::Embedding if decoder.tied => (4 + 2 * value) * values,
            _ => 4 * values,
        };
    }
    if request.loss == LossForm::KlToBase {
        weights *= 2;
    }
    let tracked: u64 = checkpoint.tensors.iter().map(|tensor| tensor.numel() as u64).sum();
    let forms = checkpoint.features.iter().filter_map(|feature| feature.kind.form(request.adam));
    let moments = forms.fold([false; 2], |[m, v], form| [m | form.moments()[0], v | form.moments()[1]]);
    let moments = 4 * tracked * moments.iter().filter(|needed| **needed).count() as u64;
    weights + moments + matrices(checkpoint)
}

/// Bytes of the projection's matrices.
fn matrices(checkpoint: &CheckpointPlan) -> u64 {
    if !checkpoint.features.iter().any(|feature| feature.kind.is_gradient()) {
        return 0;
    }
    let modules = checkpoint.modules();
    let tables: u64 = modules.iter().map(|module| table_bytes(&checkpoint.projection, module.shape)).sum();
    match checkpoint.projection.kind {
        ProjectionKind::None => 0,
        kind if kind.is_factored() => tables,
        // Beyond its budget a flat projection draws entries anew for each batch.
        _ => tables.min(crate::projection::TABLE_BUDGET as u64),
    }
}

/// Bytes of one worker: activations of a batch, and the gradients of its rows.
fn worker(request: &IngestRequest, checkpoint: &CheckpointPlan, keep: Keep) -> u64 {
    let decoder = &checkpoint.decoder;
    // A row of more tokens than the batch is a batch of its own.
    let tokens = (request.batch_tokens as u64).max(u64::from(request.max_length).min(4096));
    let gradients = checkpoint.features.iter().any(|feature| feature.kind.is_gradient());
    let layer = kept_per_token(decoder);
    let stream = decoder.hidden_size as u64;
    let layers = decoder.layers as u64;
    let kept = match (gradients, keep) {
        (false, _) => 2 * layer,
        (true, Keep::All) => (layers + 1) * layer,
        (true, Keep::Inputs) => layers * stream + 2 * layer,
    };
    // The backward of a layer holds about as many gradients as it has activations.
    let activations = tokens * (kept + layer + 4 * stream);
    let head = (2 * HEAD_ROWS * decoder.vocab_size) as u64;
    let rows = (checkpoint.limits.rows as u64).min(tokens / 16 + 1);
    let width = checkpoint.held as u64;
    let vectors: u64 = checkpoint.features.iter().map(|feature| u64::from(feature.desc.dim())).sum();
    let gradient = if gradients { rows * (width + 3 * vectors) } else { rows * vectors };
    4 * (activations + head + gradient)
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

/// Bytes of two windows of text and of finished batches that wait for their turn.
fn queue(checkpoint: &CheckpointPlan, threads: usize) -> u64 {
    let vectors: u64 = checkpoint.features.iter().map(|feature| 4 * u64::from(feature.desc.dim())).sum();
    let batches = super::run::ahead(threads);
    2 * CELL_ROWS * TEXT / 4 + batches * 16 * vectors
}

fn values(shape: &[usize]) -> u64 {
    shape.iter().fold(1, |n, d| n.saturating_mul(*d as u64))
}
