//! Search for the neighbours of a question: its options, and what EXPLAIN says of it.

use std::sync::Arc;

use gstore_query::IndexStatus;
use gstore_query::ann::{self, Graphs, NearestOptions};
use gstore_query::influence::Prepared;
use gstore_store::ReadError;

/// The options of a search, and the graphs that it may use.
#[derive(Debug)]
pub(super) struct NearestSearch {
    pub(super) options: NearestOptions,
    pub(super) graphs: Arc<Graphs>,
    /// What the neighbours are of, for EXPLAIN.
    pub(super) about: String,
    /// What a user should know of how the question was understood.
    pub(super) note: Option<String>,
}

impl NearestSearch {
    /// How `k` rows will be found, for EXPLAIN; `having`: a condition on the similarity comes before the cut.
    pub(super) fn by(&self, plan: &Prepared, k: Option<usize>, having: bool) -> String {
        let k = match k {
            _ if self.options.exact == Some(true) => return "scan".to_owned(),
            None => return "scan (of all rows: neither k nor LIMIT)".to_owned(),
            _ if having => return "scan (for a condition on the similarity)".to_owned(),
            Some(k) => k,
        };
        let ef = Prepared::nearest_ef(k, &self.options);
        let least = if self.options.exact.is_none() { Some(ef) } else { None };
        let GraphCoverage { usable, small, unusable, segments } = match graph_coverage(plan, least) {
            Ok(covered) => covered,
            Err(error) => return format!("an error ({error})"),
        };
        let damaged = match unusable {
            0 => String::new(),
            n => format!(", {n} cannot be used"),
        };
        match usable {
            0 if small > 0 => format!("scan (segments are too small for graphs to be faster{damaged})"),
            0 => format!("scan (no graph{damaged})"),
            _ => format!("graphs of {usable} of {segments} segments (ef={ef}{damaged})"),
        }
    }
}

/// Segments of the question's features by the state of their graphs.
#[derive(Default)]
struct GraphCoverage {
    usable: usize,
    /// Those whose scan is faster.
    small: usize,
    unusable: usize,
    segments: usize,
}

/// Counts them by the footers of the files; `least`: candidates of a search, where it is made only if it
/// is faster than a scan.
fn graph_coverage(plan: &Prepared, least: Option<usize>) -> Result<GraphCoverage, ReadError> {
    let mut covered = GraphCoverage::default();
    for feature in plan.pools().iter().flat_map(|pool| &pool.features) {
        let reader = plan.snapshot().open_feature_shared(feature)?;
        for segment in reader.segments() {
            match ann::found(&reader, segment) {
                IndexStatus::Usable if least.is_some_and(|ef| !ann::pays(segment.rows(), ef)) => {
                    covered.small += 1
                }
                IndexStatus::Usable => covered.usable += 1,
                IndexStatus::Unusable => covered.unusable += 1,
                IndexStatus::Missing => {}
            }
            covered.segments += 1;
        }
    }
    Ok(covered)
}
