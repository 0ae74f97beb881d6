//! Resume notes of an unfinished selection: what is there of its files, which the same command replaces, or
//! skips where `--each target` has finished a target.
//!
//! Invariants
//! - where it can be written, a note lies next to a target's files from before the first of them appears
//!   until all targets have theirs, and it goes if none of them was placed: what is there at a kill is known
//!   to be of this command
//! - it counts only for the same flags and inputs (not those that a server has), and as long as the files are
//!   as they were written, up to when others take their places
//! - no other command has files of its name: what is there and is no note stays, whatever the flags
//! - the note of the first target is removed last, and holds those of the others before any of them is
//!   removed

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Result;
use gstore_core::{Digest, if_there};
use gstore_query::influence::TargetRef;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::scores_path;
use crate::args::SelectArgs;
use crate::commands::folder::all_placed;
use crate::context::Context;
use crate::failure::refuse;
use crate::output::{Output, OutputTarget, path_beside};
use crate::pipeline::{Resource, Versions};

/// What is noted of a target.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TargetNote {
    /// Digest of flags and inputs.
    asked: String,
    /// Versions that the files have or will have; none of those that are not written.
    files: Vec<Option<String>>,
    /// Why the selection was refused, if it was.
    pub(super) refused: Option<String>,
    /// Of the first target, once all are finished: the notes of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<TargetNote>,
}

/// What is there of a target's selection.
pub(super) enum TargetProgress {
    /// Nothing that this command has written.
    Nothing,
    /// Some of its files, and no other: they may be replaced. All of them, where the note goes with the last.
    Begun,
    /// All of it.
    Made(TargetNote),
}

/// Where a target's selection is noted, and what of.
pub(super) struct TargetJournal {
    path: PathBuf,
    /// Where the first target is noted.
    first: PathBuf,
    asked: String,
    files: Vec<PathBuf>,
    /// Whether files are replaced whatever they are.
    force: bool,
    /// Whether the note goes with the last of its files: what is finished is not skipped, since there is no
    /// other target, or a server makes the selection, whose inputs are not here.
    alone: bool,
}

impl TargetJournal {
    /// Of a target's selection; none of one that writes no file, and of a single file, which is there or not.
    pub(super) fn of(context: &Context, args: &SelectArgs) -> Result<Option<Self>> {
        let alone = args.each.is_none() || is_remote(args);
        let files =
            [args.output.clone(), scores_path(args), args.cascade.report.clone(), args.draw.plot.clone()];
        let is_file = |path: &PathBuf| OutputTarget::of(Some(path)).is_file();
        let files: Vec<PathBuf> = files.into_iter().flatten().filter(is_file).collect();
        let Some(first) = files.first().filter(|_| !alone || files.len() > 1) else { return Ok(None) };
        let path = path_beside(first, ".selecting");
        let (asked, force) = (asked(context, args)?, args.force);
        Ok(Some(Self { first: path.clone(), path, asked, files, force, alone }))
    }

    /// The same of each of several targets.
    pub(super) fn of_each(context: &Context, all: &[SelectArgs]) -> Result<Vec<Option<Self>>> {
        let mut all = all.iter().map(|args| Self::of(context, args)).collect::<Result<Vec<_>>>()?;
        if let Some(first) = all.iter().flatten().next().map(|kept| kept.path.clone()) {
            all.iter_mut().flatten().for_each(|kept| kept.first.clone_from(&first));
        }
        Ok(all)
    }

    /// What is there as the same command has written it; nothing that counts where all is replaced.
    ///
    /// # Errors
    /// What is in the place of the note and is none.
    pub(super) fn found(&self) -> Result<TargetProgress> {
        let note = self.note()?.filter(|_| !self.force);
        let Some(note) = note else { return Ok(TargetProgress::Nothing) };
        let there = self.versions()?;
        if note.asked != self.asked || note.files.len() != there.len() {
            return Ok(TargetProgress::Nothing);
        }
        if note.files == there && !self.alone {
            return Ok(TargetProgress::Made(note));
        }
        let is_own = there.iter().zip(&note.files).all(|(file, noted)| file.is_none() || file == noted);
        Ok(if is_own && there.iter().any(Option::is_some) {
            TargetProgress::Begun
        } else {
            TargetProgress::Nothing
        })
    }

    /// Notes the versions that the files will have. `placing`: of each where its bytes are now, and its
    /// place; `refused`: why there is no selection among them.
    pub(super) fn begin<'a>(
        &self,
        placing: impl Iterator<Item = (&'a Path, &'a Path)>,
        refused: Option<&str>,
    ) -> Result<()> {
        let placing: Vec<(&Path, OutputTarget)> =
            placing.map(|(bytes, target)| (bytes, OutputTarget::of(Some(target)))).collect();
        let of_file = |file: &PathBuf| {
            let place = OutputTarget::of(Some(file));
            let found = placing.iter().find(|(_, target)| *target == place);
            found.map_or(Ok(None), |(bytes, _)| version(bytes))
        };
        self.write(self.files.iter().map(of_file).collect::<Result<_>>()?, refused)
    }

    /// Whether what is now in the place of a file may be replaced: whatever it is with force, else as noted.
    pub(super) fn may_replace(&self, target: &Path) -> bool {
        let place = OutputTarget::of(Some(target));
        let noted = || {
            let note = self.note().ok()?.filter(|note| note.asked == self.asked)?;
            let at = self.files.iter().position(|file| OutputTarget::of(Some(file)) == place)?;
            note.files.into_iter().nth(at)?
        };
        self.force
            || noted().is_some_and(|noted| version(target).is_ok_and(|found| found.as_ref() == Some(&noted)))
    }

    /// What has become of the files. The note of a single selection goes with the last of them, and any where
    /// none has its place: another run may have made what is there.
    ///
    /// # Errors
    /// As [`all_placed`].
    pub(super) fn placed(&self, files: Vec<Result<()>>) -> Result<()> {
        let is_none = files.iter().all(Result::is_err);
        let placed = all_placed(files);
        if is_none || (self.alone && placed.is_ok()) {
            return placed.and(self.remove());
        }
        placed
    }

    /// Notes that the selection was refused.
    pub(super) fn refused(&self, why: &str) -> Result<()> {
        self.write(self.versions()?, Some(why))
    }

    fn write(&self, files: Vec<Option<String>>, refused: Option<&str>) -> Result<()> {
        let refused = refused.map(str::to_owned);
        self.put(&TargetNote { asked: self.asked.clone(), files, refused, others: Vec::new() })
    }

    fn put(&self, note: &TargetNote) -> Result<()> {
        read(&self.path)?;
        let mut output = Output::create(Some(&self.path), true)?;
        serde_json::to_writer(&mut output, note)?;
        output.finish()
    }

    /// What is noted of the target, by itself or with the first one.
    fn note(&self) -> Result<Option<TargetNote>> {
        if let Some(own) = read(&self.path)? {
            return Ok(Some(own));
        }
        let others = read(&self.first)?.map(|note| note.others).unwrap_or_default();
        Ok(others.into_iter().find(|note| note.asked == self.asked))
    }

    /// Removes the notes of all targets, which are finished.
    pub(super) fn remove_all(all: &[&Self]) -> Result<()> {
        Self::remove_each(all, Self::remove)
    }

    /// The same, each note by `remove`.
    fn remove_each(all: &[&Self], mut remove: impl FnMut(&Self) -> Result<()>) -> Result<()> {
        let Some((first, others)) = all.split_first() else { return Ok(()) };
        if let Some(note) = first.note()? {
            let of_others = others.iter().filter_map(|kept| kept.note().transpose());
            first.put(&TargetNote { others: of_others.collect::<Result<_>>()?, ..note })?;
        }
        others.iter().try_for_each(|kept| remove(kept))?;
        remove(first)
    }

    fn remove(&self) -> Result<()> {
        if let Ok(Some(_)) = read(&self.path) {
            if_there(fs_err::remove_file(&self.path))?;
        }
        Ok(())
    }

    fn versions(&self) -> Result<Vec<Option<String>>> {
        self.files.iter().map(|file| version(file)).collect()
    }
}

fn read(path: &Path) -> Result<Option<TargetNote>> {
    let text = match fs_err::read(path) {
        // Too long a name is refused with that of the file next to it.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidFilename) => {
            return Ok(None);
        }
        text => text.ok(),
    };
    let note = text.and_then(|text| serde_json::from_slice(&text).ok());
    let Some(note) = note else {
        refuse!(
            "{} is in the way: it is no readable record of a selection; move it, or name another --output",
            path.display()
        );
    };
    Ok(Some(note))
}

/// The version of a file, or of a folder whatever it is called; none of what is not there.
fn version(path: &Path) -> Result<Option<String>> {
    // It is a name, also where it would be a pattern of other files.
    if !path.exists() {
        return Ok(None);
    }
    let (base, path) = if path.is_dir() { (path, Path::new(".")) } else { (Path::new(""), path) };
    Versions::new(base.to_owned()).of(&Resource::Path(path.to_owned()))
}

#[cfg(feature = "serve")]
fn is_remote(args: &SelectArgs) -> bool {
    args.server.remote.is_some()
}

#[cfg(not(feature = "serve"))]
fn is_remote(_: &SelectArgs) -> bool {
    false
}

/// What a selection reads that is here. Features that a cascade itself computes for its pool are not among
/// its inputs.
fn inputs(context: &Context, args: &SelectArgs) -> Result<Vec<Resource>> {
    if is_remote(args) {
        return Ok(Vec::new());
    }
    let store = context.store_path()?;
    if args.cascade.cascade.is_none() {
        return Ok(vec![Resource::Store { store: store.to_owned() }]);
    }
    let mut reads = Vec::new();
    let targets = args.target.iter().map(|target| TargetRef::parse(target).dataset);
    let targets: Vec<String> = targets.filter(|target| !args.pool.contains(target)).collect();
    for dataset in args.pool.iter().chain(&targets) {
        reads.push(Resource::Samples { store: store.to_owned(), dataset: dataset.clone() });
    }
    for dataset in targets {
        let features = Resource::Features { store: store.to_owned(), dataset, run: None };
        reads.extend(features.runs());
        reads.push(features);
    }
    Ok(reads)
}

/// Digest of the flags and of the inputs.
fn asked(context: &Context, args: &SelectArgs) -> Result<String> {
    let mut hash = Xxh3::new();
    hash.update(format!("{:?}", SelectArgs { force: false, ..args.clone() }).as_bytes());
    let mut versions = Versions::new(PathBuf::new());
    for read in &inputs(context, args)? {
        hash.update(format!("{:?}", versions.of(read)?).as_bytes());
    }
    Ok(Digest::of_hashed(&hash).to_string())
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::super::place;
    use super::*;
    use crate::commands::folder::{DATASET, NewFolder};
    use crate::failure::text;

    fn found(kept: &TargetJournal) -> &'static str {
        match kept.found().expect("read") {
            TargetProgress::Nothing => "nothing",
            TargetProgress::Begun => "begun",
            TargetProgress::Made(_) => "made",
        }
    }

    /// A target that is not begun, with a file; the first one is called `a`.
    fn target(place: &Path, name: &str) -> TargetJournal {
        let [path, file] = ["selecting", "jsonl"].map(|ending| place.join(format!("{name}.{ending}")));
        let first = place.join("a.selecting");
        TargetJournal { path, first, asked: name.to_owned(), files: vec![file], force: false, alone: false }
    }

    fn journal(files: &[PathBuf], alone: bool) -> TargetJournal {
        let path = path_beside(&files[0], ".selecting");
        let (asked, files) = ("asked".to_owned(), files.to_vec());
        TargetJournal { first: path.clone(), path, asked, files, force: false, alone }
    }

    /// The files of a selection, neither of which has its name yet.
    fn outputs(files: &[PathBuf]) -> (Option<NewFolder>, Vec<Output>) {
        (None, files.iter().rev().map(|file| Output::create(Some(file), true).expect("begun")).collect())
    }

    fn make(kept: &TargetJournal) {
        let file = kept.files[0].as_path();
        fs_err::write(file, &kept.asked).expect("written");
        kept.begin([(file, file)].into_iter(), None).expect("noted");
    }

    #[test]
    fn all_targets_count_as_made_until_the_last_note_is_removed() {
        let place = tempfile::tempdir().expect("a folder");
        let kept = ["a", "b", "c"].map(|name| target(place.path(), name));
        kept[..2].iter().for_each(make);
        kept[2].refused("it saves nothing").expect("noted");
        let all: Vec<&TargetJournal> = kept.iter().collect();
        let are_made = || kept.iter().all(|one| found(one) == "made");
        // Killed at each removal, and begun again by the same command.
        for until in 0..=kept.len() {
            let mut removed = 0;
            let ended = TargetJournal::remove_each(&all, |one| {
                assert!(are_made(), "{until}: {removed} removed");
                if removed == until {
                    bail!("killed");
                }
                removed += 1;
                one.remove()
            });
            assert_eq!(ended.is_ok(), until == kept.len());
        }
        assert!(kept.iter().all(|one| found(one) == "nothing" && !one.path.exists()));
    }

    #[test]
    fn a_changed_file_does_not_count_as_made_by_the_note_of_the_first_target() {
        let place = tempfile::tempdir().expect("a folder");
        let kept = ["a", "b"].map(|name| target(place.path(), name));
        kept.iter().for_each(make);
        let killed =
            TargetJournal::remove_each(&kept.iter().collect::<Vec<_>>(), |one| match one.asked.as_str() {
                "a" => bail!("killed"),
                _ => one.remove(),
            });
        let file = &kept[1].files[0];
        assert!(killed.is_err() && found(&kept[1]) == "made" && kept[1].may_replace(file));
        fs_err::write(file, "of somebody else").expect("written");
        assert_eq!(kept.each_ref().map(found), ["made", "nothing"]);
        assert!(!kept[1].may_replace(file));
    }

    #[test]
    fn files_are_known_by_the_note_that_was_written_before_them() {
        let place = tempfile::tempdir().expect("a folder");
        let path = |name: &str| place.path().join(name);
        let files = ["rows.jsonl", "scores.csv"].map(path);
        let kept = journal(&files, false);
        let found = || found(&kept);
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

    #[test]
    fn a_name_that_is_like_a_pattern_has_no_version_of_other_files() {
        let place = tempfile::tempdir().expect("a folder");
        fs_err::write(place.path().join("best2.jsonl"), "of somebody else").expect("written");
        let own = place.path().join("best[2].jsonl");
        assert_eq!(version(&own).expect("read"), None);
        fs_err::write(&own, "own").expect("written");
        assert!(version(&own).expect("read").is_some());
    }

    #[test]
    fn the_note_of_a_single_selection_goes_with_the_last_of_its_files() {
        let around = tempfile::tempdir().expect("a folder");
        let path = |name: &str| around.path().join(name);
        let files = ["rows.jsonl", "scores.csv"].map(path);
        let kept = journal(&files, true);
        let found = || found(&kept);
        // The rows, which are the last, cannot have their name: what is left is as after a kill.
        let first = outputs(&files);
        fs_err::create_dir(&files[0]).expect("made");
        assert!(place(Some(&kept), first, None).is_err() && files[1].is_file() && kept.path.exists());
        fs_err::remove_dir(&files[0]).expect("removed");
        assert_eq!(found(), "begun");
        place(Some(&kept), outputs(&files), None).expect("placed");
        assert!(files.iter().all(|file| file.is_file()) && !kept.path.exists());
        assert_eq!(found(), "nothing");
        // Killed before the note was removed.
        let placing = files.iter().map(|file| (file.as_path(), file.as_path()));
        kept.begin(placing, None).expect("noted");
        assert_eq!(found(), "begun");
        // Another run of the command has ended meanwhile.
        kept.remove().expect("removed");
        assert!(place(Some(&kept), outputs(&files), None).is_err() && !kept.path.exists());
    }

    #[test]
    fn what_is_not_as_noted_when_the_files_are_placed_is_kept() {
        let around = tempfile::tempdir().expect("a folder");
        let path = |name: &str| around.path().join(name);
        let files = ["rows.jsonl", "scores.csv", "saved"].map(path);
        let mut kept = journal(&files, true);
        let [rows, scores, saved] = &files;
        fs_err::create_dir(saved).expect("made");
        let write = |path: &Path, text: &str| fs_err::write(path, text).expect("written");
        let read = |path: &Path| fs_err::read_to_string(path).expect("read");
        let mark = saved.join("state.json");
        for file in [rows, scores, &mark] {
            write(file, "left");
        }
        kept.begin(files.iter().map(|file| (file.as_path(), file.as_path())), None).expect("noted");
        let again = |kept: &TargetJournal| {
            let folder = NewFolder::begin(saved, DATASET, true).expect("begun");
            write(&folder.path().join("state.json"), "");
            place(Some(kept), (Some(folder), outputs(&files[..2]).1), None)
        };
        for file in [scores, &mark] {
            write(file, "of somebody else");
        }
        let said = text(&again(&kept).expect_err("kept"));
        let names = fs_err::read_dir(around.path())
            .expect("listed")
            .map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned());
        let hidden: Vec<String> = names.filter(|name| name.starts_with('.')).collect();
        assert!(hidden.len() == 2 && hidden.iter().all(|name| said.contains(name)), "{hidden:?}: {said}");
        assert_eq!(
            [rows, scores, &mark].map(|file| read(file)),
            ["", "of somebody else", "of somebody else"]
        );
        kept.force = true;
        again(&kept).expect("placed");
        assert_eq!([rows, scores, &mark].map(|file| read(file)), ["", "", ""]);
    }

    #[test]
    fn what_is_in_the_place_of_a_note_stays_and_costs_no_file() {
        let around = tempfile::tempdir().expect("a folder");
        let files = ["rows.jsonl", "scores.csv"].map(|name| around.path().join(name));
        let kept = TargetJournal { force: true, ..journal(&files, true) };
        fs_err::create_dir(&kept.path).expect("made");
        assert!(kept.found().is_err());
        place(Some(&kept), outputs(&files), None).expect("placed");
        assert!(files.iter().all(|file| file.is_file()) && kept.path.is_dir());
        fs_err::remove_dir(&kept.path).expect("removed");
        fs_err::write(&kept.path, "mine").expect("written");
        assert!(kept.found().is_err() && kept.refused("it saves nothing").is_err());
        place(Some(&kept), outputs(&files), None).expect("placed");
        assert_eq!(fs_err::read(&kept.path).expect("read"), b"mine");
    }
}
