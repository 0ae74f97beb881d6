//! One file a command.

pub mod add;
pub mod attach;
pub mod completions;
pub mod demo;
pub mod info;
pub mod ingest;
pub mod ls;
pub mod query;
pub mod select;
pub mod snapshots;
pub mod verify;
