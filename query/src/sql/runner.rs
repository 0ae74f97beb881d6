//! SQL for a program without an async runtime: the command line and the shell.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::RecordBatch;
use futures::StreamExt;
use gstore_store::Snapshot;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::mpsc::Receiver;

use super::error::{SqlError, SqlErrorKind};
use super::notes::Notes;
use super::output::{Format, ResultWriter, TableStyle};
use super::session::{SqlOptions, SqlSession, SqlStream};

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
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Rows written.
    pub rows: u64,
    /// Guarantee, exclusions and counts.
    pub notes: Notes,
}

/// A session with a runtime of its own.
pub struct SqlRunner {
    session: SqlSession,
    /// Taken only when the runner goes.
    runtime: Option<Runtime>,
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
        Ok(Self { session: SqlSession::new(snapshot, options)?, runtime: Some(runtime) })
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
        let runtime = self.runtime.as_ref().ok_or_else(|| SqlError::internal("the runner is gone"))?;
        runtime.block_on(async {
            let result = unless(cancel, self.session.run(sql)).await??;
            let (schema, notes) = (Arc::clone(&result.schema), result.notes_handle());
            let mut batches = pump(result.stream);
            let mut next = unless(cancel, batches.recv()).await?.transpose()?;
            let mut writer = ResultWriter::new(format, &schema, out, style)?;
            while let Some(batch) = next {
                writer.write(&batch)?;
                next = unless(cancel, batches.recv()).await?.transpose()?;
            }
            Ok(Outcome { rows: writer.finish()?, notes: notes.get() })
        })
    }
}

impl Drop for SqlRunner {
    /// An operator stops only between batches; a cancelled statement's caller does not wait for that.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Polls the stream on a worker, so that whoever takes the batches can stop waiting at any time. Dropping the receiver ends it.
fn pump(mut stream: SqlStream) -> Receiver<Result<RecordBatch, SqlError>> {
    let (send, receive) = tokio::sync::mpsc::channel(2);
    tokio::spawn(async move {
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = send.closed() => None,
            };
            let Some(batch) = next else { return };
            if send.send(batch).await.is_err() {
                return;
            }
        }
    });
    receive
}

/// What `work` gives, or an error once the flag is raised.
async fn unless<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Result<T, SqlError> {
    tokio::select! {
        done = work => Ok(done),
        () = cancel.raised() => Err(SqlError::new(SqlErrorKind::Cancelled, "the query was cancelled".into())),
    }
}
