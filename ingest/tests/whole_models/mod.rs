//! Promise: all features of a whole model's gradient come from the same gradient, and a row has the
//! same bits in any batch.

mod company;
mod projections;
mod selections;

use std::path::Path;

use crate::common::Sample;
use crate::common::autograd::{raw_features, samples, whole};
use crate::common::reference::shared;
use gstore_ingest::gradient::{
    CheckpointSource, Engine, EngineOptions, GradFeatures, GradForm, GradientBackend, Projector,
};
use gstore_ingest::projection::{
    FactoredProjector, FlatProjector, ModuleShape, ProjectionKind, ProjectionRoute, ProjectionSpec,
};
use gstore_model::ComputePrecision;
use gstore_model::SavedActivations;
use gstore_model::architectures::Decoder;
use gstore_model::cpu::{Cpu, SimdLevel};
use gstore_model::params::TensorSpec;
use gstore_model::weights::{Moments, MomentsFile, TrainedTensor};
use tempfile::TempDir;

/// A model with all of its tensors tracked.
struct Whole {
    name: String,
    source: CheckpointSource,
    tensors: Vec<TensorSpec>,
    modules: Vec<ModuleShape>,
    vocab: usize,
    positions: usize,
}

impl Whole {
    fn new(path: &Path) -> Whole {
        let (source, tensors, modules) = whole(path);
        let decoder = Decoder::read(&path.join("config.json")).unwrap();
        let (vocab, positions) = (decoder.vocab_size, decoder.max_positions);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        Whole { name, source, tensors, modules, vocab, positions }
    }

    fn engine<B: GradientBackend>(
        &self,
        backend: B,
        keep: SavedActivations,
        features: GradFeatures,
    ) -> Engine {
        let options = EngineOptions { keep, ..EngineOptions::default() };
        Engine::load(&self.source, backend, options, Some(features)).unwrap()
    }

    fn raw<B: GradientBackend>(&self, backend: B) -> Engine {
        self.engine(backend, SavedActivations::All, raw_features(&self.tensors))
    }

    fn factored(&self, kind: &str) -> FactoredProjector {
        let spec = ProjectionSpec { seed: 3, ..ProjectionSpec::sized(kind.parse().unwrap(), 64) };
        FactoredProjector::new(&spec, &self.modules, None).unwrap()
    }

    fn factored_features(&self, kind: &str, way: ProjectionRoute, forms: &[GradForm]) -> GradFeatures {
        let projector =
            Projector::Factored { projector: self.factored(kind), routes: vec![way; self.modules.len()] };
        GradFeatures { forms: forms.to_vec(), projector, moments: None }
    }

    fn flat(&self, kind: ProjectionKind) -> FlatProjector {
        let spec = ProjectionSpec { kind, dim: 512, seed: 5, per_checkpoint: false, basis: None };
        FlatProjector::new(&spec, &self.tensors, None).unwrap()
    }

    fn flat_features(&self, kind: ProjectionKind, forms: &[GradForm]) -> GradFeatures {
        GradFeatures { forms: forms.to_vec(), projector: Projector::Flat(self.flat(kind)), moments: None }
    }

    /// A sequence of noise, as far as the model has positions, scored from token `first` on.
    fn noise(&self, seed: u64, len: usize, first: usize) -> Sample {
        Sample::noise(seed, len.min(self.positions), first, self.vocab)
    }
}

fn each_model(check: impl Fn(&Whole, &[Sample])) {
    let shared = shared();
    for path in shared.zoo() {
        check(&Whole::new(&path), &samples(&path));
    }
}

fn levels(compute: ComputePrecision) -> impl Iterator<Item = Cpu> {
    SimdLevel::available().into_iter().map(move |level| Cpu::with_level(compute, level).unwrap())
}

/// A run whose optimizer state is among the fixtures, as a model of noise.
fn finetune(folder: &TempDir, name: &str) -> (Whole, Option<Vec<f32>>, Vec<f32>) {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/finetunes").join(name);
    let config = crate::common::support::json(&run.join("config.json"));
    let path =
        crate::common::zoo::write_model(&folder.path().join(name), &config, |param| param.name.clone());
    let trained = TrainedTensor::all(&Decoder::read(&run.join("config.json")).unwrap());
    let file = MomentsFile::open(&Moments::find(&run).unwrap(), trained, |_| true).unwrap();
    let model = Whole::new(&path);
    assert_eq!(file.specs(), model.tensors);
    let read: Vec<_> = (0..model.tensors.len()).map(|i| file.read(i).unwrap()).collect();
    let first = file.has_first().then(|| read.iter().flat_map(|m| m.exp_avg.clone().unwrap()).collect());
    (model, first, read.into_iter().flat_map(|m| m.exp_avg_sq).collect())
}
