//! Promise: a score agrees with float64 arithmetic on the stored values to the accuracy that
//! docs/methods.md states.

use crate::common::*;
use gstore_query::influence::*;
use gstore_query::kernel::{Kernel, Queries, Scratch};
use gstore_store::{DType, Signs, Values};
use half::f16;

/// Half a unit in the last place of 1.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// What is stated of a product: the longest chain of roundings, a lane of the group's product and the tree.
fn product_bound(dim: usize) -> f64 {
    (dim.div_ceil(16) + 4) as f64 * U
}

/// What is stated of a score: the products of all groups, factor and rounding of each, groups and checkpoints
/// added up, and the query's own rounding to f32.
fn score_bound(dim: usize, groups: usize, checkpoints: usize) -> f64 {
    product_bound(dim) + (groups + checkpoints + 4) as f64 * U
}

fn normal(numbers: &mut Numbers) -> f32 {
    // Nearly: the sum of three uniform numbers.
    numbers.next() + numbers.next() + numbers.next()
}

fn vector(numbers: &mut Numbers, dim: usize, family: &str) -> Vec<f32> {
    (0..dim)
        .map(|_| match family {
            "heavy" => normal(numbers).powi(5),
            // Nothing cancels: roundings of sums are as large as they can be.
            "positive" => normal(numbers).abs(),
            _ => normal(numbers),
        })
        .collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn wide(v: &[f32]) -> Vec<f64> {
    v.iter().map(|x| f64::from(*x)).collect()
}

#[test]
fn products_of_every_kernel_and_stored_type() {
    for dim in [1, 15, 256, 1000, 4096, 16_384, 65_536] {
        for family in ["normal", "heavy", "positive"] {
            let mut numbers = Numbers(dim as u64);
            let (rows, count) = (6, 5);
            let x: Vec<f32> = (0..rows).flat_map(|_| vector(&mut numbers, dim, family)).collect();
            let q: Vec<f32> = (0..count).flat_map(|_| vector(&mut numbers, dim, family)).collect();
            let half: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
            let bytes: Vec<i8> = x.iter().map(|x| (x * 30.0) as i8).collect();
            // A word for 64 of a row; bit 1 is negative.
            let word = |x: &[f32]| (0..x.len()).fold(0u64, |word, i| word | u64::from(x[i] < 0.0) << i);
            let words: Vec<u64> = x.chunks(dim).flat_map(|row| row.chunks(64).map(word)).collect();
            let signs = x.iter().map(|x| if *x < 0.0 { -1.0 } else { 1.0 }).collect();
            let stored = [
                (Values::I1(Signs::new(&words, dim.div_ceil(64))), signs),
                (Values::F16(&half), half.iter().map(|x| x.to_f64()).collect()),
                (Values::F32(&x), wide(&x)),
                (Values::I8(&bytes), bytes.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>()),
            ];
            let queries = Queries::new(&q, dim, &[]);
            for (values, exact) in &stored {
                for kernel in Kernel::available() {
                    let (mut got, mut scratch) = (vec![0.0; rows * count], Scratch::default());
                    kernel.scaled_dots(*values, &queries, &[0], &vec![1.0; rows], &mut scratch, &mut got);
                    for (i, got) in got.iter().enumerate() {
                        let row = &exact[i / count * dim..][..dim];
                        let query = wide(&q[i % count * dim..][..dim]);
                        let lengths = (dot(row, row) * dot(&query, &query)).sqrt();
                        let off = (f64::from(*got) - dot(row, &query)).abs();
                        let most = product_bound(dim) * lengths;
                        assert!(off <= most, "{} {family} {dim}: off by {off}, bound {most}", kernel.name());
                    }
                }
            }
        }
    }
}

/// Scores of a store against float64 on what it stores.
#[test]
fn scores_of_stored_vectors() {
    for (dim, groups) in [(256, 1), (256, 7), (4096, 1), (4096, 28), (8192, 3), (16_384, 1), (65_536, 1)] {
        for (i, dtype) in DType::ALL.into_iter().enumerate() {
            for (j, family) in ["normal", "heavy", "positive"].into_iter().enumerate() {
                if (i + j + groups) % 3 == 0 {
                    one_store(dim, groups, dtype, family);
                }
            }
        }
    }
}

fn one_store(dim: usize, groups: usize, dtype: DType, family: &str) {
    let mut numbers = Numbers(dim as u64 + groups as u64);
    let (rows, samples, checkpoints) = (7, 3, 2);
    let store = TestStore::new();
    store.dataset("pool", rows).dataset_of("val", &[Some("a"), Some("b"), Some("b")]);
    let mut features = Vec::new();
    for c in 0..checkpoints {
        for (name, count) in [("pool", rows), ("val", samples)] {
            let vectors: Vec<Vec<f32>> = (0..count).map(|_| vector(&mut numbers, dim, family)).collect();
            let mut feature = Feature::new(name, "grad-sgd", c, present(&vectors));
            feature.dtype = dtype;
            let each = (dim / groups) as u32;
            feature.groups = (1..groups).map(|_| each).collect();
            feature.groups.push(dim as u32 - each * (groups as u32 - 1));
            features.push(feature);
        }
    }
    let run = store.run("run", &[Some(0.75), Some(0.25)]);
    store.features(&features, Some(run));
    let snapshot = store.snapshot();
    // By checkpoint, then row: the vector and its length.
    let stored = |dataset: &str, count: usize| -> Vec<Vec<(Vec<f64>, f64)>> {
        (0..checkpoints)
            .map(|c| {
                let label = format!("grad-sgd@{}", checkpoint_name(c));
                let part =
                    snapshot.features_of(dataset).into_iter().find(|f| f.attrs.label == label).unwrap();
                let reader = snapshot.open_feature(part).unwrap();
                let row = |row: usize| reader.row(row as u64).unwrap().unwrap();
                (0..count)
                    .map(row)
                    .map(|row| (wide(&row.vector), dot(&wide(&row.norm), &wide(&row.norm)).sqrt()))
                    .collect()
            })
            .collect()
    };
    let (pool, val) = (stored("pool", rows), stored("val", samples));
    for sim in [Sim::Cosine, Sim::Dot] {
        let spec = InfluenceSpec { sim, ..ask("pool", "val") };
        let got = scores(&plan(&store, &spec));
        for ((_, row), (score, _)) in got {
            // Mean over the samples of each subtask, the larger of both; and what errors are relative to.
            let (mut best, mut unit) = (f64::NEG_INFINITY, 0.0f64);
            for subtask in [&[0usize][..], &[1, 2]] {
                let (mut value, mut lengths) = (0.0, 0.0);
                for c in 0..checkpoints {
                    let weight = [0.75, 0.25][c];
                    let (x, norm) = &pool[c][row as usize];
                    let mut query = vec![0.0; dim];
                    for q in subtask {
                        let (y, length) = &val[c][*q];
                        let by = if sim == Sim::Cosine { 1.0 / *length } else { 1.0 } / subtask.len() as f64;
                        query.iter_mut().zip(y).for_each(|(q, y)| *q += by * y);
                    }
                    let by = weight / if sim == Sim::Cosine { *norm } else { 1.0 };
                    value += by * dot(x, &query);
                    lengths += by * (dot(x, x) * dot(&query, &query)).sqrt();
                }
                best = best.max(value);
                unit = unit.max(lengths);
            }
            let off = (f64::from(score) - best).abs();
            let most = score_bound(dim.div_ceil(groups), groups, checkpoints) * unit;
            assert!(off <= most, "{dim} {groups} {dtype} {family} {sim}: off by {off}, bound {most}");
        }
    }
}
