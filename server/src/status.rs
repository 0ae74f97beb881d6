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

/// A failed statement, for the client. `root` is the folder of the store, `asked` the SQL that the client
/// wrote. Without any, the message has no place in it, and a name that is unknown is one of a request.
pub(crate) fn sql_status(error: &SqlError, root: &Path, asked: Option<&str>) -> Status {
    let code = match error.kind() {
        SqlErrorKind::Unknown if asked.is_none() => Code::NotFound,
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
    let message = match asked {
        Some(_) => error.to_string(),
        None => error.clone().nowhere().to_string(),
    };
    Status::new(code, without_paths(&message, root, asked.unwrap_or_default()))
}

/// What is known of an error besides its message.
fn for_log(error: &SqlError) -> &str {
    error.for_log().unwrap_or_default()
}

/// A message about the spill folder for those who may have one of their own.
fn of_server(error: &SqlError) -> String {
    error.to_string().replacen("the spill folder", "the server's spill folder", 1)
}

pub(crate) fn open_status(error: &OpenError) -> Status {
    match error {
        // Not all may know the tags, which the error lists.
        OpenError::NoSnapshot { wanted, oldest, newest, .. } => Status::not_found(format!(
            "there is no snapshot {wanted}; the history goes from {oldest} to {newest}"
        )),
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
    Status::data_loss("a file of the store is damaged; `gstore verify --all` on the server lists what is")
}

/// The message with the names of files and folders left out, except those in `asked`, which the client
/// wrote.
pub(crate) fn without_paths(message: &str, root: &Path, asked: &str) -> String {
    let text = without_root(message, &root.to_string_lossy());
    let (mut out, mut done) = (String::with_capacity(text.len()), 0);
    for (at, _) in text.match_indices('/') {
        let (before, from) = text.split_at(at);
        let begins = before.chars().next_back().is_none_or(|c| c.is_whitespace() || "'\"`(=:".contains(c));
        let end = from.find(|c: char| c.is_whitespace() || "'\"`),;".contains(c)).unwrap_or(from.len());
        let word = &from[..end];
        // One that begins at the root of the disk, or of a URL `file:///`, and goes down at least twice. A
        // slash before another or a parenthesis is an operator.
        let is_path = (begins || before.ends_with("://"))
            && !word[1..].starts_with(['/', '('])
            && word.matches('/').count() > 1;
        if at >= done && is_path && !asked.contains(word) {
            out.push_str(&text[done..at]);
            out.push_str("<file>");
            done = at + end;
        }
    }
    out.push_str(&text[done..]);
    out
}

/// The message with the folder of the store called `<store>`. A relative one of a single word may be any
/// other word of a message: it is the folder only where it goes on below it.
fn without_root(message: &str, root: &str) -> String {
    let root = root.trim_end_matches('/');
    if root.len() < 2 {
        return message.to_owned();
    }
    let of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let (mut out, mut done) = (String::with_capacity(message.len()), 0);
    for (at, _) in message.match_indices(root) {
        let (before, after) = (&message[..at], &message[at + root.len()..]);
        let begins = !before.ends_with(|c: char| of_word(c) || (c == '/' && !root.starts_with('/')));
        // Points may end a sentence.
        let is_whole = root.contains('/') && !after.trim_start_matches('.').starts_with(of_word);
        if begins && (after.starts_with('/') || is_whole) {
            out.push_str(&message[done..at]);
            out.push_str("<store>");
            done = at + root.len();
        }
    }
    out.push_str(&message[done..]);
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
            ("no file:///home/a/b=/c/d here", "no file://<file> here"),
            ("a // nullif(b, 0), x //(y/z)/2", "a // nullif(b, 0), x //(y/z)/2"),
            ("'/of/client' is not /of/client/too", "'/of/client' is not <file>"),
        ] {
            assert_eq!(without_paths(message, Path::new("/srv/store"), "select '/of/client'::int"), shown);
        }
    }

    #[test]
    fn the_store_is_no_part_of_a_word() {
        for (root, message, shown) in [
            ("st", "no gstore.artifacts or st.a, but `st`", "no gstore.artifacts or st.a, but `st`"),
            ("st", "cannot read st/samples/x: st-1/y", "cannot read <store>/samples/x: st-1/y"),
            ("st/", "'st/samples' and a/st/b", "'<store>/samples' and a/st/b"),
            ("st", "cannot read /home/a/st/x", "cannot read <file>"),
            (
                "d/st",
                "d/st is no store, d/store is. So is d/st.",
                "<store> is no store, d/store is. So is <store>.",
            ),
            ("/srv/st", "/srv/st, /srv/st.old, file:///srv/st/x", "<store>, <file>, file://<store>/x"),
        ] {
            assert_eq!(without_paths(message, Path::new(root), ""), shown);
        }
    }

    #[test]
    fn kinds_have_codes() {
        let of = |kind, asked| sql_status(&SqlError::new(kind, "why".to_owned()), Path::new("/s"), asked);
        let code = |kind| of(kind, Some("SELECT 1")).code();
        assert_eq!(code(SqlErrorKind::Unknown), Code::InvalidArgument);
        assert_eq!(of(SqlErrorKind::Unknown, None).code(), Code::NotFound, "a name in a request without SQL");
        assert_eq!(code(SqlErrorKind::Memory), Code::ResourceExhausted);
        assert_eq!(code(SqlErrorKind::SpillFull), Code::ResourceExhausted);
        assert_eq!(code(SqlErrorKind::Spill), Code::Unavailable);
        assert_eq!(code(SqlErrorKind::Damaged), Code::DataLoss);
        assert_eq!(code(SqlErrorKind::Failed), Code::Internal);
    }
}
