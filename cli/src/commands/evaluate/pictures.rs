//! Charts of a report as pictures in its folder.

use gstore::picture::{Axis, Body, Panel, Picture, Series};
use gstore_evaluate::{Chart, File, Report};

use crate::context::Context;

/// Each chart as PNG and SVG. One that is too large for PNG has the other alone.
pub fn files<'a>(context: &Context, charts: impl IntoIterator<Item = &'a Chart>) -> Vec<File> {
    let mut files = Vec::new();
    for chart in charts.into_iter().filter(|chart| !chart.panels.is_empty()) {
        let picture = picture(chart);
        let file = |ending: &str, content| File { path: format!("{}.{ending}", chart.name), content };
        files.push(file("svg", picture.svg().into_bytes()));
        match picture.png() {
            Ok(bytes) => files.push(file("png", bytes)),
            Err(error) => context.say(&format!("note: {}.png was not written: {error}", chart.name)),
        }
    }
    files
}

/// All charts of a report and what it says, as one page that stands alone.
pub fn page(report: &Report) -> File {
    let charts = report.charts.iter().filter(|chart| !chart.panels.is_empty());
    let mut panels: Vec<Panel> = charts.flat_map(|chart| picture(chart).panels).collect();
    if let Some(last) = panels.last_mut() {
        last.notes.extend(report.findings.iter().cloned());
    }
    let systems: Vec<&str> = report.systems.iter().map(|system| system.name.as_str()).collect();
    let page = Picture {
        title: format!("Scores against retraining: {}", report.kind),
        about: format!("Charts of {}.", systems.join(", ")),
        panels,
    };
    File { path: "evaluation.html".to_owned(), content: page.html().into_bytes() }
}

fn picture(chart: &Chart) -> Picture {
    let title = match chart.name {
        "model_comparison_chart" => "Comparison of models",
        "benchmark_comparison_chart" => "Comparison of models by benchmarks",
        "method_comparison_chart" => "Comparison of methods",
        "method_differences" => "Differences of methods",
        "lds_by_query" => "Linear datamodeling score by query",
        "leave_out_by_query" => "Leave-one-out by query",
        "removal_curves" => "Removal of the best rows",
        _ => "Improvements",
    };
    let shown: Vec<&str> = chart.panels.iter().map(|panel| panel.title.as_str()).collect();
    Picture {
        title: title.to_owned(),
        about: match chart.form {
            "lines" => format!("A line for each method: {}.", shown.join("; ")),
            _ => format!("Bars for each metric and system: {}.", shown.join("; ")),
        },
        panels: match chart.form {
            "lines" => chart.panels.iter().map(lines).collect(),
            // Correlations are no shares of anything.
            _ => chart.panels.iter().map(|of| panel(of, !chart.name.starts_with("method_"))).collect(),
        },
    }
}

/// A line for each series. A label that has a number stands there, any other by its place.
fn lines(of: &gstore_evaluate::Panel) -> Panel {
    let number = |label: &str| label.split(' ').find_map(|word| word.parse::<f64>().ok());
    let place = |(at, label): (usize, &String)| number(label).unwrap_or(at as f64);
    let places: Vec<f64> = of.labels.iter().enumerate().map(place).collect();
    let line = |(colour, series): (usize, &gstore_evaluate::Series)| {
        let points = places.iter().zip(&series.values).map(|(x, y)| [*x, *y]);
        Series::new(&series.name, colour, points.collect())
    };
    Panel {
        heading: of.title.clone(),
        body: Body::Lines {
            x: Axis::linear("%"),
            y: Axis::linear(&of.title),
            series: of.series.iter().enumerate().map(line).collect(),
        },
        notes: Vec::new(),
    }
}

fn panel(of: &gstore_evaluate::Panel, shares: bool) -> Panel {
    let row = |(number, label): (usize, &String)| {
        let value = |series: &gstore_evaluate::Series| series.values.get(number).copied();
        (label.clone(), of.series.iter().map(|series| value(series).unwrap_or(f64::NAN)).collect())
    };
    Panel {
        heading: of.title.clone(),
        body: Body::Bars {
            rows: of.labels.iter().enumerate().map(row).collect(),
            series: of.series.iter().map(|series| series.name.clone()).collect(),
            shares,
        },
        notes: vec![match shares {
            true => "Of 100 %, without the intervals, which are in the report.".to_owned(),
            false => "Without the intervals, which are in the report.".to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_has_a_bar_of_each_system() {
        let series = |name: &str, values: &[f64]| gstore_evaluate::Series {
            name: name.to_owned(),
            values: values.to_vec(),
            low: vec![None; values.len()],
            high: vec![None; values.len()],
        };
        let panel = gstore_evaluate::Panel {
            title: "Text metrics".to_owned(),
            labels: vec!["BLEU1".to_owned(), "F1".to_owned()],
            series: vec![series("base", &[0.25, 0.5]), series("tuned", &[0.75, -0.125])],
        };
        let chart = Chart { name: "model_comparison_chart", form: "grouped_bars", panels: vec![panel] };
        let svg = picture(&chart).svg();
        for text in ["BLEU1", "tuned", "25.0 %", "-12.5 %", "Text metrics"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(picture(&chart).png().expect("small enough").starts_with(b"\x89PNG"));
    }
}
