//! Memory limit of one client, within that of all sessions.
//!
//! Invariants
//! - what a client's statements hold counts against both limits or, where one is reached, against neither
//! - no lock is held while memory is reserved

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation};
use gstore_core::locked;

use super::error::{SqlError, SqlErrorKind};
use super::shares::Shares;

/// What a statement of one client may hold of a pool that other clients have too.
#[derive(Debug)]
pub(super) struct ClientPool {
    all: Arc<dyn MemoryPool>,
    /// Bytes that the client may hold.
    most: usize,
    /// What all statements of the client hold.
    held: Arc<ClientMemory>,
    /// Whether the limit of all was the last that refused something to this statement. Operators pass errors
    /// on in words of their own, which do not say it.
    by_all: AtomicBool,
}

/// What one client holds.
#[derive(Debug)]
struct ClientMemory {
    used: AtomicUsize,
    /// Of what it may hold, where operators can go on from disk.
    shares: Option<Shares>,
}

impl MemoryPool for ClientPool {
    fn name(&self) -> &str {
        "client"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.all.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.all.unregister(consumer);
        self.shares(|shares| shares.end(consumer));
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.held.used.fetch_add(additional, Ordering::Relaxed);
        self.all.grow(reservation, additional);
        self.shares(|shares| shares.grow(reservation, additional));
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.all.shrink(reservation, shrink);
        self.held.used.fetch_sub(shrink, Ordering::Relaxed);
        self.shares(|shares| shares.shrink(reservation, shrink));
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        let used = &self.held.used;
        let by_own = |_: &DataFusionError| self.by_all.store(false, Ordering::Relaxed);
        if let Some(shares) = &self.held.shares {
            shares.check(reservation, additional, used.load(Ordering::Relaxed)).inspect_err(by_own)?;
        }
        let more = |used: usize| used.checked_add(additional).filter(|used| *used <= self.most);
        if let Err(used) = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            // Operators spill at errors of this sort only.
            let why = format!("{additional} bytes more than {used}; one client has {}", self.most);
            return Err(DataFusionError::ResourcesExhausted(why)).inspect_err(by_own);
        }
        self.all.try_grow(reservation, additional).inspect_err(|_| {
            used.fetch_sub(additional, Ordering::Relaxed);
            self.by_all.store(true, Ordering::Relaxed);
        })?;
        self.shares(|shares| shares.grow(reservation, additional));
        Ok(())
    }

    /// What cannot be had of this client's limit: what it holds, and what others hold too much for the rest.
    fn reserved(&self) -> usize {
        let used = self.held.used.load(Ordering::Relaxed);
        match self.all.memory_limit() {
            MemoryLimit::Finite(limit) => {
                used.max(self.most.saturating_add(self.all.reserved()).saturating_sub(limit))
            }
            _ => used,
        }
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.most)
    }
}

impl ClientPool {
    fn shares(&self, change: impl FnOnce(&Shares)) {
        if let Some(shares) = &self.held.shares {
            change(shares);
        }
    }
}

impl fmt::Display for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} of {} bytes) in {}", self.name(), self.reserved(), self.most, self.all)
    }
}

/// What each client holds of those that hold memory or run a statement.
#[derive(Debug, Default)]
pub(super) struct Clients(Mutex<HashMap<String, Weak<ClientMemory>>>);

impl Clients {
    /// A pool for a statement of a client that may hold `most` bytes of the pool of all; `spills` if operators
    /// can go on from disk.
    pub(super) fn pool(
        &self,
        client: &str,
        all: &Arc<dyn MemoryPool>,
        most: usize,
        spills: bool,
    ) -> ClientPool {
        let most = match all.memory_limit() {
            MemoryLimit::Finite(limit) => most.min(limit),
            _ => most,
        };
        let held = self.held(client, || spills.then(|| Shares::new(most)));
        ClientPool { all: Arc::clone(all), most, held, by_all: AtomicBool::new(false) }
    }

    fn held(&self, client: &str, shares: impl FnOnce() -> Option<Shares>) -> Arc<ClientMemory> {
        let mut clients = locked(&self.0);
        if let Some(held) = clients.get(client).and_then(Weak::upgrade) {
            return held;
        }
        clients.retain(|_, held| held.strong_count() > 0);
        let held = Arc::new(ClientMemory { used: AtomicUsize::new(0), shares: shares() });
        clients.insert(client.to_owned(), Arc::downgrade(&held));
        held
    }
}

/// Says of a statement that failed for memory in this pool which limit it was.
pub(super) fn explain(error: SqlError, pool: &Arc<dyn MemoryPool>) -> SqlError {
    match pool.downcast_ref::<ClientPool>() {
        Some(pool) if error.kind() == SqlErrorKind::Memory => {
            let limit = match pool.by_all.load(Ordering::Relaxed) {
                true => "is left of that of all clients".to_owned(),
                false => format!("one client may hold at a time, {} bytes", pool.most),
            };
            error.worded(format!("the query needs more memory than {limit}"))
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};

    use super::*;
    use crate::shares::SharedPool;

    #[test]
    fn memory_counts_for_its_client_and_for_all_or_for_none() {
        let five = std::num::NonZeroUsize::new(5).unwrap();
        let all: Arc<dyn MemoryPool> = Arc::new(TrackConsumersPool::new(GreedyMemoryPool::new(100), five));
        let clients = Clients::default();
        let pool = |client| -> Arc<dyn MemoryPool> { Arc::new(clients.pool(client, &all, 60, false)) };
        let hold = |client| MemoryConsumer::new("sort").with_can_spill(true).register(&pool(client));
        let left = |client| match pool(client).memory_limit() {
            MemoryLimit::Finite(limit) => limit - pool(client).reserved(),
            _ => unreachable!("it has a limit"),
        };
        let (a, also_a, b) = (hold("a"), hold("a"), hold("b"));
        a.try_grow(40).unwrap();
        let refused = also_a.try_grow(21).unwrap_err();
        assert!(matches!(refused, DataFusionError::ResourcesExhausted(_)), "operators spill at it");
        assert_eq!((all.reserved(), left("a"), left("b")), (40, 20, 60));
        also_a.try_grow(20).unwrap();
        assert_eq!((left("a"), left("b")), (0, 40), "others have the rest");
        assert!(b.try_grow(50).is_err());
        assert_eq!((all.reserved(), left("b")), (60, 40));
        b.try_grow(40).unwrap();
        drop((a, also_a));
        assert_eq!((all.reserved(), left("a"), left("b")), (40, 60, 20));
        b.shrink(40);
        b.try_grow(60).unwrap();
        b.resize(70);
        assert_eq!((all.reserved(), pool("b").reserved()), (70, 70), "what cannot be refused counts too");
        drop(b);
        assert_eq!((all.reserved(), left("b")), (0, 60));
    }

    #[test]
    fn operators_of_a_client_write_to_disk_by_what_that_client_holds() {
        const MIB: usize = 1 << 20;
        let all: Arc<dyn MemoryPool> = Arc::new(SharedPool::new(96 * MIB));
        let clients = Clients::default();
        let hold = |client: &str| {
            let pool: Arc<dyn MemoryPool> = Arc::new(clients.pool(client, &all, 12 * MIB, true));
            MemoryConsumer::new("groups").with_can_spill(true).register(&pool)
        };
        let others = ["b", "c", "d"].map(|client| (hold(client), client));
        others.iter().for_each(|(groups, _)| groups.try_grow(8 * MIB).unwrap());
        let (a, also_a) = (hold("a"), hold("a"));
        a.try_grow(4 * MIB).unwrap();
        a.try_grow(2 * MIB).unwrap();
        assert!(a.try_grow(1).is_err(), "half of what one may hold is used");
        also_a.try_grow(2 * MIB).unwrap();
        assert!(also_a.try_grow(1).is_err(), "one of two has a sixth");
        drop(others);
        drop((a, also_a));
        assert_eq!(all.reserved(), 0);
    }
}
