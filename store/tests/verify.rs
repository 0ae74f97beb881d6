//! Promise: `verify` sees whatever readers can reach, and nothing else; one damaged part
//! never hides the others.

use crate::common::*;
use gstore_store::vfs::{OsVfs, Vfs};
use gstore_store::*;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

#[test]
fn bitmaps_of_deleted_rows_are_verified_and_strangers_are_told_from_leftovers() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, store) = placed(|path| filled(path, 30, &f, 10));
    delete(&store, 3..6);
    assert!(verify(&store).is_sound());
    let uuid = "b34fe6e2-1c2d-4c6c-9d9e-0a4b1c2d3e4f";
    for name in ["notes.txt", "segments/1/notes.arrow", "manifests/copy.json", "samples/old"] {
        fs_err::write(path.join(name), "x").unwrap();
    }
    for name in [format!("segments/1/{uuid}.arrow"), format!("tombstones/1/{uuid}.roaring")] {
        fs_err::write(path.join(name), "x").unwrap();
    }
    let report = verify(&store);
    assert!(report.is_sound());
    assert_eq!(
        report.strangers,
        ["notes.txt", "manifests/copy.json", "samples/old", "segments/1/notes.arrow"]
    );
    assert_eq!(
        report.unreferenced,
        [format!("segments/1/{uuid}.arrow"), format!("tombstones/1/{uuid}.roaring")]
    );
    let bitmap = files(&path)
        .into_iter()
        .find(|f| f.starts_with("tombstones") && !f.ends_with(format!("{uuid}.roaring")));
    let bitmap = path.join(bitmap.unwrap());
    let good = fs_err::read(&bitmap).unwrap();
    for i in 0..good.len() {
        let mut bad = good.clone();
        bad[i] ^= 1;
        fs_err::write(&bitmap, bad).unwrap();
        let report = verify(&store);
        assert_eq!(report.problems.len(), 1, "byte {i}: {:?}", report.problems);
        assert_eq!(report.problems[0].rows.as_ref().unwrap().count, 3);
    }
    fs_err::remove_file(&bitmap).unwrap();
    assert!(!verify(&store).is_sound());
}

#[test]
fn one_damaged_segment_hides_no_other_feature_and_one_damaged_block_no_other_block() {
    let (a, b) = (feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16));
    let (_dir, path, store) = placed(|path| filled(path, 9000, &a, 9000));
    let snapshot = publish_rows(&store, &b, 0..9000, true);
    let file = |n: usize| {
        let part = &snapshot.features()[n];
        path.join(format!("segments/{}/{}.arrow", part.number, part.segments[0].uuid))
    };
    flip(&file(0), |bytes| bytes.len() / 2);
    let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
    let read: Vec<bool> =
        reader.blocks().iter().map(|b| reader.read_block(*b, &mut BlockBuffer::new()).is_ok()).collect();
    assert_eq!(read, [true, false, true]);
    assert!(reader.row(10).unwrap().is_some() && reader.row(8999).unwrap().is_some());
    assert!(reader.content_digest().is_err());
    fs_err::write(file(0), b"gone").unwrap();
    assert!(snapshot.open_feature(&snapshot.features()[0]).unwrap_err().is_damage());
    let other = snapshot.open_feature(&snapshot.features()[1]).unwrap();
    assert_eq!(other.row_set().unwrap().len(), 9000);
    other.content_digest().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    assert_eq!(
        snapshot.samples(part).unwrap().scan(&["id"], None).map(|b| b.unwrap().num_rows()).sum::<usize>(),
        9000
    );
}

#[test]
fn gc_and_compact_at_any_instant_are_no_damage() {
    let dir = tempdir().unwrap();
    let prepared = dir.path().join("prepared");
    let store = filled(&prepared, 40, &feature("grad-sgd", 6, DType::F16), 10);
    add(&store, 40..60).unwrap();
    for all_snapshots in [false, true] {
        // By turns with every operation of a verify: others work right before it.
        for n in (0..).step_by(3) {
            let path = dir.path().join(format!("{all_snapshots}-{n}"));
            copy(&prepared, &path);
            let (count, reached) = (AtomicU32::new(0), Arc::new(AtomicBool::new(false)));
            let (seen, other) = (Arc::clone(&reached), path.clone());
            let vfs = hook::HookVfs::new(move |_, _| {
                if count.fetch_add(1, Ordering::SeqCst) == n {
                    seen.store(true, Ordering::SeqCst);
                    // While the ledger is compared the others would wait, here for themselves.
                    if OsVfs.lock(&other.join("LOCK"), false).unwrap().is_none() {
                        return Ok(());
                    }
                    let store = Store::open(&other).unwrap();
                    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
                    store.collect(keep::gc(1)).unwrap();
                }
                Ok(())
            });
            let store = Store::open_on(vfs, &path).unwrap();
            let options = VerifyOptions { all_snapshots, ..VerifyOptions::default() };
            let report = store.verify(options, &mut |_| {}).unwrap();
            assert!(report.is_sound(), "operation {n}: {:?}", report.problems);
            fs_err::remove_dir_all(&path).unwrap();
            if !reached.load(Ordering::SeqCst) {
                assert!(n > 30, "{n}");
                break;
            }
        }
    }
}

#[test]
fn damage_is_reported_whatever_is_collected_meanwhile() {
    let (_dir, path, store) = placed(|path| filled(path, 40, &feature("grad-sgd", 6, DType::F16), 10));
    let segment = path.join("segments").join(&files(&path.join("segments"))[0]);
    fs_err::write(segment, "gone").unwrap();
    let other = Store::open(&path).unwrap();
    let mut first = true;
    let options = VerifyOptions { all_snapshots: true, ..VerifyOptions::default() };
    let report = store
        .verify(options, &mut |_| {
            if std::mem::take(&mut first) {
                add(&other, 40..50).unwrap();
                other.collect(keep::gc(1)).unwrap();
            }
        })
        .unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
}

#[test]
fn writers_do_not_wait_while_the_ledger_is_compared() {
    let dir = tempdir().unwrap();
    for writes in [false, true] {
        let path = dir.path().join(writes.to_string());
        drop(filled(&path, 40, &feature("grad-sgd", 6, DType::F16), 10));
        let (other, free) = (path.clone(), Arc::new(AtomicU32::new(0)));
        let (counted, comparing) = (Arc::clone(&free), AtomicBool::new(false));
        let vfs = hook::HookVfs::new(move |operation, p| {
            if operation == "open" && p.ends_with("ledger.redb") {
                comparing.store(true, Ordering::SeqCst);
            }
            let samples = operation == "open" && p.extension().is_some_and(|e| e == "parquet");
            if samples && comparing.load(Ordering::SeqCst) && counted.load(Ordering::SeqCst) == 0 {
                if OsVfs.lock(&other.join("LOCK"), false)?.is_some() {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                if writes {
                    add(&Store::open(&other).unwrap(), 40..80).unwrap();
                }
            }
            Ok(())
        });
        assert_sound(&Store::open_on(vfs, &path).unwrap(), "while others work");
        assert_eq!(free.load(Ordering::SeqCst), 1, "the lock was held");
    }
}

#[test]
fn it_can_be_stopped() {
    let (_dir, _, store) = placed(|path| filled(path, 30, &feature("grad-sgd", 6, DType::F16), 10));
    let cancel = Arc::new(Cancel::new());
    let options = VerifyOptions { all_snapshots: true, cancel: Some(Arc::clone(&cancel)) };
    let mut is_early = true;
    let result = store.verify(options, &mut |progress| {
        is_early = progress.bytes_done < progress.bytes_total;
        cancel.raise();
    });
    assert!(matches!(result, Err(VerifyError::Cancelled(_))) && is_early);
}

#[test]
fn what_is_in_the_way_of_writers_is_a_problem() {
    let (dir, path, store) = placed(|path| filled(path, 30, &feature("grad-sgd", 6, DType::F16), 10));
    drop(store);
    let aside = dir.path().join("aside");
    let file: fn(&Path) = |place| fs_err::write(place, "").unwrap();
    let folder: fn(&Path) = |place| fs_err::create_dir(place).unwrap();
    let link: fn(&Path) = |place| fs_err::os::unix::fs::symlink("nowhere/x", place).unwrap();
    fs_err::create_dir(path.join("server")).unwrap();
    let cases = [
        ("tmp", file, "a file; move it away"),
        ("tmp/compact.lock", folder, "a folder; move it away"),
        ("tmp/start.lock", folder, "a folder; move it away"),
        ("tmp/start.lock", link, "a link to nothing; remove it"),
        ("leases", file, "a file; move it away"),
        ("server", file, "a file; move it away"),
        ("server/uploads", file, "a file; move it away"),
        ("LOCK", folder, "a folder; move it away"),
        ("LOCK", link, "a link to nothing; remove it"),
        ("ledger.redb", folder, "a folder; move it away"),
        ("ledger.sums", folder, "a folder; move it away"),
    ];
    for (name, make, found) in cases {
        let place = path.join(name);
        let had = fs_err::rename(&place, &aside).is_ok();
        make(&place);
        let report = Store::verify_folder(&path, VerifyOptions::default(), &mut |_| {}).unwrap();
        let said: Vec<_> = report.problems.iter().map(|p| (p.file.as_str(), p.found.as_str())).collect();
        assert_eq!(said, [(name, found)]);
        assert!(report.problems[0].in_the_way);
        let dry = RepairOptions { dry_run: true, ..RepairOptions::default() };
        let repair = Store::repair_folder(&path, dry, &mut |_| {}).unwrap();
        assert_eq!((repair.snapshot, repair.unrepaired), (None, vec![format!("{name} is {found}")]));
        match place.is_dir() {
            true => fs_err::remove_dir(&place).unwrap(),
            false => fs_err::remove_file(&place).unwrap(),
        }
        if had {
            fs_err::rename(&aside, &place).unwrap();
        }
    }
    assert!(verify(&Store::open(&path).unwrap()).is_sound());
    // Writers say it too.
    fs_err::remove_dir_all(path.join("tmp")).unwrap();
    file(&path.join("tmp"));
    let store = Store::open(&path).unwrap();
    let error = store.start_job(plan(vec![feature("loss", 1, DType::F32)])).unwrap_err().to_string();
    assert!(error.contains("tmp is not a folder; move it away"), "{error}");
    fs_err::remove_file(path.join("tmp")).unwrap();
    folder(&path.join("tmp"));
    fs_err::remove_file(path.join("LOCK")).unwrap();
    link(&path.join("LOCK"));
    let error = add(&store, 30..31).unwrap_err().to_string();
    assert!(error.contains("LOCK is a link to nothing; remove it"), "{error}");
    fs_err::remove_file(path.join("LOCK")).unwrap();
    folder(&path.join("tmp/compact.lock"));
    let error = store.compact(CompactOptions::default(), &mut |_| {}).unwrap_err().to_string();
    let way = "move what is in the place of this file away, and run the same command again";
    assert!(error.contains("tmp/compact.lock") && error.ends_with(way), "{error}");
}
