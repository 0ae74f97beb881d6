//! Covariances of losses: rankings, scores in row order and rows without one.

mod scan;

use std::ops::ControlFlow;

use gstore_core::{Cancel, parallel};

use self::scan::{Scan, Worker};
use crate::error::QueryError;
use crate::influence::methods::scores::Emit;
use crate::influence::prepare::Prepared;
use crate::influence::rank::collect::{Collector, into_lists};
use crate::influence::rank::each::{EachRanking, EachRequest, Rankings, check_memory, lists, names};
use crate::influence::rank::lists::Lists;
use crate::influence::result::{ExcludedRow, Ranking, ScanSummary};
use crate::influence::scan::Totals;
use crate::influence::scan::filter::RowFilter;
use crate::influence::spec::{Each, Order};

impl Prepared {
    /// As [`Prepared::top_k`], of covariances.
    pub(crate) fn top_covariances(
        &self,
        (order, k): (Order, usize),
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
    ) -> Result<Ranking, QueryError> {
        let operands = self.loss_operands(cancel)?;
        let scan = Scan::new(self, operands, filter, cancel)?;
        let mut tops = [Collector::new(order, k, false)];
        let totals = scan.rank(&Lists::Whole, threads, &mut tops)?;
        let [top] = tops;
        let (rows, subtasks) = (top.into_rows(), operands.target.subtasks.clone());
        Ok(Ranking { rows, subtasks, summary: scan.summary(&totals)? })
    }

    /// As [`Prepared::top_k_each`], of covariances.
    pub(crate) fn covariances_each(
        &self,
        request: &EachRequest<'_>,
        cancel: &Cancel,
    ) -> Result<Rankings, QueryError> {
        let operands = match request.each {
            Each::Sample => self.loss_operands_by_sample(cancel)?,
            _ => self.loss_operands(cancel)?,
        };
        let names = names(self, &operands.target, request.each);
        check_memory(self, request, names.len())?;
        let lists = lists(self, &operands.target, request.each);
        let scan = Scan::new(self, operands, request.filter, cancel)?;
        let most = self.most_results();
        let collector = |_| Collector::new(request.order, request.k, false).small().with_memory(most);
        let mut tops: Vec<Collector> = (0..lists.len()).map(collector).collect();
        let totals = scan.rank(&lists, request.threads, &mut tops)?;
        let lists = into_lists(tops, (request.threads, cancel))?;
        let rankings = names.into_iter().zip(lists);
        Ok(Rankings {
            rankings: rankings.map(|((name, sample), rows)| EachRanking { name, sample, rows }).collect(),
            subtasks: operands.target.subtasks.clone(),
            summary: scan.summary(&totals)?,
        })
    }

    /// As [`Prepared::scores`] and [`Prepared::excluded`], of covariances.
    pub(crate) fn stream_covariances(
        &self,
        filter: Option<&RowFilter>,
        threads: usize,
        cancel: &Cancel,
        emit: Emit<'_>,
    ) -> Result<ScanSummary, QueryError> {
        let scan = Scan::new(self, self.loss_operands(cancel)?, filter, cancel)?;
        let mut totals = Totals::default();
        parallel::ordered::<_, _, QueryError>(
            scan.units.len(),
            threads,
            cancel,
            Worker::default,
            |worker, unit| {
                let (mut scored, mut excluded) = (Vec::new(), Vec::new());
                let pool = scan.units[unit].0 as u32;
                let totals = scan.unit(
                    unit,
                    (&Lists::Whole, worker),
                    |_, row| scored.push(row),
                    |row, reason| excluded.push(ExcludedRow { pool, row, pos: None, reason }),
                )?;
                Ok((scored, excluded, totals))
            },
            |(scored, excluded, own)| {
                totals.merge(&own);
                // Nothing is handed out of an answer that fails.
                if totals.lacking > 0 {
                    return Ok(ControlFlow::Continue(()));
                }
                Ok(emit(&scored, &excluded))
            },
        )?;
        scan.summary(&totals)
    }
}
