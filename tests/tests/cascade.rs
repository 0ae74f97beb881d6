//! Promise: a cascade computes what it announces, reuses existing work, and keeps the requested recall. One
//! that would save nothing is refused with its numbers, and does not block others.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use gstore::{CascadeRequest, InfluenceSpec, JobContext, Order, TargetRef, prepare_cascade};
use gstore_ingest::pipeline::SampleEncoderOptions;
use gstore_tests::binary;
use gstore_tests::place::Place;
use serde_json::{Value, json};

#[test]
fn a_cascade_computes_few_gradients_and_goes_on_from_them() {
    let place = Place::of(&[("pool", 300), ("q", 4)]);
    // Without the turn of the assistant nothing of a row is scored.
    let samples = place.read("pool.jsonl");
    let unanswered = samples.replace(r#",{"role":"assistant","content":""}"#, "");
    assert_ne!(unanswered, samples);
    place.write("pool.jsonl", unanswered);
    place.add("pool");
    place.ingested("q", Some(&place.path("q.jsonl")), "grad-sgd");
    let select = ["select", "--pool", "pool", "--target", "q", "-o", "out.jsonl"];
    let run = |more: &[&str]| place.run(&[&select[..], more].concat());
    let features = |label: &str| {
        place.value(&format!(
            "SELECT coalesce(sum(rows), 0) FROM gstore.features WHERE dataset = 'pool' AND label = '{label}'"
        ))
    };
    let stages = "loss -> 1 checkpoint -> all";
    // 5 % of 300 rows are too few to bound anything, and ten labels too.
    for (more, says) in [
        (&["--top", "5%", "--cascade", stages][..], "nothing was computed"),
        (
            &["--top", "50%", "--recall", "99.9%", "--cascade", stages],
            "nothing was computed, because nothing can be saved: a recall of 99.9 % of the top",
        ),
        (&["--top", "50%", "--recall", "80%", "--cascade", stages, "--labels", "10"], "10 labelled rows"),
        (
            &["--top", "50%", "--recall", "80%", "--cascade", stages, "--labels", "45", "--learner", "trees"],
            "45 labelled rows are too few for trees: 50 are needed",
        ),
        (
            &["--top", "50%", "--cascade", stages, "--labels", "10"],
            "fewer stages, a lower recall, or a larger",
        ),
        (
            &["--top", "50%", "--recall", "80%", "--cascade", stages, "--labels", "99999"],
            "at most 299 leave one",
        ),
        (&["--top", "50%", "--cascade", "los -> all"], "did you mean `loss`"),
        (&["--top", "50%", "--cascade", "tokens -> all"], "300 rows of `pool` were not counted yet"),
        (&["--top", "50%", "--cascade", "4 checkpoints -> all"], "no cheaper than all"),
        (&["--top", "50%", "--recall", "80%"], "--cascade"),
    ] {
        let refused = run(more);
        refused.fails(&[says]);
        // What would save nothing is refused with a code of its own; too few labels
        // are a mistake as any other.
        assert_eq!(refused.code == 4, says.contains("nothing was"), "{more:?}: {}", refused.stderr);
    }
    for stages in ["loss", "loss -> grad-sgd -> all", "loss => all"] {
        run(&["--top", "50%", "--cascade", stages]).says(2, &[]);
    }
    assert_eq!(features("grad-adam@checkpoint-104"), "0");
    // The reason is in the report.
    for (file, begins) in [("early.json", "{"), ("early.txt", "refused: nothing was computed")] {
        assert_eq!(run(&["--top", "5%", "--cascade", stages, "--report", file]).code, 4);
        let text = place.read(file);
        assert!(text.starts_with(begins) && text.contains("nothing was computed"), "{text}");
    }

    let sized = ["--top", "50%", "--recall", "80%", "--labels", "60", "--rounds", "1"];
    // An estimate computes the sample alone, is printed whatever else is silent, and needs no file;
    // the cascade goes on from it.
    let estimate = ["select", "--pool", "pool", "--target", "q", "--cascade", stages, "--estimate"];
    let told = place.run(&[&estimate[..], &sized, &["-q"]].concat());
    assert!(told.code == 0 && told.stdout.contains("rows and costs are expected"), "{}", told.stderr);
    let told = place.run(&[&estimate[..], &sized, &["--json"]].concat());
    assert!(told.stderr.contains("of the variance of the scores is not noise ("), "{}", told.stderr);
    let told = told.json();
    assert!(told["report"]["done"] == false && told["refused"].is_null(), "{told:#}");
    let refused = place.run(&[&estimate[..], &["--top", "5%", "--json", "-q"]].concat());
    let told = refused.json();
    assert!(refused.code == 4 && told["report"].is_null() && told["refused"].is_string(), "{told:#}");
    place.run(&[&estimate[..7], &sized].concat()).says(2, &["--output"]);
    assert!(!place.path("out.jsonl").exists());
    assert_eq!(features("grad-adam@checkpoint-104"), "60");
    // Its rows are known to be a draw from all rows.
    let fit = ["prefilter", "fit", "cheap", "--pool", "pool", "--target", "q", "--inputs", "loss"];
    let fitted = place.run(&[&fit[..], &["--budget", "50%", "--dry-run"]].concat());
    assert!(fitted.stdout.contains("all targets together: "), "{}{}", fitted.stdout, fitted.stderr);
    assert!(!fitted.stdout.contains("drawn at random"), "{}", fitted.stdout);
    let rows_of = |label: &str| {
        let snapshot = place.snapshot();
        let part = snapshot.feature(&format!("pool/{label}")).expect("computed");
        snapshot.open_feature(part).expect("opens").row_set().expect("readable")
    };
    let sample = rows_of("grad-adam@checkpoint-104");
    let whole = [&sized[..], &["--cascade", stages, "--report", "r.json"]].concat();
    let done = run(&whole);
    done.says(0, &["with 95 % confidence at least"]);
    let report = || place.read_json("r.json");
    let first = report();
    let number = |value: &Value| value.as_u64().expect("a number");
    let last = number(&first["report"]["stages"][1]["rows_out"]);
    assert_eq!(number(&first["report"]["stages"][0]["rows_in"]), 240);
    assert!(last < 200 && first["saving"].as_f64().expect("a number") > 0.0, "{first:#}");
    // The last stage says as the others what this run computed of it, and in what time.
    let line = done.stderr.lines().find(|line| line.starts_with("all ")).expect("the last stage");
    let words: Vec<&str> = line.split_whitespace().collect();
    let computed = number(&first["report"]["last"]["computed"]);
    let expected = [last.to_string(), computed.to_string()];
    assert!(words.len() == 7 && [words[1], words[4]] == expected, "{line}: {first:#}");
    // All that enter it lack gradients, at three checkpoints each; rows of the round got theirs early. Rows
    // are counted there as in the stages before it.
    assert_eq!(computed, last, "{first:#}");
    for stage in first["report"]["stages"].as_array().expect("stages") {
        assert_eq!(stage["computed"], stage["rows_in"], "{first:#}");
    }
    // A quarter of those that were labelled, of which one has no score.
    assert!(first["report"]["notes"].to_string().contains("14 rows nearest to the last cut"), "{first:#}");
    assert!(first["report"]["bound"].as_f64().expect("a number") >= 0.8, "{first:#}");
    assert!(first["report"]["time"]["measured"].as_bool().expect("measured"), "{first:#}");
    // Labelled rows have everything; the others what they came to.
    let entering = number(&first["report"]["stages"][1]["rows_in"]);
    let expected = [
        ("loss@base", 300),
        ("grad-adam@checkpoint-26", 60 + entering),
        ("grad-adam@checkpoint-104", 60 + last),
    ];
    for (label, rows) in expected {
        assert_eq!(features(label), rows.to_string(), "{label}: {first:#}");
    }
    // Rows without an answer do not go on.
    let (beyond, after_loss) = ([13, 110, 207], rows_of("grad-adam@checkpoint-26").difference(&sample));
    assert!(beyond.iter().any(|row| !sample.contains(*row)));
    assert!(beyond.iter().all(|row| !after_loss.contains(*row)), "{after_loss:?}");
    let selected = place.read("out.jsonl");
    assert_eq!(selected.lines().count(), 150);

    // The same command finds all of it, and decides the same.
    run(&[&whole[..], &["--force"]].concat()).says(0, &[]);
    let second = report();
    assert!(second["report"]["time"].is_null(), "nothing is computed: {second:#}");
    assert_eq!(second["report"]["cost"], first["report"]["cost"]);
    assert_eq!(place.read("out.jsonl"), selected);

    // Against the gradients of all rows.
    place.ingested("pool", None, "grad-adam");
    assert_eq!(run(&["--top", "50%", "--force"]).code, 0);
    let all = place.read("out.jsonl");
    let kept: BTreeSet<&str> = selected.lines().collect();
    let common = all.lines().filter(|line| kept.contains(line)).count();
    assert!(common >= 120, "{common} of 150");
}

#[test]
fn what_the_pool_has_of_every_row_is_not_counted() {
    let place = Place::of(&[("pool", 300), ("q", 4)]);
    place.add("pool");
    place.ingested("q", Some(&place.path("q.jsonl")), "grad-sgd");
    let estimate =
        ["select", "--pool", "pool", "--target", "q", "--cascade", "loss,embed -> all", "--estimate"];
    let sized = ["--top", "50%", "--recall", "80%", "--labels", "60", "--json"];
    let told = || place.run(&[&estimate[..], &sized].concat());
    // A forward pass, and three for a gradient at each of four checkpoints.
    let counted = |pass: f64| {
        let told = told().json();
        let cost = &told["report"]["cost"];
        assert_eq!(cost["each"], json!([pass, 12.0]), "{told:#}");
        assert_eq!((&cost["label"], &cost["full"]), (&json!(12.0 + pass), &json!(12.0)), "{told:#}");
    };
    counted(1.0);
    // What a cascade has left counts again, so that the same command decides the same.
    counted(1.0);
    binary::ok(&mut place.with_model("ingest --dataset pool --features loss,embed-mean"));
    counted(0.0);
    place.ingested("pool", None, "grad-adam");
    told().says(4, &["the pool has all gradients of these rows already; select without a cascade"]);
}

#[test]
fn embeddings_of_another_storage_type_are_not_computed_again() {
    let place = Place::of(&[("pool", 300), ("q", 4)]);
    place.add("pool");
    place.ingested("q", Some(&place.path("q.jsonl")), "grad-sgd");
    binary::ok(&mut place.with_model("ingest --dataset pool --features embed-mean --dtype f32"));
    let estimate = ["select", "--pool", "pool", "--target", "q", "--cascade", "embed -> all", "--estimate"];
    let sized = ["--top", "50%", "--recall", "80%", "--labels", "60", "--json"];
    let told = place.run(&[&estimate[..], &sized].concat()).json();
    assert_eq!(told["report"]["cost"]["each"], json!([0.0, 12.0]), "{told:#}");
    let features = "SELECT count(*) FROM gstore.features WHERE dataset = 'pool' AND kind = 'embed-mean'";
    assert_eq!(place.value(features), "1");
}

#[test]
fn gradients_that_a_question_could_not_tell_apart_are_refused_before_anything_is_computed() {
    let place = Place::of(&[("pool", 300), ("q", 4)]);
    place.add("pool");
    place.ingested("q", Some(&place.path("q.jsonl")), "grad-sgd");
    place.ingested("pool", None, "grad-adam --dtype f32 --limit 20");
    let estimate = ["select", "--pool", "pool", "--target", "q", "--cascade", "loss -> all", "--estimate"];
    let sized = ["--top", "50%", "--recall", "80%", "--labels", "60"];
    let run = |more: &[&str]| place.run(&[&estimate[..], &sized, more].concat());
    let numbers = |dataset: &str, dtype: &str| {
        let of = format!("dataset = '{dataset}' AND dtype = '{dtype}' AND kind LIKE 'grad%'");
        let sql = format!(
            "SELECT string_agg(CAST(number AS VARCHAR), ',' ORDER BY number) FROM gstore.features WHERE {of}"
        );
        place.value(&sql).trim_matches('"').to_owned()
    };
    // A cascade of so few rows may save nothing, which is said once its sample is there.
    let goes_on = |more: &[&str]| {
        let found = run(more);
        assert!([0, 4].contains(&found.code), "{}", found.stderr);
    };
    let lacks_losses = || {
        assert_eq!(place.value("SELECT count(*) FROM gstore.features WHERE kind = 'loss'"), "0");
    };
    let told = [
        "the pool has pool/grad-adam@checkpoint-26, ",
        " already, and its gradients would have storage type f16, not f32 here",
        "`gstore drop feature ",
        "or ingest the targets' gradients with --dtype f32 as well and name those with --features",
    ];
    run(&[]).says(1, &told);
    lacks_losses();
    // What is named of the targets leaves the choice among those of the pool.
    place.ingested("q", None, "grad-sgd --dtype f32");
    run(&["--features", &numbers("q", "f16")]).says(1, &told);
    lacks_losses();
    let of_q = numbers("q", "f32");
    goes_on(&["--features", &of_q]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.features WHERE kind = 'grad-adam'"), "4");

    place.ingested("pool", None, "grad-adam --limit 20");
    let both = format!("{of_q},{}", numbers("pool", "f32"));
    run(&["--features", &of_q]).says(1, &[&format!("--features {both} takes the others")]);
    goes_on(&["--features", &both]);
}

#[test]
fn a_cascade_for_a_target_without_rows_computes_nothing() {
    let place = hinted();
    place.ok(&["delete", "--dataset", "q", "--where", "row >= 0"]);
    let asked = ["select", "--pool", "pool", "--target", "q", "--top", "50%", "-o", "out.jsonl"];
    let cascade = ["--recall", "80%", "--labels", "60", "--cascade", "loss -> all"];
    let says = "target q has no row that can be compared: it has none";
    place.run(&[&asked[..], &cascade].concat()).says(1, &[says]);
    assert_eq!(place.value("SELECT count(*) FROM gstore.features WHERE dataset = 'pool'"), "0");
}

/// Whether nothing is known of a row of [`hinted`].
fn is_missing(row: u64) -> bool {
    row % 7 == 3
}

/// A pool with a column that says much of the influence, of most rows, and a target with gradients.
fn hinted() -> Place {
    let place = Place::of(&[("samples", 300), ("q", 4)]);
    // The last digit says much of the influence on rows 0 to 3; of every seventh row it is not known.
    let mut pool = String::new();
    let samples = place.read("samples.jsonl");
    for (row, line) in (0u64..).zip(samples.lines()) {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        if !is_missing(row) {
            let hint = [3, 3, 3, 3, 1, 0, 0, 2, 0, 1][(row % 10) as usize];
            line["hint"] = json!(hint);
        }
        pool.push_str(&format!("{line}\n"));
    }
    place.write("pool.jsonl", pool);
    place.add("pool");
    place.ingested("q", Some(&place.path("q.jsonl")), "grad-sgd");
    place
}

#[test]
fn rows_of_a_pool_are_not_those_of_the_one_that_got_its_name() {
    let place = hinted();
    let store = place.store();
    let request = CascadeRequest {
        spec: InfluenceSpec {
            pools: vec!["pool".to_owned()],
            targets: vec![TargetRef::parse("q")],
            ..InfluenceSpec::default()
        },
        top: "50%".to_owned(),
        order: Order::Best,
        condition: None,
        stages: "hint -> all".to_owned(),
        recall: 0.8,
        labels: Some(60),
        learner: serde_json::from_value(json!({ "ridge": { "alphas": [0.1, 1.0, 10.0] } }))
            .expect("a learner"),
        rounds: 1,
        seed: 0,
        models: SampleEncoderOptions { threads: 2, ..SampleEncoderOptions::default() },
    };
    let mut work = JobContext::silent("select");
    let cascade = prepare_cascade(&store, &request, &mut work).expect("decided");
    let snapshot = place.snapshot();
    store.drop_dataset(snapshot.dataset("pool").expect("there"), "drop").expect("dropped");
    // As many rows with the same columns, in another order.
    let pool: Vec<String> = place.read("pool.jsonl").lines().rev().map(|line| format!("{line}\n")).collect();
    place.write("pool.jsonl", pool.concat());
    place.add("pool");
    let error = cascade.run(&store, &mut work).expect_err("refused").to_string();
    assert!(error.contains("dataset pool was dropped") && error.contains("run the command again"), "{error}");
    let snapshot = place.snapshot();
    assert!(snapshot.features_of("pool").is_empty());
}

#[test]
fn rows_of_which_a_value_is_missing_go_on() {
    let place = hinted();
    let asked = ["--top", "50%", "--recall", "80%", "--labels", "60", "--cascade", "hint -> all"];
    let select = ["select", "--pool", "pool", "--target", "q", "-o", "out.jsonl", "--report", "r.json"];
    place.ok(&[&select[..], &asked].concat());
    let report = place.read("r.json");
    let told = "labelled rows lack a finite value of hint: nothing is learned from such rows";
    assert!(report.contains(told) && !report.contains("left out"), "{report}");
    let snapshot = place.snapshot();
    let part = snapshot.feature("pool/grad-adam@checkpoint-104").expect("computed");
    let computed: BTreeSet<u64> =
        snapshot.open_feature(part).expect("opens").row_set().expect("readable").iter().collect();
    assert!((0..300).filter(|row| is_missing(*row)).all(|row| computed.contains(&row)), "{computed:?}");
    assert!(computed.len() < 290, "others were cut: {}", computed.len());
}

#[test]
fn a_cascade_whose_cut_removes_no_row_says_that_it_saved_nothing() {
    let place = hinted();
    let asked = ["--target", "q", "--top", "50%", "--recall", "80%", "--labels", "60"];
    let stages = ["--cascade", "hint -> all"];
    place.ok(&[&["select", "--pool", "pool", "--estimate"], &asked[..], &stages].concat());
    let snapshot = place.snapshot();
    let part = snapshot.feature("pool/grad-adam@checkpoint-104").expect("computed");
    let sample = snapshot.open_feature(part).expect("opens").row_set().expect("readable");
    assert_eq!(sample.len(), 60);
    // The rows that the seed draws have a value, and no others: what is not known goes on.
    let pool = place.read("pool.jsonl");
    let lines = (0u64..).zip(pool.lines()).map(|(row, line)| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        if !sample.contains(row) {
            line.as_object_mut().expect("an object").remove("hint");
        }
        format!("{line}\n")
    });
    place.write("late.jsonl", lines.collect::<String>());
    place.add("late");
    let select = ["select", "--pool", "late", "-o", "out.jsonl", "--report", "r.json"];
    place.ok(&[&select[..], &asked, &stages].concat());
    let report = place.read("r.json");
    let told = "the cascade has saved nothing: its cuts were expected to remove enough of 2";
    assert!(report.contains(told) && report.contains("and removed none"), "{report}");
}

#[test]
fn a_column_that_says_nothing_of_the_sample_is_named_before_anything_is_computed() {
    let place = hinted();
    let pool = place.read("pool.jsonl");
    let lines = pool.lines().enumerate().map(|(row, line)| {
        let mut line: Value = serde_json::from_str(line).expect("JSON");
        if row % 20 == 0 {
            line["rare"] = json!(row);
        }
        (line["level"], line["origin"]) = (json!(2), json!("one"));
        format!("{line}\n")
    });
    place.write("thin.jsonl", lines.collect::<String>());
    place.add("thin");
    let select = ["select", "--pool", "thin", "--target", "q", "-o", "out.jsonl", "--top", "50%"];
    let sized = ["--recall", "80%", "--labels", "60", "--cascade", "hint,rare -> all"];
    let refused = place.run(&[&select[..], &sized].concat());
    refused.says(
        1,
        &[
            "nothing was computed: of the 60 rows to be labelled ",
            " have a value of every column, and 10 are needed",
            "there is a value of rare in ",
            ", hint in ",
        ],
    );
    for (stages, told) in [
        (
            "level -> all",
            "stage `level` tells no rows apart: the 60 rows to be labelled have the same value of level",
        ),
        ("origin -> all", "the 60 rows to be labelled have the same value of origin"),
        ("hint -> origin,level -> all", "stage `origin,level` tells no rows apart"),
    ] {
        let asked = ["--recall", "80%", "--labels", "60", "--cascade", stages];
        place.run(&[&select[..], &asked].concat()).says(1, &[told]);
    }
    let computed = "SELECT count(*) FROM gstore.features WHERE dataset = 'thin'";
    assert_eq!(place.value(computed), "0");
}

#[test]
fn a_refused_cascade_holds_up_no_other() {
    let place = hinted();
    place.ok(&["add", "--dataset", "r", "--data", "q.jsonl"]);
    place.ingested("r", None, "grad-sgd");
    let asked = ["select", "--pool", "pool", "--target", "q,r", "--each", "target", "-o", "best.jsonl"];
    let refused = place.run(&[&asked[..], &["--top", "5%", "--cascade", "hint -> all"]].concat());
    refused
        .says(4, &["2 selections were refused, of 2", "q: nothing was computed", "r: nothing was computed"]);
    assert!(!place.path("best.q.jsonl.selecting").exists(), "nothing is noted of a command that has ended");
    // Of a name that leaves no room for that of an unfinished note nothing is noted.
    let long = format!("{}.jsonl", "b".repeat(230));
    let few = [long.as_str(), "--scores", "s.csv", "--top", "5%", "--cascade", "hint -> all"];
    place
        .run(&[&asked[..8], &few].concat())
        .says(4, &["2 selections were refused, of 2", "q: nothing was computed", "r: nothing was computed"]);
    // An estimate of each target is an object on a line of its own, whether it is refused or not.
    let estimate = [&asked[..7], &["--cascade", "hint -> all", "--estimate", "--json"]].concat();
    let sized = ["--top", "50%", "--recall", "80%", "--labels", "60"];
    for (more, code) in [(&["--top", "5%"][..], 4), (&sized, 0)] {
        let told = place.run(&[&estimate[..], more].concat());
        told.says(code, &[]);
        let lines: Vec<Value> =
            told.stdout.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
        let targets: Vec<&Value> = lines.iter().map(|line| &line["targets"]).collect();
        assert_eq!(targets, [&json!(["q"]), &json!(["r"])], "{}", told.stdout);
        assert!(lines.iter().all(|line| line["refused"].is_string() == (code == 4)), "{}", told.stdout);
    }
    for more in [["--scores", "s.csv"], ["--plot", "p.svg"]] {
        place.run(&[&estimate[..], &sized, &more].concat()).says(2, &[more[0]]);
    }
    // Of stages of a pipeline, those go on that do not read what it would have written.
    let select = "command = 'select'\npool = 'pool'\ntarget = 'q'\ncascade = 'hint -> all'\n";
    let pipeline = format!(
        "[[stage]]\nname = 'few'\n{select}top = '5%'\noutput = 'few.jsonl'\n\
         [[stage]]\nname = 'of-few'\ncommand = 'add'\ndataset = 'few'\ndata = 'few.jsonl'\n\
         [[stage]]\nname = 'half'\n{select}top = '50%'\nrecall = '80%'\nlabels = 60\noutput = 'half.jsonl'\n"
    );
    place.write("p.toml", pipeline);
    let run = place.run(&["run", "p.toml", "--json"]);
    run.says(4, &["stage few refused: nothing was computed"]);
    let summary = run.json();
    assert_eq!(summary["finished"], false);
    assert!(run.stderr.contains("1 run, 0 up to date, 1 refused, 1 not run; "), "{}", run.stderr);
    let stages = summary["stages"].as_array().expect("stages");
    let outcome = |name: &str| {
        let stage = stages.iter().find(|stage| stage["name"] == name).expect("there");
        stage["outcome"].as_str().expect("a text").to_owned()
    };
    assert!(outcome("few").starts_with("refused: nothing was computed"), "{summary:#}");
    assert_eq!(outcome("of-few"), "not run, since it needs few");
    assert_eq!(outcome("half"), "done");
    assert!(place.path("half.jsonl").exists() && !place.path("few.jsonl").exists());
}

#[test]
fn a_command_of_several_targets_goes_on_after_those_that_it_has_finished() {
    let place = hinted();
    place.ok(&["add", "--dataset", "r", "--data", "q.jsonl"]);
    let asked = ["select", "--pool", "pool", "--target", "q,r", "--each", "target", "-o", "best.jsonl"];
    let sized =
        ["--report", "{target}.json", "--recall", "80%", "--labels", "60", "--cascade", "hint -> all"];
    let select = |top: &str| place.run(&[&asked[..], &sized, &["--top", top]].concat());
    // There are no gradients of the second target: the command ends between both.
    let ended = select("50%");
    assert!(![0, 4].contains(&ended.code), "{}", ended.stderr);
    let inode = |name: &str| fs_err::metadata(place.path(name)).expect("written").ino();
    let files = ["best.q.jsonl", "best.q.jsonl.scores.csv", "q.json"];
    // A kill between two files of a target leaves the first of them, and the note of what all will be: the
    // same command makes them again.
    let rows = fs_err::read(place.path(files[0])).expect("written");
    fs_err::remove_file(place.path(files[1])).expect("removed");
    let ended = select("50%");
    assert!(![0, 4].contains(&ended.code) && !ended.stderr.contains("exists"), "{}", ended.stderr);
    ended.lacks(&["q: selected before"]);
    assert_eq!(fs_err::read(place.path(files[0])).expect("written again"), rows);
    let first = files.map(inode);
    // Other flags ask for something else.
    select("40%").says(2, &["best.q.jsonl exists"]);

    place.ingested("r", None, "grad-sgd");
    select("50%").says(0, &["q: selected before"]);
    assert_eq!(files.map(inode), first, "what is finished stays as it is");
    assert!(place.path("best.r.jsonl").exists() && place.path("r.json").exists());
    assert!(!place.path("best.q.jsonl.selecting").exists() && !place.path("best.r.jsonl.selecting").exists());
    // It is finished: what is there is replaced as that of any command.
    select("50%").says(2, &["best.q.jsonl exists"]);
}

#[test]
fn a_finished_target_whose_file_was_changed_is_not_taken_for_finished() {
    let place = hinted();
    place.ok(&["add", "--dataset", "r", "--data", "q.jsonl"]);
    let asked = ["select", "--pool", "q", "--target", "q,r", "--each", "target", "-o", "best.jsonl"];
    let select = || place.run(&[&asked[..], &["--top", "2"]].concat());
    let ended = select();
    assert!(ended.code != 0 && place.path("best.q.jsonl").exists(), "{}", ended.stderr);
    place.write("best.q.jsonl", "mine");
    select().says(2, &["best.q.jsonl exists"]);
    assert_eq!(place.read("best.q.jsonl"), "mine");
}

#[test]
fn rows_in_the_target_are_neither_sampled_nor_counted_where_they_are_left_out() {
    let place = Place::of(&[("pool", 300), ("q", 12)]);
    place.add("pool");
    place.ingested("q", Some(&place.path("q.jsonl")), "grad-sgd");
    let estimate =
        ["select", "--pool", "pool", "--target", "q", "--cascade", "loss -> all", "--estimate", "--json"];
    let sized = ["--top", "50%", "--recall", "80%", "--labels", "60", "--exclude-target", "-q"];
    let told = place.run(&[&estimate[..], &sized].concat()).json();
    let report = &told["report"];
    assert_eq!((&report["rows"], &report["labelled"]), (&json!(288), &json!(60)), "{told:#}");
    let says = "12 rows of the pool are left out: they are in the target";
    assert!(report["notes"].to_string().contains(says), "{told:#}");
    // A half of all rows is selected, as without a cascade.
    assert!((report["top"].as_f64().expect("a number") - 150.0 / 288.0).abs() < 1e-9, "{told:#}");
    let snapshot = place.snapshot();
    let part = snapshot.feature("pool/grad-adam@checkpoint-104").expect("computed");
    let sample = snapshot.open_feature(part).expect("opens").row_set().expect("readable");
    assert_eq!((sample.len(), sample.iter().min() >= Some(12)), (60, true), "{sample:?}");

    // A prefilter knows that they are a draw from the others, and has a top of as many rows as a selection.
    let fit = ["prefilter", "fit", "cheap", "--pool", "pool", "--target", "q", "--inputs", "loss"];
    let more = ["--budget", "50%", "--top", "50%", "--dry-run", "--json"];
    let fitted = |more: &[&str]| place.run(&[&fit[..], more].concat()).json();
    let found = &fitted(&[&more[..], &["--exclude-target"]].concat())["report"];
    let notes = found["notes"].to_string();
    assert!(found["in_target"] == 12 && notes.contains(says), "{found:#}");
    assert!(!notes.contains("drawn at random"), "{notes}");
    assert!((found["top"].as_f64().expect("a number") - 150.0 / 288.0).abs() < 1e-9, "{found:#}");
    // Of all rows they are no draw.
    let found = &fitted(&more)["report"];
    assert!(found["in_target"] == 0 && found["notes"].to_string().contains("drawn at random"), "{found:#}");
}
