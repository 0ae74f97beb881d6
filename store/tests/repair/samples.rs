//! Damaged sample files, and numbers of rows, which are never given out twice.

use super::support::*;
use crate::common::keep::{gc, tag_name};
use crate::common::*;
use arrow_array::cast::AsArray;
use gstore_store::*;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rows of a sample file of several MiB.
const MANY: u64 = 6000;

/// A record that hardly compresses.
fn noise(i: u64) -> Vec<u8> {
    let mut x = i * 2 + 1;
    (0..1200)
        .map(|_| {
            x = x.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (x >> 29);
            (x >> 32) as u8
        })
        .collect()
}

/// Adds samples with such records.
fn add_noise(store: &Store) -> AppendReport {
    let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
    for i in 0..MANY {
        let id = format!("s{i}");
        append.push(NewSample { id: &id, record: Some(&noise(i)), metadata: vec![] }).unwrap();
    }
    append.finish().unwrap()
}

/// Damages the third MiB of their file, which has records alone.
fn damage_noise(path: &Path) {
    let file = files(path).into_iter().find(|f| f.starts_with("samples")).unwrap();
    flip(&path.join(file), |content| {
        assert!(content.len() > 5 << 20);
        (2 << 20) + 77
    });
}

#[test]
fn only_the_pages_of_the_damaged_mib_are_lost_of_a_large_sample_file() {
    let (_dir, path) = place();
    let store = Store::create(&path).unwrap();
    add_noise(&store);
    delete(&store, [7, 3000]);
    let f = features()[0].clone();
    publish_rows(&store, &f, 0..MANY, true);
    drop(store);
    damage_noise(&path);
    let report = repair(&path);
    let after = check_all(&path).unwrap();
    assert!(after.is_sound(), "{:#?}", after.problems);
    let gone = lost(&report, LostKind::Samples, None);
    assert!((400..2000).contains(&gone.len()), "{} rows: {report:#?}", gone.len());
    let expected: Vec<String> = gone.iter().map(|r| format!("s{r}")).collect();
    assert_eq!(report.lost[0].ids, expected, "the ledger knows the ids");
    let store = Store::open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    let part = snapshot.dataset("pool").unwrap();
    let live = snapshot.live_rows(part).unwrap();
    assert_eq!(live.len() + gone.len() as u64, MANY - 2);
    assert!(!live.contains(7) && !live.contains(3000));
    let reader = snapshot.samples(part).unwrap();
    for row in live.iter().step_by(61) {
        let batch = reader.get(&[row], &["id", "record"]).unwrap();
        assert_eq!(batch.column(1).as_binary::<i32>().value(0), noise(row));
    }
    let vectors = snapshot.open_feature(&snapshot.features()[0]).unwrap().row_set().unwrap();
    assert_eq!(vectors, *live);
    let mut append = store.append(&dataset(), vec![], options("add again")).unwrap();
    for row in &gone {
        let id = format!("s{row}");
        let pushed =
            append.push(NewSample { id: &id, record: Some(&noise(*row)), metadata: vec![] }).unwrap();
        assert!(matches!(pushed, AppendOutcome::Added(row) if row >= MANY));
    }
    append.finish().unwrap();
    assert!(is_sound(&path));
}

#[test]
fn deleted_rows_of_a_lost_file_stay_deleted_when_its_samples_are_added_again() {
    let (_dir, path, store) = with_samples(20);
    let first = files(&path).into_iter().find(|f| f.starts_with("samples")).unwrap();
    add(&store, 20..SAMPLES).unwrap();
    delete(&store, DELETED);
    restore(&store, 4..5).unwrap();
    drop(store);
    fs_err::remove_file(path.join(first)).unwrap();
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    assert_eq!(lost(&report, LostKind::Samples, None).len(), 18, "{report:#?}");
    assert!(!report.notes.iter().any(|note| note.contains("lost with their samples")), "{report:#?}");
    let store = Store::open(&path).unwrap();
    let added = add(&store, 0..SAMPLES).unwrap();
    // Of 3, 4 and 25, 4 was restored.
    assert_eq!((added.added, added.unchanged, added.left_out), (18, 20, 2));
    assert!(is_sound(&path));
}

#[test]
fn without_a_ledger_ids_of_deleted_rows_are_read_from_the_damaged_file() {
    let (_dir, path) = place();
    let store = Store::create(&path).unwrap();
    add_noise(&store);
    damage_noise(&path);
    let dry = RepairOptions { dry_run: true, ..RepairOptions::default() };
    let gone = lost(&try_repair(&path, dry).unwrap(), LostKind::Samples, None);
    // Every other row of the damaged ones is deleted, and all that are sound.
    let live: BTreeSet<u64> = gone.into_iter().filter(|row| row.is_multiple_of(2)).collect();
    delete(&store, (0..MANY).filter(|row| !live.contains(row)));
    drop(store);
    fs_err::remove_file(path.join("ledger.redb")).unwrap();
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    assert_eq!(lost(&report, LostKind::Samples, None), live, "{report:#?}");
    let added = add_noise(&Store::open(&path).unwrap());
    let live = live.len() as u64;
    assert_eq!((added.added, added.unchanged, added.left_out), (live, 0, MANY - live));
}

#[test]
fn ids_of_deleted_rows_that_are_lost_with_a_whole_file_and_the_ledger_are_said_to_be() {
    let (_dir, path) = place();
    let store = Store::create(&path).unwrap();
    add(&store, 0..20).unwrap();
    delete(&store, [3, 4]);
    drop(store);
    let file = files(&path).into_iter().find(|f| f.starts_with("samples")).unwrap();
    flip(&path.join(file), |content| content.len() / 2);
    fs_err::remove_file(path.join("ledger.redb")).unwrap();
    let report = repair(&path);
    assert_eq!(lost(&report, LostKind::Samples, None).len(), 18, "{report:#?}");
    let said = "the ids of deleted rows 3..5 are lost with their samples";
    assert!(report.notes.iter().any(|note| note.contains(said)), "{report:#?}");
}

#[test]
fn samples_of_a_lost_snapshot_are_taken_up_and_their_rows_are_not_given_out_again() {
    let (dir, path, store) = with_samples(30);
    let before = files(&path);
    add(&store, 30..SAMPLES).unwrap();
    let was = content(&store);
    drop(store);
    let new = |start: &str| {
        let is_new = |f: &PathBuf| f.to_string_lossy().starts_with(start) && !before.contains(f);
        files(&path).into_iter().filter(is_new).collect::<Vec<PathBuf>>()
    };
    // The last snapshot loses its root and its part.
    let manifests = new("manifests");
    assert_eq!(manifests.len(), 2);
    manifests.iter().for_each(|f| fs_err::remove_file(path.join(f)).unwrap());
    let good = bytes(&path);
    let report = repair(&path);
    assert!(is_sound(&path) && report.lost.is_empty(), "{report:#?}");
    assert_eq!(content(&Store::open(&path).unwrap()), was);

    // Of a file that lies above a lost one nothing is given out again either.
    reset(&path, &good);
    let Some(file) = new("samples").pop() else { panic!("one file was added") };
    let second = dir.path().join("other");
    let store = Store::create(&second).unwrap();
    add(&store, 0..SAMPLES).unwrap();
    add(&store, SAMPLES..50).unwrap();
    drop(store);
    fs_err::remove_file(path.join(file)).unwrap();
    for above in files(&second).iter().filter(|f| f.starts_with("samples")) {
        fs_err::copy(second.join(above), path.join(above)).unwrap();
    }
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    assert_eq!(lost(&report, LostKind::Samples, None), (30..SAMPLES).collect(), "{report:#?}");
    assert!(!report.is_sound());
    let store = Store::open(&path).unwrap();
    let rows: Vec<u64> = content(&store).samples.keys().copied().collect();
    assert_eq!(rows, (0..30).chain(SAMPLES..50).collect::<Vec<u64>>());
    let mut append = store.append(&dataset(), columns(), options("add again")).unwrap();
    let metadata = vec![MetaValue::Text("task0".into()), MetaValue::Int(1)];
    let pushed = append.push(NewSample { id: "new", record: Some(b"{}"), metadata }).unwrap();
    assert!(matches!(pushed, AppendOutcome::Added(50)), "{pushed:?}");
}

#[test]
fn rows_that_were_deleted_and_merged_away_are_not_given_out_again() {
    let (_dir, path, store) = placed(original);
    delete(&store, 28..SAMPLES);
    let all = CompactOptions { max_dead_share: 0.0, ..CompactOptions::default() };
    store.compact(all, &mut |_| {}).unwrap();
    store.collect(GcOptions { keep: 1, ..GcOptions::default() }).unwrap();
    drop(store);
    remove_manifests(&path, "dataset-1-");
    repair(&path);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().next_row, SAMPLES);
}

#[test]
fn rows_of_a_dropped_dataset_are_not_given_out_again_when_it_comes_back() {
    let (_dir, path, store) = with_samples(10);
    store.tag(&tag_name("t"), &store.snapshot().unwrap(), TagOptions::default()).unwrap();
    add(&store, 10..20).unwrap();
    store.drop_dataset(&pool(&store), "drop").unwrap();
    drop(store);
    fs_err::write(path.join("CURRENT"), "rubbish").unwrap();
    repair(&path);
    let store = Store::open(&path).unwrap();
    store.collect(gc(1)).unwrap();
    let tagged = store.snapshot_named(&"t".parse().unwrap()).unwrap();
    store.revert(&tagged, &RevertOptions::default()).unwrap();
    // One is passed over.
    assert_eq!(pool(&store).next_row, 21);
}

#[test]
fn rows_that_an_interrupted_job_has_computed_are_not_given_out_again() {
    let f = features()[0].clone();
    let merged_away = |store: &Store| {
        delete(store, 10..30);
        let all = CompactOptions { max_dead_share: 0.0, ..CompactOptions::default() };
        store.compact(all, &mut |_| {}).unwrap();
    };
    let dropped = |store: &Store| {
        store.drop_dataset(&pool(store), "drop").unwrap();
    };
    for (change, kept) in [(&merged_away as &dyn Fn(&Store), 10), (&dropped, 0)] {
        let (_dir, path, store) = with_samples(30);
        let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
        seal(&mut job, 0, 0..20);
        seal_counts(&mut job, 0..25).unwrap();
        drop(job);
        change(&store);
        store.collect(gc(1)).unwrap();
        drop(store);
        fs_err::remove_dir_all(path.join("manifests")).unwrap();
        repair(&path);
        let store = Store::open(&path).unwrap();
        add(&store, 40..60).unwrap();
        let added = pool(&store).next_row - 20;
        let job = store.start_job(plan(vec![f.clone()])).unwrap();
        let done = job.rows_done(0).intersection(&RowSet::from_range(added..u64::MAX));
        assert!(done.is_empty(), "{done} of other samples");
        job.publish(None, false).unwrap();
        assert_sound(&store, "after the publish");
        let published = &content(&store).features;
        let rows: u64 = published.values().map(|vectors| vectors.len() as u64).sum();
        assert_eq!(rows, kept);
    }
}

#[test]
fn a_sample_file_that_nothing_lists_and_that_cannot_be_read_is_said_to_be_lost() {
    let (_dir, path, store) = with_samples(30);
    let before = files(&path);
    add(&store, 30..SAMPLES).unwrap();
    drop(store);
    let new = files(&path).into_iter().filter(|f| !before.contains(f));
    let (samples, manifests): (Vec<PathBuf>, Vec<PathBuf>) =
        new.filter(|f| !f.starts_with("ledger.redb")).partition(|f| f.starts_with("samples"));
    let [samples] = &samples[..] else { panic!("{samples:?}") };
    manifests.iter().for_each(|f| fs_err::remove_file(path.join(f)).unwrap());
    fs_err::OpenOptions::new().write(true).open(path.join(samples)).unwrap().set_len(100).unwrap();
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    let [loss] = &report.lost[..] else { panic!("{report:#?}") };
    assert_eq!((loss.kind, loss.ids.len()), (LostKind::Samples, 10), "{loss:?}");
    assert!(loss.rows.of.contains(samples.to_str().unwrap()), "{loss:?}");
}

#[test]
fn zeros_of_rows_that_come_back_are_no_counts() {
    let (_dir, path, store) = with_samples(30);
    delete(&store, 10..20);
    let mut job = store.start_job(plan(vec![features()[0].clone()])).unwrap();
    let mut w = job.encoding_writer("pool", encoding_spec(), "tulu").unwrap();
    for row in (0..10).chain(20..25) {
        assert!(w.fill_to(row, &RowSet::new()).unwrap());
        w.push(TokenCount { row, tokens: 7, scored: 3, truncated: false }).unwrap();
    }
    job.seal_encoding(w).unwrap();
    seal_counts(&mut job, 25..30).unwrap();
    job.publish(None, false).unwrap();
    drop(store);
    let bitmap = files(&path).into_iter().find(|f| f.starts_with("tombstones")).unwrap();
    flip(&path.join(bitmap), |bytes| bytes.len() / 2);
    let report = try_repair(&path, RepairOptions { forget_deletes: true, ..Default::default() }).unwrap();
    assert_eq!(lost(&report, LostKind::Encoding, None), (0..25).collect());
    let store = Store::open(&path).unwrap();
    let part = pool(&store);
    assert_eq!((part.rows, part.encodings[0].rows()), (30, RowSet::from_range(25..30)));
    assert!(is_sound(&path));
}
