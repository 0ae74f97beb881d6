//! Ensembles of perturbed models: losses of samples under each of them, computed here or given.

mod error;
mod import;
mod losses;

pub use error::DaunceError;
pub use import::{ImportReport, ImportRequest, TableReport, import};
pub use losses::{GivenModels, LossesReport, LossesRequest, losses};
