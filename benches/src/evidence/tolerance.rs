//! Rankings with a tolerance: each returned score is within it of the score that belongs at that place.

use anyhow::Result;
use gstore_query::influence::{InfluenceSpec, Mode, Order, Plane, Prepared, Sim, SketchMode};
use gstore_store::{DType, RowFlags};
use serde_json::{Value, json};

use super::numbers::Numbers;
use super::stored::{Pool, build};
use super::{NEVER, by_sketch, first, question, scores, sketches};

/// Tolerances, as scores.
const TOLERANCES: [f64; 4] = [1e-3, 1e-2, 5e-2, 2e-1];

/// Results for a tolerance.
#[derive(Debug, Default, Clone, Copy)]
struct Found {
    rankings: u64,
    /// Rankings with a score more than the tolerance from the truth.
    beyond: u64,
    /// Rankings that differ from the exact one.
    other: u64,
    /// The largest distance, over the tolerance.
    largest: f64,
    rows: u64,
    scored: u64,
}

/// Asks each of `queries` about `rows` with each tolerance, certified and by the bit planes at `miss`,
/// under `seeds` rotations.
pub fn run(
    name: &str,
    rows: &[Vec<f32>],
    queries: &[Vec<f32>],
    k: usize,
    miss: f64,
    seeds: u64,
) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    let pool = Pool {
        rows: rows.len(),
        vectors: &|_, row| (rows[row].clone(), RowFlags::default()),
        dtype: DType::F16,
        groups: Vec::new(),
        cut: 5000,
        checkpoints: 1,
        tokens: false,
    };
    let store = build(&folder.path().join("store"), &pool, &[queries.to_vec()])?;
    let snapshot = store.snapshot()?;
    let mut found = [[Found::default(); TOLERANCES.len()]; 2];
    for seed in 0..seeds {
        let all = sketches(&snapshot, seed + 77, 2)?;
        for (i, sim) in (0..queries.len()).flat_map(|i| [Sim::Cosine, Sim::Dot].map(|sim| (i, sim))) {
            let spec = InfluenceSpec { sim, ..question(&format!("val:t{i}")) };
            let every = scores(&Prepared::new(&snapshot, &spec)?, None)?;
            // The natural unit of a dot product includes the lengths.
            let unit = match sim {
                Sim::Cosine => 1.0,
                Sim::Dot => every.iter().map(|s| f64::from(s.score.abs())).fold(0.0, f64::max),
            };
            for (c, planes) in
                [vec![Plane::Certified], vec![Plane::Sign, Plane::Nibble]].into_iter().enumerate()
            {
                for (t, tolerance) in TOLERANCES.map(|t| t * unit).into_iter().enumerate() {
                    let mode =
                        SketchMode { miss, tolerance, certified: c == 0, planes: Some(planes.clone()) };
                    let plan = by_sketch(&snapshot, &spec, Mode::Sketch(mode), &all)?;
                    for order in [Order::Best, Order::Worst] {
                        let want = first(&every, order, k);
                        let got = plan.top_k(order, k, None, 2, &NEVER)?;
                        let found = &mut found[c][t];
                        let off = got
                            .rows
                            .iter()
                            .zip(&want)
                            .map(|(got, want)| f64::from((got.score - want.score).abs()))
                            .fold(0.0, f64::max);
                        // A returned score is that of its row, to the bit.
                        let own = got.rows.iter().all(|row| {
                            every.iter().any(|s| s.row == row.row && s.score.to_bits() == row.score.to_bits())
                        });
                        found.rankings += 1;
                        found.beyond += u64::from(off > tolerance || !own || got.rows.len() != want.len());
                        found.other += u64::from(got.rows != want);
                        found.largest = found.largest.max(off / tolerance);
                        found.rows += got.summary.eligible;
                        found.scored += got.summary.rows_scored;
                    }
                }
            }
        }
    }
    Ok((0..2)
        .flat_map(|c| (0..TOLERANCES.len()).map(move |t| (c, t)))
        .map(|(c, t)| {
            let found = found[c][t];
            json!({
                "evidence": "tolerance", "rows": name, "dim": rows[0].len(), "tolerance": TOLERANCES[t], "certified": c == 0,
                "miss": if c == 0 { 0.0 } else { miss }, "rankings": found.rankings, "beyond": found.beyond,
                "other_than_exact": found.other, "largest_over_tolerance": found.largest,
                "scored_share": found.scored as f64 / found.rows as f64,
            })
        })
        .collect())
}

/// Rows with a few outliers, and queries.
pub fn synthetic(dim: usize, rows: usize, queries: usize, seed: u64) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
    let mut numbers = Numbers(seed);
    let queries: Vec<Vec<f32>> = (0..queries).map(|_| numbers.gaussian(dim)).collect();
    let rows = (0..rows)
        .map(|i| {
            let mut row = numbers.gaussian(dim);
            let share = if i % 50 == 0 { numbers.unit() as f32 } else { 0.0 };
            row.iter_mut().zip(&queries[i % queries.len()]).for_each(|(x, q)| *x += share * q);
            row
        })
        .collect();
    (rows, queries)
}
