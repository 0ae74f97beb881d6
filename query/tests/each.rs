//! Promise: a ranking for each subtask, target or sample, made in one pass, is the ranking that
//! asking for it alone gives.

use crate::common::world::*;
use crate::common::*;
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_store::{DType, RowFlags};

fn request(each: Each, k: usize) -> EachRequest<'static> {
    EachRequest { each, order: Order::Best, k, filter: None, threads: 3, memory: 1 << 30 }
}

fn bits(rows: &[Scored]) -> Vec<(u32, u64, u32)> {
    rows.iter().map(|s| (s.pool, s.row, s.score.to_bits())).collect()
}

#[test]
fn a_subtask_has_the_ranking_that_it_has_alone() {
    for seed in 0..8 {
        let world = world(seed).normal();
        let store = world.store(DType::F16);
        for spec in questions().into_iter().filter(|spec| spec.missing != Missing::Error) {
            let plan_all = plan(&store, &spec);
            for (order, k) in [(Order::Best, 5), (Order::Worst, 100)] {
                let all =
                    plan_all.top_k_each(&EachRequest { order, ..request(Each::Subtask, k) }, &GO).unwrap();
                assert_eq!(all.rankings.len(), plan_all.subtasks(&GO).unwrap().len());
                for (s, ranking) in all.rankings.iter().enumerate() {
                    let targets =
                        vec![TargetRef { dataset: "val".into(), subtask: Some(ranking.name.clone()) }];
                    let alone = plan(&store, &InfluenceSpec { targets, ..spec.clone() });
                    let alone = alone.top_k(order, k, None, 1, &GO).unwrap();
                    assert_eq!(bits(&ranking.rows), bits(&alone.rows), "{spec:?} {}", ranking.name);
                    assert!(ranking.rows.iter().all(|row| row.subtask as usize == s));
                    assert_eq!(
                        (all.summary.eligible, all.summary.excluded),
                        (alone.summary.eligible, alone.summary.excluded)
                    );
                }
            }
        }
    }
}

/// A pool and two target datasets, which have a subtask's name in common.
fn two_targets() -> (TestStore, Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut numbers = Numbers(4);
    let store = TestStore::with(&[("pool", 300)]);
    store.dataset_of("first", &[Some("x"), Some("y"), Some("x")]).dataset_of("second", &[Some("y"), None]);
    let (pool, first) = (numbers.vectors(300, 12), numbers.vectors(3, 12));
    store.features(
        &[
            Feature::new("pool", "grad-sgd", 0, present(&pool)),
            Feature::new("first", "grad-sgd", 0, present(&first)),
            Feature::new("second", "grad-sgd", 0, present(&numbers.vectors(2, 12))),
        ],
        None,
    );
    (store, pool, first)
}

#[test]
fn a_target_has_the_ranking_that_it_has_alone() {
    let (store, ..) = two_targets();
    for across in [Across::Max, Across::Mean, Across::Sum, Across::Min] {
        for within in [Within::Mean, Within::Max] {
            let targets = vec![TargetRef::parse("second"), TargetRef::parse("first")];
            let spec = InfluenceSpec { across, within, targets, ..ask("pool", "first") };
            let both = plan(&store, &spec).top_k_each(&request(Each::Target, 20), &GO).unwrap();
            assert_eq!(
                both.rankings.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
                ["second", "first"]
            );
            for ranking in &both.rankings {
                let alone = plan(
                    &store,
                    &InfluenceSpec { targets: vec![TargetRef::parse(&ranking.name)], ..spec.clone() },
                );
                let alone = alone.top_k(Order::Best, 20, None, 1, &GO).unwrap();
                assert_eq!(bits(&ranking.rows), bits(&alone.rows));
                for (mine, other) in ranking.rows.iter().zip(&alone.rows) {
                    let (mine, other) =
                        (&both.subtasks[mine.subtask as usize], &alone.subtasks[other.subtask as usize]);
                    assert!(mine == other || *mine == format!("{}:{other}", ranking.name), "{mine} {other}");
                }
            }
        }
    }
}

#[test]
fn a_target_without_a_row_that_can_be_compared_is_refused_among_others_too() {
    let mut numbers = Numbers(9);
    let store = TestStore::with(&[("pool", 4), ("good", 2), ("gone", 2)]);
    store.dataset_of("some", &[Some("x"), Some("y")]);
    let mut features: Vec<Feature> = [("pool", 4), ("good", 2), ("gone", 2), ("some", 2)]
        .map(|(name, rows)| Feature::new(name, "grad-sgd", 0, present(&numbers.vectors(rows, 3))))
        .into();
    features[3].rows[1].as_mut().unwrap().1 = RowFlags::NO_SCORED.bits();
    store.features(&features, None);
    store.delete_from("gone", 0..2);
    let of = |targets: &[&str], by| {
        let targets = targets.iter().map(|target| TargetRef::parse(target)).collect();
        plan(&store, &InfluenceSpec { targets, by, ..ask("pool", "good") })
    };
    let gone = "target gone has no row that can be compared: it has none";
    let unscored = "target some:y has no row that can be compared: of 1, 1 have no scored token";
    for by in [SubtaskBy::Column, SubtaskBy::Dataset] {
        for (targets, says) in [
            (&["good", "gone"][..], gone),
            (&["gone", "good"], gone),
            (&["go*"], gone),
            (&["good", "some:y"], unscored),
            (&["some:y", "some:x"], unscored),
        ] {
            let plan = of(targets, by);
            let errors = [
                plan.top_k(Order::Best, 3, None, 1, &GO).unwrap_err(),
                plan.top_k_each(&request(Each::Target, 3), &GO).unwrap_err(),
                plan.target_samples(&GO).unwrap_err(),
            ];
            for error in errors {
                let is_empty = matches!(error, QueryError::EmptyTarget { .. });
                assert!(is_empty && error.to_string().starts_with(says), "{targets:?}: {error}");
            }
            let targets: Vec<TargetRef> = targets.iter().map(|target| TargetRef::parse(target)).collect();
            assert_eq!(check_targets(&store.snapshot(), &targets).is_err(), says == gone);
        }
        // A subtask that no target names may be empty.
        let found = of(&["good", "some"], by).top_k(Order::Best, 4, None, 1, &GO).unwrap();
        assert_eq!((found.rows.len(), found.summary.target_excluded.no_scored), (4, 1));
    }
    // A part of a question is about no other target than those of its samples.
    let whole = of(&["good", "some"], SubtaskBy::Column);
    let samples = whole.target_samples(&GO).unwrap();
    let part = whole.of_samples(&samples.rows[..1], &GO).unwrap();
    assert_eq!(part.top_k(Order::Best, 4, None, 1, &GO).unwrap().rows.len(), 4);
    // A pool without rows is none of which a target is made.
    let pools: Vec<String> = ["good", "gone"].map(str::to_owned).into();
    let targets = pools.iter().map(|pool| TargetRef::parse(pool)).collect();
    let itself = InfluenceSpec { pools, targets, sim: Sim::Dot, ..InfluenceSpec::default() };
    assert_eq!(plan(&store, &itself).top_k_self(Order::Best, 4, None, 1, &GO).unwrap().rows.len(), 2);
}

#[test]
fn a_sample_ranks_by_its_own_similarity() {
    let (store, pool, first) = two_targets();
    let plan = plan(&store, &ask("pool", "first"));
    let found = plan.top_k_each(&request(Each::Sample, 300), &GO).unwrap();
    assert_eq!(found.rankings.len(), 3);
    let cosine = |a: &[f32], b: &[f32]| {
        let dot =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    for ranking in &found.rankings {
        let sample = ranking.sample.unwrap();
        assert_eq!(found.subtasks[sample.subtask as usize], ranking.name);
        assert_eq!(ranking.rows.len(), 300);
        assert!(ranking.rows.is_sorted_by(|a, b| a.score >= b.score));
        for row in &ranking.rows {
            let want = cosine(&pool[row.row as usize], &first[sample.row as usize]);
            assert!((f64::from(row.score) - want).abs() < 1e-6);
        }
    }
    let filter = RowFilter::single((10..20).collect());
    let some =
        plan.top_k_each(&EachRequest { filter: Some(&filter), ..request(Each::Sample, 300) }, &GO).unwrap();
    assert!(some.rankings.iter().all(|r| r.rows.len() == 10));
}

#[test]
fn what_does_not_fit_into_memory_is_refused() {
    let (store, ..) = two_targets();
    let plan = plan(&store, &ask("pool", "first"));
    let error =
        plan.top_k_each(&EachRequest { memory: 1000, ..request(Each::Subtask, 50) }, &GO).unwrap_err();
    assert!(
        error.to_string().contains(
            "best 50 rows for each of 2 subtasks need up to 8160 bytes of memory and 1000 bytes are"
        ),
        "{error}"
    );
    // More than there are rows costs what the rows cost.
    assert!(
        plan.top_k_each(&EachRequest { memory: 1 << 20, ..request(Each::Subtask, usize::MAX) }, &GO).is_ok()
    );
}

#[test]
fn a_row_against_itself_is_its_squared_length() {
    for seed in 0..20 {
        let world = world(seed).normal();
        let store = world.store(DType::F16);
        for missing in [Missing::Exclude, Missing::Renormalise] {
            let spec = InfluenceSpec { sim: Sim::Dot, missing, ..ask("pool", "val") };
            let plan = plan(&store, &spec);
            let found = plan.top_k_self(Order::Best, 1000, None, 2, &GO).unwrap();
            let scored = plan.top_k(Order::Best, 1000, None, 1, &GO).unwrap();
            assert_eq!(
                (found.summary.eligible, found.summary.excluded),
                (scored.summary.eligible, scored.summary.excluded)
            );
            assert_eq!(found.rows.len() as u64, found.summary.eligible);
            for row in &found.rows {
                let of =
                    |c: usize| world.pool[c][row.row as usize].as_ref().map(|(v, _)| (world.weights[c], v));
                let here: Vec<_> = (0..world.weights.len()).filter_map(of).collect();
                let share: f64 = here.iter().map(|(w, _)| w).sum();
                let square = |v: &Vec<f32>| v.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
                let want: f64 = here.iter().map(|(w, v)| w / share * square(v)).sum();
                assert!((f64::from(row.score) - want).abs() <= 1e-6 * want, "{} is not {want}", row.score);
            }
        }
        let cosine = plan(&store, &InfluenceSpec { missing: Missing::Exclude, ..ask("pool", "val") });
        assert!(cosine.top_k_self(Order::Best, 3, None, 1, &GO).unwrap_err().to_string().contains("dot"));
    }
}

#[test]
fn rows_that_the_filter_leaves_out_may_lack_the_second_feature() {
    let store = TestStore::with(&[("pool", 6)]);
    let vectors = Numbers(5).vectors(6, 4);
    let mut second = present(&vectors);
    second[4] = None;
    let features = [
        Feature::new("pool", "grad-adam", 0, present(&vectors)),
        Feature::new("pool", "grad-sgd", 0, second),
    ];
    store.features(&features, Some(store.run("run", &[Some(1.0)])));
    let spec = InfluenceSpec { sim: Sim::Dot, missing: Missing::Error, ..ask("pool", "pool") };
    let plan = plan(&store, &spec);
    let found = |rows: &[u64]| {
        let filter = RowFilter::single(rows.iter().copied().collect());
        plan.top_k_self(Order::Best, 10, Some(&filter), 1, &GO).map(|found| found.summary.eligible)
    };
    assert_eq!(found(&[0, 1, 5]).unwrap(), 3);
    let refused = |error: QueryError| match error {
        QueryError::Missing { rows, scanned, .. } => (rows, scanned),
        other => panic!("{other}"),
    };
    assert_eq!(refused(found(&[0, 4]).unwrap_err()), (1, 2));
    assert_eq!(refused(plan.top_k_self(Order::Best, 10, None, 1, &GO).unwrap_err()), (1, 6));
}

/// Rows and targets of small whole numbers, so that scores are whole, and most of them equal others.
fn many_ties(rows: usize, targets: usize) -> (TestStore, Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut numbers = Numbers(11);
    let mut vectors = |count: usize| -> Vec<Vec<f32>> {
        (0..count).map(|_| (0..6).map(|_| numbers.below(5) as f32 - 2.0).collect()).collect()
    };
    let (pool, target) = (vectors(rows), vectors(targets));
    let mut of_pool = Feature::new("pool", "grad-sgd", 0, present(&pool));
    of_pool.cut = 97;
    let store = TestStore::of(&[of_pool, Feature::new("target", "grad-sgd", 0, present(&target))]);
    (store, pool, target)
}

#[test]
fn many_rankings_equal_full_sorts_where_most_scores_are_equal() {
    let (store, pool, target) = many_ties(2500, 40);
    let plan = plan(&store, &InfluenceSpec { sim: Sim::Dot, ..ask("pool", "target") });
    // Zeros have no sign.
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() + 0.0;
    // The shortest may be found by bounds; the longest are all there is.
    for (order, k) in [(Order::Best, 3), (Order::Worst, 40), (Order::Best, 700), (Order::Worst, 5000)] {
        for threads in [1, 2, 7] {
            let request = EachRequest { order, threads, ..request(Each::Sample, k) };
            let found = plan.top_k_each(&request, &GO).unwrap();
            assert_eq!(found.rankings.len(), target.len());
            for (ranking, target) in found.rankings.iter().zip(&target) {
                let mut want: Vec<(f32, u64)> =
                    (0..).zip(&pool).map(|(row, vector)| (dot(vector, target), row)).collect();
                want.sort_by(|a, b| {
                    let by_score = a.0.total_cmp(&b.0);
                    (if order == Order::Best { by_score.reverse() } else { by_score }).then(a.1.cmp(&b.1))
                });
                want.truncate(k);
                let got: Vec<(f32, u64)> = ranking.rows.iter().map(|s| (s.score, s.row)).collect();
                assert_eq!(got, want, "{order} {k}, {threads} threads");
            }
        }
    }
}
