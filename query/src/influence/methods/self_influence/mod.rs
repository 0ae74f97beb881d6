//! Self-influence: the score of each row for itself.
//!
//! `self(row) = sum over checkpoints c of w_c sum over modules m of a_m <T_c[row], V_c[row]>_m`: what a step
//! on the row alone does to its own loss (Pruthi et al. 2020, section 4.1). V is the target's feature where
//! the pool is one of the targets, else T. Where both are one feature the product is the square of the stored
//! length, taken before values were rounded; else that of the stored values, summed in f64. With a
//! preconditioner it is `<T_c[row], P_c V_c[row]>`, of the stored values.

mod share;

use std::ops::ControlFlow;

use gstore_core::{Cancel, parallel};
use gstore_curvature::Preconditioner;
use gstore_store::{BlockBuffer, FeatureReader};

use self::share::{CheckpointShare, Row, SecondScratch};
use crate::error::QueryError;
use crate::influence::plan::side::PlanSide;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::prepare::target_vectors::TargetVectors;
use crate::influence::rank::collect::{Collector, merge};
use crate::influence::rank::{check_missing, summary};
use crate::influence::result::{NO_SUBTASK, Ranking, ScanSummary, Scored};
use crate::influence::scan::filter::{RowFilter, RowMask};
use crate::influence::scan::slots::Selection;
use crate::influence::scan::terms::Terms;
use crate::influence::scan::windows::{Window, passing, windows};
use crate::influence::scan::{ScanPool, Totals, block_bytes};
use crate::influence::spec::{Missing, Order, Sim};

/// A thread's memory.
#[derive(Default)]
struct Worker {
    scratch: BlockBuffer,
    selection: Selection,
    rows: Vec<Row>,
    second: SecondScratch,
}

/// Everything that the threads share.
struct SharedInputs<'a> {
    prepared: &'a Prepared,
    operands: Operands,
    /// By pool and checkpoint the second feature, where it is another one.
    others: Vec<Vec<Option<FeatureReader>>>,
    /// By checkpoint what one side of each product is preconditioned by.
    inverses: Option<&'a [Preconditioner]>,
    filter: Option<&'a RowFilter>,
    cancel: &'a Cancel,
}

impl Prepared {
    /// The k rows with the highest or lowest influence on themselves. Rows are eligible as for any question
    /// of this plan. `Scored::subtask` is [`NO_SUBTASK`].
    ///
    /// # Errors
    /// With cosines, where every row has 1, and of tokens.
    pub fn top_k_self(
        &self,
        order: Order,
        k: usize,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
    ) -> Result<Ranking, QueryError> {
        self.make_inverses(threads, cancel)?;
        let question = question(self, filter, cancel)?;
        let windows = windows(&question.operands.pools, 1);
        let new = || Collector::new(order, k, false);
        let states = parallel::unordered::<_, QueryError>(
            windows.len(),
            threads,
            cancel,
            || (Worker::default(), new(), Totals::default()),
            |(worker, top, totals), unit| {
                let (scored, counts) = question.window(&windows[unit], worker)?;
                scored.iter().for_each(|scored| top.push(scored));
                totals.merge(&counts);
                Ok::<_, QueryError>(())
            },
        )?;
        let mut top = new();
        let totals = merge(states, &mut top);
        let summary = summary::of_scan(self, &question.operands, &totals);
        Ok(Ranking { rows: top.into_rows(), subtasks: Vec::new(), summary })
    }

    /// Hands out the influence on itself of every eligible row in (pool, row) order, in slices;
    /// `Break` ends the scan early.
    ///
    /// # Errors
    /// As [`Self::top_k_self`].
    pub fn self_scores(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
        emit: &mut dyn FnMut(&[Scored]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        self.make_inverses(threads, cancel)?;
        let question = question(self, filter, cancel)?;
        let windows = windows(&question.operands.pools, 1);
        let mut totals = Totals::default();
        parallel::ordered::<_, _, QueryError>(
            windows.len(),
            threads,
            cancel,
            Worker::default,
            |worker, unit| question.window(&windows[unit], worker),
            |(scored, counts)| {
                totals.merge(&counts);
                Ok(if scored.is_empty() { ControlFlow::Continue(()) } else { emit(&scored) })
            },
        )?;
        Ok(summary::of_scan(self, &question.operands, &totals))
    }
}

/// Opens the pools, and their second features where the target has others.
fn question<'a>(
    prepared: &'a Prepared,
    filter: Option<&'a RowFilter>,
    cancel: &'a Cancel,
) -> Result<SharedInputs<'a>, QueryError> {
    if prepared.spec().sim == Sim::Cosine || prepared.spec().per_token {
        return Err(QueryError::Spec(
            "the influence of a row on itself is a dot product of samples (the cosine is 1): ask with `sim => 'dot'` and without \
             `per_token`"
                .into(),
        ));
    }
    // No vector of the target is compared with more than its own row, so none is loaded.
    let terms =
        Terms { within: prepared.spec().within, across: prepared.spec().across, subtasks: Vec::new() };
    let target = TargetVectors {
        subtasks: Vec::new(),
        rows: Vec::new(),
        excluded: Default::default(),
        terms,
        vectors: vec![Vec::new(); prepared.checkpoints().len()],
    };
    let operands = Operands::open(prepared, target, cancel)?;
    check_missing(prepared, &operands, filter)?;
    let mut others = Vec::new();
    for (p, (pool, side)) in operands.pools.iter().zip(prepared.pools()).enumerate() {
        let mask = filter.and_then(|filter| filter.pool(p));
        let same = |target: &&PlanSide| target.dataset.name == side.dataset.name;
        let second = prepared.targets().iter().find(same);
        let mut at = Vec::new();
        for (c, first) in side.features.iter().enumerate() {
            let other = second.and_then(|second| second.features.get(c));
            at.push(match other.filter(|other| other.number != first.number) {
                None => None,
                Some(other) => {
                    let reader = prepared.snapshot().open_feature_shared(other)?;
                    if prepared.spec().missing == Missing::Error {
                        check_other(prepared, (pool, mask), &reader, c)?;
                    }
                    Some(reader)
                }
            });
        }
        others.push(at);
    }
    let inverses = prepared.inverses(cancel)?;
    Ok(SharedInputs { prepared, operands, others, inverses, filter, cancel })
}

/// Refuses rows that lack the second feature, among those that the filter lets through.
fn check_other(
    prepared: &Prepared,
    (pool, mask): (&ScanPool, Option<&RowMask>),
    reader: &FeatureReader,
    checkpoint: usize,
) -> Result<(), QueryError> {
    let lacks = passing(&pool.live.difference(&reader.row_set()?), mask);
    if lacks == 0 {
        return Ok(());
    }
    let part = reader.part();
    let place = &prepared.checkpoints()[checkpoint].name;
    let lacking = [(part, format!("{lacks} of `{}` at {place}", part.display_name()))];
    Err(QueryError::missing(prepared.snapshot(), (lacks, passing(&pool.live, mask)), lacking))
}

impl SharedInputs<'_> {
    fn window(&self, window: &Window, worker: &mut Worker) -> Result<(Vec<Scored>, Totals), QueryError> {
        let pool = &self.operands.pools[window.pool as usize];
        let filter = self.filter.and_then(|filter| filter.pool(window.pool as usize));
        let scan = self.operands.scan(self.prepared.spec(), self.filter, self.cancel);
        let Worker { scratch, selection, rows, second } = worker;
        let mut totals = Totals::default();
        selection.choose(window.rows.clone(), &pool.live, filter);
        let slots = selection.rows();
        rows.clear();
        rows.resize(slots.len(), Row::default());
        for (c, reader) in pool.readers.iter().enumerate() {
            let (weight, modules) = (self.operands.weights[c], &pool.modules[c]);
            let inverse = self.inverses.and_then(|inverses| inverses.get(c));
            let scale = reader.part().attrs.dot_scale;
            let mut share = CheckpointShare { weight, modules, scale, inverse, slots, rows };
            for block in window.blocks(reader) {
                if !slots.touch(block.range()) {
                    continue;
                }
                scan.check_cancelled()?;
                let block = reader.read_block(block, scratch)?;
                totals.bytes_read += block_bytes(&block);
                match &self.others[window.pool as usize][c] {
                    None if inverse.is_some() => share.energies(&block, reader, second),
                    None => share.squares(&block),
                    Some(other) => {
                        totals.bytes_read += share.products((&block, reader), other, window, second)?;
                    }
                }
            }
        }
        let mut scored = Vec::new();
        for (slot, state) in rows.iter().enumerate() {
            let Some((row, _)) = slots.key(slot) else { continue };
            totals.scanned += 1;
            match state.score(&scan) {
                Ok(score) => {
                    scored.push(Scored { pool: window.pool, row, pos: None, score, subtask: NO_SUBTASK });
                }
                Err(reason) => totals.excluded.add(reason),
            }
        }
        totals.eligible = scored.len() as u64;
        totals.scored = totals.eligible;
        Ok((scored, totals))
    }
}
