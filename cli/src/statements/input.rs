//! Values of the parameters of statements, and files of the user's that they read as tables.

use std::path::Path;

use anyhow::{Result, bail};
use gstore_data::conversion_hint;
use gstore_sql::{OwnTable, Parameters};

use crate::context::Context;
use crate::failure::{UsageError, refuse};

/// `NAME=FILE`: files of the user's own as tables. What their names do not say is told.
pub fn own_tables(context: &Context, given: &[String]) -> Result<Vec<OwnTable>> {
    let table = |text: &String| -> Result<OwnTable> {
        let wrong = || {
            let name = Path::new(text).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let example = match Path::new(text).is_file() && !name.is_empty() && name.chars().all(plain) {
                true => format!(": write {name}={text}"),
                false => String::new(),
            };
            UsageError(format!("a table is given as NAME=FILE, not `{text}`{example}"))
        };
        let (name, file) = text.split_once('=').filter(|(_, file)| !file.is_empty()).ok_or_else(wrong)?;
        if file.contains(['*', '?']) && !Path::new(file).exists() {
            let why =
                "a table is one file, without patterns: read several with a --with for each and UNION ALL";
            refuse!("{text}: {why}");
        }
        let table = OwnTable::open(name, Path::new(file))
            .map_err(|error| UsageError(error.to_string() + &conversion_hint(Path::new(file))))?;
        if let Some(note) = table.note() {
            context.say(note);
        }
        Ok(table)
    };
    given.iter().map(table).collect()
}

/// `NAME=VALUE`: a value that is JSON is taken as that, all else as text.
pub fn parameters(given: &[String]) -> Result<Parameters> {
    let mut values = Parameters::default();
    for text in given {
        let wrong = || UsageError(format!("a parameter is given as NAME=VALUE or 1=VALUE, not `{text}`"));
        let (name, value) = text.split_once('=').ok_or_else(wrong)?;
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            bail!(wrong());
        }
        let value = match serde_json::from_str(value) {
            Ok(serde_json::Value::Object(_)) | Err(_) => serde_json::Value::from(value),
            Ok(value) => value,
        };
        values.add(Some(name), &value).map_err(|error| UsageError(error.to_string()))?;
    }
    Ok(values)
}

/// A text without the byte order mark with which editors of Windows begin files.
pub fn without_mark(text: String) -> String {
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}
