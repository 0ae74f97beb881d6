//! Promise: an index is read back as it was written, or there is none, or an error says so; it lives as long
//! as its segment and never longer than the rows of it may.

use crate::common::every::at_every_operation;
use crate::common::hook::read_only;
use crate::common::indexes::*;
use crate::common::keep::{assert_clean, gc};
use crate::common::tokens::{filled_with_tokens, token_feature};
use crate::common::*;
use gstore_core::Cancel;
use gstore_store::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

fn f() -> JobFeature {
    feature("grad-sgd", 6, DType::F16)
}

fn open(store: &Store) -> FeatureReader {
    let snapshot = store.snapshot().unwrap();
    snapshot.open_feature(&snapshot.features()[0]).unwrap()
}

/// Segments by the names of index files.
fn indexed(path: &Path) -> BTreeSet<String> {
    let stem = |f: &std::path::PathBuf| f.file_stem().unwrap().to_string_lossy().into_owned();
    index_files(path).iter().map(stem).collect()
}

#[test]
fn what_is_written_is_read_back_by_any_range() {
    let dir = tempdir().unwrap();
    let per_sample = filled(&dir.path().join("a"), 5_000, &f(), 3_000);
    let per_token = filled_with_tokens(&dir.path().join("b"), 400, &token_feature(4, DType::F32), 150);
    for store in [per_sample, per_token] {
        let number = store.snapshot().unwrap().number();
        let segments = open(&store).segments().len();
        assert_eq!(build_all(&store, KIND).unwrap(), segments as u64);
        assert_eq!(build_all(&store, KIND).unwrap(), 0, "what is there is not built again");
        assert_eq!(store.snapshot().unwrap().number(), number, "nothing was published");
        assert_eq!(check_all(&store, KIND), segments);
        let reader = open(&store);
        let mut vectors = 0;
        for (place, segment) in reader.segments().iter().enumerate() {
            let blocks = reader.blocks_of(segment).unwrap();
            assert!(blocks.iter().enumerate().all(|(i, b)| (b.segment(), b.place()) == (place, i)));
            assert_eq!(blocks.iter().map(BlockRef::vectors).sum::<usize>() as u64, segment.vectors());
            vectors += segment.vectors();
            let index = reader.index(segment, KIND).unwrap().unwrap();
            assert_eq!((index.segment(), index.kind()), (segment.uuid(), KIND));
            assert_eq!(index.sections().collect::<Vec<_>>(), ["rows", "values", "empty"]);
            let [rows, values, _] = expected(&reader, segment);
            let (mut scratch, mut state) = (BlockBuffer::new(), 1u64);
            // First touches, later touches, and mixtures of both.
            for _ in 0..400 {
                for (name, bytes) in [("rows", &rows), ("values", &values)] {
                    let section = index.section(name).unwrap();
                    assert_eq!(section.len(), bytes.len() as u64);
                    let mut random = || {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state >> 33) % (section.len() + 1)
                    };
                    let (a, b) = (random(), random());
                    let range = a.min(b)..(a.min(b) + a.max(b) % 700).min(section.len());
                    let want = &bytes[range.start as usize..range.end as usize];
                    let got = section.read(range.clone(), &mut scratch).unwrap();
                    assert_eq!(got, want);
                    assert!(got.is_empty() || (got.as_ptr() as u64 - range.start).is_multiple_of(64));
                    assert_eq!(section.view(range).unwrap(), want);
                }
            }
        }
        assert_eq!(vectors, reader.blocks().iter().map(|b| b.vectors() as u64).sum::<u64>());
        let snapshot = store.snapshot().unwrap();
        let notes = snapshot.indexes(&snapshot.features()[0]).unwrap();
        assert_eq!(notes.len(), segments);
        let sizes: u64 = index_files(store.path()).iter().map(|f| file_len(&store.path().join(f))).sum();
        assert_eq!(notes.iter().map(|n| n.bytes).sum::<u64>(), sizes);
        let report = verify(&store);
        assert!(report.is_sound() && report.notes.is_empty() && report.unreferenced.is_empty(), "{report:?}");
        let vfs = read_only(store.path(), ErrorKind::ReadOnlyFilesystem);
        let read_only = Store::open_on(vfs, store.path()).unwrap();
        assert_eq!(check_all(&read_only, KIND), segments);
        let e = build_one(&read_only, &reader, &reader.segments()[0], "other").unwrap_err();
        assert!(!e.is_damage(), "{e}");
        let IndexError::ReadOnly { store: path, .. } = &e else { panic!("{e}") };
        assert_eq!(path, store.path());
        assert!(e.to_string().contains("cannot be written to"), "{e}");
    }
}

fn file_len(path: &Path) -> u64 {
    fs_err::metadata(path).unwrap().len()
}

#[test]
fn misuse_is_an_error_and_leaves_nothing() {
    let (dir, _, store) = placed(small);
    let other = filled(&dir.path().join("other"), 40, &f(), 20);
    let (reader, foreign) = (open(&store), open(&other));
    let segment = &reader.segments()[0];
    for kind in ["", "Sketch", "a.b", "../x", "a_b", &"x".repeat(33)] {
        assert!(matches!(store.write_index(segment, kind), Err(IndexError::Kind(_))), "{kind:?}");
    }
    assert!(matches!(store.write_index(&foreign.segments()[0], KIND), Err(IndexError::Gone { .. })));
    assert!(matches!(reader.index(&foreign.segments()[0], KIND), Err(ReadError::NoSegment { .. })));
    assert!(matches!(reader.blocks_of(&foreign.segments()[1]), Err(ReadError::NoSegment { .. })));
    let mut w = store.write_index(segment, "bad").unwrap();
    let first = w.section("a", 64).unwrap();
    for (name, chunk) in [("a", 64), ("", 64), ("A", 64), ("b", 0), ("b", 100), ("b", (64 << 20) + 64)] {
        assert!(matches!(w.section(name, chunk), Err(IndexError::Section { .. })), "{name} {chunk}");
    }
    w.append(first, b"abc").unwrap();
    let mut deep = json!(1);
    for _ in 0..200 {
        deep = json!([deep]);
    }
    // What the reader could not parse is refused before it gets into place.
    assert!(matches!(w.finish(deep), Err(IndexError::Header(_))));
    assert!(reader.index(segment, "bad").unwrap().is_none());
    drop(store.write_index(segment, "dropped").unwrap());
    let index = reader.index(segment, KIND).unwrap().unwrap();
    let e = index.section("nothing").unwrap_err();
    assert!(e.to_string().contains("rows, values, empty"), "{e}");
    let rows = index.section("rows").unwrap();
    let past = rows.len() + 1;
    #[allow(clippy::reversed_empty_ranges)]
    for range in [0..past, past..past, 5..4, 0..u64::MAX] {
        assert!(matches!(rows.view(range.clone()), Err(ReadError::NoRange { .. })), "{range:?}");
        assert!(matches!(rows.read(range, &mut BlockBuffer::new()), Err(ReadError::NoRange { .. })));
    }
    let empty = store.write_index(segment, "empty").unwrap().finish(json!(null)).unwrap();
    assert_eq!(reader.index(segment, "empty").unwrap().unwrap().bytes(), empty.bytes);
    assert_clean(&store);
}

#[test]
fn stale_foreign_and_newer_indexes_are_told_apart_and_never_used() {
    let (_dir, path, store) = placed(small);
    let reader = open(&store);
    let segment = &reader.segments()[0];
    let file = path.join(format!("indexes/{}.{KIND}", segment.uuid()));
    let sound = fs_err::read(&file).unwrap();
    forge(&file, |_| {});
    assert_eq!(check_all(&store, KIND), 2, "forging alone is not what is refused");

    forge(&file, |footer| footer["segment_digest"] = "0".repeat(32).into());
    let IndexState::Stale(why) = reader.index_state(segment, KIND).unwrap() else { panic!() };
    assert!(why.to_string().contains("stale") && why.to_string().contains("a build of the index"), "{why}");
    assert!(reader.index(segment, KIND).unwrap().is_none());
    let report = verify(&store);
    assert!(report.is_sound() && report.notes.iter().any(|n| n.contains("stale")), "{report:?}");

    for (field, value) in [("version", json!(2)), ("requires", json!(["what comes later"]))] {
        fs_err::write(&file, &sound).unwrap();
        forge(&file, |footer| footer[field] = value);
        let e = reader.index(segment, KIND).unwrap_err();
        assert!(!e.is_damage() && e.to_string().contains("written by a newer gstore"), "{e}");
        let report = verify(&store);
        assert!(report.is_sound() && report.notes.iter().any(|n| n.contains("newer gstore")), "{report:?}");
        let repaired = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
        assert!(repaired.is_sound() && file.exists(), "{repaired:?}");
    }
    // The index of another segment, or of another kind, under this one's name.
    let other = path.join(format!("indexes/{}.{KIND}", reader.segments()[1].uuid()));
    fs_err::copy(other, &file).unwrap();
    assert!(reader.index(segment, KIND).unwrap_err().is_damage());
    fs_err::write(&file, &sound).unwrap();
    fs_err::copy(&file, file.with_extension("other")).unwrap();
    assert!(reader.index(segment, "other").unwrap_err().is_damage());
    // Fields of later versions are nothing to stumble over.
    forge(&file, |footer| footer["later"] = json!({"a": 1}));
    assert!(reader.index(segment, KIND).unwrap().is_some());

    type Edit = fn(&mut serde_json::Value);
    let lies: [(&str, Edit); 9] = [
        ("offset", |f| f["sections"][1]["offset"] = 64.into()),
        ("length", |f| f["sections"][1]["len"] = (1u64 << 40).into()),
        ("length of all", |f| f["sections"][0]["len"] = u64::MAX.into()),
        ("chunk", |f| f["sections"][0]["chunk"] = 0.into()),
        ("many digests", |f| f["sections"][0]["chunk"] = 128.into()),
        ("digits", |f| f["sections"][0]["digests"] = "+".repeat(32 * 3).into()),
        ("name", |f| f["sections"][1]["name"] = "rows".into()),
        ("fewer sections", |f| drop(f["sections"].as_array_mut().unwrap().pop())),
        ("no header", |f| drop(f.as_object_mut().unwrap().remove("header"))),
    ];
    for (what, edit) in lies {
        fs_err::write(&file, &sound).unwrap();
        forge(&file, edit);
        // Of a section without bytes nothing can be wrong but its absence, which does no harm.
        let state = reader.index(segment, KIND);
        match what {
            "fewer sections" => assert!(state.unwrap().unwrap().section("empty").is_err()),
            _ => assert!(state.expect_err(what).is_damage(), "{what}"),
        }
    }
}

#[test]
fn damage_is_named_found_by_verify_and_removed_by_repair() {
    let (_dir, path, store) = placed(small);
    let number = store.snapshot().unwrap().number();
    let name = index_files(&path).remove(0);
    let (file, shown) = (path.join(&name), name.to_string_lossy().into_owned());
    let sound = fs_err::read(&file).unwrap();
    let problems = |store: &Store| {
        let report = verify(store);
        let files: BTreeSet<String> = report.problems.iter().map(|p| p.file.clone()).collect();
        (files, report)
    };
    for at in (0..sound.len()).step_by(3) {
        let mut bad = sound.clone();
        bad[at] ^= 1 << (at % 8);
        fs_err::write(&file, &bad).unwrap();
        let (files, report) = problems(&store);
        // One bit of the version makes it a newer one's.
        let newer = report.notes.iter().any(|n| n.contains("newer"));
        assert!(files == BTreeSet::from([shown.clone()]) || newer, "byte {at}: {report:?}");
        assert!(report.problems.iter().all(|p| p.rows.is_none()), "no row is lost with an index");
    }
    for len in (0..sound.len()).step_by(11) {
        fs_err::write(&file, &sound[..len]).unwrap();
        assert_eq!(problems(&store).0, BTreeSet::from([shown.clone()]), "{len} bytes");
    }
    let mut bad = sound.clone();
    bad[64] ^= 1;
    fs_err::write(&file, &bad).unwrap();
    let reader = open(&store);
    let segment = reader.segments().iter().find(|s| shown.contains(&s.uuid().to_string())).unwrap();
    let index = reader.index(segment, KIND).unwrap().unwrap();
    let e = index.section("rows").unwrap().view(0..8).unwrap_err();
    let text = e.to_string();
    for part in
        [&*shown, "chunk 0 of section rows", "at byte 64", "expected", "found", "a build of the index"]
    {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
    let rows = index.section("rows").unwrap();
    assert_eq!(rows.view(64..72).unwrap(), &sound[128..136], "other chunks are read all the same");

    let dry = RepairOptions { dry_run: true, ..RepairOptions::default() };
    let dry = Store::repair_folder(&path, dry, &mut |_| {}).unwrap();
    assert!(file.exists() && dry.rebuilt.len() == 1);
    let report = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {}).unwrap();
    assert_eq!((&report.rebuilt, report.snapshot), (&dry.rebuilt, None), "{report:?}");
    assert_eq!(report.rebuilt[0].what, shown);
    assert!(report.lost.is_empty() && report.unrepaired.is_empty() && !file.exists());
    assert!(reader.index(segment, KIND).unwrap().is_none());
    assert_eq!((build_all(&store, KIND).unwrap(), check_all(&store, KIND)), (1, 2));
    assert_eq!(store.snapshot().unwrap().number(), number);
    assert!(verify(&store).is_sound());
}

#[test]
fn a_build_that_dies_or_fails_at_any_operation_leaves_the_old_index_the_new_one_or_none() {
    let dir = tempdir().unwrap();
    for before in [false, true] {
        let path = dir.path().join(format!("{before}"));
        let store = filled(&path, 40, &f(), 40);
        if before {
            build_all(&store, KIND).unwrap();
        }
        drop(store);
        at_every_operation(
            &path,
            |store| {
                let reader = open(store);
                build_one(store, &reader, &reader.segments()[0], KIND).map(drop)
            },
            |store, done| {
                let found = check_all(store, KIND);
                assert!(found == 1 || (!done && !before && found == 0));
                if done {
                    store.collect(gc(u64::MAX)).unwrap();
                    assert_clean(store);
                    let left = files(&store.path().join("tmp"));
                    assert!(left.iter().all(|f| f.extension().is_some_and(|e| e == "lock")), "{left:?}");
                    assert_eq!(check_all(store, KIND), 1);
                }
            },
        );
    }
}

#[test]
fn gc_keeps_the_indexes_of_needed_segments_and_collects_the_others() {
    let (_dir, path, store) = placed(|path| filled(path, 60, &f(), 20));
    build_all(&store, KIND).unwrap();
    build_all(&store, "other").unwrap();
    assert_clean(&store);
    let first = indexed(&path);
    assert_eq!((first.len(), index_files(&path).len()), (3, 6));
    let before = store.snapshot().unwrap().number();

    // Merged segments have no index until it is built; old ones keep theirs for older snapshots.
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    assert_eq!(check_all(&store, KIND), 0);
    let merged = open(&store);
    let noted = |kind| Some(merged.index_before(&merged.segments()[0], kind)?["seed"].as_u64());
    assert_eq!([KIND, "other", "none"].map(noted), [Some(Some(7)), Some(Some(7)), None]);
    assert_clean(&store);
    let old = store.snapshot_at(before).unwrap();
    let reader = old.open_feature(&old.features()[0]).unwrap();
    assert!(reader.segments().iter().all(|s| reader.index(s, KIND).unwrap().is_some()));
    build_all(&store, KIND).unwrap();
    assert_eq!(index_files(&path).len(), 7);
    let report = store.collect(gc(1)).unwrap();
    assert_eq!(report.swept.removed[&FileKind::Indexes].files, 6);
    assert_eq!((check_all(&store, KIND), index_files(&path).len()), (1, 1));
    assert!(indexed(&path).is_disjoint(&first));
    assert_tidy(&store);

    // A dropped feature keeps them as long as an older snapshot has it.
    store.drop_feature(store.snapshot().unwrap().feature("1").unwrap(), "drop").unwrap();
    assert_clean(&store);
    assert_eq!(index_files(&path).len(), 1);
    store.collect(gc(1)).unwrap();
    assert!(index_files(&path).is_empty());
    assert!(verify(&store).unreferenced.is_empty());
}

#[test]
fn a_compaction_notes_the_indexes_that_are_made_while_it_is_at_work() {
    let (_dir, _, store) = placed(|path| filled(path, 40, &f(), 20));
    let mut built = 0;
    let mut build = |p: CompactProgress| {
        if p.bytes_done > 0 && built == 0 {
            built = build_all(&store, KIND).unwrap();
        }
    };
    store.compact(CompactOptions::default(), &mut build).unwrap();
    assert_eq!(built, 2);
    let merged = open(&store);
    assert_eq!(merged.index_before(&merged.segments()[0], KIND).unwrap()["seed"], 7);
}

#[test]
fn folders_of_builds_stay_while_they_are_held_and_go_when_they_are_not() {
    let (_dir, path, store) = placed(|path| filled(path, 40, &f(), 20));
    let reader = open(&store);
    let mut w = store.write_index(&reader.segments()[0], KIND).unwrap();
    let section = w.section("rows", 64).unwrap();
    w.append(section, &[1; 100]).unwrap();
    let left = path.join("tmp/index-00000000-0000-4000-8000-000000000000");
    for file in ["lock", "index", "1.part"] {
        fs_err::create_dir_all(&left).unwrap();
        fs_err::write(left.join(file), "left").unwrap();
    }
    fs_err::create_dir_all(path.join("tmp/index-mine")).unwrap();
    let dry = store.collect(GcOptions { dry_run: true, ..gc(u64::MAX) }).unwrap();
    assert!(left.exists());
    let report = store.collect(gc(u64::MAX)).unwrap();
    assert_eq!(report.swept, dry.swept);
    assert_eq!((report.swept.files(), left.exists()), (3, false), "{report:?}");
    assert_eq!(report.swept.strangers, ["tmp/index-mine"]);
    let busy = Store::repair_folder(&path, RepairOptions::default(), &mut |_| {});
    assert!(matches!(busy, Err(VerifyError::Busy(_))), "{busy:?}");
    w.finish(json!({})).unwrap();
    let index = reader.index(&reader.segments()[0], KIND).unwrap().unwrap();
    assert_eq!(read_all(&index).unwrap(), [vec![1; 100]]);
    fs_err::remove_dir(path.join("tmp/index-mine")).unwrap();
    assert_clean(&store);
}

#[test]
fn what_a_build_copies_to_another_disk_stays_until_no_build_is_left() {
    let (_dir, path, store) = placed(|path| filled(path, 40, &f(), 20));
    let w = store.write_index(&open(&store).segments()[0], KIND).unwrap();
    fs_err::create_dir_all(path.join("indexes")).unwrap();
    let copy = path.join(format!("indexes/00000000-0000-4000-8000-000000000000.{KIND}.new"));
    fs_err::write(&copy, "copied so far").unwrap();
    let report = store.collect(gc(u64::MAX)).unwrap();
    assert_eq!((report.swept.files(), copy.exists()), (0, true), "{report:?}");
    drop(w);
    let report = store.collect(gc(u64::MAX)).unwrap();
    assert_eq!((report.swept.files(), copy.exists()), (1, false), "{report:?}");
    assert_clean(&store);
}

#[test]
fn a_purge_takes_the_indexes_of_its_rows_and_none_is_built_behind_its_back() {
    let (_dir, path, store) = placed(small);
    let reader = open(&store);
    let [first, second] = reader.segments() else { panic!() };
    let kept = second.uuid().to_string();
    let w = store.write_index(first, "late").unwrap();
    match purge(&store, [3]) {
        Err(ChangeError::Indexing { builds }) => assert_eq!(builds.len(), 1),
        other => panic!("{other:?}"),
    }
    drop(w);
    purge(&store, [3]).unwrap();
    assert_eq!(
        indexed(&path),
        BTreeSet::from([kept.clone()]),
        "the index of the purged row's segment is gone"
    );
    // The reader of the old snapshot still has the rows, mapped; nothing that is derived from them
    // gets back into the store.
    let e = build_one(&store, &reader, first, KIND).unwrap_err();
    assert!(matches!(e, IndexError::Gone { .. }), "{e}");
    assert_eq!(indexed(&path), BTreeSet::from([kept]));
    // What it was made with is noted, also once the file that lacks it is written again.
    purge(&store, [4]).unwrap();
    let reader = open(&store);
    let noted = reader.index_before(&reader.segments()[0], KIND).unwrap();
    assert_eq!(noted["seed"], 7);
    assert_eq!((build_all(&store, KIND).unwrap(), check_all(&store, KIND)), (1, 2));
    assert_clean(&store);
    assert!(verify(&store).is_sound());
}

#[test]
fn an_index_of_a_segment_that_was_collected_meanwhile_is_not_put_in_place() {
    let (_dir, path, store) = placed(|path| filled(path, 40, &f(), 20));
    let reader = open(&store);
    let w = store.write_index(&reader.segments()[0], KIND).unwrap();
    store.compact(CompactOptions::default(), &mut |_| {}).unwrap();
    store.collect(gc(1)).unwrap();
    assert!(matches!(w.finish(json!({})), Err(IndexError::Gone { .. })));
    assert!(index_files(&path).is_empty());
    assert_clean(&store);
}

#[test]
fn who_has_an_index_open_keeps_it_when_another_takes_its_place_or_it_is_removed() {
    let (_dir, path, store) = placed(|path| filled(path, 400, &f(), 400));
    let reader = open(&store);
    let segment = &reader.segments()[0];
    let [rows, values, _] = expected(&reader, segment);
    for replaced in [true, false] {
        build_one(&store, &reader, segment, KIND).unwrap();
        let old = reader.index(segment, KIND).unwrap().unwrap();
        old.section("rows").unwrap().view(0..100).unwrap();
        if replaced {
            let mut w = store.write_index(segment, KIND).unwrap();
            let section = w.section("rows", 64).unwrap();
            w.append(section, &vec![7; 10_000]).unwrap();
            w.finish(json!("another")).unwrap();
            let new = reader.index(segment, KIND).unwrap().unwrap();
            assert_ne!(new.digest(), old.digest());
            assert_eq!(read_all(&new).unwrap(), [vec![7; 10_000]]);
        } else {
            fs_err::remove_file(path.join(&index_files(&path)[0])).unwrap();
        }
        let mut scratch = BlockBuffer::new();
        let section = old.section("rows").unwrap();
        assert_eq!(section.read(0..section.len(), &mut scratch).unwrap(), rows);
        let section = old.section("values").unwrap();
        assert_eq!(section.view(0..section.len()).unwrap(), values);
    }
}

#[test]
fn indexes_are_read_while_they_are_built_again() {
    let (_dir, path, store) = placed(small);
    let (stop, seen) = (Cancel::new(), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let store = Store::open(&path).unwrap();
                while !stop.is_raised() {
                    assert_eq!(check_all(&store, KIND), 2);
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let builders: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let store = Store::open(&path).unwrap();
                    let reader = open(&store);
                    for _ in 0..40 {
                        for segment in reader.segments() {
                            build_one(&store, &reader, segment, KIND).unwrap();
                        }
                    }
                })
            })
            .collect();
        let gc_store = Store::open(&path).unwrap();
        for _ in 0..20 {
            gc_store.collect(gc(u64::MAX)).unwrap();
            assert!(verify(&gc_store).is_sound());
        }
        for b in builders {
            b.join().unwrap();
        }
        stop.raise();
    });
    assert!(seen.load(Ordering::Relaxed) > 0);
    assert_clean(&store);
}

#[test]
fn backups_and_restored_stores_have_no_indexes_and_keep_those_that_are_built_there() {
    let dir = tempdir().unwrap();
    let (path, to, back) = (dir.path().join("s"), dir.path().join("b"), dir.path().join("r"));
    let store = small(&path);
    let go = Cancel::new();
    let backup = || store.backup(&to, &BackupOptions::default(), &mut |_| {}, &go).unwrap();
    backup();
    assert!(index_files(&to).is_empty());
    let copy = Store::open(&to).unwrap();
    assert_eq!(build_all(&copy, KIND).unwrap(), 2);
    backup();
    assert_eq!(check_all(&copy, KIND), 2);
    Store::restore(&to, &back, &mut |_| {}, &go).unwrap();
    let restored = Store::open(&back).unwrap();
    assert_eq!((check_all(&restored, KIND), build_all(&restored, KIND).unwrap()), (0, 2));
    assert_eq!(check_all(&restored, KIND), 2);
}
