//! Promise: with `per_token` the score of a token equals the form written down in float64 for that token
//! alone, and has the same bits whatever files, threads and windows it passes through; and vectors of tokens
//! are never taken for those of samples.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::common::world::*;
use crate::common::*;
use gstore_core::Remedy;
use gstore_query::influence::*;
use gstore_query::{QueryError, SideOf};
use gstore_store::DType;
use proptest::prelude::*;

type Key = (u64, u32);

/// A question whose pool holds tokens: `world.pool` has one after another, `keys` says whose they are.
struct TokenWorld {
    world: World,
    keys: Vec<Key>,
}

fn token_world(seed: u64) -> TokenWorld {
    let mut world = world(seed);
    let mut n = Numbers(seed ^ 0x7070_7070);
    let (dim, checkpoints) = (world.dim(), world.weights.len());
    world.pool = vec![Vec::new(); checkpoints];
    let mut keys = Vec::new();
    for row in 0..1 + n.below(12) as u64 {
        let has: Vec<bool> = (0..checkpoints).map(|_| row == 0 || n.below(8) != 0).collect();
        let unscored = n.below(6) == 0;
        // A row that has no token at all has one place where that can be said.
        let bare = unscored || !has.contains(&true);
        let mut pos = 0;
        for _ in 0..if bare { 1 } else { 1 + n.below(6) } {
            pos += if bare { 0 } else { 1 + n.below(3) as u32 };
            keys.push((row, pos));
            for (pool, has) in world.pool.iter_mut().zip(&has) {
                let scale = [1.0, 1e-3, 300.0][n.below(3)];
                let vector: Vec<f32> = (0..dim).map(|_| n.next() * scale).collect();
                let token = match n.below(9) {
                    _ if unscored => (vector, 1),
                    0 => (vec![f32::NAN; dim], 0),
                    1 => (vec![0.0; dim], 0),
                    2 => (vector, 4),
                    _ => (vector, 0),
                };
                pool.push(has.then_some(token));
            }
        }
    }
    TokenWorld { world, keys }
}

impl TokenWorld {
    fn store(&self, dtype: DType) -> TestStore {
        let store = TestStore::with(&[("pool", self.keys.last().unwrap().0 as usize + 1)]);
        self.world.publish(&store, dtype, |c| Feature::of_tokens("pool", "grad-adam", c, self.tokens(c)));
        store
    }

    fn tokens(&self, c: usize) -> Vec<TokenRow> {
        let tokens: Vec<(Key, &Row)> = self.keys.iter().copied().zip(&self.world.pool[c]).collect();
        let of_row = |row: &[(Key, &Row)]| {
            row.iter().map(|((_, pos), v)| v.as_ref().map(|(v, flags)| (*pos, v.clone(), *flags))).collect()
        };
        tokens.chunk_by(|a, b| a.0.0 == b.0.0).map(of_row).collect()
    }
}

fn ask_tokens() -> InfluenceSpec {
    InfluenceSpec { per_token: true, ..ask("pool", "val") }
}

fn all_scores(plan: &Prepared, threads: usize) -> Vec<Scored> {
    let mut all = Vec::new();
    let summary = plan.scores(None, threads, &GO, |part| {
        all.extend_from_slice(part);
        ControlFlow::Continue(())
    });
    assert_eq!(summary.unwrap().eligible, all.len() as u64);
    assert!(all.is_sorted_by_key(|s| (s.pool, s.row, s.pos)));
    all
}

fn key(s: &Scored) -> Key {
    (s.row, s.pos.unwrap())
}

fn check(
    tokens: &TokenWorld,
    world: &World,
    store: &TestStore,
    deleted: &[u64],
    spec: &InfluenceSpec,
    tolerance: f64,
) {
    let plan = plan(store, spec);
    let live = |(row, _): &Key| !deleted.contains(row);
    let lacks = (0..tokens.keys.len())
        .filter(|i| live(&tokens.keys[*i]))
        .any(|i| world.pool.iter().any(|pool| pool[i].is_none()));
    if spec.missing == Missing::Error && lacks {
        let error = plan.top_k(Order::Best, 3, None, 1, &GO).unwrap_err();
        assert!(matches!(error, QueryError::Missing { .. }), "{error}");
        return;
    }
    if world.cancels(spec) {
        return;
    }
    let naive = world.naive(spec);
    let want: BTreeMap<Key, _> =
        tokens.keys.iter().copied().zip(naive.into_values()).filter(|(key, _)| live(key)).collect();
    let rows = all_scores(&plan, 2);
    let got: BTreeMap<Key, f32> = rows.iter().map(|s| (key(s), s.score)).collect();
    let left_out: BTreeMap<Key, Reason> =
        excluded(&plan).into_iter().map(|e| ((e.row, e.pos.unwrap_or(0)), e.reason)).collect();
    assert_eq!(got.len() + left_out.len(), want.len());
    let magnitude = world.magnitude(spec);
    for (key, want) in &want {
        match want {
            Err(reason) => assert_eq!(left_out.get(key), Some(reason), "{key:?}"),
            Ok((score, _)) => {
                let near = (f64::from(got[key]) - score).abs() <= tolerance * magnitude;
                assert!(near, "{spec:?} {key:?}: {} is not {score}", got[key]);
            }
        }
    }
    for order in [Order::Best, Order::Worst] {
        let mut sorted = rows.clone();
        sorted.sort_by(|a, b| {
            let by_score = (a.score + 0.0).total_cmp(&(b.score + 0.0));
            let by_score = if order == Order::Best { by_score.reverse() } else { by_score };
            by_score.then(key(a).cmp(&key(b)))
        });
        for k in [sorted.len() / 2, sorted.len() + 1] {
            let ranking = plan.top_k(order, k, None, 2, &GO).unwrap();
            assert_eq!(ranking.rows, sorted[..k.min(sorted.len())]);
            assert_eq!(ranking.summary.scanned, want.len() as u64);
            assert!(ranking.summary.eligible <= plan.most_results() as u64);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, max_shrink_iters: 0, ..Default::default() })]

    #[test]
    fn each_token_by_itself(seed: u64) {
        let tokens = token_world(seed);
        let store = tokens.store(DType::F32);
        for spec in questions().into_iter().step_by(5) {
            check(&tokens, &tokens.world, &store, &[], &InfluenceSpec { per_token: true, ..spec }, 1e-6);
        }
    }

    #[test]
    fn half_precision_without_deleted_rows(seed: u64) {
        let tokens = token_world(seed);
        let store = tokens.store(DType::F16);
        let deleted: Vec<u64> = (0..=tokens.keys.last().unwrap().0).filter(|row| row % 3 == seed % 3).collect();
        store.delete(deleted.iter().copied());
        for spec in questions().into_iter().step_by(7) {
            check(&tokens, &tokens.world, &store, &deleted, &InfluenceSpec { per_token: true, ..spec }, 2e-3);
        }
    }

    #[test]
    fn modules_weigh_tokens(seed: u64) {
        let tokens = token_world(seed);
        let modules: Vec<f64> = (0..tokens.world.groups.len()).map(|i| [4.0, 0.0, 1.0, 0.25][i % 4]).collect();
        if modules.is_empty() { return Ok(()) }
        let text: Vec<String> = modules.iter().enumerate().map(|(i, w)| format!("module{i}={w}")).collect();
        let weighted = tokens.world.weighted(&modules);
        let store = tokens.store(DType::F32);
        for spec in questions().into_iter().step_by(11) {
            let modules = Some(text.join(",").parse().unwrap());
            check(&tokens, &weighted, &store, &[], &InfluenceSpec { per_token: true, modules, ..spec }, 1e-6);
        }
    }
}

/// Rows over two cells with up to six tokens each, some of them equal to others, at two checkpoints.
fn large(cut: usize, dtype: DType) -> TestStore {
    const ROWS: usize = 4_700;
    let mut n = Numbers(5);
    let store = TestStore::with(&[("pool", ROWS), ("val", 400)]);
    let mut features = Vec::new();
    let counts: Vec<usize> = (0..ROWS).map(|_| n.below(7)).collect();
    for c in 0..2 {
        let row = |count: &usize| match count {
            0 => vec![(0, vec![0.0; 3], 1)],
            count => (1..=*count).map(|t| (2 * t as u32, n.vector(3), 0)).collect(),
        };
        let mut rows: Vec<TokenRow> = counts.iter().map(row).map(Some).collect();
        for i in (0..ROWS).step_by(97).filter(|i| counts[*i] == counts[i / 2]) {
            rows[i] = rows[i / 2].clone();
        }
        let mut feature = Feature::of_tokens("pool", "grad-adam", c, rows);
        (feature.cut, feature.dtype) = (cut + 100 * c, dtype);
        features.push(feature);
        features.push(Feature::new("val", "grad-sgd", c, present(&n.vectors(400, 3))));
    }
    store.features(&features, Some(store.run("warmup", &[Some(0.7), Some(0.2)])));
    store
}

#[test]
fn the_same_bits_for_any_number_of_threads_and_any_segmentation() {
    // Every target row is compared, so a thread keeps values of fewer tokens than a cell has.
    let spec = InfluenceSpec { within: Within::Max, ..ask_tokens() };
    let bits =
        |rows: &[Scored]| -> Vec<_> { rows.iter().map(|s| (key(s), s.score.to_bits(), s.subtask)).collect() };
    for dtype in [DType::F32, DType::I8] {
        let whole = large(1_000_000, dtype);
        let whole = plan(&whole, &spec);
        let first = all_scores(&whole, 1);
        let best = whole.top_k(Order::Best, 500, None, 1, &GO).unwrap();
        for cut in [300, 1777] {
            let store = large(cut, dtype);
            let plan = plan(&store, &spec);
            for threads in [1, 2, 7] {
                assert_eq!(bits(&all_scores(&plan, threads)), bits(&first));
                let again = plan.top_k(Order::Best, 500, None, threads, &GO).unwrap();
                assert_eq!(
                    (bits(&again.rows), again.summary.excluded),
                    (bits(&best.rows), best.summary.excluded)
                );
            }
        }
        for row in [97, 4095, 4096] {
            let filter = RowFilter::single([row].into_iter().collect());
            let alone = whole.top_k(Order::Best, 10, Some(&filter), 1, &GO).unwrap();
            let mut rows = bits(&alone.rows);
            rows.sort_unstable();
            assert_eq!(rows, bits(&first).into_iter().filter(|s| s.0.0 == row).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_tokens_of_a_sample_sum_to_it() {
    let mut n = Numbers(8);
    let tokens: Vec<Vec<(u32, Vec<f32>, u8)>> =
        (0..9).map(|row| (1..=1 + row % 4).map(|pos| (pos, n.vector(6), 0)).collect()).collect();
    let whole = |row: &Vec<(u32, Vec<f32>, u8)>| -> Vec<f32> {
        (0..6).map(|d| row.iter().map(|(_, v, _)| v[d]).sum()).collect()
    };
    let store = TestStore::with(&[("pool", 9), ("val", 3)]);
    store.features(
        &[
            Feature::new("pool", "grad-sgd", 0, present(&tokens.iter().map(whole).collect::<Vec<_>>())),
            Feature::of_tokens("pool", "grad-sgd", 0, tokens.into_iter().map(Some).collect()),
            Feature::new("val", "grad-sgd", 0, present(&n.vectors(3, 6))),
        ],
        None,
    );
    let dot = |per_token| InfluenceSpec { sim: Sim::Dot, per_token, ..ask("pool", "val") };
    let mut sums = vec![0.0f64; 9];
    for s in all_scores(&plan(&store, &dot(true)), 1) {
        sums[s.row as usize] += f64::from(s.score);
    }
    let samples: Vec<f32> = scores(&plan(&store, &dot(false))).values().map(|s| s.0).collect();
    close(&samples, &sums, 1e-5);
}

#[test]
fn tokens_are_scored_only_where_they_are_asked_for() {
    let mut n = Numbers(2);
    let token = |n: &mut Numbers| Some(vec![(1, n.vector(3), 0), (4, n.vector(3), 0)]);
    let store = TestStore::with(&[("pool", 2), ("val", 1), ("words", 1)]);
    let refuse = |spec: &InfluenceSpec| Prepared::new(&store.snapshot(), spec).err().unwrap().to_string();
    store.features(
        &[
            Feature::new("pool", "grad-adam", 0, present(&n.vectors(2, 3))),
            Feature::new("val", "grad-sgd", 0, present(&n.vectors(1, 3))),
        ],
        None,
    );
    assert_eq!(
        refuse(&ask_tokens()),
        "dataset `pool` has no `grad-adam` feature of tokens; it has none of tokens at all; compute some with an ingest of grad-adam per token"
    );
    let of_samples = scores(&plan(&store, &ask("pool", "val")));
    store.features(
        &[
            Feature::of_tokens("pool", "grad-adam", 0, vec![token(&mut n), token(&mut n)]),
            Feature::of_tokens("words", "grad-adam", 0, vec![token(&mut n)]),
        ],
        None,
    );
    assert_eq!(scores(&plan(&store, &ask("pool", "val"))), of_samples, "those of tokens change nothing");
    assert_eq!(all_scores(&plan(&store, &ask_tokens()), 1).len(), 4);
    let error = refuse(&ask("words", "val"));
    assert!(
        error.contains("no `grad-adam` feature of samples") && error.contains("per_token => true"),
        "{error}"
    );
    let error = refuse(&InfluenceSpec { target_kind: Some("grad-adam".into()), ..ask("pool", "words") });
    assert!(error.contains("dataset `words` has no `grad-adam` feature of samples"), "{error}");
    let named = |per_token| {
        let features = vec!["pool/grad-adam-tokens@checkpoint-100".into()];
        InfluenceSpec { features, per_token, ..ask("pool", "val") }
    };
    let error = refuse(&named(false));
    assert!(error.contains("has a vector for each token"), "{error}");
    // A fit takes vectors and scores none.
    for spec in [named(false), ask("words", "val")] {
        let error = refuse(&InfluenceSpec { unscored: true, ..spec });
        assert!(error.contains("of samples") && !error.contains("per_token"), "{error}");
    }
    assert_eq!(all_scores(&plan(&store, &named(true)), 1).len(), 4);
}

#[test]
fn what_lacks_the_feature_is_what_is_named() {
    let mut n = Numbers(3);
    let token = |n: &mut Numbers| Some(vec![(1, n.vector(3), 0)]);
    let store = TestStore::with(&["words", "more", "bare", "val"].map(|name| (name, 1)));
    store.features(
        &[
            Feature::of_tokens("words", "grad-sgd", 0, vec![token(&mut n)]),
            Feature::of_tokens("more", "grad-sgd", 0, vec![token(&mut n)]),
            Feature::new("val", "grad-sgd", 0, present(&n.vectors(1, 3))),
        ],
        None,
    );
    let refuse = |spec: &InfluenceSpec| Prepared::new(&store.snapshot(), spec).err().unwrap().to_string();
    let pools = |pools: &[&str]| pools.iter().map(|pool| (*pool).to_owned()).collect();
    let only = refuse(&ask("words", "val"));
    for part in ["`words`", "features of tokens only (grad-sgd)", "per_token => true", "an ingest of "] {
        assert!(only.contains(part), "{part} is not in {only}");
    }
    for order in [["words", "bare", "more"], ["bare", "more", "words"]] {
        let error = refuse(&InfluenceSpec { pools: pools(&order), ..ask_tokens() });
        assert!(error.starts_with("dataset `bare` has no `grad-sgd` feature of tokens"), "{error}");
    }
    let error = refuse(&InfluenceSpec { pools: pools(&["val", "bare"]), ..ask("val", "val") });
    assert!(error.starts_with("dataset `bare` has no `grad-sgd` feature;"), "{error}");
    // The target is what lacks vectors of samples, also where it is the pool too.
    let both = InfluenceSpec { per_token: true, ..ask("words", "words") };
    let error = Prepared::new(&store.snapshot(), &both).err().unwrap();
    assert!(matches!(error, QueryError::NoFeature { side: SideOf::Target, .. }), "{error}");
    assert!(!error.to_string().contains("per_token"), "{error}");
    let kinds = Remedy::named_in(&error, |remedy| match *remedy {
        Remedy::IngestKind { kind, per_token, .. } => (kind.to_owned(), per_token),
        _ => panic!("{remedy}"),
    });
    assert_eq!(kinds, [("grad-sgd".to_owned(), false)]);

    store.features(&[Feature::new("words", "grad-sgd", 0, present(&n.vectors(1, 3)))], None);
    let named = |per_token, target| {
        let features = vec!["words/grad-sgd@checkpoint-100".into()];
        InfluenceSpec { features, per_token, ..ask("words", target) }
    };
    let error = refuse(&named(true, "val"));
    assert!(error.contains("has a vector for each sample") && error.contains("`per_token"), "{error}");
    plan(&store, &named(false, "val"));
    // As the target's it is used.
    plan(&store, &named(true, "words"));
}

#[test]
fn whole_rows_without_a_score_are_counted_apart_from_tokens() {
    let mut n = Numbers(9);
    let tokens = vec![
        Some(vec![(1, n.vector(3), 0), (2, vec![f32::NAN; 3], 0), (3, n.vector(3), 0)]),
        Some(vec![(0, n.vector(3), 1)]),
        None,
        Some(vec![(5, n.vector(3), 0)]),
    ];
    let val = Feature::new("val", "grad-sgd", 0, present(&n.vectors(1, 3)));
    let store = TestStore::of(&[Feature::of_tokens("pool", "grad-sgd", 0, tokens), val]);
    let spec = InfluenceSpec { missing: Missing::Exclude, ..ask_tokens() };
    let summary = plan(&store, &spec).top_k(Order::Best, 9, None, 1, &GO).unwrap().summary;
    assert_eq!((summary.scanned, summary.eligible, summary.excluded.total()), (6, 3, 3));
    assert_eq!(summary.whole_rows, 2, "rows 1 and 2; of row 0 only a token has no score");
}

#[test]
fn the_catalog_says_nearly_how_many_results_there_can_be() {
    let mut n = Numbers(6);
    let tokens = |n: &mut Numbers, dim| (1..=7).map(|pos| (pos, n.vector(dim), 0)).collect();
    for (dim, dtype) in [(1, DType::F16), (1, DType::I8), (300, DType::F16)] {
        let rows = (0..900).map(|_| Some(tokens(&mut n, dim))).collect();
        let mut pool = Feature::of_tokens("pool", "grad-sgd", 0, rows);
        (pool.dtype, pool.cut) = (dtype, 500);
        let store = TestStore::of(&[pool, Feature::new("val", "grad-sgd", 0, present(&n.vectors(1, dim)))]);
        let plan = plan(&store, &ask_tokens());
        let most = plan.most_results();
        assert!((6_300..6_930).contains(&most), "{most} of 6300 with {dim} x {dtype:?}");
    }
}

#[test]
fn positions_of_different_encodings_are_not_matched() {
    let mut n = Numbers(4);
    let store = TestStore::with(&[("pool", 1), ("val", 1)]);
    let mut features = Vec::new();
    for (c, encoding) in [(0, 'e'), (1, 'f')] {
        let pool = Feature::of_tokens("pool", "grad-sgd", c, vec![Some(vec![(1, n.vector(2), 0)])]);
        features.push(Feature { encoding, ..pool });
        features.push(Feature::new("val", "grad-sgd", c, present(&n.vectors(1, 2))));
    }
    store.features(&features, Some(store.run("warmup", &[None, None])));
    let error = Prepared::new(&store.snapshot(), &ask_tokens()).err().unwrap().to_string();
    assert!(error.contains("different encodings") && error.contains("of tokens"), "{error}");
    let one = InfluenceSpec { checkpoints: Some(vec!["200".into()]), ..ask_tokens() };
    assert_eq!(all_scores(&plan(&store, &one), 1).len(), 1);
}
