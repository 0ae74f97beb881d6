//! Promise: scores in a folder in Kronfluence's layout are compared like those of a table, by the ids in its
//! lists.

use std::path::Path;

use gstore_tests::place::Place;
use gstore_tests::world;
use serde_json::Value;

use crate::factors;

/// Of what Kronfluence scored, seven rows for two queries and the rows with themselves,
/// the sums over both modules.
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

/// Outputs of models of the seven rows, Kronfluence's folder `scores_mlp` with the ids of its rows and
/// queries, and the same scores as `sums.csv` and `own.csv`.
fn kronfluence() -> Place {
    let place = Place::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../app/tests/kronfluence/scores_mlp");
    world::copy_files(&from, &place.path("scores_mlp"));
    let ids = "abcdefg".chars().map(String::from).collect::<Vec<_>>();
    place.write("scores_mlp/rows.txt", ids.join("\n"));
    place.write("scores_mlp/queries.txt", "q0\nq1\n");
    let (mut subsets, mut outputs) = ("subset,id\n".to_owned(), "subset,query,loss\n".to_owned());
    for (rows, losses) in OF_SEVEN {
        rows.chars().for_each(|row| subsets.push_str(&format!("{rows},{row}\n")));
        losses.iter().enumerate().for_each(|(at, loss)| outputs.push_str(&format!("{rows},q{at},{loss}\n")));
    }
    place.write("subsets.csv", &subsets);
    place.write("outputs.csv", &outputs);
    let (mut sums, mut own) = ("id,q0,q1\n".to_owned(), "id,score\n".to_owned());
    for (at, id) in ids.iter().enumerate() {
        sums.push_str(&format!("{id},{},{}\n", PAIRWISE[0][at], PAIRWISE[1][at]));
        own.push_str(&format!("{id},{}\n", OWN[at]));
    }
    place.write("sums.csv", &sums);
    place.write("own.csv", &own);
    place.write("labels.csv", "id,flipped\na,0\nb,1\nc,0\nd,0\ne,0\nf,1\ng,0\n");
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
    let rows = place.read("rows.csv");
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
            &|place| place.write("scores_mlp/rows.txt", "a\nb\nc\n"),
            &flips,
            "scores_mlp: it has 7 rows and 1 columns, and its lists name 3 rows",
        ),
        (
            &|place| place.write("scores_mlp/queries.txt", "q0\nq1\nq2\n"),
            &lds,
            "scores_mlp: it has 7 rows and 2 columns, and its lists name 7 rows and 3 queries",
        ),
        (
            &|place| {
                let mut bytes = fs_err::read(place.path(whole)).expect("read");
                let last = bytes.len() - 4;
                bytes[last..].copy_from_slice(&f32::NAN.to_le_bytes());
                place.write(whole, bytes);
            },
            &lds,
            "scores of scores_mlp: row \"g\" has a score that is not finite",
        ),
    ];
    for (change, ask, words) in changes {
        let place = kronfluence();
        place.ok(ask);
        change(&place);
        place.run(ask).says(1, &[words]);
    }
    let place = kronfluence();
    let told = place.run(&[&lds[..], &["-o", "scores_mlp/queries.txt", "--force"]].concat());
    told.says(2, &["scores_mlp/queries.txt is read by this command"]);
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
        assert_eq!(place.read(&format!("{folder}/rows.txt")), rows, "{folder}");
        let queries = place.path(folder).join("queries.txt");
        assert_eq!(queries.exists(), folder == "scores_f", "{folder}");
    }
    assert_eq!(place.read("scores_f/queries.txt"), "s0\ns1\ns2\n");

    let (mut subsets, mut outputs) = ("subset,id\n".to_owned(), "subset,query,loss\n".to_owned());
    for subset in 0..5 {
        let rows = (0..12).filter(|row| (row + subset) % 5 < 3);
        rows.for_each(|row| subsets.push_str(&format!("{subset},s{row}\n")));
        (0..3).for_each(|query| {
            outputs.push_str(&format!("{subset},s{query},{}\n", (3 * subset + 2 * query) % 5));
        });
    }
    place.write("subsets.csv", &subsets);
    place.write("outputs.csv", &outputs);
    let both = [&OF_FOLDER[..], &["--scores", "scores_f", "table.csv", "--format", "json"]].concat();
    let report = place.json(&both);
    let values = &report["measures"][0]["values"];
    assert_eq!((&values[0]["system"], &values[1]["system"]), (&"scores_f".into(), &"table".into()));
    assert!(values[0]["mean"].is_f64() && values[0]["mean"] == values[1]["mean"], "{report}");
    let labels: String = (0..12).map(|row| format!("s{row},{}\n", u8::from(row % 3 == 0))).collect();
    place.write("labels.csv", format!("id,flipped\n{labels}"));
    let flips = ["evaluate", "flips", "--labels", "labels.csv", "--scores", "scores_self"];
    let told = place.ok(&[&flips[..], &["--resamples", "200", "--format", "csv"]].concat());
    assert!(told.contains("all,flip_auc,scores_self,12,"), "{told}");

    // The report of what is there is that of the scoring, with the texts of the store or of files.
    let of_store = ["evaluate", "scores", "--dataset", "pool", "--query-dataset", "q"];
    place.ok(&[&of_store[..], &["--scores", "f=scores_f", "-o", "again.md"]].concat());
    assert_eq!(place.read("again.md"), place.read("f.md"));
    let of_files = ["evaluate", "scores", "--data", "pool.jsonl", "--query-data", "q.jsonl"];
    let printed = place.ok(&[&of_files[..], &["--scores", "f=scores_f", "table.csv"]].concat());
    let table = printed.strip_prefix(&place.read("f.md")).expect("the report of the first method");
    assert!(table.starts_with("# Influence scores: table\n") && table.contains("Is 11 odd?"), "{table}");
    for (ask, words) in [
        (&of_store[..], "which scores? give --scores or --sql"),
        (&[&of_files[..4], &["--scores", "table.csv"]].concat()[..], "give --query-data or --query-dataset"),
        (&[&of_store[..], &["-o", "page.html"]].concat()[..], "page.html: this report is Markdown"),
        (
            &[&of_files[..], &["--scores", "scores_f", "-o", "scores_f/rows.txt", "--force"]].concat()[..],
            "scores_f/rows.txt is read by this command",
        ),
    ] {
        place.run(ask).says(2, &[words]);
    }

    // A folder takes scores of the other kind with the same rows alone, and each kind is replaced by itself.
    let own = [&score[..], &["--self", "--kronfluence", "scores_f", "--force"]].concat();
    place
        .run(&[&own[..], &["--limit", "6"]].concat())
        .says(1, &["scores_f/rows.txt: it lists different ids"]);
    let refused = place.run(&[&own[..], &["--damping", "1e-3"]].concat());
    refused.says(1, &["scores_f/score_arguments.json has damping_factor"]);
    let read = |name: &str| fs_err::read(place.path("scores_f").join(name)).expect("readable");
    let of_pairs = ["pairwise_scores.safetensors", "queries.txt", "rows.txt"];
    let before = of_pairs.map(read);
    place.run(&own).says(0, &["note: pairwise_scores.safetensors of an earlier command stays"]);
    assert_eq!(of_pairs.map(read), before);
    let of_rows = read("self_scores.safetensors");
    place.ok(&[&of_queries[..], &["--queries", "2", "--force"]].concat());
    assert_eq!(place.read("scores_f/queries.txt"), "s0\ns1\n");
    assert_eq!(read("self_scores.safetensors"), of_rows);
    place.run(&[&of_queries[..], &["--limit", "6", "--force"]].concat()).says(1, &["it lists different ids"]);
}
