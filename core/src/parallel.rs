//! Work-sharing loops with cancellation, unordered and ordered, and pipelines of workers.
//!
//! Invariants
//! - every unit runs once, and inside a thread units ascend
//! - results of ordered loops reach the caller's thread in the order of their units, a bounded number of them
//!   ahead of it; the first error in that order ends the loop
//! - a panic of any thread ends the loop and is handed on to the caller

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use crate::{Cancel, Cancelled};

/// Number of threads for a request of `threads` (0: one per core), never more than there are units.
pub fn threads_for(threads: usize, units: usize) -> usize {
    let wanted = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    wanted.clamp(1, units.max(1))
}

/// Runs every unit once, each thread with its own state, and returns the states. Inside a thread units
/// ascend.
///
/// # Errors
/// That of a unit, after which no other begins, and [`Cancelled`].
pub fn unordered<S: Send, E: From<Cancelled> + Send>(
    units: usize,
    threads: usize,
    cancel: &Cancel,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let run = || -> Result<S, E> {
        let mut own = state();
        loop {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units || failed.load(Ordering::Relaxed) {
                return Ok(own);
            }
            cancel.check()?;
            work(&mut own, unit).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
    };
    let others = threads_for(threads, units) - 1;
    let in_stage = rayon::current_thread_index().is_some() || STAGES.get();
    let states = match WORKERS.with_borrow(Clone::clone) {
        Some(workers) => {
            let others = others.min(workers.current_num_threads());
            on_pool(Some(&workers), others, &run)
        }
        None if in_stage => with_pool(others, &run),
        None => with_threads(others, &run),
    };
    states.into_iter().collect()
}

/// Runs `work` on this thread and on `others` that are started for it.
fn with_threads<T: Send>(others: usize, work: &(impl Fn() -> T + Sync)) -> Vec<T> {
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut found = vec![work()];
        let join = |other: ScopedJoinHandle<'_, T>| {
            other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        found.extend(others.into_iter().map(join));
        found
    })
}

/// Runs `work` on this thread and on up to `others` workers of the pool that all share.
fn with_pool<T: Send>(others: usize, work: &(impl Fn() -> T + Sync)) -> Vec<T> {
    // Workers that are in another question's stage would have to be waited for, though there is
    // nothing left for them to do.
    let free = Reserved::new(others);
    on_pool(None, free.0, work)
}

/// Runs `work` on this thread and on `others` workers, of a pool of its own or of the one that all share.
fn on_pool<T: Send>(workers: Option<&ThreadPool>, others: usize, work: &(impl Fn() -> T + Sync)) -> Vec<T> {
    let others: Vec<_> = (0..others).map(|_| Mutex::new(None)).collect();
    let done = AtomicUsize::new(0);
    let own = match workers {
        Some(workers) => workers.in_place_scope(|scope| in_scope(scope, &others, &done, work)),
        None => rayon::in_place_scope(|scope| in_scope(scope, &others, &done, work)),
    };
    let others =
        others.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    std::iter::once(own).chain(others).collect()
}

/// Starts `work` for each slot, and runs it on this thread.
fn in_scope<'s, T: Send + 's>(
    scope: &Scope<'s>,
    others: &'s [Mutex<Option<T>>],
    done: &'s AtomicUsize,
    work: &'s (impl Fn() -> T + Sync),
) -> T {
    for slot in others {
        scope.spawn(move |_| {
            *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(work());
            done.fetch_add(1, Ordering::Release);
        });
    }
    let own = work();
    // The others are about to be done as well: to fall asleep and be woken takes longer.
    let begun = Instant::now();
    while done.load(Ordering::Acquire) < others.len() && begun.elapsed() < PATIENCE {
        std::hint::spin_loop();
    }
    own
}

/// Workers of the pool that are in stages.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// Workers of the pool that a stage has to itself.
struct Reserved(usize);

impl Reserved {
    /// As many as are free, up to `wanted`.
    fn new(wanted: usize) -> Self {
        let all = rayon::current_num_threads();
        let mut taken = 0;
        // The closure always gives a value.
        let _ = BUSY.fetch_update(Ordering::AcqRel, Ordering::Acquire, |busy| {
            taken = wanted.min(all.saturating_sub(busy));
            Some(busy + taken)
        });
        Self(taken)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        BUSY.fetch_sub(self.0, Ordering::AcqRel);
    }
}

/// How long a thread waits awake for those that share a stage with it.
const PATIENCE: Duration = Duration::from_micros(100);

thread_local! {
    /// Whether this thread is inside [`stages`].
    static STAGES: Cell<bool> = const { Cell::new(false) };
    /// The workers of this thread's [`with_workers`].
    static WORKERS: RefCell<Option<Arc<ThreadPool>>> = const { RefCell::new(None) };
}

/// Runs `work`, whose [`unordered`] loops run on this thread and on the same `threads - 1` others (0 threads: one
/// for each core): these keep what is theirs from loop to loop, and end with it.
///
/// # Errors
/// Threads cannot be started.
pub fn with_workers<T>(threads: usize, work: impl FnOnce() -> T) -> io::Result<T> {
    /// Puts back what was before, also where `work` panics.
    struct Before(Option<Arc<ThreadPool>>);
    impl Drop for Before {
        fn drop(&mut self) {
            WORKERS.set(self.0.take());
        }
    }
    let others = threads_for(threads, usize::MAX) - 1;
    // None is a pool of as many as there are cores.
    let pool = match others {
        0 => None,
        _ => Some(ThreadPoolBuilder::new().num_threads(others).build().map_err(io::Error::other)?),
    };
    let _before = Before(WORKERS.replace(pool.map(Arc::new)));
    Ok(work())
}

/// Runs what consists of several short stages on this thread and on those of a pool that all questions of the
/// process share: starting threads would cost as much as a stage. Of the pool there are no more than cores,
/// whatever a question asks for.
pub fn stages<T>(work: impl FnOnce() -> T) -> T {
    /// Puts back what was before, also where `work` panics.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            STAGES.set(self.0);
        }
    }
    let _before = Before(STAGES.replace(true));
    work()
}

/// How far workers may run ahead of the unit whose result is taken next.
struct Gate {
    taken: Mutex<usize>,
    moved: Condvar,
    stop: AtomicBool,
    ahead: usize,
}

impl Gate {
    fn new(ahead: usize) -> Self {
        Self { taken: Mutex::new(0), moved: Condvar::new(), stop: AtomicBool::new(false), ahead }
    }

    /// Waits for the turn of `unit`; false when told to stop.
    fn wait(&self, unit: usize) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while unit >= *taken + self.ahead && !self.stop.load(Ordering::Relaxed) {
            taken = self.moved.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        !self.stop.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.moved.notify_all();
    }

    fn stop(&self) {
        let _guard = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop.store(true, Ordering::Relaxed);
        self.moved.notify_all();
    }
}

/// Stops the gate when a thread that others wait for ends early.
struct StopOnPanic<'a>(&'a Gate);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

/// Stops the gate when the results are no longer taken.
struct StopOnEnd<'a>(&'a Gate);

impl Drop for StopOnEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

type Numbered<T, E> = (usize, Result<T, E>);

/// Takes results in the order of their units.
fn take_in_order<T, E>(
    results: mpsc::Receiver<Numbered<T, E>>,
    gate: &Gate,
    mut take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let _stop = StopOnEnd(gate);
    let mut waiting = BTreeMap::new();
    let mut due = 0;
    for (unit, result) in results {
        waiting.insert(unit, result);
        while let Some(result) = waiting.remove(&due) {
            if take(result?)?.is_break() {
                return Ok(());
            }
            due += 1;
            gate.advance();
        }
    }
    Ok(())
}

/// What `work` gives for each item, in their order; a thread takes `share` items at a time.
///
/// # Errors
/// The first of an item in their order, and [`Cancelled`].
pub fn map<I: Sync, T: Send, E: From<Cancelled> + Send>(
    items: &[I],
    share: usize,
    threads: usize,
    cancel: &Cancel,
    work: impl Fn(&I) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let shares: Vec<&[I]> = items.chunks(share.max(1)).collect();
    let of_share = |(): &mut (), at: usize| shares[at].iter().map(&work).collect::<Result<Vec<T>, E>>();
    let mut all = Vec::with_capacity(items.len());
    ordered(
        shares.len(),
        threads,
        cancel,
        || (),
        of_share,
        |found| {
            all.extend(found);
            Ok(ControlFlow::Continue(()))
        },
    )?;
    Ok(all)
}

/// Runs units on threads, each with its own state, and hands their results to `take` on this thread, in the
/// order of the units. At most a few results per thread exist at a time; a break ends the loop early.
///
/// # Errors
/// The first of a unit or of `take`, and [`Cancelled`].
pub fn ordered<S, T: Send, E: From<Cancelled> + Send>(
    units: usize,
    threads: usize,
    cancel: &Cancel,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<T, E> + Sync,
    take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let threads = threads_for(threads, units);
    let next = AtomicUsize::new(0);
    let gate = Gate::new(threads * 2);
    std::thread::scope(|scope| {
        let (send, results) = mpsc::channel();
        for _ in 0..threads {
            let (send, next, gate, state, work) = (send.clone(), &next, &gate, &state, &work);
            scope.spawn(move || {
                let _stop = StopOnPanic(gate);
                let mut own = state();
                loop {
                    let unit = next.fetch_add(1, Ordering::Relaxed);
                    if unit >= units || !gate.wait(unit) {
                        return;
                    }
                    let result = cancel.check().map_err(E::from).and_then(|()| work(&mut own, unit));
                    if send.send((unit, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        take_in_order(results, &gate, take)
    })
}

/// Hands an item of a source on; false when no more are wanted.
pub type Give<'a, I> = &'a mut dyn FnMut(I) -> bool;

/// Runs `source` on a separate thread, its items through `work` on `threads` others, and hands the results to
/// `take` on this thread, in the order of the items. At most `ahead` items are in front of the one that is
/// taken next; a break ends the loop early.
///
/// # Errors
/// The first of an item, of `take`, or of the source behind its last item.
pub fn pipeline<I: Send, T: Send, E: Send>(
    threads: usize,
    ahead: usize,
    source: impl FnOnce(Give<'_, I>) -> Result<(), E> + Send,
    work: impl Fn(I) -> Result<T, E> + Sync,
    take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let gate = Gate::new(ahead);
    // The gate bounds what is in both channels.
    let (give, items) = mpsc::channel::<(usize, I)>();
    let items = Mutex::new(items);
    std::thread::scope(|scope| {
        let (send, results) = mpsc::channel();
        let (gate, items, work) = (&gate, &items, &work);
        for _ in 0..threads.max(1) {
            let send = send.clone();
            scope.spawn(move || {
                let _stop = StopOnPanic(gate);
                loop {
                    let item = items.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok((unit, item)) = item else { return };
                    if send.send((unit, work(item))).is_err() {
                        return;
                    }
                }
            });
        }
        scope.spawn(move || {
            let mut unit = 0;
            let ended = source(&mut |item| {
                let wanted = gate.wait(unit) && give.send((unit, item)).is_ok();
                unit += usize::from(wanted);
                wanted
            });
            if let Err(error) = ended {
                // The caller may have ended already, which needs no second report.
                let _ = send.send((unit, Err(error)));
            }
        });
        take_in_order(results, gate, take)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUN: Cancel = Cancel::new();

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

    const GO_ON: Result<ControlFlow<()>, Failed> = Ok(ControlFlow::Continue(()));

    #[test]
    fn results_come_in_order_whatever_takes_long() {
        for threads in [1, 2, 5, 0] {
            let mut seen = Vec::new();
            let slow = |_: &mut (), unit: usize| {
                std::thread::sleep(std::time::Duration::from_micros((unit as u64 * 37) % 300));
                Ok(unit)
            };
            ordered(
                100,
                threads,
                &RUN,
                || (),
                slow,
                |unit| {
                    seen.push(unit);
                    GO_ON
                },
            )
            .unwrap();
            assert_eq!(seen, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_more_results_wait_than_the_window_allows() {
        let ahead = AtomicUsize::new(0);
        let worst = AtomicUsize::new(0);
        let work = |_: &mut (), _| {
            worst.fetch_max(ahead.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            Ok(())
        };
        ordered(
            200,
            3,
            &RUN,
            || (),
            work,
            |()| {
                std::thread::sleep(std::time::Duration::from_micros(200));
                ahead.fetch_sub(1, Ordering::SeqCst);
                GO_ON
            },
        )
        .unwrap();
        assert!(worst.into_inner() <= 7, "window of 6 and the one in hand");
    }

    #[test]
    fn the_first_error_by_unit_wins_and_a_break_stops() {
        let fail = |_: &mut (), unit: usize| {
            if unit >= 7 { Err(Failed::Unit(unit)) } else { Ok(unit) }
        };
        let error = ordered(100, 3, &RUN, || (), fail, |_| GO_ON).unwrap_err();
        assert_eq!(error, Failed::Unit(7));
        let mut count = 0;
        ordered(
            1_000_000,
            3,
            &RUN,
            || (),
            |_, unit| Ok(unit),
            |_| {
                count += 1;
                if count == 10 { Ok(ControlFlow::Break(())) } else { GO_ON }
            },
        )
        .unwrap();
        assert_eq!(count, 10);
    }

    #[test]
    fn every_unit_runs_once_and_errors_surface() {
        let states = unordered(1000, 4, &RUN, Vec::new, |seen: &mut Vec<usize>, unit| {
            seen.push(unit);
            Ok::<(), Failed>(())
        })
        .unwrap();
        assert!(states.iter().all(|seen| seen.is_sorted()));
        let mut all: Vec<_> = states.into_iter().flatten().collect();
        all.sort_unstable();
        assert_eq!(all, (0..1000).collect::<Vec<_>>());
        let failed = unordered(
            10,
            2,
            &RUN,
            || (),
            |_, unit| {
                if unit == 3 { Err(Failed::Unit(unit)) } else { Ok(()) }
            },
        );
        assert_eq!(failed, Err(Failed::Unit(3)));
        let stopped = unordered(10, 2, &Cancel::raised(), || (), |_, _| Ok(()));
        assert_eq!(stopped, Err(Failed::Cancelled));
    }

    #[test]
    fn a_failing_taker_ends_the_loop() {
        let taken = |unit| if unit == 5 { Err(Failed::Unit(50)) } else { GO_ON };
        let ended = ordered(1_000_000, 3, &RUN, || (), |_, unit| Ok(unit), taken);
        assert_eq!(ended, Err(Failed::Unit(50)));
    }

    #[test]
    fn items_of_a_source_come_in_order_and_not_too_far_ahead() {
        let given = AtomicUsize::new(0);
        let mut taken = 0;
        let source = |give: Give<'_, usize>| -> Result<(), Failed> {
            for item in 0..300 {
                assert!(give(item));
                given.fetch_add(1, Ordering::SeqCst);
            }
            Ok(())
        };
        let work = |item: usize| {
            std::thread::sleep(Duration::from_micros((item as u64 * 37) % 200));
            Ok(item)
        };
        let take = |item| {
            assert_eq!(item, taken);
            assert!(given.load(Ordering::SeqCst) <= taken + 8);
            taken += 1;
            GO_ON
        };
        assert_eq!(pipeline(3, 8, source, work, take), Ok(()));
        assert_eq!(taken, 300);
    }

    #[test]
    fn a_source_ends_when_nothing_more_is_wanted_and_its_error_comes_last() {
        let endless = |give: Give<'_, usize>| -> Result<(), Failed> {
            let mut item = 0;
            while give(item) {
                item += 1;
            }
            Ok(())
        };
        let few = |item| if item == 20 { Ok(ControlFlow::Break(())) } else { GO_ON };
        assert_eq!(pipeline(2, 4, endless, Ok, few), Ok(()));
        let bad = |item| if item == 9 { Err(Failed::Unit(item)) } else { Ok(item) };
        assert_eq!(pipeline(2, 4, endless, bad, |_| GO_ON), Err(Failed::Unit(9)));

        let mut taken = 0;
        let broken = |give: Give<'_, usize>| {
            (0..3).for_each(|item| assert!(give(item)));
            Err(Failed::Unit(3))
        };
        let count = |_| {
            taken += 1;
            GO_ON
        };
        assert_eq!(pipeline(2, 4, broken, Ok, count), Err(Failed::Unit(3)));
        assert_eq!(taken, 3);
    }

    #[test]
    fn a_panic_anywhere_reaches_the_caller() {
        let panics = |run: &dyn Fn()| std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).is_err();
        let at_5 = |unit: usize| {
            assert!(unit != 5, "on purpose");
            Ok::<usize, Failed>(unit)
        };
        let many = |give: Give<'_, usize>| -> Result<(), Failed> {
            (0..1000).all(give);
            Ok(())
        };
        let taking = |unit| at_5(unit).map(|_| ControlFlow::Continue(()));
        assert!(panics(&|| drop(ordered(1000, 3, &RUN, || (), |_, unit| at_5(unit), |_| GO_ON))));
        assert!(panics(&|| drop(ordered(1000, 3, &RUN, || (), |_, unit| Ok(unit), taking))));
        assert!(panics(&|| drop(pipeline(3, 4, many, at_5, |_| GO_ON))));
        assert!(panics(&|| drop(pipeline(3, 4, many, Ok, taking))));
    }
}
