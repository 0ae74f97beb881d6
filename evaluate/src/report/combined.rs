//! One report of text metrics and benchmarks, from a report and the folder of one of the other kind.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use super::charts::IMPROVEMENTS;
use super::{Chart, File, Panel, Report};
use crate::error::EvaluateError;

/// What both are called in their own reports.
const TITLE: &str = "# Evaluation report\n\n";

/// What is needed of a report in a folder.
struct Other {
    markdown: String,
    improvements: Vec<Panel>,
}

impl Report {
    /// Refuses a folder without a report of the other kind than `kind`, before there is one to combine it with.
    ///
    /// # Errors
    /// Such a folder.
    pub fn check_other(kind: &str, folder: &Path) -> Result<(), EvaluateError> {
        Other::read(kind, folder).map(drop)
    }

    /// `combined_evaluation_report.md` and `combined_improvements.json`, text metrics first, and the chart in
    /// the latter.
    ///
    /// # Errors
    /// A folder that holds no report of the other kind.
    pub fn combined_with(&self, folder: &Path) -> Result<(Vec<File>, Chart), EvaluateError> {
        let other = Other::read(self.kind, folder)?;
        let own = self.markdown();
        let mut parts =
            [own.as_str(), other.markdown.as_str()].map(|part| part.strip_prefix(TITLE).unwrap_or(part));
        let charts = self.charts.iter().filter(|chart| chart.name == IMPROVEMENTS);
        let mut panels = [charts.flat_map(|chart| chart.panels.clone()).collect(), other.improvements];
        if self.kind != "text" {
            parts.reverse();
            panels.reverse();
        }
        let [first, second] = parts;
        let text = format!("# Combined evaluation report\n\n{first}\n{second}");
        let chart = Chart { name: IMPROVEMENTS, form: "bars", panels: panels.concat() };
        let json = format!("{:#}\n", json!(chart));
        let files = vec![
            File { path: "combined_evaluation_report.md".to_owned(), content: text.into_bytes() },
            File { path: format!("{IMPROVEMENTS}.json"), content: json.into_bytes() },
        ];
        Ok((files, chart))
    }
}

impl Other {
    fn read(kind: &str, folder: &Path) -> Result<Other, EvaluateError> {
        let path = folder.join("evaluation.json");
        let bad = |what: &str| EvaluateError::File { path: path.clone(), what: what.to_owned() };
        let report: Value =
            serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| bad(&error.to_string()))?;
        let found = report.get("kind").and_then(Value::as_str).unwrap_or_default();
        if !["text", "tasks"].contains(&found) || found == kind {
            return Err(bad(&format!("it is no report of the other kind than {kind}")));
        }
        let markdown = fs_err::read_to_string(folder.join("evaluation_report.md"))?;
        let charts = report.get("charts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of = charts.iter().find(|chart| chart.get("name").is_some_and(|name| name == IMPROVEMENTS));
        let improvements = match of.and_then(|chart| chart.get("panels")) {
            Some(panels) => Vec::deserialize(panels).map_err(|error| bad(&error.to_string()))?,
            None => Vec::new(),
        };
        Ok(Other { markdown, improvements })
    }
}
