//! Pictures of what a store, and of what the logs of trainings hold.

mod agreement;
mod bins;
mod overlap;
mod scores;
mod sources;
mod tokens;
mod training;

pub use agreement::agreement;
pub use overlap::{OverlapRequest, overlap};
pub use scores::{ScoresRequest, scores};
pub use sources::{SourcesRequest, sources};
pub use tokens::{TokenValues, TokensRequest, tokens};
pub use training::{LogError, TrainingLog, training};

use gstore_query::influence::{InfluenceSpec, Prepared};

use super::scale::number;

/// A whole number as people read it.
fn count(n: u64) -> String {
    number(n as f64)
}

/// `pool for gsm8k` of a question.
fn question(spec: &InfluenceSpec, prepared: &Prepared) -> String {
    let targets: Vec<String> = spec.targets.iter().map(ToString::to_string).collect();
    format!("{} for {} ({})", spec.pools.join(", "), targets.join(", "), prepared.target_kind())
}
