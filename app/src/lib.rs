//! Training-data attribution over a store of features: the front door for programs.
//!
//! - [`Store`] and [`Snapshot`]: a store, and a state of it that stays as it is
//! - [`add`], [`ingest`], [`query`]: the jobs of the commands of the same names; [`Work`] says how a job is done and what stops it
//! - [`Prepared`]: rankings without SQL
//! - [`find_rows`]: rows by their ids or by a condition, for [`Store::delete`]
//! - [`Folders`]: models and checkpoints, by path, pattern or name on the Hugging Face Hub
//! - [`Models`]: models at hand for samples that are given with a question
//! - [`indexes`]: sketches that follow the vectors
//!
//! ```
//! use gstore::{AppendOptions, DatasetName, NewSample, Store, Work};
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
//! let work = Work::silent("example");
//! let batches = gstore::query(&snapshot, "SELECT id FROM pool", None, &work)?;
//! assert_eq!(gstore::pretty(&batches)?.lines().nth(3), Some("| a  |"));
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

mod folders;
pub mod indexes;
mod jobs;
mod models;
mod rows;
mod work;

pub use folders::{FolderError, Folders};
pub use jobs::{add, ingest, pretty, query};
pub use models::Models;
pub use rows::{FindError, NamedRows, RowNames, find_rows};
pub use work::Work;

pub use gstore_core::{
    CheckpointId, DType, DatasetName, EncodingSpec, Family, FeatureAttrs, FeatureDesc, FeatureKind,
    Granularity, Kind, Progress, RowFlags, RowSet, Silent, Space, Unit, sha256_hex,
};
pub use gstore_ingest::pipeline::{
    AddReport, AddRequest, CheckpointArg, Ending, IngestError, IngestReport, IngestRequest,
};
pub use gstore_query::QueryError;
pub use gstore_query::influence::{InfluenceSpec, Order, Prepared, Ranking, Scored, TargetRef};
pub use gstore_sql::{SqlError, SqlOptions, SqlRunner};
pub use gstore_store::{
    AppendOptions, DeleteOptions, FeatureReader, IfChanged, JobFeature, JobPlan, NewSample, OpenError,
    ReadError, SampleReader, Snapshot, Store,
};
