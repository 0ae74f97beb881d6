//! The report of a pipeline: a page without scripts, and the same as Markdown.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use gstore_core::{calendar, html_text, markdown_cell, markdown_line, one_line, visible};
use gstore_store::vfs::write_whole;
use serde_json::Value;

use super::StageRun;

/// Figures of a stage at most.
const FIGURES: usize = 16;

#[derive(Debug, Clone, Default)]
pub struct StageReport {
    pub name: String,
    pub line: String,
    /// How it stands: done, up to date, failed, ...
    pub outcome: String,
    pub ran: Option<StageRun>,
    /// Paths that it writes.
    pub outputs: Vec<String>,
    pub log: String,
}

/// Writes both forms into a folder.
pub fn write(folder: &Path, title: &str, stages: &[StageReport]) -> Result<()> {
    write_whole(&folder.join("report.md"), markdown(title, stages).as_bytes())?;
    Ok(write_whole(&folder.join("report.html"), html(title, stages).as_bytes())?)
}

/// Numbers, switches and short texts of a summary, by name.
pub fn figures(summary: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    collect("", summary, &mut found);
    found.truncate(FIGURES);
    found
}

fn collect(name: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                collect(&name, value, found);
            }
        }
        Value::Array(items) => found.push((format!("{name} (number)"), items.len().to_string())),
        Value::Null => {}
        Value::String(text) if text.len() > 80 => {}
        Value::String(text) => found.push((name.to_owned(), text.clone())),
        value => found.push((name.to_owned(), value.to_string())),
    }
}

/// `3.2 s`, `4 min 5 s`, `2 h 3 min`.
pub fn time(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A time in seconds since 1970, in UTC.
pub fn date(seconds: u64) -> String {
    let rest = seconds % 86_400;
    let (year, month, day) = calendar::date((seconds / 86_400) as i64);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3600, rest % 3600 / 60)
}

/// What is told of a stage, as names and values.
fn facts(stage: &StageReport) -> Vec<(String, String)> {
    let mut facts = vec![("outcome".to_owned(), stage.outcome.clone())];
    let Some(ran) = &stage.ran else { return facts };
    facts.push(("began".to_owned(), date(ran.began)));
    facts.push(("took".to_owned(), time(ran.seconds)));
    facts.extend(ran.said.iter().map(|said| ("said".to_owned(), said.clone())));
    if let Some(summary) = &ran.summary {
        facts.extend(figures(summary));
    }
    facts.extend(stage.outputs.iter().map(|output| ("result".to_owned(), output.clone())));
    facts.push(("log".to_owned(), stage.log.clone()));
    facts
}

fn seconds(stage: &StageReport) -> String {
    stage.ran.as_ref().map_or(String::new(), |ran| time(ran.seconds))
}

pub fn markdown(title: &str, stages: &[StageReport]) -> String {
    let cell = |text: &str| markdown_cell(&one_line(text));
    let mut out = format!("# {}\n\n| stage | outcome | took |\n|---|---|---|\n", markdown_line(title));
    for stage in stages {
        let _ = writeln!(out, "| {} | {} | {} |", cell(&stage.name), cell(&stage.outcome), seconds(stage));
    }
    for stage in stages {
        let (name, typed) =
            (markdown_line(&stage.name), stage.line.split('\n').map(visible).collect::<Vec<_>>());
        let _ = write!(out, "\n## {name}\n\n```\n{}\n```\n\n| | |\n|---|---|\n", typed.join("\n"));
        for (name, value) in facts(stage) {
            let _ = writeln!(out, "| {} | {} |", cell(&name), cell(&value));
        }
    }
    out
}

/// As a page.
pub fn html(title: &str, stages: &[StageReport]) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{0}</title>\n<style>{STYLE}</style>\n<h1>{0}</h1>\n\
         <table>\n<tr><th>stage<th>outcome<th>took\n",
        html_text(title)
    );
    for stage in stages {
        let (name, outcome) = (html_text(&stage.name), html_text(&stage.outcome));
        let _ = writeln!(out, "<tr><td><a href=\"#{name}\">{name}</a><td>{outcome}<td>{}", seconds(stage));
    }
    out.push_str("</table>\n");
    for stage in stages {
        let (name, line) = (html_text(&stage.name), html_text(&stage.line));
        let _ = write!(out, "<h2 id=\"{name}\">{name}</h2>\n<pre>{line}</pre>\n<table>\n");
        for (name, value) in facts(stage) {
            let _ = writeln!(out, "<tr><th>{}<td>{}", html_text(&name), html_text(&value));
        }
        out.push_str("</table>\n");
    }
    out.push_str("</html>\n");
    out
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}table{border-collapse:collapse}\
    th,td{text-align:left;padding:.2em .8em .2em 0;border-bottom:1px solid #ddd;font-weight:normal;vertical-align:top}\
    th{color:#666}pre{background:#f4f4f4;padding:.6em;white-space:pre-wrap;overflow-wrap:anywhere}";

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> StageReport {
        let summary = serde_json::json!({"loss": 1.5, "run": "a|b", "checkpoints": [1, 2], "none": null, "in": {"x": true}});
        let ran =
            StageRun { began: 1_795_314_600, seconds: 63.4, summary: Some(summary), ..StageRun::default() };
        StageReport {
            name: "train".into(),
            line: "gstore train --model='<m>'".into(),
            outcome: "done".into(),
            ran: Some(ran),
            outputs: vec!["out".into()],
            log: "x.log".into(),
        }
    }

    #[test]
    fn both_forms_have_the_figures_and_no_markup_of_others() {
        let (markdown, html) = (markdown("a & b", &[stage()]), html("a & b", &[stage()]));
        for says in [
            "# a &amp; b\n",
            "| loss | 1.5 |",
            "| in.x | true |",
            "| checkpoints (number) | 2 |",
            "a\\|b",
            "1 min 3 s",
        ] {
            assert!(markdown.contains(says), "{says} in {markdown}");
        }
        for says in ["a &amp; b", "&lt;m&gt;", "<tr><th>loss<td>1.5", "href=\"#train\"", "2026-11-22"] {
            assert!(html.contains(says), "{says} in {html}");
        }
        assert!(!html.contains("<script") && !html.contains("<m>"));
    }

    #[test]
    fn dates_and_times() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_709_251_140), "2024-02-29 23:59 UTC");
        assert_eq!([0.04, 59.4, 60.0, 7_380.0].map(time), ["0.0 s", "59.4 s", "1 min 0 s", "2 h 3 min"]);
    }
}
