//! Shares of memory of operators that go on from disk.
//!
//! An operator that is refused memory writes what it holds to disk, sorted. Sorting takes more memory: of
//! narrow rows, the keys alone take several times that of the rows. If operators held all memory until they
//! are refused, the statement would fail there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// One of this many parts of the memory is for rows that wait to be sorted; most of the rest is needed to sort
/// them.
const SORTS: usize = 6;
/// One of this many parts is for what groupings and the like hold.
const OTHERS: usize = 2;

/// A pool in which each operator that can go on from disk has an equal share of a part of the memory, and
/// others get what is left.
#[derive(Debug)]
pub(super) struct SharedPool {
    all: GreedyMemoryPool,
    /// Bytes of which shares are computed.
    shared: usize,
    /// What the operators hold that can go on from disk, by the number of the consumer, if they hold something.
    held: Mutex<HashMap<usize, usize>>,
}

impl SharedPool {
    /// A pool of this many bytes, in which one client may hold `each` at most.
    pub(super) fn new(bytes: usize, each: Option<usize>) -> Self {
        let shared = each.map_or(bytes, |each| each.min(bytes));
        Self { all: GreedyMemoryPool::new(bytes), shared, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<usize, usize>> {
        // Whole at every instant, so one that a panic poisoned is still good.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &str {
        "shared"
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.held().remove(&consumer.id());
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.all.grow(reservation, additional);
        let consumer = reservation.consumer();
        if consumer.can_spill() {
            *self.held().entry(consumer.id()).or_default() += additional;
        }
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.all.shrink(reservation, shrink);
        if let Entry::Occupied(mut held) = self.held().entry(reservation.consumer().id()) {
            match held.get().saturating_sub(shrink) {
                0 => drop(held.remove()),
                left => *held.get_mut() = left,
            }
        }
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        let consumer = reservation.consumer();
        if !consumer.can_spill() {
            return self.all.try_grow(reservation, additional);
        }
        let mut held = self.held();
        let bytes = held.get(&consumer.id()).copied().unwrap_or(0);
        let part = if consumer.name().starts_with("ExternalSorter") { SORTS } else { OTHERS };
        let share = self.shared / part / (held.len() + usize::from(bytes == 0));
        // One that holds nothing has nothing to write, and needs memory for a first batch.
        if bytes > 0 && bytes.saturating_add(additional) > share {
            let why = format!("{additional} bytes more than {bytes}; the share of an operator is {share}");
            return Err(DataFusionError::ResourcesExhausted(why));
        }
        self.all.try_grow(reservation, additional)?;
        held.insert(consumer.id(), bytes + additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.all.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.all.memory_limit()
    }
}

impl fmt::Display for SharedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes) in {}", self.name(), self.shared, self.all)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn operators_that_can_spill_have_shares_and_others_what_is_left() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(1200, Some(600)));
        let consumer = |name: &str, spills| MemoryConsumer::new(name).with_can_spill(spills).register(&pool);
        let (sort, groups) = (consumer("ExternalSorter[0]", true), consumer("groups", true));
        sort.try_grow(100).unwrap();
        assert!(
            matches!(sort.try_grow(1), Err(DataFusionError::ResourcesExhausted(_))),
            "its share is a sixth"
        );
        groups.try_grow(150).unwrap();
        assert!(groups.try_grow(1).is_err(), "a half, of which two have each a half");
        sort.shrink(40);
        assert!(sort.try_grow(1).is_err(), "it was alone before");
        sort.shrink(60);
        groups.try_grow(150).unwrap();
        let merge = consumer("ExternalSorterMerge[0]", false);
        merge.try_grow(700).unwrap();
        sort.try_grow(200).unwrap();
        assert!(merge.try_grow(1).is_err(), "there are no more");
        drop((sort, groups, merge));
        assert_eq!(pool.reserved(), 0);
        consumer("groups", true).try_grow(300).unwrap();
    }
}
