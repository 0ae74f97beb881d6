//! Plan of scores: queries, curvature, groups of queries that fit in memory, and whether factors are stale.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use gstore_core::{RowSet, available_memory, many_of};
use gstore_curvature::{Filter, Module, ModuleFactors, Strategy};
use gstore_data::{Reading, SampleSource, encode_each};
use gstore_ingest::curvature::Measurement;
use gstore_ingest::gradient::ModuleSelection;
use gstore_ingest::pipeline::{IngestRequest, RowBatches};
use gstore_model::Device;
use gstore_model::architectures::{Param, TensorRole};
use gstore_query::influence::note_of_queries;
use gstore_store::{DatasetPart, Snapshot};

use super::checks::{check, check_segments, of_another_model, selection, strategy};
use super::forms::ColumnForm;
use super::memory::{ScoreMemoryPlan, ScoreSizes, enlarged, sum_bytes};
use super::request::{HeldOutputs, RotatedSide, ScoreForm, ScorePer, ScoreRequest, ScoreTarget};
use super::segments::{ScoredSegment, check_stale, places, segments};
use super::solve_data::SolveData;
use crate::factors::engine::{self, Engines, RowCounters, SampleTokens};
use crate::factors::error::FactorJobError;
use crate::factors::folder::FactorArguments;
use crate::factors::parts::chosen_rows;
use crate::factors::report::prompt_and_completion;
use crate::factors::stored::StoredFactors;
use crate::work::JobContext;

pub(super) struct ScorePlan {
    pub engine: Engines,
    pub batches: RowBatches,
    /// The rows of the pool.
    pub rows: RowSet,
    /// Tokens and names of the queries.
    pub queries: Vec<SampleTokens>,
    pub names: QueryNames,
    pub how: ScoreOptions,
    /// Segments of training, from the first to the last; one where the curvature is that of one checkpoint.
    pub segments: Vec<ScoredSegment>,
    /// The selection of modules, for engines of other checkpoints.
    pub selection: ModuleSelection,
    pub extent: ScoreMemoryPlan,
    /// What an iterative solve needs, where one is asked for.
    pub solve: Option<SolveData>,
    /// Counters of the rows of all passes.
    pub seen: RowCounters,
    pub stale: Option<String>,
    /// Folder of temporary files, and their size in bytes.
    pub scratch: PathBuf,
    pub disk: u64,
}

#[derive(Default)]
pub(super) struct QueryNames {
    pub ids: Vec<String>,
    /// Prompt and answer, where they are separate.
    pub texts: Vec<(String, Option<String>)>,
}

pub(super) struct ScoreOptions {
    pub measurement: Measurement,
    /// Whether the queries are summed into one.
    pub sum_queries: bool,
    pub strategy: Strategy,
    /// Filters that get scores of their own.
    pub filters: Vec<Filter>,
    pub rank: Option<usize>,
    /// Whether scores are computed token by token.
    pub by_token: bool,
    /// What is rotated for each product; none where nothing is.
    pub rotated: Option<RotatedSide>,
}

impl ScoreOptions {
    /// Those of a request. What is rotated is chosen by a plan.
    fn new(request: &ScoreRequest, strategy: Strategy, segments: &[ScoredSegment]) -> Self {
        let (measurement, sum_queries) = match &request.target {
            ScoreTarget::Samples { measurement, summed, .. } => (*measurement, *summed),
            ScoreTarget::Own { measurement } => (*measurement, false),
        };
        Self {
            measurement,
            sum_queries,
            strategy,
            filters: segments.last().map(|last| last.filters.clone()).unwrap_or_default(),
            rank: request.rank,
            by_token: request.rank.is_some() || request.form.per == ScorePer::Token,
            rotated: None,
        }
    }

    pub fn rotates_rows(&self) -> bool {
        self.rotated == Some(RotatedSide::Rows)
    }

    /// The form of a module's columns.
    pub fn form(&self, module: &Module) -> ColumnForm {
        ColumnForm::new(module, self.by_token, self.rank)
    }
}

impl ScorePlan {
    pub fn new(
        snapshot: &Arc<Snapshot>,
        request: &ScoreRequest,
        held: HeldOutputs,
        work: &mut JobContext<'_>,
    ) -> Result<Self, FactorJobError> {
        check(request, held)?;
        let is_held = held.any();
        let ingest = IngestRequest { threads: work.threads, ..request.ingest.clone() };
        let (dataset, rows) = chosen_rows(snapshot, &ingest)?;
        let names = request.names().into_iter();
        let stored = names.map(|name| StoredFactors::open(snapshot, name)).collect::<Result<Vec<_>, _>>()?;
        let stamp = stored.last().map(|stored| &stored.content.stamp);
        let strategy = strategy(request, stamp)?;
        if !request.segments.is_empty() {
            check_segments(&stored, strategy)?;
        }
        let selection = selection(&ingest, stamp);
        let engine = engine::load_as_stage(&ingest, &selection, work).map_err(|error| {
            let of_another = |stored| of_another_model(stored, &ingest, &selection);
            stored.last().and_then(of_another).unwrap_or(error)
        })?;
        let widest = engine.modules().iter().map(Module::len).max().unwrap_or(0);
        let tell = &mut |note: &str| work.progress.note(note);
        let batches = RowBatches::new(snapshot, &dataset, &ingest, 2 * widest, tell)?;
        let places = places(request, &ingest, &engine)?;
        let stale = check_stale((request, &stored), &places, (&engine, &batches), work.cancel)?;
        let solve = match (&request.solve, stamp) {
            (Some(solve), Some(stamp)) => Some(SolveData::new(snapshot, solve, stamp, &ingest, 2 * widest)?),
            _ => None,
        };
        // Last, since it compares all of their files with their digests.
        let segments = segments(request, places, (snapshot, &stored), strategy)?;
        let (queries, names) = queries(&request.target, (snapshot, &dataset, &batches), work)?;
        let mut plan = Self {
            engine,
            batches,
            rows,
            queries,
            names,
            how: ScoreOptions::new(request, strategy, &segments),
            segments,
            selection,
            extent: ScoreMemoryPlan::default(),
            solve,
            seen: RowCounters::default(),
            stale,
            scratch: request.scratch.clone(),
            disk: 0,
        };
        plan.fit_in_memory(request, &ingest, is_held, work)?;
        plan.enlarge_batches(request, &ingest, is_held, work)?;
        plan.disk = plan.disk(request.form, work)?;
        let why = "the batches of more do not fit in memory, or leave too little to the queries";
        work.tell_threads(plan.extent.threads, why);
        if plan.extent.groups.len() * plan.extent.parts.len() > 1 {
            let passes = many_of(plan.passes() as u64, "pass", "passes");
            let what = if plan.queries.is_empty() { "the modules" } else { "the queries" };
            work.progress.note(&format!("{what} do not fit in memory at once: {passes} over the pool"));
        }
        Ok(plan)
    }

    /// Passes over the pool, where each query can be solved for.
    pub fn passes(&self) -> usize {
        self.extent.groups.len() * self.extent.parts.len() * self.checkpoints()
    }

    /// Passes over the pool for some queries and some layers: one for each checkpoint.
    pub fn checkpoints(&self) -> usize {
        self.segments.iter().map(|segment| segment.checkpoints.len()).sum()
    }

    /// Bytes of the sums that are carried from pass to pass. Tokens are counted if each has a score.
    fn disk(&self, form: ScoreForm, work: &JobContext<'_>) -> Result<u64, FactorJobError> {
        let groups = self.extent.groups.len().max(1);
        let visits = self.passes() / groups;
        // Sums over rows need nothing of each row, but those over modules come first.
        if visits < 2 || (form.summed && self.extent.parts.len() < 2) {
            return Ok(0);
        }
        let mut parts = self.rows.len();
        match form.per {
            ScorePer::Row => {}
            ScorePer::Module => parts *= self.engine.modules().len() as u64,
            ScorePer::Token => parts = self.tokens_up_to(u64::MAX, work)?,
        }
        let most = self.extent.groups.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let queries = if self.queries.is_empty() || self.how.sum_queries { 1 } else { most as u64 };
        Ok(sum_bytes(visits, parts * queries * self.how.filters.len() as u64))
    }

    /// Tokens of the rows, which are counted until there are so many.
    pub(super) fn tokens_up_to(&self, most: u64, work: &JobContext<'_>) -> Result<u64, FactorJobError> {
        let mut tokens = 0;
        self.batches.each(&self.rows, work.cancel, &mut |batch| {
            tokens += batch.iter().map(|row| row.encoded.ids.len() as u64).sum::<u64>();
            tokens < most
        })?;
        Ok(tokens)
    }

    /// What is known of a module's curvature in a segment; empty without factors.
    pub fn factors_of(&self, segment: usize, module: &Module) -> Result<ModuleFactors, FactorJobError> {
        let factors = self.segments.get(segment).and_then(|segment| segment.factors.as_ref());
        let factors = factors.filter(|_| self.how.strategy != Strategy::Identity);
        let Some(factors) = factors else { return Ok(ModuleFactors::default()) };
        Ok(factors.module(&module.name)?.1)
    }

    /// What each filter multiplies a module's coordinates in its eigenbasis by; none for the identity.
    pub fn filter_scales(&self, module: &Module) -> Result<Vec<Option<Vec<f64>>>, FactorJobError> {
        let strategy = self.how.strategy;
        let factors = self.segments.first().and_then(|segment| segment.factors.as_ref());
        let factors = match factors.filter(|_| strategy == Strategy::Ekfac) {
            // Without the eigenvectors, which take most of the time to be read.
            Some(factors) => factors.squares(&module.name)?,
            None => self.factors_of(0, module)?,
        };
        let of = |filter: &Filter| factors.scale(module, strategy, *filter).map(|(scale, _)| scale);
        self.how.filters.iter().map(|filter| of(filter).map_err(FactorJobError::of_inverse)).collect()
    }

    /// Rows of the largest block of eigenvectors that queries are rotated by and back; none where they are
    /// not rotated as they leave the model.
    pub(crate) fn rotated_block(&self) -> Option<usize> {
        let is_rotated = self.how.strategy.rotates()
            && !self.how.rotates_rows()
            && self.solve.is_none()
            && !self.how.sum_queries;
        is_rotated.then(|| self.largest_block())
    }

    pub(super) fn largest_block(&self) -> usize {
        self.segments.iter().filter_map(|segment| segment.widest).max().unwrap_or(usize::MAX)
    }

    /// The arguments of the fit in Kronfluence's terms, with the strategy of the scores.
    pub fn arguments(&self) -> FactorArguments {
        match self.segments.last().and_then(|segment| segment.factors.as_ref()) {
            Some(factors) => factors.arguments.clone().taken_as(self.how.strategy),
            None => FactorArguments::new(self.how.strategy),
        }
    }

    /// Chooses what is rotated, and splits the queries into groups. The eigenvectors that rows are rotated
    /// with may not fit in memory: queries are rotated then, unless rows were asked for.
    fn fit_in_memory(
        &mut self,
        request: &ScoreRequest,
        ingest: &IngestRequest,
        is_held: bool,
        work: &mut JobContext<'_>,
    ) -> Result<(), FactorJobError> {
        self.how.rotated = self.rotated(request, ingest, work)?;
        // Rows that are scored for themselves have no other side.
        let is_chosen = request.rotate.is_none() && !request.target.is_own();
        self.extent = match self.extent(request, ingest, is_held) {
            Err(FactorJobError::Memory { .. }) if self.how.rotates_rows() && is_chosen => {
                let why =
                    "queries are rotated: the eigenvectors of a layer, which rows take, do not fit in memory";
                work.progress.note(why);
                self.how.rotated = Some(RotatedSide::Queries);
                self.extent(request, ingest, is_held)?
            }
            found => found?,
        };
        Ok(())
    }

    /// Enlarges the batches, as far as the same threads and groups of queries fit in memory with them. Only
    /// where scores have the same bits in batches of any size, as on the CPU.
    fn enlarge_batches(
        &mut self,
        request: &ScoreRequest,
        ingest: &IngestRequest,
        is_held: bool,
        work: &JobContext<'_>,
    ) -> Result<(), FactorJobError> {
        if !request.enlarges_batches || self.how.by_token || !is_on_cpu(ingest) {
            return Ok(());
        }
        let of_pass = self.extent.groups.iter().map(ExactSizeIterator::len).max().unwrap_or(0);
        let queries = if self.how.sum_queries { 1 } else { of_pass };
        let column = |at: &usize| {
            let module = &self.engine.modules()[*at];
            self.how.form(module).bytes(module)
        };
        let parts = self.extent.parts.iter().map(|part| part.iter().map(column).sum::<u64>());
        let columns = parts.max().unwrap_or(0);
        let columns = columns.saturating_mul((queries * self.how.filters.len()) as u64);
        let inside = ingest.device.bytes_inside_layer(ingest.compute);
        let per_token = engine::kept_per_token(self.engine.decoder(), ingest, inside);
        let pool = (self.rows.len(), self.extent.threads);
        let (sizes, rows) = enlarged(ingest.batch_tokens, (per_token, columns), pool);
        if sizes.is_empty() {
            return Ok(());
        }
        // Fewer rows than a batch may have now could make it smaller. So small a pool is soon counted.
        if rows < self.batches.most_rows() {
            let tokens = u128::from(self.tokens_up_to(u64::MAX, work)?);
            if rows as u128 * tokens < ingest.batch_tokens as u128 * u128::from(self.rows.len()) {
                return Ok(());
            }
        }
        for tokens in sizes {
            self.batches.resize(tokens, rows);
            let larger = IngestRequest { batch_tokens: tokens, ..ingest.clone() };
            let same = |plan: &ScoreMemoryPlan| {
                (plan.threads, &plan.groups, &plan.parts)
                    == (self.extent.threads, &self.extent.groups, &self.extent.parts)
            };
            if let Some(extent) = self.extent(request, &larger, is_held).ok().filter(same) {
                self.extent = extent;
                return Ok(());
            }
        }
        self.batches.resize(ingest.batch_tokens, usize::MAX);
        Ok(())
    }

    /// Splits the queries into groups that fit in memory. `is_held`: all scores are held until the end.
    fn extent(
        &self,
        request: &ScoreRequest,
        ingest: &IngestRequest,
        is_held: bool,
    ) -> Result<ScoreMemoryPlan, FactorJobError> {
        let (modules, how) = (self.engine.modules(), &self.how);
        let per = request.form.per;
        let rows = if request.form.summed { 1 } else { self.rows.len() };
        let tables = if per == ScorePer::Module { modules.len() as u64 } else { 1 };
        // The weights of another checkpoint are in memory next to the plan's own.
        let mut places = self.segments.iter().flat_map(|segment| &segment.checkpoints);
        let moves = places.any(|place| place.at.is_some());
        let is_fused = |param: &Param| matches!(&param.role, TensorRole::Weight(pieces) if pieces.len() > 1);
        // Products with a direction read values in f32, which stays for the next direction.
        let inside = match self.solve {
            Some(_) => ingest.device.bytes_per_activation(ingest.compute),
            None => ingest.device.bytes_inside_layer(ingest.compute),
        };
        // Sums go on from pass to pass as one over all modules, which means over checkpoints come behind.
        let can_split = self.solve.is_none() && self.checkpoints() == 1;
        let sizes = ScoreSizes {
            modules,
            tables: modules.len(),
            layers: if can_split { self.engine.layers() } else { &[] },
            fused: self.engine.decoder().params.iter().any(is_fused),
            devices: ingest.devices(),
            weights: engine::weight_bytes(&self.engine, ingest) * (1 + u64::from(moves)),
            activations: engine::activations(&self.engine, ingest, inside),
            threads: ingest.threads,
            batch: [engine::batch_tokens(ingest), self.rows.len().min(self.batches.most_rows() as u64)],
            query_tokens: self.queries.iter().map(SampleTokens::len).max().unwrap_or(0),
            tokens_of_queries: self.queries.iter().map(SampleTokens::len).sum(),
            query_batch: self.batches.most_of_cut().map(|most| most as u64),
            per,
            by_token: how.by_token,
            filters: how.filters.len(),
            segments: self.segments.len(),
            rank: how.rank,
            top: request.top.map(|top| top.min(usize::try_from(self.rows.len()).unwrap_or(usize::MAX))),
            queries: (!request.target.is_own()).then_some(self.queries.len()),
            sum_queries: how.sum_queries,
            measures_rows: request.target.measures_rows(),
            rotates: how.strategy.rotates(),
            rotates_rows: how.rotates_rows(),
            solves: self.solve.is_some(),
            max_block: self.largest_block(),
            held: is_held.then_some([rows, tables]),
        };
        sizes.fitted(ingest.max_memory.or_else(available_memory).unwrap_or(u64::MAX))
    }
}

/// Whether the CPU computes everything.
pub(super) fn is_on_cpu(ingest: &IngestRequest) -> bool {
    ingest.device == Device::Cpu && ingest.devices() == 1
}

/// Tokens and names of the queries. Where their texts and those of the pool are of two forms, a note says so.
fn queries(
    target: &ScoreTarget,
    (snapshot, pool, batches): (&Snapshot, &DatasetPart, &RowBatches),
    work: &mut JobContext<'_>,
) -> Result<(Vec<SampleTokens>, QueryNames), FactorJobError> {
    let ScoreTarget::Samples { source, limit, summed, .. } = target else {
        return Ok((Vec::new(), QueryNames::default()));
    };
    let most = limit.unwrap_or(usize::MAX);
    let (mut samples, _) = SampleSource::read(source, Reading::Whole, &|_, _| true, work.cancel)?;
    samples.truncate(most);
    if samples.is_empty() {
        return Err(FactorJobError::Refused("there is no query: the target has no sample".to_owned()));
    }
    let mut known = BTreeSet::new();
    let repeated = samples.iter().find(|sample| !known.insert(sample.id.as_str()));
    if let Some(sample) = repeated.filter(|_| !summed) {
        return Err(FactorJobError::Refused(format!(
            "{sample} of the target has the id of an earlier one, and scores are told apart by the ids of queries: give it \
             another id, or leave it out"
        )));
    }
    let contents = samples.iter().map(|sample| &sample.content);
    let note = note_of_queries(snapshot, pool, contents, &batches.encoding());
    note.iter().for_each(|note| work.progress.note(note));
    let encoder = batches.encoder();
    let encoded = encode_each(&samples, |sample| encoder.encode(&sample.content), work.threads, work.cancel)?;
    let unscored = samples.iter().zip(&encoded).find(|(_, encoded)| encoded.scored_tokens() == 0);
    if let Some((sample, _)) = unscored {
        return Err(FactorJobError::Refused(format!("{sample} of the target has no token that is scored")));
    }
    let tokens = samples.iter().zip(&encoded).map(|(sample, encoded)| SampleTokens::new(sample.row, encoded));
    let names = QueryNames {
        ids: samples.iter().map(|sample| sample.id.clone()).collect(),
        texts: samples.iter().map(|sample| prompt_and_completion(&sample.content)).collect(),
    };
    Ok((tokens.collect(), names))
}
