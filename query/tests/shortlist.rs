//! Promise: rankings by many values, of which most are only estimated, are those that asking for each
//! alone gives, bit for bit.

use crate::common::sketches::{sketched, sketches};
use crate::common::trouble::adversarial;
use crate::common::*;
use gstore_query::influence::*;
use gstore_store::DType;

/// More than one stretch and one tile of target samples.
const TARGETS: usize = 44;

struct Question {
    store: TestStore,
    names: Vec<String>,
}

/// A pool at some checkpoints of `kind` rows, among them some that have no score, and targets,
/// each a subtask of its own.
fn question(kind: usize, dtype: DType, checkpoints: usize, grouped: bool, targets: usize) -> Question {
    let mut numbers = Numbers(kind as u64 * 7919 + 5 * checkpoints as u64 + targets as u64);
    let (rows, dim) = (700 + numbers.below(300), 2 + numbers.below(90));
    let size = if kind == 5 { 1e-3 } else { 1.0 };
    let store = TestStore::with(&[("pool", rows)]);
    let names: Vec<String> = (0..targets).map(|i| format!("t{i:02}")).collect();
    store.dataset_of("val", &names.iter().map(|n| Some(n.as_str())).collect::<Vec<_>>());
    let mut features = Vec::new();
    for c in 0..checkpoints {
        let vectors: Vec<Vec<f32>> =
            (0..targets).map(|_| numbers.vector(dim).iter().map(|x| x * size).collect()).collect();
        let mut pool = Feature::new(
            "pool",
            "grad-sgd",
            c,
            present(&adversarial(&mut numbers, rows, dim, &vectors, kind)),
        );
        (pool.dtype, pool.cut) = (dtype, 50 + numbers.below(400));
        for i in (3..rows).step_by(41) {
            pool.rows[i].as_mut().unwrap().1 = 1;
        }
        if c == 1 {
            (7..rows).step_by(29).for_each(|i| pool.rows[i] = None);
        }
        pool.rows[rows / 2] = Some((vec![f32::NAN; dim], 0));
        let mut target = Feature::new("val", "grad-sgd", c, present(&vectors));
        if grouped {
            let first = 1 + dim as u32 / 3;
            pool.groups = vec![first, dim as u32 - first];
            target.groups.clone_from(&pool.groups);
        }
        features.extend([pool, target]);
    }
    let weights: Vec<Option<f64>> = (0..checkpoints).map(|c| Some(0.5 + c as f64)).collect();
    let run = store.run("warmup", &weights);
    store.features(&features, Some(run));
    Question { store, names }
}

fn bits(rows: &[Scored]) -> Vec<(u32, u64, u32)> {
    rows.iter().map(|s| (s.pool, s.row, s.score.to_bits())).collect()
}

fn request(order: Order, k: usize, threads: usize) -> EachRequest<'static> {
    EachRequest { each: Each::Sample, order, k, filter: None, threads, memory: 1 << 30 }
}

/// Compares the rankings of all samples with those of each; returns how many were compared.
fn compare(
    question: &Question,
    spec: &InfluenceSpec,
    mode: &Mode,
    filter: Option<&RowFilter>,
    k: usize,
) -> usize {
    let Question { store, names } = question;
    let all = sketches(store, "pool", 3);
    let plan_all = sketched(store, spec, mode.clone(), &all);
    let mut compared = 0;
    for order in [Order::Best, Order::Worst] {
        let one = plan_all.top_k_each(&EachRequest { filter, ..request(order, k, 1) }, &GO).unwrap();
        let two = plan_all.top_k_each(&EachRequest { filter, ..request(order, k, 3) }, &GO).unwrap();
        assert_eq!(one.rankings, two.rankings);
        assert_eq!(one.rankings.len(), names.len());
        // Each subtask has one sample, and so its ranking.
        let each = EachRequest { each: Each::Subtask, filter, ..request(order, k, 2) };
        let subtasks = plan_all.top_k_each(&each, &GO).unwrap();
        for (of_sample, of_subtask) in one.rankings.iter().zip(&subtasks.rankings) {
            assert_eq!((&of_sample.name, bits(&of_sample.rows)), (&of_subtask.name, bits(&of_subtask.rows)));
        }
        assert_eq!(one.rankings.len(), subtasks.rankings.len());
        for (ranking, name) in one.rankings.iter().zip(names) {
            let targets = vec![TargetRef { dataset: "val".into(), subtask: Some(name.clone()) }];
            let alone = plan(store, &InfluenceSpec { targets, ..spec.clone() });
            let alone = alone.top_k(order, k, filter, 1, &GO).unwrap();
            assert_eq!(&ranking.name, name);
            assert_eq!(bits(&ranking.rows), bits(&alone.rows), "{spec:?} {mode:?} {order} {name}");
            let counts = (one.summary.scanned, one.summary.eligible, one.summary.excluded);
            let alone = (alone.summary.scanned, alone.summary.eligible, alone.summary.excluded);
            assert_eq!(counts, alone, "{spec:?} {order}");
            compared += 1;
        }
    }
    compared
}

fn modes() -> [Mode; 3] {
    [
        Mode::Exact,
        Mode::Sketch(SketchMode { miss: 1e-9, ..SketchMode::default() }),
        Mode::Sketch(SketchMode { certified: true, ..SketchMode::default() }),
    ]
}

#[test]
fn every_sample_has_the_ranking_that_it_has_alone() {
    let mut compared = 0;
    for kind in 0..10 {
        let dtype = [DType::F16, DType::F32, DType::I8][kind % 3];
        let question = question(kind, dtype, 1, false, TARGETS);
        for (sim, mode) in [Sim::Cosine, Sim::Dot].into_iter().zip(modes()) {
            compared +=
                compare(&question, &InfluenceSpec { sim, ..ask("pool", "val") }, &mode, None, 1 + kind * 2);
        }
    }
    assert_eq!(compared, 10 * 2 * 2 * TARGETS);
}

#[test]
fn checkpoints_modules_and_missing_rows_count_as_in_a_scan() {
    for (seed, mode) in modes().iter().enumerate() {
        let question = question([0, 6, 3][seed], DType::F16, 3, true, TARGETS);
        for missing in [Missing::Renormalise, Missing::Exclude] {
            let spec = InfluenceSpec { missing, ..ask("pool", "val") };
            compare(&question, &spec, mode, None, 9);
            let modules = Some("module1=0.5, module0=2".parse().unwrap());
            compare(&question, &InfluenceSpec { modules, sim: Sim::Dot, ..spec }, mode, None, 9);
        }
    }
}

#[test]
fn filters_and_deletes_leave_rows_out_before_anything_is_estimated() {
    let question = question(0, DType::F16, 1, false, 13);
    question.store.delete(100..160);
    for mode in modes() {
        let spec = ask("pool", "val");
        let filter = RowFilter::new().with(0, (50..600).filter(|row| row % 3 != 0).collect());
        compare(&question, &spec, &mode, Some(&filter), 4);
        // Fewer rows than are wanted, and none.
        let few = RowFilter::new().with(0, (150..165).collect());
        compare(&question, &spec, &mode, Some(&few), 20);
        compare(&question, &spec, &mode, Some(&RowFilter::new().with(0, (101..102).collect())), 1);
    }
}

#[test]
fn a_score_of_many_values_is_that_of_a_scan() {
    for (kind, mode) in [0, 1, 4, 6].into_iter().flat_map(|kind| modes().map(|mode| (kind, mode))) {
        let question = question(kind, DType::F16, 1, false, TARGETS);
        let all = sketches(&question.store, "pool", 8);
        for across in [Across::Max, Across::Min, Across::Mean, Across::Sum] {
            let spec = InfluenceSpec { across, ..ask("pool", "val") };
            let scored = scores(&plan(&question.store, &spec));
            let plan = sketched(&question.store, &spec, mode.clone(), &all);
            for (order, k) in [(Order::Best, 11), (Order::Worst, 3)] {
                let mut want: Vec<((u32, u64), f32)> = scored.iter().map(|(at, (s, _))| (*at, *s)).collect();
                want.sort_by(|a, b| {
                    let by_score =
                        if order == Order::Best { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) };
                    by_score.then(a.0.cmp(&b.0))
                });
                let want: Vec<_> =
                    want[..k].iter().map(|((p, r), s)| (*p, *r, (s + 0.0).to_bits())).collect();
                let got = plan.top_k(order, k, None, 2, &GO).unwrap();
                assert_eq!(bits(&got.rows), want, "{kind} {across} {order} {mode:?}");
                assert_eq!(got.summary.eligible, scored.len() as u64);
            }
        }
    }
}

/// More rows than are scanned for the sake of a sample, and more values than a tile has.
#[test]
fn one_ranking_of_many_values_is_found_by_planes() {
    let mut numbers = Numbers(5);
    let store = TestStore::with(&[("pool", 9000)]);
    let names: Vec<String> = (0..20).map(|i| format!("t{i:02}")).collect();
    store.dataset_of("val", &names.iter().map(|name| Some(name.as_str())).collect::<Vec<_>>());
    let targets = numbers.vectors(20, 128);
    let mut rows = numbers.vectors(9000, 128);
    for (row, target) in rows.iter_mut().step_by(211).zip(targets.iter().cycle()) {
        row.iter_mut().zip(target).for_each(|(x, t)| *x += t);
    }
    store.features(
        &[
            Feature::new("pool", "grad-sgd", 0, present(&rows)),
            Feature::new("val", "grad-sgd", 0, present(&targets)),
        ],
        None,
    );
    let all = sketches(&store, "pool", 1);
    for across in [Across::Max, Across::Min, Across::Mean, Across::Sum] {
        let spec = InfluenceSpec { across, ..ask("pool", "val") };
        let exact = plan(&store, &spec);
        let found = sketched(&store, &spec, modes()[1].clone(), &all);
        for order in [Order::Best, Order::Worst] {
            let want = exact.top_k(order, 12, None, 1, &GO).unwrap();
            for threads in [1, 3] {
                let got = found.top_k(order, 12, None, threads, &GO).unwrap();
                assert_eq!(bits(&got.rows), bits(&want.rows), "{across} {order}");
            }
            if across == Across::Max && order == Order::Best {
                let got = found.top_k(order, 12, None, 2, &GO).unwrap().summary;
                assert_eq!(got.planes[0].plane, Plane::Sign, "{got:?}");
                assert!(got.rows_scored < 2000, "{got:?}");
            }
        }
    }
}

#[test]
fn the_answer_says_what_codes_left_out() {
    let mut numbers = Numbers(2);
    let store = TestStore::with(&[("pool", 4000)]);
    store.dataset_of("val", &[None; 20]);
    let targets = numbers.vectors(20, 256);
    store.features(
        &[
            Feature::new("pool", "grad-sgd", 0, present(&numbers.vectors(4000, 256))),
            Feature::new("val", "grad-sgd", 0, present(&targets)),
        ],
        None,
    );
    let all = sketches(&store, "pool", 1);
    let found = sketched(&store, &ask("pool", "val"), modes()[1].clone(), &all)
        .top_k_each(&request(Order::Best, 10, 2), &GO)
        .unwrap();
    let summary = &found.summary;
    assert!(summary.guarantee.contains("probability"), "{}", summary.guarantee);
    // Which of them costs less depends on the processor.
    assert!(matches!(summary.planes[0].plane, Plane::Nibble | Plane::Int8), "{:?}", summary.planes);
    assert_eq!(summary.planes[0].rows, 4000);
    assert_eq!(summary.planes[0].excluded + summary.rows_scored, 4000);
    assert!((200..3000).contains(&summary.rows_scored), "{}", summary.rows_scored);
    assert!(summary.notes.is_empty(), "{:?}", summary.notes);
}

/// Processors differ in what rows are rounded to.
#[test]
fn all_of_this_holds_with_narrower_instructions() {
    const NAME: &str = "GSTORE_MAX_ISA";
    if !cfg!(target_arch = "x86_64") || std::env::var_os(NAME).is_some_and(|name| !name.is_empty()) {
        return;
    }
    for instructions in ["scalar", "avx2", "avxvnni"] {
        let program = std::env::current_exe().unwrap();
        let mut again = std::process::Command::new(program);
        let done =
            again.args(["shortlist::", "--test-threads", "2"]).env(NAME, instructions).output().unwrap();
        let told = String::from_utf8_lossy(&done.stdout);
        assert!(done.status.success() && !told.contains(" 0 passed"), "{instructions}: {told}");
    }
}
