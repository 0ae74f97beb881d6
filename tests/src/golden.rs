//! Reference results of LESS: `golden/less`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use gstore_data::TemplateKind;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::tensors::values;

/// The manifest: which rows, targets and checkpoints the results are of.
#[derive(Debug)]
pub struct Manifest {
    /// Training file, relative to `data/`.
    pub train: String,
    /// First row of the training file that is used.
    pub train_offset: usize,
    /// Number of training rows.
    pub train_rows: usize,
    /// Target files relative to `data/`, with the rows used of each.
    pub targets: Vec<(String, Range<usize>)>,
    /// How texts become tokens.
    pub template: TemplateKind,
    /// Subtasks in the order of `subtask_mean`.
    pub subtasks: Vec<String>,
    /// The subtask of each target row, in order.
    pub target_row_order: Vec<String>,
    /// Steps of the checkpoints, ascending.
    pub checkpoints: Vec<u64>,
    /// Mean learning rate of the epoch that ends at each checkpoint.
    pub mean_lr: Vec<f64>,
    /// The same, normalised to sum 1.
    pub weights: Vec<f64>,
    /// (row, id, score) of the best rows.
    pub top: Vec<(u64, String, f64)>,
    /// (row, token ids, labels) of some rows.
    pub tokens: Vec<(u64, Vec<u32>, Vec<i64>)>,
}

impl Manifest {
    /// Reads `golden/less/manifest.json`.
    pub fn read(shared: &Path) -> Self {
        let text = fs_err::read_to_string(shared.join("golden/less/manifest.json")).expect("readable");
        let v: Value = serde_json::from_str(&text).expect("JSON");
        let list = |key: &str| v[key].as_array().unwrap_or_else(|| panic!("manifest has {key}")).clone();
        let text = |v: &Value| v.as_str().expect("text").to_owned();
        let int = |v: &Value| v.as_u64().expect("a count");
        let number = |v: &Value| v.as_f64().expect("a number");
        let target = |t: &Value| {
            let first = t.get("offset").map_or(0, int) as usize;
            (text(&t["file"]), first..first + int(&t["rows"]) as usize)
        };
        // A run has its checkpoints in the order of their steps, however the manifest lists them.
        let steps: Vec<u64> = list("checkpoints").iter().map(int).collect();
        let mut by_step: Vec<usize> = (0..steps.len()).collect();
        by_step.sort_by_key(|at| steps[*at]);
        let of_checkpoints =
            |key: &str| -> Vec<f64> { by_step.iter().map(|at| number(&list(key)[*at])).collect() };
        Self {
            train: text(&v["train"]),
            train_offset: int(&v["train_offset"]) as usize,
            train_rows: int(&v["train_rows"]) as usize,
            targets: list("targets").iter().map(target).collect(),
            template: v["template"].as_str().unwrap_or("tulu").parse().expect("a template"),
            subtasks: list("subtasks").iter().map(text).collect(),
            target_row_order: list("target_row_order").iter().map(text).collect(),
            checkpoints: by_step.iter().map(|at| steps[*at]).collect(),
            mean_lr: of_checkpoints("checkpoint_mean_lr"),
            weights: of_checkpoints("checkpoint_weights"),
            top: list("top20")
                .iter()
                .map(|t| (int(&t["row"]), text(&t["id"]), number(&t["score"])))
                .collect(),
            tokens: list("tokens")
                .iter()
                .map(|t| {
                    let ids = t["input_ids"].as_array().expect("ids").iter().map(|i| int(i) as u32).collect();
                    let labels = t["labels"]
                        .as_array()
                        .expect("labels")
                        .iter()
                        .map(|i| i.as_i64().expect("a label"))
                        .collect();
                    (int(&t["row"]), ids, labels)
                })
                .collect(),
        }
    }

    /// The target's dataset name: the file's name without its ending.
    pub fn target_name(file: &str) -> String {
        PathBuf::from(file).file_stem().and_then(|s| s.to_str()).expect("a name").to_owned()
    }
}

/// A file of tensors.
#[derive(Debug)]
pub struct Tensors {
    bytes: Vec<u8>,
}

impl Tensors {
    /// Reads `golden/less/<name>.safetensors`.
    pub fn read(shared: &Path, name: &str) -> Self {
        Self {
            bytes: fs_err::read(shared.join(format!("golden/less/{name}.safetensors"))).expect("readable"),
        }
    }

    /// One tensor and its shape.
    pub fn get(&self, name: &str) -> (Vec<usize>, Vec<f32>) {
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let tensor = file.tensor(name).unwrap_or_else(|_| panic!("tensor {name}"));
        let values = values(name, &tensor).into_iter().map(|value| value as f32).collect();
        (tensor.shape().to_vec(), values)
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> Vec<String> {
        let file = SafeTensors::deserialize(&self.bytes).expect("safetensors");
        let mut names: Vec<String> = file.names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// Relative L2 error of `got` against `expected`.
pub fn relative_error(got: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let difference: f64 = got.iter().zip(expected).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let norm: f64 = expected.iter().map(|b| f64::from(*b).powi(2)).sum();
    if norm == 0.0 { difference.sqrt() } else { (difference / norm).sqrt() }
}
