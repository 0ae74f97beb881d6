//! The reference folder of curvature: its cases, tensors and rows, and how far results may lie from them.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_ingest::curvature::TargetSample;
use safetensors::SafeTensors;
use serde_json::Value;

use crate::tensors::values;

/// The tensors of a file.
pub struct Tensors(Vec<u8>);

impl Tensors {
    pub fn open(path: &Path) -> Tensors {
        Tensors(fs_err::read(path).unwrap())
    }

    pub fn names(&self) -> Vec<String> {
        self.file().names().into_iter().map(str::to_owned).collect()
    }

    /// Values of any type, if there is such a tensor.
    pub fn get(&self, name: &str) -> Option<Vec<f64>> {
        let tensor = self.file().tensor(name).ok()?;
        Some(values(name, &tensor))
    }

    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.file().tensor(name).unwrap().shape().to_vec()
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }
}

/// A tokenised row and its labels.
pub struct Row {
    pub ids: Vec<u32>,
    pub targets: Vec<Option<u32>>,
}

pub fn samples(rows: &[Row]) -> Vec<TargetSample<'_>> {
    rows.iter().map(|row| TargetSample { ids: &row.ids, targets: &row.targets }).collect()
}

/// The rows of a side, `train` or `query`, with labels of this name, or else its own; and where each begins.
pub fn rows(file: &Tensors, side: &str, labels: &str) -> (Vec<Row>, Vec<usize>) {
    let get = |name: &str| file.get(&format!("{side}.{name}")).unwrap();
    let labels = file.get(labels).unwrap_or_else(|| get("labels"));
    let (ids, offsets) = (get("ids"), get("offsets").into_iter().map(|at| at as usize).collect::<Vec<_>>());
    let row = |span: &[usize]| Row {
        ids: ids[span[0]..span[1]].iter().map(|id| *id as u32).collect(),
        targets: labels[span[0]..span[1]].iter().map(|id| (*id >= 0.0).then_some(*id as u32)).collect(),
    };
    (offsets.windows(2).map(row).collect(), offsets)
}

/// The cases of a manifest, by group: those of one have the same rows, labels and model, and differ in their
/// modules alone.
pub fn groups(manifest: &Value, folder: &Path) -> Vec<Vec<Case>> {
    let mut groups: BTreeMap<(String, String, usize, bool), Vec<Case>> = BTreeMap::new();
    for (name, value) in manifest["cases"].as_object().unwrap() {
        let case = Case::new(name, value, is_sampled(manifest, name, folder), folder);
        let (rows, model) = (case.rows().to_owned(), case.model().to_owned());
        let key = (rows, model, case.count("train_rows"), case.is_sampled);
        groups.entry(key).or_default().push(case);
    }
    groups.into_values().collect()
}

/// Whether a case has labels that were drawn: its rows have such ones, and where the manifest names cases of
/// these rows as not empirical, it is among them.
fn is_sampled(manifest: &Value, name: &str, folder: &Path) -> bool {
    let cases = manifest["cases"].as_object().unwrap();
    let rows = |name: &str| cases[name]["files"]["rows"].as_str().unwrap();
    let said = manifest["fisher"].as_str().unwrap_or_default();
    let is_named = |name: &str| said.split([' ', ',', ';', '.', '(', ')']).any(|word| word == name);
    let names_some = cases.keys().any(|other| rows(other) == rows(name) && is_named(other));
    let has_labels = Tensors::open(&folder.join(rows(name))).get("sampled_covariance.labels").is_some();
    has_labels && (is_named(name) || !names_some)
}

/// A case of the manifest.
pub struct Case {
    pub name: String,
    pub value: Value,
    /// Its factors are of the labels that were drawn.
    pub is_sampled: bool,
    /// Names of its modules.
    pub modules: Vec<String>,
    pub factors: Option<Tensors>,
    pub scores: Tensors,
}

impl Case {
    fn new(name: &str, value: &Value, is_sampled: bool, folder: &Path) -> Case {
        let file = |kind: &str| value["files"][kind].as_str().map(|file| Tensors::open(&folder.join(file)));
        let modules = value["modules"].as_array().unwrap().iter();
        Case {
            name: name.to_owned(),
            modules: modules.map(|module| module["name"].as_str().unwrap().to_owned()).collect(),
            factors: file("factors"),
            scores: file("scores").unwrap(),
            value: value.clone(),
            is_sampled,
        }
    }

    /// The tensor with the labels of its training rows for these sums.
    pub fn labels(&self, of: &str) -> String {
        if self.is_sampled { format!("sampled_{of}.labels") } else { "train.labels".to_owned() }
    }

    /// The file of its rows.
    pub fn rows(&self) -> &str {
        self.value["files"]["rows"].as_str().unwrap()
    }

    /// The folder of its model.
    pub fn model(&self) -> &str {
        self.value["model"].as_str().unwrap()
    }

    pub fn count(&self, key: &str) -> usize {
        self.value[key].as_u64().unwrap() as usize
    }

    pub fn numbers(&self, key: &str, of: &str) -> Vec<f64> {
        self.value[key][of].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    }

    /// Names of modules in a list that the case may have.
    pub fn listed(&self, key: &str) -> Vec<&str> {
        self.value[key]
            .as_array()
            .map_or_else(Vec::new, |list| list.iter().filter_map(Value::as_str).collect())
    }

    /// How far the library in f32 lies from f64, of a quantity of the factors.
    pub fn of_factors(&self, key: &str) -> [f64; 2] {
        pair(&self.value["measured"]["factors"]["library_f32_vs_float64"][key])
    }

    /// The same of scores.
    pub fn of_scores(&self, key: &str) -> [f64; 2] {
        pair(&self.value["measured"]["scores"][key]["library_f32_vs_float64"])
    }
}

/// 0 where the manifest states nothing.
fn pair(value: &Value) -> [f64; 2] {
    [0usize, 1].map(|at| value[at].as_f64().unwrap_or(0.0))
}

/// What was compared, and what failed.
#[derive(Default)]
pub struct Checks {
    pub compared: usize,
    pub failed: Vec<String>,
}

impl Checks {
    /// The two measures of the manifest, each within 10 times what was `measured`, and 1e-5 at the least.
    pub fn compare(&mut self, what: &str, found: &[f64], expected: &[f64], measured: [f64; 2]) {
        self.compared += 1;
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |most, v| v.abs().max(most));
        let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
        let apart = || found.iter().zip(expected).map(|(a, b)| a - b);
        let differs = [
            largest(&mut apart()) / largest(&mut expected.iter().copied()),
            norm(&mut apart()) / norm(&mut expected.iter().copied()),
        ];
        let within = |at: usize| differs[at] <= (10.0 * measured[at]).max(1e-5);
        let ([largest, norm], [of_largest, of_norm]) = (differs, measured);
        let apart = format!("{largest:.1e} {norm:.1e}, the library {of_largest:.1e} {of_norm:.1e}");
        println!("{what}: {apart}");
        if found.len() != expected.len() || !(within(0) && within(1)) {
            self.failed.push(format!("{what}: {apart} ({} of {} values)", found.len(), expected.len()));
        }
    }
}
