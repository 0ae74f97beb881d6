//! Helpers of the tests: the reference results of generation, and models to answer with.

use std::path::{Path, PathBuf};

use gstore_generate::ModelSource;
use gstore_model::cpu::Cpu;
use gstore_model::gradients::HostFactors;
use gstore_model::weights::{Adapter, ModelFolder, TensorSet};
use gstore_model::{ComputePrecision, Model};
use serde_json::Value;

#[path = "../../../data/tests/support/mod.rs"]
pub mod support;

/// `golden/generate`.
pub struct Golden {
    pub shared: PathBuf,
    pub manifest: Value,
    pub tensors: TensorSet,
}

impl Golden {
    pub fn read() -> Golden {
        let shared = support::shared();
        let folder = shared.join("golden/generate");
        let manifest = support::json(&folder.join("generate.json"));
        let tensors = TensorSet::open(&folder, "generate").unwrap();
        Golden { shared, manifest, tensors }
    }

    pub fn cases(&self, kind: &str) -> Vec<Case> {
        let cases = self.manifest[kind].as_array().expect(kind);
        assert!(!cases.is_empty(), "{kind}");
        cases.iter().map(|value| Case(value.clone())).collect()
    }

    /// Values of a tensor in f32 or f64, and its columns.
    pub fn tensor(&self, name: &str) -> (Vec<f64>, usize) {
        let (bytes, width, cols) = self.bytes(name);
        let values = match width {
            4 => bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            8 => bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            _ => panic!("{name} has values of {width} bytes"),
        };
        (values, cols)
    }

    /// Token ids of a tensor of whole numbers, which have no sign whatever the tensor's type has.
    pub fn ids(&self, name: &str) -> Vec<u32> {
        let (bytes, width, _) = self.bytes(name);
        match width {
            1 => bytes.into_iter().map(u32::from).collect(),
            2 => bytes.as_chunks().0.iter().map(|b| u32::from(u16::from_le_bytes(*b))).collect(),
            4 => bytes.as_chunks().0.iter().map(|b| u32::from_le_bytes(*b)).collect(),
            _ => bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b) as u32).collect(),
        }
    }

    /// The bytes of a tensor, how many a value has, and its columns.
    fn bytes(&self, name: &str) -> (Vec<u8>, usize, usize) {
        let entry = self.tensors.require(name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let cols = entry.shape.last().copied().unwrap_or(1);
        let mut bytes = Vec::new();
        self.tensors.stream(name, &mut |part| bytes.extend_from_slice(part)).unwrap();
        let width = bytes.len() / entry.shape.iter().product::<usize>().max(1);
        (bytes, width, cols)
    }

    /// The pool whose rows are scored.
    pub fn pool(&self) -> PathBuf {
        support::pool(&self.shared, &self.manifest)
    }

    /// The file of a target.
    pub fn target(&self, name: &str) -> PathBuf {
        let folder = self.manifest["targets"].as_str().unwrap_or("data/targets");
        self.shared.join(folder).join(format!("{name}.jsonl"))
    }

    /// The tolerance of one kind of number.
    pub fn tolerance(&self, key: &str, usual: f64) -> f64 {
        support::tolerance(&self.manifest, key, usual)
    }

    /// Where the weights of a case are: `model` or `model + adapter`.
    pub fn weights(&self, case: &Case) -> ModelSource {
        let mut folders = case.text("model").split(" + ").map(|name| self.shared.join(name));
        let mut weights = ModelSource::new(folders.next().expect("a model"));
        weights.adapter = folders.next();
        if let Some(template) = self.manifest["template"].as_str() {
            weights.text.template = template.parse().unwrap();
        }
        weights
    }
}

/// A case of the manifest.
pub struct Case(pub Value);

impl Case {
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_else(|| panic!("{key} of {}", self.0["name"]))
    }

    pub fn number(&self, key: &str) -> f64 {
        self.0[key].as_f64().unwrap_or_else(|| panic!("{key} of {}", self.0["name"]))
    }

    /// The step of a greedy answer at which two tokens are so close that another implementation may choose
    /// the other one.
    pub fn undecided(&self) -> Option<usize> {
        let margin = self.0["smallest_margin"].as_f64().filter(|margin| *margin < 1e-4);
        margin.map(|_| self.number("smallest_margin_step") as usize)
    }

    pub fn ids(&self, key: &str) -> Vec<u32> {
        let list = self.0[key].as_array().unwrap_or_else(|| panic!("{key} of {}", self.0["name"]));
        list.iter().map(|id| id.as_u64().expect("an id") as u32).collect()
    }
}

/// A model with an adapter merged into it.
pub fn load(weights: &ModelSource) -> Model<Cpu> {
    let folder = ModelFolder::open(&weights.model).unwrap();
    let adapter = weights.adapter.as_deref().map(|path| Adapter::open(path).unwrap());
    let factors = adapter.map(|adapter| HostFactors::read(&adapter, &folder).unwrap());
    HostFactors::load_merged(&folder, Cpu::new(ComputePrecision::F32), factors.as_ref()).unwrap()
}

/// The demo's model.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model")
}
