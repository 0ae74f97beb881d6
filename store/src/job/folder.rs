//! The folder of a job and the names in it.

use super::plan::{Intents, JobFile, is_job};
use crate::error::StorageError;
use crate::layout::{Env, HELD_LOCK, NamedFile};
use crate::manifest::{json_text, parse, write_replacing};
use crate::vfs::{Vfs, VfsLock, if_there};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

pub(crate) const JOB: &str = "job.json";
pub(crate) const PUBLISH: &str = "publish.json";
/// What a finished shard has and no other job.
pub(crate) const RECEIPT: &str = "receipt.json";
/// Which samples the rows of a finished shard were.
pub(crate) const SAMPLES: &str = "samples.xxh3";

/// No JSON file of a job is longer.
pub(crate) const LIMIT: u64 = 1 << 28;

/// Tries to lock a folder that its last owner may be removing.
const ATTEMPTS: usize = 3;

/// Where a job's folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FolderLocation {
    /// In the store's `tmp/`: all that is in it is the job's.
    Store,
    /// Where the user wants it: files of others are left alone.
    Outside,
}

/// A job's folder, held.
#[derive(Debug)]
pub(crate) struct JobFolder {
    pub(crate) env: Arc<Env>,
    place: FolderLocation,
    path: PathBuf,
    /// How messages name it: `tmp/<id>`, or the folder of a shard.
    name: String,
    #[allow(dead_code)]
    lock: Box<dyn VfsLock>,
}

/// What is in the folder of a job, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A sealed segment of the feature with this number in the plan.
    Segment { feature: usize, uuid: Uuid },
    /// What is known of a sealed file of token counts.
    EncodingNote(Uuid),
    /// A sealed file of token counts.
    Encoding(Uuid),
    /// `job.json`, `publish.json`, `receipt.json`, `samples.xxh3`, `lock`.
    Own,
    /// Unfinished.
    Leftover,
    /// Not a name of ours.
    Stranger,
}

pub(crate) fn segment_name(feature: usize, uuid: Uuid) -> String {
    format!("f{feature}-{uuid}.arrow")
}

pub(crate) fn encoding_name(uuid: Uuid) -> String {
    format!("{uuid}.parquet")
}

pub(crate) fn note_name(uuid: Uuid) -> String {
    format!("{uuid}.encoding.json")
}

/// A sealed file under its name while it is not finished yet.
pub(crate) fn unfinished(name: &str) -> String {
    format!("{name}.part")
}

impl Content {
    pub(crate) fn of(name: &str) -> Content {
        if [JOB, PUBLISH, RECEIPT, SAMPLES, HELD_LOCK].contains(&name) {
            return Content::Own;
        }
        if let Some(known) = name.strip_suffix(".part").or_else(|| name.strip_suffix(".new")) {
            return if Content::of(known) == Content::Stranger {
                Content::Stranger
            } else {
                Content::Leftover
            };
        }
        let segment = || {
            let (feature, uuid) = name.strip_suffix(".arrow")?.strip_prefix('f')?.split_once('-')?;
            Some(Content::Segment { feature: feature.parse().ok()?, uuid: uuid.parse().ok()? })
        };
        let note = || Some(Content::EncodingNote(name.strip_suffix(".encoding.json")?.parse().ok()?));
        let encoding = || Some(Content::Encoding(name.strip_suffix(".parquet")?.parse().ok()?));
        segment().or_else(note).or_else(encoding).unwrap_or(Content::Stranger)
    }
}

/// What a job writes; `None` if it has not said so yet, or is being removed.
pub(crate) type JobFileResult = Result<Option<JobFile>, StorageError>;

/// The jobs of a store: their ids, and what they write.
pub(crate) fn jobs(env: &Env) -> Result<Vec<(String, JobFileResult)>, StorageError> {
    let names = env.vfs().list(&env.at("tmp")).map_err(Env::io("list", "tmp"))?;
    Ok(names
        .into_iter()
        .filter(|n| is_job(n))
        .map(|id| {
            let name = format!("tmp/{id}/{JOB}");
            let said = read_json_of(env, &name);
            (id, said)
        })
        .collect())
}

/// Whether a live process holds a job. The caller holds the start lock: a job that starts would
/// take us for its owner.
pub(crate) fn is_held(env: &Env, id: &str) -> Result<bool, StorageError> {
    env.is_locked(&format!("tmp/{id}/{HELD_LOCK}"))
}

/// The jobs that a live process holds, and what they write, if that can be read. The
/// caller holds the start lock.
pub(crate) fn held_jobs(env: &Env) -> Result<Vec<(String, Option<JobFile>)>, StorageError> {
    let mut held = Vec::new();
    for (id, said) in jobs(env)? {
        if is_held(env, &id)? {
            held.push((id, said.ok().flatten()));
        }
    }
    Ok(held)
}

/// The content of a JSON file; `None` if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(
    vfs: &dyn Vfs,
    path: &Path,
    name: &str,
) -> Result<Option<T>, StorageError> {
    let bytes = if_there(vfs.read(path, LIMIT)).map_err(Env::io("read", name))?;
    bytes.map(|bytes| parse(name, &bytes)).transpose()
}

/// A JSON file of the store, by its name in it.
pub(crate) fn read_json_of<T: DeserializeOwned>(env: &Env, name: &str) -> Result<Option<T>, StorageError> {
    read_json(env.vfs(), &env.at(name), name)
}

/// What a job was publishing. The note is flushed before the first file moves, so a damaged one means that
/// none did.
pub(crate) fn intents_of(env: &Env, id: &str) -> Result<Option<Intents>, StorageError> {
    match read_json_of(env, &format!("tmp/{id}/{PUBLISH}")) {
        Err(e) if e.is_damage() => Ok(None),
        intents => intents,
    }
}

impl JobFolder {
    /// Makes or takes over the folder of a job; `None` if a live process has it.
    pub(crate) fn take(env: &Arc<Env>, id: &str) -> Result<Option<JobFolder>, StorageError> {
        let name = format!("tmp/{id}");
        Self::take_at(env, FolderLocation::Store, env.at(&name), name)
    }

    /// Makes or takes over a folder outside of the store; `None` if a live process has it.
    pub(crate) fn take_outside(env: &Arc<Env>, path: &Path) -> Result<Option<JobFolder>, StorageError> {
        Self::take_at(env, FolderLocation::Outside, path.to_owned(), path.display().to_string())
    }

    fn take_at(
        env: &Arc<Env>,
        place: FolderLocation,
        path: PathBuf,
        name: String,
    ) -> Result<Option<JobFolder>, StorageError> {
        for _ in 0..ATTEMPTS {
            env.vfs().create_dir(&path).map_err(Env::io("make the folder", &name))?;
            match place {
                FolderLocation::Store => env.sync_folder("tmp")?,
                FolderLocation::Outside => env.sync_above(&path)?,
            }
            let locked = if_there(env.vfs().lock(&path.join(HELD_LOCK), false));
            match locked.map_err(Env::io("lock", &format!("{name}/{HELD_LOCK}")))? {
                Some(Some(lock)) => {
                    return Ok(Some(JobFolder { env: Arc::clone(env), place, path, name, lock }));
                }
                Some(None) => return Ok(None),
                // The job that had the folder ended and removed it just now.
                None => {}
            }
        }
        Ok(None)
    }

    /// A file of the folder, relative to the store.
    pub(crate) fn name_of(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }

    /// A file of the folder.
    pub(crate) fn path_of(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// The same with its file system and its name.
    pub(crate) fn file(&self, file: &str) -> NamedFile {
        NamedFile { vfs: self.env.shared_vfs(), path: self.path_of(file), name: self.name_of(file) }
    }

    /// Whether a file of this kind is removed when the job goes on without it.
    pub(crate) fn clears(&self, content: &Content) -> bool {
        self.place == FolderLocation::Store || *content != Content::Stranger
    }

    pub(crate) fn list(&self) -> Result<Vec<String>, StorageError> {
        self.env.vfs().list(&self.path).map_err(Env::io("list", &self.name))
    }

    pub(crate) fn remove(&self, file: &str) -> Result<(), StorageError> {
        let removed = if_there(self.env.vfs().remove(&self.path_of(file)));
        removed.map(drop).map_err(Env::io("remove", &self.name_of(file)))
    }

    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.env.vfs().sync_dir(&self.path).map_err(Env::io("flush the folder", &self.name))
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, StorageError> {
        read_json(self.env.vfs(), &self.path_of(file), &self.name_of(file))
    }

    /// Writes a JSON file and flushes it and its name.
    pub(crate) fn write<T: Serialize>(&self, file: &str, value: &T) -> Result<(), StorageError> {
        self.write_bytes(file, json_text(&self.name_of(file), value)?.as_bytes())
    }

    /// Writes a small file and flushes it and its name.
    pub(crate) fn write_bytes(&self, file: &str, bytes: &[u8]) -> Result<(), StorageError> {
        write_replacing(self.env.vfs(), &self.path_of(file), &self.name_of(file), bytes)?;
        self.sync()
    }

    /// Gives a finished file its name without `.part`, and flushes that.
    pub(crate) fn seal(&self, file: &str) -> Result<(), StorageError> {
        self.rename(&self.path_of(&unfinished(file)), file)?;
        self.sync()
    }

    /// Moves a file into the folder.
    pub(crate) fn rename(&self, from: &Path, file: &str) -> Result<(), StorageError> {
        let name = self.name_of(file);
        self.env.move_file(from, (&self.path_of(file), &name), &self.path_of(&format!("{file}.new")))
    }

    /// Removes the folder with all that is in it. Outside of the store what others put there stays,
    /// and then the folder does.
    pub(crate) fn delete(self) -> Result<(), StorageError> {
        match self.place {
            FolderLocation::Store => {
                self.env.remove_folder(&self.name)?;
                self.env.sync_folder("tmp")
            }
            FolderLocation::Outside => self.delete_outside(),
        }
    }

    fn delete_outside(&self) -> Result<(), StorageError> {
        // First of all: a receipt speaks of the other files.
        self.remove(RECEIPT)?;
        self.sync()?;
        let names = self.list()?;
        for name in names.iter().filter(|n| Content::of(n) != Content::Stranger) {
            self.remove(name)?;
        }
        if names.iter().any(|n| Content::of(n) == Content::Stranger) {
            return self.sync();
        }
        self.env.vfs().remove_dir(&self.path).map_err(Env::io("remove", &self.name))?;
        self.env.sync_above(&self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_for_a_live_job_makes_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let env = Arc::new(Env::new(Arc::new(crate::vfs::OsVfs), dir.path()));
        env.vfs().create_dir(&env.at("tmp/job-a")).unwrap();
        assert!(!is_held(&env, "job-a").unwrap() && !is_held(&env, "job-b").unwrap());
        assert!(env.vfs().list(&env.at("tmp/job-a")).unwrap().is_empty());
        let folder = JobFolder::take(&env, "job-a").unwrap();
        assert!(folder.is_some() && is_held(&env, "job-a").unwrap());
        drop(folder);
        assert!(!is_held(&env, "job-a").unwrap());
        env.vfs().create_dir(&env.at("tmp/job-notes")).unwrap();
        let ids: Vec<String> = jobs(&env).unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["job-a"]);
    }

    #[test]
    fn outside_of_the_store_only_what_is_ours_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let env = Arc::new(Env::new(Arc::new(crate::vfs::OsVfs), &dir.path().join("s")));
        let out = dir.path().join("o");
        let put = |name: &str| env.vfs().create(&out.join(name)).map(drop).unwrap();
        let delete = || JobFolder::take_outside(&env, &out).unwrap().unwrap().delete().unwrap();
        env.vfs().create_dir(&out).unwrap();
        for name in [JOB, RECEIPT, SAMPLES, "slurm-1.out", &*segment_name(0, Uuid::new_v4())] {
            put(name);
        }
        delete();
        assert_eq!(env.vfs().list(&out).unwrap(), ["slurm-1.out"]);
        env.vfs().remove(&out.join("slurm-1.out")).unwrap();
        put(&encoding_name(Uuid::new_v4()));
        delete();
        assert!(!env.vfs().exists(&out).unwrap());
    }

    #[test]
    fn names_say_what_a_file_is() {
        let uuid = Uuid::new_v4();
        assert_eq!(Content::of(&segment_name(3, uuid)), Content::Segment { feature: 3, uuid });
        assert_eq!(Content::of(&encoding_name(uuid)), Content::Encoding(uuid));
        assert_eq!(Content::of(&note_name(uuid)), Content::EncodingNote(uuid));
        assert_eq!(Content::of(JOB), Content::Own);
        assert_eq!(Content::of(RECEIPT), Content::Own);
        for leftover in [unfinished(&segment_name(3, uuid)), "job.json.new".into(), "receipt.json.new".into()]
        {
            assert_eq!(Content::of(&leftover), Content::Leftover, "{leftover}");
        }
        for stranger in ["f-.arrow", "x", "x.part", "slurm-1.out", "", ".new"] {
            assert_eq!(Content::of(stranger), Content::Stranger, "{stranger}");
        }
    }
}
