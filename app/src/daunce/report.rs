//! Reports of rankings by losses: for each query its best and worst rows with text, score and error.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::Array;
use gstore_core::Cancel;
use gstore_query::daunce::Agreement;
use gstore_query::influence::{
    Each, EachRanking, EachRequest, InfluenceSpec, Order, Prepared, ScanSummary, TargetNames, TargetRow,
};
use gstore_store::Snapshot;
use serde::Serialize;

use crate::answer::{AnswerError, Pool, column, ids, open_pools, record, tell_notes};
use crate::work::JobContext;

/// Queries that are ranked in one pass over the pools.
const AT_ONCE: usize = 256;

/// Bytes that the rankings of a pass may take.
const MEMORY: usize = 1 << 30;

/// Rows that are named as hubs at most.
const HUBS: usize = 5;

/// Rows at the top of rankings whose overlap says how far halves of the models agree.
const OVERLAP: usize = 20;

/// What is reported.
#[derive(Debug, Clone)]
pub struct ReportRequest {
    /// Pools, targets, and how losses are compared.
    pub spec: InfluenceSpec,
    /// Rows at each end.
    pub top: usize,
    /// The first queries that are reported.
    pub queries: usize,
}

/// A ranked row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReportRow {
    /// Its dataset.
    pub pool: String,
    /// Its id.
    pub id: Option<String>,
    /// Its number.
    pub row: u64,
    /// Covariance or correlation.
    pub score: f64,
    /// Its standard error over the models.
    pub se: Option<f64>,
    /// The score in standard errors.
    pub z: Option<f64>,
    /// What the score of an unrelated row varies by.
    pub noise_floor: Option<f64>,
    /// Models that it is taken over.
    pub models: usize,
    /// What its record says; none where it was stored without it.
    pub text: Option<String>,
}

/// A query with the rows at both ends of its ranking.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryReport {
    /// Its dataset.
    pub target: String,
    /// Its id.
    pub id: Option<String>,
    /// Its number.
    pub row: u64,
    /// What its record says.
    pub text: Option<String>,
    /// The highest scores, the highest first.
    pub best: Vec<ReportRow>,
    /// The lowest scores, the lowest first.
    pub worst: Vec<ReportRow>,
}

/// A row that is among the best of many queries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hub {
    /// Its dataset.
    pub pool: String,
    /// Its id.
    pub id: Option<String>,
    /// Queries whose best rows it is among.
    pub queries: usize,
}

/// A report, which can be written as Markdown, HTML or JSON.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DaunceReport {
    /// The ensemble.
    pub ensemble: String,
    /// What was recorded of its models.
    pub signal: String,
    /// `cov` or `corr`.
    pub score: String,
    /// What was subtracted first.
    pub center: String,
    /// Models whose losses were compared.
    pub models: usize,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// How far halves of the models agree.
    pub agreement: Agreement,
    /// Rows that are among the best of more than one query, most queries first.
    pub hubs: Vec<Hub>,
    /// The queries, by subtask, then target and row.
    pub queries: Vec<QueryReport>,
}

/// Ranks the pools for each query; `text` makes texts of records.
///
/// # Errors
/// A question that cannot be answered, damage, and being told to stop.
pub fn report(
    snapshot: &Arc<Snapshot>,
    request: &ReportRequest,
    text: &dyn Fn(&[u8]) -> String,
    work: &mut JobContext<'_>,
) -> Result<DaunceReport, AnswerError> {
    let spec = &request.spec;
    let prepared = Prepared::new(snapshot, spec)?;
    tell_notes(&prepared, work);
    let (Some(covariance), Some(models)) = (&spec.covariance, prepared.plan().models()) else {
        return Err(AnswerError::Refused("a report needs the losses of an ensemble".to_owned()));
    };
    let samples = prepared.target_samples(work.cancel)?;
    let names: Vec<String> = prepared.targets().iter().map(|target| target.dataset.name.clone()).collect();
    let pass = PoolPass {
        prepared: &prepared,
        pools: open_pools(snapshot, &spec.pools)?,
        targets: open_pools(snapshot, &names)?,
        text,
        cancel: work.cancel,
        threads: work.threads,
    };
    let shown = &samples.rows[..samples.rows.len().min(request.queries)];
    let mut notes = prepared.notes().to_vec();
    let mut summary: Option<ScanSummary> = None;
    if shown.len() < samples.rows.len() {
        notes.push(format!("the first {} of {} queries are shown", shown.len(), samples.rows.len()));
    }
    let mut queries = Vec::new();
    for part in shown.chunks(AT_ONCE) {
        queries.extend(pass.queries(part, request.top, &mut summary)?);
    }
    notes.extend(summary.unwrap_or_default().notes);
    notes.sort_unstable();
    notes.dedup();
    Ok(DaunceReport {
        ensemble: models.ensemble.clone(),
        signal: models.signal.clone(),
        score: covariance.how.score.word().to_owned(),
        center: covariance.how.center.word().to_owned(),
        models: models.members.len(),
        notes,
        agreement: prepared.agreement(OVERLAP, work.cancel)?,
        hubs: hubs(&queries),
        queries,
    })
}

/// Passes over the pools, each for some queries.
struct PoolPass<'a> {
    prepared: &'a Prepared,
    pools: Vec<Pool>,
    targets: Vec<Pool>,
    /// What records become.
    text: &'a dyn Fn(&[u8]) -> String,
    cancel: &'a Cancel,
    threads: usize,
}

impl PoolPass<'_> {
    fn queries(
        &self,
        part: &[TargetRow],
        top: usize,
        seen: &mut Option<ScanSummary>,
    ) -> Result<Vec<QueryReport>, AnswerError> {
        let plan = self.prepared.of_samples(part, self.cancel)?;
        let mut ranked = |order| -> Result<Vec<EachRanking>, AnswerError> {
            let request = EachRequest {
                each: Each::Sample,
                order,
                k: top,
                filter: None,
                threads: self.threads,
                memory: MEMORY,
            };
            let found = plan.top_k_each(&request, self.cancel)?;
            ScanSummary::add_pass(seen, found.summary);
            Ok(found.rankings)
        };
        let (best, worst) = (ranked(Order::Best)?, ranked(Order::Worst)?);
        let samples: Vec<TargetRow> = best.iter().filter_map(|ranking| ranking.sample).collect();
        let names = TargetNames::new(&plan)?;
        let ids = names.ids_of(&samples)?;
        let mut queries = Vec::with_capacity(samples.len());
        for (((sample, id), best), worst) in samples.iter().zip(ids).zip(&best).zip(&worst) {
            let own = plan.of_samples(std::slice::from_ref(sample), self.cancel)?;
            queries.push(QueryReport {
                target: names.dataset_of(sample).to_owned(),
                id,
                row: sample.row,
                text: self.text_of(sample)?,
                best: self.rows(&own, best)?,
                worst: self.rows(&own, worst)?,
            });
        }
        Ok(queries)
    }

    fn text_of(&self, sample: &TargetRow) -> Result<Option<String>, AnswerError> {
        let Some(target) = self.targets.get(sample.target as usize) else { return Ok(None) };
        let batch = target.samples.get(&[sample.row], &["record"])?;
        Ok(record(batch.column(0)).map(self.text))
    }

    fn rows(&self, own: &Prepared, ranking: &EachRanking) -> Result<Vec<ReportRow>, AnswerError> {
        let rows = &ranking.rows;
        let (pools, text) = (&self.pools, self.text);
        let estimates = own.estimates(rows, false, self.cancel)?;
        let (names, records) = (ids(rows, pools)?, column(rows, pools, "record")?);
        let found = rows.iter().zip(estimates).zip(&records).enumerate();
        Ok(found
            .map(|(i, ((scored, estimate), stored))| {
                let estimate = estimate.estimate;
                ReportRow {
                    pool: pools.get(scored.pool as usize).map_or_else(String::new, |pool| pool.name.clone()),
                    id: names.is_valid(i).then(|| names.value(i).to_owned()),
                    row: scored.row,
                    score: estimate.score.unwrap_or(f64::from(scored.score)),
                    se: estimate.se,
                    z: estimate.z(),
                    noise_floor: estimate.noise_floor,
                    models: estimate.models,
                    text: record(stored).map(text),
                }
            })
            .collect())
    }
}

/// Rows that are among the best of several queries.
fn hubs(queries: &[QueryReport]) -> Vec<Hub> {
    let mut counts: BTreeMap<(&str, u64), (usize, &ReportRow)> = BTreeMap::new();
    for row in queries.iter().flat_map(|query| &query.best) {
        counts.entry((&row.pool, row.row)).or_insert((0, row)).0 += 1;
    }
    let mut hubs: Vec<(usize, &ReportRow)> = counts.into_values().filter(|(count, _)| *count > 1).collect();
    // Of equal ones the first row.
    hubs.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    hubs.truncate(HUBS);
    let hub =
        |(queries, row): (usize, &ReportRow)| Hub { pool: row.pool.clone(), id: row.id.clone(), queries };
    hubs.into_iter().map(hub).collect()
}
