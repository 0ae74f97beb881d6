//! Resume notes of an unfinished `--each target`: the selections that are finished, which the same command skips.
//!
//! Invariants
//! - a note lies next to a target's files from before the first of them appears until all targets have theirs: what is there
//!   at a kill is known to be of this command
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
    /// Versions that the files have or will have; none of those that are not written.
    files: Vec<Option<String>>,
    /// Why the selection was refused, if it was.
    pub(super) refused: Option<String>,
}

/// What is there of a target's selection.
pub(super) enum Found {
    /// Nothing that this command has written.
    Nothing,
    /// Some of its files, and no other: they may be replaced.
    Begun,
    /// All of it.
    Made(Note),
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

    /// What is there as the same command has written it.
    pub(super) fn found(&self) -> Result<Found> {
        let text = match fs_err::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(error.into()),
        };
        let Ok(note) = serde_json::from_str::<Note>(&text) else {
            bail!(UsageError(format!(
                "{} is in the way: what is finished is noted there; move it, or name another --output",
                self.path.display()
            )));
        };
        let there = self.versions()?;
        if note.asked != self.asked || note.files.len() != there.len() {
            return Ok(Found::Nothing);
        }
        if note.files == there {
            return Ok(Found::Made(note));
        }
        let is_own = there.iter().zip(&note.files).all(|(file, noted)| file.is_none() || file == noted);
        Ok(if is_own && there.iter().any(Option::is_some) { Found::Begun } else { Found::Nothing })
    }

    /// Notes what the files will be, of which it is said where their bytes are and where these are to be; `refused`: why
    /// there is no selection among them.
    pub(super) fn begin<'a>(
        &self,
        placing: impl Iterator<Item = (&'a Path, &'a Path)>,
        refused: Option<&str>,
    ) -> Result<()> {
        let placing: Vec<(&Path, Place)> =
            placing.map(|(bytes, target)| (bytes, Place::of(Some(target)))).collect();
        let of_file = |file: &PathBuf| {
            let place = Place::of(Some(file));
            let found = placing.iter().find(|(_, target)| *target == place);
            found.map_or(Ok(None), |(bytes, _)| version(bytes))
        };
        self.write(self.files.iter().map(of_file).collect::<Result<_>>()?, refused)
    }

    /// Notes that the selection was refused.
    pub(super) fn refused(&self, why: &str) -> Result<()> {
        self.write(self.versions()?, Some(why))
    }

    fn write(&self, files: Vec<Option<String>>, refused: Option<&str>) -> Result<()> {
        let note = Note { asked: self.asked.clone(), files, refused: refused.map(str::to_owned) };
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
        self.files.iter().map(|file| version(file)).collect()
    }
}

/// The version of a file, or of a folder whatever it is called; none of what is not there.
fn version(path: &Path) -> Result<Option<String>> {
    let (base, path) = if path.is_dir() { (path, Path::new(".")) } else { (Path::new(""), path) };
    Versions::new(base.to_owned()).of(&Resource::Path(path.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_the_note_that_was_written_before_them() {
        let place = tempfile::tempdir().expect("a folder");
        let path = |name: &str| place.path().join(name);
        let files = ["rows.jsonl", "scores.csv"].map(path);
        let kept = Kept { path: path("rows.jsonl.part"), asked: "asked".to_owned(), files: files.to_vec() };
        let found = || match kept.found().expect("read") {
            Found::Nothing => "nothing",
            Found::Begun => "begun",
            Found::Made(_) => "made",
        };
        assert_eq!(found(), "nothing");
        let unnamed = ["one", "two"].map(path);
        unnamed
            .iter()
            .for_each(|bytes| fs_err::write(bytes, bytes.to_string_lossy().as_bytes()).expect("written"));
        let placing = unnamed.iter().zip(&files).map(|(bytes, file)| (bytes.as_path(), file.as_path()));
        kept.begin(placing, None).expect("noted");
        assert_eq!(found(), "nothing");
        fs_err::rename(&unnamed[0], &files[0]).expect("placed");
        assert_eq!(found(), "begun");
        fs_err::rename(&unnamed[1], &files[1]).expect("placed");
        assert_eq!(found(), "made");
        fs_err::write(&files[1], "of somebody else").expect("written");
        assert_eq!(found(), "nothing");
    }
}
