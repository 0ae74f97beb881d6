//! Promise: scores of any program are compared with outputs of models that were retrained here or elsewhere,
//! and the compared files are not overwritten.

use std::path::Path;
use std::process::Command;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};

use crate::retrained::{DRAW, retrain};

/// The example of the covariances of four models: two queries, three rows.
const SUBSETS: &str = r#"{"subset": "0", "rows": ["a", "b"]}
{"subset": "1", "rows": ["a", "c"]}
{"subset": "2", "rows": ["b", "c"]}
{"subset": "3", "rows": ["a"]}
{"subset": "4", "rows": ["b"]}
"#;
const LOSSES: [[f64; 5]; 2] = [[0.95, 0.90, 1.20, 0.85, 1.00], [1.50, 1.55, 1.30, 1.62, 1.48]];
const SCORES: &str = "id,query,score\na,q0,0.024167\nb,q0,-0.015\nc,q0,-0.026667\na,q1,-0.020833\nb,q1,0.011667\nc,q1,0.036667\nz,q0,9\n";

fn example() -> Place {
    let place = Place::new();
    let mut outputs = "subset,query,loss\n".to_owned();
    for (query, losses) in LOSSES.iter().enumerate() {
        for (subset, loss) in losses.iter().enumerate() {
            outputs.push_str(&format!("{subset},q{query},{loss}\n"));
        }
    }
    place.write("subsets.jsonl", SUBSETS);
    place.write("outputs.csv", &outputs);
    place.write("daunce.csv", SCORES);
    place
}

const LDS: [&str; 8] =
    ["evaluate", "lds", "--subsets", "subsets.jsonl", "--outputs", "outputs.csv", "--resamples", "200"];

#[test]
fn methods_are_compared_by_their_linear_datamodeling_score() {
    let place = example();
    let told = place.run(&[&LDS[..], &["--scores", "daunce.csv", "--random", "--format", "json"]].concat());
    told.says(0, &["daunce: 1 score of rows that are not in the pool"]);
    let report = told.json();
    let values = &report["measures"][0]["values"];
    assert_eq!((&values[0]["system"], &values[1]["system"]), (&"daunce".into(), &"random".into()));
    let mean = values[0]["mean"].as_f64().expect("a number");
    assert!((mean - 0.8).abs() < 1e-9, "{mean}");
    // What knows nothing is the base, unless another method is named.
    assert_eq!(report["base"], "random");
    assert_eq!(report["measures"][0]["differences"][0]["system"], "daunce");
    let scores = ["--scores", "daunce.csv", "--random", "--against", "daunce", "--format", "json"];
    assert_eq!(place.json(&[&LDS[..], &scores].concat())["base"], "daunce");
    let alone = place.ok(&[&LDS[..], &["--scores", "daunce.csv"]].concat());
    assert!(alone.contains("2 rows.") && !alone.contains("differences are from"), "{alone}");
    let negated = ["--scores", "mine=daunce.csv", "--negate", "mine", "--report", "page", "-o", "lds.md"];
    place.ok(&[&LDS[..], &negated].concat());
    assert!(place.read("lds.md").contains("| LDS | 2 | mine | -0.8000"), "{}", place.read("lds.md"));
    for name in ["evaluation.json", "evaluation.csv", "rows.csv", "lds_by_query.svg", "lds_by_query.png"] {
        assert!(place.path("page").join(name).is_file(), "{name}");
    }
    assert!(place.read("page/evaluation_report.md").contains("(method_comparison_chart.svg)"));
    assert!(place.read("page/evaluation.html").contains("<svg"));
}

#[test]
fn columns_of_a_table_that_are_no_query_are_named() {
    let place = example();
    place.write("wide.csv", "id,q0,length,q1,text,step\na,1,9,2,x,1\nb,2,9,1,y,1\nc,4,9,3,z,2\n");
    let told = place.done(&[&LDS[..], &["--scores", "wide.csv"]].concat());
    let note = "note: wide: 2 columns of numbers are not taken as scores, because no query has that id: length, step";
    assert!(told.stderr.contains(note) && !told.stderr.contains("other queries"), "{}", told.stderr);
}

#[test]
fn a_folder_of_files_is_one_method() {
    let place = example();
    let (head, rows) = SCORES.split_once('\n').expect("a header");
    let rows: Vec<&str> = rows.lines().collect();
    fs_err::create_dir(place.path("parts")).expect("made");
    for (name, part) in [("a", &rows[..3]), ("b", &rows[3..])] {
        place.write(&format!("parts/{name}.csv"), format!("{head}\n{}\n", part.join("\n")));
    }
    let report = place.json(&[&LDS[..], &["--scores", "daunce.csv", "parts", "--format", "json"]].concat());
    let values = &report["measures"][0]["values"];
    assert_eq!(values[1]["system"], "parts");
    assert!(values[0]["mean"].is_number() && values[0]["mean"] == values[1]["mean"], "{values}");
}

#[test]
fn scores_that_cannot_be_joined_are_refused() {
    let place = example();
    place.write("other.csv", "id,query,score\nz,q0,1\n");
    place.write("some.csv", "id,query,score\na,q0,1\na,q1,2\n");
    place.write("half.csv", "id,query,score\na,q0,1\nb,q0,2\nc,q0,3\n");
    place.write("rows.csv", "row,query,score\n0,q0,1\n");
    place.write("infinite.csv", "id,query,score\na,q0,inf\n");
    place.write("same.csv", "id,score\na,0\nb,0\nc,0\n");
    place.write("empty.csv", "id,query,score\n");
    place.write("both.csv", "id,score,length,q1\na,1,7,2\nb,2,8,3\nc,4,9,4\n");
    for (file, words) in [
        ("other.csv", "none of their rows is in the pool"),
        ("some.csv", "--missing zero"),
        ("half.csv", "query \"q1\" has none"),
        ("rows.csv", "never by number"),
        ("infinite.csv", "not a finite number"),
        ("same.csv", "the same for all subsets"),
        ("empty.csv", "there are none: what was read has no row"),
        ("both.csv", "line 2: it has a `score`, and \"q1\", which is a query, is a key of it too"),
    ] {
        place.run(&[&LDS[..], &["--scores", file]].concat()).says(1, &[words]);
    }
    place.ok(&[&LDS[..], &["--scores", "some.csv", "--missing", "zero"]].concat());
    for (more, words) in [
        (&["--random", "--against", "less"][..], "available: random"),
        (&[][..], "which scores?"),
        (&["--scores", "daunce.csv", "d/../daunce.csv"][..], "d/../daunce.csv"),
        (&["--sql", "SELECT 1"][..], "needs a name"),
        (&["--random", "--report", "r", "--with", "r"][..], "unexpected argument '--with'"),
    ] {
        place.run(&[&LDS[..], more].concat()).fails(&[words]);
    }
    // What combines reports of texts and of tasks is in the help of those alone.
    for (what, has) in [("text", true), ("tasks", true), ("lds", false), ("brittleness", false)] {
        let help = place.ok(&["evaluate", what, "--help"]);
        assert_eq!((help.contains("--with"), help.contains("--influential")), (has, has), "{what}: {help}");
    }
    for other in [&["--outputs", "outputs.csv"][..], &["--subsets", "subsets.jsonl"], &["--truth", "one"]] {
        let told = place.run(&[&["evaluate", "lds", "--ensemble", "e", "--random"][..], other].concat());
        told.says(2, &["cannot be used with"]);
    }
    let none = place.run(&["evaluate", "lds", "--truth", "nowhere", "--random"]);
    none.says(2, &["gstore evaluate retrain"]);
    place.write("labels.csv", "id,flipped\na,1\nb,0\nc,0\n");
    place.write("self.csv", "id,score\na,3\nb,1\nc,2\n");
    let flips = ["evaluate", "flips", "--labels", "labels.csv", "--scores", "self.csv", "--format", "csv"];
    let told = place.ok(&[&flips[..], &["--resamples", "200"]].concat());
    assert!(told.contains("all,flip_auc,self,3,1,"), "{told}");
    place.write("one.csv", "id,score\na,3\n");
    let told = place.run(&["evaluate", "flips", "--labels", "labels.csv", "--scores", "one.csv"]);
    told.says(1, &["2 are missing, the first of row \"b\"; a method"]);
    place.write("label.csv", "id,label\na,1\nb,0\nc,0\n");
    place.write("wide.csv", "id,q0,q1\na,3,1\nb,1,1\nc,2,2\n");
    for (labels, scores, words) in [
        ("label.csv", "self.csv", "line 2: a label needs `flipped`, and has id, label"),
        ("labels.csv", "wide.csv", "line 2: it has no `score`: each row has one here, and queries have none"),
    ] {
        place.run(&["evaluate", "flips", "--labels", labels, "--scores", scores]).says(1, &[words]);
    }
    // A statement has rows, and no file.
    place.write("d.jsonl", "{\"id\": \"a\", \"text\": \"t\"}\n");
    place.add("d");
    let told = place.run(&[&LDS[..], &["--sql", "m=SELECT row AS number FROM d"]].concat());
    told.says(1, &["row 1 of its result: a score needs the `id`"]).lacks(&[".jsonl"]);
}

#[test]
fn what_a_comparison_reads_is_not_replaced() {
    let place = example();
    place.samples("pool", 6);
    place.samples("queries", 2);
    binary::ok(&mut retrain(&place, "truth", &[&DRAW[..], &["--draw-only"]].concat()));
    for name in ["s.npy", "s.rows.txt", "labels.csv", "truth/outputs/00000.parquet", "truth/notes.md"] {
        place.write(name, "as it was");
    }
    place.ok(&[&LDS[..], &["--random", "--report", "report"]].concat());
    let lds = |scores| [&LDS[..], &["--scores", scores]].concat();
    let of_folder =
        |what| vec!["evaluate", what, "--truth", "truth", "--scores", "daunce.csv", "--resamples", "200"];
    let brittleness = vec!["evaluate", "brittleness", "--truth", "truth"];
    for (ask, to, read) in [
        (lds("daunce.csv"), "--rows", "subsets.jsonl"),
        (lds("daunce.csv"), "-o", "outputs.csv"),
        (lds("daunce.csv"), "--rows", "daunce.csv"),
        (lds("mine=daunce.csv"), "-o", "daunce.csv"),
        (lds("daunce*.csv"), "-o", "daunce.csv"),
        (lds("s.npy"), "-o", "s.rows.txt"),
        (lds("report/rows.csv"), "--report", "report"),
        (of_folder("lds"), "-o", "truth/manifest.json"),
        (of_folder("loo"), "--rows", "truth/outputs/00000.parquet"),
        (brittleness, "--rows", "truth/subsets.jsonl"),
        (vec!["evaluate", "flips", "--labels", "labels.csv", "--random"], "--rows", "labels.csv"),
    ] {
        let refused = place.run(&[&ask[..], &[to, read, "--force"]].concat());
        refused.says(2, &[&format!("{read} is read by this command")]);
    }
    let now = ["daunce.csv", "subsets.jsonl", "s.rows.txt", "labels.csv"].map(|name| place.read(name));
    assert_eq!(now, [SCORES, SUBSETS, "as it was", "as it was"]);
    // What its user keeps in the folder of a ground truth is not read.
    place.run(&[&of_folder("lds")[..], &["-o", "truth/notes.md", "--force"]].concat()).lacks(&["is read by"]);
}

#[test]
fn the_example_that_the_page_begins_with_runs_as_pasted() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/evaluate.md");
    let page = fs_err::read_to_string(page).expect("the page");
    let (_, rest) = page.split_once("```sh\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let place = Place::new();
    let demo = world::demo().canonicalize().expect("there");
    std::os::unix::fs::symlink(demo, place.path("demo")).expect("linked");
    std::os::unix::fs::symlink(binary::path(), place.path("gstore")).expect("linked");
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::env::join_paths([place.path("")].into_iter().chain(std::env::split_paths(&paths)));
    let mut pasted = Command::new("sh");
    pasted.args(["-e", "-c", example]).current_dir(place.path(""));
    pasted.env_remove("GSTORE_STORE").env_remove("GSTORE_CONFIG");
    binary::ok(pasted.env("PATH", paths.expect("a path")));
    assert!(place.read("report.md").contains("late"), "{}", place.read("report.md"));
    let report = place.read("lds/evaluation_report.md");
    assert!(report.contains("Linear datamodeling score") && report.contains("cosine"), "{report}");
}
