//! Resume notes of an unfinished `--each target`: the selections that are finished, which the same command skips.
//!
//! Invariants
//! - a note lies next to a target's files from when they are written until all targets have theirs
//! - it counts only for the same flags and inputs, and as long as the files are as they were written

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use gstore_core::Digest;
use gstore_query::influence::TargetRef;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::scores_path;
use crate::args::SelectArgs;
use crate::context::Context;
use crate::failure::UsageError;
use crate::output::{Output, Place};
use crate::pipeline::{Resource, Versions};

/// What is noted of a target.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// Digest of flags and inputs.
    asked: String,
    /// Versions of the files; none of those that were not written.
    files: Vec<Option<String>>,
    /// Why the selection was refused, if it was.
    pub(super) refused: Option<String>,
}

/// Where a target's selection is noted, and what of.
pub(super) struct Kept {
    path: PathBuf,
    asked: String,
    files: Vec<PathBuf>,
}

impl Kept {
    /// Of a target's selection; none of one that writes no file, and of one that a server makes, whose inputs are not here.
    pub(super) fn of(context: &Context, args: &SelectArgs) -> Result<Option<Self>> {
        #[cfg(feature = "serve")]
        if args.server.remote.is_some() {
            return Ok(None);
        }
        let files =
            [args.output.clone(), scores_path(args), args.cascade.report.clone(), args.draw.plot.clone()];
        let is_file = |path: &PathBuf| Place::of(Some(path)).is_file();
        let files: Vec<PathBuf> = files.into_iter().flatten().filter(is_file).collect();
        let Some(first) = files.first() else { return Ok(None) };
        // Of a folder without the slash at its end: next to it, not in it.
        let mut path = first.components().collect::<PathBuf>().into_os_string();
        path.push(".part");
        Ok(Some(Self { path: path.into(), asked: asked(context, args)?, files }))
    }

    /// The note, if the target's files are there as the same command has written them.
    pub(super) fn found(&self) -> Result<Option<Note>> {
        let text = match fs_err::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Ok(note) = serde_json::from_str::<Note>(&text) else {
            bail!(UsageError(format!(
                "{} is in the way: what is finished is noted there; move it, or name another --output",
                self.path.display()
            )));
        };
        let is_same = note.asked == self.asked && note.files == self.versions()?;
        Ok(is_same.then_some(note))
    }

    /// Notes that the files are written, or that the selection was refused.
    pub(super) fn note(&self, refused: Option<String>) -> Result<()> {
        let note = Note { asked: self.asked.clone(), files: self.versions()?, refused };
        let mut output = Output::create(Some(&self.path), true)?;
        serde_json::to_writer(&mut output, &note)?;
        output.finish()
    }

    /// Removes the note, once all targets are finished.
    pub(super) fn remove(&self) -> Result<()> {
        match fs_err::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn versions(&self) -> Result<Vec<Option<String>>> {
        let mut versions = Versions::new(PathBuf::new());
        self.files.iter().map(|file| versions.of(&Resource::Path(file.clone()))).collect()
    }
}

/// Digest of the flags and of the inputs. Features that a cascade itself computes for its pool are not among the inputs.
fn asked(context: &Context, args: &SelectArgs) -> Result<String> {
    let store = || context.store_path().map(Path::to_owned);
    let mut reads = Vec::new();
    if args.cascade.cascade.is_some() {
        let targets = args.target.iter().map(|target| TargetRef::parse(target).dataset);
        let targets: Vec<String> = targets.filter(|target| !args.pool.contains(target)).collect();
        for dataset in args.pool.iter().chain(&targets) {
            reads.push(Resource::Samples { store: store()?, dataset: dataset.clone() });
        }
        for dataset in targets {
            reads.push(Resource::Features { store: store()?, dataset, run: None });
        }
    } else {
        reads.push(Resource::Store { store: store()? });
    }
    let mut hash = Xxh3::new();
    hash.update(format!("{:?}", SelectArgs { force: false, ..args.clone() }).as_bytes());
    let mut versions = Versions::new(PathBuf::new());
    for read in &reads {
        hash.update(format!("{:?}", versions.of(read)?).as_bytes());
    }
    Ok(Digest::of_hashed(&hash).to_string())
}
