//! Loops whose units run in any order, on threads that are started for one, on those of a pool that all
//! share, or on workers that a caller keeps.

use std::cell::{Cell, RefCell};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::LocalKey;
use std::time::{Duration, Instant};

use rayon::{Scope, ThreadPool, ThreadPoolBuilder};

use super::{OnPanic, join, threads_for};
use crate::{Cancel, Cancelled, locked};

/// Runs every unit once, each thread with its own state, and returns the states. Inside a thread units
/// ascend. How many threads there are is no promise.
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
    let fail = || failed.store(true, Ordering::Relaxed);
    let run = || -> Result<S, E> {
        let _fail = OnPanic(fail);
        let mut own = state();
        loop {
            let unit = next.fetch_add(1, Ordering::Relaxed);
            if unit >= units || failed.load(Ordering::Relaxed) {
                return Ok(own);
            }
            cancel.check()?;
            work(&mut own, unit).inspect_err(|_| fail())?;
        }
    };
    let threads = if IN_LOOP.get() { 1 } else { threads_for(threads, units) };
    let states = given_by::<Result<S, E>>(threads, &run, &|work| on_threads(threads - 1, work));
    states.into_iter().collect()
}

/// Work of a thread, by its number.
type ThreadWork<'a> = dyn Fn(usize) + Sync + 'a;

/// What `run` gives on each of the threads that `on` runs it on, in the order of their numbers, which are
/// below `threads`.
pub(crate) fn given_by<T: Send>(
    threads: usize,
    run: &(dyn Fn() -> T + Sync),
    on: &dyn Fn(&ThreadWork<'_>),
) -> Vec<T> {
    let places: Vec<Mutex<Option<T>>> = (0..threads).map(|_| Mutex::new(None)).collect();
    on(&|at: usize| {
        let given = run();
        if let Some(place) = places.get(at) {
            *locked(place) = Some(given);
        }
    });
    // There may be fewer threads than places.
    let taken = |place: Mutex<Option<T>>| place.into_inner().unwrap_or_else(PoisonError::into_inner);
    places.into_iter().filter_map(taken).collect()
}

/// Runs `work` with 0 on this thread, and with the numbers from 1 on on up to `others` more. Knows nothing of
/// what a loop is over: it would be compiled again for each.
fn on_threads(others: usize, work: &ThreadWork<'_>) {
    if others == 0 {
        return work(0);
    }
    let in_stage = rayon::current_thread_index().is_some() || STAGES.get();
    match WORKERS.with_borrow(Clone::clone) {
        Some(workers) => {
            let others = others.min(workers.current_num_threads());
            on_pool(Some(&workers), others, &|at: usize| {
                let _before = PutBack::setting(&IN_LOOP, true);
                work(at);
            });
        }
        None if in_stage => {
            // Workers that are in another question's stage would have to be waited for, though there is
            // nothing left for them to do.
            let free = Reserved::new(others);
            on_pool(None, free.0, work);
        }
        None => on_started(others, work),
    }
}

/// Runs `work` on this thread and on `others` that are started for it.
fn on_started(others: usize, work: &ThreadWork<'_>) {
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..=others).map(|at| scope.spawn(move || work(at))).collect();
        work(0);
        others.into_iter().for_each(join);
    });
}

/// Runs `work` on this thread and on `others` workers, of a pool of its own or of the one that all share.
fn on_pool(workers: Option<&ThreadPool>, others: usize, work: &ThreadWork<'_>) {
    let done = AtomicUsize::new(0);
    match workers {
        Some(workers) => workers.in_place_scope(|scope| in_scope(scope, others, &done, work)),
        None => rayon::in_place_scope(|scope| in_scope(scope, others, &done, work)),
    }
}

/// Starts `work` on `others` workers, and runs it on this thread.
fn in_scope<'s>(scope: &Scope<'s>, others: usize, done: &'s AtomicUsize, work: &'s ThreadWork<'s>) {
    for at in 1..=others {
        scope.spawn(move |_| {
            work(at);
            done.fetch_add(1, Ordering::Release);
        });
    }
    work(0);
    // The others are about to be done as well: to fall asleep and be woken takes longer.
    let begun = Instant::now();
    while done.load(Ordering::Acquire) < others && begun.elapsed() < PATIENCE {
        std::hint::spin_loop();
    }
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
    /// Whether this thread is inside a loop of such workers. The others of them may be as well: a loop within
    /// it would wait for these to come to its end.
    static IN_LOOP: Cell<bool> = const { Cell::new(false) };
}

/// Puts back what was before, also where a panic passes.
struct PutBack(&'static LocalKey<Cell<bool>>, bool);

impl PutBack {
    fn setting(cell: &'static LocalKey<Cell<bool>>, value: bool) -> Self {
        Self(cell, cell.replace(value))
    }
}

impl Drop for PutBack {
    fn drop(&mut self) {
        self.0.set(self.1);
    }
}

/// Runs `work`, whose [`unordered`] loops run on this thread and on the same `threads - 1` others (0 threads:
/// one for each core): these keep what is theirs from loop to loop, and end with it. A loop inside a unit of
/// such a loop runs on the thread of the unit alone.
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
    // Workers that a unit starts for itself are in no loop yet. Without others every loop runs as inside of
    // one.
    let _outside = PutBack::setting(&IN_LOOP, others == 0);
    Ok(work())
}

/// Runs what consists of several short stages on this thread and on those of a pool that all questions of the
/// process share: starting threads would cost as much as a stage. Of the pool there are no more than cores,
/// whatever a question asks for.
pub fn stages<T>(work: impl FnOnce() -> T) -> T {
    let _before = PutBack::setting(&STAGES, true);
    work()
}
