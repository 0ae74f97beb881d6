//! Pipelines: stages of gstore commands in one TOML file, their order, and which of them are up to date.
//!
//! - [`PipelineFile`] is what a file says, with lines; [`expand()`] puts variables in and repeats stages
//! - [`Call`] is a stage as a command line that the parser of the command line has checked
//! - [`Resource`] is what stages read and write ([`Uses`]): files, a store, and its samples, features and runs
//! - [`Plan`] has the stages in an order in which each comes after those that it needs
//! - [`Journal`] remembers what ran with which inputs and gave which outputs; [`Look`] decides by it
//!
//! Invariants
//! - a file that cannot be run as it stands is refused before anything runs, with the line
//! - a stage is up to date only if it ended well, was asked the same, and neither its inputs nor its outputs
//!   were changed by others since

mod call;
mod error;
mod expand;
mod file;
mod journal;
mod look;
mod plan;
pub mod report;
mod resource;
mod roles;
mod store_uses;
mod versions;

pub use call::Call;
pub use error::PipelineError;
pub use expand::{Stage, Variables, expand, substitute};
pub use file::{Given, PipelineFile, Setting, StageTable, Variable};
pub use journal::{Asked, FileNote, Journal, Ran, Record, State};
pub use look::{Decision, Look, Why};
pub use plan::{Plan, PlannedStage};
pub use resource::{Resource, Uses};
pub use store_uses::Known;
pub use versions::Versions;
