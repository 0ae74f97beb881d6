//! Evaluation of graphs: recall and time over rows drawn from the feature itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gstore_core::Cancel;
use gstore_store::{FeaturePart, Snapshot};
use serde::Serialize;

use super::files::Graphs;
use super::search::NearestOptions;
use super::segments::SearchCounts;
use crate::error::QueryError;
use crate::evaluate::{LISTED, draw, question};
use crate::influence::{AtHandVector, Prepared};

/// How an evaluation is done.
#[derive(Debug, Clone, Copy)]
pub struct EvaluateOptions {
    /// Rows that are asked about.
    pub queries: usize,
    /// Decides which.
    pub seed: u64,
    /// Candidates that a search keeps, if not the default.
    pub ef: Option<usize>,
    /// Threads; 0 means one per core.
    pub threads: usize,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Rows that were asked about.
    pub queries: usize,
    /// Part of the 10 nearest rows that was found, on average; `None` without queries.
    pub recall_at_10: Option<f64>,
    /// Of the 100 nearest.
    pub recall_at_100: Option<f64>,
    /// Vectors that a question compared in graphs, on average.
    pub compared: f64,
    /// Rows among which was looked.
    pub rows: u64,
    /// Mean time of a question by graphs, in milliseconds, when it is not the first.
    pub graph_ms: f64,
    /// The same by a scan.
    pub scan_ms: f64,
    /// Segments without a graph, which were scanned for both.
    pub without: u64,
}

/// Asks for the neighbours of rows of a feature by graphs and by scans.
///
/// # Errors
/// Those of [`Prepared::nearest`].
pub fn evaluate(
    snapshot: &Arc<Snapshot>,
    part: &FeaturePart,
    options: &EvaluateOptions,
    progress: &mut dyn FnMut(usize),
    cancel: &Cancel,
) -> Result<Evaluation, QueryError> {
    super::check(part)?;
    let spec = question(snapshot, part);
    let rows = draw(snapshot, part, (options.queries, options.seed), cancel)?;
    let graphs = Graphs::new();
    let mut sums = EvaluationSums::default();
    for (done, row) in rows.iter().enumerate() {
        let plan = Prepared::about_vector(snapshot, &spec, AtHandVector::Row { pool: 0, row: *row }, None)?;
        let ask = |exact: bool| -> Result<(Vec<u64>, SearchCounts, Duration), QueryError> {
            let how = NearestOptions { ef: options.ef, exact: Some(exact) };
            let begun = Instant::now();
            let (ranking, way) = plan.nearest(LISTED, None, &how, &graphs, (options.threads, cancel))?;
            Ok((ranking.rows.iter().map(|row| row.row).collect(), way, begun.elapsed()))
        };
        // The first of each reads and verifies; what is measured is the second.
        ask(true)?;
        let (exact, _, by_scan) = ask(true)?;
        ask(false)?;
        let (found, way, by_graph) = ask(false)?;
        sums.add(&exact, &found, (by_scan, by_graph), &way);
        progress(done + 1);
    }
    let live = snapshot.open_feature(part)?.row_set()?.len();
    Ok(sums.evaluation(live))
}

/// Sums over questions.
#[derive(Default)]
struct EvaluationSums {
    queries: usize,
    recalls: [f64; 2],
    compared: u64,
    by_graph: Duration,
    by_scan: Duration,
    without: u64,
}

impl EvaluationSums {
    fn add(
        &mut self,
        exact: &[u64],
        found: &[u64],
        (by_scan, by_graph): (Duration, Duration),
        way: &SearchCounts,
    ) {
        for (sum, k) in self.recalls.iter_mut().zip([10, LISTED]) {
            let nearest = exact.get(..k.min(exact.len())).unwrap_or_default();
            let got = found.get(..k.min(found.len())).unwrap_or_default();
            let hits = nearest.iter().filter(|row| got.contains(row)).count();
            // There is nothing to find where a row has no neighbours.
            *sum += if nearest.is_empty() { 1.0 } else { hits as f64 / nearest.len() as f64 };
        }
        self.queries += 1;
        self.compared += way.compared;
        self.by_graph += by_graph;
        self.by_scan += by_scan;
        self.without = way.without;
    }

    fn evaluation(&self, rows: u64) -> Evaluation {
        let n = self.queries.max(1) as f64;
        let recall = |sum: f64| (self.queries > 0).then_some(sum / n);
        Evaluation {
            queries: self.queries,
            recall_at_10: recall(self.recalls[0]),
            recall_at_100: recall(self.recalls[1]),
            compared: self.compared as f64 / n,
            rows,
            graph_ms: self.by_graph.as_secs_f64() * 1e3 / n,
            scan_ms: self.by_scan.as_secs_f64() * 1e3 / n,
            without: self.without,
        }
    }
}
