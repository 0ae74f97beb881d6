//! Promise: what a new user tripped over in hints that led to other errors stays fixed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use gstore_tests::binary::{self, Finished};
use gstore_tests::place::Place;
use gstore_tests::world;

use crate::findings_data::{add, ingest, scored};
use crate::terminal::Terminal;

#[test]
fn all_stores_of_a_folder_are_named_and_backups_last() {
    let place = Place::new();
    place.write("pool.jsonl", "{\"text\":\"a\"}\n");
    add(&place, "pool", "pool.jsonl", &[]).told(0, &[]);
    place.ok(&["backup", "--to", "a.bak"]);
    let mut other = binary::gstore(&place.path("other"));
    binary::ok(other.args(["add", "--dataset", "pool", "--data", "pool.jsonl"]).current_dir(place.path("")));
    binary::run(&mut place.bare(&["ls"])).told(2, &["; there are other, store, a.bak (a backup) here"]);
}

#[test]
fn a_store_whose_name_is_not_utf_8_is_named_as_a_shell_takes_it() {
    let place = Place::new();
    place.write("pool.jsonl", "{\"text\":\"a\"}\n");
    let mut command = binary::gstore(&place.path("").join(OsStr::from_bytes(b"a\xffb")));
    command.args(["add", "--dataset", "pool", "--data", "pool.jsonl"]).current_dir(place.path(""));
    binary::run(&mut command).says(0, &["grad-sgd --store $'", r"/a\xffb'` runs a model over it"]);
}

#[test]
fn a_narrow_list_says_what_is_missing() {
    let place = scored();
    // What the ingest of more rows has not reached.
    place.samples("pool", 60);
    add(&place, "pool", "pool.jsonl", &[]).told(0, &["20 samples added"]);
    let Some(mut terminal) = Terminal::run(&place.gstore(&["ls"]), 80, 60) else { return };
    let shown = terminal.until("columns: ");
    let heading = shown.lines().find(|line| line.starts_with("name")).expect("a heading");
    assert!(heading.contains("state") && heading.contains("missing"), "{heading}");
    assert_eq!(terminal.end(), 0);
    let Some(mut terminal) = Terminal::run(&place.gstore(&["info", "pool"]), 70, 60) else { return };
    let shown = terminal.until("--json has all");
    assert!(shown.contains("left out for room: type, dim") && shown.contains("missing"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 70), "{shown}");
    assert_eq!(terminal.end(), 0);
}

/// A pool with complete gradients of one run, and of a newer one with losses and a few gradients.
fn with_two_runs() -> Place {
    let place = scored();
    let newer = world::demo_adapter(1);
    for features in [&["loss"][..], &["grad-sgd", "--dim", "64", "--limit", "5"]] {
        let mut command = place.with_model("ingest --dataset pool --run newer");
        binary::ok(command.arg("--features").args(features).arg("--checkpoints").arg(&newer));
    }
    place.samples("bare", 4);
    add(&place, "bare", "bare.jsonl", &[]).told(0, &[]);
    place
}

#[test]
fn a_hint_names_the_run_that_is_complete_elsewhere_and_no_kind_that_there_is_not() {
    let place = with_two_runs();
    let asked = |sql: &str| place.run(&["query", &format!("SELECT * FROM {sql} LIMIT 1")]);
    let select = |more: &[&str]| {
        let select =
            ["select", "--pool", "pool", "--target", "bare", "--top", "3", "--force", "-o", "rows.jsonl"];
        place.run(&[&select[..], more].concat())
    };
    let lacks = format!("ingest --dataset bare --run warmup --features grad-sgd{}`", place.at_store());
    select(&[]).told(1, &[&lacks]);
    asked("influence('pool', 'bare')").told(1, &[&lacks]);
    for (sql, lacks) in [
        (
            "influence('pool', 'target', per_token => true)",
            "--run warmup --per-token --features grad-adam --store ",
        ),
        ("self_influence('pool', kind => 'grad-sign')", "--run warmup --features grad-sign --store "),
        ("nearest('pool', id => 's1', kind => 'embed-mean')", "--run warmup --features embed-mean --store "),
    ] {
        asked(sql).told(1, &[lacks]);
    }
    // What it says helps.
    let mut command =
        place.gstore(&["ingest", "--dataset", "bare", "--run", "warmup", "--features", "grad-sgd"]);
    binary::ok(command.args(["--dim", "64"]));
    select(&[]).told(0, &[]);

    let plot =
        ["plot", "scores", "--pool", "pool", "--target", "target", "-o", "s.svg", "--kind", "grad-sdg"];
    for (finished, meant) in [
        (select(&["--kind", "grad-sdg"]), "grad-sgd"),
        (asked("influence('pool', 'target', kind => 'grad-adm')"), "grad-adam"),
        (asked("nearest('pool', id => 's1', kind => 'embed-maen')"), "embed-mean"),
        (place.run(&plot), "grad-sgd"),
    ] {
        finished.told(1, &["there is no feature kind", &format!("did you mean \"{meant}\"?")]);
        finished.lacks(&["--features"]);
    }
}

#[test]
fn checkpoints_of_two_runs_are_told_apart_and_features_name_their_run() {
    let place = with_two_runs();
    let [first, second] = [0, 1].map(|at| {
        let folder = world::demo_adapter(at);
        folder.file_name().expect("a name").to_string_lossy().into_owned()
    });
    let both = format!("{first},{second}");
    let of_each = format!("`{first}` is of `warmup`, `{second}` is of `newer`");
    for (run, lacks) in
        [(&["--run", "warmup"][..], "run `warmup` lacks some of these: "), (&[], "no run has all of these: ")]
    {
        let select = ["select", "--pool", "pool", "--target", "target", "--top", "3", "-o", "rows.jsonl"];
        let finished = place.run(&[&select[..], &["--checkpoints", &both], run].concat());
        finished.told(1, &["a question uses the checkpoints of one run", lacks, &of_each]);
    }
    // A name that no run has, and a run that there is not, are told as before.
    let asked = |more: &str| {
        place.run(&["query", &format!("SELECT * FROM influence('pool', 'target', {more}) LIMIT 1")])
    };
    asked("checkpoints => 'checkpoint-9999', run => 'warmup'").told(1, &["there is no checkpoint"]);
    asked(&format!("checkpoints => '{first}', run => 'warm'")).told(1, &["there is no run"]);
    let listed = place.ok(&["ls", "--format", "csv"]);
    for (feature, run) in [(&first, "warmup"), (&second, "newer")] {
        let has = |line: &str| {
            line.starts_with(&format!("loss@{feature},pool,")) && line.contains(&format!(",{run},"))
        };
        assert!(listed.lines().any(has), "{listed}");
    }
}

/// Gradients of a dataset by the model without an adapter, a run of its own.
fn of_the_base(place: &Place, dataset: &str) {
    let line = format!("ingest --dataset {dataset} --run untrained --features grad-sgd --module-dim 16");
    binary::ok(&mut place.with_model(&line));
}

#[test]
fn losses_next_to_scores_are_those_of_the_run_that_is_asked() {
    let place = with_two_runs();
    let checkpoint = world::demo_checkpoints().swap_remove(0).name;
    let sql = format!(
        "SELECT max(abs(i.loss - v.vector[1])) FROM influence('pool', 'target', run => 'warmup') i \
         JOIN vectors('pool', 'loss@{checkpoint}') v ON i.row = v.row"
    );
    assert_eq!(place.value(&sql).parse::<f64>().ok(), Some(0.0), "{sql}");
    // Of a run without losses those of another are told apart.
    for dataset in ["pool", "target"] {
        of_the_base(&place, dataset);
    }
    let newest = world::demo_checkpoints().swap_remove(1).name;
    let note = format!("`loss` of dataset `pool` is that of `loss@{newest}`, of no checkpoint");
    for (run, noted) in [("untrained", true), ("warmup", false)] {
        let sql = format!("SELECT id, loss FROM influence('pool', 'target', run => '{run}', k => 1)");
        let finished = place.run(&["query", &sql]);
        finished.told(0, &[]);
        assert_eq!(finished.stderr.contains(&note), noted, "{}", finished.stderr);
    }
}

#[test]
fn the_usual_kind_is_that_of_the_run_or_checkpoint_that_is_asked() {
    let place = scored();
    ingest(&place, &["--dataset", "pool"], "grad-adam").told(0, &[]);
    for dataset in ["pool", "target"] {
        of_the_base(&place, dataset);
    }
    let best =
        |more: &str| place.value(&format!("SELECT id FROM influence('pool', 'target', {more}, k => 1)"));
    let of_run = best("run => 'untrained', kind => 'grad-sgd'");
    for asked in ["run => 'untrained'", "checkpoints => 'base'"] {
        assert_eq!(best(asked), of_run, "{asked}");
    }
    assert_eq!(best("run => 'warmup'"), best("run => 'warmup', kind => 'grad-adam'"));
}

#[test]
fn a_hint_names_the_target_that_has_no_features_where_the_pool_has_its_own() {
    let place = scored();
    place.samples("bare", 4);
    add(&place, "bare", "bare.jsonl", &[]).told(0, &[]);
    of_the_base(&place, "bare");
    let way = format!(
        "gstore ingest --run warmup --dataset bare --features grad-sgd{}` computes those of `bare` where `pool` has",
        place.at_store()
    );
    for targets in ["bare,target", "target,bare"] {
        let select = ["select", "--pool", "pool", "--target", targets, "--top", "3", "-o", "rows.jsonl"];
        place.run(&select).told(1, &["no checkpoint has features of every", &way]);
    }
    // Of a run that is named it may be the pool.
    let select = ["select", "--pool", "pool", "--target", "bare", "--top", "3", "-o", "rows.jsonl"];
    let refused = place.run(&[&select[..], &["--run", "untrained"]].concat());
    let way = format!(
        "--run untrained --dataset pool --features grad-sgd{}` computes those of `pool` of run `untrained`",
        place.at_store()
    );
    refused.told(1, &["no checkpoint of run `untrained` has features of every", &way]);
}

#[test]
fn a_hint_proposes_no_kind_that_needs_the_moments_of_an_untrained_model() {
    let place = Place::of(&[("pool", 6), ("bare", 6)]);
    place.add("pool");
    place.add("bare");
    for run in ["first", "second"] {
        binary::ok(&mut place.with_model(&format!("ingest --dataset pool --run {run} --features loss")));
    }
    let ask = |dataset: &str| place.run(&["ask", "--pool", dataset, "--prompt", "a", "--completion", "b"]);
    ask("pool").told(1, &["--dataset pool --run first --features grad-sgd --store "]);
    // What has no features of any run takes the newest.
    ask("bare").told(1, &["--dataset bare --run second --features grad-sgd --store "]);
    of_the_base(&place, "pool");
    ask("pool").told(0, &[]);
}

#[test]
fn a_value_that_stands_by_itself_is_told_so() {
    let place = Place::new();
    let refused = place.run(&["merge", "--model", "M", "--adapter", "w/checkpoint-4", "-o", "m"]);
    refused.told(2, &["there is no --adapter; give ADAPTER as an argument, without an option"]);
    refused.lacks(&["-- --adapter"]);
}

#[test]
fn a_report_of_one_system_has_no_empty_findings() {
    let place = Place::new();
    place.write("one.jsonl", "{\"id\":\"a\",\"completion\":\"the cat\",\"expected\":\"the cat sat\"}\n");
    let text = ["evaluate", "text", "--resamples", "200", "--force", "-o", "report.md", "--data"];
    for (files, has) in [(&["one.jsonl"][..], false), (&["one.jsonl", "again=one.jsonl"], true)] {
        place.ok(&[&text[..], files].concat());
        let report = place.read("report.md");
        assert_eq!(report.contains("## Findings\n\n- "), has, "{report}");
        assert_eq!(report.contains("## Findings"), has, "{report}");
    }
}

/// An ingest of gradients of a dataset, with what its command line has besides.
fn gradients(place: &Place, dataset: &str, more: &[&str]) -> Finished {
    let ingest = ["ingest", "--dataset", dataset, "--features", "grad-sgd", "--dim", "64"];
    place.run(&[&ingest[..], more].concat())
}

#[test]
fn a_run_whose_folders_have_moved_is_registered_where_they_are() {
    let place = Place::new();
    let adapter = world::demo_adapter(0);
    world::copy_files(&world::demo().join("model"), &place.path("old/model"));
    world::copy_files(&adapter, &place.path("old/checkpoint-26"));
    for (dataset, rows) in [("pool", 20), ("target", 4), ("late", 4)] {
        place.samples(dataset, rows);
        add(&place, dataset, &format!("{dataset}.jsonl"), &[]).told(0, &[]);
    }
    let old = ["--run", "wu", "--model", "old/model", "--checkpoints", "old/checkpoint-26"];
    gradients(&place, "pool", &old).told(0, &["published"]);
    fs_err::rename(place.path("old"), place.path("new")).expect("renamed");

    let gone = ["run `wu` was registered with ", "old/model, which no longer exists; an ingest with "];
    let way = "`--run wu --model DIR --checkpoints 'DIR/*'`";
    gradients(&place, "target", &["--run", "wu"]).told(1, &[gone[0], gone[1], way]);
    place.run(&["generate", "--run", "wu", "--prompt", "a"]).told(1, &[gone[0], gone[1], way]);

    // Also without anything to compute, and once.
    let new = ["--run", "wu", "--model", "new/model", "--checkpoints", "new/checkpoint-26"];
    let note = "those of 1 checkpoint are registered where they are now";
    gradients(&place, "pool", &new).told(0, &[note, "published"]);
    let described = place.ok(&["info", "wu", "--json"]);
    assert!(described.contains("new/checkpoint-26") && !described.contains("old/"), "{described}");
    gradients(&place, "pool", &new).told(0, &["nothing to compute"]).lacks(&["registered"]);
    gradients(&place, "target", &["--run", "wu"]).told(0, &["published"]);

    // A second run of the same weights is no rival.
    let second = ["--run", "second", "--model", "new/model", "--checkpoints", "new/checkpoint-26"];
    gradients(&place, "late", &second).told(0, &["published"]);
    for target in ["target", "late"] {
        let output = format!("kept-{target}.jsonl");
        place.ok(&["select", "--pool", "pool", "--target", target, "--top", "2", "-o", &output]);
    }
}
