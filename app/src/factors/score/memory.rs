//! Memory of scores, from the sizes of modules, batches and outputs, and how many queries it is enough for.

use std::ops::Range;

use gstore_curvature::Module;

use super::forms::{TOKENS, column_bytes, has_low_rank};
use super::pass::AHEAD;
use super::request::ScorePer;
use crate::factors::error::FactorJobError;
use crate::factors::forecast::sets;

/// Columns that the kernel multiplies at a time.
const MOST_COLUMNS: usize = 1000;

/// Bytes of a number of the scores, and of one that is multiplied.
const DOUBLE: u64 = 8;
const SINGLE: u64 = 4;

/// Bytes for each weight of a query that is solved for, besides its sums: in f64 the solution, the residual, the
/// direction, and both preconditioned, and one in f32.
const VECTORS: u64 = 5 * DOUBLE + SINGLE;

/// How much is held at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub threads: usize,
    /// Queries whose gradients are held while they are preconditioned.
    pub queries_at_once: usize,
    /// Queries of each pass.
    pub groups: Vec<Range<usize>>,
    /// Bytes of memory.
    pub memory: u64,
}

/// Sizes that the memory of scores is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes<'a> {
    pub modules: &'a [Module],
    /// Bytes of the weights, of as many checkpoints as are held at once.
    pub weights: u64,
    /// Bytes of a worker's activations.
    pub activations: u64,
    pub threads: usize,
    /// Tokens of a batch, and rows of one.
    pub batch: [u64; 2],
    pub per: ScorePer,
    /// Whether scores are made of tokens.
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
    /// Whether gradients are turned into eigenbases.
    pub rotates: bool,
    /// Whether queries are solved for, all of a group at once.
    pub solves: bool,
    /// Scores of each query that wait for the end, as those of a report do, with their tables.
    pub held: Option<[u64; 2]>,
}

impl Sizes<'_> {
    fn all(&self, of: impl Fn(&Module) -> u64) -> u64 {
        self.modules.iter().map(of).sum()
    }

    fn widest(&self, of: impl Fn(&Module) -> u64) -> u64 {
        self.modules.iter().map(of).max().unwrap_or(0)
    }

    /// What a worker has of a batch: activations, and the gradients of one module or what they are made of.
    fn worker(&self) -> u64 {
        let [tokens, _] = self.batch;
        let of_module = match self.by_token {
            true => tokens * self.widest(|module| (module.input + module.out) as u64),
            false => 2 * self.widest(|module| module.len() as u64),
        };
        self.activations + SINGLE * of_module
    }

    /// A query: its columns of all segments, twice while they are put in the kernel's order, its scores with
    /// the batches that are worked on or wait for their turn, and the rows that are kept. A pass is of one
    /// segment; the sums over those before it are in a file. And what it is solved for with.
    fn query(&self) -> u64 {
        let [tokens, rows] = self.batch;
        let parts = match self.per {
            ScorePer::Row => rows,
            ScorePer::Module => rows * self.modules.len() as u64,
            ScorePer::Token => tokens,
        };
        let threads = self.threads as u64;
        let on_the_way = DOUBLE * parts * (2 * threads + AHEAD as u64);
        // Products with a column, in f32 and in f64.
        let values = |module: &Module| match has_low_rank(module, self.rank) {
            Some(rank) => 2 * rank as u64,
            None => module.out as u64,
        };
        let products = match self.by_token {
            true => DOUBLE * tokens + (SINGLE + DOUBLE) * TOKENS as u64 * self.widest(values),
            false => (SINGLE + DOUBLE) * rows,
        };
        let kept = 2 * (DOUBLE + DOUBLE) * self.top.unwrap_or(0) as u64;
        let columns = 2 * self.segments as u64 * self.all(|module| column_bytes(module, self.rank));
        (columns + on_the_way + threads * products + kept) * self.filters as u64 + self.solving()
    }

    /// The vectors of a query that is solved for, and the sums of products, as many as passes hold.
    fn solving(&self) -> u64 {
        let of_weight = VECTORS + DOUBLE * sets(self.threads);
        if self.solves { of_weight * self.all(|module| module.len() as u64) } else { 0 }
    }

    /// Rows that are scored for themselves: while eigenbases are read, and while rows are scored.
    fn own(&self) -> [u64; 2] {
        if self.queries.is_some() {
            return [0; 2];
        }
        let scales = DOUBLE * self.filters as u64 * self.all(|module| module.len() as u64);
        let squares = |module: &Module| (module.input * module.input + module.out * module.out) as u64;
        if !self.rotates {
            return [scales; 2];
        }
        // In f64, as the backend has them, and of one module once more and turned.
        let bases = self.all(squares);
        let one = self.widest(|module| 2 * DOUBLE * squares(module) + 3 * DOUBLE * module.len() as u64);
        [scales + (DOUBLE + SINGLE) * bases + one, scales + SINGLE * bases]
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

    /// Splits the queries into groups that fit in memory, on as many of the threads as it allows.
    ///
    /// # Errors
    /// One query is too much on one thread; says what would need less.
    pub fn fitted(&self, limit: u64) -> Result<Extent, FactorJobError> {
        let threads = self.threads.max(1);
        let mut fewer = (1..=threads).rev().map(|threads| Self { threads, ..*self });
        let found = fewer.find_map(|sizes| sizes.extent(limit));
        found.ok_or_else(|| Self { threads: 1, ..*self }.refused(limit))
    }

    /// Bytes without any query: while bases are read, and while rows are scored.
    fn fixed(&self) -> [u64; 2] {
        let [reading, scoring] = self.own();
        let workers = self.threads as u64 * self.worker();
        [self.weights + self.waiting() + reading, self.weights + self.waiting() + workers + scoring]
    }

    fn extent(&self, limit: u64) -> Option<Extent> {
        let [reading, fixed] = self.fixed();
        let Some(all) = self.queries else {
            let memory = reading.max(fixed);
            let groups = std::iter::once(0..0).collect();
            let extent = Extent { threads: self.threads, queries_at_once: 1, groups, memory };
            return (memory <= limit).then_some(extent);
        };
        let (query, whole) = (self.query(), self.gradient());
        let room = limit.checked_sub(fixed + whole)?;
        let fits = usize::try_from(room / query.max(1)).unwrap_or(usize::MAX);
        let at_once = fits.min((MOST_COLUMNS / self.filters.max(1)).max(1));
        if at_once == 0 {
            return None;
        }
        // Queries that are summed are one column.
        let (groups, columns) = match self.sum_queries {
            true => (std::iter::once(0..all).collect(), all.min(1)),
            false => {
                let starts = (0..all).step_by(at_once);
                (starts.map(|start| start..all.min(start + at_once)).collect(), at_once.min(all))
            }
        };
        let held = columns as u64 * query;
        let more = room.saturating_sub(held) / whole.max(1);
        // Gradients that are solved for are among the vectors of that.
        let most = if self.solves { 1 } else { MOST_COLUMNS };
        let queries_at_once = usize::try_from(more).unwrap_or(usize::MAX).clamp(1, most);
        let gradients = whole * queries_at_once.min(all.max(1)) as u64;
        Some(Extent { threads: self.threads, queries_at_once, groups, memory: fixed + held + gradients })
    }

    /// A query's gradient of all modules.
    fn gradient(&self) -> u64 {
        SINGLE * self.all(|module| module.len() as u64)
    }

    fn refused(&self, limit: u64) -> FactorJobError {
        let [reading, fixed] = self.fixed();
        let needed = match self.queries {
            Some(_) => fixed + self.gradient() + self.query(),
            None => reading.max(fixed),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn modules() -> [Module; 2] {
        let module = |name: &str, out, input| Module { name: name.into(), out, input, bias: false };
        [module("a", 10, 20), module("b", 30, 10)]
    }

    fn sizes(modules: &[Module]) -> Sizes<'_> {
        Sizes {
            modules,
            weights: 1_000_000,
            activations: 10_000,
            threads: 2,
            batch: [64, 4],
            per: ScorePer::Row,
            by_token: false,
            filters: 1,
            segments: 1,
            rank: None,
            top: None,
            queries: Some(3),
            sum_queries: false,
            rotates: true,
            solves: false,
            held: None,
        }
    }

    #[test]
    fn a_query_is_its_columns_and_its_scores_on_the_way() {
        let modules = modules();
        // 500 weights; 2 * 2 + 4 batches of 4 rows; 2 workers' products of 4 rows.
        let columns = 2 * 4 * 500;
        let of_rows = columns + 8 * 4 * 8 + 2 * 12 * 4;
        assert_eq!(sizes(&modules).query(), of_rows);
        assert_eq!(Sizes { filters: 3, ..sizes(&modules) }.query(), 3 * of_rows);
        assert_eq!(Sizes { segments: 3, ..sizes(&modules) }.query(), of_rows + 2 * columns);
        assert_eq!(Sizes { top: Some(5), ..sizes(&modules) }.query(), of_rows + 2 * 16 * 5);
        let of_modules = Sizes { per: ScorePer::Module, ..sizes(&modules) };
        assert_eq!(of_modules.query(), of_rows + 8 * 4 * 8);
        // Every token has a score; 64 of them are multiplied with the 30 rows of the widest matrix.
        let of_tokens = Sizes { per: ScorePer::Token, by_token: true, ..sizes(&modules) };
        assert_eq!(of_tokens.query(), columns + 8 * 64 * 8 + 2 * (8 * 64 + 12 * 64 * 30));
        assert_eq!(of_tokens.worker(), 10_000 + 4 * 64 * 40);
        assert_eq!(sizes(&modules).worker(), 10_000 + 4 * 2 * 300);
    }

    #[test]
    fn a_solve_takes_vectors_of_all_weights_and_sums_of_each_thread() {
        let modules = modules();
        let (plain, solves) = (sizes(&modules), Sizes { solves: true, ..sizes(&modules) });
        // 500 weights: 5 vectors in f64 and one in f32; the sums of 2 workers, one on its way, and all.
        assert_eq!(solves.query() - plain.query(), 500 * (5 * 8 + 4 + 4 * 8));
        let more = |threads| Sizes { threads, ..solves }.query() - Sizes { threads, ..plain }.query();
        assert_eq!(more(3) - more(2), 500 * 8);
        // Gradients of a group are held at once, and those in f32 are counted once.
        let (all, one) = (solves.fitted(u64::MAX).expect("fits"), Sizes { queries: Some(1), ..solves });
        let one = one.fitted(u64::MAX).expect("fits");
        assert_eq!((all.queries_at_once, all.memory - one.memory), (1, 2 * solves.query()));
        let least = Sizes { threads: 1, ..solves };
        let least = least.fixed()[1] + least.gradient() + least.query();
        assert_eq!(solves.fitted(least).expect("fits").groups.len(), 3);
        let error = solves.fitted(least - 1).expect_err("too little").to_string();
        assert!(error.contains("one query") && error.contains("no iterative solve"), "{error}");
    }

    #[test]
    fn rows_for_themselves_are_scales_and_eigenvectors() {
        let modules = modules();
        let own = Sizes { queries: None, filters: 2, ..sizes(&modules) };
        // 500 + 1000 values of eigenvectors; those of the second module and its eigenvalues once more.
        let (scales, bases) = (8 * 2 * 500, 500 + 1000);
        assert_eq!(own.own(), [scales + 12 * bases + 16 * 1000 + 24 * 300, scales + 4 * bases]);
        assert_eq!(Sizes { rotates: false, ..own }.own(), [scales; 2]);
        let extent = own.fitted(u64::MAX).expect("fits");
        let workers = 2 * (10_000 + 4 * 2 * 300);
        let memory =
            1_000_000 + (scales + 12 * bases + 16 * 1000 + 24 * 300).max(workers + scales + 4 * bases);
        assert_eq!((extent.memory, extent.groups.len()), (memory, 1));
        assert_eq!(own.fitted(memory).expect("fits").threads, 2);
        let error = own.fitted(1_000_000).expect_err("too little").to_string();
        assert!(error.contains("scoring rows for themselves") && error.contains("diagonal"), "{error}");
    }

    #[test]
    fn scores_of_a_report_wait_in_memory() {
        let modules = modules();
        let held = Sizes { held: Some([1_000_000, 1]), ..sizes(&modules) };
        // 3 queries, and the orders of one.
        assert_eq!(held.waiting(), 4 * 3 * 1_000_000 + 32 * 1_000_000);
        let without = sizes(&modules).fitted(u64::MAX).expect("fits").memory;
        assert_eq!(held.fitted(u64::MAX).expect("fits").memory, without + held.waiting());
        let error = held.fitted(without + 1_000_000).expect_err("too little").to_string();
        assert!(error.contains("keeping all scores") && error.contains("row by row"), "{error}");
    }

    #[test]
    fn queries_that_do_not_fit_take_several_passes_then_fewer_threads() {
        let modules = modules();
        let sizes = sizes(&modules);
        let [_, fixed] = sizes.fixed();
        let two = sizes.fitted(fixed + sizes.gradient() + 2 * sizes.query()).expect("fits");
        assert_eq!((two.threads, two.groups), (2, vec![0..2, 2..3]));
        let one = Sizes { threads: 1, ..sizes };
        let [_, fixed] = one.fixed();
        let least = fixed + one.gradient() + one.query();
        let found = sizes.fitted(least).expect("fits");
        assert_eq!((found.threads, found.groups.len(), found.memory), (1, 3, least));
        let error = sizes.fitted(least - 1).expect_err("too little").to_string();
        assert!(error.contains("one query") && error.contains("low rank"), "{error}");
    }
}
