//! Promise: signs of rows in an eigenbasis count by the magnitudes that its eigenvalues let expect, in every
//! answer, and no other rows change.

use crate::common::sketches::{sketched, sketches};
use crate::common::*;
use gstore_core::correlation::spearman;
use gstore_query::eigen::{self, EigenSpace, EigenSpaceBlock};
use gstore_query::influence::*;
use gstore_store::{ArtifactPart, DType};

const ROWS: usize = 300;

/// Eigenvalues of a module, with a damping of 1: few far above it, and many far below.
const SPECTRUM: [(usize, f64); 2] = [(16, 9.0), (384, 1e-3)];
const MODULE: usize = 400;
const DIM: usize = 2 * MODULE;

fn eigenvalues() -> Vec<f64> {
    SPECTRUM.iter().flat_map(|(count, value)| std::iter::repeat_n(*value, *count)).collect()
}

/// What a sign stands for, in units of the mean magnitude: `s / mean s` with `s = sqrt(L / (L + 1))`, twice.
fn magnitudes() -> Vec<f64> {
    let spreads: Vec<f64> = eigenvalues().iter().map(|value| (value / (value + 1.0)).sqrt()).collect();
    let mean = spreads.iter().sum::<f64>() / MODULE as f64;
    spreads.iter().map(|spread| spread / mean).collect::<Vec<_>>().repeat(2)
}

/// Whitened rows, each longer or shorter in each module.
fn rows() -> Vec<Vec<f32>> {
    let mut numbers = Numbers(41);
    let mut rows = numbers.vectors(ROWS, DIM);
    let magnitudes = magnitudes();
    for row in &mut rows {
        for (module, magnitudes) in row.chunks_exact_mut(MODULE).zip(magnitudes.chunks_exact(MODULE)) {
            let length = 1.0 + 0.5 * numbers.next();
            module.iter_mut().zip(magnitudes).for_each(|(x, magnitude)| *x *= length * *magnitude as f32);
        }
    }
    rows
}

fn targets() -> Vec<Vec<f32>> {
    Numbers(42).vectors(3, DIM)
}

fn projection() -> String {
    "e".repeat(64)
}

/// A pool and targets of these types, and the pool's rows once more in f32.
fn store((rows, dtype): (&[Vec<f32>], DType), (targets, of_targets): (&[Vec<f32>], DType)) -> TestStore {
    let store = TestStore::new();
    store.dataset("pool", ROWS).dataset("whole", ROWS).dataset_of("val", &[Some("a"), Some("a"), Some("b")]);
    let of = |dataset: &str, vectors: &[Vec<f32>], dtype: DType| {
        let mut feature = Feature::new(dataset, "grad-sgd", 0, present(vectors));
        (feature.dtype, feature.cut, feature.groups) = (dtype, 90, vec![MODULE as u32; 2]);
        feature.projection = projection();
        feature.change = |attrs| {
            attrs.provenance.insert("projection".to_owned(), serde_json::json!("ekfac 400"));
        };
        feature
    };
    let features = [of("pool", rows, dtype), of("whole", rows, DType::F32), of("val", targets, of_targets)];
    store.features(&features, Some(store.run("warmup", &[Some(1.0)])));
    store
}

/// The same with the eigenvalues of the coordinates.
fn known(pool: (&[Vec<f32>], DType), targets: (&[Vec<f32>], DType)) -> TestStore {
    let store = store(pool, targets);
    let block =
        |at: usize| EigenSpaceBlock { module: format!("module{at}"), len: MODULE as u64, damping: 1.0 };
    let blocks = vec![block(0), block(1)];
    let space = EigenSpace { projection: projection(), factors: "fit".into(), number: 1, blocks };
    let name = EigenSpace::artifact(&projection());
    let part = ArtifactPart::new(&name, eigen::KIND, Vec::new(), serde_json::to_value(&space).unwrap());
    let mut files = store.store.artifact_files().unwrap();
    let values = eigenvalues();
    files.write(eigen::FILE, |out| eigen::write(out, [&values[..], &values[..]])).unwrap();
    store.store.put_artifact_with(part, files, None, "test").unwrap();
    store
}

/// What a dataset has stored.
fn stored(store: &TestStore, dataset: &str, rows: usize) -> Vec<Vec<f32>> {
    let snapshot = store.snapshot();
    let reader = snapshot.open_feature(snapshot.features_of(dataset)[0]).unwrap();
    (0..rows as u64).map(|row| reader.row(row).unwrap().unwrap().vector).collect()
}

/// Signs times what they stand for.
fn decoded(stored: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let magnitudes = magnitudes();
    let of =
        |row: &Vec<f32>| row.iter().zip(&magnitudes).map(|(x, magnitude)| x * *magnitude as f32).collect();
    stored.iter().map(of).collect()
}

fn dot(target: &str) -> InfluenceSpec {
    InfluenceSpec { sim: Sim::Dot, ..ask("pool", target) }
}

#[test]
fn they_rank_as_whole_rows_do_with_any_damping() {
    let (rows, targets) = (rows(), targets());
    let store = known((&rows, DType::I1), (&targets, DType::F32));
    let signs = stored(&store, "pool", ROWS);
    let spectrum = eigenvalues().repeat(2);
    for (damping, gain) in [(None, 0.4), (Some(0.1), 0.05)] {
        // The scores of whole rows under the damping, in f64.
        let exact = |rows: &[Vec<f32>]| -> Vec<f64> {
            let of = |row: &Vec<f32>| -> f64 {
                let pairs = row.iter().zip(&targets[2]).zip(&spectrum);
                let product = |((x, q), value): ((&f32, &f32), &f64)| {
                    f64::from(*x) * f64::from(*q) * (value + 1.0) / (value + damping.unwrap_or(1.0))
                };
                pairs.map(product).sum()
            };
            rows.iter().map(of).collect()
        };
        let (whole, plain) = (exact(&rows), exact(&signs));
        let found = scores(&plan(&store, &InfluenceSpec { damping, ..dot("val:b") }));
        let found: Vec<f64> = found.values().map(|(score, _)| f64::from(*score)).collect();
        let [found, plain] = [found, plain].map(|scores| spearman(&scores, &whole).unwrap());
        assert!(
            found > 0.75 && found > plain + gain,
            "{found}, and {plain} of plain signs, with {damping:?}"
        );
    }
}

/// Both give the same answers but for rounding: the one multiplies queries, the other has rows of these
/// values.
#[test]
fn all_answers_are_those_of_rows_with_these_magnitudes() {
    let (rows, targets) = (rows(), targets());
    let signs = known((&rows, DType::I1), (&targets, DType::I1));
    let (of_pool, of_val) = (decoded(&stored(&signs, "pool", ROWS)), decoded(&stored(&signs, "val", 3)));
    let plain = known((&of_pool, DType::F32), (&of_val, DType::F32));
    let damping = Some(0.1);
    let specs = [
        dot("val"),
        InfluenceSpec { modules: Some("module0=0.25,module1".parse().unwrap()), ..dot("val") },
        InfluenceSpec { damping, ..dot("val") },
        InfluenceSpec { within: Within::Max, ..dot("val") },
        InfluenceSpec { fold: Fold::Mean, ..dot("val") },
        // Lengths are taken of the values only under another damping.
        InfluenceSpec { damping, sim: Sim::Cosine, ..dot("val") },
    ];
    for spec in &specs {
        let (signs, plain) = (plan(&signs, spec), plan(&plain, spec));
        let (found, wanted) = (scores(&signs), scores(&plain));
        assert_eq!(found.len(), ROWS);
        let largest = wanted.values().fold(0.0f32, |most, (score, _)| most.max(score.abs()));
        for (row, (score, _)) in &found {
            let want = wanted[row].0;
            assert!((score - want).abs() <= 1e-4 * largest, "{row:?}: {score} is not {want} by {spec:?}");
        }
        let ranking = signs.top_k(Order::Best, 3, None, 2, &GO).unwrap();
        for (scored, row) in ranking.rows.iter().zip(signs.explain_rows(&ranking.rows, &GO).unwrap()) {
            let sum: f32 = row.checkpoint_scores.iter().flatten().sum();
            assert!((sum - scored.score).abs() <= 1e-4 * largest, "{sum} is not {}", scored.score);
        }
        let first = ranking.rows[0];
        let pair = signs.pair(0, first.row, 1, &GO).unwrap().unwrap();
        assert_eq!((pair.score, pair.rank), (first.score, 1));
        assert!((pair.value - f64::from(first.score)).abs() <= 1e-4 * f64::from(largest), "{pair:?}");
    }
    let own = InfluenceSpec { damping, ..dot("val") };
    let of = |store: &TestStore| plan(store, &own).top_k_self(Order::Best, ROWS, None, 2, &GO).unwrap().rows;
    let wanted = of(&plain);
    for found in of(&signs) {
        let want = wanted.iter().find(|scored| scored.row == found.row).unwrap();
        assert!((found.score - want.score).abs() <= 1e-4 * want.score, "{found:?} is not {want:?}");
    }
}

#[test]
fn a_sketch_gives_the_exact_answer() {
    let store = known((&rows(), DType::I1), (&targets(), DType::F32));
    let wanted = best(&plan(&store, &dot("val")), 20);
    let mode = Mode::Sketch(SketchMode { certified: true, ..SketchMode::default() });
    let sketch = sketched(&store, &dot("val"), mode, &sketches(&store, "pool", 1));
    assert_eq!(best(&sketch, 20), wanted);
}

#[test]
fn rows_of_other_types_keep_their_bits_also_beside_a_pool_of_signs() {
    let (rows, targets) = (rows(), targets());
    let of = |name: &str| InfluenceSpec { pools: vec![name.into()], ..dot("val") };
    for dtype in [DType::F16, DType::I8] {
        let pool = (&rows[..], dtype);
        let plain = store(pool, (&targets, DType::F32));
        assert_eq!(
            scores(&plan(&known(pool, (&targets, DType::F32)), &of("pool"))),
            scores(&plan(&plain, &of("pool")))
        );
    }
    let signs = known((&rows, DType::I1), (&targets, DType::F32));
    let plain = store((&rows, DType::I1), (&targets, DType::F32));
    let whole = scores(&plan(&plain, &of("whole")));
    assert_eq!(scores(&plan(&signs, &of("whole"))), whole);
    let alone = scores(&plan(&signs, &of("pool")));
    for pools in [["pool", "whole"], ["whole", "pool"]] {
        let both = InfluenceSpec { pools: pools.map(str::to_owned).to_vec(), ..dot("val") };
        for ((pool, row), score) in scores(&plan(&signs, &both)) {
            let expected = if pools[pool as usize] == "pool" { &alone } else { &whole };
            assert_eq!(score, expected[&(0, row)]);
        }
    }
}

#[test]
fn signs_of_unknown_spread_are_said_to_count_alike() {
    let (rows, targets) = (rows(), targets());
    let says = |store: &TestStore, spec: &InfluenceSpec| {
        plan(store, spec).notes().iter().any(|note| note.contains("count alike"))
    };
    let whole = InfluenceSpec { pools: vec!["whole".into()], ..dot("val") };
    let plain = store((&rows, DType::I1), (&targets, DType::F32));
    assert!(says(&plain, &dot("val")) && !says(&plain, &whole));
    assert!(!says(&known((&rows, DType::I1), (&targets, DType::F32)), &dot("val")));
}
