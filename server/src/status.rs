//! Errors as status codes of gRPC.
//!
//! Invariants
//! - a message says what the asker can do about it, and never where something lies on the server's disk
//! - what only the server's owner can do something about goes to the log

use std::path::Path;
use std::time::Duration;

use gstore_sql::{SqlError, SqlErrorKind};
use gstore_store::OpenError;
use tonic::{Code, Status};

/// A failed statement, for the client. `root` is the folder of the store.
pub(crate) fn sql_status(error: &SqlError, root: &Path) -> Status {
    let code = match error.kind() {
        SqlErrorKind::Syntax | SqlErrorKind::Refused | SqlErrorKind::Unknown | SqlErrorKind::Invalid => {
            Code::InvalidArgument
        }
        SqlErrorKind::Memory => Code::ResourceExhausted,
        SqlErrorKind::SpillFull => {
            tracing::error!(%error, why = for_log(error), "what does not fit into memory cannot be written");
            return Status::resource_exhausted(of_server(error));
        }
        SqlErrorKind::Spill => {
            tracing::error!(why = for_log(error), "the spill folder cannot be used");
            return Status::unavailable(format!("{}; its log names it", of_server(error)));
        }
        SqlErrorKind::Cancelled => Code::Cancelled,
        SqlErrorKind::Damaged => {
            tracing::error!(%error, "a file of the store is damaged");
            return damaged();
        }
        _ => {
            tracing::warn!(%error, "a statement failed");
            Code::Internal
        }
    };
    Status::new(code, without_paths(&error.to_string(), root))
}

/// What is known of an error besides its message.
fn for_log(error: &SqlError) -> &str {
    error.for_log().unwrap_or_default()
}

/// A message about the spill folder for those who may have one of their own.
fn of_server(error: &SqlError) -> String {
    error.to_string().replacen("the spill folder", "the server's spill folder", 1)
}

/// A snapshot that cannot be opened.
pub(crate) fn open_status(error: &OpenError) -> Status {
    match error {
        OpenError::NoSnapshot { .. } => {
            Status::not_found("there is no such snapshot, or not any more; ask without one for the newest")
        }
        OpenError::Lookup(error) => Status::not_found(error.to_string()),
        error if error.is_damage() => {
            tracing::error!(%error, "the store is damaged");
            damaged()
        }
        error => {
            tracing::error!(%error, "the store cannot be opened");
            Status::unavailable("the store cannot be opened; the log of the server says why")
        }
    }
}

/// A file that cannot be read.
pub(crate) fn read_status(error: &gstore_store::ReadError) -> Status {
    if error.is_damage() {
        tracing::error!(%error, "a file of the store is damaged");
        return damaged();
    }
    internal("reading failed", error)
}

/// What should not happen. The log has the reason.
pub(crate) fn internal(what: &str, error: &dyn std::fmt::Display) -> Status {
    tracing::error!(%error, "{what}");
    Status::internal(format!("{what}; the log of the server says why"))
}

/// A request is given up that has begun and does not go on.
pub(crate) fn timed_out(patience: Duration) -> Status {
    Status::deadline_exceeded(format!("the request did not come within {} s", patience.as_secs_f64()))
}

pub(crate) fn damaged() -> Status {
    Status::data_loss("a file of the store is damaged; `gstore verify` on the server lists what is")
}

/// The message with the names of files and folders left out.
pub(crate) fn without_paths(message: &str, root: &Path) -> String {
    let root = root.to_string_lossy();
    let text = if root.len() > 1 { message.replace(&*root, "<store>") } else { message.to_owned() };
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('/') {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let begins = before.chars().next_back().is_none_or(|c| c.is_whitespace() || "'\"`(=:".contains(c));
        let end = from.find(|c: char| c.is_whitespace() || "'\"`),;".contains(c)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        // One that begins at the root of the disk and goes down at least twice.
        let is_path = begins && word.matches('/').count() > 1;
        let (shown, skipped) = if is_path { ("<file>", after) } else { ("/", &from[1..]) };
        out.push_str(shown);
        rest = skipped;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_are_left_out() {
        for (message, shown) in [
            ("there is no table `a/b`", "there is no table `a/b`"),
            ("cannot read /srv/store/samples/1/x.parquet: no", "cannot read <store>/samples/1/x.parquet: no"),
            ("model '/home/a/llama' is gone", "model '<file>' is gone"),
            ("1 / 0 and 6/2 and /x", "1 / 0 and 6/2 and /x"),
            ("path=/a/b, path:/c/d", "path=<file>, path:<file>"),
        ] {
            assert_eq!(without_paths(message, Path::new("/srv/store")), shown);
        }
    }

    #[test]
    fn kinds_have_codes() {
        let code = |kind| sql_status(&SqlError::new(kind, "why".to_owned()), Path::new("/s")).code();
        assert_eq!(code(SqlErrorKind::Unknown), Code::InvalidArgument);
        assert_eq!(code(SqlErrorKind::Memory), Code::ResourceExhausted);
        assert_eq!(code(SqlErrorKind::SpillFull), Code::ResourceExhausted);
        assert_eq!(code(SqlErrorKind::Spill), Code::Unavailable);
        assert_eq!(code(SqlErrorKind::Damaged), Code::DataLoss);
        assert_eq!(code(SqlErrorKind::Failed), Code::Internal);
    }
}
