//! Self-influence: the score of each row for itself.
//!
//! `self(row) = sum over checkpoints c of w_c sum over modules m of a_m <T_c[row], V_c[row]>_m`: what a step
//! on the row alone does to its own loss (Pruthi et al. 2020, section 4.1). V is the target's feature where
//! the pool is one of the targets, else T. Where both are one feature the product is the square of the stored
//! length, taken before values were rounded; else that of the stored values, summed in f64. With a
//! preconditioner it is `<T_c[row], P_c V_c[row]>`, of the stored values.

use std::ops::{ControlFlow, Range};

use gstore_core::{Cancel, parallel};
use gstore_curvature::Preconditioner;
use gstore_store::{Block, BlockBuffer, CELL_ROWS, FeatureReader, RowFlags};

use crate::error::QueryError;
use crate::influence::prepare::operands::Operands;
use crate::influence::prepare::target_vectors::TargetVectors;
use crate::influence::prepare::{Prepared, PreparedSide};
use crate::influence::rank::collect::{Collector, merge};
use crate::influence::rank::{check_missing, summary};
use crate::influence::result::{NO_SUBTASK, Ranking, Reason, ScanSummary, Scored};
use crate::influence::scan::filter::{RowFilter, RowMask};
use crate::influence::scan::slots::{Selection, Slots};
use crate::influence::scan::terms::Terms;
use crate::influence::scan::windows::{Window, passing, windows};
use crate::influence::scan::{Scan, ScanPool, Totals, block_bytes};
use crate::influence::spec::{Missing, Order, Sim};
use crate::values::{groups, norm};

/// A thread's memory.
#[derive(Default)]
struct Worker {
    scratch: BlockBuffer,
    selection: Selection,
    rows: Vec<Row>,
    second: Second,
}

/// What the second feature takes of it.
#[derive(Default)]
struct Second {
    scratch: BlockBuffer,
    mine: Vec<f32>,
    theirs: Vec<f32>,
    /// Theirs, preconditioned.
    under: Vec<f64>,
}

/// What is known of a row so far.
#[derive(Clone, Copy, Default)]
struct Row {
    sum: f64,
    weight: f64,
    checkpoints: usize,
    flags: RowFlags,
}

/// Everything that the threads share.
struct Question<'a> {
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
        let question = question(self, filter, cancel)?;
        let windows = windows(&question.operands.pools, 1);
        let tops = || [Collector::new(order, k, false)];
        let states = parallel::unordered::<_, QueryError>(
            windows.len(),
            threads,
            cancel,
            || (Worker::default(), tops(), Totals::default()),
            |(worker, [top], totals), unit| {
                let (scored, counts) = question.window(&windows[unit], worker)?;
                scored.iter().for_each(|scored| top.push(scored));
                totals.merge(&counts);
                Ok::<_, QueryError>(())
            },
        )?;
        let mut tops = tops();
        let totals = merge(states, &mut tops);
        let [top] = tops;
        let summary = summary::of_scan(self, &question.operands, &totals);
        Ok(Ranking::new(top.into_rows(), Vec::new(), summary))
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
        mut emit: impl FnMut(&[Scored]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
        self.stream_self(filter, threads, cancel, &mut emit)
    }

    /// Apart from what takes the scores, so that it is compiled once.
    fn stream_self(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
        emit: &mut dyn FnMut(&[Scored]) -> ControlFlow<()>,
    ) -> Result<ScanSummary, QueryError> {
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
) -> Result<Question<'a>, QueryError> {
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
        let same = |target: &&PreparedSide| target.dataset.name == side.dataset.name;
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
    Ok(Question { prepared, operands, others, inverses, filter, cancel })
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
    let detail =
        format!("{lacks} of `{}` at {}", part.display_name(), prepared.checkpoints()[checkpoint].name);
    Err(QueryError::Missing { rows: lacks, scanned: passing(&pool.live, mask), detail })
}

impl Question<'_> {
    /// The scores of a window's rows.
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
            let mut share = Share { weight, modules, scale, inverse, slots, rows };
            for block in reader.blocks_in(window.rows.start / CELL_ROWS) {
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

impl Row {
    /// The score, or why there is none; the reasons are those of every scan.
    fn score(&self, scan: &Scan<'_>) -> Result<f32, Reason> {
        let whole = scan.is_whole(self.flags, self.checkpoints, self.weight > 0.0)?;
        let score = (if whole { self.sum } else { self.sum / self.weight }) as f32;
        if score.is_finite() { Ok(score) } else { Err(Reason::Overflow) }
    }
}

/// What one checkpoint adds to the rows of a window.
struct Share<'a> {
    weight: f64,
    /// Weights of the module groups.
    modules: &'a [f64],
    /// Of a dot product.
    scale: f64,
    inverse: Option<&'a Preconditioner>,
    slots: Slots<'a>,
    rows: &'a mut [Row],
}

impl Share<'_> {
    fn add(&mut self, slot: usize, product: f64) {
        let row = &mut self.rows[slot];
        row.sum += self.weight * self.scale * product;
        row.weight += self.weight;
        row.checkpoints += 1;
    }

    fn flag(&mut self, slot: usize, flags: u8) {
        self.rows[slot].flags.insert(RowFlags::from_bits(flags));
    }

    /// Adds the squares of the lengths of a block's vectors.
    fn squares(&mut self, block: &Block<'_>) {
        let modules = self.modules;
        for i in self.slots.span(block) {
            let Some(slot) = self.slots.of(block, i) else { continue };
            let length = norm(&block.norm[i * modules.len()..(i + 1) * modules.len()], modules);
            self.add(slot, length * length);
            self.flag(slot, block.flags[i]);
        }
    }

    /// Adds the products of a block's vectors with themselves, one side preconditioned.
    fn energies(&mut self, block: &Block<'_>, reader: &FeatureReader, memory: &mut Second) {
        let groups = groups(reader.part());
        memory.resize(reader.part().desc.dim() as usize);
        for i in self.slots.span(block) {
            let Some(slot) = self.slots.of(block, i) else { continue };
            block.vector(i, &groups, &mut memory.mine);
            memory.theirs.copy_from_slice(&memory.mine);
            let product = memory.product(&groups, self.modules, self.inverse);
            self.add(slot, product);
            self.flag(slot, block.flags[i]);
        }
    }

    /// Adds the products of a block's vectors with those of another feature; returns the bytes read of it.
    fn products(
        &mut self,
        (block, reader): (&Block<'_>, &FeatureReader),
        other: &FeatureReader,
        window: &Window,
        memory: &mut Second,
    ) -> Result<u64, QueryError> {
        memory.resize(reader.part().desc.dim() as usize);
        let mut scratch = std::mem::take(&mut memory.scratch);
        let (of_mine, of_theirs) = (groups(reader.part()), groups(other.part()));
        for i in self.slots.span(block) {
            if let Some(slot) = self.slots.of(block, i) {
                self.flag(slot, block.flags[i]);
            }
        }
        let here = span(block);
        let mut bytes = 0;
        for there in other.blocks_in(window.rows.start / CELL_ROWS) {
            let range = there.range();
            if here.start.max(range.start) >= here.end.min(range.end) || !self.slots.touch(range) {
                continue;
            }
            let there = other.read_block(there, &mut scratch)?;
            bytes += block_bytes(&there);
            for j in self.slots.span(&there) {
                let Some(slot) = self.slots.of(&there, j) else { continue };
                let Ok(i) = block.rows.binary_search(&there.rows[j]) else { continue };
                block.vector(i, &of_mine, &mut memory.mine);
                there.vector(j, &of_theirs, &mut memory.theirs);
                let product = memory.product(&of_mine, self.modules, self.inverse);
                self.add(slot, product);
                self.flag(slot, there.flags[j]);
            }
        }
        memory.scratch = scratch;
        Ok(bytes)
    }
}

impl Second {
    fn resize(&mut self, dim: usize) {
        self.mine.resize(dim, 0.0);
        self.theirs.resize(dim, 0.0);
    }

    /// The product of both vectors, by module group with its weight.
    fn product(&mut self, groups: &[Range<usize>], weights: &[f64], inverse: Option<&Preconditioner>) -> f64 {
        self.under.clear();
        self.under.extend(self.theirs.iter().map(|x| f64::from(*x)));
        if let Some(inverse) = inverse {
            inverse.apply(&mut self.under);
        }
        let weighted = |(group, weight): (&Range<usize>, &f64)| {
            let pairs = self.mine[group.clone()].iter().zip(&self.under[group.clone()]);
            weight * pairs.map(|(x, y)| f64::from(*x) * y).sum::<f64>()
        };
        groups.iter().zip(weights).map(weighted).sum()
    }
}

/// The rows between the first and the last of a block.
fn span(block: &Block<'_>) -> Range<u64> {
    match (block.rows.first(), block.rows.last()) {
        (Some(first), Some(last)) => *first..last + 1,
        _ => 0..0,
    }
}
