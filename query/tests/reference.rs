//! Promise: whatever the terms, a score equals the form written down directly in float64.

use std::collections::BTreeMap;

use crate::common::pair_scores::each_score;
use crate::common::world::*;
use crate::common::*;
use gstore_query::influence::*;
use gstore_store::DType;
use proptest::prelude::*;

fn check(world: &World, store: &TestStore, spec: &InfluenceSpec, tolerance: f64) {
    let plan = plan(store, spec);
    let lacks = world.pool.iter().any(|rows| rows.iter().any(Option::is_none));
    if spec.missing == Missing::Error && lacks {
        let error = plan.top_k(Order::Best, 3, None, 1, &GO).unwrap_err();
        assert!(matches!(error, gstore_query::QueryError::Missing { .. }), "{error}");
        return;
    }
    if world.cancels(spec) {
        return;
    }
    let want = world.naive(spec);
    let got = scores(&plan);
    let left_out: BTreeMap<u64, Reason> = excluded(&plan).into_iter().map(|e| (e.row, e.reason)).collect();
    assert_eq!(got.len() + left_out.len(), want.len());
    let magnitude = world.magnitude(spec);
    for (row, want) in &want {
        match want {
            Err(reason) => assert_eq!(left_out.get(row), Some(reason), "row {row}"),
            Ok((score, _)) => {
                let (mine, _) = got[&(0, *row)];
                assert!(
                    (f64::from(mine) - score).abs() <= tolerance * magnitude,
                    "{spec:?} row {row}: {mine} is not {score}"
                );
            }
        }
    }
    // The subtask is checked by value: near ties may go either way.
    let (subtasks, lines) = each_score(&plan, Each::Subtask, None, 2).unwrap();
    assert!(lines.keys().eq(got.keys()));
    for ((key, line), (score, name)) in lines.iter().zip(got.values()) {
        let at = subtasks.iter().position(|(s, _)| s == name).unwrap();
        let decides = match spec.across {
            Across::Min => line.iter().all(|v| *v >= line[at]),
            _ => line.iter().all(|v| *v <= line[at]),
        };
        assert!(decides, "row {key:?}: {name} of {line:?}");
        if matches!(spec.across, Across::Max | Across::Min) {
            assert_eq!(score.to_bits(), line[at].to_bits());
        }
    }
    // The ranking is the order of the scores.
    let mut order: Vec<(f32, u64)> = got.iter().map(|((_, row), (score, _))| (*score, *row)).collect();
    order.sort_by(|a, b| (b.0 + 0.0).total_cmp(&(a.0 + 0.0)).then(a.1.cmp(&b.1)));
    let ranked: Vec<(f32, u64)> =
        best(&plan, order.len() + 1).into_iter().map(|(row, score)| (score, row)).collect();
    assert_eq!(ranked, order);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 0, ..Default::default() })]

    #[test]
    fn single_precision(seed: u64) {
        let world = world(seed).normal();
        let store = world.store(DType::F32);
        for spec in questions() {
            check(&world, &store, &spec, 1e-6);
        }
    }

    #[test]
    fn modules_weigh_both_sides_and_their_lengths(seed: u64) {
        let world = world(seed).normal();
        // Powers of four have exact roots.
        let mut modules: Vec<f64> = (0..world.groups.len()).map(|i| [1.0, 0.0, 4.0, 0.25][(seed as usize + i) % 4]).collect();
        let Some(first) = modules.first_mut() else { return Ok(()) };
        *first = 4.0;
        let text: Vec<String> = modules.iter().enumerate().map(|(i, w)| format!("module{i}={w}")).collect();
        let store = world.store(DType::F32);
        let weighted = world.weighted(&modules);
        for spec in questions().into_iter().step_by(5) {
            let spec = InfluenceSpec { modules: Some(text.join(",").parse().unwrap()), ..spec };
            check(&weighted, &store, &spec, 1e-6);
        }
    }

    #[test]
    fn half_precision_is_close(seed: u64) {
        let world = world(seed).normal();
        let store = world.store(DType::F16);
        for spec in questions().into_iter().step_by(7) {
            check(&world, &store, &spec, 2e-3);
        }
    }
}
