//! Counter-based uniform numbers: one depends on the seed, the row and the position alone.

/// The golden ratio in 64 bits, by which counters are spread.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number in [0, 1) that draws the token at `position` of the answer to prompt `row`.
pub fn uniform(seed: u64, row: u64, position: u64) -> f64 {
    let mut bits = 0x67_73_74_6f_72_65_2e_31;
    for counter in [seed, row, position] {
        bits = mixed(bits ^ mixed(counter.wrapping_add(STEP)));
    }
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
fn mixed(x: u64) -> u64 {
    let mut x = x.wrapping_add(STEP);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
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
