//! The record of what was asked: who, when, what, how much, and how it ended.
//!
//! Every request is a line of the log; with a file for it also a line of JSON there.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use fs_err::{File, OpenOptions};
use serde_json::json;
use tonic::Status;

use crate::access::Caller;
use crate::metrics::Metrics;
use crate::statements::{Entry, Statements, word};

/// Where requests are recorded.
#[derive(Default)]
pub(crate) struct Audit {
    file: Option<Mutex<File>>,
    pub(crate) statements: Arc<Statements>,
    pub(crate) metrics: Metrics,
    /// Whether requests that are dropped now end with the server and not with their client.
    pub(crate) stopped: AtomicBool,
}

impl Audit {
    /// In memory and in the log, and at the end of a file if one is named.
    pub(crate) fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: path.map(open).transpose()?.map(Mutex::new), ..Self::default() })
    }

    fn write(&self, entry: &Entry) {
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
        let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = writeln!(file, "{line}") {
            tracing::error!(%error, "the record of requests cannot be written");
        }
    }
}

/// One request. It is written when it is dropped.
pub(crate) struct Record {
    audit: Arc<Audit>,
    entry: Arc<Entry>,
}

impl Record {
    /// A request that begins now.
    pub(crate) fn begin(audit: &Arc<Audit>, kind: &'static str, what: &str, caller: &Caller) -> Self {
        Self { audit: Arc::clone(audit), entry: audit.statements.begin(kind, what, caller) }
    }

    /// Its number among the requests of the server.
    pub(crate) fn id(&self) -> u64 {
        self.entry.id
    }

    /// Notes that its turn has come.
    pub(crate) fn started(&self) {
        let now = self.entry.elapsed();
        self.entry.progress().started.get_or_insert(now);
    }

    /// Counts rows that were read.
    pub(crate) fn rows(&mut self, rows: usize) {
        let now = self.entry.elapsed();
        let mut progress = self.entry.progress();
        progress.first_batch.get_or_insert(now);
        progress.last_batch = Some(now);
        progress.rows += rows as u64;
        self.audit.metrics.rows(rows as u64);
    }

    /// Counts bytes that were sent; all of them so far.
    pub(crate) fn bytes(&mut self, bytes: usize) -> u64 {
        self.audit.metrics.bytes(bytes as u64);
        let mut progress = self.entry.progress();
        progress.bytes += bytes as u64;
        progress.bytes
    }

    /// Notes how many bytes have come in so far.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.entry.progress().bytes = bytes;
    }

    /// Notes how the request ended.
    pub(crate) fn ended(&mut self, status: Result<(), &Status>) {
        self.entry.outcome(status);
    }
}

impl Drop for Record {
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
