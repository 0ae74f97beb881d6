//! Promise: a sketch in the store is a function of its segment and seed, is built once, goes on where it
//! stopped, and is never used damaged.

use std::path::{Path, PathBuf};

use crate::common::*;
use gstore_core::Cancel;
use gstore_query::influence::*;
use gstore_query::sketch::{self, Planes, RebuildScope, SketchOptions};
use gstore_query::{IndexProgress, IndexStatus, QueryError};

const ROWS: usize = 3_000;

fn store(cut: usize) -> TestStore {
    store_with(cut, 3)
}

fn store_with(cut: usize, targets: usize) -> TestStore {
    let mut numbers = Numbers(8);
    let mut features = gradients(&numbers.vectors(ROWS, 70), &numbers.vectors(targets, 70));
    features[0].cut = cut;
    TestStore::of(&features)
}

fn build(store: &TestStore, options: &SketchOptions) -> IndexProgress {
    sketch::build(&store.store, &store.reader(), options, &mut |_| {}, &GO).unwrap()
}

fn sketch_mode() -> InfluenceSpec {
    let planes = Some(vec![Plane::Sign, Plane::Nibble]);
    InfluenceSpec { mode: Mode::Sketch(SketchMode { planes, ..Default::default() }), ..ask("pool", "val") }
}

/// A build that is stopped once more than two of six segments are coded.
fn build_stopped(store: &TestStore, planes: Option<Planes>) {
    let stop = Cancel::new();
    let mut progress = |done: &IndexProgress| {
        if done.done >= 1_200 {
            stop.raise()
        }
    };
    let options = SketchOptions { planes, threads: 1, ..SketchOptions::default() };
    let stopped = sketch::build(&store.store, &store.reader(), &options, &mut progress, &stop);
    assert!(matches!(stopped, Err(QueryError::Cancelled(_))), "{stopped:?}");
}

/// The index files, by name.
fn files(store: &TestStore) -> Vec<PathBuf> {
    let folder = fs_err::read_dir(store.store.path().join("indexes")).unwrap();
    let mut all: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// Bytes of the index files, by name.
fn indexes(store: &TestStore) -> Vec<Vec<u8>> {
    files(store).into_iter().map(|path| fs_err::read(path).unwrap()).collect()
}

/// Puts another file under the name: a map of the first one stays what it was.
fn replace(path: &Path, bytes: &[u8]) {
    fs_err::remove_file(path).unwrap();
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn a_ranking_uses_the_sketch_of_its_files() {
    let store = store(1_100);
    let want = plan(&store, &ask("pool", "val")).top_k(Order::Best, 10, None, 1, &GO).unwrap();
    let before = plan(&store, &sketch_mode()).top_k(Order::Best, 10, None, 1, &GO).unwrap();
    assert!(before.summary.notes[0].contains("a build of the sketch index"), "{:?}", before.summary.notes);
    let state = || {
        let reader = store.reader();
        reader.segments().iter().map(|segment| sketch::found(&reader, segment)).collect::<Vec<_>>()
    };
    assert_eq!(state(), [IndexStatus::Missing; 3]);
    let done = build(&store, &SketchOptions::default());
    assert_eq!((done.done, done.kept, done.vectors), (ROWS as u64, 0, ROWS as u64));
    assert_eq!(state(), [IndexStatus::Usable; 3]);
    let again = build(&store, &SketchOptions::default());
    assert_eq!((again.done, again.kept), (0, ROWS as u64));
    let plan = plan(&store, &sketch_mode());
    for _ in 0..2 {
        let got = plan.top_k(Order::Best, 10, None, 2, &GO).unwrap();
        assert!(got.summary.notes.is_empty(), "{:?}", got.summary.notes);
        assert_eq!(got.rows, want.rows);
        assert_eq!(got.summary.planes.len(), 2);
    }
}

#[test]
fn a_build_that_was_stopped_goes_on_with_the_same_seed() {
    let store = store(500);
    build_stopped(&store, None);
    let rest = build(&store, &SketchOptions { threads: 1, ..SketchOptions::default() });
    assert!(rest.kept >= 500 && rest.kept + rest.done == ROWS as u64, "{rest:?}");
    assert_eq!(sketch::open(&store.reader()).unwrap().rotations().len(), 1);
}

/// Bytes for each vector of 70 coordinates, padded to 128: codes, and their factors.
const PLANE_BYTES: [(&str, u64); 3] = [("sign", 16 + 8), ("nibble", 64 + 8), ("int8", 128 + 16)];

fn by(plane: Plane) -> InfluenceSpec {
    let certified = plane == Plane::Certified;
    let mode = SketchMode { certified, planes: Some(vec![plane]), ..SketchMode::default() };
    InfluenceSpec { mode: Mode::Sketch(mode), ..ask("pool", "val") }
}

#[test]
fn any_choice_of_planes_gives_the_exact_answer_and_takes_the_bytes_of_its_planes() {
    let store = store(1_100);
    let want = plan(&store, &ask("pool", "val")).top_k(Order::Best, 10, None, 1, &GO).unwrap();
    for choice in ["sign", "nibble", "int8", "sign,nibble", "sign,int8", "nibble,int8", "sign,nibble,int8"] {
        let has = |word: &str| choice.split(',').any(|own| own == word);
        let planes = Some(choice.parse().unwrap());
        let done = build(&store, &SketchOptions { planes, ..SketchOptions::default() });
        assert_eq!(done.done, ROWS as u64, "{choice}");
        let codes: u64 = PLANE_BYTES.iter().filter(|(word, _)| has(word)).map(|(_, bytes)| bytes).sum();
        let vectors = (12 + codes) * ROWS as u64;
        let files: u64 = indexes(&store).iter().map(|bytes| bytes.len() as u64).sum();
        // Each of three files has a head, a footer and zeros between its sections besides.
        assert!((vectors..vectors + 3 * 4096).contains(&files), "{choice}: {files} for {vectors}");
        // Without a choice it stays.
        assert_eq!(build(&store, &SketchOptions::default()).done, 0, "{choice}");
        let reader = store.reader();
        assert!(reader.segments().iter().all(|segment| sketch::kept(&reader, segment) == planes), "{choice}");
        for plane in [Plane::Sign, Plane::Nibble, Plane::Int8, Plane::Certified] {
            let got = plan(&store, &by(plane)).top_k(Order::Best, 10, None, 2, &GO).unwrap();
            assert_eq!(got.rows, want.rows, "{choice}: {plane}");
            let kept = has(if plane == Plane::Certified { "int8" } else { plane.word() });
            assert_eq!(got.summary.planes.len(), usize::from(kept), "{choice}: {plane}");
            match &got.summary.notes[..] {
                [] => assert!(kept, "{choice}: {plane}"),
                [note] => assert!(!kept && note.contains(&choice.replace(',', ", ")), "{note}"),
                more => panic!("{more:?}"),
            }
        }
    }
}

#[test]
fn a_change_of_planes_that_was_stopped_goes_on_and_mixes_nothing() {
    let store = store(500);
    let want = plan(&store, &ask("pool", "val")).top_k(Order::Best, 10, None, 1, &GO).unwrap();
    let kept = || -> Vec<String> {
        let reader = store.reader();
        reader.segments().iter().map(|s| sketch::kept(&reader, s).unwrap().to_string()).collect()
    };
    let change = |planes: &str| build_stopped(&store, Some(planes.parse().unwrap()));
    build(&store, &SketchOptions::default());
    change("sign");
    let mixed = kept();
    assert!(mixed[0] == "sign" && mixed[5] == "sign, nibble, int8", "{mixed:?}");
    assert_eq!(sketch::open(&store.reader()).unwrap().planes().unwrap().to_string(), "sign");
    let got = plan(&store, &by(Plane::Sign)).top_k(Order::Best, 10, None, 2, &GO).unwrap();
    assert_eq!((got.rows, got.summary.planes.len()), (want.rows.clone(), 1));

    build(&store, &SketchOptions::default());
    assert_eq!(kept(), ["sign"; 6]);

    change("nibble");
    let why = sketch::open(&store.reader()).unwrap_err();
    assert!(why.contains("no plane in common"), "{why}");
    let got = plan(&store, &by(Plane::Nibble)).top_k(Order::Best, 10, None, 2, &GO).unwrap();
    assert_eq!((got.rows, got.summary.planes.len()), (want.rows, 0));
    assert!(got.summary.notes[0].contains("no plane in common"), "{:?}", got.summary.notes);

    build(&store, &SketchOptions::default());
    assert_eq!(kept(), ["nibble"; 6]);

    // An automatic refresh takes the planes of most sketches, and leaves the others as they are.
    change("sign");
    let (mixed, missing) =
        (kept(), SketchOptions { again: RebuildScope::Unusable, ..SketchOptions::default() });
    assert_eq!((build(&store, &missing).done, kept()), (0, mixed));
    let signs = || kept().iter().filter(|planes| *planes == "sign").count();
    let before = signs();
    let smallest = files(&store).into_iter().min_by_key(|path| fs_err::metadata(path).unwrap().len());
    fs_err::remove_file(smallest.unwrap()).unwrap();
    assert_eq!(build(&store, &missing).done, 500);
    assert_eq!(signs(), if before - 1 > 6 - before { before } else { before - 1 });
}

#[test]
fn a_note_names_the_planes_of_the_sketch_that_lacks_one() {
    let mut numbers = Numbers(10);
    let store = TestStore::with(&[("pool", 100), ("val", 1)]);
    let mut of = |dataset: &str, checkpoint, rows| {
        Feature::new(dataset, "grad-sgd", checkpoint, present(&numbers.vectors(rows, 70)))
    };
    let features = [of("pool", 0, 100), of("pool", 1, 100), of("val", 0, 1), of("val", 1, 1)];
    store.features(&features, Some(store.run("warmup", &[Some(0.5), Some(0.5)])));
    let snapshot = store.snapshot();
    for (feature, planes) in snapshot.features_of("pool").into_iter().zip(["sign,int8", "sign,nibble"]) {
        let options = SketchOptions { planes: Some(planes.parse().unwrap()), ..SketchOptions::default() };
        let reader = snapshot.open_feature(feature).unwrap();
        sketch::build(&store.store, &reader, &options, &mut |_| {}, &GO).unwrap();
    }
    let got = plan(&store, &by(Plane::Int8)).top_k(Order::Best, 5, None, 1, &GO).unwrap();
    assert!(got.summary.notes[0].contains("keeps sign, nibble"), "{:?}", got.summary.notes);
}

/// Else the answer would be exact where the processor rounds rows, and may lack rows elsewhere.
#[test]
fn many_targets_are_searched_by_the_planes_that_are_kept_on_every_processor() {
    let store = store_with(500, 14);
    build(&store, &SketchOptions { planes: Some("sign,nibble".parse().unwrap()), ..Default::default() });
    let mode = Mode::Sketch(SketchMode::default());
    let spec = InfluenceSpec { mode, within: Within::Max, ..ask("pool", "val") };
    let got = plan(&store, &spec).top_k(Order::Best, 10, None, 2, &GO).unwrap();
    // Planes were read, or a note says why they would not pay.
    assert!(!got.summary.planes.is_empty() || !got.summary.notes.is_empty(), "{:?}", got.summary);
}

#[test]
fn bytes_depend_on_segment_and_seed_alone() {
    let (a, b) = (store(1_000), store(1_000));
    for (store, threads) in [(&a, 1), (&b, 3)] {
        build(store, &SketchOptions { seed: Some(5), threads, ..SketchOptions::default() });
    }
    let sections = |store: &TestStore| -> Vec<Vec<u8>> {
        // Planes begin behind the head; the footer names the segment and the build.
        indexes(store).into_iter().map(|bytes| bytes[64..bytes.len() * 9 / 10].to_vec()).collect()
    };
    let (mut a, mut b) = (sections(&a), sections(&b));
    a.sort();
    b.sort();
    assert!(a == b, "other bytes on three threads");
}

#[test]
fn a_damaged_sketch_is_not_used_and_every_row_is_scored() {
    let store = store(5_000);
    build(&store, &SketchOptions::default());
    let path = files(&store).remove(0);
    let whole = fs_err::read(&path).unwrap();
    let want = plan(&store, &ask("pool", "val")).top_k(Order::Best, 10, None, 1, &GO).unwrap();
    for at in [100, whole.len() / 3, whole.len() * 2 / 3, whole.len() - 30] {
        let mut bytes = whole.clone();
        bytes[at] ^= 16;
        replace(&path, &bytes);
        let plan = plan(&store, &sketch_mode());
        // The second time it is known.
        for _ in 0..2 {
            let got = plan.top_k(Order::Best, 10, None, 1, &GO).unwrap();
            assert_eq!(got.rows, want.rows, "byte {at}");
            // Some of the bytes are of planes that the question does not read.
            match got.summary.planes.len() {
                2 => assert!(at != 100 && got.summary.notes.is_empty(), "byte {at}: {:?}", got.summary.notes),
                _ => {
                    assert_says_damage(&got.summary, "every row was scored");
                    assert_eq!(got.summary.guarantee, EXACT);
                }
            }
        }
    }
    // The head decides nothing, and what `verify` finds there is rebuilt all the same.
    for at in [0, 40, 63] {
        build(&store, &SketchOptions { again: RebuildScope::All, ..SketchOptions::default() });
        assert_eq!(build(&store, &SketchOptions::default()).done, 0);
        let mut bytes = fs_err::read(&path).unwrap();
        bytes[at] ^= 16;
        replace(&path, &bytes);
        assert!(build(&store, &SketchOptions::default()).done > 0, "byte {at}");
    }
    build(&store, &SketchOptions { again: RebuildScope::All, ..SketchOptions::default() });
    let got = plan(&store, &sketch_mode()).top_k(Order::Best, 10, None, 1, &GO).unwrap();
    assert_eq!((got.rows, got.summary.notes.len()), (want.rows, 0));
}

/// The one note is what was done instead, which file is damaged, and how it is rebuilt.
fn assert_says_damage(summary: &ScanSummary, instead: &str) {
    let [note] = &summary.notes[..] else { panic!("{:?}", summary.notes) };
    let says = [instead, "indexes/", "is damaged", "a build of the sketch index of pool/"];
    assert!(says.iter().all(|part| note.contains(part)) && !note.contains('\n'), "{note}");
}

#[test]
fn rankings_by_many_values_do_without_a_damaged_sketch() {
    let mut numbers = Numbers(9);
    let store = TestStore::of(&gradients(&numbers.vectors(ROWS, 70), &numbers.vectors(40, 70)));
    build(&store, &SketchOptions::default());
    let ask = |mode| InfluenceSpec { mode, within: Within::Max, ..ask("pool", "val") };
    let request = request(Each::Sample, 3);
    let answers = |mode: Mode| {
        let plan = plan(&store, &ask(mode));
        let whole = plan.top_k(Order::Best, 3, None, 2, &GO).unwrap();
        (whole.rows, whole.summary, plan.top_k_each(&request, &GO).unwrap())
    };
    let modes = [false, true].map(|certified| SketchMode { certified, ..SketchMode::default() });
    let (rows, _, each) = answers(Mode::Exact);
    // Certain bounds take two products of bytes, which pay where the processor has an instruction for them.
    let reads_codes = |mode: &SketchMode| {
        let (_, summary, of_each) = answers(Mode::Sketch(mode.clone()));
        !summary.planes.is_empty() && !of_each.summary.planes.is_empty()
    };
    let modes: Vec<SketchMode> = modes.into_iter().filter(reads_codes).collect();
    assert!(modes.iter().any(|mode| !mode.certified), "codes are read");
    let path = files(&store).remove(0);
    let mut bytes = fs_err::read(&path).unwrap();
    // The footer stays as it is.
    let body = bytes.len() * 4 / 5;
    bytes[64..body].iter_mut().for_each(|byte| *byte ^= 1);
    replace(&path, &bytes);
    for mode in modes {
        let (found, summary, of_each) = answers(Mode::Sketch(mode));
        assert_eq!((&found, &of_each.rankings), (&rows, &each.rankings));
        for summary in [summary, of_each.summary] {
            // The rest is found by estimates from rounded rows or by a scan, whichever this processor does
            // faster.
            assert_says_damage(&summary, "and not used");
            assert_eq!((summary.guarantee.as_str(), summary.planes.len()), (EXACT, 0));
        }
    }
}

#[test]
fn a_file_of_the_right_name_is_a_sketch_only_if_it_fits() {
    let store = store(5_000);
    build(&store, &SketchOptions::default());
    let path = files(&store).remove(0);
    let whole = fs_err::read(&path).unwrap();
    let mut flipped = whole.clone();
    let end = flipped.len() - 40;
    flipped[end] ^= 1;
    for bytes in [Vec::new(), b"no index".to_vec(), whole[..whole.len() / 2].to_vec(), flipped] {
        replace(&path, &bytes);
        let reader = store.reader();
        assert_eq!(sketch::found(&reader, &reader.segments()[0]), IndexStatus::Unusable);
    }
    let done = build(&store, &SketchOptions::default());
    assert_eq!(done.done, ROWS as u64);
    let reader = store.reader();
    assert_eq!(sketch::found(&reader, &reader.segments()[0]), IndexStatus::Usable);
}
