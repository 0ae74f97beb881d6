//! Shares of memory of operators that go on from disk.
//!
//! An operator that is refused memory writes what it holds to disk, sorted, and merges what it has written.
//! Both take more memory: of narrow rows, the keys alone take several times that of the rows. If operators
//! held all memory until they are refused, the statement would fail there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

/// When an operator is to write what it holds: if that is more than its share, and little memory is left.
struct Limits {
    /// The part of the memory that such operators share, as its divisor.
    share: usize,
    /// The part of the memory that all may use until then, as its divisor.
    used: usize,
}

/// For rows that wait to be sorted: most of the rest is needed to sort them.
const SORTS: Limits = Limits { share: 6, used: 4 };
/// For groupings and the like.
const OTHERS: Limits = Limits { share: 3, used: 2 };
/// Operators that hold less leave the shares of others as they are.
const SMALL: usize = 1 << 20;

/// A pool in which operators that can go on from disk write to it before the memory is used up, those first that
/// hold more than an equal share.
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
        let limits = if consumer.name().starts_with("ExternalSorter") { SORTS } else { OTHERS };
        let large = held.iter().filter(|(id, bytes)| **id != consumer.id() && **bytes >= SMALL);
        let share = self.shared / limits.share / (large.count() + 1);
        // By reservation: what an operator merges has one of its own, and it cannot write that.
        let own = reservation.size().saturating_add(additional);
        let used = self.all.reserved().saturating_add(additional);
        // One that holds nothing needs memory for a first batch.
        if bytes > 0 && own > share && used > self.shared / limits.used {
            let why = format!("{additional} bytes more than {bytes}; the share of an operator is {share}");
            return Err(DataFusionError::ResourcesExhausted(why));
        }
        self.all.try_grow(reservation, additional)?;
        *held.entry(consumer.id()).or_default() += additional;
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
        const MIB: usize = 1 << 20;
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(24 * MIB, Some(12 * MIB)));
        let consumer = |name: &str, spills| MemoryConsumer::new(name).with_can_spill(spills).register(&pool);
        let (sort, groups) = (consumer("ExternalSorter[0]", true), consumer("groups", true));
        sort.try_grow(3 * MIB).unwrap();
        let refused = sort.try_grow(1);
        assert!(
            matches!(refused, Err(DataFusionError::ResourcesExhausted(_))),
            "a quarter of a client's memory"
        );
        groups.try_grow(3 * MIB).unwrap();
        assert!(groups.try_grow(1).is_err(), "half of it is used, and this is more than half of a third");
        let merged = groups.new_empty();
        merged.try_grow(2 * MIB).unwrap();
        drop(merged);
        sort.shrink(5 * MIB / 2);
        groups.try_grow(2 * MIB).unwrap();
        let merge = consumer("ExternalSorterMerge[0]", false);
        merge.try_grow(18 * MIB).unwrap();
        sort.try_grow(MIB / 2).unwrap();
        assert!(merge.try_grow(1).is_err(), "there is no more");
        drop((sort, groups, merge));
        assert_eq!(pool.reserved(), 0);
        consumer("groups", true).try_grow(24 * MIB).unwrap();
    }
}
