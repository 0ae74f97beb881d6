//! Random numbers that depend on a seed alone.
//!
//! xoshiro256++ (Blackman and Vigna 2021), its state filled by splitmix64. The stream is part of the format:
//! a rotation is known by its seed.

use std::hash::{BuildHasher, Hasher, RandomState};

use gstore_core::{MIX_STEP, mix};

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub(crate) struct Stream([u64; 4]);

impl Stream {
    /// The stream of a seed and a number that keeps streams of one seed apart.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut state = seed ^ mix(number.wrapping_add(MIX_STEP));
        Self(std::array::from_fn(|_| split_mix(&mut state)))
    }

    pub(crate) fn bits(&mut self) -> u64 {
        let s = &mut self.0;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

pub(crate) fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(MIX_STEP);
    mix(*state)
}

/// An unpredictable seed: the standard library keys its hash maps from the operating system's entropy.
pub(super) fn draw_seed() -> u64 {
    let part = || RandomState::new().build_hasher().finish();
    mix(part()) ^ part().rotate_left(32)
}
