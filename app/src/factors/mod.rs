//! Factors of curvature as artifacts of a store.

mod gram;

pub use gram::{GramAt, GramReport, GramRequest, fit_gram};
