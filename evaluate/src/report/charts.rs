//! Series of charts, under the names that evaluation pipelines of Kronfluence give to their pictures.

use serde::{Deserialize, Serialize};

use super::{Measure, Report};
use crate::metrics::Metric;

/// A picture's data.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chart {
    /// Name of the picture's file, without its ending.
    pub name: &'static str,
    /// `grouped_bars`, `bars`, or `lines` over the labels.
    pub form: &'static str,
    /// Axes next to each other.
    pub panels: Vec<Panel>,
}

/// One pair of axes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Panel {
    /// What it shows.
    pub title: String,
    /// Groups of bars, or places of lines.
    pub labels: Vec<String>,
    /// Bars in each group, or lines.
    pub series: Vec<Series>,
}

/// A value for each label of a panel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// The system.
    pub name: String,
    /// Heights.
    pub values: Vec<f64>,
    /// Lower ends of the intervals; none of a value that has no interval.
    pub low: Vec<Option<f64>>,
    /// Upper ends.
    pub high: Vec<Option<f64>>,
}

impl Series {
    /// Of each height the value, and the lower and the upper end of its interval.
    pub(crate) fn new(name: &str, of: impl Iterator<Item = (f64, Option<f64>, Option<f64>)>) -> Series {
        let (values, low, high) = of.collect();
        Series { name: name.to_owned(), values, low, high }
    }
}

/// The chart of differences.
pub(super) const IMPROVEMENTS: &str = "combined_improvements";

pub(super) fn of(report: &Report) -> Vec<Chart> {
    let (comparison, differences, title) = match report.kind {
        "text" => ("model_comparison_chart", IMPROVEMENTS, "Text metrics"),
        Report::TASKS => ("benchmark_comparison_chart", IMPROVEMENTS, "Benchmarks"),
        _ => ("method_comparison_chart", "method_differences", "Methods"),
    };
    // Of each metric a bar for each task, or one for all rows where no task is named.
    let by_task =
        |metric: Metric| report.measures.iter().any(|m| m.metric == metric && m.group != Report::ALL);
    let shown = |measure: &&Measure| (measure.group != Report::ALL) == by_task(measure.metric);
    let shown: Vec<&Measure> = report.measures.iter().filter(shown).collect();
    let labels: Vec<String> = shown.iter().map(|measure| label(measure)).collect();
    let means = report.systems.iter().enumerate().map(|(number, system)| {
        let values = shown.iter().filter_map(|measure| measure.values.get(number));
        Series::new(&system.name, values.map(|value| (value.mean, value.low, value.high)))
    });
    let others = report.systems.iter().filter(|system| system.name != report.base);
    let improvements = others.map(|system| {
        let found = shown.iter().flat_map(|measure| &measure.differences);
        let found = found.filter(|found| found.system == system.name);
        Series::new(&system.name, found.map(|found| (found.difference, found.low, found.high)))
    });
    let panel = |title: String, series: Vec<Series>| Panel { title, labels: labels.clone(), series };
    let (means, improvements): (Vec<Series>, Vec<Series>) = (means.collect(), improvements.collect());
    let chart = |name, form, panel| Chart { name, form, panels: vec![panel] };
    let mut charts = vec![chart(comparison, "grouped_bars", panel(title.to_owned(), means))];
    if !improvements.is_empty() {
        let title = format!("{title}: improvement over {}", report.base);
        charts.push(chart(differences, "bars", panel(title, improvements)));
    }
    charts
}

fn label(measure: &Measure) -> String {
    match measure.group.as_str() {
        Report::ALL => measure.metric.label().to_owned(),
        group => format!("{group}: {}", measure.metric.label()),
    }
}
