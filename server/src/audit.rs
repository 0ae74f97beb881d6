//! Audit log: who asked, when, what, how much, and how it ended.
//!
//! Every request is a line of the log; with a file for it also a line of JSON there. Requests that were
//! refused for their token are some lines each second and a count of the rest, and not among those of late,
//! so that a flood of them drives nothing else out.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use tonic::Status;

use crate::access::{Caller, since_1970};
use crate::audit_file::AuditFile;
use crate::metrics::Metrics;
use crate::rare::RareNotes;
use crate::statements::{RecentRequests, RequestEntry, word};

/// Refused requests that are written down in a second.
const REFUSALS: u32 = 10;

/// Where requests are recorded.
#[derive(Default)]
pub(crate) struct Audit {
    file: Option<AuditFile>,
    refusals: RareNotes<REFUSALS>,
    pub(crate) statements: Arc<RecentRequests>,
    pub(crate) metrics: Metrics,
    /// Whether requests that are dropped now end with the server and not with their client.
    pub(crate) stopped: AtomicBool,
}

impl Audit {
    /// In memory and in the log, and at the end of a file if one is named.
    pub(crate) fn new(path: Option<&Path>) -> std::io::Result<Self> {
        Ok(Self { file: path.map(AuditFile::open).transpose()?, ..Self::default() })
    }

    /// Notes that a request was refused before it was known whose it is.
    pub(crate) fn refused(&self, peer: Option<SocketAddr>, status: &Status) {
        let Some(left_out) = self.refusals.due(Instant::now()) else { return };
        let (peer, outcome) = (peer.map(|peer| peer.to_string()), word(Some(status.code())));
        let address = peer.as_deref().unwrap_or("-");
        tracing::warn!(peer = address, outcome, why = status.message(), left_out, "a token was refused");
        let Some(file) = &self.file else { return };
        let line = json!({
            "time": since_1970(), "kind": "refused", "peer": peer, "what": status.message(), "outcome": outcome,
            "left_out": left_out,
        });
        file.add(line.to_string());
    }

    /// Tells how many refused requests were left out, once there are no more of them in this second.
    pub(crate) fn tell_left_out(&self) {
        self.left_out(self.refusals.over(Instant::now()));
    }

    fn left_out(&self, left_out: u64) {
        if left_out == 0 {
            return;
        }
        tracing::warn!(left_out, "more tokens were refused");
        if let Some(file) = &self.file {
            let line = json!({"time": since_1970(), "kind": "refused", "left_out": left_out});
            file.add(line.to_string());
        }
    }

    /// Waits until the file has all that was recorded, for a while.
    pub(crate) fn finish(&self) {
        self.left_out(self.refusals.rest());
        if let Some(file) = &self.file {
            file.flush();
        }
    }

    fn write(&self, entry: &RequestEntry) {
        let milliseconds = entry.elapsed();
        let progress = entry.progress().clone();
        let outcome = word(progress.outcome);
        let (token, rows, bytes) = (&entry.token, progress.rows, progress.bytes);
        let peer = entry.peer.as_deref().unwrap_or("-");
        tracing::info!(
            kind = entry.kind, %token, peer, rows, bytes, milliseconds, outcome, what = %entry.what, "answered"
        );
        let Some(file) = &self.file else { return };
        let line = json!({
            "time": entry.time, "kind": entry.kind, "token": token, "token_id": entry.token_id, "peer": entry.peer,
            "what": entry.what, "rows": rows, "bytes": bytes, "first_batch_ms": progress.first_batch,
            "milliseconds": milliseconds, "outcome": outcome,
        });
        file.add(line.to_string());
    }
}

/// One request. It is written when it is dropped.
pub(crate) struct AuditRecord {
    audit: Arc<Audit>,
    entry: Arc<RequestEntry>,
}

impl AuditRecord {
    /// A request that begins now.
    pub(crate) fn begin(audit: &Arc<Audit>, kind: &'static str, what: &str, caller: &Caller) -> Self {
        Self { audit: Arc::clone(audit), entry: audit.statements.begin(kind, what, caller) }
    }

    /// Its number among the requests of the server.
    pub(crate) fn id(&self) -> u64 {
        self.entry.id
    }

    pub(crate) fn started(&self) {
        let now = self.entry.elapsed();
        self.entry.progress().started.get_or_insert(now);
    }

    /// Counts rows of a result.
    pub(crate) fn rows(&mut self, rows: usize) {
        self.batch(rows);
        self.audit.metrics.rows(rows as u64);
    }

    fn batch(&mut self, rows: usize) {
        let now = self.entry.elapsed();
        let mut progress = self.entry.progress();
        progress.first_batch.get_or_insert(now);
        progress.last_batch = Some(now);
        progress.rows += rows as u64;
    }

    /// Counts bytes that are sent; an error where they are more than `most` by now.
    pub(crate) fn bytes(&mut self, bytes: usize, most: u64) -> Result<(), Status> {
        self.audit.metrics.bytes(bytes as u64);
        let mut progress = self.entry.progress();
        progress.bytes += bytes as u64;
        match progress.bytes > most {
            true => Err(Status::resource_exhausted(format!(
                "the result has more than {most} bytes, the most that is allowed"
            ))),
            false => Ok(()),
        }
    }

    /// Counts rows that came in, and notes how many bytes have so far; metrics are of results.
    pub(crate) fn received(&mut self, rows: usize, bytes: u64) {
        self.batch(rows);
        self.entry.progress().bytes = bytes;
    }

    pub(crate) fn ended(&mut self, status: Result<(), &Status>) {
        self.entry.outcome(status);
    }
}

impl Drop for AuditRecord {
    fn drop(&mut self) {
        if self.audit.stopped.load(Ordering::Relaxed) {
            self.ended(Err(&Status::unavailable("the time to drain was over")));
        }
        let now = self.entry.elapsed();
        self.entry.progress().ended = Some(now);
        self.audit.metrics.ended(&self.entry);
        self.audit.write(&self.entry);
    }
}
