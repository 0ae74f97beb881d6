//! Recent requests as the table `gstore.statements`: those that wait or run, and the last that have ended.
//!
//! Invariants
//! - at most [`KEPT`] are remembered; of those that have ended, the oldest are forgotten first
//! - a token sees its own; one that may write and sees every dataset sees those of all tokens

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, TimestampMillisecondArray, UInt64Array};
use arrow_schema::{Field, Schema, SchemaRef};
use gstore_core::locked;
use gstore_sql::{LiveTable, Requester, SqlError, SqlErrorKind};
use tonic::{Code, Status};

use crate::access::{Caller, since_1970};

/// How many are remembered.
const KEPT: usize = 1000;
/// Longest part of a statement, and of the message it ended with, that is kept, in characters.
const SHOWN: usize = 4096;

/// How far a request has come; times are milliseconds from its coming.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestProgress {
    pub(crate) started: Option<f64>,
    pub(crate) first_batch: Option<f64>,
    pub(crate) last_batch: Option<f64>,
    pub(crate) ended: Option<f64>,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    /// Without one it was dropped by the client, once it has ended.
    pub(crate) outcome: Option<Code>,
    pub(crate) message: Option<String>,
}

#[derive(Debug)]
pub(crate) struct RequestEntry {
    pub(crate) id: u64,
    pub(crate) kind: &'static str,
    pub(crate) what: String,
    pub(crate) token: String,
    pub(crate) token_id: String,
    pub(crate) peer: Option<String>,
    /// When it came, in milliseconds since 1970.
    pub(crate) time: u64,
    began: Instant,
    progress: Mutex<RequestProgress>,
}

impl RequestEntry {
    /// Milliseconds since it came.
    pub(crate) fn elapsed(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1e3
    }

    /// How far it has come.
    pub(crate) fn progress(&self) -> MutexGuard<'_, RequestProgress> {
        locked(&self.progress)
    }

    /// Notes how it ends; what is noted first counts.
    pub(crate) fn outcome(&self, status: Result<(), &Status>) {
        // Only an error of the transport has a source: the client is gone.
        if status.is_err_and(|status| status.source().is_some()) {
            return;
        }
        let mut progress = self.progress();
        if progress.outcome.is_none() {
            progress.outcome = Some(status.map_or_else(Status::code, |()| Code::Ok));
            progress.message = status.err().map(|status| kept_text(status.message()).to_owned());
        }
    }
}

#[derive(Debug, Default)]
struct RequestRing {
    last: u64,
    entries: VecDeque<Arc<RequestEntry>>,
}

#[derive(Debug, Default)]
pub(crate) struct RecentRequests(Mutex<RequestRing>);

impl RecentRequests {
    /// A request that comes now.
    pub(crate) fn begin(&self, kind: &'static str, what: &str, caller: &Caller) -> Arc<RequestEntry> {
        let mut ring = locked(&self.0);
        ring.last += 1;
        let entry = Arc::new(RequestEntry {
            id: ring.last,
            kind,
            what: kept_text(what).to_owned(),
            token: caller.name.clone(),
            token_id: caller.id.clone(),
            peer: caller.peer.map(|peer| peer.to_string()),
            time: since_1970(),
            began: Instant::now(),
            progress: Mutex::default(),
        });
        if ring.entries.len() >= KEPT {
            let ended = |entry: &Arc<RequestEntry>| entry.progress().ended.is_some();
            let oldest = ring.entries.iter().position(ended).unwrap_or(0);
            ring.entries.remove(oldest);
        }
        ring.entries.push_back(Arc::clone(&entry));
        entry
    }

    fn seen_by(&self, asker: &Requester) -> Vec<(Arc<RequestEntry>, RequestProgress)> {
        let ring = locked(&self.0);
        let seen = ring.entries.iter().filter(|entry| asker.sees_all || entry.token_id == asker.id);
        seen.map(|entry| (Arc::clone(entry), entry.progress().clone())).collect()
    }
}

/// The part of a text that is kept: clients send texts of any length, and messages repeat them.
fn kept_text(text: &str) -> &str {
    let cut = text.char_indices().nth(SHOWN).map_or(text.len(), |(at, _)| at);
    &text[..cut]
}

/// A code as tables and metrics have it.
pub(crate) fn word(outcome: Option<Code>) -> &'static str {
    match outcome {
        None => "dropped",
        Some(Code::Ok) => "ok",
        Some(Code::Cancelled) => "cancelled",
        Some(Code::InvalidArgument) => "invalid_argument",
        Some(Code::DeadlineExceeded) => "deadline_exceeded",
        Some(Code::NotFound) => "not_found",
        Some(Code::AlreadyExists) => "already_exists",
        Some(Code::PermissionDenied) => "permission_denied",
        Some(Code::ResourceExhausted) => "resource_exhausted",
        Some(Code::FailedPrecondition) => "failed_precondition",
        Some(Code::Aborted) => "aborted",
        Some(Code::OutOfRange) => "out_of_range",
        Some(Code::Unimplemented) => "unimplemented",
        Some(Code::Unavailable) => "unavailable",
        Some(Code::DataLoss) => "data_loss",
        Some(Code::Unauthenticated) => "unauthenticated",
        Some(Code::Internal | Code::Unknown) => "internal",
    }
}

/// Each column with its name, and whether values may be missing.
fn columns(seen: &[(Arc<RequestEntry>, RequestProgress)]) -> Vec<(&'static str, ArrayRef, bool)> {
    let text = |value: &dyn Fn(&RequestEntry, &RequestProgress) -> Option<String>| -> ArrayRef {
        Arc::new(seen.iter().map(|(entry, progress)| value(entry, progress)).collect::<StringArray>())
    };
    let number = |value: &dyn Fn(&RequestEntry, &RequestProgress) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(seen.iter().map(|(e, p)| value(e, p))))
    };
    let time = |value: &dyn Fn(&RequestProgress) -> Option<f64>| -> ArrayRef {
        let at = |(entry, progress): &(Arc<RequestEntry>, RequestProgress)| {
            let begin = i64::try_from(entry.time).unwrap_or(i64::MAX);
            value(progress).map(|after| begin.saturating_add(after.round() as i64))
        };
        let times = seen.iter().map(at).collect::<TimestampMillisecondArray>();
        Arc::new(times.with_timezone("+00:00"))
    };
    let state = |progress: &RequestProgress| match progress {
        RequestProgress { ended: Some(_), .. } => "ended",
        RequestProgress { started: Some(_), .. } => "running",
        _ => "queued",
    };
    vec![
        ("id", number(&|entry, _| entry.id), false),
        ("token", text(&|entry, _| Some(entry.token.clone())), false),
        ("kind", text(&|entry, _| Some(entry.kind.to_owned())), false),
        ("statement", text(&|entry, _| Some(entry.what.clone())), false),
        ("state", text(&|_, progress| Some(state(progress).to_owned())), false),
        ("queued", time(&|_| Some(0.0)), false),
        ("started", time(&|progress| progress.started), true),
        ("first_batch", time(&|progress| progress.first_batch), true),
        ("last_batch", time(&|progress| progress.last_batch), true),
        ("ended", time(&|progress| progress.ended), true),
        ("rows", number(&|_, progress| progress.rows), false),
        ("bytes", number(&|_, progress| progress.bytes), false),
        ("outcome", text(&|_, progress| progress.ended.map(|_| word(progress.outcome).to_owned())), true),
        ("message", text(&|_, progress| progress.message.clone()), true),
    ]
}

impl LiveTable for RecentRequests {
    fn name(&self) -> &'static str {
        "statements"
    }

    fn schema(&self) -> SchemaRef {
        let field =
            |(name, column, null): (&str, ArrayRef, bool)| Field::new(name, column.data_type().clone(), null);
        Arc::new(Schema::new(columns(&[]).into_iter().map(field).collect::<Vec<_>>()))
    }

    fn rows(&self, asker: &Requester) -> Result<RecordBatch, SqlError> {
        let columns = columns(&self.seen_by(asker)).into_iter().map(|(_, column, _)| column).collect();
        RecordBatch::try_new(self.schema(), columns)
            .map_err(|e| SqlError::new(SqlErrorKind::Failed, format!("the statements cannot be shown: {e}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::Scope;

    fn caller(id: &str) -> Caller {
        Caller { name: id.to_uppercase(), id: id.to_owned(), scope: Scope::Read, datasets: None, peer: None }
    }

    fn asker(id: &str, sees_all: bool) -> Requester {
        Requester { id: id.to_owned(), sees_all }
    }

    #[test]
    fn a_token_sees_its_own_and_the_oldest_that_ended_are_forgotten() {
        let statements = RecentRequests::default();
        let runs = statements.begin("statement", "SELECT 1", &caller("a"));
        for _ in 0..KEPT + 5 {
            let entry = statements.begin("statement", "SELECT 2", &caller("b"));
            entry.outcome(Ok(()));
            entry.progress().ended = Some(1.0);
        }
        assert_eq!(statements.rows(&asker("a", false)).unwrap().num_rows(), 1);
        assert_eq!(statements.rows(&asker("b", false)).unwrap().num_rows(), KEPT - 1);
        assert_eq!(statements.rows(&asker("c", false)).unwrap().num_rows(), 0);
        let all = statements.rows(&asker("c", true)).unwrap();
        assert_eq!(all.num_rows(), KEPT);
        runs.outcome(Err(&Status::cancelled("stopped")));
        runs.outcome(Ok(()));
        assert_eq!(word(runs.progress().outcome), "cancelled", "the first counts");
    }

    #[test]
    fn what_breaks_off_was_dropped() {
        let broken = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let entry = RecentRequests::default().begin("put", "{}", &caller("a"));
        entry.outcome(Err(&Status::from_error(Box::new(broken))));
        assert_eq!(word(entry.progress().outcome), "dropped");
        assert_eq!(entry.progress().message, None);
    }

    #[test]
    fn long_texts_are_cut() {
        let long = "ä".repeat(SHOWN + 1);
        let entry = RecentRequests::default().begin("statement", &long, &caller("a"));
        entry.outcome(Err(&Status::invalid_argument(long.clone())));
        assert_eq!(entry.what.chars().count(), SHOWN);
        assert_eq!(entry.progress().message.as_ref().map(|message| message.chars().count()), Some(SHOWN));
    }
}
