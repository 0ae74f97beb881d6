//! Use of a connection: when it was last used, requests that are being answered, and whether it is to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;

#[derive(Debug)]
pub(super) struct ConnectionUse {
    began: Instant,
    /// The last use, in milliseconds since then.
    used: AtomicU64,
    /// Requests that are being answered.
    busy: AtomicUsize,
    cut: AtomicBool,
    reader: AtomicWaker,
}

impl ConnectionUse {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            used: AtomicU64::new(0),
            busy: AtomicUsize::new(0),
            cut: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    pub(super) fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.used.store(now, Ordering::Relaxed);
    }

    /// How long it was not used; `None` while it is.
    pub(super) fn unused(&self, now: Instant) -> Option<Duration> {
        let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
        let free = self.busy.load(Ordering::Relaxed) == 0;
        free.then(|| now.saturating_duration_since(self.began).saturating_sub(used))
    }

    /// Ends it.
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Wakes this task when it is cut.
    pub(super) fn wakes(&self, waker: &Waker) {
        self.reader.register(waker);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    pub(super) fn busy(self: &Arc<Self>) -> BusyGuard {
        self.busy.fetch_add(1, Ordering::Relaxed);
        BusyGuard(Arc::clone(self))
    }
}

/// A request that is being answered; dropping it ends it.
#[derive(Debug)]
pub(crate) struct BusyGuard(Arc<ConnectionUse>);

impl Drop for BusyGuard {
    fn drop(&mut self) {
        self.0.touch();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}
