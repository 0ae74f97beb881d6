//! `two_sided`: dense signs on both sides, nothing after (the shape of LoGra, arXiv 2405.13954).
//!
//! For comparison: of nearly equal gradients of one token it keeps an effective dimension of only
//! `k_out k_in / (k_out + k_in)`, which recovers with the number of tokens.

use crate::projection::modules::{SideEntries, SideMatrix};
use crate::projection::philox::RandomWords;
use crate::projection::rademacher::Rademacher;
use crate::projection::summed::RandomMatrix;

/// The `rademacher` matrix of `rows x columns`, row-major.
pub(super) fn side(words: RandomWords, rows: u32, columns: usize, bias: bool) -> SideMatrix {
    let kind = Rademacher::new(rows);
    let scale = kind.scale() as f32;
    let rows = rows as usize;
    let mut values = vec![0.0; rows * columns];
    let mut drawn = vec![0u32; kind.width()];
    for column in 0..columns {
        kind.fill(words, column as u64, &mut drawn);
        for row in 0..rows {
            let negative = drawn[row / 32] >> (row % 32) & 1 == 1;
            values[row * columns + column] = if negative { -scale } else { scale };
        }
    }
    SideMatrix::dense(rows, columns, values, bias)
}

/// `P_out G P_in^T` of a formed gradient, the output side first: `weight` is row-major, `bias`
/// the last column or empty.
pub(super) fn project(out: &SideMatrix, input: &SideMatrix, weight: &[f32], bias: &[f32]) -> Vec<f64> {
    let (SideEntries::Dense(p_out), SideEntries::Dense(p_in)) = (&out.entries, &input.entries) else {
        return Vec::new();
    };
    let width = input.columns;
    let mut folded = vec![0f64; out.rows * width];
    let mut folded_bias = vec![0f64; out.rows];
    for o in 0..out.columns {
        let row = &weight[o * width..(o + 1) * width];
        let bias = bias.get(o).copied().unwrap_or(0.0);
        for (r, folded) in folded.chunks_exact_mut(width).enumerate() {
            let factor = f64::from(p_out[r * out.columns + o]);
            for (sum, value) in folded.iter_mut().zip(row) {
                *sum += factor * f64::from(*value);
            }
            folded_bias[r] += factor * f64::from(bias);
        }
    }
    let mut cells = Vec::with_capacity(out.rows * input.rows);
    for (row, bias) in folded.chunks_exact(width).zip(&folded_bias) {
        for (c, p_in) in p_in.chunks_exact(width).enumerate() {
            let constant = input.constant.get(c).map_or(0.0, |p| f64::from(*p) * bias);
            cells.push(dot(row, p_in) + constant);
        }
    }
    cells
}

/// Eight interleaved sums, added in order.
fn dot(values: &[f64], entries: &[f32]) -> f64 {
    let (blocks, rest) = values.as_chunks::<8>();
    let (p_blocks, p_rest) = entries.as_chunks::<8>();
    let mut sums = [0f64; 8];
    for (values, entries) in blocks.iter().zip(p_blocks) {
        for lane in 0..8 {
            sums[lane] += values[lane] * f64::from(entries[lane]);
        }
    }
    let rest: f64 = rest.iter().zip(p_rest).map(|(v, p)| v * f64::from(*p)).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::projection::key::MatrixSide;
    use crate::projection::philox::StreamTag;

    #[test]
    fn golden_signs() {
        let signs = |side_of, columns| {
            let words = RandomWords::of(StreamTag::Rademacher, "layers.0.w", side_of, 4, None);
            let SideEntries::Dense(values) = side(words, 2, columns, false).entries else { panic!("dense") };
            assert!(values.iter().all(|v| v.abs() == 0.5f32.sqrt()));
            values.iter().map(|v| if *v < 0.0 { '-' } else { '+' }).collect::<String>()
        };
        assert_eq!(signs(MatrixSide::Out, 3), "--++--");
        assert_eq!(signs(MatrixSide::In, 4), "-----++-");
    }
}
