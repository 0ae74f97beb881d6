//! Promise: Gram matrices have the same bits for any threads and segments, and all answers to a
//! preconditioned question have the same scores.

use crate::common::*;
use gstore_core::Silent;
use gstore_query::QueryError;
use gstore_query::gram::{self, CheckpointGrams, FILE, GramContent, GramDataset, KIND};
use gstore_query::influence::*;
use gstore_query::matrix::{MatrixJob, MatrixOptions};
use gstore_store::{ArtifactPart, RowFlags};

/// More than a window.
pub const ROWS: usize = 700;
const GROUPS: [u32; 2] = [3, 4];

/// Whether a row is left out: it has no scored token, or no vector.
fn is_out(row: usize) -> bool {
    row % 50 == 1
}

/// By checkpoint the vectors of the pool.
fn vectors() -> Vec<Vec<Vec<f32>>> {
    let mut numbers = Numbers(11);
    (0..2).map(|_| numbers.vectors(ROWS, 7)).collect()
}

fn store(cut: usize) -> TestStore {
    let store = TestStore::new();
    store.dataset("pool", ROWS).dataset_of("val", &[Some("a"), Some("a"), Some("b")]);
    let mut numbers = Numbers(12);
    let mut features = Vec::new();
    for (c, vectors) in vectors().iter().enumerate() {
        let mut pool = Feature::new("pool", "grad-sgd", c, present(vectors));
        for (row, stored) in pool.rows.iter_mut().enumerate().filter(|(row, _)| is_out(*row)) {
            match row % 100 {
                1 => *stored = None,
                _ => stored.as_mut().unwrap().1 = RowFlags::NO_SCORED.bits(),
            }
        }
        let mut target = Feature::new("val", "grad-sgd", c, present(&numbers.vectors(3, 7)));
        (pool.groups, pool.cut, target.groups) = (GROUPS.to_vec(), cut, GROUPS.to_vec());
        features.extend([pool, target]);
    }
    store.features(&features, Some(store.run("warmup", &[Some(0.7), Some(0.3)])));
    store
}

pub fn grams(store: &TestStore, threads: usize) -> Vec<CheckpointGrams> {
    let kind = Some("grad-sgd".to_owned());
    let itself = InfluenceSpec {
        sim: Sim::Dot,
        missing: Missing::Exclude,
        pool_kind: kind.clone(),
        target_kind: kind,
        ..ask("pool", "pool")
    };
    plan(store, &itself).grams(&[], threads, &GO, &mut Silent).unwrap()
}

/// Publishes matrices of the rows that the pool has.
pub fn publish(store: &TestStore, name: &str, all: &[CheckpointGrams]) {
    let end = store.snapshot().dataset("pool").unwrap().next_row;
    let content = GramContent {
        kind: "grad-sgd".into(),
        datasets: vec![GramDataset { name: "pool".into(), end }],
        checkpoints: all.iter().map(|grams| grams.checkpoint.clone()).collect(),
        mixture: None,
    };
    put(store, name, serde_json::to_value(content).unwrap(), all);
}

fn put(store: &TestStore, name: &str, content: serde_json::Value, all: &[CheckpointGrams]) {
    let mut files = store.store.artifact_files().unwrap();
    files.write(FILE, |out| gram::write(out, all)).unwrap();
    let artifact = ArtifactPart::new(name, KIND, vec!["pool".into()], content);
    store.store.put_artifact(artifact, Some(files), None, "test").unwrap();
}

#[test]
fn sums_do_not_depend_on_threads_or_segments() {
    let expected = grams(&store(90), 1);
    assert_eq!(grams(&store(usize::MAX), 3), expected);
    let all = vectors();
    for (c, grams) in expected.iter().enumerate() {
        let used: Vec<&Vec<f32>> = (0..ROWS).filter(|row| !is_out(*row)).map(|row| &all[c][row]).collect();
        assert_eq!(grams.checkpoint.rows, used.len() as u64);
        let sum: f64 = used.iter().map(|row| f64::from(row[3]) * f64::from(row[5])).sum();
        for at in [2, 8] {
            assert!((grams.grams[1].sums[at] - sum).abs() < 1e-9, "{sum}: {:?}", grams.grams[1].sums);
        }
    }
}

#[test]
fn all_answers_to_a_preconditioned_question_agree() {
    let store = store(90);
    publish(&store, "gram", &grams(&store, 2));
    for sim in [Sim::Dot, Sim::Cosine] {
        all_answers_agree(&store, sim);
    }
}

fn all_answers_agree(store: &TestStore, sim: Sim) {
    let plain = InfluenceSpec { sim, missing: Missing::Exclude, ..ask("pool", "val") };
    let spec = InfluenceSpec { precondition: Some("gram".into()), ..plain.clone() };
    let prepared = plan(store, &spec);
    // Two checkpoints, each with a matrix of numbers of eight bytes for each group.
    let inverses = 2 * 8 * GROUPS.iter().map(|len| u64::from(len * len)).sum::<u64>();
    assert_eq!(
        (prepared.inverse_bytes().unwrap(), plan(store, &plain).inverse_bytes().unwrap()),
        (inverses, 0)
    );
    // While one is made, there are also its sums and their mean, or what a decomposition takes: on each
    // thread that has one, of the largest.
    let squares = |inversion, threads| {
        let spec = InfluenceSpec { inversion, ..spec.clone() };
        plan(store, &spec).inverse_making_bytes(threads).unwrap()
    };
    for (inversion, beside) in [(Inversion::Damped, 2), (Inversion::Pseudoinverse, 5)] {
        for (threads, largest) in [(1, 16), (3, 16 + 16 + 9), (9, 16 + 16 + 9 + 9)] {
            assert_eq!(squares(inversion, threads), inverses + 8 * beside * largest, "{inversion:?}");
        }
    }
    // A matrix takes the same more than without a preconditioner.
    let forecast = |spec| {
        let options = MatrixOptions { threads: 3, ..MatrixOptions::default() };
        MatrixJob::new(&plan(store, spec), options, &GO).unwrap().forecast().memory
    };
    let more = forecast(&spec) - forecast(&plain);
    assert_eq!(more, plan(store, &spec).inverse_making_bytes(3).unwrap());
    prepared.make_inverses(1, &GO).unwrap();
    assert_eq!(prepared.inverse_making_bytes(3).unwrap(), inverses, "they are made");
    let scores = scores(&prepared);
    assert_ne!(best(&prepared, 5), best(&plan(store, &plain), 5));

    let ranking = prepared.top_k(Order::Best, 5, None, 2, &GO).unwrap();
    for (scored, row) in ranking.rows.iter().zip(prepared.explain_rows(&ranking.rows, &GO).unwrap()) {
        assert_eq!(scored.score, scores[&(0, scored.row)].0);
        let sum: f32 = row.checkpoint_scores.iter().flatten().sum();
        assert!((sum - scored.score).abs() < 1e-4, "{sum} is not {}", scored.score);
        assert_eq!((row.stderr, row.noise_floor), (None, None));
    }
    let first = ranking.rows[0];
    let pair = prepared.pair(0, first.row, 1, &GO).unwrap().unwrap();
    assert_eq!((pair.score, pair.rank), (first.score, 1));
    assert!((pair.value - f64::from(first.score)).abs() < 1e-4, "{pair:?}");

    let tiles = prepared.tiles(u64::MAX, &GO).unwrap();
    let mut worker = TileWorker::default();
    for at in 0..tiles.len() {
        let tile = tiles.score(at, &mut worker, &GO).unwrap();
        for (row, values) in tile.rows.iter().zip(tile.scores.chunks_exact(3)) {
            let score = ((values[0] + values[1]) / 2.0).max(values[2]);
            assert!((score - scores[&(0, *row)].0).abs() < 1e-4, "{row}: {score}");
        }
    }

    assert_eq!(prepared.plan().precondition().map(|found| found.checkpoints.clone()), Some(vec![0, 1]));
}

#[test]
fn cosines_under_a_preconditioner_are_those_of_whitened_rows() {
    let stores = [store(90), store(usize::MAX)];
    let all = grams(&stores[0], 2);
    stores.iter().for_each(|store| publish(store, "gram", &all));
    let spec = |target: &str| InfluenceSpec {
        missing: Missing::Exclude,
        precondition: Some("gram".into()),
        ..ask("pool", target)
    };
    // A score is the product of unit vectors, so that of a row for itself is 1.
    let itself = InfluenceSpec { within: Within::Max, ..spec("pool") };
    let ranking = plan(&stores[0], &itself).top_k(Order::Worst, 3, None, 2, &GO).unwrap();
    assert!(ranking.rows.iter().all(|row| (row.score - 1.0).abs() < 1e-5), "{:?}", ranking.rows);

    // The same bits however segments are cut, whatever is asked for, and where there might have been a
    // sketch.
    let expected = scores(&plan(&stores[0], &spec("val")));
    assert!(expected.values().all(|score| score.0.abs() <= 1.0 + 1e-6));
    assert_eq!(scores(&plan(&stores[1], &spec("val"))), expected);
    let sketch = InfluenceSpec { mode: Mode::Sketch(SketchMode::default()), ..spec("val") };
    let sketch = plan(&stores[1], &sketch);
    for threads in [1, 3] {
        let filter = RowFilter::single((13..14).chain(200..217).chain(600..690).collect());
        let some = sketch.top_k(Order::Best, 200, Some(&filter), threads, &GO).unwrap();
        assert!(some.rows.len() > 100);
        assert!(some.rows.iter().all(|row| row.score == expected[&(0, row.row)].0));
    }
}

#[test]
fn matrices_that_have_no_inverse_or_fit_no_pool_are_refused() {
    let store = store(usize::MAX);
    let all = grams(&store, 1);
    let mut few = all.clone();
    for gram in few.iter_mut().flat_map(|grams| &mut grams.grams) {
        gram.sums.fill(1.0);
    }
    publish(&store, "few", &few);
    let mut other = all;
    other[1].checkpoint.space.projection = "another".into();
    publish(&store, "other", &other);
    let spec = |name: &str| InfluenceSpec {
        sim: Sim::Dot,
        missing: Missing::Exclude,
        precondition: Some(name.into()),
        ..ask("pool", "val")
    };
    let top = |damping: f64| {
        let prepared = plan(&store, &InfluenceSpec { damping: Some(damping), ..spec("few") });
        prepared.top_k(Order::Best, 3, None, 1, &GO).map(|ranking| ranking.rows.len())
    };
    assert_eq!(top(0.1).unwrap(), 3);
    let error = top(0.0).unwrap_err();
    assert!(matches!(error, QueryError::Curvature(_)), "{error}");
    assert!(error.to_string().contains(" at checkpoint-"), "{error}");
    assert!(error.to_string().ends_with("a larger `damping` is needed"), "{error}");
    let error = Prepared::new(&store.snapshot(), &spec("other")).err().unwrap();
    assert!(matches!(error, QueryError::Space { .. }), "{error}");
}

#[test]
fn a_module_that_a_question_leaves_out_needs_no_inverse() {
    let store = store(usize::MAX);
    let all = grams(&store, 1);
    let mut none = all.clone();
    none.iter_mut().for_each(|at| at.grams[0].sums.fill(0.0));
    publish(&store, "gram", &all);
    publish(&store, "none", &none);
    for sim in [Sim::Dot, Sim::Cosine] {
        let of = |name: &str, modules: Option<&str>| {
            let spec = InfluenceSpec {
                sim,
                missing: Missing::Exclude,
                precondition: Some(name.into()),
                modules: modules.map(|text| text.parse().unwrap()),
                ..ask("pool", "val")
            };
            plan(&store, &spec)
        };
        let (without, with) = (of("none", Some("module1")), of("gram", Some("module1")));
        assert_eq!(scores(&without), scores(&with));
        assert_eq!(without.inverse_bytes().unwrap(), 2 * 8 * 16);
        let refused = of("none", None).top_k(Order::Best, 3, None, 1, &GO).map(|ranking| ranking.rows.len());
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("module0 at checkpoint-"), "{error}");
        assert!(error.to_string().ends_with("leave the module out with `modules`"), "{error}");
    }
}

#[test]
fn a_damping_that_outweighs_the_curvature_is_noted() {
    let store = store(90);
    publish(&store, "gram", &grams(&store, 1));
    let (flat, zero) = ("product without curvature", "every score is 0");
    for (inversion, damping, says) in [
        (Inversion::Damped, 1e9, Some(flat)),
        (Inversion::Damped, 1e3, None),
        (Inversion::Absolute, 1e9, Some(flat)),
        (Inversion::Absolute, 1.0, None),
        (Inversion::Pseudoinverse, 1e9, Some(zero)),
        (Inversion::Pseudoinverse, 1e-3, None),
    ] {
        let spec = InfluenceSpec {
            sim: Sim::Dot,
            missing: Missing::Exclude,
            precondition: Some("gram".into()),
            inversion,
            damping: Some(damping),
            ..ask("pool", "val")
        };
        let notes = plan(&store, &spec).top_k(Order::Best, 3, None, 2, &GO).unwrap().summary.notes;
        let noted: Vec<&String> = notes.iter().filter(|note| note.starts_with("a damping of")).collect();
        match says {
            Some(says) => assert!(noted.len() == 1 && noted[0].contains(says), "{inversion:?}: {notes:?}"),
            None => assert!(noted.is_empty(), "{inversion:?}: {notes:?}"),
        }
    }
}

/// A description as it was before there were rows in it; the file of matrices is as it is now.
#[test]
fn matrices_that_do_not_say_which_rows_they_are_of_are_used_with_a_note() {
    let store = store(90);
    let all = grams(&store, 2);
    publish(&store, "gram", &all);
    let checkpoint = |grams: &CheckpointGrams| {
        let own = &grams.checkpoint;
        serde_json::json!({
            "name": own.name, "id": own.id, "space": own.space, "groups": own.groups, "rows": own.rows
        })
    };
    let content = serde_json::json!({
        "kind": "grad-sgd",
        "datasets": [{"name": "pool", "end": ROWS}],
        "checkpoints": all.iter().map(checkpoint).collect::<Vec<_>>()
    });
    put(&store, "old", content, &all);
    let of = |name: &str| {
        let spec = InfluenceSpec {
            sim: Sim::Dot,
            missing: Missing::Exclude,
            precondition: Some(name.into()),
            ..ask("pool", "val")
        };
        plan(&store, &spec)
    };
    let (old, new) = (of("old"), of("gram"));
    assert_eq!(scores(&old), scores(&new));
    let says = |plan: &Prepared| plan.notes().iter().any(|note| note.contains("which rows of `pool`"));
    assert!(says(&old) && !says(&new), "{:?} {:?}", old.notes(), new.notes());
}
