//! The storage of gstore: datasets, runs and features of training samples in a folder of immutable files.
//!
//! This crate knows nothing about models or scores. It keeps samples, encodings and vectors,
//! publishes changes as numbered snapshots, and finds damage. `docs/design.md` describes the formats
//! and the publishing protocol.

#![deny(unsafe_code)]

#[cfg(target_endian = "big")]
compile_error!("files are little-endian and read in place, so gstore needs a little-endian machine");

mod ahead;
mod append;
mod artifacts;
mod backup;
mod buffer;
mod compact;
mod encoded;
mod encodings;
mod ensemble;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod gc;
mod index;
mod job;
mod layout;
mod lease;
mod ledger;
mod life;
mod manifest;
mod map;
mod panics;
mod repair;
mod rewrite;
mod samples;
mod segment;
mod shard;
mod store;
mod table;
mod tags;
mod tombstones;
mod verify;
pub mod vfs;
mod views;

pub use ahead::{
    BlockBuffer, Busy, BytesRead, DiskRates, MOST_BYTES as MOST_READ_AHEAD, ReadAhead, SpanRequests,
    UncachedSpans, expect_disks, fill_behind, is_busy, measured_disks,
};
pub use append::{AppendOptions, AppendOutcome, AppendReport, IfChanged, IfDeleted, SampleAppend};
pub use artifacts::ArtifactFiles;
pub use backup::{BackupOptions, CopyProgress, CopyReport};
pub use compact::{CompactOptions, CompactProgress, CompactReport, CompactedPart, SkippedFiles};
pub use encoded::{EncodeFeature, EncodedSamples};
pub use encodings::{EncodingReader, EncodingWriter, TokenCount};
pub use ensemble::{EnsembleUpdate, LossBlock, LossColumns, LossReader, LossTable, LossWanted};
pub use error::*;
pub use gc::{GcOptions, GcReport, JobNote, KeptBecause, KeptSnapshot, RemovedFiles, Swept};
pub use gstore_core::{
    CELL_ROWS, Cancel, CheckpointId, DType, DatasetName, EncodingSpec, Family, FeatureAttrs, FeatureDesc,
    FeatureKind, Granularity, ModuleGroup, NameError, Preconditioned, RowFlags, RowSet, SIGNS, SignRotation,
    Space, canonical_json, key_of, nearest, sha256_hex, xxh3_hex,
};
pub use index::{
    IndexFile, IndexNote, IndexState, IndexWriter, Section, SectionId, StaleIndex, index_remedy,
};
pub use job::{Job, JobFeature, JobPlan, ShardIndex, ShardIndexError, ShardNote};
pub use layout::FileKind;
pub use lease::Lease;
pub use life::{DeleteOptions, DeleteReport, DropReport, RevertOptions, RevertReport};
pub use manifest::{
    ArtifactFile, ArtifactPart, ClientWrite, ColumnDef, ColumnType, DatasetPart, DeletedIdsEntry,
    EncodingEntry, EnsembleBase, EnsemblePart, Extra, FeaturePart, FeatureState, FileEntry, Member,
    MemberSettings, MemberWeights, OffsetOf, RunCheckpoint, RunPart, RunUpdate, SegmentEntry, SourceNote,
    SubsetNote, TombstoneEntry, View, WriteNote, check_key,
};
pub use map::FileMap;
pub use panics::caught;
pub use repair::{Loss, LostKind, RebuiltObject, RepairOptions, RepairReport};
pub use samples::{ColumnSpec, MetaValue, NewSample, SampleReader, record_columns};
pub use segment::{
    BLOCK_BYTES, Block, BlockBounds, BlockRef, Checks, FeatureReader, SealedSegment, SegmentRef,
    SegmentWriter, SharedBlock, SharedColumn, Signs, StoredRow, Values,
};
pub use shard::{
    AttachOptions, AttachProgress, AttachReport, AttachedFeature, AttachedShard, Receipt, ReceiptEncoding,
    ReceiptFile, ShardJob, ShardOutcome, ShardPlan, ShardStart,
};
pub use store::{
    Coverage, CoverageState, Snapshot, SnapshotInfo, SnapshotName, SnapshotNameError, Store, TagInfo, TagName,
};
pub use table::batch_rows;
pub use tags::TagOptions;
pub use tombstones::DeletedIdLookup;
pub use verify::{AffectedRows, Problem, VerifyOptions, VerifyProgress, VerifyReport};
pub use views::ViewOptions;
