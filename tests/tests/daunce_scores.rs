//! Promise: losses of models without weights are ranked, reported and judged on the command line.

use gstore_tests::place::Place;
use serde_json::Value;

const MODELS: usize = 24;

/// A pool of 40 rows and 3 queries with imported losses; the even rows move with query 0, the odd ones
/// against it, each by an amount of its own: rows that move alike have no order that halves could agree on.
/// Models 4 and 9 have the same losses.
fn place() -> Place {
    let place = Place::new();
    let mut state = 7u64;
    let mut number = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / 16_777_216.0 - 0.5
    };
    let shared: Vec<f64> = (0..MODELS).map(|_| number()).collect();
    for (dataset, rows) in [("pool", 40), ("queries", 3)] {
        let (mut samples, mut losses) = (String::new(), String::from("id"));
        (0..MODELS).for_each(|k| losses.push_str(&format!(",m{k}")));
        losses.push('\n');
        for i in 0..rows {
            samples.push_str(&format!(
                "{{\"id\":\"{dataset}-{i}\",\"text\":\"about | <{dataset}> {i}\\u001b\"}}\n"
            ));
            let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
            let moves = sign * (1.0 + f64::from(i) / 40.0);
            let mut own: Vec<f64> = shared.iter().map(|s| 2.0 + moves * s + 0.1 * number()).collect();
            own[9] = own[4];
            let own: Vec<String> = own.iter().map(|loss| format!("{loss:.6}")).collect();
            losses.push_str(&format!("{dataset}-{i},{}\n", own.join(",")));
        }
        place.write(&format!("{dataset}.jsonl"), samples);
        place.write(&format!("{dataset}.csv"), losses);
        place.add(dataset);
        let file = format!("{dataset}.csv");
        place.typed(&format!(
            "import --from daunce --ensemble gpt --base an-api --dataset {dataset} --losses {file}"
        ));
    }
    place
}

fn asked<'a>(what: &'a str, args: &[&'a str]) -> Vec<&'a str> {
    [&["daunce", what, "--pool", "pool", "--target", "queries"], args].concat()
}

fn ok(place: &Place, what: &str, args: &[&str]) -> String {
    place.ok(&asked(what, args))
}

#[test]
fn both_ends_of_a_ranking_are_shown_with_their_errors() {
    let place = place();
    let text = ok(&place, "query", &["--score", "corr", "--top", "4", "--by", "dataset", "--format", "json"]);
    let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(rows.len(), 8);
    for row in &rows {
        let best = row["side"] == "best";
        assert_eq!(row["row"].as_u64().expect("a row") % 2 == 0, best, "{row}");
        assert_eq!((row["models"].as_u64(), row["z"].is_number()), (Some(MODELS as u64), true), "{row}");
        assert!(row["text"].as_str().expect("a text").contains("<pool>"), "{row}");
    }
    let table = ok(&place, "query", &["--top", "2", "--format", "table"]);
    assert!(table.contains("noise_floor") && table.contains("worst"), "{table}");
    let said = place.run(&["daunce", "query", "--pool", "pool", "--target", "queries"]).stderr;
    assert!(said.contains("fewer than 30") && said.contains("correlate by 0.21"), "{said}");
}

#[test]
fn a_report_has_texts_scores_and_errors_in_three_forms() {
    let place = place();
    for name in ["report.md", "report.html", "report.json"] {
        ok(&place, "report", &["--top", "2", "-o", name]);
    }
    let report = place.read_json("report.json");
    assert_eq!(report["queries"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["queries"][0]["id"], "queries-0");
    assert_eq!(report["queries"][0]["best"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["queries"][0]["best"][0]["row"].as_u64().map(|row| row % 2), Some(0));
    assert_eq!(report["queries"][1]["best"][0]["row"].as_u64().map(|row| row % 2), Some(1));
    assert!(report["agreement"]["at"].as_array().is_some_and(|at| !at.is_empty()));
    let markdown = place.read("report.md");
    assert!(
        markdown.contains("## queries: queries-2") && markdown.contains("about \\| &lt;pool>"),
        "{markdown}"
    );
    let html = place.read("report.html");
    for text in [&markdown, &html] {
        assert!(text.contains("\\u{1b}") && !text.contains('\u{1b}'), "{text}");
    }
    assert!(
        html.contains("about | &lt;pool&gt;") && html.contains("<svg") && !html.contains("<script"),
        "{html}"
    );
    place.run(&asked("report", &["-o", "report.pdf"])).says(2, &[".md, .html or .json"]);
}

#[test]
fn the_agreement_of_halves_is_a_table_json_and_a_picture() {
    let place = place();
    let found: Value =
        serde_json::from_str(&ok(&place, "agreement", &["--json", "--top", "5"])).expect("JSON");
    let at = found["at"].as_array().expect("a list");
    assert_eq!(at.last().map(|at| at["models"].as_u64()), Some(Some(MODELS as u64)));
    // What `--until agreement=0.8` looks at.
    let last = |key: &str| at.last().and_then(|at| at[key].as_f64()).expect("a number");
    let half = last("split_half");
    assert!(half > 0.8, "{found}");
    assert!((last("spearman_brown") - 2.0 * half / (1.0 + half)).abs() < 1e-12, "{found}");
    let table = ok(&place, "agreement", &[]);
    assert!(table.contains("split half") && table.contains("24"), "{table}");
    ok(&place, "agreement", &["-o", "agreement.svg"]);
    assert!(place.read("agreement.svg").contains("<svg"));
}

#[test]
fn rows_without_all_losses_are_no_part_of_the_agreement() {
    let place = place();
    // Each of the rows lacks the loss of one of two models.
    let lacks = |rows: std::ops::Range<usize>| {
        let text = place.read("pool.csv");
        let lines = text.lines().enumerate().map(|(at, line)| {
            let mut cells: Vec<&str> = line.split(',').collect();
            if rows.contains(&at) {
                cells[1 + at % 2] = "";
            }
            cells.join(",") + "\n"
        });
        place.write("lacks.csv", lines.collect::<String>());
        let ensemble = format!("lacks-{}", rows.len());
        for (dataset, file) in [("pool", "lacks.csv"), ("queries", "queries.csv")] {
            place.typed(&format!(
                "import --from daunce --ensemble {ensemble} --base an-api --dataset {dataset} --losses {file}"
            ));
        }
        ensemble
    };
    let some = lacks(1..4);
    let about = ["--ensemble", some.as_str(), "--missing", "pairwise"];
    let table = ok(&place, "agreement", &about);
    assert!(
        table.contains("37 rows, 3 queries") && table.contains("3 rows and 0 queries without"),
        "{table}"
    );
    ok(&place, "report", &[&about[..], &["-o", "some.md"]].concat());
    assert!(place.read("some.md").contains("- 3 rows and 0 queries without"));
    let none = lacks(1..41);
    let about = ["--ensemble", none.as_str(), "--missing", "pairwise"];
    place.run(&asked("agreement", &about)).says(1, &["40 rows and 0 queries", "nothing is left to compare"]);
    ok(&place, "report", &[&about[..], &["-o", "none.md"]].concat());
    assert!(place.read("none.md").contains("nothing is left to compare"));
}

#[test]
fn copies_among_the_models_are_found() {
    let place = place();
    let found = place.json(&["daunce", "diagnose", "--ensemble", "gpt", "--json"]);
    for (at, dataset) in ["pool", "queries"].into_iter().enumerate() {
        let found = &found["losses"][at];
        assert_eq!(found["of"], dataset);
        let findings = found["findings"].as_array().expect("a list");
        let what: Vec<&str> = findings.iter().filter_map(|finding| finding["what"].as_str()).collect();
        assert_eq!(what, ["identical", "few_models"], "{found}");
    }
    // It is said when losses are taken in, too.
    let again =
        ["import", "--from", "daunce", "--ensemble", "gpt", "--dataset", "pool", "--losses", "pool.csv"];
    let said = place.run(&again).stderr;
    assert!(
        said.contains("warning: models m4, m9 have the same losses") && said.contains("(pool)"),
        "{said}"
    );
    let text = place.ok(&["daunce", "diagnose", "--ensemble", "gpt", "--of", "pool"]);
    assert!(text.contains("models m4, m9 have the same losses") && !text.contains("queries:"), "{text}");
}

#[test]
fn a_selection_by_losses_writes_the_original_lines_and_the_errors() {
    let place = place();
    place.typed(
        "select --pool pool --target queries:queries --method daunce --score corr --top 6 -o selected.jsonl",
    );
    let lines = place.read("selected.jsonl");
    assert_eq!(lines.lines().count(), 6);
    let scores = place.read("selected.jsonl.scores.csv");
    assert_eq!(scores.lines().next(), Some("id,row,score,subtask,se,z,models,noise_floor"));
}

#[test]
fn models_are_centred_by_their_losses_however_these_came() {
    let place = Place::new();
    let samples = |ids: &[&str]| -> String {
        ids.iter().map(|id| format!("{{\"id\":\"{id}\",\"text\":\"{id}\"}}\n")).collect()
    };
    place.write("pool.jsonl", samples(&["t0", "t1", "t2"]));
    place.write("target.jsonl", samples(&["q0"]));
    let losses = [
        ("pool", "id,m0,m1,m2,m3\nt0,1.2,1.0,1.4,1.1\nt1,0.5,0.65,0.4,0.55\nt2,2.0,2.1,1.7,2.4\n"),
        ("target", "id,m0,m1,m2,m3\nq0,0.9,0.7,1.05,0.85\n"),
    ];
    let import = |ensemble: &str, dataset: &str, file: &str| {
        let of = ["import", "--from", "daunce", "--ensemble", ensemble, "--base", "b"];
        place.ok(&[&of[..], &["--dataset", dataset, "--losses", file]].concat());
    };
    for (dataset, text) in losses {
        place.add(dataset);
        place.write("all.csv", text);
        import("one", dataset, "all.csv");
        // The offsets are those of the first model, then others are relative to them.
        let cut = |columns: &[usize]| -> String {
            let cells = |line: &str| {
                let cells: Vec<&str> = line.split(',').collect();
                columns.iter().map(|column| cells[*column]).collect::<Vec<_>>().join(",") + "\n"
            };
            text.lines().map(cells).collect()
        };
        for columns in [&[0, 1][..], &[0, 2, 3, 4]] {
            place.write("some.csv", cut(columns));
            import("two", dataset, "some.csv");
        }
        place.write(&format!("{dataset}.csv"), text);
    }
    place.write("base-pool.csv", "id,b\nt0,1.0\nt1,0.5\nt2,2.0\n");
    place.write("base-target.csv", "id,b\nq0,0.8\n");
    let table = |dataset: &str| {
        let (losses, base) = (format!("{dataset}.csv"), format!("base-{dataset}.csv"));
        serde_json::json!({"dataset": dataset, "losses": losses, "base_losses": base})
    };
    let manifest =
        serde_json::json!({"ensemble": "based", "base": "b", "tables": [table("pool"), table("target")]});
    place.write("manifest.json", manifest.to_string());
    place.ok(&["import", "--from", "daunce", "manifest.json"]);
    // By hand: of each loss the mean of its model over the pool, then the mean of the products over 3.
    let wanted = [0.08212963, 0.35462963, -0.43675926];
    for ensemble in ["one", "two", "based"] {
        let sql = format!(
            "SELECT score FROM daunce('pool', 'target', ensemble => '{ensemble}', center => 'model') ORDER BY id"
        );
        let found = place.csv(&sql);
        let scores: Vec<f64> = found.lines().skip(1).map(|x| x.parse().expect("a score")).collect();
        assert_eq!(scores.len(), 3, "{found}");
        let is_near = scores.iter().zip(wanted).all(|(got, want)| (got - want).abs() < 1e-6);
        assert!(is_near, "{ensemble}: {scores:?}");
    }
}
