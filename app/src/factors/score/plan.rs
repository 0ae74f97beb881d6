//! Plan of scores: queries, curvature, groups of queries that fit in memory, and whether factors are stale.

use std::ops::Range;
use std::sync::Arc;

use gstore_core::{RowSet, Unit, available_memory, many_of};
use gstore_curvature::{Filter, Module, ModuleFactors, Strategy};
use gstore_data::{Reading, SampleSource, encode_each};
use gstore_ingest::curvature::{CurvatureEngine, Measurement};
use gstore_ingest::pipeline::{IngestRequest, RowBatches};
use gstore_store::Snapshot;

use super::checks::{check, check_modules, selection, stale, strategy};
use super::forms::column_bytes;
use super::markdown::texts;
use super::request::{ScorePer, ScoreRequest, ScoreTarget};
use super::solve::{SolveData, solve_bytes};
use crate::factors::engine::{self, Tokens};
use crate::factors::error::FactorJobError;
use crate::factors::folder::{FactorArguments, FactorParts, FactorReader};
use crate::factors::parts::first;
use crate::factors::stored::StoredFactors;
use crate::work::Work;

/// Columns that the kernel multiplies at a time.
const MOST_COLUMNS: usize = 1000;

/// Everything that scoring needs.
pub(super) struct ScorePlan {
    pub engine: CurvatureEngine,
    pub batches: RowBatches,
    /// The rows of the pool.
    pub rows: RowSet,
    /// Tokens of the queries, and what they are called.
    pub queries: Vec<Tokens>,
    pub names: QueryNames,
    pub how: How,
    pub extent: Extent,
    factors: Option<FactorReader>,
    /// What an iterative solve needs, where one is asked for.
    pub solve: Option<SolveData>,
    /// Why the factors are stale.
    pub stale: Option<String>,
}

/// What queries are called.
#[derive(Default)]
pub(super) struct QueryNames {
    pub ids: Vec<String>,
    /// What is asked, and what the answer is, where that is told apart.
    pub texts: Vec<(String, Option<String>)>,
}

/// What is made of gradients.
pub(super) struct How {
    pub measurement: Measurement,
    /// Queries become one, their sum.
    pub sum_queries: bool,
    pub strategy: Strategy,
    pub filters: Vec<Filter>,
    pub rank: Option<usize>,
    /// Whether scores are made of tokens.
    pub by_token: bool,
}

/// How much is held at once.
#[derive(Default)]
pub(super) struct Extent {
    pub threads: usize,
    /// Queries whose gradients are held while they are preconditioned.
    pub queries_at_once: usize,
    /// Queries of each pass.
    pub groups: Vec<Range<usize>>,
    /// Bytes of memory.
    pub memory: u64,
}

impl ScorePlan {
    pub fn new(
        snapshot: &Arc<Snapshot>,
        request: &ScoreRequest,
        work: &mut Work<'_>,
    ) -> Result<Self, FactorJobError> {
        check(request)?;
        let ingest = IngestRequest { threads: work.threads, ..request.ingest.clone() };
        let dataset = Arc::clone(snapshot.dataset(&ingest.dataset)?);
        let live = snapshot.live_rows(&dataset)?;
        let rows = first(&live, ingest.limit);
        if rows.is_empty() {
            return Err(FactorJobError::Refused(format!("dataset `{}` has no rows", dataset.name)));
        }
        let stored =
            request.factors.as_deref().map(|name| StoredFactors::open(snapshot, name)).transpose()?;
        let stamp = stored.as_ref().map(|stored| &stored.content.stamp);
        let strategy = strategy(request, stamp)?;
        work.progress.start("reading weights", 1, Unit::Checkpoints);
        let engine = engine::load(&ingest, &selection(&ingest, stamp))?;
        work.progress.advance(1);
        work.progress.finish();
        let widest = engine.modules().iter().map(Module::len).max().unwrap_or(0);
        let batches = RowBatches::new(snapshot, &dataset, &ingest, 2 * widest)?;
        let stale = match stamp {
            Some(stamp) => {
                check_modules(stamp, engine.modules())?;
                stale(stamp, (&engine, &batches), &ingest.dataset, work.cancel)?
            }
            None => None,
        };
        if let (Some(why), false) = (&stale, request.stale) {
            let name = request.factors.clone().unwrap_or_default();
            return Err(FactorJobError::Stale { name, why: why.clone() });
        }
        let solve = match (request.solve, stamp) {
            (Some(solve), Some(stamp)) => Some(SolveData::new(snapshot, solve, stamp, &ingest, 2 * widest)?),
            _ => None,
        };
        // All of their files are compared with their digests: what is refused is refused before.
        let parts = FactorParts::of(strategy);
        let factors = stored.map(|stored| stored.reader(snapshot, parts)).transpose()?;
        let (measurement, sum_queries) = match &request.target {
            ScoreTarget::Samples { measurement, summed, .. } => (*measurement, *summed),
            ScoreTarget::Own => (Measurement::Loss, false),
        };
        let (queries, names) = queries(&request.target, &batches, work)?;
        let mut plan = Self {
            engine,
            batches,
            rows,
            queries,
            names,
            how: How {
                measurement,
                sum_queries,
                strategy,
                filters: request.filters.clone(),
                rank: request.rank,
                by_token: request.rank.is_some() || request.form.per == ScorePer::Token,
            },
            extent: Extent::default(),
            factors,
            solve,
            stale,
        };
        plan.extent = plan.extent(&ingest, work.threads)?;
        let passes = plan.extent.groups.len() as u64;
        if passes > 1 {
            let passes = many_of(passes, "pass", "passes");
            work.progress.note(&format!("the queries do not fit in memory at once: {passes} over the pool"));
        }
        Ok(plan)
    }

    /// What is known of a module's curvature; nothing where there are no factors.
    pub fn factors_of(&self, module: &Module) -> Result<ModuleFactors, FactorJobError> {
        let factors = self.factors.as_ref().filter(|_| self.how.strategy != Strategy::Identity);
        let Some(factors) = factors else { return Ok(ModuleFactors::default()) };
        factors.module(&module.name).map(|(_, factors)| factors).map_err(FactorJobError::other)
    }

    /// The arguments of the fit, as Kronfluence has them.
    pub fn arguments(&self) -> FactorArguments {
        match &self.factors {
            Some(factors) => factors.arguments().clone(),
            None => FactorArguments::new(self.how.strategy),
        }
    }

    /// Splits the queries into groups that fit in memory.
    fn extent(&self, ingest: &IngestRequest, threads: usize) -> Result<Extent, FactorJobError> {
        let (modules, how) = (self.engine.modules(), &self.how);
        let numbers = |of: &dyn Fn(&Module) -> u64| modules.iter().map(of).sum::<u64>();
        let whole = numbers(&|module| 4 * module.len() as u64);
        let batch = 4 * modules.iter().map(Module::len).max().unwrap_or(0) as u64;
        let worker = engine::activation_bytes(&self.engine, ingest) + 2 * batch;
        let model = engine::weight_bytes(&self.engine, ingest) + threads as u64 * worker;
        // Columns exist twice while they are put in the kernel's order.
        let columns = 2 * numbers(&|module| column_bytes(module, how.rank)) * how.filters.len() as u64;
        let solving = match &self.solve {
            Some(_) => numbers(&|module| solve_bytes(threads) * module.len() as u64),
            None => 0,
        };
        let query = columns + solving;
        let limit = ingest.max_memory.or_else(available_memory).unwrap_or(u64::MAX);
        let room = limit.saturating_sub(model + whole);
        let fits = usize::try_from(room / query.max(1)).unwrap_or(usize::MAX);
        let at_once = fits.min((MOST_COLUMNS / how.filters.len().max(1)).max(1));
        let all = self.queries.len();
        if at_once == 0 && all > 0 {
            let proposal = match (how.rank, &self.solve) {
                (_, Some(_)) => "fewer modules, or fewer threads, need less".to_owned(),
                (None, None) => "fewer modules, or queries of a low rank, need less".to_owned(),
                (Some(_), None) => "fewer modules, or a lower rank, need less".to_owned(),
            };
            let needed = model + whole + query;
            return Err(FactorJobError::Memory { what: "one query", needed, limit, proposal });
        }
        // Queries that are summed are one column.
        let (groups, columns) = match how.sum_queries || all == 0 {
            true => (std::iter::once(0..all).collect(), all.min(1)),
            false => {
                let starts = (0..all).step_by(at_once);
                (starts.map(|start| start..all.min(start + at_once)).collect(), at_once.min(all))
            }
        };
        let held = columns as u64 * query;
        let more = room.saturating_sub(held) / whole.max(1);
        let queries_at_once = usize::try_from(more).unwrap_or(usize::MAX).clamp(1, MOST_COLUMNS);
        let waiting = whole * queries_at_once.min(all.max(1)) as u64;
        Ok(Extent { threads, queries_at_once, groups, memory: model + held + waiting })
    }
}

/// Tokens and names of the queries.
fn queries(
    target: &ScoreTarget,
    batches: &RowBatches,
    work: &Work<'_>,
) -> Result<(Vec<Tokens>, QueryNames), FactorJobError> {
    let ScoreTarget::Samples { source, limit, .. } = target else {
        return Ok((Vec::new(), QueryNames::default()));
    };
    let most = limit.unwrap_or(usize::MAX);
    let (mut samples, _) = SampleSource::read(source, Reading::Whole, &|_, _| true, work.cancel)?;
    samples.truncate(most);
    if samples.is_empty() {
        return Err(FactorJobError::Refused("there is no query: the target has no sample".to_owned()));
    }
    let encoder = batches.encoder();
    let encoded = encode_each(&samples, |sample| encoder.encode(&sample.content), work.threads, work.cancel)?;
    let unscored = samples.iter().zip(&encoded).find(|(_, encoded)| encoded.scored_tokens() == 0);
    if let Some((sample, _)) = unscored {
        return Err(FactorJobError::Refused(format!("{sample} of the target has no token that is scored")));
    }
    let tokens = samples.iter().zip(&encoded).map(|(sample, encoded)| Tokens::new(sample.row, encoded));
    let names = QueryNames {
        ids: samples.iter().map(|sample| sample.id.clone()).collect(),
        texts: samples.iter().map(|sample| texts(&sample.content)).collect(),
    };
    Ok((tokens.collect(), names))
}
