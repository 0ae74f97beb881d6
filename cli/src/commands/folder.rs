//! A folder as an output: it appears when it is complete, like a file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use gstore_core::if_there;
use gstore_store::vfs::{CreatedFolder, sync_folder};
use rustix::io::Errno;

use crate::exchange::exchange;
use crate::failure::{UsageError, refuse, text};
use crate::held::{LockedFolder, remove_leftovers};
use crate::output::{FinishedOutput, LONG_NAME, Output, check_folder, exists, has_long_name, parent};

/// What is made in a folder: it takes the place of another one of its kind only.
#[derive(Clone, Copy)]
pub(super) struct FolderKind {
    /// What messages call it.
    pub(super) called: &'static str,
    /// A file that each one has.
    pub(super) mark: &'static str,
    /// What is in a folder and belongs to none of this kind, if there is something.
    pub(super) foreign: fn(&Path) -> std::io::Result<Option<PathBuf>>,
}

/// Rows as the library `datasets` saves them.
pub(super) const DATASET: FolderKind = FolderKind {
    called: "a saved dataset",
    mark: "state.json",
    foreign: |folder| {
        entry_unlike(folder, |name| {
            ["state.json", "dataset_info.json"].contains(&name) || name.ends_with(".arrow")
        })
    },
};

/// Finished factors: those of a fit that goes on have partitions and a lock.
pub(super) const FACTORS: FolderKind = FolderKind {
    called: "exported factors",
    mark: "gstore.json",
    foreign: |folder| {
        entry_unlike(folder, |name| {
            (name.ends_with(".safetensors") || name.ends_with(".json")) && !name.contains("_partition")
        })
    },
};

/// A model that [`gstore_train::merge`] has written.
pub(super) const MERGED: FolderKind = FolderKind {
    called: "a merged model",
    mark: gstore_train::MERGED,
    foreign: |folder| entry_unlike(folder, |_| true),
};

/// Scores in whole files, and the ids of their rows and queries.
pub(super) const SCORES: FolderKind = FolderKind {
    called: "scores as Kronfluence writes them",
    mark: "score_arguments.json",
    foreign: |folder| {
        entry_unlike(folder, |name| {
            OF_SCORES.contains(&name) || OF_QUERIES.contains(&name) || OF_ROWS_THEMSELVES.contains(&name)
        })
    },
};

/// Files of a folder of scores that both kinds of scores share; those of one kind have its scores first.
pub(super) const OF_SCORES: [&str; 4] =
    ["factor_arguments.json", "rows.txt", "score_arguments.json", "train_dataset_metadata.json"];
pub(super) const OF_QUERIES: [&str; 3] =
    ["pairwise_scores.safetensors", "queries.txt", "query_dataset_metadata.json"];
pub(super) const OF_ROWS_THEMSELVES: [&str; 1] = ["self_scores.safetensors"];

impl FolderKind {
    /// Whether a folder is one, and has nothing else.
    fn is_at(self, path: &Path) -> bool {
        path.join(self.mark).is_file() && matches!((self.foreign)(path), Ok(None))
    }
}

/// An entry of a folder that is no file with a name that fits.
fn entry_unlike(folder: &Path, fits: fn(&str) -> bool) -> std::io::Result<Option<PathBuf>> {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if !(fits(&entry.file_name().to_string_lossy()) && entry.path().is_file()) {
            return Ok(Some(entry.file_name().into()));
        }
    }
    Ok(None)
}

/// Whether an output is a folder: a slash says so, or a saved dataset that is there.
pub(super) fn is_folder(path: &Path) -> bool {
    ends_with_slash(path) || DATASET.is_at(path)
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(b"/")
}

/// Refuses a folder that cannot be made, or that is there and may not be replaced.
pub(super) fn check(path: &Path, kind: FolderKind, force: bool) -> Result<()> {
    let refuse = |why: &str| Err(UsageError(format!("{} {why}", path.display())).into());
    let target = place(path)?;
    if target.exists() && !target.is_dir() {
        return match ends_with_slash(path) {
            true => refuse("is a file; name a new folder, or leave out the slash at the end"),
            false => refuse("is a file; name a new folder"),
        };
    }
    let device = |folder: &Path| fs_err::metadata(folder).ok().map(|found| found.dev());
    let is_root = || target.exists() && device(&target) != device(parent(&target));
    if target.file_name().is_none() || is_root() {
        return refuse("is a folder that cannot be replaced; name a new one inside it");
    }
    check_folder(path, parent(&target))?;
    if has_long_name(&target) {
        return refuse(LONG_NAME);
    }
    if is_empty(&target)? || (force && kind.is_at(&target)) {
        return Ok(());
    }
    if kind.is_at(&target) {
        refuse!("{}", exists(path));
    }
    let why = match (kind.foreign)(&target)? {
        Some(other) => format!("holds something other than {}: {}", kind.called, other.display()),
        None => format!("has no {}, which marks {}", kind.mark, kind.called),
    };
    refuse(&format!("{why}; name a new or empty folder"))
}

/// The folder itself, behind a symlink that leads to it.
fn place(path: &Path) -> Result<PathBuf> {
    let target: PathBuf = path.components().collect();
    if !target.is_symlink() {
        return Ok(target);
    }
    match if_there(fs_err::canonicalize(target))? {
        Some(target) => Ok(target),
        None => refuse!("{} is a link to nothing; name a new folder", path.display()),
    }
}

/// Whether nothing is there, or an empty folder.
fn is_empty(path: &Path) -> Result<bool> {
    Ok(!path.exists() || fs_err::read_dir(path)?.next().is_none())
}

/// A folder under another name, until it is complete. It goes away when this is dropped.
pub(super) struct NewFolder {
    made: LockedFolder,
    target: PathBuf,
    kind: FolderKind,
    force: bool,
    /// Dropped after what was made in them.
    _around: CreatedFolder,
}

impl NewFolder {
    /// Begins one next to its place, and makes the folders that this is in. Messages call it by its place. What
    /// killed processes left of one that was to have this place goes.
    ///
    /// # Errors
    /// What [`check`] refuses.
    pub(super) fn begin(path: &Path, kind: FolderKind, force: bool) -> Result<Self> {
        let target = place(path)?;
        let around = CreatedFolder::of(parent(&target))?;
        check(path, kind, force)?;
        let begin = format!(".{}.", target.file_name().unwrap_or_default().to_string_lossy());
        let hidden = (begin.as_str(), ".part");
        remove_leftovers(hidden, parent(&target));
        let made = LockedFolder::make(parent(&target), hidden, &target)?;
        fs_err::create_dir(made.content())?;
        Ok(Self { made, target, kind, force, _around: around })
    }

    /// The folder to write into. Who writes a file there puts its bytes on the medium.
    pub(super) fn path(&self) -> &Path {
        self.made.content()
    }

    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Takes the place of an older one only where `may` says so of it.
    pub(super) fn replacing(self, may: impl Fn(&Path) -> bool) -> Self {
        Self { force: may(&self.target), ..self }
    }

    /// Takes files of these names from the folder whose place it takes, where they are. They may only be
    /// replaced in it: the old folder has the same ones until the end.
    pub(super) fn take(&self, names: &[&str]) -> Result<()> {
        for name in names {
            let (from, to) = (self.target.join(name), self.path().join(name));
            if from.exists() && fs_err::hard_link(&from, &to).is_err() {
                fs_err::copy(&from, &to)?;
                fs_err::File::open(&to)?.sync_all()?;
            }
        }
        Ok(())
    }

    /// Lets it appear under its name: in place of an older one in one step, where the file system can
    /// exchange names.
    ///
    /// # Errors
    /// What [`check`] refuses by now, and a name that it cannot have: it stays under the other one then. A
    /// name that may be lost again: the older one is kept.
    pub(super) fn finish(self) -> Result<()> {
        let Self { made, target, kind, force, _around } = self;
        if let Err(error) = publish(made.content(), &target, kind, force) {
            let Some(kept) = made.keep() else { return Err(error) };
            return Err(error.context(format!("the result is in {}", kept.display())));
        }
        made.settle()
    }
}

/// Lets all results of a command appear, the folder last, also after one that cannot have its name: that
/// stays under another.
///
/// # Errors
/// As [`all_placed`].
pub(super) fn place_all(
    folder: Option<NewFolder>,
    files: impl IntoIterator<Item = FinishedOutput>,
) -> Result<()> {
    all_placed(place_each(folder, files))
}

/// The same, with what became of each.
pub(super) fn place_each(
    folder: Option<NewFolder>,
    files: impl IntoIterator<Item = FinishedOutput>,
) -> Vec<Result<()>> {
    let mut placed: Vec<Result<()>> = files.into_iter().map(FinishedOutput::place).collect();
    placed.extend(folder.map(NewFolder::finish));
    placed
}

/// What became of all of them.
///
/// # Errors
/// Every one that there was, in one message: each says where a result is, which nothing else does.
pub(super) fn all_placed(placed: Vec<Result<()>>) -> Result<()> {
    let failed = placed.into_iter().filter_map(Result::err);
    failed.reduce(|all, next| anyhow!("{}\n{}", text(&all), text(&next))).map_or(Ok(()), Err)
}

/// Completes all results of a command before the first of them appears.
///
/// # Errors
/// As [`place_all`], and a result that cannot be completed: none appears then.
pub(super) fn finish_all(folder: Option<NewFolder>, files: impl IntoIterator<Item = Output>) -> Result<()> {
    let sealed = files.into_iter().map(Output::seal).collect::<Result<Vec<_>>>()?;
    place_all(folder, sealed)
}

fn publish(made: &Path, target: &Path, kind: FolderKind, force: bool) -> Result<()> {
    sync_folder(made)?;
    match rustix::fs::rename(made, target) {
        Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {
            // The command line was right when the command began.
            check(target, kind, force).map_err(|taken| anyhow!("{taken:#}"))?;
            exchange(made, target)
        }
        renamed => {
            renamed.map_err(std::io::Error::from).with_context(|| format!("cannot make {}", target.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stand_ins::by_their_names;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: std::io::Result<fs_err::DirEntry>| entry.expect("listed").file_name();
        let names = fs_err::read_dir(folder).expect("listed").map(name);
        let mut names: Vec<String> = names.map(|name| name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_result_that_cannot_have_its_name_stays_where_the_message_says() {
        let around = tempfile::tempdir().expect("a folder");
        let target = around.path().join("rows");
        let new = NewFolder::begin(&target, DATASET, true).expect("begun");
        fs_err::write(new.path().join("state.json"), "").expect("written");
        fs_err::create_dir(&target).expect("made");
        fs_err::write(target.join("notes.txt"), "mine").expect("written");
        let file = around.path().join("scores.csv");
        let other = Output::create(Some(&file), false).and_then(Output::seal).expect("begun");
        let error = place_all(Some(new), [other]).expect_err("taken");
        assert!(!error.chain().any(|cause| cause.is::<UsageError>()) && file.exists());
        let said = by_their_names(format!("{error:#}"));
        let names = names(around.path());
        let kept: Vec<&String> = names.iter().filter(|name| name.starts_with(".rows.")).collect();
        assert!(kept.len() == 1 && kept[0].ends_with(".result"), "{names:?}");
        let kept = around.path().join(kept[0]);
        assert!(said.contains(&format!("the result is in {}", kept.display())), "{said}");
        assert!(kept.join("state.json").is_file() && target.join("notes.txt").exists());
    }

    #[test]
    fn advice_on_a_slash_is_given_where_there_is_one() {
        let around = tempfile::tempdir().expect("a folder");
        let file = around.path().join("rows");
        fs_err::write(&file, "mine").expect("written");
        let refused = |path: &Path| check(path, DATASET, true).expect_err("a file").to_string();
        let shown = file.display();
        assert_eq!(refused(&file), format!("{shown} is a file; name a new folder"));
        let said = format!("{shown}/ is a file; name a new folder, or leave out the slash at the end");
        assert_eq!(refused(&file.join("")), said);
    }

    #[test]
    fn names_that_are_too_long_links_to_nothing_and_devices_are_refused() {
        let around = tempfile::tempdir().expect("a folder");
        let link = around.path().join("link");
        std::os::unix::fs::symlink(around.path().join("none"), &link).expect("linked");
        let long = around.path().join("a".repeat(243));
        for (path, says) in [
            (long.as_path(), "has too long a name: give a shorter one"),
            (link.as_path(), "is a link to nothing; name a new folder"),
            (Path::new("/dev/null"), "is a file; name a new folder"),
        ] {
            let error = check(path, DATASET, true).expect_err("refused");
            assert!(error.is::<UsageError>() && error.to_string().ends_with(says), "{error}");
        }
        assert!(check(&around.path().join("a".repeat(242)), DATASET, true).is_ok());
    }

    #[test]
    fn what_killed_processes_left_of_a_folder_goes_with_the_next_one_of_its_name() {
        let around = tempfile::tempdir().expect("a folder");
        let begin = || NewFolder::begin(&around.path().join("rows"), DATASET, false).expect("begun");
        let other = begin();
        for name in [".rows.killed.part", ".rows.mine", ".columns.killed.part"] {
            fs_err::create_dir_all(around.path().join(name).join("content")).expect("made");
            fs_err::write(around.path().join(name).join("lock"), "").expect("written");
        }
        begin().finish().expect("named");
        assert!(other.path().is_dir());
        drop(other);
        assert_eq!(names(around.path()), [".columns.killed.part", ".rows.mine", "rows"]);
    }

    #[test]
    fn folders_of_others_whose_names_are_like_those_of_leftovers_stay() {
        let around = tempfile::tempdir().expect("a folder");
        // Those of matrices `rows.parquet` and `rows.matrix` whose commands were killed, and of a user.
        let others = [
            (".rows.matrix.part", "question.json"),
            (".rows.mine.part", "content"),
            (".rows.my-own.part", "content"),
            (".rows.parquet.part", "question.json"),
            (".rows.saved1.part", "notes.txt"),
        ];
        for (name, file) in others {
            fs_err::create_dir(around.path().join(name)).expect("made");
            for file in ["lock", file] {
                fs_err::write(around.path().join(name).join(file), "").expect("written");
            }
        }
        drop(NewFolder::begin(&around.path().join("rows"), DATASET, false).expect("begun"));
        assert_eq!(names(around.path()), others.map(|(name, _)| name));
        for (name, file) in others {
            assert_eq!(names(&around.path().join(name)).len(), 2, "{name}: {file}");
        }
    }

    #[test]
    fn the_message_names_every_result_that_cannot_have_its_name() {
        let around = tempfile::tempdir().expect("a folder");
        let files = ["rows.jsonl", "scores.csv", "plot.svg"].map(|name| around.path().join(name));
        let begin = |file: &PathBuf| Output::create(Some(file), false).and_then(Output::seal).expect("begun");
        let sealed: Vec<FinishedOutput> = files.iter().map(begin).collect();
        for file in &files {
            fs_err::write(file, "mine").expect("written");
        }
        let said = text(&place_all(None, sealed).expect_err("taken"));
        let is_named = |entry: std::io::Result<fs_err::DirEntry>| {
            let name = entry.expect("listed").file_name().to_string_lossy().into_owned();
            name.ends_with(".result") && said.contains(&name)
        };
        let entries = fs_err::read_dir(around.path()).expect("listed");
        assert_eq!(entries.map(is_named).filter(|named| *named).count(), 3, "{said}");
        assert_eq!(said.lines().count(), 3, "{said}");
    }

    #[test]
    fn folders_around_a_result_stay_with_it_alone() {
        let around = tempfile::tempdir().expect("a folder");
        let target = around.path().join("some/where/rows");
        let begin = || NewFolder::begin(&target, DATASET, false).expect("begun");
        drop(begin());
        assert!(!around.path().join("some").exists());
        begin().finish().expect("named");
        assert!(target.is_dir());
    }
}
