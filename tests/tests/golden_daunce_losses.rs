//! Promise: losses of given adapters are those of the reference, `golden/daunce`, up to 1e-4.
//!
//! Rows, queries and models come from its manifest.

use std::path::Path;

use gstore_store::LossWanted;
use gstore_tests::place::Place;
use gstore_tests::shared;
use serde_json::Value;

use crate::daunce_losses::stored;
use crate::tensors;

/// Agreement that the reference asks for.
const TOLERANCE: f64 = 1e-4;

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
    let Some(shared) = shared::folder("golden_daunce_losses", "golden/daunce") else { return };
    let golden = shared.join("golden/daunce");
    let manifest: Value =
        serde_json::from_slice(&fs_err::read(golden.join("manifest.json")).expect("readable")).expect("JSON");
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    let base = manifest["base"].as_str().expect("a base");
    let (model, adapter) = base.split_once(" + ").expect("a model and an adapter");
    let template = manifest["template"].as_str().expect("a template");
    let rows: Vec<usize> = manifest["train_rows"].as_array().expect("rows").iter().map(number).collect();

    let place = Place::new();
    let pool = lines(&shared::pool(&shared, &manifest), &rows).join("\n");
    place.write("pool.jsonl", pool);
    let targets = manifest["targets"].as_str().unwrap_or("data/targets");
    let queries: Vec<String> = manifest["queries"]
        .as_array()
        .expect("queries")
        .iter()
        .map(|query| {
            let file = format!("{targets}/{}.jsonl", query["target"].as_str().expect("a target"));
            lines(&shared.join(file), &[number(&query["row"])]).swap_remove(0)
        })
        .collect();
    place.write("queries.jsonl", queries.join("\n"));

    // The models whose adapters are there.
    let models: Vec<usize> = manifest["models"].as_array().expect("models").iter().map(number).collect();
    let folder = |k: usize| golden.join(format!("model-{k:02}"));
    let there: Vec<usize> =
        models.iter().enumerate().filter(|(_, k)| folder(**k).is_dir()).map(|(at, _)| at).collect();
    assert!(!there.is_empty(), "{} has no adapter", golden.display());
    let adapters: Vec<String> = there.iter().map(|at| folder(models[*at]).display().to_string()).collect();
    let (model, adapter) =
        (shared.join(model).display().to_string(), golden.join(adapter).display().to_string());
    let tensors = tensors::read(&golden.join("daunce.safetensors"));
    for (dataset, name) in [("pool", "train"), ("queries", "query")] {
        place.add(dataset);
        let mut command = place.gstore(&["daunce", "losses", "--ensemble", "golden", "--dataset", dataset]);
        command.args(["--model", &model, "--adapter", &adapter, "--template", template, "--adapters"]);
        gstore_tests::binary::ok(command.args(&adapters));
        let found = losses(&place, dataset);
        let (_, expected) = &tensors[&format!("{name}_loss")];
        let (_, base) = &tensors[&format!("base_{name}_loss")];
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
