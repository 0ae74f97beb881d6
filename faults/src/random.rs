//! Seeded random numbers, the same on every platform, so that a failure can be reproduced.

use gstore_core::{MIX_STEP, mix};

/// A generator (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator for a seed.
    pub fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(MIX_STEP) ^ 0x5851_f42d_4c95_7f2d)
    }

    /// A generator for one of several uses of the same seed.
    pub fn of(parts: &[u64]) -> Self {
        let mut out = Random::new(0);
        for part in parts {
            out.0 ^= *part;
            out.next();
        }
        out
    }

    /// The next number.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(MIX_STEP);
        mix(self.0)
    }

    /// A number below `n`; 0 for `n` = 0.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next().checked_rem(n).unwrap_or(0)
    }

    /// A number from a range.
    pub fn from(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True with a probability of `percent` percent.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Some of the items, in order; at least one if there are any.
    pub fn some<T: Clone>(&mut self, items: &[T], percent: u64) -> Vec<T> {
        let mut out: Vec<T> = items.iter().filter(|_| self.chance(percent)).cloned().collect();
        if out.is_empty()
            && let Some(one) = items.get(self.below(items.len() as u64) as usize)
        {
            out.push(one.clone());
        }
        out
    }
}
