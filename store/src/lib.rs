//! The storage of gstore: datasets, runs and features of training samples in a folder of immutable files.
//!
//! This crate knows nothing about models or scores. It keeps samples, encodings and vectors, publishes changes as
//! numbered snapshots, and finds damage. `docs/design.md` describes the formats and the publishing protocol.

#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("files are little-endian and read in place, so gstore needs a little-endian machine");

mod encodings;
mod error;
mod ident;
mod job;
mod ledger;
mod manifest;
mod map;
mod samples;
mod segment;
mod store;
mod table;
mod tombstones;
mod verify;
pub mod vfs;

pub use encodings::{EncodingReader, EncodingWriter, TokenCount};
pub use error::*;
pub use ident::*;
pub use job::{Job, JobFeature, JobPlan};
pub use manifest::{
    ColumnDef, ColumnType, DatasetPart, EncodingEntry, Extra, FeaturePart, FeatureState, FileEntry,
    RunCheckpoint, RunPart, RunUpdate, SegmentEntry, SourceNote, TombstoneEntry,
};
pub use map::FileMap;
pub use samples::{
    AppendOptions, AppendReport, ColumnSpec, IfChanged, MetaValue, NewSample, Pushed, SampleAppend,
    SampleReader,
};
pub use segment::{
    Block, BlockBuffer, BlockRef, Checks, FeatureReader, SealedSegment, SegmentWriter, StoredRow, Values,
};
pub use store::{Snapshot, SnapshotInfo, SnapshotName, SnapshotNameError, Store, TagInfo, TagName};
pub use verify::{AffectedRows, Problem, VerifyOptions, VerifyProgress, VerifyReport};
