//! Repairs that are interrupted or fail, and repairs of stores in which something else was interrupted.

use super::support::*;
use crate::common::crash::CrashVfs;
use crate::common::*;
use gstore_store::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[test]
fn a_crash_at_any_operation_leaves_the_damage_or_the_repaired_store() {
    let (_dir, path, store) = placed(original);
    let was = content(&store);
    drop(store);
    let damage = |prefix: &str, at: usize| {
        let file =
            files(&path).into_iter().filter(|f| f.to_string_lossy().starts_with(prefix)).max().unwrap();
        flip(&path.join(file), |bytes| at.min(bytes.len() / 2));
    };
    damage("segments/1", 900);
    damage("segments/2", usize::MAX);
    damage("samples/1", 300);
    damage("encodings/1", 300);
    damage("CURRENT", 10);
    let hurt = bytes(&path);
    let whole = repair(&path);
    let expected = content(&Store::open(&path).unwrap());
    compare(&was, &expected, &whole, "uninterrupted");
    for n in 0.. {
        reset(&path, &hurt);
        let vfs = CrashVfs::new(n);
        let result =
            Store::repair_folder_on(Arc::new(vfs.clone()), &path, RepairOptions::default(), &mut |_| {});
        if result.is_ok() && vfs.left() > 0 {
            assert!(n > 40, "{n}");
            break;
        }
        if is_sound(&path) {
            assert_eq!(content(&Store::open(&path).unwrap()), expected, "operation {n}");
        }
        repair(&path);
        assert!(is_sound(&path), "operation {n}");
        assert_eq!(content(&Store::open(&path).unwrap()), expected, "operation {n}");
        add(&Store::open(&path).unwrap(), 100..101).unwrap();
        assert!(!files(&path).iter().any(|f| f.starts_with("tmp/append")), "operation {n} left files");
    }
}

#[test]
fn a_repair_that_cannot_be_published_leaves_no_file_that_a_later_one_would_take_up() {
    let (_dir, path) = place();
    drop(original(&path));
    let file = files(&path).into_iter().find(|f| f.starts_with("samples/1")).unwrap();
    flip(&path.join(file), |_| 300);
    let hurt = bytes(&path);
    let data = |path: &Path| -> Vec<PathBuf> {
        files(path)
            .into_iter()
            .filter(|f| ["samples", "tombstones", "deleted"].iter().any(|t| f.starts_with(t)))
            .collect()
    };
    let before = data(&path);
    let number = |path: &Path| Store::open(path).unwrap().snapshot().unwrap().number();
    let published = number(&path);
    let mut unclear = 0;
    for n in 0.. {
        reset(&path, &hurt);
        let vfs = CrashVfs::once(n);
        let options = RepairOptions::default();
        let result = Store::repair_folder_on(Arc::new(vfs.clone()), &path, options, &mut |_| {});
        if vfs.left() >= 0 {
            result.unwrap();
            break;
        }
        match result {
            Err(VerifyError::Commit(_)) => {
                unclear += 1;
                assert!(is_sound(&path), "operation {n}");
            }
            Err(_) if number(&path) == published => assert_eq!(data(&path), before, "operation {n}"),
            // Only the ledger was left to remove.
            _ => assert!(is_sound(&path), "operation {n}"),
        }
    }
    assert_eq!(unclear, 1);
}

#[test]
fn a_purge_that_could_not_be_published_is_not_what_a_damaged_current_named() {
    let (_dir, path, store) = placed(original);
    let was = content(&store);
    drop(store);
    let good = bytes(&path);
    let rows = RowSet::from_rows([8, 33]);
    let purge = || DeleteOptions { purge: true, ..DeleteOptions::default() };
    let mut refused = 0;
    let mut purged = None;
    for n in 0.. {
        reset(&path, &good);
        let vfs = CrashVfs::once(n);
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let seen = store.snapshot().map_err(ChangeError::from);
        let result = seen.and_then(|s| store.delete(s.dataset("pool").unwrap(), &rows, purge()));
        drop(store);
        if vfs.left() >= 0 {
            result.unwrap();
            assert!(refused > 10, "{refused}");
            break;
        }
        let done = Store::open(&path).unwrap();
        let expected = content(&done);
        let published = expected.samples.len() != was.samples.len();
        match published {
            true => assert_eq!(purged.get_or_insert_with(|| expected.clone()), &expected, "operation {n}"),
            false => assert_eq!(expected, was, "operation {n}"),
        }
        refused += usize::from(!published);
        drop(done);
        fs_err::write(path.join("CURRENT"), "rubbish").unwrap();
        let report = repair(&path);
        assert!(is_sound(&path), "operation {n}: {report:#?}");
        assert!(report.lost.is_empty(), "operation {n}: {report:#?}");
        let now = content(&Store::open(&path).unwrap());
        assert_eq!((&now.samples, &now.features), (&expected.samples, &expected.features), "operation {n}");
    }
}

#[test]
fn files_that_a_killed_job_was_publishing_are_left_to_it() {
    let f = features()[0].clone();
    let (_dir, path, store) = with_samples(SAMPLES);
    publish_rows(&store, &f, 0..20, false);
    drop(store);
    let good = bytes(&path);
    let mut moved = 0;
    for n in 0.. {
        reset(&path, &good);
        let vfs = CrashVfs::new(i64::MAX);
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        seal(&mut job, 0, 20..30);
        vfs.set_left(n);
        let result = job.publish(None, false);
        drop(store);
        if result.is_ok() && vfs.left() > 0 {
            break;
        }
        let published = content(&Store::open(&path).unwrap());
        let note = files(&path).iter().any(|f| f.ends_with("publish.json"));
        let in_place = segments_of(&path, 1).len() == 2;
        moved += usize::from(note && in_place);
        remove_manifests(&path, "feature-1");
        let report = repair(&path);
        assert!(is_sound(&path), "operation {n}: {report:#?}");
        let store = Store::open(&path).unwrap();
        assert_eq!(content(&store).features, published.features, "operation {n}: {report:#?}");
        // Another writer, and then the job goes on.
        add(&store, 60..61).unwrap();
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        let wanted = RowSet::from_range(20..30).difference(&job.rows_done(0));
        if !wanted.is_empty() {
            seal(&mut job, 0, wanted.iter());
        }
        job.publish(None, false).unwrap();
        assert!(is_sound(&path), "operation {n}");
        let now = content(&store).features;
        assert_eq!(now[&f.attrs.label].len(), 30, "operation {n}");
    }
    assert!(moved > 1, "{moved}");
}
