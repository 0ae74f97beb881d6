//! The record of what was asked: who, when, what, how much, and how it ended.
//!
//! Every request is a line of the log; with a file for it also a line of JSON there.

use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fs_err::{File, OpenOptions};
use serde_json::json;
use tonic::{Code, Status};

use crate::access::Caller;

/// Longest part of a statement that is recorded.
const SHOWN: usize = 4096;

/// Where requests are recorded.
#[derive(Default)]
pub(crate) struct Audit {
    file: Option<Mutex<File>>,
}

impl Audit {
    /// In the log, and at the end of a file if one is named.
    pub(crate) fn new(path: Option<&Path>) -> std::io::Result<Self> {
        let open = |path| OpenOptions::new().create(true).append(true).open(path);
        Ok(Self { file: path.map(open).transpose()?.map(Mutex::new) })
    }

    fn write(&self, record: &Record) {
        let took = record.began.elapsed();
        let outcome = record.outcome.map_or("dropped by the client", |code| code.description());
        let (token, rows, bytes) = (&record.token, record.rows, record.bytes);
        let peer = record.peer.as_deref().unwrap_or("-");
        let milliseconds = took.as_secs_f64() * 1e3;
        tracing::info!(
            kind = record.kind, %token, peer, rows, bytes, milliseconds, outcome, what = %record.what, "answered"
        );
        let Some(file) = &self.file else { return };
        let line = json!({
            "time": record.time, "kind": record.kind, "token": token, "token_id": record.id, "peer": record.peer,
            "what": record.what, "rows": rows, "bytes": bytes, "first_batch_ms": record.first_batch,
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
    audit: std::sync::Arc<Audit>,
    kind: &'static str,
    what: String,
    token: String,
    id: String,
    peer: Option<String>,
    /// Milliseconds since 1970.
    time: u64,
    began: Instant,
    first_batch: Option<f64>,
    rows: u64,
    bytes: u64,
    outcome: Option<Code>,
}

impl Record {
    /// A request that begins now.
    pub(crate) fn begin(
        audit: &std::sync::Arc<Audit>,
        kind: &'static str,
        what: &str,
        caller: &Caller,
    ) -> Self {
        let cut = what.char_indices().nth(SHOWN).map_or(what.len(), |(at, _)| at);
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            audit: std::sync::Arc::clone(audit),
            kind,
            what: what[..cut].to_owned(),
            token: caller.name.clone(),
            id: caller.id.clone(),
            peer: caller.peer.map(|peer| peer.to_string()),
            time: since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
            began: Instant::now(),
            first_batch: None,
            rows: 0,
            bytes: 0,
            outcome: None,
        }
    }

    /// Counts rows that were read.
    pub(crate) fn rows(&mut self, rows: usize) {
        self.first_batch.get_or_insert_with(|| self.began.elapsed().as_secs_f64() * 1e3);
        self.rows += rows as u64;
    }

    /// Counts bytes that were sent; all of them so far.
    pub(crate) fn bytes(&mut self, bytes: usize) -> u64 {
        self.bytes += bytes as u64;
        self.bytes
    }

    /// Notes how the request ended.
    pub(crate) fn ended(&mut self, status: Result<(), &Status>) {
        self.outcome = Some(status.map_or_else(Status::code, |()| Code::Ok));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.audit.write(self);
    }
}
