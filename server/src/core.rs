//! What all handlers of a server share.

use std::path::Path;
use std::sync::Arc;

use tokio::runtime::Handle;

use crate::access::Access;
use crate::admission::Admission;
use crate::audit::Audit;
use crate::handle::Signer;
use crate::options::Limits;
use crate::running::Running;
use crate::sessions::Sessions;

/// What all handlers share.
pub(crate) struct Core {
    pub(crate) access: Access,
    pub(crate) sessions: Sessions,
    pub(crate) admission: Admission,
    pub(crate) running: Arc<Running>,
    pub(crate) signer: Signer,
    pub(crate) limits: Limits,
    pub(crate) audit: Arc<Audit>,
    /// Where statements run, apart from the connections.
    pub(crate) workers: Handle,
}

impl Core {
    /// The store's folder, which no message names.
    pub(crate) fn root(&self) -> &Path {
        self.sessions.store().path()
    }
}
