//! Sample files: rows, ids, original records and metadata of a dataset.
//!
//! Invariants
//! - rows ascend and are never used again; an id is unique among the live rows of a dataset
//! - a record is kept byte for byte
//! - what decides whether a sample changed is the digest of its record, or of its metadata
//!   where it has no record

mod columns;
mod files;
mod read;
mod value;
mod widened;

pub use columns::{ColumnSpec, record_columns};
pub use read::SampleReader;
pub use value::{MetaValue, NewSample};

pub(crate) use columns::{merge, schema, shell_batch};
pub(crate) use files::{
    FILE_BYTES, SampleFiles, append_folder, is_append, remove_leftovers, sample_properties,
};
pub(crate) use read::{scan_known, table};
pub(crate) use value::{MetaRow, sample_digest};
pub(crate) use widened::check_widened;
