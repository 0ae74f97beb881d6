//! File of the audit log, written by a thread of its own.
//!
//! Invariants
//! - no other thread waits for the disk: a line that finds the queue full is left out and counted
//! - lines that were left out are told, by a line with their number

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use fs_err::OpenOptions;
use serde_json::json;

use crate::access::since_1970;

/// Lines that may wait for the disk.
const WAITING: usize = 1024;
/// Bytes that are written at once, about.
const AT_ONCE: usize = 1 << 20;
/// How long the end of the server waits for the disk.
const PATIENCE: Duration = Duration::from_secs(5);

enum AuditCommand {
    Line(String),
    /// Answers once all before it is written.
    Flush(SyncSender<()>),
}

pub(crate) struct AuditFile {
    queue: SyncSender<AuditCommand>,
    left_out: Arc<AtomicU64>,
}

impl AuditFile {
    /// Opens the file, to add to its end.
    pub(crate) fn open(path: &Path) -> std::io::Result<Self> {
        Self::begin(OpenOptions::new().create(true).append(true).open(path)?, WAITING)
    }

    fn begin(file: impl Write + Send + 'static, waiting: usize) -> std::io::Result<Self> {
        let (queue, told) = sync_channel(waiting);
        let left_out = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&left_out);
        let thread = std::thread::Builder::new().name("gstore-audit".into());
        thread.spawn(move || write_all(file, &told, &counted))?;
        Ok(Self { queue, left_out })
    }

    /// Adds a line, unless too many wait for the disk.
    pub(crate) fn add(&self, line: String) {
        if self.queue.try_send(AuditCommand::Line(line)).is_err() {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was added is written, for a while.
    pub(crate) fn flush(&self) {
        let until = Instant::now() + PATIENCE;
        let (done, written) = sync_channel(1);
        while self.queue.try_send(AuditCommand::Flush(done.clone())).is_err() {
            if Instant::now() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = written.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Writes until no end of the queue is left.
fn write_all(mut file: impl Write, queue: &Receiver<AuditCommand>, left_out: &AtomicU64) {
    let mut failing = false;
    while let Ok(first) = queue.recv() {
        let (mut text, mut flushed) = (String::new(), Vec::new());
        let mut next = Some(first);
        while let Some(told) = next {
            match told {
                AuditCommand::Line(line) => text.extend([line.as_str(), "\n"]),
                AuditCommand::Flush(done) => flushed.push(done),
            }
            next = if text.len() < AT_ONCE { queue.try_recv().ok() } else { None };
        }
        let missing = left_out.swap(0, Ordering::Relaxed);
        if missing > 0 {
            tracing::warn!(missing, "the record of requests has gaps: the disk was too slow for it");
            let line = json!({"time": since_1970(), "kind": "left_out", "left_out": missing});
            text.extend([line.to_string().as_str(), "\n"]);
        }
        let written = file.write_all(text.as_bytes());
        if let Err(error) = &written
            && !failing
        {
            tracing::error!(%error, "the record of requests cannot be written");
        }
        failing = written.is_err();
        flushed.iter().for_each(|done| {
            let _ = done.try_send(());
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A disk that is stuck at its first bytes until the lock is free.
    struct Stuck(Arc<Mutex<Vec<u8>>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stuck_disk_holds_no_request_up_and_what_is_left_out_is_counted() {
        let disk = Arc::new(Mutex::new(Vec::new()));
        let file = AuditFile::begin(Stuck(Arc::clone(&disk)), 2).unwrap();
        let stuck = disk.lock().unwrap();
        let mut added = 0;
        while file.left_out.load(Ordering::Relaxed) == 0 {
            file.add(r#"{"kind":"statement"}"#.to_owned());
            added += 1;
        }
        drop(stuck);
        file.flush();
        let text = String::from_utf8(disk.lock().unwrap().clone()).unwrap();
        let count = |line: &str| match serde_json::from_str::<serde_json::Value>(line).unwrap() {
            told if told["kind"] == "left_out" => told["left_out"].as_u64().unwrap(),
            _ => 1,
        };
        assert_eq!(text.lines().map(count).sum::<u64>(), added);
        assert!(text.contains("left_out"));
    }
}
