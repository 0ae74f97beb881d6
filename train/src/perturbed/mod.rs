//! The perturbed objective (Daunce) as the loss of a step, and the point that it compares with.
//!
//! - [`Perturbation`] is the objective
//! - [`EnsembleStart`] is the point that all copies begin at, with its hidden states in a file or computed
//!   when needed
//! - [`PerturbedHead`] makes the objective the loss of a step

mod head;
mod objective;
mod start;
mod states;

pub use head::{PerturbedHead, PerturbedRow};
pub(crate) use head::{PieceHead, weighted};
pub use objective::{Normalizer, Perturbation, Variant};
pub use start::EnsembleStart;
pub(crate) use states::{StatesDescription, StatesFile};
