//! Results of a comparison of scores with retraining: a report, its rows, and the files of its folder.

use gstore_core::{Cancel, many_of};

use super::scores::Scores;
use super::truth::Truth;
use crate::error::EvaluateError;
use crate::metrics::Metric;
use crate::report::{Chart, Column, ComparisonSetup, Csv, File, Panel, Report, Series, SystemInfo};
use crate::statistics::Bootstrap;

/// How methods are compared.
pub struct Comparison<'a> {
    /// Number of the method that others are compared with.
    pub base: usize,
    /// How intervals are found.
    pub bootstrap: Bootstrap,
    /// Threads.
    pub threads: usize,
    /// Stops it.
    pub cancel: &'a Cancel,
}

/// What was found of the scores.
#[derive(Debug, Clone, PartialEq)]
pub struct AttributionOutcome {
    /// Means and differences.
    pub report: Report,
    header: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl AttributionOutcome {
    /// Compares methods by some columns, with the units of their rows where these are not single draws;
    /// `header` and `lines` are the table of single values.
    pub(super) fn new(
        kind: &'static str,
        methods: Vec<String>,
        (columns, units): (&[Column], &[Vec<usize>]),
        (header, lines): (Vec<String>, Vec<Vec<String>>),
        comparison: &Comparison<'_>,
    ) -> Result<AttributionOutcome, EvaluateError> {
        if comparison.base >= methods.len() {
            return Err(EvaluateError::Option("the base is not one of the methods".to_owned()));
        }
        let comparing = ComparisonSetup {
            kind,
            systems: methods.into_iter().map(|name| SystemInfo { name, model: None }).collect(),
            base: comparison.base,
            rows: match units.first() {
                Some(units) => units.iter().max().map_or(0, |last| last + 1),
                None => columns.first().and_then(|column| column.values.first()).map_or(0, Vec::len),
            },
            bootstrap: comparison.bootstrap,
            threads: comparison.threads,
            cancel: comparison.cancel,
        };
        Ok(AttributionOutcome { report: Report::of_units(&comparing, columns, units)?, header, lines })
    }

    /// One more sentence for those who read the report.
    pub(super) fn say(&mut self, sentence: String) {
        self.report.findings.push(sentence);
    }

    /// One more picture: a line for each method.
    pub(super) fn draw(&mut self, name: &'static str, title: &str, labels: Vec<String>, lines: Vec<Series>) {
        let panel = Panel { title: title.to_owned(), labels, series: lines };
        self.report.charts.push(Chart { name, form: "lines", panels: vec![panel] });
    }

    /// The single values as CSV.
    ///
    /// # Errors
    /// None that can be expected: it is written to memory.
    pub fn rows(&self) -> Result<Vec<u8>, EvaluateError> {
        let mut table = Csv::new(&self.header)?;
        for line in &self.lines {
            table.line(line)?;
        }
        table.finish()
    }

    /// The files of a report's folder; the report as Markdown shows the pictures that stand next to it.
    ///
    /// # Errors
    /// None that can be expected: they are written to memory.
    pub fn files(&self) -> Result<Vec<File>, EvaluateError> {
        let shown = self.report.charts.iter().filter(|chart| !chart.panels.is_empty());
        let pictures: String = shown.map(|chart| format!("\n![{0}]({0}.svg)\n", chart.name)).collect();
        let text = format!("{}\n## Pictures\n{pictures}", self.report.markdown());
        self.report.files(text, self.rows()?)
    }
}

/// Names of methods, each once, and their scores over the rows and queries of a truth.
pub(super) fn check(truth: &Truth, methods: &[Scores]) -> Result<Vec<String>, EvaluateError> {
    let fits = |scores: &Scores| {
        scores.queries() == truth.queries.len() && scores.of_query(0).len() == truth.pool.len()
    };
    if let Some(scores) = methods.iter().find(|scores| !fits(scores)) {
        let (method, what) = (scores.method.clone(), "they are of other rows or queries".to_owned());
        return Err(EvaluateError::Scores { method, what });
    }
    names(methods)
}

/// Names of methods, each once.
pub(super) fn names(methods: &[Scores]) -> Result<Vec<String>, EvaluateError> {
    let mut names: Vec<String> = Vec::new();
    for scores in methods {
        if names.contains(&scores.method) {
            return Err(EvaluateError::Option(format!("two methods are called {}", scores.method)));
        }
        names.push(scores.method.clone());
    }
    match names.is_empty() {
        true => Err(EvaluateError::Option("there are no scores to compare with retraining".to_owned())),
        false => Ok(names),
    }
}

/// A comparison of methods by correlations of queries that every method and the outputs have.
pub(super) struct Correlated {
    pub outcome: AttributionOutcome,
    /// How many queries count.
    pub queries: usize,
    /// What was left out, in sentences.
    pub notes: Vec<String>,
}

/// Compares methods by what `of` makes of what a method has `predicted` for a query: a value for each
/// metric, which the table of single values calls by its second name, or nothing where it is not defined. A
/// query whose outputs are `constant`, and one that is not defined for some method, counts for none. The
/// picture shows the first metric.
pub(super) fn correlate(
    (kind, picture, title): (&'static str, &'static str, &str),
    (truth, names): (&Truth, Vec<String>),
    metrics: &[(Metric, &str)],
    constant: impl Fn(usize) -> bool,
    (predicted, of): (impl Fn(usize, usize) -> Vec<f64>, impl Fn(&[f64], usize) -> Option<Vec<f64>>),
    comparison: &Comparison<'_>,
) -> Result<Correlated, EvaluateError> {
    let (constant, rest): (Vec<usize>, Vec<usize>) =
        (0..truth.queries.len()).partition(|query| constant(*query));
    let of_query = |method: usize, query: usize| of(&predicted(method, query), query);
    let found: Vec<Vec<Option<Vec<f64>>>> =
        (0..names.len()).map(|method| rest.iter().map(|query| of_query(method, *query)).collect()).collect();
    let mut notes = Vec::new();
    if !constant.is_empty() {
        let queries = many_of(constant.len() as u64, "query is", "queries are");
        notes.push(format!("{queries} left out: the outputs are the same for all subsets."));
    }
    for (method, (name, found)) in names.iter().zip(&found).enumerate() {
        let none = rest.iter().zip(found).filter(|(_, value)| value.is_none()).map(|(query, _)| *query);
        let is_finite = |query: &usize| predicted(method, *query).iter().all(|sum| sum.is_finite());
        let (same, large): (Vec<usize>, Vec<usize>) = none.partition(is_finite);
        if !rest.is_empty() && same.len() + large.len() == rest.len() {
            let what = match (same.len(), large.len()) {
                (_, 0) => "what they predict is the same for all subsets, whatever the query",
                (0, _) => "they are so large that their sums are not finite",
                _ => "what they predict is the same for all subsets, or their sums are not finite",
            };
            return Err(EvaluateError::Scores { method: name.clone(), what: what.to_owned() });
        }
        for (left_out, predicts) in [(same, "the same for all subsets"), (large, "sums that are not finite")]
        {
            if !left_out.is_empty() {
                let queries = many_of(left_out.len() as u64, "query is", "queries are");
                notes.push(format!("{queries} left out for all methods: {name} predicts {predicts}."));
            }
        }
    }
    let whole = |at: &usize| found.iter().all(|method| method[*at].is_some());
    let kept: Vec<usize> = (0..rest.len()).filter(whole).collect();
    if kept.is_empty() {
        return Err(EvaluateError::Nothing(
            "the outputs: no query has a correlation for every method".to_owned(),
        ));
    }
    let of_method = |method: &Vec<Option<Vec<f64>>>, column: usize| -> Vec<f64> {
        kept.iter().filter_map(|at| method[*at].as_ref()?.get(column).copied()).collect()
    };
    let column = |(column, (metric, _)): (usize, &(Metric, &str))| Column {
        metric: *metric,
        values: found.iter().map(|method| of_method(method, column)).collect(),
        groups: vec![(Report::ALL.to_owned(), 0..kept.len())],
        corpus: None,
    };
    let columns: Vec<Column> = metrics.iter().enumerate().map(column).collect();
    let mut lines = Vec::new();
    for at in &kept {
        for (name, method) in names.iter().zip(&found) {
            let mut line = vec![truth.queries.id(rest[*at]).to_owned(), name.clone()];
            line.extend(method[*at].iter().flatten().map(f64::to_string));
            lines.push(line);
        }
    }
    let header = ["query", "method"].into_iter().chain(metrics.iter().map(|(_, name)| *name));
    let table = (header.map(str::to_owned).collect(), lines);
    let (labels, series) = sorted_lines(&names, &columns[0].values);
    let mut outcome = AttributionOutcome::new(kind, names, (&columns, &[]), table, comparison)?;
    outcome.draw(picture, title, labels, series);
    Ok(Correlated { outcome, queries: kept.len(), notes })
}

/// Each method's values in ascending order, as lines over the share of queries.
fn sorted_lines(names: &[String], values: &[Vec<f64>]) -> (Vec<String>, Vec<Series>) {
    let count = values.first().map_or(0, Vec::len);
    let label = |at: usize| format!("{:.1}", 100.0 * (at as f64 + 0.5) / count.max(1) as f64);
    let line = |(name, values): (&String, &Vec<f64>)| {
        let mut values = values.clone();
        values.sort_unstable_by(f64::total_cmp);
        Series::new(name, values.into_iter().map(|value| (value, None, None)))
    };
    ((0..count).map(label).collect(), names.iter().zip(values).map(line).collect())
}
