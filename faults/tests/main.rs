//! The tests of this crate's public interface in one program: linked once, run by name.

mod images;
mod ledger;
mod short;
mod stale_job;
