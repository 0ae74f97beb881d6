//! Rows for which rounding, ties or magnitudes make trouble.

use super::Numbers;

/// Rows that make trouble, among normal ones.
pub fn adversarial(
    numbers: &mut Numbers,
    rows: usize,
    dim: usize,
    targets: &[Vec<f32>],
    kind: usize,
) -> Vec<Vec<f32>> {
    let mut pool = numbers.vectors(rows, dim);
    for i in 0..rows {
        let copy = pool[i / 2].clone();
        let row = &mut pool[i];
        match (kind, i % 4) {
            (0, _) => {}
            // Equal rows: everything is decided by ties.
            (1, _) => *row = copy,
            (2, 0) => row.fill(0.0),
            (2, 1) => row.iter_mut().for_each(|x| *x = -0.0),
            (3, 0) if i == rows / 3 => row.iter_mut().for_each(|x| *x *= 1e30),
            (3, 1) if i % 3 == 0 => row.iter_mut().for_each(|x| *x *= 1e8),
            // Duplicates of a target, exact and nearly so.
            (4, 0) => row.clone_from(&targets[i % targets.len()]),
            (4, 1) => row.iter_mut().zip(&targets[0]).for_each(|(x, t)| *x = t + 1e-6 * *x),
            (4, 2) => row.iter_mut().zip(&targets[0]).for_each(|(x, t)| *x = -t),
            (5, 0) => row.iter_mut().for_each(|x| *x *= 1e-40),
            (5, 1) => row.iter_mut().for_each(|x| *x *= 1e-30),
            (5, 2) => row.iter_mut().for_each(|x| *x = f32::from_bits(x.to_bits() & 3)),
            (6, _) => {
                let norm = (4.0 * numbers.next()).exp();
                row.iter_mut().for_each(|x| *x = *x * *x * *x * *x * *x * norm);
            }
            (7, _) => {
                row.iter_mut().enumerate().filter(|(k, _)| (k + i) % 11 != 0).for_each(|(_, x)| *x = 0.0)
            }
            // One direction with little around it: scores that are all but equal.
            (8, _) => row.iter_mut().enumerate().for_each(|(k, x)| *x = 1.0 + k as f32 * 0.1 + 1e-4 * *x),
            (9, _) => row.iter_mut().skip(1).for_each(|x| *x *= 1e-5),
            _ => {}
        }
    }
    pool
}
