//! Streams of answers: a statement runs on the workers, and its batches wait for the client that reads them.
//!
//! Invariants
//! - at most two batches wait; a reader that is behind holds the statement up, and one that goes away ends it
//! - rows end with an outcome: a statement that breaks off, for whatever reason, is an error and never a
//!   shorter result
//! - a permit and a place among the running statements are held until the last batch is handed over or the
//!   work, which the limit of time ends, has come to its next yield; a thread of its own that a statement has
//!   holds the permit until it has ended, tasks that its operators have do not
//! - what ends a statement is waited for apart from its work, which may go without a yield for long, and the
//!   client hears of it at once

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::StreamExt;
use gstore_core::{Cancel, CancelOnDrop};
use gstore_query::matrix::MatrixRows;
use gstore_sql::{HeldMemory, RowWindow, RunNotes, SqlError};
use tokio::sync::{mpsc, oneshot, watch};
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
    outcome: Outcome,
}

impl AnswerRows {
    /// The next batch; `None` after the last.
    pub(crate) async fn next(&mut self) -> Option<Result<RecordBatch, Status>> {
        let batch = tokio::select! {
            biased;
            batch = self.batches.recv() => batch,
            Err(status) = ended(&mut self.outcome) => return Some(Err(status)),
        };
        match batch {
            Some(batch) => {
                self.taken.fetch_add(1, Ordering::Relaxed);
                Some(Ok(batch))
            }
            None => ended(&mut self.outcome).await.err().map(Err),
        }
    }
}

/// How a statement has ended, once that is known; its work may go on for a while.
type Outcome = watch::Receiver<Option<Result<(), Status>>>;

async fn ended(outcome: &mut Outcome) -> Result<(), Status> {
    let known = outcome.wait_for(Option::is_some).await.ok();
    // Without one there was a panic.
    known.and_then(|ended| (*ended).clone()).unwrap_or_else(|| Err(failed()))
}

/// The status after a panic, which the runtime has caught and the log has.
fn failed() -> Status {
    Status::internal("the statement failed; the log of the server says why")
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
    let (begin, mut begun) = oneshot::channel();
    let (known, mut outcome) = watch::channel(None);
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
    let (core, read) = (Arc::clone(core), Arc::clone(&taken));
    // On the threads of connections: those of the work may all be inside long operators.
    tokio::spawn(async move {
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
            () = send.closed() => Err(Status::cancelled("the rows are no longer read")),
        };
        // Noted before the channel closes: a reader that finds it closed finds the outcome.
        let _ = known.send(Some(ended));
        drop(ends);
        work.abort();
        if !work.is_finished() {
            let _ = work.await;
        }
        drop((send, entered));
    });
    let begun = tokio::select! {
        biased;
        begun = &mut begun => begun.ok(),
        Err(status) = ended(&mut outcome) => Some(begun.try_recv().unwrap_or(Err(status))),
    };
    match begun {
        Some(Ok(AnswerStart { schema, notes })) => Ok(AnswerRows { schema, notes, batches, taken, outcome }),
        Some(Err(status)) => Err(status),
        // The work has ended without beginning.
        None => Err(ended(&mut outcome).await.err().unwrap_or_else(failed)),
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
        return Err(Status::cancelled("the answer is no longer waited for"));
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
                        return Err(Status::cancelled("the rows are no longer read"));
                    }
                }
                Ok(())
            }
            Self::Vectors(reading) => {
                from_thread(permit, to, move |to, cancel| reading.send_all(to, cancel)).await
            }
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
