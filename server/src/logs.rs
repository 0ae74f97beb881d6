//! Logs of the server, on standard error: lines of text, or of JSON.
//!
//! Invariants
//! - an event is one line, whatever clients have sent and errors say, and drives no terminal

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use gstore_core::visible;
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::{RecordFields, VisitOutput};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultVisitor, Writer};

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
/// An unknown level, and a log that was begun before.
pub fn begin(format: LogFormat, level: &str) -> Result<(), String> {
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter(level)?)
        .with_writer(std::io::stderr)
        .with_target(false);
    let begun = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).fmt_fields(LineFields).try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    begun.map_err(|e| e.to_string())
}

/// Writes what the process has to say of itself into the log.
pub fn note(text: &str) {
    tracing::warn!("{text}");
}

/// The fields of an event as a line of text, in which [`visible`] escapes what JSON escapes by itself.
struct LineFields;

impl<'writer> FormatFields<'writer> for LineFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut visitor = LineVisitor(DefaultVisitor::new(writer, true));
        fields.record(&mut visitor);
        visitor.0.finish()
    }
}

struct LineVisitor<'a>(DefaultVisitor<'a>);

impl Visit for LineVisitor<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let shown = visible(&format!("{value:?}"));
        self.0.record_debug(field, &format_args!("{shown}"));
    }
}

/// The filter of a level. An unknown word is refused: it would be taken for the name of a module, and nothing
/// else would be logged.
fn filter(level: &str) -> Result<EnvFilter, String> {
    let known = |part: &str| part.contains('=') || LEVELS.iter().any(|word| part.eq_ignore_ascii_case(word));
    if !level.split(',').all(known) {
        return Err(format!(
            "there is no log level `{level}`: it must be {}, or a filter such as gstore_server=debug,warn",
            LEVELS.join(", ")
        ));
    }
    EnvFilter::from_str(level).map_err(|e| format!("the log level `{level}` cannot be read: {e}"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use gstore_core::locked;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            locked(&self.0).write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_of_text() {
        let written = Written::default();
        let out = written.clone();
        let log = tracing_subscriber::fmt()
            .with_writer(move || out.clone())
            .with_ansi(false)
            .fmt_fields(LineFields)
            .without_time()
            .with_target(false);
        tracing::subscriber::with_default(log.finish(), || {
            let (error, what) = ("no table\n  there are \u{7}", "SELECT '\u{1b}[31m', '\0'\r\nforged ä");
            tracing::warn!(%error, peer = "a\n", what = %what, "a statement\nfailed");
        });
        let text = String::from_utf8(locked(&written.0).clone()).unwrap();
        let expected = " WARN a statement\\nfailed error=no table\\n  there are \\u{7} peer=\"a\\n\" \
                        what=SELECT '\\u{1b}[31m', '\\u{0}'\\r\\nforged ä\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_word_that_is_no_level_is_refused() {
        for level in LEVELS.iter().chain(&["INFO", "gstore_server=debug,warn"]) {
            assert!(filter(level).is_ok(), "{level}");
        }
        for wrong in ["inof", "", "info,inof", "info, warn", "gstore_server=loud"] {
            assert!(filter(wrong).is_err_and(|why| why.contains("log level `")), "{wrong}");
        }
    }
}
