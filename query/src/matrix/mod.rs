//! Every pool row with every target sample, written as Parquet.
//!
//! The samples are taken in groups whose vectors fit into memory; for each group there is one pass over the
//! pools, whose scores go to parts of bounded size. `matrix.json` records the question and its outcome.
//!
//! Invariants
//! - a part appears under its name when it is complete and durable; the result when all parts are
//! - the bytes of the result are a function of the snapshot and the question: not of threads, nor of
//!   where a run was stopped
//! - work that was begun for another question or another state of the store is never continued

mod encode;
mod error;
mod files;
mod forecast;
mod job;
mod join;
mod place;
mod publish;
mod question;
mod rows;
mod targets;
mod work;

use std::path::Path;

use gstore_store::SampleReader;

pub use error::MatrixError;
pub use forecast::{MatrixForecast, products_per_second};
pub use job::MatrixJob;
pub use rows::MatrixRows;

use crate::error::QueryError;
use crate::influence::{ExcludedCounts, Prepared};

/// How a matrix is cut, and on how many threads it is made.
#[derive(Debug, Clone, Copy)]
pub struct MatrixOptions {
    /// Bytes for the vectors of the target samples that are compared at a time.
    pub memory: u64,
    /// Bytes of scores in a part.
    pub part: u64,
    /// Threads; 0 means one per core.
    pub threads: usize,
    /// Whether a file that is there, another matrix in a folder, and unfinished work for one may be replaced.
    pub replace: bool,
}

impl Default for MatrixOptions {
    fn default() -> Self {
        Self { memory: 1 << 30, part: 256 << 20, threads: 0, replace: false }
    }
}

/// Where a matrix goes.
#[derive(Debug, Clone, Copy)]
pub enum MatrixOutput<'a> {
    /// A folder with `matrix.json`, `targets.parquet` and a folder of parts for each group of samples.
    Folder(&'a Path),
    /// One Parquet file, whose metadata has the rest.
    File(&'a Path),
}

/// What was made.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct MatrixReport {
    /// Pool rows that have scores.
    pub rows: u64,
    /// Pool rows that have none.
    pub excluded: ExcludedCounts,
    /// Target samples.
    pub samples: u64,
    /// Groups that the samples were taken in.
    pub groups: usize,
    /// Parts that an earlier run had finished.
    pub kept: usize,
    /// Whether all of it was there already, so that nothing was done.
    pub already_there: bool,
    /// Bytes of the result.
    pub bytes: u64,
}

/// Refuses questions that have no matrix.
fn of_stored_samples(prepared: &Prepared) -> Result<(), QueryError> {
    match prepared.spec().per_token || !prepared.spec().given.is_empty() {
        true => Err(QueryError::Spec(
            "a matrix is of stored samples: name a dataset as target, and leave `per_token` out".into(),
        )),
        false => Ok(()),
    }
}

fn open_samples(prepared: &Prepared) -> Result<Vec<SampleReader>, QueryError> {
    prepared.pools().iter().map(|side| Ok(prepared.snapshot().samples(&side.dataset)?)).collect()
}
