//! Loops whose units are fetched ahead of the work on them: some threads wait for a disk, others compute.
//!
//! Invariants
//! - every unit is fetched and worked on once, units are fetched in their order
//! - at most [`Pace::ahead`] units are fetched and not yet done with
//! - the first error stops the loop; a panic of any thread ends it and is handed on to the caller

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::parallel::{OnPanic, given_by, join, threads_for};
use crate::{Cancel, Cancelled};

/// How a loop goes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Threads that work; 0: one for each core.
    pub threads: usize,
    /// Threads that fetch, 1 at least.
    pub fetchers: usize,
    /// Units that are fetched ahead, 1 at least.
    pub ahead: usize,
}

struct Units<F> {
    next: usize,
    fetching: usize,
    ready: BTreeMap<usize, F>,
    free: Vec<F>,
    stop: bool,
}

struct Shared<F> {
    units: Mutex<Units<F>>,
    moved: Condvar,
    all: usize,
}

impl<F: Default> Shared<F> {
    fn new(all: usize, ahead: usize, mut memory: Vec<F>) -> Self {
        memory.resize_with(ahead.max(1), F::default);
        let units = Units { next: 0, fetching: 0, ready: BTreeMap::new(), free: memory, stop: false };
        Self { units: Mutex::new(units), moved: Condvar::new(), all }
    }

    fn into_memory(self) -> Vec<F> {
        let Units { mut free, ready, .. } = self.units.into_inner().unwrap_or_else(PoisonError::into_inner);
        free.extend(ready.into_values());
        free
    }

    fn lock(&self) -> MutexGuard<'_, Units<F>> {
        self.units.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Units<F>)) {
        change(&mut self.lock());
        self.moved.notify_all();
    }

    /// What `take` finds, as soon as it finds something; `None` where there is nothing more to do.
    fn wait<T>(&self, mut take: impl FnMut(&mut Units<F>) -> Option<Option<T>>) -> Option<T> {
        let mut units = self.lock();
        loop {
            if units.stop {
                return None;
            }
            if let Some(found) = take(&mut units) {
                return found;
            }
            units = self.moved.wait(units).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The next unit to fetch, and memory for it.
    fn to_fetch(&self) -> Option<(usize, F)> {
        self.wait(|units| {
            if units.next >= self.all {
                return Some(None);
            }
            let memory = units.free.pop()?;
            units.next += 1;
            units.fetching += 1;
            Some(Some((units.next - 1, memory)))
        })
    }

    fn to_do(&self) -> Option<(usize, F)> {
        self.wait(|units| match units.ready.pop_first() {
            Some(unit) => Some(Some(unit)),
            None => (units.next >= self.all && units.fetching == 0).then_some(None),
        })
    }
}

/// Runs every unit once, each working thread with its own state, and returns the states. `fetch` gets what a
/// unit needs into memory that is used again for later units. `memory` is that of earlier loops, if there
/// were some, and has all of this one afterwards.
///
/// # Errors
/// That of a unit, after which no other begins, and [`Cancelled`].
pub fn unordered<S: Send, F: Default + Send, E: From<Cancelled> + Send>(
    units: usize,
    pace: Pace,
    cancel: &Cancel,
    memory: &mut Vec<F>,
    state: impl Fn() -> S + Sync,
    fetch: impl Fn(usize, &mut F) + Sync,
    work: impl Fn(&mut S, usize, &mut F) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    let shared = Shared::new(units, pace.ahead, std::mem::take(memory));
    let stop = || shared.change(|units| units.stop = true);
    let fetching = || {
        let _stop = OnPanic(stop);
        while let Some((unit, mut memory)) = shared.to_fetch() {
            if !cancel.is_raised() {
                fetch(unit, &mut memory);
            }
            shared.change(|units| {
                units.fetching -= 1;
                units.ready.insert(unit, memory);
            });
        }
    };
    let working = || -> Result<S, E> {
        let _stop = OnPanic(stop);
        let mut own = state();
        while let Some((unit, mut memory)) = shared.to_do() {
            let done = cancel.check().map_err(E::from).and_then(|()| work(&mut own, unit, &mut memory));
            shared.change(|units| {
                units.free.push(memory);
                units.stop |= done.is_err();
            });
            done?;
        }
        Ok(own)
    };
    let threads = threads_for(pace.threads, units);
    let fetchers = pace.fetchers.max(1);
    let states = given_by::<Result<S, E>>(threads, &working, &|work| {
        on_both(fetchers, &fetching, threads - 1, work, &stop);
    });
    *memory = shared.into_memory();
    states.into_iter().collect()
}

/// Runs `fetch` on some threads, and `work` on this one and on `others`; `stop` tells those that have begun
/// where one cannot be started. Knows nothing of what a loop is over: it would be compiled again for each.
fn on_both(
    fetchers: usize,
    fetch: &(dyn Fn() + Sync),
    others: usize,
    work: &(dyn Fn(usize) + Sync),
    stop: &dyn Fn(),
) {
    std::thread::scope(|scope| {
        let _stop = OnPanic(stop);
        let fetchers: Vec<_> = (0..fetchers).map(|_| scope.spawn(fetch)).collect();
        let others: Vec<_> = (1..=others).map(|at| scope.spawn(move || work(at))).collect();
        work(0);
        others.into_iter().chain(fetchers).for_each(join);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static RUN: Cancel = Cancel::new();
    const PACE: Pace = Pace { threads: 2, fetchers: 3, ahead: 4 };

    #[test]
    fn every_unit_is_fetched_and_done_once_and_few_are_ahead() {
        let (fetched, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let mut own = Vec::new();
        for units in [0, 1, 500] {
            fetched.store(0, Ordering::SeqCst);
            done.store(0, Ordering::SeqCst);
            let fetch = |unit: usize, memory: &mut Vec<usize>| {
                let ahead = fetched.fetch_add(1, Ordering::SeqCst) + 1 - done.load(Ordering::SeqCst);
                assert!(ahead <= 4, "{ahead} are ahead");
                memory.push(unit);
            };
            let work = |seen: &mut Vec<usize>, unit: usize, memory: &mut Vec<usize>| {
                assert_eq!(memory.pop(), Some(unit));
                seen.push(unit);
                done.fetch_add(1, Ordering::SeqCst);
                Ok::<_, Cancelled>(())
            };
            let states = unordered(units, PACE, &RUN, &mut own, Vec::new, fetch, work).unwrap();
            assert_eq!(own.len(), PACE.ahead, "the memory of a loop is there for the next");
            assert!(units == 0 || own.iter().any(|memory| memory.capacity() > 0));
            let mut all: Vec<usize> = states.into_iter().flatten().collect();
            all.sort_unstable();
            assert_eq!(all, (0..units).collect::<Vec<_>>());
        }
    }

    #[test]
    fn errors_and_cancellation_end_the_loop() {
        #[derive(Debug, PartialEq)]
        enum Failed {
            Unit(usize),
            Cancelled,
        }
        impl From<Cancelled> for Failed {
            fn from(_: Cancelled) -> Self {
                Self::Cancelled
            }
        }
        let work = |_: &mut (), unit: usize, _: &mut ()| match unit {
            7 => Err(Failed::Unit(7)),
            _ => Ok(()),
        };
        let fetch = |_: usize, _: &mut ()| {};
        assert_eq!(
            unordered(1_000_000, PACE, &RUN, &mut Vec::new(), || (), fetch, work),
            Err(Failed::Unit(7))
        );
        let stopped = unordered(10, PACE, &Cancel::raised(), &mut Vec::new(), || (), fetch, work);
        assert_eq!(stopped, Err(Failed::Cancelled));
    }

    #[test]
    fn a_panic_of_any_thread_reaches_the_caller() {
        let at_5 = |unit: usize| assert!(unit != 5, "on purpose");
        let panics = |run: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        let good = |_: &mut (), _: usize, _: &mut ()| Ok::<_, Cancelled>(());
        let bad = |_: &mut (), unit: usize, _: &mut ()| {
            at_5(unit);
            Ok::<_, Cancelled>(())
        };
        let none = Vec::<()>::new;
        let fetches = |unit: usize, _: &mut ()| at_5(unit);
        assert!(panics(&|| drop(unordered(100, PACE, &RUN, &mut none(), || (), fetches, good))));
        assert!(panics(&|| drop(unordered(100, PACE, &RUN, &mut none(), || (), |_, _: &mut ()| {}, bad))));
    }
}
