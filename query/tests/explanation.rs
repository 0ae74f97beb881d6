//! Promise: what is said to stand behind a score adds up to it, and the standard error and the noise floor
//! are as large as the noise is.

use crate::common::world::*;
use crate::common::*;
use gstore_core::Cancel;
use gstore_query::influence::*;
use gstore_store::{DType, Space};

fn sim(spec: &InfluenceSpec, a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    match spec.sim {
        Sim::Dot => dot(a, b),
        Sim::Cosine => dot(a, b) / (dot(a, a).sqrt().max(1e-12) * dot(b, b).sqrt().max(1e-12)),
    }
}

fn check(world: &World, store: &TestStore, spec: &InfluenceSpec) {
    let plan = plan(store, spec);
    let Ok(ranking) = plan.top_k(Order::Best, 1000, None, 1, &GO) else { return };
    if world.cancels(spec) {
        return;
    }
    let magnitude = world.magnitude(spec).max(1e-30);
    let explained = plan.explain_rows(&ranking.rows, &GO).unwrap();
    let backwards: Vec<Scored> = ranking.rows.iter().rev().copied().collect();
    let again = plan.explain_rows(&backwards, &GO).unwrap();
    assert!(explained.iter().eq(again.iter().rev()), "an explanation depends on its row alone");
    assert_eq!(explained.len(), ranking.rows.len());
    let total: f64 = world.weights.iter().sum();
    for (scored, found) in ranking.rows.iter().zip(&explained) {
        let row = scored.row as usize;
        let here: Vec<usize> = (0..world.weights.len()).filter(|c| world.pool[*c][row].is_some()).collect();
        let share: f64 = here.iter().map(|c| world.weights[*c]).sum();
        assert!((share - total).abs() < 1e-12 || spec.missing == Missing::Renormalise);
        for (c, part) in found.checkpoint_scores.iter().enumerate() {
            assert_eq!(part.is_some(), here.contains(&c));
        }
        let sum: f64 = found.checkpoint_scores.iter().flatten().map(|part| f64::from(*part)).sum();
        assert!(
            (sum - f64::from(scored.score)).abs() <= 2e-6 * magnitude,
            "{spec:?}: {sum} is not {}",
            scored.score
        );
        // Similarity with each target sample, written down directly.
        let with = |q: usize| -> f64 {
            let at = |c: &usize| {
                let (x, y) = (world.pool[*c][row].as_ref().unwrap(), world.target[*c][q].as_ref().unwrap());
                world.weights[*c] / share * sim(spec, &x.0, &y.0)
            };
            here.iter().map(at).sum()
        };
        let largest = (0..world.subtasks.len()).map(with).fold(f64::NEG_INFINITY, f64::max);
        let tolerance =
            2e-6 * world.magnitude(&InfluenceSpec { fold: Fold::None, ..spec.clone() }).max(1e-30);
        assert!((f64::from(found.nearest_score) - largest).abs() <= tolerance);
        assert!((with(found.nearest.row as usize) - largest).abs() <= tolerance);
        assert_eq!((found.stderr, found.noise_floor), (None, None), "nothing was projected");
    }
}

#[test]
fn parts_add_up_and_the_nearest_sample_is_found_whatever_the_terms() {
    for seed in 0..12 {
        let world = world(seed).normal();
        let store = world.store(DType::F32);
        for spec in questions() {
            check(&world, &store, &spec);
        }
    }
}

#[test]
fn a_part_is_that_of_its_checkpoint() {
    let world = (100..).map(|seed| world(seed).normal()).find(|w| w.weights.len() == 3).unwrap();
    let store = world.store(DType::F32);
    // One target sample: the part is the weight times the similarity.
    let spec = InfluenceSpec { missing: Missing::Exclude, within: Within::Max, ..ask("pool", "val") };
    let plan = plan(&store, &spec);
    let rows = plan.top_k(Order::Best, 100, None, 1, &GO).unwrap().rows;
    let total: f64 = world.weights.iter().sum();
    for (scored, found) in rows.iter().zip(plan.explain_rows(&rows, &GO).unwrap()) {
        // With max within and across, the nearest sample decides.
        assert!((found.nearest_score - scored.score).abs() < 1e-6);
        let (row, q) = (scored.row as usize, found.nearest.row as usize);
        for (c, part) in found.checkpoint_scores.iter().enumerate() {
            let (x, y) = (world.pool[c][row].as_ref().unwrap(), world.target[c][q].as_ref().unwrap());
            let want = world.weights[c] / total * sim(&spec, &x.0, &y.0);
            assert!((f64::from(part.unwrap()) - want).abs() < 1e-6);
        }
    }
}

#[test]
fn rows_that_are_no_answer_are_refused() {
    let world = world(3).normal();
    let store = world.store(DType::F32);
    let spec = InfluenceSpec { missing: Missing::Exclude, ..ask("pool", "val") };
    let plan = plan(&store, &spec);
    assert!(plan.explain_rows(&[], &GO).unwrap().is_empty());
    let good = plan.top_k(Order::Best, 1, None, 1, &GO).unwrap().rows[0];
    for bad in [
        Scored { row: 1_000_000, ..good },
        Scored { pool: 7, ..good },
        Scored { pos: Some(3), ..good },
        Scored { subtask: NO_SUBTASK, ..good },
    ] {
        let error = plan.explain_rows(&[bad], &GO).unwrap_err().to_string();
        assert!(error.contains("not an answer"), "{error}");
    }
}

const TRUE_DIM: usize = 300;
const DIM: usize = 192;
const CHECKPOINTS: usize = 2;

/// A dense projection with random signs, the same at every checkpoint.
fn project(seed: u64, vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut numbers = Numbers(seed);
    let scale = (1.0 / DIM as f32).sqrt();
    let matrix: Vec<Vec<f32>> = (0..DIM)
        .map(|_| (0..TRUE_DIM).map(|_| if numbers.bits() & 1 == 0 { scale } else { -scale }).collect())
        .collect();
    vectors
        .iter()
        .map(|v| matrix.iter().map(|line| line.iter().zip(v).map(|(a, b)| a * b).sum()).collect())
        .collect()
}

/// Vectors that have `common` of a direction of their subtask and `own` of one that all checkpoints share.
fn mixed(numbers: &mut Numbers, rows: usize, direction: &[f32], common: f32) -> Vec<Vec<Vec<f32>>> {
    let own = numbers.vectors(rows, TRUE_DIM);
    (0..CHECKPOINTS)
        .map(|_| {
            own.iter()
                .map(|own| {
                    let fresh = numbers.vector(TRUE_DIM);
                    let length = 0.5 + f32::abs(numbers.next()) * 4.0;
                    let all = own.iter().zip(&fresh).zip(direction);
                    all.map(|((own, fresh), direction)| length * (own + 0.5 * fresh + common * direction))
                        .collect()
                })
                .collect()
        })
        .collect()
}

/// What was counted of a question over the rows of all seeds.
#[derive(Default)]
struct Coverage {
    within_one: usize,
    within_two: usize,
    count: usize,
    /// Squares of error over floor.
    squares: f64,
}

impl Coverage {
    fn shares(&self) -> (f64, f64, f64) {
        let n = self.count as f64;
        (self.within_one as f64 / n, self.within_two as f64 / n, (self.squares / n).sqrt())
    }
}

/// Compares the scores of projected rows with those of the rows themselves. `rows` of a seed share its
/// projection, so where they have much in common their errors do too.
fn simulate(specs: &[InfluenceSpec], common: f32, seeds: u64, rows: usize) -> Vec<Coverage> {
    let mut found: Vec<Coverage> = specs.iter().map(|_| Coverage::default()).collect();
    for seed in 0..seeds {
        let mut numbers = Numbers(seed * 7919 + 1);
        let direction = numbers.vector(TRUE_DIM);
        let pool = mixed(&mut numbers, rows, &direction, common);
        let target = mixed(&mut numbers, 6, &direction, 0.7);
        let store = TestStore::new();
        let subtasks = [Some("a"), Some("a"), Some("a"), Some("b"), Some("b"), Some("b")];
        store.dataset("pool", rows).dataset_of("val", &subtasks);
        let mut features = Vec::new();
        for c in 0..CHECKPOINTS {
            for (dataset, kind, vectors) in [("pool", "grad-adam", &pool[c]), ("val", "grad-sgd", &target[c])]
            {
                let mut feature = Feature::new(dataset, kind, c, present(&project(seed, vectors)));
                feature.projection = "signs".into();
                features.push(feature);
            }
        }
        store.features(&features, Some(store.run("warmup", &[Some(0.6), Some(0.4)])));
        for (spec, coverage) in specs.iter().zip(&mut found) {
            let plan = plan(&store, spec);
            let ranked = plan.top_k(Order::Best, rows, None, 1, &GO).unwrap().rows;
            for (scored, found) in ranked.iter().zip(plan.explain_rows(&ranked, &GO).unwrap()) {
                let row = scored.row as usize;
                let of_subtask = |s: usize| {
                    let with = |q: usize| {
                        let at = |c: usize| sim(spec, &pool[c][row], &target[c][q]);
                        0.6 * at(0) + 0.4 * at(1)
                    };
                    let sum: f64 = (s * 3..s * 3 + 3).map(with).sum();
                    if spec.within == Within::Mean { sum / 3.0 } else { sum }
                };
                // Which subtask decides is taken as given.
                let truth = match spec.across {
                    Across::Max | Across::Min => of_subtask(scored.subtask as usize),
                    Across::Mean => (of_subtask(0) + of_subtask(1)) / 2.0,
                    Across::Sum => of_subtask(0) + of_subtask(1),
                };
                let error = f64::from(scored.score) - truth;
                let (stderr, floor) =
                    (f64::from(found.stderr.unwrap()), f64::from(found.noise_floor.unwrap()));
                coverage.within_one += usize::from(error.abs() <= stderr);
                coverage.within_two += usize::from(error.abs() <= 2.0 * stderr);
                coverage.squares += (error / floor) * (error / floor);
                coverage.count += 1;
            }
        }
    }
    found
}

#[test]
fn the_standard_error_covers_as_often_as_stated() {
    let specs = [
        (Sim::Cosine, Within::Mean, Across::Mean),
        (Sim::Dot, Within::Sum, Across::Sum),
        (Sim::Cosine, Within::Mean, Across::Max),
    ]
    .map(|(sim, within, across)| InfluenceSpec { sim, within, across, ..ask("pool", "val") });
    for (common, seeds, rows, slack) in [(0.0, 10, 120, 0.05), (0.7, 40, 20, 0.08), (3.0, 100, 3, 0.12)] {
        for (spec, coverage) in specs.iter().zip(simulate(&specs, common, seeds, rows)) {
            let (one, two, floor) = coverage.shares();
            let InfluenceSpec { sim, within, across, .. } = spec;
            println!(
                "{sim} {within} {across}, common {common}: {one:.3} within one, {two:.3} within two, {floor:.3} floors"
            );
            // Student's t with 15 degrees of freedom: 66.7 % and 93.6 %. A maximum takes the larger
            // error of the two subtasks.
            let slack = slack + if *across == Across::Max { 0.05 } else { 0.0 };
            assert!((one - 0.667).abs() < slack, "{spec:?} {common}: {one} within one");
            assert!((two - 0.936).abs() < slack, "{spec:?} {common}: {two} within two");
            if common == 0.0 && *across != Across::Max {
                assert!((floor - 1.0).abs() < 0.12, "{spec:?}: unrelated rows deviate by {floor} floors");
            }
        }
    }
}

#[test]
fn too_few_coordinates_have_a_floor_and_no_standard_error() {
    let mut numbers = Numbers(8);
    let mut features = gradients(&numbers.vectors(3, 31), &numbers.vectors(1, 31));
    features.iter_mut().for_each(|f| f.projection = "signs".into());
    let store = TestStore::of(&features);
    let plan = plan(&store, &ask("pool", "val"));
    let rows = plan.top_k(Order::Best, 3, None, 1, &GO).unwrap().rows;
    for found in plan.explain_rows(&rows, &GO).unwrap() {
        // One target sample and checkpoint: the cosine of unrelated directions.
        assert!((found.noise_floor.unwrap() - (1.0f32 / 31.0).sqrt()).abs() < 1e-6);
        assert_eq!(found.stderr, None);
    }
}

#[test]
fn of_vectors_from_elsewhere_no_noise_is_known() {
    let mut numbers = Numbers(10);
    let mut features = gradients(&numbers.vectors(40, 64), &numbers.vectors(3, 64));
    features.iter_mut().for_each(|f| f.projection = format!("{}x", Space::EXTERNAL));
    let store = TestStore::of(&features);
    let plan = plan(&store, &ask("pool", "val"));
    let rows = plan.top_k(Order::Best, 40, None, 1, &GO).unwrap().rows;
    for found in plan.explain_rows(&rows, &GO).unwrap() {
        assert_eq!((found.stderr, found.noise_floor), (None, None));
    }
    assert!(plan.part_scores(&rows, &GO).unwrap().is_none());
}

#[test]
fn a_pair_has_the_noise_of_its_row_and_explaining_can_be_stopped() {
    let mut numbers = Numbers(9);
    let mut features = gradients(&numbers.vectors(40, 64), &numbers.vectors(3, 64));
    features.iter_mut().for_each(|f| f.projection = "signs".into());
    let store = TestStore::of(&features);
    let plan = plan(&store, &ask("pool", "val"));
    let rows = plan.top_k(Order::Best, 40, None, 1, &GO).unwrap().rows;
    let found = plan.explain_rows(&rows, &GO).unwrap();
    for (scored, found) in rows.iter().zip(&found).step_by(7) {
        let pair = plan.pair(0, scored.row, 1, &GO).unwrap().unwrap();
        assert!(pair.stderr.is_some_and(|x| x > 0.0) && pair.noise_floor.is_some());
        assert_eq!((pair.stderr, pair.noise_floor), (found.stderr, found.noise_floor));
    }
    let stopped = plan.explain_rows(&rows, &Cancel::raised());
    assert!(matches!(stopped, Err(gstore_query::QueryError::Cancelled(_))), "{stopped:?}");
}

/// A store of 24 projected rows and five target samples of two subtasks, at a checkpoint.
fn projected_store(pool: &[Vec<f32>], target: &[Vec<f32>]) -> TestStore {
    let store = TestStore::with(&[("pool", pool.len())]);
    store.dataset_of("val", &[Some("a"), Some("a"), Some("b"), Some("b"), Some("b")]);
    let mut features = gradients(pool, target);
    features.iter_mut().for_each(|f| f.projection = "signs".into());
    store.features(&features, None);
    store
}

#[test]
fn a_part_of_the_coordinates_scores_as_the_whole_does() {
    let mut numbers = Numbers(10);
    // Every class of coordinates has the same values, so each part has the score of the whole.
    let mut alike = |rows: usize| -> Vec<Vec<f32>> {
        let vectors = numbers.vectors(rows, 6);
        vectors.iter().map(|v| v.iter().flat_map(|x| [*x; 16]).collect()).collect()
    };
    let (pool, target) = (alike(24), alike(5));
    let store = projected_store(&pool, &target);
    for spec in questions().into_iter().filter(|spec| spec.missing == Missing::Error) {
        let plan = plan(&store, &spec);
        let rows = plan.top_k(Order::Best, 24, None, 1, &GO).unwrap().rows;
        let found = plan.part_scores(&rows, &GO).unwrap().unwrap();
        assert_eq!(found.len(), 24);
        for (scored, ways) in rows.iter().zip(&found) {
            let whole = f64::from(scored.score);
            assert!(
                ways.iter().flatten().all(|part| (part - whole).abs() <= 1e-4 * whole.abs().max(1.0)),
                "{spec:?}: {whole} and {ways:?}"
            );
        }
    }
}

#[test]
fn parts_of_a_score_that_is_linear_have_it_as_their_mean() {
    let mut numbers = Numbers(11);
    let store = projected_store(&numbers.vectors(24, 96), &numbers.vectors(5, 96));
    let spec = InfluenceSpec { sim: Sim::Dot, across: Across::Mean, ..ask("pool", "val") };
    let plan_of = |spec: &InfluenceSpec| plan(&store, spec);
    let plan = plan_of(&spec);
    let rows = plan.top_k(Order::Best, 24, None, 1, &GO).unwrap().rows;
    for (scored, ways) in rows.iter().zip(plan.part_scores(&rows, &GO).unwrap().unwrap()) {
        for parts in ways {
            let whole = f64::from(scored.score);
            let is_mean = |parts: &[f64], whole: f64| {
                let mean = parts.iter().sum::<f64>() / parts.len() as f64;
                (mean - whole).abs() <= 1e-4 * whole.abs().max(1.0)
            };
            assert!(is_mean(&parts[..4], whole), "{whole}: {parts:?}");
            assert!(parts[4..].chunks(2).all(|pair| is_mean(pair, whole)), "{whole}: {parts:?}");
            assert!(is_mean(&[parts[0], parts[1]], parts[4]) && is_mean(&[parts[1], parts[2]], parts[9]));
        }
    }
    // The largest of two subtasks is larger in parts, whose noise is larger.
    let plan = plan_of(&InfluenceSpec { across: Across::Max, ..spec });
    let rows = plan.top_k(Order::Best, 24, None, 1, &GO).unwrap().rows;
    for (scored, ways) in rows.iter().zip(plan.part_scores(&rows, &GO).unwrap().unwrap()) {
        let mean = ways[0][..4].iter().sum::<f64>() / 4.0;
        assert!(mean >= f64::from(scored.score) - 1e-4, "{mean} and {}", scored.score);
    }
}

#[test]
fn vectors_that_were_not_projected_have_no_parts() {
    let mut numbers = Numbers(12);
    let store = TestStore::of(&gradients(&numbers.vectors(5, 64), &numbers.vectors(1, 64)));
    let plan = plan(&store, &ask("pool", "val"));
    let rows = plan.top_k(Order::Best, 5, None, 1, &GO).unwrap().rows;
    assert!(plan.part_scores(&rows, &GO).unwrap().is_none());
}
