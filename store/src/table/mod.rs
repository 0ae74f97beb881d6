//! Parquet files of a store: samples and encodings.
//!
//! Invariants
//! - a file's rows are dense: the row at position i is `first_row + i`
//! - the catalog holds the XXH3-64 of every started MiB; no byte reaches the Parquet reader
//!   before its MiB agreed
//! - nothing is written to a file after [`TableWriter::finish`]

mod about;
mod batch;
mod bytes;
mod read;
mod region;
mod write;

pub(crate) use about::{DescribedFile, TableMetadata, describe};
pub use batch::batch_rows;
pub(crate) use read::{TableFile, row_ids};
pub(crate) use region::{Expected, Region, regions};
pub(crate) use write::{TableWriter, properties};
