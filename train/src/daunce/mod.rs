//! Perturbed copies of one model (Daunce): their objective, their rows and noise, and the job that trains
//! many of them.
//!
//! In layers, each of which uses those before it alone:
//! - [`Perturbation`] is the objective; [`ModelDraw`] is what a model draws
//! - [`EnsembleStart`] is the point that all copies begin at, with its hidden states in a file or computed
//!   when needed
//! - [`PerturbedHead`] makes the objective the loss of a [`crate::Trainer`]'s step
//! - [`train`] is the whole job: [`EnsembleRequest`], models, folders, resumption; [`prepare`] makes the file
//!   of hidden states alone, [`forecast`] tells what it will take
//!
//! Invariants
//! - bits of a model depend on the request, the data and the model's number alone: not on threads, on which
//!   models are trained, or on where the job was stopped
//! - a model is complete, with a record of what made it, or it is missing

mod ensemble;
mod job;
mod member;
mod noise;
mod outcome;
mod request;

pub use ensemble::EnsembleForecast;
pub use job::{forecast, prepare, train};
pub use member::{
    Member, MemberOutcome, RefusedMember, StartRecord, forget_weights, read_members, read_start,
};
pub use noise::ModelDraw;
pub use outcome::{EnsembleObserver, EnsembleOutcome, PreparedStates};
pub use request::{BaseStates, EnsembleRequest, FirstRate, SubsetSize};

pub use crate::perturbed::{EnsembleStart, Normalizer, Perturbation, PerturbedHead, PerturbedRow, Variant};
