//! Samples: rows, ids, original records and metadata of a dataset.
//!
//! Invariants
//! - rows ascend and are never used again; an id is unique among the live rows of a dataset
//! - a record is kept byte for byte
//! - what decides whether a sample changed is the digest of its record, or of its metadata where it has no record

mod append;
mod columns;
mod files;
mod known;
mod read;
mod value;

pub use append::{AppendOptions, AppendReport, IfChanged, IfDeleted, NewSample, Pushed, SampleAppend};
pub use columns::ColumnSpec;
pub use read::SampleReader;
pub use value::MetaValue;

pub(crate) use columns::schema;
pub(crate) use files::{FILE_BYTES, TMP, sample_properties};
pub(crate) use read::scan_known;
