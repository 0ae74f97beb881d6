//! Promise: a command changes what its caller had found, or nothing, whatever another process did before
//! it got the writer lock.

use crate::common::hook::HookVfs;
use crate::common::keep::{gc, tag_name};
use crate::common::*;
use gstore_core::Cancel;
use gstore_store::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Twenty samples, two features, a run.
fn made(path: &Path) -> Store {
    let store = filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5);
    let mut job = store.start_job(plan(vec![feature("grad-adam", 6, DType::F16)])).unwrap();
    seal(&mut job, 0, 0..20);
    job.publish(Some(warmup("checkpoint-7", 7, 1e-5)), true).unwrap();
    store
}

fn rows() -> RowSet {
    RowSet::from_rows([3, 4])
}

fn purge() -> DeleteOptions {
    DeleteOptions { purge: true, ..DeleteOptions::default() }
}

fn gone(e: &ChangeError) -> Option<bool> {
    match e {
        ChangeError::Changed(ConcurrentChange::Gone { replaced, .. }) => Some(*replaced),
        _ => None,
    }
}

fn replace(store: &Store, id: u64) {
    let options = AppendOptions { if_changed: IfChanged::Replace, ..options("add --if-changed replace") };
    let mut append = store.append(&dataset(), columns(), options).unwrap();
    let metadata = vec![MetaValue::Text("new".into()), MetaValue::Int(-1)];
    append.push(NewSample { id: &format!("s{id}"), record: Some(b"{}"), metadata }).unwrap();
    assert_eq!(append.finish().unwrap().replaced, 1);
}

#[test]
fn a_dataset_that_got_the_name_is_another_one() {
    let (_dir, _, store) = placed(made);
    let seen = store.snapshot().unwrap();
    let old = seen.dataset("pool").unwrap();
    store.drop_dataset(old, "drop").unwrap();
    for options in [DeleteOptions::default(), purge()] {
        assert_eq!(gone(&store.delete(old, &rows(), options).unwrap_err()), Some(false));
    }
    add(&store, 100..120).unwrap();
    let number = store.snapshot().unwrap().number();
    for options in [DeleteOptions::default(), purge()] {
        let e = store.delete(old, &rows(), options).unwrap_err();
        assert_eq!(gone(&e), Some(true));
        assert!(e.to_string().contains("dataset pool was dropped"), "{e}");
    }
    assert_eq!(gone(&store.drop_dataset(old, "drop").unwrap_err()), Some(true));
    assert_eq!(store.snapshot().unwrap().number(), number, "nothing was published");
    assert_eq!(pool(&store).rows, 20);
}

#[test]
fn rows_that_came_or_went_have_to_be_found_again() {
    let changes: [fn(&Store); 3] = [
        |store| replace(store, 3),
        |store| assert_eq!(add(store, 20..21).unwrap().added, 1),
        |store| drop(store.delete(&pool(store), &rows(), DeleteOptions::default()).unwrap()),
    ];
    for change in changes {
        let (_dir, _, store) = placed(made);
        let seen = pool(&store);
        change(&store);
        let now = store.snapshot().unwrap().number();
        for options in [DeleteOptions::default(), purge()] {
            let e = store.delete(&seen, &rows(), options).unwrap_err();
            assert!(
                matches!(&e, ChangeError::Changed(c @ ConcurrentChange::Rows { .. }) if c.can_repeat()),
                "{e}"
            );
        }
        assert_eq!(store.snapshot().unwrap().number(), now, "nothing was published");
        store.delete(&pool(&store), &RowSet::from_rows([5]), purge()).unwrap();
    }
}

#[test]
fn what_moves_no_row_is_not_in_the_way() {
    let (_dir, _, store) = placed(made);
    let seen = store.snapshot().unwrap();
    let part = seen.dataset("pool").unwrap();
    add_to_other(&store);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    let asked = DeleteOptions { asked: Some(Arc::clone(&seen)), ..DeleteOptions::default() };
    let e = store.delete(part, &rows(), asked).unwrap_err();
    assert!(matches!(e, ChangeError::Changed(ConcurrentChange::Store { seen: 3, now: 5 })), "{e}");
    assert_eq!(store.delete(part, &rows(), DeleteOptions::default()).unwrap().deleted, 2);
}

fn add_to_other(store: &Store) {
    let name = DatasetName::try_from("other").unwrap();
    let mut append = store.append(&name, columns(), options("add")).unwrap();
    let metadata = vec![MetaValue::Null, MetaValue::Null];
    append.push(NewSample { id: "s3", record: None, metadata }).unwrap();
    append.finish().unwrap();
}

#[test]
fn features_and_runs_that_were_made_again_are_others() {
    let (_dir, _, store) = placed(made);
    let seen = store.snapshot().unwrap();
    let (run, part) = (seen.run("warmup").unwrap(), seen.feature("grad-adam@checkpoint-7").unwrap());
    store.drop_run(run, "drop").unwrap();
    assert_eq!(gone(&store.drop_run(run, "drop").unwrap_err()), Some(false));
    store.drop_feature(part, "drop").unwrap();
    assert_eq!(gone(&store.drop_feature(part, "drop").unwrap_err()), Some(false));
    let mut job = store.start_job(plan(vec![feature("grad-adam", 6, DType::F16)])).unwrap();
    seal(&mut job, 0, 0..20);
    job.publish(Some(warmup("checkpoint-7", 7, 1e-5)), true).unwrap();
    assert_eq!(gone(&store.drop_run(run, "drop").unwrap_err()), Some(true));
    assert_eq!(gone(&store.drop_feature(part, "drop").unwrap_err()), Some(true));
    assert_eq!(store.snapshot().unwrap().features().len(), 2);
}

/// What is said of a job that does not start because of what it was planned on.
fn refused(start: Result<Job, JobError>) -> String {
    match start {
        Err(e @ JobError::Changed(_)) => e.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_starts_on_what_it_was_planned_on_or_not_at_all() {
    let wanted = || plan(vec![feature("grad-sgd", 6, DType::F16)]);
    type Change = (fn(&Store), &'static str);
    let changes: [Change; 4] = [
        (
            |store| {
                store.drop_dataset(&pool(store), "drop").unwrap();
                add(store, 0..20).unwrap();
            },
            "its name belongs to another one now",
        ),
        (
            |store| {
                let seen = store.snapshot().unwrap();
                store.drop_feature(seen.feature("grad-sgd@checkpoint-7").unwrap(), "drop").unwrap();
            },
            "grad-sgd@checkpoint-7 was dropped",
        ),
        (|store| revert(store, 5), "vectors of feature pool/grad-sgd@checkpoint-7"),
        (|store| revert(store, 4), "token counts (tulu) of dataset pool"),
    ];
    for (change, says) in changes {
        let (_dir, path, store) = placed(made);
        add(&store, 20..30).unwrap();
        let mut job = store.start_job(wanted()).unwrap();
        seal_counts(&mut job, 0..30).unwrap();
        job.publish(None, false).unwrap();
        publish_rows(&store, &feature("grad-sgd", 6, DType::F16), 20..30, true);
        let planned = store.snapshot().unwrap();
        assert_eq!(planned.number(), 6);
        change(&store);
        let error = refused(store.start_job_on(&planned, wanted(), &Cancel::new()));
        assert!(error.contains(says) && error.ends_with("run the command again"), "{error}");
        assert!(
            fs_err::read_dir(path.join("tmp"))
                .unwrap()
                .all(|entry| { !entry.unwrap().file_name().to_string_lossy().starts_with("job-") })
        );
        drop(store.start_job(wanted()).unwrap());
    }
}

fn revert(store: &Store, to: u64) {
    store.revert(&store.snapshot_at(to).unwrap(), &RevertOptions::default()).unwrap();
}

#[test]
fn what_comes_after_the_plan_is_not_in_the_way_of_its_job() {
    let (_dir, _, store) = placed(made);
    let planned = store.snapshot().unwrap();
    add(&store, 20..30).unwrap();
    delete(&store, [3, 4]);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    let f = feature("grad-sgd", 6, DType::F16);
    publish_rows(&store, &f, 20..25, false);
    let job = store.start_job_on(&planned, plan(vec![f]), &Cancel::new()).unwrap();
    assert!(job.rows_done(0).contains(24) && !job.rows_done(0).contains(25));
}

#[test]
fn a_tag_is_on_the_snapshot_that_was_meant() {
    let (_dir, _, store) = placed(made);
    let (seen, v1) = (store.snapshot().unwrap(), tag_name("v1"));
    add(&store, 20..30).unwrap();
    store.tag(&v1, &seen, TagOptions::default()).unwrap();
    let tag = store.snapshot().unwrap().tag("v1").unwrap();
    assert_eq!(tag.snapshot, seen.number());
    // Moved by another process: the one that was meant is not there.
    let force = TagOptions { move_there: true, ..TagOptions::default() };
    store.tag(&v1, &store.snapshot().unwrap(), force.clone()).unwrap();
    let e = store.untag(&tag, "untag").unwrap_err();
    assert!(matches!(&e, ChangeError::Changed(ConcurrentChange::Gone { replaced: true, .. })), "{e}");
    store.untag(&store.snapshot().unwrap().tag("v1").unwrap(), "untag").unwrap();
    let e = store.untag(&tag, "untag").unwrap_err();
    assert!(matches!(&e, ChangeError::Changed(ConcurrentChange::Gone { replaced: false, .. })), "{e}");
    store.collect(gc(1)).unwrap();
    let e = store.tag(&v1, &seen, force).unwrap_err();
    assert!(matches!(&e, ChangeError::Changed(ConcurrentChange::Gone { .. })), "{e}");
    assert!(store.snapshot().unwrap().tags().is_empty());
}

#[test]
fn who_stops_a_delete_in_time_stops_all_of_it() {
    let (_dir, path) = place();
    drop(made(&path));
    let before = bytes(&path);
    for purge in [false, true] {
        // Stopped while the lock is waited for, and (a purge) while files are written.
        for moment in [("lock", "LOCK"), ("create", ".arrow"), ("rename", ".arrow")] {
            if !purge && moment.0 != "lock" {
                continue;
            }
            let cancel = Arc::new(Cancel::new());
            let raise = Arc::clone(&cancel);
            let vfs = HookVfs::new(move |operation, path| {
                if operation == moment.0 && path.to_string_lossy().ends_with(moment.1) {
                    raise.raise();
                }
                Ok(())
            });
            let store = Store::open_on(vfs, &path).unwrap();
            let options =
                DeleteOptions { purge, cancel: Some(Arc::clone(&cancel)), ..DeleteOptions::default() };
            let e = store.delete(&pool(&store), &rows(), options).unwrap_err();
            assert!(matches!(e, ChangeError::Stopped(_)), "{moment:?}: {e}");
            assert!(cancel.is_raised());
            assert_eq!(bytes(&path), before, "{moment:?}");
        }
    }
}

#[test]
fn a_purge_is_stopped_between_the_files_whose_ids_it_reads() {
    let (_dir, path, store) = with_samples(10);
    add(&store, 10..20).unwrap();
    let (cancel, seen) = (Arc::new(Cancel::new()), Arc::new(Mutex::new(BTreeSet::new())));
    let (raise, touched) = (Arc::clone(&cancel), Arc::clone(&seen));
    let vfs = HookVfs::new(move |_, file| {
        if file.extension().is_some_and(|e| e == "parquet") {
            touched.lock().unwrap().insert(file.to_owned());
            raise.raise();
        }
        Ok(())
    });
    let store = Store::open_on(vfs, &path).unwrap();
    let options = DeleteOptions { cancel: Some(cancel), ..purge() };
    let e = store.delete(&pool(&store), &RowSet::from_rows([3, 13]), options).unwrap_err();
    assert!(matches!(e, ChangeError::Stopped(_)), "{e}");
    assert_eq!(seen.lock().unwrap().len(), 1);
}

#[test]
fn after_the_commit_nothing_is_stopped() {
    let (_dir, path) = place();
    drop(made(&path));
    let cancel = Arc::new(Cancel::new());
    let raise = Arc::clone(&cancel);
    let vfs = HookVfs::new(move |operation, path| {
        if operation == "rename" && path.ends_with("CURRENT.new") {
            raise.raise();
        }
        Ok(())
    });
    let store = Store::open_on(vfs, &path).unwrap();
    let options = DeleteOptions { cancel: Some(Arc::clone(&cancel)), ..purge() };
    let report = store.delete(&pool(&store), &rows(), options).unwrap();
    assert!(cancel.is_raised());
    assert_eq!((report.purged, report.files_removed > 0), (2, true));
    assert!(verify(&store).is_sound() && verify(&store).unreferenced.is_empty());
}

/// Files of the store with what is in them, locks aside.
fn bytes(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let lock = |f: &PathBuf| f.extension().is_some_and(|e| e == "lock");
    let names = files(path).into_iter().filter(|f| !lock(f));
    names.map(|f| (f.clone(), fs_err::read(path.join(&f)).unwrap())).collect()
}

fn content(snapshot: &Snapshot) -> Vec<u64> {
    let part = snapshot.dataset("pool").unwrap();
    let scanned: u64 = snapshot
        .samples(part)
        .unwrap()
        .scan(&["row", "record"], None)
        .map(|batch| batch.unwrap().num_rows() as u64)
        .sum();
    let rows = snapshot.features().iter().map(|f| {
        let reader = snapshot.open_feature(f).unwrap();
        (0..20).filter(|row| reader.row(*row).unwrap().is_some()).count() as u64
    });
    [scanned].into_iter().chain(rows).collect()
}

/// A purge during which a reader gets a lease, right before the n-th operation of this name
/// on a file that ends so.
fn purge_with_reader(
    path: &Path,
    moment: (&'static str, &'static str, usize),
) -> (Result<DeleteReport, ChangeError>, Arc<Snapshot>, Option<Lease>) {
    let reader = Arc::new(std::sync::Mutex::new(None));
    let (given, count, place) = (Arc::clone(&reader), AtomicUsize::new(0), path.to_owned());
    let vfs = HookVfs::new(move |operation, at| {
        if operation == moment.0
            && at.to_string_lossy().ends_with(moment.1)
            && count.fetch_add(1, Ordering::SeqCst) == moment.2
        {
            let leased =
                Store::open(&place).unwrap().snapshot_leased(None, "gstore query --id secret").unwrap();
            *given.lock().unwrap() = Some(leased);
        }
        Ok(())
    });
    let store = Store::open_on(vfs, path).unwrap();
    let done = store.delete(&pool(&store), &rows(), purge());
    let (snapshot, lease) = reader.lock().unwrap().take().expect("the moment came");
    assert!(lease.is_some());
    (done, snapshot, lease)
}

#[test]
fn a_reader_that_comes_while_a_purge_writes_keeps_its_snapshot() {
    for moment in [("create", ".arrow", 1), ("rename", ".parquet", 0)] {
        let (_dir, path) = place();
        let before = made(&path).snapshot().unwrap().number();
        let (done, snapshot, lease) = purge_with_reader(&path, moment);
        match done {
            Err(ChangeError::Leased { readers }) => {
                let reader = format!("snapshot {before}: process {} (gstore query)", std::process::id());
                assert_eq!(readers, [reader]);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(content(&snapshot), [20, 20, 20]);
        drop(lease);
        let store = Store::open(&path).unwrap();
        assert_eq!(store.snapshot().unwrap().number(), before);
        assert_tidy(&store);
        assert_eq!(store.delete(&pool(&store), &rows(), purge()).unwrap().purged, 2);
    }
}

#[test]
fn a_reader_that_comes_at_the_commit_keeps_its_files_until_it_ends() {
    let (_dir, path) = place();
    let before = made(&path).snapshot().unwrap().number();
    let (done, snapshot, lease) = purge_with_reader(&path, ("create", "CURRENT.new", 0));
    match done {
        Err(ChangeError::Kept { dataset, snapshot, readers }) => {
            assert_eq!(dataset, "pool");
            assert_eq!((snapshot, readers.len()), (before + 1, 1));
            assert!(readers[0].starts_with(&format!("snapshot {before}: ")), "{readers:?}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(content(&snapshot), [20, 20, 20]);
    let store = Store::open(&path).unwrap();
    assert_eq!(pool(&store).rows, 18);
    // While it reads, the purge cannot be finished; then it can.
    let e = store.delete(&pool(&store), &RowSet::new(), purge()).unwrap_err();
    assert!(matches!(e, ChangeError::Leased { .. }), "{e}");
    drop(lease);
    let report = store.delete(&pool(&store), &RowSet::new(), purge()).unwrap();
    assert!(report.files_removed > 3, "{report:?}");
    assert_tidy(&store);
}
