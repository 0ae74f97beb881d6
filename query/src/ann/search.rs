//! The rows nearest to a question's vector: candidates from graphs where there are any, scored by the exact scan.
//!
//! Invariants
//! - the score of a row has the bits that the exact scan gives it, and the order is the exact scan's
//! - a row is missed only by a graph: segments without one are scanned
//! - deleted rows, and those that the filter leaves out, are never candidates

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use gstore_store::{FeatureReader, RowSet};
use half::f16;
use serde::Serialize;

use super::files::Graphs;
use super::format::GraphHeader;
use crate::error::QueryError;
use crate::influence::{
    ExcludedCounts, InfluencePlan, Order, Ranking, RowFilter, RowMask, ScanSummary, Sim, drive,
};

/// Candidates that a search keeps at least.
const LEAST_EF: usize = 128;
/// Rows that a scan compares in the time in which a search compares one: it reads vectors in the order in which they lie.
const SCANNED_AT_ONCE: u64 = 4;
/// Vectors that a search compares for each candidate that it keeps, about.
const COMPARED_EACH: u64 = 16;
/// One of so many rows must be let through by a filter, or those that are get scanned. A walk has to pass all others on its way.
const LEAST_SHARE: u64 = 20;

/// How neighbours are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NearestOptions {
    /// Candidates that a search of a graph keeps; more find more and take longer. By default 128 or twice the number of rows asked for.
    pub ef: Option<usize>,
    /// `true` scans; `false` searches every graph there is; by default graphs are searched where that is faster.
    pub exact: Option<bool>,
}

/// Whether a search that keeps `ef` candidates is expected to be faster than a scan of so many rows.
pub(crate) fn pays(rows: u64, ef: usize) -> bool {
    rows >= (ef as u64).saturating_mul(COMPARED_EACH * SCANNED_AT_ONCE)
}

/// What was done to find the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Way {
    /// Segments whose graph was searched.
    pub graphs: u64,
    /// Vectors that were compared in graphs.
    pub compared: u64,
    /// Segments that have no graph, all of whose rows were scored.
    pub without: u64,
    /// Segments with a graph that was not used or did not lead to as many rows as were asked for.
    pub scanned: u64,
}

impl Way {
    /// Puts the guarantee, and what a user should know of it, into what is said of the answer; `lacking`: the features of segments without a graph.
    fn tell(&self, ef: usize, lacking: &[String], summary: &mut ScanSummary) {
        let Self { graphs, compared, without, scanned } = self;
        if *graphs > 0 {
            summary.guarantee =
                "approximate: similarities are exact, some of the nearest rows may be missing".to_owned();
            summary.notes.push(format!(
                "{compared} vectors were compared in the graphs of {} (ef {ef}); {} rows were scored",
                many(*graphs),
                summary.rows_scored
            ));
            if *scanned > 0 {
                summary.notes.push(format!(
                    "{} with a graph {} scanned all the same, which was faster, or found as many rows as were asked for",
                    many(*scanned),
                    were(*scanned)
                ));
            }
        }
        if *without > 0 {
            summary.notes.push(format!(
                "{} no graph and {} scanned; `gstore index --hnsw {}` makes what is missing",
                if *without == 1 { "1 segment has".to_owned() } else { format!("{without} segments have") },
                were(*without),
                lacking.join(" ")
            ));
        }
    }
}

fn many(segments: u64) -> String {
    format!("{segments} segment{}", if segments == 1 { "" } else { "s" })
}

fn were(segments: u64) -> &'static str {
    if segments == 1 { "was" } else { "were" }
}

/// Part of a search: a segment of a pool.
struct Unit {
    pool: usize,
    segment: usize,
}

/// What a thread has found.
#[derive(Default)]
struct Part {
    way: Way,
    /// Pools with a segment that has no graph.
    lacking: BTreeSet<usize>,
    /// Distance, pool and row.
    near: Vec<(f32, usize, u64)>,
    /// Pools and ranges of rows that are scanned.
    scans: Vec<(usize, std::ops::Range<u64>)>,
    /// What was looked through by graphs.
    through: Through,
}

/// Rows that graphs stand for.
#[derive(Default)]
struct Through {
    rows: u64,
    /// Those of them that have no vector to compare, where that is known: of segments none of whose rows are deleted or filtered out.
    excluded: ExcludedCounts,
}

impl Through {
    fn add(&mut self, passing: u64, header: &GraphHeader) {
        self.rows += passing;
        if passing == header.vectors {
            self.excluded.no_scored += header.left_out.no_scored;
            self.excluded.non_finite += header.left_out.non_finite;
        }
    }

    /// Lets the summary of scoring what was found count what was looked through.
    fn count(&self, found: u64, summary: &mut ScanSummary) {
        summary.scanned = summary.scanned.saturating_sub(found) + self.rows;
        summary.eligible =
            summary.eligible.saturating_sub(found) + self.rows.saturating_sub(self.excluded.total());
        summary.excluded.merge(&self.excluded);
    }
}

impl InfluencePlan {
    /// The k rows nearest to the question's vector. The question has one target vector, one checkpoint and cosines.
    ///
    /// # Errors
    /// Those of [`InfluencePlan::top_k`]; damaged graphs; a question of another form.
    pub fn nearest(
        &self,
        k: usize,
        filter: Option<&RowFilter>,
        options: &NearestOptions,
        graphs: &Graphs,
        (threads, cancel): (usize, &AtomicBool),
    ) -> Result<(Ranking, Way), QueryError> {
        let side = self.neighbours(cancel)?;
        let pools: Vec<(&FeatureReader, &RowSet)> = side.pools().collect();
        let Some(query) = side.query.as_ref().filter(|_| options.exact != Some(true)) else {
            let scanned = pools.iter().map(|(reader, _)| reader.segments().len() as u64).sum();
            let ranking = self.top_k(Order::Best, k, filter, threads, cancel)?;
            return Ok((ranking, Way { scanned, ..Way::default() }));
        };
        let ef = Self::nearest_ef(k, options);
        let mut units = Vec::new();
        for (pool, (reader, _)) in pools.iter().enumerate() {
            units.extend((0..reader.segments().len()).map(|segment| Unit { pool, segment }));
        }
        let parts = drive::unordered(units.len(), threads, cancel, Part::default, |part, at| {
            let Unit { pool, segment } = units[at];
            let (reader, candidates) = pools[pool];
            let segment = &reader.segments()[segment];
            let range = segment.range();
            let mask = filter.and_then(|filter| filter.pool(pool));
            let live = candidates.within(range.clone());
            let passing: u64 = match mask {
                None => live.map(|rows| rows.end - rows.start).sum(),
                Some(mask) => live.map(|rows| mask.rows_in(rows).count() as u64).sum(),
            };
            if passing == 0 {
                return Ok(());
            }
            let Some(graph) = graphs.get(reader, segment)? else {
                part.way.without += 1;
                part.lacking.insert(pool);
                part.scans.push((pool, range));
                return Ok(());
            };
            let few = !pays(passing, ef) || passing.saturating_mul(LEAST_SHARE) < graph.header().indexed;
            let found = match few && options.exact.is_none() {
                true => None,
                false => {
                    let allowed =
                        |row: u64| candidates.contains(row) && mask.is_none_or(|mask| mask.contains(row));
                    // A walk that took as long as a scan would is none to go on with.
                    let budget = if options.exact.is_none() { passing / SCANNED_AT_ONCE } else { u64::MAX };
                    let found = graph.search(query, ef, allowed, budget, cancel)?;
                    // Rows without a direction are in no graph, and a graph may have parts that no edge leads to.
                    let least = (k as u64).min(passing);
                    found.filter(|found| found.rows.len() as u64 >= least)
                }
            };
            match found {
                Some(found) => {
                    part.way.graphs += 1;
                    part.way.compared += found.compared;
                    part.through.add(passing, graph.header());
                    part.near.extend(found.rows.into_iter().map(|(distance, row)| (distance, pool, row)));
                }
                None => {
                    part.way.scanned += 1;
                    part.scans.push((pool, range));
                }
            }
            Ok(())
        })?;
        let mut way = Way::default();
        let (mut near, mut scans, mut lacking) = (Vec::new(), Vec::new(), BTreeSet::new());
        let mut through = Through::default();
        for part in parts {
            way.graphs += part.way.graphs;
            way.compared += part.way.compared;
            way.without += part.way.without;
            way.scanned += part.way.scanned;
            through.rows += part.through.rows;
            through.excluded.merge(&part.through.excluded);
            near.extend(part.near);
            scans.extend(part.scans);
            lacking.extend(part.lacking);
        }
        let lacking: Vec<String> =
            lacking.into_iter().map(|pool: usize| pools[pool].0.part().display_name()).collect();
        if way.graphs == 0 {
            let mut ranking = self.top_k(Order::Best, k, filter, threads, cancel)?;
            way.tell(ef, &lacking, &mut ranking.summary);
            return Ok((ranking, way));
        }
        // Distances of the graph are of rounded vectors: rows at the edge may change places, so a few more are scored.
        near.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        near.truncate(k.saturating_add(k / 2).saturating_add(16));
        let found = near.iter().map(|near| (near.1, near.2)).collect::<BTreeSet<_>>().len() as u64;
        let mut candidates = RowFilter::new();
        for (pool, (_, live)) in pools.iter().enumerate() {
            let mask = filter.and_then(|filter| filter.pool(pool));
            let mut rows: RowMask = near.iter().filter(|n| n.1 == pool).map(|n| n.2).collect();
            for (_, range) in scans.iter().filter(|scan| scan.0 == pool) {
                for live in live.within(range.clone()) {
                    match mask {
                        None => rows.extend(live),
                        Some(mask) => rows.extend(mask.rows_in(live)),
                    }
                }
            }
            candidates = candidates.with(pool, rows);
        }
        let mut ranking = self.top_k(Order::Best, k, Some(&candidates), threads, cancel)?;
        through.count(found, &mut ranking.summary);
        (ranking.eligible, ranking.excluded) = (ranking.summary.eligible, ranking.summary.excluded);
        way.tell(ef, &lacking, &mut ranking.summary);
        Ok((ranking, way))
    }

    /// The number of candidates that a search for k rows keeps.
    pub fn nearest_ef(k: usize, options: &NearestOptions) -> usize {
        options.ef.unwrap_or_else(|| LEAST_EF.max(k.saturating_mul(2))).max(k).max(1)
    }

    /// Whether the question is one about neighbours.
    pub(crate) fn is_about_neighbours(&self) -> Result<(), QueryError> {
        let spec = self.spec();
        if spec.sim == Sim::Dot {
            return Err(QueryError::Graph(super::NO_DOT.to_owned()));
        }
        if self.checkpoints().len() > 1 {
            let names: Vec<String> =
                self.checkpoints().iter().map(|checkpoint| format!("`{}`", checkpoint.name)).collect();
            return Err(QueryError::Spec(format!(
                "the pool has these vectors at {} checkpoints, and neighbours are looked for at one; name it with `checkpoint`: {}",
                names.len(),
                names.join(", ")
            )));
        }
        if self.checkpoints().is_empty() || spec.per_token || spec.modules.is_some() {
            return Err(QueryError::Spec(
                "neighbours are looked for among whole vectors of samples".to_owned(),
            ));
        }
        Ok(())
    }
}

/// Why a vector has no direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoDirection {
    /// Its length is zero.
    Zero,
    /// It is not finite.
    NotFinite,
}

/// The vector of length 1 in f16.
pub(crate) fn unit(vector: &[f32]) -> Result<impl Iterator<Item = f16> + '_, NoDirection> {
    // Squares of f32 do not overflow in f64, nor do those of the smallest vanish.
    let length = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
    if length == 0.0 {
        return Err(NoDirection::Zero);
    }
    if !length.is_finite() {
        return Err(NoDirection::NotFinite);
    }
    Ok(vector.iter().map(move |x| f16::from_f64(f64::from(*x) / length)))
}
