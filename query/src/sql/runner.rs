//! SQL for a program without an async runtime: the command line and the shell.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use gstore_store::Snapshot;
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use super::error::{SqlError, SqlErrorKind};
use super::notes::Notes;
use super::output::{Format, ResultWriter, TableStyle};
use super::session::{SqlOptions, SqlSession};

/// Operators recurse over the expressions that the planner accepted.
const WORKER_STACK: usize = 16 << 20;

/// Stops a running statement from another thread, such as a signal handler's.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<Flag>);

#[derive(Debug, Default)]
struct Flag {
    raised: AtomicBool,
    changed: Notify,
}

impl Cancel {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stops the statement that runs with this flag, and every later one.
    pub fn cancel(&self) {
        self.0.raised.store(true, Ordering::Release);
        self.0.changed.notify_waiters();
    }

    async fn raised(&self) {
        let changed = self.0.changed.notified();
        tokio::pin!(changed);
        // Listening starts before the flag is looked at, so a call in between is not missed.
        changed.as_mut().enable();
        if !self.0.raised.load(Ordering::Acquire) {
            changed.await;
        }
    }
}

/// What a statement gave beside its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Rows written.
    pub rows: u64,
    /// Guarantee, exclusions and counts.
    pub notes: Notes,
}

/// A session with a runtime of its own.
pub struct SqlRunner {
    session: SqlSession,
    runtime: Runtime,
}

impl SqlRunner {
    /// Opens a session on a snapshot and starts `options.threads` threads.
    pub fn new(snapshot: Arc<Snapshot>, options: SqlOptions) -> Result<Self, SqlError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads.max(1))
            .thread_name("gstore-sql")
            .thread_stack_size(WORKER_STACK)
            .build()
            .map_err(|e| SqlError::new(SqlErrorKind::Failed, format!("threads cannot be started: {e}")))?;
        Ok(Self { session: SqlSession::new(snapshot, options)?, runtime })
    }

    /// The session.
    pub fn session(&self) -> &SqlSession {
        &self.session
    }

    /// Runs one statement and writes its rows to `out`. Nothing is written before the first rows, or their absence, are known.
    pub fn run<W: Write + Send>(
        &self,
        sql: &str,
        format: Format,
        style: TableStyle,
        out: W,
        cancel: &Cancel,
    ) -> Result<Outcome, SqlError> {
        let work = self.write(sql, format, style, out);
        self.runtime.block_on(async {
            tokio::select! {
                done = work => done,
                () = cancel.raised() => {
                    Err(SqlError::new(SqlErrorKind::Cancelled, "the query was cancelled".into()))
                }
            }
        })
    }

    async fn write<W: Write + Send>(
        &self,
        sql: &str,
        format: Format,
        style: TableStyle,
        out: W,
    ) -> Result<Outcome, SqlError> {
        let mut result = self.session.run(sql).await?;
        let mut next = result.stream.next().await.transpose()?;
        let mut writer = ResultWriter::new(format, &result.schema, out, style)?;
        while let Some(batch) = next {
            writer.write(&batch)?;
            next = result.stream.next().await.transpose()?;
        }
        let rows = writer.finish()?;
        Ok(Outcome { rows, notes: result.notes() })
    }
}
