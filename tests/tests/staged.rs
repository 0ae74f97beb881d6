//! A pipeline of five stages over small data, and its runs.

use std::collections::BTreeMap;
use std::path::Path;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

/// A training whose run gives features of two datasets, a selection, and its perplexity.
pub const FILE: &str = r#"
[variables]
steps = 2

[[stage]]
name = "add"
command = "add"
each = {set = ["pool", "target"]}
dataset = "${set}"
data = "${set}.jsonl"

[[stage]]
name = "warm"
command = "train"
model = "MODEL"
data = "pool.jsonl"
lora_rank = 2
max-steps = "${steps}"
save-steps = 2
max-length = 64
output = "out/warm"

[[stage]]
name = "features"
command = "ingest"
each = {set = ["pool", "target"]}
dataset = "${set}"
run = "warm"
features = "grad-sgd"
dim = 256

[[stage]]
name = "best"
command = "select"
pool = "pool"
target = "target"
run = "warm"
top = 3
output = "out/best.jsonl"

[[stage]]
name = "score"
command = "generate"
run = "warm"
data = "out/best.jsonl"
perplexity = true
output = "out/scores.csv"
"#;

pub fn place() -> Place {
    let place = Place::of(&[("pool", 40)]);
    write_target(&place, 5);
    write(&place, FILE);
    place
}

pub fn write(place: &Place, text: &str) {
    let model = world::demo().join("model").canonicalize().expect("the demo");
    place.write("p.toml", text.replace("MODEL", &model.display().to_string()));
}

/// Samples that are not in the pool.
pub fn write_target(place: &Place, count: usize) {
    place.samples("target", count);
    let text = place.read("target.jsonl");
    place.write("target.jsonl", text.replace("odd?", "odd or even?"));
}

/// Runs the pipeline; outcomes by stage.
pub fn go(place: &Place, more: &[&str]) -> BTreeMap<String, String> {
    let summary = place.json(&[&["run", "p.toml", "--json"][..], more].concat());
    assert_eq!(summary["finished"], true, "{summary}");
    let stages = summary["stages"].as_array().expect("stages");
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    stages.iter().map(|stage| (text(&stage["name"]), text(&stage["outcome"]))).collect()
}

/// Names of the stages that ran.
pub fn ran(outcomes: &BTreeMap<String, String>) -> Vec<&str> {
    outcomes.iter().filter(|(_, outcome)| *outcome == "done").map(|(name, _)| name.as_str()).collect()
}

/// A training in no store.
pub fn alone(rank: u32, more: &str) -> String {
    format!(
        "[[stage]]\nname = 'warm'\ncommand = 'train'\nmodel = 'MODEL'\ndata = 'pool.jsonl'\nlora-rank = {rank}\n\
         max-steps = 2\nsave-steps = 1\nmax-length = 64\noutput = 'warm'\n{more}"
    )
}

pub fn without_store(place: &Place, more: &[&str]) -> binary::Finished {
    binary::run(place.bare(&["run", "p.toml"]).args(more))
}

/// Names and lengths of all files in a folder.
pub fn files(folder: &Path) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for entry in fs_err::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        match entry.path().is_dir() {
            true => found.extend(files(&entry.path())),
            false => {
                let len = entry.metadata().expect("readable").len();
                found.insert(entry.path().display().to_string(), len);
            }
        }
    }
    found
}
