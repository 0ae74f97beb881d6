//! Provenance of a report: its files, and the options that affect its numbers.

use std::path::{Path, PathBuf};

use gstore_core::{Digest, markdown_cell};
use gstore_data::find;
use serde_json::{Map, Value, json};

use super::Report;
use crate::error::EvaluateError;

/// What was asked for, by name.
pub type RunParameters = Map<String, Value>;

impl Report {
    /// The same as a part of the report in Markdown; empty where nothing is known.
    pub(super) fn made_as_markdown(&self) -> String {
        let known = self.made.iter().filter(|(_, value)| !value.is_null());
        let lines: Vec<String> = known
            .map(|(name, value)| format!("| {name} | {} |\n", markdown_cell(&cell_text(value))))
            .collect();
        match lines.is_empty() {
            true => String::new(),
            false => format!("\n## How it was made\n\n| what | value |\n|---|---|\n{}", lines.concat()),
        }
    }
}

/// A value in a cell; a text of white space or with line breaks in quotes.
fn cell_text(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() && text.trim() == text && !text.contains('\n') => {
            text.clone()
        }
        Value::Array(all) => all.iter().map(cell_text).collect::<Vec<_>>().join("; "),
        Value::Object(fields) => {
            let known = fields.iter().filter(|(_, value)| !value.is_null());
            known.map(|(name, value)| format!("{name} {}", cell_text(value))).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// The files behind paths, folders and patterns, each with the digest of its bytes (XXH3-128).
pub(crate) fn files(paths: &[PathBuf]) -> Result<Value, EvaluateError> {
    let of = |path: &Path| -> Result<Value, EvaluateError> {
        // What comes through a pipe comes once.
        let digest = match path.is_file() {
            true => Some(Digest::of_read(fs_err::File::open(path)?)?),
            false => None,
        };
        Ok(json!({ "path": path.display().to_string(), "digest": digest }))
    };
    let files: Result<Vec<Value>, EvaluateError> = find(paths)?.iter().map(|file| of(file.path())).collect();
    files.map(Value::Array)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_show_white_space_and_leave_out_what_is_not_known() {
        let data = json!([{ "path": "a b.jsonl", "digest": "00ff" }, { "path": "c", "digest": null }]);
        assert_eq!(cell_text(&data), "path a b.jsonl, digest 00ff; path c");
        assert_eq!(cell_text(&json!(["\n", "Q:", " "])), r#""\n"; Q:; " ""#);
        assert_eq!(cell_text(&json!(5)), "5");
    }
}
