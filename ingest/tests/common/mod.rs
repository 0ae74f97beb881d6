//! Helpers of the tests: the shared reference folder, and small models made on the spot.

pub mod autograd;
pub mod reference;
#[path = "../../../data/tests/support/mod.rs"]
pub mod support;
#[path = "../../../model/tests/common/tiny.rs"]
pub mod tiny;
#[allow(dead_code, reason = "what the tests of the model use alone")]
#[path = "../../../model/tests/common/zoo.rs"]
pub mod zoo;

use std::path::Path;

use gstore_core::Cancel;
use gstore_ingest::gradient::{CheckpointSource, Engine, EngineOptions, GradientBackend, RequestedOutputs};
use gstore_ingest::projection::FlatProjector;
use gstore_model::PackedSample;

const NOTHING: RequestedOutputs = RequestedOutputs {
    loss: false,
    entropy: false,
    embed_mean: false,
    embed_last: false,
    embed_weighted: false,
    grad: false,
};
/// The loss alone.
pub const LOSS: RequestedOutputs = RequestedOutputs { loss: true, ..NOTHING };
/// The loss and its gradient.
pub const GRAD: RequestedOutputs = RequestedOutputs { grad: true, ..LOSS };
/// Embeddings and the entropy.
pub const EMBED: RequestedOutputs = RequestedOutputs { loss: false, grad: false, ..EVERYTHING };
/// All of them.
pub const EVERYTHING: RequestedOutputs = RequestedOutputs {
    loss: true,
    entropy: true,
    embed_mean: true,
    embed_last: true,
    embed_weighted: true,
    grad: true,
};

/// An engine whose gradient feature is the gradient of an adapter's factors itself; without
/// an adapter it has none.
pub fn raw_engine<B: GradientBackend>(model: &Path, adapter: Option<&Path>, backend: B) -> Engine {
    let source = CheckpointSource {
        model: model.to_owned(),
        adapter: adapter.map(Path::to_owned),
        tracked: Vec::new(),
    };
    let features = adapter.map(|_| autograd::adapter_features(&source));
    Engine::load(&source, backend, EngineOptions::default(), features).unwrap()
}

/// A tokenised sequence.
pub struct Sample {
    pub ids: Vec<u32>,
    pub scored: Vec<bool>,
}

impl Sample {
    /// One of noise, scored from token `first` on.
    pub fn noise(seed: u64, len: usize, first: usize, vocab: usize) -> Sample {
        Sample { ids: tokens(seed, len, vocab), scored: (0..len).map(|i| i >= first).collect() }
    }

    pub fn packed(&self) -> PackedSample<'_> {
        PackedSample::new(&self.ids, &self.scored)
    }
}

pub fn packed(samples: &[Sample]) -> Vec<PackedSample<'_>> {
    samples.iter().map(Sample::packed).collect()
}

/// A sequence of noise.
pub fn tokens(seed: u64, len: usize, vocab: usize) -> Vec<u32> {
    let token = |v: &f32| ((v + 1.0) * 0.5 * vocab as f32) as u32 % vocab as u32;
    tiny::noise(seed, len, 1.0).iter().map(token).collect()
}

/// Asserts that `found` is within `tolerance` of `expected`, relative to the larger
/// magnitude of the two and 1e-3.
#[track_caller]
pub fn assert_near(found: f32, expected: f32, tolerance: f32, what: &str) {
    let scale = found.abs().max(expected.abs()).max(1e-3);
    assert!((found - expected).abs() <= tolerance * scale, "{what}: {found} instead of {expected}");
}

/// L2 norm of the difference over the norm of `expected`.
pub fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let square = |v: f32| f64::from(v) * f64::from(v);
    let difference: f64 = found.iter().zip(expected).map(|(a, b)| square(a - b)).sum();
    let norm: f64 = expected.iter().map(|b| square(*b)).sum();
    if norm == 0.0 { difference.sqrt() } else { (difference / norm).sqrt() }
}

/// Sum of the products of values.
pub fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// L2 norm.
pub fn norm(x: &[f32]) -> f64 {
    dot(x, x).sqrt()
}

/// L2 norm of the difference.
pub fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

/// Mean and variance.
pub fn moments(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64)
}

/// The projected vector.
pub fn project(projector: &FlatProjector, x: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; projector.dim()];
    projector.project(x, &mut out, &Cancel::new());
    out
}

/// Asserts that an error message mentions all `parts`.
#[track_caller]
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not mention {part:?}");
    }
}
