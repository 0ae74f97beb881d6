//! Promise: what a reader holds a lease of stays readable however often others collect, and a reader without
//! one learns that its snapshot was collected, and never takes that for damage.

use crate::common::hook::{HookVfs, read_only};
use crate::common::keep::*;
use crate::common::*;
use gstore_store::*;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

fn leases(path: &Path) -> Vec<String> {
    let folder = path.join("leases");
    if !folder.exists() {
        return Vec::new();
    }
    files(&folder).iter().map(|f| f.display().to_string()).collect()
}

/// The file of the first lease.
fn held(path: &Path) -> serde_json::Value {
    let text = fs_err::read_to_string(path.join("leases").join(&leases(path)[0])).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[test]
fn a_leased_snapshot_outlives_gc_until_the_lease_ends() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, _) = placed(|path| filled(path, 20, &f, 5));
    let reader = Store::open(&path).unwrap();
    let (snapshot, lease) = reader.snapshot_leased(None, "a test").unwrap();
    let before = content(&snapshot).unwrap();
    drop_features(&path);
    let writer = Store::open(&path).unwrap();
    assert_eq!(leases(&path).len(), 1);
    let report = writer.collect(gc(1)).unwrap();
    let because = &report.kept[0].because;
    assert!(
        matches!(because, KeptBecause::Lease { pid, command, .. } if *pid == std::process::id() && command == "a test")
    );
    assert_eq!((report.kept.len(), report.kept[0].snapshot), (1, 2));
    assert_eq!(content(&snapshot).unwrap(), before, "also what was not touched yet");
    // It is out of the history, but what is loaded stays complete, also through another gc.
    assert!(matches!(writer.snapshot_at(2), Err(OpenError::NoSnapshot { oldest: 3, .. })));
    assert_eq!(writer.collect(gc(1)).unwrap().swept.files(), 0);
    assert_eq!(content(&snapshot).unwrap(), before);
    drop(lease);
    assert_eq!(leases(&path), Vec::<String>::new());
    let report = writer.collect(gc(1)).unwrap();
    assert_eq!(report.swept.removed[&FileKind::Segments].files, 4, "{report:?}");
    let e = content(&snapshot).unwrap_err();
    assert!(e.is_collected() && !e.is_damage(), "{e}");
    assert!(e.to_string().contains("snapshot 2 was collected by gc"), "{e}");
    assert_clean(&writer);
}

#[test]
fn a_lease_names_program_and_subcommand_and_no_argument() {
    let (_dir, path) = place();
    let store = Store::create(&path).unwrap();
    for (command, named) in [
        ("gstore query --where \"id = 'secret'\"", "gstore query"),
        ("gstore --store secret query", "gstore"),
        ("gstore", "gstore"),
        ("", ""),
    ] {
        let (_, lease) = store.snapshot_leased(None, command).unwrap();
        let file = held(&path);
        assert!(!file.to_string().contains("secret"), "{file}");
        assert_eq!(file["command"], named);
        drop(lease);
    }
}

#[test]
fn a_reader_without_a_lease_is_told_that_its_snapshot_was_collected() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (dir, path, store) = placed(|path| filled(path, 20, &f, 5));
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    let samples = snapshot.samples(part).unwrap();
    let vectors = snapshot.open_feature(&snapshot.features()[0]).unwrap();
    republish(&path, |root| {
        root["features"] = serde_json::json!([]);
        root["datasets"] = serde_json::json!([]);
    });
    // Gone without a new CURRENT that says so: that is damage.
    let segment = files(&path.join("segments")).remove(0);
    let (at, aside) = (path.join("segments").join(&segment), dir.path().join("aside"));
    fs_err::rename(&at, &aside).unwrap();
    let e = snapshot.open_feature(&snapshot.features()[0]).unwrap_err();
    assert!(e.is_damage() && !e.is_collected(), "{e}");
    fs_err::rename(&aside, &at).unwrap();
    Store::open(&path).unwrap().collect(gc(1)).unwrap();
    let errors = [
        vectors.content_digest().unwrap_err(),
        vectors.row(3).unwrap_err(),
        snapshot.open_feature(&snapshot.features()[0]).unwrap_err(),
        samples.scan(&["id"], None).find_map(Result::err).unwrap(),
    ];
    for e in errors {
        assert!(e.is_collected() && !e.is_damage(), "{e}");
    }
}

#[test]
fn a_reader_is_told_that_the_store_was_restored_in_its_folder() {
    let (_dir, path, _) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    let aside = path.with_extension("aside");
    copy(&path, &aside);
    let reader = Store::open(&path).unwrap();
    add(&reader, 20..25).unwrap();
    let snapshot = reader.snapshot().unwrap();
    fs_err::remove_dir_all(&path).unwrap();
    fs_err::rename(&aside, &path).unwrap();
    // It goes on from there, beyond the number that the reader has.
    let restored = Store::open(&path).unwrap();
    for first in [30, 35] {
        add(&restored, first..first + 5).unwrap();
    }
    assert!(snapshot.number() < restored.snapshot().unwrap().number());
    let e = content(&snapshot).unwrap_err();
    assert!(e.is_collected() && !e.is_damage(), "{e}");
    let Err(OpenError::Storage(e)) = reader.lease(&snapshot, "read") else { panic!("it has no lease") };
    assert!(e.is_collected(), "{e}");
    let e = reader.revert(&snapshot, &RevertOptions::default()).unwrap_err();
    assert!(matches!(e, ChangeError::Changed(ConcurrentChange::Gone { .. })), "{e}");
}

#[test]
fn where_nothing_can_be_written_readers_need_no_lease_and_a_revert_says_what_it_would_do() {
    let (_dir, path, _) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    for kind in [ErrorKind::ReadOnlyFilesystem, ErrorKind::PermissionDenied, ErrorKind::StorageFull] {
        let store = Store::open_on(read_only(&path, kind), &path).unwrap();
        let (snapshot, lease) = store.snapshot_leased(None, "read").unwrap();
        assert!(lease.is_none());
        content(&snapshot).unwrap();
        let dry = RevertOptions { dry_run: true, ..RevertOptions::default() };
        let report = store.revert(&store.snapshot_at(0).unwrap(), &dry).unwrap();
        assert!(report.changes.contains(&"dataset pool goes, with 20 rows".to_owned()), "{report:?}");
    }
    let store = Store::open_on(read_only(&path, ErrorKind::Other), &path).unwrap();
    let e = store.snapshot_leased(None, "read").unwrap_err();
    assert!(e.to_string().contains("make a lease"), "{e}");
    assert!(leases(&path).is_empty());
}

#[test]
fn where_nothing_can_be_locked_readers_need_no_lease_and_leave_no_file() {
    let (_dir, path, _) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    let vfs = HookVfs::new(|operation, path| {
        if operation == "lock" {
            // It is opened, and thereby made, before it is locked.
            fs_err::write(path, "").unwrap();
            return Err(ErrorKind::Unsupported.into());
        }
        Ok(())
    });
    let store = Store::open_on(vfs, &path).unwrap();
    let (snapshot, lease) = store.snapshot_leased(None, "read").unwrap();
    assert!(lease.is_none());
    content(&snapshot).unwrap();
    assert!(leases(&path).is_empty());
}

/// Stands in for a reader in another process; does nothing unless the test below starts it.
#[test]
fn child_that_reads() {
    let Some(path) = std::env::var_os("GSTORE_TEST_LEASE") else { return };
    let store = Store::open(Path::new(&path)).unwrap();
    let held = store.snapshot_leased(Some(&"2".parse().unwrap()), "a child").unwrap();
    fs_err::write(Path::new(&path).with_extension("ready"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(600));
    drop(held);
}

#[test]
fn a_lease_of_another_process_holds_until_that_is_killed() {
    let (_dir, path, _) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
    drop_features(&path);
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lease::child_that_reads", "--nocapture"])
        .env("GSTORE_TEST_LEASE", &path)
        .spawn()
        .unwrap();
    while !path.with_extension("ready").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the child died");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let store = Store::open(&path).unwrap();
    let report = store.collect(gc(1)).unwrap();
    assert!(
        matches!(&report.kept[0].because, KeptBecause::Lease { pid, .. } if *pid == child.id()),
        "{report:?}"
    );
    assert_eq!(files(&path.join("segments")).len(), 4);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(leases(&path).len(), 1, "killed, so its file stays");
    let report = store.collect(gc(1)).unwrap();
    assert_eq!(report.swept.removed[&FileKind::Leases].files, 1);
    assert!(files(&path.join("segments")).is_empty() && leases(&path).is_empty());
}

/// Runs `gc` by another handle when the reader is about to do `operation` with a lease.
fn disturbed(path: &Path, operation: &'static str, ending: &'static str) -> (Arc<HookVfs>, Arc<AtomicU32>) {
    let (store, path) = (Store::open(path).unwrap(), path.to_owned());
    let count = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&count);
    let vfs = HookVfs::new(move |o, p| {
        if o == operation
            && p.to_string_lossy().ends_with(ending)
            && counted.fetch_add(1, Ordering::SeqCst) == 0
        {
            if o == "lock" {
                // The file as it is between its creation and its lock.
                fs_err::write(p, "").unwrap();
            }
            republish(&path, |root| root["command"] = "meanwhile".into());
            drop_features(&path);
            store.collect(gc(1)).unwrap();
        }
        Ok(())
    });
    (vfs, count)
}

#[test]
fn a_gc_between_any_two_steps_of_making_a_lease_is_noticed() {
    for (operation, ending) in [("create_dir", "leases"), ("lock", ".json.new"), ("rename", ".json.new")] {
        let (_dir, path, _) = placed(|path| filled(path, 20, &feature("grad-sgd", 6, DType::F16), 5));
        let (vfs, count) = disturbed(&path, operation, ending);
        let reader = Store::open_on(vfs, &path).unwrap();
        let (snapshot, lease) = reader.snapshot_leased(None, "read").unwrap();
        assert!(count.load(Ordering::SeqCst) > 0, "{operation} never happened");
        let _lease = lease.unwrap();
        assert_eq!(snapshot.number(), 5, "{operation}: the older one was collected");
        assert_eq!(held(&path)["snapshot"], 5, "{operation}");
        assert_eq!(leases(&path).len(), 1, "{operation}");
        Store::open(&path).unwrap().collect(gc(1)).unwrap();
        assert_eq!(leases(&path).len(), 1, "{operation}: held, so it stays");
        content(&snapshot).unwrap();
    }
}

#[test]
fn readers_with_leases_never_lose_a_file_to_a_collector() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, _) = placed(|path| filled(path, 20, &f, 5));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for _ in 0..3 {
            readers.push(scope.spawn(|| {
                let mut seen = 0;
                while !stop.load(Ordering::Relaxed) {
                    let store = Store::open(&path).unwrap();
                    let (snapshot, lease) = store.snapshot_leased(None, "read").unwrap();
                    assert!(lease.is_some());
                    std::thread::yield_now();
                    content(&snapshot).unwrap_or_else(|e| panic!("snapshot {}: {e}", snapshot.number()));
                    seen += 1;
                }
                seen
            }));
        }
        let store = Store::open(&path).unwrap();
        for i in 0..60u64 {
            // A feature comes and goes, so that there is always something to collect.
            let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
            if job.rows_done(0).is_empty() {
                seal(&mut job, 0, 0..20);
            }
            job.publish(None, true).unwrap();
            if i % 2 == 0 {
                drop_features(&path);
            }
            store.collect(gc(1)).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        for r in readers {
            assert!(r.join().unwrap() > 0);
        }
    });
    let store = Store::open(&path).unwrap();
    store.collect(gc(1)).unwrap();
    assert_clean(&store);
    assert!(leases(&path).is_empty());
}
