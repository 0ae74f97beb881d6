//! Promise: a question that cannot be answered as asked is refused with what is wrong and what would work.

use crate::common::*;
use gstore_core::{Cancel, Remedy};
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_store::Preconditioned;

fn base() -> TestStore {
    let mut numbers = Numbers(1);
    let store = TestStore::new();
    store.dataset("pool", 4).dataset("other", 2).dataset_of("val", &[Some("law"), None]);
    let mut features = Vec::new();
    for c in 0..3 {
        features.push(Feature::new("pool", "grad-adam", c, present(&numbers.vectors(4, 6))));
        features.push(Feature::new("pool", "embed-mean", c, present(&numbers.vectors(4, 3))));
        features.push(Feature::new("val", "embed-mean", c, present(&numbers.vectors(2, 3))));
        features.push(Feature::new("pool", "loss", c, present(&numbers.vectors(4, 1))));
        features.push(Feature::new("val", "loss", c, present(&numbers.vectors(2, 1))));
        if c < 2 {
            features.push(Feature::new("val", "grad-sgd", c, present(&numbers.vectors(2, 6))));
        }
    }
    let run = store.run("warmup", &[Some(3.0), Some(1.0), Some(4.0)]);
    store.features(&features, Some(run));
    store
}

pub(crate) fn error(store: &TestStore, spec: &InfluenceSpec) -> String {
    match Prepared::new(&store.snapshot(), spec) {
        Err(error) => error.to_string(),
        Ok(plan) => plan.top_k(Order::Best, 1, None, 1, &GO).unwrap_err().to_string(),
    }
}

pub(crate) fn with(change: impl FnOnce(&mut InfluenceSpec)) -> InfluenceSpec {
    let mut spec = ask("pool", "val");
    change(&mut spec);
    spec
}

fn names(plan: &Prepared) -> Vec<&str> {
    plan.checkpoints().iter().map(|c| c.name.as_str()).collect()
}

#[test]
fn defaults_are_less() {
    let store = base();
    let plan = plan(&store, &ask("pool", "val"));
    assert_eq!(names(&plan), ["checkpoint-100", "checkpoint-200"], "those that both sides have");
    assert_eq!(plan.checkpoints().iter().map(|c| c.weight).collect::<Vec<_>>(), [0.75, 0.25]);
    assert_eq!((plan.run(), plan.live()), (Some("warmup"), 4));
    assert_eq!((plan.pools()[0].kind.as_str(), plan.targets()[0].kind.as_str()), ("grad-adam", "grad-sgd"));
    assert!(
        plan.notes()[0].contains("checkpoint-300") && plan.notes()[0].contains("`val`"),
        "{:?}",
        plan.notes()
    );
    assert!(matches!(plan.subtasks(&Cancel::raised()), Err(QueryError::Cancelled(_))), "they are read");
    assert_eq!(plan.subtasks(&GO).unwrap(), ["law", "val"]);
}

#[test]
fn an_embedding_is_compared_with_its_own_kind() {
    let store = base();
    for spec in [
        with(|s| s.pool_kind = Some("embed-mean".into())),
        with(|s| s.target_kind = Some("embed-mean".into())),
    ] {
        let plan = plan(&store, &spec);
        assert_eq!(
            (plan.pools()[0].kind.as_str(), plan.targets()[0].kind.as_str()),
            ("embed-mean", "embed-mean")
        );
        assert_eq!(plan.checkpoints().len(), 3);
    }
    let mixed = error(
        &store,
        &with(|s| (s.pool_kind, s.target_kind) = (Some("embed-mean".into()), Some("grad-sgd".into()))),
    );
    assert!(mixed.contains("cannot be compared") && mixed.contains("family"), "{mixed}");
    let loss = error(&store, &with(|s| s.pool_kind = Some("loss".into())));
    assert!(loss.contains("holds single numbers"), "{loss}");
}

#[test]
fn a_kind_at_other_checkpoints_is_not_in_the_way_of_one_that_both_sides_have() {
    let mut numbers = Numbers(3);
    let store = TestStore::new();
    store.dataset("pool", 4).dataset_of("val", &[None, None]).dataset_of("late", &[None, None]);
    let mut feature = |dataset, kind, c, rows| {
        let vectors = present(&numbers.vectors(rows, 6));
        store.features(&[Feature::new(dataset, kind, c, vectors)], None);
    };
    feature("pool", "grad-sgd", 0, 4);
    feature("val", "grad-sgd", 0, 2);
    let kinds = |plan: &Prepared| (plan.pools()[0].kind.clone(), plan.targets()[0].kind.clone());
    let sgd = || ("grad-sgd".to_owned(), "grad-sgd".to_owned());
    let first = plan(&store, &ask("pool", "val"));
    assert_eq!((kinds(&first), first.notes().len()), (sgd(), 0));
    // The pool's kind of a later checkpoint, where the target has nothing.
    feature("pool", "grad-adam", 1, 4);
    let again = plan(&store, &ask("pool", "val"));
    assert_eq!((kinds(&again), scores(&again)), (sgd(), scores(&first)));
    let note = "the pool has grad-adam at no checkpoint where every target has grad-sgd, so its grad-sgd is compared";
    assert!(again.notes()[0].contains(note), "{:?}", again.notes());
    // Where it is asked for, and where no kind fits, labels say what there is.
    feature("late", "grad-sgd", 2, 2);
    let asked = with(|s| s.pool_kind = Some("grad-adam".into()));
    for (spec, target) in [
        (asked, "`val` has grad-sgd@checkpoint-100"),
        (ask("pool", "late"), "`late` has grad-sgd@checkpoint-300"),
    ] {
        let error = error(&store, &spec);
        assert!(error.contains("`pool` has grad-adam@checkpoint-200") && error.contains(target), "{error}");
        assert!(error.contains("`pool_kind => 'KIND'`"), "{error}");
    }
    // With the target's gradients there, it is the usual pair.
    feature("val", "grad-sgd", 1, 2);
    let usual = plan(&store, &ask("pool", "val"));
    assert_eq!(kinds(&usual), ("grad-adam".to_owned(), "grad-sgd".to_owned()));
}

#[test]
fn unknown_names_come_with_the_nearest() {
    let store = base();
    let cases = [
        (ask("pol", "val"), "pool"),
        (ask("pool", "vall"), "val"),
        (ask("pool", "val:lau"), "law"),
        (with(|s| s.run = Some("warmap".into())), "warmup"),
        (with(|s| s.checkpoints = Some(vec!["checkpoint-10".into()])), "checkpoint-100"),
        (with(|s| s.features = vec!["grad-adm@checkpoint-100".into()]), "pool/grad-adam@checkpoint-100"),
        (with(|s| s.features = vec!["grad_adam".into()]), "pool/grad-adam@checkpoint-100"),
        (with(|s| s.pool_kind = Some("grad-adm".into())), "grad-adam"),
        (with(|s| s.target_kind = Some("embed-maen".into())), "embed-mean"),
    ];
    for (spec, nearest) in cases {
        let error = error(&store, &spec);
        assert!(
            error.contains(&format!("did you mean {nearest:?}")) || error.contains(&format!("{nearest:?}?")),
            "{error}"
        );
    }
    let error = error(&store, &ask("other", "val"));
    assert!(error.contains("`other`") && error.contains("no features yet"), "{error}");
    let error = self::error(&store, &with(|s| s.pool_kind = Some("grad-sign".into())));
    assert!(error.contains("it has embed-mean, grad-adam, loss"), "{error}");
}

#[test]
fn without_gradients_the_embeddings_that_all_have_are_named() {
    let mut numbers = Numbers(4);
    let store = TestStore::with(&[("pool", 2), ("val", 2), ("bare", 2)]);
    let own: Vec<Feature> = ["pool", "val"]
        .map(|dataset| Feature::new(dataset, "embed-mine", 0, present(&numbers.vectors(2, 3))))
        .into();
    store.features(&own, None);
    let said = error(&store, &ask("pool", "val"));
    assert!(said.ends_with("it has embed-mine; rank by `kind => 'embed-mine'`"), "{said}");
    plan(&store, &with(|s| s.pool_kind = Some("embed-mine".into())));
    // Not where a target lacks it, where it was named, or for dot products, as those of rows with themselves.
    let itself = InfluenceSpec { sim: Sim::Dot, ..ask("pool", "pool") };
    for spec in [ask("pool", "bare"), with(|s| s.pool_kind = Some("grad-sign".into())), itself] {
        let said = error(&store, &spec);
        assert!(said.contains("it has embed-mine; compute others with"), "{said}");
    }
    // With one that was computed here, others can be, too.
    store.features(&[Feature::new("pool", "embed-mean", 0, present(&numbers.vectors(2, 3)))], None);
    let said = error(&store, &ask("pool", "val"));
    let hint = "rank by `kind => 'embed-mine'`, or compute others with an ingest of grad-adam";
    assert!(said.ends_with(hint), "{said}");
}

#[test]
fn uploaded_gradients_are_named_and_what_lacks_them_needs_an_upload() {
    let mut numbers = Numbers(4);
    let store = TestStore::with(&[("pool", 2), ("val", 2), ("bare", 2), ("other", 2)]);
    let mut feature = |dataset, kind| {
        store.features(&[Feature::new(dataset, kind, 0, present(&numbers.vectors(2, 6)))], None);
    };
    feature("pool", "grad-mine");
    feature("val", "grad-mine");
    feature("other", "embed-mean");
    for spec in [ask("pool", "val"), with(|s| s.sim = Sim::Dot)] {
        let said = error(&store, &spec);
        assert!(said.ends_with("it has grad-mine; rank by `kind => 'grad-mine'`"), "{said}");
    }
    plan(&store, &with(|s| s.pool_kind = Some("grad-mine".into())));
    let way = "an upload of vectors of that kind makes one (docs/server.md, Uploads)";
    for (target, has) in [("bare", "no features yet: "), ("other", "embed-mean; ")] {
        let kind = || Some("grad-mine".to_owned());
        let spec = InfluenceSpec { pool_kind: kind(), target_kind: kind(), ..ask("pool", target) };
        let said = error(&store, &spec);
        assert!(
            said.ends_with(&format!("`{target}` has no `grad-mine` feature; it has {has}{way}")),
            "{said}"
        );
    }
}

#[test]
fn a_kind_that_nothing_has_is_told_from_those_that_are_stored() {
    let store = TestStore::with(&[("pool", 2), ("val", 2)]);
    let vectors = present(&Numbers(4).vectors(2, 6));
    store.features(&[Feature::new("pool", "grad-sgd", 0, vectors)], None);
    let of = |kind: &str| error(&store, &with(|s| s.pool_kind = Some(kind.to_owned())));
    let said = of("colours");
    let has =
        "dataset `pool` has no `colours` feature; it has grad-sgd; an ingest computes the kinds grad-adam, ";
    let others = "residual, and vectors of any other are uploaded (docs/server.md, Uploads)";
    assert!(said.starts_with(has) && said.ends_with(others), "{said}");
    assert_eq!(of("grad-sdg"), "there is no feature kind \"grad-sdg\"; did you mean \"grad-sgd\"?");
}

/// Dataset, run and kind of the ingests that an error names.
fn ingests(store: &TestStore, spec: &InfluenceSpec) -> Vec<[String; 3]> {
    let error = Prepared::new(&store.snapshot(), spec).err().unwrap();
    Remedy::named_in(&error, |remedy| match *remedy {
        Remedy::IngestKind { kind, per_token: false, dataset, run } => {
            [dataset, run, kind].map(str::to_owned)
        }
        _ => panic!("{remedy}"),
    })
}

#[test]
fn what_computes_a_missing_feature_has_its_dataset_and_run() {
    let store = base();
    let remedies = |spec: &InfluenceSpec| ingests(&store, spec);
    let of_pool = with(|s| s.pool_kind = Some("grad-sign".into()));
    assert_eq!(remedies(&of_pool), [["pool", "warmup", "grad-sign"]]);
    // One without features takes the run of the others.
    assert_eq!(remedies(&ask("other", "val")), [["other", "warmup", "grad-adam"]]);
}

#[test]
fn what_is_missing_is_computed_where_the_rest_is_complete() {
    let mut numbers = Numbers(6);
    let store = TestStore::with(&[("pool", 2), ("val", 2)]);
    let mut of_pool = |kind: &str, checkpoint: usize, dim: usize, complete: bool| {
        let vectors = present(&numbers.vectors(2, dim));
        Feature { complete, ..Feature::new("pool", kind, checkpoint, vectors) }
    };
    let run = |name: &str, used: std::ops::Range<usize>| {
        let mut run = store.run(name, &[None; 4]);
        run.checkpoints = run.checkpoints.drain(used).collect();
        run
    };
    store.features(&[of_pool("grad-adam", 0, 6, true)], Some(run("early", 0..1)));
    // The newer run has numbers of all rows, and gradients of some.
    let late = [of_pool("loss", 2, 1, true), of_pool("loss", 3, 1, true)];
    store.features(&late, Some(run("late", 2..4)));
    store.features(&[of_pool("grad-adam", 2, 6, false)], None);
    assert_eq!(ingests(&store, &ask("pool", "val")), [["val", "early", "grad-sgd"]]);
    assert_eq!(ingests(&store, &ask("pool", "pool")), [["pool", "early", "grad-sgd"]]);
    let sign = with(|s| s.pool_kind = Some("grad-sign".into()));
    assert_eq!(ingests(&store, &sign), [["pool", "early", "grad-sign"]]);
    let named = with(|s| s.run = Some("late".into()));
    assert_eq!(ingests(&store, &named), [["val", "late", "grad-sgd"]]);
    // Of equal ones the newest.
    store.features(&[of_pool("grad-adam", 3, 6, true)], None);
    assert_eq!(ingests(&store, &ask("pool", "val")), [["val", "late", "grad-sgd"]]);
}

#[test]
fn checkpoints_by_name_step_or_id_in_any_order() {
    let store = base();
    let named = |names: &[&str], weights: Option<Vec<f64>>| {
        with(|s| (s.checkpoints, s.weights) = (Some(names.iter().map(|n| n.to_string()).collect()), weights))
    };
    let ordered = plan(&store, &named(&["200", "checkpoint-100"], Some(vec![1.0, 4.0])));
    assert_eq!(names(&ordered), ["checkpoint-100", "checkpoint-200"]);
    assert_eq!(ordered.checkpoints().iter().map(|c| c.weight).collect::<Vec<_>>(), [0.8, 0.2]);
    let by_id = plan(&store, &named(&[&checkpoint_id(1)], None));
    assert_eq!((names(&by_id), by_id.checkpoints()[0].weight), (vec!["checkpoint-200"], 1.0));

    let lacks = error(&store, &named(&["300"], None));
    assert!(lacks.contains("`val` has no `grad-sgd` feature at checkpoint-300"), "{lacks}");
    assert!(error(&store, &named(&["100", "checkpoint-100"], None)).contains("named twice"));
    assert!(error(&store, &named(&["100", "200"], Some(vec![1.0]))).contains("1 weight for 2 checkpoints"));
    for (wrong, says) in [
        (vec![0.0, 0.0], "not be all zero; give others with `weights`"),
        (vec![1.0, -1.0], "not negative; these are not: -1.0"),
        (vec![f64::NAN, 1.0], "these are not: NaN"),
        (vec![f64::INFINITY, 1.0], "these are not: inf"),
        (vec![1e308, 1e308], "the sum of the weights is too large"),
    ] {
        let error = error(&store, &named(&["100", "200"], Some(wrong)));
        assert!(error.contains(says), "{error}");
    }
    let many = error(&store, &named(&["100", "200"], Some(vec![-1.0; 200])));
    assert!(many.contains("200 weights for 2 checkpoints"), "{many}");
}

#[test]
fn pools_and_targets_must_be_named_once() {
    let store = base();
    assert!(error(&store, &with(|s| s.pools.clear())).contains("at least one pool"));
    assert!(error(&store, &with(|s| s.targets.clear())).contains("at least one target"));
    assert!(error(&store, &with(|s| s.pools.push("pool".into()))).contains("named twice"));
}

#[test]
fn spaces_that_differ_are_named() {
    let mut numbers = Numbers(1);
    let mut other = Feature::new("val", "grad-sgd", 0, present(&numbers.vectors(2, 6)));
    other.projection = "f".repeat(64);
    let store =
        TestStore::of(&[Feature::new("pool", "grad-adam", 0, present(&numbers.vectors(2, 6))), other]);
    let error = error(&store, &ask("pool", "val"));
    assert!(error.contains("projection: none against ffff"), "{error}");
    assert!(
        error.contains("pool/grad-adam@checkpoint-100") && error.contains("val/grad-sgd@checkpoint-100"),
        "{error}"
    );
}

#[test]
fn projections_that_differ_are_described_and_the_way_out_is_told() {
    let projected = |dataset: &str, kind: &str, dim: usize, change: fn(&mut gstore_store::FeatureAttrs)| {
        let projection = dim.to_string().repeat(64);
        let vectors = present(&Numbers(1).vectors(2, dim));
        Feature { projection, change, ..Feature::new(dataset, kind, 0, vectors) }
    };
    let said = |pool: fn(&mut gstore_store::FeatureAttrs)| {
        let target = projected("val", "grad-sgd", 4, |a| {
            a.provenance.insert("projection".into(), "sjlt, 4, seed 0".into());
        });
        let store = TestStore::of(&[projected("pool", "grad-adam", 6, pool), target]);
        error(&store, &ask("pool", "val"))
    };
    let known = said(|a| {
        a.provenance.insert("projection".into(), "fact_sjlt, 6 a module, seed 3".into());
    });
    let end = "cannot be compared: projection: fact_sjlt, 6 a module, seed 3 against sjlt, 4, seed 0; an ingest of \
               grad-sgd for val with projection=fact_sjlt, module_dim=6, seed=3 computes those of `val` as `pool` \
               has its own";
    assert!(known.ends_with(end), "{known}");
    let each = said(|a| {
        let text = "sjlt, 6, seed 3, another matrix for each checkpoint";
        a.provenance.insert("projection".into(), text.into());
    });
    let way = "with projection=sjlt, dim=6, seed=3, projection_per_checkpoint computes those of `val`";
    assert!(each.contains(way), "{each}");
    let of_factors = said(|a| {
        a.provenance.insert("projection".into(), "ekfac, 6 a module, factors 2bcae9c5fef4".into());
    });
    assert!(of_factors.ends_with("factors 2bcae9c5fef4 against sjlt, 4, seed 0"), "{of_factors}");
    let unknown = said(|_| {});
    assert!(unknown.ends_with(&format!("{} against {}", "6".repeat(64), "4".repeat(64))), "{unknown}");
}

#[test]
fn attributes_forbid_what_would_mean_nothing() {
    let mut numbers = Numbers(1);
    let mut store = |pool: fn(&mut gstore_store::FeatureAttrs),
                     target: fn(&mut gstore_store::FeatureAttrs)| {
        let mut features = [
            Feature::new("pool", "grad-adam", 0, present(&numbers.vectors(2, 6))),
            Feature::new("val", "grad-sgd", 0, present(&numbers.vectors(2, 6))),
        ];
        features[0].change = pool;
        features[1].change = target;
        TestStore::of(&features)
    };
    let dot = with(|s| s.sim = Sim::Dot);
    let unit = store(|a| a.unit = true, |_| {});
    assert!(error(&unit, &dot).contains("scaled to length 1"));
    assert!(Prepared::new(&unit.snapshot(), &ask("pool", "val")).is_ok());
    let both = store(
        |a| a.preconditioned = Preconditioned::Unknown,
        |a| a.preconditioned = Preconditioned::Artifact("x".into()),
    );
    assert!(error(&both, &ask("pool", "val")).contains("at most one side"));
    let one = store(|_| {}, |a| a.preconditioned = Preconditioned::Unknown);
    assert!(Prepared::new(&one.snapshot(), &ask("pool", "val")).is_ok());
    let scales = store(|a| a.dot_scale = 0.5, |_| {});
    assert!(error(&scales, &dot).contains("scaled differently"));
    let plain = plan(&store(|_| {}, |_| {}), &dot).top_k(Order::Best, 2, None, 1, &GO).unwrap();
    assert_eq!(plain.rows.len(), 2);
}

#[test]
fn what_is_behind_a_score_is_scaled_as_the_score() {
    let mut numbers = Numbers(1);
    let mut features = [
        Feature::new("pool", "grad-adam", 0, present(&numbers.vectors(9, 6))),
        Feature::new("val", "grad-sgd", 0, present(&numbers.vectors(2, 6))),
    ];
    features.iter_mut().for_each(|feature| feature.change = |attrs| attrs.dot_scale = 0.5);
    let store = TestStore::of(&features);
    let plan = plan(&store, &with(|s| s.sim = Sim::Dot));
    for scored in plan.top_k(Order::Best, 9, None, 1, &GO).unwrap().rows {
        let pair = plan.pair(0, scored.row, 1, &GO).unwrap().unwrap();
        assert!(
            (pair.value - f64::from(scored.score)).abs() < 1e-5,
            "{} is not {}",
            pair.value,
            scored.score
        );
    }
}

#[test]
fn a_feature_that_is_being_built_needs_partial() {
    let mut numbers = Numbers(1);
    let store = TestStore::with(&[("pool", 4), ("val", 1)]);
    let mut rows = present(&numbers.vectors(4, 6));
    rows.truncate(2);
    let mut building = Feature::new("pool", "grad-adam", 0, rows);
    building.complete = false;
    store.features(&[building], None);
    store.features(&[Feature::new("val", "grad-sgd", 0, present(&numbers.vectors(1, 6)))], None);
    let error = Prepared::new(&store.snapshot(), &ask("pool", "val")).err().unwrap();
    let QueryError::Building { command, .. } = &error else { panic!("{error}") };
    assert_eq!(command.as_deref(), Some("test"));
    let way = "an ingest with the options of the others computes the missing vectors";
    assert!(error.to_string().contains(way), "{error}");
    let allowed = |missing| with(|s| (s.partial, s.missing) = (true, missing));
    let unsaid = plan(&store, &allowed(Missing::default_for(true)));
    let partial = unsaid.top_k(Order::Best, 4, None, 1, &GO).unwrap();
    assert_eq!((partial.rows.len(), partial.summary.excluded.missing), (2, 2));
    let said = self::error(&store, &allowed(Missing::Error));
    assert!(said.contains("2 of 4 rows lack a checkpoint"), "{said}");
    assert!(said.contains("an ingest with the options of the others computes the missing vectors"), "{said}");
    assert_eq!(Missing::default_for(false), InfluenceSpec::default().missing);
    // A target's feature names what computed it as that of a pool does.
    let kind = Some("grad-adam".to_owned());
    let asked = InfluenceSpec { target_kind: kind, ..allowed(Missing::Error) };
    store.features(&[Feature::new("val", "grad-adam", 0, present(&numbers.vectors(1, 6)))], None);
    let turned =
        InfluenceSpec { pools: vec!["val".into()], targets: vec![TargetRef::parse("pool")], ..asked };
    let error = plan(&store, &turned).top_k(Order::Best, 1, None, 1, &GO).unwrap_err();
    let QueryError::Missing { detail, commands, .. } = &error else { panic!("{error}") };
    assert!(detail.starts_with("2 of the target `pool` at "), "{detail}");
    assert_eq!(commands, &[("pool".to_owned(), "test".to_owned())]);
}

#[test]
fn an_uploaded_feature_that_is_being_built_is_completed_by_an_upload() {
    let mut numbers = Numbers(1);
    let store = TestStore::with(&[("pool", 4), ("val", 1)]);
    let mut rows = present(&numbers.vectors(4, 3));
    rows.truncate(2);
    let building = Feature { complete: false, ..Feature::new("pool", "embed-mine", 0, rows) };
    store.features(&[building], None);
    store.features(&[Feature::new("val", "embed-mine", 0, present(&numbers.vectors(1, 3)))], None);
    let kind = || Some("embed-mine".to_owned());
    let said = error(&store, &with(|s| s.pool_kind = kind()));
    let way =
        "an upload of the missing vectors is needed (docs/server.md, Uploads), or ask with `partial => true`";
    assert!(said.contains(way) && !said.contains("ingest"), "{said}");
    // So are the rows that lack it, of a pool and of a target.
    let way = "an upload of the missing vectors is needed (docs/server.md, Uploads), or ask with `missing =>";
    for (pool, target) in [("pool", "val"), ("val", "pool")] {
        let (pool_kind, target_kind, missing) = (kind(), kind(), Missing::Error);
        let said = error(
            &store,
            &InfluenceSpec { pool_kind, target_kind, missing, partial: true, ..ask(pool, target) },
        );
        assert!(said.contains("2 of 4 rows lack a checkpoint") && said.contains(way), "{said}");
        assert!(!said.contains("ingest"), "{said}");
    }
}

#[test]
fn several_runs_need_a_choice_and_without_one_checkpoints_count_the_same() {
    let mut numbers = Numbers(1);
    let store = TestStore::with(&[("pool", 2), ("val", 1)]);
    let mut features = Vec::new();
    for c in 0..2 {
        features.push(Feature::new("pool", "grad-adam", c, present(&numbers.vectors(2, 6))));
        features.push(Feature::new("val", "grad-sgd", c, present(&numbers.vectors(1, 6))));
    }
    store.features(&features, None);
    let without = plan(&store, &ask("pool", "val"));
    assert_eq!((without.run(), without.checkpoints()[1].weight), (None, 0.5));
    assert!(without.notes().iter().any(|n| n.contains("count the same")));

    let run = store.run("one", &[Some(1.0), None]);
    store.features(&[Feature::new("pool", "loss", 0, present(&numbers.vectors(2, 1)))], Some(run));
    assert!(error(&store, &ask("pool", "val")).contains("checkpoint-200 has no weight"));
    let run = store.run("two", &[Some(1.0), Some(2.0)]);
    store.features(&[Feature::new("val", "loss", 0, present(&numbers.vectors(1, 1)))], Some(run));
    let several = error(&store, &ask("pool", "val"));
    assert!(several.contains("`one`, `two`") && several.contains("`run => 'NAME'`"), "{several}");
    let two = plan(&store, &with(|s| s.run = Some("two".into())));
    assert!((two.checkpoints()[1].weight - 2.0 / 3.0).abs() < 1e-12);
}

#[test]
fn subtasks_of_several_datasets() {
    let mut numbers = Numbers(1);
    let store = TestStore::with(&[("pool", 2), ("plain", 1)]);
    store.dataset_of("a", &[Some("x"), Some("y")]).dataset_of("b", &[Some("x"), None, Some("z")]);
    let mut features = vec![Feature::new("pool", "grad-sgd", 0, present(&numbers.vectors(2, 3)))];
    for (name, rows) in [("a", 2), ("b", 3), ("plain", 1)] {
        features.push(Feature::new(name, "grad-sgd", 0, present(&numbers.vectors(rows, 3))));
    }
    store.features(&features, None);
    let subtasks = |targets: &[&str], by| {
        let targets = targets.iter().map(|t| TargetRef::parse(t)).collect();
        plan(&store, &InfluenceSpec { targets, by, ..ask("pool", "a") }).subtasks(&GO).unwrap()
    };
    assert_eq!(subtasks(&["a"], SubtaskBy::Column), ["x", "y"]);
    assert_eq!(subtasks(&["a", "b", "plain"], SubtaskBy::Column), ["a:x", "b", "b:x", "plain", "y", "z"]);
    assert_eq!(subtasks(&["plain", "b", "a"], SubtaskBy::Dataset), ["a", "b", "plain"]);
    assert_eq!(subtasks(&["b:z", "a:x", "b:b"], SubtaskBy::Column), ["b", "x", "z"]);
    assert_eq!(subtasks(&["b:z", "b"], SubtaskBy::Column), ["b", "x", "z"]);
    let twice =
        InfluenceSpec { targets: vec![TargetRef::parse("b:z"), TargetRef::parse("b:z")], ..ask("pool", "a") };
    assert!(error(&store, &twice).contains("target `b:z` is named twice"));
}

#[test]
fn a_pattern_stands_for_the_datasets_whose_names_it_matches() {
    let mut numbers = Numbers(3);
    let store = TestStore::with(&[("pool", 2), ("skill_a", 1), ("skill_b", 1), ("other", 1)]);
    let mut features = vec![Feature::new("pool", "grad-sgd", 0, present(&numbers.vectors(2, 3)))];
    for name in ["skill_a", "skill_b", "other"] {
        features.push(Feature::new(name, "grad-sgd", 0, present(&numbers.vectors(1, 3))));
    }
    store.features(&features, None);
    let of = |targets: &[&str]| {
        let targets = targets.iter().map(|t| TargetRef::parse(t)).collect();
        InfluenceSpec { targets, ..ask("pool", "other") }
    };
    let named = plan(&store, &of(&["other", "skill_a", "skill_b"]));
    for targets in [&["other", "skill_*"][..], &["other", "skill_?"]] {
        let found = plan(&store, &of(targets));
        assert_eq!(found.plan(), named.plan());
        assert_eq!(found.spec().target_names(), ["other", "skill_a", "skill_b"]);
    }
    let none = error(&store, &of(&["skil_*"]));
    assert!(none.starts_with("there is no dataset like \"skil_*\"; available: "), "{none}");
    assert!(["pool", "skill_a", "skill_b", "other"].iter().all(|name| none.contains(name)), "{none}");
    assert!(error(&store, &of(&["skill_b", "skill_*"])).contains("target `skill_b` is named twice"));
    assert!(error(&store, &of(&["***"])).contains("target `***`: "));
}

#[test]
fn a_subtask_named_like_a_dataset_is_not_the_rows_without_one() {
    let mut numbers = Numbers(2);
    let store = TestStore::with(&[("pool", 4)]);
    let own = [Some("alpha"), None, Some("alpha"), None, Some("x"), Some("beta:x")];
    store.dataset_of("alpha", &own).dataset_of("beta", &[Some("x"), Some("alpha")]);
    store.dataset_of("named", &[Some("named"), Some("other")]);
    let mut features = Vec::new();
    for (name, rows) in [("pool", 4), ("alpha", 6), ("beta", 2), ("named", 2)] {
        features.push(Feature::new(name, "grad-sgd", 0, present(&numbers.vectors(rows, 3))));
    }
    store.features(&features, None);
    let of = |targets: &[&str], by| {
        let targets = targets.iter().map(|t| TargetRef::parse(t)).collect();
        plan(&store, &InfluenceSpec { targets, by, ..ask("pool", "alpha") }).target_samples(&GO).unwrap()
    };
    let rows =
        |target: &str| of(&[target], SubtaskBy::Column).rows.iter().map(|row| row.row).collect::<Vec<_>>();
    assert_eq!(rows("alpha:alpha"), [0, 2]);
    assert_eq!(rows("named:named"), [0]);
    let alone = of(&["alpha"], SubtaskBy::Column);
    assert_eq!(alone.subtasks, ["alpha", "alpha:alpha", "beta:x", "x"]);
    assert_eq!(alone.asked, ["alpha", "alpha:alpha", "alpha:beta:x", "alpha:x"]);
    assert_eq!(
        alone.rows.iter().map(|row| (row.row, row.subtask)).collect::<Vec<_>>(),
        [(1, 0), (3, 0), (0, 1), (2, 1), (5, 2), (4, 3)]
    );
    let both = of(&["alpha", "beta"], SubtaskBy::Column);
    assert_eq!(both.subtasks, ["alpha", "alpha:alpha", "alpha:beta:x", "alpha:x", "beta:alpha", "beta:x"]);
    assert_eq!(both.asked, both.subtasks);
    assert_eq!(of(&["named"], SubtaskBy::Column).asked, ["named:named", "named:other"]);
    assert_eq!(of(&["alpha", "beta"], SubtaskBy::Dataset).subtasks, ["alpha", "beta"]);
}
