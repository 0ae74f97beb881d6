//! Logs of the server, on standard error: lines of text, or of JSON.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For reading.
    #[default]
    Text,
    /// One object a line.
    Json,
}

/// Begins to write the log. `level` is a word such as `info`, or a filter as `gstore_server=debug,warn`; from
/// then on the process has a log.
///
/// # Errors
/// A level that is none, and a log that was begun before.
pub fn begin(format: LogFormat, level: &str) -> Result<(), String> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(std::io::stderr)
        .with_target(false);
    let begun = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    begun.map_err(|e| e.to_string())
}

/// The filter of a level. An unknown word is refused: it would be taken for the name of a module, and nothing
/// else would be logged.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let known = |part: &str| part.contains('=') || LEVELS.iter().any(|word| part.eq_ignore_ascii_case(word));
    if !level.split(',').all(known) {
        return Err(format!(
            "the log level `{level}` is not understood: it is {}, or a filter such as gstore_server=debug,warn",
            LEVELS.join(", ")
        ));
    }
    EnvFilter::from_str(level).map_err(|e| format!("the log level `{level}` is not understood: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for level in LEVELS.iter().chain(&["INFO", "gstore_server=debug,warn"]) {
            assert!(filter(level).is_ok(), "{level}");
        }
        for wrong in ["inof", "", "info,inof", "info, warn", "gstore_server=loud"] {
            assert!(filter(wrong).is_err_and(|why| why.contains("is not understood")), "{wrong}");
        }
    }
}
