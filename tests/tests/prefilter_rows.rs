//! Promise: a prefilter keeps rows that it knows to be wanted, or cannot rule out: labelled rows of the true
//! top, and rows with a missing value.

use gstore_tests::made::{Numbers, append, gradients, projected};
use gstore_tests::place::Place;
use serde_json::{Value, json};

use super::prefilter::{DIM, ROWS, add, fit, line, place_of, signal, vector};

/// Applies the prefilter `cheap`; gives what it says, and the lines that it keeps.
fn applied(place: &Place) -> (String, String) {
    let done = place.done(&["prefilter", "apply", "cheap", "--pool", "pool", "-o", "kept.jsonl"]);
    (done.stderr, place.read("kept.jsonl"))
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
    // What the report says is kept is what is kept, also where the budget is a share of the pool.
    let told = |report: &Value| (number(&report["report"]["cost"]["kept"]) * ROWS as f64).round() as usize;
    assert_eq!(told(&report), kept.lines().count());
    let share = ["--inputs", "hint", "--random-labels", "--budget", "3%", "--force", "--json"];
    let report = place.json(&fit("cheap", &share));
    fs_err::remove_file(place.path("kept.jsonl")).expect("removed");
    let (_, kept) = applied(&place);
    assert!(kept.lines().count() > 60, "labelled rows of the top are kept beside the 60 of the cut");
    assert_eq!(told(&report), kept.lines().count());
    // A sample that has the id of a labelled row since then has no label.
    assert_eq!(said("count(*)", "kept AND row IN (321, 642)"), "2");
    place.ok(&["delete", "--dataset", "pool", "--where", "row = 321"]);
    let mut again = line(321);
    again["hint"] = json!(-1.0);
    place.write("again.jsonl", format!("{again}\n"));
    place.ok(&["add", "--dataset", "pool", "--data", "again.jsonl", "--restore-deleted"]);
    assert_eq!(said("count(*)", &format!("row >= {ROWS}")), "1");
    assert_eq!(said("count(*)", &format!("kept AND (row >= {ROWS} OR row = 642)")), "1");
}

#[test]
fn labelled_rows_are_as_large_a_part_of_the_sample_as_of_the_pool() {
    // More rows than are predicted for the report, and a column that says nothing of their gradients.
    const POOL: u64 = 24_000;
    let place = Place::new();
    let unlike = |row: u64| (row * 7919 % POOL) as f64;
    let line = |row: u64| json!({"id": format!("pool{row}"), "text": row.to_string(), "x": unlike(row)});
    let store = add(&place, "pool", (0..POOL).map(line));
    let mut numbers = Numbers(5);
    gradients(&store, "pool", POOL, DIM, |_| numbers.vector(DIM));
    append(&store, "q", 4);
    gradients(&store, "q", 4, DIM, |_| numbers.vector(DIM));
    // 2,000 labelled rows of the top are kept, beside 3 % of the others.
    let of = ["--inputs", "x", "--labels", "4000", "--top", "50%", "--budget", "3%", "--json"];
    let told = number(&place.json(&fit("cheap", &of))["report"]["cost"]["kept"]) * POOL as f64;
    let kept = place.value("SELECT count(*) FROM predicted('pool', 'cheap') WHERE kept");
    let kept: f64 = kept.parse().expect("a number");
    assert!((told - kept).abs() < 120.0, "{told} of {kept}");
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
    let store = place.store();
    let mut numbers = Numbers(5);
    gradients(&store, "few", ROWS, DIM, |row| vector(&mut numbers, row));
    place.ok(&["delete", "--dataset", "few", "--where", "hash(id, 7) % 2 <> 0"]);
    let (alone, told, noted) = bound(&["--labels-of", "few"]);
    assert!(told && noted.contains("unknown"), "{noted}");
    let (stated, told, noted) = bound(&["--labels-of", "few", "--random-labels"]);
    assert!(!told && noted.contains("as_stated"), "{noted}");
    // Fifty rows of the top that all pass a cut bound its recall by 0.05^(1/50); half of
    // the top is found besides.
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
fn noise_is_that_of_the_rows_that_are_judged_on() {
    let place = Place::new();
    // Ids of the datasets: the pool's rows, and of 300 with labels 100 that it lacks.
    let file = |name: &str, ids: &dyn Fn(u64) -> u64, count: u64| {
        add(&place, name, (0..count).map(|row| line(ids(row))));
    };
    file("pool", &|row| row, 600);
    file("few", &|row| if row < 200 { 3 * row } else { 10_000 + row }, 300);
    let store = place.store();
    // The score of a row, all coordinates alike, and noise of each.
    let mut numbers = Numbers(5);
    let mut of = |signal: f64, noise: f32| -> Vec<f32> {
        numbers.vector(DIM).iter().map(|x| signal as f32 + noise * x).collect()
    };
    // Rows elsewhere are all noise, which is of no concern to those in the pool.
    projected(
        &store,
        "few",
        300,
        DIM,
        |row| if row < 200 { of(signal(3 * row), 0.1) } else { of(0.0, 20.0) },
    );
    append(&store, "q", 2);
    projected(&store, "q", 2, DIM, |_| vec![1.0; DIM as usize]);
    let more = ["--labels-of", "few", "--inputs", "x", "--budget", "30%", "--json", "--sim", "dot"];
    let said = place.done(&fit("cheap", &more));
    let report = said.json();
    let reliability = |report: &Value| {
        let of = &report["report"]["targets"][0]["reliability"];
        (of["rows"].as_u64().expect("rows"), number(&of["value"]))
    };
    let (rows, value) = reliability(&report);
    assert!(rows == 200 && value > 0.9, "{report:#}");
    assert!(said.stderr.contains("is not noise (200 rows)"), "{}", said.stderr);
    let notes = report["report"]["notes"].to_string();
    assert!(notes.contains("100 labelled ids are not in the pool"), "{notes}");
    assert_eq!(report["report"]["cost"]["labelled"], 200, "gradients of other rows are no labels");
    let why = "a preconditioner mixes the coordinates";
    assert!(!notes.contains("is not known"), "{notes}");
    // Where nothing is known of it, the reason is told.
    place.ok(&["factors", "gram", "g", "--dataset", "few"]);
    let solved = ["--labels-of", "few", "--inputs", "x", "--budget", "30%", "--json", "--precondition", "g"];
    let report = place.run(&[&fit("solved", &solved)[..], &["--dry-run"]].concat()).json();
    let target = &report["report"]["targets"][0];
    assert!(target["reliability"].is_null() && target["ceiling"].is_null(), "{target:#}");
    assert_eq!(report["report"]["notes"].to_string().matches(why).count(), 1, "{report:#}");
    let other = place.run(&["prefilter", "apply", "g", "--pool", "pool", "-o", "kept.jsonl"]);
    assert!(other.stderr.contains("`g` is of the kind gram, not prefilter"), "{}", other.stderr);
    // Of the artifacts, only prefilters are what it could be.
    let listed = "there is no prefilter \"zz\"; available: cheap";
    for unknown in [
        &["prefilter", "apply", "zz", "--pool", "pool", "-o", "kept.jsonl"][..],
        &["query", "SELECT * FROM predicted('pool', 'zz')"],
    ] {
        place.run(unknown).fails(&[listed]).lacks(&["cheap, g"]);
    }

    // 100 rows of the pool were learned from; others that are judged on have labels that are mostly noise.
    file("judged", &|row| if row < 100 { 3 * row } else { 3 * row + 1 }, 250);
    projected(&store, "judged", 250, DIM, |row| {
        if row < 100 { of(signal(3 * row), 0.1) } else { of(signal(3 * row + 1), 20.0) }
    });
    let judge =
        ["prefilter", "evaluate", "cheap", "--pool", "pool", "--target", "q", "--labels-of", "judged"];
    let report = place.json(&[&judge[..], &["--json", "--sim", "dot", "--resamples", "100"]].concat());
    let (rows, value) = reliability(&report);
    // Of 150 rows after those, 100 are in the pool.
    assert!(report["report"]["rows"] == 100 && rows == 100 && value < 0.8, "{report:#}");
    let notes = report["report"]["notes"].to_string();
    assert!(notes.contains("50 labelled ids are not in the pool"), "{notes}");
}

/// A projection by random signs.
fn signs(seed: u64, vectors: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let mut numbers = Numbers(seed);
    let lines: Vec<Vec<f32>> = (0..2 * DIM).map(|_| numbers.vector(vectors[0].len() as u32)).collect();
    let product = |vector: &Vec<f32>, line: &Vec<f32>| {
        vector.iter().zip(line).map(|(x, y)| x * y.signum()).sum::<f32>()
    };
    vectors.iter().map(|vector| lines.iter().map(|line| product(vector, line)).collect()).collect()
}

#[test]
fn the_reliability_of_a_maximum_is_what_another_projection_says() {
    const ROWS: u64 = 600;
    let mut numbers = Numbers(9);
    let directions: Vec<Vec<f32>> = (0..4).map(|_| numbers.vector(200)).collect();
    // Two thirds of the rows have something of one of the subtasks.
    let mut mixed = |row: u64| -> Vec<f32> {
        let own = numbers.vector(200);
        match directions.get((row % 6) as usize) {
            Some(direction) => own.iter().zip(direction).map(|(own, of)| own + 0.4 * of).collect(),
            None => own,
        }
    };
    let pool: Vec<Vec<f32>> = (0..ROWS).map(&mut mixed).collect();
    let target: Vec<Vec<f32>> = (0..12).map(|row| mixed(row % 4)).collect();
    let place = Place::new();
    let of_target = |row: u64| json!({"id": row.to_string(), "text": "", "subtask": (row % 4).to_string()});
    // What one other projection says is chance in good part: several are asked.
    let others = ["other2", "other3", "other4", "other5"];
    for (name, seed) in ["pool"].into_iter().chain(others).zip(1..) {
        for (name, vectors, line) in [
            (name.to_owned(), &pool, &line as &dyn Fn(u64) -> Value),
            (format!("q_{name}"), &target, &of_target as &dyn Fn(u64) -> Value),
        ] {
            let count = vectors.len() as u64;
            let store = add(&place, &name, (0..count).map(line));
            let found = signs(seed, vectors);
            projected(&store, &name, count, 2 * DIM, |row| found[row as usize].clone());
        }
    }
    for terms in [["max", "cosine"], ["min", "cosine"], ["mean", "cosine"], ["max", "dot"]] {
        let [across, sim] = terms;
        let more = ["--inputs", "x", "--budget", "30%", "--dry-run", "--json", "--resamples", "100"];
        let fit = ["prefilter", "fit", "cheap", "--pool", "pool", "--target", "q_pool"];
        let told = place.run(&[&fit[..], &more, &["--across", across, "--sim", sim]].concat());
        // All rows have labels, so that nothing is saved; the report is there.
        told.says(4, &[]);
        let report = told.json();
        let found = &report["report"]["targets"][0]["reliability"];
        let of =
            |name: &str| format!("influence('{name}', 'q_{name}', across => '{across}', sim => '{sim}')");
        let with = |other: &&str| -> f64 {
            let said = place.value(&format!(
                "SELECT (avg(a.score * b.score) - avg(a.score) * avg(b.score)) / sqrt((avg(a.score * a.score) - \
                 avg(a.score) * avg(a.score)) * (avg(b.score * b.score) - avg(b.score) * avg(b.score))) FROM {} a JOIN {} b ON \
                 a.row = b.row",
                of("pool"),
                of(other)
            ));
            said.parse().expect("a number")
        };
        let truth = others.iter().map(with).sum::<f64>() / others.len() as f64;
        // The interval is of 95 %, that of 600 rows, and of the few projections that
        // are asked: 0.02 each way.
        let (low, high) = (number(&found["interval"]["low"]), number(&found["interval"]["high"]));
        assert!(low - 0.02 < truth && truth < high + 0.02, "{terms:?}: {truth} and {found}");
        let value = number(&found["value"]);
        assert!(low < value && value < high && high - low < 0.4, "{terms:?}: {truth} and {found}");
    }
}

#[test]
fn recall_and_bound_hold_where_an_input_is_missing_unevenly() {
    // The best 60 % of the rows have the column, and all rows have gradients.
    let place = place_of(ROWS, |row| {
        let mut line = line(row);
        if signal(row) >= -0.2 {
            line["hint"] = json!(signal(row));
        }
        line
    });
    let of_labels = ["--inputs", "hint", "--labels", "600", "--top", "20%", "--force", "--json"];
    let kept_top = || {
        let kept: f64 = place
            .value(
                "SELECT count(*) FROM predicted('pool', 'cheap') p JOIN (SELECT row FROM influence('pool', 'q') ORDER BY score \
                 DESC LIMIT 400) t ON p.row = t.row WHERE p.kept",
            )
            .parse()
            .expect("a number");
        kept / 400.0
    };
    let of_recall = place.json(&fit("cheap", &[&of_labels[..], &["--recall", "95%"]].concat()));
    let report = &of_recall["report"];
    assert_eq!(report["targets"][0]["top"], 120, "a fifth of all labelled rows: {report:#}");
    let true_recall = kept_top();
    assert!(number(&report["choice"]["bound"]) >= 0.95 && true_recall >= 0.95, "{true_recall}: {report:#}");
    // Labelled rows that the fit has not seen say the same, those without the column among them.
    let judge = ["prefilter", "evaluate", "cheap", "--pool", "pool", "--target", "q", "--resamples", "100"];
    let judged = place.json(&[&judge[..], &["--json"]].concat());
    for (key, all) in [("rows", 1200.0), ("lacking", 800.0)] {
        let (fitted, others) = (number(&report[key]), number(&judged["report"][key]));
        assert!(fitted > 0.0 && fitted + others == all, "{key}: {fitted} and {others}");
    }
    assert!(number(&judged["report"]["choice"]["recall"]) >= 0.95, "{judged:#}");
    // A fifth of the rows with the column is 240 of the 400 of the top; labelled ones are kept besides.
    let of_share = place.json(&fit("cheap", &[&of_labels[..], &["--budget", "20%"]].concat()));
    let cut = &of_share["report"]["choice"]["cuts"][0];
    let (alone, with_labelled) = (number(&cut["recall"]), number(&cut["with_labelled"]));
    let true_recall = kept_top();
    assert!(
        (alone - 0.6).abs() < 0.1 && (with_labelled - true_recall).abs() < 0.06,
        "{true_recall}: {cut:#}"
    );
    assert!(number(&cut["bound"]) <= true_recall, "{true_recall}: {cut:#}");
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
    assert!(report["report"]["notes"].to_string().contains("140 labelled rows lack a feature"), "{report:#}");
    assert_eq!(
        (&report["report"]["lacking"], &report["report"]["targets"][0]["top"]),
        (&json!(140), &json!(70))
    );
    let (said, kept) = applied(&place);
    assert!(said.contains("200 rows without a prediction"), "{said}");
    assert!((0..ROWS).filter(|row| is_missing(*row)).all(|row| has(&kept, row)));
    let lines = kept.lines().count() as f64;
    assert!(lines < 0.4 * ROWS as f64, "{lines}");
    // What they take is in the cost.
    let cost = number(&report["report"]["cost"]["kept"]) * ROWS as f64;
    assert!((cost - lines).abs() < 0.5, "{cost} and {lines}");
    let unsaid = "SELECT count(*) FROM predicted('pool', 'cheap') WHERE score IS NULL";
    assert_eq!(place.value(unsaid), "200");
    assert_eq!(place.value(&format!("{unsaid} AND kept")), "200");
}

#[test]
fn a_missing_text_is_no_missing_value() {
    // Of labelled rows and of others.
    let place = place_of(1400, |row| {
        let mut line = line(row);
        match row % 10 {
            7 => {
                let _ = line.as_object_mut().expect("an object").remove("source");
            }
            8 if row >= 1400 => line["source"] = json!("elsewhere"),
            _ => {}
        }
        line
    });
    let report = place.json(&fit("cheap", &["--inputs", "x,source", "--json"]));
    assert_eq!((&report["report"]["rows"], &report["report"]["lacking"]), (&json!(1400), &json!(0)));
    let (said, _) = applied(&place);
    assert!(!said.contains("without a prediction"), "{said}");
    let count = |rows: &str| {
        place.value(&format!(
            "SELECT count(*) FROM predicted('pool', 'cheap') WHERE score IS NOT NULL AND {rows}"
        ))
    };
    assert_eq!((count("row % 10 = 7"), count("row % 10 = 8")), ("200".to_owned(), "200".to_owned()));
    assert_ne!(count("row % 10 = 7 AND NOT kept"), "0");
}
