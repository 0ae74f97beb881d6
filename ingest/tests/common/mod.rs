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

use gstore_ingest::gradient::{
    CheckpointSource, Engine, EngineOptions, GradFeatures, GradForm, GradientBackend, Projector,
    RequestedOutputs,
};
use gstore_ingest::projection::{FlatProjector, ProjectionSpec};
use gstore_model::weights::{Adapter, ModelFolder};

const NOTHING: RequestedOutputs = RequestedOutputs {
    loss: false,
    entropy: false,
    embed_mean: false,
    embed_last: false,
    embed_weighted: false,
    grad: false,
};
/// The loss and its gradient.
pub const GRAD: RequestedOutputs = RequestedOutputs { loss: true, grad: true, ..NOTHING };
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
    let features = adapter.map(|adapter| {
        let params = Adapter::open(adapter).unwrap().params(&ModelFolder::open(model).unwrap()).unwrap();
        let projector = FlatProjector::new(&ProjectionSpec::none(), &params, None).unwrap();
        GradFeatures { forms: vec![GradForm::Plain], projector: Projector::Flat(projector), moments: None }
    });
    let source = CheckpointSource {
        model: model.to_owned(),
        adapter: adapter.map(Path::to_owned),
        tracked: Vec::new(),
    };
    Engine::load(&source, backend, EngineOptions::default(), features).unwrap()
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

/// Asserts that an error message mentions all `parts`.
#[track_caller]
pub fn assert_says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{message:?} does not mention {part:?}");
    }
}
