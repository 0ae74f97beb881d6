//! Values of the parameters of statements, and files of the user's that they read as tables.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use gstore_data::conversion_hint;
use gstore_sql::{OwnTable, Parameters};

use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::origin::is_configured;

/// `NAME=FILE`: files of the user's own as tables. What their names do not say is told.
pub fn own_tables(context: &Context, given: &[String]) -> Result<Vec<OwnTable>> {
    let table = |text: &String| -> Result<OwnTable> {
        let wrong = || {
            let name = Path::new(text).file_stem().and_then(|name| name.to_str()).unwrap_or_default();
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            // A path from a config file is not as it is written there.
            let is_example = Path::new(text).is_file()
                && !name.is_empty()
                && name.chars().all(plain)
                && !is_configured("with");
            let example = if is_example { format!(": write {name}={text}") } else { String::new() };
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

/// The text of statements that are from there, without the byte order mark with which editors of Windows
/// begin files.
pub fn statement_text(bytes: Vec<u8>, from: &Path) -> Result<String> {
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let (before, rest) = error.as_bytes().split_at(at);
        let line = before.split(|byte| *byte == b'\n').count();
        let byte = rest.first().copied().unwrap_or_default();
        anyhow!(
            "{}, line {line}: the byte 0x{byte:02X} is not UTF-8; convert the file, for example with `iconv -f latin1 -t utf-8`",
            from.display()
        )
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_not_utf_8_has_a_line() {
        let read =
            |bytes: &[u8]| statement_text(bytes.to_vec(), Path::new("a.sql")).map_err(|e| e.to_string());
        assert_eq!(read("\u{feff}SELECT 'é'".as_bytes()), Ok("SELECT 'é'".to_owned()));
        for (bytes, place) in [
            (&b"SELECT 1;\n\nSELECT '\xe9';\n"[..], "a.sql, line 3: the byte 0xE9 is not UTF-8"),
            (&b"\xff\xfeS\0"[..], "a.sql, line 1: the byte 0xFF is not UTF-8"),
            (&b"SELECT 1;\n'\xc3"[..], "a.sql, line 2: the byte 0xC3 is not UTF-8"),
        ] {
            assert!(read(bytes).unwrap_err().starts_with(place), "{place}");
        }
    }
}
