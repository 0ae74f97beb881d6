//! One report of text metrics and benchmarks, from a report and the folder of one of the other kind, and of
//! the training rows that influenced the answers.

use std::path::Path;

use gstore_core::visible;
use serde::Deserialize;
use serde_json::{Value, json};

use super::charts::IMPROVEMENTS;
use super::{Chart, File, Panel, Report};
use crate::error::EvaluateError;
use crate::records::read_json;

/// What both are called in their own reports.
const TITLE: &str = "# Evaluation report\n\n";

/// Lines of the influential examples that stand in the report itself.
const SHOWN: usize = 20;

/// What is needed of a report in a folder.
struct OtherReport {
    markdown: String,
    improvements: Vec<Panel>,
}

impl Report {
    /// Refuses a folder without a report of the other kind than `kind`, before there is one to
    /// combine it with.
    ///
    /// # Errors
    /// Such a folder.
    pub fn check_other(kind: &str, folder: &Path) -> Result<(), EvaluateError> {
        OtherReport::read(kind, folder).map(drop)
    }

    /// `combined_evaluation_report.md` and `combined_improvements.json`, text metrics first, and the chart in
    /// the latter. A file of `influential` examples is copied next to them, and the third part of the report.
    ///
    /// # Errors
    /// A folder that holds no report of the other kind; a file that cannot be read.
    pub fn combined_with(
        &self,
        folder: &Path,
        influential: Option<&Path>,
    ) -> Result<(Vec<File>, Chart), EvaluateError> {
        let other = OtherReport::read(self.kind, folder)?;
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
        let mut text = format!("# Combined evaluation report\n\n{first}\n{second}");
        let examples = influential.map(examples).transpose()?;
        if let Some(examples) = &examples {
            text.push_str(&linked(examples));
        }
        let chart = Chart { name: IMPROVEMENTS, form: "bars", panels: panels.concat() };
        let mut files = vec![
            File::new("combined_evaluation_report.md", text),
            File::json(format!("{IMPROVEMENTS}.json"), &json!(chart)),
        ];
        files.extend(examples);
        Ok((files, chart))
    }
}

/// The influential examples under the name that pipelines give them.
fn examples(path: &Path) -> Result<File, EvaluateError> {
    let ending = if path.extension().is_some_and(|ending| ending == "md") { "md" } else { "txt" };
    Ok(File::new(format!("influential_examples.{ending}"), fs_err::read(path)?))
}

/// A link to the examples, and their first lines as text.
fn linked(examples: &File) -> String {
    let name = &examples.path;
    let text = String::from_utf8_lossy(&examples.content);
    let first: Vec<String> = text.lines().take(SHOWN).map(visible).collect();
    let all = text.lines().count();
    let part = if all > SHOWN { format!(", the first {SHOWN} of {all} lines") } else { String::new() };
    // Texts of rows may have fences in them, and a longer one holds these.
    let ticks = first.iter().flat_map(|line| line.split(|c: char| c != '`')).map(str::len).max();
    let fence = "`".repeat(ticks.unwrap_or(0).max(2) + 1);
    format!(
        "\n## Influential examples\n\n[{name}]({name}){part}:\n\n{fence}text\n{}\n{fence}\n",
        first.join("\n")
    )
}

impl OtherReport {
    fn read(kind: &str, folder: &Path) -> Result<OtherReport, EvaluateError> {
        let path = folder.join("evaluation.json");
        let bad = |what: &str| EvaluateError::File { path: path.clone(), what: what.to_owned() };
        let report: Value = read_json(&path)?;
        let found = report.get("kind").and_then(Value::as_str).unwrap_or_default();
        if !["text", "tasks"].contains(&found) || found == kind {
            return Err(bad(&format!("it is not a report of another kind than {kind}")));
        }
        let markdown = fs_err::read_to_string(folder.join("evaluation_report.md"))?;
        let charts = report.get("charts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let of = charts.iter().find(|chart| chart.get("name").is_some_and(|name| name == IMPROVEMENTS));
        let improvements = match of.and_then(|chart| chart.get("panels")) {
            Some(panels) => Vec::deserialize(panels).map_err(|error| bad(&error.to_string()))?,
            None => Vec::new(),
        };
        Ok(OtherReport { markdown, improvements })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_examples_stand_in_a_fence_that_they_do_not_end() {
        let of = |lines: usize| {
            let text: String = (1..=lines).map(|line| format!("```` line {line}\n")).collect();
            linked(&File::new("influential_examples.txt", text))
        };
        let (short, long) = (of(20), of(21));
        assert!(short.contains("(influential_examples.txt):\n\n`````text\n```` line 1\n"), "{short}");
        assert!(
            short.ends_with("```` line 20\n`````\n") && long.ends_with("```` line 20\n`````\n"),
            "{long}"
        );
        assert!(long.contains("the first 20 of 21 lines:"), "{long}");
        let hidden = linked(&File::new("influential_examples.txt", "a\u{1b}[31m\u{202e}b\n"));
        assert!(hidden.contains("```text\na\\u{1b}[31m\\u{202e}b\n```"), "{hidden}");
    }
}
