//! Counter-based uniform numbers: one depends on the seed, the row and the position alone.

use gstore_core::{MIX_STEP, mix};

/// The number in [0, 1) that draws the token at `position` of the answer to prompt `row`.
pub fn uniform(seed: u64, row: u64, position: u64) -> f64 {
    let mut bits = 0x67_73_74_6f_72_65_2e_31;
    for counter in [seed, row, position] {
        bits = splitmix64(bits ^ splitmix64(counter.wrapping_add(MIX_STEP)));
    }
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

fn splitmix64(state: u64) -> u64 {
    mix(state.wrapping_add(MIX_STEP))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeat() {
        let n = 20_000;
        let numbers = |seed, row| (0..n).map(move |position| uniform(seed, row, position));
        for mean in [numbers(7, 0).sum::<f64>(), (0..n).map(|row| uniform(7, row, 0)).sum()] {
            assert!((mean / n as f64 - 0.5).abs() < 0.01, "{mean}");
        }
        assert!(numbers(7, 1).all(|u| (0.0..1.0).contains(&u)));
        assert_eq!(uniform(7, 3, 9), uniform(7, 3, 9));
        let others = [uniform(8, 3, 9), uniform(7, 9, 3), uniform(7, 3, 10)];
        assert!(others.iter().all(|u| *u != uniform(7, 3, 9)));
    }
}
