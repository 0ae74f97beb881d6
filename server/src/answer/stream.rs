//! Batches as messages of Flight.
//!
//! Invariants
//! - the first message is the schema that was told before, exactly: clients compare the two
//! - a batch is cut into messages by bytes; the next one is made when the last was taken
//! - the turn of the statement is given back when the last message was taken, before the answer ends

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use arrow_array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::{IpcMessage, SchemaAsIpc};
use arrow_ipc::writer::IpcWriteOptions;
use arrow_schema::Schema;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use gstore_sql::RunNotes;
use tonic::Status;

use super::rows::AnswerRows;
use crate::audit::AuditRecord;
use crate::core::Core;
use crate::wire::{self, FlightMessage};

pub(crate) type Messages = Pin<Box<dyn Stream<Item = Result<FlightMessage, Status>> + Send>>;

/// A schema as a message, as clients of prepared statements and of `get_schema` want it.
pub(crate) fn schema_bytes(schema: &Schema) -> Result<bytes::Bytes, Status> {
    let options = IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    Ok(message.map_err(|e| crate::status::internal("a schema cannot be sent", &e))?.0)
}

/// Rows as messages. With `notes`, what is to be known besides the rows follows them as JSON.
pub(crate) fn row_messages(core: &Core, rows: AnswerRows, record: AuditRecord, notes: bool) -> Messages {
    let notes = rows.notes.clone().filter(|_| notes);
    let schema = Arc::clone(&rows.schema);
    let (read, taken) = (Arc::new(AtomicUsize::new(0)), rows.progress());
    let counter = Arc::clone(&read);
    let batches = futures::stream::unfold(rows, move |mut rows| {
        let counter = Arc::clone(&counter);
        async move {
            let Some(batch) = rows.next().await else {
                rows.finish().await;
                return None;
            };
            if let Ok(batch) = &batch {
                counter.fetch_add(batch.num_rows(), Ordering::Relaxed);
            }
            Some((batch.map_err(|status| FlightError::Tonic(Box::new(status))), rows))
        }
    });
    let encoded = wire::messages(schema, core.limits.batch_bytes, batches);
    Box::pin(CountedMessages {
        encoded,
        read,
        taken,
        record,
        most: core.limits.result_bytes,
        notes,
        over: false,
    })
}

/// One batch that is at hand.
pub(crate) fn batch_messages(batch: RecordBatch) -> Messages {
    let schema = batch.schema();
    let encoded = wire::messages(schema, usize::MAX, futures::stream::iter([Ok(batch)]));
    Box::pin(encoded.map(|message| message.map_err(Status::from)))
}

/// Messages on their way out, counted.
struct CountedMessages {
    encoded: BoxStream<'static, Result<FlightMessage, FlightError>>,
    /// Rows that were read and are not in the record yet.
    read: Arc<AtomicUsize>,
    /// What the client has taken.
    taken: Arc<AtomicU64>,
    record: AuditRecord,
    most: u64,
    notes: Option<Arc<RunNotes>>,
    over: bool,
}

impl CountedMessages {
    fn ends_with(&mut self, status: Status) -> Poll<Option<Result<FlightMessage, Status>>> {
        self.over = true;
        self.record.ended(Err(&status));
        Poll::Ready(Some(Err(status)))
    }
}

impl Stream for CountedMessages {
    type Item = Result<FlightMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let next = ready!(self.encoded.poll_next_unpin(cx));
        self.taken.fetch_add(1, Ordering::Relaxed);
        match self.read.swap(0, Ordering::Relaxed) {
            0 => {}
            rows => self.record.rows(rows),
        }
        match next {
            Some(Ok(message)) => {
                let most = self.most;
                match self.record.bytes(message.len(), most) {
                    Ok(()) => Poll::Ready(Some(Ok(message))),
                    Err(status) => self.ends_with(status),
                }
            }
            Some(Err(error)) => self.ends_with(Status::from(error)),
            None => {
                self.over = true;
                self.record.ended(Ok(()));
                let notes = self.notes.take().and_then(|notes| serde_json::to_vec(&notes.get()).ok());
                // In a message without rows.
                let noted =
                    |json: Vec<u8>| FlightMessage { metadata: json.into(), ..FlightMessage::default() };
                Poll::Ready(notes.map(|json| Ok(noted(json))))
            }
        }
    }
}
