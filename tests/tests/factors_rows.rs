//! Promise: rows that are stored in the eigenbasis of factors score like their whole gradients, through any
//! filter, and have the tokens that the factors were fitted on; the documented way to TRAK's scores gives
//! them.

use std::collections::BTreeMap;

use crate::factors::{MODULES, assert_near, demo, place, scores, summed, table};
use gstore_core::correlation::spearman;
use gstore_tests::place::Place;
use serde_json::Value;

#[test]
fn stored_rows_score_as_whole_gradients() {
    let place = place();
    let model = demo("model");
    let model = model.as_str();
    place.ok(&["factors", "fit", "f", "--dataset", "pool", "--modules", MODULES, "--model", model]);
    let ingest = |dataset: &str, more: &[&str]| {
        let args = ["ingest", "--dataset", dataset, "--model", model, "--features", "grad-sgd"];
        let basis = ["--projection", "ekfac", "--factors", "f", "--dtype", "f32"];
        let done = place.done(&[&args[..], &basis, more].concat());
        done.stderr
    };
    let few = ingest("pool", &["--module-dim", "64", "--dry-run"]);
    assert!(few.contains("the blocks keep ") && few.contains("and of module model.layers."), "{few}");
    for dataset in ["pool", "q"] {
        let whole = ingest(dataset, &["--module-dim", "16384"]);
        assert!(!whole.contains("the blocks keep "), "{whole}");
    }

    let asked = |relation: &str| table(&place.csv(relation));
    for (options, flags) in [
        ("", &[][..]),
        (", damping => 1", &["--damping", "1"]),
        (", filter => 'identity'", &["--filter", "identity"]),
        (", precondition => 'f', filter => 'source:100*1e-3'", &["--filter", "source:100*1e-3"]),
    ] {
        let whole = scores(&place, &[&["--factors", "f", "--target", "q"][..], flags].concat());
        let mean: BTreeMap<_, _> = summed(&whole, 0).into_iter().map(|(key, sum)| (key, sum / 3.0)).collect();
        let sql = format!("SELECT row, id, score FROM influence('pool', 'q', sim => 'dot'{options})");
        assert_near(&asked(&sql), &mean, 1e-3);
    }
    let own = scores(&place, &["--factors", "f", "--self"]);
    assert_near(&asked("SELECT row, id, score FROM self_influence('pool')"), &own, 1e-3);
    let refused = place.run(&["query", "SELECT id FROM influence('pool', 'q', filter => 'steep')"]);
    let says = "a filter is inverse, identity or source:STEPS*RATE, not `steep`";
    refused.fails(&[says]);
}

#[test]
fn what_blocks_leave_out_is_stored_beside_the_rows_and_said() {
    let place = place();
    let model = demo("model");
    let model = model.as_str();
    place.ok(&["factors", "fit", "f", "--dataset", "pool", "--modules", MODULES, "--model", model]);
    let basis = ["--projection", "ekfac", "--factors", "f", "--module-dim", "64"];
    let ingest = |dataset: &str, more: &[&str]| {
        let args = ["ingest", "--dataset", dataset, "--model", model];
        place.run(&[&args[..], more].concat())
    };
    for dataset in ["pool", "q"] {
        let both = ["--features", "grad-sgd,residual"];
        ingest(dataset, &[&both[..], &basis].concat()).says(0, &[]);
        // It is the same whatever the rows are stored as.
        let again = ["--features", "residual", "--dtype", "i8"];
        ingest(dataset, &[&again[..], &basis].concat()).says(0, &["nothing to compute"]);
    }
    let sql = "SELECT id, ignored FROM influence('pool', 'q', sim => 'dot', explain => true)";
    let bounds = table(&place.csv(sql));
    assert!(bounds.len() == 12 && bounds.values().all(|bound| *bound > 0.0), "{bounds:?}");
    let shares = place.ok(&["factors", "inspect", "f", "--dataset", "pool", "--format", "csv"]);
    let mut lines = shares.lines();
    assert_eq!(lines.next(), Some("feature,module,vectors,kept_mean,kept_least,least_row"));
    let all: Vec<&str> = lines.next().expect("all modules").split(',').collect();
    assert_eq!((all[0], all[1], all[2]), ("residual@base", "", "12"), "{shares}");
    let modules: Vec<&str> = lines.collect();
    assert!(
        !modules.is_empty() && modules.iter().all(|line| line.starts_with("residual@base,model.")),
        "{shares}"
    );
    // Of some modules all are these.
    let inspect = ["factors", "inspect", "f", "--dataset", "pool", "--format", "csv"];
    let name = modules[0].split(',').nth(1).expect("a module");
    let one = place.ok(&[&inspect[..], &["--modules", name]].concat());
    let one: Vec<&str> = one.lines().skip(1).collect();
    assert_eq!((one.len(), one[1]), (2, modules[0]), "{one:?}");
    assert_eq!(one[0].replace(",,", &format!(",{name},")), one[1]);
    place.run(&[&inspect[..], &["--modules", "none.*"]].concat()).fails(&["no such module; they have"]);
    for line in modules {
        let part =
            |at: usize| line.split(',').nth(at).and_then(|text| text.parse::<f64>().ok()).expect("a part");
        assert!(part(4) <= part(3) && part(3) < 1.0, "{line}");
    }
    ingest("pool", &["--features", "residual"]).fails(&["give --projection ekfac"]);
    let refused = place.run(&["query", "SELECT id FROM influence('pool', 'q', kind => 'residual')"]);
    assert!(refused.stderr.contains("not vectors that can be compared"), "{}", refused.stderr);
    // Rows that came later have none.
    place.write("late.jsonl", "{\"id\": \"late\", \"text\": \"t\"}\n");
    assert!(!place.run(&inspect).stderr.contains("note: "));
    place.ok(&["add", "--dataset", "pool", "--data", "late.jsonl"]);
    let told = place.run(&inspect).stderr;
    assert!(told.contains("note: pool: 1 row has no residual@base"), "{told}");
}

#[test]
fn a_byte_for_each_whitened_coordinate_keeps_the_order_of_the_rows() {
    let place = Place::of(&[("pool", 64), ("q", 3)]);
    place.add("pool");
    place.add("q");
    let model = demo("model");
    let model = model.as_str();
    place.ok(&["factors", "fit", "f", "--dataset", "pool", "--modules", MODULES, "--model", model]);
    for (dataset, dtype) in [("pool", "i8"), ("q", "f32")] {
        let args = ["ingest", "--dataset", dataset, "--model", model, "--features", "grad-sgd"];
        let basis = ["--projection", "ekfac", "--factors", "f", "--module-dim", "16384", "--dtype", dtype];
        place.ok(&[&args[..], &basis].concat());
    }
    let sql =
        "SELECT target, row, id, score FROM influence('pool', 'q', sim => 'dot', each => 'sample', k => 64)";
    let stored = table(&place.csv(sql));
    let whole = scores(&place, &["--factors", "f", "--target", "q"]);
    for query in ["s0", "s1", "s2"] {
        let of_query = |scores: &BTreeMap<Vec<String>, f64>| -> Vec<f64> {
            scores.iter().filter(|(key, _)| key[0] == query).map(|(_, score)| *score).collect()
        };
        let (stored, whole) = (of_query(&stored), of_query(&whole));
        assert_eq!(stored.len(), 64, "{query}");
        let found = spearman(&stored, &whole).expect("scores that differ");
        assert!(found >= 0.995, "{query}: {found}");
    }
}

#[test]
fn rows_become_the_tokens_that_the_factors_were_fitted_on() {
    let place = place();
    let model = demo("model");
    let model = model.as_str();
    let text = ["--template", "plain", "--system", "Answer with yes or no.", "--max-length", "48"];
    let fit = ["factors", "fit", "f", "--dataset", "pool", "--modules", MODULES, "--model", model];
    place.ok(&[&fit[..], &text, &["--strategy", "kfac"]].concat());
    let ingest = |dataset: &str, more: &[&str]| {
        let args = ["ingest", "--dataset", dataset, "--model", model, "--features", "grad-sgd"];
        let basis = ["--projection", "ekfac", "--factors", "f", "--dry-run"];
        place.run(&[&args[..], &basis, more].concat())
    };
    for dataset in ["pool", "q"] {
        for (more, says) in [
            // A default that is given is one that contradicts the fit.
            (
                &["--template", "tulu", "--max-length", "2048"][..],
                "as --template plain, --max-length 48 makes them",
            ),
            (&["--max-length", "64"], "tokens then, as --max-length 48 makes them"),
            (&["--system", "Answer."], "as --system Answer with yes or no. makes them"),
        ] {
            let refused = ingest(dataset, more);
            refused.says(1, &["factors `f` are stale: texts became other tokens then", says, "--stale"]);
            ingest(dataset, &[more, &["--stale"]].concat()).says(0, &[]);
        }
        // What is not given is as in the fit, and is said.
        for (more, says) in [
            (&[][..], Some("--template plain, --max-length 48, --system Answer with yes or no.")),
            (&text[..2], Some("--max-length 48, --system Answer with yes or no.")),
            (&text, None),
        ] {
            let done = ingest(dataset, more);
            done.says(0, &[]);
            let note = "note: texts become the same tokens as in the fit of the factors, as with ";
            match says {
                Some(says) => {
                    assert!(done.stderr.contains(&format!("{note}{says}\n")), "{}", done.stderr);
                }
                None => assert!(!done.stderr.contains(note), "{}", done.stderr),
            }
            done.lacks(&["positions"]);
        }
    }
    // Rows are of these tokens, not of those that the flags make by default.
    let args = ["ingest", "--dataset", "pool", "--model", model, "--features", "grad-sgd"];
    let basis = ["--projection", "ekfac", "--factors", "f"];
    place.ok(&[&args[..], &basis].concat());
    place.run(&[&args[..], &basis, &text].concat()).says(0, &["nothing to compute"]);
}

#[test]
fn the_documented_question_gives_the_scores_of_trak() {
    let place = place();
    let (model, steps) = (demo("model"), ["26", "52"]);
    let checkpoints = steps.map(|step| demo(&format!("warmup/checkpoint-{step}")));
    let ingest = |dataset: &str, more: &[&str]| {
        let args =
            ["ingest", "--dataset", dataset, "--model", &model, "--dtype", "f32", "--reduction", "sum"];
        let at = ["--checkpoints", &checkpoints[0], &checkpoints[1]];
        place.ok(&[&args[..], &at, more].concat());
    };
    let gradients = ["--features", "grad-sgd", "--loss", "margin", "--projection", "sjlt", "--dim", "8"];
    ["pool", "q"].into_iter().for_each(|dataset| ingest(dataset, &gradients));
    ingest("pool", &["--features", "loss", "--per-token"]);
    let fitted = place.run(&["factors", "gram", "trak", "--dataset", "pool", "--kind", "grad-sgd"]);
    fitted.says(0, &["the Gram matrices take "]);
    let again = place.run(&["factors", "gram", "trak", "--dataset", "pool", "--kind", "grad-sgd"]);
    again.says(2, &["has an artifact \"trak\" already; --force replaces it"]);
    let (rows, queries, ridge) = (12, 3, 6.0);
    let losses = |step: &str| {
        format!(
            "SELECT row, exp(-vector[1]) AS p FROM vectors('pool', 'loss@checkpoint-{step}:token:sum') WHERE flags & 1 = 0"
        )
    };
    let found = place.rows(&format!(
        "WITH p AS ({} UNION ALL {}), q AS (SELECT row, 1 - avg(p) AS q FROM p GROUP BY row) \
         SELECT row, score * q / {rows} AS trak, q FROM influence('pool', 'q', kind => 'grad-sgd', sim => 'dot', weights => [1, 1], \
         precondition => 'trak', inversion => 'absolute', damping => {}) JOIN q USING (row) ORDER BY row",
        losses(steps[0]),
        losses(steps[1]),
        ridge / f64::from(rows)
    ));
    assert_eq!(found.len(), rows as usize);
    let vectors = |dataset: &str, step: &str| -> Vec<Vec<f64>> {
        let sql = format!(
            "SELECT row, vector FROM vectors('{dataset}', 'grad-sgd@checkpoint-{step}') ORDER BY row"
        );
        let values = |row: Value| {
            let values = row["vector"].as_array().expect("a vector").iter();
            values.map(|value| value.as_f64().expect("a number")).collect()
        };
        place.rows(&sql).into_iter().map(values).collect()
    };
    let mut expected = vec![0.0; rows as usize];
    for step in steps {
        let (phi, psi) = (vectors("pool", step), vectors("q", step));
        let k = phi[0].len();
        // The sum of TRAK's formula, not the mean of the matrices of the store.
        let mut matrix = vec![0.0; k * k];
        for row in &phi {
            (0..k * k).for_each(|at| matrix[at] += row[at / k] * row[at % k]);
        }
        (0..k).for_each(|at| matrix[at * (k + 1)] += ridge);
        for query in &psi {
            let solved = solved(matrix.clone(), query.clone());
            for (sum, row) in expected.iter_mut().zip(&phi) {
                *sum += row.iter().zip(&solved).map(|(a, b)| a * b).sum::<f64>() / f64::from(queries);
            }
        }
    }
    let largest = expected.iter().fold(0.0_f64, |most, score| most.max(score.abs()));
    assert!(largest > 0.0);
    for (row, expected) in found.iter().zip(&expected) {
        let [score, q] = ["trak", "q"].map(|key| row[key].as_f64().expect("a number"));
        assert!(q > 0.0 && q < 1.0, "{row}");
        let expected = expected / steps.len() as f64 * q;
        assert!((score - expected).abs() <= 1e-4 * largest, "{row}: {expected}");
    }
}

/// x with `matrix x = right`, by elimination without pivots: the matrix is positive definite.
fn solved(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for at in 0..n {
        for row in at + 1..n {
            let by = matrix[row * n + at] / matrix[at * n + at];
            (at..n).for_each(|col| matrix[row * n + col] -= by * matrix[at * n + col]);
            right[row] -= by * right[at];
        }
    }
    for at in (0..n).rev() {
        let known: f64 = (at + 1..n).map(|col| matrix[at * n + col] * right[col]).sum();
        right[at] = (right[at] - known) / matrix[at * n + at];
    }
    right
}
