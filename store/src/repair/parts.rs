//! All parts in `manifests/`, referenced or not.
//!
//! A part's file has its digest in its name, so it is verified by its name. Which of several versions was
//! published last it does not say; that follows from what they hold.

use super::jobs;
use crate::error::{StorageError, VerifyError, if_sound, is_medium};
use crate::layout::{Env, names};
use crate::manifest::{
    ArtifactPart, DatasetPart, EnsemblePart, FeaturePart, Link, Part, PartLink, Root, RunPart,
};
use crate::store::Store;
use crate::verify::{artifact_files, dataset_files, feature_files};
use std::collections::HashSet;

/// A sound file of `manifests/`.
#[derive(Debug, Clone)]
pub(super) struct Version<T> {
    pub link: Link,
    pub part: T,
}

/// Everything that is sound in `manifests/`.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    pub roots: Vec<Version<Root>>,
    pub datasets: Vec<Version<DatasetPart>>,
    pub runs: Vec<Version<RunPart>>,
    pub ensembles: Vec<Version<EnsemblePart>>,
    pub features: Vec<Version<FeaturePart>>,
    /// Without their content, which may be large.
    pub artifacts: Vec<Version<ArtifactPart>>,
    /// Numbers of snapshots that file names mention, sound or not.
    pub highest: u64,
    /// The highest number of a root that is not sound.
    pub damaged_root: Option<u64>,
    /// Files of parts of datasets that are not sound.
    pub damaged_datasets: Vec<String>,
    /// Kind and number of every part that a file name mentions, sound or not.
    pub mentioned: HashSet<(String, u32)>,
    /// Parts that some sound root refers to.
    pub known: HashSet<String>,
}

impl Inventory {
    /// Reads the folder. Damaged files are left out; files of a newer gstore are an error.
    pub(super) fn read(store: &Store) -> Result<Inventory, VerifyError> {
        let env = store.env();
        let mut out = Inventory::default();
        // A name that is none of ours is left alone.
        for name in list(env, "manifests")?.iter().filter(|n| names::manifest(n).is_some()) {
            let mut words = name.split('-');
            let number = |word: &str| word.parse::<u64>().ok();
            let (Some(kind), Some(number)) = (words.next(), words.next().and_then(number)) else { continue };
            let page = words.next() == Some("page");
            match (kind, u32::try_from(number)) {
                ("root", _) => {
                    out.highest = out.highest.max(number);
                    match read_sound(env, name)? {
                        Some(root) => out.roots.push(root),
                        None => out.damaged_root = out.damaged_root.max(Some(number)),
                    }
                }
                (_, Err(_)) => {}
                (_, Ok(n)) => {
                    out.mentioned.insert((kind.to_owned(), n));
                    match kind {
                        _ if page => {}
                        "dataset" => match read_sound(env, name)? {
                            Some(dataset) => out.datasets.push(dataset),
                            None => out.damaged_datasets.push(name.clone()),
                        },
                        "run" => out.runs.extend(read_sound(env, name)?),
                        "ensemble" => out.ensembles.extend(read_sound(env, name)?),
                        "feature" => out.features.extend(read_sound(env, name)?),
                        "artifact" => {
                            // Its number is that of a snapshot.
                            out.highest = out.highest.max(number);
                            let Some(mut v) = read_sound::<ArtifactPart>(env, name)? else { continue };
                            v.part.content = serde_json::Value::Null;
                            // One whose files are gone was never published, or cannot be used.
                            if is_whole(env, artifact_files(&linked(&v))) {
                                out.artifacts.push(v);
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        for root in out.roots.iter().map(|r| &r.part) {
            out.known.extend(root.parts().map(|l| l.link.file.clone()));
        }
        let files = jobs::publishing(env)?.into_iter().flat_map(|p| p.files);
        out.leave_claimed(files.collect());
        Ok(out)
    }

    /// Leaves out parts with files of interrupted jobs, unless a sound root refers to them.
    fn leave_claimed(&mut self, mut claimed: HashSet<String>) {
        let Inventory { datasets, features, known, .. } = self;
        let of_datasets = datasets.iter().filter(|v| known.contains(&v.link.file));
        let of_features = features.iter().filter(|v| known.contains(&v.link.file));
        let published = of_datasets.flat_map(|v| dataset_files(&v.part));
        for (file, _) in published.chain(of_features.flat_map(|v| feature_files(&v.part))) {
            claimed.remove(&file);
        }
        let free = |files: Vec<(String, u64)>| files.iter().all(|(f, _)| !claimed.contains(f));
        datasets.retain(|v| free(dataset_files(&v.part)));
        features.retain(|v| free(feature_files(&v.part)));
    }

    /// The newest of the sound roots with lower numbers than `below` that name a part: its number, and its
    /// time.
    pub(super) fn named(&self, link: &Link, below: u64) -> Option<(u64, u64)> {
        let roots = self.roots.iter().map(|r| &r.part).filter(|r| r.snapshot < below);
        roots.filter(|r| r.parts().any(|l| l.link == *link)).map(|r| (r.snapshot, r.created)).max()
    }

    /// Whether some snapshot after one with this number seems to be lost: a root after it is not sound, or a
    /// part of a dataset came with a root that is not there.
    pub(super) fn lacks_root_after(&self, number: Option<u64>) -> bool {
        let mut datasets = self.datasets.iter().map(|v| &v.link.file).chain(&self.damaged_datasets);
        self.damaged_root >= number || datasets.any(|file| !self.known.contains(file))
    }

    /// Versions of a dataset.
    pub(super) fn dataset(&self, number: u32) -> impl Iterator<Item = &Version<DatasetPart>> {
        self.datasets.iter().filter(move |v| v.part.number == number)
    }
}

/// An artifact as a root names it.
pub(super) fn linked(v: &Version<ArtifactPart>) -> PartLink {
    let (link, files) = (v.link.clone(), v.part.links());
    PartLink { number: v.part.number, name: v.part.name.clone(), link, files }
}

/// A manifest whose content agrees with the digest in its name.
fn read_sound<T: Part>(env: &Env, name: &str) -> Result<Option<Version<T>>, VerifyError> {
    // A name without a digest is none of ours.
    let digest = name.strip_suffix(".json").and_then(|n| n.rsplit('-').next()?.parse().ok());
    let Some(digest) = digest else { return Ok(None) };
    let path = format!("manifests/{name}");
    let len = match env.len_of(&path) {
        Ok(len) => len,
        Err(e) if is_medium(&e) => return Ok(None),
        Err(e) => return Err(Env::io("read", &path)(e).into()),
    };
    let link = Link { file: name.to_owned(), digest, len };
    let part = match env.manifests().read::<T>(&link) {
        // Nothing else needs an artifact: one of a newer version stays where the root has it.
        Err(StorageError::Newer { .. }) if name.starts_with("artifact-") => None,
        read => if_sound(read)?,
    };
    let part = part.filter(|part| name.starts_with(&format!("{}-", part.stem())));
    Ok(part.map(|part| Version { link, part }))
}

/// The names in a folder; none if it is gone, or the medium does not give them. What is refused for another
/// reason may be there, so that ends the repair.
pub(super) fn list(env: &Env, folder: &str) -> Result<Vec<String>, VerifyError> {
    match env.vfs().list(&env.at(folder)) {
        Ok(names) => Ok(names),
        Err(e) if is_medium(&e) || e.kind() == std::io::ErrorKind::NotADirectory => Ok(Vec::new()),
        Err(e) => Err(Env::io("list", folder)(e).into()),
    }
}

/// Whether a file is not there, as far as that can be told.
pub(super) fn is_gone(env: &Env, file: &str) -> bool {
    !env.exists(file).unwrap_or(true)
}

/// Whether all data files of a part are there.
fn is_whole(env: &Env, files: Vec<(String, u64)>) -> bool {
    !files.iter().any(|(file, _)| is_gone(env, file))
}

/// Of several versions of a dataset the one that was published last, as far as that can be told.
pub(super) fn best_dataset<'a>(
    env: &Env,
    versions: impl Iterator<Item = &'a Version<DatasetPart>>,
) -> Option<&'a Version<DatasetPart>> {
    versions.max_by_key(|v| {
        let p = &v.part;
        let counts: u64 = p.encodings.iter().map(|e| e.rows().len()).sum();
        let whole = is_whole(env, dataset_files(p));
        (whole, p.next_row, p.stored(), p.stored() - p.rows, counts)
    })
}

/// The same of a feature.
pub(super) fn best_feature<'a>(
    env: &Env,
    versions: impl Iterator<Item = &'a Version<FeaturePart>>,
) -> Option<&'a Version<FeaturePart>> {
    versions.max_by_key(|v| {
        let whole = is_whole(env, feature_files(&v.part));
        (whole, v.part.rows(), std::cmp::Reverse(v.part.segments.len()))
    })
}

/// Whether a version goes on from another one: it has all of its files, or the files it lacks are gone.
pub(super) fn extends_dataset(env: &Env, new: &DatasetPart, old: &DatasetPart) -> bool {
    let has: HashSet<String> = dataset_files(new).into_iter().map(|f| f.0).collect();
    // Bitmaps are merged now and then; a repair takes those of `old` anyway.
    let needs_nothing = |f: &str| has.contains(f) || f.ends_with(".roaring") || is_gone(env, f);
    let goes_on = new.name == old.name && new.next_row >= old.next_row;
    goes_on && dataset_files(old).iter().all(|(f, _)| needs_nothing(f))
}

/// The same of a feature.
pub(super) fn extends_feature(env: &Env, new: &FeaturePart, old: &FeaturePart) -> bool {
    let has: HashSet<String> = feature_files(new).into_iter().map(|f| f.0).collect();
    new.key == old.key && feature_files(old).iter().all(|(f, _)| has.contains(f) || is_gone(env, f))
}

/// Whether a version of an ensemble goes on from another one: members are only ever appended.
pub(super) fn extends_ensemble(new: &EnsemblePart, old: &EnsemblePart) -> bool {
    let ids = |part: &EnsemblePart| -> Vec<String> { part.members.iter().map(|m| m.id.clone()).collect() };
    new.uuid == old.uuid && ids(new).starts_with(&ids(old))
}

/// Whether a version of a run has every checkpoint of another one.
pub(super) fn extends_run(new: &RunPart, old: &RunPart) -> bool {
    let known = |name: &str| new.checkpoints.iter().any(|c| c.name == name);
    new.name == old.name && old.checkpoints.iter().all(|c| known(&c.name))
}
