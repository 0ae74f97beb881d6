//! Answers of the server: what is asked becomes rows.
//!
//! - [`ask`] reads what a client sends: commands of Flight SQL, and those of plain Flight, which
//!   [`plain`] knows
//! - [`parts`] cuts large answers
//! - [`rows`] runs a statement apart from the connection and hands its batches over one by one
//! - [`thread`] has the work that outlives the request that waits for it
//! - [`stream`] makes messages of them
//! - [`catalog`], [`info`], [`types`]: the tables about tables
//! - [`vectors`]: stored vectors as they are
//! - [`matrix`]: scores of every row with every target sample

pub(crate) mod ask;
pub(crate) mod catalog;
pub(crate) mod info;
pub(crate) mod matrix;
pub(crate) mod parts;
pub(crate) mod plain;
pub(crate) mod rows;
pub(crate) mod stream;
mod thread;
pub(crate) mod types;
pub(crate) mod vectors;
