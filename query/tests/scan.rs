//! Promise: a score depends on the stored values and the question alone: not on threads, segments, blocks,
//! filters or other pools.

use std::ops::ControlFlow;

use crate::common::*;
use gstore_core::Cancel;
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_store::DType;

const ROWS: usize = 9_000;
const DIM: usize = 24;

/// A pool over three cells at two checkpoints with ties, flags and subtasks.
fn store(cut: usize, dtype: DType, other_pools: bool) -> TestStore {
    let mut numbers = Numbers(11);
    let store = TestStore::new();
    if other_pools {
        store.dataset("before", 10);
    }
    store.dataset("pool", ROWS);
    store.dataset_of("val", &[Some("x"), Some("y"), Some("x"), None, Some("y")]);
    let mut features = Vec::new();
    for c in 0..2 {
        let mut rows = present(&numbers.vectors(ROWS, DIM));
        for i in (0..ROWS).step_by(97) {
            rows[i] = rows[i / 2].clone();
        }
        for i in (5..ROWS).step_by(401) {
            rows[i].as_mut().unwrap().1 = 1;
        }
        let mut feature = Feature::new("pool", "grad-adam", c, rows);
        // The checkpoints are cut at different rows.
        (feature.cut, feature.dtype) = (cut + 100 * c, dtype);
        features.push(feature);
        features.push(Feature::new("val", "grad-sgd", c, present(&numbers.vectors(5, DIM))));
        if other_pools {
            features.push(Feature::new("before", "grad-adam", c, present(&numbers.vectors(10, DIM))));
        }
    }
    let run = store.run("warmup", &[Some(0.7), Some(0.2)]);
    store.features(&features, Some(run));
    store
}

fn bits(ranking: &Ranking) -> Vec<(u64, u32, u32)> {
    ranking.rows.iter().map(|s| (s.row, s.score.to_bits(), s.subtask)).collect()
}

#[test]
fn the_same_bits_for_any_number_of_threads_and_any_segmentation() {
    for within in [Within::Mean, Within::Max] {
        let spec = InfluenceSpec { within, ..ask("pool", "val") };
        for dtype in [DType::F32, DType::F16] {
            let whole = store(usize::MAX - 1000, dtype, false);
            let first = plan(&whole, &spec).top_k(Order::Best, ROWS, None, 1, &GO).unwrap();
            for cut in [300, 1777] {
                let cut = store(cut, dtype, false);
                let plan = plan(&cut, &spec);
                for threads in [1, 2, 7, 0] {
                    let again = plan.top_k(Order::Best, ROWS, None, threads, &GO).unwrap();
                    assert_eq!(bits(&again), bits(&first));
                    assert_eq!(
                        (again.summary.excluded, again.summary.eligible),
                        (first.summary.excluded, first.summary.eligible)
                    );
                }
                let worst = plan.top_k(Order::Worst, 50, None, 3, &GO).unwrap();
                let mut expected = first.rows.clone();
                expected.sort_by(|a, b| a.score.total_cmp(&b.score).then(a.row.cmp(&b.row)));
                assert_eq!(worst.rows, expected[..50]);
            }
        }
    }
}

#[test]
fn a_stream_holds_every_row_in_order() {
    let store = store(500, DType::F32, false);
    let plan = plan(&store, &ask("pool", "val"));
    let mut rows = Vec::new();
    let summary = plan
        .scores(None, 3, &GO, |part| {
            rows.extend_from_slice(part);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(rows.is_sorted_by_key(|s| (s.pool, s.row)));
    assert_eq!(rows.len() as u64, summary.eligible);
    assert_eq!((summary.scanned, summary.live), (ROWS as u64, ROWS as u64));
    assert_eq!(summary.excluded.no_scored, excluded(&plan).len() as u64);
    assert_eq!((summary.target_rows, summary.target_excluded.total()), (5, 0));
    let mut ranked = rows.clone();
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.row.cmp(&b.row)));
    assert_eq!(plan.top_k(Order::Best, 1000, None, 2, &GO).unwrap().rows, ranked[..1000]);

    let mut seen = 0;
    plan.scores(None, 3, &GO, |part| {
        seen += part.len();
        ControlFlow::Break(())
    })
    .unwrap();
    assert!(seen > 0 && seen <= 4096);
}

#[test]
fn a_filter_selects_before_scoring_and_skips_blocks() {
    let store = store(500, DType::F32, false);
    let plan = plan(&store, &ask("pool", "val"));
    let all = plan.top_k(Order::Best, ROWS, None, 2, &GO).unwrap();
    let wanted: RowMask = (600..640).chain([4095, 4096, 8999, 20_000]).collect();
    let filter = RowFilter::single(wanted.clone());
    let some = plan.top_k(Order::Best, ROWS, Some(&filter), 2, &GO).unwrap();
    let expected: Vec<_> = all.rows.iter().filter(|s| wanted.contains(s.row)).copied().collect();
    assert_eq!(some.rows, expected);
    assert_eq!((some.summary.scanned, some.summary.live), (43, ROWS as u64));
    let bytes = [&some, &all].map(|ranking| ranking.summary.bytes_read);
    assert!(bytes[0] * 4 < bytes[1], "{bytes:?}");
    let none = plan.top_k(Order::Best, 5, Some(&RowFilter::single(RowMask::new())), 2, &GO).unwrap();
    assert_eq!((none.rows.len(), none.summary.bytes_read, none.summary.eligible), (0, 0, 0));
}

#[test]
fn pools_rank_together_and_ties_go_to_the_first() {
    let store = store(700, DType::F32, true);
    let single = plan(&store, &ask("pool", "val")).top_k(Order::Best, ROWS, None, 2, &GO).unwrap();
    let both = InfluenceSpec { pools: vec!["before".into(), "pool".into()], ..ask("pool", "val") };
    let both = plan(&store, &both);
    let ranking = both.top_k(Order::Best, ROWS + 10, None, 2, &GO).unwrap();
    assert_eq!(ranking.summary.live, ROWS as u64 + 10);
    let second: Vec<_> =
        ranking.rows.iter().filter(|s| s.pool == 1).map(|s| (s.row, s.score.to_bits(), s.subtask)).collect();
    assert_eq!(second, bits(&single), "another pool changes no score");
    assert_eq!(ranking.rows.iter().filter(|s| s.pool == 0).count(), 10);
    let only_first = RowFilter::new().with(1, RowMask::new());
    let some = both.top_k(Order::Best, ROWS, Some(&only_first), 2, &GO).unwrap();
    assert_eq!(some.rows.len(), 10);

    let store = TestStore::with(&[("a", 3), ("b", 3), ("val", 1)]);
    let same = vec![vec![1.0, 2.0], vec![-0.0, 0.0], vec![1.0, 2.0]];
    store.features(
        &[
            Feature::new("a", "grad-sgd", 0, present(&same)),
            Feature::new("b", "grad-sgd", 0, present(&same)),
            Feature::new("val", "grad-sgd", 0, present(&[vec![1.0, 2.0]])),
        ],
        None,
    );
    let spec = InfluenceSpec { pools: vec!["b".into(), "a".into()], ..ask("b", "val") };
    let order = |order| -> Vec<_> {
        plan(&store, &spec)
            .top_k(order, 6, None, 1, &GO)
            .unwrap()
            .rows
            .iter()
            .map(|s| (s.pool, s.row))
            .collect()
    };
    assert_eq!(order(Order::Best), [(0, 0), (0, 2), (1, 0), (1, 2), (0, 1), (1, 1)]);
    assert_eq!(order(Order::Worst), [(0, 1), (1, 1), (0, 0), (0, 2), (1, 0), (1, 2)]);
}

#[test]
fn rows_that_lack_a_checkpoint() {
    let mut numbers = Numbers(3);
    let store = TestStore::with(&[("pool", 6), ("val", 2)]);
    let (first, second) = (numbers.vectors(6, 5), numbers.vectors(6, 5));
    let mut some = present(&second);
    (some[1], some[4]) = (None, None);
    store.features(
        &[
            Feature::new("pool", "grad-adam", 0, present(&first)),
            Feature::new("pool", "grad-adam", 1, some),
            Feature::new("val", "grad-sgd", 0, present(&numbers.vectors(2, 5))),
            Feature::new("val", "grad-sgd", 1, present(&numbers.vectors(2, 5))),
        ],
        Some(store.run("warmup", &[Some(0.3), Some(0.1)])),
    );
    // Rows that came after the features.
    store.dataset("pool", 2);
    let with = |missing| InfluenceSpec { missing, ..ask("pool", "val") };
    let error =
        plan(&store, &with(Missing::Error)).top_k(Order::Best, 3, None, 1, &GO).unwrap_err().to_string();
    assert!(
        error.contains("4 of 8 rows")
            && error.contains("2 of `pool` at checkpoint-100")
            && error.contains("4 of `pool`"),
        "{error}"
    );
    let complete = RowFilter::single([0, 2, 3, 5].into_iter().collect());
    assert!(plan(&store, &with(Missing::Error)).top_k(Order::Best, 3, Some(&complete), 1, &GO).is_ok());

    let exclude = plan(&store, &with(Missing::Exclude));
    assert_eq!(scores(&exclude).keys().map(|k| k.1).collect::<Vec<_>>(), [0, 2, 3, 5]);
    assert_eq!(
        excluded(&exclude).iter().map(|e| (e.row, e.reason)).collect::<Vec<_>>(),
        [1, 4, 6, 7].map(|row| (row, Reason::Missing))
    );
    assert_eq!(
        excluded(&plan(&store, &with(Missing::Error))),
        excluded(&exclude),
        "listed rather than refused"
    );

    let renormalised = plan(&store, &with(Missing::Renormalise));
    let all = scores(&renormalised);
    assert_eq!(all.keys().map(|k| k.1).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    let alone = InfluenceSpec { checkpoints: Some(vec!["100".into()]), ..with(Missing::Exclude) };
    let alone = scores(&plan(&store, &alone));
    for row in [1, 4] {
        assert!((all[&(0, row)].0 - alone[&(0, row)].0).abs() < 1e-6);
    }
    assert_eq!(excluded(&renormalised).iter().map(|e| e.row).collect::<Vec<_>>(), [6, 7]);
}

#[test]
fn a_score_that_is_not_finite_is_not_selected() {
    let store = TestStore::of(&gradients(&[vec![1.0], vec![1e30], vec![-1e30]], &[vec![1e30]]));
    let spec = InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val") };
    let plan = plan(&store, &spec);
    for order in [Order::Best, Order::Worst] {
        let ranking = plan.top_k(order, 3, None, 1, &GO).unwrap();
        assert_eq!(ranking.rows.iter().map(|s| s.row).collect::<Vec<_>>(), [0]);
        assert_eq!(ranking.summary.excluded.overflow, 2);
    }
}

#[test]
fn a_cancelled_query_stops() {
    let store = store(300, DType::F32, false);
    let plan = plan(&store, &ask("pool", "val"));
    let stop = Cancel::raised();
    assert!(matches!(plan.top_k(Order::Best, 3, None, 2, &stop), Err(QueryError::Cancelled(_))));
    stop.lower();
    let outcome = plan.scores(None, 2, &stop, |_| {
        stop.raise();
        ControlFlow::Continue(())
    });
    assert!(matches!(outcome, Err(QueryError::Cancelled(_))));
}

#[test]
fn flagged_target_rows_are_left_out_and_counted() {
    let mut numbers = Numbers(5);
    let store = TestStore::new();
    store.dataset("pool", 4).dataset_of("val", &[Some("x"), Some("x"), Some("y"), Some("z")]);
    let vectors = numbers.vectors(4, 3);
    let mut target = present(&vectors);
    target[0].as_mut().unwrap().1 = 1;
    target[2].as_mut().unwrap().0[0] = f32::NAN;
    store.features(
        &[
            Feature::new("pool", "grad-sgd", 0, present(&numbers.vectors(4, 3))),
            Feature::new("val", "grad-sgd", 0, target),
        ],
        None,
    );
    let all = plan(&store, &ask("pool", "val"));
    let ranking = all.top_k(Order::Best, 4, None, 1, &GO).unwrap();
    assert_eq!((ranking.summary.target_rows, ranking.summary.target_excluded.no_scored), (2, 1));
    assert_eq!(ranking.summary.target_excluded.non_finite, 1);
    assert_eq!(ranking.subtasks, ["x", "z"], "a subtask without rows is left out");
    let error = plan(&store, &ask("pool", "val:y")).top_k(Order::Best, 4, None, 1, &GO).unwrap_err();
    assert!(matches!(error, QueryError::EmptyTarget { .. }), "{error}");
}
