//! Files under the wrong names: each is put back as long as some file has its content.

use super::support::*;
use crate::common::count::CountVfs;
use crate::common::crash::CrashVfs;
use crate::common::*;
use gstore_store::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The store of [`original`] with an artifact that has two files.
fn with_artifact(path: &Path) -> Store {
    let store = original(path);
    let mut files = store.artifact_files().unwrap();
    for name in ["first", "second"] {
        files.write(name, |out| out.write_all(name.as_bytes())).unwrap();
    }
    let artifact = ArtifactPart::new("factors", "gram", vec!["pool".into()], json!({}));
    store.put_artifact(artifact, Some(files), None, "fit").unwrap();
    store
}

/// The files of a kind that some snapshot has.
fn listed(path: &Path, kind: &str) -> Vec<PathBuf> {
    let unreferenced = check_all(path).unwrap().unreferenced;
    let is_listed = |f: &PathBuf| f.starts_with(kind) && unreferenced.iter().all(|u| Path::new(u) != f);
    files(path).into_iter().filter(is_listed).collect()
}

/// Gives the first and the last file of a kind each other's names.
fn swap(path: &Path, kind: &str) -> [PathBuf; 2] {
    let all = listed(path, kind);
    let [a, .., b] = &all[..] else { panic!("too few files in {kind}") };
    let aside = path.join("aside");
    fs_err::rename(path.join(a), &aside).unwrap();
    fs_err::rename(path.join(b), path.join(a)).unwrap();
    fs_err::rename(&aside, path.join(b)).unwrap();
    [a.clone(), b.clone()]
}

/// Everything that was published is as it was.
fn assert_as_before(path: &Path, good: &BTreeMap<PathBuf, Vec<u8>>, what: &str) {
    assert!(is_sound(path), "{what}: {:#?}", check_all(path));
    let now = bytes(path);
    let others = ["tmp", "leases", "ledger.redb", "ledger.sums"];
    for file in good.keys().filter(|file| others.iter().all(|other| !file.starts_with(other))) {
        assert!(now.get(file) == good.get(file), "{what}: {} is another file", file.display());
    }
}

#[test]
fn files_under_each_others_names_cost_nothing() {
    let (_dir, path, store) = placed(with_artifact);
    drop(store);
    let good = bytes(&path);
    let kinds = ["samples", "encodings", "segments", "tombstones", "artifacts"];
    for kinds in kinds.iter().map(std::slice::from_ref).chain([&kinds[..]]) {
        let what = format!("{kinds:?}");
        let swapped: Vec<PathBuf> = kinds.iter().flat_map(|kind| swap(&path, kind)).collect();
        let hurt = bytes(&path);
        let dry = RepairOptions { dry_run: true, ..RepairOptions::default() };
        let dry = try_repair(&path, dry).unwrap();
        assert!(bytes(&path) == hurt, "{what}: a dry run changed something");
        let report = repair(&path);
        for report in [&dry, &report] {
            assert!(report.lost.is_empty() && report.unrepaired.is_empty(), "{what}: {report:#?}");
            assert_eq!((report.snapshot, report.history_from), (None, None), "{what}: {report:#?}");
            for file in &swapped {
                let found = report.rebuilt.iter().find(|r| Path::new(&r.what) == file);
                assert!(
                    found.is_some_and(|r| r.from.ends_with("which has its content")),
                    "{what}: {report:#?}"
                );
            }
        }
        assert_as_before(&path, &good, &what);
        assert!(repair(&path).is_sound(), "{what}: repaired twice");
        reset(&path, &good);
    }
}

#[test]
fn a_file_that_was_moved_to_another_folder_of_its_kind_is_put_back() {
    let (_dir, path, store) = placed(with_artifact);
    purge(&store, [7]).unwrap();
    drop(store);
    let good = bytes(&path);
    for kind in ["samples", "encodings", "segments", "tombstones", "deleted"] {
        let file = listed(&path, kind).pop().unwrap();
        let ending = file.extension().unwrap().to_string_lossy().into_owned();
        let to = path.join(format!("{kind}/9/67e55044-10b1-426f-9247-bb680e5fe0c8.{ending}"));
        fs_err::create_dir_all(to.parent().unwrap()).unwrap();
        fs_err::rename(path.join(&file), &to).unwrap();
        let report = repair(&path);
        assert!(report.lost.is_empty() && report.unrepaired.is_empty(), "{kind}: {report:#?}");
        assert_as_before(&path, &good, kind);
        assert!(!to.exists(), "{kind}: it is still in the other folder");
        reset(&path, &good);
    }
}

#[test]
fn purged_rows_are_rebuilt_from_sample_files_that_are_put_back() {
    let (_dir, path, store) = placed(original);
    purge(&store, [7]).unwrap();
    let part = pool(&store);
    let entry = part.tombstones.iter().find(|t| t.purged).unwrap();
    let bitmap = format!("tombstones/{}/{}.roaring", part.number, entry.uuid);
    drop(store);
    fs_err::remove_file(path.join(&bitmap)).unwrap();
    swap(&path, "samples");
    let dry = try_repair(&path, RepairOptions { dry_run: true, ..RepairOptions::default() }).unwrap();
    for report in [dry, repair(&path)] {
        assert!(report.lost.is_empty() && report.unrepaired.is_empty(), "{report:#?}");
        let found = report.rebuilt.iter().find(|r| r.what == bitmap);
        assert_eq!(
            found.map(|r| r.from.as_str()),
            Some("the purged rows of the sample files"),
            "{report:#?}"
        );
    }
    assert!(is_sound(&path));
}

#[test]
fn a_file_that_is_the_content_of_two_is_put_back_as_both() {
    let (_dir, path, store) = placed(original);
    let mut files = store.artifact_files().unwrap();
    for name in ["first", "second"] {
        files.write(name, |out| out.write_all(b"the same")).unwrap();
    }
    let artifact = ArtifactPart::new("factors", "gram", vec!["pool".into()], json!({}));
    store.put_artifact(artifact, Some(files), None, "fit").unwrap();
    drop(store);
    let good = bytes(&path);
    let [a, b]: [PathBuf; 2] = listed(&path, "artifacts").try_into().unwrap();
    let ending = a.extension().unwrap().to_string_lossy().into_owned();
    let place = path.join(format!("artifacts/67e55044-10b1-426f-9247-bb680e5fe0c8.{ending}"));
    let put_back = |what: &str| {
        let report = repair(&path);
        assert!(report.lost.is_empty() && report.unrepaired.is_empty(), "{what}: {report:#?}");
        assert_as_before(&path, &good, what);
    };
    fs_err::rename(path.join(&a), &place).unwrap();
    fs_err::remove_file(path.join(&b)).unwrap();
    put_back("one file");
    assert!(!place.exists());
    #[cfg(unix)]
    {
        let elsewhere = path.with_file_name("elsewhere");
        fs_err::rename(path.join(&a), &elsewhere).unwrap();
        fs_err::remove_file(path.join(&b)).unwrap();
        fs_err::os::unix::fs::symlink(&elsewhere, &place).unwrap();
        put_back("a link");
        let links = [a, b].iter().filter(|f| path.join(f).is_symlink()).count();
        assert_eq!(links, 0, "what a link leads to was not copied");
    }
}

#[test]
fn many_files_under_each_others_names_are_each_read_a_few_times() {
    let (_dir, path, store) = placed(|path| filled(path, 900, &features()[0], 10));
    drop(store);
    let good = bytes(&path);
    let all = listed(&path, "segments");
    assert_eq!(all.len(), 90);
    for (file, other) in all.iter().zip(all.iter().cycle().skip(1)) {
        fs_err::write(path.join(file), &good[other]).unwrap();
    }
    let vfs = CountVfs::default();
    let report =
        Store::repair_folder_on(Arc::new(vfs.clone()), &path, RepairOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(report.rebuilt.len(), all.len(), "{report:#?}");
    assert_as_before(&path, &good, "all of them");
    let opened = vfs.take().reads_of("segments");
    assert!(opened < 20 * all.len(), "{opened} times a file was opened");
}

/// Collects what no snapshot needs.
fn collect(path: &Path) {
    Store::open(path).unwrap().collect(GcOptions { keep: 1000, ..GcOptions::default() }).unwrap();
}

/// Files of three kinds have each other's names, and a repair is stopped at each of its operations. The next
/// one finds everything, also after a collection.
fn stopped_repairs(stopping_after: fn(i64) -> CrashVfs) {
    let (_dir, path, store) = placed(with_artifact);
    drop(store);
    collect(&path);
    let good = bytes(&path);
    for kind in ["segments", "tombstones", "artifacts"] {
        swap(&path, kind);
    }
    let hurt = bytes(&path);
    for n in 0.. {
        reset(&path, &hurt);
        let vfs = stopping_after(n);
        let result =
            Store::repair_folder_on(Arc::new(vfs.clone()), &path, RepairOptions::default(), &mut |_| {});
        if result.is_ok() && vfs.left() > 0 {
            assert!(n > 12, "{n}");
            break;
        }
        collect(&path);
        let report = repair(&path);
        assert!(report.lost.is_empty() && report.unrepaired.is_empty(), "operation {n}: {report:#?}");
        assert_as_before(&path, &good, &format!("operation {n}"));
        collect(&path);
        let left: Vec<PathBuf> =
            files(&path).into_iter().filter(|f| f.extension() == Some("new".as_ref())).collect();
        assert!(left.is_empty(), "operation {n}: {left:?}");
    }
}

#[test]
fn a_crash_while_files_are_put_back_loses_none_of_them() {
    stopped_repairs(CrashVfs::new);
}

#[test]
fn an_error_while_files_are_put_back_loses_none_of_them() {
    stopped_repairs(CrashVfs::once);
}
