//! Questions to a store: the influence of training samples on a target, and rankings of them.
//!
//! - [`ann`]: graphs of neighbours, which propose the rows nearest to a vector
//! - [`daunce`]: covariances of losses over the models of an ensemble, from numbers in memory
//! - [`influence`]: what is asked ([`InfluenceSpec`]), what its names are in a snapshot ([`Plan`]), and what
//!   answers it ([`Prepared`])
//! - [`evaluate`]: what planes of a sketch cost and save, by questions about the feature's own rows
//! - [`eigen`]: eigenvalues of the curvature at the coordinates of features in its eigenbasis
//! - [`gram`]: Gram matrices of stored features, which precondition questions
//! - [`matrix`]: every pool row with every target sample, as Parquet files
//! - [`kernel`]: dot products of stored rows with query vectors, the same bits on every instruction set
//! - [`sketch`]: short codes of vectors that tell which rows need not be read
//! - [`hint`]: names in messages
#![deny(unsafe_code)]

pub mod ann;
pub mod daunce;
pub mod eigen;
mod error;
pub mod evaluate;
pub mod gram;
pub mod hint;
mod indexes;
pub mod influence;
pub mod kernel;
pub mod matrix;
mod measured;
mod size;
pub mod sketch;
mod term;
mod topk;
mod values;

pub use error::{QueryError, SideOf, ToCompute};
pub use indexes::{IndexProgress, IndexStatus};
pub use influence::{InfluenceSpec, Plan, Prepared};
