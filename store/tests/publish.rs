//! Promise: whatever instant a process dies at, the store holds a whole snapshot, and the same commands
//! finish the work without computing sealed rows again.

use crate::common::count::CountVfs;
use crate::common::crash::CrashVfs;
use crate::common::hook::HookVfs;
use crate::common::keep::*;
use crate::common::*;
use gstore_store::vfs::{OsVfs, Vfs};
use gstore_store::*;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const SAMPLES: u64 = 24;

/// What one `ingest` does: add samples, compute what is missing in windows of 10 rows,
/// publish. Counts computed rows.
fn ingest(store: &Store, f: &JobFeature, computed: &mut u64) -> Result<(), Box<dyn std::error::Error>> {
    add(store, 0..SAMPLES)?;
    let mut job = store.start_job(plan(vec![f.clone()]))?;
    let all = RowSet::from_range(0..SAMPLES);
    for window in [0..10, 10..20, 20..SAMPLES] {
        seal_counts(&mut job, window.clone())?;
        let missing = all.difference(&job.rows_done(0)).intersection(&RowSet::from_range(window));
        if missing.is_empty() {
            continue;
        }
        let mut w = job.segment_writer(0)?;
        for row in missing.iter() {
            *computed += 1;
            w.push(row, &vector(row, f.desc.dim()), RowFlags::empty())?;
        }
        job.seal(0, w)?;
    }
    job.publish(Some(warmup("checkpoint-7", 7, 2e-5)), true)?;
    Ok(())
}

/// Ingests that are cut short after more and more operations, and done again.
fn crashed_ingests(dying_after: fn(i64) -> CrashVfs) {
    let f = feature("grad-sgd", 6, DType::F16);
    let dir = tempdir().unwrap();
    let whole = Store::create(dir.path().join("whole")).unwrap();
    ingest(&whole, &f, &mut 0).unwrap();
    let expected = digest(&whole, &f);
    let mut crashes = 0;
    for n in 0.. {
        let path = dir.path().join(format!("{n}"));
        Store::create(&path).unwrap();
        let vfs = dying_after(n);
        let mut computed = 0;
        let result = Store::open_on(Arc::new(vfs.clone()), &path)
            .map_err(Into::into)
            .and_then(|store| ingest(&store, &f, &mut computed));
        if result.is_ok() && vfs.left() > 0 {
            break;
        }
        crashes += 1;
        let store = Store::open(&path).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
        assert_sound(&store, format_args!("after {n} operations"));
        let snapshot = store.snapshot().unwrap();
        if result.is_ok() {
            assert_eq!(snapshot.features().len(), 1, "after {n} operations: acknowledged and gone");
        }
        let before = computed;
        ingest(&store, &f, &mut computed).unwrap_or_else(|e| panic!("after {n} operations: {e}"));
        // At most the window that was being written is computed twice.
        assert!(computed <= SAMPLES + 10, "after {n} operations: {before} + {} rows", computed - before);
        assert_eq!(digest(&store, &f), expected, "after {n} operations");
        assert_sound(&store, format_args!("after {n} operations"));
        let tmp = files(&path.join("tmp"));
        assert!(tmp.iter().all(|f| f == Path::new("start.lock")), "after {n} operations: {tmp:?}");
        let part = snapshot_part(&store);
        assert_eq!((part.rows(), part.state), (SAMPLES, FeatureState::Complete));
        fs_err::remove_dir_all(&path).unwrap();
    }
    assert!(crashes > 50, "{crashes}");
}

/// Ingests in which one operation after the other fails, and that are done again by the same process.
fn failing_ingests(failing_after: fn(i64) -> CrashVfs) {
    let f = feature("grad-sgd", 6, DType::F16);
    let dir = tempdir().unwrap();
    let whole = Store::create(dir.path().join("whole")).unwrap();
    ingest(&whole, &f, &mut 0).unwrap();
    let expected = digest(&whole, &f);
    let mut failures = 0;
    for n in 0.. {
        let path = dir.path().join(format!("{n}"));
        Store::create(&path).unwrap();
        let vfs = failing_after(n);
        let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let mut computed = 0;
        let result = ingest(&store, &f, &mut computed);
        if vfs.left() >= 0 {
            result.unwrap();
            break;
        }
        if let Err(e) = &result {
            failures += 1;
            assert!(e.to_string().contains("injected"), "operation {n}: {e}");
        }
        let before = store.snapshot().unwrap().number();
        ingest(&store, &f, &mut computed).unwrap_or_else(|e| panic!("after operation {n} failed: {e}"));
        assert!(store.snapshot().unwrap().number() >= before);
        assert!(computed <= SAMPLES + 10, "operation {n}: {computed} rows");
        assert_eq!(digest(&store, &f), expected, "operation {n}");
        let report = assert_sound(&store, format_args!("operation {n}"));
        assert!(
            report.unreferenced.iter().all(|f| f.starts_with("manifests/")),
            "operation {n}: {:?}",
            report.unreferenced
        );
        fs_err::remove_dir_all(&path).unwrap();
    }
    assert!(failures > 40, "{failures}");
}

#[test]
fn a_crash_at_any_operation_loses_nothing_that_was_acknowledged() {
    crashed_ingests(CrashVfs::new);
}

#[test]
fn one_failing_operation_is_an_error_that_the_same_process_survives() {
    failing_ingests(CrashVfs::once);
}

#[test]
fn the_same_holds_where_files_are_copied_to_other_disks() {
    crashed_ingests(|n| CrashVfs::new(n).apart());
    failing_ingests(|n| CrashVfs::once(n).apart());
}

#[test]
fn folders_may_be_links_to_other_disks() {
    let (elsewhere, f) = (tempfile::tempdir().unwrap(), feature("grad-sgd", 6, DType::F16));
    let (_dir, path) = place();
    drop(Store::create(&path).unwrap());
    for folder in ["samples", "segments"] {
        fs_err::remove_dir(path.join(folder)).unwrap();
        fs_err::create_dir(elsewhere.path().join(folder)).unwrap();
        fs_err::os::unix::fs::symlink(elsewhere.path().join(folder), path.join(folder)).unwrap();
    }
    for (i, vfs) in
        [Arc::new(OsVfs) as Arc<dyn Vfs>, Arc::new(CrashVfs::new(i64::MAX).apart())].iter().enumerate()
    {
        let store = Store::open_on(Arc::clone(vfs), &path).unwrap();
        let start = i as u64 * 20;
        add(&store, start..start + 20).unwrap();
        for end in [start + 10, start + 20] {
            publish_rows(&store, &f, end - 10..end, end == start + 20);
        }
        let content = digest(&store, &f);
        store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
        assert_eq!(digest(&store, &f), content);
        store.collect(GcOptions { keep: 1, ..GcOptions::default() }).unwrap();
        assert_tidy(&store);
    }
}

#[test]
fn a_flush_of_current_that_failed_is_not_tried_again() {
    let (_dir, path) = place();
    let folder = path.clone();
    drop(filled(&path, 20, &feature("grad-sgd", 6, DType::F16), 10));
    let done = Arc::new(Mutex::new(Vec::new()));
    let (seen, fails) = (Arc::clone(&done), Arc::new(AtomicU32::new(0)));
    let left = Arc::clone(&fails);
    let vfs = hook::HookVfs::new(move |operation, p| {
        let name = p.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let committed = seen.lock().unwrap().iter().any(|o: &String| o == "rename CURRENT.new");
        if name.starts_with("CURRENT") && ["create", "rename"].contains(&operation) {
            seen.lock().unwrap().push(format!("{operation} {name}"));
        }
        if operation == "sync_dir" && p == folder {
            seen.lock().unwrap().push("flush".into());
            let fails = left.load(Ordering::SeqCst) > 0 && (committed || left.load(Ordering::SeqCst) > 1);
            if fails {
                left.fetch_sub(1, Ordering::SeqCst);
                return Err(std::io::Error::from_raw_os_error(5));
            }
        }
        Ok(())
    });
    let store = Store::open_on(vfs, &path).unwrap();
    let nothing = || store.delete(&pool(&store), &RowSet::from_rows([1000]), DeleteOptions::default());
    let take = || std::mem::take(&mut *done.lock().unwrap());
    nothing().unwrap();
    assert_eq!(take(), ["flush"], "what a lock costs");
    fails.store(1, Ordering::SeqCst);
    let e = store.delete(&pool(&store), &RowSet::from_rows([3]), DeleteOptions::default()).unwrap_err();
    assert!(matches!(e, ChangeError::Commit(CommitError::Unclear { visible: true, .. })), "{e}");
    take();
    // Also when it fails once more.
    fails.store(2, Ordering::SeqCst);
    nothing().unwrap_err();
    fails.store(0, Ordering::SeqCst);
    take();
    nothing().unwrap();
    assert_eq!(take(), ["create CURRENT.new", "rename CURRENT.new", "flush"]);
    nothing().unwrap();
    assert_eq!(take(), ["flush"]);
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().rows, 19);
    assert!(verify(&store).is_sound());
}

/// A store for each instant at which a publish is cut short after its segment went into place and
/// before `CURRENT` has it.
fn half_published(dir: &Path, f: &JobFeature, mut each: impl FnMut(Store)) {
    let mut found = 0;
    for n in 0.. {
        let path = dir.join(format!("{n}"));
        let store = Store::create(&path).unwrap();
        add(&store, 0..SAMPLES).unwrap();
        let vfs = CrashVfs::new(i64::MAX);
        let crashing = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
        let mut job = crashing.start_job(plan(vec![f.clone()])).unwrap();
        seal(&mut job, 0, 0..SAMPLES);
        vfs.set_left(n);
        let done = job.publish(None, true).is_ok();
        drop(crashing);
        let store = Store::open(&path).unwrap();
        if store.snapshot().unwrap().features().is_empty() && !files(&path.join("segments")).is_empty() {
            found += 1;
            each(store);
        }
        fs_err::remove_dir_all(&path).unwrap();
        if done {
            break;
        }
    }
    assert!(found > 3, "{found}");
}

#[test]
fn sealed_rows_outlive_the_history_of_the_publish_that_was_cut_short() {
    let dir = tempdir().unwrap();
    let f = feature("grad-sgd", 6, DType::F16);
    half_published(dir.path(), &f, |store| {
        for i in 0..3 {
            add(&store, SAMPLES + i..SAMPLES + i + 1).unwrap();
        }
        store.collect(GcOptions { keep: 1, ..GcOptions::default() }).unwrap();
        assert!(store.snapshot_at(2).is_err(), "the number that was announced is out of the history");
        let job = store.start_job(plan(vec![f.clone()])).unwrap();
        assert_eq!(job.rows_done(0), RowSet::from_range(0..SAMPLES));
        job.publish(None, false).unwrap();
        assert!(verify(&store).is_sound());
    });
}

#[test]
fn a_repair_and_the_job_that_was_publishing_lose_no_file_between_them() {
    let dir = tempdir().unwrap();
    let f = feature("grad-sgd", 6, DType::F16);
    half_published(dir.path(), &f, |store| {
        let path = store.path().to_owned();
        drop(store);
        // All that says what is in the store is lost, so it is rebuilt from the files that are there.
        fs_err::remove_file(path.join("CURRENT")).unwrap();
        fs_err::remove_dir_all(path.join("manifests")).unwrap();
        fs_err::create_dir(path.join("manifests")).unwrap();
        Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
        let store = Store::open(&path).unwrap();
        let job = store.start_job(plan(vec![f.clone()])).unwrap();
        assert_eq!(job.rows_done(0), RowSet::from_range(0..SAMPLES));
        job.publish(None, true).unwrap();
        assert_sound(&store, "after the repair");
        assert_eq!(snapshot_part(&store).rows(), SAMPLES);
    });
}

fn snapshot_part(store: &Store) -> Arc<FeaturePart> {
    Arc::clone(&store.snapshot().unwrap().features()[0])
}

#[test]
fn an_interrupted_job_goes_on_and_gives_the_same_content() {
    let dir = tempdir().unwrap();
    let f = feature("grad-sgd", 6, DType::F16);
    let whole = filled(&dir.path().join("whole"), 30, &f, 10);
    let store = Store::create(dir.path().join("s")).unwrap();
    add(&store, 0..30).unwrap();
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    assert!(!job.resumed());
    seal(&mut job, 0, 0..10);
    let mut unfinished = job.segment_writer(0).unwrap();
    unfinished.push(10, &vector(10, 6), RowFlags::empty()).unwrap();
    let id = job.id().to_owned();
    drop((job, unfinished));
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    assert!(job.resumed());
    assert_eq!((job.id(), job.discarded().len()), (&*id, 1));
    assert_eq!(job.rows_done(0), RowSet::from_range(0..10));
    seal(&mut job, 0, 10..20);
    drop(job);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    assert_eq!(job.sealed(0).len(), 2);
    seal(&mut job, 0, 20..30);
    job.publish(None, true).unwrap();
    assert_eq!(digest(&store, &f), digest(&whole, &f));
    let job = store.start_job(plan(vec![f.clone()])).unwrap();
    assert_eq!(job.rows_done(0), RowSet::from_range(0..30));
    let before = store.snapshot().unwrap().number();
    assert_eq!(job.publish(None, true).unwrap().number(), before, "nothing to do makes no snapshot");
}

#[test]
fn a_start_that_is_stopped_leaves_what_is_sealed_to_the_next() {
    let (_dir, path, store) = with_samples(30);
    let f = feature("grad-sgd", 6, DType::F16);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..10);
    drop(job);
    let (planned, before) = (store.snapshot().unwrap(), files(&path));
    let start = |cancel: &Cancel| store.start_job_on(&planned, plan(vec![f.clone()]), cancel);
    assert!(matches!(start(&Cancel::raised()), Err(JobError::Stopped(_))));
    assert_eq!(files(&path), before);
    assert_eq!(start(&Cancel::new()).unwrap().rows_done(0), RowSet::from_range(0..10));
}

/// A store whose dataset had 10 rows when it got the tag `t`, and has 100 now. A job of these 90 rows was
/// interrupted.
fn grown_since_a_tag(f: &JobFeature) -> (tempfile::TempDir, PathBuf, Store) {
    let (dir, path, store) = with_samples(10);
    store.tag(&tag_name("t"), &store.snapshot().unwrap(), TagOptions::default()).unwrap();
    add(&store, 10..100).unwrap();
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 10..100);
    drop(job);
    (dir, path, store)
}

/// Goes back to `t`, with no other history left, and adds samples that were never there.
fn back_with_others(store: &Store) -> RowSet {
    store.collect(gc(1)).unwrap();
    let tagged = store.snapshot_named(&"t".parse().unwrap()).unwrap();
    store.revert(&tagged, &RevertOptions::default()).unwrap();
    add(store, 200..290).unwrap();
    let snapshot = store.snapshot().unwrap();
    RowSet::clone(&snapshot.live_rows(&pool(store)).unwrap())
}

#[test]
fn sealed_vectors_of_a_dataset_that_was_dropped_are_not_those_of_samples_that_came_later() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, _, store) = grown_since_a_tag(&f);
    store.drop_dataset(&pool(&store), "drop").unwrap();
    let live = back_with_others(&store);
    assert_eq!(live, RowSet::from_ranges([0..10, 101..191]));
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    let missing = live.difference(&job.rows_done(0));
    assert_eq!(missing, live);
    seal(&mut job, 0, missing.iter());
    job.publish(None, true).unwrap();
    let part = snapshot_part(&store);
    assert_eq!((part.rows(), part.state), (100, FeatureState::Complete));
    assert_sound(&store, "after the job");
}

#[test]
fn a_tag_knows_the_rows_of_a_dataset_that_an_earlier_version_dropped() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, store) = grown_since_a_tag(&f);
    store.tag(&tag_name("late"), &store.snapshot().unwrap(), TagOptions::default()).unwrap();
    store.drop_dataset(&pool(&store), "drop").unwrap();
    republish(&path, |root| {
        root.as_object_mut().unwrap().remove("next_rows");
    });
    assert_eq!(back_with_others(&store), RowSet::from_ranges([0..10, 101..191]));
}

#[test]
fn for_all_datasets_that_an_earlier_version_dropped_the_roots_are_read_once() {
    let (_dir, path, store) = with_samples(10);
    let other = DatasetName::try_from("other").unwrap();
    let mut append = store.append(&other, vec![], options("add")).unwrap();
    append.push(NewSample { id: "a", record: Some(b"{}"), metadata: vec![] }).unwrap();
    append.finish().unwrap();
    let both = store.snapshot().unwrap();
    for end in 11..15 {
        add(&store, 0..end).unwrap();
    }
    for name in ["pool", "other"] {
        let snapshot = store.snapshot().unwrap();
        store.drop_dataset(snapshot.dataset(name).unwrap(), "drop").unwrap();
    }
    republish(&path, |root| {
        root.as_object_mut().unwrap().remove("next_rows");
    });
    let vfs = CountVfs::default();
    let store = Store::open_on(Arc::new(vfs.clone()), &path).unwrap();
    let target = store.snapshot_at(both.number()).unwrap();
    let before = store.snapshot().unwrap().number() - both.number();
    vfs.take();
    let dry = RevertOptions { dry_run: true, ..RevertOptions::default() };
    assert_eq!(store.revert(&target, &dry).unwrap().changes.len(), 2);
    assert!(vfs.take().reads_of("manifests/root-") as u64 <= before);
    store.revert(&target, &RevertOptions::default()).unwrap();
    assert_eq!(pool(&store).next_row, 15, "one is passed over");
}

#[test]
fn a_damaged_sealed_file_is_computed_again() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, _, store) = with_samples(30);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut job, 0, 0..10);
    seal(&mut job, 0, 10..30);
    seal_counts(&mut job, 0..30).unwrap();
    let path = job.sealed(0)[1].path().to_owned();
    drop(job);
    flip(&path, |_| 700);
    let job = store.start_job(plan(vec![f.clone()])).unwrap();
    assert_eq!(job.rows_done(0), RowSet::from_range(0..10));
    assert_eq!(job.encoding_rows_done("pool", &encoding_spec().key()), RowSet::from_range(0..30));
    job.abandon().unwrap();
    let job = store.start_job(plan(vec![f])).unwrap();
    assert!(!job.resumed() && job.rows_done(0).is_empty());
}

/// A file system that has an error of the system for files of jobs with this ending.
fn failing(ending: &'static str, code: i32) -> Arc<HookVfs> {
    HookVfs::new(move |operation, at| {
        let name = at.to_string_lossy();
        let is_read = matches!(operation, "open" | "map");
        match is_read && name.contains("/tmp/job-") && name.ends_with(ending) {
            true => Err(std::io::Error::from_raw_os_error(code)),
            false => Ok(()),
        }
    })
}

#[test]
fn sealed_counts_that_cannot_be_opened_now_are_kept() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, store) = with_samples(30);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    seal_counts(&mut job, 0..30).unwrap();
    drop(job);
    for ending in [".encoding.json", ".parquet"] {
        let store = Store::open_on(failing(ending, libc::EMFILE), &path).unwrap();
        let refused = store.start_job(plan(vec![f.clone()])).unwrap_err();
        assert!(refused.to_string().contains("could not read tmp/job-"), "{ending}: {refused}");
    }
    let job = store.start_job(plan(vec![f])).unwrap();
    assert!(job.resumed() && job.discarded().is_empty());
    assert_eq!(job.encoding_rows_done("pool", &encoding_spec().key()), RowSet::from_range(0..30));
}

#[test]
fn sealed_files_in_a_bad_sector_are_computed_again() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, store) = with_samples(30);
    let done = |job: &Job| (job.rows_done(0), job.encoding_rows_done("pool", &encoding_spec().key()));
    let (none, all) = (RowSet::new(), RowSet::from_range(0..30));
    for (ending, left) in [
        (".encoding.json", (all.clone(), none.clone())),
        (".parquet", (all.clone(), none.clone())),
        (".arrow", (none.clone(), all.clone())),
    ] {
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        seal(&mut job, 0, 0..30);
        seal_counts(&mut job, 0..30).unwrap();
        drop(job);
        let bad = Store::open_on(failing(ending, libc::EIO), &path).unwrap();
        let job = bad.start_job(plan(vec![f.clone()])).unwrap();
        assert_eq!((job.discarded().len(), done(&job)), (1, left.clone()), "{ending}");
        drop(job);
        let job = store.start_job(plan(vec![f.clone()])).unwrap();
        assert_eq!((job.discarded().len(), done(&job)), (0, left), "{ending}");
        job.abandon().unwrap();
    }
}

#[test]
fn two_live_jobs_never_share_a_feature() {
    let (_dir, _, store) = with_samples(30);
    let (a, b) = (feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16));
    let job = store.start_job(plan(vec![a.clone()])).unwrap();
    match store.start_job(plan(vec![b.clone(), a.clone()])) {
        Err(JobError::Busy { feature, job: other, pid }) => {
            assert_eq!(
                (feature.as_str(), other.as_str(), pid),
                ("pool/grad-sgd@checkpoint-7", job.id(), std::process::id())
            );
        }
        other => panic!("{other:?}"),
    }
    assert!(
        matches!(store.start_job(plan(vec![a.clone()])), Err(JobError::Busy { .. })),
        "the same job twice"
    );
    let mut second = store.start_job(plan(vec![b])).unwrap();
    seal(&mut second, 0, 0..5);
    second.publish(None, false).unwrap();
    drop(job);
    store.start_job(plan(vec![a])).unwrap();
}

#[test]
fn gc_looks_at_jobs_while_none_can_start() {
    let (_dir, path, store) = with_samples(30);
    drop(store.start_job(plan(vec![feature("grad-sgd", 6, DType::F16)])).unwrap());
    let (start, looked) = (path.join("tmp/start.lock"), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&looked);
    let vfs = HookVfs::new(move |operation, at| {
        if operation == "lock" && at.parent().is_some_and(|p| p.to_string_lossy().contains("/tmp/job-")) {
            assert!(OsVfs.is_locked(&start).unwrap(), "a job that starts now would be refused");
            count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    });
    Store::open_on(vfs, &path).unwrap().collect(GcOptions { keep: 1, ..GcOptions::default() }).unwrap();
    assert!(looked.load(Ordering::SeqCst) > 0);
}

#[test]
fn rows_that_appeared_meanwhile_are_refused() {
    let (_dir, _, store) = with_samples(30);
    let f = feature("grad-sgd", 6, DType::F16);
    let mut first = store.start_job(plan(vec![f.clone()])).unwrap();
    seal(&mut first, 0, 0..10);
    drop(first);
    // Another identity, the same feature: the first job is not live, so this one may run.
    let mut second = store.start_job(JobPlan { identity: json!("other"), ..plan(vec![f.clone()]) }).unwrap();
    let mut first = store.start_job(plan(vec![f.clone()]));
    assert!(matches!(first, Err(JobError::Busy { .. })));
    seal(&mut second, 0, (5..30).filter(|r| r % 2 == 0));
    second.publish(None, false).unwrap();
    first = store.start_job(plan(vec![f.clone()]));
    let job = first.unwrap();
    assert_eq!(job.discarded().len(), 1, "a sealed file with published rows is of no use");
    assert_eq!(job.rows_done(0), RowSet::from_rows((5..30).filter(|r| r % 2 == 0)));
}

#[test]
fn runs_grow_and_refuse_other_weights_under_an_old_name() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, _, store) = placed(|path| filled(path, 10, &f, 10));
    let publish = |update| store.start_job(plan(vec![f.clone()])).unwrap().publish(Some(update), true);
    publish(warmup("checkpoint-7", 7, 2e-5)).unwrap();
    let n = publish(warmup("checkpoint-9", 9, 2e-5)).unwrap().number();
    assert_eq!(publish(warmup("checkpoint-9", 9, 2e-5)).unwrap().number(), n);
    assert!(matches!(publish(warmup("checkpoint-9", 8, 2e-5)), Err(CommitError::RunConflict { .. })));
    let snapshot = store.snapshot().unwrap();
    let names: Vec<_> = snapshot.run("warmup").unwrap().checkpoints.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["checkpoint-7", "checkpoint-9"]);
}

#[test]
fn history_and_old_snapshots() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, _, store) = placed(|path| filled(path, 10, &f, 10));
    add(&store, 10..15).unwrap();
    let history = store.history().unwrap();
    assert_eq!(history.iter().map(|h| h.number).collect::<Vec<_>>(), [3, 2, 1, 0]);
    assert_eq!(history[0].changes, ["dataset pool: 5 samples added"]);
    assert_eq!((history[1].command.as_str(), history[1].parent), ("ingest", Some(1)));
    let old = store.snapshot_at(1).unwrap();
    assert_eq!((old.dataset("pool").unwrap().rows, old.features().len()), (10, 0));
    assert!(matches!(
        store.snapshot_at(4),
        Err(OpenError::NoSnapshot { wanted: 4, oldest: 0, newest: 3, .. })
    ));
    let (a, b) = (store.snapshot_at(2).unwrap(), store.snapshot().unwrap());
    assert!(Arc::ptr_eq(&a.features()[0], &b.features()[0]), "unchanged parts are shared");
    assert!(Arc::ptr_eq(&b, &store.snapshot().unwrap()), "an unchanged CURRENT is not loaded again");
}

#[test]
fn encodings_come_back() {
    let (_dir, store) = created();
    ingest(&store, &feature("grad-sgd", 6, DType::F16), &mut 0).unwrap();
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    assert_eq!((part.encodings.len(), part.encodings[0].files.len()), (1, 3));
    let reader = snapshot.encoding(&part.encodings[0]).unwrap();
    let counts = reader.counts(5..22).unwrap();
    assert_eq!(counts.iter().map(|c| c.row).collect::<Vec<_>>(), (5..22).collect::<Vec<_>>());
    assert_eq!(counts[5], TokenCount { row: 10, tokens: 20, scored: 10, truncated: true });
    assert_eq!(reader.rows(), RowSet::from_range(0..SAMPLES));
}

#[test]
fn labels_that_are_ambiguous_list_the_candidates() {
    let dir = tempdir().unwrap();
    let (mut a, mut b) = (feature("grad-sgd", 6, DType::F16), feature("grad-sgd", 6, DType::F32));
    (a.attrs.label, b.attrs.label) = ("g".into(), "g".into());
    b.desc.dataset = "other".into();
    let store = Store::create(dir.path().join("s")).unwrap();
    add(&store, 0..4).unwrap();
    let other = DatasetName::try_from("other").unwrap();
    let mut append = store.append(&other, Vec::new(), options("add")).unwrap();
    for id in ["a", "b", "c", "d"] {
        append.push(NewSample { id, record: None, metadata: Vec::new() }).unwrap();
    }
    append.finish().unwrap();
    let mut job = store.start_job(plan(vec![a, b])).unwrap();
    seal(&mut job, 0, 0..4);
    seal(&mut job, 1, 0..4);
    let snapshot = job.publish(None, true).unwrap();
    let error = snapshot.feature("g").unwrap_err();
    assert!(error.to_string().contains("give the number of one of these"), "{error}");
    match error {
        LookupError::Ambiguous { candidates, .. } => assert_eq!(candidates.len(), 2),
        other => panic!("{other:?}"),
    }
    assert_eq!(snapshot.feature("2").unwrap().desc.dtype, DType::F32);
    for (dataset, name, number) in [("pool", "g", 1), ("other", "g", 2), ("other", "other/g", 2)] {
        assert_eq!(snapshot.feature_of(dataset, name).unwrap().number, number, "{dataset} {name}");
    }
    let error = snapshot.feature_of("other", "1").unwrap_err();
    assert_eq!(error.to_string(), "dataset \"other\" has no feature \"1\"; available: #2 other/g");
    let key = &snapshot.features()[0].key;
    assert_eq!(&snapshot.feature(&key[..12]).unwrap().key, key);
}

#[test]
fn a_new_feature_whose_label_is_taken_gets_another_when_it_is_published() {
    let (_dir, _, store) = with_samples(6);
    let labelled = |label: &str, dim: u32, dtype: DType| {
        let mut f = feature("grad-sgd", dim, dtype);
        f.attrs.label = label.into();
        f
    };
    let begin = |features: Vec<JobFeature>| {
        let mut job = store.start_job(plan(features)).unwrap();
        (0..job.features().len()).for_each(|i| seal(&mut job, i, 0..4));
        job
    };
    // All begin before any is published.
    let [one, other, third] =
        [DType::F16, DType::F32, DType::I8].map(|dtype| begin(vec![labelled("g", 6, dtype)]));
    one.publish(None, true).unwrap();
    let of_type = |now: &Snapshot, f: &JobFeature| {
        format!("{}:{}", now.features().first().unwrap().attrs.label, f.desc.dtype)
    };
    other.publish_labelled(None, true, &of_type).unwrap();
    // What is taken as well does not do.
    third.publish_labelled(None, true, &|_: &Snapshot, _: &JobFeature| "g:f32".to_owned()).unwrap();
    // Two of one job.
    let both = [8, 10].map(|dim| labelled("h", dim, DType::F16));
    begin(both.to_vec()).publish(None, true).unwrap();
    let labels = || -> Vec<String> {
        store.snapshot().unwrap().features().iter().map(|part| part.attrs.label.clone()).collect()
    };
    let key = |f: &JobFeature| f.desc.key()[..8].to_owned();
    let suffixed = [format!("g:f32:{}", key(&labelled("g", 6, DType::I8))), format!("h:{}", key(&both[1]))];
    assert_eq!(labels(), ["g", "g:f32", &suffixed[0], "h", &suffixed[1]]);
    // A feature keeps what it was given.
    publish_rows(&store, &labelled("g", 6, DType::F32), 4..6, true);
    assert_eq!(labels(), ["g", "g:f32", &suffixed[0], "h", &suffixed[1]]);
}
