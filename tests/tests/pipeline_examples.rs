//! Promise: the pipelines of the project can be planned, and run from their data to their reports.

use std::collections::BTreeSet;
use std::path::Path;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::json;

use crate::staged::go;

#[test]
fn the_pipelines_of_the_project_can_be_planned() {
    let place = Place::new();
    fs_err::create_dir_all(place.path("data/targets")).expect("made");
    place.samples("data/pool", 20);
    place.samples("corpus", 20);
    place.samples("data/target", 3);
    for target in ["gsm8k", "sentiment", "commongen", "paraphrase", "socialqa", "headline", "science"] {
        place.samples(&format!("data/targets/{target}"), 3);
    }
    let set = |name: &str, path: &Path| format!("{name}={}", path.canonicalize().expect("there").display());
    let demo = set("demo", &world::demo());
    place.samples("data/queries", 3);
    place.write("data/bm25.csv", "id,query,score\n");
    let prompts = r#"[{"prompt": "Is 7 odd?", "completion": " Yes."}]"#;
    place.write("data/prompts.json", prompts);
    let (model, data) = (set("model", &world::demo().join("model")), set("data", &place.path("data")));
    let corpus = set("corpus", &place.path("corpus.jsonl"));
    for (name, variables, stages) in [
        ("less.toml", [model.clone(), data.clone()], "132 of 132"),
        ("prefilter.toml", [model.clone(), data.clone()], "71 of 71"),
        ("cascade.toml", [model.clone(), data.clone()], "23 of 23"),
        ("demo-model.toml", [demo, corpus], "8 of 8"),
        ("daunce.toml", [model.clone(), data.clone()], "9 of 9"),
        ("ekfac.toml", [model.clone(), data.clone()], "9 of 9"),
        ("lds.toml", [model.clone(), data.clone()], "13 of 13"),
        ("lds-full.toml", [model, data], "10 of 10"),
    ] {
        copy(&place, name, name);
        let mut plan = place.bare(&["run", name, "--dry-run"]);
        for variable in variables {
            plan.arg("--set").arg(variable);
        }
        binary::run(&mut plan).says(0, &[stages]);
    }
}

/// A pipeline of the project, under another name.
fn copy(place: &Place, name: &str, to: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/pipelines").join(name);
    fs_err::copy(file, place.path(to)).expect("copied");
}

/// Runs one with the demo's model and other variables; all its stages end so.
fn example(place: &Place, name: &str, variables: &[&str], (stages, ended): (usize, &str)) {
    copy(place, name, "p.toml");
    let model = world::demo().join("model").canonicalize().expect("there");
    let model = format!("model={}", model.display());
    let set = [&[model.as_str()][..], variables].concat();
    let args: Vec<&str> = set.into_iter().flat_map(|variable| ["--set", variable]).collect();
    let outcomes = go(place, &args);
    assert!(outcomes.len() == stages && outcomes.values().all(|outcome| outcome == ended), "{outcomes:?}");
}

/// A pool of so many rows, and targets of others that ask in these words.
fn data(rows: usize, targets: &[(&str, usize, &str)]) -> Place {
    let place = Place::new();
    fs_err::create_dir_all(place.path("data/targets")).expect("made");
    place.samples("data/pool", rows);
    for (name, rows, word) in targets {
        place.samples(&format!("data/{name}"), *rows);
        let name = format!("data/{name}.jsonl");
        place.write(&name, place.read(&name).replace("odd?", word));
    }
    place
}

/// The whole way from samples to a report on perturbed copies, small.
#[test]
fn the_pipeline_of_daunce_runs() {
    let place = data(40, &[("target", 5, "odd or even?")]);
    let small = ["copies=4", "steps=2", "batch=4", "warm-steps=2"];
    example(&place, "daunce.toml", &small, (9, "done"));
    assert!(place.path("daunce/report.html").is_file() && place.path("daunce/ranking.csv").is_file());
    for copy in 0..4 {
        assert!(place.path(&format!("daunce/copies/members/{copy:05}/adapter_model.safetensors")).is_file());
    }
    example(&place, "daunce.toml", &small, (9, "up to date"));
}

/// Tuning, factors, their pictures, scores of wanted and given answers, and the comparison of texts, small.
#[test]
fn the_pipeline_of_curvature_runs() {
    let place = data(24, &[]);
    let prompts = json!([
        {"prompt": "Is 7 odd?", "completion": " 7 is odd"},
        {"prompt": "Is 4 odd?", "completion": " 4 is even"},
    ]);
    place.write("data/prompts.json", prompts.to_string());
    let small = ["steps=2", "batch=4", "rows=12", "max-new-tokens=6"];
    example(&place, "ekfac.toml", &small, (9, "done"));

    let spectra = place.read("ekfac/factors.csv");
    assert_eq!(spectra.lines().count(), 1 + 9, "the MLPs of three layers: {spectra}");
    for layer in 0..3 {
        assert!(place.path(&format!("ekfac/factors/layer_{layer}/lambda_matrix.png")).is_file());
    }
    // The row that says what was wanted is in the pool.
    let scores = place.read("ekfac/scores.md");
    let best = scores.lines().find(|line| line.starts_with("| 1 |")).expect("a ranking");
    assert!(best.ends_with("| Is 7 odd? 7 is odd |"), "{scores}");
    let given = place.read("ekfac/scores_of_answers.md");
    assert_eq!(given.matches("### Highest scores").count(), 2, "{given}");
    assert!(place.path("ekfac/scores.parquet").is_file() && place.path("ekfac/evaluation.md").is_file());
    example(&place, "ekfac.toml", &small, (9, "up to date"));
}

/// Two targets that keep many of the same rows, and a selection for each.
#[test]
fn the_pipeline_of_prefilters_runs() {
    // Even rows choose: those of the first target, and one more for the second.
    let targets = [("targets/a", 4, "odd or even?"), ("targets/b", 6, "odd or even?")];
    let place = data(160, &targets);
    example(&place, "prefilter.toml", &["targets=a,b"], (26, "done"));

    let lines = |name: &str| -> BTreeSet<String> { place.read(name).lines().map(str::to_owned).collect() };
    let log = place.read("p.state/logs/fit-a.log");
    assert!(log.contains("a perfect prediction is expected to have a recall of the top 5.0 %"), "{log}");
    let (a, b) = (lines("prefilter/kept/a.jsonl"), lines("prefilter/kept/b.jsonl"));
    // 15 % are 24 rows; those of an equal prediction, or without any, are kept as well.
    assert!((20..60).contains(&a.len()) && (20..60).contains(&b.len()), "{} and {}", a.len(), b.len());
    let both = a.union(&b).count();
    assert!(both < a.len() + b.len(), "no row is kept for both");
    assert_eq!(place.value("SELECT count(*) FROM kept"), both.to_string());
    for target in ["a", "b"] {
        let selected = lines(&format!("prefilter/selected/{target}.jsonl"));
        assert_eq!(selected.len(), 8, "5 % of the 160 rows of the pool");
        assert!(selected.iter().all(|line| a.contains(line) || b.contains(line)), "{selected:?}");
    }
}

#[test]
fn the_pipeline_of_cascades_runs() {
    let place = data(300, &[("targets/a", 4, "odd?"), ("targets/b", 4, "odd or even?")]);
    // A small pool has room for few labels: half of it is selected, of which half has to be kept.
    let set = ["targets=a,b", "top=50%", "recall=50%", "dim=256"];
    example(&place, "cascade.toml", &set, (8, "done"));
    for target in ["a", "b"] {
        assert_eq!(place.read(&format!("cascade/selected/{target}.jsonl")).lines().count(), 150);
        let report = place.read_json(&format!("cascade/reports/{target}.json"));
        assert!(report["report"]["done"] == true && report["refused"].is_null(), "{report:#}");
        assert!(report["saving"].as_f64().expect("a number") > 0.0, "{report:#}");
    }
}

/// A pool of 24 rows and 3 queries, with the scores of another program.
fn compared() -> Place {
    let place = data(25, &[("queries", 3, "odd or even?")]);
    // Of a row without an answer no method has a score.
    let lines = place.read("data/pool.jsonl");
    let pool: String =
        lines.lines().filter(|line| !line.contains("\"s13\"")).flat_map(|line| [line, "\n"]).collect();
    place.write("data/pool.jsonl", pool);
    let queries = place.read("data/queries.jsonl").replace("\"id\":\"s", "\"id\":\"q");
    place.write("data/queries.jsonl", queries);
    let mut scores = "id,query,score\n".to_owned();
    for row in (0..25).filter(|row| *row != 13) {
        (0..3).for_each(|query| scores.push_str(&format!("s{row},q{query},{}\n", row * 7 % 11 + query)));
    }
    place.write("data/bm25.csv", scores);
    place
}

/// The methods of the report of a comparison, which count for all queries.
fn methods(place: &Place, report: &str) -> Vec<String> {
    let report = place.read_json(report);
    assert_eq!((&report["kind"], &report["rows"]), (&json!("lds"), &json!(3)), "{report:#}");
    let systems = report["systems"].as_array().expect("systems").iter();
    systems.map(|system| system["name"].as_str().expect("a name").to_owned()).collect()
}

#[test]
fn the_pipeline_of_scores_against_retraining_runs() {
    let place = compared();
    let small = ["count=4", "last=4", "copies=4", "copy-steps=1", "dim=256"];
    example(&place, "lds.toml", &small, (13, "done"));
    let found = methods(&place, "lds/report/evaluation.json");
    for method in [
        "random",
        "bm25",
        "ekfac",
        "less",
        "gradient_cosine",
        "trak",
        "embedding",
        "daunce",
        "daunce_correlation",
    ] {
        assert!(found.iter().any(|name| name == method), "{method}: {found:?}");
    }
}

#[test]
fn the_pipeline_of_scores_against_retraining_of_all_weights_runs() {
    let place = compared();
    example(&place, "lds-full.toml", &["count=4", "last=4", "dim=256"], (10, "done"));
    assert_eq!(methods(&place, "lds-full/report/evaluation.json").len(), 7);
    // A whole model, and no adapter.
    assert!(place.path("lds-full/whole/checkpoint-4/model.safetensors").is_file());
}
