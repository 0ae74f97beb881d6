//! Promise: scores are compared with retraining as the literature defines it, joined by ids.

use gstore_core::Cancel;

use gstore_evaluate::attribution::{
    AttributionOutcome, Comparison, Flips, Ids, Scores, Signal, Subset, SubsetKind, Suspicious, Truth,
    flip_detection, lds, leave_out, removal_curves, removal_methods,
};
use gstore_evaluate::statistics::Bootstrap;

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

static RUN: Cancel = Cancel::new();

pub fn comparison() -> Comparison<'static> {
    Comparison { base: 0, bootstrap: Bootstrap { resamples: 500, seed: 3 }, threads: 2, cancel: &RUN }
}

/// The pool without the rows that a method ranks highest for a query.
fn removed(method: &str, query: usize, share: f64) -> SubsetKind {
    SubsetKind::Removed { method: method.to_owned(), query: query.to_string(), share }
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
    let random = Scores::random("random", &ids(3), &ids(2), 1);
    let found = lds(&example(), &[scores, random], &comparison()).expect("compared");
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
    let markdown = found.report.markdown();
    assert!(markdown.contains("Linear datamodeling score"));
    // A method has a line of its own.
    let table: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(table[0], "| metric | rows | method | mean | difference from daunce | relative | p |");
    assert_eq!((table.len(), table[2]), (4, "| LDS | 2 | daunce | 0.8000 |  |  |  |"), "{markdown}");
    assert!(table[3].starts_with("| LDS | 2 | random | "), "{markdown}");
}

#[test]
fn a_query_without_a_correlation_is_left_out_and_counted() {
    let mut truth = example();
    truth.outputs.iter_mut().for_each(|runs| runs[0][1] = -1.25);
    let found = lds(&truth, &[covariances()], &comparison()).expect("the other query");
    assert_eq!(found.report.rows, 1);
    let said = found.report.findings.join("\n");
    assert!(said.contains("1 query is left out: the outputs are the same"), "{said}");
    let value = &found.report.measures[0].values[0];
    assert!((value.mean - 0.9).abs() < 1e-12 && value.low.is_none() && value.high.is_none(), "{value:?}");

    truth.outputs.iter_mut().for_each(|runs| runs[0][0] = -1.0);
    let error = lds(&truth, &[covariances()], &comparison()).unwrap_err().to_string();
    assert!(error.contains("no query has a correlation"), "{error}");
    let nothing = Scores::new("nothing", 3, vec![0.0; 6]).expect("a matrix");
    let error = lds(&example(), &[covariances(), nothing], &comparison()).unwrap_err().to_string();
    assert!(error.contains("nothing") && error.contains("the same for all subsets"), "{error}");
    let huge = Scores::new("huge", 3, vec![1e308; 6]).expect("a matrix");
    let error = lds(&example(), &[covariances(), huge], &comparison()).unwrap_err().to_string();
    assert!(error.contains("huge") && error.contains("they are so large that their sums are not"), "{error}");
    let of_two = |second: [f64; 3]| {
        let values = [1e308; 3].into_iter().chain(second).collect();
        lds(&example(), &[covariances(), Scores::new("two", 3, values).expect("a matrix")], &comparison())
    };
    let error = of_two([0.0; 3]).unwrap_err().to_string();
    assert!(error.contains("is the same for all subsets, or their sums are not finite"), "{error}");
    let said = of_two([0.1, 0.2, 0.4]).expect("the other query").report.findings.join("\n");
    let note = "1 query is left out for all methods: two predicts sums that are not finite.";
    assert!(said.contains(note) && !said.contains("two predicts the same"), "{said}");
    let twice = lds(&example(), &[covariances(), covariances()], &comparison());
    assert!(twice.unwrap_err().to_string().contains("two methods are called daunce"));
    let mut first = example();
    first.outputs.iter_mut().skip(1).for_each(Vec::clear);
    let error = lds(&first, &[covariances()], &comparison()).unwrap_err().to_string();
    assert!(error.contains("1 random subset has outputs, and") && !error.contains("tables"), "{error}");
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
    let error = lds(&truth, &[classes], &comparison()).unwrap_err().to_string();
    assert!(error.contains("classes") && error.contains("the same for all subsets"), "{error}");
}

#[test]
fn runs_whose_means_differ_by_rounding_alone_tie_in_any_order() {
    let subsets = [&[0u32, 1][..], &[0, 2], &[1, 2], &[0]];
    let subsets = subsets.map(|rows| Subset { kind: SubsetKind::Random, rows: rows.to_vec() }).to_vec();
    let runs = [[0.1, 0.2, 0.3], [0.2, 0.2, 0.2], [0.3, 0.2, 0.1], [0.5, 0.5, 0.5]];
    let scores = || Scores::new("a", 3, vec![1.0, 2.0, 4.0]).expect("a matrix");
    for reversed in [false, true] {
        let of_subset = |mut runs: [f64; 3]| -> Vec<Vec<f64>> {
            if reversed {
                runs.reverse();
            }
            runs.map(|run| vec![run]).to_vec()
        };
        let truth = truth(subsets.clone(), runs.map(of_subset).to_vec(), 3, 1);
        let found = lds(&truth, &[scores()], &comparison()).expect("compared");
        let mean = found.report.measures[0].values[0].mean;
        // Of sums 3, 5, 6, 1 and outputs 0.2, 0.2, 0.2, 0.5, by scipy's spearmanr.
        assert!((mean + 0.774_596_669_241_483_4).abs() < 1e-12, "{mean}");
    }
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
    let found = leave_out(&truth, &[good, bad.clone(), bad.negated()], &comparison());
    assert!(found.unwrap_err().to_string().contains("two methods"));
    let good = Scores::new("good", 4, vec![0.9, 0.8, 0.2, 0.1]).expect("a matrix");
    let bad = Scores::new("bad", 4, vec![0.1, 0.2, 0.8, 0.9]).expect("a matrix");
    let found = leave_out(&truth, &[good, bad], &comparison()).expect("compared");
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
    let mut subsets = vec![SubsetKind::Full];
    let mut outputs = vec![[2.0, 3.0]];
    for (share, random, top) in [(0.1, 1.9, 1.0), (0.2, 1.8, -0.5)] {
        subsets.push(SubsetKind::RemovedAtRandom { share });
        outputs.push([random, random + 1.0]);
        for query in 0..2 {
            subsets.push(removed("less", query, share));
            outputs.push([top, top + 1.0]);
        }
    }
    let truth = of_margins(subsets, outputs);
    let found = removal_curves(&truth, &comparison()).expect("compared");
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
    let error = removal_curves(&example(), &comparison()).unwrap_err().to_string();
    assert!(error.contains("the whole pool"), "{error}");
    let error = leave_out(&example(), &[covariances()], &comparison()).unwrap_err().to_string();
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
        subsets.push(removed("less", query, 0.1));
        outputs.push([-1.0, -1.0]);
    }
    let truth = of_margins(subsets, outputs);
    let found = removal_curves(&truth, &comparison()).expect("compared");
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
    // The number of a base is that of the methods that are compared.
    assert_eq!(removal_methods(&removals), ["random", "less"]);
    let found = removal_curves(&removals, &comparison()).expect("compared");
    let said = "3 of 6 removals with outputs. Left out, since removals have none: method late; 1 of 2 queries at top 10 % (\"1\"); \
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
    let found = leave_out(&ones, &[scores], &comparison()).expect("compared");
    let said = "2 of 3 subsets with outputs, each without one of 4 rows; 1 of 1 query.";
    assert!(found.report.findings.iter().any(|finding| finding == said), "{:?}", found.report.findings);
}

#[test]
fn queries_whose_rows_were_removed_and_that_have_no_output_are_named() {
    let named = |queries: std::ops::Range<usize>| {
        let mut subsets = vec![SubsetKind::Full, SubsetKind::RemovedAtRandom { share: 0.1 }];
        subsets.extend(queries.map(|query| removed("less", query, 0.1)));
        let outputs = vec![[1.0, 1.0]; subsets.len()];
        removal_curves(&of_margins(subsets, outputs), &comparison()).unwrap_err().to_string()
    };
    let told = named(0..4);
    let said =
        "rows were removed for 2 queries that have no output: \"2\", \"3\"; give an output of every model";
    assert!(told.contains(said), "{told}");
    let told = named(10..21);
    assert!(told.contains("for 11 queries that have no output: \"10\", \"11\", "), "{told}");
    assert!(told.contains("\"19\", ...; give") && !told.contains("\"20\""), "{told}");
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
            subsets.push(removed("less", query, share));
            outputs.push(lost.map(|lost| 0.5 - lost).to_vec());
        }
    }
    let subsets = subsets.into_iter().map(|kind| Subset { kind, rows: vec![0] }).collect();
    let outputs = outputs.into_iter().map(|output| vec![output]).collect();
    let mut truth = truth(subsets, outputs, 10, 6);
    truth.signal = Signal::Margin;
    let found = removal_curves(&truth, &comparison()).expect("compared");
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
    let flips = Flips::read(&around.path().join("labels.csv"), &RUN).expect("labels");
    let scores = Scores::new("m", 5, vec![0.9, 0.5, 0.4, 0.4, 0.1]).expect("a matrix");
    let found = |suspicious| {
        let found = flip_detection(&flips, std::slice::from_ref(&scores), suspicious, &comparison());
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
        let error = Flips::read(&around.path().join("labels.csv"), &RUN).unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}
