//! Streams of answers: a statement runs on the workers, and its batches wait for the client that reads them.
//!
//! Invariants
//! - at most two batches wait; a reader that is behind holds the statement up, and one that goes away ends it
//! - rows end with an outcome: a statement that breaks off, for whatever reason, is an error and never a
//!   shorter result
//! - a permit and a place among the running statements are held until all that was made of the rows is taken,
//!   or the statement has broken off and its work has come to its next yield; a thread of its own that a
//!   statement has holds the permit until it has ended, tasks that its operators have do not
//! - the limits of time hold as long: the work may be over long before its rows are read
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
use crate::running::RegisteredStatement;
use crate::sessions::OpenSession;
use crate::status;

/// Rows as they come.
pub(crate) struct AnswerRows {
    pub(crate) schema: SchemaRef,
    pub(crate) notes: Option<Arc<RunNotes>>,
    batches: mpsc::Receiver<RecordBatch>,
    taken: Arc<AtomicU64>,
    outcome: Outcome,
    /// Ends once the turn of the statement is given back.
    given_back: oneshot::Receiver<()>,
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

    /// Waits until the client takes something that was made of the rows; an error where the statement breaks
    /// off before.
    pub(crate) async fn until_taken<T>(&mut self, taken: impl Future<Output = T>) -> Result<T, Status> {
        let done = tokio::select! {
            biased;
            done = taken => done,
            status = broken_off(&mut self.outcome) => return Err(status),
        };
        self.taken.fetch_add(1, Ordering::Relaxed);
        Ok(done)
    }

    /// Counts what the client has taken: one for whom it does not change does not read.
    pub(super) fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.taken)
    }

    /// Gives the turn back after the last batch. Who finds the end of an answer after this finds the turn
    /// free.
    pub(crate) async fn finish(self) {
        let Self { batches, outcome, given_back, .. } = self;
        drop((batches, outcome));
        let _ = given_back.await;
    }
}

/// How a statement has ended, once that is known; its work may go on for a while. After a success it may
/// still break off while its rows are not read.
type Outcome = watch::Receiver<Option<Result<(), Status>>>;

async fn ended(outcome: &mut Outcome) -> Result<(), Status> {
    let known = outcome.wait_for(Option::is_some).await.ok();
    // Without one there was a panic.
    known.and_then(|ended| (*ended).clone()).unwrap_or_else(|| Err(failed()))
}

/// Comes back if the statement breaks off.
async fn broken_off(outcome: &mut Outcome) -> Status {
    let is_error = |ended: &Option<Result<(), Status>>| matches!(ended, Some(Err(_)));
    let known = outcome.wait_for(is_error).await.ok();
    known.and_then(|ended| (*ended).clone()?.err()).unwrap_or_else(failed)
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
    let mut limits = StatementLimits::begin(core, entered);
    record.started();
    let (send, batches) = mpsc::channel(2);
    let (begin, mut begun) = oneshot::channel();
    let (known, mut outcome) = watch::channel(None);
    let (give_back, given_back) = oneshot::channel();
    let taken = Arc::clone(&limits.taken);
    let ends = CancelOnDrop(Arc::new(Cancel::new()));
    let mut work = core.workers.spawn({
        let (core, caller, to, cancel) =
            (Arc::clone(core), caller.clone(), send.clone(), Arc::clone(&ends.0));
        let permit = Arc::clone(&permit);
        async move {
            let _held = held;
            produce((&core, &permit), &caller, (handle, window), &to, begin, cancel).await
        }
    });
    // On the threads of connections: those of the work may all be inside long operators.
    tokio::spawn(async move {
        let ended = tokio::select! {
            ended = &mut work => {
                ended.unwrap_or_else(|error| Err(status::internal("the statement failed", &error)))
            }
            why = limits.exceeded(|| send.capacity() == 0) => Err(why),
            () = send.closed() => Err(Status::cancelled("the rows are no longer read")),
        };
        let succeeded = ended.is_ok();
        // Noted before the channel closes: a reader that finds it closed finds the outcome.
        let _ = known.send(Some(ended));
        drop(ends);
        work.abort();
        if !work.is_finished() {
            let _ = work.await;
        }
        drop(send);
        if succeeded {
            tokio::select! {
                () = known.closed() => {}
                why = limits.exceeded(|| true) => {
                    let _ = known.send(Some(Err(why)));
                }
            }
        }
        // The turn is free once none is counted.
        drop((permit, limits, give_back));
    });
    let begun = tokio::select! {
        biased;
        begun = &mut begun => begun.ok(),
        Err(status) = ended(&mut outcome) => Some(begun.try_recv().unwrap_or(Err(status))),
    };
    match begun {
        Some(Ok(AnswerStart { schema, notes })) => {
            Ok(AnswerRows { schema, notes, batches, taken, outcome, given_back })
        }
        Some(Err(status)) => Err(status),
        // The work has ended without beginning.
        None => Err(ended(&mut outcome).await.err().unwrap_or_else(failed)),
    }
}

/// What ends a statement besides its work and its client.
struct StatementLimits {
    entered: RegisteredStatement,
    deadline: tokio::time::Instant,
    time: Duration,
    /// How long rows wait for a client that does not read them.
    unread: Duration,
    taken: Arc<AtomicU64>,
}

impl StatementLimits {
    /// Those of a statement whose turn has come.
    fn begin(core: &Core, entered: RegisteredStatement) -> Self {
        let time = core.limits.time;
        Self {
            entered,
            deadline: tokio::time::Instant::now() + time,
            time,
            unread: core.limits.connections.reader,
            taken: Arc::default(),
        }
    }

    /// Comes back when the statement is to end, and says why. `waits` tells whether the client has something
    /// to take.
    async fn exceeded(&mut self, waits: impl Fn() -> bool) -> Status {
        tokio::select! {
            why = self.entered.ended() => why,
            () = tokio::time::sleep_until(self.deadline) => {
                let seconds = self.time.as_secs_f64();
                Status::deadline_exceeded(format!("the statement ran for {seconds} s, the longest allowed"))
            }
            () = unread(waits, &self.taken, self.unread) => {
                let seconds = self.unread.as_secs_f64();
                Status::deadline_exceeded(format!("the rows were not read for {seconds} s"))
            }
        }
    }
}

/// Comes back when something has waited for its reader for this long.
async fn unread(waits: impl Fn() -> bool, taken: &AtomicU64, limit: Duration) {
    let mut before = None;
    loop {
        // Twice in the same state, this long apart.
        let now = waits().then(|| taken.load(Ordering::Relaxed));
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
        let full = || send.capacity() == 0;
        let unread = |time| tokio::time::timeout(time, unread(&full, &taken, limit));
        let (short, long) = (Duration::from_millis(200), Duration::from_secs(60));
        assert!(unread(short).await.is_err(), "there is nothing to read");
        let batch = || RecordBatch::new_empty(Arc::new(arrow_schema::Schema::empty()));
        send.try_send(batch()).unwrap();
        assert!(unread(long).await.is_ok());
    }
}
