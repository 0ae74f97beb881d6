//! A repair has the store for itself: no writer, no job, no compaction at work. It waits for none of them.

use crate::artifacts;
use crate::error::{StorageError, VerifyError};
use crate::index;
use crate::job::is_job;
use crate::layout::names::LOCKS;
use crate::layout::{Env, HELD_LOCK};
use crate::rewrite;
use crate::store::{Store, WriterLock};
use crate::vfs::VfsLock;
use std::io::ErrorKind;

/// Whether a name in `tmp/` is that of a folder whose file `lock` is held by the process at work.
fn is_work(name: &str) -> bool {
    is_job(name) || rewrite::is_work(name) || index::is_build(name) || artifacts::is_work(name)
}

/// What is in `tmp`. A file in its place is reported, and no process works there.
pub(super) fn work_folders(env: &Env) -> Result<Vec<String>, StorageError> {
    match env.vfs().list(&env.at("tmp")) {
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        folders => folders.map_err(Env::io("list", "tmp")),
    }
}

/// Held while a store is repaired.
#[derive(Debug)]
pub(super) struct RepairLocks {
    #[allow(dead_code)]
    locks: Vec<Box<dyn VfsLock>>,
    #[allow(dead_code)]
    writer: WriterLock,
}

impl RepairLocks {
    pub(super) fn take(store: &Store) -> Result<RepairLocks, VerifyError> {
        let env = store.env();
        env.create_folder("tmp")?;
        let mut locks = Vec::new();
        for name in LOCKS {
            let lock = env.lock(name, false)?;
            locks.push(lock.ok_or_else(|| VerifyError::Busy(format!("another process holds {name}")))?);
        }
        let writer = WriterLock::attempt(store, false)?;
        let writer = writer.ok_or_else(|| VerifyError::Busy("a writer is at work".into()))?;
        for folder in work_folders(env)? {
            let name = format!("tmp/{folder}/{HELD_LOCK}");
            // New ones cannot start: they need the locks above.
            if is_work(&folder) && env.is_locked(&name)? {
                return Err(VerifyError::Busy(format!("a process works in tmp/{folder}")));
            }
        }
        Ok(RepairLocks { locks, writer })
    }
}
