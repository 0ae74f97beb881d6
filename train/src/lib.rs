//! Training: LoRA factors or all tensors of a decoder, on the engine's own forward and backward.
//!
//! In layers, each of which uses those before it alone:
//! - `random` gives counter-based numbers, [`Schedule`] rates, [`Optimizer`] steps: no model, no files
//! - [`Parameters`] are what is trained, with the model that computes with them; [`Sample`]s are what is
//!   trained on
//! - [`Trainer`] takes steps; `checkpoint` writes what torch, PEFT and transformers open, and reads it again
//! - [`daunce`] trains perturbed copies of one model, whose losses tell rows of influence
//! - [`run`] is the whole job: [`TrainRequest`], data, steps, checkpoints, resumption; [`forecast()`] tells
//!   what it takes, [`check()`] what it would be refused for, [`merge()`] makes a model of an adapter and its
//!   base
//!
//! Invariants
//! - bits depend on the request and the data alone: not on threads, nor on how many devices of one model
//!   share the work, nor on where a run was stopped and went on
//! - a checkpoint folder is complete or missing

#![forbid(unsafe_code)]

mod checkpoint;
mod data;
pub mod daunce;
mod difference;
mod dropout;
mod error;
mod forecast;
mod gradient;
mod job;
mod lora;
mod memory;
mod merge;
mod observer;
mod optimizer;
mod order;
mod packing;
mod parameters;
mod perturbed;
mod pieces;
mod prepare;
mod random;
mod register;
mod request;
mod resumption;
mod sample;
mod schedule;
mod start;
mod sums;
mod trainer;
mod turns;

pub use checkpoint::{CURVES, Checkpoint, EvaluationLoss, FolderLock, LogLine, last_checkpoint};
pub use data::DataSubset;
pub use difference::difference;
pub use dropout::DropoutRates;
pub use error::TrainError;
pub use forecast::{Forecast, check, forecast};
pub use gstore_data::SampleSource as DataSource;
pub use job::{TrainOutcome, run};
pub use lora::LoraChoice;
pub use merge::{MERGED, adapter_base, merge};
pub use observer::{SilentObserver, TrainObserver};
pub use optimizer::{AdamW, Optimizer, OptimizerKind, Sgd, TensorState};
pub use parameters::Parameters;
pub use register::register;
pub use request::{
    BatchOptions, ComputeOptions, EvaluationOptions, LossMean, SavingOptions, StepOptions, TrainMethod,
    TrainRequest,
};
pub use sample::Sample;
pub use schedule::{Schedule, ScheduleCurve, ScheduleKind, StableDecay};
pub use trainer::{StepReport, Trainer, TrainerOptions};
