//! Batches of an upload on their way from the connection to the thread that stores them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_flight::FlightData;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use gstore_core::Cancel;
use tokio::sync::mpsc;
use tonic::Status;

use super::decode::Batches;
use crate::audit::AuditRecord;
use crate::core::Core;

/// What the thread hears: a batch, or `None` where the stream has ended well.
pub(super) type UploadEvent = Option<RecordBatch>;

/// The other end.
pub(super) struct UploadEvents {
    events: mpsc::Receiver<UploadEvent>,
    /// Raised when no request waits for the result any more.
    pub(super) cancel: Arc<Cancel>,
}

impl UploadEvents {
    pub(super) fn new(events: mpsc::Receiver<UploadEvent>, cancel: Arc<Cancel>) -> Self {
        Self { events, cancel }
    }

    /// The next batch with rows; `None` where the stream has ended well. Waits on this thread.
    pub(super) fn next(&mut self) -> Result<Option<RecordBatch>, Status> {
        loop {
            match self.events.blocking_recv() {
                _ if self.cancel.is_raised() => return Err(broken()),
                Some(Some(batch)) if batch.num_rows() == 0 => {}
                Some(event) => return Ok(event),
                None => return Err(broken()),
            }
        }
    }
}

fn broken() -> Status {
    Status::aborted("the stream broke off; nothing was stored")
}

/// Hands the batches of a stream over, as many at a time as there is room for, and then its end. Of a client
/// that has failed, the stream may end well all the same, so one that has other rows than `expected` did not.
pub(super) async fn send_batches(
    core: &Core,
    messages: BoxStream<'static, Result<FlightData, Status>>,
    expected: Option<u64>,
    to: &mpsc::Sender<UploadEvent>,
    record: &mut AuditRecord,
) -> Result<(), Status> {
    let bytes = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&bytes);
    let mut batches = Batches::of(messages.inspect_ok(move |message| {
        let length = message.data_header.len() + message.data_body.len();
        counter.fetch_add(length as u64, Ordering::Relaxed);
    }));
    let patience = core.limits.connections.reader;
    let mut rows = 0u64;
    loop {
        let next = tokio::time::timeout(patience, batches.next()).await.map_err(|_| {
            let seconds = patience.as_secs_f64();
            Status::deadline_exceeded(format!("nothing was sent for {seconds} s; nothing was stored"))
        })?;
        let Some(batch) = next? else { break };
        rows = rows.saturating_add(batch.num_rows() as u64);
        let limits = &core.limits;
        if rows > limits.put_rows || bytes.load(Ordering::Relaxed) > limits.put_bytes {
            let (most, size) = (limits.put_rows, limits.put_bytes);
            let why = format!("an upload has at most {most} rows and {size} bytes; send it in parts");
            return Err(Status::resource_exhausted(why));
        }
        record.received(batch.num_rows(), bytes.load(Ordering::Relaxed));
        if to.send(Some(batch)).await.is_err() {
            // The thread has ended, and says why.
            return Ok(());
        }
    }
    if let Some(expected) = expected.filter(|expected| *expected != rows) {
        return Err(Status::invalid_argument(format!(
            "the stream has ended after {rows} rows, but `rows` says {expected}; nothing was stored"
        )));
    }
    let _ = to.send(None).await;
    Ok(())
}
