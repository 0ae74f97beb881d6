//! Reverting: a new snapshot with the content of an older one.
//!
//! Invariants
//! - the history stays: what the store was before is the parent, so going back can be undone like any change
//! - numbers go on: a row, dataset, run or feature that is made later never gets the number of one that was
//!   ever there
//! - a dataset whose rows change this way passes over one row number, so that no two sets of its rows have
//!   the same next row and count

use crate::backup::missing_files;
use crate::error::{ChangeError, OpenError, StorageError};
use crate::manifest::{ArtifactPart, DatasetPart, Root};
use crate::rewrite::lock_compact;
use crate::store::{Chain, Change, Numbered, Snapshot, Store, WriterLock, change_of, publish};
use gstore_core::{many, many_of};
use serde::Serialize;
use std::sync::Arc;

/// How a store goes back.
#[derive(Debug, Clone, Default)]
pub struct RevertOptions {
    /// The command, for the history.
    pub command: String,
    /// Only say what would change.
    pub dry_run: bool,
}

/// What going back changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RevertReport {
    /// The snapshot whose content the store has again.
    pub to: u64,
    /// The new snapshot; none if nothing differs, or nothing was to be done.
    pub snapshot: Option<u64>,
    /// What differs, in words.
    pub changes: Vec<String>,
    /// Whether it can be undone: what is deleted of what the store had before can be read, and its files are
    /// there.
    #[serde(skip)]
    pub can_be_undone: bool,
}

impl Store {
    /// Publishes all that an older snapshot has again, but for its tags. Tags and the history stay.
    ///
    /// # Errors
    /// The snapshot was collected or lacks files; without `dry_run` a live job or a compaction, which go by what
    /// is there now.
    pub fn revert(&self, target: &Snapshot, options: &RevertOptions) -> Result<RevertReport, ChangeError> {
        let env = self.env();
        // A dry run takes no lock, so it works where nothing can be written.
        let locks = if options.dry_run {
            None
        } else {
            let only = lock_compact(env)?.ok_or(ChangeError::Compacting)?;
            Some((only, WriterLock::take(self)?))
        };
        let base = self.snapshot()?;
        base.keeps(target)?;
        let missing = missing_files(env, target)?;
        if let Some(first) = missing.first() {
            let (snapshot, count) = (target.number(), missing.len());
            return Err(ChangeError::FilesGone { snapshot, count, first: first.clone() });
        }
        let _starting = if options.dry_run { None } else { self.quiet("a feature", &|_| true)? };
        let mut change = change_of(&base, &options.command);
        let mut changes = datasets(self, &base, target, &mut change)?;
        let runs = (base.runs(), target.runs());
        let to = (&mut change.removed.runs, &mut change.runs);
        changes.extend(parts(runs, to, "checkpoints"));
        // Members that came later go, with their losses.
        let ensembles = (base.ensembles(), target.ensembles());
        let to = (&mut change.removed.ensembles, &mut change.ensembles);
        changes.extend(parts(ensembles, to, "members"));
        let features = (base.features(), target.features());
        let to = (&mut change.removed.features, &mut change.features);
        changes.extend(parts(features, to, "vectors"));
        changes.extend(artifacts(&base, target, &mut change)?);
        changes.extend(views(&base, target, &mut change));
        let can_be_undone = base.datasets().iter().all(|now| base.live_rows(now).is_ok())
            && missing_files(env, &base).is_ok_and(|missing| missing.is_empty());
        let mut report = RevertReport { to: target.number(), snapshot: None, changes, can_be_undone };
        let Some((_only, lock)) = locks.filter(|_| !report.changes.is_empty()) else { return Ok(report) };
        change.changes.push(format!("back to the content of snapshot {}", report.to));
        change.changes.extend(report.changes.iter().cloned());
        report.snapshot = Some(publish(self, &lock, &base, change)?.number());
        Ok(report)
    }
}

/// Puts the datasets of `target` into a change.
fn datasets(
    store: &Store,
    base: &Snapshot,
    target: &Snapshot,
    change: &mut Change,
) -> Result<Vec<String>, ChangeError> {
    let mut told = Vec::new();
    let next_rows = next_rows(store, base, target)?;
    for gone in base.datasets().iter().filter(|d| target.datasets().iter().all(|t| t.number != d.number)) {
        change.removed.datasets.push(gone.number);
        told.push(format!("dataset {} goes, with {}", gone.name, many(gone.rows, "row")));
    }
    for old in target.datasets() {
        let now = base.datasets().iter().find(|now| now.number == old.number);
        let text = match now {
            // Row numbers go on, whatever the rows are.
            Some(now) if DatasetPart { next_row: now.next_row, ..DatasetPart::clone(old) } == **now => {
                continue;
            }
            Some(now) => differing(base, now, target, old)?,
            None => format!("dataset {} comes back, with {}", old.name, many(old.rows, "row")),
        };
        told.push(text);
        let mut part = DatasetPart::clone(old);
        let own = next_rows.iter().filter(|(number, _)| *number == old.number);
        part.next_row = own.map(|(_, row)| *row).fold(old.next_row, u64::max).saturating_add(1);
        change.datasets.push(part);
    }
    Ok(told)
}

/// What is different about a dataset.
fn differing(
    base: &Snapshot,
    now: &DatasetPart,
    target: &Snapshot,
    old: &DatasetPart,
) -> Result<String, ChangeError> {
    let (name, there) = (&old.name, target.live_rows(old)?);
    let here = match base.live_rows(now) {
        // They are needed for these words only.
        Err(e) if e.is_damage() => {
            let rows = many(there.len(), "row");
            return Ok(format!(
                "dataset {name} has its earlier {rows}, those that were deleted since among them; which it has now cannot be read"
            ));
        }
        here => here?,
    };
    let (back, gone) = (there.difference(&here).len(), here.difference(&there).len());
    let come = |rows| many_of(rows, "row comes back", "rows come back");
    let go = |rows| many_of(rows, "row goes", "rows go");
    Ok(match (back, gone) {
        (0, 0) => format!("dataset {name} has its earlier columns, encodings and files"),
        (back, 0) => format!("dataset {name}: {}", come(back)),
        (0, gone) => format!("dataset {name}: {}", go(gone)),
        (back, gone) => format!("dataset {name}: {}, {}", come(back), go(gone)),
    })
}

/// Numbers of datasets, each with a row that the next sample of it got at some time. Of one of `target` the
/// highest is there, also where it was dropped meanwhile.
fn next_rows(store: &Store, base: &Snapshot, target: &Snapshot) -> Result<Vec<(u32, u64)>, OpenError> {
    let now = base.datasets().iter().map(|now| (now.number, now.next_row));
    let mut rows: Vec<(u32, u64)> = base.root().next_rows.clone().into_iter().chain(now).collect();
    if target.datasets().iter().all(|old| rows.iter().any(|(number, _)| *number == old.number)) {
        return Ok(rows);
    }
    // Roots of earlier versions leave a dropped dataset out. Older ones have it, as far as they are kept.
    for root in Chain::new(store.env(), base) {
        let (_, root) = root?;
        if root.snapshot <= target.number() {
            break;
        }
        rows.extend(root.next_rows);
    }
    for tag in base.root().tags.iter().filter(|tag| tag.snapshot > target.number()) {
        rows.extend(store.env().manifests().read::<Root>(&tag.root)?.next_rows);
    }
    Ok(rows)
}

/// Puts the parts of one kind of a target, `then`, into the `removed` and `changed` ones of a change.
fn parts<T: Numbered + PartialEq>(
    (now, then): (&[Arc<T>], &[Arc<T>]),
    (removed, changed): (&mut Vec<u32>, &mut Vec<T>),
    content: &str,
) -> Vec<String> {
    let what = T::KIND;
    let mut told = Vec::new();
    for gone in now.iter().filter(|part| then.iter().all(|old| old.number() != part.number())) {
        removed.push(gone.number());
        told.push(format!("{what} {} goes", gone.name()));
    }
    for old in then {
        told.push(match now.iter().find(|part| part.number() == old.number()) {
            Some(part) if part == old => continue,
            Some(_) => format!("{what} {} has its earlier {content}", old.name()),
            None => format!("{what} {} comes back", old.name()),
        });
        changed.push(T::clone(old));
    }
    told
}

/// Puts the artifacts of `target` into a change. One that was replaced has another number.
fn artifacts(base: &Snapshot, target: &Snapshot, change: &mut Change) -> Result<Vec<String>, StorageError> {
    let (now, then) = (&base.root().artifacts, &target.root().artifacts);
    let mut told = Vec::new();
    for gone in now.iter().filter(|link| !then.contains(link)) {
        change.removed.artifacts.push(gone.number);
        told.push(format!("artifact {} goes", gone.name));
    }
    for old in then.iter().filter(|link| !now.contains(link)) {
        change.artifacts.push(base.env().manifests().read::<ArtifactPart>(&old.link)?);
        told.push(format!("artifact {} comes back", old.name));
    }
    Ok(told)
}

/// Puts the views of `target` into a change.
fn views(base: &Snapshot, target: &Snapshot, change: &mut Change) -> Vec<String> {
    let (now, then) = (base.views(), target.views());
    if now == then {
        return Vec::new();
    }
    change.views = Some(then.to_vec());
    let gone = now.iter().filter(|view| then.iter().all(|old| old.name != view.name));
    let gone = gone.map(|view| format!("view {} goes", view.name));
    let back = then.iter().filter(|old| !now.contains(old)).map(|old| {
        match now.iter().any(|view| view.name == old.name) {
            true => format!("view {} has its earlier statement", old.name),
            false => format!("view {} comes back", old.name),
        }
    });
    gone.chain(back).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AppendOptions, AppendOutcome, DeleteOptions, NewSample, ViewOptions};
    use gstore_core::{DatasetName, RowSet};

    fn push(store: &Store, ids: &[&str]) -> Vec<AppendOutcome> {
        let name = DatasetName::try_from("pool").unwrap();
        let mut append = store.append(&name, vec![], AppendOptions::default()).unwrap();
        let sample = |id| NewSample { id, record: Some(b"{}".as_slice()), metadata: vec![] };
        let pushed = ids.iter().map(|id| append.push(sample(id)).unwrap()).collect();
        append.finish().unwrap();
        pushed
    }

    fn back(store: &Store, to: u64) -> Result<RevertReport, ChangeError> {
        let target = store.snapshot_at(to).unwrap();
        store.revert(&target, &RevertOptions { command: "revert".to_owned(), dry_run: false })
    }

    fn delete_first(store: &Store) {
        let seen = store.snapshot().unwrap();
        let delete = DeleteOptions { command: "delete".to_owned(), ..DeleteOptions::default() };
        store.delete(seen.dataset("pool").unwrap(), &RowSet::from_rows([0]), delete).unwrap();
    }

    fn is_sound(store: &Store) -> bool {
        store.verify(Default::default(), &mut |_| {}).unwrap().is_sound()
    }

    #[test]
    fn rows_come_back_under_their_numbers_and_new_ones_get_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        push(&store, &["a", "b"]);
        delete_first(&store);
        push(&store, &["c", "d"]);
        let dry = RevertOptions { dry_run: true, ..RevertOptions::default() };
        let report = store.revert(&store.snapshot_at(1).unwrap(), &dry).unwrap();
        assert_eq!(report.changes, ["dataset pool: 1 row comes back, 2 rows go"]);
        assert_eq!(store.snapshot().unwrap().number(), 3);
        let report = back(&store, 1).unwrap();
        assert_eq!((report.to, report.snapshot), (1, Some(4)));
        let now = store.snapshot().unwrap();
        let part = now.dataset("pool").unwrap();
        assert_eq!(*now.live_rows(part).unwrap(), RowSet::from_rows([0, 1]));
        assert!(is_sound(&store));
        // Rows 2 and 3 were given out once.
        assert_eq!(push(&store, &["a", "c"]), [AppendOutcome::Unchanged(0), AppendOutcome::Added(5)]);
        // And forth again.
        back(&store, 3).unwrap();
        let now = store.snapshot().unwrap();
        assert_eq!(*now.live_rows(now.dataset("pool").unwrap()).unwrap(), RowSet::from_rows([1, 2, 3]));
        assert!(is_sound(&store));
        assert!([3, 6].iter().all(|to| back(&store, *to).unwrap().snapshot.is_none()));
    }

    #[test]
    fn a_damaged_bitmap_of_now_is_not_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        push(&store, &["a", "b"]);
        delete_first(&store);
        drop(store);
        let folder = dir.path().join("s/tombstones/1");
        let bitmap = fs_err::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let mut bytes = fs_err::read(&bitmap).unwrap();
        bytes[0] ^= 1;
        fs_err::write(&bitmap, bytes).unwrap();
        let store = Store::open(dir.path().join("s")).unwrap();
        let report = back(&store, 1).unwrap();
        assert!(
            report.changes[0]
                .starts_with("dataset pool has its earlier 2 rows, those that were deleted since "),
            "{report:?}"
        );
        assert!(!report.can_be_undone && is_sound(&store));
        // There is no way forth to it.
        assert!(back(&store, 2).is_err_and(|e| e.is_damage()));
    }

    #[test]
    fn a_state_that_lacks_a_file_is_no_way_back() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        push(&store, &["a"]);
        push(&store, &["b"]);
        let file = store.snapshot().unwrap().dataset("pool").unwrap().files[1].uuid;
        fs_err::remove_file(dir.path().join(format!("s/samples/1/{file}.parquet"))).unwrap();
        assert!(!back(&store, 1).unwrap().can_be_undone);
        assert!(back(&store, 2).is_err());
    }

    #[test]
    fn what_was_dropped_comes_back_and_what_was_made_goes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        push(&store, &["a"]);
        push(&store, &["b"]);
        let seen = store.snapshot().unwrap();
        store.drop_dataset(seen.dataset("pool").unwrap(), "drop").unwrap();
        assert_eq!(back(&store, 1).unwrap().changes, ["dataset pool comes back, with 1 row"]);
        assert_eq!(push(&store, &["a", "x"]), [AppendOutcome::Unchanged(0), AppendOutcome::Added(3)]);
        assert_eq!(back(&store, 0).unwrap().changes, ["dataset pool goes, with 2 rows"]);
        assert!(is_sound(&store));
    }

    #[test]
    fn views_and_artifacts_come_back_too() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        push(&store, &["a"]);
        let view = |sql: &str| {
            let options = ViewOptions { command: "view".to_owned(), replace: true };
            store.create_view(None, &DatasetName::try_from("v").unwrap(), sql, options).unwrap();
        };
        view("SELECT 1");
        let artifact = || ArtifactPart::new("f", "prefilter", vec!["pool".to_owned()], serde_json::json!(1));
        let made = store.put_artifact(artifact(), None, None, "fit").unwrap().number();
        view("SELECT 2");
        store.drop_artifact(&store.snapshot().unwrap(), "f", "drop").unwrap();
        let report = back(&store, made).unwrap();
        assert_eq!(report.changes, ["artifact f comes back", "view v has its earlier statement"]);
        let now = store.snapshot().unwrap();
        assert_eq!(now.views()[0].sql, "SELECT 1");
        assert_eq!(now.artifact("f").unwrap().content, serde_json::json!(1));
        assert!(is_sound(&store));
    }

    #[test]
    fn a_snapshot_without_its_files_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::create(dir.path().join("s")).unwrap();
        push(&store, &["a"]);
        let target = store.snapshot().unwrap();
        store.drop_dataset(target.dataset("pool").unwrap(), "drop").unwrap();
        let folder = dir.path().join("s/samples");
        let number = fs_err::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
        let file = fs_err::read_dir(&number).unwrap().next().unwrap().unwrap().path();
        fs_err::remove_file(file).unwrap();
        let error = store.revert(&target, &RevertOptions::default()).unwrap_err();
        assert!(matches!(error, ChangeError::FilesGone { snapshot: 1, count: 1, .. }), "{error}");
        assert_eq!(store.snapshot().unwrap().number(), 2);
    }
}
