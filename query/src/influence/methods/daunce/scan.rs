//! The scan of losses, cell by cell.
//!
//! A unit of work is a cell of a pool, whose losses are multiplied with all queries in tiles. What a cell
//! yields depends on its rows' losses and the question alone.

use std::sync::Arc;

use gstore_core::{Cancel, many_of, parallel};
use gstore_store::{CELL_ROWS, LossBlock, RowSet};

use crate::daunce::{
    Center, Covariance, MissingCells, ProductScratch, Products, Score, largest_of, noise_of_correlations,
};
use crate::error::QueryError;
use crate::influence::prepare::Prepared;
use crate::influence::prepare::loss_sides::{LossSides, OpenLosses};
use crate::influence::prepare::losses::{Cells, LossOperands, cells};
use crate::influence::rank::collect::{Collector, finish, shared};
use crate::influence::rank::lists::Lists;
use crate::influence::rank::summary;
use crate::influence::result::{Reason, ScanSummary, Scored};
use crate::influence::scan::Totals;
use crate::influence::scan::filter::RowFilter;

/// A thread's memory.
#[derive(Default)]
pub(super) struct Worker {
    block: LossBlock,
    work: ProductScratch,
    scores: Vec<f64>,
    values: Vec<f32>,
    row: Vec<f64>,
    /// Losses of the block, where their differences from the offsets do not do.
    losses: Vec<f64>,
}

/// Everything that the threads share.
pub(super) struct Scan<'a> {
    prepared: &'a Prepared,
    covariance: &'a Covariance,
    sides: &'a LossSides,
    operands: &'a LossOperands,
    candidates: &'a [Arc<RowSet>],
    /// Pool and cell.
    pub(super) units: Vec<(usize, u64)>,
    filter: Option<&'a RowFilter>,
    cancel: &'a Cancel,
}

impl<'a> Scan<'a> {
    pub(super) fn new(
        prepared: &'a Prepared,
        operands: &'a LossOperands,
        filter: Option<&'a RowFilter>,
        cancel: &'a Cancel,
    ) -> Result<Self, QueryError> {
        let candidates = prepared.candidates(cancel)?;
        let units = candidates.iter().enumerate();
        let units = units.flat_map(|(pool, rows)| rows.cells().into_iter().map(move |cell| (pool, cell)));
        Ok(Self {
            covariance: prepared.covariance()?,
            sides: prepared.loss_sides(cancel)?,
            units: units.collect(),
            prepared,
            operands,
            candidates,
            filter,
            cancel,
        })
    }

    pub(super) fn rank(
        &self,
        lists: &Lists,
        threads: usize,
        tops: &mut [Collector],
    ) -> Result<Totals, QueryError> {
        let tops = shared(tops);
        let states = parallel::unordered::<_, QueryError>(
            self.units.len(),
            threads,
            self.cancel,
            || (Worker::default(), tops.waiting(), Totals::default()),
            |(worker, waiting, totals), unit| {
                let own =
                    self.unit(unit, (lists, worker), |list, scored| waiting.offer(list, &scored), |_, _| {})?;
                totals.merge(&own);
                Ok(())
            },
        )?;
        Ok(finish(states))
    }

    /// Scores the rows of a cell: hands out the scores that are finite with their rankings, and the rows that
    /// have none. What a row lacks with one target leaves it out of no ranking of another.
    pub(super) fn unit(
        &self,
        unit: usize,
        (lists, worker): (&Lists, &mut Worker),
        mut score: impl FnMut(usize, Scored),
        mut without: impl FnMut(u64, Reason),
    ) -> Result<Totals, QueryError> {
        let (pool, cell) = self.units[unit];
        let losses = &self.sides.pools[pool];
        let wanted = self.wanted(pool, cell);
        let mut totals = Totals::default();
        if wanted.is_empty() {
            return Ok(totals);
        }
        let Worker { block, work, scores, values, row: own, losses: whole } = worker;
        losses.reader.read_cell(cell, Some(&wanted), block)?;
        self.products(losses, block, (work, whole), scores);
        let (pool, terms) = (pool as u32, &self.operands.target.terms);
        let queries = self.products_of().len();
        let mut exclude = |row, reason, totals: &mut Totals| {
            totals.excluded.add(reason);
            without(row, reason);
        };
        let mut next = 0;
        for row in wanted.iter() {
            totals.scanned += 1;
            if block.rows.get(next) != Some(&row) {
                exclude(row, Reason::Missing, &mut totals);
                continue;
            }
            let i = next;
            next += 1;
            if losses.lacks_offset(block, i) {
                exclude(row, Reason::Missing, &mut totals);
                continue;
            }
            own.clear();
            own.extend(losses.of_row(block, i));
            match cells(self.covariance, self.sides.centring.models(), own) {
                Cells::Lacking => totals.lacking += 1,
                Cells::Without(reason) => exclude(row, reason, &mut totals),
                Cells::Enough => {
                    values.clear();
                    values.extend(scores[i * queries..(i + 1) * queries].iter().map(|x| *x as f32));
                    let mut has_score = false;
                    lists.each(terms, values, terms.score(values), |list, value, subtask| {
                        if value.is_finite() {
                            has_score = true;
                            score(list, Scored { pool, row, pos: None, score: value, subtask });
                        }
                    });
                    match has_score {
                        true => totals.eligible += 1,
                        false => exclude(row, self.why(own), &mut totals),
                    }
                }
            }
        }
        totals.scored = totals.eligible;
        totals.bytes_read = (block.values.len() * size_of::<f32>()) as u64;
        Ok(totals)
    }

    fn products_of(&self) -> &Products {
        &self.operands.products
    }

    fn products(
        &self,
        losses: &OpenLosses,
        block: &LossBlock,
        (work, whole): (&mut ProductScratch, &mut Vec<f64>),
        scores: &mut Vec<f64>,
    ) {
        scores.clear();
        scores.resize(block.len() * self.products_of().len(), 0.0);
        if losses.center == Center::Model {
            whole.clear();
            (0..block.len()).for_each(|i| whole.extend(losses.of_row(block, i)));
            return self.products_of().scores((&whole[..], losses.columns.len()), None, work, scores);
        }
        let width = losses.reader.members();
        let all = losses.columns.len() == width && losses.columns.iter().enumerate().all(|(i, k)| i == *k);
        let columns = (!all).then_some(&losses.columns[..]);
        self.products_of().scores((&block.values[..], width), columns, work, scores);
    }

    /// Candidates of a cell that the filter lets through.
    fn wanted(&self, pool: usize, cell: u64) -> RowSet {
        let range = cell * CELL_ROWS..(cell + 1) * CELL_ROWS;
        let candidates = &self.candidates[pool];
        match self.filter.and_then(|filter| filter.pool(pool)) {
            None => RowSet::from_ranges(candidates.within(range)),
            Some(mask) => {
                RowSet::from_rows_sorted(mask.rows_in(range).filter(|row| candidates.contains(*row)))
            }
        }
    }

    /// Why a row that has losses has no score.
    fn why(&self, losses: &[f64]) -> Reason {
        let lacks =
            losses.iter().any(|x| !x.is_finite()) || self.covariance.missing == MissingCells::Pairwise;
        let mut finite = losses.iter().filter(|x| x.is_finite());
        let first = finite.next();
        match self.covariance.how.score {
            Score::Corr if finite.all(|x| Some(x) == first) => Reason::Constant,
            _ if lacks => Reason::Missing,
            Score::Corr => Reason::Constant,
            Score::Cov => Reason::Overflow,
        }
    }

    pub(super) fn summary(&self, totals: &Totals) -> Result<ScanSummary, QueryError> {
        if totals.lacking > 0 {
            let dataset = self.prepared.spec().pools.join(", ");
            return Err(QueryError::MissingLosses { rows: totals.lacking, scanned: totals.scanned, dataset });
        }
        let mut notes = self.sides.notes.clone();
        let without = totals.excluded.missing;
        if without > 0 {
            let under = if self.covariance.how.center == Center::Base { " or theta_0" } else { "" };
            let left_out = many_of(without, "row is left out: it has", "rows are left out: they have");
            notes.push(format!("{left_out} no losses under these models{under}, or too few"));
        }
        let models = self.sides.centring.models();
        let dimensions = models.dimensions(self.covariance.how.center);
        if let (Some(one), Some(largest)) =
            (noise_of_correlations(dimensions), largest_of(totals.eligible, dimensions))
        {
            notes.push(format!(
                "losses that have nothing to do with each other correlate by {one:.2} ({} models); the largest of {} such \
                 correlations is about {largest:.2}",
                models.len(),
                totals.eligible
            ));
        }
        let target = (&self.operands.target, self.operands.in_target);
        Ok(ScanSummary { notes, ..summary::counted(self.prepared, target, totals) })
    }
}
