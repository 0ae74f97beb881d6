//! Open connections of the server: how many there are, and which of them are idle.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gstore_core::locked;

use super::usage::ConnectionUse;
use crate::options::ConnectionLimits;

/// What an unused connection is given at least before it makes room for another one.
const GRACE: Duration = Duration::from_secs(30);

pub(super) struct ConnectionTable {
    pub(super) most: usize,
    idle: Duration,
    open: Mutex<(u64, HashMap<u64, Arc<ConnectionUse>>)>,
    /// How many there are, for the metrics.
    count: Arc<AtomicUsize>,
}

/// A connection's place among them; dropping it gives it back.
pub(super) struct ConnectionSlot {
    table: Arc<ConnectionTable>,
    number: u64,
    pub(super) usage: Arc<ConnectionUse>,
}

impl ConnectionTable {
    pub(super) fn new(limits: &ConnectionLimits, count: &Arc<AtomicUsize>) -> Self {
        let count = Arc::clone(count);
        Self { most: limits.most.max(1), idle: limits.idle, open: Mutex::default(), count }
    }

    /// A place, if there is one: where all are taken, the connection that was unused for the longest time
    /// ends for it.
    pub(super) fn enter(self: &Arc<Self>, now: Instant) -> Option<ConnectionSlot> {
        let mut open = locked(&self.open);
        if open.1.len() >= self.most {
            let unused = open.1.iter().filter_map(|(number, usage)| Some((*number, usage.unused(now)?)));
            let (number, _) = unused.filter(|(_, time)| *time >= GRACE).max_by_key(|(_, time)| *time)?;
            // It gives its place back when its task is done, which finds it given back already.
            open.1.remove(&number)?.cut();
        }
        open.0 += 1;
        let (number, usage) = (open.0, Arc::new(ConnectionUse::new()));
        open.1.insert(number, Arc::clone(&usage));
        self.count.fetch_add(1, Ordering::Relaxed);
        Some(ConnectionSlot { table: Arc::clone(self), number, usage })
    }

    /// Ends the connections that were unused for longer than is allowed.
    pub(super) fn give_up_idle(&self, now: Instant) {
        let open = locked(&self.open);
        let idle = open.1.values().filter(|usage| usage.unused(now).is_some_and(|time| time > self.idle));
        idle.for_each(|usage| usage.cut());
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        locked(&self.table.open).1.remove(&self.number);
        self.table.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_in_use_makes_room() {
        let limits =
            ConnectionLimits { most: 2, idle: Duration::from_secs(60), ..ConnectionLimits::default() };
        let table = Arc::new(ConnectionTable::new(&limits, &Arc::default()));
        let now = Instant::now();
        let later = |seconds| now + Duration::from_secs(seconds);
        let (used, unused) = (table.enter(now).unwrap(), table.enter(now).unwrap());
        let busy = used.usage.busy();
        assert!(table.enter(now).is_none(), "both are new");
        let third = table.enter(later(40)).unwrap();
        assert!(unused.usage.is_cut() && !used.usage.is_cut());
        // Its place is given away already.
        drop(unused);
        assert_eq!(locked(&table.open).1.len(), 2);
        table.give_up_idle(later(1000));
        assert!(third.usage.is_cut() && !used.usage.is_cut(), "one with a request is not idle");
        drop(busy);
        table.give_up_idle(later(1000));
        assert!(used.usage.is_cut());
        drop((used, third));
        assert_eq!(locked(&table.open).1.len(), 0);
    }
}
