//! Counter-based random numbers: a value depends on seed, purpose and index alone.

use gstore_core::{MIX_STEP, mix};

/// A stream of numbers that can be asked for in any order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RandomStream {
    key: u64,
}

impl RandomStream {
    /// The stream of a seed for one use; `number` tells apart what has one use, epochs for example.
    pub fn new(seed: u64, what: &str, number: u64) -> RandomStream {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"gstore.train.v1\0");
        hasher.update(&seed.to_le_bytes());
        hasher.update(&number.to_le_bytes());
        hasher.update(what.as_bytes());
        let mut key = [0; 8];
        hasher.finalize_xof().fill(&mut key);
        RandomStream { key: u64::from_le_bytes(key) }
    }

    /// The number at an index: that of SplitMix64, seeded with the key.
    pub fn bits(&self, index: u64) -> u64 {
        mix(self.key.wrapping_add(MIX_STEP.wrapping_mul(index.wrapping_add(1))))
    }

    /// A number in [0, 1).
    pub fn uniform(&self, index: u64) -> f64 {
        (self.bits(index) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number of the standard normal distribution (Box and Muller).
    pub fn normal(&self, index: u64) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform(2 * index)).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform(2 * index + 1)).cos()
    }

    /// A random order of `0..len`.
    pub fn order(&self, len: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..len).collect();
        order.sort_by_cached_key(|index| (self.bits(*index as u64), *index));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spread_and_repeat() {
        let stream = RandomStream::new(7, "test", 0);
        let n = 20_000;
        let mean = (0..n).map(|i| stream.uniform(i)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        let variance = (0..n).map(|i| stream.normal(i).powi(2)).sum::<f64>() / n as f64;
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
        assert_eq!(stream.bits(3), RandomStream::new(7, "test", 0).bits(3));
        assert_ne!(stream.bits(3), RandomStream::new(7, "test", 1).bits(3));
        assert_ne!(stream.bits(3), RandomStream::new(8, "test", 0).bits(3));
    }

    #[test]
    fn an_order_has_every_index_once() {
        let mut order = RandomStream::new(1, "test", 2).order(1000);
        assert_ne!(order[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
