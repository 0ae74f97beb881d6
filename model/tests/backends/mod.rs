//! Random shapes and batches, and comparisons, shared by tests of backends.

pub mod cached;
pub mod operations;
pub mod refusals;

use gstore_model::{Activation, AttentionForm, Heads, NormForm, NormKind};

/// Numbers that depend on a seed only.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let x = self.0 ^ (self.0 >> 31);
        x.wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32
    }

    /// A value between -1 and 1.
    pub fn value(&mut self) -> f32 {
        (self.next() >> 8) as f32 / (1u64 << 23) as f32 - 1.0
    }

    pub fn values(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.value()).collect()
    }

    /// A number from 1 to `most`.
    pub fn size(&mut self, most: usize) -> usize {
        1 + self.next() as usize % most
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.next() as usize % of.len()]
    }
}

/// Sizes of a model and of its samples.
#[derive(Debug, Clone)]
pub struct Shape {
    pub seed: u64,
    pub width: usize,
    pub out: usize,
    pub vocab: usize,
    pub rank: usize,
    pub groups: usize,
    pub rotated: usize,
    pub bias: bool,
    pub smoothing: f32,
    pub head_cap: Option<f32>,
    pub attention: AttentionForm,
    pub norm: NormForm,
    pub act: Activation,
    pub lengths: Vec<usize>,
}

/// One sample: what its values depend on, and its tokens.
#[derive(Debug, Clone)]
pub struct Sample {
    pub seed: u64,
    pub len: usize,
}

impl Shape {
    pub fn random(seed: u64) -> Shape {
        let mut draw = Draw::new(seed);
        let dim = draw.pick(&[12, 16, 32, 64, 80, 96, 128, 256, 7, 48]);
        let kv = draw.size(3);
        let heads = Heads { query: kv * draw.size(3), kv, dim };
        let longest = draw.pick(&[1, 5, 40, 90, 300]);
        Shape {
            seed,
            width: draw.pick(&[draw_size(seed, 90), 32, 64, 1024, 192]),
            out: draw.pick(&[draw_size(seed + 1, 130), 16, 48, 100]),
            vocab: draw.size(300),
            rank: draw.size(20),
            groups: draw.size(3),
            rotated: draw.size(dim / 2),
            bias: draw.pick(&[true, false]),
            smoothing: draw.pick(&[0.0, 0.1]),
            head_cap: draw.pick(&[None, Some(2.0)]),
            attention: AttentionForm {
                heads,
                scale: 1.5 / (dim as f32).sqrt(),
                softcap: draw.pick(&[None, None, Some(1.5)]),
                window: draw.pick(&[None, None, Some(1), Some(7), Some(64)]),
            },
            norm: NormForm { kind: draw.pick(&[NormKind::Rms, NormKind::Layer]), eps: 1e-5 },
            act: draw.pick(&[Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu]),
            lengths: (0..draw.size(5)).map(|_| draw.size(longest)).collect(),
        }
    }

    pub fn samples(&self) -> Vec<Sample> {
        let of = |(i, len): (usize, &usize)| Sample { seed: self.seed * 1000 + i as u64, len: *len };
        self.lengths.iter().enumerate().map(of).collect()
    }
}

fn draw_size(seed: u64, most: usize) -> usize {
    Draw::new(seed ^ 0x5555).size(most)
}

/// What is left of differences of values near one that ought to be zero.
const FLOOR: f32 = 1e-6;

#[track_caller]
pub fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, about: &str) {
    assert_eq!(found.len(), expected.len(), "{about}");
    let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= tolerance * largest + FLOOR,
            "{about}: {i}: {found}, expected {expected} (of {largest})"
        );
    }
}

/// Whether two values have the same bits, or both are NaN: devices choose its sign and payload, which no one
/// sees, as rows with NaN are stored as zeros.
pub fn same_bits(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

#[track_caller]
pub fn assert_same_bits(found: &[f32], expected: &[f32], about: &str) {
    assert_eq!(found.len(), expected.len(), "{about}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(same_bits(*found, *expected), "{about}: {i}: {found}, expected {expected}");
    }
}
