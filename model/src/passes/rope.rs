//! Angles of the rotary position embedding.

use crate::architectures::RopeScaling;

/// Frequencies of a model, and the cosines and sines of its first positions.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    inverse_frequencies: Vec<f32>,
    cached: RopeTable,
}

/// Cosines and sines, row-major `[positions, half]`; half of the coordinates that turn.
#[derive(Debug, Clone, Default)]
pub(crate) struct RopeTable {
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

/// Positions whose angles are kept; longer sequences compute theirs each time.
const CACHED_POSITIONS: usize = 2048;

impl Rope {
    /// `dims`: coordinates of a head that turn; of an odd number one more turns.
    pub fn new(theta: f64, scaling: &RopeScaling, dims: usize, max_positions: usize) -> Rope {
        let inverse_frequencies = inverse_frequencies(theta, scaling, dims);
        let mut rope = Rope { inverse_frequencies, cached: RopeTable::default() };
        let positions = max_positions.min(CACHED_POSITIONS) as u32;
        rope.cached = rope.compute(0..positions);
        rope
    }

    /// Angles per position.
    pub fn width(&self) -> usize {
        self.inverse_frequencies.len()
    }

    /// The angles of each position of a batch.
    pub fn rows(&self, positions: &[u32]) -> RopeTable {
        let width = self.inverse_frequencies.len();
        let cached = self.cached.cos.len() / width.max(1);
        if positions.iter().any(|p| *p as usize >= cached) {
            return self.compute(positions.iter().copied());
        }
        let gather = |from: &[f32]| {
            positions.iter().flat_map(|p| &from[*p as usize * width..][..width]).copied().collect()
        };
        RopeTable { cos: gather(&self.cached.cos), sin: gather(&self.cached.sin) }
    }

    /// Angles are rounded to f32 before the cosine, like the reference implementation does.
    fn compute(&self, positions: impl Iterator<Item = u32>) -> RopeTable {
        let mut table = RopeTable::default();
        for position in positions {
            for frequency in &self.inverse_frequencies {
                let (sin, cos) = f64::from(position as f32 * frequency).sin_cos();
                table.cos.push(cos as f32);
                table.sin.push(sin as f32);
            }
        }
        table
    }
}

fn inverse_frequencies(theta: f64, scaling: &RopeScaling, dims: usize) -> Vec<f32> {
    let plain = (0..dims.div_ceil(2)).map(|i| theta.powf(2.0 * i as f64 / dims as f64).recip());
    plain.map(|frequency| scaled(frequency, scaling) as f32).collect()
}

fn scaled(frequency: f64, scaling: &RopeScaling) -> f64 {
    match *scaling {
        RopeScaling::Default => frequency,
        RopeScaling::Linear { factor } => frequency / factor,
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            if wavelength < original / high_freq_factor {
                frequency
            } else if wavelength > original / low_freq_factor {
                frequency / factor
            } else {
                let smooth = (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    }
}
