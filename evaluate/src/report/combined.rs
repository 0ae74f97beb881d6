//! One report of text metrics and benchmarks, from a report and the folder of one of the other kind.

use std::path::Path;

use serde_json::{Value, json};

use super::{File, Report};
use crate::error::EvaluateError;

/// What both are called in their own reports.
const TITLE: &str = "# Evaluation report\n\n";

impl Report {
    /// `combined_evaluation_report.md`, text metrics first, and the series of `combined_improvements`.
    ///
    /// # Errors
    /// A folder that holds no report of the other kind.
    pub fn combined_with(&self, folder: &Path) -> Result<Vec<File>, EvaluateError> {
        let path = folder.join("evaluation.json");
        let bad = |what: &str| EvaluateError::File { path: path.clone(), what: what.to_owned() };
        let other: Value =
            serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| bad(&error.to_string()))?;
        let kind = other.get("kind").and_then(Value::as_str).unwrap_or_default();
        if !["text", "tasks"].contains(&kind) || kind == self.kind {
            return Err(bad(&format!("it is no report of the other kind than {}", self.kind)));
        }
        let markdown = fs_err::read_to_string(folder.join("evaluation_report.md"))?;
        let own = self.markdown();
        let mut parts =
            [own.as_str(), markdown.as_str()].map(|part| part.strip_prefix(TITLE).unwrap_or(part));
        let mut panels = [improvements(&self.json()), improvements(&other)];
        if kind == "text" {
            parts.reverse();
            panels.reverse();
        }
        let [first, second] = parts;
        let text = format!("# Combined evaluation report\n\n{first}\n{second}");
        let chart = json!({ "name": "combined_improvements", "form": "bars", "panels": panels.concat() });
        Ok(vec![
            File { path: "combined_evaluation_report.md".to_owned(), content: text.into_bytes() },
            File {
                path: "combined_improvements.json".to_owned(),
                content: format!("{chart:#}\n").into_bytes(),
            },
        ])
    }
}

/// The panels of a report's improvements.
fn improvements(report: &Value) -> Vec<Value> {
    let charts = report.get("charts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let of =
        charts.iter().find(|chart| chart.get("name").is_some_and(|name| name == "combined_improvements"));
    of.and_then(|chart| chart.get("panels")?.as_array()).cloned().unwrap_or_default()
}
