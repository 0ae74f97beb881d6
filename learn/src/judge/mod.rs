//! Judging predictions: recall of the true top at each budget, other measures with their intervals,
//! what noise of the labels lets expect, and what a budget saves.
//!
//! Invariants
//! - the true top takes rows by score, largest first, and equal ones by their place, as a selection does
//! - equal predictions share what a budget has left, so that the order of rows decides nothing
//! - an interval depends on the values and the seed alone

mod bounds;
mod budget;
mod cascade;
mod ceiling;
mod choice;
mod cost;
mod levels;
mod order;
mod pool_top;
mod ranked;
mod recall;
mod report;
mod resample;
mod text;

pub(crate) use budget::cut_at_share;
#[cfg(test)]
pub(crate) use budget::lower_bound;
pub use budget::{Budget, TargetCut};
pub use cascade::{CascadeCost, StageCut, cascade, least_top};
pub use ceiling::{Reliability, expected_recall, reliability};
pub use choice::Choice;
pub(crate) use choice::{keeps, tops};
pub use cost::Cost;
pub use levels::Confusion;
pub(crate) use levels::levels;
pub use order::{kept_rows, ranks, top, top_k};
pub use recall::{AtBudget, at_budgets, r2, spearman};
pub(crate) use report::{JudgeRequest, judge};
pub use report::{MissingFeature, Report, TargetReport, Unpredicted};
pub use resample::{Bootstrap, Interval};
pub use text::{percent, saved, taken};
