//! The session that runs statements: on a snapshot of a store here, or on a server.

use std::sync::Arc;

use anyhow::Result;
use gstore_core::Cancel;
use gstore_sql::{Notes, Parameters, SqlOptions, SqlRunner};
use gstore_store::Snapshot;

use super::write::{BLANK, NULL, check_place, write_result};
use crate::args::OutputArgs;
use crate::context::Context;

/// What Ctrl-C says while one runs.
pub const STOPPING: &str = "stopping the query; press Ctrl-C again to stop at once";

/// Runs statements and writes their results.
pub enum Engine {
    /// On a snapshot of a store here.
    Store(SqlRunner),
    /// On a server.
    #[cfg(feature = "serve")]
    Server(Box<gstore_server::Remote>),
}

impl Engine {
    /// A session on a snapshot.
    pub fn new(context: &Context, snapshot: Arc<Snapshot>) -> Result<Self> {
        Self::with_options(context, snapshot, SqlOptions::default())
    }

    /// The same with options, of which the number of threads is that of the command.
    pub fn with_options(context: &Context, snapshot: Arc<Snapshot>, options: SqlOptions) -> Result<Self> {
        let options = SqlOptions { threads: context.threads, ..options };
        Ok(Self::Store(SqlRunner::new(snapshot, options)?))
    }

    /// The session on a store here.
    pub fn runner(&self) -> Option<&SqlRunner> {
        match self {
            Self::Store(runner) => Some(runner),
            #[cfg(feature = "serve")]
            Self::Server(_) => None,
        }
    }

    /// Runs a statement of the program and writes its result as a list, in which nulls are blank.
    pub fn run(&self, context: &Context, sql: &str, to: &OutputArgs, cancel: &Cancel) -> Result<Notes> {
        self.print(context, (sql, &Parameters::default()), (to, BLANK), cancel)
    }

    /// Runs a statement of the user, with values for its parameters, and writes its result.
    pub fn run_with(
        &self,
        context: &Context,
        sql: &str,
        values: &Parameters,
        to: &OutputArgs,
        cancel: &Cancel,
    ) -> Result<Notes> {
        self.print(context, (sql, values), (to, NULL), cancel)
    }

    fn print(
        &self,
        context: &Context,
        (sql, values): (&str, &Parameters),
        (to, null): (&OutputArgs, &'static str),
        cancel: &Cancel,
    ) -> Result<Notes> {
        check_place(context, to)?;
        match self {
            Self::Store(runner) => {
                let mut rows = runner.run_with(sql, values, cancel)?;
                let schema = Arc::clone(rows.schema());
                write_result(context, (to, null), &schema, &mut rows)?;
                Ok(rows.notes())
            }
            #[cfg(feature = "serve")]
            Self::Server(server) => {
                let mut rows = server.run(sql, values, cancel)?;
                let schema = Arc::clone(rows.schema());
                write_result(context, (to, null), &schema, &mut rows)?;
                Ok(rows.notes())
            }
        }
    }
}
