//! Blocking leaves: threads that read files, so that the async workers stay free; and threads that wait for
//! what these workers do.
//!
//! Dropping the stream stops them.
//!
//! Invariants
//! - work starts when the stream is first polled, not when the plan is: what other parts of the plan find out
//!   before that can be used
//! - at most two batches wait to be taken

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use futures::future::BoxFuture;
use futures::{Stream, StreamExt, TryStreamExt};
use gstore_core::{Cancel, CancelOnDrop};
use tokio::sync::mpsc::{Receiver, Sender};

use super::error::SqlError;

/// How long a raised flag may go unnoticed.
const GLANCE: Duration = Duration::from_millis(50);

/// Where a leaf puts its batches.
pub(crate) struct BatchSink {
    to: Sender<DfResult<RecordBatch>>,
    cancelled: Arc<Cancel>,
}

/// Whether more batches are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Demand {
    More,
    Enough,
}

impl BatchSink {
    /// Hands a batch over; waits while the reader is behind.
    pub(crate) fn send(&self, batch: RecordBatch) -> Demand {
        match self.is_cancelled() || self.to.blocking_send(Ok(batch)).is_err() {
            true => Demand::Enough,
            false => Demand::More,
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_raised() || self.to.is_closed()
    }

    /// The flag that is raised when the result is not wanted any more.
    pub(crate) fn cancelled(&self) -> Arc<Cancel> {
        Arc::clone(&self.cancelled)
    }
}

/// A stream of the batches that `work` sends, which begins with what is found before. No thread waits for that:
/// other leaves find it, and threads are limited.
pub(crate) fn stream<T, F>(
    schema: SchemaRef,
    found: BoxFuture<'static, Result<T, SqlError>>,
    work: F,
) -> SendableRecordBatchStream
where
    T: Send + 'static,
    F: FnOnce(&BatchSink, T) -> Result<(), SqlError> + Send + 'static,
{
    let inner = Arc::clone(&schema);
    let started = futures::stream::once(async move {
        let found = found.await?;
        let cancelled = Arc::new(Cancel::new());
        let mut builder = RecordBatchReceiverStreamBuilder::new(inner, 2);
        let sink = BatchSink { to: builder.tx(), cancelled: Arc::clone(&cancelled) };
        builder.spawn_blocking(move || work(&sink, found).map_err(DataFusionError::from));
        let raises = CancelOnDrop(cancelled);
        Ok::<_, DataFusionError>(builder.build().inspect(move |_| {
            let _ = &raises;
        }))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, started.try_flatten()))
}

/// Polls the stream on a worker, so that the consumer of the batches can stop waiting at any time.
/// Dropping the receiver ends it.
pub(crate) fn pump(
    mut stream: impl Stream<Item = Result<RecordBatch, SqlError>> + Send + Unpin + 'static,
) -> Receiver<Result<RecordBatch, SqlError>> {
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

/// What `work` gives, or an error soon after the flag is raised.
///
/// Waits on the calling thread and not by a timer of the runtime: its workers run the timers, and may all be
/// inside long operators.
pub(crate) fn unless_cancelled<T>(cancel: &Cancel, work: impl Future<Output = T>) -> Result<T, SqlError> {
    let mut work = pin!(work);
    let waker = Waker::from(Arc::new(UnparkWaker(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    while !cancel.is_raised() {
        if let Poll::Ready(done) = work.as_mut().poll(&mut context) {
            return Ok(done);
        }
        std::thread::park_timeout(GLANCE);
    }
    Err(SqlError::cancelled())
}

struct UnparkWaker(Thread);

impl Wake for UnparkWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
