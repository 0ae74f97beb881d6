//! Promise: graphs propose rows and nothing else: what is reported of a row is the scan's, to the bit,
//! whatever a graph or its file holds; and they find nearly all of the nearest rows.
#![cfg(feature = "ann")]

use crate::common::*;
use gstore_core::Cancel;
use gstore_query::ann::{self, EvaluateOptions, GraphOptions, Graphs, KIND, NearestOptions, SearchCounts};
use gstore_query::influence::*;
use gstore_query::{IndexProgress, IndexStatus, QueryError};
use gstore_store::*;

const GRAPH: NearestOptions = NearestOptions { ef: None, exact: Some(false) };
const SCAN: NearestOptions = NearestOptions { ef: None, exact: Some(true) };

fn store(rows: Vec<Row>, cut: usize) -> TestStore {
    let feature = Feature { cut, dtype: DType::F16, ..Feature::new("pool", "embed-mean", 0, rows) };
    TestStore::of(&[feature])
}

fn make(store: &TestStore) -> IndexProgress {
    let options = GraphOptions { rebuild: false, threads: 2 };
    ann::build(&store.store, &store.reader(), &options, &mut |_| {}, &GO).unwrap()
}

fn spec() -> InfluenceSpec {
    InfluenceSpec {
        pools: vec!["pool".into()],
        pool_kind: Some("embed-mean".into()),
        target_kind: Some("embed-mean".into()),
        missing: Missing::Exclude,
        ..Default::default()
    }
}

fn about(store: &TestStore, vector: AtHandVector) -> Prepared {
    Prepared::about_vector(&store.snapshot(), &spec(), vector, None).unwrap()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|x| f64::from(*x)).collect()
}

fn row(store: &TestStore, row: u64) -> Prepared {
    about(store, AtHandVector::Row { pool: 0, row })
}

fn ask_by(
    plan: &Prepared,
    k: usize,
    filter: Option<&RowFilter>,
    options: &NearestOptions,
) -> (Vec<(u64, u32)>, SearchCounts) {
    let (ranking, way) = plan.nearest(k, filter, options, &Graphs::new(), (2, &GO)).unwrap();
    (ranking.rows.iter().map(|s| (s.row, s.score.to_bits())).collect(), way)
}

/// Part of the exact answer that was found. Whatever was found has the scan's bits.
fn recall(plan: &Prepared, k: usize, filter: Option<&RowFilter>) -> f64 {
    let (exact, _) = ask_by(plan, usize::MAX, filter, &SCAN);
    let (found, way) = ask_by(plan, k, filter, &GRAPH);
    assert!(way.graphs > 0, "{way:?}");
    assert_eq!(found.len(), k.min(exact.len()));
    assert!(found.iter().all(|row| exact.contains(row)), "a similarity that is not the scan's");
    let nearest = &exact[..k.min(exact.len())];
    found.iter().filter(|row| nearest.contains(row)).count() as f64 / nearest.len().max(1) as f64
}

/// Vectors around `centres` directions, of lengths between e^-4 and e^4.
fn clustered(rows: usize, dim: usize, centres: usize) -> Vec<Row> {
    let mut numbers = Numbers(3);
    let around = numbers.vectors(centres, dim);
    let mut all = Vec::new();
    for i in 0..rows {
        let length = (4.0 * numbers.next()).exp();
        all.push(around[i % centres].iter().map(|x| (x + 0.3 * numbers.next()) * length).collect());
    }
    present(&all)
}

#[test]
fn nearly_all_neighbours_are_found_and_have_the_bits_of_the_scan() {
    let mut numbers = Numbers(1);
    let random = present(&numbers.vectors(4_000, 32));
    for (what, rows, least) in [("random", random, 0.9), ("clustered", clustered(4_000, 48, 20), 0.97)] {
        let store = store(rows, 1_500);
        let done = make(&store);
        assert_eq!((done.done, done.kept, done.left_out), (4_000, 0, 0));
        assert_eq!(make(&store), IndexProgress { kept: 4_000, vectors: 4_000, ..Default::default() });
        let mut sum = 0.0;
        for i in 0..20 {
            sum += recall(&row(&store, i * 199), 10, None);
        }
        assert!(sum / 20.0 >= least, "{what}: {}", sum / 20.0);
        let question = numbers.vector(if what == "random" { 32 } else { 48 });
        assert!(recall(&about(&store, AtHandVector::Values(wide(&question))), 100, None) >= 0.8);
    }
}

#[test]
fn rows_in_crowds_are_found_as_well() {
    // Copies, crowds of several sizes, and a direction that all have in common, as gradients have.
    let mut numbers = Numbers(11);
    let common = numbers.vector(64);
    let mut rows: Vec<Vec<f32>> = Vec::new();
    while rows.len() < 3_000 {
        let centre = numbers.vector(64);
        for i in 0..1 + numbers.below(60) {
            let width = if i % 4 == 0 { 0.0 } else { 0.4 };
            let near = centre.iter().zip(&common).map(|(x, c)| x + c + width * numbers.next());
            rows.push(near.collect());
        }
    }
    let store = store(present(&rows), usize::MAX);
    make(&store);
    let reader = store.reader();
    let graph = Graphs::new().get(&reader, &reader.segments()[0]).unwrap().unwrap();
    let mut lost = 0;
    for (row, vector) in rows.iter().enumerate() {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        let query: Vec<_> = vector.iter().map(|x| half::f16::from_f32(x / length)).collect();
        let found = graph.search(&query, 128, |_| true, u64::MAX, &GO).unwrap().unwrap();
        lost += usize::from(!found.rows.iter().any(|(_, found)| *found == row as u64));
    }
    assert!(lost * 200 <= rows.len(), "{lost} of {} rows are not found by their own vectors", rows.len());
}

#[test]
fn the_length_of_a_given_vector_does_not_matter() {
    let store = store(clustered(200, 6, 4), usize::MAX);
    let values = [0.3, -0.2, 0.9, 0.1, -0.7, 0.05];
    let ask = |length: f64| {
        let values: Vec<f64> = values.iter().map(|x| x * length).collect();
        ask_by(&about(&store, AtHandVector::Values(values)), 10, None, &SCAN).0
    };
    // Powers of two change no digit; others change the last one of the values themselves.
    for power in [-1000, -70, 0, 126, 1000] {
        assert_eq!(ask(2f64.powi(power)), ask(1.0), "2^{power}");
    }
    for length in [1e-300, 1e-20, 7.0, 1e38, 1e300] {
        let rows = |found: Vec<(u64, u32)>| found.into_iter().map(|(row, _)| row).collect::<Vec<_>>();
        assert_eq!(rows(ask(length)), rows(ask(1.0)), "{length}");
    }
}

#[test]
fn a_filter_and_deletes_leave_out_what_they_say() {
    let store = store(clustered(4_000, 24, 10), 2_000);
    make(&store);
    let rows: RowMask = (0..4_000).filter(|row| row % 7 == 3).collect();
    let filter = RowFilter::single(rows.clone());
    let plan = row(&store, 10);
    let (found, way) = ask_by(&plan, 20, Some(&filter), &GRAPH);
    assert!(way.graphs == 2 && found.iter().all(|(row, _)| rows.contains(*row)), "{way:?}");
    assert!(recall(&plan, 20, Some(&filter)) >= 0.9);
    assert!(found.iter().all(|(row, _)| *row != 10), "the row itself");

    // One in forty: the scan takes over by itself, and its answer is exact.
    let few = RowFilter::single((0..4_000).filter(|row| row % 40 == 3).collect());
    let (found, way) = ask_by(&plan, 20, Some(&few), &NearestOptions::default());
    assert_eq!((way.graphs, way.scanned), (0, 2));
    assert_eq!(found, ask_by(&plan, 20, Some(&few), &SCAN).0);
    let none = RowFilter::single(RowMask::new());
    assert_eq!(ask_by(&plan, 20, Some(&none), &GRAPH).0, []);

    let (before, _) = ask_by(&plan, 50, None, &GRAPH);
    let deleted: Vec<u64> = before.iter().map(|(row, _)| *row).step_by(2).collect();
    store.delete(deleted.iter().copied());
    let plan = row(&store, 10);
    let (after, way) = ask_by(&plan, 50, None, &GRAPH);
    assert!(way.graphs == 2 && after.iter().all(|(row, _)| !deleted.contains(row)));
    assert!(recall(&plan, 50, None) >= 0.9);
}

#[test]
fn rows_without_a_direction_are_left_out_and_counted() {
    let mut rows = clustered(300, 8, 3);
    rows[5] = Some((vec![0.0; 8], 0));
    rows[6] = Some((vec![1.0; 8], RowFlags::NO_SCORED.bits()));
    rows[7] = None;
    // So short that its similarity is 0, whatever its direction.
    rows[8] = rows[0].clone().map(|(vector, flags)| (vector.iter().map(|x| x * 1e-20).collect(), flags));
    let store = store(rows, usize::MAX);
    let done = make(&store);
    assert_eq!((done.done, done.left_out), (299, 3));
    let (found, way) = ask_by(&row(&store, 0), 100, None, &GRAPH);
    assert!(way.graphs == 1 && found.iter().all(|(row, _)| ![0, 5, 6, 7, 8].contains(row)));
    // Who wants every row gets every row that has a similarity.
    let all = ask_by(&row(&store, 0), 1_000, None, &GRAPH).0;
    assert_eq!((all.len(), &all), (297, &ask_by(&row(&store, 0), 1_000, None, &SCAN).0));
    let refused = |row| {
        Prepared::about_vector(&store.snapshot(), &spec(), AtHandVector::Row { pool: 0, row }, None)
            .err()
            .unwrap()
            .to_string()
    };
    assert!(refused(6).contains("no scored token"), "{}", refused(6));
    assert!(refused(7).contains("no vector"), "{}", refused(7));
    // A vector without a direction is no nearer to one row than to another.
    assert!(refused(5).contains("a vector of zeros"), "{}", refused(5));
}

#[test]
fn small_and_equal_vectors_make_graphs_too() {
    for (rows, dim) in [(1usize, 1usize), (2, 1), (70, 1), (3, 17), (500, 3)] {
        let same: Vec<Vec<f32>> = (0..rows).map(|i| vec![if i % 3 == 0 { -2.0 } else { 1.5 }; dim]).collect();
        let store = store(present(&same), usize::MAX);
        assert_eq!(make(&store).done, rows as u64);
        let plan = about(&store, AtHandVector::Values(vec![1.0f64; dim]));
        let (exact, _) = ask_by(&plan, 5, None, &SCAN);
        let (found, way) = ask_by(&plan, 5, None, &GRAPH);
        assert_eq!((found.len(), way.graphs + way.scanned), (exact.len(), 1));
        let scores = |rows: &[(u64, u32)]| rows.iter().map(|row| row.1).collect::<Vec<_>>();
        assert_eq!(scores(&found), scores(&exact), "{rows} rows of {dim}");
    }
    let zeros = store(present(&vec![vec![0.0; 4]; 10]), usize::MAX);
    assert_eq!(make(&zeros).left_out, 10);
    let plan = about(&zeros, AtHandVector::Values(vec![1.0; 4]));
    assert_eq!(ask_by(&plan, 5, None, &GRAPH).0, ask_by(&plan, 5, None, &SCAN).0);
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let store = store(clustered(50, 4, 2), usize::MAX);
    make(&store);
    let refused = |spec: InfluenceSpec, values: &[f32]| {
        let plan = Prepared::about_vector(&store.snapshot(), &spec, AtHandVector::Values(wide(values)), None);
        plan.err().unwrap().to_string()
    };
    for bad in [[f32::NAN, 0.0, 0.0, 0.0], [0.0, f32::INFINITY, 0.0, 0.0]] {
        assert!(refused(spec(), &bad).contains("not finite"));
    }
    assert!(refused(spec(), &[1.0; 5]).contains("has 5 values, and those of pool/embed-mean"));
    let dot = InfluenceSpec { sim: Sim::Dot, ..spec() };
    assert!(refused(dot, &[1.0; 4]).contains("a scan of dot products is exact"));
    let graph = Graphs::new();
    let reader = store.reader();
    let graph = graph.get(&reader, &reader.segments()[0]).unwrap().unwrap();
    let query = |values: &[f32]| values.iter().map(|x| half::f16::from_f32(*x)).collect::<Vec<_>>();
    for bad in [query(&[1.0; 3]), query(&[f32::NAN; 4])] {
        assert!(matches!(graph.search(&bad, 10, |_| true, u64::MAX, &GO), Err(QueryError::Graph(_))));
    }
    let stop = Cancel::raised();
    let stopped = graph.search(&query(&[0.5; 4]), 10, |_| true, u64::MAX, &stop);
    assert!(matches!(stopped, Err(QueryError::Cancelled(_))));
    // A walk that would compare more than it may gives up.
    assert_eq!(graph.search(&query(&[0.5; 4]), 50, |_| true, 3, &GO).unwrap(), None);
}

#[test]
fn rows_that_came_after_the_graph_are_scanned_and_a_stopped_build_goes_on() {
    let store = store(clustered(3_000, 16, 5), 1_000);
    let stop = Cancel::new();
    let stopped = ann::build(
        &store.store,
        &store.reader(),
        &GraphOptions { rebuild: false, threads: 1 },
        &mut |done| {
            if done.done >= 1_400 {
                stop.raise()
            }
        },
        &stop,
    );
    assert!(matches!(stopped, Err(QueryError::Cancelled(_))), "{stopped:?}");
    let names = fs_err::read_dir(store.path().join("tmp")).unwrap().map(|entry| entry.unwrap().file_name());
    let leftovers: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with("index-")).collect();
    assert!(leftovers.is_empty(), "nothing half-written: {leftovers:?}");
    let plan = row(&store, 2_500);
    let (found, way) = ask_by(&plan, 20, None, &GRAPH);
    assert_eq!((way.graphs, way.without), (1, 2));
    assert_eq!(found[..5], ask_by(&plan, 5, None, &SCAN).0[..]);
    let ranking = plan.nearest(20, None, &GRAPH, &Graphs::new(), (2, &GO)).unwrap().0;
    assert!(ranking.summary.guarantee.starts_with("approximate"));
    assert!(ranking.summary.notes.iter().any(|note| note.contains("2 segments have no graph")));
    let way_out = "a build of the hnsw index of pool/embed-mean@checkpoint-100 makes";
    assert!(ranking.summary.notes.iter().any(|note| note.contains(way_out)), "{:?}", ranking.summary.notes);
    let mut told = Vec::new();
    let options = GraphOptions { rebuild: false, threads: 1 };
    let rest =
        ann::build(&store.store, &store.reader(), &options, &mut |now| told.push(now.done), &GO).unwrap();
    assert_eq!((rest.kept, rest.done), (1_000, 2_000));
    // Also the links that are added in the end are counted: the count does not stand still there.
    assert!(told.windows(2).all(|now| now[1] - now[0] <= 32), "{told:?}");
    let summary = row(&store, 2_500).nearest(20, None, &GRAPH, &Graphs::new(), (2, &GO)).unwrap().0.summary;
    assert_eq!((summary.scanned, summary.eligible, summary.excluded.total()), (2_999, 2_999, 0));
    let found = ann::evaluate(
        &store.snapshot(),
        store.snapshot().features_of("pool")[0],
        &EvaluateOptions { queries: 12, seed: 4, ef: None, threads: 2 },
        &mut |_| {},
        &GO,
    )
    .unwrap();
    assert_eq!((found.queries, found.rows, found.without), (12, 3_000, 0));
    assert!(found.recall_at_10 >= Some(0.95) && found.recall_at_100 >= Some(0.9), "{found:?}");
}

#[test]
fn an_evaluation_draws_each_row_once_and_can_be_stopped() {
    let mut rows = clustered(60, 4, 2);
    (rows[7], rows[8]) = (Some((vec![0.0; 4], 0)), None);
    let store = store(rows, usize::MAX);
    make(&store);
    let evaluate = |stop: &Cancel| {
        let options = EvaluateOptions { queries: usize::MAX, seed: 1, ef: None, threads: 1 };
        let snapshot = store.snapshot();
        ann::evaluate(&snapshot, snapshot.features_of("pool")[0], &options, &mut |_| {}, stop)
    };
    let found = evaluate(&GO).unwrap();
    assert_eq!(found.queries, 58, "all that have a direction");
    // Of the rows that could be listed, the one without a direction is in no graph.
    assert_eq!(found.scanned, 58);
    assert!(matches!(evaluate(&Cancel::raised()), Err(QueryError::Cancelled(_))));
}

#[test]
fn the_10_nearest_are_those_of_a_search_for_10_rows() {
    let store = store(clustered(200, 16, 5), usize::MAX);
    make(&store);
    let evaluate = |queries: usize, ef: Option<usize>| {
        let options = EvaluateOptions { queries, seed: 1, ef, threads: 1 };
        let snapshot = store.snapshot();
        ann::evaluate(&snapshot, snapshot.features_of("pool")[0], &options, &mut |_| {}, &GO).unwrap()
    };
    let found = evaluate(usize::MAX, Some(1));
    assert_eq!((found.queries, found.ef_at_10, found.ef_at_100), (200, 10, 100));
    let search = NearestOptions { ef: Some(1), ..GRAPH };
    let (mut hits, mut compared) = (0, 0);
    for i in 0..200 {
        let plan = row(&store, i);
        let (nearest, way) = ask_by(&plan, 10, None, &search);
        let exact = ask_by(&plan, 10, None, &SCAN).0;
        hits += exact.iter().filter(|row| nearest.contains(row)).count();
        compared += way.compared;
    }
    assert_eq!(found.compared, compared as f64 / 200.0);
    assert!((found.recall_at_10.unwrap() - hits as f64 / 2_000.0).abs() < 1e-9, "{found:?} {hits}");
    let found = evaluate(3, None);
    assert_eq!((found.ef_at_10, found.ef_at_100), (128, 200));
}

fn found(store: &TestStore) -> IndexStatus {
    let reader = store.reader();
    ann::found(&reader, &reader.segments()[0])
}

#[test]
fn a_graph_that_cannot_be_used_is_not_counted_as_one() {
    let store = store(clustered(80, 6, 4), usize::MAX);
    assert_eq!(found(&store), IndexStatus::Missing);
    make(&store);
    assert_eq!(found(&store), IndexStatus::Usable);
    let sound = fs_err::read(index_path(&store)).unwrap();
    let mut other =
        store.reader().index(&store.reader().segments()[0], KIND).unwrap().unwrap().header().clone();
    other["space"] = "another".into();
    forge(&store, other, &[], &[]);
    assert_eq!(found(&store), IndexStatus::Unusable);
    assert!(answer(&store).is_err());
    fs_err::remove_file(index_path(&store)).unwrap();
    fs_err::write(index_path(&store), &sound[..sound.len() - 40]).unwrap();
    assert_eq!(found(&store), IndexStatus::Unusable);
    assert_eq!(make(&store).done, 80, "what is not counted is rebuilt");
    assert_eq!(found(&store), IndexStatus::Usable);
}

/// The kept input of the fuzz target: a graph without its last 32 bytes.
#[test]
#[ignore = "writes the kept input"]
fn write_a_sound_graph() {
    let store = store(clustered(50, 4, 2), usize::MAX);
    ann::build(&store.store, &store.reader(), &GraphOptions { rebuild: false, threads: 1 }, &mut |_| {}, &GO)
        .unwrap();
    let bytes = fs_err::read(index_path(&store)).unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/graph");
    fs_err::create_dir_all(&folder).unwrap();
    fs_err::write(folder.join("sound"), &bytes[..bytes.len() - 32]).unwrap();
}

fn index_path(store: &TestStore) -> std::path::PathBuf {
    let uuid = store.reader().segments()[0].uuid();
    store.path().join("indexes").join(format!("{uuid}.{KIND}"))
}

/// What a question by graphs gives, in a store whose index file was changed.
fn answer(store: &TestStore) -> Result<Vec<(u64, u32)>, QueryError> {
    let plan = row(store, 0);
    let ranking = plan.nearest(10, None, &GRAPH, &Graphs::new(), (1, &GO))?.0;
    Ok(ranking.rows.iter().map(|s| (s.row, s.score.to_bits())).collect())
}

#[test]
fn damaged_files_are_errors_that_say_what_to_do() {
    let store = store(clustered(200, 6, 4), usize::MAX);
    make(&store);
    let (path, sound) = (index_path(&store), fs_err::read(index_path(&store)).unwrap());
    let exact = ask_by(&row(&store, 0), 200, None, &SCAN).0;
    let mut numbers = Numbers(9);
    let spots = (0..256).chain((0..400).map(|_| numbers.below(sound.len())).collect::<Vec<_>>());
    let spots = spots.chain(sound.len() - 2_000..sound.len());
    let mut errors = 0;
    for at in spots {
        let mut bytes = sound.clone();
        bytes[at] ^= 1 << (at % 8);
        // A new file each time: a published one is never changed.
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, bytes).unwrap();
        match answer(&store) {
            Ok(found) => assert!(found.iter().all(|row| exact.contains(row)), "byte {at}"),
            Err(error) => {
                assert!(error.to_string().contains("a build of the "), "byte {at}: {error}");
                errors += 1;
            }
        }
    }
    // Single vectors that no search touches are not looked at.
    assert!(errors > 2_000, "{errors}");
    fs_err::remove_file(&path).unwrap();
    fs_err::write(&path, &sound[..sound.len() / 2]).unwrap();
    assert!(answer(&store).is_err());
    assert_eq!(make(&store).done, 200, "a damaged graph is rebuilt");
    assert!(answer(&store).is_ok());
}

#[test]
fn a_damaged_graph_counts_as_missing_unless_every_graph_is_asked_for() {
    let store = store(clustered(300, 6, 4), usize::MAX);
    make(&store);
    let plan = row(&store, 0);
    let few = NearestOptions { ef: Some(4), exact: None };
    let exact = ask_by(&plan, 3, None, &SCAN).0;
    let (path, sound) = (index_path(&store), fs_err::read(index_path(&store)).unwrap());
    // The first vector, which is read by a search, and the end, which is read when the file is opened.
    let mut flipped = sound.clone();
    flipped[64] ^= 1;
    let rebuild = "a build of the hnsw index of pool/embed-mean@checkpoint-100 rebuilds it";
    for damaged in [&flipped[..], &sound[..sound.len() / 2]] {
        fs_err::remove_file(&path).unwrap();
        fs_err::write(&path, damaged).unwrap();
        assert_eq!(ask_by(&plan, 3, None, &few).0, exact);
        let notes = |options: &NearestOptions| {
            let (ranking, way) = plan.nearest(3, None, options, &Graphs::new(), (1, &GO)).unwrap();
            assert_eq!(way.graphs, 0, "{way:?}");
            ranking.summary.notes
        };
        let said = |note: &String| note.contains("is damaged (") && note.ends_with(rebuild);
        assert_eq!(notes(&few).iter().filter(|note| said(note)).count(), 1, "{:?}", notes(&few));
        // So few rows are scanned with the default number of candidates.
        let small = notes(&NearestOptions::default());
        assert!(!small.iter().any(|note| note.contains("damaged")), "{small:?}");
        let error = answer(&store).unwrap_err();
        let remedy = format!("an index holds only derived data: {rebuild}, a repair removes it");
        assert!(error.is_damage() && error.to_string().contains(&remedy), "{error}");
    }
}

/// Puts sections under a header of our own in the place of the graph, with digests that agree.
fn forge(store: &TestStore, header: serde_json::Value, vectors: &[u8], graph: &[u8]) {
    let reader = store.reader();
    let mut writer = store.store.write_index(&reader.segments()[0], KIND).unwrap();
    for (name, bytes) in [("vectors", vectors), ("graph", graph)] {
        let id = writer.section(name, 64).unwrap();
        writer.append(id, bytes).unwrap();
    }
    writer.finish(header).unwrap();
}

#[test]
fn room_is_asked_for_every_graph_that_a_build_makes() {
    let store = store(clustered(120, 6, 4), usize::MAX);
    let room = |rebuild| ann::room(&store.reader(), rebuild);
    let missing = room(false);
    make(&store);
    assert_eq!(room(false), 0);
    assert!(missing > 0 && room(true) >= missing);
    // As an earlier gstore said that it had linked them: with half of the links.
    let reader = store.reader();
    let file = reader.index(&reader.segments()[0], KIND).unwrap().unwrap();
    let mut header = file.header().clone();
    header["connectivity"] = 16.into();
    forge(&store, header, &[0; 64], &[0; 64]);
    assert!(room(false) >= missing);
    make(&store);
    assert_eq!(room(false), 0);
    fs_err::remove_file(index_path(&store)).unwrap();
    fs_err::write(index_path(&store), [0]).unwrap();
    assert!(room(false) >= missing);
}

#[test]
fn forged_files_are_errors_and_never_more() {
    let store = store(clustered(120, 6, 4), usize::MAX);
    make(&store);
    let reader = store.reader();
    let file = reader.index(&reader.segments()[0], KIND).unwrap().unwrap();
    let section = |name: &str| {
        let section = file.section(name).unwrap();
        section.view(0..section.len()).unwrap().to_vec()
    };
    let (header, vectors, graph) = (file.header().clone(), section("vectors"), section("graph"));
    let exact = ask_by(&row(&store, 0), 200, None, &SCAN).0;
    let check = |what: &dyn std::fmt::Debug| match answer(&store) {
        // Whatever a graph proposes, the rows are real and scored as ever.
        Ok(found) => assert!(found.iter().all(|row| exact.contains(row)), "{what:?}"),
        Err(error) => {
            let named = "a build of the hnsw index of pool/embed-mean@checkpoint-100";
            assert!(error.to_string().contains(named), "{what:?}: {error}");
        }
    };
    forge(&store, header.clone(), &vectors, &graph);
    assert!(answer(&store).is_ok());
    for (key, value) in [
        ("version", serde_json::json!(2)),
        ("dim", serde_json::json!(7)),
        ("dim", serde_json::json!(u64::MAX)),
        ("indexed", serde_json::json!(119)),
        ("indexed", serde_json::json!(u64::MAX)),
        ("vectors", serde_json::json!(-1)),
        ("space", serde_json::json!("other")),
        ("values", serde_json::json!("f32")),
        ("metric", serde_json::json!("dot")),
    ] {
        let mut other = header.clone();
        other[key] = value.clone();
        forge(&store, other, &vectors, &graph);
        assert!(answer(&store).is_err(), "{key} {value}");
    }
    for (vectors, graph) in [(&vectors[2..], &graph[..]), (&vectors[..], &graph[..60]), (&[][..], &[][..])] {
        forge(&store, header.clone(), vectors, graph);
        assert!(answer(&store).is_err());
    }
    // Every byte of the fixed part, and words anywhere. Each try is a file that is flushed, so
    // there are not many more.
    let mut numbers = Numbers(77);
    for i in 0..180 {
        let mut bytes = graph.clone();
        if i < 110 {
            bytes[i] = [0xff, 0, bytes[i] ^ 1, bytes[i] ^ 0x80][numbers.below(4)];
        } else {
            for _ in 0..1 + numbers.below(8) {
                let at = numbers.below(bytes.len() - 4);
                let word = [u32::MAX, 0, numbers.bits() as u32][numbers.below(3)];
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
        }
        forge(&store, header.clone(), &vectors, &bytes);
        check(&i);
    }
    // Every fifth vector, of either sign.
    for bits in [0x7e01u16, 0xfe01, 0x7c00, 0xfc00] {
        let mut wild = vectors.clone();
        for vector in wild.chunks_exact_mut(12).step_by(5) {
            vector.chunks_exact_mut(2).step_by(2).for_each(|x| x.copy_from_slice(&bits.to_le_bytes()));
        }
        forge(&store, header.clone(), &wild, &graph);
        check(&format!("vectors of {bits:x}"));
        let query = [1.0, 0.5, -1.0, 0.5, 0.25, 0.5].map(half::f16::from_f32);
        let opened = Graphs::new().get(&reader, &reader.segments()[0]).unwrap().unwrap();
        let found = opened.search(&query, 120, |_| true, u64::MAX, &GO).unwrap().unwrap();
        assert!(found.rows.iter().all(|(distance, _)| !distance.is_nan()), "{bits:x}: {found:?}");
        assert!(found.rows.is_sorted_by(|a, b| a.0 <= b.0), "{bits:x}: {found:?}");
    }
}

#[test]
fn a_graph_of_another_state_of_the_segment_is_not_used() {
    let store = store(clustered(300, 6, 4), usize::MAX);
    make(&store);
    let sound = fs_err::read(index_path(&store)).unwrap();
    let other = self::store(clustered(300, 6, 5), usize::MAX);
    make(&other);
    // The other's file under this one's name says that it is of another segment.
    fs_err::remove_file(index_path(&store)).unwrap();
    fs_err::write(index_path(&store), fs_err::read(index_path(&other)).unwrap()).unwrap();
    match answer(&store) {
        Ok(found) => assert_eq!(found, ask_by(&row(&store, 0), 10, None, &SCAN).0),
        Err(error) => assert!(error.to_string().contains("a build of the "), "{error}"),
    }
    fs_err::remove_file(index_path(&store)).unwrap();
    fs_err::write(index_path(&store), sound).unwrap();
    assert!(answer(&store).is_ok());
}
