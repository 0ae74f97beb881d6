//! Errors of an ingest.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

mod sorts;
mod words;

use std::path::PathBuf;

use gstore_core::{Cancelled, Remedy, UnknownKind, human_bytes, many};
use gstore_store::{
    AppendError, CommitError, ConcurrentChange, JobError, LookupError, OpenError, ReadError, ShardError,
    WriteError, vfs::NoRoom,
};

use crate::gradient::{EngineError, SelectionError};
use crate::projection::ProjectionError;
use gstore_data::{DataError, EncodeError, Field, FieldError, Place, RecordError, SchemaError};
use gstore_model::weights::{ModelError, MomentsError, TrainerError};

use words::{leave_out_hint, or_smaller, other_keys, skip_bad_hint};

/// Why samples could not be registered, or features not computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    #[error(transparent)]
    UnknownKind(#[from] UnknownKind),
    #[error("no feature was asked for")]
    NoKinds,
    #[error("{kind} was asked for twice; give each feature once")]
    RepeatedKind { kind: &'static str },
    /// Hidden states are pooled over tokens, so they have no vector for each.
    #[error(
        "{kind} has one vector a sample; {} is for gradients and the loss",
        Remedy::Option("per_token", "")
    )]
    EmbeddingPerToken { kind: &'static str },
    #[error(
        "{} for {}; give one weight for each, in the same order",
        many(*weights as u64, "weight"),
        many(*checkpoints as u64, "checkpoint")
    )]
    WeightCount { weights: usize, checkpoints: usize },
    #[error("{weight} is not a weight; weights are finite and not negative")]
    BadWeight { weight: f64 },
    #[error("two checkpoints are called `{name}`; tell them apart with name=folder")]
    CheckpointNamedTwice { name: String },
    #[error("checkpoints `{a}` and `{b}` hold the same weights; leave one out")]
    SameCheckpoint { a: String, b: String },
    #[error("checkpoint `{checkpoint}` has no LoRA adapter, so there is no base that it could diverge from")]
    NoBase { checkpoint: String },
    #[error(
        "checkpoint `{checkpoint}` has the loss {loss} on row {row}: {model}\n  \
         its weights are damaged, or its training diverged: leave it out of the ensemble"
    )]
    Diverged {
        checkpoint: String,
        loss: f32,
        row: u64,
        /// What is said of the model: which of its tables has such values.
        model: String,
    },
    #[error(
        "row {row} (id {id:?}) of dataset `{dataset}`: {what} is {value} at checkpoint `{checkpoint}`: {model}\n  \
         its weights are damaged, or its training diverged: leave it out, or give a checkpoint before it"
    )]
    Unsound {
        dataset: String,
        row: u64,
        id: String,
        checkpoint: String,
        what: &'static str,
        value: f32,
        /// What is said of the model: which of its tables has such values.
        model: String,
    },
    #[error("a column of an ensemble has the losses of one checkpoint, one a sample, and nothing else")]
    NoColumn,
    #[error(
        "checkpoint `{checkpoint}` is the model as it was before training, without optimizer moments; {kind} needs {}, or take grad-sgd",
        Remedy::Option("checkpoints", "")
    )]
    NoMoments { checkpoint: String, kind: &'static str },
    #[error("{source}; {kind} needs the moments that the trainer saved")]
    MissingMoments { kind: &'static str, source: MomentsError },
    #[error(
        "the optimizer of checkpoint `{checkpoint}` kept no first moment, so grad-adam cannot be made; take grad-normalised"
    )]
    NoFirstMoment { checkpoint: String },
    #[error(
        "the optimizer of checkpoint `{checkpoint}` had maximize set, which steps up the gradient: its first moment has the other sign, \
         so grad-adam cannot be made; take grad-normalised"
    )]
    Maximizing { checkpoint: String },
    #[error(
        "residual is what the blocks of an eigenbasis leave out of gradients; the gradients of checkpoint `{checkpoint}` are not projected \
         to one: give {}",
        Remedy::Option("projection", "ekfac")
    )]
    ResidualOfNoBasis { checkpoint: String },
    #[error(
        "checkpoint `{checkpoint}` is not a fine-tune of {model}: {difference}\n  compute it by itself with {}",
        Remedy::Option("model", &folder.display().to_string()),
        model = model.display()
    )]
    OtherModel { checkpoint: String, folder: PathBuf, model: PathBuf, difference: String },
    #[error(
        "checkpoint `{checkpoint}` cannot share the tokenizer of {base}: {source}\n  \
         if it was trained with its own, compute it by itself with {} and no {}; if with the base's, remove \
         the tokenizer's files from its folder: without them the base's are used",
        Remedy::Option("model", &folder.display().to_string()),
        Remedy::Option("checkpoints", ""),
        base = base.display()
    )]
    OtherTokens { checkpoint: String, folder: PathBuf, base: PathBuf, source: EncodeError },
    #[error(
        "checkpoint `{checkpoint}` needs about {} for the largest batches that rows of any length can make, even with \
         one thread and layers computed twice, but {} allows only {}: allow more{}",
        human_bytes(*least),
        Remedy::Option("max_memory", ""),
        human_bytes(*limit),
        or_smaller(smaller)
    )]
    MaxMemory {
        checkpoint: String,
        /// Bytes allowed.
        limit: u64,
        /// Bytes of the least memory-hungry way.
        least: u64,
        /// Options of which a smaller value needs less, alone or together.
        smaller: Vec<&'static [&'static str]>,
    },
    #[error("{}: the model has {layers} layers, so 0 to {layers} can be asked for", Remedy::Option("embed_layer", &layer.to_string()))]
    NoLayer { layer: usize, layers: usize },
    #[error(
        "the model has {positions} positions, {} allows more: give {} or less",
        Remedy::Option("max_length", &max_length.to_string()),
        Remedy::Option("max_length", &positions.to_string())
    )]
    TooLong { max_length: u32, positions: usize },
    #[error(
        "{} cannot be used with the adapter of checkpoint `{checkpoint}`: its factors are what is differentiated",
        Remedy::Option("modules", "")
    )]
    ModulesOfAdapter { checkpoint: String },
    #[error(transparent)]
    Selection(#[from] SelectionError),
    #[error(
        "dataset `{dataset}` has no samples; register some with {} or {}",
        Remedy::Add,
        Remedy::Option("data", "")
    )]
    EmptyDataset { dataset: String },
    #[error("a vector would have more than 2^32 - 1 values")]
    TooWide,
    /// The engine gave no result: a mistake in this program.
    #[error("the engine gave no result for a sample")]
    NoResult,
    #[error("{path} has no samples", path = path.display())]
    NoSamples { path: PathBuf },
    #[error(
        "{path}: its name makes this dataset `{dataset}`, which has {} and none of those here\n  {} appends them; another name makes a separate dataset",
        gstore_core::many(*rows, "sample"),
        Remedy::Option("dataset", dataset),
        path = path.display()
    )]
    OtherData { path: PathBuf, dataset: String, rows: u64 },
    #[error("row {row} was stored without its original record, so it cannot be tokenised")]
    NoRecord { row: u64 },
    /// Sample columns of an unexpected type: a mistake in this program.
    #[error("the sample columns do not have the types that this version writes")]
    SampleColumns,
    #[error("row {row}: {source}")]
    StoredRecord { row: u64, source: RecordError },
    #[error("row {row}: {source}")]
    Encode { row: u64, source: EncodeError },
    #[error(
        "{count} of {looked} samples contain a token that is not the same in a fine-tune's tokenizer and the base's: {places}\n  {source}\n  {}",
        leave_out_hint(.registered.as_deref())
    )]
    TokensOfFineTune {
        count: u64,
        looked: u64,
        /// Where the first of them stand, or their ids.
        places: String,
        /// The dataset, where they are registered already.
        registered: Option<String>,
        source: EncodeError,
    },
    #[error("stopped; nothing was added")]
    Stopped(#[from] Cancelled),
    #[error(transparent)]
    Changed(#[from] ConcurrentChange),
    #[error("{file}, {place}: {source}", file = place.file.display())]
    Record { place: Place, source: RecordError },
    #[error("{file}, {place}: {source}", file = place.file.display())]
    EncodeRecord { place: Place, source: EncodeError },
    #[error("{file}, {place}: {source}", file = place.file.display())]
    Append { place: Place, source: AppendError },
    #[error("{file}, {place}: id {id:?} is on an earlier {} too; ids are unique in a dataset ({} keeps the first of each)",
        place.unit.noun(), Remedy::Option("duplicates", "first"), file = place.file.display())]
    RepeatedId { place: Place, id: String },
    #[error("{}{} cannot be {}:{list}{}", if *enough { "at least " } else { "" }, many(*count, "record"),
        if *of_text { "read" } else { "added" }, skip_bad_hint(*of_text && !enough && !all, *count))]
    BadRecords {
        count: u64,
        /// The first of them with what is wrong, a line each.
        list: String,
        /// Whether none of them can be read.
        of_text: bool,
        /// Whether there are so many that the rest were not read.
        enough: bool,
        /// Whether there are no others.
        all: bool,
    },
    #[error(transparent)]
    Data(#[from] DataError),
    #[error("{}: {source}", Remedy::Option("field", ""))]
    FieldOption { source: FieldError },
    #[error("{path}: no record has a key {key:?}, which was named as the {field}{}", other_keys(key, keys), path = path.display())]
    FieldNever { path: PathBuf, field: Field, key: String, keys: Vec<String> },
    /// Lines that do not fit together.
    #[error("{path}: {source}", path = path.display())]
    Schema { path: PathBuf, source: SchemaError },
    #[error("{}: {source}", Remedy::Option("column", ""))]
    ColumnOption { source: SchemaError },
    #[error(transparent)]
    Name(#[from] gstore_store::NameError),
    /// A file that is not there; the message names it.
    #[error(transparent)]
    File(std::io::Error),
    #[error(transparent)]
    Tokenizer(#[from] EncodeError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Load(#[from] gstore_model::LoadError),
    /// The backend does not compute in the precision that is asked for.
    #[error(transparent)]
    Precision(gstore_model::BackendError),
    #[error(
        "{} changed while it was read, and nothing of it was added\n  run the command again once the file is complete",
        path.display()
    )]
    DataChanged { path: PathBuf },
    #[error("the weights of checkpoint `{checkpoint}` changed while the ingest ran; run the command again")]
    WeightsChanged { checkpoint: String },
    #[error(
        "run `{run}` in the store has {}",
        match same_name {
            true => format!(
                "other weights under the name `{name}`\n  put those back, or use these in a run of another name ({})",
                Remedy::Option("run", "")
            ),
            false => format!(
                "the weights of `{name}` already, as `{stored}`\n  give this run another name with {}, or use the names it has",
                Remedy::Option("run", "")
            ),
        }
    )]
    RunConflict {
        run: String,
        name: String,
        stored: String,
        /// Whether the name is the same and the weights differ, or the other way round.
        same_name: bool,
    },
    #[error(transparent)]
    Moments(#[from] MomentsError),
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Register(#[from] AppendError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error(transparent)]
    Shard(#[from] ShardError),
    /// No space is left for what is computed. The unfinished files are removed.
    #[error(
        "{source}\n  what was unfinished is removed; finished work of {} waits for that command ({give_up})",
        human_bytes(*sealed)
    )]
    Full {
        /// Bytes of the job's sealed files.
        sealed: u64,
        give_up: String,
        source: Box<IngestError>,
    },
    #[error(
        "{0}, or compute fewer features\n  {dry_run} shows what is needed; {force} begins anyway",
        dry_run = Remedy::Option("dry_run", ""),
        force = Remedy::Option("force", "")
    )]
    NoRoom(NoRoom),
    #[error(
        "a part of the rows and a shard cannot be combined: the shards of a job cover all rows of the dataset"
    )]
    LimitedShard,
    #[error("{out} was started on snapshot {snapshot}, which cannot be opened: {source}
  remove the folder to start again on another snapshot; a tagged snapshot stays", out = out.display())]
    ShardSnapshot { out: PathBuf, snapshot: u64, source: OpenError },
}
