//! Promise: every number of the acceptance example of LESS (specification, section 8) comes out of a real
//! store, and its invariants hold.

use crate::common::pair_scores::{PairScores, pair_scores};
use crate::common::*;
use gstore_query::influence::*;

const M: [[f64; 4]; 2] = [[0.010, -0.020, 0.005, 0.000], [0.008, -0.010, -0.004, 0.002]];
const V: [[f64; 4]; 2] = [[4e-4, 1e-4, 2.5e-5, 1e-6], [3e-4, 2e-4, 1e-5, 4e-6]];
const G: [[[f64; 4]; 3]; 2] = [
    [[0.30, -0.10, 0.05, 0.02], [-0.20, 0.40, 0.10, -0.01], [0.0; 4]],
    [[0.25, -0.05, 0.02, 0.01], [-0.10, 0.30, 0.20, -0.03], [0.0; 4]],
];
const TARGET: [[[f64; 4]; 4]; 2] = [
    [[0.5, -0.5, 0.1, 0.0], [0.2, -0.1, 0.0, 0.1], [-0.3, 0.6, 0.2, 0.1], [0.1, 0.2, 0.4, -0.2]],
    [[0.4, -0.4, 0.0, 0.1], [0.3, 0.1, -0.1, 0.0], [-0.2, 0.5, 0.3, 0.0], [0.0, 0.1, 0.5, -0.1]],
];
const WEIGHTS: [Option<f64>; 2] = [Some(1.5e-5), Some(0.5e-5)];

fn adam(g: [f64; 4], c: usize) -> Vec<f32> {
    (0..4)
        .map(|i| {
            let m = 0.9 * M[c][i] + 0.1 * g[i];
            let v = 0.999 * V[c][i] + 0.001 * g[i] * g[i];
            (m / (v + 1e-8).sqrt()) as f32
        })
        .collect()
}

fn sgd(g: [f64; 4], _: usize) -> Vec<f32> {
    g.iter().map(|&x| x as f32).collect()
}

fn sign(g: [f64; 4], _: usize) -> Vec<f32> {
    g.iter().map(|&x| if x == 0.0 { 0.0 } else { x.signum() as f32 }).collect()
}

type Kind = fn([f64; 4], usize) -> Vec<f32>;

struct Example {
    kind: &'static str,
    form: Kind,
    /// Order of the pool rows.
    order: Vec<usize>,
    /// (row of the example, its subtask) in the order of the target dataset.
    target: Vec<(usize, &'static str)>,
    scale: fn(usize) -> f64,
    target_sign: f64,
    weights: Vec<Option<f64>>,
    /// Which checkpoint of the example each checkpoint repeats.
    checkpoints: Vec<usize>,
}

impl Default for Example {
    fn default() -> Self {
        Self {
            kind: "grad-adam",
            form: adam,
            order: vec![0, 1, 2],
            target: vec![(0, "s0"), (1, "s0"), (2, "s1"), (3, "s1")],
            scale: |_| 1.0,
            target_sign: 1.0,
            weights: WEIGHTS.to_vec(),
            checkpoints: vec![0, 1],
        }
    }
}

impl Example {
    fn store(&self) -> TestStore {
        let store = TestStore::with(&[("pool", self.order.len())]);
        let subtasks: Vec<_> = self.target.iter().map(|(_, s)| Some(*s)).collect();
        store.dataset_of("val", &subtasks);
        let mut features = Vec::new();
        for (at, &c) in self.checkpoints.iter().enumerate() {
            let pool: Vec<_> =
                self.order.iter().map(|&r| (self.form)(G[c][r].map(|x| x * (self.scale)(r)), c)).collect();
            let target: Vec<_> = self
                .target
                .iter()
                .map(|&(r, _)| sgd(TARGET[c][r].map(|x| x * self.target_sign * (self.scale)(r)), c))
                .collect();
            features.push(Feature::new("pool", self.kind, at, present(&pool)));
            features.push(Feature::new("val", "grad-sgd", at, present(&target)));
        }
        let run = store.run("warmup", &self.weights);
        store.features(&features, Some(run));
        store
    }

    fn values(&self, spec: InfluenceSpec) -> Vec<f32> {
        let found = scores(&plan(&self.store(), &spec));
        found.values().map(|(score, _)| *score).collect()
    }
}

fn all_values(store: &TestStore, spec: &InfluenceSpec) -> PairScores {
    pair_scores(&plan(store, spec), None, 2).unwrap()
}

const CLOSE: f64 = 1.2e-6;

#[test]
fn cosines_influence_and_subtask_means() {
    let m = all_values(&Example::default().store(), &ask("pool", "val"));
    let first = [
        0.830081, 0.795377, -0.559505, 0.014806, -0.325607, -0.456474, 0.644783, 0.924804, 0.825047,
        0.534543, -0.709836, 0.043594,
    ];
    let second = [
        0.859893, 0.565308, -0.649308, -0.381216, -0.396003, -0.175395, 0.811663, 0.957747, 0.543021,
        0.322012, -0.735880, -0.849224,
    ];
    let a = [
        0.837534, 0.737859, -0.581956, -0.084199, -0.343206, -0.386204, 0.686503, 0.933040, 0.754541,
        0.481411, -0.716347, -0.179610,
    ];
    close(&m.sim[0], &first, CLOSE);
    close(&m.sim[1], &second, CLOSE);
    close(&m.influence, &a, CLOSE);
    close(&m.subtask, &[0.787697, -0.333078, -0.364705, 0.809771, 0.617976, -0.447979], CLOSE);
    assert_eq!((m.rows, m.subtasks), (vec![(0, 0), (0, 1), (0, 2)], vec!["s0".into(), "s1".into()]));
    assert_eq!(
        m.targets.iter().map(|t| (t.row, t.subtask)).collect::<Vec<_>>(),
        [(0, 0), (1, 0), (2, 1), (3, 1)]
    );
}

#[test]
fn scores_order_and_winning_subtask() {
    let store = Example::default().store();
    let plan = plan(&store, &ask("pool", "val"));
    assert_eq!(plan.checkpoints().iter().map(|c| c.weight).collect::<Vec<_>>(), [0.75, 0.25]);
    let ranking = plan.top_k(Order::Best, 3, None, 1, &GO).unwrap();
    assert_eq!(ranking.rows.iter().map(|s| (s.row, s.subtask)).collect::<Vec<_>>(), [(1, 1), (0, 0), (2, 0)]);
    close(&ranking.rows.iter().map(|s| s.score).collect::<Vec<_>>(), &[0.809771, 0.787697, 0.617976], CLOSE);
    assert_eq!((ranking.summary.eligible, ranking.summary.live, ranking.summary.excluded.total()), (3, 3, 0));
    assert_eq!(ranking.subtasks, ["s0", "s1"]);
    assert!(ranking.summary.bytes_read > 0);
    assert_eq!(ranking.summary.guarantee, "exact");

    let k = resolve_top("67%", ranking.summary.live).unwrap();
    assert_eq!(k, 2);
    assert_eq!(best(&plan, k).iter().map(|(row, _)| *row).collect::<Vec<_>>(), [1, 0]);
    let worst = plan.top_k(Order::Worst, 2, None, 1, &GO).unwrap();
    assert_eq!(worst.rows.iter().map(|s| s.row).collect::<Vec<_>>(), [2, 0]);
}

#[test]
fn other_terms() {
    let example = Example::default();
    let ask = |change: fn(&mut InfluenceSpec)| {
        let mut spec = ask("pool", "val");
        change(&mut spec);
        spec
    };
    let raw_mean = all_values(&example.store(), &ask(|s| s.fold = Fold::Mean));
    close(&raw_mean.subtask, &[0.853257, -0.430135, -0.369076, 0.915638, 0.714199, -0.569754], CLOSE);
    let unit_mean = all_values(&example.store(), &ask(|s| s.fold = Fold::UnitMean));
    close(&unit_mean.subtask, &[0.843930, -0.384986, -0.389092, 0.942906, 0.657373, -0.515918], CLOSE);
    close(&example.values(ask(|s| s.within = Within::Max)), &[0.837534, 0.933040, 0.754541], CLOSE);
    close(&example.values(ask(|s| s.within = Within::Min)), &[0.737859, 0.686503, 0.481411], CLOSE);

    let plain = Example { kind: "grad-sgd", form: sgd, ..Default::default() };
    let m = all_values(&plain.store(), &ask(|_| {}));
    close(&m.subtask, &[0.882214, -0.218269, -0.717333, 0.745464, 0.0, 0.0], CLOSE);
    let signs = Example { kind: "grad-sign", form: sign, ..Default::default() };
    let m = all_values(&signs.store(), &ask(|s| s.pool_kind = Some("grad-sign".into())));
    close(&m.subtask, &[0.711757, -0.126070, -0.696936, 0.713250, 0.0, 0.0], CLOSE);
}

/// The query vectors, read off by pool rows that are unit vectors: with `dot` their value is the coordinate.
#[test]
fn query_vectors() {
    let store = TestStore::new();
    store.dataset("pool", 4).dataset_of("val", &["s0", "s0", "s1", "s1"].map(Some));
    let unit: Vec<Vec<f32>> = (0..4).map(|i| (0..4).map(|j| f32::from(i == j)).collect()).collect();
    let want = [
        [[0.568739, -0.415646, 0.052511, 0.153093], [-0.084099, 0.468198, 0.406066, -0.096967]],
        [[0.200106, -0.049350, -0.037689, 0.021760], [-0.040555, 0.125445, 0.181114, -0.024056]],
    ];
    let mut features = Vec::new();
    for c in 0..2 {
        let target: Vec<_> = TARGET[c].iter().map(|&g| sgd(g, c)).collect();
        features.push(Feature::new("pool", "grad-sgd", c, present(&unit)));
        features.push(Feature::new("val", "grad-sgd", c, present(&target)));
    }
    let run = store.run("warmup", &WEIGHTS);
    store.features(&features, Some(run));
    let m = all_values(&store, &ask("pool", "val"));
    // Unit rows have length 1, so a cosine with them is the coordinate; both checkpoints add up.
    for row in 0..4 {
        for s in 0..2 {
            let sum = want[0][s][row] + want[1][s][row];
            close(&[m.subtask[row * 2 + s]], &[sum], CLOSE);
        }
    }
    for (c, want) in want.iter().enumerate() {
        let weight = [0.75, 0.25][c];
        let one = InfluenceSpec { checkpoints: Some(vec![checkpoint_name(c)]), ..ask("pool", "val") };
        let m = all_values(&store, &one);
        for row in 0..4 {
            let got = [m.subtask[row * 2], m.subtask[row * 2 + 1]];
            close(&got, &[want[0][row] / weight, want[1][row] / weight], 2.0 * CLOSE / weight);
        }
    }
}

/// Invariant 1. Adam features are not scale free, so rows of the pool are of kind sgd.
#[test]
fn positive_scales_change_nothing() {
    let plain = Example { kind: "grad-sgd", form: sgd, ..Default::default() };
    let base = plain.values(ask("pool", "val"));
    let scaled = Example {
        kind: "grad-sgd",
        form: sgd,
        scale: |row| [3.0, 0.01, 250.0, 7e-5][row],
        weights: vec![Some(1.5e-2), Some(0.5e-2)],
        ..Default::default()
    };
    let scaled = scaled.values(ask("pool", "val"));
    close(&scaled, &base.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), 1e-6);
    assert!(base.iter().all(|score| score.abs() <= 1.0));
}

/// Invariant 3.
#[test]
fn permutations() {
    let base = Example::default().values(ask("pool", "val"));
    let other = Example { order: vec![2, 0, 1], ..Default::default() };
    let turned = other.values(ask("pool", "val"));
    assert_eq!(turned, [base[2], base[0], base[1]], "the same bits at other rows");
    let other = Example { target: vec![(3, "s1"), (1, "s0"), (2, "s1"), (0, "s0")], ..Default::default() };
    close(&other.values(ask("pool", "val")), &base.iter().map(|&x| f64::from(x)).collect::<Vec<_>>(), 1e-6);
}

/// Invariant 4.
#[test]
fn degenerate_shapes() {
    let as_f64 = |v: Vec<f32>| v.into_iter().map(f64::from).collect::<Vec<_>>();
    let one = Example { checkpoints: vec![0], weights: vec![Some(1.0)], ..Default::default() };
    let three = Example {
        checkpoints: vec![0; 3],
        weights: vec![Some(0.2), Some(0.5), Some(4.0)],
        ..Default::default()
    };
    close(&three.values(ask("pool", "val")), &as_f64(one.values(ask("pool", "val"))), 1e-6);

    let rows = [0, 1, 2, 3];
    let single = Example { target: rows.map(|r| (r, "all")).to_vec(), ..Default::default() };
    let mean = all_values(&single.store(), &ask("pool", "val"));
    for (row, line) in mean.influence.chunks(4).enumerate() {
        let plain = line.iter().map(|&x| f64::from(x)).sum::<f64>() / 4.0;
        close(&[mean.subtask[row]], &[plain], 1e-6);
    }

    let each = Example {
        target: rows.iter().zip(["a", "b", "c", "d"]).map(|(&r, s)| (r, s)).collect(),
        ..Default::default()
    };
    let most = InfluenceSpec { within: Within::Max, ..ask("pool", "val") };
    close(&each.values(ask("pool", "val")), &as_f64(single.values(most)), 1e-6);
}

/// Invariant 5.
#[test]
fn a_flipped_target_mirrors_max_and_min() {
    let flipped = Example { target_sign: -1.0, ..Default::default() };
    let base = Example::default();
    let min = InfluenceSpec { across: Across::Min, ..ask("pool", "val") };
    let mirrored: Vec<f32> = base.values(min).into_iter().map(|x| -x).collect();
    assert_eq!(flipped.values(ask("pool", "val")), mirrored);
}

/// Invariant 6: what is collapsed into one vector per subtask agrees with the full product.
#[test]
fn collapsed_and_full_products_agree() {
    let m = all_values(&Example::default().store(), &ask("pool", "val"));
    for (line, subtasks) in m.influence.chunks(4).zip(m.subtask.chunks(2)) {
        for s in 0..2 {
            let mean = line[2 * s..2 * s + 2].iter().map(|v| f64::from(*v)).sum::<f64>() / 2.0;
            close(&[subtasks[s]], &[mean], 1e-6);
        }
    }
}

/// Invariant 7, with k counting live rows and excluded rows never returned.
#[test]
fn selections_are_nested_and_never_hold_excluded_rows() {
    let mut numbers = Numbers(7);
    let mut rows = present(&numbers.vectors(40, 6));
    rows[3].as_mut().unwrap().1 = 1;
    rows[11].as_mut().unwrap().0[2] = f32::NAN;
    rows[12].as_mut().unwrap().0[5] = f32::INFINITY;
    let val = Feature::new("val", "grad-sgd", 0, present(&numbers.vectors(3, 6)));
    let store = TestStore::of(&[Feature::new("pool", "grad-adam", 0, rows), val]);
    let plan = plan(&store, &ask("pool", "val"));
    let all = plan.top_k(Order::Best, resolve_top("100%", 40).unwrap(), None, 1, &GO).unwrap();
    assert_eq!((all.rows.len(), all.summary.eligible, all.summary.live), (37, 37, 40));
    let counts = all.summary.excluded;
    assert_eq!((counts.no_scored, counts.non_finite, counts.total()), (1, 2, 3));
    assert!(all.rows.iter().all(|s| ![3, 11, 12].contains(&s.row) && s.score.is_finite()));
    for k in 1..40 {
        assert_eq!(best(&plan, k), best(&plan, 40)[..k.min(37)]);
    }
    let left_out = excluded(&plan);
    assert_eq!(
        left_out.iter().map(|e| (e.row, e.reason)).collect::<Vec<_>>(),
        [(3, Reason::NoScored), (11, Reason::NonFinite), (12, Reason::NonFinite)]
    );
}
