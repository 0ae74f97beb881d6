//! Promise: of several features those that are named decide, and where a choice is left it is refused with what
//! there is to choose from.

use crate::common::*;
use crate::planning::{error, with};
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_store::DType;

#[test]
fn several_features_of_a_kind_need_a_choice_unless_one_space_fits() {
    let mut numbers = Numbers(1);
    let store = TestStore::with(&[("pool", 2), ("val", 2)]);
    let vectors = numbers.vectors(2, 6);
    let projected = |dataset: &str, kind: &str, rows: &[Vec<f32>]| {
        let mut feature = Feature::new(dataset, kind, 0, present(rows));
        feature.projection = "a".repeat(64);
        feature
    };
    let mut features = vec![
        Feature::new("pool", "grad-adam", 0, present(&vectors)),
        projected("pool", "grad-adam", &numbers.vectors(2, 4)),
        projected("val", "grad-sgd", &numbers.vectors(2, 4)),
    ];
    store.features(&features, None);
    let only = plan(&store, &ask("pool", "val"));
    assert_eq!(only.pools()[0].features[0].desc.dim(), 4, "the only space of both sides");

    features = vec![Feature::new("val", "grad-sgd", 0, present(&vectors))];
    store.features(&features, None);
    let message = error(&store, &ask("pool", "val"));
    assert!(
        message.contains("ambiguous") && message.contains("dim 6") && message.contains("dim 4"),
        "{message}"
    );
    assert!(message.contains("with `features => '") && message.contains("a drop of feature "), "{message}");
    let number = |dataset, dim| {
        let snapshot = store.snapshot();
        let found = snapshot.features().iter().find(|f| f.desc.dataset == dataset && f.desc.dim() == dim);
        found.unwrap().number.to_string()
    };
    let chosen = plan(&store, &with(|s| s.features = vec![number("pool", 6)]));
    assert_eq!(chosen.targets()[0].features[0].desc.dim(), 6);

    let mut half = Feature::new("pool", "grad-adam", 0, present(&vectors));
    half.dtype = DType::F16;
    store.features(&[half], None);
    let message = error(&store, &with(|s| s.features = vec![number("val", 6)]));
    assert!(message.contains("f16") && message.contains("f32"), "{message}");
}

#[test]
fn the_way_out_of_a_choice_is_one_family_at_all_checkpoints() {
    /// The features of a pool and a target at these checkpoints, in a space of `dim` coordinates.
    fn family(dataset: &str, dim: usize, checkpoints: std::ops::Range<usize>) -> Vec<Feature> {
        let (kind, rows) = if dataset == "pool" { ("grad-adam", 3) } else { ("grad-sgd", 2) };
        let feature = |c| {
            let vectors = Numbers(dim as u64).vectors(rows, dim);
            Feature {
                projection: dim.to_string().repeat(64),
                ..Feature::new(dataset, kind, c, present(&vectors))
            }
        };
        checkpoints.map(feature).collect()
    }
    let of = |store: &TestStore, dim: u32, checkpoints: usize| -> Vec<u32> {
        let snapshot = store.snapshot();
        let is = |c: usize| {
            let id = checkpoint_id(c);
            snapshot
                .features()
                .iter()
                .filter(move |f| f.desc.dim() == dim && f.desc.checkpoint.as_ref() == Some(&id))
                .map(|f| f.number)
                .collect::<Vec<_>>()
        };
        let mut numbers: Vec<u32> = (0..checkpoints).flat_map(is).collect();
        numbers.sort_unstable();
        numbers
    };
    let ways = |store: &TestStore, spec: &InfluenceSpec| match Prepared::new(&store.snapshot(), spec).err() {
        Some(QueryError::Ambiguous { keep, remove, .. }) => {
            let numbers = |texts: Vec<&str>| texts.iter().map(|n| n.parse().unwrap()).collect::<Vec<u32>>();
            (numbers(keep.split(',').collect()), numbers(remove.iter().map(String::as_str).collect()))
        }
        other => panic!("{other:?}"),
    };
    let store = TestStore::with(&[("pool", 3), ("val", 2)]);
    store.features(&family("pool", 6, 0..4), None).features(&family("pool", 4, 0..4), None);
    let given = with(|s| (s.targets, s.given) = (Vec::new(), vec!["{\"text\":\"a\"}".into()]));
    assert_eq!(ways(&store, &given), (of(&store, 6, 4), of(&store, 4, 4)), "the older one");

    store.features(&family("val", 4, 0..4), None).features(&family("val", 6, 0..4), None);
    let (keep, remove) = ways(&store, &ask("pool", "val"));
    assert_eq!((&keep, &remove), (&of(&store, 6, 4), &of(&store, 4, 4)), "with a target of both");
    let named = with(|s| s.features = keep.iter().map(u32::to_string).collect());
    let chosen = plan(&store, &named);
    assert_eq!(chosen.checkpoints().len(), 4);
    assert!(chosen.pools()[0].features.iter().all(|f| f.desc.dim() == 6));

    let store = TestStore::with(&[("pool", 3)]);
    store.features(&family("pool", 6, 0..3), None).features(&family("pool", 4, 0..4), None);
    let (keep, remove) = ways(&store, &given);
    assert_eq!((&keep, &remove), (&of(&store, 4, 4), &of(&store, 6, 3)), "the one of all checkpoints");
    let named = InfluenceSpec { features: keep.iter().map(u32::to_string).collect(), ..given };
    let at = Plan::new(&store.snapshot(), &named).unwrap().checkpoints().len();
    assert_eq!(at, 4, "also where there is no choice");
}

#[test]
fn neighbours_are_looked_for_at_the_newest_checkpoint_also_where_features_need_a_choice() {
    let store = TestStore::with(&[("pool", 3)]);
    for dim in [6_usize, 4] {
        let feature = |c| Feature {
            projection: dim.to_string().repeat(64),
            ..Feature::new("pool", "embed-mean", c, present(&Numbers(dim as u64).vectors(3, dim)))
        };
        let run = (dim == 6).then(|| store.run("warmup", &[Some(1.0), Some(1.0)]));
        store.features(&[feature(0), feature(1)], run);
    }
    let spec = with(|s| (s.targets, s.pool_kind) = (Vec::new(), Some("embed-mean".into())));
    let newest = Plan::default_checkpoint(&store.snapshot(), &spec);
    assert_eq!(newest, Some(("checkpoint-200".to_owned(), 2)));
    let at = InfluenceSpec { checkpoints: Some(vec!["checkpoint-200".into()]), ..spec.clone() };
    assert_eq!(Plan::default_checkpoint(&store.snapshot(), &at), None, "one is named");
    let about = || AtHandVector::Row { pool: 0, row: 1 };
    let keep = match Plan::about_vector(&store.snapshot(), &at, about()).err() {
        Some(QueryError::Ambiguous { what, keep, .. }) if what.ends_with(" at checkpoint-200") => keep,
        other => panic!("{other:?}"),
    };
    // The way out is one, without a checkpoint.
    let named = InfluenceSpec { features: vec![keep], ..spec };
    assert_eq!(Plan::default_checkpoint(&store.snapshot(), &named), None, "a feature is named");
    let plan = Plan::about_vector(&store.snapshot(), &named, about()).unwrap();
    assert_eq!(plan.checkpoints()[0].name, "checkpoint-200");
}

/// A pool with features 1 to 6, grad-adam, grad-sgd and embed-mean at two checkpoints, a target with 7 to 10,
/// grad-sgd and embed-mean, and another dataset with 11.
fn of_kinds() -> TestStore {
    let mut numbers = Numbers(2);
    let store = TestStore::with(&[("pool", 4), ("val", 2), ("other", 2)]);
    let mut add = |dataset: &str, kind: &str, c: usize, rows: usize, dim: usize| {
        let vectors = present(&numbers.vectors(rows, dim));
        let run = (dataset == "other").then(|| store.run("warmup", &[Some(3.0), Some(1.0)]));
        store.features(&[Feature::new(dataset, kind, c, vectors)], run);
    };
    for c in 0..2 {
        add("pool", "grad-adam", c, 4, 6);
        add("pool", "grad-sgd", c, 4, 6);
        add("pool", "embed-mean", c, 4, 3);
    }
    for c in 0..2 {
        add("val", "grad-sgd", c, 2, 6);
        add("val", "embed-mean", c, 2, 3);
    }
    add("other", "grad-sgd", 0, 2, 6);
    store
}

fn naming(names: &str) -> InfluenceSpec {
    with(|s| s.features = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

/// The numbers of the features of the pool, then of the target.
fn used(plan: &Prepared) -> [Vec<u32>; 2] {
    [&plan.pools()[0], &plan.targets()[0]].map(|side| side.features.iter().map(|f| f.number).collect())
}

#[test]
fn named_features_decide_on_kinds_and_checkpoints() {
    let store = of_kinds();
    assert_eq!(used(&plan(&store, &naming(""))), [vec![1, 4], vec![7, 9]]);
    for (names, [pool, target]) in [
        ("2,5", [vec![2, 5], vec![7, 9]]),
        ("2", [vec![2], vec![7]]),
        ("pool/grad-sgd@checkpoint-200", [vec![5], vec![9]]),
        ("3", [vec![3], vec![8]]),
        // Of the target alone.
        ("9", [vec![4], vec![9]]),
        ("8", [vec![3], vec![8]]),
        // Of both.
        ("grad-sgd@checkpoint-100", [vec![2], vec![7]]),
        ("grad-adam@checkpoint-200,grad-sgd@checkpoint-200", [vec![4], vec![9]]),
    ] {
        assert_eq!(used(&plan(&store, &naming(names))), [pool, target], "{names}");
    }
    let asked = InfluenceSpec { pool_kind: Some("grad-sgd".into()), ..naming("2") };
    assert_eq!(used(&plan(&store, &asked)), [vec![2], vec![7]]);
    // Checkpoints that are asked for stay, and a named feature is that of its own.
    let asked = InfluenceSpec { checkpoints: Some(vec!["100".into(), "200".into()]), ..naming("2") };
    assert_eq!(used(&plan(&store, &asked)), [vec![2, 5], vec![7, 9]]);
    // A dataset that is compared with itself.
    let itself = |names| InfluenceSpec { targets: vec![TargetRef::parse("pool")], ..naming(names) };
    assert_eq!(used(&plan(&store, &itself("2,5"))), [vec![2, 5], vec![2, 5]]);
    assert_eq!(used(&plan(&store, &itself("1"))), [vec![1], vec![2]]);
    assert_eq!(used(&plan(&store, &itself("1,2"))), [vec![1], vec![2]]);
    let vector = InfluenceSpec { targets: Vec::new(), ..naming("3") };
    let about = AtHandVector::Row { pool: 0, row: 1 };
    let near = Prepared::about_vector(&store.snapshot(), &vector, about, None).unwrap();
    assert_eq!(near.pools()[0].features[0].number, 3);
}

#[test]
fn a_named_feature_that_would_not_be_used_is_refused() {
    let store = of_kinds();
    let of = |names: &str, change: fn(&mut InfluenceSpec)| {
        let mut spec = naming(names);
        change(&mut spec);
        error(&store, &spec)
    };
    for (said, parts) in [
        (of("1,5", |_| {}), ["`5` (#5 pool/grad-sgd@checkpoint-200)", "one kind of each side"]),
        (of("2", |s| s.pool_kind = Some("grad-adam".into())), ["`2` (#2 pool", "of the pool is grad-adam"]),
        (of("8", |s| s.target_kind = Some("grad-sgd".into())), ["`8` (#8 val", "of the target is grad-sgd"]),
        (of("1,4", |s| s.checkpoints = Some(vec!["200".into()])), ["`1` (#1 pool", "about checkpoint-200"]),
        (of("2,5,7", |_| {}), ["`5` (#5 pool", "only at checkpoint-100"]),
        (of("2,9", |_| {}), ["no checkpoint", "with those that `features` names"]),
        (of("11", |_| {}), ["`11` (#11 other/grad-sgd@checkpoint-100)", "`other` is not a pool or target"]),
        (
            of("99", |_| {}),
            ["available: #1 pool/grad-adam@checkpoint-100, ", "#2 pool/grad-sgd@checkpoint-100"],
        ),
    ] {
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?} in {said}");
    }
}

#[test]
fn gradients_of_elsewhere_are_compared_with_their_own_kind_where_the_target_has_it() {
    let store = of_kinds();
    let mut numbers = Numbers(5);
    let mine = |s: &mut InfluenceSpec| s.pool_kind = Some("grad-mine".into());
    store.features(&[Feature::new("pool", "grad-mine", 0, present(&numbers.vectors(4, 6)))], None);
    assert_eq!(plan(&store, &with(mine)).targets()[0].kind, "grad-sgd");
    store.features(&[Feature::new("val", "grad-mine", 0, present(&numbers.vectors(2, 6)))], None);
    assert_eq!(plan(&store, &with(mine)).targets()[0].kind, "grad-mine");
    assert_eq!(plan(&store, &with(|_| {})).targets()[0].kind, "grad-sgd");
}
