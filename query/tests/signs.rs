//! Promise: rows that are stored as signs answer every question as signs times the mean magnitudes of their
//! modules; lengths are those of before rounding.

use crate::common::*;
use crate::precondition::{ROWS, grams, publish};
use gstore_query::influence::*;
use gstore_store::DType;

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
    let store = TestStore::new();
    store.dataset("pool", ROWS).dataset_of("val", &[Some("a"), Some("a"), Some("b")]);
    let mut pool = Feature::new("pool", "grad-sgd", 0, present(vectors));
    let mut target = Feature::new("val", "grad-sgd", 0, present(&Numbers(32).vectors(3, DIM)));
    (pool.dtype, pool.cut) = (dtype, cut);
    (pool.groups, target.groups) = (GROUPS.to_vec(), GROUPS.to_vec());
    store.features(&[pool, target], Some(store.run("warmup", &[Some(1.0)])));
    store
}

/// What the pool has stored.
fn stored(store: &TestStore) -> Vec<Vec<f32>> {
    let snapshot = store.snapshot();
    let reader = snapshot.open_feature(snapshot.features_of("pool")[0]).unwrap();
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
    let signs = store(&vectors(), DType::I1, 90);
    let plain = store(&stored(&signs), DType::F32, usize::MAX);
    let all = grams(&signs, 2);
    assert_eq!(grams(&plain, 1), all);
    [&signs, &plain].into_iter().for_each(|store| publish(store, "gram", &all));
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
        let (found, wanted) = (scores(&plan(&signs, &spec)), scores(&plan(&plain, &spec)));
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
    for found in of(&signs) {
        let want = wanted.iter().find(|scored| scored.row == found.row).unwrap();
        assert!((found.score - want.score).abs() <= 1e-5 * want.score.abs(), "{found:?} is not {want:?}");
    }
}

#[test]
fn scores_have_the_same_bits_in_any_segments_and_beside_any_rows() {
    let given = vectors();
    let (whole, cut) = (store(&given, DType::I1, usize::MAX), store(&given, DType::I1, 90));
    // A query alone, and several at once, whose kernels differ.
    for (target, within) in [("val:b", Within::Mean), ("val", Within::Max)] {
        let spec = InfluenceSpec { sim: Sim::Dot, within, missing: Missing::Exclude, ..ask("pool", target) };
        let expected = scores(&plan(&whole, &spec));
        assert_eq!(expected.len(), ROWS);
        let bits = |all: &[Scored]| -> Vec<(u64, u32)> {
            all.iter().map(|row| (row.row, row.score.to_bits())).collect()
        };
        let of_rows = |rows: &[Scored]| -> Vec<(u64, u32)> {
            rows.iter().map(|row| (row.row, expected[&(0, row.row)].0.to_bits())).collect()
        };
        let filter = RowFilter::single((13..14).chain(200..217).chain(600..690).collect());
        let cut = plan(&cut, &spec);
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
    let found =
        plan(&store(&given, DType::I1, 90), &spec).top_k_self(Order::Best, ROWS, None, 1, &GO).unwrap();
    assert_eq!(found.rows.len(), ROWS);
    for scored in found.rows {
        let want: f64 = given[scored.row as usize].iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((f64::from(scored.score) - want).abs() <= 1e-5 * want, "{scored:?} is not {want}");
    }
}

/// Of coordinates that are independent, centred and alike, signs keep the share mean |x| / root mean square
/// of the correlation over rows, for whatever query: sqrt(3) / 2 of uniform ones.
#[test]
fn scores_correlate_with_those_of_whole_rows_as_signs_do() {
    let given = vectors();
    let spec = InfluenceSpec { sim: Sim::Dot, ..ask("pool", "val:b") };
    let of = |dtype| -> Vec<f64> {
        let found = scores(&plan(&store(&given, dtype, usize::MAX), &spec));
        found.values().map(|(score, _)| f64::from(*score)).collect()
    };
    let (signs, whole) = (of(DType::I1), of(DType::F32));
    let mean = |all: &[f64]| all.iter().sum::<f64>() / all.len() as f64;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        let (of_a, of_b) = (mean(a), mean(b));
        a.iter().zip(b).map(|(x, y)| (x - of_a) * (y - of_b)).sum()
    };
    let found = product(&signs, &whole) / (product(&signs, &signs) * product(&whole, &whole)).sqrt();
    // Three standard errors of 700 rows.
    assert!((found - 0.75f64.sqrt()).abs() < 0.03, "{found}");
}
