//! State that all handlers of a server share.

use std::path::Path;
use std::sync::Arc;

use gstore_store::SnapshotName;
use tokio::runtime::Handle;
use tonic::Status;

use crate::access::{Access, Caller};
use crate::admission::Admission;
use crate::audit::Audit;
use crate::handle::{PinnedSnapshot, Signer};
use crate::options::RequestLimits;
use crate::running::RunningStatements;
use crate::sessions::{OpenSession, Sessions};
use crate::status;

/// What all handlers share.
pub(crate) struct Core {
    pub(crate) access: Access,
    pub(crate) sessions: Sessions,
    pub(crate) admission: Admission,
    pub(crate) running: Arc<RunningStatements>,
    pub(crate) signer: Signer,
    pub(crate) limits: RequestLimits,
    pub(crate) audit: Arc<Audit>,
    /// Where statements run, apart from the connections.
    pub(crate) workers: Handle,
}

impl Core {
    /// The store's folder, which no message names.
    pub(crate) fn root(&self) -> &Path {
        self.sessions.store.path()
    }

    /// A session on the snapshot of this name, the newest for none, as the caller sees it.
    pub(crate) async fn session(
        self: &Arc<Self>,
        name: Option<SnapshotName>,
        caller: &Caller,
    ) -> Result<Arc<OpenSession>, Status> {
        let (core, caller) = (Arc::clone(self), caller.clone());
        on_disk(move || core.sessions.open(name.as_ref(), &caller)).await
    }

    /// A session on the snapshot that a handle names, as the caller sees it.
    pub(crate) async fn session_of(
        self: &Arc<Self>,
        pinned: &PinnedSnapshot,
        caller: &Caller,
    ) -> Result<Arc<OpenSession>, Status> {
        let held = self.session(Some(SnapshotName::Number(pinned.number)), caller).await?;
        match pinned.is(held.snapshot()) {
            true => Ok(held),
            false => Err(Status::not_found(format!(
                "the store was restored, and its snapshot {} is not the one that the handle names; ask again",
                pinned.number
            ))),
        }
    }

    /// The number of the newest snapshot.
    pub(crate) async fn newest(self: &Arc<Self>) -> Result<u64, Status> {
        let core = Arc::clone(self);
        on_disk(move || core.sessions.newest()).await
    }
}

/// What work on files gives, on a thread that may wait for a disk: the few that serve connections may not.
async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| Err(status::internal("the store cannot be opened", &e)))
}
