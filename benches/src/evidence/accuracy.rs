//! Products of the exact kernels against double precision, in units of both lengths.

use gstore_query::kernel::{Kernel, Queries, Scratch};
use gstore_store::Values;
use half::f16;
use serde_json::{Value, json};

use super::numbers::Numbers;

/// Pairs of each dimension.
const ROWS: usize = 64;
const QUERIES: usize = 16;

/// Stored types, by the names that users see.
pub const TYPES: [&str; 3] = ["f16", "f32", "i8"];
/// Distributions of coordinates.
pub const FAMILIES: [&str; 3] = ["normal", "heavy", "positive"];

/// The distances of single precision from double precision for one dimension, type and family.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accuracy {
    /// The largest of `|computed - exact| / (|q| |x|)`.
    pub max: f64,
    /// Their root mean square.
    pub rms: f64,
    /// An upper bound: the longest chain of roundings in a product, a lane and the tree, at 2^-24 each.
    pub bound: f64,
}

/// Multiplies rows with queries and compares; a query of the family `positive` is positive like the rows, so
/// that nothing cancels.
pub fn measure(dim: usize, dtype: &str, family: &str, seed: u64) -> Accuracy {
    let mut numbers = Numbers(seed);
    let mut vector = |_| -> Vec<f32> {
        match family {
            "heavy" => numbers.heavy(dim),
            "positive" => numbers.gaussian(dim).iter().map(|x| x.abs()).collect(),
            _ => numbers.gaussian(dim),
        }
    };
    let queries: Vec<f32> = (0..QUERIES).flat_map(&mut vector).collect();
    let rows: Vec<f32> = (0..ROWS).flat_map(&mut vector).collect();
    let (mut half, mut bytes) = (Vec::new(), Vec::new());
    let exact: Vec<f64> = match dtype {
        "f16" => {
            half = rows.iter().map(|x| f16::from_f32(*x)).collect();
            half.iter().map(|x| x.to_f64()).collect()
        }
        "i8" => {
            let largest = rows.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            bytes = rows.iter().map(|x| (x / largest * 127.0).round() as i8).collect();
            bytes.iter().map(|x| f64::from(*x)).collect()
        }
        _ => rows.iter().map(|x| f64::from(*x)).collect(),
    };
    let values = match dtype {
        "f16" => Values::F16(&half),
        "i8" => Values::I8(&bytes),
        _ => Values::F32(&rows),
    };
    let (mut got, mut scratch) = (vec![0.0f32; ROWS * QUERIES], Scratch::default());
    let queries_of_dim = Queries::new(&queries, dim, &[]);
    Kernel::detect().scaled_dots(values, &queries_of_dim, &[0], &[1.0; ROWS], &mut scratch, &mut got);
    let (mut max, mut squares) = (0.0f64, 0.0);
    for (row, got) in exact.chunks_exact(dim).zip(got.chunks_exact(QUERIES)) {
        let norm = row.iter().map(|x| x * x).sum::<f64>().sqrt();
        for (query, got) in queries.chunks_exact(dim).zip(got) {
            let want: f64 = row.iter().zip(query).map(|(x, q)| x * f64::from(*q)).sum();
            let length = query.iter().map(|q| f64::from(*q).powi(2)).sum::<f64>().sqrt();
            let off = (f64::from(*got) - want).abs() / (norm * length).max(f64::MIN_POSITIVE);
            max = max.max(off);
            squares += off * off;
        }
    }
    let chain = dim.div_ceil(16) + 4;
    Accuracy { max, rms: (squares / got.len() as f64).sqrt(), bound: chain as f64 * 2f64.powi(-24) }
}

/// One line per dimension, type and family.
pub fn run(dims: &[usize]) -> Vec<Value> {
    let mut lines = Vec::new();
    for &dim in dims {
        for dtype in TYPES {
            for family in FAMILIES {
                let found = measure(dim, dtype, family, dim as u64);
                lines.push(json!({
                    "evidence": "accuracy", "dim": dim, "stored": dtype, "rows": family, "pairs": ROWS * QUERIES,
                    "max": found.max, "rms": found.rms, "bound": found.bound, "kernel": Kernel::detect().name(),
                }));
            }
        }
    }
    lines
}
