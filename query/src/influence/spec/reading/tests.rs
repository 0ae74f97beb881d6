//! Questions read back as they are written, and options that contradict each other are refused.

use super::super::{Across, Fold, Order, Sim, SubtaskBy, Within};
use super::*;
use crate::daunce::{Center, Covariance, CovarianceOptions, MissingCells, Score};

fn read(text: &str) -> Result<InfluenceSpec, String> {
    serde_json::from_str(text).map_err(|error: serde_json::Error| error.to_string())
}

#[test]
fn a_question_reads_back_from_its_json() {
    let whole = InfluenceSpec {
        pools: vec!["pool".into(), "other".into()],
        targets: vec![TargetRef::parse("mmlu:law: torts"), TargetRef::parse("gsm8k")],
        exclude_target: true,
        run: Some("warmup".into()),
        checkpoints: Some(vec!["112".into(), "224".into()]),
        weights: Some(vec![0.1, 1.0 / 3.0]),
        within: Within::Max,
        across: Across::Sum,
        fold: Fold::UnitMean,
        sim: Sim::Dot,
        pool_kind: Some("grad-sgd".into()),
        target_kind: Some("grad-sgd".into()),
        features: vec!["7".into()],
        missing: Missing::Renormalise,
        partial: true,
        by: SubtaskBy::Dataset,
        modules: Some("*.mlp.*=1, lm_head=0.5".parse().unwrap()),
        precondition: Some("gram".into()),
        damping: Some(1e-3),
        inversion: Inversion::Tikhonov,
        stale: true,
        per_token: true,
        mode: Mode::Sketch(SketchMode {
            miss: 1e-9,
            tolerance: 0.25,
            certified: false,
            planes: Some(vec![Plane::Nibble, Plane::Int8]),
        }),
        // By name, so that the compiler names this place for a new field, which has to read back as well.
        given: Vec::new(),
        raw: false,
        filter: None,
        covariance: None,
        unscored: false,
    };
    let given = InfluenceSpec {
        pools: vec!["pool".into()],
        given: vec![r#"{"text":" a, b "}"#.into()],
        raw: true,
        mode: Mode::Sketch(SketchMode { certified: true, ..SketchMode::default() }),
        ..InfluenceSpec::default()
    };
    let filtered = InfluenceSpec {
        precondition: Some("factors".into()),
        filter: Some(Filter::Source { steps: 500, rate: 1e-4 }),
        ..InfluenceSpec::default()
    };
    let daunce = InfluenceSpec {
        pools: vec!["pool".into()],
        targets: vec![TargetRef::parse("gsm8k")],
        within: Within::Max,
        covariance: Some(Covariance {
            ensemble: Some("copies".into()),
            signal: Some("loss".into()),
            how: CovarianceOptions { score: Score::Corr, center: Center::Both, ddof: 0 },
            missing: MissingCells::Pairwise,
            groups: vec!["a".into(), "b".into()],
            min_models: 5,
        }),
        ..InfluenceSpec::default()
    };
    let plain = InfluenceSpec { covariance: Some(Covariance::default()), ..InfluenceSpec::default() };
    for spec in [whole, given, filtered, daunce, plain, InfluenceSpec::default()] {
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(read(&text).unwrap(), spec, "{text}");
    }
    assert_eq!(serde_json::to_string(&InfluenceSpec::default()).unwrap(), "{}");
}

#[test]
fn json_is_read_as_options_of_sql_are() {
    let spec = read(r#"{"pool":"a, b","target":"t","weights":"0.5,2","checkpoints":[112],"partial":true}"#);
    let spec = spec.unwrap();
    assert_eq!((spec.pools, spec.weights), (vec!["a".into(), "b".into()], Some(vec![0.5, 2.0])));
    assert_eq!((spec.checkpoints, spec.missing), (Some(vec!["112".into()]), Missing::Exclude));
    for damping in ["null", "\"auto\""] {
        let spec = read(&format!(r#"{{"precondition":"g","damping":{damping}}}"#)).unwrap();
        assert_eq!((spec.damping, spec.inversion), (None, Inversion::Damped));
    }
    for kind in ["kind", "pool_kind"] {
        let spec = read(&format!(r#"{{"{kind}":"grad-sgd"}}"#)).unwrap();
        assert_eq!(spec.pool_kind.as_deref(), Some("grad-sgd"));
    }
    let inverse = read(r#"{"filter":"inverse","damping":0.5}"#).unwrap();
    assert_eq!((inverse.filter, inverse.damping), (None, Some(0.5)));
    for (text, named) in [
        (r#"{"witin":"max"}"#, "did you mean `within`?"),
        (r#"{"within":"median"}"#, "within cannot be `median`: it is one of mean, max, min, sum"),
        (r#"{"weights":["heavy"]}"#, "option `weights` must be numbers; `heavy` is not a number"),
        (r#"{"weights":[1,null]}"#, "number 2 of the list is NULL"),
        (r#"{"partial":"yes"}"#, "option `partial` must be true or false, not yes"),
        (r#"{"pool":[]}"#, "`pool` is empty"),
        (r#"{"miss":0.1}"#, "`miss` is an option of the mode `sketch`"),
        (r#"{"planes":"sign"}"#, "`planes` is an option of the mode `sketch`"),
        (r#"{"k":3}"#, "a question has no option `k`"),
        (r#"{"solver":"cg"}"#, "computes gradients again"),
        (r#"{"solver":"cg"}"#, "with the solver cg solves for queries"),
        (r#"{"target":"t","text":"x"}"#, "not both"),
        (r#"{"kind":"grad-sgd","pool_kind":"grad-adam"}"#, "`kind` and `pool_kind` both name"),
        (r#"{"inversion":"tikhonov"}"#, "none is named with `precondition`"),
        (r#"{"stale":true}"#, "`stale` accepts the Gram matrices or factors that `precondition` names"),
        (r#"{"precondition":"g","damping":"much"}"#, "not negative, or `auto`, not `much`"),
        (r#"{"precondition":"g","damping":-1}"#, "not negative, or `auto`, not `-1`"),
        (r#"{"precondition":"g","inversion":"sharp"}"#, "damped, absolute, tikhonov, pseudoinverse"),
        (r#"{"filter":"source:5"}"#, "inverse, identity or source:STEPS*RATE, not `source:5`"),
        (r#"{"filter":"identity","damping":1}"#, "the filter identity inverts none"),
        (r#"{"score":"corr"}"#, "`score` is an option of the method daunce"),
        (r#"{"method":"tracin"}"#, "influence, daunce; TracIn is `sim => 'dot'` of `kind => 'grad-sgd'`"),
        (r#"{"sim":"TRAK"}"#, "with `precondition` and `inversion => 'absolute'`"),
        (r#"{"method":"daunce","sim":"dot"}"#, "`sim` is about vectors"),
        (r#"{"method":"daunce","planes":"sign"}"#, "`planes` is about vectors"),
        (r#"{"ensemble":"e","ddof":2}"#, "`ddof => 2` is neither 0 nor 1"),
        (r#"{"ensemble":"e","missing":"exclude"}"#, "error, pairwise, drop_model"),
        (r#"{"ensemble":"e","min_models":1}"#, "at least 2 models"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(named), "{text}: {error}");
    }
}

#[test]
fn options_name_a_mode_or_are_refused() {
    let read = |given: Value| {
        let mut options = Options::new(Function::Question);
        let Value::Object(given) = given else { panic!("{given} is no object") };
        given.into_iter().for_each(|(name, value)| options.set(&name, value).unwrap());
        InfluenceSpec::from_options(&options).map(|spec| spec.mode)
    };
    let sketch = |miss, tolerance, certified| {
        Mode::Sketch(SketchMode { miss, tolerance, certified, ..SketchMode::default() })
    };
    for (given, mode) in [
        (json!({}), Mode::Exact),
        (json!({"mode": "exact", "miss": null}), Mode::Exact),
        (json!({"mode": "sketch"}), sketch(1e-6, 0.0, false)),
        (json!({"mode": "sketch", "tolerance": 0.5, "certified": true}), sketch(1e-6, 0.5, true)),
        (
            json!({"mode": "sketch", "miss": 0.1, "tolerance": 0.5, "certified": false}),
            sketch(0.1, 0.5, false),
        ),
    ] {
        assert_eq!(read(given.clone()), Ok(mode), "{given}");
    }
    let unasked = |name| format!("`{name}` is an option of the mode `sketch`, which is not asked for");
    for (given, blamed, why) in [
        (json!({"miss": 0.1, "certified": true}), "miss", unasked("miss")),
        (json!({"mode": "exact", "certified": true, "tolerance": 0}), "tolerance", unasked("tolerance")),
        (json!({"planes": "sign", "certified": false}), "certified", unasked("certified")),
        (json!({"planes": "sign"}), "planes", unasked("planes")),
        (json!({"mode": "fast", "miss": 0.1}), "mode", "mode cannot be `fast`: it is one of exact, sketch".into()),
        (
            json!({"mode": "sketch", "miss": 0.1, "certified": true}),
            "miss",
            "`certified` leaves no row to chance, and `miss` is a probability of missing one: leave one of them out"
                .into(),
        ),
    ] {
        assert_eq!(read(given.clone()), Err(OptionError::new(blamed, why)), "{given}");
    }
}

#[test]
fn the_table_names_each_option_once_and_says_what_it_is_for() {
    use super::super::options::{OPTIONS, Takes};
    for (at, option) in OPTIONS.iter().enumerate() {
        assert!(OPTIONS[at + 1..].iter().all(|other| other.name != option.name), "{}", option.name);
        assert!(!option.about.is_empty() && !option.about.ends_with('.'), "{}", option.name);
        if let Takes::Word(words) = option.takes {
            let default = option.default.split(';').next().unwrap_or_default();
            assert!(default.is_empty() || words.contains(&default), "{}", option.name);
        }
    }
    assert_eq!(Options::new(Function::Influence).word::<Order>("order"), Ok(None));
}
