//! Peak memory of an ingest, predicted from sizes, and the reductions that keep it below a limit.
//!
//! Nothing that is given up changes a result: layers are computed twice rather than kept,
//! and fewer workers run.

use gstore_core::Kind;
use gstore_store::{BLOCK_BYTES, CELL_ROWS, DType, Granularity, SIGNS};

use super::IngestError;
use super::lengths::VectorLengths;
use super::request::IngestRequest;
use super::window::{BatchLimits, GRADIENT_BYTES};
use crate::gradient::LossForm;
use crate::projection::{ModuleShape, ProjectionKind, ProjectionSpec, table_bytes};
use gstore_model::SavedActivations;
use gstore_model::architectures::{Decoder, Mlp};

/// Batches that may be in front of the one that is written next, worked on or finished, where a finished one
/// takes so many bytes at most: so many that threads hardly wait for a slow batch or for the disk. Results
/// that are as large as the gradients they come from are no more than a batch may have of these, or one for
/// each thread.
fn batches_ahead(threads: usize, finished: u64) -> usize {
    let fit = GRADIENT_BYTES as u64 / finished.max(1);
    usize::try_from(fit).unwrap_or(usize::MAX).clamp(2 * threads, 4 * threads + 4)
}

/// What a checkpoint will need, and how it is computed for that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// What layers keep for their backward.
    pub keep: SavedActivations,
    /// Workers.
    pub threads: usize,
    /// Batches that may be in front of the one that is written next.
    pub ahead: usize,
    /// Bytes of weights, of which each device has its own, and of moments and projection matrices.
    pub shared: u64,
    /// Bytes of texts and tokens that wait for a worker.
    pub waiting: u64,
    /// Bytes of each worker.
    pub worker: WorkerBytes,
    /// Results of a batch, until they are written.
    pub finished: FinishedBytes,
    /// Bytes that the file of each feature takes for a vector.
    pub stored: Vec<u64>,
    /// The largest batch and segment that there can be.
    pub largest: BatchExtent,
}

/// What is held of a finished batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedBytes {
    /// For each of its rows.
    pub row: u64,
    /// For each of its tokens.
    pub token: u64,
}

impl FinishedBytes {
    fn of(self, extent: BatchExtent) -> u64 {
        extent.rows * self.row + extent.tokens * self.token
    }
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

/// What of the rows decides the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchExtent {
    /// Rows of a batch: samples, or tokens where each has a pass of its own.
    pub rows: u64,
    /// Tokens of all rows of a batch.
    pub tokens: u64,
    /// Vectors that one sample has of a feature.
    pub sample_vectors: u64,
    /// Vectors that a segment of a feature has.
    pub segment_vectors: u64,
}

impl BatchExtent {
    fn min(self, other: Self) -> Self {
        Self {
            rows: self.rows.min(other.rows),
            tokens: self.tokens.min(other.tokens),
            sample_vectors: self.sample_vectors.min(other.sample_vectors),
            segment_vectors: self.segment_vectors.min(other.segment_vectors),
        }
    }
}

impl MemoryPlan {
    /// Bytes at the peak, whatever the rows are: what `--max-memory` is held against.
    pub fn bytes(&self) -> u64 {
        self.bytes_of(self.largest)
    }

    /// Bytes at the peak if no batch and no segment is larger than this.
    pub(super) fn bytes_of(&self, extent: BatchExtent) -> u64 {
        let extent = extent.min(self.largest);
        let BatchExtent { rows, tokens, .. } = extent;
        // While a worker is at work on a batch, it has more than it gives, and one less is finished.
        let finished = (self.ahead - self.threads) as u64 * self.finished.of(extent);
        let WorkerBytes { fixed, token, row } = self.worker;
        let workers = (fixed + token * tokens + row * rows) * self.threads as u64;
        self.shared + self.waiting + finished + workers + self.writers(extent)
    }

    /// Bytes of the open segments, one for each feature: the block that is being filled, and its copy while
    /// it is written. A block is full at its limit, unless the vectors of one sample are more.
    fn writers(&self, extent: BatchExtent) -> u64 {
        let block = |vector: &u64| {
            let sample = extent.sample_vectors.saturating_mul(*vector);
            let segment = extent.segment_vectors.saturating_mul(*vector);
            segment.min(sample.max(BLOCK_BYTES as u64))
        };
        2 * self.stored.iter().map(block).sum::<u64>()
    }
}

#[derive(Clone, Copy)]
pub(super) struct MemorySizes<'a> {
    /// Name of the checkpoint.
    pub checkpoint: &'a str,
    pub decoder: &'a Decoder,
    /// Values of the differentiated tensors.
    pub tracked: u64,
    /// Their modules.
    pub modules: &'a [ModuleShape],
    pub projection: &'a ProjectionSpec,
    pub lengths: VectorLengths,
    /// Values of a row's gradient that are held at the same time.
    pub held: usize,
}

/// The program, thread stacks, the tokenizer and what allocators hold back.
const PROCESS: u64 = 48 << 20;

/// Bytes of a sample's record and text while its window is read.
const TEXT: u64 = 2 << 10;

/// Bytes of a tokenised sample without its tokens.
const ENCODED: u64 = 128;

/// Bytes of the results of a row or token, without its vectors.
const COMPUTED: u64 = 256;

/// Plans a checkpoint within the request's limit.
///
/// # Errors
/// A limit below what the least memory-hungry way needs.
pub(super) fn plan(request: &IngestRequest, sizes: &MemorySizes<'_>) -> Result<MemoryPlan, IngestError> {
    let (least, most) = (request.devices(), request.threads.max(request.devices()));
    let wanted = sizes.plan(request, SavedActivations::All, most);
    let Some(limit) = request.max_memory.filter(|limit| wanted.bytes() > *limit) else { return Ok(wanted) };
    let mut fewer =
        (least..=most).rev().map(|threads| sizes.plan(request, SavedActivations::Inputs, threads));
    fewer.find(|plan| plan.bytes() <= limit).ok_or_else(|| IngestError::MaxMemory {
        checkpoint: sizes.checkpoint.to_owned(),
        limit,
        least: sizes.least(request).bytes(),
        smaller: sizes.smaller(request),
    })
}

impl MemorySizes<'_> {
    pub fn limits(&self, request: &IngestRequest) -> BatchLimits {
        // Each form is summed in double precision, then rounded.
        let made = request.forms().len().saturating_mul(self.lengths.gradient as usize).saturating_mul(3);
        BatchLimits::new(request.batch_tokens, self.held.saturating_add(made))
    }

    fn plan(&self, request: &IngestRequest, keep: SavedActivations, threads: usize) -> MemoryPlan {
        let (finished, largest) = (self.finished(request), self.largest(request));
        MemoryPlan {
            keep,
            threads,
            ahead: batches_ahead(threads, finished.of(largest)),
            shared: PROCESS + self.shared(request),
            worker: self.worker(request, keep),
            // One window: the next is read when all batches of this one are on their way. A token
            // takes its id and its flag.
            waiting: CELL_ROWS * (TEXT + ENCODED + 5 * u64::from(request.text.max_length).min(512)),
            finished,
            stored: self.stored(request),
            largest,
        }
    }

    /// The least memory-hungry way.
    fn least(&self, request: &IngestRequest) -> MemoryPlan {
        self.plan(request, SavedActivations::Inputs, request.devices())
    }

    /// Values of a kind's vector.
    fn dim(&self, kind: Kind) -> u64 {
        u64::from(self.lengths.of(kind))
    }

    /// Values of all vectors of a row.
    fn vectors(&self, request: &IngestRequest) -> u64 {
        request.kinds.iter().map(|kind| self.dim(*kind)).sum()
    }

    /// Bytes of what is computed of a batch. The losses of a sample's tokens come from one pass together.
    fn finished(&self, request: &IngestRequest) -> FinishedBytes {
        let bytes = COMPUTED + 4 * self.vectors(request);
        match (request.granularity, request.pass()) {
            (Granularity::Token, Granularity::Sample) => FinishedBytes { row: 0, token: bytes },
            _ => FinishedBytes { row: bytes, token: 0 },
        }
    }

    /// Bytes of each feature's vector in its file: values, a scale and a norm of each group; row,
    /// position, flags and check.
    fn stored(&self, request: &IngestRequest) -> Vec<u64> {
        let bytes = |kind: &Kind| {
            let dtype = request.dtype_of(*kind);
            let groups = if kind.takes_gradient() { u64::from(self.lengths.groups).max(1) } else { 1 };
            // Each group of signs begins with a word.
            let unused = if dtype == DType::I1 { (SIGNS as u64 - 1) * (groups - 1) } else { 0 };
            let items = dtype.items((self.dim(*kind) + unused) as usize);
            (items * dtype.item_bytes()) as u64 + 8 * groups + 21
        };
        request.kinds.iter().map(bytes).collect()
    }

    /// Bytes of the weights of all devices, moments and matrices.
    fn shared(&self, request: &IngestRequest) -> u64 {
        let mut weights = self.decoder.weight_bytes(request.device, request.compute);
        if request.loss == LossForm::KlToBase {
            weights *= 2;
        }
        weights *= request.devices() as u64;
        let forms = request.forms();
        let moments =
            forms.iter().fold([false; 2], |[m, v], form| [m | form.moments()[0], v | form.moments()[1]]);
        let moments = 4 * self.tracked * moments.iter().filter(|needed| **needed).count() as u64;
        weights + moments + self.matrices(request)
    }

    /// Bytes of the projection's matrices.
    fn matrices(&self, request: &IngestRequest) -> u64 {
        if !request.kinds.iter().any(|kind| kind.takes_gradient()) {
            return 0;
        }
        let tables: u64 = self.modules.iter().map(|module| table_bytes(self.projection, module)).sum();
        match self.projection.kind {
            ProjectionKind::None => 0,
            // As drawn, and as the backend holds them.
            kind if kind.is_factored() => 2 * tables,
            // Beyond its budget a flat projection draws entries again for each batch.
            _ => tables.min(crate::projection::TABLE_BUDGET as u64),
        }
    }

    /// A row of more tokens than a batch is one of its own. Rows are cut at the maximum length alone: those
    /// beyond what the model was made for are computed whole, and a maximum beyond a table of positions is
    /// refused. A segment is of one cell.
    fn largest(&self, request: &IngestRequest) -> BatchExtent {
        let longest = u64::from(request.text.max_length);
        let sample_vectors = match request.granularity {
            Granularity::Token => longest,
            Granularity::Sample => 1,
        };
        let samples = request.limit.map_or(CELL_ROWS, |limit| limit.min(CELL_ROWS));
        BatchExtent {
            rows: self.limits(request).rows as u64,
            tokens: (request.batch_tokens as u64).max(longest),
            sample_vectors,
            segment_vectors: samples * sample_vectors,
        }
    }

    /// Options of which half takes notably less: by a tenth of what there is besides weights and matrices,
    /// which most options leave as they are. Those that help only together come together.
    fn smaller(&self, request: &IngestRequest) -> Vec<&'static [&'static str]> {
        let now = self.least(request);
        let notable = (now.bytes() - now.shared) / 10;
        let is_less = |request: &IngestRequest, sizes: &MemorySizes<'_>| {
            sizes.least(request).bytes() + notable <= now.bytes()
        };
        let half = |batch: bool, length: bool| {
            let mut less = request.clone();
            less.batch_tokens /= 1 + usize::from(batch);
            less.text.max_length /= 1 + u32::from(length);
            is_less(&less, self)
        };
        let (batch, length) = (half(true, false), half(false, true));
        let kind = self.projection.kind;
        let dim = self.projection.dim / 2;
        let projection = ProjectionSpec { kind: kind.for_module_dim(dim), dim, ..self.projection.clone() };
        // What is formed of gradients stays, and so do the sides of an eigenbasis: it takes even less.
        let lengths = VectorLengths { gradient: self.lengths.gradient / 2, ..self.lengths };
        let of_half = MemorySizes { projection: &projection, lengths, ..*self };
        let vectors = kind != ProjectionKind::None && is_less(request, &of_half);
        let options: [(&'static [&'static str], bool); 5] = [
            (&["batch_tokens"], batch),
            (&["max_length"], length),
            (&["batch_tokens", "max_length"], !batch && !length && half(true, true)),
            (&["module_dim"], vectors && kind.is_factored()),
            (&["dim"], vectors && !kind.is_factored()),
        ];
        options.into_iter().filter(|(_, is_less)| *is_less).map(|(names, _)| names).collect()
    }

    /// Bytes of one worker: activations of a batch, and the gradients of its rows.
    fn worker(&self, request: &IngestRequest, keep: SavedActivations) -> WorkerBytes {
        let decoder = self.decoder;
        let gradients = request.kinds.iter().any(|kind| kind.takes_gradient());
        let of_value = request.device.bytes_per_activation(request.compute);
        let (layer, inside) = (kept_per_token(decoder), decoder.values_inside_layer(&[]));
        let kept = of_value * (layer - inside) + request.device.bytes_inside_layer(request.compute) * inside;
        // The backward of a layer may read its values in f32.
        let layer = of_value * layer;
        let stream = of_value * decoder.hidden_size as u64;
        let layers = decoder.layers as u64;
        // The backward of a layer holds about as many gradients as it has activations.
        let activations = match (gradients, keep) {
            (false, _) => 3 * kept,
            (true, SavedActivations::All) => layers * kept + 2 * layer,
            (true, SavedActivations::Inputs) => layers * stream + 3 * layer,
        };
        let logits = request.device.logits_bytes(decoder.vocab_size);
        // Sums of projections are in double precision, in addition to the rounded result.
        let held = request.device.gradient_copies() * self.held as u64;
        let gradient = if gradients { held + 3 * self.vectors(request) } else { 0 };
        let [formed, pieces] = self.residual(request);
        // Buffers that are kept for reuse are not always of the size that is wanted next.
        let taken = |bytes: u64| bytes * 5 / 4;
        WorkerBytes {
            fixed: taken(logits + 4 * formed),
            token: taken(activations + 4 * stream + of_value * pieces),
            row: taken(4 * gradient),
        }
    }

    /// Values that are held to measure whole gradients that are projected from factors: the largest of one
    /// sample and module, and for each token the factors of the head.
    fn residual(&self, request: &IngestRequest) -> [u64; 2] {
        if !request.kinds.contains(&Kind::Residual) {
            return [0; 2];
        }
        let formed = self.modules.iter().map(|module| module.shape.numel()).max().unwrap_or(0);
        let (hidden, vocab) = (self.decoder.hidden_size, self.decoder.vocab_size);
        let is_head = |module: &ModuleShape| module.shape.matrix().0 == vocab;
        let head = if self.modules.iter().any(is_head) { 2 * (hidden + vocab) } else { 0 };
        [formed, head as u64]
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use gstore_model::{ComputePrecision, Device};

    #[test]
    fn fewer_batches_wait_where_each_is_large() {
        assert_eq!([1, 4].map(|threads| batches_ahead(threads, 1000)), [8, 20]);
        let tenth = GRADIENT_BYTES as u64 / 10;
        assert_eq!([1, 4, 8].map(|threads| batches_ahead(threads, tenth)), [8, 10, 16]);
        assert_eq!([1, 4].map(|threads| batches_ahead(threads, u64::MAX)), [2, 8]);
        let largest = BatchExtent { rows: 10, tokens: 100, sample_vectors: 1, segment_vectors: 10 };
        let plan = |threads, ahead| MemoryPlan {
            keep: SavedActivations::All,
            threads,
            ahead,
            shared: 1,
            waiting: 2,
            worker: WorkerBytes { fixed: 1000, token: 10, row: 500 },
            finished: FinishedBytes { row: 200, token: 0 },
            stored: Vec::new(),
            largest,
        };
        // Workers have their batches in addition to those that are finished.
        assert_eq!([plan(1, 3), plan(2, 4)].map(|plan| plan.bytes()), [3 + 7000 + 4000, 3 + 14_000 + 4000]);
        let half = BatchExtent { rows: 5, ..largest };
        assert_eq!(plan(1, 3).bytes_of(half), 3 + 4500 + 2000);
    }

    /// A model of 64 positions.
    fn decoder() -> Decoder {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/fixtures/small_llama.json");
        Decoder::read(Path::new(path)).unwrap()
    }

    fn sizes<'a>(decoder: &'a Decoder, projection: &'a ProjectionSpec) -> MemorySizes<'a> {
        MemorySizes {
            checkpoint: "base",
            decoder,
            tracked: 0,
            modules: &[],
            projection,
            lengths: VectorLengths { hidden: 16, gradient: 10, groups: 0 },
            held: 100,
        }
    }

    #[test]
    fn rows_are_as_long_as_they_may_be_whatever_the_model_was_made_for() {
        let (decoder, projection) = (decoder(), ProjectionSpec::default());
        let sizes = sizes(&decoder, &projection);
        let mut request = IngestRequest::new("pool", "model");
        (request.batch_tokens, request.text.max_length) = (512, 300);
        // Of 8 tokens at least.
        let largest =
            BatchExtent { rows: 512 / 8, tokens: 512, sample_vectors: 1, segment_vectors: CELL_ROWS };
        assert_eq!(sizes.largest(&request), largest);
        (request.text.max_length, request.granularity) = (2048, Granularity::Token);
        let of_tokens =
            BatchExtent { tokens: 2048, sample_vectors: 2048, segment_vectors: 2048 * CELL_ROWS, ..largest };
        assert_eq!(sizes.largest(&request), of_tokens);
    }

    #[test]
    fn a_limit_that_is_too_low_is_refused_with_what_takes_less() {
        let decoder = decoder();
        let long = VectorLengths { hidden: 16, gradient: 100_000, groups: 0 };
        let refused = |kind: Kind, granularity, projection: &ProjectionSpec, [batch, longest]: [usize; 2]| {
            let sizes = MemorySizes { lengths: long, ..sizes(&decoder, projection) };
            let mut request = IngestRequest::new("pool", "model");
            (request.kinds, request.granularity, request.max_memory) = (vec![kind], granularity, Some(1));
            (request.batch_tokens, request.text.max_length) = (batch, longest as u32);
            plan(&request, &sizes).expect_err("too low").to_string()
        };
        let none = ProjectionSpec::none();
        let flat = ProjectionSpec::default();
        let factored = ProjectionSpec::sized(ProjectionKind::FactSjlt { k_out: 0, k_in: 0 }, 64);
        let (loss, gradient) = (Kind::Loss, Kind::GradSgd);
        let (sample, token) = (Granularity::Sample, Granularity::Token);
        for (said, due) in [
            // Short rows: as many as a batch has tokens for.
            (refused(loss, sample, &flat, [8192, 32]), "or give a smaller batch_tokens"),
            // A batch is of one long row at most, whatever the tokens of a batch of short ones.
            (refused(loss, sample, &factored, [512, 2048]), "or give a smaller max_length"),
            // Either alone leaves the other.
            (
                refused(loss, sample, &flat, [8192, 8192]),
                "or give a smaller batch_tokens together with max_length",
            ),
            // Vectors of each row, as long as they were asked for.
            (refused(gradient, sample, &flat, [64, 32]), "or give a smaller batch_tokens or dim"),
            (refused(gradient, sample, &factored, [64, 32]), "or give a smaller batch_tokens or module_dim"),
            (refused(gradient, sample, &none, [64, 32]), "or give a smaller batch_tokens"),
            // The file's block holds all vectors of a sample.
            (refused(gradient, token, &flat, [64, 512]), "or give a smaller max_length or dim"),
            // Little but the window of texts.
            (refused(loss, sample, &flat, [8, 8]), "max_memory allows only 1 B: allow more"),
        ] {
            assert!(said.contains("rows of any length") && said.ends_with(due), "{said}");
        }
    }

    #[test]
    fn a_gpu_takes_more_for_logits_and_gradients_and_for_what_it_rounds() {
        let (decoder, projection) = (decoder(), ProjectionSpec::default());
        let sizes = sizes(&decoder, &projection);
        let worker = |device: Device, compute: ComputePrecision| {
            let mut request = IngestRequest::new("pool", "model");
            (request.kinds, request.device, request.compute) = (vec![Kind::GradSgd], device, compute);
            sizes.worker(&request, SavedActivations::All)
        };
        let host = WorkerBytes { fixed: 5 * 2 * 128 * 37, token: 5 * 1056, row: 5 * (100 + 30) };
        for compute in [ComputePrecision::F32, ComputePrecision::Bf16] {
            assert_eq!(worker(Device::Cpu, compute), host);
        }
        let single = WorkerBytes { fixed: 5 * 2 * 4096 * 37, token: 5 * 1056, row: 5 * (200 + 30) };
        for compute in [ComputePrecision::F32, ComputePrecision::Tf32] {
            assert_eq!(worker(Device::Cuda(0), compute), single);
        }
        // The outputs of gates, of `up` and of activations are bf16 alone in both layers that are kept.
        let rounded = WorkerBytes { token: (6 * 1056 - 4 * 2 * 3 * 24) * 5 / 4, ..single };
        for compute in [ComputePrecision::Bf16, ComputePrecision::I8] {
            assert_eq!(worker(Device::Cuda(0), compute), rounded);
        }
    }
}
