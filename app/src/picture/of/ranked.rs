//! Rows that were ranked or selected: where they stand among all scores, and which sources they are of.

use gstore_query::influence::{Prepared, Scored};

use super::super::Picture;
use super::scores::distribution;
use super::sources::{names_pools, shares_of};
use crate::answer::{AnswerError, Pool};
use crate::work::JobContext;

pub(crate) struct RankedRows<'a> {
    pub(crate) prepared: &'a Prepared,
    pub(crate) pools: &'a [Pool],
    pub(crate) rows: &'a [Scored],
    /// What they are called: `best`, `worst`, `selected`.
    pub(crate) called: &'a str,
    /// Whether the last of them has the end of the ranking.
    pub(crate) in_order: bool,
}

/// The distribution of all scores, with that of the last row marked where rows are in order, and the shares of
/// the values of a metadata column, where all pools have it and its values are not too many for bars, or of
/// the pools. Where no row has a score there is no picture. A note says what is not drawn: the rows are the
/// result.
pub(crate) fn ranked(
    of: &RankedRows<'_>,
    by: &str,
    work: &mut JobContext<'_>,
) -> Result<Option<Picture>, AnswerError> {
    let last = of.rows.last().filter(|_| of.in_order);
    let mark = last.map(|row| (f64::from(row.score), format!("{} {}", of.called, of.rows.len())));
    let Some(mut picture) = distribution(of.prepared, mark.into_iter().collect(), work)? else {
        work.progress.note("no picture is drawn, because no row has a score");
        return Ok(None);
    };
    let by = of.prepared.metadata_column(by).unwrap_or(by);
    let are_pools = names_pools(by, of.pools.len());
    let lacks = |pool: &&Pool| !are_pools && pool.samples.schema().column_with_name(by).is_none();
    let undrawn = if let Some(pool) = of.pools.iter().find(lacks) {
        Some(format!("dataset `{}` has no such metadata column", pool.name))
    } else if of.rows.is_empty() {
        None
    } else {
        match shares_of(of.prepared, of.pools, (of.rows, of.called), by, work) {
            Ok(sources) => {
                picture.about = format!("{} {}", picture.about, sources.about);
                picture.panels.extend(sources.panels);
                None
            }
            Err(AnswerError::TooManyValues(why)) => Some(why),
            Err(error) => return Err(error),
        }
    };
    if let Some(why) = undrawn {
        work.progress.note(&format!("shares of `{by}` are not drawn, because {why}"));
    }
    Ok(Some(picture))
}
