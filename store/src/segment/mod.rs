//! A segment: the vectors of one feature for an ascending run of rows, in one immutable Arrow IPC file.
//!
//! Invariants
//! - rows are strictly ascending, or where a row has a vector for each scored token, rows with their
//!   positions are; a row is in at most one live segment of a feature, and all its vectors are in one block
//! - a block lies inside one cell and is at most 8 MiB, unless it is a block of one row
//! - every body buffer starts on a 64-byte boundary of the file, so a mapped block is read in place
//! - bytes before the first block, each block and the bytes after the last one have a digest: the first two
//!   kinds are in the footer's metadata, the last one is in the catalog
//! - nothing here is written to after [`SegmentWriter::finish`]

mod block;
mod bounds;
mod feature;
mod few;
mod file;
mod footer;
mod lanes;
mod layout;
mod many;
mod open;
mod pending;
mod quantize;
mod refs;
mod regions;
mod salvage;
mod shared;
mod signs;
mod sink;
mod values;
mod verify;
mod writer;

pub use block::{Block, StoredRow, Values};
pub use bounds::BlockBounds;
pub use feature::{Checks, FeatureReader};
pub use layout::BLOCK_BYTES;
pub use refs::{BlockRef, SegmentRef};
pub use shared::{SharedBlock, SharedColumn};
pub use signs::Signs;
pub use writer::{SealedSegment, SegmentWriter};

pub(crate) use crate::ahead::BlockBuffer;
pub(crate) use block::Vector;
pub(crate) use file::{SegmentBlock, SegmentFile};
pub(crate) use footer::TAIL_LIMIT;
pub(crate) use layout::SegmentShape;
pub(crate) use many::open_all;
pub(crate) use open::OpenedSegment;
pub(crate) use salvage::{SalvagedSegment, mentions, salvage};
pub(crate) use sink::Sink;
pub(crate) use writer::check_description;
