//! Sessions on snapshots of a store here, and the lists that they give.

use std::sync::Arc;

use anyhow::Result;
use gstore_sql::{SqlOptions, SqlRunner};
use gstore_store::Snapshot;

use super::write::{BLANK, check_place, write_result};
use crate::args::OutputArgs;
use crate::context::Context;

/// What Ctrl-C says while a statement runs.
pub const STOPPING: &str = "stopping the query; press Ctrl-C again to stop at once";

/// A session with options, of which the number of threads is that of the command.
pub fn session(context: &Context, snapshot: Arc<Snapshot>, options: SqlOptions) -> Result<SqlRunner> {
    Ok(SqlRunner::new(snapshot, SqlOptions { threads: context.threads, ..options })?)
}

/// Runs a statement of the program and writes its result as a list, in which nulls are blank.
pub fn list(context: &Context, snapshot: Arc<Snapshot>, sql: &str, to: &OutputArgs) -> Result<()> {
    let cancel = context.cancel_on_interrupt("stopping");
    let runner = session(context, snapshot, SqlOptions::default())?;
    check_place(context, to)?;
    let mut rows = runner.run(sql, &cancel)?;
    let schema = Arc::clone(rows.schema());
    write_result(context, (to, BLANK), &schema, &mut rows)
}
