//! `influence(..., each => ...)`: a ranking for each subtask, target or sample, one after the other.
//!
//! Invariants
//! - rankings come in the order of the library's, rows in the order of their ranks
//! - targets are taken in groups whose vectors and candidates fit into the memory limit; a group is
//!   a pass over the pools

mod options;
mod rows;

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use gstore_query::influence::{
    Each, EachRanking, EachRequest, NO_SUBTASK, Prepared, Rankings, ScanSummary, Scored, TargetNames,
    TargetRow, TargetSamples, small_bytes,
};

pub(super) use self::options::EachOptions;
use super::columns::InfluenceColumns;
use super::question::{InfluenceQuestion, RankedRelation};
use crate::blocking::Demand;
use crate::candidates::Candidates;
use crate::error::SqlError;
use crate::leaf::{BatchConsumer, ReadRequest, batch_of};
use crate::notes::InfluenceNote;

/// Columns in front of those of `influence()`.
const OWN: usize = 2;

/// The rankings of a question as rows.
pub(super) struct EachRows {
    plan: Prepared,
    candidates: Option<Candidates>,
    columns: Arc<InfluenceColumns>,
    options: EachOptions,
    schema: SchemaRef,
}

impl EachRows {
    pub(super) fn new(
        (plan, candidates): (Prepared, Option<Candidates>),
        columns: InfluenceColumns,
        options: EachOptions,
    ) -> Self {
        let mut fields: Vec<Arc<Field>> = vec![
            Arc::new(Field::new("target", DataType::Utf8, false)),
            Arc::new(Field::new("rank", DataType::UInt64, false)),
        ];
        fields.extend(columns.schema().fields().iter().cloned());
        let (columns, schema) = (Arc::new(columns), Arc::new(Schema::new(fields)));
        Self { plan, candidates, columns, options, schema }
    }

    /// The samples of each pass; one pass of all where a ranking is of a whole target.
    fn passes<'a>(&self, samples: &'a TargetSamples, threads: usize, memory: usize) -> Vec<&'a [TargetRow]> {
        let rows = &samples.rows[..];
        let vectors = usize::try_from(self.plan.ranked_sample_bytes()).unwrap_or(usize::MAX);
        let k = self.options.k.min(self.plan.most_results());
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

    fn pass(
        &self,
        plan: Prepared,
        whole: &TargetSamples,
        (want, memory): (&ReadRequest, usize),
        seen: &mut Option<ScanSummary>,
        each: BatchConsumer<'_>,
    ) -> Result<Demand, SqlError> {
        let EachOptions { each: of, order, k } = self.options;
        let request =
            EachRequest { each: of, order, k, filter: Some(&want.candidates), threads: want.threads, memory };
        let found = plan.top_k_each(&request, &want.cancelled)?;
        let Rankings { rankings, summary, .. } = found;
        ScanSummary::add_pass(seen, summary);
        let names = self.names(&plan, whole, &rankings)?;
        let question = self.question(plan);
        let inner: Vec<usize> = want.columns.iter().filter(|c| **c >= OWN).map(|c| c - OWN).collect();
        let most = if self.columns.reads_records(&inner) { 1024 } else { 32 * 1024 };
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
            let names = TargetNames::new(plan)?;
            let ids = names.ids_of(&samples)?;
            let several = plan.targets().len() > 1;
            let name = |(row, id): (&TargetRow, Option<String>)| {
                let id = id.unwrap_or_else(|| row.row.to_string());
                if several { format!("{}:{id}", names.dataset_of(row)) } else { id }
            };
            return Ok(samples.iter().zip(ids).map(name).collect());
        }
        // How a question names the subtasks.
        let asked: HashMap<&String, &String> = match self.options.each {
            Each::Subtask => whole.subtasks.iter().zip(&whole.asked).collect(),
            _ => HashMap::new(),
        };
        let name = |ranking: &EachRanking| asked.get(&ranking.name).copied().unwrap_or(&ranking.name).clone();
        Ok(rankings.iter().map(name).collect())
    }

    /// The question about what one ranking is for, where its rows have columns that depend on it: errors of
    /// covariances. Its subtasks have numbers of their own.
    fn of_one(
        &self,
        pass: &InfluenceQuestion,
        whole: &TargetSamples,
        ranking: &EachRanking,
        want: &ReadRequest,
    ) -> Result<Option<(InfluenceQuestion, Vec<Scored>)>, SqlError> {
        let errors = self.columns.errors.as_ref();
        if !want.columns.iter().any(|c| *c >= OWN && errors.is_some_and(|at| at.contains(&(c - OWN)))) {
            return Ok(None);
        }
        let is_own = |row: &&TargetRow| match (self.options.each, ranking.sample) {
            (_, Some(sample)) => (row.target, row.row) == (sample.target, sample.row),
            (Each::Target, None) => {
                let target = pass.plan.targets().get(row.target as usize);
                target.is_none_or(|target| target.dataset.name == ranking.name)
            }
            (_, None) => whole.subtasks.get(row.subtask as usize) == Some(&ranking.name),
        };
        let rows: Vec<TargetRow> = whole.rows.iter().filter(is_own).copied().collect();
        let plan = pass.plan.of_samples(&rows, &want.cancelled)?;
        let (before, now) = (pass.plan.subtasks(&want.cancelled)?, plan.subtasks(&want.cancelled)?);
        let number = |old: u32| {
            let name = before.get(old as usize);
            name.and_then(|name| now.iter().position(|other| other == name)).map_or(NO_SUBTASK, |s| s as u32)
        };
        let rows = ranking.rows.iter().map(|s| Scored { subtask: number(s.subtask), ..*s }).collect();
        Ok(Some((self.question(plan), rows)))
    }

    /// The question behind columns of rows that are ranked already.
    fn question(&self, plan: Prepared) -> InfluenceQuestion {
        let columns = Arc::clone(&self.columns);
        InfluenceQuestion { plan, columns, relation: RankedRelation::All, candidates: None }
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
        let schema = Arc::new(self.schema.project(wanted)?);
        Ok(batch_of(schema, values, rows)?)
    }

    fn note(&self, want: &ReadRequest, seen: Option<ScanSummary>, passes: usize) {
        let Some(mut summary) = seen else { return };
        if let Some(counters) = &want.counters {
            counters.add(&summary);
        }
        let Some(notes) = &want.notes else { return };
        if passes > 1 {
            let each = self.options.each;
            summary.notes.push(format!("the {each}s were taken in {passes} passes, as memory allows"));
        }
        // Each has its own ranking: there is none that one target decides.
        let mut note = InfluenceNote::new(&self.plan, summary);
        note.resolution.extend_from_slice(&self.columns.notes);
        notes.add(note);
    }
}
