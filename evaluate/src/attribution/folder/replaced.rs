//! Replacing a ground truth: whether another one is the same, and what goes with the old one.

use std::path::{Path, PathBuf};

use gstore_core::Cancel;
use gstore_store::Snapshot;

use super::artifact::FolderArtifact;
use super::files::{foreign, is_unfinished, place_new};
use super::members::origin;
use super::recipe::differing;
use super::{DRAWN, TruthFolder};
use crate::error::EvaluateError;

/// What else the folder has.
const MORE: [&str; 3] = ["recipe.json", "outputs", "models"];

impl TruthFolder {
    /// The files and folders that a ground truth in a folder has, or would have: what else is there
    /// is its user's.
    pub fn own(folder: &Path) -> Vec<PathBuf> {
        DRAWN.iter().chain(&MORE).map(|name| folder.join(name)).collect()
    }

    /// The same rows, queries and subsets in another folder, without a recipe and outputs.
    ///
    /// # Errors
    /// Files that cannot be read or written; being told to stop.
    pub fn copy_drawn(&self, folder: &Path, cancel: &Cancel) -> Result<TruthFolder, EvaluateError> {
        fs_err::create_dir_all(folder.join("outputs"))?;
        for name in DRAWN {
            place_new(folder, name, &fs_err::read(self.folder.join(name))?)?;
        }
        Self::open(folder, cancel)
    }

    /// The same rows, queries and subsets in the folder that is to have them.
    ///
    /// # Errors
    /// As of [`TruthFolder::create`].
    pub fn put(&self, folder: &Path, cancel: &Cancel) -> Result<TruthFolder, EvaluateError> {
        let mut texts = DRAWN.map(|_| String::new());
        for (name, text) in DRAWN.into_iter().zip(&mut texts) {
            *text = fs_err::read_to_string(self.folder.join(name))?;
        }
        Self::made(folder, texts.each_ref().map(String::as_str), &self.manifest, cancel)
    }

    /// Whether another folder has the same rows, queries and subsets, and the same recipe, unless one of
    /// both has none yet.
    ///
    /// # Errors
    /// A recipe that cannot be read.
    pub fn is_same(&self, other: &TruthFolder) -> Result<bool, EvaluateError> {
        if self.manifest != other.manifest {
            return Ok(false);
        }
        Ok(!self.has_recipe()
            || !other.has_recipe()
            || differing(&self.recipe()?, &other.recipe()?).is_none())
    }

    /// Fails if the folder has what no ground truth put there: it would go with it.
    ///
    /// # Errors
    /// Names the first such file.
    pub fn check_own(&self) -> Result<(), EvaluateError> {
        let is_run = |name: &str| name.len() >= 5 && name.bytes().all(|byte| byte.is_ascii_digit());
        self.check_entries("", |name| DRAWN.contains(&name) || MORE.contains(&name))?;
        self.check_entries("outputs", |name| name.strip_suffix(".parquet").is_some_and(is_run))?;
        self.check_entries("models", |name| is_run(name.strip_suffix(".done").unwrap_or(name)))
    }

    fn check_entries(&self, inside: &str, is_own: impl Fn(&str) -> bool) -> Result<(), EvaluateError> {
        let folder = self.folder.join(inside);
        if !folder.is_dir() {
            return Ok(());
        }
        for entry in fs_err::read_dir(&folder)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !is_own(&name) && !is_unfinished(&name) {
                return Err(foreign(&self.folder, &Path::new(inside).join(name).display().to_string()));
            }
        }
        Ok(())
    }

    /// Whether a store has an ensemble of this name whose members are all models of this ground truth.
    ///
    /// # Errors
    /// Artifacts that cannot be read; being told to stop.
    pub fn made_all_of(
        &self,
        snapshot: &Snapshot,
        ensemble: &str,
        cancel: &Cancel,
    ) -> Result<bool, EvaluateError> {
        let Some(part) = snapshot.ensembles().iter().find(|part| part.name == ensemble) else {
            return Ok(false);
        };
        if !self.has_recipe() || part.members.is_empty() {
            return Ok(false);
        }
        let (there, recipe) = (snapshot.artifacts()?, self.recipe()?);
        let mut known: Option<&str> = None;
        for member in &part.members {
            let Some((name, _)) = origin(member) else { return Ok(false) };
            if known == Some(name) {
                continue;
            }
            if !there.iter().any(|known| known == name) {
                return Ok(false);
            }
            let content = FolderArtifact::open(snapshot, name, cancel)?.content;
            if content.manifest != self.manifest || content.recipe != recipe {
                return Ok(false);
            }
            known = Some(name);
        }
        Ok(true)
    }
}
