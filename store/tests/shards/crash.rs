//! An attach that is interrupted or fails leaves all or nothing.

use super::support::*;
use crate::common::crash::CrashVfs;
use crate::common::hook::HookVfs;
use crate::common::*;
use gstore_store::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn a_crash_at_any_operation_of_an_attach_leaves_all_or_nothing() {
    let dir = tempdir().unwrap();
    let expected = by_one_process_of(&dir.path().join("whole"), FEW);
    let origin = store_of(&dir.path().join("origin"), FEW);
    let out: Vec<PathBuf> = (1..=2).map(|i| dir.path().join(format!("shard{i}"))).collect();
    for i in 1..=2 {
        shard(&origin, &format!("{i}/2"), &out[i - 1]);
    }
    let (mut crashes, mut resumed) = (0, 0);
    for n in 0.. {
        let path = dir.path().join(format!("{n}"));
        copy(origin.path(), &path);
        let vfs = CrashVfs::new(n);
        let result = Store::open_on(Arc::new(vfs.clone()), &path)
            .map_err(AttachError::from)
            .and_then(|s| attach(&s, &out));
        if result.is_ok() && vfs.left() > 0 {
            break;
        }
        crashes += 1;
        let store = Store::open(&path).unwrap();
        assert_sound(&store, format_args!("after {n} operations"));
        let there = store.snapshot().unwrap().features().len();
        assert!(there == 0 || there == 2, "after {n} operations: {there} features");
        assert!(result.is_err() || there == 2, "after {n} operations: acknowledged and gone");
        resumed +=
            usize::from(files(&path.join("tmp")).iter().any(|f| f.extension().is_some_and(|e| e == "arrow")));
        attach(&store, &out).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
        assert_eq!(content(&store), expected, "after {n} operations");
        let tmp = files(&path.join("tmp"));
        assert!(tmp.iter().all(|f| f == Path::new("start.lock")), "after {n} operations: {tmp:?}");
        let unreferenced = verify(&store).unreferenced;
        assert!(unreferenced.iter().all(|f| f.starts_with("manifests/")), "{n}: {unreferenced:?}");
        fs_err::remove_dir_all(&path).unwrap();
    }
    assert!(crashes > 50 && resumed > 5, "{crashes} {resumed}");
}

#[test]
fn one_failing_operation_of_an_attach_changes_nothing() {
    let dir = tempdir().unwrap();
    let origin = store_of(&dir.path().join("origin"), 30);
    let out = dir.path().join("o");
    shard(&origin, "1/1", &out);
    let mut failures = 0;
    for n in 0.. {
        let path = dir.path().join(format!("{n}"));
        copy(origin.path(), &path);
        let vfs = CrashVfs::once(n);
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let result = attach(&store, std::slice::from_ref(&out));
        if vfs.left() >= 0 {
            result.unwrap();
            break;
        }
        if let Err(e) = &result {
            failures += 1;
            assert!(e.to_string().contains("injected"), "operation {n}: {e}");
        }
        attach(&store, std::slice::from_ref(&out)).unwrap_or_else(|e| panic!("operation {n}: {e}"));
        assert_eq!(content(&store).features.len(), 2);
        assert!(verify(&store).is_sound(), "operation {n}");
        fs_err::remove_dir_all(&path).unwrap();
    }
    assert!(failures > 40, "{failures}");
}

#[test]
fn an_attach_that_cannot_count_what_it_published_has_published_it() {
    let (dir, path, store) = placed(|path| store_of(path, 30));
    // Which rows a segment with gaps has, it says itself.
    delete(&store, [5]);
    let out = dir.path().join("o");
    shard(&store, "1/1", &out);
    let (segments, committed) = (path.join("segments"), AtomicBool::new(false));
    let vfs = HookVfs::new(move |operation, at| {
        committed.fetch_or(operation == "rename" && at.ends_with("CURRENT.new"), Ordering::SeqCst);
        match committed.load(Ordering::SeqCst) && at.starts_with(&segments) {
            true => Err(std::io::Error::other("injected")),
            false => Ok(()),
        }
    });
    let report = attach(&Store::open_on(vfs, &path).unwrap(), std::slice::from_ref(&out)).unwrap();
    assert!(report.snapshot.is_some() && report.shards[0].outcome == ShardOutcome::Attached, "{report:?}");
    assert!(report.notes.iter().any(|note| note.contains("injected")), "{report:?}");
    let again = attach(&store, &[out]).unwrap();
    assert!(again.snapshot.is_none() && again.features.iter().all(|f| f.complete), "{again:?}");
    assert_eq!(again.features.len(), 2);
}
