//! Search over the segments of pools: by graph, or by scan where a segment has none.

use std::collections::BTreeSet;
use std::ops::Range;

use gstore_core::{Cancel, Remedy, is_of_cancel, parallel};
use gstore_store::{FeatureReader, ReadError, RowSet, StorageError, index_remedy};
use half::f16;
use serde::Serialize;

use super::files::Graphs;
use super::format::{GraphHeader, KIND};
use super::graph::{Graph, NearestRows};
use crate::error::QueryError;
use crate::indexes::unusable;
use crate::influence::{ExcludedCounts, RowFilter, RowMask, ScanSummary};

/// Rows that a scan compares in the time in which a search compares one: it reads vectors in the
/// order in which they lie.
const SCANNED_AT_ONCE: u64 = 4;
/// Vectors that a search compares for each candidate that it keeps, about.
const COMPARED_EACH: u64 = 16;
/// One of so many rows must be let through by a filter, or those that are get scanned. A walk has to pass
/// all others on its way.
const LEAST_SHARE: u64 = 20;

/// Whether a search that keeps `ef` candidates is expected to be faster than a scan of so many rows.
pub fn pays(rows: u64, ef: usize) -> bool {
    rows >= (ef as u64).saturating_mul(COMPARED_EACH * SCANNED_AT_ONCE)
}

/// Rows that graphs stand for.
#[derive(Default)]
pub(super) struct GraphRows {
    rows: u64,
    /// Those of them that were found and are scored.
    found: u64,
    /// Those that have no vector to compare, where that is known: of segments none of whose rows are
    /// deleted or filtered out.
    excluded: ExcludedCounts,
}

impl GraphRows {
    fn add(&mut self, passing: u64, header: &GraphHeader) {
        self.rows += passing;
        if passing == header.vectors {
            self.excluded.no_scored += header.left_out.no_scored;
            self.excluded.non_finite += header.left_out.non_finite;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.excluded.merge(&other.excluded);
    }

    /// Lets the summary of scoring what was found count what was looked through.
    pub(super) fn count(&self, summary: &mut ScanSummary) {
        summary.scanned = summary.scanned.saturating_sub(self.found) + self.rows;
        summary.eligible =
            summary.eligible.saturating_sub(self.found) + self.rows.saturating_sub(self.excluded.total());
        summary.excluded.merge(&self.excluded);
    }
}

/// What was done to find the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct SearchCounts {
    /// Segments whose graph was searched.
    pub graphs: u64,
    /// Vectors that were compared in graphs.
    pub compared: u64,
    /// Segments that have no graph that can be used, all of whose rows were scored.
    pub without: u64,
    /// Segments with a graph that was not used or did not lead to as many rows as were asked for.
    pub scanned: u64,
}

impl SearchCounts {
    pub(super) fn merge(&mut self, other: &Self) {
        self.graphs += other.graphs;
        self.compared += other.compared;
        self.without += other.without;
        self.scanned += other.scanned;
    }
}

struct Unit {
    pool: usize,
    segment: usize,
}

#[derive(Default)]
pub(super) struct ThreadMatches {
    pub(super) way: SearchCounts,
    /// Segments without a graph for which one would be searched.
    pub(super) missed: u64,
    /// Their pools.
    pub(super) lacking: BTreeSet<usize>,
    /// What is wrong with graphs that would be searched.
    pub(super) unusable: BTreeSet<String>,
    /// Distance, pool and row.
    near: Vec<(f32, usize, u64)>,
    /// Pools and ranges of rows that are scanned.
    scans: Vec<(usize, Range<u64>)>,
    pub(super) through: GraphRows,
}

impl ThreadMatches {
    fn merge(&mut self, other: Self) {
        self.way.merge(&other.way);
        self.missed += other.missed;
        self.lacking.extend(other.lacking);
        self.unusable.extend(other.unusable);
        self.near.extend(other.near);
        self.scans.extend(other.scans);
        self.through.merge(&other.through);
    }
}

/// A search of the pools' graphs.
pub(super) struct Search<'a> {
    pub(super) pools: Vec<(&'a FeatureReader, &'a RowSet)>,
    /// In f16, of length 1.
    pub(super) query: &'a [f16],
    pub(super) k: usize,
    pub(super) ef: usize,
    /// Whether graphs are left out that take longer than a scan, or are damaged.
    pub(super) choosy: bool,
    pub(super) filter: Option<&'a RowFilter>,
    pub(super) graphs: &'a Graphs,
    pub(super) cancel: &'a Cancel,
}

impl Search<'_> {
    fn mask(&self, pool: usize) -> Option<&RowMask> {
        self.filter.and_then(|filter| filter.pool(pool))
    }

    pub(super) fn run(&self, threads: usize) -> Result<ThreadMatches, QueryError> {
        let mut units = Vec::new();
        for (pool, (reader, _)) in self.pools.iter().enumerate() {
            units.extend((0..reader.segments().len()).map(|segment| Unit { pool, segment }));
        }
        let parts = parallel::unordered::<_, QueryError>(
            units.len(),
            threads,
            self.cancel,
            ThreadMatches::default,
            |part, at| self.segment(&units[at], part),
        )?;
        let mut all = ThreadMatches::default();
        parts.into_iter().for_each(|part| all.merge(part));
        Ok(all)
    }

    /// Searches a segment, or says that it is to be scanned.
    fn segment(&self, unit: &Unit, part: &mut ThreadMatches) -> Result<(), QueryError> {
        let pool = unit.pool;
        let (reader, candidates) = self.pools[pool];
        let segment = &reader.segments()[unit.segment];
        let range = segment.range();
        let live = candidates.within(range.clone());
        let passing: u64 = match self.mask(pool) {
            None => live.map(|rows| rows.end - rows.start).sum(),
            Some(mask) => live.map(|rows| mask.rows_in(rows).count() as u64).sum(),
        };
        if passing == 0 {
            return Ok(());
        }
        let is_wanted = !self.choosy || pays(passing, self.ef);
        let searched = self.graphs.get(reader, segment).and_then(|graph| {
            let Some(graph) = graph else { return Ok(None) };
            let found = if is_wanted { self.walk(&graph, pool, passing)? } else { None };
            Ok(Some((graph, found)))
        });
        let name = || reader.part().display_name();
        match searched {
            Ok(Some((graph, Some(found)))) => {
                part.way.graphs += 1;
                part.way.compared += found.compared;
                part.through.add(passing, graph.header());
                part.near.extend(found.rows.into_iter().map(|(distance, row)| (distance, pool, row)));
                return Ok(());
            }
            Ok(Some((_, None))) => part.way.scanned += 1,
            Ok(None) => {
                part.way.without += 1;
                if is_wanted {
                    part.missed += 1;
                    part.lacking.insert(pool);
                }
            }
            Err(error) if is_of_cancel(&error) => return Err(error),
            Err(error) if !self.choosy || !is_damage(&error) => return Err(named(error, &name())),
            Err(error) => {
                part.way.without += 1;
                if is_wanted {
                    part.unusable.insert(match error {
                        QueryError::Read(error) => unusable(&error, KIND, &name()),
                        QueryError::Graph(why) => why,
                        other => other.to_string(),
                    });
                }
            }
        }
        part.scans.push((pool, range));
        Ok(())
    }

    /// What a graph finds, `passing` rows of which are candidates; `None` where a scan is
    /// faster, or finds more.
    fn walk(&self, graph: &Graph, pool: usize, passing: u64) -> Result<Option<NearestRows>, QueryError> {
        let is_few = passing.saturating_mul(LEAST_SHARE) < graph.header().indexed;
        if is_few && self.choosy {
            return Ok(None);
        }
        let (candidates, mask) = (self.pools[pool].1, self.mask(pool));
        let allowed = |row: u64| candidates.contains(row) && mask.is_none_or(|mask| mask.contains(row));
        // A walk that took as long as a scan would is none to go on with.
        let budget = if self.choosy { passing / SCANNED_AT_ONCE } else { u64::MAX };
        let found = graph.search(self.query, self.ef, allowed, budget, self.cancel)?;
        // Rows without a direction are in no graph, and a graph may have parts that no edge leads to.
        let least = (self.k as u64).min(passing);
        Ok(found.filter(|found| found.rows.len() as u64 >= least))
    }

    /// The rows that are scored: the nearest that graphs found, and those of the segments that are scanned.
    pub(super) fn candidates(&self, part: &mut ThreadMatches) -> RowFilter {
        // Distances of the graph are of rounded vectors: rows at the edge may change places,
        // so a few more are scored.
        part.near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        part.near.truncate(self.k.saturating_add(self.k / 2).saturating_add(16));
        part.through.found =
            part.near.iter().map(|near| (near.1, near.2)).collect::<BTreeSet<_>>().len() as u64;
        let mut candidates = RowFilter::new();
        for (pool, (_, live)) in self.pools.iter().enumerate() {
            let mut rows: RowMask = part.near.iter().filter(|n| n.1 == pool).map(|n| n.2).collect();
            for (_, range) in part.scans.iter().filter(|scan| scan.0 == pool) {
                for live in live.within(range.clone()) {
                    match self.mask(pool) {
                        None => rows.extend(live),
                        Some(mask) => rows.extend(mask.rows_in(live)),
                    }
                }
            }
            candidates = candidates.with(pool, rows);
        }
        candidates
    }
}

/// Whether a file of a graph is not what was written.
fn is_damage(error: &QueryError) -> bool {
    matches!(error, QueryError::Graph(_)) || error.is_damage()
}

/// Damage of a graph of a feature, with the command that builds it again.
fn named(error: QueryError, feature: &str) -> QueryError {
    match error {
        QueryError::Read(ReadError::Storage(StorageError::Damaged(mut damage))) => {
            damage.affected = Some(index_remedy(Remedy::Index { kind: KIND, feature, rebuild: false }));
            ReadError::from(StorageError::Damaged(damage)).into()
        }
        other => other,
    }
}
