//! Random numbers that depend only on a seed, and families of vectors.

use gstore_core::{MIX_STEP, mix};

/// SplitMix64.
#[derive(Debug, Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(MIX_STEP);
        mix(self.0)
    }

    /// Uniform in 0..n.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n.max(1) as u64) as usize
    }

    /// Uniform in (0, 1).
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Uniform in -1..1.
    pub fn even(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (2.0 * std::f64::consts::PI * self.unit()).cos()
    }

    /// A vector of normal coordinates.
    pub fn gaussian(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.normal() as f32).collect()
    }

    /// A vector whose length is concentrated in a few coordinates: signed fifth powers of normal numbers.
    pub fn heavy(&mut self, dim: usize) -> Vec<f32> {
        (0..dim).map(|_| self.normal().powi(5) as f32).collect()
    }

    /// Eight non-zero coordinates out of `from`.
    pub fn sparse(&mut self, dim: usize, from: std::ops::Range<usize>) -> Vec<f32> {
        let mut vector = vec![0.0; dim];
        for _ in 0..8 {
            vector[from.start + self.below(from.len())] = self.normal() as f32;
        }
        vector
    }
}

/// The inner product in double precision.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The length in double precision.
pub fn length(v: &[f32]) -> f64 {
    dot(v, v).sqrt()
}
