//! The folder of a job and the names in it.

use super::plan::JobFile;
use crate::error::StorageError;
use crate::manifest::{parse, write_replacing};
use crate::store::Env;
use crate::vfs::VfsLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use uuid::Uuid;

/// Names of job folders start with this.
pub(crate) const PREFIX: &str = "job-";
pub(crate) const JOB: &str = "job.json";
pub(crate) const PUBLISH: &str = "publish.json";
const LOCK: &str = "lock";
/// Taken while a job starts, so that two jobs cannot both find the other not there yet.
pub(crate) const START_LOCK: &str = "tmp/start.lock";

/// No JSON file of a job is longer.
const LIMIT: u64 = 1 << 28;

/// A job's folder, held.
#[derive(Debug)]
pub(crate) struct JobFolder {
    env: Arc<Env>,
    /// `tmp/<id>`
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
    /// `job.json`, `publish.json`, `lock`.
    Own,
    /// Unfinished or unknown.
    Leftover,
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
        if [JOB, PUBLISH, LOCK].contains(&name) {
            return Content::Own;
        }
        let segment = || {
            let (feature, uuid) = name.strip_suffix(".arrow")?.strip_prefix('f')?.split_once('-')?;
            Some(Content::Segment { feature: feature.parse().ok()?, uuid: uuid.parse().ok()? })
        };
        let note = || Some(Content::EncodingNote(name.strip_suffix(".encoding.json")?.parse().ok()?));
        let encoding = || Some(Content::Encoding(name.strip_suffix(".parquet")?.parse().ok()?));
        segment().or_else(note).or_else(encoding).unwrap_or(Content::Leftover)
    }
}

/// Held while a job starts.
pub(crate) fn lock_start(env: &Env) -> Result<Box<dyn VfsLock>, StorageError> {
    env.vfs().create_dir(&env.at("tmp")).map_err(Env::io("make the folder", "tmp"))?;
    match env.vfs().lock(&env.at(START_LOCK), true) {
        Ok(Some(lock)) => Ok(lock),
        Ok(None) => Err(Env::io("lock", START_LOCK)(ErrorKind::WouldBlock.into())),
        Err(e) => Err(Env::io("lock", START_LOCK)(e)),
    }
}

/// The jobs of a store: their ids and, where it can be read, what they write.
pub(crate) fn jobs(env: &Env) -> Result<Vec<(String, Option<JobFile>)>, StorageError> {
    let names = env.vfs().list(&env.at("tmp")).map_err(Env::io("list", "tmp"))?;
    Ok(names
        .into_iter()
        .filter(|n| n.starts_with(PREFIX))
        .map(|id| {
            let file = read_json(env, &format!("tmp/{id}/{JOB}")).ok().flatten();
            (id, file)
        })
        .collect())
}

/// Whether a live process holds a job.
pub(crate) fn is_held(env: &Env, id: &str) -> Result<bool, StorageError> {
    let name = format!("tmp/{id}/{LOCK}");
    match env.vfs().lock(&env.at(&name), false) {
        Ok(lock) => Ok(lock.is_none()),
        // The folder went away while we looked.
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(false),
        Err(e) => Err(Env::io("lock", &name)(e)),
    }
}

/// The jobs that a live process holds.
pub(crate) fn held_jobs(env: &Env) -> Result<Vec<(String, Option<JobFile>)>, StorageError> {
    let mut held = Vec::new();
    for (id, file) in jobs(env)? {
        if is_held(env, &id)? {
            held.push((id, file));
        }
    }
    Ok(held)
}

/// The content of a JSON file; `None` if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(env: &Env, name: &str) -> Result<Option<T>, StorageError> {
    match env.vfs().read(&env.at(name), LIMIT) {
        Ok(bytes) => parse(name, &bytes).map(Some),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Env::io("read", name)(e)),
    }
}

impl JobFolder {
    /// Makes or takes over the folder of a job; `None` if a live process has it.
    pub(crate) fn take(env: &Arc<Env>, id: &str) -> Result<Option<JobFolder>, StorageError> {
        let name = format!("tmp/{id}");
        env.vfs().create_dir(&env.at(&name)).map_err(Env::io("make the folder", &name))?;
        env.sync_folder("tmp")?;
        let lock_name = format!("{name}/{LOCK}");
        let lock = env.vfs().lock(&env.at(&lock_name), false).map_err(Env::io("lock", &lock_name))?;
        // A job that ends removes its folder while it holds the lock: then this is the lock of a file that is gone.
        if !env.vfs().exists(&env.at(&lock_name)).map_err(Env::io("look for", &lock_name))? {
            return Ok(None);
        }
        Ok(lock.map(|lock| JobFolder { env: Arc::clone(env), name, lock }))
    }

    pub(crate) fn env(&self) -> &Arc<Env> {
        &self.env
    }

    /// A file of the folder, relative to the store.
    pub(crate) fn name_of(&self, file: &str) -> String {
        format!("{}/{file}", self.name)
    }

    /// A file of the folder.
    pub(crate) fn path_of(&self, file: &str) -> PathBuf {
        self.env.at(&self.name_of(file))
    }

    pub(crate) fn list(&self) -> Result<Vec<String>, StorageError> {
        self.env.vfs().list(&self.env.at(&self.name)).map_err(Env::io("list", &self.name))
    }

    pub(crate) fn remove(&self, file: &str) -> Result<(), StorageError> {
        match self.env.vfs().remove(&self.path_of(file)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(Env::io("remove", &self.name_of(file))(e)),
            _ => Ok(()),
        }
    }

    pub(crate) fn sync(&self) -> Result<(), StorageError> {
        self.env.sync_folder(&self.name)
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, file: &str) -> Result<Option<T>, StorageError> {
        read_json(&self.env, &self.name_of(file))
    }

    /// Writes a JSON file and flushes it and its name.
    pub(crate) fn write<T: Serialize>(&self, file: &str, value: &T) -> Result<(), StorageError> {
        let name = self.name_of(file);
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|e| Env::io("write", &name)(std::io::Error::other(e)))?;
        text.push('\n');
        write_replacing(self.env.vfs(), &self.path_of(file), &name, text.as_bytes())?;
        self.sync()
    }

    /// Gives a finished file its name without `.part`, and flushes that.
    pub(crate) fn seal(&self, file: &str) -> Result<(), StorageError> {
        self.env.rename(&self.path_of(&unfinished(file)), &self.name_of(file))?;
        self.sync()
    }

    /// Removes the folder with all that is in it.
    pub(crate) fn delete(self) -> Result<(), StorageError> {
        self.env.remove_folder(&self.name)?;
        self.env.sync_folder("tmp")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        let uuid = Uuid::new_v4();
        assert_eq!(Content::of(&segment_name(3, uuid)), Content::Segment { feature: 3, uuid });
        assert_eq!(Content::of(&encoding_name(uuid)), Content::Encoding(uuid));
        assert_eq!(Content::of(&note_name(uuid)), Content::EncodingNote(uuid));
        assert_eq!(Content::of(JOB), Content::Own);
        for leftover in
            [unfinished(&segment_name(3, uuid)), "job.json.new".into(), "f-.arrow".into(), "x".into()]
        {
            assert_eq!(Content::of(&leftover), Content::Leftover, "{leftover}");
        }
    }
}
