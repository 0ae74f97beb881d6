//! Promise: stored rows under stored Gram matrices have the scores of bergson's TrackStar and of TRAK.

use crate::common::*;
use crate::precondition::publish;
use crate::tensors::{self, Tensors};
use gstore_core::Silent;
use gstore_curvature::{Gram, MixtureBalance, mixture};
use gstore_query::gram::CheckpointGrams;
use gstore_query::influence::*;
use serde_json::Value;

/// Of the largest score: rows and queries are multiplied in f32.
const TOLERANCE: f64 = 1e-5;

/// A case of the manifest with its tensors, if it is there.
fn case(name: &str) -> Option<(Value, Tensors)> {
    let folder = golden("precond")?;
    let case = support::precond_case(&folder, name)?;
    let file = folder.join(case["files"]["data"].as_str().unwrap());
    Some((case, tensors::read(&file)))
}

/// The rows of a tensor `[rows, dim]`, or of the one at `checkpoint` of several.
fn rows((shape, values): &(Vec<usize>, Vec<f64>), checkpoint: usize) -> Vec<Vec<f32>> {
    let (count, dim) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let own = &values[checkpoint * count * dim..(checkpoint + 1) * count * dim];
    own.chunks_exact(dim).map(|row| row.iter().map(|x| *x as f32).collect()).collect()
}

/// Rows of the pool and of the target.
type Sides = (Vec<Vec<f32>>, Vec<Vec<f32>>);

/// A store with both sides at each checkpoint.
fn store(sides: &[Sides], groups: &[u32]) -> TestStore {
    let store = TestStore::with(&[("pool", sides[0].0.len()), ("val", sides[0].1.len())]);
    let mut features = Vec::new();
    for (c, (pool, target)) in sides.iter().enumerate() {
        for (dataset, vectors) in [("pool", pool), ("val", target)] {
            let mut feature = Feature::new(dataset, "grad-sgd", c, present(vectors));
            feature.groups = groups.to_vec();
            features.push(feature);
        }
    }
    store.features(&features, Some(store.run("run", &vec![Some(1.0); sides.len()])));
    store
}

fn grams(store: &TestStore, dataset: &str) -> Vec<CheckpointGrams> {
    let itself = InfluenceSpec { sim: Sim::Dot, ..ask(dataset, dataset) };
    plan(store, &itself).grams(&[], 2, &GO, &mut Silent).unwrap()
}

/// The scores of a question, `[query, train]`, each times a factor of its row.
fn of_question(store: &TestStore, spec: &InfluenceSpec, factor: impl Fn(usize) -> f64) -> Vec<f64> {
    let prepared = plan(store, spec);
    let tiles = prepared.tiles(u64::MAX, &GO).unwrap();
    let (queries, mut worker) = (tiles.samples().len(), TileWorker::default());
    let mut by_row = Vec::new();
    for at in 0..tiles.len() {
        by_row.extend(tiles.score(at, &mut worker, &GO).unwrap().scores);
    }
    let count = by_row.len() / queries;
    let score = |query: usize| {
        let by_row = &by_row;
        let factor = &factor;
        (0..count).map(move |row| f64::from(by_row[row * queries + query]) * factor(row))
    };
    (0..queries).flat_map(score).collect()
}

/// Compares scores: they may be apart by ten times what the library in float32 is from these, if that is known.
fn assert_close(found: &[f64], expected: &[f64], library: Option<f64>, of: &str) {
    assert_eq!(found.len(), expected.len(), "{of}");
    let largest = expected.iter().fold(0.0_f64, |most, x| most.max(x.abs()));
    let tolerance = library.map_or(TOLERANCE, |apart| TOLERANCE.max(10.0 * apart));
    // Each by itself: a maximum leaves out what is not a number.
    for (at, (x, y)) in found.iter().zip(expected).enumerate() {
        let apart = (x - y).abs();
        assert!(apart <= tolerance * largest, "{of}: {at}: {apart:e} of {largest:e}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_precond_of_stored_rows() {
    let Some((case, tensors)) = case("projected") else { return };
    let number = |block: &Value, key: &str| block[key].as_u64().unwrap();
    let mut blocks: Vec<&Value> = case["blocks"].as_array().unwrap().iter().collect();
    blocks.sort_by_key(|block| number(block, "offset"));
    let sizes: Vec<u32> = blocks.iter().map(|block| number(block, "size") as u32).collect();
    let sides = (rows(&tensors["train.gradients"], 0), rows(&tensors["query.gradients"], 0));
    let store = store(&[sides], &sizes);
    let (train, query) = (grams(&store, "pool"), grams(&store, "val"));
    for (name, all) in [("train", &train), ("query", &query)] {
        publish(&store, name, all);
    }
    for (name, mixing) in case["mixing"].as_object().into_iter().flatten() {
        let blocks: Vec<(&str, &Gram, &Gram)> = train[0]
            .grams
            .iter()
            .zip(&query[0].grams)
            .map(|(train, query)| ("block", train, query))
            .collect();
        let components = mixing["target_components"].as_u64().unwrap() as usize;
        let share = MixtureBalance::new(&blocks).unwrap().share(components).unwrap();
        let mut checkpoint = train[0].checkpoint.clone();
        checkpoint.rows = 1;
        publish(&store, name, &[CheckpointGrams { checkpoint, grams: mixture(&blocks, share).unwrap() }]);
    }
    let mut compared = 0;
    for (name, entry) in case["scores"].as_object().unwrap() {
        let Some((_, expected)) = tensors.get(&format!("formula.{name}")) else { continue };
        let inversion = match entry["inversion"].as_str().unwrap() {
            "damped_inverse" => Inversion::Damped,
            "absolute_damped_inverse" => Inversion::Absolute,
            "tikhonov_filtered" => Inversion::Tikhonov,
            "pseudoinverse" => Inversion::Pseudoinverse,
            other => panic!("{name}: no inversion {other}"),
        };
        let precondition = entry["hessian"].as_str().map(str::to_owned);
        let damping = precondition.as_ref().and_then(|_| entry["damping"].as_f64());
        let sim = if entry["cosine"].as_bool().unwrap() { Sim::Cosine } else { Sim::Dot };
        let spec = InfluenceSpec { sim, precondition, damping, inversion, ..ask("pool", "val") };
        let found = of_question(&store, &spec, |_| 1.0);
        let library = entry["library_f32_vs_formula_f64"][0].as_f64();
        assert_close(&found, expected, library, name);
        compared += 1;
    }
    assert!(compared > 0, "no score of the reference could be compared");
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_precond_of_stored_models() {
    let Some((case, tensors)) = case("trak") else { return };
    let models = tensors["phi"].0[0];
    let sides: Vec<_> = (0..models).map(|c| (rows(&tensors["phi"], c), rows(&tensors["psi"], c))).collect();
    let (store, count) = (store(&sides, &[]), sides[0].0.len());
    publish(&store, "trak", &grams(&store, "pool"));
    let q = &tensors["q"].1;
    let mean_q = |row: usize| (0..models).map(|c| q[c * count + row]).sum::<f64>() / models as f64;
    let mut compared = 0;
    for (suffix, ridge) in [("", Some(0.0)), (".ridge", case["ridge"].as_f64())] {
        let expected = tensors.get(&format!("score.paper{suffix}"));
        let Some((ridge, (_, expected))) = ridge.zip(expected) else { continue };
        let spec = InfluenceSpec {
            sim: Sim::Dot,
            precondition: Some("trak".into()),
            inversion: Inversion::Absolute,
            damping: Some(ridge / count as f64),
            ..ask("pool", "val")
        };
        let found = of_question(&store, &spec, |row| mean_q(row) / count as f64);
        let library =
            case["measured"]["library_f32_vs_normalised_f64"][format!("library{suffix}")][0].as_f64();
        assert_close(&found, expected, library, suffix);
        compared += 1;
    }
    assert!(compared > 0, "no score of the reference could be compared");
}
