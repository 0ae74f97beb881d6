//! Units of work spread over threads: an atomic counter deals them out, a flag stops them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use crate::error::QueryError;

/// Number of threads for a request of `threads` (0: one per core), never more than there are units.
fn threads_for(threads: usize, units: usize) -> usize {
    let wanted = match threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    wanted.clamp(1, units.max(1))
}

/// Runs every unit once, each thread with a state of its own, and returns the states. Inside a thread units ascend.
pub(crate) fn unordered<S: Send>(
    units: usize,
    threads: usize,
    cancel: &AtomicBool,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<(), QueryError> + Sync,
) -> Result<Vec<S>, QueryError> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let run = || -> Result<S, QueryError> {
        let mut own = state();
        loop {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units || failed.load(Ordering::Relaxed) {
                return Ok(own);
            }
            if cancel.load(Ordering::Relaxed) {
                return Err(QueryError::Cancelled);
            }
            work(&mut own, unit).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
    };
    let others = threads_for(threads, units) - 1;
    let in_stage = rayon::current_thread_index().is_some() || STAGES.get();
    let states = if in_stage { with_pool(others, &run) } else { with_threads(others, &run) };
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

/// Runs `work` on this thread and on up to `others` workers of the pool.
fn with_pool<T: Send>(others: usize, work: &(impl Fn() -> T + Sync)) -> Vec<T> {
    // Workers that are in another question's stage would have to be waited for, though there is nothing left for them to do.
    let free = Reserved::new(others);
    let others: Vec<_> = (0..free.0).map(|_| Mutex::new(None)).collect();
    let done = AtomicUsize::new(0);
    let own = rayon::in_place_scope(|scope| {
        for slot in &others {
            let done = &done;
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
    });
    let others =
        others.into_iter().filter_map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner));
    std::iter::once(own).chain(others).collect()
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
}

/// Runs what consists of several short stages on this thread and on those of a pool that all questions of the process share: starting threads
/// would cost as much as a stage. Of the pool there are no more than cores, whatever a question asks for.
pub(crate) fn stages<T>(work: impl FnOnce() -> T) -> T {
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

/// How far workers may run ahead of the unit that is handed out next.
struct Gate {
    handed_out: Mutex<usize>,
    moved: Condvar,
    stop: AtomicBool,
}

impl Gate {
    /// Waits until fewer than `window` units lie between the one handed out next and `unit`; false when told to stop.
    fn wait(&self, unit: usize, window: usize) -> bool {
        let mut handed_out = self.handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        while unit >= *handed_out + window && !self.stop.load(Ordering::Relaxed) {
            handed_out = self.moved.wait(handed_out).unwrap_or_else(PoisonError::into_inner);
        }
        !self.stop.load(Ordering::Relaxed)
    }

    fn advance(&self) {
        *self.handed_out.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.moved.notify_all();
    }

    fn stop(&self) {
        let _guard = self.handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        self.stop.store(true, Ordering::Relaxed);
        self.moved.notify_all();
    }
}

/// Runs units on threads and hands their results to `emit` in the order of the units; at most a few results per thread exist at a time.
pub(crate) fn ordered<S, T: Send>(
    units: usize,
    threads: usize,
    cancel: &AtomicBool,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<T, QueryError> + Sync,
    mut emit: impl FnMut(T) -> ControlFlow<()>,
) -> Result<(), QueryError> {
    let threads = threads_for(threads, units);
    let window = threads * 2;
    let next = AtomicUsize::new(0);
    let gate = Gate { handed_out: Mutex::new(0), moved: Condvar::new(), stop: AtomicBool::new(false) };
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel::<(usize, Result<T, QueryError>)>();
        for _ in 0..threads {
            let (send, next, gate, state, work) = (send.clone(), &next, &gate, &state, &work);
            scope.spawn(move || {
                // A panic in `work` must not leave the other threads waiting; the scope hands it on.
                let _release = StopOnPanic(gate);
                let mut own = state();
                loop {
                    let unit = next.fetch_add(1, Ordering::Relaxed);
                    if unit >= units || !gate.wait(unit, window) {
                        return;
                    }
                    let result = if cancel.load(Ordering::Relaxed) {
                        Err(QueryError::Cancelled)
                    } else {
                        work(&mut own, unit)
                    };
                    if send.send((unit, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        let mut waiting = BTreeMap::new();
        let mut outcome = Ok(());
        let mut due = 0;
        'results: for (unit, result) in &receive {
            waiting.insert(unit, result);
            while let Some(result) = waiting.remove(&due) {
                match result.map(&mut emit) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => break 'results,
                    Err(error) => {
                        outcome = Err(error);
                        break 'results;
                    }
                }
                due += 1;
                gate.advance();
            }
        }
        gate.stop();
        outcome
    })
}

struct StopOnPanic<'a>(&'a Gate);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUN: AtomicBool = AtomicBool::new(false);

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
                    ControlFlow::Continue(())
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
                ControlFlow::Continue(())
            },
        )
        .unwrap();
        assert!(worst.into_inner() <= 7, "window of 6 and the one in hand");
    }

    #[test]
    fn the_first_error_by_unit_wins_and_a_break_stops() {
        let fail = |_: &mut (), unit: usize| {
            if unit >= 7 { Err(QueryError::Spec(unit.to_string())) } else { Ok(unit) }
        };
        let error = ordered(100, 3, &RUN, || (), fail, |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(error.to_string(), "7");
        let mut count = 0;
        ordered(
            1_000_000,
            3,
            &RUN,
            || (),
            |_, unit| Ok(unit),
            |_| {
                count += 1;
                if count == 10 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            },
        )
        .unwrap();
        assert_eq!(count, 10);
    }

    #[test]
    fn every_unit_runs_once_and_errors_surface() {
        let states = unordered(1000, 4, &RUN, Vec::new, |seen: &mut Vec<usize>, unit| {
            seen.push(unit);
            Ok(())
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
                if unit == 3 { Err(QueryError::Cancelled) } else { Ok(()) }
            },
        );
        assert!(failed.is_err());
        assert!(matches!(
            unordered(10, 2, &AtomicBool::new(true), || (), |_, _| Ok(())),
            Err(QueryError::Cancelled)
        ));
    }
}
