//! Promise: scores are compared with retraining as the literature defines it, joined by ids, and a truth that was
//! made once is what every later comparison reads.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use gstore_core::Cancel;
use gstore_data::{Content, TextSample};
use gstore_evaluate::attribution::{
    AttributionOutcome, Comparison, Flips, Ids, Missing, QueryLoss, Scores, ScoresBuilder, Signal, Subset,
    SubsetKind, Suspicious, Truth, TruthFolder, TruthPlan, Undone, flip_detection, lds, lds_of_query,
    leave_out, random_subsets, read_tables, removal_curves, removal_methods,
};
use gstore_evaluate::statistics::Bootstrap;
use parquet::arrow::ArrowWriter;

use crate::common::folder;

/// The example of four models, three rows and two queries: losses by model and row, and by model and query.
const TRAIN: [[f64; 3]; 4] = [[1.20, 0.50, 2.00], [1.00, 0.65, 2.10], [1.40, 0.40, 1.70], [1.10, 0.55, 2.40]];
const QUERIES: [[f64; 2]; 4] = [[0.90, 1.50], [0.70, 1.60], [1.05, 1.35], [0.85, 1.65]];

const SUBSETS: [&[u32]; 5] = [&[0, 1], &[0, 2], &[1, 2], &[0], &[1]];
const OUTPUTS: [[f64; 5]; 2] = [[-0.95, -0.90, -1.20, -0.85, -1.00], [-1.50, -1.55, -1.30, -1.62, -1.48]];

fn ids(count: usize) -> Ids {
    Ids::new((0..count).map(|id| id.to_string()), "the test").expect("ids")
}

/// Covariances over the models, by query and row.
fn covariances() -> Scores {
    let mean = |values: &dyn Fn(usize) -> f64| (0..4).map(values).sum::<f64>() / 4.0;
    let mut values = Vec::new();
    for query in 0..2 {
        let of_query = mean(&|model| QUERIES[model][query]);
        for row in 0..3 {
            let of_row = mean(&|model| TRAIN[model][row]);
            let product = |model: usize| (TRAIN[model][row] - of_row) * (QUERIES[model][query] - of_query);
            values.push((0..4).map(product).sum::<f64>() / 3.0);
        }
    }
    Scores::new("daunce", 3, values).expect("a matrix")
}

fn truth(subsets: Vec<Subset>, outputs: Vec<Vec<Vec<f64>>>, pool: usize, queries: usize) -> Truth {
    Truth { pool: ids(pool), queries: ids(queries), subsets, signal: Signal::NegativeLoss, outputs }
}

fn example() -> Truth {
    let subsets = SUBSETS.map(|rows| Subset { kind: SubsetKind::Random, rows: rows.to_vec() });
    let outputs = (0..5).map(|subset| vec![OUTPUTS.map(|of_query| of_query[subset]).to_vec()]).collect();
    truth(subsets.to_vec(), outputs, 3, 2)
}

fn comparison(cancel: &Cancel) -> Comparison<'_> {
    Comparison { base: 0, bootstrap: Bootstrap { resamples: 500, seed: 3 }, threads: 2, cancel }
}

/// Cells of the table of single values, without its header.
fn lines(outcome: &AttributionOutcome) -> Vec<Vec<String>> {
    let text = String::from_utf8(outcome.rows().expect("written")).expect("text");
    text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect()
}

#[test]
fn the_example_of_the_covariances_has_its_predictions_and_its_score() {
    let scores = covariances();
    let predictions: Vec<f64> = SUBSETS.iter().map(|rows| scores.sum(0, rows)).collect();
    let expected = [0.009167, -0.002500, -0.041667, 0.024167, -0.015000];
    for (found, expected) in predictions.iter().zip(expected) {
        assert!((found - expected).abs() < 5e-7, "{predictions:?}");
    }
    let of_first = lds_of_query(&OUTPUTS[0], &predictions).expect("defined");
    assert!((of_first - 0.9).abs() < 1e-12, "{of_first}");
    let cancel = Cancel::new();
    let random = Scores::random("random", 3, 2, 1);
    let found = lds(&example(), &[scores, random], &comparison(&cancel)).expect("compared");
    let lines = lines(&found);
    let value = |line: usize| lines[line][2].parse::<f64>().expect("a number");
    assert!((value(0) - 0.9).abs() < 1e-12 && (value(2) - 0.7).abs() < 1e-12, "{lines:?}");
    let measure = &found.report.measures[0];
    assert!((measure.values[0].mean - 0.8).abs() < 1e-12, "{measure:?}");
    // Two queries say nothing of what chance could have done.
    assert_eq!((measure.values[0].low, measure.values[0].high, measure.differences[0].p), (None, None, None));
    let printed = found.report.text();
    assert!(printed.contains("Fewer than 5 rows") && !printed.contains("improved:"), "{printed}");
    assert!(found.report.json()["measures"][0]["differences"][0]["p"].is_null(), "{printed}");
    assert_eq!((measure.rows, measure.differences.len()), (2, 1));
    assert!(found.report.markdown().contains("Linear datamodeling score"));
}

#[test]
fn a_query_without_a_correlation_is_left_out_and_counted() {
    let mut truth = example();
    truth.outputs.iter_mut().for_each(|runs| runs[0][1] = -1.25);
    let cancel = Cancel::new();
    let found = lds(&truth, &[covariances()], &comparison(&cancel)).expect("the other query");
    assert_eq!(found.report.rows, 1);
    let said = found.report.findings.join("\n");
    assert!(said.contains("1 query is left out: the outputs are the same"), "{said}");
    let value = &found.report.measures[0].values[0];
    assert!((value.mean - 0.9).abs() < 1e-12 && value.low.is_none() && value.high.is_none(), "{value:?}");

    truth.outputs.iter_mut().for_each(|runs| runs[0][0] = -1.0);
    let error = lds(&truth, &[covariances()], &comparison(&cancel)).unwrap_err().to_string();
    assert!(error.contains("no query has a correlation"), "{error}");
    let nothing = Scores::new("nothing", 3, vec![0.0; 6]).expect("a matrix");
    let error = lds(&example(), &[covariances(), nothing], &comparison(&cancel)).unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("the same for all subsets"), "{error}");
    let twice = lds(&example(), &[covariances(), covariances()], &comparison(&cancel));
    assert!(twice.unwrap_err().to_string().contains("two methods are called daunce"));
    let mut first = example();
    first.outputs.iter_mut().skip(1).for_each(Vec::clear);
    let error = lds(&first, &[covariances()], &comparison(&cancel)).unwrap_err().to_string();
    assert!(error.contains("1 random subsets have outputs"), "{error}");
}

#[test]
fn sums_that_are_equal_but_for_rounding_predict_nothing() {
    // Each subset has 15 rows of each class, at other places: 12 in all, whatever the order.
    let class = |row: usize| if row < 30 { 0.1 } else { 0.7 };
    let rows = |subset: usize| -> Vec<u32> {
        let mut rows: Vec<u32> =
            (0..30).map(|at| ((at * 7 + subset * 11) % 30 + at % 2 * 30) as u32).collect();
        rows.sort_by_key(|row| (row % 30 * 17 + subset as u32) % 31);
        rows
    };
    let subsets: Vec<Subset> =
        (0..12).map(|subset| Subset { kind: SubsetKind::Random, rows: rows(subset) }).collect();
    let in_order = |subset: &Subset| subset.rows.iter().map(|row| class(*row as usize)).sum::<f64>();
    assert!(subsets.iter().any(|subset| in_order(subset) != in_order(&subsets[0])), "rounding shows");
    let outputs = (0..12).map(|subset| vec![vec![f64::from(subset * 5 % 12)]]).collect();
    let truth = truth(subsets, outputs, 60, 1);
    let classes = Scores::new("classes", 60, (0..60).map(class).collect()).expect("a matrix");
    let cancel = Cancel::new();
    let error = lds(&truth, &[classes], &comparison(&cancel)).unwrap_err().to_string();
    assert!(error.contains("classes") && error.contains("the same for all subsets"), "{error}");
}

#[test]
fn what_is_lost_without_a_row_is_compared_with_its_score() {
    let without = |row: u32| Subset {
        kind: SubsetKind::Without { group: row.to_string() },
        rows: (0..4).filter(|other| *other != row).collect(),
    };
    let mut subsets = vec![Subset { kind: SubsetKind::Full, rows: (0..4).collect() }];
    subsets.extend((0..4).map(without));
    // Losing rows 0 to 3 costs 4, 3, 2, 1 of the only query's output.
    let outputs = [0.0, -4.0, -3.0, -2.0, -1.0].map(|output| vec![vec![output]]).to_vec();
    let truth = truth(subsets, outputs, 4, 1);
    let good = Scores::new("good", 4, vec![0.9, 0.8, 0.2, 0.1]).expect("a matrix");
    let bad = Scores::new("bad", 4, vec![0.1, 0.2, 0.8, 0.9]).expect("a matrix");
    let cancel = Cancel::new();
    let found = leave_out(&truth, &[good, bad.clone(), bad.negated()], &comparison(&cancel));
    assert!(found.unwrap_err().to_string().contains("two methods"));
    let good = Scores::new("good", 4, vec![0.9, 0.8, 0.2, 0.1]).expect("a matrix");
    let bad = Scores::new("bad", 4, vec![0.1, 0.2, 0.8, 0.9]).expect("a matrix");
    let found = leave_out(&truth, &[good, bad], &comparison(&cancel)).expect("compared");
    let spearman = &found.report.measures[0];
    assert!((spearman.values[0].mean - 1.0).abs() < 1e-12 && (spearman.values[1].mean + 1.0).abs() < 1e-12);
    assert_eq!(found.report.measures.len(), 2);
}

/// Margins of two queries by models that lack rows of a pool of ten.
fn of_margins(subsets: Vec<SubsetKind>, outputs: Vec<[f64; 2]>) -> Truth {
    let subsets = subsets.into_iter().map(|kind| Subset { kind, rows: vec![0] }).collect();
    let outputs = outputs.into_iter().map(|output| vec![output.to_vec()]).collect();
    Truth { signal: Signal::Margin, ..truth(subsets, outputs, 10, 2) }
}

#[test]
fn removal_of_the_best_rows_is_compared_with_random_rows() {
    let kind = |method: &str, query: usize, share| SubsetKind::Removed {
        method: method.to_owned(),
        query: query.to_string(),
        share,
    };
    let mut subsets = vec![SubsetKind::Full];
    let mut outputs = vec![[2.0, 3.0]];
    for (share, random, top) in [(0.1, 1.9, 1.0), (0.2, 1.8, -0.5)] {
        subsets.push(SubsetKind::RemovedAtRandom { share });
        outputs.push([random, random + 1.0]);
        for query in 0..2 {
            subsets.push(kind("less", query, share));
            outputs.push([top, top + 1.0]);
        }
    }
    let truth = of_margins(subsets, outputs);
    let cancel = Cancel::new();
    let found = removal_curves(&truth, &comparison(&cancel)).expect("compared");
    let of = |group: &str, metric: &str| {
        let fits = |m: &&gstore_evaluate::Measure| m.group == group && m.metric.name() == metric;
        found.report.measures.iter().find(fits).expect("a measure").clone()
    };
    let first = of("top 10 %", "removal");
    assert_eq!((first.values[0].system.as_str(), first.values[1].system.as_str()), ("random", "less"));
    assert!((first.values[0].mean - 0.1).abs() < 1e-12 && first.values[1].mean > 0.99, "{first:?}");
    // Without a fifth of the rows one of two answers is wrong.
    assert_eq!(of("top 20 %", "flipped").values[1].mean, 0.5);
    let said = found.report.findings.join("\n");
    assert!(
        said.contains("less: 1 of 2 right answers become wrong, the median of them at top 20 %"),
        "{said}"
    );
    let curves = found.report.charts.last().expect("a chart");
    assert_eq!((curves.name, curves.form), ("removal_curves", "lines"));
    let error = removal_curves(&example(), &comparison(&cancel)).unwrap_err().to_string();
    assert!(error.contains("the whole pool"), "{error}");
    let error = leave_out(&example(), &[covariances()], &comparison(&cancel)).unwrap_err().to_string();
    assert!(error.contains("\"kind\": \"full\""), "{error}");
}

#[test]
fn random_removals_count_the_same_in_the_table_and_in_words() {
    // Of two random removals one makes one of two answers wrong; the best rows are behind both.
    let mut subsets = vec![SubsetKind::Full];
    let mut outputs = vec![[1.0, 1.0]];
    for random in [[-1.0, 1.0], [1.0, 1.0]] {
        subsets.push(SubsetKind::RemovedAtRandom { share: 0.1 });
        outputs.push(random);
    }
    for query in 0..2 {
        let (method, query) = ("less".to_owned(), query.to_string());
        subsets.push(SubsetKind::Removed { method, query, share: 0.1 });
        outputs.push([-1.0, -1.0]);
    }
    let truth = of_margins(subsets, outputs);
    let cancel = Cancel::new();
    let found = removal_curves(&truth, &comparison(&cancel)).expect("compared");
    let flipped = |m: &&gstore_evaluate::Measure| m.metric.name() == "flipped";
    let measure = found.report.measures.iter().find(flipped).expect("a measure");
    assert_eq!((measure.values[0].mean, measure.values[1].mean), (0.25, 1.0));
    // A quarter of two answers.
    for said in [
        "random: 0.5 of 2 right answers become wrong (the mean of 2 removals), the median of them at top 10 %.",
        "less: 2 of 2 right answers become wrong, the median of them at top 10 %.",
    ] {
        assert!(found.report.findings.iter().any(|finding| finding == said), "{:?}", found.report.findings);
    }
}

#[test]
fn removals_and_rows_without_outputs_are_told() {
    // By kind and output, none where no model was trained.
    let removed = |method: &str, query: usize, share| {
        let (method, query) = (method.to_owned(), query.to_string());
        SubsetKind::Removed { method, query, share }
    };
    let random = |share| SubsetKind::RemovedAtRandom { share };
    let subsets = [
        (SubsetKind::Full, Some(2.0)),
        (random(0.1), Some(1.9)),
        (removed("late", 0, 0.1), None),
        (removed("less", 0, 0.1), Some(1.0)),
        (removed("less", 1, 0.1), None),
        (random(0.2), None),
        (removed("less", 0, 0.2), Some(0.5)),
    ];
    let outputs = subsets.iter().map(|(_, output)| output.iter().map(|o| vec![*o, *o]).collect()).collect();
    let subsets = subsets.into_iter().map(|(kind, _)| Subset { kind, rows: vec![0] }).collect();
    let removals = truth(subsets, outputs, 10, 2);
    let cancel = Cancel::new();
    // The number of a base is that of the methods that are compared.
    assert_eq!(removal_methods(&removals), ["random", "less"]);
    let found = removal_curves(&removals, &comparison(&cancel)).expect("compared");
    let said = "3 of 6 removals with outputs. Left out, since removals have none: method late; 1 of 2 queries at top 10 %; \
        top 20 %.";
    assert!(found.report.findings.iter().any(|finding| finding == said), "{:?}", found.report.findings);
    assert!(found.report.json()["findings"].to_string().contains("3 of 6 removals"));

    let without = |row: u32| SubsetKind::Without { group: row.to_string() };
    let kinds = [SubsetKind::Full, without(0), without(1), without(2)];
    let subsets = kinds.into_iter().map(|kind| Subset { kind, rows: vec![3] }).collect();
    let outputs = vec![vec![vec![0.0]], vec![vec![-4.0]], Vec::new(), vec![vec![-1.0]]];
    let scores = Scores::new("m", 4, vec![0.9, 0.8, 0.2, 0.1]).expect("a matrix");
    let mut ones = truth(subsets, outputs, 4, 1);
    for (subset, left_out) in ones.subsets.iter_mut().zip([None, Some(0), Some(1), Some(2)]) {
        subset.rows = (0..4).filter(|row| Some(*row) != left_out).collect();
    }
    let found = leave_out(&ones, &[scores], &comparison(&cancel)).expect("compared");
    let said = "2 of 3 subsets with outputs, each without one of 4 rows; 1 of 1 query.";
    assert!(found.report.findings.iter().any(|finding| finding == said), "{:?}", found.report.findings);
}

#[test]
fn a_query_is_drawn_with_all_of_its_shares() {
    // Six queries, of which every share says the same: three shares know no more than one.
    let lost = [0.5, 0.1, 0.9, -0.4, 0.2, 0.6];
    let (mut subsets, mut outputs) = (vec![SubsetKind::Full], vec![vec![0.5; 6]]);
    for share in [0.1, 0.2, 0.3] {
        subsets.push(SubsetKind::RemovedAtRandom { share });
        outputs.push(vec![0.5; 6]);
        for query in 0..6 {
            let (method, query) = ("less".to_owned(), query.to_string());
            subsets.push(SubsetKind::Removed { method, query, share });
            outputs.push(lost.map(|lost| 0.5 - lost).to_vec());
        }
    }
    let subsets = subsets.into_iter().map(|kind| Subset { kind, rows: vec![0] }).collect();
    let outputs = outputs.into_iter().map(|output| vec![output]).collect();
    let mut truth = truth(subsets, outputs, 10, 6);
    truth.signal = Signal::Margin;
    let cancel = Cancel::new();
    let found = removal_curves(&truth, &comparison(&cancel)).expect("compared");
    for metric in ["removal", "flipped"] {
        let of = |group: &str| {
            let fits = |m: &&gstore_evaluate::Measure| m.group == group && m.metric.name() == metric;
            found.report.measures.iter().find(fits).expect("a measure").clone()
        };
        let (first, all) = (of("top 10 %"), of("all"));
        assert_eq!((first.rows, all.rows), (6, 6));
        let ends = |m: &gstore_evaluate::Measure| [m.values[1].low, m.values[1].high].map(Option::unwrap);
        for (one, every) in ends(&first).into_iter().zip(ends(&all)) {
            assert!((one - every).abs() < 1e-12, "{metric}: {first:?} {all:?}");
        }
        assert!((first.values[1].mean - all.values[1].mean).abs() < 1e-12, "{metric}");
    }
    assert_eq!(found.report.rows, 6);
}

#[test]
fn wrong_labels_are_told_from_others() {
    let around = folder(&[("labels.csv", "id,flipped\na,1\nb,0\nc,1\nd,0\ne,0\n")]);
    let cancel = Cancel::new();
    let flips = Flips::read(&around.path().join("labels.csv"), &cancel).expect("labels");
    let scores = Scores::new("m", 5, vec![0.9, 0.5, 0.4, 0.4, 0.1]).expect("a matrix");
    let found = |suspicious| {
        let found = flip_detection(&flips, std::slice::from_ref(&scores), suspicious, &comparison(&cancel));
        found.expect("compared").report.measures[0].values[0].clone()
    };
    let value = found(Suspicious::Highest);
    assert!((value.mean - 0.75).abs() < 1e-12 && value.high.is_some_and(|high| high <= 1.0), "{value:?}");
    assert!((found(Suspicious::Lowest).mean - 0.25).abs() < 1e-12);
    for (text, words) in [
        ("id,flipped\na,1\nb,1\n", "all flipped or all right"),
        ("id,flipped\na,maybe\n", "neither true nor false"),
        ("id,flipped\na,1\na,0\n", "comes twice"),
    ] {
        fs_err::write(around.path().join("labels.csv"), text).expect("written");
        let error = Flips::read(&around.path().join("labels.csv"), &cancel).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

fn sample(id: usize, text: &str) -> TextSample {
    TextSample {
        row: id as u64,
        id: format!("r{id}"),
        content: Content::PromptCompletion { prompt: "p".to_owned(), completion: text.to_owned() },
        begun: String::new(),
        metadata: Vec::new(),
    }
}

fn losses(losses: &[f64]) -> Vec<QueryLoss> {
    let of = |(id, loss): (usize, &f64)| QueryLoss { id: format!("r{id}"), loss: *loss, tokens: 3 };
    losses.iter().enumerate().map(of).collect()
}

#[test]
fn a_truth_is_filled_run_by_run_and_read_again() {
    let around = tempfile::tempdir().expect("a folder");
    let place = around.path().join("truth");
    let pool: Vec<TextSample> = (0..6).map(|row| sample(row, "é \"x\"")).collect();
    let queries: Vec<TextSample> = (0..2).map(|row| sample(row, "y")).collect();
    let subsets = random_subsets(6, 3, 0.5, 1).expect("subsets");
    let plan = TruthPlan {
        pool: &pool,
        queries: &queries,
        subsets: &subsets,
        repeats: 2,
        design: serde_json::json!({ "seed": 1 }),
    };
    let made = TruthFolder::create(&place, &plan).expect("made");
    assert_eq!((made.runs(), made.remaining(0..99)), (6, (0..6).collect()));
    let (repeat, rows) = made.run(3).expect("a run");
    let expected: Vec<String> = subsets[1].rows.iter().map(|row| format!("r{row}")).collect();
    assert_eq!((repeat, rows), (1, expected));
    let recipe = made.agree_on_recipe(&serde_json::json!({ "learning rate": 1e-3 })).expect("the first");
    // Of a subset with a run that is not done nothing is read.
    for run in [5, 0, 1, 2, 4] {
        made.record(run, &losses(&[run as f64, 0.25]), &recipe).expect("kept");
    }
    assert_eq!(made.remaining(0..6), [3]);
    let again = TruthFolder::create(&place, &plan).expect("the same");
    let cancel = Cancel::new();
    let truth = again.read(&cancel).expect("read");
    assert_eq!(truth.subsets, subsets);
    assert_eq!((truth.output(0, 0), truth.output(1, 0), truth.output(2, 1)), (Some(-0.5), None, Some(-0.25)));
    assert_eq!(truth.done(|_| true), [0, 2]);

    // A file that was damaged is named with its run, which is done again.
    let damaged = place.join("outputs/00004.parquet");
    let whole = fs_err::read(&damaged).expect("its bytes");
    fs_err::write(&damaged, &whole[..whole.len() / 2]).expect("cut off");
    let undone = made.undone(0..9, &cancel).expect("read");
    assert_eq!(
        (made.remaining(0..6), undone.iter().map(|of| of.run).collect::<Vec<_>>()),
        (vec![3], vec![3, 4])
    );
    assert!(undone[0].damage.is_none());
    assert!(undone[1].damage.as_ref().is_some_and(|damage| damage.contains("00004.parquet")), "{undone:?}");
    let error = made.read(&cancel).unwrap_err().to_string();
    assert!(
        error.contains("00004.parquet: what run 4 said") && error.contains("retrain it again"),
        "{error}"
    );
    made.record(4, &losses(&[4.0, 0.25]), &recipe).expect("again");
    assert_eq!(made.undone(0..6, &cancel).expect("read"), [Undone { run: 3, damage: None }]);
    assert_eq!(made.read(&cancel).expect("read"), truth);
    // What is not damage is not mended by doing the run again.
    fs_err::remove_file(&damaged).expect("removed");
    fs_err::create_dir(&damaged).expect("in its place");
    assert!(matches!(made.undone(0..6, &cancel), Err(gstore_evaluate::EvaluateError::Io(_))));

    for (wrong, words) in [(losses(&[1.0]), "every query"), (losses(&[1.0, f64::NAN]), "no finite loss")] {
        let error = made.record(3, &wrong, &recipe).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    made.agree_on_recipe(&serde_json::json!({ "learning rate": 1e-3 })).expect("the same");
    let error = made.agree_on_recipe(&serde_json::json!({ "learning rate": 2e-3 })).unwrap_err().to_string();
    assert!(error.contains("learning_rate=0.002, was 0.001"), "{error}");
    // A key that only the first run had.
    let error = made.agree_on_recipe(&serde_json::json!({})).unwrap_err().to_string();
    assert!(error.contains("no learning_rate, was 0.001"), "{error}");
    assert!(error.contains("another folder with truth, or replace"), "{error}");
    let other = random_subsets(6, 3, 0.5, 2).expect("subsets");
    let error = TruthFolder::create(&place, &TruthPlan { subsets: &other, ..plan }).unwrap_err().to_string();
    assert!(error.contains("other subsets") && error.contains("another folder with truth"), "{error}");
    let text = fs_err::read_to_string(place.join("pool.jsonl")).expect("the pool");
    fs_err::write(place.join("pool.jsonl"), text.replace("r5", "r6")).expect("changed");
    let error = TruthFolder::open(&place).unwrap_err().to_string();
    assert!(error.contains("has changed"), "{error}");
}

#[test]
fn a_folder_with_files_of_its_user_is_no_place_for_a_truth() {
    let around = tempfile::tempdir().expect("a folder");
    let samples: Vec<TextSample> = (0..4).map(|row| sample(row, "x")).collect();
    let subsets = random_subsets(4, 2, 0.5, 1).expect("subsets");
    let design = serde_json::Value::Null;
    let plan = TruthPlan { pool: &samples, queries: &samples, subsets: &subsets, repeats: 1, design };
    for name in
        ["pool.jsonl", "queries.jsonl", "subsets.jsonl", "recipe.json", "notes.txt", "outputs/mine.txt"]
    {
        let place = around.path().join(name.replace(['.', '/'], "-"));
        fs_err::create_dir_all(place.join("outputs")).expect("made");
        fs_err::write(place.join(name), "precious").expect("written");
        let error = TruthFolder::create(&place, &plan).unwrap_err();
        let (words, first) = (error.to_string(), name.split('/').next().expect("a name"));
        assert!(words.contains(&format!("holds {first}, which no ground truth put there")), "{words}");
        assert!(error.is_usage(), "{words}");
        assert_eq!(fs_err::read_to_string(place.join(name)).expect("there"), "precious");
        assert!(!TruthFolder::exists(&place), "{name}");
    }
    // Files that an interrupted creation left are not the user's.
    let place = around.path().join("truth");
    let made = TruthFolder::create(&place, &plan).expect("made");
    fs_err::remove_file(place.join("manifest.json")).expect("removed");
    fs_err::remove_file(place.join("subsets.jsonl")).expect("removed");
    fs_err::write(place.join(".truth.a1b2c3"), "{").expect("written");
    assert_eq!(TruthFolder::create(&place, &plan).expect("made").runs(), made.runs());
}

/// A file of outputs as older versions wrote it.
fn older(path: &std::path::Path, outputs: [f64; 2]) {
    table(path, &[("output", outputs)]);
}

/// A file of numbers of both queries.
fn table(path: &std::path::Path, numbers: &[(&str, [f64; 2])]) {
    let queries: ArrayRef = Arc::new(StringArray::from_iter_values(["r0", "r1"]));
    let mut columns = vec![("query", queries)];
    for (name, values) in numbers {
        columns.push((*name, Arc::new(Float64Array::from_iter_values(*values))));
    }
    let batch = RecordBatch::try_from_iter(columns).expect("columns");
    let file = fs_err::File::create(path).expect("made").into_parts().0;
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("begun");
    writer.write(&batch).expect("written");
    writer.close().expect("ended");
}

#[test]
fn outputs_of_something_else_are_not_taken_for_those_of_a_run() {
    let around = tempfile::tempdir().expect("a folder");
    let place = around.path().join("truth");
    let pool: Vec<TextSample> = (0..6).map(|row| sample(row, "x")).collect();
    let queries: Vec<TextSample> = (0..2).map(|row| sample(row, "y")).collect();
    let recipe = serde_json::json!({ "seed": 1, "learning rate": 1e-3 });
    let folder = |name: &str, rows: [[u32; 3]; 3]| {
        let subsets = rows.map(|rows| Subset { kind: SubsetKind::Random, rows: rows.to_vec() });
        let design = serde_json::Value::Null;
        let plan = TruthPlan { pool: &pool, queries: &queries, subsets: &subsets, repeats: 1, design };
        let made = TruthFolder::create(&around.path().join(name), &plan).expect("made");
        let agreed = made.agree_on_recipe(&recipe).expect("the first");
        (0..3).for_each(|run| made.record(run, &losses(&[run as f64, 1.0]), &agreed).expect("kept"));
        made
    };
    let (made, cancel) = (folder("truth", [[0, 1, 2], [1, 2, 3], [2, 3, 4]]), Cancel::new());
    let output = |run: usize| place.join(format!("outputs/0000{run}.parquet"));
    let agreed = made.agree_on_recipe(&recipe).expect("the same");
    let truth = made.read(&cancel).expect("read");
    let refused = |words: &[&str]| {
        let error = made.read(&cancel).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{words:?}: {error}");
    };
    let again = |run: usize| {
        let undone = made.undone(0..3, &cancel).expect("read");
        assert_eq!(undone.iter().map(|of| of.run).collect::<Vec<_>>(), [run]);
        made.record(run, &losses(&[run as f64, 1.0]), &agreed).expect("kept");
        assert_eq!(made.read(&cancel).expect("read"), truth);
    };
    // The file of another run.
    fs_err::copy(output(1), output(2)).expect("copied");
    refused(&[
        "00002.parquet",
        "outputs of run 1, and stands in the place of those of run 2",
        "retrain it again",
    ]);
    again(2);
    // That of the same run of other subsets.
    folder("other", [[3, 4, 5], [0, 4, 5], [0, 1, 5]]);
    fs_err::copy(around.path().join("other/outputs/00001.parquet"), output(1)).expect("copied");
    refused(&["00001.parquet", "trained on another subset"]);
    again(1);
    // An output that is not its loss with the other sign.
    table(&output(1), &[("loss", [1.0, 1.0]), ("output", [-1.0, -0.75])]);
    refused(&["00001.parquet", "its `output` is -0.75, and its `loss` 1: an output is the loss"]);
    again(1);
    // A recipe that is not that of the models any more.
    let noted = fs_err::read_to_string(place.join("recipe.json")).expect("the recipe");
    fs_err::write(place.join("recipe.json"), noted.replace("0.001", "0.002")).expect("changed");
    refused(&["00000.parquet", "trained otherwise than `recipe.json` says"]);
    // Outputs are not recorded under another recipe than that of their model.
    let before = fs_err::read(output(1)).expect("its bytes");
    let error = made.record(1, &losses(&[1.0, 1.0]), &agreed).unwrap_err().to_string();
    assert!(error.contains("recipe.json: it was changed while run 1 was trained"), "{error}");
    assert_eq!(fs_err::read(output(1)).expect("its bytes"), before);
    fs_err::remove_file(place.join("recipe.json")).expect("removed");
    refused(&["recipe.json", "it is not there"]);
    fs_err::write(place.join("recipe.json"), noted).expect("put back");
    assert_eq!(made.read(&cancel).expect("read"), truth);
    // Older files say nothing of it, but copies of others are known.
    older(&output(2), [-2.0, -1.0]);
    assert_eq!(made.read(&cancel).expect("read"), truth);
    older(&output(2), [-1.0, -1.0]);
    refused(&["00002.parquet", "outputs of run 1 to the last bit"]);
}

#[test]
fn runs_of_the_same_rows_and_seed_are_no_copies() {
    let around = tempfile::tempdir().expect("a folder");
    let samples: Vec<TextSample> = (0..4).map(|row| sample(row, "x")).collect();
    // Two methods that rank the same row highest, and one that ranks another one so.
    let kind =
        |method: &str| SubsetKind::Removed { method: method.to_owned(), query: "r0".into(), share: 0.25 };
    let subsets = [("a", [1, 2, 3]), ("b", [1, 2, 3]), ("c", [0, 2, 3])];
    let subsets = subsets.map(|(method, rows)| Subset { kind: kind(method), rows: rows.to_vec() });
    let (queries, design) = (&samples[..2], serde_json::Value::Null);
    let plan = TruthPlan { pool: &samples, queries, subsets: &subsets, repeats: 2, design };
    let made = TruthFolder::create(&around.path().join("truth"), &plan).expect("made");
    made.agree_on_recipe(&serde_json::json!({ "seed": 1 })).expect("the first");
    let output = |run: usize| around.path().join(format!("truth/outputs/0000{run}.parquet"));
    let (cancel, first) = (Cancel::new(), [[-1.0, -2.0], [-1.5, -2.5]]);
    for (run, outputs) in
        [first[0], first[1], first[0], first[1], [-3.0, -4.0], [-3.5, -4.5]].iter().enumerate()
    {
        older(&output(run), *outputs);
    }
    let truth = made.read(&cancel).expect("read");
    assert_eq!((truth.output(0, 0), truth.output(1, 0)), (Some(-1.25), Some(-1.25)));
    for (run, of, outputs) in [(4, 0, first[0]), (3, 0, first[0])] {
        let before = fs_err::read(output(run)).expect("its bytes");
        older(&output(run), outputs);
        let error = made.read(&cancel).unwrap_err().to_string();
        let says = format!("0000{run}.parquet: it has the outputs of run {of} to the last bit");
        assert!(error.contains(&says), "{says}: {error}");
        fs_err::write(output(run), before).expect("put back");
    }
}

#[test]
fn a_recipe_knows_its_tokenizer() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name);
    let subsets = random_subsets(4, 2, 0.5, 1).expect("subsets");
    let (pool, queries) = ((0..4).map(|id| sample(id, "row")).collect::<Vec<_>>(), [sample(0, "query")]);
    let plan = || TruthPlan {
        pool: &pool,
        queries: &queries,
        subsets: &subsets,
        repeats: 1,
        design: serde_json::Value::Null,
    };
    let recipe = |tokenizer: &str, template: &str| serde_json::json!({ "seed": 1, "tokenizer": tokenizer, "template digest": template });
    let made = TruthFolder::create(&place("known"), &plan()).expect("made");
    made.agree_on_recipe(&recipe("a", "t")).expect("the first");
    made.agree_on_recipe(&recipe("a", "t")).expect("the same");
    for (other, words) in [
        (recipe("b", "t"), "its tokenizer is \"a\", not \"b\""),
        (recipe("a", "u"), "its template digest is \"t\", not \"u\""),
    ] {
        let error = made.agree_on_recipe(&other).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    // Of two jobs that begin at once the later one compares with what the first one noted.
    let jobs = TruthFolder::create(&place("jobs"), &plan()).expect("made");
    let agree = |seed: u32| jobs.agree_on_recipe(&serde_json::json!({ "seed": seed })).is_ok();
    let agreed: Vec<bool> = std::thread::scope(|scope| {
        let begun: Vec<_> = (1..9).map(|seed| scope.spawn(move || agree(seed))).collect();
        begun.into_iter().map(|job| job.join().expect("no panic")).collect()
    });
    assert_eq!(agreed.iter().filter(|is_agreed| **is_agreed).count(), 1, "{agreed:?}");
    // Noted before recipes knew of it.
    let old = TruthFolder::create(&place("unknown"), &plan()).expect("made");
    old.agree_on_recipe(&serde_json::json!({ "seed": 1 })).expect("the first");
    old.agree_on_recipe(&recipe("a", "t")).expect("not known to be another");
    let error = old.agree_on_recipe(&serde_json::json!({ "seed": 2, "tokenizer": "a" })).unwrap_err();
    assert!(error.to_string().contains("seed=2, was 1"), "{error}");
}

fn tables(subsets: &str, outputs: &str) -> Result<Truth, gstore_evaluate::EvaluateError> {
    let around = folder(&[("subsets.jsonl", subsets), ("outputs.csv", outputs)]);
    let path = |name: &str| around.path().join(name);
    read_tables(&path("subsets.jsonl"), &path("outputs.csv"), &Cancel::new())
}

const TABLE: &str = r#"{"subset": "a", "rows": ["x", "y"]}
{"subset": "b", "rows": ["y", "z"]}
{"subset": "c", "without": ["y"], "group": "y"}
{"subset": "d", "kind": "removed", "method": "m", "query": "q", "share": 0.5, "rows": ["x"]}
"#;

#[test]
fn results_of_retraining_are_read_as_tables() {
    let outputs = "subset,query,loss\na,q,1.5\na,r,2\na,q,2.5\na,r,3\nb,q,1\nb,r,1\nc,q,1\nc,r,1\n";
    let truth = tables(TABLE, outputs).expect("read");
    assert_eq!((truth.pool.len(), truth.queries.len()), (3, 2));
    // Two runs of a, and losses become outputs.
    assert_eq!((truth.output(0, 0), truth.output(0, 1), truth.output(3, 0)), (Some(-2.0), Some(-2.5), None));
    assert_eq!((&truth.subsets[1].rows, &truth.subsets[2].rows), (&vec![1, 2], &vec![0, 2]));
    assert!(matches!(&truth.subsets[2].kind, SubsetKind::Without { group } if group == "y"));
    assert!(matches!(&truth.subsets[3].kind, SubsetKind::Removed { share, .. } if *share == 0.5));
    for (subsets, outputs, words) in [
        (TABLE, "subset,query,loss\nz,q,1\n", "none of the subsets"),
        (TABLE, "subset,query,loss\na,q,nan\n", "not a finite number"),
        (
            TABLE,
            "subset,query,loss,output\na,q,1.5,-1.5\na,r,2.5,-2.25\n",
            "line 3: its `output` is -2.25, and its `loss` 2.5",
        ),
        (TABLE, "subset,query,accuracy\na,q,1\n", "a `loss`, a `margin` or an `output`"),
        (TABLE, "subset,query,loss\na,q,1\na,r,1\nb,q,1\n", "lacks outputs"),
        ("{\"subset\": \"a\"}\n", "subset,query,loss\na,q,1\n", "needs one of `rows`"),
        ("{\"subset\": \"a\", \"rows\": []}\n", "subset,query,loss\na,q,1\n", "nothing to evaluate"),
        (
            "{\"subset\": \"a\", \"rows\": [\"x\", \"y\", \"x\"]}\n",
            "subset,query,loss\na,q,1\n",
            "subsets.jsonl: subset \"a\" lists row \"x\" twice",
        ),
        (
            "{\"subset\": \"a\", \"id\": \"x\"}\n{\"subset\": \"a\", \"id\": \"x\"}\n",
            "subset,query,loss\na,q,1\n",
            "subset \"a\" lists row \"x\" twice",
        ),
        (
            "{\"subset\": \"a\", \"without\": [\"x\", \"x\"]}\n",
            "subset,query,loss\na,q,1\n",
            "subset \"a\" lists row \"x\" twice",
        ),
        (
            "{\"subset\": \"a\", \"without\": [\"x\"]}\n{\"subset\": \"a\", \"id\": \"y\"}\n",
            "subset,query,loss\na,q,1\n",
            "line 2: subset \"a\" has `without` before, and `id` here",
        ),
        (
            "{\"subset\": \"a\", \"id\": \"x\"}\n{\"subset\": \"a\", \"rows\": [\"y\"]}\n",
            "subset,query,loss\na,q,1\n",
            "subset \"a\" has `id` before, and `rows` here",
        ),
        (
            "{\"subset\": \"a\", \"rows\": [\"x\"]}\n{\"subset\": \"a\", \"rows\": [\"y\"]}\n",
            "subset,query,loss\na,q,1\n",
            "subset \"a\" comes twice",
        ),
        (
            "{\"subset\": \"a\", \"kind\": \"full\", \"rows\": [\"x\"]}\n{\"subset\": \"b\", \"rows\": [\"y\"]}\n",
            "subset,query,loss\na,q,1\n",
            "subsets.jsonl: subset \"a\" is of kind \"full\", which is the whole pool, and lacks row \"y\"",
        ),
    ] {
        let error = tables(subsets, outputs).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
    // Scores that share no row with the pool, and rows that no score is known of.
    let mut scores = ScoresBuilder::new("m", &truth.pool, &truth.queries);
    scores.add("w", Some("q"), 1.0).expect("left out");
    let error = scores.finish(Missing::Refuse).unwrap_err().to_string();
    assert!(error.contains("none of their rows is in the pool"), "{error}");
}

#[test]
fn what_leaves_rows_out_is_random_or_full_where_it_says_so() {
    let halves = "{\"subset\": \"a\", \"without\": [\"x\"]}\n{\"subset\": \"b\", \"without\": [\"y\"]}\n";
    let (outputs, cancel) = ("subset,query,loss\na,q,1\nb,q,2\n", Cancel::new());
    let scores = || [Scores::new("m", 2, vec![0.5, 0.25]).expect("a matrix")];
    let left_out = tables(halves, outputs).expect("read");
    let error = lds(&left_out, &scores(), &comparison(&cancel)).unwrap_err().to_string();
    assert!(error.contains("0 random subsets") && error.contains("\"kind\": \"random\""), "{error}");
    let halves = halves.replace("\"without\"", "\"kind\": \"random\", \"without\"");
    let random = tables(&halves, outputs).expect("read");
    lds(&random, &scores(), &comparison(&cancel)).expect("compared");
    // A whole pool that leaves out nothing.
    let full = "{\"subset\": \"f\", \"kind\": \"full\", \"without\": []}\n";
    let whole = tables(&format!("{TABLE}{full}"), "subset,query,loss\nf,q,1\n").expect("read");
    assert_eq!((whole.full().expect("it"), &whole.subsets[4].rows), (4, &vec![0, 1, 2]));
}
