//! Manifests: the content of a snapshot, as JSON files that a person can read.
//!
//! Invariants
//! - a manifest file is never changed; its name ends in its digest, and every reference to
//!   it holds that digest
//! - long lists of a part have their older entries in pages; a part in memory has all of them
//! - a root names its parent root and one part per dataset, run, ensemble, feature and artifact; parts are
//!   shared between snapshots while unchanged
//! - `version` and `requires` are looked at before anything else: a higher version or an unknown requirement
//!   is refused, fields that are not known are kept

mod artifact;
mod current;
mod dataset;
mod ensemble;
mod entry;
mod feature;
mod file;
mod page;
mod part;
mod root;
mod run;
mod stripe;
mod written;

pub use artifact::{ArtifactFile, ArtifactPart};
pub use dataset::{
    ColumnDef, ColumnType, DatasetPart, DeletedIdsEntry, EncodingEntry, FileEntry, SourceNote, TombstoneEntry,
};
pub use ensemble::{EnsembleBase, EnsemblePart, Member, MemberSettings, MemberWeights, SubsetNote};
pub use feature::{FeaturePart, FeatureState, SegmentEntry};
pub use root::View;
pub use run::{RunCheckpoint, RunPart, RunUpdate};
pub use stripe::OffsetOf;
pub(crate) use stripe::{Stripe, StripePart};
pub use written::{ClientWrite, WriteNote, check_key};

pub(crate) use current::Current;
pub(crate) use dataset::CHUNK;
pub(crate) use feature::sort_segments;
pub(crate) use file::{
    Link, ManifestFiles, ROTATED_SIGNS, SIGN_ROWS, TOKENS, VERSION, check_version, json_text, parse,
    write_new, write_replacing,
};
pub(crate) use page::LostPage;
pub(crate) use part::Part;
pub(crate) use root::{Counters, PartLink, Root, Tag, root_number};

use serde_json::{Map, Value};

/// Fields of a newer version that this one does not know. They are written back as they were.
pub type Extra = Map<String, Value>;
