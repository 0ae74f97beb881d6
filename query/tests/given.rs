//! Promise: samples that are given with a question are scored as the same samples in a dataset, bit for bit,
//! and pool rows that occur in the target are found.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::world::{questions, world};
use crate::common::*;
use gstore_core::Cancel;
use gstore_query::QueryError;
use gstore_query::influence::*;
use gstore_store::*;

/// Hands out vectors that are known; the text of a sample is the row it stands for.
#[derive(Debug)]
struct Known {
    /// By checkpoint, then by row.
    vectors: Vec<Vec<Row>>,
    calls: AtomicUsize,
}

impl Known {
    fn new(vectors: Vec<Vec<Row>>) -> Arc<Self> {
        Arc::new(Self { vectors, calls: AtomicUsize::new(0) })
    }
}

impl Encoder for Known {
    fn encode(&self, request: &EncodeRequest<'_>, cancel: &Cancel) -> Result<EncodedSamples, QueryError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        cancel.check()?;
        let row = |sample: &String| -> usize {
            serde_json::from_str::<serde_json::Value>(sample).unwrap()["text"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        };
        let mut vectors = Vec::new();
        for feature in request.features {
            assert_eq!(feature.kind, "grad-sgd");
            assert_eq!(feature.run, Some("warmup"));
            let c: usize =
                feature.checkpoint.strip_prefix("checkpoint-").unwrap().parse::<usize>().unwrap() / 100 - 1;
            assert_eq!(feature.pool.desc.checkpoint, Some(checkpoint_id(c)));
            let of = |sample| self.vectors[c][row(sample)].clone().unwrap().0;
            vectors.push(request.samples.iter().map(of).collect());
        }
        Ok(EncodedSamples { vectors, tokens: vec![(7, 3); request.samples.len()] })
    }
}

fn given(spec: &InfluenceSpec, rows: usize) -> InfluenceSpec {
    let given = (0..rows).map(|row| format!("{{\"text\":\"{row}\"}}")).collect();
    InfluenceSpec { targets: Vec::new(), given, ..spec.clone() }
}

fn asked(store: &TestStore, spec: &InfluenceSpec, known: &Arc<Known>) -> Prepared {
    Prepared::with_encoder(&store.snapshot(), spec, Some(known.clone())).unwrap()
}

#[test]
fn a_given_sample_scores_as_the_same_sample_of_a_dataset() {
    for seed in 0..6 {
        let mut world = world(seed).normal();
        // Given samples are one subtask.
        world.subtasks.iter_mut().for_each(|subtask| *subtask = None);
        for dtype in DType::ALL {
            let store = world.store(dtype);
            let known = Known::new(world.target.clone());
            for spec in questions().into_iter().filter(|spec| spec.missing != Missing::Error) {
                let stored = scores(&plan(&store, &spec));
                let fresh = scores(&asked(&store, &given(&spec, world.subtasks.len()), &known));
                let bits = |all: &std::collections::BTreeMap<(u32, u64), (f32, String)>| -> Vec<_> {
                    all.iter().map(|(key, (score, _))| (*key, score.to_bits())).collect()
                };
                assert_eq!(bits(&stored), bits(&fresh), "seed {seed} {dtype} {spec:?}");
                assert!(fresh.values().all(|(_, subtask)| subtask == GIVEN));
            }
        }
    }
}

#[test]
fn given_samples_are_one_target_for_rules_and_rankings() {
    let world = world(1).normal();
    let store = world.store(DType::F32);
    let known = Known::new(world.target.clone());
    let spec = InfluenceSpec { missing: Missing::Renormalise, ..given(&ask("pool", "val"), 2) };
    let plan = asked(&store, &spec, &known);
    let best = plan.top_k(Order::Best, 5, None, 1, &GO).unwrap().rows;
    let found = plan.top_k_each(&request(Each::Target, 5), &GO).unwrap();
    assert_eq!(found.rankings.len(), 1);
    assert_eq!((&found.rankings[0].name[..], &found.rankings[0].rows), (GIVEN, &best));
    for each in [Each::Target, Each::Subtask] {
        let diversity = &Diversity { round_robin: Some(each), ..Diversity::default() };
        let request =
            SelectRequest { order: Order::Best, k: 5, filter: None, diversity, threads: 1, memory: 0 };
        assert_eq!(plan.select(&request, &GO).unwrap().ranking.rows, best, "{each}");
    }
}

#[test]
fn vectors_are_computed_once_and_only_for_an_answer() {
    let world = world(1).normal();
    let store = world.store(DType::F16);
    let known = Known::new(world.target.clone());
    let spec = InfluenceSpec { missing: Missing::Renormalise, ..given(&ask("pool", "val"), 1) };
    let plan = asked(&store, &spec, &known);
    assert_eq!(known.calls.load(Ordering::SeqCst), 0);
    let best = best(&plan, 1)[0];
    plan.top_k_each(&request(Each::Sample, 1), &GO).unwrap();
    plan.pair(0, best.0, 1, &GO).unwrap().unwrap();
    assert_eq!(plan.given_tokens(&GO).unwrap(), [(7, 3)]);
    // As messages number them.
    let ranked = plan.top_k(Order::Best, 1, None, 1, &GO).unwrap().rows;
    let names = TargetNames::new(&plan).unwrap();
    let explained = plan.explain_rows(&ranked, &GO).unwrap();
    assert_eq!(names.ids_of(&[explained[0].nearest]).unwrap(), [Some("1".to_owned())]);
    assert_eq!(names.dataset_of(&explained[0].nearest), GIVEN);
    assert_eq!(known.calls.load(Ordering::SeqCst), 1);
    let stopped = asked(&store, &spec, &known).top_k(Order::Best, 1, None, 1, &Cancel::raised());
    assert!(matches!(stopped, Err(QueryError::Cancelled(_))));
}

#[test]
fn what_cannot_be_asked_is_said() {
    let world = world(1).normal();
    let store = world.store(DType::F32);
    let spec = given(&ask("pool", "val"), 1);
    let refused = Prepared::new(&store.snapshot(), &spec).err().unwrap();
    assert!(matches!(refused, QueryError::NoEncoder), "{refused}");
    let known = Known::new(world.target.clone());
    let both = InfluenceSpec { given: spec.given.clone(), ..ask("pool", "val") };
    let error = Prepared::with_encoder(&store.snapshot(), &both, Some(known)).err().unwrap();
    assert!(error.to_string().contains("not both"), "{error}");

    let mut infinite = world.target.clone();
    infinite[0][0].as_mut().unwrap().0[0] = f32::INFINITY;
    let error = asked(&store, &spec, &Known::new(infinite)).top_k(Order::Best, 1, None, 1, &GO).unwrap_err();
    assert!(error.to_string().contains("given sample 1 is not finite at checkpoint-100"), "{error}");
    let mut short = world.target.clone();
    short[0][0].as_mut().unwrap().0.push(1.0);
    assert!(asked(&store, &spec, &Known::new(short)).top_k(Order::Best, 1, None, 1, &GO).is_err());
}

#[test]
fn a_pair_adds_up_to_the_score() {
    let worlds = if std::env::var_os("GSTORE_EXHAUSTIVE").is_some() { 20 } else { 7 };
    for seed in 0..worlds {
        let world = world(seed).normal();
        let store = world.store(DType::F32);
        for spec in questions().into_iter().filter(|spec| spec.missing == Missing::Renormalise) {
            let plan = plan(&store, &spec);
            let ranking = plan.top_k(Order::Best, usize::MAX, None, 1, &GO).unwrap();
            for (place, scored) in ranking.rows.iter().enumerate() {
                let pair = plan.pair(0, scored.row, 2, &GO).unwrap().unwrap();
                assert_eq!((pair.rank, pair.of), (place as u64 + 1, ranking.summary.eligible));
                assert_eq!(pair.score, scored.score);
                let scale = world.magnitude(&spec);
                if matches!(spec.across, Across::Max | Across::Min) {
                    let off = (pair.value - f64::from(pair.score)).abs();
                    assert!(off <= 1e-5 * scale.max(1e-12), "{} is not {} {spec:?}", pair.value, pair.score);
                }
                let weights: f64 = pair.checkpoints.iter().map(|c| c.weight).sum();
                assert!((weights - 1.0).abs() < 1e-9);
                for c in &pair.checkpoints {
                    let modules: f64 = c.modules.iter().map(|m| m.part).sum();
                    assert!(c.modules.is_empty() || (modules - c.part).abs() <= 1e-9 * scale.max(1e-12));
                    assert!((c.similarity * c.weight - c.part).abs() <= 1e-9 * scale.max(1e-12));
                }
            }
        }
    }
}

const TEXTS: [&str; 6] = [
    r#"{"id":"0","prompt":"1+1?","completion":"2"}"#,
    r#"{"id":"1","messages":[{"role":"user","content":"1+1?"},{"role":"assistant","content":"2"}],"source":"web"}"#,
    r#"{"id":"2","prompt":"1+1?","completion":"3"}"#,
    r#"{"id":"3","text":"1+1?2"}"#,
    r#"{"id":"4","prompt":"x","completion":"y"}"#,
    r#"{"id":"5","text":"0"}"#,
];

/// Keys that are no content of theirs, as preference data have them, hide none.
#[test]
fn rows_are_found_whatever_else_stands_in_their_records() {
    let talk = r#""messages":[{"role":"user","content":"1+1?"},{"role":"assistant","content":"2"}]"#;
    let prompt = format!(r#"{{{talk},"prompt":[{{"role":"user","content":"x"}}]}}"#);
    let completion = format!(r#"{{"completion":17,{talk}}}"#);
    let text = r#"{"text":"elsewhere","prompt":null}"#;
    let pool = [TEXTS[1], &prompt, &completion, text, TEXTS[2]].map(Some);
    for target in [TEXTS[0], TEXTS[1], &prompt, &completion] {
        let store = with_records(&pool, &[Some(target), Some(r#"{"text":"elsewhere"}"#)]);
        let all = plan(&store, &ask("pool", "val"));
        assert_eq!(
            all.in_target(0, &[0, 1, 2, 3, 4], &GO).unwrap(),
            [true, true, true, true, false],
            "{target}"
        );
        let left = plan(&store, &InfluenceSpec { exclude_target: true, ..ask("pool", "val") });
        assert_eq!(scores(&left).keys().map(|key| key.1).collect::<Vec<_>>(), [4], "{target}");
    }
}

#[test]
fn a_record_that_cannot_be_compared_is_an_error() {
    let (good, bad) = (Some(TEXTS[0]), Some(r#"{"prompt":"half"}"#));
    for (pool, target, place) in
        [([good, bad], good, "row 1 of dataset `pool`"), ([good, good], bad, "row 0 of dataset `val`")]
    {
        let store = with_records(&pool, &[target]);
        let plan = plan(&store, &ask("pool", "val"));
        let error = plan.in_target(0, &[1], &GO).unwrap_err().to_string();
        assert!(error.contains(place) && error.contains("`prompt` without `completion`"), "{error}");
        let left =
            Prepared::new(&store.snapshot(), &InfluenceSpec { exclude_target: true, ..ask("pool", "val") })
                .unwrap();
        let error = left.top_k(Order::Best, 1, None, 1, &GO).unwrap_err().to_string();
        assert!(error.contains(place), "{error}");
    }
}

fn append(store: &TestStore, name: &str, records: &[Option<&str>]) {
    let options = AppendOptions { command: "test".into(), ..AppendOptions::default() };
    let name = DatasetName::try_from(name).unwrap();
    let mut append = store.store.append(&name, Vec::new(), options).unwrap();
    for (i, record) in records.iter().enumerate() {
        let id = format!("{name}{i}");
        append.push(NewSample { id: &id, record: record.map(str::as_bytes), metadata: Vec::new() }).unwrap();
    }
    append.finish().unwrap();
}

fn with_texts(target: &[Option<&str>]) -> TestStore {
    let pool: Vec<Option<&str>> = TEXTS.iter().copied().map(Some).chain([None]).collect();
    with_records(&pool, target)
}

fn with_records(pool: &[Option<&str>], target: &[Option<&str>]) -> TestStore {
    let store = TestStore::new();
    let mut numbers = Numbers(5);
    append(&store, "pool", pool);
    append(&store, "val", target);
    let features = [
        Feature::new("pool", "grad-sgd", 0, present(&numbers.vectors(pool.len(), 8))),
        Feature::new("val", "grad-sgd", 0, present(&numbers.vectors(target.len(), 8))),
    ];
    store.features(&features, Some(store.run("warmup", &[Some(1.0)])));
    store
}

#[test]
fn rows_that_occur_in_a_dataset_are_marked_and_left_out() {
    let store = with_texts(&[Some(TEXTS[0]), Some(r#"{"text":"elsewhere"}"#), None]);
    let all = plan(&store, &ask("pool", "val"));
    let rows: Vec<u64> = (0..7).collect();
    let marks = all.in_target(0, &rows, &GO).unwrap();
    assert_eq!(marks, [true, true, false, false, false, false, false]);
    assert_eq!(all.in_target(0, &[2, 1, 1], &GO).unwrap(), [false, true, true]);
    // Of any dataset, whatever the pools of the question are.
    let (others, own) = (plan(&store, &ask("val", "val")), plan(&store, &ask("pool", "pool")));
    for (of, in_pool, in_val) in [
        (&[&all][..], vec![0, 1], vec![0, 1, 2]),
        (&[&others], vec![0, 1], vec![0, 1, 2]),
        (&[&own], (0..7).collect(), vec![0]),
        // Of several questions those that occur in any of their targets.
        (&[&all, &own], (0..7).collect(), vec![0, 1, 2]),
        (&[], vec![], vec![]),
    ] {
        let found = |name: &str| {
            let part = all.snapshot().dataset(name).unwrap().clone();
            rows_in_targets(of, &part, &GO).unwrap().iter().collect::<Vec<u64>>()
        };
        assert_eq!((found("pool"), found("val")), (in_pool, in_val));
    }

    let without = InfluenceSpec { exclude_target: true, ..ask("pool", "val") };
    let (all, left) = (scores(&all), plan(&store, &without));
    let ranking = left.top_k(Order::Best, 100, None, 1, &GO).unwrap();
    assert_eq!((ranking.summary.in_target, ranking.summary.eligible, ranking.summary.live), (2, 5, 7));
    let left_scores = scores(&left);
    assert_eq!(left_scores.keys().map(|key| key.1).collect::<Vec<_>>(), [2, 3, 4, 5, 6]);
    assert!(left_scores.iter().all(|(key, score)| all[key] == *score), "other scores do not change");
    // A filter does not bring them back.
    let filter = RowFilter::single([0, 1, 2].into_iter().collect());
    let some = left.top_k(Order::Best, 100, Some(&filter), 1, &GO).unwrap();
    assert_eq!(some.rows.iter().map(|s| s.row).collect::<Vec<_>>(), [2]);
    assert!(left.pair(0, 0, 1, &GO).unwrap().is_none());
}

#[test]
fn a_row_without_its_text_occurs_in_a_target_that_has_the_row() {
    let store = with_texts(&[None]);
    let own = plan(&store, &ask("pool", "pool"));
    assert_eq!(own.in_target(0, &[0, 6], &GO).unwrap(), [true, true]);
    let other = plan(&store, &ask("pool", "val"));
    assert_eq!(other.in_target(0, &[0, 6], &GO).unwrap(), [false, false]);
}

#[test]
fn rows_that_occur_among_given_samples_are_found() {
    let store = with_texts(&[None]);
    let vectors = vec![present(&Numbers(9).vectors(1, 8))];
    let spec = InfluenceSpec { exclude_target: true, ..given(&ask("pool", "val"), 1) };
    let plan = asked(&store, &spec, &Known::new(vectors));
    assert_eq!(plan.in_target(0, &[4, 5], &GO).unwrap(), [false, true]);
    assert_eq!(plan.top_k(Order::Best, 100, None, 1, &GO).unwrap().summary.in_target, 1);
}
