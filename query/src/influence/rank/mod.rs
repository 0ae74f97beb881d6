//! The first k rows of a question, the way that reads least: in batches, by a sketch, or from every row.

pub(super) mod bounded;
pub(super) mod collect;
pub(super) mod diverse;
pub(super) mod each;
pub(super) mod lists;
pub(super) mod summary;
pub(super) mod top;

use gstore_core::Cancel;

use self::bounded::SearchOutcome;
use self::collect::{Collector, merge};
use self::lists::Lists;
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::operands::Operands;
use crate::influence::result::{Ranking, ScanSummary};
use crate::influence::scan::filter::RowFilter;
use crate::influence::scan::pruning::Skipper;
use crate::influence::scan::windows::{Window, lacking};
use crate::influence::scan::{Totals, Worker};
use crate::influence::spec::mode::Mode;
use crate::influence::spec::{Missing, Order, Sim};

#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) order: Order,
    pub(super) k: usize,
    pub(super) filter: Option<&'a RowFilter>,
    pub(super) threads: usize,
    pub(super) cancel: &'a Cancel,
}

impl Prepared {
    /// The k best or worst rows, or tokens where those are scored. `threads` 0 means one per core; the bits
    /// of the result do not depend on it.
    ///
    /// Memory grows with k, not with the number of rows. With dot products, blocks whose vectors are too
    /// short to reach the answer are not read; how many depends on the threads, the result does not.
    pub fn top_k(
        &self,
        order: Order,
        k: usize,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
    ) -> Result<Ranking, QueryError> {
        if self.plan().models().is_some() {
            return self.top_covariances((order, k), filter, threads, cancel);
        }
        let operands = self.operands_on(threads, cancel)?;
        check_missing(self, operands, filter)?;
        let ask = Ask { order, k, filter, threads, cancel };
        let (top, summary) = operands.despite_sketches(|| ranked(self, operands, ask))?;
        Ok(Ranking { rows: top.into_rows(), subtasks: operands.target.subtasks.clone(), summary })
    }
}

/// The ranking, by the way that is expected to read least.
fn ranked(
    prepared: &Prepared,
    operands: &Operands,
    ask: Ask<'_>,
) -> Result<(Collector, ScanSummary), QueryError> {
    match by_bounds(prepared, operands, ask)? {
        Ok(SearchOutcome { mut tops, totals, planes, tolerance }) => {
            let summary = summary::of_lists(prepared, operands, &totals, (planes, tolerance));
            // The whole question is one ranking.
            Ok((tops.swap_remove(0), summary))
        }
        Err(note) => {
            let (top, mut summary) = exact(prepared, operands, ask)?;
            summary.notes.extend(note);
            Ok((top, summary))
        }
    }
}

/// Scores the rows that may rank: by the planes of a sketch, or by estimates of all values of a batch of rows
/// at once, where there are many query vectors. Where neither is of use, a note for the user, if the question
/// asked for a sketch.
fn by_bounds(
    prepared: &Prepared,
    operands: &Operands,
    ask: Ask<'_>,
) -> Result<Result<SearchOutcome, Option<String>>, QueryError> {
    let spec = prepared.spec();
    // The lengths of vectors may say more of dot products, and for less.
    let is_by_lengths = spec.sim == Sim::Dot && spec.mode == Mode::Exact;
    // Where the planes may be chosen, a sample says which of them pay, however many values there are.
    let is_by_sample = matches!(&spec.mode, Mode::Sketch(mode) if !mode.certified)
        && operands.rows(ask.filter) >= bounded::LEAST_SAMPLED
        && operands.sides(prepared).is_ok();
    if !is_by_lengths
        && !is_by_sample
        && let Some(found) = bounded::question::of_many_values(prepared, operands, &Lists::Whole, ask)?
    {
        return Ok(Ok(found));
    }
    let Mode::Sketch(mode) = &spec.mode else { return Ok(Err(None)) };
    let found = match operands.sides(prepared) {
        Ok(sides) => bounded::question::by_planes(prepared, operands, (sides, mode), ask)?,
        Err(why) => Err(why.to_owned()),
    };
    Ok(found.map_err(|why| summary::every_row(prepared, &why)))
}

/// Scores every row.
fn exact(
    prepared: &Prepared,
    operands: &Operands,
    ask: Ask<'_>,
) -> Result<(Collector, ScanSummary), QueryError> {
    let Ask { order, k, filter, threads, cancel } = ask;
    let scan = operands.scan(prepared.spec(), filter, cancel);
    let mut windows = operands.scan_windows();
    let skipper = Skipper::new(&scan, order, &mut windows);
    let new = || Collector::new(order, k, prepared.spec().per_token);
    let skips = |unit: usize| skipper.as_ref().is_some_and(|skipper| skipper.skips(unit));
    let states = operands.disk.unordered(
        windows.len(),
        (threads, cancel),
        || (Worker::default(), new(), Totals::default()),
        |(worker, _, _), ahead| worker.see(ahead),
        &|units, wants| {
            let read: Vec<&Window> = units.filter(|unit| !skips(*unit)).map(|unit| &windows[unit]).collect();
            scan.want(&read, wants);
        },
        |(worker, top, totals), unit| {
            if skips(unit) {
                let rows = scan.wanted(&windows[unit], worker);
                totals.merge(&Totals { scanned: rows, eligible: rows, ..Totals::default() });
                return Ok(());
            }
            let found = scan.window(&windows[unit], worker)?;
            found.scored.iter().for_each(|s| top.push(s));
            totals.merge(&found.totals);
            if let Some(skipper) = &skipper {
                skipper.learn(top.top());
            }
            Ok(())
        },
    )?;
    let mut top = new();
    let totals = merge(states, &mut top);
    Ok((top, summary::exact(prepared, operands, &totals)))
}

/// Refuses rows that lack a checkpoint where the question wants that, before anything is scored.
pub(super) fn check_missing(
    prepared: &Prepared,
    operands: &Operands,
    filter: Option<&RowFilter>,
) -> Result<(), QueryError> {
    if prepared.spec().missing != Missing::Error {
        return Ok(());
    }
    let found = lacking(&operands.pools, filter)?;
    if found.rows == 0 {
        return Ok(());
    }
    let lacking = found.by_checkpoint.iter().map(|&(pool, checkpoint, rows)| {
        let part = operands.pools[pool].readers[checkpoint].part();
        let place = &prepared.checkpoints()[checkpoint].name;
        (part, format!("{rows} of `{}` at {place}", part.desc.dataset))
    });
    Err(QueryError::missing(prepared.snapshot(), (found.rows, found.scanned), lacking))
}
