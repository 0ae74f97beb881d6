//! Promise: after a purge no byte of a purged row is in any file of the store's folder,
//! and nothing else is lost.

use crate::common::every::at_every_operation;
use crate::common::hook::HookVfs;
use crate::common::*;
use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use gstore_store::vfs::{OsVfs, Vfs};
use gstore_store::*;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

const ROWS: u64 = 60;
/// Named when the purge is done, deleted before, and others.
const NAMED: [u64; 4] = [0, 17, 18, 59];
const BEFORE: [u64; 3] = [5, 20, 21];

fn is_secret(row: u64) -> bool {
    NAMED.contains(&row) || BEFORE.contains(&row)
}

/// Ids that are the least and the greatest, so that statistics would show them.
fn id(row: u64) -> String {
    match (is_secret(row), row % 2) {
        (true, 0) => format!("!secret-{row}"),
        (true, _) => format!("~secret-{row}"),
        _ => format!("s{row}"),
    }
}

fn add_secrets(store: &Store, rows: std::ops::Range<u64>) {
    let restore = AppendOptions { if_deleted: IfDeleted::Restore, ..options("add") };
    let mut append = store.append(&dataset(), columns(), restore).unwrap();
    for row in rows {
        let text = if is_secret(row) { format!("secret text {row}") } else { format!("text {row}") };
        let metadata = vec![MetaValue::Text(format!("{}-task", id(row))), MetaValue::Int(row as i64)];
        append.push(NewSample { id: &id(row), record: Some(text.as_bytes()), metadata }).unwrap();
    }
    append.finish().unwrap();
}

/// Samples in two files, two features (one with the values as they are), token counts; rows deleted; a tag.
fn prepare(path: &Path) -> Store {
    let store = Store::create(path).unwrap();
    add_secrets(&store, 0..30);
    add_secrets(&store, 30..ROWS);
    let mut job = store.start_job(plan(features())).unwrap();
    for start in (0..ROWS).step_by(20) {
        seal(&mut job, 0, start..start + 20);
        seal(&mut job, 1, start..start + 20);
        seal_counts(&mut job, start..start + 20).unwrap();
    }
    job.publish(None, true).unwrap();
    let tag = TagOptions { command: "gstore tag".into(), ..TagOptions::default() };
    store.tag(&"v1".parse().unwrap(), &store.snapshot().unwrap(), tag).unwrap();
    delete(&store, BEFORE);
    store
}

fn features() -> Vec<JobFeature> {
    vec![feature("grad-sgd", 6, DType::F32), feature("grad-adam", 6, DType::F16)]
}

fn purge(store: &Store, rows: impl IntoIterator<Item = u64>) -> Result<DeleteReport, ChangeError> {
    let options = DeleteOptions {
        command: "gstore delete --where \"id like 'secret'\"".into(),
        purge: true,
        ..DeleteOptions::default()
    };
    store.delete(store.snapshot()?.dataset("pool").unwrap(), &RowSet::from_rows(rows), options)
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|w| w == what)
}

/// Looks for purged rows in the bytes of every file, in what Parquet files hold, and in their filters.
fn assert_forgotten(path: &Path) {
    // Rows of another dataset have the same numbers.
    for file in files(path).into_iter().filter(|f| !f.starts_with("samples/2")) {
        let bytes = fs_err::read(path.join(&file)).unwrap();
        assert!(!contains(&bytes, b"secret"), "{} names a row", file.display());
        if file.extension().is_some_and(|e| e == "arrow") {
            for row in (0..ROWS).filter(|r| is_secret(*r)) {
                let values: Vec<u8> = vector(row, 6).iter().flat_map(|v| v.to_le_bytes()).collect();
                assert!(!contains(&bytes, &values), "{} has the vector of row {row}", file.display());
            }
        }
        if file.extension().is_some_and(|e| e == "parquet") {
            assert_forgotten_by_table(&path.join(&file));
        }
    }
}

fn assert_forgotten_by_table(path: &Path) {
    let open = || fs_err::File::open(path).unwrap().into_parts().0;
    let batches: Vec<RecordBatch> = ParquetRecordBatchReaderBuilder::try_new(open())
        .unwrap()
        .build()
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let samples = path.parent().unwrap().parent().unwrap().ends_with("samples");
    for b in batches {
        let shown = format!("{b:?}");
        assert!(!shown.contains("secret"), "{}", path.display());
        let rows = b.column(0).as_primitive::<arrow_array::types::UInt64Type>().values().to_vec();
        for (i, row) in rows.iter().enumerate().filter(|(_, r)| is_secret(**r)) {
            let shell = if samples {
                b.column(1).as_string::<i32>().value(i).is_empty() && (2..5).all(|c| b.column(c).is_null(i))
            } else {
                (1..3).all(|c| b.column(c).as_primitive::<arrow_array::types::UInt32Type>().value(i) == 0)
                    && !b.column(3).as_boolean().value(i)
            };
            assert!(shell, "row {row} in {}", path.display());
        }
    }
    if samples {
        let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
        let options = ReadOptionsBuilder::new().with_reader_properties(properties).build();
        let reader = SerializedFileReader::new_with_options(open(), options).unwrap();
        for g in 0..reader.num_row_groups() {
            let group = reader.get_row_group(g).unwrap();
            let filter = group.get_column_bloom_filter(1).expect("a filter on ids");
            assert!((0..ROWS).any(|row| filter.check(&id(row).as_str())));
            for row in (0..ROWS).filter(|r| is_secret(*r)) {
                assert!(!filter.check(&id(row).as_str()), "row {row} in {}", path.display());
            }
        }
    }
}

/// Everything that is not to be lost: ids, digests, token counts.
fn content(store: &Store) -> (Vec<String>, Vec<String>, Vec<TokenCount>) {
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    let reader = snapshot.samples(part).unwrap();
    let batches: Vec<RecordBatch> = reader.scan(&["id", "record"], None).map(Result::unwrap).collect();
    let ids =
        batches.iter().flat_map(|b| b.column(0).as_string::<i32>().iter().map(|t| t.unwrap().to_owned()));
    let live = snapshot.live_rows(part).unwrap();
    let counts = snapshot.encoding(&part.encodings[0]).unwrap().counts(0..ROWS).unwrap();
    let counts = counts.into_iter().filter(|c| live.contains(c.row)).collect();
    (ids.collect(), features().iter().map(|f| digest(store, f)).collect(), counts)
}

#[test]
fn nothing_of_purged_rows_is_left_in_the_folder() {
    let (dir, path, store) = placed(prepare);
    // The same store with the rows only deleted says what must be left.
    let twin = dir.path().join("twin");
    copy(&path, &twin);
    let twin = Store::open(&twin).unwrap();
    delete(&twin, NAMED);
    // An interrupted job of the dataset, and leftovers.
    let mut job = store.start_job(plan(vec![feature("grad-sign", 6, DType::F32)])).unwrap();
    seal(&mut job, 0, 0..ROWS);
    let id = job.id().to_owned();
    drop(job);
    let leftover = path.join("tmp/append-00000000-0000-4000-8000-000000000000");
    fs_err::create_dir_all(&leftover).unwrap();
    fs_err::write(leftover.join("x.parquet"), "secret").unwrap();

    let before = store.snapshot().unwrap().number();
    let report = purge(&store, NAMED.into_iter().chain([BEFORE[0], 1000])).unwrap();
    assert_eq!((report.deleted, report.ignored, report.purged), (4, 2, 7));
    assert_eq!((report.snapshot, &report.jobs_removed), (Some(before + 1), &vec![id]));
    assert!(report.files_removed > 15 && report.bytes_removed > 10_000, "{report:?}");
    assert_forgotten(&path);
    assert_eq!(content(&store), content(&twin));
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.info().command, "purge of 7 rows of dataset pool");
    assert_eq!(
        (snapshot.history().unwrap().len(), snapshot.oldest(), snapshot.tags().len()),
        (1, before + 1, 0)
    );
    assert!(matches!(store.snapshot_at(before), Err(OpenError::NoSnapshot { .. })));
    let part = snapshot.dataset("pool").unwrap();
    assert_eq!((part.rows, part.next_row), (ROWS - 7, ROWS));
    assert!(part.tombstones.iter().all(|t| t.purged));
    assert_tidy(&store);
    // Numbers are not given out again, ids are, to who asks for that; another purge has nothing to do.
    let again = purge(&store, NAMED).unwrap();
    assert_eq!((again.snapshot, again.deleted, again.purged, again.files_removed), (None, 0, 0, 0));
    add_secrets(&store, 0..ROWS);
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    assert_eq!((part.rows, part.next_row), (ROWS, ROWS + 7));
    assert!(verify(&store).is_sound());
    purge(&store, ROWS..ROWS + 7).unwrap();
    assert_forgotten(&path);
    assert_eq!(content(&store), content(&twin));
}

#[test]
fn where_purged_rows_came_from_is_forgotten_too() {
    let (_dir, path) = place();
    let store = Store::create(&path).unwrap();
    for (rows, name) in [(0..10, "secret-patient"), (10..20, "others")] {
        let options = AppendOptions {
            source: Some(format!("{name}.jsonl")),
            ..options(&format!("gstore add pool {name}.jsonl"))
        };
        let mut append = store.append(&dataset(), columns(), options).unwrap();
        for row in rows {
            let metadata = vec![MetaValue::Null, MetaValue::Int(row)];
            append.push(NewSample { id: &format!("s{row}"), record: None, metadata }).unwrap();
        }
        append.finish().unwrap();
    }
    purge(&store, [3]).unwrap();
    for file in files(&path) {
        let bytes = fs_err::read(path.join(&file)).unwrap();
        assert!(!contains(&bytes, b"secret"), "{} names the source", file.display());
    }
    let snapshot = store.snapshot().unwrap();
    let notes = &snapshot.dataset("pool").unwrap().sources;
    let found: Vec<_> = notes.iter().map(|n| (n.first_row, n.source.as_deref(), &*n.command)).collect();
    assert_eq!(found, [(0, None, ""), (10, Some("others.jsonl"), "gstore add pool others.jsonl")]);
    assert_eq!(purge(&store, [3]).unwrap().snapshot, None, "nothing is left to forget");
    assert!(verify(&store).is_sound());
}

#[test]
fn leftover_leases_are_gone_from_the_medium_before_a_purge_is_acknowledged() {
    let (_dir, path) = place();
    drop(prepare(&path));
    fs_err::create_dir_all(path.join("leases")).unwrap();
    let lease = "leases/b34fe6e2-1c2d-4c6c-9d9e-0a4b1c2d3e4f.json";
    for left in [true, false] {
        if left {
            fs_err::write(path.join(lease), "secret").unwrap();
        }
        // Also one that was removed before, as that may not have been flushed.
        let done = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&done);
        let vfs = HookVfs::new(move |operation, p| {
            if p.to_string_lossy().contains("leases") && ["remove", "sync_dir"].contains(&operation) {
                seen.lock().unwrap().push(operation.to_owned());
            }
            Ok(())
        });
        purge(&Store::open_on(vfs, &path).unwrap(), NAMED).unwrap();
        let expected: &[&str] = if left { &["remove", "sync_dir"] } else { &["sync_dir"] };
        assert_eq!(*done.lock().unwrap(), expected);
    }
}

/// An interrupted job of a dataset that has these rows.
fn interrupted(store: &Store, dataset: &str, name: &str, rows: std::ops::Range<u64>) -> String {
    let mut f = feature(name, 6, DType::F32);
    f.desc.dataset = dataset.into();
    let mut job = store.start_job(plan(vec![f])).unwrap();
    seal(&mut job, 0, rows);
    job.id().to_owned()
}

#[test]
fn a_purge_of_any_dataset_finishes_one_that_was_cut_short() {
    let (_dir, path, store) = placed(prepare);
    let other = DatasetName::try_from("other").unwrap();
    let mut append = store.append(&other, columns(), options("add")).unwrap();
    append.push(NewSample { id: "a", record: None, metadata: vec![MetaValue::Null; 2] }).unwrap();
    append.finish().unwrap();
    let doomed = interrupted(&store, "pool", "grad-sign", 0..20);
    let innocent = interrupted(&store, "pool", "grad-norm", 22..40);
    // Killed right after the commit: nothing was removed yet.
    let committed = Arc::new(AtomicBool::new(false));
    let vfs = HookVfs::new(move |operation, p| {
        let at_current = operation == "rename" && p.ends_with("CURRENT.new");
        if committed.load(Ordering::SeqCst) && ["remove", "remove_dir"].contains(&operation) {
            return Err(std::io::Error::other("injected"));
        }
        committed.fetch_or(at_current, Ordering::SeqCst);
        Ok(())
    });
    let e = purge(&Store::open_on(vfs, &path).unwrap(), NAMED).unwrap_err();
    assert!(matches!(e, ChangeError::Unfinished { .. }), "{e}");
    assert!(e.to_string().contains("run a purge of dataset pool again"), "{e}");
    assert!(path.join("tmp").join(&doomed).exists());
    let options = DeleteOptions { purge: true, ..DeleteOptions::default() };
    let report =
        store.delete(store.snapshot().unwrap().dataset("other").unwrap(), &RowSet::new(), options).unwrap();
    assert_eq!(report.jobs_removed, [doomed]);
    assert!(path.join("tmp").join(&innocent).exists());
    assert_forgotten(&path);
}

#[test]
fn rows_that_a_compaction_took_out_are_purged_from_the_history_too() {
    let (_dir, path, store) = placed(prepare);
    delete(&store, NAMED);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    let expected = content(&store);
    assert!(!store.snapshot_at(3).unwrap().features().is_empty());
    let report = purge(&store, []).unwrap();
    assert!(report.snapshot.is_some() && report.files_removed > 10, "{report:?}");
    assert_forgotten(&path);
    assert_eq!(content(&store), expected);
}

#[test]
fn counts_of_rows_that_a_compaction_took_out_are_made_again_when_these_come_back() {
    let (_dir, path, store) = with_samples(30);
    let before = store.snapshot().unwrap();
    let wanted = || plan(vec![feature("grad-sign", 6, DType::F32)]);
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let vfs = HookVfs::new(move |operation, path| {
        let is_commit = operation == "create" && path.ends_with("CURRENT.new");
        match is_commit && failing.load(Ordering::SeqCst) {
            true => Err(std::io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    });
    let mut job = Store::open_on(vfs, &path).unwrap().start_job(wanted()).unwrap();
    seal(&mut job, 0, 0..30);
    seal_counts(&mut job, 0..30).unwrap();
    delete(&store, 10..20);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    // The rows are taken out of the sealed files, which stay when the publish fails.
    fails.store(true, Ordering::SeqCst);
    job.publish(None, true).unwrap_err();
    store.revert(&before, &RevertOptions::default()).unwrap();
    let job = store.start_job(wanted()).unwrap();
    let left = RowSet::from_ranges([0..10, 20..30]);
    assert_eq!((job.resumed(), job.rows_done(0)), (true, left.clone()));
    assert_eq!(job.encoding_rows_done("pool", &encoding_spec().key()), left);
}

#[test]
fn a_gap_of_deleted_rows_in_token_counts_is_no_purged_row_and_no_count_of_one_that_comes_back() {
    let (_dir, _, store) = with_samples(30);
    let before = store.snapshot().unwrap();
    delete(&store, 10..20);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    let start = || store.start_job(plan(vec![feature("grad-sign", 6, DType::F32)])).unwrap();
    let compute = |job: &mut Job| {
        let live = before.live_rows(before.dataset("pool").unwrap()).unwrap();
        let mut w = job.encoding_writer("pool", encoding_spec(), "tulu").unwrap();
        for row in (0..10).chain(20..30) {
            assert!(row != 20 || !w.fill_to(row, &live).unwrap(), "a live row is no gap");
            assert!(w.fill_to(row, &RowSet::new()).unwrap());
            // The text of one row is empty.
            let tokens = 7 * u32::from(row != 5);
            w.push(TokenCount { row, tokens, scored: tokens / 2, truncated: false }).unwrap();
        }
        assert!(!w.fill_to(1 << 20, &RowSet::new()).unwrap(), "too many");
        job.seal_encoding(w).unwrap();
    };
    let mut job = start();
    compute(&mut job);
    drop(job);
    let done = |job: &Job| job.encoding_rows_done("pool", &encoding_spec().key());
    let job = start();
    assert_eq!((job.resumed(), done(&job)), (true, RowSet::from_range(0..30)));
    drop(job);
    store.revert(&before, &RevertOptions::default()).unwrap();
    let mut job = start();
    assert_eq!((job.resumed(), done(&job)), (false, RowSet::new()));
    job.abandon().unwrap();
    delete(&store, 10..20);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    job = start();
    compute(&mut job);
    let snapshot = job.publish(None, false).unwrap();
    assert_eq!(snapshot.dataset("pool").unwrap().encodings[0].files.len(), 1, "the gap stays");
    assert_eq!(snapshot.info().changes, ["dataset pool: token counts of 20 rows (tulu)"]);
}

#[test]
fn a_whole_dataset_can_be_purged() {
    let (_dir, path, store) = placed(prepare);
    let report = purge(&store, 0..ROWS).unwrap();
    assert_eq!(report.purged, ROWS);
    assert_forgotten(&path);
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.dataset("pool").unwrap().rows, snapshot.features().len()), (0, 2));
    assert!(snapshot.features().iter().all(|f| f.segments.is_empty()));
    assert!(verify(&store).is_sound());
    add_secrets(&store, 30..40);
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().next_row, ROWS + 10);
}

#[test]
fn what_others_have_among_the_work_of_the_store_stays_and_is_in_nobodys_way() {
    let (_dir, path, store) = placed(prepare);
    let others = ["tmp/append-old/mine", "tmp/append-list", "tmp/job-notes/mine", "tmp/job-list"];
    for name in others.map(|name| path.join(name)) {
        fs_err::create_dir_all(name.parent().unwrap()).unwrap();
        fs_err::write(name, "something").unwrap();
    }
    add_secrets(&store, ROWS..ROWS + 1);
    assert!(purge(&store, NAMED).unwrap().jobs_removed.is_empty());
    assert!(others.iter().all(|name| path.join(name).exists()), "{:?}", files(&path.join("tmp")));
}

#[test]
fn live_jobs_readers_and_damage_are_in_the_way() {
    let (_dir, path, store) = placed(prepare);
    let number = store.snapshot().unwrap().number();
    let job = store.start_job(plan(vec![feature("grad-sign", 6, DType::F32)])).unwrap();
    match purge(&store, NAMED) {
        Err(ChangeError::Busy { job: other, .. }) => assert_eq!(other, job.id()),
        other => panic!("{other:?}"),
    }
    job.abandon().unwrap();
    let lock = OsVfs.lock(&path.join("tmp/compact.lock"), false).unwrap();
    assert!(matches!(purge(&store, NAMED), Err(ChangeError::Compacting)));
    drop(lock);
    let name = SnapshotName::Number(number);
    let (_, lease) = store.snapshot_leased(Some(&name), "gstore export").unwrap();
    match purge(&store, NAMED) {
        Err(ChangeError::Leased { readers }) => {
            let pid = std::process::id();
            assert_eq!(readers, [format!("snapshot {number}: process {pid} (gstore export)")]);
        }
        other => panic!("{other:?}"),
    }
    drop(lease);
    let segment = store.snapshot().unwrap().features()[0].segments[0].uuid;
    let file = path.join(format!("segments/1/{segment}.arrow"));
    let sound = fs_err::read(&file).unwrap();
    flip(&file, |_| 700);
    match purge(&store, NAMED) {
        Err(e @ ChangeError::Unreadable { .. }) => {
            assert!(e.to_string().contains("rows 0..20") && e.is_damage(), "{e}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(store.snapshot().unwrap().number(), number, "nothing was published");
    fs_err::write(&file, sound).unwrap();
    purge(&store, NAMED).unwrap();
    assert_forgotten(&path);
}

#[test]
fn a_purge_happens_as_a_whole_or_not_at_all_and_the_next_one_finishes_it() {
    let dir = tempdir().unwrap();
    let prepared = dir.path().join("prepared");
    let store = prepare(&prepared);
    let before = content(&store);
    let after = {
        let twin = dir.path().join("twin");
        copy(&prepared, &twin);
        let twin = Store::open(&twin).unwrap();
        delete(&twin, NAMED);
        content(&twin)
    };
    drop(store);
    at_every_operation(
        &prepared,
        |store| purge(store, NAMED).map(drop),
        |store, done| {
            let found = content(store);
            assert!(found == after || (!done && found == before), "{:?}", found.0);
            if found == after && !done {
                // Committed and not acknowledged: a purge without rows finishes the removal.
                purge(store, []).unwrap();
            }
            if found == after {
                assert_forgotten(store.path());
            }
        },
    );
}
