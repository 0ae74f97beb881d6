//! Reports: means with their intervals, differences with theirs, findings, and the series of charts.

mod charts;
mod combined;
mod comparing;
mod csv;
mod made;
mod table;

use serde::Serialize;

use crate::error::EvaluateError;
use crate::metrics::Metric;
use crate::statistics::{Bootstrap, CONFIDENCE, LEAST_ROWS};

pub(crate) use self::comparing::{Column, ComparisonSetup};
pub(crate) use self::csv::Csv;
pub(crate) use self::made::files;
pub use charts::{Chart, Panel, Series};
pub use made::RunParameters;

/// What an evaluation found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// `text` or `tasks`; of scores against retraining `lds`, `loo`, `brittleness` or `flips`.
    pub kind: &'static str,
    /// What was evaluated.
    pub systems: Vec<SystemInfo>,
    /// The system that the others are compared with.
    pub base: String,
    /// Rows or questions.
    pub rows: usize,
    /// References that no prediction was compared with, where references are read apart from predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references_without_prediction: Option<usize>,
    pub(crate) intervals: Intervals,
    /// Means and differences, the groups in their order, all rows and the mean of groups at the end.
    pub measures: Vec<Measure>,
    /// What follows from the differences, in words.
    pub findings: Vec<String>,
    /// Series to draw.
    pub charts: Vec<Chart>,
    /// Files with their digests and options, where its job says them.
    #[serde(skip_serializing_if = "RunParameters::is_empty")]
    pub made: RunParameters,
}

/// A system and its weights.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SystemInfo {
    /// Its name.
    pub name: String,
    /// Digest of its weights, where they were run.
    pub model: Option<String>,
}

/// How intervals were found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Intervals {
    /// Their confidence.
    pub confidence: f64,
    /// Resamples of the paired bootstrap.
    pub resamples: usize,
    /// Seed of its draws.
    pub seed: u64,
    /// Rows below which it says nothing.
    pub least_rows: usize,
}

/// A metric over a group of rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measure {
    /// A task, [`Report::ALL`] or the mean of groups.
    pub group: String,
    /// The metric.
    pub metric: Metric,
    /// Rows; of the mean of groups the groups' rows. Of removals queries, which come with all of their
    /// shares.
    pub rows: usize,
    /// One for each system.
    pub values: Vec<Value>,
    /// One for each system but the base.
    pub differences: Vec<Difference>,
}

/// A mean.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Value {
    /// The system.
    pub system: String,
    /// The mean over the rows.
    pub mean: f64,
    /// Lower end of its interval; none where there are too few rows for a bootstrap.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// `wilson` or `bootstrap`.
    pub interval: &'static str,
    /// Of BLEU, the value of all texts as one corpus.
    pub corpus: Option<f64>,
}

/// A difference of two systems over the same rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// The system.
    pub system: String,
    /// The system whose mean is subtracted.
    pub against: String,
    /// The difference.
    pub difference: f64,
    /// The same as a percentage of the base's mean; none if that is not above 0, or its interval has both
    /// signs.
    pub relative_percent: Option<f64>,
    /// Lower end of its interval, by the paired bootstrap; none of too few rows.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// Two-sided.
    pub p: Option<f64>,
}

/// A file of a report's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its path in the folder.
    pub path: String,
    /// Its bytes.
    pub content: Vec<u8>,
}

impl File {
    pub(crate) fn new(path: impl Into<String>, content: impl Into<Vec<u8>>) -> File {
        File { path: path.into(), content: content.into() }
    }

    /// A value as JSON for people.
    pub(crate) fn json(path: impl Into<String>, value: &serde_json::Value) -> File {
        File::new(path, format!("{value:#}\n"))
    }
}

impl Report {
    /// The kind of a report of tasks.
    pub(crate) const TASKS: &'static str = "tasks";
    /// The group of all rows.
    pub const ALL: &'static str = "all";
    /// The mean of the groups' means.
    pub(crate) const OF_GROUPS: &'static str = "mean of tasks";
    /// Groups that no task can be called.
    pub const NAMES: [&'static str; 2] = [Self::ALL, Self::OF_GROUPS];

    /// Compares the systems by every column.
    pub(crate) fn new(comparing: &ComparisonSetup<'_>, columns: &[Column]) -> Result<Report, EvaluateError> {
        Self::of_units(comparing, columns, &[])
    }

    /// The same where rows are no single draws: `units` are by column and row the number of the unit, counted
    /// from 0, that the row comes and goes with. A column without any has its rows as units.
    pub(crate) fn of_units(
        comparing: &ComparisonSetup<'_>,
        columns: &[Column],
        units: &[Vec<usize>],
    ) -> Result<Report, EvaluateError> {
        let Bootstrap { resamples, seed } = comparing.bootstrap;
        // Where there are several, a metric that only one has is that one's too.
        let mut groups = columns.iter().flat_map(|column| &column.groups).map(|(name, _)| name);
        let first = groups.next();
        let several = groups.any(|name| Some(name) != first);
        let mut measures = Vec::new();
        for (at, column) in columns.iter().enumerate() {
            let units = units.get(at).map(Vec::as_slice);
            measures.extend(comparing.measures(column, units, several)?);
        }
        let mut report = Report {
            kind: comparing.kind,
            systems: comparing.systems.clone(),
            base: comparing.name(comparing.base),
            rows: comparing.rows,
            references_without_prediction: None,
            intervals: Intervals { confidence: CONFIDENCE, resamples, seed, least_rows: LEAST_ROWS },
            measures,
            findings: Vec::new(),
            charts: Vec::new(),
            made: RunParameters::new(),
        };
        report.findings = report.find();
        report.charts = charts::of(&report);
        Ok(report)
    }

    /// The measures of all rows together.
    pub fn overall(&self) -> impl Iterator<Item = &Measure> {
        self.measures.iter().filter(|measure| measure.group == Self::ALL)
    }

    /// The report as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!(self)
    }

    /// The files that every folder of a report has: the report itself, as CSV and as `markdown`, and `rows`.
    pub(crate) fn files(&self, markdown: String, rows: Vec<u8>) -> Result<Vec<File>, EvaluateError> {
        Ok(vec![
            File::json("evaluation.json", &self.json()),
            File::new("evaluation.csv", self.csv()?),
            File::new("evaluation_report.md", markdown),
            File::new("rows.csv", rows),
        ])
    }

    /// What the differences over all rows say. A metric improved if its interval lies above 0.
    fn find(&self) -> Vec<String> {
        let others = self.systems.iter().filter(|system| system.name != self.base);
        others.map(|system| self.finding(&system.name)).collect()
    }

    fn finding(&self, system: &str) -> String {
        let (mut better, mut worse, mut higher) = (Vec::new(), Vec::new(), Vec::new());
        let mut known = false;
        for measure in self.overall() {
            let metric = measure.metric.label();
            for found in measure.differences.iter().filter(|found| found.system == system) {
                known |= found.p.is_some();
                for (list, fits) in [
                    (&mut better, found.low.is_some_and(|low| low > 0.0)),
                    (&mut worse, found.high.is_some_and(|high| high < 0.0)),
                    (&mut higher, found.difference > 0.0),
                ] {
                    list.extend(fits.then_some(metric));
                }
            }
        }
        let against = format!("{system} against {}", self.base);
        let values = self.overall().flat_map(|measure| &measure.values);
        let mut of_both = values.filter(|of| of.system == system || of.system == self.base).peekable();
        // A report without measures over all rows says nothing of zeros.
        let all_zero = of_both.peek().is_some() && of_both.all(|of| of.mean == 0.0);
        let mut said = match (better.is_empty(), higher.is_empty()) {
            (true, true) if all_zero => format!("{against}: No metric improved: all values of both are 0."),
            (true, true) => format!("{against}: No metric improved."),
            (true, false) if !known => format!(
                "{against}: fewer than {LEAST_ROWS} rows do not tell an improvement from chance (higher: {}).",
                higher.join(", ")
            ),
            (true, false) => format!(
                "{against}: No metric improved by more than chance: the interval of each difference reaches down to 0 (higher: {}).",
                higher.join(", ")
            ),
            _ => format!("{against}: improved: {}.", better.join(", ")),
        };
        if !worse.is_empty() {
            said.push_str(&format!(" Worse: {}.", worse.join(", ")));
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use gstore_core::Cancel;

    use super::*;
    use crate::statistics::tests::TIED;

    #[test]
    fn an_interval_that_ends_at_0_says_neither_better_nor_worse() {
        let cancel = Cancel::new();
        let said = |values: Vec<Vec<f64>>| {
            let comparing = ComparisonSetup {
                kind: "lds",
                systems: ["a", "b"].map(|name| SystemInfo { name: name.to_owned(), model: None }).into(),
                base: 0,
                rows: 5,
                bootstrap: Bootstrap { resamples: 2000, seed: 7 },
                threads: 1,
                cancel: &cancel,
            };
            let groups = vec![(Report::ALL.to_owned(), 0..5)];
            let column = Column { metric: Metric::Lds, values, groups, corpus: None };
            Report::new(&comparing, &[column]).expect("compared").findings
        };
        for rows in TIED {
            let [base, other] = rows.map(|values| values.to_vec());
            let higher = said(vec![base.clone(), other.clone()]);
            assert!(
                higher[0].contains("by more than chance") && !higher[0].contains("improved: "),
                "{higher:?}"
            );
            let lower = said(vec![other, base]);
            assert_eq!(lower, ["b against a: No metric improved."]);
        }
    }

    #[test]
    fn zeros_are_those_of_measures() {
        let value = |system: &str| Value {
            system: system.to_owned(),
            mean: 0.0,
            low: None,
            high: None,
            interval: "bootstrap",
            corpus: None,
        };
        let measure = Measure {
            group: Report::ALL.to_owned(),
            metric: Metric::ExactMatch,
            rows: 1,
            values: vec![value("a"), value("b")],
            differences: Vec::new(),
        };
        let mut report = Report {
            kind: Report::TASKS,
            systems: Vec::new(),
            base: "a".to_owned(),
            rows: 1,
            references_without_prediction: None,
            intervals: Intervals { confidence: CONFIDENCE, resamples: 1, seed: 1, least_rows: LEAST_ROWS },
            measures: vec![measure],
            findings: Vec::new(),
            charts: Vec::new(),
            made: RunParameters::new(),
        };
        assert!(report.finding("b").ends_with("No metric improved: all values of both are 0."));
        report.measures.clear();
        assert!(report.finding("b").ends_with("No metric improved."));
    }
}
