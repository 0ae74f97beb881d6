//! Reachable files: everything that some snapshots refer to, and what of it jobs have published.

use crate::error::StorageError;
use crate::job::{intents_of, is_job, job_files};
use crate::layout::names::{DataKey, FileKind, data_key};
use crate::layout::{Env, artifact_file};
use crate::manifest::{DatasetPart, EnsemblePart, FeaturePart, Link, Part, Root, RunPart};
use crate::store::{Snapshot, Store};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// The files of some snapshots. Memory: 50 bytes for each data file, 150 for each manifest, and the
/// catalog of one snapshot: 620 bytes for each of its data files.
#[derive(Debug, Default)]
pub(crate) struct NeededFiles {
    manifests: HashSet<String>,
    data: HashSet<DataKey>,
    /// Named by fields that this version does not know.
    mentioned: HashSet<Uuid>,
    /// The parts read last, by number: most pages of another state of a part are the same.
    datasets: HashMap<u32, DatasetPart>,
    features: HashMap<u32, FeaturePart>,
}

/// What to do about a manifest that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MissingManifest {
    IsAnError,
    /// The snapshot was collected already: what is left of it stays.
    IsSkipped,
}

impl NeededFiles {
    /// The files of the snapshot with this root.
    pub(crate) fn of(env: &Env, root: &Link) -> Result<NeededFiles, StorageError> {
        let mut needed = NeededFiles::default();
        needed.add(env, root)?;
        Ok(needed)
    }

    /// Adds a snapshot. An error means that what it needs is not known, so nothing may be removed.
    pub(crate) fn add(&mut self, env: &Env, root: &Link) -> Result<(), StorageError> {
        self.read(env, root, MissingManifest::IsAnError)
    }

    /// Adds what is left of a snapshot that is no longer part of the store.
    pub(crate) fn add_rest(&mut self, env: &Env, root: &Link) -> Result<(), StorageError> {
        self.read(env, root, MissingManifest::IsSkipped)
    }

    /// Adds a data file by its name.
    pub(crate) fn add_file(&mut self, name: &str) {
        self.data.extend(data_key(name));
    }

    pub(crate) fn has_manifest(&self, file: &str) -> bool {
        self.manifests.contains(file)
    }

    pub(crate) fn has_data(&self, key: &DataKey) -> bool {
        self.data.contains(key)
    }

    pub(crate) fn mentions(&self, uuid: Uuid) -> bool {
        self.mentioned.contains(&uuid)
    }

    /// The data files of a kind: the numbers of their folders, and their names.
    pub(crate) fn of_kind(&self, kind: FileKind) -> impl Iterator<Item = (u32, Uuid)> {
        let data = self.data.iter().filter(move |(found, ..)| *found == kind);
        data.map(|(_, number, uuid)| (*number, *uuid))
    }

    fn read(&mut self, env: &Env, link: &Link, missing: MissingManifest) -> Result<(), StorageError> {
        // One that was read before, or is gone: all of it is known then.
        let Some(root) = self.part::<Root>(env, link, None, missing)? else { return Ok(()) };
        self.mention(&root.extra);
        for link in &root.datasets {
            let like = self.datasets.remove(&link.number);
            match self.part(env, &link.link, like.as_ref(), missing)? {
                Some(part) => self.dataset(part),
                None => self.datasets.extend(like.map(|part| (part.number, part))),
            }
        }
        for link in &root.features {
            let like = self.features.remove(&link.number);
            match self.part(env, &link.link, like.as_ref(), missing)? {
                Some(part) => self.feature(part),
                None => self.features.extend(like.map(|part| (part.number, part))),
            }
        }
        for link in &root.runs {
            let Some(part) = self.part::<RunPart>(env, &link.link, None, missing)? else { continue };
            self.mention(&part.extra);
        }
        for link in &root.ensembles {
            let Some(part) = self.part::<EnsemblePart>(env, &link.link, None, missing)? else { continue };
            self.mention(&part.extra);
        }
        // Their parts may be large and are not read: the root names their files as well.
        for link in &root.artifacts {
            self.manifests.insert(link.link.file.clone());
            link.files.iter().for_each(|file| self.add_file(&artifact_file(&file.file)));
        }
        Ok(())
    }

    fn dataset(&mut self, part: DatasetPart) {
        self.data.extend(part.files.iter().map(|f| (FileKind::Samples, part.number, f.uuid)));
        self.data.extend(part.tombstones.iter().map(|t| (FileKind::Tombstones, part.number, t.uuid)));
        self.data.extend(part.deleted_ids.iter().map(|l| (FileKind::DeletedIds, part.number, l.uuid)));
        for e in &part.encodings {
            self.data.extend(e.files.iter().map(|f| (FileKind::Encodings, e.number, f.uuid)));
        }
        self.mention(&part.extra);
        self.datasets.insert(part.number, part);
    }

    fn feature(&mut self, part: FeaturePart) {
        self.data.extend(part.segments.iter().map(|s| (FileKind::Segments, part.number, s.uuid)));
        self.mention(&part.extra);
        self.features.insert(part.number, part);
    }

    /// A part that was not read before.
    fn part<T: Part>(
        &mut self,
        env: &Env,
        link: &Link,
        like: Option<&T>,
        missing: MissingManifest,
    ) -> Result<Option<T>, StorageError> {
        if self.manifests.contains(&link.file) {
            return Ok(None);
        }
        let part = match missing {
            MissingManifest::IsAnError => env.manifests().read_like(link, like)?,
            MissingManifest::IsSkipped if !exists(env, link)? => return Ok(None),
            MissingManifest::IsSkipped => {
                let (part, lost) = env.manifests().read_rest(link, like)?;
                for page in lost {
                    if exists(env, &page.page.link)? {
                        return Err(page.error);
                    }
                }
                part
            }
        };
        self.manifests.extend(part.pages().into_iter().map(|l| l.file.clone()));
        self.manifests.insert(link.file.clone());
        Ok(Some(part))
    }

    /// A field of a newer version may name an artifact or an index.
    fn mention(&mut self, extra: &Map<String, Value>) {
        extra.values().for_each(|v| self.mention_in(v));
    }

    fn mention_in(&mut self, value: &Value) {
        match value {
            Value::String(text) => {
                let words = text.split(|c: char| !c.is_ascii_hexdigit() && c != '-');
                self.mentioned.extend(words.filter_map(|w| w.parse::<Uuid>().ok()));
            }
            Value::Array(list) => list.iter().for_each(|v| self.mention_in(v)),
            Value::Object(map) => self.mention(map),
            _ => {}
        }
    }
}

fn exists(env: &Env, link: &Link) -> Result<bool, StorageError> {
    env.exists(&format!("manifests/{}", link.file))
}

/// Those files that jobs have announced and that are in the snapshot which they announced, or in the current
/// one: they were published, whatever became of them. Of what cannot be known, none.
pub(super) fn published_files(store: &Store, now: &Snapshot) -> HashSet<Uuid> {
    let env = store.env();
    let mut published = HashSet::new();
    for id in env.list("tmp").unwrap_or_default().iter().filter(|name| is_job(name)) {
        let Ok(Some(intents)) = intents_of(env, id) else { continue };
        let announced: HashSet<Uuid> = intents.moves.iter().map(|m| m.uuid).collect();
        let then = store.snapshot_at(intents.snapshot).ok();
        for snapshot in then.as_deref().into_iter().chain([now]) {
            published.extend(job_files(snapshot).filter(|uuid| announced.contains(uuid)));
        }
    }
    published
}
