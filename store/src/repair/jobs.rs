//! Interrupted jobs in a repair: files that they were publishing, and rows that they have computed.
//!
//! The files of a publish lie in the folders of the store and belong to the jobs: the command that is started
//! again moves them back, unless the snapshot that its note names has them.

use super::locks::work_folders;
use crate::error::{StorageError, VerifyError, if_sound};
use crate::job::{Content, EncodingNote, JOB, JobFile, intents_of, is_job, read_json_of};
use crate::layout::Env;
use crate::segment::SegmentFile;
use std::collections::BTreeMap;

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
        // Of what the medium does not give, it cannot be known.
        let intents = if_sound(intents_of(env, id))?.flatten();
        let job = || read_json_of(env, &format!("tmp/{id}/{JOB}")).ok().flatten();
        out.extend(intents.map(|i| Publishing {
            snapshot: i.snapshot,
            command: job().map(|j: JobFile| j.command),
            files: i.moves.into_iter().map(|m| m.to).collect(),
        }));
    }
    Ok(out)
}

/// The folders and notes of interrupted jobs. A job whose note is damaged goes on from nothing.
fn notes(env: &Env) -> Result<Vec<(String, JobFile)>, StorageError> {
    let mut out = Vec::new();
    for id in work_folders(env)?.iter().filter(|n| is_job(n)) {
        let folder = format!("tmp/{id}");
        let note = if_sound(read_json_of(env, &format!("{folder}/{JOB}")))?.flatten();
        out.extend(note.map(|note| (folder, note)));
    }
    Ok(out)
}

/// One past the highest number of a dataset that interrupted jobs have.
pub(super) fn next_dataset(env: &Env) -> Result<u32, StorageError> {
    let highest = notes(env)?.iter().flat_map(|(_, job)| job.datasets.values()).max().copied();
    Ok(highest.map_or(0, |number| number.saturating_add(1)))
}

/// One past the last row that interrupted jobs have computed, by the number of its dataset. The same command
/// goes on from there, so these rows may not be given to other samples.
pub(super) fn computed_rows(env: &Env) -> Result<BTreeMap<u32, u64>, VerifyError> {
    let mut ends = BTreeMap::new();
    for (folder, job) in notes(env)? {
        for name in if_sound(env.list(&folder))?.unwrap_or_default() {
            let path = format!("{folder}/{name}");
            let computed = match Content::of(&name) {
                Content::Segment { uuid, .. } => if_sound(SegmentFile::open_unlisted(env.file(path), uuid))?
                    .map(|opened| (opened.desc.dataset, opened.entry.end_row)),
                Content::EncodingNote(_) => if_sound(read_json_of::<EncodingNote>(env, &path))?
                    .flatten()
                    .map(|note| (note.dataset, note.encoding.rows().ranges().last().map_or(0, |r| r.end))),
                _ => None,
            };
            let of = computed.and_then(|(dataset, end)| Some((job.datasets.get(&dataset)?, end)));
            if let Some((number, end)) = of {
                let known: &mut u64 = ends.entry(*number).or_default();
                *known = end.max(*known);
            }
        }
    }
    Ok(ends)
}
