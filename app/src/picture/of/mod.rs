//! Pictures of the content of a store and of the logs of trainings.

mod agreement;
mod bins;
mod overlap;
mod ranked;
mod scores;
mod sources;
mod table;
mod tokens;
mod training;

pub use agreement::agreement;
pub use overlap::{OverlapRequest, overlap};
pub(crate) use ranked::{RankedRows, ranked};
pub use scores::{ScoresRequest, scores};
pub use sources::{SourcesRequest, sources};
pub use table::table;
pub use tokens::{TokenValues, TokensRequest, tokens};
pub use training::{LogError, TrainingLog, training};

use arrow_array::{Array, ArrayRef};
use arrow_cast::display::array_value_to_string;
use arrow_schema::ArrowError;
use gstore_query::influence::{InfluenceSpec, Prepared};

use super::layout::NO_VALUE;
use super::scale::{LARGEST, number};

/// A whole number as people read it.
fn count(n: u64) -> String {
    number(n as f64)
}

/// The same with a noun whose plural ends in `s`.
fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// A value as it is drawn: infinite, which has no place, where it is too large.
pub(crate) fn drawable(value: f64) -> f64 {
    if value.abs() > LARGEST { f64::INFINITY.copysign(value) } else { value }
}

/// Says how many values of something are left out because they are too large.
pub(crate) fn too_large(what: &str, values: impl Iterator<Item = f64>) -> Option<String> {
    let found = values.filter(|value| value.abs() > LARGEST).count() as u64;
    (found > 0).then(|| format!("Left out: {} of {what} beyond {LARGEST:e}.", counted(found, "value")))
}

/// A value as a label.
fn cell(column: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    if column.is_null(row) { Ok(NO_VALUE.to_owned()) } else { array_value_to_string(column, row) }
}

/// `pool for gsm8k` of a question.
fn question(spec: &InfluenceSpec, prepared: &Prepared) -> String {
    let mut targets: Vec<String> = spec.targets.iter().map(ToString::to_string).collect();
    if targets.is_empty() {
        let given = spec.given.len();
        targets.push(if given == 1 { "a given sample".to_owned() } else { format!("{given} given samples") });
    }
    let of_target = prepared.target_kind();
    let kinds = match prepared.pools().first() {
        Some(pool) if pool.kind != of_target => format!("{}, of the target {of_target}", pool.kind),
        _ => of_target.to_owned(),
    };
    format!("{} for {} ({kinds})", spec.pools.join(", "), targets.join(", "))
}
