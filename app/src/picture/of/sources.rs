//! Sources of the best rows against those of the pool.

use std::collections::BTreeMap;
use std::sync::Arc;

use gstore_core::Remedy;
use gstore_query::influence::{InfluenceSpec, Order, Prepared, Scored, resolve_top};
use gstore_store::Snapshot;

use super::super::{Body, Panel, Picture};
use super::{cell, count, question};
use crate::answer::{AnswerError, CHUNK, Pool, RowWindow, open_pools, tell_notes};
use crate::work::JobContext;

/// Values with bars of their own.
const SHOWN: usize = 20;

/// Different values of a column, at most.
const VALUES: usize = 10_000;

/// What is drawn.
#[derive(Debug, Clone)]
pub struct SourcesRequest {
    /// Pools, targets and how they are scored.
    pub spec: InfluenceSpec,
    /// How many rows are the best: a number, or a part of the live rows such as `5%`.
    pub top: String,
    /// The metadata column whose values are the sources, in any case where only one fits.
    pub by: String,
}

/// The column of `influence()` that tells rows of several pools apart.
const POOL: &str = "pool";

/// Rows by value, among the best and in the pool.
type SourceCounts = BTreeMap<String, [u64; 2]>;

/// Bars of the share that each source has of the best rows, and of the pool.
///
/// # Errors
/// A question that cannot be answered, a column that the pools lack or that has too many values, damage, and
/// being told to stop.
pub fn sources(
    snapshot: &Arc<Snapshot>,
    request: &SourcesRequest,
    work: &mut JobContext<'_>,
) -> Result<Picture, AnswerError> {
    let prepared = Prepared::new(snapshot, &request.spec)?;
    tell_notes(&prepared, work);
    let pools = open_pools(snapshot, &request.spec.pools)?;
    let by = prepared.metadata_column(&request.by).unwrap_or(&request.by);
    check_column(snapshot, request, by)?;
    let k = resolve_top(&request.top, prepared.live())?;
    let best = prepared.top_k(Order::Best, k, None, work.threads, work.cancel)?.rows;
    if best.is_empty() {
        return Err(AnswerError::Refused("no row has a score, so there is nothing to draw".to_owned()));
    }
    shares_of(&prepared, &pools, (best.as_slice(), "best"), by, work)
}

/// Whether the pools themselves are the sources where a pool lacks the column.
pub(super) fn names_pools(by: &str, pools: usize) -> bool {
    by == POOL && pools > 1
}

/// Refuses a column that a pool lacks, and names those that there are.
fn check_column(snapshot: &Snapshot, request: &SourcesRequest, by: &str) -> Result<(), AnswerError> {
    for pool in &request.spec.pools {
        let columns: Vec<&str> = snapshot.dataset(pool)?.columns.iter().map(|c| c.name.as_str()).collect();
        let are_pools = names_pools(by, request.spec.pools.len());
        if columns.contains(&by) || are_pools || ["id", "row", "record"].contains(&by) {
            continue;
        }
        let there = match columns.as_slice() {
            [] => "it has none".to_owned(),
            columns => format!("{} names one of {}", Remedy::Option("column", "NAME"), columns.join(", ")),
        };
        return Err(AnswerError::Refused(format!(
            "dataset `{pool}` has no metadata column `{by}` that says what a source is; {there}"
        )));
    }
    Ok(())
}

/// The same of rows that are ranked, by what they are called.
pub(super) fn shares_of(
    prepared: &Prepared,
    pools: &[Pool],
    (rows, called): (&[Scored], &str),
    by: &str,
    work: &JobContext<'_>,
) -> Result<Picture, AnswerError> {
    let has = |pool: &Pool| pool.samples.schema().column_with_name(by).is_some();
    let counts = match by == POOL && !pools.iter().all(has) {
        true => count_by_pool(pools, rows),
        false => count_by_value(pools, rows, by, work)?,
    };
    let all = counts.values().map(|count| count[1]).sum::<u64>();
    let number = rows.len() as u64;
    let bars = shares(counts, [number, all]);
    let (what, number) = (question(prepared.spec(), prepared), count(number));
    let leading = bars.first().map_or_else(String::new, |(name, values)| {
        format!(
            " {name} has {:.1} % of the {called} rows and {:.1} % of the pool.",
            values[0] * 100.0,
            values[1] * 100.0
        )
    });
    let series = vec![format!("{called} {number}"), format!("pool of {}", count(all))];
    Ok(Picture {
        title: format!("Sources of {what}"),
        about: format!("Shares of {by} among the {called} {number} rows and in the pool.{leading}"),
        panels: vec![Panel {
            heading: format!("share of rows by {by}"),
            body: Body::Bars { rows: bars, series, shares: true },
            notes: Vec::new(),
        }],
    })
}

fn count_by_pool(pools: &[Pool], rows: &[Scored]) -> SourceCounts {
    let all = |pool: &Pool| (pool.name.clone(), [0, pool.samples.rows().len()]);
    let mut counts: SourceCounts = pools.iter().map(all).collect();
    for pool in rows.iter().filter_map(|row| pools.get(row.pool as usize)) {
        counts.entry(pool.name.clone()).or_default()[0] += 1;
    }
    counts
}

fn count_by_value(
    pools: &[Pool],
    rows: &[Scored],
    by: &str,
    work: &JobContext<'_>,
) -> Result<SourceCounts, AnswerError> {
    let mut counts = count_pools(pools, by, work)?;
    let mut window = RowWindow::new(pools, rows, |_| vec![Some(by)], work.cancel);
    for start in (0..rows.len()).step_by(CHUNK) {
        let places = start..rows.len().min(start + CHUNK);
        window.hold(&places)?;
        for value in window.column(0, &places).into_iter().flatten() {
            counts.entry(cell(&value, 0)?).or_default()[0] += 1;
        }
    }
    Ok(counts)
}

/// Counts the values of a column of all live rows.
fn count_pools(pools: &[Pool], by: &str, work: &JobContext<'_>) -> Result<SourceCounts, AnswerError> {
    let mut counts = SourceCounts::new();
    for pool in pools {
        for batch in pool.samples.scan(&[by], None) {
            work.cancel.check()?;
            let batch = batch?;
            let values = batch.column(0);
            for i in 0..batch.num_rows() {
                counts.entry(cell(values, i)?).or_default()[1] += 1;
            }
            if counts.len() > VALUES {
                return Err(AnswerError::TooManyValues(format!(
                    "column {by} of `{}` has more than {} different values, which are too many for bars",
                    pool.name,
                    count(VALUES as u64)
                )));
            }
        }
    }
    Ok(counts)
}

/// Shares by value, the largest first, with one entry for those that have no bars of their own.
fn shares(counts: SourceCounts, all: [u64; 2]) -> Vec<(String, Vec<f64>)> {
    let mut rows: Vec<(String, [u64; 2])> = counts.into_iter().collect();
    // Values come in the order of their names, which the sort keeps among equals.
    rows.sort_by(|(_, a), (_, b)| b.cmp(a));
    let mut rest = [0u64; 2];
    let others = rows.len().saturating_sub(SHOWN);
    if others > 1 {
        for (_, own) in rows.drain(SHOWN..) {
            rest = [rest[0] + own[0], rest[1] + own[1]];
        }
        rows.push((format!("{} others", count(others as u64)), rest));
    }
    let share = |own: [u64; 2]| (0..2).map(|i| own[i] as f64 / all[i].max(1) as f64).collect();
    rows.into_iter().map(|(name, own)| (name, share(own))).collect()
}
