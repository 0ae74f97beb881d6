//! Lost and damaged manifests, and what of them the data files still tell.

use super::support::*;
use crate::common::*;
use gstore_store::*;
use std::path::{Path, PathBuf};

/// Repairs a store whose `CURRENT` is damaged; it is sound then.
fn repair_without_current(path: &Path) -> RepairReport {
    fs_err::write(path.join("CURRENT"), "rubbish").unwrap();
    let report = repair(path);
    assert!(is_sound(path), "{report:#?}");
    report
}

#[test]
fn a_store_without_any_manifest_is_put_together_from_its_data() {
    let (_dir, path, store) = placed(original);
    let was = content(&store);
    drop(store);
    for file in
        files(&path).iter().filter(|f| f.starts_with("manifests") || f.as_path() == Path::new("CURRENT"))
    {
        fs_err::remove_file(path.join(file)).unwrap();
    }
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    let now = content(&Store::open(&path).unwrap());
    assert_eq!(
        (&now.samples, &now.features, &now.counts),
        (&was.samples, &was.features, &was.counts),
        "{report:#?}"
    );
    assert_eq!((report.base, now.runs), (None, 0));
    refill(&path, &was, &report, "no manifests");
}

#[test]
fn a_store_without_its_folder_of_manifests_is_repaired() {
    let (_dir, path) = place();
    drop(original(&path));
    fs_err::remove_dir_all(path.join("manifests")).unwrap();
    fs_err::remove_file(path.join("CURRENT")).unwrap();
    repair(&path);
    assert!(is_sound(&path));
    assert_eq!(Store::open(&path).unwrap().snapshot().unwrap().dataset("pool").unwrap().next_row, SAMPLES);
}

#[test]
fn a_lost_page_costs_nothing() {
    let (_dir, path) = place();
    let f = features()[0].clone();
    let store = Store::create(&path).unwrap();
    for i in 0..200 {
        add(&store, i * 2..i * 2 + 2).unwrap();
    }
    delete(&store, 5..9);
    let mut job = store.start_job(plan(vec![f.clone()])).unwrap();
    (0..200).for_each(|i| seal(&mut job, 0, i * 2..i * 2 + 2));
    seal_counts(&mut job, 0..400).unwrap();
    job.publish(None, true).unwrap();
    let was = content(&store);
    drop(store);
    let good = bytes(&path);
    for kind in ["manifests/feature-1-page-", "manifests/dataset-1-page-"] {
        let pages: Vec<PathBuf> =
            files(&path).into_iter().filter(|f| f.to_string_lossy().starts_with(kind)).collect();
        assert!(!pages.is_empty(), "{kind}");
        for page in pages.iter().take(2) {
            fs_err::remove_file(path.join(page)).unwrap();
            let report = repair(&path);
            assert!(is_sound(&path), "{kind}: {report:#?}");
            assert!(report.lost.is_empty(), "{kind}: {:#?}", report.lost);
            assert_eq!(content(&Store::open(&path).unwrap()), was, "{kind}");
            reset(&path, &good);
        }
    }
}

#[test]
fn older_snapshots_that_are_damaged_are_given_up_and_tags_with_them() {
    let (_dir, path, store) = placed(original);
    let was = content(&store);
    let history = store.history().unwrap();
    let tag = |name: &str| name.parse::<TagName>().unwrap();
    let at = |n: u64| store.snapshot_at(n).unwrap();
    store.tag(&tag("early"), &at(1), TagOptions::default()).unwrap();
    store.tag(&tag("late"), &at(history[1].number), TagOptions::default()).unwrap();
    drop(store);
    let root =
        files(&path).into_iter().find(|f| f.to_string_lossy().starts_with("manifests/root-1-")).unwrap();
    fs_err::write(path.join(&root), "{}").unwrap();
    let report = repair(&path);
    assert_eq!(report.history_from, Some(2), "{report:#?}");
    assert!(is_sound(&path));
    let store = Store::open(&path).unwrap();
    assert_eq!(content(&store), was);
    let snapshot = store.snapshot().unwrap();
    assert_eq!((snapshot.oldest(), store.history().unwrap().last().unwrap().number), (2, 2));
    let tags: Vec<String> = snapshot.tags().into_iter().map(|t| t.name).collect();
    assert_eq!(tags, ["late"]);
    assert!(report.lost.iter().any(|l| l.kind == LostKind::Tag && l.rows.of.contains("early")));
    assert!(report.tags_before.is_empty(), "{report:#?}");
    assert!(repair(&path).is_sound());
}

#[test]
fn it_is_said_that_tags_and_views_are_lost_with_the_last_root() {
    let (_dir, path, store) = with_samples(10);
    let early = keep::tag_name("early");
    store.tag(&early, &store.snapshot().unwrap(), TagOptions::default()).unwrap();
    store.untag(&store.snapshot().unwrap().tag(&early).unwrap(), "untag").unwrap();
    let number = store.snapshot().unwrap().number();
    drop(store);
    let good = bytes(&path);
    let (last, any) = (format!("manifests/root-{number}-"), "manifests/root-".to_owned());
    let (its, all) = ("tags and views that it saved are gone", "all tags and views are gone");
    for (is_named, roots, end, tags) in
        [(true, &last, its, 1), (false, &last, its, 1), (true, &any, all, 0), (false, &any, all, 0)]
    {
        if !is_named {
            fs_err::remove_file(path.join("CURRENT")).unwrap();
        }
        let lost = files(&path).into_iter().filter(|file| file.to_string_lossy().starts_with(roots));
        lost.for_each(|file| fs_err::write(path.join(file), "{}").unwrap());
        let report = repair(&path);
        let removed = "what it removed (datasets, features, runs, tags) may be back";
        let note = format!("the root of snapshot {number} is damaged: {removed}, and {end}");
        assert!(report.notes.contains(&note), "{report:#?}");
        assert_eq!(Store::open(&path).unwrap().snapshot().unwrap().tags().len(), tags);
        reset(&path, &good);
    }
    fs_err::remove_file(path.join("CURRENT")).unwrap();
    // A sound root tells all of it.
    let report = repair(&path);
    assert!(!report.notes.iter().any(|note| note.contains("tags")), "{report:#?}");
    reset(&path, &good);
    fs_err::remove_file(path.join("CURRENT")).unwrap();
    remove_manifests(&path, "root-");
    let report = repair(&path);
    let begin = "the root of the last snapshot is lost: ";
    assert!(report.notes.iter().any(|note| note.starts_with(begin)), "{report:#?}");
}

#[test]
fn a_damaged_ledger_is_removed_and_a_damaged_current_is_kept_beside() {
    let (_dir, path, _) = placed(original);
    let ledger = path.join("ledger.redb");
    flip(&ledger, |bytes| bytes.iter().rposition(|b| *b != 0).unwrap());
    let before = Store::open(&path).unwrap().snapshot().unwrap().number();
    if !is_sound(&path) {
        let report = repair(&path);
        assert!(report.snapshot.is_none() && !ledger.exists(), "{report:#?}");
        assert_eq!(Store::open(&path).unwrap().snapshot().unwrap().number(), before);
    }
    let report = repair_without_current(&path);
    assert_eq!(report.snapshot, Some(before + 1));
    assert_eq!(fs_err::read_to_string(path.join("CURRENT.damaged")).unwrap(), "rubbish");
    add(&Store::open(&path).unwrap(), 0..50).unwrap();
    assert!(is_sound(&path));
}

#[test]
fn the_largest_numbers_in_names_do_not_stop_a_repair() {
    let (_dir, path, store) = placed(original);
    let was = content(&store);
    drop(store);
    for folder in ["segments/4294967295", "encodings/4294967295", "samples/+1"] {
        fs_err::create_dir_all(path.join(folder)).unwrap();
    }
    let digest = "0".repeat(32);
    for part in [format!("root-{}-x", u64::MAX), format!("run-{}-{digest}", u32::MAX)] {
        fs_err::write(path.join(format!("manifests/{part}.json")), "{}").unwrap();
    }
    repair_without_current(&path);
    assert_eq!(content(&Store::open(&path).unwrap()), was);
}

#[test]
fn without_a_current_rows_that_a_revert_restored_stay() {
    let (_dir, path, mut store) = with_samples(10);
    let lose_current = || {
        let report = repair_without_current(&path);
        assert!(report.lost.is_empty(), "{report:#?}");
        Store::open(&path).unwrap()
    };
    let change = |store: &Store, of: u64| match of {
        0 => {
            delete(store, [3]);
        }
        _ => {
            let replace = AppendOptions { if_changed: IfChanged::Replace, ..options("replace") };
            let mut append = store.append(&dataset(), vec![], replace).unwrap();
            append.push(NewSample { id: "s3", record: Some(b"other"), metadata: vec![] }).unwrap();
            append.finish().unwrap();
        }
    };
    for of in [0, 1] {
        let before = store.snapshot().unwrap();
        change(&store, of);
        let changed = content(&store);
        assert_eq!(content(&lose_current()), changed, "the delete stays");
        store.revert(&before, &RevertOptions::default()).unwrap();
        let was = content(&store);
        assert_eq!(was.samples.len(), 10);
        store = lose_current();
        assert_eq!(content(&store), was);
    }
}

#[test]
fn without_the_root_of_a_delete_that_came_again_its_rows_stay_deleted() {
    for root_is_there in [true, false] {
        let (_dir, path, store) = with_samples(10);
        let before = store.snapshot().unwrap();
        delete(&store, [3]);
        let after = store.snapshot().unwrap();
        store.revert(&before, &RevertOptions::default()).unwrap();
        let older = files(&path);
        store.revert(&after, &RevertOptions::default()).unwrap();
        let was = content(&store);
        drop(store);
        // Nothing that is left of the last snapshot tells what it has.
        for file in files(&path).iter().filter(|f| f.starts_with("manifests") && !older.contains(f)) {
            match root_is_there || !file.to_string_lossy().contains("root-") {
                true => fs_err::write(path.join(file), "{}").unwrap(),
                false => fs_err::remove_file(path.join(file)).unwrap(),
            }
        }
        repair_without_current(&path);
        assert_eq!(content(&Store::open(&path).unwrap()), was);
    }
}

#[test]
fn a_part_of_a_lost_root_tells_of_its_deletes_though_it_is_not_taken_up() {
    let (_dir, path, store) = with_samples(10);
    let before = store.snapshot().unwrap();
    delete(&store, [3]);
    let after = store.snapshot().unwrap();
    store.revert(&before, &RevertOptions::default()).unwrap();
    add(&store, 10..12).unwrap();
    let was = content(&store);
    // Without the samples that came meanwhile it does not go on from the part before it.
    store.revert(&after, &RevertOptions::default()).unwrap();
    let number = store.snapshot().unwrap().number();
    drop(store);
    remove_manifests(&path, &format!("root-{number}-"));
    repair_without_current(&path);
    let mut left = was.samples;
    left.remove(&3).unwrap();
    assert_eq!(content(&Store::open(&path).unwrap()).samples, left);
}

#[test]
fn token_counts_that_nothing_lists_any_more_are_lost_by_their_rows() {
    let (_dir, path) = place();
    let was = content(&original(&path));
    let good = bytes(&path);
    let counts: Vec<&PathBuf> = good.keys().filter(|f| f.starts_with("encodings")).collect();
    assert_eq!(counts.len(), 2);
    for file in counts {
        // The file goes, and every part that has heard of it.
        let uuid = file.file_stem().unwrap().to_str().unwrap();
        let lists = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(uuid);
        let parts = good.iter().filter(|(f, bytes)| f.starts_with("manifests") && lists(bytes));
        parts.for_each(|(f, _)| fs_err::remove_file(path.join(f)).unwrap());
        fs_err::remove_file(path.join(file)).unwrap();
        let report = repair(&path);
        assert!(is_sound(&path), "{report:#?}");
        let now = content(&Store::open(&path).unwrap());
        compare(&was, &now, &report, "counts");
        let gone = was.counts.difference(&now.counts).filter(|row| !DELETED.contains(row)).copied();
        assert_eq!(lost(&report, LostKind::Encoding, None), gone.collect(), "{report:#?}");
        assert!(repair(&path).is_sound());
        reset(&path, &good);
    }
}

#[test]
fn uploaded_vectors_have_no_token_counts_to_lose() {
    let (_dir, path, store) = with_samples(SAMPLES);
    let mut f = features()[0].clone();
    f.desc.encoding.clear();
    publish_rows(&store, &f, 0..SAMPLES, true);
    let was = content(&store);
    drop(store);
    remove_manifests(&path, "dataset-1-");
    let report = repair(&path);
    assert!(is_sound(&path) && report.lost.is_empty(), "{report:#?}");
    assert_eq!(content(&Store::open(&path).unwrap()), was);
}

#[test]
fn rows_that_a_feature_never_had_are_not_lost_with_its_manifest() {
    let (_dir, path, store) = with_samples(30);
    let [behind, building] = features();
    publish_rows(&store, &behind, 0..30, true);
    publish_rows(&store, &building, 0..20, false);
    add(&store, 30..SAMPLES).unwrap();
    let was = content(&store);
    drop(store);
    remove_manifests(&path, "feature-");
    let report = repair(&path);
    assert!(is_sound(&path) && report.lost.is_empty(), "{report:#?}");
    assert_eq!(content(&Store::open(&path).unwrap()), was);
    for rows in ["it ever had rows 30..40", "it ever had rows 20..40"] {
        assert!(report.notes.iter().any(|note| note.contains(rows)), "{report:#?}");
    }
}

#[test]
fn rows_of_a_lost_segment_that_only_an_older_manifest_lists_are_lost() {
    let (_dir, path, store) = with_samples(SAMPLES);
    let f = features()[0].clone();
    publish_rows(&store, &f, 0..10, false);
    let before = files(&path);
    publish_rows(&store, &f, 10..20, false);
    drop(store);
    let is_it = |file: &&PathBuf| {
        let newer = !before.contains(file) && file.to_string_lossy().starts_with("manifests/feature-");
        newer || (before.contains(file) && file.starts_with("segments"))
    };
    let all = files(&path);
    let gone: Vec<&PathBuf> = all.iter().filter(is_it).collect();
    assert_eq!(gone.len(), 2, "{gone:?}");
    gone.into_iter().for_each(|file| fs_err::remove_file(path.join(file)).unwrap());
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    assert_eq!(lost(&report, LostKind::Feature, None), (0..10).collect(), "{report:#?}");
    assert!(report.notes.iter().any(|note| note.contains("it ever had rows 20..40")), "{report:#?}");
}

#[test]
fn of_a_lost_run_it_is_said_that_its_checkpoints_count_the_same() {
    let (_dir, path) = place();
    drop(original(&path));
    remove_manifests(&path, "run-1-");
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    let said =
        |l: &Loss| l.kind == LostKind::Run && l.remedy.ends_with("until then all of them count the same");
    assert!(report.lost.iter().any(said), "{report:#?}");
}

#[test]
fn a_feature_keeps_the_label_that_it_was_published_under() {
    let (_dir, path, store) = with_samples(SAMPLES);
    for dtype in [DType::F16, DType::F32] {
        let mut f = feature("grad-sgd", 6, dtype);
        f.attrs.label = "g".into();
        publish_rows(&store, &f, 0..20, false);
    }
    let was = content(&store).features;
    assert_eq!(was.len(), 2, "the second got a suffix");
    drop(store);
    remove_manifests(&path, "feature-2-");
    let report = repair(&path);
    assert_eq!(content(&Store::open(&path).unwrap()).features, was, "{report:#?}");
}
