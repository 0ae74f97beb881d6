//! File of the audit log, written by a thread of its own.
//!
//! Invariants
//! - no other thread waits for the disk: a line that finds the queue full is left out and counted
//! - lines that were left out or could not be written are told, by a line with their number

use std::io::{Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use fs_err::{File, OpenOptions};
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
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        // One that cannot be read can be written all the same.
        let is_cut = file.metadata()?.is_file() && is_cut_off(path).unwrap_or(false);
        Self::begin(LineWriter { file, is_failing: false, is_cut }, WAITING)
    }

    fn begin(file: LineWriter<impl Write + Send + 'static>, waiting: usize) -> std::io::Result<Self> {
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

/// Whether the last line of a file has no end: the server before was killed, or its disk was full.
fn is_cut_off(path: &Path) -> std::io::Result<bool> {
    let mut file = File::open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok(last != [b'\n'])
}

/// Writes until no end of the queue is left.
fn write_all(mut file: LineWriter<impl Write>, queue: &Receiver<AuditCommand>, left_out: &AtomicU64) {
    while let Ok(first) = queue.recv() {
        let (mut text, mut lines, mut flushed) = (String::new(), 0, Vec::new());
        let mut next = Some(first);
        while let Some(told) = next {
            match told {
                AuditCommand::Line(line) => {
                    text.extend([line.as_str(), "\n"]);
                    lines += 1;
                }
                AuditCommand::Flush(done) => flushed.push(done),
            }
            next = if text.len() < AT_ONCE { queue.try_recv().ok() } else { None };
        }
        let missing = left_out.swap(0, Ordering::Relaxed);
        if missing > 0 {
            let line = json!({"time": since_1970(), "kind": "left_out", "left_out": missing});
            text.extend([line.to_string().as_str(), "\n"]);
        }
        let whole = file.write(text);
        if whole < lines + u64::from(missing > 0) {
            left_out.fetch_add(missing + lines.saturating_sub(whole), Ordering::Relaxed);
        } else if missing > 0 {
            tracing::warn!(missing, "the record of requests has gaps: the disk was too slow or full");
        }
        flushed.iter().for_each(|done| {
            let _ = done.try_send(());
        });
    }
}

/// A file of lines, and how the last write to it ended.
struct LineWriter<W> {
    file: W,
    is_failing: bool,
    /// Whether the last line has no end.
    is_cut: bool,
}

impl<W: Write> LineWriter<W> {
    /// Writes lines; returns how many of them the file has whole.
    fn write(&mut self, lines: String) -> u64 {
        // Ends a line that was cut off, so that the next one stands alone.
        let text = if self.is_cut { format!("\n{lines}") } else { lines };
        let (mut left, mut outcome) = (text.as_bytes(), Ok(()));
        while !left.is_empty() && outcome.is_ok() {
            match self.file.write(left) {
                Ok(0) => outcome = Err(Error::from(ErrorKind::WriteZero)),
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => outcome = Err(error),
            }
        }
        if let Err(error) = &outcome
            && !self.is_failing
        {
            tracing::error!(%error, "the record of requests cannot be written");
        }
        self.is_failing = outcome.is_err();
        let written = text.as_bytes().strip_suffix(left).unwrap_or_default();
        let ends = written.iter().filter(|byte| **byte == b'\n').count() as u64;
        let whole = ends.saturating_sub(u64::from(self.is_cut));
        self.is_cut = written.last().map_or(self.is_cut, |byte| *byte != b'\n');
        whole
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
        let writer = LineWriter { file: Stuck(Arc::clone(&disk)), is_failing: false, is_cut: false };
        let file = AuditFile::begin(writer, 2).unwrap();
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

    #[test]
    fn a_line_that_the_server_before_left_cut_off_stays_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        for (there, after) in [("", "new\n"), ("old\n", "old\nnew\n"), ("old\ncu", "old\ncu\nnew\n")] {
            fs_err::write(&path, there).unwrap();
            let file = AuditFile::open(&path).unwrap();
            file.add("new".to_owned());
            file.flush();
            assert_eq!(fs_err::read_to_string(&path).unwrap(), after);
        }
    }

    /// A disk with room for so many bytes.
    struct Full<'a>(&'a Mutex<(Vec<u8>, usize)>);

    impl Write for Full<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let (text, room) = &mut *self.0.lock().unwrap();
            match bytes.len().min(*room - text.len()) {
                0 => Err(ErrorKind::StorageFull.into()),
                fits => {
                    text.extend(&bytes[..fits]);
                    Ok(fits)
                }
            }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_a_full_disk_cut_off_are_not_counted_and_the_next_starts_on_a_new_line() {
        let disk = Mutex::new((Vec::new(), 9));
        let mut file = LineWriter { file: Full(&disk), is_failing: false, is_cut: false };
        let mut write = |room: usize, lines: &str| {
            disk.lock().unwrap().1 = room;
            file.write(lines.to_owned())
        };
        assert_eq!(write(9, "first\nsecond\nthird\n"), 1);
        assert_eq!(write(9, "lost\n"), 0);
        assert_eq!(write(10, "lost\n"), 0, "there is room for the end of the line before");
        assert_eq!(write(99, "fourth\nfifth\n"), 2);
        assert_eq!(disk.into_inner().unwrap().0, b"first\nsec\nfourth\nfifth\n");
    }
}
