//! Promise: rows that are stored as signs answer every question as signs times the mean magnitudes of their
//! modules; lengths are those of before rounding.

use crate::common::*;
use crate::precondition::{ROWS, grams, publish};
use gstore_core::correlation::{pearson, spearman};
use gstore_query::influence::*;
use gstore_store::{DType, SignRotation};

const GROUPS: [u32; 3] = [3, 70, 64];
const DIM: usize = 137;

fn vectors() -> Vec<Vec<f32>> {
    let mut all = Numbers(31).vectors(ROWS, DIM);
    // One module of zeros, and all of them.
    all[7][..3].fill(0.0);
    all[8].fill(0.0);
    all
}

/// A pool of these vectors in this type, and targets of f32.
fn store(vectors: &[Vec<f32>], dtype: DType, cut: usize) -> TestStore {
    of_rotation(vectors, (dtype, SignRotation::None), cut)
}

/// A pool of the signs of these vectors, rotated as new features are.
fn rotated(vectors: &[Vec<f32>], cut: usize) -> TestStore {
    of_rotation(vectors, (DType::I1, SignRotation::of(DType::I1)), cut)
}

fn of_rotation(vectors: &[Vec<f32>], (dtype, rotation): (DType, SignRotation), cut: usize) -> TestStore {
    let store = TestStore::new();
    store.dataset("pool", ROWS).dataset_of("val", &[Some("a"), Some("a"), Some("b")]);
    let mut pool = Feature::new("pool", "grad-sgd", 0, present(vectors));
    let mut target = Feature::new("val", "grad-sgd", 0, present(&Numbers(32).vectors(3, DIM)));
    (pool.dtype, pool.rotation, pool.cut) = (dtype, rotation, cut);
    (pool.groups, target.groups) = (GROUPS.to_vec(), GROUPS.to_vec());
    store.features(&[pool, target], Some(store.run("warmup", &[Some(1.0)])));
    store
}

/// What the pool has stored.
fn stored(store: &TestStore) -> Vec<Vec<f32>> {
    let reader = store.reader();
    (0..ROWS as u64).map(|row| reader.row(row).unwrap().unwrap().vector).collect()
}

#[test]
fn a_row_is_its_signs_times_mean_magnitudes() {
    let given = vectors();
    for (given, found) in given.iter().zip(stored(&store(&given, DType::I1, 90))) {
        let mut start = 0;
        for len in GROUPS {
            let group = start..start + len as usize;
            start = group.end;
            let mean = given[group.clone()].iter().map(|x| f64::from(x.abs())).sum::<f64>() / f64::from(len);
            for (x, found) in given[group.clone()].iter().zip(&found[group]) {
                let want = if *x < 0.0 { -mean } else { mean };
                assert!((f64::from(*found) - want).abs() <= 1e-7 * mean, "{found} is not {want}");
            }
        }
    }
}

/// Both give the same answers but for the last bits: the one applies scales after the product, the other
/// before.
#[test]
fn scores_are_those_of_the_same_rows_in_single_precision() {
    same_as_single(&store(&vectors(), DType::I1, 90));
    same_as_single(&rotated(&vectors(), 90));
}

fn same_as_single(signs: &TestStore) {
    let plain = store(&stored(signs), DType::F32, usize::MAX);
    let all = grams(signs, 2);
    assert_eq!(grams(&plain, 1), all);
    [signs, &plain].into_iter().for_each(|store| publish(store, "gram", &all));
    let dot = InfluenceSpec { sim: Sim::Dot, missing: Missing::Exclude, ..ask("pool", "val") };
    let gram = || Some("gram".to_owned());
    let specs = [
        dot.clone(),
        InfluenceSpec { modules: Some("module0=0.25,module2".parse().unwrap()), ..dot.clone() },
        InfluenceSpec { precondition: gram(), ..dot.clone() },
        // Lengths are taken of what is stored only under a preconditioner.
        InfluenceSpec { precondition: gram(), sim: Sim::Cosine, ..dot.clone() },
        InfluenceSpec { within: Within::Max, ..dot.clone() },
    ];
    for spec in specs {
        let (found, wanted) = (scores(&plan(signs, &spec)), scores(&plan(&plain, &spec)));
        assert_eq!(found.len(), ROWS);
        let largest = wanted.values().fold(0.0f32, |most, (score, _)| most.max(score.abs()));
        for (row, (score, subtask)) in &found {
            let (want, of) = &wanted[row];
            assert!((score - want).abs() <= 1e-5 * largest, "{row:?}: {score} is not {want} by {spec:?}");
            assert!(subtask == of || (score - want).abs() <= 1e-5 * largest);
        }
    }
    let own = InfluenceSpec { precondition: gram(), ..dot };
    let of = |store: &TestStore| plan(store, &own).top_k_self(Order::Best, ROWS, None, 2, &GO).unwrap().rows;
    let wanted = of(&plain);
    for found in of(signs) {
        let want = wanted.iter().find(|scored| scored.row == found.row).unwrap();
        assert!((found.score - want.score).abs() <= 1e-5 * want.score.abs(), "{found:?} is not {want:?}");
    }
}

#[test]
fn scores_have_the_same_bits_in_any_segments_and_beside_any_rows() {
    let given = vectors();
    same_bits(&store(&given, DType::I1, usize::MAX), &store(&given, DType::I1, 90));
    same_bits(&rotated(&given, usize::MAX), &rotated(&given, 90));
}

fn same_bits(whole: &TestStore, cut: &TestStore) {
    // A query alone, and several at once, whose kernels differ.
    for (target, within) in [("val:b", Within::Mean), ("val", Within::Max)] {
        let spec = InfluenceSpec { sim: Sim::Dot, within, missing: Missing::Exclude, ..ask("pool", target) };
        let expected = scores(&plan(whole, &spec));
        assert_eq!(expected.len(), ROWS);
        let bits = |all: &[Scored]| -> Vec<(u64, u32)> {
            all.iter().map(|row| (row.row, row.score.to_bits())).collect()
        };
        let of_rows = |rows: &[Scored]| -> Vec<(u64, u32)> {
            rows.iter().map(|row| (row.row, expected[&(0, row.row)].0.to_bits())).collect()
        };
        let filter = RowFilter::single((13..14).chain(200..217).chain(600..690).collect());
        let cut = plan(cut, &spec);
        for threads in [1, 3] {
            for (some, count) in [(None, ROWS), (Some(&filter), 108)] {
                let found = cut.top_k(Order::Best, ROWS, some, threads, &GO).unwrap().rows;
                assert_eq!((found.len(), bits(&found)), (count, of_rows(&found)));
            }
        }
    }
}

#[test]
fn self_influence_is_that_of_before_rounding() {
    let given = vectors();
    let spec = InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val") };
    for store in [store(&given, DType::I1, 90), rotated(&given, 90)] {
        let found = plan(&store, &spec).top_k_self(Order::Best, ROWS, None, 1, &GO).unwrap();
        assert_eq!(found.rows.len(), ROWS);
        for scored in found.rows {
            let want: f64 = given[scored.row as usize].iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!((f64::from(scored.score) - want).abs() <= 1e-5 * want, "{scored:?} is not {want}");
        }
    }
}

/// How scores of signs correlate over rows with those of whole rows, and their ranks.
fn correlation(given: &[Vec<f32>], signs: &TestStore) -> [f64; 2] {
    let spec = InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val:b") };
    let of = |store: &TestStore| -> Vec<f64> {
        scores(&plan(store, &spec)).values().map(|(score, _)| f64::from(*score)).collect()
    };
    let (signs, whole) = (of(signs), of(&store(given, DType::F32, usize::MAX)));
    assert_eq!((signs.len(), whole.len()), (ROWS, ROWS));
    [pearson(&signs, &whole).unwrap(), spearman(&signs, &whole).unwrap()]
}

/// Of coordinates that are independent, centred and alike, signs keep the share mean |x| / root mean square
/// of the correlation over rows, for whatever query: sqrt(3) / 2 of uniform ones.
#[test]
fn scores_correlate_with_those_of_whole_rows_as_signs_do() {
    let given = vectors();
    let [found, _] = correlation(&given, &store(&given, DType::I1, usize::MAX));
    // Three standard errors of 700 rows.
    assert!((found - 0.75f64.sqrt()).abs() < 0.03, "{found}");
}

/// A rotation makes coordinates nearly normal, of which signs keep sqrt(2 / pi). As they are, those of heavy
/// tails keep little: of x^15 with a uniform x it is sqrt(31) / 16.
#[test]
fn signs_of_rotated_rows_order_rows_of_heavy_tails() {
    let mut given = vectors();
    given.iter_mut().flatten().for_each(|x| *x = x.powi(15));
    let [plain, plain_ranks] = correlation(&given, &store(&given, DType::I1, usize::MAX));
    let [found, ranks] = correlation(&given, &rotated(&given, usize::MAX));
    assert!((plain - 31f64.sqrt() / 16.0).abs() < 0.1, "{plain}");
    assert!((found - (2.0 / std::f64::consts::PI).sqrt()).abs() < 0.05, "{found}");
    assert!(plain_ranks < 0.45 && ranks > 0.7, "{plain_ranks} {ranks}");
}

/// Four bytes a coordinate more for the rotated queries, and as many where they are packed one by one.
#[test]
fn rotated_queries_are_part_of_the_memory_of_a_sample() {
    let given = vectors();
    let spec = InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val") };
    let bytes = |store: &TestStore| {
        let plan = plan(store, &spec);
        (plan.sample_bytes(), plan.ranked_sample_bytes())
    };
    let (plain, ranked) = bytes(&store(&given, DType::I1, 90));
    assert_eq!(plain, 8 * DIM as u64);
    assert_eq!(bytes(&rotated(&given, 90)), (plain + 4 * DIM as u64, ranked + 8 * DIM as u64));
}
