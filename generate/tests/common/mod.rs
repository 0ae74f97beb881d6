//! Helpers of the tests: the reference results of generation, and models to answer with.

use std::collections::BTreeSet;
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

    /// The errors of many numbers of one kind, the largest of which has this size.
    pub fn errors(&self, key: &str, usual: f64, size: f64) -> Errors {
        let is_stated = !self.manifest["tolerances"][key].is_null();
        Errors::new(is_stated.then(|| self.tolerance(key, usual)), usual, size)
    }

    /// The model of texts that name none: what the manifest says, else the base of the first greedy case.
    pub fn usual_model(&self) -> String {
        let stated = ["model", "base"].into_iter().find_map(|key| self.manifest[key].as_str());
        let first = || self.manifest["greedy"][0]["model"].as_str().expect("a model");
        let model = stated.unwrap_or_else(first);
        model.split(" + ").next().unwrap_or(model).to_owned()
    }

    /// The steps of a greedy answer at which two tokens are so close that another implementation may choose
    /// the other one.
    pub fn undecided(&self, case: &Case) -> BTreeSet<usize> {
        let (top, cols) = self.tensor(&format!("{}.top_logits", case.text("name")));
        let limit = self.errors("logits", LOGITS, largest(&top)).mean;
        let close = top.chunks_exact(cols).map(|best| cols > 1 && best[0] - best[1] < limit);
        (0..).zip(close).filter(|(_, is_close)| *is_close).map(|(step, _)| step).collect()
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

/// Tolerance of logits where the manifest states none.
pub const LOGITS: f64 = 1e-4;

/// The largest size of some numbers.
pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// Errors of numbers of one kind.
pub struct Errors {
    /// What the root of their mean square may be.
    pub mean: f64,
    each: f64,
    squares: f64,
    count: usize,
    worst: f64,
}

impl Errors {
    /// None so far. Each may be as large as stated.
    ///
    /// In f32 some are ten times as large as most: what is usual is the root of their mean square, and ten
    /// times that for each. Rounding is relative, so that this grows with numbers above 10.
    pub fn new(stated: Option<f64>, usual: f64, size: f64) -> Errors {
        let mean = stated.unwrap_or(usual * (size / 10.0).max(1.0));
        Errors { mean, each: stated.unwrap_or(10.0 * mean), squares: 0.0, count: 0, worst: 0.0 }
    }

    /// Adds how far a number is off.
    #[track_caller]
    pub fn add(&mut self, off: f64, note: &str) {
        let off = off.abs();
        assert!(off <= self.each, "{note}: off by {off:e}, more than {:e}", self.each);
        (self.squares, self.count) = (self.squares + off * off, self.count + 1);
        self.worst = self.worst.max(off);
    }

    /// The largest, where they are not too many that are large.
    #[track_caller]
    pub fn worst(&self, note: &str) -> f64 {
        let mean = (self.squares / self.count.max(1) as f64).sqrt();
        assert!(mean <= self.mean, "{note}: most are off by {mean:e}, more than {:e}", self.mean);
        self.worst
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

    /// An option of sampling, which is off where it is left out.
    pub fn option(&self, key: &str, off: f64) -> f64 {
        if self.0[key].is_null() { off } else { self.number(key) }
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
