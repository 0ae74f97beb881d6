//! Training-data attribution over a store of features: the front door for programs.
//!
//! - [`Store`] and [`Snapshot`]: a store, and a state of it that stays as it is
//! - [`add`], [`ingest`], [`query`]: the jobs of the commands of the same names; [`JobContext`] says how a
//!   job is done and what stops it
//! - [`select()`]: the rows that influence a target most, as their original lines; [`ask()`]: those that
//!   influence the loss of samples that are given with the question, or whose losses covary with a target's
//! - [`generate()`], [`check_answers`], [`add_answers`]: answers of a model to prompts, and a dataset of
//!   them; [`perplexity_table`]: how likely a model finds texts
//! - [`Prepared`]: rankings without SQL
//! - [`VectorPut`]: vectors and losses that were computed elsewhere
//! - [`daunce`]: losses under each model of an ensemble, computed here or elsewhere; rankings by their
//!   covariance, reports of them, and what is wrong with an ensemble
//! - [`factors`]: factors of curvature, scores of rows that are preconditioned with them, and their files
//! - [`fit_prefilter`], [`publish_prefilter`], [`apply_prefilter`], [`evaluate_prefilter`],
//!   [`list_prefilters`]: models that predict from cheap features which rows deserve gradients
//! - [`prepare_cascade`], [`Cascade`]: features stage by stage for the rows that are left, and few gradients
//! - [`fit_gram`], [`mix_grams`]: Gram matrices of stored rows, which precondition
//!   questions, and mixtures of them
//! - [`find_rows`]: rows by their ids or by a condition, for [`Store::delete`]
//! - [`picture`]: pictures of scores, rankings and trainings, as files and for a terminal
//! - [`Folders`]: models and checkpoints, by path, pattern or name on the Hugging Face Hub
//! - [`Models`]: loaded models for samples that are given with a question
//! - [`indexes`]: sketches that follow the vectors
//!
//! [`Cancel`] stops a job from another thread, [`Progress`] reports it.
//!
//! ```
//! use gstore::{AppendOptions, DatasetName, JobContext, NewSample, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("store");
//! let store = Store::create(&path)?;
//! let mut samples = store.append(&DatasetName::try_from("pool")?, Vec::new(), AppendOptions::default())?;
//! samples.push(NewSample { id: "a", record: Some(br#"{"text": "Is 7 odd?"}"#), metadata: Vec::new() })?;
//! samples.finish()?;
//!
//! let snapshot = store.snapshot()?;
//! let work = JobContext::silent("example");
//! let batches = gstore::query(&snapshot, "SELECT id FROM pool", None, &work)?;
//! assert_eq!(gstore::pretty(&batches)?.lines().nth(3), Some("| a  |"));
//! # Ok(())
//! # }
//! ```
//!
//! Errors that have a way out name it as a [`Remedy`]: [`Remedy::word_with`] words it in messages in the
//! program's own terms, and [`Remedy::named_in`] gives it to a program that acts on it.
//!
//! ```
//! use gstore::{Remedy, Store};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("none");
//! let Err(error) = Store::open(&path) else { unreachable!("nothing is there") };
//! let buttons = Remedy::named_in(&error, |remedy| match remedy {
//!     Remedy::Ingest => "Compute features",
//!     Remedy::Add => "Add samples",
//!     _ => "Help",
//! });
//! assert_eq!(buttons, ["Compute features", "Add samples"]);
//! ```
#![forbid(unsafe_code)]

mod answer;
mod ask;
mod cascade;
mod ceiling;
pub mod daunce;
pub mod factors;
mod folders;
mod generate;
pub mod indexes;
mod jobs;
mod models;
mod number;
pub mod picture;
mod prefilter;
mod put;
mod rows;
mod scratch;
mod select;
mod work;

pub use answer::AnswerError;
pub use ask::{ExplainedRow, RankedQuestion, ask};
pub use cascade::{Cascade, CascadeReport, CascadeRequest, LastReport, StageReport, prepare_cascade};
pub use factors::{GramAt, GramReport, GramRequest, GramShare, MixRequest, fit_gram, mix_grams};
pub use folders::{FolderError, Folders, named_path, named_path_among, stored_folder};
pub use generate::{
    PerplexityRows, add_answers, answers_in, begins_with_answer, check_answers, columns_of_prompts,
    perplexity_table,
};
pub use jobs::{add, add_of, ingest, pretty, query};
pub use models::Models;
pub use prefilter::{
    ApplyReport, KeptRows, LabelDraw, LabelRequest, PredictionTable, PrefilterNote, PrefilterRequest,
    apply_prefilter, evaluate_prefilter, fit_prefilter, list_prefilters, prefilter, publish_prefilter,
    recall_picture,
};
pub use put::{PutError, PutReport, SpaceSpec, UPLOAD, VectorPut, VectorSamples, VectorShape, VectorSpec};
pub use rows::{FindError, NamedRows, RowNames, find_rows};
pub use select::{SelectedRows, SelectionRequest, select, write_scored_line};
pub use work::JobContext;

pub use gstore_core::{
    Cancel, CheckpointId, DType, DatasetName, EncodingSpec, Family, FeatureAttrs, FeatureDesc, FeatureKind,
    Granularity, Kind, Progress, Remedy, RowFlags, RowSet, Silent, Space, Unit, sha256_hex,
};
pub use gstore_data::Duplicates;
pub use gstore_generate::{
    GenerateError, GenerateOutcome as Generated, GenerateRequest, PerplexityRequest, PromptSource,
    SamplingOptions, StopStrings, generate,
};
pub use gstore_ingest::pipeline::{
    AddClient, AddOutcome, AddReport, AddRequest, CheckpointArg, IngestError, IngestReport, IngestRequest,
    RunEnding,
};
pub use gstore_model::Device;
pub use gstore_query::QueryError;
pub use gstore_query::influence::{Diversity, InfluenceSpec, Order, Prepared, Ranking, Scored, TargetRef};
pub use gstore_sql::output::Format;
pub use gstore_sql::{SqlError, SqlOptions, SqlRunner};
pub use gstore_store::{
    AppendOptions, DeleteOptions, FeatureReader, IfChanged, JobFeature, JobPlan, NewSample, OpenError,
    ReadError, SampleReader, Snapshot, Store, is_of_damage,
};
