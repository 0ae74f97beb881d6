//! Logs of the server, on standard error: lines of text, or of JSON.

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

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
    let filter =
        EnvFilter::from_str(level).map_err(|e| format!("the log level `{level}` is not understood: {e}"))?;
    let log =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let begun = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    begun.map_err(|e| e.to_string())
}
