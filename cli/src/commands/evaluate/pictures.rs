//! Charts of a report as pictures in its folder.

use gstore::picture::{Body, Panel, Picture};
use gstore_evaluate::{Chart, File};

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
            Err(error) => context.say(&format!("note: there is no {}.png: {error}", chart.name)),
        }
    }
    files
}

fn picture(chart: &Chart) -> Picture {
    let title = match chart.name {
        "model_comparison_chart" => "Comparison of models",
        "benchmark_comparison_chart" => "Comparison of models by benchmarks",
        _ => "Improvements",
    };
    let shown: Vec<&str> = chart.panels.iter().map(|panel| panel.title.as_str()).collect();
    Picture {
        title: title.to_owned(),
        about: format!("Bars for each metric and system: {}.", shown.join("; ")),
        panels: chart.panels.iter().map(panel).collect(),
    }
}

fn panel(of: &gstore_evaluate::Panel) -> Panel {
    let row = |(number, label): (usize, &String)| {
        let value = |series: &gstore_evaluate::Series| series.values.get(number).copied();
        (label.clone(), of.series.iter().map(|series| value(series).unwrap_or(f64::NAN)).collect())
    };
    Panel {
        heading: of.title.clone(),
        body: Body::Bars {
            rows: of.labels.iter().enumerate().map(row).collect(),
            series: of.series.iter().map(|series| series.name.clone()).collect(),
            shares: true,
        },
        notes: vec!["Of 100 %, without the intervals, which are in the report.".to_owned()],
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
            low: values.to_vec(),
            high: values.to_vec(),
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
