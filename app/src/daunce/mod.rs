//! Daunce: losses of samples under an ensemble of models, computed here or given; rankings by their
//! covariance, reports of them, and what is wrong with an ensemble.

mod diagnose;
mod error;
mod import;
mod losses;
mod query;
mod report;
mod report_text;

pub use diagnose::diagnose;
pub use error::DaunceError;
pub use import::{ImportReport, ImportRequest, TableReport, import};
pub use losses::{GivenModels, LossesForecast, LossesReport, LossesRequest, forecast_losses, losses};
pub(crate) use query::errors;
pub use report::{DaunceReport, Hub, QueryReport, ReportRequest, ReportRow, report};
