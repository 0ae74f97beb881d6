//! Streams of answers: a statement runs on the workers, and its batches wait for the client that reads them.
//!
//! Invariants
//! - at most two batches wait; a reader that is behind holds the statement up, and one that goes away ends it
//! - rows end with an outcome: a statement that breaks off, for whatever reason, is an error and never a
//!   shorter result
//! - a permit and a place among the running statements are held until the last batch is handed over, and not
//!   longer than the limit of time; a thread of its own that a statement has holds the permit until it has
//!   ended
//! - what ends a statement is waited for apart from its work, which may go without a yield for long

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::StreamExt;
use gstore_core::{Cancel, CancelOnDrop};
use gstore_query::matrix::MatrixRows;
use gstore_sql::{HeldMemory, RowWindow, RunNotes, SqlError};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::thread::{from_thread, on_thread, to_its_end};
use super::{matrix, vectors};
use crate::access::Caller;
use crate::admission::Permit;
use crate::audit::AuditRecord;
use crate::core::Core;
use crate::handle::{Matrix, Question, QuestionHandle};
use crate::sessions::OpenSession;
use crate::status;

/// Rows as they come.
pub(crate) struct AnswerRows {
    pub(crate) schema: SchemaRef,
    pub(crate) notes: Option<Arc<RunNotes>>,
    batches: mpsc::Receiver<RecordBatch>,
    taken: Arc<AtomicU64>,
    outcome: Arc<OnceLock<Result<(), Status>>>,
}

impl AnswerRows {
    /// The next batch; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<RecordBatch, Status>> {
        if let Some(batch) = self.batches.recv().await {
            self.taken.fetch_add(1, Ordering::Relaxed);
            return Some(Ok(batch));
        }
        match self.outcome.get() {
            Some(Ok(())) => None,
            Some(Err(status)) => Some(Err(status.clone())),
            // A panic, which the runtime has caught and the log has.
            None => Some(Err(Status::internal("the statement failed; the log of the server says why"))),
        }
    }
}

/// What a question begins with.
struct AnswerStart {
    schema: SchemaRef,
    notes: Option<Arc<RunNotes>>,
}

/// Starts to answer a question; comes back once the columns are known.
pub(crate) async fn start(
    core: &Arc<Core>,
    caller: &Caller,
    handle: QuestionHandle,
    ticket: &[u8],
    record: &AuditRecord,
    window: Option<RowWindow>,
) -> Result<AnswerRows, Status> {
    let mut entered = core.running.enter(&caller.id, ticket)?;
    // Its snapshot is held while it waits for its turn as well.
    let held = match &handle.snapshot {
        Some(pinned) => Some(core.session_of(pinned, caller).await?),
        None => None,
    };
    let permit = Arc::new(entered.turn(&core.admission).await?);
    let deadline = tokio::time::Instant::now() + core.limits.time;
    record.started();
    let (send, batches) = mpsc::channel(2);
    let (begin, begun) = oneshot::channel();
    let outcome = Arc::new(OnceLock::new());
    let taken = Arc::new(AtomicU64::new(0));
    let ends = CancelOnDrop(Arc::new(Cancel::new()));
    let mut work = core.workers.spawn({
        let (core, caller, to, cancel) =
            (Arc::clone(core), caller.clone(), send.clone(), Arc::clone(&ends.0));
        async move {
            let _held = held;
            produce((&core, &permit), &caller, (handle, window), &to, begin, cancel).await
        }
    });
    let (seen, core, read) = (Arc::clone(&outcome), Arc::clone(core), Arc::clone(&taken));
    // On the threads of connections: those of the work may all be inside long operators.
    let task = tokio::spawn(async move {
        let limit = core.limits.time;
        let ended = tokio::select! {
            ended = &mut work => {
                ended.unwrap_or_else(|error| Err(status::internal("the statement failed", &error)))
            }
            why = entered.ended() => Err(why),
            () = tokio::time::sleep_until(deadline) => {
                let seconds = limit.as_secs_f64();
                Err(Status::deadline_exceeded(format!("the statement ran for {seconds} s, the longest allowed")))
            }
            () = unread(&send, &read, core.limits.connections.reader) => {
                let seconds = core.limits.connections.reader.as_secs_f64();
                Err(Status::deadline_exceeded(format!("the rows were not read for {seconds} s")))
            }
            () = send.closed() => Err(Status::cancelled("the rows are not read any more")),
        };
        // Noted before the channel closes: a reader that finds it closed finds the outcome.
        let _ = seen.set(ended);
        drop(ends);
        work.abort();
        if !work.is_finished() {
            let _ = work.await;
        }
        drop((send, entered));
    });
    match begun.await {
        Ok(Ok(AnswerStart { schema, notes })) => Ok(AnswerRows { schema, notes, batches, taken, outcome }),
        Ok(Err(status)) => Err(status),
        Err(_) => {
            // The task has ended without beginning.
            let _ = task.await;
            let ended = outcome.get().cloned().and_then(Result::err);
            Err(ended
                .unwrap_or_else(|| Status::internal("the statement failed; the log of the server says why")))
        }
    }
}

/// Comes back when batches have waited for their reader for this long.
async fn unread(to: &mpsc::Sender<RecordBatch>, taken: &AtomicU64, limit: Duration) {
    let mut before = None;
    loop {
        // Twice in the same state, this long apart.
        let now = (to.capacity() == 0).then(|| taken.load(Ordering::Relaxed));
        if now.is_some() && now == before {
            return;
        }
        before = now;
        tokio::time::sleep(limit.max(Duration::from_millis(10))).await;
    }
}

async fn produce(
    (core, permit): (&Arc<Core>, &Arc<Permit>),
    caller: &Caller,
    (handle, window): (QuestionHandle, Option<RowWindow>),
    to: &mpsc::Sender<RecordBatch>,
    begin: oneshot::Sender<Result<AnswerStart, Status>>,
    cancel: Arc<Cancel>,
) -> Result<(), Status> {
    let begun = async {
        let held = match &handle.snapshot {
            Some(pinned) => core.session_of(pinned, caller).await?,
            None => core.session(None, caller).await?,
        };
        match handle.question {
            Some(Question::Statement(statement)) => {
                let (planner, asker) = (Arc::clone(&held), caller.clone());
                let sql = statement.written().map(str::to_owned);
                let planned = async move { planner.run(&statement, window, &asker, cancel).await };
                let result = to_its_end(permit, planned).await?;
                let result = result.map_err(|e| status::sql_status(&e, core.root(), sql.as_deref()))?;
                let notes = Some(result.notes_handle());
                Ok((
                    AnswerStart { schema: result.schema, notes },
                    RowSource::Statement(result.stream, sql),
                    held,
                ))
            }
            Some(Question::Vectors(wanted)) => {
                let reading = vectors::open(held.snapshot(), &wanted)?;
                let schema = Arc::clone(&reading.schema);
                Ok((AnswerStart { schema, notes: None }, RowSource::Vectors(reading), held))
            }
            Some(Question::Matrix(wanted)) => {
                let rows = open_matrix(core, &held, wanted, Some(permit)).await?;
                let bytes = matrix::memory(&rows, core.workers.metrics().num_workers(), core.root())?;
                let memory = held
                    .hold(caller, "a matrix", bytes)
                    .map_err(|e| status::sql_status(&e, core.root(), None))?;
                let schema = Arc::clone(rows.schema());
                Ok((AnswerStart { schema, notes: None }, RowSource::Matrix(Box::new(rows), memory), held))
            }
            None => Err(Status::invalid_argument("the handle asks for nothing")),
        }
    };
    let (start, source, held) = match begun.await {
        Ok(begun) => begun,
        Err(status) => {
            let _ = begin.send(Err(status.clone()));
            return Err(status);
        }
    };
    if begin.send(Ok(start)).is_err() {
        return Err(Status::cancelled("the answer is not waited for any more"));
    }
    let ended = source.send_all(core, permit, to).await;
    drop(held);
    ended
}

enum RowSource {
    /// The rows, and the SQL that their client has written.
    Statement(gstore_sql::SqlStream, Option<String>),
    Vectors(vectors::OpenFeature),
    Matrix(Box<MatrixRows>, HeldMemory),
}

impl RowSource {
    async fn send_all(
        self,
        core: &Core,
        permit: &Arc<Permit>,
        to: &mpsc::Sender<RecordBatch>,
    ) -> Result<(), Status> {
        match self {
            Self::Statement(mut stream, sql) => {
                while let Some(batch) = stream.next().await {
                    let batch =
                        batch.map_err(|e: SqlError| status::sql_status(&e, core.root(), sql.as_deref()))?;
                    if batch.num_rows() > 0 && to.send(batch).await.is_err() {
                        return Err(Status::cancelled("the rows are not read any more"));
                    }
                }
                Ok(())
            }
            Self::Vectors(reading) => from_thread(permit, to, move |to, _| reading.send_all(to)).await,
            Self::Matrix(rows, memory) => {
                let (bytes, threads) = (core.limits.batch_bytes, core.workers.metrics().num_workers());
                let root = core.root().to_owned();
                from_thread(permit, to, move |to, cancel| {
                    let sent = matrix::send_all(&rows, bytes, threads, to, &root, cancel);
                    // The vectors are gone before their memory is.
                    drop(rows);
                    drop(memory);
                    sent
                })
                .await
            }
        }
    }
}

/// Finds out what a matrix is of, on a thread of its own.
async fn open_matrix(
    core: &Core,
    held: &OpenSession,
    wanted: Matrix,
    permit: Option<&Arc<Permit>>,
) -> Result<MatrixRows, Status> {
    let (snapshot, root) = (Arc::clone(held.snapshot()), core.root().to_owned());
    let (_raises, opened) = on_thread(permit, move |cancel| matrix::open(&snapshot, &wanted, &root, cancel));
    opened.await.unwrap_or_else(|error| Err(status::internal("the matrix cannot be computed", &error)))
}

/// The columns that a question gives, without answering it.
pub(crate) async fn columns(
    core: &Core,
    held: &OpenSession,
    question: &Question,
    caller: &Caller,
) -> Result<SchemaRef, Status> {
    match question {
        Question::Statement(statement) => {
            let columns = held.columns(statement, caller).await?;
            columns.map_err(|e| status::sql_status(&e, core.root(), statement.written()))
        }
        Question::Vectors(wanted) => Ok(vectors::open(held.snapshot(), wanted)?.schema),
        Question::Matrix(wanted) => {
            Ok(Arc::clone(open_matrix(core, held, wanted.clone(), None).await?.schema()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn rows_that_are_not_read_are_noticed() {
        let (send, _batches) = mpsc::channel(1);
        let taken = AtomicU64::new(0);
        let limit = Duration::from_millis(10);
        let unread = |time| tokio::time::timeout(time, unread(&send, &taken, limit));
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(60));
        assert!(unread(short).await.is_err(), "there is nothing to read");
        let batch = || RecordBatch::new_empty(Arc::new(arrow_schema::Schema::empty()));
        send.try_send(batch()).unwrap();
        assert!(unread(long).await.is_ok());
    }
}
