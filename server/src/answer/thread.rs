//! Threads of statements: work that outlives the request that waits for it, with the permit of the statement.

use std::sync::Arc;

use arrow_array::RecordBatch;
use gstore_core::{Cancel, CancelOnDrop};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::admission::Permit;
use crate::status;

/// Hands over what a thread of its own sends. It ends with this end of the channel, also while a
/// reader lets it wait.
pub(super) async fn from_thread(
    permit: &Arc<Permit>,
    to: &mpsc::Sender<RecordBatch>,
    send_all: impl FnOnce(&mpsc::Sender<RecordBatch>, &Cancel) -> Result<(), Status> + Send + 'static,
) -> Result<(), Status> {
    let (read_to, mut batches) = mpsc::channel(1);
    let (_raises, read) = on_thread(Some(permit), move |cancel| send_all(&read_to, cancel));
    while let Some(batch) = batches.recv().await {
        if to.send(batch).await.is_err() {
            return Err(Status::cancelled("the rows are no longer read"));
        }
    }
    match read.await {
        Ok(ended) => ended,
        Err(error) => Err(status::internal("reading failed", &error)),
    }
}

/// Does work on a thread of its own, which holds the permit until it ends, and is told to when the guard is
/// dropped: a thread goes on when its handle is dropped.
pub(super) fn on_thread<T: Send + 'static>(
    permit: Option<&Arc<Permit>>,
    work: impl FnOnce(&Cancel) -> T + Send + 'static,
) -> (CancelOnDrop, JoinHandle<T>) {
    let (permit, cancel) = (permit.cloned(), Arc::new(Cancel::new()));
    let raises = CancelOnDrop(Arc::clone(&cancel));
    let task = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        work(&cancel)
    });
    (raises, task)
}

/// What work gives that goes on when no request waits for it any more, as a planner does, and holds
/// the permit until it has ended: otherwise clients that go away would have more planned at once
/// than run at once.
pub(super) async fn to_its_end<T: Send + 'static>(
    permit: &Arc<Permit>,
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    let permit = Arc::clone(permit);
    let done = tokio::spawn(async move {
        let _permit = permit;
        work.await
    });
    done.await.unwrap_or_else(|error| Err(status::internal("the statement failed", &error)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_thread_ends_with_its_request_and_holds_its_permit_until_then() {
        let admission = crate::admission::Admission::new(&crate::options::RequestLimits::default());
        let permit = Arc::new(admission.enter("a").await.unwrap());
        let (raises, task) = on_thread(Some(&permit), |cancel| {
            while !cancel.is_raised() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        assert_eq!(Arc::strong_count(&permit), 2);
        drop(raises);
        tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        assert_eq!(Arc::strong_count(&permit), 1);
    }

    #[tokio::test]
    async fn a_plan_that_is_not_waited_for_holds_its_permit_until_it_is_made() {
        let admission = crate::admission::Admission::new(&crate::options::RequestLimits::default());
        let permit = Arc::new(admission.enter("a").await.unwrap());
        let (made, wait) = tokio::sync::oneshot::channel::<()>();
        let work = to_its_end(&permit, async move { wait.await.map_err(|_| Status::internal("lost")) });
        assert!(tokio::time::timeout(Duration::from_millis(20), work).await.is_err());
        assert_eq!(Arc::strong_count(&permit), 2);
        made.send(()).unwrap();
        while Arc::strong_count(&permit) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
