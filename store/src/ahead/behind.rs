//! Background fill of the page cache after an answer, for later questions.
//!
//! One thread does so, slowly enough to leave the disk to questions, and ends with the process, which does
//! not wait for it. It holds maps, no descriptors.

use super::Source;
use super::wants::places;
use crate::map::FileMap;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Bytes that are filled at a time.
const STEP: usize = 4 << 20;

/// How long it waits before it looks whether questions are still being read for.
const PAUSE: Duration = Duration::from_millis(50);

/// Of the memory that programs can still have, the part that may be filled: three quarters.
const SHARE: (u64, u64) = (3, 4);

/// What was read past the system's memory.
#[derive(Debug, Default)]
pub struct Behind(Vec<(Arc<FileMap>, Range<usize>)>);

impl Behind {
    pub(super) fn add(&mut self, source: Source<'_>, span: &Range<u64>) {
        if let Some(range) = places(span).filter(|_| source.is_kept) {
            self.0.push((Arc::clone(source.map), range));
        }
    }

    /// Takes over what was read elsewhere.
    pub fn merge(&mut self, other: Behind) {
        self.0.extend(other.0);
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, range)| range.len() as u64).sum()
    }
}

/// What is still to be filled, and whether a thread is at it.
struct Queue {
    waiting: VecDeque<(Arc<FileMap>, Range<usize>)>,
    runs: bool,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: VecDeque::new(), runs: false });

/// Questions that are being read for.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Says that a question is being read for, until it is dropped: nothing is filled meanwhile.
#[derive(Debug)]
pub struct Busy(());

/// See [`Busy`].
pub fn is_busy() -> Busy {
    BUSY.fetch_add(1, Ordering::Relaxed);
    Busy(())
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Fills in the background what fits; a new call replaces what is still to be done.
pub fn fill_behind(mut behind: Behind) {
    if behind.0.is_empty() {
        return;
    }
    let room = gstore_core::available_memory().map_or(0, |memory| memory / SHARE.1 * SHARE.0);
    if behind.bytes() > room {
        return;
    }
    behind.0.sort_by_key(|(map, range)| (Arc::as_ptr(map).addr(), range.start));
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    queue.waiting = behind.0.into();
    if !queue.runs {
        // Without a thread nothing is filled, and later questions read from disk.
        queue.runs = thread::Builder::new().name("fill".into()).spawn(fill).is_ok();
    }
}

fn fill() {
    loop {
        thread::sleep(PAUSE);
        while BUSY.load(Ordering::Relaxed) == 0 {
            let Some((map, range)) = next() else { return };
            if !map.is_in_memory(&range) && map.populate(&range).is_err() {
                map.will_need(&range);
            }
        }
    }
}

/// The next step; without one the thread ends.
fn next() -> Option<(Arc<FileMap>, Range<usize>)> {
    let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((map, range)) = queue.waiting.pop_front() else {
        queue.runs = false;
        return None;
    };
    let end = range.end.min(range.start + STEP);
    if end < range.end {
        queue.waiting.push_front((Arc::clone(&map), end..range.end));
    }
    Some((map, range.start..end))
}
