//! Promise: a backup is a whole snapshot, every byte verified, or it is not there; an earlier backup stays
//! usable until the new one is; what is restored from it is the store as it was.

use crate::common::crash::CrashVfs;
use crate::common::keep::*;
use crate::common::*;
use gstore_core::Cancel;
use gstore_store::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

static GO: Cancel = Cancel::new();

fn f() -> JobFeature {
    feature("grad-sgd", 6, DType::F16)
}

fn backup(store: &Store, to: &Path) -> Result<CopyReport, BackupError> {
    store.backup(to, &BackupOptions::default(), &mut |_| {}, &GO)
}

fn restore(from: &Path, to: &Path) -> Result<CopyReport, BackupError> {
    Store::restore(from, to, &mut |_| {}, &GO)
}

/// A store with samples, token counts and a feature.
fn rich(path: &Path) -> Store {
    let store = filled(path, 20, &f(), 5);
    let mut job = store.start_job(plan(vec![feature("grad-adam", 4, DType::F32)])).unwrap();
    seal_counts(&mut job, 0..20).unwrap();
    seal(&mut job, 0, 0..20);
    job.publish(None, true).unwrap();
    store
}

fn current(path: &Path) -> BTreeMap<String, String> {
    content(&Store::open(path).unwrap().snapshot().unwrap()).unwrap()
}

#[test]
fn a_backup_is_a_store_and_can_be_restored() {
    let dir = tempdir().unwrap();
    let [path, to, back] = ["s", "b", "r"].map(|n| dir.path().join(n));
    let store = rich(&path);
    store.tag(&tag_name("v1"), &store.snapshot().unwrap(), TagOptions::default()).unwrap();
    delete(&store, [3, 17]);
    let before = current(&path);
    let mut last = None;
    let report = store
        .backup(
            &to,
            &BackupOptions::default(),
            &mut |p| {
                assert!(last.as_ref().is_none_or(|l: &CopyProgress| l.bytes_done <= p.bytes_done));
                last = Some(p);
            },
            &GO,
        )
        .unwrap();
    let last = last.unwrap();
    assert_eq!((last.bytes_done, last.files_done), (last.bytes_total, last.files_total));
    assert_eq!((report.snapshot, report.files_kept, report.files_copied), (5, 0, last.files_total));
    let copied = Store::open(&to).unwrap().snapshot().unwrap();
    assert_eq!(
        (copied.number(), copied.oldest(), copied.tags().len(), copied.history().unwrap().len()),
        (5, 5, 0, 1)
    );
    assert_eq!(copied.info().store, store.snapshot().unwrap().info().store);
    assert_eq!(current(&to), before);
    assert_tidy(&Store::open(&to).unwrap());
    restore(&to, &back).unwrap();
    assert!(!back.join("restore.json").exists() && !back.join("backup.json").exists());
    assert_eq!(current(&back), before);
    // Work goes on in it.
    let restored = Store::open(&back).unwrap();
    let report = add(&restored, 10..30).unwrap();
    assert_eq!((report.added, report.left_out), (10, 1), "a deleted row stays out here too");
    assert_eq!(restored.snapshot().unwrap().number(), 6);
    assert!(verify(&restored).is_sound());
    assert_clean(&restored);
}

#[test]
fn an_open_store_reads_and_writes_what_was_restored_in_its_folder() {
    let dir = tempdir().unwrap();
    let [path, to, old] = ["s", "b", "old"].map(|n| dir.path().join(n));
    let store = rich(&path);
    let saved = store.snapshot().unwrap();
    backup(&store, &to).unwrap();
    delete(&store, [3, 17]);
    store.tag(&tag_name("v1"), &store.snapshot().unwrap(), TagOptions::default()).unwrap();
    store.collect(gc(1)).unwrap();
    let before = store.snapshot().unwrap();
    assert!(before.oldest() > saved.number() && store.still_has(&before).unwrap());
    fs_err::rename(&path, &old).unwrap();
    restore(&to, &path).unwrap();
    let restored = store.snapshot().unwrap();
    assert_eq!(
        (restored.number(), restored.oldest(), restored.tags().len()),
        (saved.number(), saved.number(), 0)
    );
    assert!(!store.still_has(&before).unwrap() && !store.still_has(&saved).unwrap());
    assert_eq!(add(&store, 30..40).unwrap().added, 10);
    assert_eq!(store.snapshot().unwrap().number(), saved.number() + 1);
    assert!(store.still_has(&restored).unwrap() && !store.still_has(&saved).unwrap());
    assert_eq!(store.snapshot_at(saved.number()).unwrap().digest(), restored.digest());
    assert!(verify(&store).is_sound());
}

#[test]
fn a_second_backup_copies_what_is_new_and_removes_what_is_not_needed() {
    let dir = tempdir().unwrap();
    let [path, to] = ["s", "b"].map(|n| dir.path().join(n));
    let store = rich(&path);
    let first = backup(&store, &to).unwrap();
    let again = backup(&store, &to).unwrap();
    assert_eq!((again.files_copied, again.files_kept), (0, first.files_copied));
    assert_eq!(again.swept.files(), 0);
    // Old enough to be wrong: a file that rotted in the backup is written again.
    let rotten = to.join("segments/1").join(files(&to.join("segments/1")).remove(0));
    flip(&rotten, |bytes| bytes.len() / 2);
    let cut = to.join("samples/1").join(files(&to.join("samples/1")).remove(0));
    fs_err::write(&cut, "short").unwrap();
    assert_eq!(backup(&store, &to).unwrap().files_copied, 2);
    drop_features(&path);
    add(&store, 20..25).unwrap();
    let report = backup(&store, &to).unwrap();
    assert_eq!((report.snapshot, report.files_copied), (5, 2), "one file of samples and one part");
    assert_eq!(report.swept.removed[&FileKind::Segments].files, 5);
    assert_eq!(current(&to), current(&path));
    assert!(verify(&Store::open(&to).unwrap()).is_sound());
    assert_clean(&Store::open(&to).unwrap());
    // An older snapshot can be had as well.
    let at = BackupOptions { at: Some("1".parse().unwrap()), ..BackupOptions::default() };
    assert_eq!(store.backup(&to, &at, &mut |_| {}, &GO).unwrap().snapshot, 1);
    assert_eq!(current(&to), content(&store.snapshot_at(1).unwrap()).unwrap());
}

#[test]
fn the_lease_of_a_restore_names_its_command() {
    let (dir, _, store) = placed(rich);
    let [to, back] = ["b", "r"].map(|n| dir.path().join(n));
    backup(&store, &to).unwrap();
    let leases = to.join("leases");
    let mut named = false;
    let mut look = |_: CopyProgress| {
        let text = |file: &PathBuf| fs_err::read_to_string(leases.join(file)).unwrap();
        named |= files(&leases).iter().any(|file| text(file).contains("\"gstore restore\""));
    };
    Store::restore(&to, &back, &mut look, &GO).unwrap();
    assert!(named);
}

#[test]
fn folders_of_others_are_refused_and_stay_as_they_are() {
    let (dir, path, store) = placed(rich);
    let other = Store::create(dir.path().join("other")).unwrap();
    let full = dir.path().join("full");
    fs_err::create_dir_all(&full).unwrap();
    fs_err::write(full.join("thesis.tex"), "x").unwrap();
    let theirs = dir.path().join("theirs");
    backup(&other, &theirs).unwrap();
    let lived = dir.path().join("lived");
    backup(&store, &lived).unwrap();
    add(&Store::open(&lived).unwrap(), 100..110).unwrap();
    let elsewhere = tempdir().unwrap();
    let link = elsewhere.path().join("link");
    fs_err::os::unix::fs::symlink(&path, &link).unwrap();
    for (to, what) in [
        (&full, "thesis.tex"),
        (&theirs, "holds a backup of store"),
        (&lived, "was changed"),
        (&path, "contains the store or is inside it"),
        (&path.join("segments/b"), "contains the store or is inside it"),
        (&link.join("segments/b"), "contains the store or is inside it"),
        (&dir.path().join("other"), "is not empty"),
    ] {
        let before: Vec<PathBuf> = files(to.ancestors().find(|a| a.exists()).unwrap());
        let e = backup(&store, to).unwrap_err();
        assert!(e.to_string().contains(what), "{}: {e}", to.display());
        assert_eq!(files(to.ancestors().find(|a| a.exists()).unwrap()), before);
    }
    for to in [&full, &theirs, &path] {
        let e = restore(&lived, to).unwrap_err();
        assert!(matches!(e, BackupError::NotEmpty { .. } | BackupError::Exists(_)), "{e}");
    }
    assert!(matches!(
        restore(&full, &dir.path().join("new")),
        Err(BackupError::Store(StoreError::Open(OpenError::NotAStore(_))))
    ));
}

#[test]
fn a_backup_whose_marker_cannot_be_read_stays_and_can_be_restored() {
    let dir = tempdir().unwrap();
    let [path, to, half] = ["s", "b", "half"].map(|n| dir.path().join(n));
    let store = rich(&path);
    backup(&store, &to).unwrap();
    let marker = to.join("backup.json");
    let (shown, before) = (marker.display().to_string(), current(&path));
    add(&store, 20..30).unwrap();
    let cut = |place: &Path| fs_err::write(place, "{").unwrap();
    let take = |place: &Path| {
        fs_err::remove_file(place).unwrap();
        fs_err::create_dir(place).unwrap();
    };
    let damages: [&dyn Fn(&Path); 2] = [&cut, &take];
    for (n, damage) in damages.into_iter().enumerate() {
        damage(&marker);
        let e = backup(&store, &to).unwrap_err();
        let text = e.to_string();
        assert!(e.is_damage() && text.starts_with(&shown) && !text.contains("verification"), "{text}");
        assert!(text.ends_with("can still be restored; for a new one give another folder"), "{text}");
        assert!(store.snapshot().unwrap().replaced_backup(&to).is_err());
        let back = dir.path().join(n.to_string());
        restore(&to, &back).unwrap();
        assert_eq!(current(&back), before);
    }
    fs_err::create_dir(&half).unwrap();
    cut(&half.join("restore.json"));
    let text = restore(&to, &half).unwrap_err().to_string();
    assert!(text.ends_with("not finished: remove it, or give another one"), "{text}");
}

#[test]
fn a_backup_that_was_purged_counts_as_changed() {
    let dir = tempdir().unwrap();
    let [path, to] = ["s", "b"].map(|n| dir.path().join(n));
    let store = rich(&path);
    backup(&store, &to).unwrap();
    backup(&store, &to).unwrap();
    purge(&Store::open(&to).unwrap(), [3]).unwrap();
    let e = backup(&store, &to).unwrap_err();
    assert!(matches!(e, BackupError::Changed { .. }), "{e}");
    assert_eq!(Store::open(&to).unwrap().snapshot().unwrap().dataset("pool").unwrap().rows, 19);
}

#[test]
fn damage_is_never_copied() {
    let dir = tempdir().unwrap();
    let [path, to] = ["s", "b"].map(|n| dir.path().join(n));
    let store = rich(&path);
    backup(&store, &to).unwrap();
    let mut held = current(&to);
    add(&store, 20..30).unwrap();
    let after = current(&path);
    let all = files(&path);
    let data = |p: &&PathBuf| p.extension().is_some_and(|e| e == "arrow" || e == "parquet");
    for file in all.iter().filter(data) {
        let whole = fs_err::read(path.join(file)).unwrap();
        for at in [0, 70, whole.len() / 3, whole.len() / 2, whole.len() - 20, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs_err::write(path.join(file), &bytes).unwrap();
            let fresh = dir.path().join("fresh");
            let e = backup(&store, &fresh).unwrap_err();
            assert!(e.is_damage(), "{} byte {at}: {e}", file.display());
            let text = e.to_string();
            assert!(text.contains(file.to_str().unwrap()) && text.contains("rows"), "{text}");
            assert!(!fresh.join("CURRENT").exists());
            fs_err::remove_dir_all(&fresh).unwrap();
            // A backup that has the file from before is brought up to date with that.
            match backup(&store, &to) {
                Ok(_) => held = after.clone(),
                Err(e) => assert!(e.is_damage(), "{e}"),
            }
            assert_eq!(current(&to), held);
        }
        for bytes in [Some(&whole[..whole.len() - 1]), None] {
            match bytes {
                Some(bytes) => fs_err::write(path.join(file), bytes).unwrap(),
                None => fs_err::remove_file(path.join(file)).unwrap(),
            }
            assert!(backup(&store, &dir.path().join("fresh")).unwrap_err().is_damage());
            fs_err::remove_dir_all(dir.path().join("fresh")).unwrap();
        }
        fs_err::write(path.join(file), &whole).unwrap();
    }
}

#[test]
fn a_cancelled_backup_goes_on_where_it_stopped() {
    let dir = tempdir().unwrap();
    let [path, to] = ["s", "b"].map(|n| dir.path().join(n));
    let store = rich(&path);
    let stop = Cancel::new();
    let result = store.backup(
        &to,
        &BackupOptions::default(),
        &mut |p| {
            if p.files_done == 4 {
                stop.raise()
            }
        },
        &stop,
    );
    assert!(matches!(result, Err(BackupError::Cancelled(_))));
    assert!(Store::open(&to).is_err(), "there is no backup yet");
    assert_eq!(backup(&store, &to).unwrap().files_kept, 4);
    assert!(files(&path.join("leases")).is_empty());
}

#[test]
fn a_restore_that_goes_on_with_a_newer_backup_leaves_nothing_of_the_earlier_one() {
    let dir = tempdir().unwrap();
    let [path, from, to] = ["s", "b", "r"].map(|n| dir.path().join(n));
    let store = rich(&path);
    backup(&store, &from).unwrap();
    let stop = Cancel::new();
    let stopped = Store::restore(
        &from,
        &to,
        &mut |p| {
            if p.files_done == 5 {
                stop.raise()
            }
        },
        &stop,
    );
    assert!(matches!(stopped, Err(BackupError::Cancelled(_))));
    assert!(!files(&to.join("segments")).is_empty());
    drop_features(&path);
    backup(&store, &from).unwrap();
    let report = restore(&from, &to).unwrap();
    assert!(report.files_kept > 0 && report.swept.files() > 0, "{report:?}");
    assert!(files(&to.join("segments")).is_empty());
    assert_tidy(&Store::open(&to).unwrap());
}

#[test]
fn a_crash_or_a_failure_at_any_operation_leaves_the_old_backup_or_the_new() {
    let dir = tempdir().unwrap();
    let [path, first] = ["s", "b"].map(|n| dir.path().join(n));
    let store = rich(&path);
    backup(&store, &first).unwrap();
    let old = current(&first);
    drop_features(&path);
    add(&store, 20..25).unwrap();
    let new = current(&path);
    for (fresh, once) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut crashes = 0;
        for n in 0.. {
            let to = dir.path().join(format!("{fresh}{once}{n}"));
            if !fresh {
                copy(&first, &to);
            }
            let vfs = if once { CrashVfs::once(n) } else { CrashVfs::new(n) };
            let result = Store::open_on(Arc::new(vfs.clone()), &path)
                .map_err(BackupError::from)
                .and_then(|s| backup(&s, &to));
            let (left, ok) = (vfs.left(), result.is_ok());
            match Store::open(&to) {
                Ok(store) => {
                    let found = content(&store.snapshot().unwrap()).unwrap();
                    assert!(found == new || (found == old && !fresh && !ok), "after {n} operations");
                }
                Err(e) => assert!(fresh && !ok && !e.is_damage(), "after {n} operations: {e}"),
            }
            backup(&store, &to).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
            assert_eq!(current(&to), new);
            assert_clean(&Store::open(&to).unwrap());
            fs_err::remove_dir_all(&to).unwrap();
            if ok && left > 0 || once && left >= 0 {
                break;
            }
            crashes += 1;
        }
        assert!(crashes > 20, "{crashes}");
    }
    store.collect(gc(1)).unwrap();
    assert_clean(&store);
}

#[test]
fn a_crash_or_a_failure_at_any_operation_of_a_restore_is_made_good_by_the_next() {
    let dir = tempdir().unwrap();
    let [path, from] = ["s", "b"].map(|n| dir.path().join(n));
    backup(&rich(&path), &from).unwrap();
    let whole = current(&path);
    for once in [false, true] {
        let mut crashes = 0;
        for n in 0.. {
            let to = dir.path().join(format!("{once}{n}"));
            let vfs = if once { CrashVfs::once(n) } else { CrashVfs::new(n) };
            let result = Store::restore_on(Arc::new(vfs.clone()), &from, &to, &mut |_| {}, &GO);
            let (left, ok) = (vfs.left(), result.is_ok());
            match Store::open(&to) {
                Ok(_) => {
                    let e = restore(&from, &to).unwrap_err();
                    assert!(matches!(e, BackupError::Exists(_)), "{e}");
                }
                Err(e) => {
                    assert!(!ok && !e.is_damage(), "after {n} operations: {e}");
                    restore(&from, &to).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
                }
            }
            assert_eq!(current(&to), whole);
            let store = Store::open(&to).unwrap();
            add(&store, 20..21).unwrap();
            store.collect(gc(1)).unwrap();
            assert!(!to.join("restore.json").exists());
            assert_clean(&store);
            fs_err::remove_dir_all(&to).unwrap();
            if ok && left > 0 || once && left >= 0 {
                break;
            }
            crashes += 1;
        }
        assert!(crashes > 20, "{crashes}");
    }
}

#[test]
fn backups_are_whole_while_others_write_and_collect() {
    let (dir, path, _) = placed(rich);
    let stop = Cancel::new();
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let store = Store::open(&path).unwrap();
            while !stop.is_raised() {
                store.collect(gc(1)).unwrap();
            }
        });
        let copier = scope.spawn(|| {
            let store = Store::open(&path).unwrap();
            let to = dir.path().join("b");
            let mut last = 0;
            for _ in 0..25 {
                let report = backup(&store, &to).unwrap();
                assert!(report.snapshot >= last);
                last = report.snapshot;
                let copied = Store::open(&to).unwrap();
                assert!(verify(&copied).is_sound());
                let part = copied.snapshot().unwrap().dataset("pool").unwrap().clone();
                for f in copied.snapshot().unwrap().features() {
                    assert!(f.rows() <= part.rows);
                }
                assert_clean(&copied);
            }
        });
        let store = Store::open(&path).unwrap();
        let mut i = 0u64;
        while !copier.is_finished() {
            if i.is_multiple_of(3) {
                // By hand, so under the lock that writers take.
                let append = store.append(&dataset(), columns(), options("hold")).unwrap();
                drop_features(&path);
                drop(append);
            }
            add(&store, 20 + i..21 + i).unwrap();
            let mut job = store.start_job(plan(vec![f()])).unwrap();
            let missing = RowSet::from_range(0..20).difference(&job.rows_done(0));
            if !missing.is_empty() {
                seal(&mut job, 0, missing.iter());
            }
            job.publish(None, true).unwrap();
            i += 1;
        }
        stop.raise();
        collector.join().unwrap();
        copier.join().unwrap();
    });
}
