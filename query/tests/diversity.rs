//! Promise: a ranking under quotas, without near-duplicates or with subtasks in turn is what a greedy pass
//! over the exact ranking gives, however many candidates are fetched at a time.

use std::collections::HashMap;

use crate::common::*;
use gstore_query::influence::*;
use gstore_store::{AppendOptions, ColumnSpec, ColumnType, DatasetName, MetaValue, NewSample};

const ROWS: usize = 6_000;
const DIM: usize = 10;

/// A pool of which one source has most of the best rows, with copies and near-copies.
struct Case {
    store: TestStore,
    sources: Vec<Option<&'static str>>,
    vectors: Vec<Vec<Vec<f32>>>,
}

const WEIGHTS: [f64; 2] = [0.7, 0.3];

fn case() -> Case {
    let mut numbers = Numbers(21);
    let names = [Some("math"), Some("code"), Some("chat"), None];
    let direction = numbers.vector(DIM);
    let sources: Vec<Option<&'static str>> =
        (0..ROWS).map(|_| if numbers.below(10) < 8 { names[0] } else { names[numbers.below(4)] }).collect();
    let mut vectors: Vec<Vec<Vec<f32>>> = (0..2).map(|_| numbers.vectors(ROWS, DIM)).collect();
    for row in 0..ROWS {
        let like = numbers.below(5);
        for of_checkpoint in &mut vectors {
            if sources[row] == Some("math") {
                of_checkpoint[row].iter_mut().zip(&direction).for_each(|(x, d)| *x += 3.0 * d);
            }
            if like == 0 && row > 10 {
                let mut copy = of_checkpoint[row - 7].clone();
                copy.iter_mut().for_each(|x| *x = *x * 2.0 + 0.01 * numbers.next());
                of_checkpoint[row] = copy;
            }
        }
    }
    let store = TestStore::new();
    store.dataset_of("pool", &sources).dataset_of("val", &[Some("a"), Some("b"), Some("a"), Some("c")]);
    let mut features = Vec::new();
    for (c, of_checkpoint) in vectors.iter().enumerate() {
        let mut feature = Feature::new("pool", "grad-adam", c, present(of_checkpoint));
        feature.cut = 1100;
        features.push(feature);
        let mut targets = numbers.vectors(4, DIM);
        targets.iter_mut().flatten().zip(direction.iter().cycle()).for_each(|(x, d)| *x = 0.5 * *x + d);
        features.push(Feature::new("val", "grad-sgd", c, present(&targets)));
    }
    store.features(&features, Some(store.run("warmup", &WEIGHTS.map(Some))));
    Case { store, sources, vectors }
}

impl Case {
    fn similarity(&self, a: u64, b: u64) -> f64 {
        let of = |c: usize| {
            let (x, y) = (&self.vectors[c][a as usize], &self.vectors[c][b as usize]);
            let dot = |a: &[f32], b: &[f32]| {
                a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
        };
        WEIGHTS[0] * of(0) + WEIGHTS[1] * of(1)
    }

    /// The rules, written down directly over whole rankings.
    fn naive(
        &self,
        lists: &[Vec<Scored>],
        k: usize,
        quota: impl Fn(Option<&str>) -> usize,
        distinct: f64,
    ) -> Vec<Scored> {
        let mut taken: Vec<Scored> = Vec::new();
        let mut counts: HashMap<Option<&str>, usize> = HashMap::new();
        let mut at = vec![0; lists.len()];
        while taken.len() < k {
            let before = taken.len();
            for (list, at) in lists.iter().zip(&mut at) {
                while *at < list.len() && taken.len() < k {
                    let row = list[*at];
                    *at += 1;
                    let source = self.sources[row.row as usize];
                    let fits = !taken.iter().any(|t| t.row == row.row)
                        && counts.get(&source).copied().unwrap_or(0) < quota(source)
                        && !taken.iter().any(|t| self.similarity(t.row, row.row) > distinct);
                    if fits {
                        *counts.entry(source).or_default() += 1;
                        taken.push(row);
                        break;
                    }
                }
            }
            if taken.len() == before {
                break;
            }
        }
        taken
    }
}

fn select(plan: &Prepared, k: usize, diversity: &Diversity) -> Selection {
    let request =
        SelectRequest { order: Order::Best, k, filter: None, diversity, threads: 2, memory: 1 << 30 };
    plan.select(&request, &GO).unwrap()
}

#[test]
fn copies_and_only_copies_are_passed_over_at_one() {
    let mut numbers = Numbers(5);
    let (base, dim) = (numbers.vectors(40, 700), 700);
    // Each with two exact copies, one of them of another length, and one that is only near.
    let mut vectors: Vec<Vec<f32>> = Vec::new();
    for vector in &base {
        vectors.extend([vector.clone(), vector.clone(), vector.iter().map(|x| x * 4.0).collect()]);
        let mut near = vector.clone();
        near[0] += 0.01 * vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        vectors.push(near);
    }
    let mut features = gradients(&vectors, &numbers.vectors(1, dim));
    features[0].dtype = gstore_store::DType::F16;
    let store = TestStore::of(&features);
    let plan = plan(&store, &ask("pool", "val"));
    let one = Diversity { distinct: Some(1.0), ..Diversity::default() };
    let found = select(&plan, vectors.len(), &one);
    assert_eq!((found.ranking.rows.len(), found.near_duplicates), (80, 80));
}

#[test]
fn what_several_rankings_pass_over_counts_once() {
    let case = case();
    let plan = plan(&case.store, &ask("pool", "val"));
    // No row is unlike enough to stand beside the first, so each ranking comes to its end.
    let first = Diversity { distinct: Some(-1.0), round_robin: Some(Each::Sample), ..Diversity::default() };
    let found = select(&plan, 200, &first);
    assert_eq!((found.ranking.rows.len(), found.near_duplicates), (1, ROWS as u64 - 1));
}

#[test]
fn every_mixture_of_rules_is_a_greedy_pass() {
    let case = case();
    let plan = plan(&case.store, &ask("pool", "val"));
    let whole = vec![plan.top_k(Order::Best, ROWS, None, 2, &GO).unwrap().rows];
    let each = |each| {
        let found = plan.top_k_each(&request(each, ROWS), &GO).unwrap();
        found.rankings.into_iter().map(|r| r.rows).collect::<Vec<_>>()
    };
    // A share is of the rows asked for, also where the pool has fewer.
    let quota: Quota = "code=10%,*=0".parse().unwrap();
    let rules = Diversity { quota: Some(quota.by("subtask")), ..Diversity::default() };
    let of_code = case.naive(&whole, ROWS, |source| if source == Some("code") { ROWS } else { 0 }, 2.0);
    assert_eq!(select(&plan, 10 * ROWS, &rules).ranking.rows, of_code);
    let quota: Quota = "math=20,code=5%,*=30".parse().unwrap();
    let quota = quota.by("subtask");
    for (round_robin, lists) in
        [(None, whole), (Some(Each::Subtask), each(Each::Subtask)), (Some(Each::Sample), each(Each::Sample))]
    {
        for with_quota in [false, true] {
            for distinct in [None, Some(0.999), Some(0.9)] {
                for k in [0, 1, 60, 400] {
                    let rules = Diversity { quota: with_quota.then(|| quota.clone()), distinct, round_robin };
                    let found = select(&plan, k, &rules);
                    let limit = |source: Option<&str>| match source {
                        _ if !with_quota => usize::MAX,
                        Some("math") => 20,
                        Some("code") => k / 20,
                        _ => 30,
                    };
                    let want = case.naive(&lists, k, limit, distinct.unwrap_or(2.0));
                    assert_eq!(found.ranking.rows, want, "{rules:?} {k}");
                    let summary = &found.ranking.summary;
                    assert_eq!((summary.eligible, summary.live), (ROWS as u64, ROWS as u64));
                    assert!(with_quota || found.over_quota == 0);
                }
            }
        }
    }
}

#[test]
fn without_rules_it_is_the_plain_ranking() {
    let case = case();
    let plan = plan(&case.store, &ask("pool", "val"));
    for order in [Order::Best, Order::Worst] {
        let plain = plan.top_k(order, 3000, None, 2, &GO).unwrap();
        let request = SelectRequest {
            order,
            k: 3000,
            filter: None,
            diversity: &Diversity::default(),
            threads: 1,
            memory: 0,
        };
        let found = plan.select(&request, &GO).unwrap();
        assert_eq!(found.ranking.rows, plain.rows);
        assert_eq!((found.passes, found.over_quota, found.near_duplicates), (1, 0, 0));
    }
}

#[test]
fn a_filter_holds_in_every_pass() {
    let case = case();
    let plan = plan(&case.store, &ask("pool", "val"));
    let filter = RowFilter::single((0..ROWS as u64).filter(|row| row % 3 == 0).collect());
    let quota: Quota = "math=1".parse().unwrap();
    let rules = Diversity { quota: Some(quota.by("subtask")), ..Diversity::default() };
    let request = SelectRequest {
        order: Order::Best,
        k: 900,
        filter: Some(&filter),
        diversity: &rules,
        threads: 2,
        memory: 0,
    };
    let found = plan.select(&request, &GO).unwrap();
    let whole = plan.top_k(Order::Best, ROWS, Some(&filter), 2, &GO).unwrap();
    let limit = |source: Option<&str>| if source == Some("math") { 1 } else { usize::MAX };
    assert_eq!(found.ranking.rows, case.naive(&[whole.rows], 900, limit, 2.0));
    assert!(found.passes > 1, "more candidates were needed than one page has");

    // Without quotas what is seen is left out of the rows of the filter.
    let in_turn = Diversity { distinct: Some(0.9), round_robin: Some(Each::Sample), ..Diversity::default() };
    let found = plan.select(&SelectRequest { diversity: &in_turn, memory: 1 << 30, ..request }, &GO).unwrap();
    let of_each = EachRequest { filter: Some(&filter), ..crate::common::request(Each::Sample, ROWS) };
    let lists: Vec<Vec<Scored>> =
        plan.top_k_each(&of_each, &GO).unwrap().rankings.into_iter().map(|r| r.rows).collect();
    assert_eq!(found.ranking.rows, case.naive(&lists, 900, |_| usize::MAX, 0.9));
    assert!(found.passes > 1, "as above");
}

#[test]
fn rules_that_cannot_be_kept_are_refused() {
    let case = case();
    let plan = plan(&case.store, &ask("pool", "val"));
    let refuse = |diversity: &Diversity, memory| {
        let request =
            SelectRequest { order: Order::Best, k: 500, filter: None, diversity, threads: 2, memory };
        plan.select(&request, &GO).unwrap_err().to_string()
    };
    let quota = Diversity { quota: Some("*=1".parse().unwrap()), ..Diversity::default() };
    let says = "a metadata column `source` for quotas; name one of `";
    assert!(refuse(&quota, 0).contains(says), "the column is not there");
    assert!(plan.check_rules(&quota).unwrap_err().to_string().contains("source"), "and that is known before");
    plan.check_rules(&Diversity::default()).unwrap();
    let distinct = |limit| Diversity { distinct: Some(limit), ..Diversity::default() };
    assert!(refuse(&distinct(0.9), 100).contains("allow more memory"));
    assert!(refuse(&distinct(f64::NAN), 1 << 30).contains("between -1 and 1"));
}

#[test]
fn a_quota_finds_its_column_in_any_case() {
    let case = case();
    let plan = plan(&case.store, &ask("pool", "val"));
    let found = |column: &str| {
        let quota: Quota = "math=1".parse().unwrap();
        let rules = Diversity { quota: Some(quota.by(column)), ..Diversity::default() };
        select(&plan, 20, &rules).ranking.rows
    };
    assert_eq!(found("Subtask"), found("subtask"));
}

#[test]
fn a_quota_of_a_value_that_no_row_has_is_told() {
    let case = case();
    let plan = plan(&case.store, &ask("pool", "val"));
    let notes = |quota: &str, k| {
        let quota: Quota = quota.parse().unwrap();
        let rules = Diversity { quota: Some(quota.by("subtask")), ..Diversity::default() };
        select(&plan, k, &rules).ranking.summary.notes
    };
    // Values that rows have are no matter for a note, whether a row of them was looked at or not.
    for k in [0, 1, 300] {
        assert_eq!(notes("math=5,code=10%,chat=0,*=7", k), [""; 0], "{k}");
    }
    let notes = notes("maht=5,code=1,nothing at all=3", 20);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("`maht`") && notes[0].contains("did you mean `math`?"), "{notes:?}");
    assert!(notes[1].contains("`nothing at all`") && !notes[1].contains("did you mean"), "{notes:?}");
}

/// Appends four samples with the levels 0, 1, 0 and 1, in a column of whole numbers or of floats.
fn levels(store: &TestStore, name: &str, ty: ColumnType) {
    let options = AppendOptions { command: "test".into(), ..AppendOptions::default() };
    let columns = vec![ColumnSpec::inferred("level", ty)];
    let mut append = store.store.append(&DatasetName::try_from(name).unwrap(), columns, options).unwrap();
    for i in 0..4i64 {
        let level = match ty {
            ColumnType::Int => MetaValue::Int(i % 2),
            _ => MetaValue::Float((i % 2) as f64),
        };
        append.push(NewSample { id: &format!("{name}{i}"), record: None, metadata: vec![level] }).unwrap();
    }
    append.finish().unwrap();
}

#[test]
fn a_number_is_one_value_whatever_its_type_in_each_pool() {
    let store = TestStore::new();
    levels(&store, "whole", ColumnType::Int);
    levels(&store, "float", ColumnType::Float);
    store.dataset("val", 1);
    let mut numbers = Numbers(8);
    let features = [("whole", 4), ("float", 4), ("val", 1)]
        .map(|(name, rows)| Feature::new(name, "grad-sgd", 0, present(&numbers.vectors(rows, DIM))));
    store.features(&features, None);
    let both = InfluenceSpec { pools: vec!["whole".into(), "float".into()], ..ask("whole", "val") };
    let plan = plan(&store, &both);
    let rules = |quota: &str| {
        let quota: Quota = quota.parse().unwrap();
        Diversity { quota: Some(quota.by("level")), ..Diversity::default() }
    };
    let found = select(&plan, 8, &rules("*=1"));
    assert_eq!((found.ranking.rows.len(), found.over_quota), (2, 6));
    for one in ["1", "1.0"] {
        let ranking = select(&plan, 8, &rules(&format!("{one}=1"))).ranking;
        let ones = ranking.rows.iter().filter(|row| row.row % 2 == 1).count();
        assert_eq!((ranking.rows.len(), ones), (5, 1), "{one}");
        assert!(ranking.summary.notes.iter().all(|note| !note.contains("no effect")), "{one}");
    }
    let error = plan.check_rules(&rules("1=1,1.0=2")).unwrap_err().to_string();
    assert_eq!(error, "the quotas name `1.0` of the metadata column `level` twice");
}
