//! Files that interrupted jobs were publishing.
//!
//! They lie in the folders of the store and belong to the jobs: the command that is started again moves them
//! back, unless the snapshot that its note names has them.

use super::locks::work_folders;
use crate::error::{StorageError, if_sound};
use crate::job::{Intents, JOB, JobFile, PUBLISH, is_job, read_json_of};
use crate::layout::Env;

/// What an interrupted job was publishing.
pub(super) struct Publishing {
    /// The number that its snapshot was to have.
    pub snapshot: u64,
    pub command: Option<String>,
    /// The files, relative to the store.
    pub files: Vec<String>,
}

/// What all jobs were publishing that died on the way, or right after.
pub(super) fn publishing(env: &Env) -> Result<Vec<Publishing>, StorageError> {
    let mut out = Vec::new();
    for id in work_folders(env)?.iter().filter(|n| is_job(n)) {
        // It is flushed before the first file moves, so a damaged one means that none did, or
        // that it cannot be known.
        let intents: Option<Intents> = if_sound(read_json_of(env, &format!("tmp/{id}/{PUBLISH}")))?.flatten();
        let job = || read_json_of(env, &format!("tmp/{id}/{JOB}")).ok().flatten();
        out.extend(intents.map(|i| Publishing {
            snapshot: i.snapshot,
            command: job().map(|j: JobFile| j.command),
            files: i.moves.into_iter().map(|m| m.to).collect(),
        }));
    }
    Ok(out)
}
