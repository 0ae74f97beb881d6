//! Promise: a prefilter keeps rows of which it knows that they are wanted, or cannot say that they are not: labelled
//! rows of the true top, and rows of which a value is missing.

use gstore_store::Store;
use gstore_tests::made::{Numbers, gradients};
use gstore_tests::place::Place;
use serde_json::{Value, json};

use super::prefilter::{DIM, ROWS, fit, line, place_of, signal, vector};

/// Applies the prefilter `cheap`; gives what it says, and the lines that it keeps.
fn applied(place: &Place) -> (String, String) {
    let done = place.run(&["prefilter", "apply", "cheap", "--pool", "pool", "-o", "kept.jsonl"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    (done.stderr, fs_err::read_to_string(place.path("kept.jsonl")).expect("written"))
}

fn has(lines: &str, row: u64) -> bool {
    lines.contains(&format!("\"pool{row}\""))
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn labelled_rows_of_the_top_are_kept_whatever_is_predicted_of_them() {
    // Rows near the best one, of which the column says the opposite; the last one has no label.
    let mistaken = [321, 642, 963, 1605];
    let place = place_of(1400, |row| {
        let mut line = line(row);
        line["hint"] = json!(if mistaken.contains(&row) { -1.0 } else { signal(row) });
        line
    });
    let report = place.json(&fit("cheap", &["--inputs", "hint", "--random-labels", "--json"]));
    // 70 rows of the top are labelled, of 100: four of them may be predicted to be lower than a cut.
    let choice = &report["report"]["choice"];
    assert!(number(&choice["bound"]) >= 0.95 && number(&choice["recall"]) < 1.0, "{report:#}");
    let said = |what: &str, condition: &str| {
        place.value(&format!("SELECT {what} FROM predicted('pool', 'cheap') WHERE {condition}"))
    };
    assert_eq!(said("count(DISTINCT predicted_q)", "row IN (321, 642, 963, 1605)"), "1", "of one value");
    assert_eq!(said("count(*)", "kept AND row IN (321, 642, 963)"), "3");
    assert_eq!(said("count(*)", "kept AND row = 1605"), "0");
    let (_, kept) = applied(&place);
    for (row, is_kept) in [(321, true), (642, true), (963, true), (1605, false)] {
        assert_eq!(has(&kept, row), is_kept, "{row}");
    }
    assert_eq!(said("count(*)", "kept"), kept.lines().count().to_string());
    // The same ids in another dataset are other rows: none is kept for a label.
    place.ok(&["add", "--dataset", "other", "--data", "pool.jsonl"]);
    let other =
        "SELECT count(*) FROM predicted('other', 'cheap') WHERE kept AND row IN (321, 642, 963, 1605)";
    assert_eq!(place.value(other), "0");
    let cost = number(&report["report"]["cost"]["kept"]) * ROWS as f64;
    assert!((cost - kept.lines().count() as f64).abs() < 60.0, "{cost} and {}", kept.lines().count());
}

#[test]
fn labelled_rows_count_as_found_only_where_they_were_drawn_at_random() {
    let place = place_of(ROWS, line);
    let bound = |more: &[&str]| {
        let all = [&["--inputs", "x", "--budget", "30%", "--force", "--json"][..], more].concat();
        let report = place.json(&fit("cheap", &all));
        let told = report["report"]["notes"].to_string().contains("drawn at random from all rows of `pool`");
        let noted = place.value("SELECT provenance FROM gstore.artifacts");
        (number(&report["report"]["choice"]["bound"]), told, noted)
    };
    // All rows have gradients, and the seed draws 1,000 of them.
    let (of_draw, told, noted) = bound(&["--labels", "1000"]);
    assert!(!told && noted.contains("by_seed"), "{noted}");
    // Half of them in another dataset, of which gstore does not know that they are any half.
    place.ok(&["add", "--dataset", "few", "--data", "pool.jsonl"]);
    let store = Store::open(place.path("store")).expect("a store");
    let mut numbers = Numbers(5);
    gradients(&store, "few", ROWS, DIM, |row| vector(&mut numbers, row));
    place.ok(&["delete", "--dataset", "few", "--where", "hash(id, 7) % 2 <> 0"]);
    let (alone, told, noted) = bound(&["--labels-of", "few"]);
    assert!(told && noted.contains("unknown"), "{noted}");
    let (stated, told, noted) = bound(&["--labels-of", "few", "--random-labels"]);
    assert!(!told && noted.contains("as_stated"), "{noted}");
    // Fifty rows of the top that all pass a cut bound its recall by 0.05^(1/50); half of the top is found besides.
    assert!(alone < 0.955 && stated > alone && of_draw > alone, "{alone}, {stated}, {of_draw}");
}

#[test]
fn so_many_labels_are_drawn_of_the_rows_with_gradients() {
    let place = place_of(400, line);
    let of = |labels: &str| {
        let more = ["--inputs", "x", "--budget", "30%", "--dry-run", "--json", "--labels", labels];
        let report = place.json(&fit("cheap", &more));
        let (rows, labelled) = (&report["report"]["rows"], &report["report"]["cost"]["labelled"]);
        assert_eq!(rows, labelled, "{report:#}");
        (number(rows), report["report"]["notes"].to_string())
    };
    // Of 2,000 rows 400 have gradients: 1,000 labels are all of these, however large the pool is.
    let (rows, notes) = of("1000");
    assert!(rows == 400.0 && !notes.contains("not drawn as labels"), "{rows}: {notes}");
    let (rows, notes) = of("300");
    assert!(
        rows == 300.0 && notes.contains("100 rows of `pool` with gradients were not drawn"),
        "{rows}: {notes}"
    );
}

#[test]
fn rows_of_which_a_value_is_missing_are_not_learned_from_and_are_kept() {
    let is_missing = |row: u64| row % 10 == 7;
    let place = place_of(1400, |row| {
        let mut line = line(row);
        if !is_missing(row) {
            line["hint"] = json!(signal(row));
        }
        line
    });
    let report = place.json(&fit("cheap", &["--inputs", "hint", "--json"]));
    assert_eq!(report["report"]["rows"], 1260, "{report:#}");
    assert!(report["report"]["notes"].to_string().contains("140 labelled rows were left out"), "{report:#}");
    let (said, kept) = applied(&place);
    assert!(said.contains("200 rows without a prediction"), "{said}");
    assert!((0..ROWS).filter(|row| is_missing(*row)).all(|row| has(&kept, row)));
    let lines = kept.lines().count() as f64;
    assert!(lines < 0.4 * ROWS as f64, "{lines}");
    // What they take is in the cost.
    let cost = number(&report["report"]["cost"]["kept"]) * ROWS as f64;
    assert!((cost - lines).abs() < 60.0, "{cost} and {lines}");
    let unsaid = "SELECT count(*) FROM predicted('pool', 'cheap') WHERE score IS NULL";
    assert_eq!(place.value(unsaid), "200");
    assert_eq!(place.value(&format!("{unsaid} AND kept")), "200");
}
