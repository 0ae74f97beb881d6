//! Rows that were ranked or selected: where they stand among all scores, and which sources they are of.

use gstore_query::influence::{Prepared, Scored};

use super::super::Picture;
use super::scores::distribution;
use super::sources::shares_of;
use crate::answer::{AnswerError, Pool};
use crate::work::JobContext;

/// The distribution of all scores, with that of the last row marked where rows are in order, and the shares
/// of the values of a metadata column, where all pools have it. `called`: `best`, `selected`.
pub(crate) fn ranked(
    prepared: &Prepared,
    (pools, rows): (&[Pool], &[Scored]),
    (called, in_order): (&str, bool),
    by: &str,
    work: &mut JobContext<'_>,
) -> Result<Picture, AnswerError> {
    let last = rows.last().filter(|_| in_order);
    let mark = last.map(|row| (f64::from(row.score), format!("{called} {}", rows.len())));
    let mut picture = distribution(prepared, mark.into_iter().collect(), work)?;
    let by = prepared.metadata_column(by).unwrap_or(by);
    let lacks = |pool: &&Pool| pool.samples.schema().column_with_name(by).is_none();
    if let Some(pool) = pools.iter().find(lacks) {
        let pool = &pool.name;
        work.progress.note(&format!(
            "note: shares of `{by}` are not drawn, for dataset `{pool}` has no such metadata column"
        ));
    } else if !rows.is_empty() {
        let sources = shares_of(prepared, pools, (rows, called), by, work)?;
        picture.about = format!("{} {}", picture.about, sources.about);
        picture.panels.extend(sources.panels);
    }
    Ok(picture)
}
