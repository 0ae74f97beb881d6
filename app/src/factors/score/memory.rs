//! Memory of scores, from the sizes of modules, batches and outputs, and how many queries it is enough for.

use std::ops::Range;

use gstore_curvature::{Blocks, Module, SampleGradient};

use super::forms::{ColumnForm, TOKENS, cut};
use super::request::ScorePer;
use crate::factors::error::FactorJobError;
use crate::factors::forecast::sets;

/// Units that may be in front of the one whose scores are taken next.
pub(super) const AHEAD: usize = 4;

/// Columns of a pass at most.
const MOST_COLUMNS: usize = 1000;

/// Tokens of a batch at most, where it is enlarged.
const MOST_TOKENS: u64 = 8192;

/// Batches of each thread at least, if there are rows for them: what the others wait for at the end is then
/// a small part.
const BATCHES: u64 = 4;

/// Parts of a group of queries that are preconditioned one after the other, about, where memory is what
/// limits a group: each part reads all factors.
const GRADIENT_PARTS: u64 = 4;

/// Bytes of a number of the scores, and of one that is multiplied.
const DOUBLE: u64 = 8;
const SINGLE: u64 = 4;

/// Bytes for each weight of a query that is solved for, besides its sums: in f64 the solution, the residual,
/// the direction, and both preconditioned; each device has one in f32 as well.
const VECTORS: u64 = 5 * DOUBLE;

/// How much is held at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ScoreMemoryPlan {
    pub threads: usize,
    /// Queries whose gradients are held while they are preconditioned.
    pub queries_at_once: usize,
    /// Queries that have passes of their own.
    pub groups: Vec<Range<usize>>,
    /// Modules of each pass, in ascending order: those of some layers, from the last to the first. Each group
    /// of queries has a pass for each.
    pub parts: Vec<Vec<usize>>,
    pub memory: u64,
}

/// The cost of one pass over all layers.
const ONE_PASS: usize = 3;

impl ScoreMemoryPlan {
    /// What all passes take of one thread, where the model takes one. Passes of fewer layers compute only the
    /// model again; for each group of queries gradients of weights and their products are computed again too,
    /// which takes about twice as long.
    fn cost(&self) -> usize {
        self.groups.len() * (self.parts.len() + ONE_PASS - 1)
    }
}

/// Sizes that the memory of scores is computed from.
#[derive(Debug, Clone, Copy)]
pub(super) struct ScoreSizes<'a> {
    pub modules: &'a [Module],
    /// How many modules there are in all passes.
    pub tables: usize,
    /// Modules of each layer, in the order in which a pass has them; none where a pass has to be of all.
    pub layers: &'a [Vec<usize>],
    /// Whether modules may be several maps, as fused attention is: in the last layer the tokens of such a
    /// module come in two calls.
    pub fused: bool,
    /// Devices, each of which has a worker at least, and what is held of eigenbases and directions.
    pub devices: usize,
    /// Bytes of the weights of all devices, of as many checkpoints as are held at once.
    pub weights: u64,
    /// Bytes of a worker's activations: whatever its batch, and for each token of it.
    pub activations: [u64; 2],
    pub threads: usize,
    /// Tokens of a batch, and rows of one.
    pub batch: [u64; 2],
    /// Tokens of a batch of queries, unless one has more, and queries of one.
    pub query_batch: [u64; 2],
    /// Tokens of the longest query, and of all.
    pub query_tokens: usize,
    pub tokens_of_queries: usize,
    pub per: ScorePer,
    /// Whether scores are computed token by token.
    pub by_token: bool,
    /// Filters, whose scores are told apart.
    pub filters: usize,
    /// Segments of training: a query has columns of each of them, and their scores are added up.
    pub segments: usize,
    pub rank: Option<usize>,
    /// Rows that are kept of each query and filter.
    pub top: Option<usize>,
    /// Queries; none where rows are scored for themselves.
    pub queries: Option<usize>,
    /// Whether queries become one, their sum.
    pub sum_queries: bool,
    /// Whether rows scored for themselves have gradients of something else than the loss as well.
    pub measures_rows: bool,
    /// Whether gradients are rotated into eigenbases.
    pub rotates: bool,
    /// Whether those of rows are.
    pub rotates_rows: bool,
    /// Whether queries are solved for, all of a group at once.
    pub solves: bool,
    /// Rows of the largest block of eigenvectors.
    pub max_block: usize,
    /// Scores of each query that wait for the end, as those of a report do, with their tables.
    pub held: Option<[u64; 2]>,
}

impl ScoreSizes<'_> {
    fn all(&self, of: impl Fn(&Module) -> u64) -> u64 {
        self.modules.iter().map(of).sum()
    }

    fn widest(&self, of: impl Fn(&Module) -> u64) -> u64 {
        self.modules.iter().map(of).max().unwrap_or(0)
    }

    /// Values of a module's eigenvectors, as their blocks are stored.
    fn eigenvectors(&self, module: &Module) -> u64 {
        [module.input, module.out].map(|size| Blocks::new(size, self.max_block).values() as u64).iter().sum()
    }

    /// How often a module's eigenvectors are there in f64 while filters are made: as they are read, and where
    /// queries are rotated, with their transposes for the first filter and for the one that is made.
    fn copies_of_eigenvectors(&self) -> u64 {
        match (self.rotates, self.rotates_rows) {
            (false, _) => 0,
            // Of K-FAC; EK-FAC has none.
            (true, true) => 1,
            (true, false) => 1 + 2 * (self.filters as u64 + u64::from(self.segments > 1)).min(2),
        }
    }

    /// What a thread has of a module that queries are preconditioned in, while filters are made or while
    /// queries are rotated, whichever is more. It has one segment at a time.
    fn preconditioning(&self) -> u64 {
        let filters = self.filters as u64 + u64::from(self.segments > 1);
        // While the last filter is made: eigenvectors as they are read, and with their transposes those of
        // the first filter and of this one. Eigenvalues as they are read and as they are inverted; the scale
        // of each filter, that of the first twice and of this one, if it is another, as well.
        let copies = self.copies_of_eigenvectors();
        let making = [DOUBLE * copies, DOUBLE * (filters + 1 + filters.min(2))];
        let rotating = match (self.solves, self.rotates && !self.rotates_rows) {
            // All of it in f64: the scale, and a query rotated by one side, by both, and back.
            (true, true) => [2 * DOUBLE, 4 * DOUBLE],
            // The scale of each filter; the query comes rotated.
            (_, false) if self.rotates => [0, filters * DOUBLE],
            // A scale and a column of each filter, and the query.
            (_, false) => [0, (2 * filters + 1) * DOUBLE],
            // The eigenvectors and their transposes in f32; the query also rotated by one side, and scaled,
            // in f32.
            (false, true) => [2 * SINGLE, (2 * filters + 1) * DOUBLE + 2 * SINGLE],
        };
        let bytes = |module: &Module, [of_vectors, of_weights]: [u64; 2]| {
            of_vectors * self.eigenvectors(module) + of_weights * module.len() as u64
        };
        self.widest(|module| bytes(module, making).max(bytes(module, rotating)))
    }

    /// What a worker has of a batch of rows, and of the one whose measured gradient waits for that of its loss.
    fn worker(&self) -> u64 {
        let measured = if self.measures_rows { SINGLE * self.all(|module| module.len() as u64) } else { 0 };
        self.workers(1, self.batch, self.by_token) + measured
    }

    /// What workers have of the batches that they are at, of so many tokens and samples in all: activations,
    /// and the gradients of one module or their factors; two such gradients of each sample where fused maps
    /// come apart.
    fn workers(&self, count: u64, [tokens, samples]: [u64; 2], by_token: bool) -> u64 {
        let of_tokens = tokens * self.widest(|module| (module.input + module.out) as u64);
        let of_samples = 2 * samples * self.widest(|module| module.len() as u64);
        // Queries that are rotated and back come as tokens.
        let of_module = match by_token {
            true => of_tokens,
            false if self.rotates_queries() => of_tokens.max(of_samples),
            false => of_samples,
        };
        // What they are formed of, rotated.
        let rotated = if self.rotates_rows { of_tokens } else { 0 };
        let [fixed, token] = self.activations;
        count * fixed + tokens * token + SINGLE * (of_module + rotated)
    }

    /// What workers have of queries while their gradients are computed: of no more than there are. A solver
    /// also goes over the rows of a fit, in batches with the same limits, of which there may be more than there
    /// are queries and rows of the pool.
    fn query_workers(&self) -> u64 {
        let (threads, queries) = (self.threads as u64, self.queries.unwrap_or(0) as u64);
        let [tokens, samples] = self.query_batch;
        let tokens = tokens.max(self.query_tokens as u64);
        if self.solves {
            let [of_rows, rows] = self.batch;
            let batch = [tokens.max(of_rows), samples.max(rows)];
            return threads * self.workers(1, batch, false).max(self.worker());
        }
        let tokens = (threads * tokens).min(self.tokens_of_queries as u64);
        let samples = (threads * samples).min(queries);
        self.workers(threads.min(queries), [tokens, samples], false)
    }

    /// A query: its columns of all segments, its scores with the batches that are worked on or wait for their
    /// turn, and the rows that are kept. A pass is of one segment; the sums over those before it are in a
    /// file. And what it is solved for with.
    fn query(&self) -> u64 {
        let [tokens, rows] = self.batch;
        let parts = match self.per {
            ScorePer::Row => rows,
            ScorePer::Module => rows * self.tables as u64,
            ScorePer::Token => tokens,
        };
        let threads = self.threads as u64;
        // With those of batches that are worked on, what these began with, and one that is not yet given on.
        let on_the_way = DOUBLE * parts * (2 * threads + AHEAD as u64 + 1);
        // Products with a column, in f32 and in f64.
        let form = |module: &Module| ColumnForm::new(module, self.by_token, self.rank);
        let values = |module: &Module| match form(module) {
            ColumnForm::LowRank(rank) => 2 * rank as u64,
            ColumnForm::Gradients | ColumnForm::Tokens => module.out as u64,
        };
        let products = match self.by_token {
            true => DOUBLE * tokens + (SINGLE + DOUBLE) * TOKENS as u64 * self.widest(values),
            false => (SINGLE + DOUBLE) * rows,
        };
        let kept = 2 * (DOUBLE + DOUBLE) * self.top.unwrap_or(0) as u64;
        let columns = self.segments as u64 * self.all(|module| form(module).bytes(module));
        // The sum of their gradients, where they are summed.
        let sum = if self.sum_queries { DOUBLE * self.all(|module| module.len() as u64) } else { 0 };
        (columns + on_the_way + threads * products + kept) * self.filters as u64 + sum + self.solving()
    }

    /// The vectors of a query that is solved for, and the sums of products, as many as passes hold.
    fn solving(&self) -> u64 {
        let of_weight = VECTORS + self.devices as u64 * SINGLE + DOUBLE * sets(self.threads);
        if self.solves { of_weight * self.all(|module| module.len() as u64) } else { 0 }
    }

    /// What is there of eigenbases while they are read, and while rows are scored: those of all modules where
    /// rows are rotated.
    fn bases(&self) -> [u64; 2] {
        // In f64 while they are read, and as the backends have them.
        let [read, held] = match self.rotates_rows {
            true => {
                let values = self.all(|module| self.eigenvectors(module));
                [DOUBLE * values, self.devices as u64 * SINGLE * values]
            }
            false => [0, 0],
        };
        if self.queries.is_some() {
            return [read.max(self.threads as u64 * self.preconditioning()) + held, held];
        }
        let scales = DOUBLE * self.filters as u64 * self.all(|module| module.len() as u64);
        // Scales are made then, of one module at a time.
        let copies = self.copies_of_eigenvectors();
        let making =
            |module: &Module| DOUBLE * (copies * self.eigenvectors(module) + 3 * module.len() as u64);
        let making = if self.rotates { self.widest(making) } else { 0 };
        [read.max(scales + making) + held, scales + held]
    }

    /// Scores that wait for the end, and the orders of a query's.
    fn waiting(&self) -> u64 {
        let Some([rows, tables]) = self.held else { return 0 };
        let queries = match (self.queries, self.sum_queries) {
            (Some(queries), false) => queries as u64,
            _ => 1,
        };
        SINGLE * tables * queries * rows + 4 * DOUBLE * rows
    }

    /// Splits the queries into groups that fit in memory, on the number of threads that is done first: at
    /// least one for each device. Fewer threads leave more memory to the queries, which then take fewer
    /// passes.
    ///
    /// # Errors
    /// One query is too much on these; says what would need less.
    pub fn fitted(&self, limit: u64) -> Result<ScoreMemoryPlan, FactorJobError> {
        let least = self.devices;
        let mut best: Option<ScoreMemoryPlan> = None;
        for threads in (least..=self.threads.max(least)).rev() {
            // In one pass these would take as long as the best so far.
            if best.as_ref().is_some_and(|best| best.cost() * threads <= ONE_PASS * best.threads) {
                break;
            }
            let Some(found) = Self { threads, ..*self }.extent(limit) else { continue };
            let is_better = |best: &ScoreMemoryPlan| found.cost() * best.threads < best.cost() * threads;
            if best.as_ref().is_none_or(is_better) {
                best = Some(found);
            }
        }
        best.ok_or_else(|| Self { threads: least, ..*self }.refused(limit))
    }

    /// Bytes without any query: while bases are read and queries are made, and while rows are scored.
    fn fixed(&self) -> [u64; 2] {
        let [reading, bases] = self.bases();
        let making = reading.max(bases + self.query_workers());
        let scoring = bases + self.threads as u64 * self.worker();
        [making, scoring].map(|bytes| self.weights + self.waiting() + bytes)
    }

    /// The groups of queries and parts of the layers that take the least.
    fn extent(&self, limit: u64) -> Option<ScoreMemoryPlan> {
        let counts = 1..=self.layers.len().max(1);
        let plans = counts.filter_map(|count| self.extent_in(self.parts(count), limit));
        plans.min_by_key(ScoreMemoryPlan::cost)
    }

    /// The modules in about so many parts of layers, of about as many weights.
    fn parts(&self, count: usize) -> Vec<Vec<usize>> {
        if self.layers.is_empty() {
            return vec![(0..self.modules.len()).collect()];
        }
        if count >= self.layers.len() {
            return self.layers.to_vec();
        }
        let weights =
            |layer: &Vec<usize>| layer.iter().map(|at| self.modules[*at].len() as u128).sum::<u128>();
        let all = self.layers.iter().map(weights).sum::<u128>().max(1);
        let (mut parts, mut before) = (vec![Vec::new(); count], 0);
        for layer in self.layers {
            // Where its middle is.
            let part = (2 * before + weights(layer)) * count as u128 / (2 * all);
            parts[(part as usize).min(count - 1)].extend_from_slice(layer);
            before += weights(layer);
        }
        parts.iter_mut().for_each(|part| part.sort_unstable());
        parts.retain(|part| !part.is_empty());
        parts
    }

    /// The most of any part: bytes while queries are made and while rows are scored, without a query, those of
    /// a query, and those of its gradient, which is gone when rows are scored.
    fn needs(&self, parts: &[Vec<usize>]) -> [u64; 4] {
        parts.iter().fold([0; 4], |most, part| {
            let modules: Vec<Module> = part.iter().map(|at| self.modules[*at].clone()).collect();
            let sizes = ScoreSizes { modules: &modules, ..*self };
            let [making, scoring] = sizes.fixed();
            let needs = [making, scoring, sizes.query(), sizes.gradient()];
            std::array::from_fn(|at| most[at].max(needs[at]))
        })
    }

    fn extent_in(&self, parts: Vec<Vec<usize>>, limit: u64) -> Option<ScoreMemoryPlan> {
        let [making, scoring, query, whole] = self.needs(&parts);
        let Some(all) = self.queries else {
            let (threads, groups) = (self.threads, std::iter::once(0..0).collect());
            let memory = making.max(scoring);
            let plan = ScoreMemoryPlan { threads, queries_at_once: 1, groups, parts, memory };
            return (memory <= limit).then_some(plan);
        };
        // Gradients wait to be preconditioned while queries are made.
        let room = limit.checked_sub(making + whole)?;
        let room_of_columns = limit.checked_sub(scoring)?;
        if room.min(room_of_columns) < query {
            return None;
        }
        let is_one_part = self.solves || self.sum_queries;
        let waiting = if is_one_part { 0 } else { whole / GRADIENT_PARTS };
        let fits = (room / (query + waiting).max(1)).min(room_of_columns / query.max(1));
        let fits = usize::try_from(fits).unwrap_or(usize::MAX);
        let at_once = fits.clamp(1, (MOST_COLUMNS / self.filters.max(1)).max(1));
        // Groups of about one size.
        let at_once = all.max(1).div_ceil(all.max(1).div_ceil(at_once));
        // Queries that are summed are one column.
        let (groups, columns) = match self.sum_queries {
            true => (std::iter::once(0..all).collect(), all.min(1)),
            false => (cut(0..all, at_once).collect(), at_once.min(all)),
        };
        let held = columns as u64 * query;
        let more = room.saturating_sub(held) / whole.max(1);
        // Gradients that are solved for are among the vectors of that.
        let most = if self.solves { 1 } else { MOST_COLUMNS };
        let queries_at_once = usize::try_from(more).unwrap_or(usize::MAX).clamp(1, most);
        let waiting = if self.sum_queries { all } else { at_once };
        let gradients = whole * queries_at_once.min(waiting.max(1)) as u64;
        let memory = held + scoring.max(making + gradients);
        Some(ScoreMemoryPlan { threads: self.threads, queries_at_once, groups, parts, memory })
    }

    /// Whether queries are rotated into eigenbases and back, each alone as it comes from the model.
    fn rotates_queries(&self) -> bool {
        self.rotates && !self.rotates_rows && !self.solves && !self.sum_queries && self.queries.is_some()
    }

    /// A query's gradient of all modules, and what segments leave of it of those that are preconditioned in.
    fn gradient(&self) -> u64 {
        let values = |module: &Module| module.len() as u64;
        let left = if self.segments > 1 { self.threads as u64 * self.widest(values) } else { 0 };
        let tokens = self.query_tokens.saturating_mul(if self.fused { 2 } else { 1 });
        let held = |module: &Module| match self.rotates_queries() {
            true => SampleGradient::most_values(module, self.max_block, tokens) as u64,
            false => values(module),
        };
        SINGLE * self.all(held) + DOUBLE * left
    }

    fn refused(&self, limit: u64) -> FactorJobError {
        let [making, scoring, query, whole] = self.needs(&self.parts(self.layers.len().max(1)));
        let needed = match self.queries {
            Some(_) => query + scoring.max(making + whole),
            None => making.max(scoring),
        };
        let waiting = self.waiting();
        if waiting > 0 && needed - waiting <= limit {
            let what = "keeping all scores for a report or Kronfluence's files";
            let proposal = "a table is written row by row and keeps none; or score fewer rows".to_owned();
            return FactorJobError::Memory { what, needed, limit, proposal };
        }
        let smaller = if self.by_token { ", or fewer tokens in a batch" } else { "" };
        let (what, proposal) = match (self.queries, self.rank) {
            (None, _) if self.rotates => (
                "scoring rows for themselves",
                "fewer modules or filters, or the diagonal curvature, which has no eigenvectors, need less"
                    .to_owned(),
            ),
            (None, _) => ("scoring rows for themselves", "fewer modules or filters need less".to_owned()),
            (Some(_), _) if self.solves => {
                ("one query", "fewer modules, or no iterative solve, need less".to_owned())
            }
            (Some(_), None) => {
                ("one query", format!("fewer modules, or queries of a low rank{smaller}, need less"))
            }
            (Some(_), Some(_)) => {
                ("one query", format!("fewer modules, or a lower rank{smaller}, need less"))
            }
        };
        FactorJobError::Memory { what, needed, limit, proposal }
    }
}

/// Tokens of enlarged batches, the most first, from those of a batch otherwise; and the rows of one. Each batch
/// reads all columns of the queries from memory, so batches grow as long as the activations of their tokens,
/// `per_token` bytes each, take at most twice what the columns take.
pub(super) fn enlarged(
    least: usize,
    (per_token, columns): (u64, u64),
    (rows, threads): (u64, usize),
) -> (Vec<usize>, usize) {
    let is_fine = |tokens: &usize| {
        let tokens = *tokens as u64;
        tokens <= MOST_TOKENS && tokens.saturating_mul(per_token) / 2 <= columns
    };
    let doubled = std::iter::successors(Some(least.max(1)), |tokens| tokens.checked_mul(2));
    let mut tokens: Vec<usize> = doubled.skip(1).take_while(is_fine).collect();
    tokens.reverse();
    let rows = (rows / (BATCHES * threads.max(1) as u64)).max(1);
    (tokens, usize::try_from(rows).unwrap_or(usize::MAX))
}

/// Bytes of files with so many sums, where there are several passes: those that a pass reads, and those that
/// it writes. The first reads none, and the last writes none.
pub(super) fn sum_bytes(passes: usize, sums: u64) -> u64 {
    let files = passes.saturating_sub(1).min(2) as u64;
    files * sums * size_of::<f64>() as u64
}

#[cfg(test)]
mod tests;
