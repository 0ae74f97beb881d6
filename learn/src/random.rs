//! Random numbers that depend on a seed and counters alone.

use gstore_core::{MIX_STEP, mix};

/// 64 random bits of a seed and two counters.
pub(crate) fn bits(seed: u64, a: u64, b: u64) -> u64 {
    let of_a = mix(seed.wrapping_add(MIX_STEP.wrapping_mul(a.wrapping_add(1))));
    mix(of_a.wrapping_add(MIX_STEP.wrapping_mul(b.wrapping_add(1))))
}

/// A number in [0, 1).
pub(crate) fn uniform(seed: u64, a: u64, b: u64) -> f64 {
    (bits(seed, a, b) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// A number below `n`, which is at most 2^53.
pub(crate) fn below(seed: u64, a: u64, b: u64, n: usize) -> usize {
    ((uniform(seed, a, b) * n as f64) as usize).min(n.saturating_sub(1))
}

/// The numbers below `n` in a random order.
pub(crate) fn order(seed: u64, a: u64, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_unstable_by_key(|i| (bits(seed, a, *i as u64), *i));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeat() {
        let mean = (0..4000).map(|i| uniform(7, 1, i)).sum::<f64>() / 4000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        assert_eq!(order(3, 0, 20), order(3, 0, 20));
        assert_ne!(order(3, 0, 20), order(4, 0, 20));
        assert!((0..100).all(|i| below(1, 2, i, 3) < 3));
    }
}
