//! Promise: a pipeline runs what is not up to date and nothing else, and goes on after a failure, Ctrl-C or
//! kill -9.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gstore_store::vfs::{OsVfs, Vfs};
use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::{Value, json};

/// A training whose run gives features of two datasets, a selection, and its perplexity.
const FILE: &str = r#"
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

fn place() -> Place {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 40);
    write_target(&place, 5);
    write(&place, FILE);
    place
}

fn write(place: &Place, text: &str) {
    let model = world::demo().join("model").canonicalize().expect("the demo");
    fs_err::write(place.path("p.toml"), text.replace("MODEL", &model.display().to_string()))
        .expect("written");
}

/// Samples that are not in the pool.
fn write_target(place: &Place, count: usize) {
    world::write_samples(&place.path("target.jsonl"), count);
    let text = fs_err::read_to_string(place.path("target.jsonl")).expect("written");
    fs_err::write(place.path("target.jsonl"), text.replace("odd?", "odd or even?")).expect("written");
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
fn ran(outcomes: &BTreeMap<String, String>) -> Vec<&str> {
    outcomes.iter().filter(|(_, outcome)| *outcome == "done").map(|(name, _)| name.as_str()).collect()
}

#[test]
fn only_what_has_changed_runs_again() {
    let place = place();
    let all = ["add-pool", "add-target", "best", "features-pool", "features-target", "score", "warm"];
    assert_eq!(ran(&go(&place, &[])), all);
    let report = fs_err::read_to_string(place.path("p.state/report.html")).expect("a report");
    assert!(report.contains("total_steps") && !report.contains("<script"), "{report}");
    assert!(place.path("p.state/report.md").exists() && place.path("p.state/logs/warm.log").exists());
    assert_eq!(place.value("SELECT count(*) FROM pool"), "40");

    let again = go(&place, &[]);
    assert!(again.values().all(|outcome| outcome == "up to date"), "{again:?}");
    // Files of the store that were merged are no change.
    place.ok(&["compact"]);
    assert!(ran(&go(&place, &[])).is_empty());

    write_target(&place, 6);
    let changed = go(&place, &[]);
    for (stage, runs) in [
        ("add-target", true),
        ("features-target", true),
        ("best", true),
        ("add-pool", false),
        ("warm", false),
    ] {
        assert_eq!(changed[stage] == "done", runs, "{stage}: {changed:?}");
    }
    assert!(ran(&go(&place, &[])).is_empty());

    fs_err::remove_file(place.path("out/scores.csv")).expect("it was there");
    assert_eq!(ran(&go(&place, &[])), ["score"]);
    assert_eq!(ran(&go(&place, &["--force", "score", "--only", "score"])), ["score"]);

    // Another training takes the place of the one before, and all that came of it follows.
    let other = go(&place, &["--set", "steps=3"]);
    assert_eq!(ran(&other), ["best", "features-pool", "features-target", "score", "warm"]);
    assert!(ran(&go(&place, &["--set", "steps=3"])).is_empty());
    assert!(place.path("out/warm/checkpoint-3").exists());
    let log = fs_err::read_to_string(place.path("p.state/logs/warm.log")).expect("a log");
    assert!(log.contains(" still has run warm: `gstore revert"), "{log}");

    // A training goes on from what is in its folder: not from what others left of it.
    fs_err::remove_dir_all(place.path("out/warm/checkpoint-2")).expect("it was there");
    let changed = place.run(&["run", "p.toml", "--set", "steps=3"]);
    assert!(
        changed.code == 1 && changed.stderr.contains("--force warm trains it again"),
        "{}",
        changed.stderr
    );
    assert_eq!(go(&place, &["--set", "steps=3", "--force", "warm"])["warm"], "done");
    assert!(ran(&go(&place, &["--set", "steps=3"])).is_empty());
    // Nor does one with other options take the place of it.
    let note = place.path("out/warm/checkpoint-3/note.txt");
    fs_err::write(&note, "by hand").expect("written");
    let changed = place.run(&["run", "p.toml", "--set", "steps=4"]);
    let said = changed.stderr.contains("out/warm was changed by others; put it back, or --force warm");
    assert!(changed.code == 1 && said && note.exists(), "{}", changed.stderr);
    assert_eq!(go(&place, &["--set", "steps=4", "--force", "warm"])["warm"], "done");
}

#[test]
fn a_selection_that_names_no_run_follows_a_training_that_goes_back_to_former_options() {
    let place = place();
    write(&place, &FILE.replace("target = \"target\"\nrun = \"warm\"\n", "target = \"target\"\n"));
    let results = || {
        let read = |name: &str| fs_err::read_to_string(place.path(name)).expect("written");
        [read("out/best.jsonl"), read("out/best.jsonl.scores.csv")]
    };
    go(&place, &[]);
    let first = results();
    go(&place, &["--set", "steps=3"]);
    assert_ne!(results(), first);
    // The features of the first training are still in the store.
    assert_eq!(go(&place, &[])["best"], "done");
    assert_eq!(results(), first);
    assert!(ran(&go(&place, &[])).is_empty());
    // Another run with features of another dataset changes nothing.
    place.ok(&["add", "--dataset", "other", "--data", "target.jsonl"]);
    let mut train = place.gstore(&["train", "--data", "pool.jsonl", "--lora-rank", "2", "--max-steps", "1"]);
    train.args(["--max-length", "64", "--output", "second", "--run", "second", "--model"]);
    binary::ok(train.arg(world::demo().join("model")));
    place.ok(&["ingest", "--dataset", "other", "--run", "second", "--features", "grad-sgd", "--dim", "256"]);
    assert!(ran(&go(&place, &[])).is_empty());
}

#[test]
fn an_edited_row_of_a_data_file_goes_on_where_the_stage_says_that_it_replaces() {
    let place = place();
    let add = |more: &str| {
        let stage = "[[stage]]\nname = 'add'\ncommand = 'add'\ndataset = 'target'\ndata = 'target.jsonl'\n";
        write(&place, &[stage, more].concat());
    };
    let edit = |said: &str| {
        let line = format!("{{\"id\": \"a\", \"prompt\": \"p\", \"completion\": \"{said}\"}}\n");
        fs_err::write(place.path("target.jsonl"), line).expect("written");
    };
    edit("one");
    add("");
    go(&place, &[]);
    edit("two");
    let refused = place.run(&["run", "p.toml"]);
    assert!(refused.code == 1 && refused.stderr.contains("different content"), "{}", refused.stderr);
    add("if-changed = 'replace'\n");
    assert_eq!(ran(&go(&place, &[])), ["add"]);
    assert_eq!(place.value("SELECT count(*) FROM target"), "1");
}

#[test]
fn a_picture_of_a_training_that_others_changed_is_drawn_again() {
    let place = place();
    write(&place, &FILE.replace("output = \"out/warm\"", "output = \"out/warm\"\nplot = \"out/curve.svg\""));
    let only = ["--only", "warm"];
    assert_eq!(ran(&go(&place, &only)), ["warm"]);
    let picture = place.path("out/curve.svg");
    fs_err::write(&picture, "by hand").expect("written");
    // The training is as it was, and nothing of it is done again.
    assert_eq!(ran(&go(&place, &only)), ["warm"]);
    assert!(fs_err::read_to_string(&picture).expect("drawn").contains("<svg"));
    assert!(ran(&go(&place, &only)).is_empty());
}

#[test]
fn what_others_made_is_never_replaced() {
    let place = place();
    let warm = |rank: &str| {
        format!(
            "[[stage]]\nname = 'warm'\ncommand = 'train'\nmodel = 'MODEL'\ndata = 'target.jsonl'\nlora-rank = {rank}\n\
         max-steps = 1\nmax-length = 64\noutput = 'warm'\n"
        )
    };
    let score = "[[stage]]\nname = 'score'\ncommand = 'generate'\nmodel = 'MODEL'\ndata = 'target.jsonl'\n\
        perplexity = true\noutput = 'mine.csv'\n";
    write(&place, &warm("2"));
    go(&place, &[]);
    let weights =
        || fs_err::read(place.path("warm/checkpoint-1/adapter_model.safetensors")).expect("written");
    let mine = || fs_err::read_to_string(place.path("mine.csv")).expect("written");
    // Another pipeline with the same names, and a file that was there before it.
    fs_err::remove_dir_all(place.path("p.state")).expect("a journal");
    fs_err::write(place.path("mine.csv"), "by hand").expect("written");
    write(&place, &[score, &warm("4")].concat());
    let before = weights();
    for _ in 0..2 {
        let refused = place.run(&["run", "p.toml", "--keep-going"]);
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(
            refused.stderr.contains("stage score failed") && refused.stderr.contains("stage warm failed")
        );
        assert_eq!((mine(), weights()), ("by hand".to_owned(), before.clone()));
    }
    let forced = place.run(&["run", "p.toml", "--keep-going", "--force", "score", "--force", "warm"]);
    assert_eq!((forced.code, mine(), weights()), (1, "by hand".to_owned(), before));
    fs_err::remove_file(place.path("mine.csv")).expect("it was there");
    assert_eq!(ran(&go(&place, &["--only", "score"])), ["score"]);
    assert_eq!(ran(&go(&place, &["--only", "score", "--force", "score"])), ["score"]);
}

#[test]
fn a_training_that_is_refused_leaves_the_one_before_with_its_run() {
    let place = place();
    go(&place, &[]);
    let before = files(&place.path("out/warm"));
    write(&place, &FILE.replace("max-length = 64", "max-length = 64\nlora-targets = [\"v_porj\"]"));
    let failed = place.run(&["run", "p.toml"]);
    assert_ne!(failed.code, 0, "{}", failed.stderr);
    assert!(failed.stderr.contains("ends in v_porj"), "{}", failed.stderr);
    assert_eq!(files(&place.path("out/warm")), before);
    assert!(place.ok(&["ls"]).contains("warm"));
    // With the former options nothing is to be done.
    write(&place, FILE);
    assert!(ran(&go(&place, &[])).is_empty());
}

/// A training in no store.
fn alone(rank: u32, more: &str) -> String {
    format!(
        "[[stage]]\nname = 'warm'\ncommand = 'train'\nmodel = 'MODEL'\ndata = 'pool.jsonl'\nlora-rank = {rank}\n\
         max-steps = 2\nsave-steps = 1\nmax-length = 64\noutput = 'warm'\n{more}"
    )
}

fn without_store(place: &Place, more: &[&str]) -> binary::Finished {
    let mut command = Command::new(binary::path());
    command.current_dir(place.path("")).env_remove("GSTORE_STORE").env_remove("GSTORE_CONFIG");
    binary::run(command.args(["run", "p.toml"]).args(more))
}

#[test]
fn a_ground_truth_of_other_options_takes_the_place_of_the_former() {
    let place = place();
    let with = |count: usize| {
        let stage = format!(
            "[[stage]]\nname = 'truth'\ncommand = 'evaluate retrain'\nmodel = 'MODEL'\ndata = 'pool.jsonl'\n\
             query-data = 'target.jsonl'\ntruth = 'truth'\nfraction = 0.5\ncount = {count}\nlora-rank = 2\n\
             max-steps = 1\nmax-length = 64\n"
        );
        write(&place, &stage);
        without_store(&place, &[])
    };
    for count in [2, 3] {
        let run = with(count);
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert_eq!(fs_err::read_dir(place.path("truth/outputs")).expect("listed").count(), count);
    }
    // One that others have put there stays.
    fs_err::remove_dir_all(place.path("p.state")).expect("removed");
    let refused = with(2);
    assert!(refused.code == 1 && refused.stderr.contains("other subsets"), "{}", refused.stderr);
    assert_eq!(fs_err::read_dir(place.path("truth/outputs")).expect("listed").count(), 3);
}

/// Trains with a rank of 2, then asks for one of 3 while another process has the folder.
fn tried_in_vain(place: &Place) {
    write(place, &alone(2, ""));
    assert_eq!(without_store(place, &[]).code, 0);
    let lock = OsVfs.lock(&place.path("warm/.lock"), false).expect("opened").expect("free");
    write(place, &alone(3, ""));
    let failed = without_store(place, &[]);
    assert!(failed.code == 1 && failed.stderr.contains("another training"), "{}", failed.stderr);
    drop(lock);
}

#[test]
fn a_training_without_a_store_is_kept_where_others_are_refused() {
    let place = place();
    tried_in_vain(&place);
    let weights = || files(&place.path("warm/checkpoint-2"));
    let before = weights();
    write(&place, &alone(2, ""));
    let again = without_store(&place, &[]);
    assert!(again.code == 0 && again.stderr.contains("already trained, 2 steps"), "{}", again.stderr);
    write(&place, &alone(2, "lora-targets = ['v_porj']\n"));
    let failed = without_store(&place, &[]);
    assert!(failed.code == 2 && failed.stderr.contains("ends in v_porj"), "{}", failed.stderr);
    write(&place, &alone(2, ""));
    let again = without_store(&place, &[]);
    assert!(again.code == 0 && again.stderr.contains("up to date"), "{}", again.stderr);
    assert_eq!(weights(), before);
    let forced = without_store(&place, &["--force", "warm"]);
    assert!(forced.code == 0 && !forced.stderr.contains("already trained"), "{}", forced.stderr);
}

#[test]
fn what_a_kill_left_of_a_former_training_is_replaced() {
    let place = place();
    tried_in_vain(&place);
    // As if the kill had come when the first was removed.
    fs_err::remove_dir_all(place.path("warm/checkpoint-1")).expect("removed");
    let again = without_store(&place, &[]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    let config = fs_err::read(place.path("warm/checkpoint-2/adapter_config.json")).expect("trained");
    assert_eq!(serde_json::from_slice::<Value>(&config).expect("JSON")["r"], 3);
    assert!(without_store(&place, &[]).stderr.contains("up to date"));
}

#[test]
fn evaluations_are_stages_and_run_once() {
    let place = place();
    let file = r#"
[[stage]]
name = "tasks"
command = "evaluate tasks"
model = "MODEL"
data = "questions.jsonl"
resamples = 200
max-new-tokens = 4
output = "tasks.json"
rows = "tasks.csv"

[[stage]]
name = "text"
command = "evaluate text"
data = ["base=base.jsonl", "tuned=tuned.jsonl"]
resamples = 200
output = "text.json"
rows = "rows.csv"
report = "report"
"#;
    for (name, text) in [
        (
            "questions.jsonl",
            "{\"id\": \"c\", \"task\": \"t\", \"question\": \"Say yes\", \"answers\": [\"yes\"]}\n{\"id\": \"d\", \"task\": \"t\", \"question\": \"Say no\", \"answers\": [\"no\"]}\n",
        ),
        ("base.jsonl", "{\"id\": \"a\", \"completion\": \"a cat\", \"expected\": \"the cat\"}\n"),
        ("tuned.jsonl", "{\"id\": \"a\", \"completion\": \"the cat\"}\n"),
    ] {
        fs_err::write(place.path(name), text).expect("written");
    }
    write(&place, file);
    assert_eq!(ran(&go(&place, &[])), ["tasks", "text"]);
    assert!(ran(&go(&place, &[])).is_empty());
    fs_err::write(place.path("tuned.jsonl"), "{\"id\": \"a\", \"completion\": \"the dog\"}\n")
        .expect("written");
    assert_eq!(ran(&go(&place, &[])), ["text"]);
    write(&place, &file.replace("max-new-tokens = 4", "max-new-tokens = 5"));
    assert_eq!(ran(&go(&place, &[])), ["tasks"]);
}

#[test]
fn a_merge_and_a_backup_run_again_when_their_inputs_change() {
    let place = place();
    let end = "\n[[stage]]\nname = \"merged\"\ncommand = \"merge\"\nargs = \"out/warm/checkpoint-2\"\noutput = \"merged\"\n\
        \n[[stage]]\nname = \"copy\"\ncommand = \"backup\"\nto = \"copy\"\n";
    write(&place, &[FILE, end].concat());
    go(&place, &[]);
    assert!(ran(&go(&place, &[])).is_empty());
    place.ok(&["add", "--dataset", "other", "--data", "target.jsonl"]);
    assert!(ran(&go(&place, &["--only", "copy"])).contains(&"copy"));
    let again = go(&place, &["--set", "steps=3"]);
    assert_eq!((again["warm"].as_str(), again["merged"].as_str()), ("done", "done"));
}

#[test]
fn a_pipeline_runs_from_any_folder() {
    let place = place();
    fs_err::create_dir(place.path("sub")).expect("made");
    fs_err::write(place.path("sub/c.jinja"), "{{ messages }}").expect("written");
    let text = "[[stage]]\nname = 'score'\ncommand = 'generate'\nmodel = 'org/model'\ndata = '../target.jsonl'\n\
        template = 'c.jinja'\nperplexity = true\noutput = 'o.csv'\n";
    fs_err::write(place.path("sub/p.toml"), text).expect("written");
    let plan = place.run(&["run", "sub/p.toml", "--dry-run"]);
    assert!(plan.code == 0 && plan.stdout.contains("run   score"), "{}{}", plan.stdout, plan.stderr);
}

/// Names and lengths of all files in a folder.
fn files(folder: &Path) -> BTreeMap<String, u64> {
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

#[test]
fn a_dry_run_shows_the_plan_and_touches_nothing() {
    let place = place();
    let folder = place.path("");
    let before = files(&folder);
    let plan = place.run(&["run", "p.toml", "--dry-run"]);
    assert_eq!(plan.code, 0, "{}", plan.stderr);
    assert!(plan.stdout.contains("run   add-pool, since it has not run yet"), "{}", plan.stdout);
    assert!(plan.stderr.contains("7 of 7 stages"), "{}", plan.stderr);
    assert_eq!(files(&folder), before);

    go(&place, &[]);
    write_target(&place, 6);
    let before = files(&folder);
    let plan = place.json(&["run", "p.toml", "--dry-run", "--json"]);
    assert_eq!(files(&folder), before);
    let stage = |name: &str| {
        let stages = plan["stages"].as_array().expect("stages");
        stages.iter().find(|stage| stage["name"] == name).expect("planned").clone()
    };
    assert_eq!(stage("add-target")["why"], "target.jsonl has changed");
    assert!(stage("best")["why"].as_str().expect("text").contains("runs before"));
    assert_eq!(stage("warm")["action"], "skip");
    assert!(stage("add-target")["seconds"].is_number());
}

#[test]
fn a_dry_run_reads_no_config_file_as_the_stages_do_not() {
    let place = place();
    write(&place, &alone(2, ""));
    fs_err::write(place.path("gstore.toml"), "[train]\noptim = \"none such\"\n").expect("written");
    let plan = without_store(&place, &["--dry-run", "--json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    assert!(plan["stages"][0]["disk"].is_string(), "{plan}");
}

#[test]
fn mistakes_are_refused_before_anything_runs() {
    let place = place();
    for (from, to, says) in [
        ("max-length = 64", "max-lenght = 64", "p.toml:20: `gstore train` has no option `max-lenght`"),
        ("\"pool.jsonl\"", "\"pol.jsonl\"", "p.toml:16: stage warm: pol.jsonl is not there"),
        ("top = 3", "", "p.toml:32: stage best"),
        ("${steps}", "${step}", "did you mean `steps`"),
        (
            "run = \"warm\"\ndata = \"out/best.jsonl\"",
            "model = \"out/warm\"\ndata = \"out/best.jsonl\"",
            "p.toml:44: stage score: out/warm is no model, but has the checkpoints of a training",
        ),
        ("data = \"out/best.jsonl\"", "data = \"out/best.jsonl\"\nafter = \"nothing\"", "no such stage"),
        ("data = \"${set}.jsonl\"", "data = \"${set}.jsonl\"\nafter = \"score\"", "circle"),
    ] {
        write(&place, &FILE.replace(from, to));
        for more in [&[][..], &["--dry-run"]] {
            let refused = place.run(&[&["run", "p.toml"][..], more].concat());
            assert!(refused.code == 2 && refused.stderr.contains(says), "{says}: {}", refused.stderr);
        }
    }
    let names: Vec<String> = files(&place.path("")).into_keys().collect();
    assert_eq!(names.len(), 3, "{names:?}");
    write(&place, FILE);
    let refused = place.run(&["run", "p.toml", "--only", "wram"]);
    assert!(refused.code == 2 && refused.stderr.contains("did you mean `warm`"), "{}", refused.stderr);
}

#[test]
fn what_a_stage_would_be_refused_for_is_told_before_anything_runs() {
    let place = place();
    let with =
        |more: &str| write(&place, &FILE.replace("max-length = 64", &format!("max-length = 64\n{more}")));
    with("lora-targets = [\"v_porj\"]");
    let plan = place.run(&["run", "p.toml", "--dry-run"]);
    assert_eq!(plan.code, 2, "{}", plan.stderr);
    assert!(plan.stdout.contains("      would be refused: no linear map"), "{}", plan.stdout);
    assert!(plan.stdout.contains("run   score, since"), "{}", plan.stdout);
    let run = place.run(&["run", "p.toml"]);
    assert_eq!(run.code, 2, "{}", run.stderr);
    for said in [plan.stderr, run.stderr] {
        assert!(said.contains("stage warm would be refused: ") && said.contains("ends in v_porj"), "{said}");
    }
    assert!(!place.path("p.state/journal.json").exists() && !place.path("out").exists());
    // What follows from the options alone has its place in the file.
    with("momentum = 0.9");
    for more in [&["--dry-run"][..], &[]] {
        let refused = place.run(&[&["run", "p.toml"][..], more].concat());
        let says = "p.toml:12: stage warm: --momentum belongs to --optim sgd";
        assert!(refused.code == 2 && refused.stderr.contains(says), "{}", refused.stderr);
    }
}

#[test]
fn a_failure_ends_the_run_and_the_same_command_goes_on() {
    let place = place();
    fs_err::write(place.path("target.jsonl"), "{\"id\": \"a\"\n").expect("written");
    let failed = place.run(&["run", "p.toml"]);
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    for part in ["stage add-target failed: exit code ", ", error: ", " up to date, 1 failed, "] {
        assert!(failed.stderr.contains(part), "{part}: {}", failed.stderr);
    }
    assert!(!place.path("out").exists());

    // What does not need it can go on.
    let others = place.run(&["run", "p.toml", "--keep-going", "--json"]);
    assert_eq!(others.code, 1, "{}", others.stderr);
    let summary: Value = serde_json::from_str(&others.stdout).expect("JSON");
    let outcome = |name: &str| {
        let stages = summary["stages"].as_array().expect("stages").iter();
        stages.into_iter().find(|stage| stage["name"] == name).expect("there")["outcome"].clone()
    };
    assert_eq!(outcome("add-pool"), "up to date");
    assert_eq!(outcome("features-pool"), "done");
    assert_eq!(outcome("best"), "not run, since it needs add-target");
    // A stage that needs one that was not run for a failure is not run either.
    let left = ["features-target", "best", "score"];
    assert!(left.iter().all(|name| outcome(name).to_string().contains("not run, ")), "{summary:#}");
    assert_eq!((&summary["failed"], &summary["not_run"]), (&json!(1), &json!(left.len())));
    assert_eq!((&summary["refused"], &summary["finished"]), (&json!(0), &json!(false)));

    write_target(&place, 5);
    assert_eq!(ran(&go(&place, &[])), ["add-target", "best", "features-target", "score"]);
}

/// The pipeline's training alone, long enough to be interrupted.
fn long() -> Place {
    let place = place();
    write(&place, &FILE.replace("\nsteps = 2", "\nsteps = 60"));
    place
}

/// Starts the pipeline, and waits until its training has written a checkpoint.
fn started(place: &Place) -> Child {
    let mut command = place.gstore(&["run", "p.toml", "--only", "warm"]);
    let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("started");
    let begun = Instant::now();
    while !place.path("out/warm/checkpoint-2").exists() {
        assert!(begun.elapsed() < Duration::from_secs(300), "no checkpoint");
        if child.try_wait().expect("a state").is_some() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

/// What the training gives that nothing interrupts.
fn uninterrupted(place: &Place) -> Vec<u8> {
    let mut train: Command = place.gstore(&["train", "--data", "pool.jsonl", "--lora-rank", "2"]);
    train.args(["--max-steps", "60", "--save-steps", "2", "--max-length", "64", "--output", "whole"]);
    train.args(["--run", "whole", "--model"]).arg(world::demo().join("model"));
    binary::ok(&mut train);
    fs_err::read(place.path("whole/checkpoint-60/adapter_model.safetensors")).expect("written")
}

#[test]
fn a_killed_pipeline_goes_on() {
    let place = long();
    let mut child = started(&place);
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert!(place.path("out/warm/checkpoint-2").exists(), "no checkpoint before the kill");
    let ended = place.path("out/warm/checkpoint-60").exists();
    let again = place.run(&["run", "p.toml", "--only", "warm"]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    // On a machine so fast that the training was over before it could be told there is nothing to go on with.
    if !ended {
        let told = "stage warm of a run that was killed is still at work; stopping it";
        assert!(again.stderr.contains(told), "{}", again.stderr);
        let log = fs_err::read_to_string(place.path("p.state/logs/warm.log")).expect("a log");
        let (_, second) = log[1..].split_once("# gstore ").expect("two runs");
        assert!(second.contains("going on after step"), "{log}");
    }
    let trained = fs_err::read(place.path("out/warm/checkpoint-60/adapter_model.safetensors"));
    assert_eq!(trained.expect("written"), uninterrupted(&place));
    assert!(ran(&go(&place, &["--only", "warm"])).is_empty());
}

#[test]
fn an_interrupted_pipeline_goes_on() {
    let place = long();
    let child = started(&place);
    let pid = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
    let stopped: binary::Finished = child.wait_with_output().expect("ends").into();
    // On a machine so fast that the training was over before it could be told there is nothing to go on with.
    if !place.path("out/warm/checkpoint-60").exists() {
        assert_eq!(stopped.code, 130, "{}", stopped.stderr);
        let plan = place.ok(&["run", "p.toml", "--only", "warm", "--dry-run"]);
        assert!(plan.contains("since its last run was stopped"), "{plan}");
    }
    assert_eq!(place.run(&["run", "p.toml", "--only", "warm"]).code, 0);
    let trained = fs_err::read(place.path("out/warm/checkpoint-60/adapter_model.safetensors"));
    assert_eq!(trained.expect("written"), uninterrupted(&place));
}

#[test]
fn an_interrupt_while_the_run_of_a_former_training_is_dropped_is_no_failure() {
    let place = place();
    go(&place, &["--only", "warm"]);
    // The drop waits for another process that writes to the store.
    let writer = OsVfs.lock(&place.path("store/LOCK"), false).expect("opened").expect("free");
    let other = ["run", "p.toml", "--only", "warm", "--set", "steps=3"];
    let mut command = place.gstore(&other);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("started");
    let (log, begun) = (place.path("p.state/logs/warm.log"), Instant::now());
    while !fs_err::read_to_string(&log).expect("a log").contains("# gstore drop run") {
        assert!(begun.elapsed() < Duration::from_secs(300), "no drop");
        assert!(child.try_wait().expect("a state").is_none(), "ended before it was told to");
        std::thread::sleep(Duration::from_millis(5));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("told");
    let stopped: binary::Finished = child.wait_with_output().expect("ends").into();
    assert_eq!(stopped.code, 130, "{}", stopped.stderr);
    assert!(
        stopped.stderr.contains("\nstopped; ") && !stopped.stderr.contains("failed"),
        "{}",
        stopped.stderr
    );
    drop(writer);
    place.ok(&other);
    assert!(place.path("out/warm/checkpoint-3").exists());
    assert!(ran(&go(&place, &other[2..])).is_empty());
}

#[test]
fn an_interrupt_ends_the_wait_for_a_stage_of_a_killed_run() {
    let place = place();
    fs_err::create_dir(place.path("p.state")).expect("made");
    // As the stage holds it.
    let stage = fs_err::File::create(place.path("p.state/stage.lock")).expect("made").into_file();
    stage.lock().expect("locked");
    let mut command = place.gstore(&["run", "p.toml"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("started");
    let mut said = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("waiting for the end of a stage")));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("told");
    let ended = child.wait().expect("ends");
    let said: Vec<String> = said.collect();
    assert_eq!(ended.code(), Some(130), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with("stopped; a stage")), "{said:?}");
}
