//! Execution of one question: choose rows, score them, cut, then read the survivors' columns.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::UInt64Array;
use arrow_schema::SchemaRef;
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder};
use gstore_query::influence::{
    Collector, Diversity, ExcludedCounts, Order, Ranking, RowFilter, RowMask, ScanSummary, Scored,
    SelectRequest, ranking_bytes,
};

use super::question::{InfluenceQuestion, RankedRelation, hold_inverses};
use super::search::NearestSearch;
use crate::blocking::{BatchSink, Demand};
use crate::distinct::distinct;
use crate::error::SqlError;
use crate::filter::Filter;
use crate::leaf::{ReadRequest, batch_of};
use crate::notes::{InfluenceNote, RunNotes, ScanCounters};

/// One run of an `InfluenceExec`.
pub(super) struct InfluenceJob {
    pub(super) question: Arc<InfluenceQuestion>,
    pub(super) projection: Vec<usize>,
    pub(super) schema: SchemaRef,
    pub(super) before: Arc<Filter>,
    pub(super) after: Filter,
    pub(super) order: Option<Order>,
    pub(super) cut: Option<usize>,
    pub(super) batch: usize,
    pub(super) threads: usize,
    pub(super) notes: Option<Arc<RunNotes>>,
    pub(super) memory: MemoryReservation,
    /// Whether others ask than the session's owner.
    pub(super) served: bool,
    pub(super) metrics: BaselineMetrics,
    pub(super) set: ExecutionPlanMetricsSet,
    pub(super) partition: usize,
}

impl InfluenceJob {
    pub(super) fn run(self, candidates: RowFilter, sink: &BatchSink) -> Result<(), SqlError> {
        if self.cut == Some(0) {
            return Ok(());
        }
        let Some(rows) = self.choose(candidates, sink)? else { return Ok(()) };
        let limited = self.served.then_some(&self.memory);
        hold_inverses(&self.question.plan, limited, self.threads, &sink.cancelled())?;
        match self.order {
            Some(order) => self.ranked(order, &rows, sink),
            None => self.streamed(&rows, sink),
        }
    }

    /// Takes memory until the run ends.
    fn hold(&self, bytes: usize) -> Result<(), SqlError> {
        Ok(self.memory.try_grow(bytes)?)
    }

    /// Candidates that pass the filters over the pools' columns; `None` when they are not awaited any more.
    fn choose(&self, mut chosen: RowFilter, sink: &BatchSink) -> Result<Option<RowFilter>, SqlError> {
        if self.before.is_empty() {
            return Ok(Some(chosen));
        }
        let columns = &self.question.columns;
        let have = distinct(self.before.columns().iter().copied().chain([columns.row]));
        let number = have.iter().position(|c| *c == columns.row).unwrap_or(0);
        let rows = self.before.row_bounds(columns.row);
        let filter = Some(Arc::clone(&self.before));
        let want = ReadRequest { rows, filter, ..ReadRequest::columns(have.clone(), sink) };
        for pool in 0..columns.samples.parts.len() {
            let mut rows = RowMask::new();
            columns.samples.read_part(pool, &want, &mut |batch| {
                let batch = self.before.apply(&have, batch)?;
                let numbers = batch.column(number).as_any().downcast_ref::<UInt64Array>();
                let numbers = numbers.ok_or_else(|| SqlError::internal("row numbers"))?.values();
                let is_candidate = |row: &u64| chosen.pool(pool).is_none_or(|of| of.contains(*row));
                rows.extend(numbers.iter().copied().filter(is_candidate));
                Ok(if sink.is_cancelled() { Demand::Enough } else { Demand::More })
            })?;
            chosen = chosen.with(pool, rows);
        }
        Ok((!sink.is_cancelled()).then_some(chosen))
    }

    /// Scores everything, then delivers in order of the score.
    fn ranked(&self, order: Order, rows: &RowFilter, sink: &BatchSink) -> Result<(), SqlError> {
        let most = self.question.plan.most_results();
        let k = self.cut.unwrap_or(usize::MAX).min(most);
        let bytes = ranking_bytes(k, most, self.threads.max(1))
            .saturating_add(k.saturating_mul(2 * size_of::<Scored>()));
        self.hold(bytes)?;
        let best = match self.after.is_empty() {
            true => {
                let timer = MetricBuilder::new(&self.set).subset_time("score_time", self.partition);
                let _running = timer.timer();
                let ranking = self.rank(order, k, rows, sink)?;
                self.note(&ranking.summary, self.decided_by(&ranking.rows)?);
                ranking.rows
            }
            false => self.ranked_after(order, k, rows, sink)?,
        };
        for part in best.chunks(self.rows_at_once()) {
            if self.deliver(part, sink)? == Demand::Enough {
                break;
            }
        }
        Ok(())
    }

    fn rank(
        &self,
        order: Order,
        k: usize,
        chosen: &RowFilter,
        sink: &BatchSink,
    ) -> Result<Ranking, SqlError> {
        let plan = &self.question.plan;
        let (threads, cancel) = (self.threads, &sink.cancelled());
        // As many are looked for as the relation has, whatever of it is read.
        let asked = self.question.relation.k().unwrap_or(k);
        let wanted = asked.min(plan.most_results());
        let found = match &self.question.relation {
            RankedRelation::Nearest { search, .. } if self.cut.is_some() => {
                let NearestSearch { options, graphs, .. } = search;
                let found = plan.nearest(wanted, Some(chosen), options, graphs, (threads, cancel));
                found.map(|(ranking, _)| ranking)
            }
            RankedRelation::SelfInfluence { .. } => plan.top_k_self(order, k, Some(chosen), threads, cancel),
            RankedRelation::Best { rules, .. } if *rules != Diversity::default() => {
                let memory = match rules.distinct {
                    Some(_) => plan.vector_bytes().saturating_mul(wanted),
                    None => 0,
                };
                self.hold(memory)?;
                let filter = Some(chosen);
                let request = SelectRequest { order, k: asked, filter, diversity: rules, threads, memory };
                plan.select(&request, cancel).map(|selection| selection.ranking)
            }
            RankedRelation::All | RankedRelation::Best { .. } | RankedRelation::Nearest { .. } => {
                plan.top_k(order, k, Some(chosen), threads, cancel)
            }
        };
        let mut ranking = found?;
        ranking.rows.truncate(k);
        Ok(ranking)
    }

    /// As [`InfluenceJob::ranked`], where a filter over the results comes before the cut.
    fn ranked_after(
        &self,
        order: Order,
        k: usize,
        rows: &RowFilter,
        sink: &BatchSink,
    ) -> Result<Vec<Scored>, SqlError> {
        let mut kept = Collector::new(order, k, self.question.plan.spec().per_token);
        self.score(rows, sink, |part| {
            self.pass(part, sink)?.iter().for_each(|s| kept.push(s));
            Ok(Demand::More)
        })?;
        Ok(kept.into_rows())
    }

    /// Delivers in order of pool and row while scoring goes on.
    fn streamed(&self, rows: &RowFilter, sink: &BatchSink) -> Result<(), SqlError> {
        let mut left = self.cut.unwrap_or(usize::MAX);
        self.score(rows, sink, |part| {
            let mut passed = self.pass(part, sink)?;
            passed.truncate(left);
            left -= passed.len();
            if self.deliver(&passed, sink)? == Demand::Enough {
                return Ok(Demand::Enough);
            }
            Ok(if left == 0 || sink.is_cancelled() { Demand::Enough } else { Demand::More })
        })
    }

    /// Ranked rows whose columns are read together. They lie scattered over the sample files, so each reading
    /// may touch every page; few readings, then, but not so many rows that their text fills the memory.
    fn rows_at_once(&self) -> usize {
        let records = self.question.columns.reads_records(&self.projection);
        if records { self.batch } else { self.batch.saturating_mul(32) }
    }

    /// Scores in order of pool and row, a batch at a time, until `each` has enough.
    fn score(
        &self,
        rows: &RowFilter,
        sink: &BatchSink,
        mut each: impl FnMut(&[Scored]) -> Result<Demand, SqlError>,
    ) -> Result<(), SqlError> {
        let mut waiting: Vec<Scored> = Vec::with_capacity(self.batch);
        let mut failed = None;
        let mut finished = false;
        let mut hand_over = |waiting: &mut Vec<Scored>| {
            let demand = each(waiting);
            waiting.clear();
            match demand {
                Ok(Demand::More) => ControlFlow::Continue(()),
                Ok(Demand::Enough) => {
                    finished = true;
                    ControlFlow::Break(())
                }
                Err(e) => {
                    failed = Some(e);
                    ControlFlow::Break(())
                }
            }
        };
        let plan = &self.question.plan;
        // A slice can have the tokens of a whole cell, many more than a batch.
        let mut take = |mut scored: &[Scored]| {
            while !scored.is_empty() {
                let room = self.batch.saturating_sub(waiting.len());
                let (now, later) = scored.split_at(room.min(scored.len()));
                waiting.extend_from_slice(now);
                scored = later;
                if waiting.len() >= self.batch {
                    hand_over(&mut waiting)?;
                }
            }
            ControlFlow::Continue(())
        };
        let cancel = &sink.cancelled();
        let scanned = match self.question.relation {
            RankedRelation::SelfInfluence { .. } => {
                plan.self_scores(Some(rows), self.threads, cancel, &mut take)
            }
            RankedRelation::All | RankedRelation::Best { .. } | RankedRelation::Nearest { .. } => {
                plan.scores(Some(rows), self.threads, cancel, take)
            }
        };
        if !waiting.is_empty() && scanned.is_ok() {
            let _ = hand_over(&mut waiting);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let mut summary = scanned?;
        if finished {
            // It did not come to all rows, so that nothing is known of how many it leaves out.
            summary.excluded = ExcludedCounts::default();
            summary.whole_rows = 0;
        }
        self.note(&summary, None);
        Ok(())
    }

    /// The target that decided nearly all of these rows, and how many. Where targets or their samples take
    /// rows in turn, each has its share already.
    fn decided_by(&self, rows: &[Scored]) -> Result<Option<(String, u64)>, SqlError> {
        let compete = match &self.question.relation {
            RankedRelation::All => true,
            RankedRelation::Best { rules, .. } => rules.round_robin.is_none(),
            RankedRelation::Nearest { .. } | RankedRelation::SelfInfluence { .. } => false,
        };
        if !compete || self.notes.is_none() {
            return Ok(None);
        }
        let decided = self.question.plan.decided_by(rows)?;
        Ok(decided.map(|(target, count)| (target.to_owned(), count)))
    }

    fn note(&self, summary: &ScanSummary, decided_by: Option<(String, u64)>) {
        ScanCounters::new(&self.set, self.partition).add(summary);
        if let Some(notes) = &self.notes {
            let plan = &self.question.plan;
            let mut note = InfluenceNote::new(plan, summary.clone());
            if let RankedRelation::Nearest { search, .. } = &self.question.relation {
                note.resolution = search.note.iter().chain(plan.notes()).cloned().collect();
            }
            note.resolution.extend_from_slice(&self.question.columns.notes);
            notes.add(InfluenceNote { decided_by, ..note });
        }
    }

    /// The scored rows that pass the filters over the results.
    fn pass(&self, part: &[Scored], sink: &BatchSink) -> Result<Vec<Scored>, SqlError> {
        if self.after.is_empty() {
            return Ok(part.to_vec());
        }
        let have = self.after.columns();
        let mut passed = Vec::with_capacity(part.len());
        self.question.columns_of(part, have, self.batch, &sink.cancelled(), |part, batch| {
            match self.after.mask(have, &batch)? {
                None => passed.extend_from_slice(part),
                Some(mask) => passed
                    .extend(part.iter().zip(mask.iter()).filter(|(_, m)| *m == Some(true)).map(|(s, _)| *s)),
            }
            Ok(Demand::More)
        })?;
        Ok(passed)
    }

    fn deliver(&self, part: &[Scored], sink: &BatchSink) -> Result<Demand, SqlError> {
        self.question.columns_of(part, &self.projection, self.batch, &sink.cancelled(), |_, batch| {
            let batch = batch_of(Arc::clone(&self.schema), batch.columns().to_vec(), batch.num_rows())?;
            self.metrics.record_output(batch.num_rows());
            Ok(sink.send(batch))
        })
    }
}
