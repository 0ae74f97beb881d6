//! Models of the zoo with their gradients by automatic differentiation, and engines whose features
//! can be compared with it.

use std::path::{Path, PathBuf};

use gstore_ingest::gradient::{
    CheckpointSource, Engine, GradFeatures, GradForm, Projector, RequestedOutputs, module_shapes,
    tensor_specs,
};
use gstore_ingest::projection::{FactoredProjector, FlatProjector, ModuleShape, ProjectionSpec};
use gstore_model::PackedSample;
use gstore_model::params::TensorSpec;
use gstore_model::weights::{Adapter, ModelFolder, TensorSet};

use super::reference::shared;
use super::zoo::has_files;
use super::{Sample, support};

/// The sequences of a model folder.
pub fn samples(model: &Path) -> Vec<Sample> {
    let golden = support::json(&model.join("golden.json"));
    let list = golden["samples"].as_array().unwrap().iter();
    list.map(|s| Sample {
        ids: s["input_ids"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect(),
        scored: s["labels"].as_array().unwrap().iter().map(|v| v.as_i64() != Some(-100)).collect(),
    })
    .collect()
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/gradients")
}

/// A model of the zoo, with no tensor tracked, and its first two sequences.
pub fn plain(name: &str) -> (CheckpointSource, Vec<Sample>) {
    let model = shared().path("models/zoo").join(name);
    let mut list = samples(&model);
    list.truncate(2);
    (CheckpointSource { model, adapter: None, tracked: Vec::new() }, list)
}

/// The same where fixtures have results of these weights and sequences.
pub fn known(name: &str) -> Option<(CheckpointSource, Vec<Sample>)> {
    let lines = fs_err::read_to_string(fixtures().join("zoo.sha256")).unwrap();
    let own = format!("  {name}/");
    let own: Vec<&str> = lines.lines().filter(|line| line.contains(&own)).collect();
    assert!(!own.is_empty(), "there are no results of {name}");
    has_files(&shared().path("models/zoo"), &own.join("\n")).then(|| plain(name))
}

/// The same with the fixtures' adapter.
pub fn adapted(name: &str) -> Option<(CheckpointSource, Vec<Sample>)> {
    let (source, samples) = known(name)?;
    Some((CheckpointSource { adapter: Some(fixtures().join("adapters").join(name)), ..source }, samples))
}

/// Results of automatic differentiation.
pub struct Golden(TensorSet);

impl Golden {
    pub fn open(kind: &str, name: &str) -> Golden {
        Golden(TensorSet::open(&fixtures().join(kind).join(name), "expected").unwrap())
    }

    pub fn values(&self, name: &str) -> Vec<f32> {
        self.0.read_f32(name).unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some()
    }

    pub fn scalar(&self, name: &str) -> f32 {
        self.values(name)[0]
    }

    /// Number of tensors whose name starts so.
    pub fn count(&self, prefix: &str) -> usize {
        self.0.names().filter(|name| name.starts_with(prefix)).count()
    }
}

/// The gradient itself.
pub fn raw_features(tensors: &[TensorSpec]) -> GradFeatures {
    let projector = FlatProjector::new(&ProjectionSpec::none(), tensors, None).unwrap();
    GradFeatures { forms: vec![GradForm::Plain], projector: Projector::Flat(projector), moments: None }
}

/// The gradient of an adapter's factors itself.
pub fn adapter_features(source: &CheckpointSource) -> GradFeatures {
    let adapter = Adapter::open(source.adapter.as_deref().unwrap()).unwrap();
    raw_features(&adapter.params(&ModelFolder::open(&source.model).unwrap()).unwrap())
}

/// A model with everything tracked: source, tensors, and the modules of a factored projection.
pub fn whole(model: &Path) -> (CheckpointSource, Vec<TensorSpec>, Vec<ModuleShape>) {
    let folder = ModelFolder::open(model).unwrap_or_else(|e| panic!("{}: {e}", model.display()));
    let tracked: Vec<usize> = (0..folder.decoder().params.len()).collect();
    let tensors = tensor_specs(folder.decoder(), &tracked);
    let modules = module_shapes(folder.decoder(), &tracked, &tensors);
    (CheckpointSource { model: model.to_owned(), adapter: None, tracked }, tensors, modules)
}

/// The gradient features of each sample.
pub fn gradients(engine: &Engine, batch: &[PackedSample<'_>]) -> Vec<Vec<f32>> {
    let mut out = Vec::new();
    let want = RequestedOutputs { grad: true, ..RequestedOutputs::default() };
    engine.run(batch, want, &mut |_, output| out.push(output.grads.to_vec())).unwrap();
    out
}

/// Projects a whole gradient module by module, formed.
pub fn project_modules(projector: &FactoredProjector, tensors: &[TensorSpec], gradient: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; projector.dim()];
    let mut rest = gradient;
    let mut tensors = tensors.iter();
    let mut next = || {
        let (values, after) = rest.split_at(tensors.next().unwrap().numel());
        rest = after;
        values
    };
    for (index, module) in projector.modules().iter().enumerate() {
        let weight = next();
        let bias = if module.shape.bias() { next() } else { &[] };
        projector.project_formed(index, weight, bias, &mut out[projector.range(index)]);
    }
    assert!(rest.is_empty());
    out
}
