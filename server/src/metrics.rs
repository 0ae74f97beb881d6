//! Metrics of the server in the text format of Prometheus. No name of a token, a dataset or a statement is in
//! them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use gstore_core::locked;

use crate::admission::Admission;
use crate::running::RunningStatements;
use crate::statements::{RequestEntry, word};

/// Upper ends of the classes of durations, in seconds.
const CLASSES: [f64; 12] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0, 3600.0];

/// Requests of one kind and outcome.
type RequestCounts = BTreeMap<(&'static str, &'static str), u64>;

/// Durations of requests that have ended.
#[derive(Debug, Default)]
struct Durations {
    ends: RequestCounts,
    /// Requests of each class, and behind them those beyond all.
    classes: [u64; CLASSES.len() + 1],
    seconds: f64,
}

#[derive(Debug)]
pub(crate) struct Metrics {
    since: Instant,
    durations: Mutex<Durations>,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// Connections of Flight, and those of the page and its like.
    pub(crate) flights: Arc<AtomicUsize>,
    pub(crate) pages: Arc<AtomicUsize>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            durations: Mutex::default(),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            flights: Arc::default(),
            pages: Arc::default(),
        }
    }
}

impl Metrics {
    /// Rows of results.
    pub(crate) fn rows(&self, rows: u64) {
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Bytes that were sent.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn ended(&self, entry: &RequestEntry) {
        let outcome = word(entry.progress().outcome);
        let seconds = entry.elapsed() / 1e3;
        let class = CLASSES.iter().position(|end| seconds <= *end).unwrap_or(CLASSES.len());
        let mut durations = locked(&self.durations);
        *durations.ends.entry((entry.kind, outcome)).or_default() += 1;
        durations.classes[class] += 1;
        durations.seconds += seconds;
    }

    fn requests(&self, out: &mut MetricsPage) {
        let durations = locked(&self.durations);
        out.family("gstore_requests_total", "counter", "Requests that have ended, by kind and outcome.");
        for ((kind, outcome), n) in &durations.ends {
            out.line(&format!("gstore_requests_total{{kind=\"{kind}\",outcome=\"{outcome}\"}}"), *n as f64);
        }
        out.family("gstore_request_seconds", "histogram", "Seconds from the coming of a request to its end.");
        let mut total = 0;
        for (end, n) in CLASSES.iter().zip(durations.classes) {
            total += n;
            out.line(&format!("gstore_request_seconds_bucket{{le=\"{end}\"}}"), total as f64);
        }
        total += durations.classes[CLASSES.len()];
        out.line("gstore_request_seconds_bucket{le=\"+Inf\"}", total as f64);
        out.line("gstore_request_seconds_sum", durations.seconds);
        out.line("gstore_request_seconds_count", total as f64);
    }
}

struct MetricsPage(String);

impl MetricsPage {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a text does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, value: f64) {
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.line(name, value);
    }
}

impl Metrics {
    /// All counts, as a scraper reads them; without the number of the newest snapshot where it
    /// cannot be read.
    pub(crate) fn page(
        &self,
        admission: &Admission,
        running: &RunningStatements,
        newest: Option<u64>,
    ) -> String {
        let mut out = MetricsPage(String::new());
        self.requests(&mut out);
        let (waiting, running) = (admission.waiting() as f64, running.begun() as f64);
        out.one("gstore_statements_running", "gauge", "Statements that run.", running);
        out.one(
            "gstore_statements_waiting",
            "gauge",
            "Statements and plans that wait for their turn.",
            waiting,
        );
        out.family("gstore_connections", "gauge", "Connections, by what they are for.");
        for (what, count) in [("flight", &self.flights), ("http", &self.pages)] {
            out.line(&format!("gstore_connections{{for=\"{what}\"}}"), count.load(Ordering::Relaxed) as f64);
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        out.one("gstore_rows_total", "counter", "Rows of results.", read(&self.rows));
        out.one("gstore_bytes_total", "counter", "Bytes of results.", read(&self.bytes));
        if let Some(snapshot) = newest {
            out.one("gstore_snapshot", "gauge", "Number of the newest snapshot.", snapshot as f64);
        }
        let uptime = self.since.elapsed().as_secs_f64();
        out.one("gstore_uptime_seconds", "gauge", "Seconds since the server started.", uptime);
        out.family("gstore_build_info", "gauge", "1, with the version of the server.");
        out.line(&format!("gstore_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
        out.0
    }
}
