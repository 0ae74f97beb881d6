//! The mixing function of SplitMix64 (Steele, Lea and Flood 2014), for counter-based random numbers.

/// By what SplitMix64 moves its state: the golden ratio in 64 bits.
pub const MIX_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output of SplitMix64 in a state, a bijection of 64 bits. Numbers that are stored or promised to repeat
/// depend on it.
pub fn mix(state: u64) -> u64 {
    let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_numbers_of_seed_zero_are_those_of_java() {
        let numbers: Vec<u64> = (1..=3).map(|n| mix(MIX_STEP.wrapping_mul(n))).collect();
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }
}
