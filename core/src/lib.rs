//! Shared parts of all crates: names, keys and digests of what is in a store, and common computations.
//!
//! - [`content`]: what a record holds, in whichever form it is written
//! - [`json`]: JSON text, checked and read without building a tree
//! - [`parallel`], [`fetch`]: loops that threads share, and loops whose units are fetched ahead
//! - [`instructions`]: the vector instructions that computations may use
//! - [`correlation`], [`normal`], [`calendar`]: correlations, tails of the normal distribution, dates of days
//!
//! Invariants
//! - a key is the SHA-256 of the canonical JSON of its description and of nothing else: no clock, machine or
//!   path enters, so the same description has the same key everywhere
//! - a field that is absent does not appear in that JSON, so a field added later leaves the keys of old
//!   descriptions as they were

pub mod calendar;
mod cancel;
mod canonical;
mod causes;
pub mod content;
pub mod correlation;
mod digest;
mod dtype;
mod feature;
pub mod fetch;
mod full;
pub mod instructions;
pub mod json;
mod kind;
mod locks;
mod markup;
mod memory;
mod missing;
mod mix;
mod named;
mod names;
mod nearest;
pub mod normal;
mod number;
pub mod parallel;
mod progress;
mod python;
mod remedy;
mod rotation;
mod rows;
mod separator;
mod signals;
mod tensors;
mod threads;
mod words;

pub use cancel::{Cancel, CancelOnDrop, Cancelled, is_of_cancel};
pub use canonical::{canonical_json, hex, key_of, sha256_hex};
pub use causes::causes;
pub use digest::{Digest, DigestError, DigestWriter, xxh3_hex};
pub use dtype::{DType, SIGNS};
pub use feature::{
    EncodingSpec, Family, FeatureAttrs, FeatureDesc, FeatureKind, Granularity, ModuleGroup, Preconditioned,
    Space,
};
pub use full::{is_full, is_of_file_limit, is_of_full_disk, survive_file_limit};
pub use kind::{GradientForm, Kind, KindSource, Pooling, UnknownKind};
pub use locks::locked;
pub use markup::{html_head, html_text, markdown_cell, markdown_code, markdown_line, markdown_text, visible};
pub use memory::{
    LargePages, REUSED_BLOCK, available_memory, keep_freed_memory, release_freed_memory, total_memory,
    use_large_pages,
};
pub use missing::if_there;
pub use mix::{MIX_STEP, mix};
pub use names::{CheckpointId, DatasetName, NameError};
pub use nearest::{did_you_mean, nearest};
pub use number::{exact_float, written_number};
pub use progress::{Progress, Silent, TotalProgress, Unit};
pub use python::{python_json, python_json_with};
pub use remedy::Remedy;
pub use rotation::{SignRotation, hadamard};
pub use rows::{CELL_ROWS, RowFlags, RowSet};
pub use separator::separator;
pub use signals::keep_ignored_signals;
pub use tensors::{TensorNote, header_bytes, tensor_header};
pub use threads::{no_thread, try_threads};
pub use words::{first_of, human_bytes, many, many_of, one_line, shortened, without_path, wrapped};
