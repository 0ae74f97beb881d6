//! Angles of the rotary position embedding.
//!
//! A scaling gives inverse frequencies, and a factor of cosines and sines. Frequencies that depend on a
//! length depend on that of the whole sequence, whichever of its tokens are computed, and on no other of the
//! batch.

use std::f64::consts::PI;
use std::ops::Range;

use crate::architectures::RopeScaling;

/// What turns the sequences of a model, and the cosines and sines of the first positions of most.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    theta: f64,
    scaling: RopeScaling,
    dims: usize,
    /// Of [`Stretch::Usual`].
    inverse_frequencies: Vec<f32>,
    cached: RopeTable,
}

/// Which frequencies a sequence has, by its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stretch {
    /// Those of the original length, or of any.
    #[default]
    Usual,
    /// Those of LongRoPE beyond the original length.
    Long,
    /// Those of dynamic NTK for this length.
    Dynamic(usize),
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
        let inverse_frequencies = inverse_frequencies(theta, scaling, dims, Stretch::Usual);
        let positions: Vec<u32> = (0..max_positions.min(CACHED_POSITIONS) as u32).collect();
        let mut cached = RopeTable::default();
        cached.add(&inverse_frequencies, attention_factor(scaling), &positions);
        Rope { theta, scaling: scaling.clone(), dims, inverse_frequencies, cached }
    }

    /// Angles per position.
    pub fn width(&self) -> usize {
        self.inverse_frequencies.len()
    }

    /// Which frequencies a sequence of so many tokens has.
    pub fn stretch(&self, tokens: usize) -> Stretch {
        match self.scaling {
            RopeScaling::Dynamic { original, .. } if tokens as f64 > original => Stretch::Dynamic(tokens),
            RopeScaling::LongRope { original, .. } if tokens as f64 > original => Stretch::Long,
            _ => Stretch::Usual,
        }
    }

    /// The angles of each position of a batch, whose sequences are the `spans` and have `lengths` tokens.
    pub fn rows(
        &self,
        positions: &[u32],
        spans: impl Iterator<Item = Range<usize>>,
        lengths: &[usize],
    ) -> RopeTable {
        let (width, factor) = (self.width(), attention_factor(&self.scaling));
        let cached = self.cached.cos.len() / width.max(1);
        let mut table = RopeTable::default();
        for (span, tokens) in spans.zip(lengths) {
            let positions = &positions[span];
            match self.stretch(*tokens) {
                Stretch::Usual if positions.iter().all(|p| (*p as usize) < cached) => {
                    for position in positions {
                        let row = *position as usize * width..(*position as usize + 1) * width;
                        table.cos.extend_from_slice(&self.cached.cos[row.clone()]);
                        table.sin.extend_from_slice(&self.cached.sin[row]);
                    }
                }
                Stretch::Usual => table.add(&self.inverse_frequencies, factor, positions),
                other => {
                    let frequencies = inverse_frequencies(self.theta, &self.scaling, self.dims, other);
                    table.add(&frequencies, factor, positions);
                }
            }
        }
        table
    }
}

impl RopeTable {
    /// Adds the angles of positions. They are rounded to f32 before the cosine, like the reference
    /// implementation does.
    fn add(&mut self, inverse_frequencies: &[f32], factor: f64, positions: &[u32]) {
        for position in positions {
            for frequency in inverse_frequencies {
                let (sin, cos) = f64::from(*position as f32 * frequency).sin_cos();
                self.cos.push((cos * factor) as f32);
                self.sin.push((sin * factor) as f32);
            }
        }
    }
}

/// Factor of cosines and sines.
fn attention_factor(scaling: &RopeScaling) -> f64 {
    match scaling {
        RopeScaling::Yarn { attention_factor, .. } | RopeScaling::LongRope { attention_factor, .. } => {
            *attention_factor
        }
        _ => 1.0,
    }
}

fn inverse_frequencies(theta: f64, scaling: &RopeScaling, dims: usize, stretch: Stretch) -> Vec<f32> {
    let theta = match (scaling, stretch) {
        (RopeScaling::Dynamic { factor, original }, Stretch::Dynamic(tokens)) => {
            let growth = factor * tokens as f64 / original - (factor - 1.0);
            theta * growth.powf(dims as f64 / (dims as f64 - 2.0))
        }
        _ => theta,
    };
    let scaled = |i: usize| {
        let frequency = theta.powf(2.0 * i as f64 / dims as f64).recip();
        match *scaling {
            RopeScaling::Default | RopeScaling::Dynamic { .. } => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original } => {
                let wavelength = 2.0 * PI / frequency;
                if wavelength < original / high_freq_factor {
                    frequency
                } else if wavelength > original / low_freq_factor {
                    frequency / factor
                } else {
                    let smooth =
                        (original / wavelength - low_freq_factor) / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
            RopeScaling::Yarn { factor, beta_fast, beta_slow, original, truncate, .. } => {
                let place =
                    |turns: f64| dims as f64 * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
                let divided = yarn_ramp(i, [place(beta_fast), place(beta_slow)], truncate, dims);
                frequency / factor * divided + frequency * (1.0 - divided)
            }
            RopeScaling::LongRope { ref short, ref long, .. } => {
                let divisors = if stretch == Stretch::Long { long } else { short };
                frequency / divisors.get(i).copied().unwrap_or(1.0)
            }
        }
    };
    (0..dims.div_ceil(2)).map(|i| scaled(i) as f32).collect()
}

/// The share of frequency `i` that YaRN divides: 0 up to the first of two places, 1 from the second on.
/// Source: Peng et al. 2023; cut at `dims - 1`, as in their code and transformers.
fn yarn_ramp(i: usize, [first, last]: [f64; 2], truncate: bool, dims: usize) -> f64 {
    let (first, last) = if truncate { (first.floor(), last.ceil()) } else { (first, last) };
    let (first, last) = (first.max(0.0), last.min(dims as f64 - 1.0));
    let width = if first == last { 0.001 } else { last - first };
    ((i as f64 - first) / width).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::architectures::{Decoder, PositionEncoding};

    /// The rotary positions of the cases of a fixture, with what transformers has of texts of some lengths.
    fn cases() -> Vec<(String, Rope, Vec<Value>)> {
        let fixture = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let families = fixture(include_str!("../../tests/fixtures/families.json"));
        let cases = fixture(include_str!("../../tests/fixtures/rope.json"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let of = |case: &Value| {
            let mut config = families[case["family"].as_str().unwrap()]["config"].clone();
            for (key, value) in case["changes"].as_object().unwrap() {
                config[key] = value.clone();
            }
            fs_err::write(&path, config.to_string()).unwrap();
            let decoder = Decoder::read(&path).unwrap();
            let PositionEncoding::Rotary { theta, scaling, dims } = &decoder.positions else { return None };
            let rope = Rope::new(*theta, scaling, *dims, decoder.max_positions);
            Some((case["name"].to_string(), rope, case["texts"].as_array().unwrap().clone()))
        };
        cases.as_array().unwrap().iter().filter_map(of).collect()
    }

    #[test]
    fn frequencies_and_factors_are_those_of_transformers() {
        for (name, rope, texts) in cases() {
            for text in texts {
                let tokens = text["tokens"].as_u64().unwrap() as usize;
                let found = inverse_frequencies(rope.theta, &rope.scaling, rope.dims, rope.stretch(tokens));
                let expected = text["inverse_frequencies"].as_array().unwrap();
                assert_eq!(found.len(), expected.len(), "{name}");
                for (found, expected) in found.iter().zip(expected) {
                    let ratio = f64::from(*found) / expected.as_f64().unwrap();
                    assert!((ratio - 1.0).abs() < 1e-6, "{name}, {tokens} tokens: {found}, not {expected}");
                }
                let factor = text["attention_factor"].as_f64().unwrap();
                assert!((attention_factor(&rope.scaling) / factor - 1.0).abs() < 1e-12, "{name}");
            }
        }
    }

    #[test]
    fn a_sequence_turns_by_its_own_length() {
        for (name, rope, _) in cases() {
            // A long text, the first tokens of another long one, a short one.
            let positions: Vec<u32> = (0..29).chain(0..5).chain(0..7).collect();
            let (spans, lengths) = ([0..29, 29..34, 34..41], [29, 29, 7]);
            let together = rope.rows(&positions, spans.iter().cloned(), &lengths);
            for (span, tokens) in spans.into_iter().zip(lengths) {
                let alone = rope.rows(&positions[span.clone()], std::iter::once(0..span.len()), &[tokens]);
                let rows = span.start * rope.width()..span.end * rope.width();
                assert_eq!(together.cos[rows.clone()], alone.cos, "{name}");
                assert_eq!(together.sin[rows], alone.sin, "{name}");
            }
            let of_length = |tokens: usize| rope.rows(&[4], std::iter::once(0..1), &[tokens]);
            let differ = of_length(29).cos != of_length(7).cos;
            assert_eq!(differ, rope.stretch(29) != rope.stretch(7), "{name}");
        }
    }
}
