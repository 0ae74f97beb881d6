//! Blocking leaves: threads that read files, so that the async workers stay free.
//!
//! Dropping the stream stops them.
//!
//! Invariants
//! - work starts when the stream is first polled, not when the plan is: what other parts of the plan find out
//!   before that can be used
//! - at most two batches wait to be taken

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::{RecordBatchReceiverStreamBuilder, RecordBatchStreamAdapter};
use futures::{StreamExt, TryStreamExt};
use gstore_core::{Cancel, CancelOnDrop};
use tokio::sync::mpsc::Sender;

use super::error::SqlError;

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

/// A stream of the batches that `work` sends.
pub(crate) fn stream<F>(schema: SchemaRef, work: F) -> SendableRecordBatchStream
where
    F: FnOnce(&BatchSink) -> Result<(), SqlError> + Send + 'static,
{
    let inner = Arc::clone(&schema);
    let started = futures::stream::once(async move {
        let cancelled = Arc::new(Cancel::new());
        let mut builder = RecordBatchReceiverStreamBuilder::new(inner, 2);
        let sink = BatchSink { to: builder.tx(), cancelled: Arc::clone(&cancelled) };
        builder.spawn_blocking(move || work(&sink).map_err(DataFusionError::from));
        let raises = CancelOnDrop(cancelled);
        Ok::<_, DataFusionError>(builder.build().inspect(move |_| {
            let _ = &raises;
        }))
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, started.try_flatten()))
}
