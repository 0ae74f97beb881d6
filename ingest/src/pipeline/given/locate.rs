//! Location of a checkpoint's weights: the user's folders, else those that the store recorded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use gstore_store::{CheckpointId, EncodeFeature, RunCheckpoint, Snapshot};

use super::SampleEncoderError;
use crate::pipeline::IngestError;
use crate::pipeline::request::{CheckpointArg, CheckpointWeights};
use gstore_model::weights::{Adapter, BaseDigest, ModelFolder};

/// Folders of a checkpoint; whether its weights are in them shows when they are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CheckpointFolders {
    /// The base model.
    pub model: PathBuf,
    pub arg: CheckpointArg,
    /// Folders that may have the tokenizer of the feature; which has it, its digest says.
    pub tokenizers: Vec<PathBuf>,
}

/// Where the user says that weights are, and what is known of these folders.
#[derive(Debug, Default)]
pub(super) struct WeightFolders {
    pub model: Option<PathBuf>,
    pub checkpoints: Vec<CheckpointArg>,
    /// Identities of folders that were looked at: base, then the checkpoint's own.
    known: HashMap<(PathBuf, Option<PathBuf>), KnownWeights>,
}

/// The files of folders, unless they could not be listed, and what they are.
type KnownWeights = (Option<Vec<FileStamp>>, CheckpointId);

/// A file as it is now; other weights under its name are another one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct FileStamp {
    path: PathBuf,
    changed: Option<SystemTime>,
    len: u64,
    /// Number of the file on its disk; 0 where there is none.
    file: u64,
}

impl WeightFolders {
    /// Nothing is looked at yet.
    pub fn new(model: Option<PathBuf>, checkpoints: Vec<CheckpointArg>) -> Self {
        Self { model, checkpoints, known: HashMap::new() }
    }

    /// The folders of a checkpoint.
    pub fn find(
        &mut self,
        snapshot: &Snapshot,
        wanted: &EncodeFeature<'_>,
        id: &CheckpointId,
    ) -> Result<CheckpointFolders, SampleEncoderError> {
        let stored = stored_checkpoint(snapshot, wanted.run, id);
        let noted = |key: &str| {
            let provenance = stored.map(|checkpoint| &checkpoint.provenance);
            provenance.and_then(|p| p.get(key)).and_then(|v| v.as_str()).map(PathBuf::from)
        };
        let name = wanted.checkpoint.to_owned();
        let model = self.model.clone().or_else(|| noted("model"));
        let Some(model) = model else { return Err(SampleEncoderError::Unknown { checkpoint: name }) };
        present(&name, &model)?;
        let of_feature = wanted.pool.attrs.provenance.get("tokenizer").and_then(|v| v.as_str());
        let tokenizers =
            [of_feature.map(PathBuf::from), Some(model.clone()), noted("tokenizer"), noted("weights")];
        let tokenizers: Vec<PathBuf> = tokenizers.into_iter().flatten().collect();
        if let Some(arg) = self.of_user(&name, &model, id)? {
            return Ok(CheckpointFolders { model, arg, tokenizers });
        }
        let weights = match (noted("adapter"), noted("weights")) {
            (Some(folder), _) => CheckpointWeights::Adapter(folder),
            (None, Some(folder)) => CheckpointWeights::Model(folder),
            (None, None) => CheckpointWeights::Base,
        };
        let arg = CheckpointArg { name, weights };
        if !self.checkpoints.is_empty() {
            // Those that did not move need no naming.
            let there = arg.folder().is_none_or(Path::is_dir);
            if !there || *self.identity(&model, &arg)? != *id {
                return Err(SampleEncoderError::NotGiven {
                    checkpoint: arg.name.clone(),
                    given: self.checkpoints.len(),
                    was: arg.folder().map(Path::to_owned),
                    model,
                    id: id.short().to_owned(),
                });
            }
        } else if let Some(folder) = arg.folder() {
            present(&arg.name, folder)?;
        }
        Ok(CheckpointFolders { model, arg, tokenizers })
    }

    /// That of the user's checkpoints which has the weights; one of the same name is looked at first.
    fn of_user(
        &mut self,
        name: &str,
        model: &Path,
        id: &CheckpointId,
    ) -> Result<Option<CheckpointArg>, SampleEncoderError> {
        let (same, others): (Vec<_>, Vec<_>) =
            self.checkpoints.clone().into_iter().partition(|arg| arg.name == name);
        for arg in same.into_iter().chain(others) {
            if self.identity(model, &arg)? == id {
                return Ok(Some(CheckpointArg { name: name.to_owned(), ..arg }));
            }
        }
        Ok(None)
    }

    /// Reads the weights, unless they were read before and are the same files. Those of folders that are gone
    /// are known as long as nothing reads them.
    fn identity(&mut self, model: &Path, arg: &CheckpointArg) -> Result<&CheckpointId, SampleEncoderError> {
        let key = (model.to_owned(), arg.folder().map(Path::to_owned));
        // Before they are read: what changes meanwhile is read again.
        let files = files([Some(arg.model(model)), arg.adapter()].into_iter().flatten()).ok();
        match self.known.entry(key) {
            Entry::Occupied(known) if files.is_none() || known.get().0 == files => Ok(&known.into_mut().1),
            unknown => {
                let folder = ModelFolder::open(arg.model(model)).map_err(IngestError::from)?;
                let adapter = arg.adapter().map(Adapter::open).transpose().map_err(IngestError::from)?;
                // One that was trained on another model is none of those that are looked for, and no error.
                let base = BaseDigest::new(&folder).map_err(IngestError::from)?;
                let id = base.checkpoint(adapter.as_ref()).map_err(IngestError::from)?;
                Ok(&unknown.insert_entry((files, id)).into_mut().1)
            }
        }
    }
}

fn files<'a>(folders: impl Iterator<Item = &'a Path>) -> io::Result<Vec<FileStamp>> {
    let mut found = Vec::new();
    for folder in folders {
        for entry in fs_err::read_dir(folder)? {
            let path = entry?.path();
            let Some(metadata) = fs_err::metadata(&path).ok().filter(|found| found.is_file()) else {
                continue;
            };
            #[cfg(unix)]
            let file = std::os::unix::fs::MetadataExt::ino(&metadata);
            #[cfg(not(unix))]
            let file = 0;
            found.push(FileStamp { path, changed: metadata.modified().ok(), len: metadata.len(), file });
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// The checkpoint as a run has it: that of the question, else any.
fn stored_checkpoint<'a>(
    snapshot: &'a Snapshot,
    run: Option<&str>,
    id: &CheckpointId,
) -> Option<&'a RunCheckpoint> {
    let (own, others): (Vec<_>, Vec<_>) =
        snapshot.runs().iter().partition(|part| run == Some(part.name.as_str()));
    own.into_iter().chain(others).flat_map(|part| &part.checkpoints).find(|c| c.checkpoint == *id)
}

fn present(checkpoint: &str, folder: &Path) -> Result<(), SampleEncoderError> {
    match folder.is_dir() {
        true => Ok(()),
        false => {
            Err(SampleEncoderError::Gone { checkpoint: checkpoint.to_owned(), folder: folder.to_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_that_were_replaced_are_read_again() {
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo");
        let folder = tempfile::tempdir().unwrap();
        let take = |checkpoint: &str| {
            for name in ["adapter_config.json", "adapter_model.safetensors"] {
                let (new, target) = (folder.path().join("new"), folder.path().join(name));
                fs_err::copy(demo.join("warmup").join(checkpoint).join(name), &new).unwrap();
                fs_err::rename(new, target).unwrap();
            }
        };
        let mut places = WeightFolders::default();
        let arg = CheckpointArg::of_folder("tuned", folder.path().to_owned());
        let mut identity = || places.identity(&demo.join("model"), &arg).unwrap().clone();
        take("checkpoint-26");
        let first = identity();
        assert_eq!(identity(), first);
        take("checkpoint-52");
        assert_ne!(identity(), first);
        take("checkpoint-26");
        assert_eq!(identity(), first);
        fs_err::remove_dir_all(folder.path()).unwrap();
        assert_eq!(identity(), first);
    }
}
