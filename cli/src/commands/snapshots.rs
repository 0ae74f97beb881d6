//! `gstore snapshots`: the history of the store.

use std::sync::Arc;

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use gstore_sql::SqlOptions;

use crate::args::{Format, SnapshotsArgs};
use crate::context::Context;
use crate::ending::format_of;
use crate::statements::{BLANK, session, write_result};

const SNAPSHOTS: &str =
    "SELECT number, created, tags, changes, command, current FROM gstore.snapshots ORDER BY number DESC";

/// Prints the snapshots, newest first.
pub fn run(context: &Context, args: &SnapshotsArgs) -> Result<()> {
    let to = &args.output.to;
    let is_table = format_of(to)? == Format::Table;
    let store = context.open()?;
    let cancel = context.cancel_on_interrupt("stopping");
    let runner = session(context, store.snapshot()?, SqlOptions::default())?;
    let rows = runner.run(SNAPSHOTS, &cancel)?;
    let schema = Arc::clone(rows.schema());
    let mut batches = rows.collect::<Result<Vec<RecordBatch>, _>>()?;
    if is_table {
        batches = batches.iter().map(with_joined_changes).collect::<Result<_>>()?;
    }
    write_result(context, (to, BLANK), &schema, &mut batches.into_iter().map(Ok))
}

/// The rows as they are read: programs get each change as the history has it.
fn with_joined_changes(batch: &RecordBatch) -> Result<RecordBatch> {
    let mut columns = batch.columns().to_vec();
    let changes = &mut columns[batch.schema().index_of("changes")?];
    if let Some(texts) = changes.as_string_opt::<i32>() {
        *changes = Arc::new(texts.iter().map(|text| text.map(joined)).collect::<StringArray>());
    }
    Ok(RecordBatch::try_new(batch.schema(), columns)?)
}

/// Changes of a snapshot, those of features that differ by their checkpoints alone as one.
fn joined(changes: &str) -> String {
    let mut all: Vec<(&str, String, &str)> = Vec::new();
    for change in changes.split("; ") {
        let parts = change.split_once('@').and_then(|(feature, rest)| {
            let (checkpoint, what) = rest.split_once(": ")?;
            Some((feature, checkpoint, what))
        });
        let Some((feature, checkpoint, what)) = parts else {
            all.push((change, String::new(), ""));
            continue;
        };
        match all.iter_mut().find(|known| (known.0, known.2) == (feature, what)) {
            Some((_, checkpoints, _)) => checkpoints.extend([", ", checkpoint]),
            None => all.push((feature, checkpoint.to_owned(), what)),
        }
    }
    let texts = all.into_iter().map(|(feature, checkpoints, what)| match checkpoints.is_empty() {
        true => feature.to_owned(),
        false => format!("{feature}@{checkpoints}: {what}"),
    });
    texts.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_that_differ_by_their_checkpoints_are_one_change() {
        for (changes, expected) in [
            (
                "feature pool/loss@c1: 4 rows added, complete; feature pool/grad@c1: 4 rows added, complete; \
                 feature pool/loss@c2: 4 rows added, complete; feature pool/grad@c2: 3 rows added, building; run r: 2 checkpoints",
                "feature pool/loss@c1, c2: 4 rows added, complete; feature pool/grad@c1: 4 rows added, complete; \
                 feature pool/grad@c2: 3 rows added, building; run r: 2 checkpoints",
            ),
            ("dataset pool: 3 samples added", "dataset pool: 3 samples added"),
            ("feature pool/a@c dropped", "feature pool/a@c dropped"),
            ("store created", "store created"),
            ("", ""),
        ] {
            assert_eq!(joined(changes), expected);
        }
    }
}
