//! `influence(..., each => ...)`: a ranking for each subtask, target or sample, one after the other.
//!
//! Invariants
//! - rankings come in the order of the library's, rows in the order of their ranks
//! - targets are taken in groups whose vectors and candidates fit into the memory limit; a group is
//!   a pass over the pools

use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit};
use gstore_query::influence::{
    Diversity, EXACT, Each, EachRanking, EachRequest, NO_SUBTASK, Options, Order, Prepared, Rankings,
    ScanSummary, Scored, TargetNames, TargetRow, TargetSamples, small_bytes,
};

use super::columns::{Besides, InfluenceColumns};
use super::hold_inverses;
use super::table::{Question, Relation};
use crate::blocking::Demand;
use crate::error::SqlError;
use crate::leaf::{self, Rows, Want};
use crate::notes::InfluenceNote;
use crate::samples::arrow;

/// Columns in front of those of `influence()`.
const OWN: usize = 2;

/// Most bytes that rankings take where the engine has no limit.
const MEMORY: usize = 1 << 30;

/// What is asked for each of.
#[derive(Debug, Clone, Copy)]
pub(super) struct EachOptions {
    pub(super) each: Each,
    pub(super) order: Order,
    pub(super) k: usize,
}

impl EachOptions {
    /// The unit that has its own ranking, if there is one for each.
    pub(super) fn read(
        options: &Options,
        k: Option<usize>,
        rules: &Diversity,
        besides: Besides,
    ) -> Result<Option<Self>, SqlError> {
        let refuse = |why: &str, option| Err(SqlError::invalid(why.to_owned()).about(option));
        let order = options.word("order").map_err(SqlError::option)?;
        let Some(each) = options.each("each").map_err(SqlError::option)? else {
            return match order {
                Some(_) if *rules == Diversity::default() => refuse(
                    "`order` is an option of `each` and of the rules of a ranking; elsewhere ORDER BY score says it",
                    "order",
                ),
                _ => Ok(None),
            };
        };
        let Some(k) = k else {
            return refuse("`each` gives rankings of a given length; say how long with k => n", "each");
        };
        if *rules != Diversity::default() {
            return refuse(
                "quota, distinct and round_robin are rules of one ranking, so they cannot go with `each`",
                "each",
            );
        }
        if besides.explanation {
            return refuse(
                "`explain` says what stands behind the score of a whole question; leave it or `each` out",
                "explain",
            );
        }
        Ok(Some(Self { each, order: order.unwrap_or(Order::Best), k }))
    }
}

/// The rankings of a question as rows.
pub(super) struct EachRows {
    plan: Prepared,
    columns: Arc<InfluenceColumns>,
    options: EachOptions,
    schema: SchemaRef,
}

impl std::fmt::Debug for EachRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.describe().1)
    }
}

/// What is known of the answer so far.
struct Seen {
    summary: Option<ScanSummary>,
    passes: usize,
}

impl EachRows {
    pub(super) fn new(plan: Prepared, columns: InfluenceColumns, options: EachOptions) -> Self {
        let mut fields: Vec<Arc<Field>> = vec![
            Arc::new(Field::new("target", DataType::Utf8, false)),
            Arc::new(Field::new("rank", DataType::UInt64, false)),
        ];
        fields.extend(columns.schema().fields().iter().cloned());
        Self { plan, columns: Arc::new(columns), options, schema: Arc::new(Schema::new(fields)) }
    }

    /// The samples of each pass; one pass of all where a ranking is of a whole target.
    fn passes<'a>(&self, samples: &'a TargetSamples, threads: usize, memory: usize) -> Vec<&'a [TargetRow]> {
        let rows = &samples.rows[..];
        let vectors = usize::try_from(self.plan.ranked_sample_bytes()).unwrap_or(usize::MAX);
        let k = self.options.k.min(usize::try_from(self.plan.most_results()).unwrap_or(usize::MAX));
        // As `top_k_each` counts them.
        let candidates = small_bytes(k, threads.max(1));
        let ends: Vec<usize> = match self.options.each {
            Each::Target => return vec![rows],
            Each::Sample => (1..=rows.len()).collect(),
            Each::Subtask => {
                let last = |i: &usize| rows.get(*i).is_none_or(|next| next.subtask != rows[i - 1].subtask);
                (1..=rows.len()).filter(last).collect()
            }
        };
        let mut passes = Vec::new();
        let (mut start, mut end, mut bytes) = (0, 0, 0usize);
        for next in ends {
            let own = candidates.saturating_add((next - end).saturating_mul(vectors));
            if end > start && bytes.saturating_add(own) > memory {
                passes.push(&rows[start..end]);
                (start, bytes) = (end, 0);
            }
            end = next;
            bytes = bytes.saturating_add(own);
        }
        passes.push(&rows[start..end]);
        passes
    }

    /// Delivers the rankings of one pass.
    fn pass(
        &self,
        plan: Prepared,
        whole: &TargetSamples,
        (want, memory): (&Want, usize),
        seen: &mut Seen,
        each: leaf::Each<'_>,
    ) -> Result<Demand, SqlError> {
        let EachOptions { each: of, order, k } = self.options;
        // Samples that are given with the question are one subtask of no dataset.
        let of = if plan.targets().is_empty() && of == Each::Target { Each::Subtask } else { of };
        let request = EachRequest { each: of, order, k, filter: None, threads: want.threads, memory };
        let found = plan.top_k_each(&request, &want.cancelled).map_err(SqlError::query)?;
        let Rankings { rankings, summary, .. } = found;
        seen.add(summary);
        let names = self.names(&plan, whole, &rankings)?;
        let question = Question { plan, columns: Arc::clone(&self.columns), relation: Relation::All };
        let inner: Vec<usize> = want.columns.iter().filter(|c| **c >= OWN).map(|c| c - OWN).collect();
        let most = if inner.contains(&self.columns.record) { 1024 } else { 32 * 1024 };
        // What is delivered is not kept.
        for (ranking, name) in rankings.into_iter().zip(names) {
            let own = self.of_one(&question, whole, &ranking, want)?;
            let (question, rows) = match &own {
                Some((own, rows)) => (own, rows),
                None => (&question, &ranking.rows),
            };
            let mut rank = 0u64;
            for part in rows.chunks(most) {
                let demand = question.columns_of(part, &inner, most, &want.cancelled, |scored, batch| {
                    let first = rank + 1;
                    rank += scored.len() as u64;
                    each(self.batch(&name, first..rank + 1, &want.columns, &batch)?)
                })?;
                if demand == Demand::Enough {
                    return Ok(Demand::Enough);
                }
            }
        }
        Ok(Demand::More)
    }

    /// The question about what one ranking is for, where its rows have columns that depend on it: errors of
    /// covariances. Its subtasks have numbers of their own.
    fn of_one(
        &self,
        pass: &Question,
        whole: &TargetSamples,
        ranking: &EachRanking,
        want: &Want,
    ) -> Result<Option<(Question, Vec<Scored>)>, SqlError> {
        let errors = self.columns.errors;
        if !want.columns.iter().any(|c| *c >= OWN && errors.is_some_and(|errors| errors.has(c - OWN))) {
            return Ok(None);
        }
        let is_own = |row: &&TargetRow| match (self.options.each, ranking.sample) {
            (_, Some(sample)) => (row.target, row.row) == (sample.target, sample.row),
            (Each::Target, None) => {
                let target = pass.plan.targets().get(row.target as usize);
                target.is_some_and(|target| target.dataset.name == ranking.name)
            }
            (_, None) => whole.subtasks.get(row.subtask as usize) == Some(&ranking.name),
        };
        let rows: Vec<TargetRow> = whole.rows.iter().filter(is_own).copied().collect();
        let plan = pass.plan.of_samples(&rows, &want.cancelled).map_err(SqlError::query)?;
        let (before, now) = (pass.plan.subtasks(), plan.subtasks());
        let (before, now) = (before.map_err(SqlError::query)?, now.map_err(SqlError::query)?);
        let number = |old: u32| {
            let name = before.get(old as usize);
            name.and_then(|name| now.iter().position(|other| other == name)).map_or(NO_SUBTASK, |s| s as u32)
        };
        let rows = ranking.rows.iter().map(|s| Scored { subtask: number(s.subtask), ..*s }).collect();
        let columns = Arc::clone(&self.columns);
        Ok(Some((Question { plan, columns, relation: Relation::All }, rows)))
    }

    /// The columns asked for, of rows of one ranking.
    fn batch(
        &self,
        name: &str,
        ranks: std::ops::Range<u64>,
        wanted: &[usize],
        inner: &RecordBatch,
    ) -> Result<RecordBatch, SqlError> {
        let rows = inner.num_rows();
        let mut from = inner.columns().iter();
        let mut values: Vec<ArrayRef> = Vec::with_capacity(wanted.len());
        for column in wanted {
            values.push(match column {
                0 => Arc::new(StringArray::from_iter_values(std::iter::repeat_n(name, rows))),
                1 => Arc::new(UInt64Array::from_iter_values(ranks.clone())),
                _ => Arc::clone(from.next().ok_or_else(|| SqlError::internal("a column was not read"))?),
            });
        }
        let schema = Arc::new(self.schema.project(wanted).map_err(arrow)?);
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(schema, values, &options).map_err(arrow)
    }

    /// What the rankings are called: `dataset:subtask`, as a question can name it; the target's dataset; or
    /// the sample's id, with its dataset before it where there are several.
    fn names(
        &self,
        plan: &Prepared,
        whole: &TargetSamples,
        rankings: &[EachRanking],
    ) -> Result<Vec<String>, SqlError> {
        if plan.targets().is_empty() {
            let given = plan.spec().target_names();
            let name = |ranking: &EachRanking| match ranking.sample {
                Some(row) => given.get(row.row as usize).cloned().unwrap_or_default(),
                None => ranking.name.clone(),
            };
            return Ok(rankings.iter().map(name).collect());
        }
        let samples: Vec<TargetRow> = rankings.iter().filter_map(|ranking| ranking.sample).collect();
        if samples.len() == rankings.len() {
            let names = TargetNames::new(plan).map_err(SqlError::query)?;
            let ids = names.ids_of(&samples).map_err(SqlError::query)?;
            let several = plan.targets().len() > 1;
            let name = |(row, id): (&TargetRow, Option<String>)| {
                let id = id.unwrap_or_else(|| row.row.to_string());
                if several { format!("{}:{id}", names.dataset_of(row)) } else { id }
            };
            return Ok(samples.iter().zip(ids).map(name).collect());
        }
        let name = |ranking: &EachRanking| match self.options.each {
            Each::Subtask => subtask_name(whole, &ranking.name),
            _ => ranking.name.clone(),
        };
        Ok(rankings.iter().map(name).collect())
    }

    fn note(&self, want: &Want, seen: Seen) {
        let Some(mut summary) = seen.summary else { return };
        if let Some(counters) = &want.counters {
            counters.add(&summary);
        }
        let Some(notes) = &want.notes else { return };
        if seen.passes > 1 {
            let each = self.options.each;
            summary.notes.push(format!("the {each}s were taken in {} passes, as memory allows", seen.passes));
        }
        let spec = self.plan.spec();
        notes.add(InfluenceNote {
            pools: spec.pools.clone(),
            targets: spec.target_names(),
            per_token: spec.per_token,
            checkpoints: self.plan.checkpoints().iter().map(|c| (c.name.clone(), c.weight)).collect(),
            resolution: self.plan.notes().to_vec(),
            summary,
        });
    }
}

impl Seen {
    /// Counts a pass: each sees the same rows and other target samples.
    fn add(&mut self, summary: ScanSummary) {
        self.passes += 1;
        match &mut self.summary {
            None => self.summary = Some(summary),
            Some(all) => {
                all.bytes_read += summary.bytes_read;
                all.target_rows += summary.target_rows;
                all.rows_scored += summary.rows_scored;
                for plane in summary.planes {
                    match all.planes.iter_mut().find(|other| other.plane == plane.plane) {
                        Some(other) => {
                            other.rows += plane.rows;
                            other.excluded += plane.excluded;
                            other.bytes_read += plane.bytes_read;
                        }
                        None => all.planes.push(plane),
                    }
                }
                // What the weakest pass promises.
                if summary.guarantee != EXACT {
                    all.guarantee = summary.guarantee;
                }
                all.notes.extend(summary.notes);
                all.notes.sort_unstable();
                all.notes.dedup();
            }
        }
    }
}

/// How a question names the subtask that has this name.
fn subtask_name(whole: &TargetSamples, name: &str) -> String {
    let asked = whole.subtasks.iter().position(|other| other == name).and_then(|s| whole.asked.get(s));
    asked.map_or(name, |asked| asked).to_owned()
}

impl Rows for EachRows {
    fn describe(&self) -> (&'static str, String) {
        let spec = self.plan.spec();
        let EachOptions { each, order, k } = self.options;
        let checkpoints: Vec<&str> = self.plan.checkpoints().iter().map(|c| c.name.as_str()).collect();
        let (pools, targets) = (spec.pools.join(", "), spec.target_names().join(", "));
        if let (Some(covariance), Some(models)) = (&spec.covariance, self.plan.plan().models()) {
            let text = format!(
                "each={each}, order={order}, k={k}, pool=[{pools}], target=[{targets}], ensemble={}, models={}, score={}, center={}, within={}, across={}",
                models.ensemble,
                models.members.len(),
                covariance.how.score,
                covariance.how.center,
                spec.within,
                spec.across
            );
            return ("DaunceEachExec", text);
        }
        let text = format!(
            "each={each}, order={order}, k={k}, pool=[{pools}], target=[{targets}], mode={}, checkpoints=[{}], sim={}, fold={}, within={}, across={}",
            spec.mode,
            checkpoints.join(", "),
            spec.sim,
            spec.fold,
            spec.within,
            spec.across
        );
        ("InfluenceEachExec", text)
    }

    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn count(&self) -> Precision<usize> {
        Precision::Absent
    }

    fn read(&self, want: &Want, each: leaf::Each<'_>) -> Result<(), SqlError> {
        if self.options.k == 0 {
            return Ok(());
        }
        let reserved = want.memory.as_ref().map(|pool| MemoryConsumer::new("influence").register(pool));
        let hold = |bytes: usize| {
            let held = reserved.iter().try_for_each(|reserved| reserved.try_grow(bytes));
            held.map_err(|e| SqlError::from_datafusion(e, &[]))
        };
        hold_inverses(&self.plan, reserved.as_ref(), want.threads, &want.cancelled)?;
        let limit = want.memory.as_ref().map(|pool| (pool.memory_limit(), pool.reserved()));
        let memory = match limit {
            Some((MemoryLimit::Finite(limit), used)) => limit.saturating_sub(used).min(2 * MEMORY) / 2,
            _ => MEMORY,
        };
        hold(memory)?;
        let samples = self.plan.target_samples(&want.cancelled).map_err(SqlError::query)?;
        let mut seen = Seen { summary: None, passes: 0 };
        let passes = self.passes(&samples, want.threads, memory);
        for rows in &passes {
            // What may be missed is shared by the passes.
            let plan = self
                .plan
                .of_samples(rows, &want.cancelled)
                .map_err(SqlError::query)?
                .with_share(passes.len());
            if self.pass(plan, &samples, (want, memory), &mut seen, each)? == Demand::Enough {
                break;
            }
        }
        self.note(want, seen);
        Ok(())
    }
}
