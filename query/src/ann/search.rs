//! Nearest-neighbour search: candidates from graphs where there are any, scored by the exact scan.
//!
//! Invariants
//! - the score of a row has the bits that the exact scan gives it, and the order is the exact scan's
//! - a row is missed only by a graph: segments without one are scanned
//! - deleted rows, and those that the filter leaves out, are never candidates

use gstore_core::{Cancel, Remedy, many, many_of};
use gstore_store::{FeatureReader, RowSet};

use super::files::Graphs;
use super::segments::{Search, SearchCounts};
use crate::error::QueryError;
use crate::influence::{Order, Prepared, Ranking, RowFilter, ScanSummary};

/// Candidates that a search keeps at least.
const LEAST_EF: usize = 128;

/// How neighbours are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NearestOptions {
    /// Candidates that a search of a graph keeps; more find more and take longer. By default 128 or twice the
    /// number of rows asked for.
    pub ef: Option<usize>,
    /// `true` scans; `false` searches every graph there is; by default graphs are searched where that is
    /// faster, and one that is damaged counts as missing.
    pub exact: Option<bool>,
}

impl SearchCounts {
    /// Puts the guarantee, and what a user should know of it, into what is said of the answer; `missed`
    /// segments have no graph and would be searched by it, of the features `lacking`.
    fn tell(&self, ef: usize, (missed, lacking): (u64, &[String]), summary: &mut ScanSummary) {
        let Self { graphs, compared, scanned, .. } = self;
        if *graphs > 0 {
            summary.guarantee =
                "approximate: similarities are exact, some of the nearest rows may be missing".to_owned();
            summary.notes.push(format!(
                "{} compared in the graphs of {} (ef {ef}); {} scored",
                many_of(*compared, "vector was", "vectors were"),
                many(*graphs, "segment"),
                many_of(summary.rows_scored, "row was", "rows were")
            ));
            if *scanned > 0 {
                summary.notes.push(format!(
                    "{} scanned anyway, which was faster, or found as many rows as were asked for",
                    many_of(*scanned, "segment with a graph was", "segments with a graph were")
                ));
            }
        }
        if missed > 0 {
            summary.notes.push(format!(
                "{} scanned; {} makes what is missing",
                many_of(missed, "segment has no graph and was", "segments have no graph and were"),
                Remedy::Index { kind: "hnsw", feature: &lacking.join(" "), rebuild: false }
            ));
        }
    }
}

impl Prepared {
    /// The k rows nearest to the question's vector. The question has one target vector, one
    /// checkpoint and cosines.
    ///
    /// # Errors
    /// Those of [`Prepared::top_k`]; damaged graphs, if all are searched; a question of another form.
    pub fn nearest(
        &self,
        k: usize,
        filter: Option<&RowFilter>,
        options: &NearestOptions,
        graphs: &Graphs,
        (threads, cancel): (usize, &Cancel),
    ) -> Result<(Ranking, SearchCounts), QueryError> {
        let side = self.neighbours(cancel)?;
        let pools: Vec<(&FeatureReader, &RowSet)> = side.pools().collect();
        let Some(query) = side.query.as_ref().filter(|_| options.exact != Some(true)) else {
            let scanned = pools.iter().map(|(reader, _)| reader.segments().len() as u64).sum();
            let ranking = self.top_k(Order::Best, k, filter, threads, cancel)?;
            return Ok((ranking, SearchCounts { scanned, ..SearchCounts::default() }));
        };
        let ef = Self::nearest_ef(k, options);
        let search = Search { pools, query, k, ef, choosy: options.exact.is_none(), filter, graphs, cancel };
        let mut found = search.run(threads)?;
        let candidates = (found.way.graphs > 0).then(|| search.candidates(&mut found));
        let mut ranking = self.top_k(Order::Best, k, candidates.as_ref().or(filter), threads, cancel)?;
        if candidates.is_some() {
            found.through.count(&mut ranking.summary);
        }
        let name = |pool: &usize| search.pools[*pool].0.part().display_name();
        let lacking: Vec<String> = found.lacking.iter().map(name).collect();
        found.way.tell(ef, (found.missed, &lacking), &mut ranking.summary);
        ranking.summary.notes.extend(found.unusable);
        Ok((ranking, found.way))
    }

    /// The number of candidates that a search for k rows keeps.
    pub fn nearest_ef(k: usize, options: &NearestOptions) -> usize {
        options.ef.unwrap_or_else(|| LEAST_EF.max(k.saturating_mul(2))).max(k).max(1)
    }
}
