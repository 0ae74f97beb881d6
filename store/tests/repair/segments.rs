//! Damaged segments, and which segments belong to a feature whose part is lost.

use super::support::*;
use crate::common::indexes::{KIND, build_all};
use crate::common::*;
use gstore_store::*;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[test]
fn of_a_damaged_block_only_the_damaged_row_is_lost_and_of_a_cut_file_only_what_was_cut() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, store) = placed(|path| filled(path, 9000, &f, 9000));
    let was = digest(&store, &f);
    drop(store);
    let file = files(&path).into_iter().find(|f| f.starts_with("segments")).unwrap();
    let good = bytes(&path);
    let len = good[&file].len();
    for (at, cut) in
        [(Some(len / 2), None), (None, Some(len - 200)), (Some(len - 300), None), (None, Some(len * 2 / 3))]
    {
        let mut damaged = good[&file].clone();
        if let Some(at) = at {
            damaged[at] ^= 16;
        }
        damaged.truncate(cut.unwrap_or(len));
        fs_err::write(path.join(&file), damaged).unwrap();
        let report = repair(&path);
        assert!(is_sound(&path), "{report:#?}");
        let gone = lost(&report, LostKind::Feature, None);
        let limit = if cut.is_some_and(|c| c < len - 1000) { 5000 } else { 1 };
        assert!(gone.len() <= limit, "{at:?} {cut:?}: {} rows: {report:#?}", gone.len());
        let store = Store::open(&path).unwrap();
        if !gone.is_empty() {
            let part = Arc::clone(&store.snapshot().unwrap().features()[0]);
            assert_eq!(part.state, FeatureState::Building);
            publish_rows(&store, &f, gone, true);
        }
        assert_eq!(digest(&store, &f), was, "{at:?} {cut:?}");
        drop(store);
        reset(&path, &good);
    }
}

#[test]
fn a_lost_feature_part_is_made_from_segments_that_overlap_without_a_row_twice() {
    let f = feature("grad-sgd", 6, DType::F16);
    let (_dir, path, store) = placed(|path| filled(path, 100, &f, 7));
    let was = digest(&store, &f);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.features()[0].segments.len(), 1);
    // Of the merged one a row is damaged; an input has it.
    let merged = path.join(format!("segments/1/{}.arrow", snapshot.features()[0].segments[0].uuid));
    drop((store, snapshot));
    let good = bytes(&path);
    for with_part in [false, true] {
        flip(&merged, |bytes| bytes.len() / 3);
        if !with_part {
            for file in files(&path).iter().filter(|f| f.to_string_lossy().starts_with("manifests/feature")) {
                fs_err::remove_file(path.join(file)).unwrap();
            }
        }
        let report = repair(&path);
        assert!(is_sound(&path), "{report:#?}");
        assert!(report.lost.is_empty(), "{report:#?}");
        let store = Store::open(&path).unwrap();
        assert_eq!(digest(&store, &f), was);
        assert_eq!(store.snapshot().unwrap().features()[0].state, FeatureState::Complete);
        reset(&path, &good);
    }
}

#[test]
fn of_cut_segments_with_the_same_rows_each_gives_what_it_has() {
    let (_dir, path, store) = placed(|path| filled(path, 100, &feature("grad-sgd", 6, DType::F16), 10));
    let was = content(&store);
    let inputs = segments_of(&path, 1);
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    drop(store);
    let all = segments_of(&path, 1);
    assert_eq!((inputs.len(), all.len()), (10, 11));
    // The merged one is cut in its only block; the inputs lack the ends of their footers, and one its rows.
    for file in &all {
        let good = fs_err::read(path.join(file)).unwrap();
        let left = match inputs.iter().position(|input| input == file) {
            None => good.len() / 2,
            Some(0) => 100,
            Some(_) => good.len() - 20,
        };
        fs_err::write(path.join(file), &good[..left]).unwrap();
    }
    let problems = check_all(&path).unwrap().problems;
    assert!(all.iter().all(|f| problems.iter().any(|p| Path::new(&p.file) == f)), "{problems:#?}");
    let report = repair(&path);
    assert!(is_sound(&path), "{report:#?}");
    compare(&was, &content(&Store::open(&path).unwrap()), &report, "all cut");
    assert_eq!(lost(&report, LostKind::Feature, None).len(), 10, "{report:#?}");
}

#[test]
fn a_segment_that_is_repaired_notes_the_indexes_of_the_damaged_one() {
    let (_dir, path, store) = placed(|path| filled(path, 400, &feature("grad-sgd", 6, DType::F16), 400));
    build_all(&store, KIND).unwrap();
    drop(store);
    let good = bytes(&path);
    for with_part in [true, false] {
        let damaged = path.join(segments_of(&path, 1).remove(0));
        flip(&damaged, |bytes| bytes.len() / 2);
        if !with_part {
            remove_manifests(&path, "feature");
        }
        let report = repair(&path);
        let snapshot = Store::open(&path).unwrap().snapshot().unwrap();
        let reader = snapshot.open_feature(&snapshot.features()[0]).unwrap();
        let [segment] = reader.segments() else { panic!("{report:#?}") };
        assert_eq!(reader.index_before(segment, KIND).unwrap()["seed"], 7, "{report:#?}");
        reset(&path, &good);
    }
}

#[test]
fn segments_of_another_feature_under_the_same_number_are_not_taken() {
    let [own, other] = [feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16)];
    let (dir, path, store) = with_samples(SAMPLES);
    publish_rows(&store, &own, 0..20, false);
    let was = content(&store);
    let before: Vec<PathBuf> =
        files(&path).into_iter().filter(|f| f.to_string_lossy().starts_with("manifests/feature")).collect();
    publish_rows(&store, &own, 20..24, false);
    drop(store);
    let second = dir.path().join("other");
    drop(filled(&second, SAMPLES, &other, SAMPLES));
    let stranger = segments_of(&second, 1).remove(0);
    let good = bytes(&path);
    for cut in [false, true] {
        // Its rows look like ours; only its footer says that they are not.
        let mut content_of = fs_err::read(second.join(&stranger)).unwrap();
        content_of.truncate(content_of.len() - if cut { 20 } else { 0 });
        fs_err::write(path.join(&stranger), content_of).unwrap();
        // What is listed by an older part is ours without a footer, too.
        let listed: Vec<u8> = fs_err::read(path.join(&before[0])).unwrap();
        for file in segments_of(&path, 1).iter().filter(|f| **f != stranger) {
            let uuid = file.file_stem().unwrap().to_string_lossy().into_owned();
            if String::from_utf8_lossy(&listed).contains(&uuid) {
                let mut own = fs_err::read(path.join(file)).unwrap();
                own.truncate(own.len() - 20);
                fs_err::write(path.join(file), own).unwrap();
            }
        }
        let newer = |f: &PathBuf| f.to_string_lossy().starts_with("manifests/feature") && !before.contains(f);
        for file in files(&path).iter().filter(|f| newer(f)) {
            fs_err::remove_file(path.join(file)).unwrap();
        }
        let report = repair(&path);
        assert!(is_sound(&path), "cut {cut}: {report:#?}");
        let now = content(&Store::open(&path).unwrap());
        let vectors = &now.features["grad-sgd@checkpoint-7"];
        assert_eq!(vectors.keys().copied().collect::<Vec<u64>>(), (0..24).collect::<Vec<u64>>(), "cut {cut}");
        let first = |(row, v): &(&u64, &Vec<u32>)| was.features["grad-sgd@checkpoint-7"].get(row) == Some(*v);
        assert_eq!(vectors.iter().filter(first).count(), 20);
        let left = format!("{} does not say", stranger.display());
        assert!(report.notes.iter().any(|n| n.starts_with(&left)), "cut {cut}: {report:#?}");
        reset(&path, &good);
    }
}

/// Two features that have the same rows in the same shape, and other vectors.
fn twins() -> [JobFeature; 2] {
    [feature("grad-sgd", 6, DType::F16), feature("grad-adam", 6, DType::F16)]
}

fn with_twins(path: &Path) -> Store {
    let store = Store::create(path).unwrap();
    add(&store, 0..SAMPLES).unwrap();
    for (f, shift) in twins().into_iter().zip([0, 1000]) {
        let mut job = store.start_job(plan(vec![f])).unwrap();
        let mut writer = job.segment_writer(0).unwrap();
        for row in 0..SAMPLES {
            writer.push(row, &vector(row + shift, 6), RowFlags::empty()).unwrap();
        }
        job.seal(0, writer).unwrap();
        job.publish(None, true).unwrap();
    }
    store
}

/// Where the blocks of the only segment of a feature end.
fn blocks_end(store: &Store, number: usize) -> usize {
    let snapshot = store.snapshot().unwrap();
    let segment = &snapshot.features()[number - 1].segments[0];
    (segment.len - segment.tail_len) as usize
}

#[test]
fn vectors_of_another_feature_under_a_listed_name_are_not_taken() {
    let (_dir, path, store) = placed(with_twins);
    let was = content(&store);
    let ends = [blocks_end(&store, 1), blocks_end(&store, 2)];
    drop(store);
    let good = bytes(&path);
    let [own, other] = [1, 2].map(|number| segments_of(&path, number).remove(0));
    let whole = good[&other].clone();
    let without_footer = whole[..ends[1]].to_vec();
    let without_end = whole[..whole.len() - 20].to_vec();
    // Its blocks with our footer, as if they were written to the wrong place.
    let under_our_footer = [&whole[..ends[1]], &good[&own][ends[0]..]].concat();
    let swapped = good[&own][..ends[0]].to_vec();
    for (what, ours, theirs) in [
        ("a copy", &whole, None),
        ("a copy without its footer", &without_footer, None),
        ("a copy without its end", &without_end, None),
        ("blocks", &under_our_footer, None),
        ("the other's name, both cut", &without_footer, Some(&swapped)),
    ] {
        fs_err::write(path.join(&own), ours).unwrap();
        theirs.iter().for_each(|theirs| fs_err::write(path.join(&other), theirs).unwrap());
        let dry = RepairOptions { dry_run: true, ..RepairOptions::default() };
        let dry = try_repair(&path, dry).unwrap();
        let report = repair(&path);
        assert_eq!(dry.lost.len(), report.lost.len(), "{what}: {dry:#?} {report:#?}");
        assert!(is_sound(&path), "{what}: {report:#?}");
        compare(&was, &content(&Store::open(&path).unwrap()), &report, what);
        let gone = lost(&report, LostKind::Feature, Some("grad-sgd@checkpoint-7"));
        assert_eq!(gone.len() as u64, SAMPLES, "{what}: {report:#?}");
        let gone = lost(&report, LostKind::Feature, Some("grad-adam@checkpoint-7"));
        assert_eq!(gone.is_empty(), theirs.is_none(), "{what}: {report:#?}");
        let name = own.display().to_string();
        assert!(report.rebuilt.iter().all(|r| !r.what.starts_with(&name)), "{what}: {report:#?}");
        assert!(report.notes.iter().any(|note| note.starts_with(&name)), "{what}: {report:#?}");
        reset(&path, &good);
    }
}

#[test]
fn a_cut_segment_is_taken_unless_it_may_be_another_features() {
    let (_dir, path, store) = placed(with_twins);
    let was = content(&store);
    let end = blocks_end(&store, 1);
    drop(store);
    let good = bytes(&path);
    let [own, other] = [1, 2].map(|number| segments_of(&path, number).remove(0));
    let len = good[&own].len();
    // What is left of its footer has the key; without that, the other feature's segment speaks for it.
    for (cut, other_is_there, is_taken) in
        [(len - 20, true, true), (len - 20, false, true), (end, true, true), (end, false, false)]
    {
        let what = format!("cut to {cut} of {len}, the other segment is there: {other_is_there}");
        fs_err::write(path.join(&own), &good[&own][..cut]).unwrap();
        if !other_is_there {
            fs_err::remove_file(path.join(&other)).unwrap();
        }
        let report = repair(&path);
        assert!(is_sound(&path), "{what}: {report:#?}");
        compare(&was, &content(&Store::open(&path).unwrap()), &report, &what);
        let gone = lost(&report, LostKind::Feature, Some("grad-sgd@checkpoint-7"));
        assert_eq!(gone.is_empty(), is_taken, "{what}: {report:#?}");
        reset(&path, &good);
    }
}

#[test]
fn of_two_cut_segments_that_may_be_each_others_neither_is_taken() {
    let (_dir, path, store) = placed(with_twins);
    let was = content(&store);
    let ends = [blocks_end(&store, 1), blocks_end(&store, 2)];
    drop(store);
    let good = bytes(&path);
    let both = [1, 2].map(|number| segments_of(&path, number).remove(0));
    let labels = ["grad-sgd@checkpoint-7", "grad-adam@checkpoint-7"];
    for has_keys in [true, false] {
        for (file, end) in both.iter().zip(ends) {
            let left = if has_keys { good[file].len() - 20 } else { end };
            fs_err::write(path.join(file), &good[file][..left]).unwrap();
        }
        let problems = check_all(&path).unwrap().problems;
        for (file, label) in both.iter().zip(labels) {
            let own: Vec<&Problem> = problems.iter().filter(|p| Path::new(&p.file) == file).collect();
            let of = |p: &&Problem| p.rows.as_ref().is_some_and(|rows| rows.of.ends_with(label));
            assert!(!own.is_empty() && own.iter().all(of), "{problems:#?}");
        }
        let report = repair(&path);
        assert!(is_sound(&path), "{report:#?}");
        compare(&was, &content(&Store::open(&path).unwrap()), &report, &format!("keys: {has_keys}"));
        for (file, label) in both.iter().zip(labels) {
            assert_eq!(lost(&report, LostKind::Feature, Some(label)).is_empty(), has_keys, "{report:#?}");
            let named = report.notes.iter().any(|note| note.starts_with(&file.display().to_string()));
            assert_eq!(named, !has_keys, "{report:#?}");
        }
        reset(&path, &good);
    }
}
