//! Promise: labels and features from which little or nothing can be learned cause a note or a refusal, with
//! the reason.

use gstore_store::{FeatureAttrs, JobFeature};
use gstore_tests::made::{Numbers, append, feature, gradients, publish};
use gstore_tests::place::Place;
use serde_json::json;

use super::prefilter::{DIM, ROWS, add, fit, line, place, place_of, vector};

/// What is said of a fit that is refused.
fn refused(place: &Place, more: &[&str]) -> String {
    let done = place.run(&fit("cheap", more));
    done.says(1, &[]);
    done.stderr
}

/// A vector of a few coordinates.
fn of(values: &[f32]) -> Vec<f32> {
    let mut vector = values.to_vec();
    vector.resize(DIM as usize, 0.0);
    vector
}

#[test]
fn labels_that_share_no_id_with_the_pool_are_refused() {
    let place = place(0);
    let store = place.store();
    append(&store, "other", 50);
    let mut numbers = Numbers(7);
    gradients(&store, "other", 50, DIM, |row| vector(&mut numbers, row));
    // Also with a column whose values are those of labelled rows.
    for inputs in ["x", "source"] {
        let said = refused(&place, &["--labels-of", "other", "--inputs", inputs]);
        assert!(
            said.contains("none of the 50 labelled ids of `other` is in `pool`: rows are joined by id"),
            "{inputs}: {said}"
        );
    }
}

#[test]
fn labels_of_other_texts_under_the_ids_of_the_pool_are_refused() {
    let place = place(0);
    let other = |row: u64| {
        let mut line = line(row);
        // With other metadata a text is the same.
        line["source"] = json!("elsewhere");
        if row % 100 == 7 {
            line["text"] = json!(format!("not {row}"));
        }
        line
    };
    let store = add(&place, "few", (0..300).rev().map(other));
    let mut numbers = Numbers(7);
    gradients(&store, "few", 300, DIM, |row| vector(&mut numbers, 299 - row));
    let more = ["--labels-of", "few", "--inputs", "x", "--budget", "30%"];
    let said = refused(&place, &more);
    let told = "3 of the 300 labelled rows of `few` have another text in `pool` under the same id, as pool7, pool107, pool207: ";
    assert!(said.contains(told) && said.contains("delete these rows of `few`"), "{said}");
    place.ok(&["delete", "--dataset", "few", "--where", "id IN ('pool7', 'pool107', 'pool207')"]);
    let report = place.json(&fit("cheap", &[&more[..], &["--json"]].concat()));
    assert_eq!(report["report"]["rows"], 297, "{report:#}");
}

#[test]
fn labels_of_the_same_words_in_another_form_are_told_of_and_those_of_other_weights_refused() {
    let turn = |role: &str, content: &str| json!({"role": role, "content": content});
    // A pool of pairs, whose last rows are conversations of two answers.
    let of_pool = |row: u64| {
        let mut line = line(row);
        let text = line["text"].take();
        let _ = line.as_object_mut().expect("an object").remove("text");
        match row {
            200.. => {
                line["messages"] = json!([turn("assistant", "a"), turn("user", "q"), turn("assistant", "b")])
            }
            _ => (line["prompt"], line["completion"]) = (json!("say"), text),
        }
        line
    };
    let place = place_of(0, of_pool);
    let other = |row: u64| {
        let mut line = of_pool(row);
        match row {
            250 => line["messages"][0]["weight"] = json!(0),
            3 | 5 => {
                let own = line.as_object_mut().expect("an object");
                let said = [own.remove("prompt"), own.remove("completion")].map(|text| text.expect("a text"));
                line["messages"] = json!([
                    {"role": "user", "content": said[0]}, {"role": "assistant", "content": said[1]}
                ]);
            }
            _ => {}
        }
        line
    };
    let store = add(&place, "few", (0..300).map(other));
    let mut numbers = Numbers(7);
    gradients(&store, "few", 300, DIM, |row| vector(&mut numbers, row));
    let more = ["--labels-of", "few", "--inputs", "x", "--budget", "30%"];
    let said = refused(&place, &more);
    let told = "1 of the 300 labelled rows of `few` has other messages of weight 0 in `pool` under the same id, as pool250: ";
    assert!(said.contains(told) && said.contains("delete these rows of `few`"), "{said}");
    place.ok(&["delete", "--dataset", "few", "--where", "id = 'pool250'"]);
    let report = place.json(&fit("cheap", &[&more[..], &["--json"]].concat()));
    let notes = report["report"]["notes"].to_string();
    let told = "2 of the 299 labelled rows of `few` have `messages` where `pool` has `prompt`";
    assert!(notes.contains(told) && notes.contains("as pool3, pool5: unless"), "{notes}");
}

#[test]
fn labels_that_are_all_the_same_are_refused_and_ties_at_the_cut_told() {
    let place = place(0);
    let store = add(&place, "first", (0..50).map(line));
    gradients(&store, "first", 50, DIM, |_| of(&[1.0, 1.0]));
    let said = refused(&place, &["--labels-of", "first", "--inputs", "x"]);
    assert!(said.contains("target `q` has the same value in every labelled row"), "{said}");

    // Trees could split none of them: two leaves have 40 rows, and 9 of 45 are set aside.
    let few = self::place(45);
    let said = refused(&few, &["--inputs", "x", "--learner", "trees", "--budget", "30%"]);
    assert!(said.contains("45 labelled rows have all features, and 50 are needed"), "{said}");

    // Four values, so that the top 5 % of 400 rows ends among a hundred equal ones.
    gradients(&store, "pool", 400, DIM, |row| of(&[(row % 4) as f32, 1.0]));
    let report = place.json(&fit("cheap", &["--inputs", "x", "--budget", "30%", "--json"]));
    let notes = report["report"]["notes"].to_string();
    assert!(notes.contains("100 labels of q are equal at the cut of the top"), "{notes}");
}

#[test]
fn covariances_of_losses_are_no_labels_and_rows_without_gradients_have_none() {
    let place = place(50);
    for method in [["--method", "daunce"], ["--ensemble", "copies"]] {
        let done = place.run(&fit("cheap", &[&["--inputs", "x"], &method[..]].concat()));
        done.says(2, &["labels are scores of the method influence, products of gradients or embeddings. "]);
        let cascade = ["select", "--pool", "pool", "--target", "q", "--top", "5%", "--cascade", "x -> all"];
        let done = place.run(&[&cascade[..], &["-o", "best.jsonl"], &method].concat());
        let said = "labels are scores of the method influence, products of gradients. The method daunce compares losses";
        done.says(2, &[said]);
        let way_out = "leave the method daunce and its ensemble out";
        assert!(done.stderr.contains(way_out), "{method:?}: {}", done.stderr);
    }
    let done = place.run(&fit("cheap", &["--inputs", "x", "--missing", "error"]));
    let said =
        "labels are the scores of whatever rows have gradients at all checkpoints: leave --missing out";
    done.says(2, &[said]);
    let of_embeddings = ["select", "--pool", "pool", "--target", "q", "--top", "5%", "--cascade", "x -> all"];
    let done = place.run(&[&of_embeddings[..], &["-o", "best.jsonl", "--kind", "embed-mean"]].concat());
    let said = "a cascade ends with products of gradients, and embed-mean is not a gradient: select by it without a cascade";
    done.says(1, &[said]);
}

#[test]
fn vectors_that_are_not_finite_are_left_out_and_counted() {
    let place = place(0);
    let store = add(&place, "few", (0..ROWS).map(line));
    let mut numbers = Numbers(7);
    // Without a label, and without a feature.
    gradients(&store, "few", 300, DIM, |row| match row % 10 {
        3 => of(&[f32::INFINITY]),
        _ => vector(&mut numbers, row),
    });
    gradients(&store, "pool", 300, DIM, |row| match row % 10 {
        7 => of(&[f32::NAN]),
        _ => vector(&mut numbers, row),
    });
    let more = ["--labels-of", "few", "--inputs", "x,grad-sgd", "--budget", "30%", "--json"];
    // Gradients as features save nothing; the report is there all the same.
    let report = place.run(&fit("cheap", &more)).says(4, &[]).json();
    assert_eq!(report["report"]["rows"], 240, "{report:#}");
    let notes = report["report"]["notes"].to_string();
    assert!(notes.contains("30 labelled rows lack a feature"), "{notes}");
    assert!(notes.contains("30 labelled rows lack a score"), "{notes}");
    // Of 300 rows 5 % are of the top, all of them among the 270 with a score.
    assert_eq!(report["report"]["targets"][0]["top"], 15, "{report:#}");
}

#[test]
fn gradients_as_inputs_spare_labels_only_where_they_are_those_of_the_labels() {
    let place = place(0);
    let store = add(&place, "few", (0..300).map(line));
    let mut numbers = Numbers(7);
    gradients(&store, "few", 300, DIM, |row| vector(&mut numbers, row));
    let cost = |inputs: &str, more: &[&str]| {
        let args = ["--inputs", inputs, "--budget", "30%", "--json"];
        let report = place.run(&fit("cheap", &[&args[..], more].concat())).says(4, &[]).json();
        let cost = &report["report"]["cost"];
        assert!(cost["feature"] == 3.0 && cost["gradient"] == 3.0, "{report:#}");
        (cost["shared"].as_f64().expect("a number"), report["saving"].as_f64().expect("a number"))
    };
    // Of the same checkpoint with fewer coordinates, in another dataset.
    let mut small = JobFeature { attrs: FeatureAttrs::new("small", 4), ..feature("pool", 4, "none") };
    // Whatever the kind of a gradient is called, it takes a backward pass.
    small.desc.kind.name = "gradient".into();
    publish(&store, "pool", 0..ROWS, small, |row| vector(&mut numbers, row)[..4].to_vec());
    let (shared, saving) = cost("x,small", &["--labels-of", "few"]);
    assert!(shared == 0.0 && saving < 0.0, "{shared}, {saving}");
    // The same projection in another dataset.
    place.ok(&["drop", "feature", "pool/small"]);
    gradients(&store, "pool", 300, DIM, |row| vector(&mut numbers, row));
    let (shared, saving) = cost("x,grad-sgd", &["--labels-of", "few"]);
    assert!(shared == 0.0 && saving < 0.0, "{shared}, {saving}");
    // The vectors of the labels themselves.
    let (shared, saving) = cost("x,grad-sgd", &[]);
    assert!(shared == 3.0 && saving < 0.0, "{shared}, {saving}");
}

#[test]
fn rows_without_a_prediction_are_counted_in_the_pool_and_not_among_the_labelled_ones() {
    // All labelled rows have the column, and no other row.
    let place = place_of(200, |row| {
        let mut line = line(row);
        if row < 200 {
            line["most"] = json!(row % 7);
        }
        line
    });
    let done = place.run(&fit("cheap", &["--inputs", "x,most", "--budget", "20%"]));
    let why = "90.0 % for want of a prediction (missing or not finite: most in 90.0 % of rows)";
    // A fifth of the tenth that has predictions is kept as well.
    let told = format!("all targets together: 92.0 % of the pool's rows are kept, {why}; lowest recall");
    assert!(done.stdout.contains(&told), "{}", done.stdout);
    let hint = format!("it keeps {why}: --inputs that more rows have may do better");
    done.says(4, &["it would keep 92.0 % of the rows", &hint]);
    // With a recall for a budget the pool is looked at as well; every row would be kept in any case.
    let done = place.run(&fit("cheap", &["--inputs", "x,most", "--json"]));
    done.says(4, &["more labelled rows, other --inputs"]);
    let report = done.json();
    assert_eq!(report["report"]["unpredicted"]["lacking"][0]["feature"], "most", "{report:#}");
}
