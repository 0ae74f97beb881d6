//! Promise: a prefilter keeps the rows that it reports, among rows that are joined by their ids, and one that
//! saves nothing, or learns from nothing, is refused with the reason.

mod killed;

use std::collections::BTreeSet;

use gstore_store::Store;
use gstore_tests::binary;
use gstore_tests::made::{Numbers, append, gradients};
use gstore_tests::place::Place;
use serde_json::{Value, json};

pub(crate) const ROWS: u64 = 2000;
pub(crate) const DIM: u32 = 32;

/// What a row's gradient has in common with the target's, but for its noise.
pub(crate) fn signal(row: u64) -> f64 {
    (row * 7919 % ROWS) as f64 / 1000.0 - 1.0
}

pub(crate) fn line(row: u64) -> Value {
    let source = ["a", "b", "c"][(row % 3) as usize];
    let mut line = json!({"id": format!("pool{row}"), "text": row.to_string(), "x": signal(row)});
    (line["source"], line["same"]) = (json!(source), json!(1.0));
    if row + 10 >= ROWS {
        (line["late"], line["last"]) = (json!("there"), json!(row));
    }
    line
}

pub(crate) fn vector(numbers: &mut Numbers, row: u64) -> Vec<f32> {
    let mut vector: Vec<f32> = numbers.vector(DIM).iter().map(|x| x * 0.05).collect();
    vector[0] += signal(row) as f32;
    vector[1] += 1.0;
    vector
}

/// A pool with a column that says nearly all, gradients of its first rows, and a target.
pub(crate) fn place(labelled: u64) -> Place {
    place_of(labelled, line)
}

/// The same with lines of its own.
pub(crate) fn place_of(labelled: u64, line: impl Fn(u64) -> Value) -> Place {
    let place = Place::new();
    let store = add(&place, "pool", (0..ROWS).map(line));
    let mut numbers = Numbers(5);
    if labelled > 0 {
        gradients(&store, "pool", labelled, DIM, |row| vector(&mut numbers, row));
    }
    append(&store, "q", 4);
    gradients(&store, "q", 4, DIM, |_| {
        let mut vector = vec![0.0; DIM as usize];
        vector[0] = 1.0;
        vector
    });
    place
}

/// Adds a dataset of these lines.
pub(crate) fn add(place: &Place, name: &str, lines: impl Iterator<Item = Value>) -> Store {
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    place.write(&format!("{name}.jsonl"), text);
    place.add(name);
    place.store()
}

pub(crate) fn fit<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["prefilter", "fit", name, "--pool", "pool", "--target", "q", "--resamples", "200"][..], more].concat()
}

/// The ids of the best 5 % by the column that the gradients follow.
fn best() -> BTreeSet<String> {
    let mut rows: Vec<u64> = (0..ROWS).collect();
    rows.sort_by(|a, b| signal(*b).total_cmp(&signal(*a)));
    rows.into_iter().take(100).map(|row| format!("pool{row}")).collect()
}

#[test]
fn what_is_fitted_keeps_the_best_rows() {
    let place = place(1400);
    assert_eq!(place.ok(&["prefilter", "list", "--format", "json"]), "", "there is none yet");
    let report = place.json(&fit("cheap", &["--inputs", "x,source", "--json"]));
    let target = &report["report"]["targets"][0];
    assert!(target["spearman"].as_f64().expect("a number") > 0.9, "{report:#}");
    assert!(report["saving"].as_f64().expect("a number") > 0.1, "{report:#}");
    assert!(report["report"]["choice"]["bound"].as_f64().expect("a number") >= 0.95, "{report:#}");
    let args =
        ["prefilter", "apply", "cheap", "--pool", "pool", "-o", "kept.jsonl", "--predictions", "p.csv"];
    let applied = place.json(&[&args[..], &["--json"]].concat());
    crate::json_keys::check("prefilter apply", &applied);
    let kept = place.read("kept.jsonl");
    assert_eq!(applied["kept"], json!(kept.lines().count()));
    let pool = place.read("pool.jsonl");
    let lines: BTreeSet<&str> = pool.lines().collect();
    assert!(kept.lines().all(|line| lines.contains(line)), "lines are the original ones");
    let ids: BTreeSet<String> = kept
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["id"].as_str().expect("an id").to_owned()
        })
        .collect();
    assert!(ids.len() < 600, "{}", ids.len());
    assert!(best().intersection(&ids).count() >= 95);
    let listed = place.value("SELECT kind || ' ' || name FROM gstore.artifacts");
    assert_eq!(listed, "prefilter cheap");
    let listed = place.json(&["prefilter", "list", "--format", "json"]);
    for (column, value) in [
        ("name", json!("cheap")),
        ("dataset", json!("pool")),
        ("targets", json!(["q"])),
        ("learner", json!("ridge")),
        ("features", json!(["x", "source"])),
        ("rows", report["report"]["rows"].clone()),
        ("snapshot", report["snapshot"].clone()),
    ] {
        assert_eq!(listed[column], value, "{column}: {listed:#}");
    }
    assert!(listed["created"].as_str().is_some_and(|at| at.starts_with("20")), "{listed:#}");
    let table = place.ok(&["prefilter", "list", "--format", "table"]);
    assert!(table.contains("created") && table.contains("cheap") && table.contains("x, source"), "{table}");
    let snapshot = place.snapshot();
    let fitted = snapshot.artifact("cheap").expect("fitted");
    assert_eq!(fitted.datasets, ["pool", "q"], "who may see the pool alone is not told of the target");
    let count = place.value("SELECT count(*) FROM predicted('pool', 'cheap') WHERE kept");
    assert_eq!(count, ids.len().to_string());
    let first = place.value("SELECT id FROM predicted('pool', 'cheap') ORDER BY score DESC LIMIT 1");
    assert!(best().contains(&first), "{first}");
    let table = place.read("p.csv");
    assert_eq!(table.lines().count() as u64, ROWS + 1);
    assert!(table.starts_with("id,row,score,target,kept"), "{}", &table[..60]);
    // The name says how they are written, as it does for a selection.
    let apply = |file: &str| place.run(&["prefilter", "apply", "cheap", "--pool", "pool", "-o", file]);
    for (file, dataset) in [("kept.csv", "of_csv"), ("kept.parquet", "of_parquet"), ("kept/", "of_saved")] {
        apply(file).says(0, &[]);
        place.ok(&["add", "--dataset", dataset, "--data", file]);
        let common = format!("SELECT count(*) FROM {dataset} JOIN pool USING (id, source)");
        assert_eq!(place.value(&common), ids.len().to_string(), "{file}");
        let added = place.value(&format!("SELECT count(*) FROM {dataset}"));
        assert_eq!(added, ids.len().to_string(), "{file}");
    }
    for (file, says) in [
        ("kept.weird", "the format cannot be told"),
        ("kept.txt", "rows are not written as .txt"),
        ("kept.html", "k => 30)\" -o kept.html"),
    ] {
        apply(file).says(2, &[says]);
        assert!(!place.path(file).exists(), "{file}");
    }

    for more in [&["--inputs", "x"][..], &["--inputs", "x", "--dry-run"]] {
        place.run(&fit("cheap", more)).says(2, &["--force replaces it"]);
    }
    place.ok(&fit("cheap", &["--inputs", "x", "--force", "--learner", "logistic", "--plot", "recall.svg"]));
    assert!(place.path("recall.svg").exists());
    let dropped = place.ok(&["drop", "artifact", "cheap"]);
    assert!(dropped.contains("artifact cheap (prefilter) dropped, "), "{dropped}");
    let gone = place.run(&["query", "SELECT * FROM predicted('pool', 'cheap')"]);
    assert!(gone.code == 2 || gone.code == 1, "{}", gone.stderr);
    assert!(gone.stderr.contains("cheap"), "{}", gone.stderr);
    place.ok(&["verify"]);
}

#[test]
fn labels_of_another_dataset_are_joined_by_id() {
    let place = place(0);
    // Every second row, the last first: its places say nothing of those in the pool.
    let rows: Vec<u64> = (0..ROWS).rev().filter(|row| row % 2 == 0).collect();
    let store = add(&place, "few", rows.iter().map(|row| line(*row)));
    let mut numbers = Numbers(5);
    gradients(&store, "few", 900, DIM, |row| vector(&mut numbers, rows[row as usize]));
    let more = ["--labels-of", "few", "--inputs", "x", "--top", "10%", "--json", "--learner", "trees"];
    let report = place.json(&fit("cheap", &more));
    assert_eq!(report["report"]["rows"], 900);
    assert!(report["report"]["targets"][0]["spearman"].as_f64().expect("a number") > 0.9, "{report:#}");

    let judge = ["prefilter", "evaluate", "cheap", "--pool", "pool", "--target", "q", "--labels-of", "few"];
    place.run(&judge).says(1, &["has learned from all 900"]);
    gradients(&store, "pool", 600, DIM, |row| vector(&mut numbers, row));
    let judged = place.json(&[&judge[..7], &["--json", "--resamples", "100"][..]].concat());
    // Of the first 600 rows of the pool 300 are odd, and the labels ended before the lowest even ones.
    let rows = judged["report"]["rows"].as_u64().expect("a number");
    assert!((300..=600).contains(&rows), "{judged:#}");
    assert!(judged["report"]["targets"][0]["spearman"].as_f64().expect("a number") > 0.9, "{judged:#}");
}

#[test]
fn a_row_without_a_score_is_no_other_than_those_learned_from() {
    let place = place(0);
    let mut numbers = Numbers(5);
    gradients(&place.store(), "pool", 901, DIM, |row| match row {
        900 => vec![f32::NAN; DIM as usize],
        _ => vector(&mut numbers, row),
    });
    place.ok(&fit("cheap", &["--inputs", "x", "--top", "10%", "--learner", "trees"]));
    let judge = ["prefilter", "evaluate", "cheap", "--pool", "pool", "--target", "q"];
    place.run(&judge).says(1, &["has learned from all 900"]);
}

#[test]
fn a_selection_is_a_share_of_the_rows_that_a_prefilter_kept_rows_of() {
    let place = place(ROWS);
    let select = |more: &[&str]| {
        let args = ["select", "--pool", "pool", "--target", "q", "-o", "best.jsonl"];
        place.run(&[&args[..], more].concat())
    };
    select(&["--top", "75%", "--of", "q"]).says(0, &[]);
    let lines = place.read("best.jsonl");
    assert_eq!(lines.lines().count(), 3, "three quarters of the four rows of q");
    for (more, code, says) in [
        (&["--top", "3", "--of", "q"][..], 2, "only a percentage can be of another dataset's rows"),
        (&["--top", "5%", "--of", "nothing"], 1, "nothing"),
        (&["--top", "5%", "--of", "q", "--cascade", "loss -> all"], 2, "--cascade"),
        // What belongs to a cascade is refused without one.
        (&["--top", "75%", "--of", "q", "--recall", "80%"], 2, "--cascade"),
        (&["--top", "75%", "--of", "q", "--labels", "5"], 2, "--cascade"),
        (&["--top", "75%", "--of", "q", "--rounds", "1"], 2, "--cascade"),
        (&["--top", "75%", "--of", "q", "--learner", "trees"], 2, "--cascade"),
        (&["--top", "75%", "--of", "q", "--seed", "1"], 2, "--cascade"),
        (&["--top", "75%", "--of", "q", "--estimate"], 2, "--cascade"),
        (&["--top", "75%", "--of", "q", "--report", "r.json"], 2, "--cascade"),
        (&["--top", "75%", "--of", "q", "--model", "."], 2, "--cascade"),
    ] {
        select(&[more, &["--force"]].concat()).says(code, &[says]);
    }
}

#[test]
fn labels_of_other_scores_are_refused_and_targets_found_by_name() {
    let place = place(0);
    let rows: Vec<u64> = (0..ROWS).filter(|row| row % 2 == 0).collect();
    let store = add(&place, "few", rows.iter().map(|row| line(*row)));
    let mut numbers = Numbers(5);
    append(&store, "r", 2);
    gradients(&store, "r", 2, DIM, |_| {
        let mut vector = vec![0.0; DIM as usize];
        (vector[0], vector[1]) = (1.0, 0.5);
        vector
    });
    gradients(&store, "few", 400, DIM, |row| vector(&mut numbers, rows[row as usize]));
    gradients(&store, "pool", 300, DIM, |row| vector(&mut numbers, row));
    let mut args = fit("two", &["--labels-of", "few", "--inputs", "x", "--budget", "20%"]);
    args[6] = "q,r";
    place.ok(&args);
    let noted = place.value("SELECT provenance FROM gstore.artifacts");
    for part in ["scored", "checkpoint_ids", "weights", "grad-sgd", "alphas", "budget"] {
        assert!(noted.contains(part), "{part}: {noted}");
    }
    let judge =
        ["prefilter", "evaluate", "two", "--pool", "pool", "--resamples", "100", "--json", "--target"];
    let report = place.json(&[&judge[..], &["r,q"]].concat());
    assert_eq!(report["report"]["targets"][0]["target"], "q", "{report:#}");
    assert_eq!(report["report"]["targets"][1]["target"], "r", "{report:#}");
    for (more, says) in [
        (&["q,r", "--sim", "dot"][..], "`sim` is dot, and was not given"),
        (&["q"], "the prefilter predicts q, r"),
    ] {
        place.run(&[&judge[..], more].concat()).says(1, &[says]);
    }
}

#[test]
fn what_saves_nothing_is_refused_with_its_numbers() {
    let place = place(200);
    // Ten rows of the top bound no recall of 95 %, so every row would be kept.
    let refused = place.run(&fit("cheap", &["--inputs", "x"]));
    refused.says(4, &["was not saved: it would keep ", " % of the work that it is meant to save"]);
    for said in [
        "every row is kept; 10 rows of the true top bound no smaller budget",
        "200 rows are computed in full for labels, and 2000 of 2000 rows as they are kept, labelled ones a second time: ",
        "; nothing saved",
    ] {
        assert!(refused.stdout.contains(said), "{said}: {}", refused.stdout);
    }
    assert!(place.run(&["prefilter", "apply", "cheap", "--pool", "pool", "-o", "-"]).code != 0);
    let report = place.ok(&fit("cheap", &["--inputs", "x", "--budget", "20%", "--dry-run"]));
    assert!(report.contains("recall when keeping") && report.contains("forward passes"), "{report}");
    // A file has what its name says, whatever is printed.
    for (file, is_json) in [("report.txt", false), ("report.json", true)] {
        let more = ["--inputs", "x", "--budget", "20%", "--dry-run", "--json", "-o", file];
        let done = place.run(&fit("cheap", &more));
        let printed = done.json();
        // What a reader should know is told as well.
        let notes = printed["report"]["notes"].as_array().expect("notes");
        assert!(!notes.is_empty(), "{printed:#}");
        for note in notes {
            let told = format!("note: {}", note.as_str().expect("a text"));
            assert!(done.stderr.contains(&told), "{told}: {}", done.stderr);
        }
        let written = place.read(file);
        let parsed: Option<Value> = serde_json::from_str(&written).ok();
        assert_eq!(parsed, is_json.then_some(printed), "{file}: {written}");
        assert!(is_json || written.contains("recall when keeping"), "{file}: {written}");
    }
    let slow = ["--inputs", "x", "--budget", "20%", "--feature-seconds", "2", "--gradient-seconds", "1"];
    assert_eq!(place.run(&fit("cheap", &slow)).code, 4);
}

#[test]
fn equal_predictions_at_the_cut_are_told() {
    // The column is 1 for the best 11.4 % of the rows; the other one for all but the worst.
    let place = place_of(1200, |row| {
        let mut line = line(row);
        line["best"] = json!(u8::from(signal(row) >= 0.772));
        line["most"] = json!(u8::from(signal(row) >= -0.772));
        line
    });
    let report = place.json(&fit("cheap", &["--inputs", "best", "--budget", "20%", "--json"]));
    let kept = report["report"]["choice"]["kept"].as_f64().expect("a number");
    assert!((kept - 0.114).abs() < 1e-9, "{report:#}");
    // Learners of the folds predict the best rows a little differently, and on the same side of the cut.
    assert!(report["report"]["choice"]["recall"].as_f64().expect("a number") > 0.9, "{report:#}");
    let notes = report["report"]["notes"].to_string();
    assert!(notes.contains("88.6 % of the rows have the same prediction of q at the cut"), "{notes}");
    assert!(notes.contains("11.4 % are kept, and not 20.0 %"), "{notes}");
    let refused = place.run(&fit("other", &["--inputs", "most", "--budget", "20%"]));
    refused.says(4, &[]);
    let says = "more rows have the same prediction than --budget is to keep";
    assert!(
        refused.stderr.contains(says) && !refused.stderr.contains("a --budget may"),
        "{}",
        refused.stderr
    );
}

#[test]
fn a_prefilter_whose_report_cannot_be_written_is_told_of() {
    let place = place(200);
    let args = fit("cheap", &["--inputs", "x", "--budget", "20%"]);
    let same = place.run(&[&args[..], &["-o", "report.svg", "--plot", "report.svg"]].concat());
    same.says(2, &["are the same file"]);
    let mut command = place.gstore(&args);
    command
        .stdout(fs_err::OpenOptions::new().write(true).open("/dev/full").expect("a device").into_parts().0);
    binary::run(&mut command).says(1, &[" has the prefilter cheap, but its report was not written"]);
    assert_eq!(place.json(&["prefilter", "list", "--format", "json"])["name"], "cheap");
}

#[test]
fn what_cannot_be_learned_from_is_named() {
    let place = place(300);
    for (more, says) in [
        (&["--inputs", "same"][..], "same value in every labelled row"),
        (&["--inputs", "sourc"], "did you mean `source`"),
        (&["--inputs", "x,x"], "named twice"),
        (&["--inputs", "x,column:x"], "is the same as x"),
        (&["--inputs", "tokens"], "no token counts"),
        (&["--inputs", "x", "--folds", "200"], "400 are needed"),
        (&["--inputs", "x", "--alpha", "0"], "numbers above 0"),
        (&["--inputs", "x", "--labels-of", "nothing"], "nothing"),
        (&["--inputs", "same"], "f64 does not tell apart (same): others are needed"),
        (&["--inputs", "late"], "no labelled row has a value of late"),
        // With others as well, of numbers too.
        (&["--inputs", "x,late"], "no labelled row has a value of late: other"),
        (&["--inputs", "x,last,late"], "no labelled row has a value of last, late: other"),
        (&["--inputs", "x", "--learner", "trees", "--alpha", "1"], "--alpha requires --learner ridge"),
        (&["--inputs", "x", "--c", "1"], "--c requires --learner logistic"),
        (&["--inputs", "x", "--recall", "90%", "--budget", "30%"], "--recall"),
    ] {
        let refused = place.run(&fit("cheap", more));
        refused.fails(&[says]);
        // What no store makes right is a wrong command line.
        let is_usage =
            ["named twice", "numbers above 0", "is an option of"].iter().any(|part| says.contains(part));
        assert!(!is_usage || refused.code == 2, "{more:?}: {}", refused.code);
    }
    // A dry run refuses what the run itself does, names too.
    let mut of_other = fit("a", &["--inputs", "x", "--dry-run"]);
    of_other[6] = "nothing";
    for (args, says) in [
        (fit("two words", &["--inputs", "x", "--dry-run"]), "is not a name of an artifact"),
        (fit("two words", &["--inputs", "x"]), "is not a name of an artifact"),
        (fit("a", &["--inputs", "sourc", "--dry-run"]), "did you mean `source`"),
        (of_other, "nothing"),
    ] {
        let refused = place.run(&args);
        refused.fails(&[says]);
        assert!(args[2] == "a" || refused.code == 2, "{args:?}: {}", refused.code);
    }
    let constant = place.json(&fit("a", &["--inputs", "x,same", "--budget", "30%", "--json"]));
    let notes = constant["report"]["notes"].to_string();
    assert!(notes.contains("1 of the columns is constant in f64 and says nothing: same"), "{notes}");
    // The opposite of every gradient: no row helps.
    let store = place.store();
    append(&store, "against", 2);
    gradients(&store, "against", 2, DIM, |_| {
        let mut vector = vec![0.0; DIM as usize];
        vector[1] = -1.0;
        vector
    });
    let mut args = fit("b", &["--inputs", "x", "--budget", "30%", "--json"]);
    args[6] = "against";
    let report = place.json(&args);
    assert!(report["report"]["notes"].to_string().contains("none helps it"), "{report:#}");
}
