//! Promise: a deleted or purged sample does not come back with the append that brought it, whatever
//! was merged, collected, copied or lost meanwhile, unless it is asked for; and the list that
//! remembers it does not hold ids.

use crate::common::every::at_every_operation;
use crate::common::*;
use gstore_core::Cancel;
use gstore_store::*;
use std::path::Path;

fn delete(store: &Store, rows: impl IntoIterator<Item = u64>, purge: bool) {
    let options = DeleteOptions { command: "gstore delete".into(), purge, ..DeleteOptions::default() };
    store.delete(&pool(store), &RowSet::from_rows(rows), options).unwrap();
}

fn compact(store: &Store) {
    let options = CompactOptions { max_dead_share: 0.0, ..CompactOptions::default() };
    store.compact(options, &mut |_| {}).unwrap();
}

/// Samples that an append of `range` adds, finds, and leaves out.
fn counts(report: AppendReport) -> (u64, u64, u64) {
    (report.added, report.unchanged, report.left_out)
}

fn again(store: &Store, range: std::ops::Range<u64>) -> (u64, u64, u64) {
    counts(add(store, range).unwrap())
}

/// How many ids the list of the dataset has; none without one.
fn listed(store: &Store) -> Option<u64> {
    let snapshot = store.snapshot().unwrap();
    snapshot.dataset("pool").unwrap().deleted_ids.as_ref().map(|list| list.ids)
}

fn forget_ledger(path: &Path) {
    fs_err::remove_file(path.join("ledger.redb")).unwrap();
}

fn assert_sound_and_ours(store: &Store) {
    let report = verify(store);
    assert!(report.is_sound() && report.strangers.is_empty(), "{report:#?}");
}

#[test]
fn a_deleted_sample_stays_out_until_it_is_asked_for() {
    let (_dir, path, store) = with_samples(20);
    delete(&store, 5..8, false);
    let report = add(&store, 0..20).unwrap();
    assert_eq!((counts(report), report.snapshot), ((0, 17, 3), None));
    // So does another sample of that id, whatever is done about changed ones.
    for if_changed in [IfChanged::Refuse, IfChanged::Keep, IfChanged::Replace] {
        let options = AppendOptions { if_changed, ..options("add") };
        let mut append = store.append(&dataset(), vec![], options).unwrap();
        let other = NewSample { id: "s6", record: Some(b"other"), metadata: vec![] };
        for _ in 0..2 {
            assert_eq!(append.push(other.clone()).unwrap(), AppendOutcome::LeftOut);
        }
        assert_eq!(append.report().left_out, 1, "an id is counted once");
    }
    assert_eq!(again(&store, 7..22), (2, 12, 1), "new samples come in beside it");
    compact(&store);
    assert_eq!((listed(&store), again(&store, 0..22)), (Some(3), (0, 19, 3)));
    forget_ledger(&path);
    assert_eq!(again(&store, 0..22), (0, 19, 3), "it is the files that remember, not the ledger");
    assert_sound_and_ours(&store);

    assert_eq!(counts(restore(&store, 5..7).unwrap()), (2, 0, 0));
    assert_eq!((listed(&store), again(&store, 0..22)), (Some(1), (0, 21, 1)));
    delete(&store, [22], false);
    assert_eq!((listed(&store), again(&store, 0..22)), (Some(1), (0, 20, 2)));
    assert_eq!(counts(restore(&store, 0..22).unwrap()), (2, 20, 0));
    assert_eq!((listed(&store), again(&store, 0..22)), (None, (0, 22, 0)));
    compact(&store);
    assert_eq!((listed(&store), again(&store, 0..22)), (None, (0, 22, 0)), "row 22 has a successor");
    assert_sound_and_ours(&store);
}

#[test]
fn a_purged_sample_stays_out_and_its_id_is_in_no_file() {
    let (dir, path, store) = with_samples(20);
    delete(&store, [3], false);
    delete(&store, [11, 12], true);
    assert_eq!((listed(&store), again(&store, 0..20)), (Some(3), (0, 17, 3)));
    // Nothing but the salted digests: not the ids, not their plain digests.
    let list = files(&path).into_iter().find(|f| f.starts_with("deleted")).unwrap();
    let bytes = fs_err::read(path.join(list)).unwrap();
    for id in ["s3", "s11", "s12"] {
        let plain = sha256_hex(id.as_bytes());
        let plain: Vec<u8> =
            (0..32).step_by(2).map(|i| u8::from_str_radix(&plain[i..i + 2], 16).unwrap()).collect();
        assert!(!bytes.windows(16).any(|w| w == plain), "{id}");
    }
    // Two stores do not have the same list of the same ids.
    let other = Store::create(dir.path().join("o")).unwrap();
    add(&other, 0..20).unwrap();
    delete(&other, [3, 11, 12], true);
    let of = |store: &Store| store.snapshot().unwrap().dataset("pool").unwrap().deleted_ids.clone().unwrap();
    assert_ne!(of(&store).salt, of(&other).salt);
    assert_ne!(of(&store).digest, of(&other).digest);
    delete(&store, [0], true);
    assert_eq!((listed(&store), again(&store, 0..20)), (Some(4), (0, 16, 4)));
    assert_eq!(files(&path).iter().filter(|f| f.starts_with("deleted")).count(), 1, "the old list went");
    assert_sound_and_ours(&store);
    // A new dataset of the name remembers nothing of the old one.
    store.drop_dataset(&pool(&store), "gstore drop").unwrap();
    assert_eq!(again(&store, 0..20), (20, 0, 0));
    store.collect(keep::gc(1)).unwrap();
    assert!(files(&path).iter().all(|f| !f.starts_with("deleted")));
    assert_sound_and_ours(&store);
}

#[test]
fn a_purge_takes_a_damaged_file_of_deleted_rows_and_counts_the_ids_that_it_hides() {
    let (_dir, path, store) = with_samples(20);
    add(&store, 20..40).unwrap();
    delete(&store, 0..20, false);
    let damaged = {
        let file = store.snapshot().unwrap().dataset("pool").unwrap().files[0].uuid;
        path.join(format!("samples/1/{file}.parquet"))
    };
    flip(&damaged, |_| 700);
    let report = purge(&store, [25]).unwrap();
    assert_eq!((report.purged, report.unremembered), (21, 20));
    assert!(!damaged.exists());
    assert_sound_and_ours(&store);
    assert_eq!(again(&store, 0..40), (20, 19, 1), "the id in the sound file is remembered");
}

#[test]
fn a_purge_remembers_what_can_be_read_of_a_damaged_file() {
    const ROWS: u64 = 32_768;
    let (_dir, path) = place();
    let store = Store::create(&path).unwrap();
    // Ids that hardly compress, so that they fill several of the MiB that have a digest each.
    let push = || {
        let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
        for row in 0..ROWS {
            let id: String = (0..4).map(|i| sha256_hex(format!("{row} {i}").as_bytes())).collect();
            append.push(NewSample { id: &id, record: Some(b"{}"), metadata: vec![] }).unwrap();
        }
        append.finish().unwrap()
    };
    assert_eq!(push().added, ROWS);
    delete(&store, 0..ROWS, false);
    let file = path.join(format!("samples/1/{}.parquet", pool(&store).files[0].uuid));
    flip(&file, |bytes| {
        assert!(bytes.len() > 3 << 20, "{} bytes", bytes.len());
        3 << 19
    });
    let report = purge(&store, []).unwrap();
    let lost = report.unremembered;
    assert_eq!((report.purged, lost % 8192), (ROWS, 0));
    assert!((8192..=3 * 8192).contains(&lost), "{lost} of {ROWS}");
    assert_eq!(counts(push()), (lost, 0, ROWS - lost));
    assert_sound_and_ours(&store);
}

#[test]
fn a_copy_of_the_store_and_an_older_snapshot_remember_what_they_had() {
    let (dir, _, store) = with_samples(600);
    delete(&store, 100..400, false);
    compact(&store);
    delete(&store, [7], false);
    compact(&store);
    let backup = dir.path().join("b");
    let never = Cancel::new();
    store.backup(&backup, &BackupOptions::default(), &mut |_| {}, &never).unwrap();
    let copy = Store::open(&backup).unwrap();
    assert_eq!((listed(&copy), again(&copy, 0..600)), (Some(301), (0, 299, 301)));
    assert_sound_and_ours(&copy);
    // What an older snapshot names stays until that is collected.
    let lists = |path: &Path| files(path).iter().filter(|f| f.starts_with("deleted")).count();
    assert_eq!(lists(store.path()), 2);
    assert_sound_and_ours(&store);
    store.collect(keep::gc(1)).unwrap();
    assert_eq!(lists(store.path()), 1);
    assert_eq!(again(&store, 0..600), (0, 299, 301));
}

#[test]
fn every_id_of_a_long_list_is_found_and_no_other() {
    let (_dir, store) = created();
    for n in [1, 255, 256, 257, 1024, 1500] {
        restore(&store, 0..2000).unwrap();
        let snapshot = store.snapshot().unwrap();
        let live: Vec<u64> = snapshot.live_rows(snapshot.dataset("pool").unwrap()).unwrap().iter().collect();
        delete(&store, live[..n].iter().copied(), false);
        compact(&store);
        assert_eq!(listed(&store), Some(n as u64));
        assert_eq!(again(&store, 0..2000), (0, 2000 - n as u64, n as u64));
        let snapshot = store.snapshot().unwrap();
        let mut deleted = snapshot.deleted_ids(snapshot.dataset("pool").unwrap()).unwrap();
        let found = (0..4000).filter(|i| deleted.contains(&format!("s{i}")).unwrap()).count();
        assert_eq!(found, n);
    }
    assert_sound_and_ours(&store);
}

#[test]
fn a_replaced_sample_that_is_lost_by_damage_is_added_again() {
    let (_dir, path, store) = with_samples(20);
    delete(&store, [9], false);
    let before = files(&path);
    // Rows 20 to 29 replace rows 0 to 8 and restore row 9.
    let replace = AppendOptions {
        if_changed: IfChanged::Replace,
        if_deleted: IfDeleted::Restore,
        ..options("add --if-changed replace")
    };
    let push = |options: AppendOptions| {
        let mut append = store.append(&dataset(), vec![], options).unwrap();
        for i in 0..10 {
            append.push(NewSample { id: &format!("s{i}"), record: Some(b"new"), metadata: vec![] }).unwrap();
        }
        append.finish().unwrap()
    };
    let report = push(replace);
    assert_eq!((report.added, report.replaced), (1, 9));
    let file = files(&path).into_iter().find(|f| f.starts_with("samples") && !before.contains(f)).unwrap();
    fs_err::remove_file(path.join(file)).unwrap();
    let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    assert!(report.unrepaired.is_empty(), "{report:#?}");
    let store = Store::open(&path).unwrap();
    let report = {
        let mut append = store.append(&dataset(), vec![], options("add")).unwrap();
        for i in 0..10 {
            append.push(NewSample { id: &format!("s{i}"), record: Some(b"new"), metadata: vec![] }).unwrap();
        }
        append.finish().unwrap()
    };
    assert_eq!(counts(report), (10, 0, 0), "they were lost, not deleted");
    assert_sound_and_ours(&store);
}

#[test]
fn a_damaged_list_is_an_error_and_never_lets_a_sample_back_in_unnoticed() {
    let (_dir, path, store) = with_samples(300);
    delete(&store, 0..290, true);
    let list = files(&path).into_iter().find(|f| f.starts_with("deleted")).unwrap();
    let sound = fs_err::read(path.join(&list)).unwrap();
    for at in (0..sound.len()).step_by(97).chain([sound.len() - 1]) {
        let mut bytes = sound.clone();
        bytes[at] ^= 4;
        fs_err::write(path.join(&list), &bytes).unwrap();
        let store = Store::open(&path).unwrap();
        match add(&store, 0..300) {
            Ok(report) => assert_eq!(counts(report), (0, 10, 290), "byte {at}"),
            Err(e) => assert!(e.is_damage() && e.to_string().contains("deleted"), "byte {at}: {e}"),
        }
        let report = verify(&store);
        assert!(report.problems.iter().any(|p| Path::new(&p.file) == list), "byte {at}: {report:#?}");
    }
    for bytes in [Some(&sound[..sound.len() - 40]), Some(&[]), None] {
        match bytes {
            Some(bytes) => fs_err::write(path.join(&list), bytes).unwrap(),
            None => fs_err::remove_file(path.join(&list)).unwrap(),
        }
        assert!(add(&Store::open(&path).unwrap(), 0..300).unwrap_err().is_damage());
    }
    // The repair says what is lost; the appends go on without the list.
    let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    assert!(report.lost.iter().any(|l| l.kind == LostKind::Deletes && l.rows.count == 290), "{report:#?}");
    let store = Store::open(&path).unwrap();
    assert_sound_and_ours(&store);
    assert_eq!(again(&store, 0..300), (290, 10, 0));
}

#[test]
fn a_dataset_whose_manifest_is_lost_keeps_its_list() {
    let (_dir, path, store) = with_samples(50);
    delete(&store, 10..20, true);
    for manifest in files(&path)
        .into_iter()
        .filter(|f| f.starts_with("manifests/") && f.to_string_lossy().contains("dataset"))
    {
        fs_err::remove_file(path.join(manifest)).unwrap();
    }
    let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    // It was not damaged: only nothing named it.
    assert!(report.rebuilt.iter().all(|r| !r.what.contains("deleted ids")), "{report:#?}");
    let said = |note: &String| note.starts_with("dataset pool: 10 ids are deleted by deleted/1/");
    assert!(report.notes.iter().any(said), "{report:#?}");
    let store = Store::open(&path).unwrap();
    assert_eq!((listed(&store), again(&store, 0..50)), (Some(10), (0, 40, 10)));
    assert_sound_and_ours(&store);
}

#[test]
fn an_older_list_in_place_of_a_damaged_one_lacks_what_came_later() {
    let (_dir, path, store) = with_samples(20);
    for rows in [5..8, 9..10] {
        delete(&store, rows, false);
        compact(&store);
    }
    let list = pool(&store).deleted_ids.clone().unwrap();
    drop(store);
    flip(&path.join(format!("deleted/1/{}.ids", list.uuid)), |_| 3);
    let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    assert!(report.rebuilt.iter().any(|r| r.what.contains("deleted ids")), "{report:#?}");
    let lost = report.lost.iter().filter(|l| l.kind == LostKind::Deletes).map(|l| l.rows.count);
    assert_eq!(lost.collect::<Vec<u64>>(), [1], "{report:#?}");
    let store = Store::open(&path).unwrap();
    assert_sound_and_ours(&store);
    assert_eq!(again(&store, 0..20), (1, 16, 3));
}

#[test]
fn without_a_current_a_restored_sample_stays() {
    let (_dir, path, store) = with_samples(20);
    delete(&store, 5..8, false);
    compact(&store);
    for (rows, left) in [(5..7, Some(1)), (7..8, None)] {
        restore(&store, rows).unwrap();
        fs_err::remove_file(path.join("CURRENT")).unwrap();
        Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
        let store = Store::open(&path).unwrap();
        assert_eq!(listed(&store), left);
        assert_sound_and_ours(&store);
    }
}

#[test]
fn restoring_and_merging_happen_as_a_whole_or_not_at_all() {
    let dir = tempdir().unwrap();
    let prepared = dir.path().join("prepared");
    let store = Store::create(&prepared).unwrap();
    add(&store, 0..20).unwrap();
    delete(&store, 0..5, false);
    compact(&store);
    delete(&store, 5..8, false);
    drop(store);
    let left_out = |store: &Store| {
        let snapshot = store.snapshot().unwrap();
        let mut deleted = snapshot.deleted_ids(snapshot.dataset("pool").unwrap()).unwrap();
        (0..20).filter(|i| deleted.contains(&format!("s{i}")).unwrap()).collect::<Vec<u64>>()
    };
    at_every_operation(
        &prepared,
        |store| restore(store, 3..7).map(drop),
        |store, done| {
            let found = left_out(store);
            assert!(found == [0, 1, 2, 7] || (!done && found == [0, 1, 2, 3, 4, 5, 6, 7]), "{found:?}");
        },
    );
    at_every_operation(
        &prepared,
        |store| {
            let options = CompactOptions { max_dead_share: 0.0, ..CompactOptions::default() };
            store.compact(options, &mut |_| {}).map(drop)
        },
        |store, done| {
            assert_eq!(left_out(store), [0, 1, 2, 3, 4, 5, 6, 7]);
            assert!(!done || listed(store) == Some(8));
        },
    );
}
