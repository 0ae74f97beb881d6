//! Models that are small enough to be retrained exactly: logistic regression and a network of one hidden
//! layer over exported features, and influence functions of both.
//!
//! The first rung of what scores are checked on: here retraining costs milliseconds and ends at the
//! optimum, so that a low correlation is the method's own. [`retrain`] gives a
//! [`Truth`](crate::attribution::Truth), [`influence()`] and [`projected_influence`] give
//! [`Scores`](crate::attribution::Scores). [`ClassificationData::read`] takes the features of a store's
//! rows, and `examples/ladder.rs` climbs with them.
//!
//! Invariant: everything is in f64, in the order of the rows; bits depend on the data and the seeds alone.

mod fit;
mod influence;
mod matrix;
mod model;
mod problem;
mod read;

pub use fit::{fit, loss, retrain};
pub use influence::{influence, projected_influence, self_influence};
pub use model::{Logistic, Network, SmallModel};
pub use problem::ClassificationData;
