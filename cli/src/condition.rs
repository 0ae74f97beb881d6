//! Rows of a dataset that `--where` asks for.

use std::collections::HashSet;
use std::sync::Arc;

use anyhow::Result;
use gstore::{FindError, RowNames, find_rows};
use gstore_core::{Cancel, RowSet};
use gstore_store::{DatasetPart, Snapshot};

use crate::context::Context;
use crate::failure::condition_error;

/// The live rows for which a condition is true, at least one.
///
/// # Errors
/// What is no condition, one that is true for no row, damage, and cancellation.
pub fn rows_where(
    context: &Context,
    snapshot: &Arc<Snapshot>,
    part: &DatasetPart,
    condition: &str,
    cancel: &Cancel,
) -> Result<RowSet> {
    let names = RowNames { ids: HashSet::new(), condition: Some(condition.to_owned()) };
    let found = find_rows(snapshot, part, &names, context.threads, cancel).map_err(condition_error)?;
    match found.rows.is_empty() {
        true => Err(condition_error(FindError::NoRow { rows: part.rows })),
        false => Ok(found.rows),
    }
}
