//! Evaluation of models: metrics of texts, tasks, and comparisons with what chance makes of them.
//!
//! In layers, each of which uses those before it alone:
//! - [`metrics`] compare a text with references, [`statistics`] say how far a mean may be off: no files
//! - [`read_pairs`] joins predictions of several systems with references; [`tasks`] reads questions
//! - [`evaluate_texts`] and [`evaluate_tasks`] are the jobs; each gives a [`Report`] and its rows
//! - [`attribution`] compares scores of training rows with retraining: LDS, leave-one-out, removal, flipped
//!   labels
//!
//! Invariants
//! - a number depends on the data, the weights and the seed alone: not on threads, batches or stops
//! - every difference between two systems is over the same rows and comes with its paired bootstrap

#![forbid(unsafe_code)]

pub mod attribution;
mod error;
mod file_names;
mod keys;
pub mod metrics;
mod pairs;
mod records;
mod report;
mod run;
pub mod statistics;
pub mod tasks;
mod text;

pub use error::EvaluateError;
pub use pairs::{Pair, Pairs, PairsRequest, SystemSource, read_pairs};
pub use records::PairSource;
pub use report::{Chart, Difference, File, Measure, Panel, Report, RunParameters, Series, SystemInfo, Value};
pub use run::{ModelAnswer, System, TaskOutcome, TasksRequest, evaluate_tasks};
pub use text::{TextOutcome, evaluate_texts};
