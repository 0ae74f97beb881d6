//! Background fill of the page cache after an answer, for later questions.
//!
//! One thread does so and ends with the process, which does not wait for it. While questions are being read
//! for, it takes a small share of the disk, so that it also comes to an end where they never stop.

use super::ScannedFile;
use super::wants::places;
use crate::map::FileMap;
use gstore_core::locked;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Bytes that are filled at a time.
const STEP: usize = 4 << 20;

/// How long it waits before the first step, and after each while questions are being read for: 80 MB/s then.
const PAUSE: Duration = Duration::from_millis(50);

/// Of the memory that programs can still have, the part that may be filled: three quarters.
const SHARE: (u64, u64) = (3, 4);

/// What was read past the system's memory.
#[derive(Debug, Default)]
pub struct UncachedSpans(Vec<Span>);

/// A part of a file.
type Span = (Arc<FileMap>, Range<usize>);

impl UncachedSpans {
    pub(super) fn add(&mut self, source: ScannedFile<'_>, span: &Range<u64>) {
        if let Some(range) = places(span).filter(|_| source.is_kept) {
            self.0.push((Arc::clone(source.map), range));
        }
    }

    /// Takes over what was read elsewhere.
    pub fn merge(&mut self, other: UncachedSpans) {
        self.0.extend(other.0);
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, range)| range.len() as u64).sum()
    }
}

/// What is still to be filled, and whether a thread is at it.
struct Queue {
    waiting: VecDeque<Span>,
    runs: bool,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { waiting: VecDeque::new(), runs: false });

/// Questions that are being read for.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Says that a question is being read for, until it is dropped: little is filled meanwhile.
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

/// Fills in the background what fits, after what is still to be done.
pub fn fill_behind(behind: UncachedSpans) {
    if behind.0.is_empty() {
        return;
    }
    let room = gstore_core::available_memory().map_or(0, |memory| memory / SHARE.1 * SHARE.0);
    let mut queue = locked(&QUEUE);
    queue.waiting = merged(std::mem::take(&mut queue.waiting), behind, room);
    if !queue.runs && !queue.waiting.is_empty() {
        // Without a thread nothing is filled, and later questions read from disk.
        queue.runs = thread::Builder::new().name("fill".into()).spawn(fill).is_ok();
    }
}

/// What waits with what is new, file after file as they came and each in its order. What does not fit is left
/// out: what is new where it alone is too much, else what has waited longest.
fn merged(waiting: VecDeque<Span>, new: UncachedSpans, room: u64) -> VecDeque<Span> {
    if new.bytes() > room {
        return waiting;
    }
    let mut spans: Vec<Span> = waiting.into_iter().chain(new.0).collect();
    let mut turns = HashMap::new();
    for (map, _) in &spans {
        let next = turns.len();
        turns.entry(address(map)).or_insert(next);
    }
    spans.sort_by_key(|(map, range)| (turns.get(&address(map)).copied(), range.start));
    spans.dedup_by(|(map, range), (before, to)| {
        let goes_on = Arc::ptr_eq(map, before) && range.start <= to.end;
        if goes_on {
            to.end = to.end.max(range.end);
        }
        goes_on
    });
    let mut bytes: u64 = spans.iter().map(|(_, range)| range.len() as u64).sum();
    let mut spans = VecDeque::from(spans);
    while bytes > room
        && let Some((_, range)) = spans.pop_front()
    {
        bytes -= range.len() as u64;
    }
    spans
}

fn address(map: &Arc<FileMap>) -> usize {
    Arc::as_ptr(map).addr()
}

fn fill() {
    loop {
        thread::sleep(PAUSE);
        loop {
            let Some((map, range)) = next() else { return };
            if !map.is_in_memory(&range) && map.populate(&range).is_err() {
                map.will_need(&range);
            }
            if BUSY.load(Ordering::Relaxed) > 0 {
                break;
            }
        }
    }
}

/// The next step; without one the thread ends.
fn next() -> Option<Span> {
    let mut queue = locked(&QUEUE);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn map(len: usize) -> Arc<FileMap> {
        Arc::new(FileMap::from_bytes(&vec![0; len]).out_of_memory())
    }

    #[test]
    fn what_is_new_comes_after_what_waits_and_each_file_in_its_order() {
        let files = [map(1), map(1)];
        let behind = |spans: &[(usize, Range<usize>)]| {
            UncachedSpans(
                spans.iter().map(|(file, range)| (Arc::clone(&files[*file]), range.clone())).collect(),
            )
        };
        let said = |spans: &VecDeque<Span>| -> Vec<(usize, Range<usize>)> {
            let of = |map| files.iter().position(|file| Arc::ptr_eq(file, map)).unwrap();
            spans.iter().map(|(map, range)| (of(map), range.clone())).collect()
        };
        let first = merged(VecDeque::new(), behind(&[(1, 50..60), (1, 0..10)]), 100);
        assert_eq!(said(&first), [(1, 0..10), (1, 50..60)]);
        // The question about the other file leaves them there; what goes on or is there already becomes one.
        let second = merged(first, behind(&[(0, 5..25), (1, 10..20), (1, 52..58)]), 100);
        assert_eq!(said(&second), [(1, 0..20), (1, 50..60), (0, 5..25)]);
        // Too much by itself, and too much together.
        let third = merged(second, behind(&[(0, 0..101)]), 100);
        assert_eq!(said(&third), [(1, 0..20), (1, 50..60), (0, 5..25)]);
        assert_eq!(said(&merged(third, behind(&[(0, 30..90)]), 95)), [(1, 50..60), (0, 5..25), (0, 30..90)]);
    }

    #[test]
    fn a_process_that_is_never_idle_fills_too() {
        let _busy = is_busy();
        let file = map(2 * STEP);
        let begun = Instant::now();
        fill_behind(UncachedSpans(vec![(Arc::clone(&file), 0..2 * STEP)]));
        // The queue lets go of it.
        while Arc::strong_count(&file) > 1 {
            assert!(begun.elapsed() < Duration::from_secs(20), "nothing is filled");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(begun.elapsed() >= 2 * PAUSE, "it takes a small share only");
    }
}
