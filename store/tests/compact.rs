//! Promise: compacting changes how rows lie in files and nothing that a snapshot shows,
//! whatever happens concurrently.

use crate::common::crash::CrashVfs;
use crate::common::every::at_every_operation;
use crate::common::*;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use gstore_core::Cancel;
use gstore_store::vfs::{OsVfs, Vfs};
use gstore_store::*;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

fn compact(store: &Store) -> CompactReport {
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap()
}

/// All live samples, as one text for each.
fn samples(snapshot: &Snapshot) -> Vec<String> {
    let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
    let columns = ["row", "id", "record", "subtask", "n"];
    let batches: Vec<RecordBatch> = reader.scan(&columns, None).collect::<Result<_, _>>().unwrap();
    let mut out = Vec::new();
    for b in batches {
        for i in 0..b.num_rows() {
            let record = b.column(2).as_binary::<i32>();
            let text = |c: usize| format!("{:?}", b.column(c).slice(i, 1));
            out.push(format!("{} {} {:?} {} {}", text(0), text(1), record.value(i), text(3), text(4)));
        }
    }
    out
}

fn shape(store: &Store) -> (usize, usize, usize) {
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    let segments = snapshot.features().iter().map(|f| f.segments.len()).sum();
    (part.files.len(), part.encodings.iter().map(|e| e.files.len()).sum(), segments)
}

fn sound(store: &Store) {
    assert_tidy(store);
    let tmp: Vec<_> = files(&store.path().join("tmp"));
    assert!(tmp.iter().all(|f| f.extension().is_some_and(|e| e == "lock")), "{tmp:?}");
}

#[test]
fn digests_and_rows_stay_for_every_type_with_gaps_and_interleaved_segments() {
    const ROWS: u64 = 9_000;
    for dtype in DType::ALL {
        let dir = tempdir().unwrap();
        let f = feature("grad-sgd", 6, dtype);
        let store = Store::create(dir.path().join("s")).unwrap();
        for start in (0..ROWS).step_by(3000) {
            add(&store, start..start + 3000).unwrap();
        }
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        // Segments with gaps, and two that interleave over several cells.
        for start in (0..4000).step_by(500) {
            seal(&mut job, 0, (start..start + 500).filter(|r| r % 7 != 3));
        }
        seal(&mut job, 0, (4000..ROWS).filter(|r| r % 2 == 0));
        seal(&mut job, 0, (4000..ROWS).filter(|r| r % 2 == 1));
        let old = job.publish(None, true).unwrap();
        let (content, all) = (digest(&store, &f), samples(&old));
        let before = old.open_feature(&old.features()[0]).unwrap();
        let mut last = 0;
        let report = store
            .compact(CompactOptions::default(), &mut |p| {
                assert!(p.bytes_done >= last && p.bytes_done <= p.bytes_total, "{p:?}");
                last = p.bytes_done;
            })
            .unwrap();
        assert_eq!(shape(&store), (1, 0, 1), "{report:?}");
        assert_eq!((report.files_before, report.files_after, report.rows_dropped), (13, 2, 0));
        assert!(report.skipped.is_empty() && report.discarded == 0 && !report.stopped);
        let snapshot = store.snapshot().unwrap();
        assert_eq!(report.snapshot, Some(snapshot.number()));
        assert_eq!(digest(&store, &f), content);
        assert_eq!(samples(&snapshot), all);
        let after = snapshot.open_feature(&snapshot.features()[0]).unwrap();
        for row in [0, 2, 499, 500, 4000, 4001, 4095, 4096, 8191, 8192, ROWS - 1] {
            assert_eq!(before.row(row).unwrap(), after.row(row).unwrap(), "{dtype:?} {row}");
        }
        assert!(after.row(3).unwrap().is_none());
        // The older snapshot is what it was, and a second call has nothing to do.
        assert_eq!(before.content_digest().unwrap(), content);
        assert_eq!(compact(&store), CompactReport::default());
        // The ledger knows where the ids went.
        assert_eq!(add(&store, 0..ROWS + 1).unwrap().added, 1);
        sound(&store);
    }
}

#[test]
fn what_is_dropped_and_collected_meanwhile_is_no_damage() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, store) = placed(|path| filled(path, 60, &f, 10));
    let other = Store::open(&path).unwrap();
    let mut calls = 0;
    let report = store
        .compact(CompactOptions::default(), &mut |_| {
            calls += 1;
            if calls == 1 {
                other.drop_dataset(&pool(&other), "drop").unwrap();
                other.collect(keep::gc(1)).unwrap();
            }
        })
        .unwrap();
    assert!(report.skipped.is_empty() && report.snapshot.is_none(), "{report:?}");
    assert_eq!((report.discarded, calls > 1), (1, true));
    assert!(verify(&store).is_sound());
}

#[test]
fn an_error_of_the_medium_is_an_error() {
    let (_dir, path, _) = placed(|path| filled(path, 60, &feature("grad-sgd", 6, DType::F16), 10));
    let vfs = hook::HookVfs::new(|operation, p| {
        let segment = p.extension().is_some_and(|e| e == "arrow") && p.to_string_lossy().contains("segments");
        if segment && ["open", "map"].contains(&operation) {
            return Err(std::io::Error::from_raw_os_error(5));
        }
        Ok(())
    });
    let store = Store::open_on(vfs, &path).unwrap();
    let e = store.compact(CompactOptions::default(), &mut |_| {}).unwrap_err();
    assert!(!e.is_damage() && e.to_string().contains("os error 5"), "{e}");
}

/// 60 samples in three files, token counts in six, a feature in six segments; rows at the ends, inside
/// and a whole file deleted.
fn with_deletes(path: &Path, f: &JobFeature) -> Store {
    let store = Store::create(path).unwrap();
    for start in [0, 20, 40] {
        add(&store, start..start + 20).unwrap();
    }
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    for start in (0..60).step_by(10) {
        seal(&mut job, 0, start..start + 10);
        seal_counts(&mut job, start..start + 10).unwrap();
    }
    job.publish(None, true).unwrap();
    delete(&store, (0..3).chain([7, 8]).chain(20..40).chain([45]).chain(58..60));
    store
}

fn counts(snapshot: &Snapshot) -> Vec<TokenCount> {
    let part = snapshot.dataset("pool").unwrap();
    let live = snapshot.live_rows(part).unwrap();
    let all = snapshot.encoding(&part.encodings[0]).unwrap().counts(0..60).unwrap();
    all.into_iter().filter(|c| live.contains(c.row)).collect()
}

#[test]
fn deleted_rows_leave_the_files_and_nothing_else_changes() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, _, store) = placed(|path| with_deletes(path, &f));
    let old = store.snapshot().unwrap();
    let (content, all, tokens) = (digest(&store, &f), samples(&old), counts(&old));
    assert_eq!((all.len(), tokens.len()), (32, 32));
    let report = compact(&store);
    assert_eq!(report.rows_dropped, 2 * 28, "samples and vectors: {report:?}");
    assert_eq!(shape(&store), (1, 1, 1));
    let snapshot = store.snapshot().unwrap();
    assert_eq!((digest(&store, &f), samples(&snapshot), counts(&snapshot)), (content, all, tokens));
    let part = snapshot.dataset("pool").unwrap();
    assert_eq!((part.rows, part.next_row), (32, 60));
    assert_eq!(part.files[0].range(), 3..58);
    // What is left of rows inside the file is their number.
    let dead: Vec<(u64, bool)> = part.tombstones.iter().map(|t| (t.rows, t.purged)).collect();
    assert_eq!(dead, [(2 + 20 + 1, true)]);
    assert_eq!(snapshot.features()[0].segments[0].rows, 32);
    assert_eq!(samples(&old).len(), 32);
    let notes = verify(&store).notes;
    assert!(notes.iter().all(|n| !n.contains("behind")), "the ledger was told: {notes:?}");
    // Ids of deleted rows are remembered, and free for who asks for it; others are known.
    let again = add(&store, 0..60).unwrap();
    assert_eq!((again.added, again.unchanged, again.left_out), (0, 32, 28));
    assert_eq!(restore(&store, 0..60).unwrap().added, 28);
    delete(&store, [3, 60]);
    let content = digest(&store, &f);
    compact(&store);
    assert_eq!(digest(&store, &f), content);
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().rows, 58);
    sound(&store);
    // Once no older snapshot needs them, the old files go.
    let options = GcOptions {
        command: "gstore gc".into(),
        keep: 1,
        keep_within: None,
        dry_run: false,
        drop_jobs: false,
    };
    store.collect(options).unwrap();
    let data = |f: &std::path::PathBuf| f.extension().is_some_and(|e| e == "arrow" || e == "parquet");
    assert_eq!(files(store.path()).iter().filter(|f| data(f)).count(), 3);
    assert_eq!(digest(&store, &f), content);
    assert_eq!(samples(&store.snapshot().unwrap()).len(), 58);
}

#[test]
fn columns_that_came_later_or_became_text_read_as_before() {
    let (_dir, store) = created();
    let push = |columns: &[ColumnSpec], samples: &[(&str, Vec<MetaValue>)]| {
        let mut append = store.append(&dataset(), columns.to_vec(), options("add")).unwrap();
        for (id, metadata) in samples {
            append.push(NewSample { id, record: None, metadata: metadata.clone() }).unwrap();
        }
        append.finish().unwrap()
    };
    let text = |t: &str| MetaValue::Text(t.into());
    let first = [ColumnSpec::inferred("a", ColumnType::Int), ColumnSpec::inferred("b", ColumnType::Float)];
    let old = [
        ("x", vec![MetaValue::Int(-7), MetaValue::Float(-2.5)]),
        ("gone", vec![MetaValue::Int(1), MetaValue::Null]),
        ("y", vec![MetaValue::Null, MetaValue::Float(0.1)]),
    ];
    push(&first, &old);
    let later = [
        ColumnSpec::declared("a", ColumnType::Text),
        ColumnSpec::declared("b", ColumnType::Text),
        ColumnSpec::inferred("c", ColumnType::Bool),
    ];
    push(&later, &[("z", vec![text("one"), text("2"), MetaValue::Bool(true)])]);
    delete(&store, [1]);
    let all = |snapshot: &Snapshot| {
        let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
        let batches: Vec<RecordBatch> =
            reader.scan(&["row", "id", "record", "a", "b", "c"], None).collect::<Result<_, _>>().unwrap();
        arrow_select::concat::concat_batches(&batches[0].schema(), &batches).unwrap()
    };
    let before = all(&store.snapshot().unwrap());
    assert_eq!(compact(&store).rows_dropped, 1);
    let part = store.snapshot().unwrap().dataset("pool").unwrap().clone();
    assert_eq!((part.files.len(), part.rows, part.tombstones[0].purged), (1, 3, true));
    assert_eq!(all(&store.snapshot().unwrap()), before);
    // The same samples are still the same, also for a ledger that is rebuilt from the new file.
    for remove in [false, true] {
        if remove {
            fs_err::remove_file(store.path().join("ledger.redb")).unwrap();
        }
        let again = push(&first, &[old[0].clone(), old[2].clone()]);
        assert_eq!((again.added, again.unchanged), (0, 2));
    }
    sound(&store);
}

#[test]
fn large_files_are_left_alone_until_too_many_rows_are_dead() {
    let f = feature("grad-sgd", 64, DType::F32);
    let (_dir, _, store) = placed(|path| filled(path, 1000, &f, 500));
    let len = store.snapshot().unwrap().features()[0].segments[0].len;
    let features = vec!["grad-sgd@checkpoint-7".to_owned()];
    let options = CompactOptions { target_bytes: len * 2, features, ..CompactOptions::default() };
    let run = || store.compact(options.clone(), &mut |_| {}).unwrap();
    assert_eq!(run(), CompactReport::default());
    delete(&store, 0..100);
    assert_eq!(run(), CompactReport::default(), "a fifth is not too much");
    delete(&store, [100]);
    let report = run();
    assert_eq!((report.files_before, report.files_after, report.rows_dropped), (1, 1, 101));
    assert_eq!(report.changed[0].of, "feature pool/grad-sgd@checkpoint-7");
    delete(&store, 101..500);
    assert_eq!((run().files_after, shape(&store).2), (0, 1), "a segment without live rows goes");
    assert_eq!(run(), CompactReport::default());
    sound(&store);
}

#[test]
fn a_forecast_counts_once_what_a_small_file_has_besides_its_rows() {
    for f in [feature("grad-sgd", 6, DType::F16), tokens::token_feature(6, DType::F16)] {
        let (_dir, store) = created();
        for start in (0..60).step_by(3) {
            add(&store, start..start + 3).unwrap();
        }
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        for start in (0..60).step_by(3) {
            match f.desc.granularity {
                Granularity::Token => tokens::seal_tokens(&mut job, start..start + 3),
                _ => seal(&mut job, 0, start..start + 3),
            }
            seal_counts(&mut job, start..start + 3).unwrap();
        }
        job.publish(None, true).unwrap();
        delete(&store, [7]);
        let forecast = store.forecast_compact(&CompactOptions::default()).unwrap();
        let done = compact(&store);
        assert_eq!(forecast.changed.len(), 2);
        for (expected, real) in forecast.changed.iter().zip(&done.changed) {
            assert_eq!((&expected.of, expected.files_before), (&real.of, real.files_before));
            let saved = |part: &CompactedPart| part.bytes_before - part.bytes_after;
            assert!(saved(expected).abs_diff(saved(real)) < saved(real) / 3, "{expected:?} {real:?}");
        }
    }
}

#[test]
fn what_only_a_forecast_says_is_not_read_by_a_compaction() {
    let (_dir, path, _) = placed(|path| filled(path, 60, &feature("grad-sgd", 6, DType::F16), 10));
    let read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&read);
    let vfs = hook::HookVfs::new(move |_, p| {
        let data = p.extension().is_some_and(|e| e == "arrow" || e == "parquet");
        count.fetch_add(u64::from(data), Ordering::SeqCst);
        Ok(())
    });
    let store = Store::open_on(vfs, &path).unwrap();
    assert_eq!(store.forecast_compact(&CompactOptions::default()).unwrap().files_after, 1);
    let by_forecast = read.load(Ordering::SeqCst);
    assert!(by_forecast > 0);
    let mut chosen = None;
    let report = store.compact(CompactOptions::default(), &mut |_| {
        chosen.get_or_insert(read.load(Ordering::SeqCst));
    });
    assert_eq!((report.unwrap().files_after, chosen), (1, Some(by_forecast)), "when it has its files");
}

#[test]
fn it_can_be_stopped_while_it_chooses_its_files() {
    let (_dir, path, store) = placed(|path| {
        let store = Store::create(path).unwrap();
        add(&store, 0..60).unwrap();
        let mut job = store.start_job(plan(vec![feature("grad-sgd", 6, DType::F16)])).unwrap();
        for start in (0..60).step_by(10) {
            seal(&mut job, 0, (start..start + 10).filter(|row| row % 10 != 3));
        }
        job.publish(None, true).unwrap();
        store
    });
    // Of segments with gaps it reads how many deleted rows they have.
    delete(&store, [5, 15, 25]);
    let (cancel, seen) = (Arc::new(Cancel::new()), Arc::new(Mutex::new(BTreeSet::new())));
    let (raise, touched) = (Arc::clone(&cancel), Arc::clone(&seen));
    let vfs = hook::HookVfs::new(move |_, p| {
        if p.extension().is_some_and(|e| e == "arrow") {
            touched.lock().unwrap().insert(p.to_owned());
            raise.raise();
        }
        Ok(())
    });
    let store = Store::open_on(vfs, &path).unwrap();
    let options = CompactOptions { cancel: Some(cancel), ..CompactOptions::default() };
    let report = store.compact(options.clone(), &mut |_| panic!("nothing is merged")).unwrap();
    assert!(report.stopped && report.changed.is_empty(), "{report:?}");
    assert_eq!(seen.lock().unwrap().len(), 1);
    let forecast = store.forecast_compact(&options).unwrap();
    assert!(forecast.stopped && forecast.changed.is_empty(), "{forecast:?}");
}

#[test]
fn others_append_delete_drop_and_read_meanwhile() {
    let dir = tempdir().unwrap();
    let (f, g) = (feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16));
    let path = dir.path().join("s");
    let store = with_deletes(&path, &f);
    fill(&store, &g, 60, 20);
    let old = store.snapshot().unwrap();
    let (all, content) = (samples(&old), digest(&store, &f));
    let other = Store::open(&path).unwrap();
    let mut step = 0;
    let report = store
        .compact(CompactOptions::default(), &mut |p| {
            step += 1;
            if step == 1 {
                add(&other, 60..70).unwrap();
                delete(&other, [50, 61]);
            }
            if p.of.contains("grad-adam") && other.snapshot().unwrap().features().len() == 2 {
                other
                    .drop_feature(
                        other.snapshot().unwrap().feature("grad-adam@checkpoint-7").unwrap(),
                        "gstore drop",
                    )
                    .unwrap();
            }
        })
        .unwrap();
    assert_eq!(report.discarded, 1, "{report:?}");
    assert_eq!(shape(&store), (2, 1, 1));
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.dataset("pool").unwrap().rows, 32 + 10 - 2);
    let now = samples(&snapshot);
    assert!(!now.iter().any(|s| s.contains("\"s50\"")) && now.len() == 40);
    let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
    assert!(reader.row(50).unwrap().is_none() && reader.row(49).unwrap().is_some());
    let before = old.open_feature(old.feature("grad-sgd@checkpoint-7").unwrap()).unwrap();
    assert_eq!((samples(&old), before.content_digest().unwrap()), (all, content));
    compact(&store);
    sound(&store);
}

#[test]
fn files_that_cannot_be_read_are_reported_and_stop_nothing_else() {
    let dir = tempdir().unwrap();
    let (f, g) = (feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16));
    let path = dir.path().join("s");
    let store = with_deletes(&path, &f);
    fill(&store, &g, 60, 20);
    let snapshot = store.snapshot().unwrap();
    let bad = snapshot.features()[0].segments[2].uuid;
    let sample = snapshot.dataset("pool").unwrap().files[1].uuid;
    for name in [format!("segments/1/{bad}.arrow"), format!("samples/1/{sample}.parquet")] {
        flip(&path.join(name), |_| 700);
    }
    let content = digest(&store, &g);
    // A copy with a damaged sample file that has live rows.
    let other = dir.path().join("other");
    copy(&path, &other);
    let sample = snapshot.dataset("pool").unwrap().files[0].uuid;
    let name = other.join(format!("samples/1/{sample}.parquet"));
    flip(&name, |_| 700);
    let other = Store::open(&other).unwrap();
    let report = compact(&other);
    let of: Vec<&str> = report.skipped.iter().map(|s| s.of.as_str()).collect();
    assert_eq!(of, ["dataset pool", "feature pool/grad-sgd@checkpoint-7"]);
    assert!(report.skipped[0].reason.contains("rows 0..60 of dataset pool"), "{:?}", report.skipped);
    assert_eq!(shape(&other), (3, 1, 7));

    let report = compact(&store);
    assert_eq!(
        report.skipped.len(),
        2,
        "the deleted ids of the damaged sample file would be forgotten: {report:?}"
    );
    assert_eq!(report.skipped[0].of, "dataset pool");
    let skipped = &report.skipped[1];
    assert_eq!((skipped.of.as_str(), skipped.files.len()), ("feature pool/grad-sgd@checkpoint-7", 6));
    assert!(
        skipped.reason.contains(&bad.to_string()) && skipped.reason.contains("rows 20..30"),
        "{skipped:?}"
    );
    assert_eq!(shape(&store), (3, 1, 7));
    assert_eq!(digest(&store, &g), content);
}

#[test]
fn it_can_be_stopped_and_there_is_only_one() {
    let (f, g) = (feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16));
    let (_dir, _, store) = placed(|path| with_deletes(path, &f));
    fill(&store, &g, 60, 20);
    let (a, b) = (digest(&store, &f), digest(&store, &g));
    let cancel = Arc::new(Cancel::new());
    let options = CompactOptions { cancel: Some(Arc::clone(&cancel)), ..CompactOptions::default() };
    let report = store
        .compact(options.clone(), &mut |p| {
            if p.of.contains("grad-sgd") {
                cancel.raise();
            }
        })
        .unwrap();
    assert!(report.stopped);
    assert_eq!(shape(&store), (1, 1, 9), "the dataset was done");
    let again = store.compact(options, &mut |_| {}).unwrap();
    assert!(again.stopped && again.snapshot.is_none());
    let lock = OsVfs.lock(&store.path().join("tmp/compact.lock"), false).unwrap();
    assert!(matches!(store.compact(CompactOptions::default(), &mut |_| {}), Err(ChangeError::Compacting)));
    drop(lock);
    let unknown = CompactOptions { datasets: vec!["poll".into()], ..CompactOptions::default() };
    assert!(matches!(store.compact(unknown, &mut |_| {}), Err(ChangeError::Store(StoreError::Lookup(_)))));
    compact(&store);
    assert_eq!(shape(&store), (1, 1, 2));
    assert_eq!((digest(&store, &f), digest(&store, &g)), (a, b));
    sound(&store);
}

#[test]
fn far_gaps_are_not_filled() {
    let (_dir, _, store) = with_samples(70_000);
    add(&store, 70_000..70_010).unwrap();
    delete(&store, 100..69_990);
    let all = samples(&store.snapshot().unwrap());
    compact(&store);
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    let ranges: Vec<_> = part.files.iter().map(FileEntry::range).collect();
    assert_eq!(ranges, [0..100, 69_990..70_010]);
    assert!(part.tombstones.is_empty() && part.rows == 120);
    assert_eq!(samples(&snapshot), all);
    assert_eq!(compact(&store), CompactReport::default());
    sound(&store);
}

#[test]
fn at_every_operation_the_old_or_the_new_state_is_there() {
    let dir = tempdir().unwrap();
    let prepared = dir.path().join("prepared");
    let f = feature("grad-sgd", 6, DType::F16);
    let store = with_deletes(&prepared, &f);
    let (content, all) = (digest(&store, &f), samples(&store.snapshot().unwrap()));
    drop(store);
    at_every_operation(
        &prepared,
        |store| match store.compact(CompactOptions::default(), &mut |_| {}) {
            // On a medium that is gone nothing can be read.
            Ok(report) if !report.skipped.is_empty() => Err(format!("{:?}", report.skipped)),
            other => other.map(drop).map_err(|e| e.to_string()),
        },
        |store, done| {
            assert_eq!(digest(store, &f), content);
            assert_eq!(samples(&store.snapshot().unwrap()), all);
            let files = shape(store);
            assert!(!done || files == (1, 1, 1), "{files:?}");
        },
    );
}

#[test]
fn a_job_that_died_after_its_commit_takes_nothing_from_older_snapshots() {
    let f = feature("grad-sgd", 6, DType::F16);
    let mut found = false;
    for n in 0.. {
        let (_dir, path) = place();
        add(&Store::create(&path).unwrap(), 0..40).unwrap();
        let vfs = CrashVfs::new(n);
        let publish = || -> Option<()> {
            let store = Store::open_on(Arc::new(vfs.clone()), &path).ok()?;
            let mut job = store.start_job(plan(vec![f.clone()])).ok()?;
            for start in [0, 20] {
                let mut w = job.segment_writer(0).ok()?;
                (start..start + 20).try_for_each(|r| w.push(r, &vector(r, 6), RowFlags::empty())).ok()?;
                job.seal(0, w).ok()?;
            }
            job.publish(None, true).ok().map(drop)
        };
        publish();
        let store = Store::open(&path).unwrap();
        let noted = files(&path.join("tmp")).iter().any(|f| f.ends_with("publish.json"));
        if noted && !store.snapshot().unwrap().features().is_empty() {
            found = true;
            let content = digest(&store, &f);
            compact(&store);
            let job = store.start_job(plan(vec![f.clone()])).unwrap();
            assert_eq!(job.rows_done(0), RowSet::from_range(0..40));
            job.publish(None, true).unwrap();
            assert_eq!(digest(&store, &f), content);
            sound(&store);
        }
        if vfs.left() > 0 {
            break;
        }
    }
    assert!(found);
}
