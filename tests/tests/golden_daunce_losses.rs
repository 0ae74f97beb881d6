//! Promise: losses of given adapters are those of the reference, `golden/daunce`, up to 1e-4.
//!
//! Rows, queries and models come from its manifest.

use std::path::{Path, PathBuf};

use gstore_store::LossWanted;
use gstore_tests::place::Place;
use gstore_tests::shared;
use serde_json::Value;

use crate::daunce_losses::stored;
use crate::tensors::{self, Tensors};

/// Agreement that the reference asks for.
const TOLERANCE: f64 = 1e-4;

/// The reference.
pub struct Golden {
    /// Its folder.
    folder: PathBuf,
    /// Numbers of its models.
    models: Vec<usize>,
    /// Folder of the base model.
    pub model: String,
    /// Folder of the adapter that the models start from.
    pub adapter: String,
    /// How texts become tokens.
    pub template: String,
    /// Records of its rows.
    pub rows: Vec<String>,
    /// Records of its queries.
    pub queries: Vec<String>,
    /// Losses and scores.
    pub tensors: Tensors,
}

impl Golden {
    pub fn read(test: &str) -> Option<Golden> {
        let shared = shared::folder(test, "golden/daunce")?;
        let folder = shared.join("golden/daunce");
        let manifest = fs_err::read(folder.join("manifest.json")).expect("readable");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let number = |value: &Value| value.as_u64().expect("a number") as usize;
        let numbers =
            |key: &str| manifest[key].as_array().expect("numbers").iter().map(number).collect::<Vec<_>>();
        let base = text(&manifest["base"]);
        let (model, adapter) = base.split_once(" + ").expect("a model and an adapter");
        let targets = manifest["targets"].as_str().unwrap_or("data/targets");
        let query = |query: &Value| {
            let file = shared.join(targets).join(format!("{}.jsonl", text(&query["target"])));
            lines(&file, &[number(&query["row"])]).swap_remove(0)
        };
        Some(Golden {
            models: numbers("models"),
            model: shared.join(model).display().to_string(),
            adapter: folder.join(adapter).display().to_string(),
            template: text(&manifest["template"]),
            rows: lines(&shared::pool(&shared, &manifest), &numbers("train_rows")),
            queries: manifest["queries"].as_array().expect("queries").iter().map(query).collect(),
            tensors: tensors::read(&folder.join("daunce.safetensors")),
            folder,
        })
    }
}

/// Lines of a data file, by number.
fn lines(path: &Path, wanted: &[usize]) -> Vec<String> {
    let text = fs_err::read_to_string(path).expect("readable");
    let all: Vec<&str> = text.lines().collect();
    wanted.iter().map(|line| all[*line].to_owned()).collect()
}

/// Offset and losses of each row of a dataset, in the order of the rows.
fn losses(place: &Place, dataset: &str) -> Vec<(f64, Vec<f64>)> {
    let snapshot = place.snapshot();
    let part = snapshot.ensemble("golden").expect("an ensemble");
    let reader = snapshot.open_losses(part, &LossWanted::of(dataset)).expect("losses");
    assert!(reader.table().base, "values are differences to theta_0");
    let all = stored(place, "golden", dataset).into_values();
    all.map(|(offset, losses)| (f64::from(offset), losses)).collect()
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_daunce_losses() {
    let Some(golden) = Golden::read("golden_daunce_losses") else { return };
    let place = Place::new();
    place.write("pool.jsonl", golden.rows.join("\n"));
    place.write("queries.jsonl", golden.queries.join("\n"));

    // The models whose adapters are there.
    let folder = |k: usize| golden.folder.join(format!("model-{k:02}"));
    let models = golden.models.iter().enumerate();
    let there: Vec<usize> = models.filter(|(_, k)| folder(**k).is_dir()).map(|(at, _)| at).collect();
    assert!(!there.is_empty(), "{} has no adapter", golden.folder.display());
    let adapters: Vec<String> =
        there.iter().map(|at| folder(golden.models[*at]).display().to_string()).collect();
    for (dataset, name) in [("pool", "train"), ("queries", "query")] {
        place.add(dataset);
        let mut command = place.gstore(&["daunce", "losses", "--ensemble", "golden", "--dataset", dataset]);
        command.args(["--model", &golden.model, "--adapter", &golden.adapter]);
        command.args(["--template", &golden.template, "--adapters"]);
        gstore_tests::binary::ok(command.args(&adapters));
        let found = losses(&place, dataset);
        let (_, expected) = &golden.tensors[&format!("{name}_loss")];
        let (_, base) = &golden.tensors[&format!("base_{name}_loss")];
        assert_eq!(found.len(), base.len());
        let mut worst = 0f64;
        for (i, (offset, values)) in found.iter().enumerate() {
            worst = worst.max((offset - base[i]).abs());
            for (column, at) in there.iter().enumerate() {
                worst = worst.max((values[column] - expected[at * base.len() + i]).abs());
            }
        }
        println!("largest difference of {name} losses: {worst:.2e}");
        assert!(worst < TOLERANCE, "{name}: {worst}");
    }
}
