//! Index files: derived data of one segment that can be rebuilt from it at any time.
//!
//! The content is the caller's.
//!
//! Invariants
//! - the index of kind `k` of segment `u` is `indexes/<u>.<k>`, found by its name: no manifest mentions it,
//!   so building one publishes nothing
//! - under that name a file is complete and was flushed; a rebuild puts another file in its place, and
//!   readers that have the old one mapped keep it
//! - an index says of which segment it is, by name and by the digest of that segment's footer; one of another
//!   state is stale and not used
//! - no byte of a section is given out before the chunk it lies in agreed with its digest
//! - while one is built, its folder in `tmp/` is locked: a purge waits for no builder and lets none
//!   finish behind its back

mod file;
mod folder;
mod footer;
mod open;
mod places;
mod section;
mod state;
mod verify;
mod writer;

pub use file::IndexFile;
pub use footer::remedy as index_remedy;
pub use places::IndexNote;
pub use section::Section;
pub use state::{IndexState, StaleIndex};
pub use writer::{IndexWriter, SectionId};

pub(crate) use folder::{is_build, live_builds};
#[cfg(feature = "fuzzing")]
pub(crate) use open::open_whole;
pub(crate) use open::{IndexKey, headers, open};
pub(crate) use places::{kinds, list, notes, split_name};
