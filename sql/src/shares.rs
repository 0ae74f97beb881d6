//! Shares of memory of operators that go on from disk.
//!
//! An operator that is refused memory writes what it holds to disk, sorted, and merges what it has written.
//! Both take more memory: of narrow rows, the keys alone take several times that of the rows. If operators
//! held all memory until they are refused, the statement would fail there.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Mutex;

use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{
    GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use gstore_core::locked;

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

/// What the operators of a pool hold that can go on from disk, and what each of them may.
#[derive(Debug)]
pub(super) struct Shares {
    /// Bytes of the memory.
    bytes: usize,
    /// What those hold that hold something, by the number of the consumer.
    held: Mutex<HashMap<usize, usize>>,
}

impl Shares {
    pub(super) fn new(bytes: usize) -> Self {
        Self { bytes, held: Mutex::default() }
    }

    /// Refuses more to an operator that is to write what it holds, where all hold `used`.
    pub(super) fn check(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
        used: usize,
    ) -> DfResult<()> {
        let consumer = reservation.consumer();
        if !consumer.can_spill() {
            return Ok(());
        }
        let held = locked(&self.held);
        let bytes = held.get(&consumer.id()).copied().unwrap_or(0);
        let limits = if consumer.name().starts_with("ExternalSorter") { SORTS } else { OTHERS };
        let large = held.iter().filter(|(id, bytes)| **id != consumer.id() && **bytes >= SMALL);
        let share = self.bytes / limits.share / (large.count() + 1);
        // By reservation: what an operator merges has one of its own, and it cannot write that.
        let own = reservation.size().saturating_add(additional);
        // One that holds nothing needs memory for a first batch.
        if bytes > 0 && own > share && used.saturating_add(additional) > self.bytes / limits.used {
            let why = format!("{additional} bytes more than {bytes}; the share of an operator is {share}");
            return Err(DataFusionError::ResourcesExhausted(why));
        }
        Ok(())
    }

    pub(super) fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let consumer = reservation.consumer();
        if consumer.can_spill() {
            *locked(&self.held).entry(consumer.id()).or_default() += additional;
        }
    }

    pub(super) fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        if let Entry::Occupied(mut held) = locked(&self.held).entry(reservation.consumer().id()) {
            match held.get().saturating_sub(shrink) {
                0 => drop(held.remove()),
                left => *held.get_mut() = left,
            }
        }
    }

    pub(super) fn end(&self, consumer: &MemoryConsumer) {
        locked(&self.held).remove(&consumer.id());
    }
}

/// A pool in which operators that can go on from disk write to it before the memory is used up, those first that
/// hold more than an equal share.
#[derive(Debug)]
pub(super) struct SharedPool {
    all: GreedyMemoryPool,
    shares: Shares,
}

impl SharedPool {
    pub(super) fn new(bytes: usize) -> Self {
        Self { all: GreedyMemoryPool::new(bytes), shares: Shares::new(bytes) }
    }
}

impl MemoryPool for SharedPool {
    fn name(&self) -> &str {
        "shared"
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shares.end(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.all.grow(reservation, additional);
        self.shares.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.all.shrink(reservation, shrink);
        self.shares.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        self.shares.check(reservation, additional, self.all.reserved())?;
        self.all.try_grow(reservation, additional)?;
        self.shares.grow(reservation, additional);
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
        write!(f, "{} in {}", self.name(), self.all)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn operators_that_can_spill_have_shares_and_others_what_is_left() {
        const MIB: usize = 1 << 20;
        let pool: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(24 * MIB));
        let consumer = |name: &str, spills| MemoryConsumer::new(name).with_can_spill(spills).register(&pool);
        let (sort, groups) = (consumer("ExternalSorter[0]", true), consumer("groups", true));
        sort.try_grow(6 * MIB).unwrap();
        let refused = sort.try_grow(1);
        assert!(
            matches!(refused, Err(DataFusionError::ResourcesExhausted(_))),
            "a quarter of the memory is used"
        );
        groups.try_grow(6 * MIB).unwrap();
        assert!(groups.try_grow(1).is_err(), "half of it is used, and this is more than half of a third");
        let merged = groups.new_empty();
        merged.try_grow(4 * MIB).unwrap();
        drop(merged);
        sort.shrink(11 * MIB / 2);
        groups.try_grow(4 * MIB).unwrap();
        let merge = consumer("ExternalSorterMerge[0]", false);
        merge.try_grow(12 * MIB).unwrap();
        sort.try_grow(3 * MIB / 2).unwrap();
        assert!(merge.try_grow(1).is_err(), "there is no more");
        drop((sort, groups, merge));
        assert_eq!(pool.reserved(), 0);
        consumer("groups", true).try_grow(24 * MIB).unwrap();
    }
}
