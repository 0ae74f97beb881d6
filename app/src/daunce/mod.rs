//! Daunce: rankings by the covariance of losses, reports of them, and what is wrong with an ensemble.

mod diagnose;
mod query;
mod report;
mod report_text;

pub use diagnose::diagnose;
pub(crate) use query::errors;
pub use query::{LossRankings, rank_losses};
pub use report::{QueryReport, Report, ReportRequest, ReportRow, report};
