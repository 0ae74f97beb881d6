//! Pipelines: stages of gstore commands in one TOML file, their order, and which of them are up to date.
//!
//! - [`PipelineFile`] is what a file says, with lines; [`expand()`] puts variables in and repeats stages
//! - [`StageCall`] is a stage as a command line that the parser of the command line has checked
//! - [`Resource`] is what stages read and write ([`StageUses`]): files, a store, and its samples, features
//!   and runs
//! - [`Plan`] has the stages in an order in which each comes after those that it needs
//! - [`Journal`] remembers what ran with which inputs and gave which outputs; [`Decider`] decides by it
//!
//! Invariants
//! - a file that cannot be run as it stands is refused before anything runs, with the line
//! - a stage is up to date only if it ended well, was asked the same in the same store, and neither its
//!   inputs nor its outputs were changed by others since

mod call;
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

pub use call::StageCall;
pub use expand::{PipelineStage, Variables, expand};
pub use file::{OptionSetting, PipelineError, PipelineFile, Setting, StageTable};
pub use journal::{FileNote, Journal, StageRecord, StageRequest, StageRun, StageState};
pub use look::{Decider, RunReason};
pub use plan::{Plan, PlannedStage};
pub use resource::{Resource, StageUses};
pub use store_uses::KnownNames;
pub use versions::Versions;
