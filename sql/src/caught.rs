//! Panics of the engine as errors of the statement, so that its rows never end with one.

use std::pin::Pin;
use std::task::{Context, Poll};

use arrow_array::RecordBatch;
use futures::{Stream, StreamExt};

use super::error::{SqlError, SqlErrorKind};

/// A stream that ends with an error where the one inside panics.
pub(super) struct PanicGuard<S>(Option<S>);

impl<S> PanicGuard<S> {
    pub(super) fn new(rows: S) -> Self {
        Self(Some(rows))
    }
}

impl<S: Stream<Item = Result<RecordBatch, SqlError>> + Unpin> Stream for PanicGuard<S> {
    type Item = Result<RecordBatch, SqlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(rows) = self.0.as_mut() else { return Poll::Ready(None) };
        let polled = gstore_store::caught(|| rows.poll_next_unpin(context));
        polled.unwrap_or_else(|| {
            self.0 = None;
            let why = "the engine failed on this statement; this may happen where the texts of a batch or of a \
            group have more than 2 GiB";
            Poll::Ready(Some(Err(SqlError::new(SqlErrorKind::Failed, why.into()))))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::Schema;
    use futures::stream;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_the_end() {
        let mut left = 2;
        let rows = stream::poll_fn(move |_| {
            left -= 1;
            assert!(left > 0, "not to be seen");
            Poll::Ready(Some(Ok(RecordBatch::new_empty(Arc::new(Schema::empty())))))
        });
        let mut rows = PanicGuard::new(rows);
        assert!(rows.next().await.is_some_and(|batch| batch.is_ok()));
        assert!(rows.next().await.is_some_and(|batch| batch.is_err()));
        assert!(rows.next().await.is_none());
    }
}
