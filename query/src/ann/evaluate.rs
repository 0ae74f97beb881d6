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

/// Rows of a short answer; a long one has [`LISTED`].
const FIRST: usize = 10;

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
    /// Part of the 10 nearest rows that a search for 10 found, on average; `None` without queries.
    pub recall_at_10: Option<f64>,
    /// Of the 100 nearest, by a search for 100.
    pub recall_at_100: Option<f64>,
    /// Candidates that a search for 10 rows kept.
    pub ef_at_10: usize,
    /// A search for 100.
    pub ef_at_100: usize,
    /// Vectors that a search for 10 rows compared in graphs, on average.
    pub compared: f64,
    /// Rows among which was looked.
    pub rows: u64,
    /// Mean time of a search for 10 rows by graphs, in milliseconds, when it is not the first.
    pub graph_ms: f64,
    /// The same by a scan.
    pub scan_ms: f64,
    /// Segments without a graph, which were scanned for both.
    pub without: u64,
    /// Rows that were asked about for which a graph led to fewer rows than were wanted, so that its segment
    /// was scanned.
    pub scanned: usize,
}

/// What a search found, and what it took.
struct Answer {
    rows: Vec<u64>,
    way: SearchCounts,
    time: Duration,
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
    let search = NearestOptions { ef: options.ef, exact: Some(false) };
    let scan = NearestOptions { exact: Some(true), ..search };
    let mut sums = EvaluationSums::default();
    for (done, row) in rows.iter().enumerate() {
        let plan = Prepared::about_vector(snapshot, &spec, AtHandVector::Row { pool: 0, row: *row }, None)?;
        let ask = |k: usize, how: &NearestOptions| -> Result<Answer, QueryError> {
            let begun = Instant::now();
            let (ranking, way) = plan.nearest(k, None, how, &graphs, (options.threads, cancel))?;
            let rows = ranking.rows.iter().map(|row| row.row).collect();
            Ok(Answer { rows, way, time: begun.elapsed() })
        };
        // The first of each reads and verifies; what is measured is the second.
        let exact = ask(LISTED, &scan)?;
        let by_scan = ask(FIRST, &scan)?.time;
        let long = ask(LISTED, &search)?;
        let short = ask(FIRST, &search)?;
        sums.add(&exact.rows, [&short, &long], by_scan);
        progress(done + 1);
    }
    let live = snapshot.open_feature(part)?.row_set()?.len();
    Ok(sums.evaluation(live, &search))
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
    scanned: usize,
}

impl EvaluationSums {
    fn add(&mut self, exact: &[u64], [short, long]: [&Answer; 2], by_scan: Duration) {
        for (sum, (k, found)) in self.recalls.iter_mut().zip([(FIRST, short), (LISTED, long)]) {
            let nearest = exact.get(..k.min(exact.len())).unwrap_or_default();
            let hits = nearest.iter().filter(|row| found.rows.contains(row)).count();
            // There is nothing to find where a row has no neighbours.
            *sum += if nearest.is_empty() { 1.0 } else { hits as f64 / nearest.len() as f64 };
        }
        self.queries += 1;
        self.compared += short.way.compared;
        self.by_graph += short.time;
        self.by_scan += by_scan;
        self.without = short.way.without;
        self.scanned += usize::from(short.way.scanned + long.way.scanned > 0);
    }

    fn evaluation(&self, rows: u64, search: &NearestOptions) -> Evaluation {
        let n = self.queries.max(1) as f64;
        let recall = |sum: f64| (self.queries > 0).then_some(sum / n);
        Evaluation {
            queries: self.queries,
            recall_at_10: recall(self.recalls[0]),
            recall_at_100: recall(self.recalls[1]),
            ef_at_10: Prepared::nearest_ef(FIRST, search),
            ef_at_100: Prepared::nearest_ef(LISTED, search),
            compared: self.compared as f64 / n,
            rows,
            graph_ms: self.by_graph.as_secs_f64() * 1e3 / n,
            scan_ms: self.by_scan.as_secs_f64() * 1e3 / n,
            without: self.without,
            scanned: self.scanned,
        }
    }
}
