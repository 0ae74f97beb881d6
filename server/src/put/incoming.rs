//! The batches of an upload on their way from the connection to the thread that stores them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use gstore_core::Cancel;
use tokio::sync::mpsc;
use tonic::Status;

use crate::audit::Record;
use crate::core::Core;

/// What the thread hears.
pub(super) enum Event {
    Batch(RecordBatch),
    /// The stream has ended well.
    End,
}

/// The other end.
pub(super) struct Incoming {
    events: mpsc::Receiver<Event>,
    cancel: Arc<Cancel>,
}

impl Incoming {
    pub(super) fn new(events: mpsc::Receiver<Event>, cancel: Arc<Cancel>) -> Self {
        Self { events, cancel }
    }

    /// The next batch with rows; `None` where the stream has ended well. Waits on this thread.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, Status> {
        loop {
            match self.events.blocking_recv() {
                _ if self.cancel.is_raised() => return Err(broken()),
                Some(Event::Batch(batch)) if batch.num_rows() == 0 => {}
                Some(Event::Batch(batch)) => return Ok(Some(batch)),
                Some(Event::End) => return Ok(None),
                None => return Err(broken()),
            }
        }
    }

    /// Raised when nobody waits for the result any more.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

fn broken() -> Status {
    Status::aborted("the stream broke off; nothing was stored")
}

/// Hands the batches of a stream over, as many at a time as there is room for, and then its end.
pub(super) async fn feed(
    core: &Core,
    messages: BoxStream<'static, Result<FlightData, Status>>,
    to: &mpsc::Sender<Event>,
    record: &mut Record,
) -> Result<(), Status> {
    let bytes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&bytes);
    let messages = messages.map(move |message| {
        let message = message.and_then(uncompressed);
        if let Ok(message) = &message {
            counter
                .fetch_add((message.data_header.len() + message.data_body.len()) as u64, Ordering::Relaxed);
        }
        message.map_err(|status| FlightError::Tonic(Box::new(status)))
    });
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages);
    let patience = core.limits.connections.reader;
    let mut rows = 0;
    loop {
        // What a client sends decides what is decoded, and a library may not be ready for all of it.
        let next = AssertUnwindSafe(batches.try_next()).catch_unwind();
        let next = tokio::time::timeout(patience, next).await.map_err(|_| {
            let seconds = patience.as_secs_f64();
            Status::deadline_exceeded(format!("nothing was sent for {seconds} s; nothing was stored"))
        })?;
        let next = next.unwrap_or_else(|_| Err(FlightError::DecodeError("a malformed message".to_owned())));
        let Some(batch) = next.map_err(of_sent)? else { break };
        rows += batch.num_rows() as u64;
        let limits = &core.limits;
        if rows > limits.put_rows || bytes.load(Ordering::Relaxed) > limits.put_bytes {
            let (most, size) = (limits.put_rows, limits.put_bytes);
            let why = format!("an upload has at most {most} rows and {size} bytes; send it in parts");
            return Err(Status::resource_exhausted(why));
        }
        record.rows(batch.num_rows());
        if to.send(Event::Batch(batch)).await.is_err() {
            // The thread has ended, and says why.
            return Ok(());
        }
    }
    let _ = to.send(Event::End).await;
    Ok(())
}

/// A compressed message says of itself how large it is, and can be much larger than what was sent.
pub(crate) fn uncompressed(message: FlightData) -> Result<FlightData, Status> {
    let header = gstore_store::caught(|| {
        let header = arrow_ipc::root_as_message(&message.data_header).ok()?;
        let batch = header.header_as_record_batch();
        let batch = batch.or_else(|| header.header_as_dictionary_batch().and_then(|d| d.data()));
        Some(batch.is_some_and(|batch| batch.compression().is_some()))
    });
    match header {
        Some(Some(true)) => {
            Err(Status::invalid_argument("compressed batches are not taken; send them plain"))
        }
        Some(Some(false)) => Ok(message),
        // Metadata alone.
        _ if message.data_header.is_empty() => Ok(message),
        _ => Err(Status::invalid_argument("a malformed message")),
    }
}

/// What is wrong with messages that were sent.
fn of_sent(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        error => Status::invalid_argument(format!("the stream is not understood: {error}")),
    }
}
