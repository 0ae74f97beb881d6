//! Projection of a formed gradient by two sparse sides.

use crate::projection::modules::{SideEntries, SideEntry, SideMatrix};

/// The entries of a side ordered by destination, sources ascending within one.
pub(super) fn by_destination(side: &SideMatrix) -> Vec<SideEntry> {
    let SideEntries::Sparse(entries) = &side.entries else { return Vec::new() };
    let mut entries = entries.clone();
    entries.sort_by_key(|e| e.dest);
    entries
}

/// `P_out G P_in^T` of a formed gradient, the output side first: `weight` is row-major, `bias`
/// the last column or empty.
///
/// `rows`: the output side by destination. The rows of G that share a destination are added before
/// they meet the input side.
pub(super) fn project(
    rows: &[SideEntry],
    out_rows: usize,
    input: &SideMatrix,
    weight: &[f32],
    bias: &[f32],
) -> Vec<f64> {
    let SideEntries::Sparse(columns) = &input.entries else { return Vec::new() };
    let width = input.columns;
    let mut cells = vec![0f64; out_rows * input.rows];
    let mut folded = vec![0f64; width];
    for group in rows.chunk_by(|a, b| a.dest == b.dest) {
        let cells = &mut cells[group[0].dest as usize * input.rows..][..input.rows];
        let row = |e: &SideEntry| &weight[e.source as usize * width..][..width];
        if let [only] = group {
            let (row, factor) = (row(only), f64::from(only.factor));
            for c in columns {
                let value = factor * f64::from(row[c.source as usize]);
                cells[c.dest as usize] += f64::from(c.factor) * value;
            }
        } else {
            folded.fill(0.0);
            for e in group {
                let factor = f64::from(e.factor);
                for (sum, value) in folded.iter_mut().zip(row(e)) {
                    *sum += factor * f64::from(*value);
                }
            }
            for c in columns {
                cells[c.dest as usize] += f64::from(c.factor) * folded[c.source as usize];
            }
        }
        if !bias.is_empty() {
            let sum: f64 =
                group.iter().map(|e| f64::from(e.factor) * f64::from(bias[e.source as usize])).sum();
            for (cell, constant) in cells.iter_mut().zip(&input.constant) {
                *cell += f64::from(*constant) * sum;
            }
        }
    }
    cells
}
