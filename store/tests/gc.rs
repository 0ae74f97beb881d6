//! Promise: `gc` removes what no kept snapshot, lease or job needs, and nothing else; whatever instant it
//! dies at, the store is as good as before and the next one finishes the work.

use crate::common::crash::CrashVfs;
use crate::common::hook::HookVfs;
use crate::common::keep::*;
use crate::common::*;
use gstore_store::vfs::{OsVfs, Vfs};
use gstore_store::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use uuid::Uuid;

fn f() -> JobFeature {
    feature("grad-sgd", 6, DType::F16)
}

/// A store whose older snapshots have files that the current one does not need: a feature that was
/// dropped, and leftovers.
fn worn(path: &Path) -> Store {
    let store = filled(path, 20, &f(), 5);
    drop_features(path);
    add(&store, 20..30).unwrap();
    publish_rows(&store, &feature("grad-adam", 4, DType::F32), 0..30, true);
    store
}

/// What crashes may leave behind.
fn leave(path: &Path) -> Vec<PathBuf> {
    let (u, v) = (Uuid::new_v4(), Uuid::new_v4());
    let hex = "0123456789abcdef0123456789abcdef";
    let names = [
        "CURRENT.new".into(),
        "ledger.sums.new".into(),
        "CURRENT.damaged.new".into(),
        format!("manifests/root-99-{hex}.json"),
        format!("manifests/root-99-{hex}.json.new"),
        format!("manifests/feature-2-page-{hex}.json"),
        format!("samples/1/{u}.parquet"),
        format!("samples/7/{u}.parquet"),
        format!("segments/1/{u}.arrow"),
        format!("encodings/1/{u}.parquet"),
        format!("tombstones/1/{u}.roaring.new"),
        format!("tombstones/1/{v}.roaring"),
        format!("indexes/{u}.sketch"),
        format!("artifacts/{u}.safetensors"),
        format!("tmp/artifact-{u}/lock"),
        format!("leases/{u}.json"),
        format!("leases/{v}.json.new"),
        format!("tmp/append-{u}/{v}.parquet"),
        format!("tmp/compact-{u}/lock"),
        format!("tmp/compact-{u}/{v}.arrow"),
    ];
    put(path, &names)
}

/// Things of other people in every folder, some with names like ours.
fn strangers(path: &Path) -> Vec<PathBuf> {
    let u = Uuid::new_v4();
    let hex = "0123456789abcdef0123456789abcdef";
    let names = [
        "notes.txt".into(),
        "mine/file".into(),
        ".hidden".into(),
        "CURRENT.bak".into(),
        "manifests/readme".into(),
        format!("manifests/root-1-{}.json", &hex[1..]),
        format!("manifests/other-1-{hex}.json"),
        format!("samples/{u}.parquet"),
        format!("samples/one/{u}.parquet"),
        format!("samples/1/{u}.arrow"),
        "samples/1/notes".into(),
        format!("segments/1/{u}.arrow.bak"),
        format!("segments/1/{}.arrow", u.to_string().to_uppercase()),
        format!("segments/1/{u}/{u}.arrow"),
        format!("segments/01/{u}.arrow"),
        "leases/mine.json".into(),
        "tmp/mine".into(),
        "tmp/append-mine/x".into(),
        "tmp/artifact-mine/x".into(),
        "artifacts/factors.bin".into(),
        "tmp/job-mine/x".into(),
    ];
    put(path, &names)
}

fn put(path: &Path, names: &[String]) -> Vec<PathBuf> {
    for name in names {
        fs_err::create_dir_all(path.join(name).parent().unwrap()).unwrap();
        fs_err::write(path.join(name), "something").unwrap();
    }
    names.iter().map(PathBuf::from).collect()
}

fn set(path: &Path) -> BTreeSet<PathBuf> {
    files(path).into_iter().collect()
}

#[test]
fn what_nothing_needs_goes_and_what_is_not_ours_stays() {
    let (_dir, path, store) = placed(worn);
    let before = all_content(&store);
    let left = leave(&path);
    let foreign = strangers(&path);
    let dry = store.collect(GcOptions { dry_run: true, ..gc(10) }).unwrap();
    assert!(left.iter().all(|f| path.join(f).exists()), "a dry run removes nothing");
    let report = store.collect(gc(10)).unwrap();
    assert_eq!((&report.swept, report.snapshot), (&dry.swept, None));
    for file in &left {
        assert!(!path.join(file).exists(), "{} is still there", file.display());
    }
    for file in &foreign {
        assert!(path.join(file).exists(), "{} is gone", file.display());
    }
    let named: BTreeSet<&str> = report.swept.strangers.iter().map(String::as_str).collect();
    for file in &foreign {
        let listed = file.ancestors().any(|a| named.contains(a.to_str().unwrap()));
        assert!(listed, "{} is not reported: {named:?}", file.display());
    }
    assert_eq!(report.swept.files(), left.len() as u64);
    assert!(!path.join("samples/7").exists() && !path.join("tombstones/1").exists());
    assert_eq!(all_content(&store), before, "the history is whole");
    let report = store.collect(gc(1)).unwrap();
    assert_eq!((report.oldest, report.snapshots_removed, report.snapshot), (5, 5, Some(6)));
    assert_eq!(report.swept.removed[&FileKind::Segments].files, 4);
    assert!(report.swept.removed[&FileKind::Segments].bytes > 4000);
    assert!(foreign.iter().all(|f| path.join(f).exists()));
    assert_eq!(content(&store.snapshot().unwrap()).unwrap(), before[&5]);
    assert_sound(&store, "after gc");
    assert_clean(&store);
}

#[test]
fn unfinished_files_go_unless_one_may_have_what_is_missing() {
    let (dir, path, store) = placed(worn);
    let u = Uuid::new_v4();
    let names = ["samples/1/U.parquet.new", "artifacts/U.bin.new", "indexes/U.sketch.new"];
    let names = names.map(|name| name.replace('U', &u.to_string()));
    let samples = path.join("samples/1");
    let (needed, aside) = (samples.join(files(&samples).remove(0)), dir.path().join("aside"));
    fs_err::rename(&needed, &aside).unwrap();
    put(&path, &names);
    let report = store.collect(gc(10)).unwrap();
    assert_eq!(report.swept.unfinished, [names[0].clone()]);
    assert_eq!(report.swept.removed[&FileKind::Leftovers].files, 2, "{report:?}");
    assert!(report.swept.files() == 2 && report.swept.strangers.is_empty(), "{report:?}");
    assert!(path.join(&names[0]).exists());
    fs_err::rename(&aside, &needed).unwrap();
    let report = store.collect(gc(10)).unwrap();
    assert_eq!((report.swept.unfinished.len(), report.swept.files()), (0, 1), "{report:?}");
    assert!(!path.join(&names[0]).exists());
    assert_clean(&store);
}

#[test]
fn gc_and_verify_agree_on_what_is_ours() {
    let (_dir, path, store) = placed(worn);
    let mut left = leave(&path);
    // What processes at work may have: verify does not look there.
    left.retain(|f| !["leases", "tmp"].iter().any(|top| f.starts_with(top)));
    fs_err::write(path.join("CURRENT.damaged"), "{").unwrap();
    strangers(&path);
    let verified = verify(&store);
    let dry = store.collect(GcOptions { dry_run: true, ..gc(u64::MAX) }).unwrap();
    let unreferenced: BTreeSet<PathBuf> = verified.unreferenced.iter().map(PathBuf::from).collect();
    assert_eq!(unreferenced, left.into_iter().collect());
    let strangers = |all: &[String]| -> BTreeSet<String> {
        all.iter().filter(|f| !f.starts_with("leases") && !f.starts_with("tmp")).cloned().collect()
    };
    assert_eq!(strangers(&verified.strangers), strangers(&dry.swept.strangers));
    store.collect(gc(u64::MAX)).unwrap();
    assert!(path.join("CURRENT.damaged").exists() && verify(&store).unreferenced.is_empty());
}

#[test]
fn what_stays_follows_from_number_and_age() {
    let (_dir, _, store) = placed(worn);
    let long = Some(Duration::from_secs(3600));
    let report = store.collect(GcOptions { keep_within: long, ..gc(1) }).unwrap();
    assert_eq!((report.oldest, report.snapshot), (0, None), "all are young");
    for (keep, oldest) in [(100, 0), (6, 0), (5, 1), (4, 2), (2, 4)] {
        let report = store.collect(gc(keep)).unwrap();
        assert_eq!(report.oldest, oldest, "keep {keep}");
        // Its own snapshot pushes none out.
        let again = store.collect(gc(keep)).unwrap();
        assert_eq!((again.oldest, again.snapshot, again.swept.files()), (oldest, None, 0), "keep {keep}");
        let listed: Vec<u64> = store.history().unwrap().iter().map(|i| i.number).collect();
        assert_eq!(listed.last(), Some(&oldest));
        all_content(&store);
    }
    // Tags and snapshots made by gc are no separate states.
    store.tag(&tag_name("here"), &store.snapshot().unwrap(), TagOptions::default()).unwrap();
    assert_eq!(store.collect(gc(2)).unwrap().oldest, 4);
    assert_eq!(store.collect(gc(0)).unwrap().oldest, 5, "0 keeps the current one as well");
    let zero = Some(Duration::ZERO);
    assert_eq!(store.collect(GcOptions { keep_within: zero, ..gc(1) }).unwrap().oldest, 5);
}

#[test]
fn files_of_unfinished_jobs_stay_until_the_jobs_are_dropped() {
    let (dir, path, _) = placed(|path| filled(path, 20, &f(), 5));
    // A job that dies at each step of its publish.
    for n in 0.. {
        let copied = dir.path().join(format!("{n}"));
        copy(&path, &copied);
        let vfs = CrashVfs::new(i64::MAX / 2);
        let crashing = Store::open_on(Arc::new(vfs.clone()), &copied).unwrap();
        let mut job = crashing.start_job(plan(vec![feature("grad-adam", 4, DType::F32)])).unwrap();
        seal(&mut job, 0, 0..10);
        vfs.set_left(n);
        let done = job.publish(None, false).is_ok() && vfs.left() > 0;
        let store = Store::open(&copied).unwrap();
        let report = store.collect(gc(1)).unwrap();
        let mut job = store.start_job(plan(vec![feature("grad-adam", 4, DType::F32)])).unwrap();
        assert_eq!(job.rows_done(0), RowSet::from_range(0..10), "after {n} operations: {report:?}");
        let live = store.collect(GcOptions { drop_jobs: true, ..gc(1) }).unwrap();
        assert!(live.swept.jobs.iter().all(|j| j.running && !j.dropped), "{live:?}");
        seal(&mut job, 0, 10..20);
        drop(job);
        let report = store.collect(gc(1)).unwrap();
        let [note] = report.swept.jobs.as_slice() else { panic!("{report:?}") };
        assert!(!note.running && note.bytes > 500 && note.command.as_deref() == Some("ingest"), "{note:?}");
        let dry = store.collect(GcOptions { drop_jobs: true, dry_run: true, ..gc(1) }).unwrap();
        let report = store.collect(GcOptions { drop_jobs: true, ..gc(1) }).unwrap();
        assert_eq!(report.swept, dry.swept);
        assert!(report.swept.jobs[0].dropped && !copied.join("tmp").join(&report.swept.jobs[0].id).exists());
        assert_clean(&store);
        content(&store.snapshot().unwrap()).unwrap();
        fs_err::remove_dir_all(&copied).unwrap();
        if done {
            break;
        }
    }
}

#[test]
fn what_a_job_leaves_that_has_published_goes_and_keeps_nothing() {
    let (dir, path, _) = placed(|path| filled(path, 20, &f(), 5));
    let wanted = feature("grad-adam", 4, DType::F32);
    let is_job = |file: &PathBuf| file.starts_with("tmp") && file.to_string_lossy().contains("job-");
    let mut left = 0;
    // A job that dies at each step of its publish, and while its folder is removed.
    for n in 0.. {
        let [copied, repeated] = ["c", "r"].map(|name| dir.path().join(format!("{name}{n}")));
        copy(&path, &copied);
        let vfs = CrashVfs::new(i64::MAX / 2);
        let crashing = Store::open_on(Arc::new(vfs.clone()), &copied).unwrap();
        let mut job = crashing.start_job(plan(vec![wanted.clone()])).unwrap();
        seal(&mut job, 0, 0..10);
        seal_counts(&mut job, 0..10).unwrap();
        seal_counts(&mut job, 10..20).unwrap();
        // Half of the counts are published by another job, and stay in the folder of this one.
        let store = Store::open(&copied).unwrap();
        let mut other = store.start_job(plan(vec![feature("grad-norm", 4, DType::F32)])).unwrap();
        seal_counts(&mut other, 0..10).unwrap();
        other.publish(None, false).unwrap();
        vfs.set_left(n);
        let done = job.publish(None, false).is_ok() && vfs.left() > 0;
        let store = Store::open(&copied).unwrap();
        let published = store.snapshot().unwrap();
        if published.feature_by_key(&wanted.desc.key()).is_some() {
            left += u64::from(files(&copied).iter().any(is_job));
            copy(&copied, &repeated);
            let again = Store::open(&repeated).unwrap();
            again.clear_published_job(&published, plan(vec![wanted.clone()]), &Cancel::new()).unwrap();
            assert!(!files(&repeated).iter().any(is_job), "after {n} operations");
            content(&again.snapshot().unwrap()).unwrap();

            drop_features(&copied);
            let report = store.collect(gc(1)).unwrap();
            assert!(report.swept.jobs.is_empty(), "after {n} operations: {report:?}");
            let needless = |file: &PathBuf| is_job(file) || file.starts_with("segments");
            assert!(!files(&copied).iter().any(needless), "after {n} operations");
            assert_clean(&store);
        }
        if done {
            break;
        }
    }
    assert!(left > 2, "none was killed between its commit and the end");
}

#[test]
fn a_job_whose_note_is_of_a_newer_gstore_can_be_dropped() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &f(), 5));
    fs_err::create_dir_all(path.join("tmp/job-01")).unwrap();
    fs_err::write(path.join("tmp/job-01/publish.json"), r#"{"version":99,"requires":[]}"#).unwrap();
    assert!(store.collect(gc(10)).is_err(), "it may name files");
    let report = store.collect(GcOptions { drop_jobs: true, ..gc(10) }).unwrap();
    assert!(report.swept.jobs[0].dropped && !path.join("tmp/job-01").exists(), "{report:?}");
}

#[test]
fn folders_of_jobs_with_nothing_in_them_go_and_those_of_others_stay() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &f(), 5));
    fs_err::create_dir_all(path.join("tmp/job-00")).unwrap();
    put(&path, &["tmp/job-01/lock".into(), "tmp/job-02/notes.txt".into()]);
    fs_err::create_dir_all(path.join("tmp/job-03")).unwrap();
    let _held = OsVfs.lock(&path.join("tmp/job-03/lock"), false).unwrap();
    let dry = store.collect(GcOptions { dry_run: true, ..gc(10) }).unwrap();
    let report = store.collect(gc(10)).unwrap();
    assert_eq!(report.swept, dry.swept);
    let there = [0, 1, 2, 3].map(|job| path.join(format!("tmp/job-0{job}")).exists());
    assert_eq!(there, [false, false, true, true]);
}

#[test]
fn a_compaction_at_work_is_left_alone() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &f(), 5));
    let u = Uuid::new_v4();
    let folder = path.join(format!("tmp/compact-{u}"));
    put(&path, &[format!("tmp/compact-{u}/{u}.arrow")]);
    let lock = OsVfs.lock(&folder.join("lock"), false).unwrap();
    assert_eq!(store.collect(gc(1)).unwrap().swept.files(), 2, "older roots only");
    drop(lock);
    let starting = OsVfs.lock(&path.join("tmp/compact.lock"), false).unwrap();
    store.collect(gc(1)).unwrap();
    assert!(folder.exists());
    drop(starting);
    assert_eq!(store.collect(gc(1)).unwrap().swept.removed[&FileKind::Leftovers].files, 2);
    assert!(!folder.exists());
}

#[test]
fn no_compaction_starts_while_folders_of_others_are_looked_at() {
    let (_dir, path, _) = placed(|path| filled(path, 20, &f(), 5));
    let (tmp, looked) = (path.join("tmp"), Arc::new(AtomicBool::new(false)));
    let seen = Arc::clone(&looked);
    let vfs = HookVfs::new(move |operation, at| {
        if operation == "list" && at == tmp {
            assert!(OsVfs.is_locked(&tmp.join("compact.lock")).unwrap(), "a compaction could start now");
            seen.store(true, Ordering::SeqCst);
        }
        Ok(())
    });
    Store::open_on(vfs, &path).unwrap().collect(gc(1)).unwrap();
    assert!(looked.load(Ordering::SeqCst));
}

#[test]
fn copies_of_uploads_go_unless_a_server_holds_them() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &f(), 5));
    let [left, held] = [(); 2].map(|()| format!("server/uploads/{}.arrow", Uuid::new_v4()));
    let others =
        ["server/uploads/lock", "server/uploads/mine.arrow", "server/tokens.json"].map(str::to_owned);
    put(&path, &[&[left.clone(), held.clone()][..], &others].concat());
    let lock = OsVfs.lock(&path.join(&held), false).unwrap();
    let dry = store.collect(GcOptions { dry_run: true, ..gc(1) }).unwrap();
    assert!(path.join(&left).exists());
    let report = store.collect(gc(1)).unwrap();
    let of = |report: &GcReport| report.swept.removed[&FileKind::Leftovers].files;
    assert_eq!((of(&dry), of(&report)), (1, 1));
    assert!(!path.join(&left).exists() && path.join(&held).exists());
    drop(lock);
    assert_eq!(of(&store.collect(gc(1)).unwrap()), 1);
    assert!(!path.join(&held).exists() && others.iter().all(|name| path.join(name).exists()));
}

#[test]
fn what_another_user_left_is_removed_where_that_is_allowed_and_blocks_nothing_elsewhere() {
    let (_dir, path, _) = placed(|path| filled(path, 20, &f(), 5));
    let u = Uuid::new_v4();
    let lease = format!("leases/{u}.json.new");
    let mine = format!("leases/{}.json.new", Uuid::new_v4());
    let build = format!("tmp/index-{u}");
    let theirs = [lease.clone(), format!("{build}/index"), format!("{build}/lock")];
    put(&path, &theirs);
    let denied = || -> std::io::Result<()> { Err(std::io::ErrorKind::PermissionDenied.into()) };
    let is_theirs = move |p: &Path| p.to_string_lossy().contains(&u.to_string());
    // Neither locked nor looked at; looked at, but not removed.
    for operation in ["lock", "remove"] {
        put(&path, std::slice::from_ref(&mine));
        let vfs = HookVfs::new(move |o, p| if o == operation && is_theirs(p) { denied() } else { Ok(()) });
        let report = Store::open_on(vfs, &path).unwrap().collect(gc(u64::MAX)).unwrap();
        assert_eq!(report.swept.denied, [build.clone(), lease.clone()], "{operation}");
        assert_eq!((report.swept.files(), path.join(&mine).exists()), (1, false), "{operation}");
        assert!(theirs.iter().all(|f| path.join(f).exists()), "{operation}");
    }
    // A purge does everything else first.
    let vfs = HookVfs::new(move |o, p| if o == "remove" && is_theirs(p) { denied() } else { Ok(()) });
    let store = Store::open_on(vfs, &path).unwrap();
    let error = purge(&store, [3]).unwrap_err();
    assert!(matches!(error, ChangeError::Unfinished { .. }) && error.to_string().contains(&build), "{error}");
    assert!(theirs.iter().all(|f| path.join(f).exists()));
    // Looked at with a lock that was refused, and free: the folder lets it go.
    let refused = AtomicUsize::new(0);
    let vfs = HookVfs::new(move |o, p| match o == "lock" && is_theirs(p) {
        true if refused.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) => denied(),
        _ => Ok(()),
    });
    let report = Store::open_on(vfs, &path).unwrap().collect(gc(u64::MAX)).unwrap();
    assert!(report.swept.denied.is_empty() && theirs.iter().all(|f| !path.join(f).exists()), "{report:?}");
    assert_clean(&Store::open(&path).unwrap());
}

fn damage(path: &Path, starts: &str) {
    let manifests = path.join("manifests");
    let name = files(&manifests).into_iter().find(|f| f.to_str().unwrap().starts_with(starts)).unwrap();
    flip(&manifests.join(name), |_| 20);
}

#[test]
fn an_unreadable_manifest_of_a_kept_snapshot_stops_everything() {
    let dir = tempdir().unwrap();
    let whole = dir.path().join("whole");
    worn(&whole);
    for (starts, keep, stops) in [
        ("feature-1-", 10, true), // of snapshot 2
        ("feature-1-", 2, false),
        ("root-3-", 10, true),
        ("root-3-", 2, false),
        ("root-3-", 1, false),
        ("root-0-", 1, false),
        ("feature-2-", 1, true), // of the current one
    ] {
        let path = dir.path().join("s");
        copy(&whole, &path);
        damage(&path, starts);
        if starts == "feature-2-" {
            // Loaded before it was damaged: else there is nothing to start from.
            assert!(Store::open(&path).is_err());
            fs_err::remove_dir_all(&path).unwrap();
            continue;
        }
        let store = Store::open(&path).unwrap();
        let before = set(&path);
        let result = store.collect(gc(keep));
        if stops {
            let e = result.unwrap_err();
            assert!(e.is_damage(), "{e}");
            assert_eq!(set(&path), before, "{starts} {keep}: {e}");
        } else {
            result.unwrap_or_else(|e| panic!("{starts} {keep}: {e}"));
            all_content(&store);
        }
        fs_err::remove_dir_all(&path).unwrap();
    }
}

#[test]
fn without_room_for_the_shorter_history_nothing_goes_and_the_error_says_what_to_do() {
    let mut refused = 0;
    for n in 0.. {
        let (_dir, path) = place();
        drop(worn(&path));
        let (before, vfs) = (set(&path), CrashVfs::once(n));
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let Err(error) = store.collect(gc(1)) else {
            assert!(vfs.left() < 0, "no operation fails");
            // There is no room for the lock of compactions alone, which are left alone then.
            continue;
        };
        let says = error.to_string();
        assert!(
            says.contains("the disk is full") && says.contains("free some space"),
            "operation {n}: {says}"
        );
        if matches!(error, GcError::Full(_)) {
            refused += 1;
            assert!(
                says.contains("nothing was removed") && says.contains("keeps all snapshots"),
                "operation {n}: {says}"
            );
            let gone: Vec<_> = before.difference(&set(&path)).cloned().collect();
            assert!(gone.is_empty(), "operation {n}: {gone:?}");
        }
        if store.snapshot().unwrap().oldest() > 0 {
            break;
        }
    }
    assert!(refused > 3, "{refused}");
}

#[test]
fn a_crash_or_a_failure_at_any_operation_of_gc_is_harmless() {
    let dir = tempdir().unwrap();
    let whole = dir.path().join("whole");
    let store = worn(&whole);
    store.tag(&tag_name("one"), &store.snapshot_at(1).unwrap(), TagOptions::default()).unwrap();
    drop(store.start_job(plan(vec![feature("other", 4, DType::F32)])).unwrap());
    leave(&whole);
    strangers(&whole);
    let expected = {
        let path = dir.path().join("done");
        copy(&whole, &path);
        Store::open(&path).unwrap().collect(GcOptions { drop_jobs: true, ..gc(2) }).unwrap();
        set(&path)
            .into_iter()
            .filter(|f| !f.starts_with("manifests") || !f.to_str().unwrap().contains("root-"))
            .collect::<BTreeSet<_>>()
    };
    for once in [false, true] {
        let mut crashes = 0;
        for n in 0.. {
            let path = dir.path().join(format!("{once}{n}"));
            copy(&whole, &path);
            let vfs = if once { CrashVfs::once(n) } else { CrashVfs::new(n) };
            let result = Store::open_on(Arc::new(vfs.clone()), &path)
                .map_err(GcError::from)
                .and_then(|s| s.collect(GcOptions { drop_jobs: true, ..gc(2) }));
            let (left, ok) = (vfs.left(), result.is_ok());
            let store = Store::open(&path).unwrap();
            all_content(&store);
            assert_eq!(store.snapshot_named(&"one".parse().unwrap()).unwrap().number(), 1);
            store.collect(GcOptions { drop_jobs: true, ..gc(2) }).unwrap();
            all_content(&store);
            assert_clean(&store);
            let rest: BTreeSet<_> = set(&path)
                .into_iter()
                .filter(|f| !f.starts_with("manifests") || !f.to_str().unwrap().contains("root-"))
                .collect();
            assert_eq!(rest, expected, "after {n} operations");
            fs_err::remove_dir_all(&path).unwrap();
            if ok && left > 0 || once && left >= 0 {
                break;
            }
            crashes += 1;
        }
        assert!(crashes > 30, "{crashes}");
    }
}

#[test]
fn gc_beside_readers_and_writers_disturbs_neither() {
    let (_dir, path, _) = placed(|path| filled(path, 20, &f(), 5));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let store = Store::open(&path).unwrap();
            let mut runs = 0;
            while !stop.load(Ordering::Relaxed) {
                store.collect(gc(2)).unwrap();
                runs += 1;
            }
            runs
        });
        let mut readers = Vec::new();
        for _ in 0..2 {
            readers.push(scope.spawn(|| {
                let store = Store::open(&path).unwrap();
                let (mut whole, mut collected) = (0u64, 0u64);
                while !stop.load(Ordering::Relaxed) {
                    // The history as well: it shrinks while it is read.
                    assert!(!store.history().unwrap().is_empty());
                    let snapshot = store.snapshot().unwrap();
                    match content(&snapshot) {
                        Ok(_) => whole += 1,
                        Err(e) if e.is_collected() => collected += 1,
                        Err(e) => panic!("{e}"),
                    }
                }
                (whole, collected)
            }));
        }
        let store = Store::open(&path).unwrap();
        for i in 0..40u64 {
            add(&store, 20 + i..21 + i).unwrap();
            let mut job = store.start_job(plan(vec![f()])).unwrap();
            let missing = RowSet::from_range(0..21 + i).difference(&job.rows_done(0));
            seal(&mut job, 0, missing.iter());
            job.publish(None, true).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
        assert!(collector.join().unwrap() > 0);
        for r in readers {
            assert!(r.join().unwrap().0 > 0);
        }
    });
    let store = Store::open(&path).unwrap();
    store.collect(gc(1)).unwrap();
    assert_clean(&store);
    assert_eq!(store.snapshot().unwrap().features()[0].rows(), 60);
}

#[test]
fn deleted_rows_compacted_files_and_dropped_parts_are_collected() {
    let (_dir, path, store) = placed(|path| filled(path, 20, &f(), 5));
    for i in 20..24 {
        add(&store, i..i + 1).unwrap();
    }
    delete(&store, [3, 7, 21]);
    let bitmaps = files(&path.join("tombstones"));
    assert_eq!(bitmaps.len(), 1);
    store.collect(gc(1)).unwrap();
    assert_eq!(files(&path.join("tombstones")), bitmaps, "the current snapshot needs it");
    let before = content(&store.snapshot().unwrap()).unwrap();
    let (held, lease) = store.snapshot_leased(None, "read").unwrap();
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    assert_ne!(store.snapshot().unwrap().number(), held.number());
    let report = store.collect(gc(1)).unwrap();
    assert_eq!(report.kept.len(), 1, "{report:?}");
    assert_eq!(content(&held).unwrap(), before, "the small files are still there for the reader");
    drop(lease);
    let report = store.collect(gc(1)).unwrap();
    for kind in [FileKind::Samples, FileKind::Segments, FileKind::Tombstones] {
        assert!(report.swept.removed[&kind].files > 0, "{kind:?}: {report:?}");
    }
    assert_eq!((files(&path.join("segments")).len(), files(&path.join("samples")).len()), (1, 1));
    assert!(content(&held).unwrap_err().is_collected());
    assert_eq!(content(&store.snapshot().unwrap()).unwrap(), before);
    store.drop_dataset(&pool(&store), "drop").unwrap();
    store.collect(gc(1)).unwrap();
    assert!(files(&path.join("segments")).is_empty() && files(&path.join("samples")).is_empty());
    assert!(files(&path.join("tombstones")).is_empty());
    assert_clean(&store);
    add(&store, 0..5).unwrap();
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().rows, 5);
}

/// A store with a feature of many segments, and as many files that nothing needs.
fn many(segments: u64) {
    let f = feature("grad-sgd", 1, DType::F16);
    let (_dir, path, store) = placed(|path| filled(path, segments, &f, 1));
    let folder = path.join("segments/1");
    for file in files(&folder) {
        fs_err::copy(folder.join(file), folder.join(format!("{}.arrow", Uuid::new_v4()))).unwrap();
    }
    let start = std::time::Instant::now();
    let report = store.collect(gc(1)).unwrap();
    let took = start.elapsed();
    println!("{segments} segments, {} files removed in {took:?}", report.swept.files());
    assert_eq!(report.swept.removed[&FileKind::Segments].files, segments);
    assert_eq!(files(&folder).len() as u64, segments);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn many_segments_are_collected_in_seconds() {
    many(1000);
}

#[test]
#[ignore = "makes 10,000 segments, which takes minutes"]
fn ten_thousand_segments_are_collected_in_seconds() {
    many(10_000);
}

#[test]
fn a_reader_of_an_older_snapshot_sees_the_history_that_is_left() {
    let (dir, store) = created();
    for n in 0..4 {
        add(&store, n * 3..n * 3 + 3).unwrap();
    }
    let other = Store::open(dir.path().join("s")).unwrap();
    let (held, _lease) = other.snapshot_leased(None, "test").unwrap();
    add(&store, 12..15).unwrap();
    store.collect(GcOptions { command: "gc".into(), keep: 1, ..GcOptions::default() }).unwrap();
    let history = held.history().unwrap();
    assert_eq!(history.first().map(|h| h.number), Some(held.number()));
    assert_eq!(history.len(), 1, "{history:?}");
}
