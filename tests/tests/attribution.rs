//! Promise: scores of any program are compared with models that were retrained here or elsewhere, and retraining
//! goes on run by run, to the same bits in whatever order runs are done.

use std::path::Path;
use std::process::Command;

use gstore_tests::place::Place;
use gstore_tests::{binary, world};
use serde_json::Value;

use crate::factors;

/// The example of the covariances of four models: two queries, three rows.
const SUBSETS: &str = r#"{"subset": "0", "rows": ["a", "b"]}
{"subset": "1", "rows": ["a", "c"]}
{"subset": "2", "rows": ["b", "c"]}
{"subset": "3", "rows": ["a"]}
{"subset": "4", "rows": ["b"]}
"#;
const LOSSES: [[f64; 5]; 2] = [[0.95, 0.90, 1.20, 0.85, 1.00], [1.50, 1.55, 1.30, 1.62, 1.48]];
const SCORES: &str = "id,query,score\na,q0,0.024167\nb,q0,-0.015\nc,q0,-0.026667\na,q1,-0.020833\nb,q1,0.011667\nc,q1,0.036667\nz,q0,9\n";

fn write(place: &Place, name: &str, text: &str) {
    fs_err::write(place.path(name), text).expect("written");
}

fn read(place: &Place, name: &str) -> String {
    fs_err::read_to_string(place.path(name)).expect("written")
}

fn example() -> Place {
    let place = Place::new();
    let mut outputs = "subset,query,loss\n".to_owned();
    for (query, losses) in LOSSES.iter().enumerate() {
        for (subset, loss) in losses.iter().enumerate() {
            outputs.push_str(&format!("{subset},q{query},{loss}\n"));
        }
    }
    write(&place, "subsets.jsonl", SUBSETS);
    write(&place, "outputs.csv", &outputs);
    write(&place, "daunce.csv", SCORES);
    place
}

const LDS: [&str; 8] =
    ["evaluate", "lds", "--subsets", "subsets.jsonl", "--outputs", "outputs.csv", "--resamples", "200"];

#[test]
fn methods_are_compared_by_their_linear_datamodeling_score() {
    let place = example();
    let told = place.run(&[&LDS[..], &["--scores", "daunce.csv", "--random", "--format", "json"]].concat());
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert!(told.stderr.contains("daunce: 1 score of rows that are not in the pool"), "{}", told.stderr);
    let report: Value = serde_json::from_str(&told.stdout).expect("JSON");
    let values = &report["measures"][0]["values"];
    assert_eq!((&values[0]["system"], &values[1]["system"]), (&"daunce".into(), &"random".into()));
    let mean = values[0]["mean"].as_f64().expect("a number");
    assert!((mean - 0.8).abs() < 1e-9, "{mean}");
    let negated = ["--scores", "mine=daunce.csv", "--negate", "mine", "--report", "page", "-o", "lds.md"];
    place.ok(&[&LDS[..], &negated].concat());
    assert!(read(&place, "lds.md").contains("| LDS | 2 | -0.8000"), "{}", read(&place, "lds.md"));
    for name in ["evaluation.json", "evaluation.csv", "rows.csv", "lds_by_query.svg", "lds_by_query.png"] {
        assert!(place.path("page").join(name).is_file(), "{name}");
    }
    assert!(read(&place, "page/evaluation_report.md").contains("(method_comparison_chart.svg)"));
    assert!(read(&place, "page/evaluation.html").contains("<svg"));
}

#[test]
fn columns_of_a_table_that_are_no_query_are_named() {
    let place = example();
    write(&place, "wide.csv", "id,q0,length,q1,text,step\na,1,9,2,x,1\nb,2,9,1,y,1\nc,4,9,3,z,2\n");
    let told = place.run(&[&LDS[..], &["--scores", "wide.csv"]].concat());
    assert_eq!(told.code, 0, "{}", told.stderr);
    let note =
        "note: wide: 2 columns of numbers are not taken as scores, since no query is called so: length, step";
    assert!(told.stderr.contains(note) && !told.stderr.contains("other queries"), "{}", told.stderr);
}

#[test]
fn a_folder_of_files_is_one_method() {
    let place = example();
    let (head, rows) = SCORES.split_once('\n').expect("a header");
    let rows: Vec<&str> = rows.lines().collect();
    fs_err::create_dir(place.path("parts")).expect("made");
    for (name, part) in [("a", &rows[..3]), ("b", &rows[3..])] {
        write(&place, &format!("parts/{name}.csv"), &format!("{head}\n{}\n", part.join("\n")));
    }
    let report = place.json(&[&LDS[..], &["--scores", "daunce.csv", "parts", "--format", "json"]].concat());
    let values = &report["measures"][0]["values"];
    assert_eq!(values[1]["system"], "parts");
    assert!(values[0]["mean"].is_number() && values[0]["mean"] == values[1]["mean"], "{values}");
}

#[test]
fn scores_that_cannot_be_joined_are_refused() {
    let place = example();
    write(&place, "other.csv", "id,query,score\nz,q0,1\n");
    write(&place, "some.csv", "id,query,score\na,q0,1\na,q1,2\n");
    write(&place, "half.csv", "id,query,score\na,q0,1\nb,q0,2\nc,q0,3\n");
    write(&place, "rows.csv", "row,query,score\n0,q0,1\n");
    write(&place, "infinite.csv", "id,query,score\na,q0,inf\n");
    write(&place, "same.csv", "id,score\na,0\nb,0\nc,0\n");
    write(&place, "empty.csv", "id,query,score\n");
    write(&place, "both.csv", "id,score,length,q1\na,1,7,2\nb,2,8,3\nc,4,9,4\n");
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
        let told = place.run(&[&LDS[..], &["--scores", file]].concat());
        assert!(told.code == 1 && told.stderr.contains(words), "{words}: {}", told.stderr);
    }
    place.ok(&[&LDS[..], &["--scores", "some.csv", "--missing", "zero"]].concat());
    for (more, words) in [
        (&["--random", "--against", "less"][..], "available: random"),
        (&[][..], "which scores?"),
        (&["--scores", "daunce.csv", "d/../daunce.csv"][..], "d/../daunce.csv"),
        (&["--sql", "SELECT 1"][..], "needs a name"),
        (&["--random", "--report", "r", "--with", "r"][..], "unexpected argument '--with'"),
    ] {
        let told = place.run(&[&LDS[..], more].concat());
        assert!(told.code != 0 && told.stderr.contains(words), "{words}: {}", told.stderr);
    }
    // What combines reports of texts and of tasks is in the help of those alone.
    for (what, has) in [("text", true), ("tasks", true), ("lds", false), ("brittleness", false)] {
        let help = place.ok(&["evaluate", what, "--help"]);
        assert_eq!((help.contains("--with"), help.contains("--influential")), (has, has), "{what}: {help}");
    }
    for other in [&["--outputs", "outputs.csv"][..], &["--subsets", "subsets.jsonl"], &["--truth", "one"]] {
        let told = place.run(&[&["evaluate", "lds", "--ensemble", "e", "--random"][..], other].concat());
        assert!(told.code == 2 && told.stderr.contains("cannot be used with"), "{other:?}: {}", told.stderr);
    }
    let none = place.run(&["evaluate", "lds", "--truth", "nowhere", "--random"]);
    assert!(none.code == 2 && none.stderr.contains("gstore evaluate retrain"), "{}", none.stderr);
    write(&place, "labels.csv", "id,flipped\na,1\nb,0\nc,0\n");
    write(&place, "self.csv", "id,score\na,3\nb,1\nc,2\n");
    let flips = ["evaluate", "flips", "--labels", "labels.csv", "--scores", "self.csv", "--format", "csv"];
    let told = place.ok(&[&flips[..], &["--resamples", "200"]].concat());
    assert!(told.contains("all,flip_auc,self,3,1,"), "{told}");
    write(&place, "one.csv", "id,score\na,3\n");
    let told = place.run(&["evaluate", "flips", "--labels", "labels.csv", "--scores", "one.csv"]);
    assert!(
        told.code == 1 && told.stderr.contains("2 are missing, the first of row \"b\"; a method"),
        "{}",
        told.stderr
    );
    write(&place, "label.csv", "id,label\na,1\nb,0\nc,0\n");
    write(&place, "wide.csv", "id,q0,q1\na,3,1\nb,1,1\nc,2,2\n");
    for (labels, scores, words) in [
        ("label.csv", "self.csv", "line 2: a label needs `flipped`, and has id, label"),
        ("labels.csv", "wide.csv", "line 2: it has no `score`: each row has one here, and queries have none"),
    ] {
        let told = place.run(&["evaluate", "flips", "--labels", labels, "--scores", scores]);
        assert!(told.code == 1 && told.stderr.contains(words), "{words}: {}", told.stderr);
    }
    // A statement has rows, and no file.
    write(&place, "d.jsonl", "{\"id\": \"a\", \"text\": \"t\"}\n");
    place.ok(&["add", "--dataset", "d", "--data", "d.jsonl"]);
    let told = place.run(&[&LDS[..], &["--sql", "m=SELECT row AS number FROM d"]].concat());
    assert!(
        told.code == 1 && told.stderr.contains("row 1 of its result: a score needs the `id`"),
        "{}",
        told.stderr
    );
    assert!(!told.stderr.contains(".jsonl"), "{}", told.stderr);
}

/// Of what Kronfluence scored, seven rows for two queries and the rows with themselves, the sums over both modules.
const PAIRWISE: [[f64; 7]; 2] = [
    [
        10.53905725479126,
        5.150357007980347,
        0.03011128306388855,
        -1.67288339138031,
        -2.998885154724121,
        5.9268639087677,
        -1.8769939243793488,
    ],
    [
        0.03011155128479004,
        1.0893490314483643,
        16.460320472717285,
        0.7165523171424866,
        -3.375235080718994,
        2.1397699117660522,
        -4.765913605690002,
    ],
];
const OWN: [f64; 7] = [
    10.539056539535522,
    6.811659336090088,
    16.460320472717285,
    5.4667277336120605,
    14.804959297180176,
    24.728429794311523,
    19.579110145568848,
];
const OF_SEVEN: [(&str, [f64; 2]); 8] = [
    ("abc", [0.2, 0.1]),
    ("ade", [0.55, 1.0]),
    ("bdf", [0.3, 0.9]),
    ("ceg", [1.2, 0.35]),
    ("bcfg", [0.45, 0.3]),
    ("ag", [0.5, 1.3]),
    ("ef", [0.9, 0.8]),
    ("cd", [1.1, 0.25]),
];

/// Outputs of models of the seven rows, Kronfluence's folder `scores_mlp` with the ids of its rows and queries, and the
/// same scores as `sums.csv` and `own.csv`.
fn kronfluence() -> Place {
    let place = Place::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/tests/kronfluence/scores_mlp");
    world::copy_files(&from, &place.path("scores_mlp"));
    let ids = "abcdefg".chars().map(String::from).collect::<Vec<_>>();
    write(&place, "scores_mlp/rows.txt", &ids.join("\n"));
    write(&place, "scores_mlp/queries.txt", "q0\nq1\n");
    let (mut subsets, mut outputs) = ("subset,id\n".to_owned(), "subset,query,loss\n".to_owned());
    for (rows, losses) in OF_SEVEN {
        rows.chars().for_each(|row| subsets.push_str(&format!("{rows},{row}\n")));
        losses.iter().enumerate().for_each(|(at, loss)| outputs.push_str(&format!("{rows},q{at},{loss}\n")));
    }
    write(&place, "subsets.csv", &subsets);
    write(&place, "outputs.csv", &outputs);
    let (mut sums, mut own) = ("id,q0,q1\n".to_owned(), "id,score\n".to_owned());
    for (at, id) in ids.iter().enumerate() {
        sums.push_str(&format!("{id},{},{}\n", PAIRWISE[0][at], PAIRWISE[1][at]));
        own.push_str(&format!("{id},{}\n", OWN[at]));
    }
    write(&place, "sums.csv", &sums);
    write(&place, "own.csv", &own);
    write(&place, "labels.csv", "id,flipped\na,0\nb,1\nc,0\nd,0\ne,0\nf,1\ng,0\n");
    place
}

const OF_FOLDER: [&str; 8] =
    ["evaluate", "lds", "--subsets", "subsets.csv", "--outputs", "outputs.csv", "--resamples", "200"];

#[test]
fn scores_that_kronfluence_wrote_are_compared_as_those_of_a_table() {
    let place = kronfluence();
    let both = [&OF_FOLDER[..], &["--scores", "scores_mlp", "sums.csv", "--format", "json"]].concat();
    let means = || -> [f64; 2] {
        let report: Value = serde_json::from_str(&place.ok(&both)).expect("JSON");
        let values = &report["measures"][0]["values"];
        assert_eq!((&values[0]["system"], &values[1]["system"]), (&"scores_mlp".into(), &"sums".into()));
        [0, 1].map(|method| values[method]["mean"].as_f64().expect("a number"))
    };
    let whole = means();
    assert!(whole[0] == whole[1] && (whole[0] - (1.0 + 41.0 / 42.0) / 2.0).abs() < 1e-9, "{whole:?}");
    // Without the file that Kronfluence puts together there are its partitions.
    fs_err::remove_file(place.path("scores_mlp/pairwise_scores.safetensors")).expect("removed");
    assert_eq!(means(), whole);
    let flips = ["evaluate", "flips", "--labels", "labels.csv", "--scores", "own.csv", "scores_mlp"];
    place.ok(&[&flips[..], &["--resamples", "200", "--rows", "rows.csv"]].concat());
    let rows = read(&place, "rows.csv");
    for (id, score) in ["a", "b", "c", "d", "e", "f", "g"].iter().zip(OWN) {
        for method in ["own", "scores_mlp"] {
            let line = format!("{id},{},{method},{score}\n", ["b", "f"].contains(id));
            assert!(rows.contains(&line), "{line}: {rows}");
        }
    }
}

fn without(place: &Place, names: &[&str]) {
    names.iter().for_each(|name| fs_err::remove_file(place.path(name)).expect("removed"));
}

#[test]
fn folders_of_scores_that_do_not_fit_are_refused() {
    let lds = [&OF_FOLDER[..], &["--scores", "scores_mlp"]].concat();
    let flips = vec!["evaluate", "flips", "--labels", "labels.csv", "--scores", "scores_mlp"];
    let whole = "scores_mlp/pairwise_scores.safetensors";
    let part = |part: usize| {
        format!("scores_mlp/pairwise_scores_data_partition{part}_module_partition0.safetensors")
    };
    type Change<'a> = &'a dyn Fn(&Place);
    let changes: [(Change<'_>, &[&str], &str); 8] = [
        (
            &|place| without(place, &[whole, &part(1)]),
            &lds,
            "scores_mlp has no pairwise_scores_data_partition1_module_partition0.safetensors",
        ),
        (
            &|place| without(place, &[whole, &part(0), &part(1)]),
            &lds,
            "scores_mlp has no pairwise_scores.safetensors: its self_scores are of samples with themselves",
        ),
        (
            &|place| {
                let own = ["", "_data_partition0_module_partition0", "_data_partition1_module_partition0"];
                let own = own.map(|part| format!("scores_mlp/self_scores{part}.safetensors"));
                without(place, &own.each_ref().map(String::as_str));
            },
            &flips,
            "scores_mlp has no self_scores.safetensors: its pairwise_scores are of queries with samples",
        ),
        (&|place| without(place, &["scores_mlp/score_arguments.json"]), &lds, "has no score_arguments.json"),
        (
            &|place| without(place, &["scores_mlp/rows.txt"]),
            &flips,
            "scores_mlp/rows.txt: there is no such file; it lists the ids of the rows of scores_mlp",
        ),
        (
            &|place| write(place, "scores_mlp/rows.txt", "a\nb\nc\n"),
            &flips,
            "scores_mlp: it has 7 rows and 1 columns, and its lists name 3 rows",
        ),
        (
            &|place| write(place, "scores_mlp/queries.txt", "q0\nq1\nq2\n"),
            &lds,
            "scores_mlp: it has 7 rows and 2 columns, and its lists name 7 rows and 3 queries",
        ),
        (
            &|place| {
                let mut bytes = fs_err::read(place.path(whole)).expect("read");
                let last = bytes.len() - 4;
                bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
                fs_err::write(place.path(whole), bytes).expect("written");
            },
            &lds,
            "scores of scores_mlp: row \"g\" has a score that is not finite",
        ),
    ];
    for (change, ask, words) in changes {
        let place = kronfluence();
        place.ok(ask);
        change(&place);
        let told = place.run(ask);
        assert!(told.code == 1 && told.stderr.contains(words), "{words}: {}", told.stderr);
    }
    let place = kronfluence();
    let told = place.run(&[&lds[..], &["-o", "scores_mlp/queries.txt", "--force"]].concat());
    let says = "scores_mlp/queries.txt is read by this command";
    assert!(told.code == 2 && told.stderr.contains(says), "{}", told.stderr);
}

#[test]
fn scores_of_gradients_are_compared_and_reported_by_the_ids_in_their_folder() {
    let place = factors::place();
    factors::fit(&place, "f", &["--strategy", "diagonal"]);
    let score = ["score", "--factors", "f", "--pool", "pool"];
    let of_queries = [&score[..], &["--target", "q", "--kronfluence", "scores_f"]].concat();
    place.ok(&[&of_queries[..], &["--report", "f.md", "-o", "table.csv"]].concat());
    place.ok(&[&score[..], &["--self", "--kronfluence", "scores_self"]].concat());
    place.ok(&[&score[..], &["--target", "q", "--sum-queries", "--kronfluence", "scores_sum"]].concat());
    let rows: String = (0..12).map(|row| format!("s{row}\n")).collect();
    for folder in ["scores_f", "scores_self", "scores_sum"] {
        assert_eq!(read(&place, &format!("{folder}/rows.txt")), rows, "{folder}");
        let queries = place.path(folder).join("queries.txt");
        assert_eq!(queries.exists(), folder == "scores_f", "{folder}");
    }
    assert_eq!(read(&place, "scores_f/queries.txt"), "s0\ns1\ns2\n");

    let (mut subsets, mut outputs) = ("subset,id\n".to_owned(), "subset,query,loss\n".to_owned());
    for subset in 0..5 {
        let rows = (0..12).filter(|row| (row + subset) % 5 < 3);
        rows.for_each(|row| subsets.push_str(&format!("{subset},s{row}\n")));
        (0..3).for_each(|query| {
            outputs.push_str(&format!("{subset},s{query},{}\n", (3 * subset + 2 * query) % 5));
        });
    }
    write(&place, "subsets.csv", &subsets);
    write(&place, "outputs.csv", &outputs);
    let both = [&OF_FOLDER[..], &["--scores", "scores_f", "table.csv", "--format", "json"]].concat();
    let report = place.json(&both);
    let values = &report["measures"][0]["values"];
    assert_eq!((&values[0]["system"], &values[1]["system"]), (&"scores_f".into(), &"table".into()));
    assert!(values[0]["mean"].is_f64() && values[0]["mean"] == values[1]["mean"], "{report}");
    let labels: String = (0..12).map(|row| format!("s{row},{}\n", u8::from(row % 3 == 0))).collect();
    write(&place, "labels.csv", &format!("id,flipped\n{labels}"));
    let flips = ["evaluate", "flips", "--labels", "labels.csv", "--scores", "scores_self"];
    let told = place.ok(&[&flips[..], &["--resamples", "200", "--format", "csv"]].concat());
    assert!(told.contains("all,flip_auc,scores_self,12,"), "{told}");

    // The report of what is there is that of the scoring, with the texts of the store or of files.
    let of_store = ["evaluate", "scores", "--dataset", "pool", "--query-dataset", "q"];
    place.ok(&[&of_store[..], &["--scores", "f=scores_f", "-o", "again.md"]].concat());
    assert_eq!(read(&place, "again.md"), read(&place, "f.md"));
    let of_files = ["evaluate", "scores", "--data", "pool.jsonl", "--query-data", "q.jsonl"];
    let printed = place.ok(&[&of_files[..], &["--scores", "f=scores_f", "table.csv"]].concat());
    let table = printed.strip_prefix(&read(&place, "f.md")).expect("the report of the first method");
    assert!(table.starts_with("# Influence scores: table\n") && table.contains("Is 11 odd?"), "{table}");
    for (ask, words) in [
        (&of_store[..], "which scores? give --scores or --sql"),
        (&[&of_files[..4], &["--scores", "table.csv"]].concat()[..], "give --query-data or --query-dataset"),
        (
            &[&of_files[..], &["--scores", "scores_f", "-o", "scores_f/rows.txt", "--force"]].concat()[..],
            "scores_f/rows.txt is read by this command",
        ),
    ] {
        let refused = place.run(ask);
        assert!(refused.code == 2 && refused.stderr.contains(words), "{words}: {}", refused.stderr);
    }

    // A folder goes on with the same rows alone.
    let refused = place.run(&[&of_queries[..], &["--limit", "6", "--force"]].concat());
    let says = "scores_f/rows.txt: it lists other ids";
    assert!(refused.code == 1 && refused.stderr.contains(says), "{}", refused.stderr);
    place.ok(&[&of_queries[..], &["--force"]].concat());
}

fn retrain(place: &Place, truth: &str, more: &[&str]) -> Command {
    let mut command = place.gstore(&["evaluate", "retrain", "--truth", truth, "--max-length", "64"]);
    command.args(["--max-steps", "2", "--batch-size", "4", "--learning-rate", "0.01", "--lora-rank", "2"]);
    command.arg("--model").arg(world::demo().join("model")).args(more);
    command
}

const DRAW: [&str; 8] =
    ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--count", "3", "--fraction", "0.5"];

#[test]
fn models_are_retrained_run_by_run_to_the_same_bits() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 12);
    world::write_samples(&place.path("queries.jsonl"), 3);
    binary::ok(&mut retrain(&place, "one", &DRAW));
    binary::ok(&mut retrain(&place, "jobs", &[&DRAW[..], &["--draw-only"]].concat()));
    assert!(!place.path("jobs/recipe.json").exists());
    for runs in ["2..3", "0..2"] {
        binary::ok(&mut retrain(&place, "jobs", &["--runs", runs, "--threads", "1"]));
    }
    for file in ["subsets.jsonl", "recipe.json", "outputs/00000.parquet", "outputs/00002.parquet"] {
        let bytes = |truth: &str| fs_err::read(place.path(truth).join(file)).expect("written");
        assert_eq!(bytes("one"), bytes("jobs"), "{file}");
    }
    assert!(!place.path("one/models/00000").exists());
    // What a kill between the record of a run and the removal of its model has left.
    fs_err::create_dir_all(place.path("one/models/00001.done/checkpoint-2")).expect("made");
    let again = binary::run(&mut retrain(&place, "one", &[]));
    assert!(!place.path("one/models/00001.done").exists());
    assert!(again.code == 0 && again.stderr.contains("3 of 3 runs done, 0 to do"), "{}", again.stderr);
    let report = place.json(&["evaluate", "lds", "--truth", "one", "--random", "--format", "json"]);
    assert_eq!((&report["kind"], &report["rows"]), (&"lds".into(), &3.into()));

    // The store's own scores, by a statement.
    place.ok(&["add", "--dataset", "pool", "--data", "pool.jsonl"]);
    let statement = "long=SELECT id, row * 1.5 AS score FROM pool";
    let report = place.json(&["evaluate", "lds", "--truth", "one", "--sql", statement, "--format", "json"]);
    assert_eq!(report["systems"][0]["name"], "long");

    let other = binary::run(&mut retrain(&place, "one", &[&DRAW[..], &["--subset-seed", "1"]].concat()));
    assert!(other.code == 1 && other.stderr.contains("other subsets"), "{}", other.stderr);
    fs_err::remove_file(place.path("one/outputs/00001.parquet")).expect("removed");
    let other = binary::run(&mut retrain(&place, "one", &["--seed", "7"]));
    assert!(other.code == 1 && other.stderr.contains("--seed 7, was 42"), "{}", other.stderr);
    for (more, words) in [
        (&["--runs", "3..4"][..], "there are 3 runs"),
        (&["--runs", "4"][..], "A..B"),
        (&["--data", "pool.jsonl"][..], "--query-data"),
        (
            &["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--fraction", "0.001"][..],
            "a share of 0.001 of 12 rows is 1 row",
        ),
    ] {
        let wrong = binary::run(&mut retrain(&place, "one", more));
        assert!(wrong.code == 2 && wrong.stderr.contains(words), "{words}: {}", wrong.stderr);
    }
}

#[test]
fn losses_of_queries_are_computed_in_f32_whatever_models_are_trained_in() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 12);
    world::write_samples(&place.path("queries.jsonl"), 3);
    place.ok(&["add", "--dataset", "pool", "--data", "pool.jsonl"]);
    let more = ["--compute", "bf16", "--keep-models", "--runs", "0..1"];
    binary::ok(&mut retrain(&place, "one", &[&DRAW[..], &more].concat()));
    let losses = |file: &str, id: &str| {
        let statement = format!("SELECT {id} AS id, loss FROM t ORDER BY id");
        place.ok(&["query", "--with", &format!("t={file}"), "--format", "json", &statement])
    };
    let kept = losses("one/outputs/00000.parquet", "query");
    for (compute, is_kept) in [("f32", true), ("bf16", false)] {
        let file = format!("{compute}.parquet");
        let ask = [
            "generate",
            "--perplexity",
            "--data",
            "queries.jsonl",
            "--max-length",
            "64",
            "--compute",
            compute,
        ];
        let mut ask = place.gstore(&ask);
        ask.args(["--adapter", "one/models/00000/checkpoint-2", "-o", &file, "--model"]);
        binary::ok(ask.arg(world::demo().join("model")));
        assert_eq!(losses(&file, "id") == kept, is_kept, "{compute}: {kept}");
    }
    // As of a version that computed them as the models are trained: two precisions are not mixed.
    let path = place.path("one/recipe.json");
    let mut recipe: Value =
        serde_json::from_str(&fs_err::read_to_string(&path).expect("read")).expect("JSON");
    let noted = recipe.as_object_mut().expect("an object").remove("precision of losses");
    assert_eq!(noted, Some("f32".into()));
    fs_err::write(&path, recipe.to_string()).expect("written");
    let refused = binary::run(&mut retrain(&place, "one", &["--compute", "bf16", "--runs", "1..2"]));
    let says = "its precision of losses is \"bf16\", not \"f32\"";
    assert!(refused.code == 1 && refused.stderr.contains(says), "{}", refused.stderr);
}

#[test]
fn a_model_whose_losses_could_not_be_written_is_not_trained_again() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 6);
    world::write_samples(&place.path("queries.jsonl"), 2);
    binary::ok(&mut retrain(&place, "one", &[&DRAW[..], &["--draw-only"]].concat()));
    // Nothing can be written to the folder of the outputs, which is none.
    fs_err::remove_dir(place.path("one/outputs")).expect("removed");
    write(&place, "one/outputs", "");
    let failed = binary::run(&mut retrain(&place, "one", &["--runs", "0..1"]));
    assert_eq!(failed.code, 1, "{}", failed.stderr);
    let adapter = |model: &str| {
        let path = place.path("one/models").join(model).join("checkpoint-2/adapter_model.safetensors");
        fs_err::metadata(path).and_then(|file| file.modified()).expect("a model")
    };
    let trained = adapter("00000.done");
    fs_err::remove_file(place.path("one/outputs")).expect("removed");
    fs_err::create_dir(place.path("one/outputs")).expect("made");
    binary::ok(&mut retrain(&place, "one", &["--runs", "0..1", "--keep-models"]));
    assert_eq!(adapter("00000"), trained);
    assert!(
        place.path("one/outputs/00000.parquet").exists() && !place.path("one/models/00000.done").exists()
    );
}

#[test]
fn a_ground_truth_is_kept_in_the_store_and_read_from_there() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 12);
    world::write_samples(&place.path("queries.jsonl"), 3);
    let queries = read(&place, "queries.jsonl");
    write(&place, "others.jsonl", &queries.replace("odd?", "even?"));
    write(&place, "more.jsonl", &read(&place, "pool.jsonl").replace("\"id\":\"s", "\"id\":\"t"));
    for name in ["pool", "queries", "others"] {
        place.ok(&["add", "--dataset", name, "--data", &format!("{name}.jsonl")]);
    }
    let kept = ["--ensemble", "retrained", "--query-dataset", "queries"];
    let draw = ["--dataset", "pool", "--count", "3", "--fraction", "0.5"];
    let nothing =
        binary::run(&mut retrain(&place, "one", &[&draw[..], &kept[..], &["--draw-only"]].concat()));
    assert!(nothing.code == 0 && nothing.stderr.contains("no run is done"), "{}", nothing.stderr);
    // Members in the order in which their runs were done.
    binary::ok(&mut retrain(&place, "one", &[&kept[..], &["--runs", "1..2"]].concat()));
    assert_eq!(place.value("SELECT count(*) FROM gstore.members WHERE ensemble = 'retrained'"), "1");
    let told = binary::run(&mut retrain(&place, "one", &kept));
    assert!(told.code == 0 && told.stderr.contains("3 members, 2 new"), "{}", told.stderr);
    let told = binary::run(&mut retrain(&place, "one", &[&kept[..], &["--draw-only"]].concat()));
    assert!(told.stderr.contains("0 added, 0 replaced, 9 there already, 0 missing"), "{}", told.stderr);
    let lds = |from: &[&str]| {
        place.json(&[&["evaluate", "lds"][..], from, &["--random", "--format", "json"]].concat())
    };
    let (stored, of_folder) = (lds(&["--ensemble", "retrained"]), lds(&["--truth", "one"]));
    assert_eq!(stored["measures"], of_folder["measures"]);
    assert_eq!(stored["findings"], of_folder["findings"]);

    let given = |model: &str| format!("{{\"model\": \"{model}\", \"id\": \"s0\", \"loss\": 1.5}}\n");
    write(&place, "losses.jsonl", &(given("a") + &given("b")));
    let import = ["import", "--from", "daunce", "--ensemble", "given", "--base", "llama"];
    place.ok(&[&import[..], &["--dataset", "queries", "--losses", "losses.jsonl"]].concat());
    let more = ["--data", "more.jsonl", "--count", "2"];
    for (truth, more, words) in [
        ("one", &["--ensemble", "given", "--query-dataset", "queries"][..], "was not made by retraining"),
        ("one", &["--ensemble", "retrained", "--query-dataset", "others"][..], "has another text there"),
        (
            "one",
            &["--ensemble", "retrained", "--query-dataset", "pool"][..],
            "queries are of dataset \"pool\"",
        ),
        ("more", &[&more[..], &kept[..]].concat()[..], "share no row with its pool"),
    ] {
        let wrong = binary::run(&mut retrain(&place, truth, more));
        assert!(wrong.code == 1 && wrong.stderr.contains(words), "{words}: {}", wrong.stderr);
    }
    let refused = |ensemble: &str, words: &str| {
        let told = place.run(&["evaluate", "lds", "--ensemble", ensemble, "--random"]);
        assert!(told.code == 1 && told.stderr.contains(words), "{words}: {}", told.stderr);
    };
    refused("given", "was not made by retraining");
    refused("nothing", "there is no ensemble \"nothing\"");
    place.ok(&["delete", "--dataset", "queries", "--id", "s1"]);
    refused("retrained", "dataset \"queries\" has changed");
    let files = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--ensemble", "retrained"];
    for more in [&["--ensemble", "retrained"][..], &files] {
        let wrong = binary::run(&mut retrain(&place, "two", more));
        assert!(wrong.code == 2 && wrong.stderr.contains("--query-dataset"), "{}", wrong.stderr);
        assert!(!place.path("two").exists(), "{more:?}");
    }
}

#[test]
fn another_ground_truth_takes_the_place_of_the_one_that_is_there() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 12);
    world::write_samples(&place.path("queries.jsonl"), 3);
    for name in ["pool", "queries"] {
        place.ok(&["add", "--dataset", name, "--data", &format!("{name}.jsonl")]);
    }
    let kept = ["--ensemble", "retrained", "--query-dataset", "queries"];
    let draw = |count| ["--dataset", "pool", "--fraction", "0.5", "--count", count];
    let run = |more: &[&str]| binary::run(&mut retrain(&place, "one", more));
    let members =
        || place.value("SELECT count(*) FROM gstore.members WHERE ensemble = 'retrained'").parse::<usize>();
    let outputs = || {
        let names = (0..4).map(|run| place.path("one").join(format!("outputs/{run:05}.parquet")));
        names.filter_map(|path| fs_err::read(path).ok()).collect::<Vec<_>>()
    };
    assert_eq!(run(&[&draw("2")[..], &kept].concat()).code, 0);
    let first = outputs();
    assert_eq!((first.len(), members()), (2, Ok(2)));
    let same = run(&[&draw("2")[..], &kept, &["--force"]].concat());
    assert!(same.code == 0 && same.stderr.contains("2 of 2 runs done, 0 to do here"), "{}", same.stderr);
    assert!(!same.stderr.contains("takes the place"), "{}", same.stderr);

    // What is refused leaves folder and ensemble as they were.
    let line = |model: &str| format!("{{\"model\": \"{model}\", \"id\": \"s0\", \"loss\": 1.5}}\n");
    write(&place, "losses.jsonl", &(line("a") + &line("b")));
    let import = ["import", "--from", "daunce", "--ensemble", "given", "--base", "llama"];
    place.ok(&[&import[..], &["--dataset", "queries", "--losses", "losses.jsonl"]].concat());
    write(&place, "one/notes.txt", "mine");
    let of_given = ["--ensemble", "given", "--query-dataset", "queries", "--force"];
    for (more, code, words) in [
        (&kept[..], 1, "with --force: its runs are then done once more"),
        (&[&kept[..], &["--force", "--runs", "9..10"]].concat()[..], 2, "there are 3 runs"),
        (&[&kept[..], &["--force"]].concat()[..], 2, "holds notes.txt, which no ground truth put there"),
        (&of_given[..], 1, "was not made by retraining"),
    ] {
        if code == 1 && more.contains(&"--force") {
            fs_err::remove_file(place.path("one/notes.txt")).expect("removed");
        }
        let refused = run(&[&draw("3")[..], more].concat());
        assert!(refused.code == code && refused.stderr.contains(words), "{words}: {}", refused.stderr);
        assert!(outputs() == first && members() == Ok(2), "{words}");
    }

    let other = run(&[&draw("3")[..], &kept, &["--force"]].concat());
    assert!(other.code == 0 && other.stderr.contains("takes the place of another one"), "{}", other.stderr);
    let second = outputs();
    assert_eq!((second.len(), members()), (3, Ok(3)));
    // Another way of training, of the same rows.
    let trained = [&kept[..], &["--seed", "7"]].concat();
    let refused = run(&trained);
    assert!(refused.code == 1 && refused.stderr.contains("trained otherwise"), "{}", refused.stderr);
    assert_eq!(run(&[&trained[..], &["--force"]].concat()).code, 0);
    assert_eq!((outputs().len(), members()), (3, Ok(3)));
    assert_ne!(outputs(), second);
    let left = fs_err::read_dir(place.path("")).expect("listed").flatten();
    assert!(!left.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".truth.")));
}

#[test]
fn rows_and_groups_are_left_out_and_the_best_are_removed() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 6);
    world::write_samples(&place.path("queries.jsonl"), 2);
    let data = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--design"];
    let groups = ["leave-group-out", "--group", "source"];
    binary::ok(&mut retrain(&place, "groups", &[&data[..], &groups].concat()));
    let report = place.json(&["evaluate", "loo", "--truth", "groups", "--random", "--format", "json"]);
    assert_eq!(report["measures"][0]["metric"], "leave_out_spearman");
    write(&place, "best.csv", "id,score\ns0,6\ns1,5\ns2,4\ns3,3\ns4,2\ns5,1\n");
    let removal = ["removal", "--scores", "best.csv", "--shares", "0.2", "--draws", "1", "--count", "1"];
    binary::ok(&mut retrain(&place, "removed", &[&data[..], &removal].concat()));
    let report = place.json(&["evaluate", "brittleness", "--truth", "removed", "--format", "json"]);
    assert_eq!((&report["systems"][1]["name"], &report["rows"]), (&"best".into(), &1.into()));
    let said = read(&place, "removed/subsets.jsonl");
    assert!(said.contains(r#""method":"best","query":"s0","share":0.2,"without":["s0"]"#), "{said}");
    // What is of another design is said first, whether its models are there or not.
    binary::ok(&mut retrain(&place, "rows", &[&data[..], &["leave-one-out", "--draw-only"]].concat()));
    for (what, truth, words) in [
        ("brittleness", "rows", "rows is of the design leave-one-out, and models of the design removal are"),
        (
            "brittleness",
            "groups",
            "groups is of the design leave-group-out, and models of the design removal",
        ),
        ("lds", "rows", "rows is of the design leave-one-out, and models of the design random are needed"),
        ("loo", "removed", "removed is of the design removal, and models of the design leave-one-out or"),
    ] {
        let args = ["evaluate", what, "--truth", truth, "--random"];
        let told = place.run(if what == "brittleness" { &args[..4] } else { &args });
        assert!(told.code == 1 && told.stderr.contains(words), "{words}: {}", told.stderr);
        assert!(!told.stderr.contains("tables") && !told.stderr.contains("--runs"), "{}", told.stderr);
    }
}

#[test]
fn flags_that_say_nothing_of_a_ground_truth_are_refused() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 6);
    world::write_samples(&place.path("queries.jsonl"), 2);
    let refused = |truth: &str, more: &[&str], words: &[&str]| {
        let wrong = binary::run(&mut retrain(&place, truth, &[more, &["--draw-only"]].concat()));
        let says = words.iter().all(|word| wrong.stderr.contains(word));
        assert!(wrong.code == 2 && says, "{more:?}: {}", wrong.stderr);
        assert!(truth == "one" || !place.path(truth).exists(), "{more:?}");
    };
    // Those of another design.
    let data = ["--data", "pool.jsonl", "--query-data", "queries.jsonl", "--design"];
    for more in [
        &["random", "--group", "source"][..],
        &["random", "--shares", "0.2"],
        &["random", "--draws", "2"],
        &["leave-one-out", "--fraction", "0.4"],
        &["leave-one-out", "--fraction", "0.5"],
        &["random", "--missing", "error"],
        &["leave-one-out", "--sql", "a=SELECT 1"],
        &["leave-group-out", "--group", "source", "--count", "2"],
        &["leave-group-out", "--group", "source", "--subset-seed", "2"],
        &["removal", "--scores", "best.csv", "--group", "source"],
        &["removal", "--scores", "best.csv", "--fraction", "0.4"],
    ] {
        refused(
            "other",
            &[&data[..], more].concat(),
            &["says nothing of --design", "it belongs to --design"],
        );
    }
    // Random rows are removed anyway, next to those of methods, and each share is trained once.
    refused("other", &[&data[..], &["removal", "--random"]].concat(), &["unexpected argument '--random'"]);
    refused("other", &[&data[..], &["removal"]].concat(), &["by which scores? give --scores or --sql"]);
    write(&place, "best.csv", "id,score\ns0,6\ns1,5\ns2,4\ns3,3\ns4,2\ns5,1\n");
    let removal = [&data[..], &["removal", "--scores", "best.csv"]].concat();
    refused(
        "other",
        &[&removal[..], &["--shares", "0.2", "0.4", "0.2"]].concat(),
        &["share 0.2 is named twice"],
    );
    // More than there are.
    for (more, words) in [
        (&["random"][..], "there are 20 of 3 of 6 rows"),
        (&["leave-one-out", "--count", "7"][..], "there are 6 rows"),
        (&["removal", "--scores", "best.csv", "--count", "3"][..], "rows are removed for 2 queries"),
    ] {
        refused("other", &[&data[..], more].concat(), &[words]);
    }
    // All of them where the folder is there, which stays what it is.
    binary::ok(&mut retrain(&place, "one", &[&DRAW[..], &["--draw-only"]].concat()));
    let before = read(&place, "one/subsets.jsonl");
    for more in [
        ["--query-data", "queries.jsonl"],
        ["--query-dataset", "queries"],
        ["--rows", "pool.jsonl"],
        ["--field", "text=answer"],
        ["--count", "2"],
        ["--fraction", "0.2"],
        ["--design", "leave-one-out"],
        ["--group", "source"],
        ["--shares", "0.2"],
        ["--draws", "2"],
        ["--repeats", "2"],
        ["--subset-seed", "3"],
        ["--scores", "best.csv"],
        ["--sql", "a=SELECT 1"],
        // Also what would hold without the flag.
        ["--fraction", "0.5"],
        ["--design", "random"],
        ["--repeats", "1"],
        ["--subset-seed", "0"],
        ["--shares", "0.05,0.1,0.2"],
        ["--draws", "5"],
        ["--missing", "error"],
    ] {
        refused("one", &more, &["is a ground truth already", more[0]]);
    }
    assert_eq!(read(&place, "one/subsets.jsonl"), before);
    binary::ok(&mut retrain(&place, "one", &["--draw-only"]));
    binary::ok(&mut retrain(&place, "one", &[&DRAW[..], &["--draw-only"]].concat()));
}

#[test]
fn files_of_a_user_are_not_replaced_by_a_ground_truth() {
    let place = Place::new();
    fs_err::create_dir(place.path("mine")).expect("made");
    world::write_samples(&place.path("mine/pool.jsonl"), 6);
    world::write_samples(&place.path("mine/queries.jsonl"), 2);
    let before = ["pool.jsonl", "queries.jsonl"].map(|name| read(&place, &format!("mine/{name}")));
    let data =
        ["--data", "mine/pool.jsonl", "--query-data", "mine/queries.jsonl", "--count", "3", "--draw-only"];
    let told = binary::run(&mut retrain(&place, "mine", &data));
    assert_eq!(told.code, 2, "{}", told.stderr);
    let says = told.stderr.contains("which no ground truth put there; give another folder with --truth");
    assert!(says && told.stderr.contains("mine holds "), "{}", told.stderr);
    let after = ["pool.jsonl", "queries.jsonl"].map(|name| read(&place, &format!("mine/{name}")));
    assert!(before == after && !place.path("mine/manifest.json").exists(), "{}", told.stderr);
    binary::ok(&mut retrain(&place, "mine/truth", &data));
}

#[test]
fn what_a_comparison_reads_is_not_replaced() {
    let place = example();
    world::write_samples(&place.path("pool.jsonl"), 6);
    world::write_samples(&place.path("queries.jsonl"), 2);
    binary::ok(&mut retrain(&place, "truth", &[&DRAW[..], &["--draw-only"]].concat()));
    for name in ["s.npy", "s.rows.txt", "labels.csv", "truth/outputs/00000.parquet", "truth/notes.md"] {
        write(&place, name, "as it was");
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
        let says = format!("{read} is read by this command");
        assert!(refused.code == 2 && refused.stderr.contains(&says), "{ask:?} {to}: {}", refused.stderr);
    }
    let now = ["daunce.csv", "subsets.jsonl", "s.rows.txt", "labels.csv"].map(|name| read(&place, name));
    assert_eq!(now, [SCORES, SUBSETS, "as it was", "as it was"]);
    // What its user keeps in the folder of a ground truth is not read.
    let told = place.run(&[&of_folder("lds")[..], &["-o", "truth/notes.md", "--force"]].concat());
    assert!(!told.stderr.contains("is read by"), "{}", told.stderr);
}

#[test]
fn models_are_retrained_with_all_their_weights() {
    let place = Place::new();
    world::write_samples(&place.path("pool.jsonl"), 8);
    world::write_samples(&place.path("queries.jsonl"), 2);
    let full = |truth: &str, more: &[&str]| {
        let mut command =
            place.gstore(&["evaluate", "retrain", "--truth", truth, "--max-length", "64", "--full"]);
        command.args(["--max-steps", "2", "--batch-size", "4", "--learning-rate", "0.001"]);
        command.arg("--model").arg(world::demo().join("model")).args(more);
        binary::ok(&mut command)
    };
    let draw = [&DRAW[..4], &["--count", "2", "--repeats", "2"]].concat();
    full("whole", &[&draw[..], &["--keep-models"]].concat());
    full("parts", &[&draw[..], &["--draw-only"]].concat());
    for runs in ["3..4", "0..3"] {
        full("parts", &["--runs", runs]);
    }
    let bytes = |truth: &str, file: &str| fs_err::read(place.path(truth).join(file)).expect("written");
    let outputs: Vec<String> = (0..4).map(|run| format!("outputs/{run:05}.parquet")).collect();
    for file in ["recipe.json", "subsets.jsonl"].into_iter().chain(outputs.iter().map(String::as_str)) {
        assert_eq!(bytes("whole", file), bytes("parts", file), "{file}");
    }
    // The models are whole ones, each other weights, whose losses of the queries are those that were kept.
    let weights = |run: usize| bytes("whole", &format!("models/{run:05}/checkpoint-2/model.safetensors"));
    assert!(!place.path("whole/models/00000/checkpoint-2/adapter_model.safetensors").exists());
    assert!(weights(0) != weights(1) && weights(0) != weights(2));
    let report = place.json(&["evaluate", "lds", "--truth", "whole", "--random", "--format", "json"]);
    assert_eq!((&report["kind"], &report["rows"]), (&"lds".into(), &2.into()));
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
    let done = binary::run(pasted.env("PATH", paths.expect("a path")));
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    assert!(read(&place, "report.md").contains("late"), "{}", read(&place, "report.md"));
    let report = read(&place, "lds/evaluation_report.md");
    assert!(report.contains("Linear datamodeling score") && report.contains("cosine"), "{report}");
}
