//! The file of a lease.

use crate::error::StorageError;
use crate::layout::Env;
use crate::layout::names::LEASES;
use crate::manifest::{Link, VERSION, json_text, parse};
use crate::vfs::{VfsLock, if_there};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use uuid::Uuid;

/// No lease is longer.
const LIMIT: u64 = 1 << 20;

/// `leases/<uuid>.json`
#[derive(Debug, Serialize, Deserialize)]
struct LeaseFile {
    version: u32,
    requires: Vec<String>,
    snapshot: u64,
    /// Its root: once it is out of the history, nothing else names it.
    root: Link,
    pid: u32,
    /// Program and subcommand: arguments may name rows, and the file stays where its process was killed.
    command: String,
}

/// Keeps a snapshot from being collected until it is dropped.
#[derive(Debug)]
pub struct Lease {
    env: Arc<Env>,
    name: String,
    /// Released after the file was removed.
    #[allow(dead_code)]
    lock: Box<dyn VfsLock>,
}

impl Lease {
    /// Makes a lease; `None` where nothing can be written. Of the command it names program and subcommand.
    pub(crate) fn take(
        env: &Arc<Env>,
        snapshot: u64,
        root: &Link,
        command: &str,
    ) -> Result<Option<Lease>, StorageError> {
        let file = LeaseFile {
            version: VERSION,
            requires: Vec::new(),
            snapshot,
            root: root.clone(),
            pid: std::process::id(),
            command: without_arguments(command),
        };
        let text = json_text(&format!("a lease in {LEASES}"), &file)?;
        // A process that looks for leftovers may take the new file for one between its creation and its lock.
        const ATTEMPTS: usize = 10;
        for _ in 0..ATTEMPTS {
            match make(env, text.as_bytes()) {
                Ok(Some((name, lock))) => {
                    return Ok(Some(Lease { env: Arc::clone(env), name, lock }));
                }
                Ok(None) => {}
                Err(e) if cannot_write(&e) => return Ok(None),
                Err(e) => return Err(Env::io("make a lease in", LEASES)(e)),
            }
        }
        Err(Env::io("make a lease in", LEASES)(ErrorKind::WouldBlock.into()))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // One that stays is not locked any more, and a leftover that `gc` removes.
        let _ = self.env.vfs().remove(&self.env.at(&self.name));
    }
}

/// The first two words of a command line; only the first if the second is an option.
fn without_arguments(command: &str) -> String {
    let mut words = command.split_whitespace();
    // A command without a word is kept as that.
    let program = words.next().unwrap_or_default();
    match words.next().filter(|w| !w.starts_with('-')) {
        Some(subcommand) => format!("{program} {subcommand}"),
        None => program.to_owned(),
    }
}

/// A locked file with this content under a new name; `None` if it was removed before it was locked.
fn make(env: &Env, content: &[u8]) -> io::Result<Option<(String, Box<dyn VfsLock>)>> {
    let name = format!("{LEASES}/{}.json", Uuid::new_v4());
    let (path, beside) = (env.at(&name), env.at(&format!("{name}.new")));
    env.vfs().create_dir(&env.at(LEASES))?;
    // A file that cannot be locked exists all the same, and every reader would leave one more.
    let locked = env.vfs().lock(&beside, false).inspect_err(|_| drop(env.vfs().remove(&beside)));
    let Some(lock) = locked? else { return Ok(None) };
    let filled = lock.fill(content).and_then(|()| env.vfs().rename(&beside, &path));
    match filled {
        Ok(()) => Ok(Some((name, lock))),
        Err(e) => {
            let _ = env.vfs().remove(&beside);
            if e.kind() == ErrorKind::NotFound { Ok(None) } else { Err(e) }
        }
    }
}

/// Whether an error says that nothing can be written or locked here, at all or by this process.
fn cannot_write(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        ErrorKind::ReadOnlyFilesystem
            | ErrorKind::PermissionDenied
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::Unsupported
    )
}

/// Whether a name in the folder is one of ours.
pub(crate) fn is_lease(name: &str) -> bool {
    let stem = name.strip_suffix(".new").unwrap_or(name).strip_suffix(".json");
    stem.is_some_and(|s| s.parse::<Uuid>().is_ok_and(|u| u.to_string() == s))
}

/// A lease that a process holds. `command`: its program and subcommand.
pub(crate) struct LeasedSnapshot {
    pub snapshot: u64,
    pub root: Link,
    pub pid: u32,
    pub command: String,
}

/// The leases that are held. Others are left over from processes that were killed.
pub(crate) fn held(env: &Env) -> Result<Vec<LeasedSnapshot>, StorageError> {
    let mut out = Vec::new();
    for file in env.list(LEASES)?.into_iter().filter(|n| is_lease(n) && n.ends_with(".json")) {
        let name = format!("{LEASES}/{file}");
        // It may be released at any moment: then it is gone, or no longer locked.
        if !env.is_locked(&name)? {
            continue;
        }
        let bytes = if_there(env.vfs().read(&env.at(&name), LIMIT)).map_err(Env::io("read", &name))?;
        let Some(bytes) = bytes else { continue };
        let lease: LeaseFile = parse(&name, &bytes)?;
        let LeaseFile { snapshot, pid, command, root, .. } = lease;
        out.push(LeasedSnapshot { snapshot, root, pid, command });
    }
    Ok(out)
}
