//! Loops whose results are taken in the order of their units, and pipelines of workers.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError, mpsc};

use super::{OnPanic, join, threads_for};
use crate::{Cancel, Cancelled, locked};

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

/// Stops the gate when the results are no longer taken.
struct StopOnEnd<'a>(&'a Gate);

impl Drop for StopOnEnd<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

type NumberedResult<T, E> = (usize, Result<T, E>);

fn take_in_order<T, E>(
    results: &mpsc::Receiver<NumberedResult<T, E>>,
    gate: &Gate,
    mut take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    // From the one that is due on; the gate bounds how many these are.
    let mut waiting: VecDeque<Option<Result<T, E>>> = VecDeque::new();
    let mut due = 0;
    for (unit, result) in results {
        let Some(at) = unit.checked_sub(due) else { continue };
        if waiting.len() <= at {
            waiting.resize_with(at + 1, || None);
        }
        waiting[at] = Some(result);
        while let Some(result) = waiting.front_mut().and_then(Option::take) {
            waiting.pop_front();
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

/// What `work` gives for each item, in their order: for the first on this thread, for each other on one of
/// its own.
///
/// # Errors
/// The first of an item in their order.
pub fn each<I: Send, T: Send, E: Send>(
    items: impl IntoIterator<Item = I>,
    work: impl Fn(I) -> Result<T, E> + Sync,
) -> Result<Vec<T>, E> {
    let (mut items, work) = (items.into_iter(), &work);
    let first = items.next();
    std::thread::scope(|scope| {
        let others: Vec<_> = items.map(|item| scope.spawn(move || work(item))).collect();
        let first = first.map(work);
        first.into_iter().chain(others.into_iter().map(join)).collect()
    })
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
    mut take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let threads = threads_for(threads, units);
    let next = AtomicUsize::new(0);
    let gate = Gate::new(threads * 2);
    let (send, results) = mpsc::channel();
    // One for each thread: results end when the last one is gone.
    let sends = Mutex::new(vec![send; threads]);
    let compute = || {
        let _stop = OnPanic(|| gate.stop());
        let Some(send) = locked(&sends).pop() else { return };
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
    };
    let mut ended = Ok(());
    beside(threads, &gate, &compute, &mut || ended = take_in_order(&results, &gate, &mut take));
    ended
}

/// Runs `work` on `threads` threads and `take` on this one; threads are told to stop when it ends. Knows
/// nothing of what a loop is over: it would be compiled again for each.
fn beside(threads: usize, gate: &Gate, work: &(dyn Fn() + Sync), take: &mut dyn FnMut()) {
    std::thread::scope(|scope| {
        let stop = StopOnEnd(gate);
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        take();
        drop(stop);
        workers.into_iter().for_each(join);
    });
}

/// Hands an item of a source on; false when no more are wanted.
pub type Give<'a, I> = &'a mut dyn FnMut(I) -> bool;

/// Runs `source` on a separate thread, its items through `work` on `threads` others, and hands the results to
/// `take` on this thread, in the order of the items. `work` is told which of its threads it runs on. At most
/// `ahead` items are in front of the one that is taken next; a break ends the loop early.
///
/// # Errors
/// The first of an item, of `take`, or of the source behind its last item.
pub fn pipeline<I: Send, T: Send, E: Send>(
    threads: usize,
    ahead: usize,
    source: impl FnOnce(Give<'_, I>) -> Result<(), E> + Send,
    work: impl Fn(usize, I) -> Result<T, E> + Sync,
    take: impl FnMut(T) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let gate = Gate::new(ahead);
    // The gate bounds what is in both channels.
    let (give, items) = mpsc::channel::<(usize, I)>();
    let items = Mutex::new(items);
    std::thread::scope(|scope| {
        let stop = StopOnEnd(&gate);
        let (send, results) = mpsc::channel();
        let (gate, items, work) = (&gate, &items, &work);
        let worker = |number: usize, send: mpsc::Sender<_>| {
            scope.spawn(move || {
                let _stop = OnPanic(|| gate.stop());
                loop {
                    let item = locked(items).recv();
                    let Ok((unit, item)) = item else { return };
                    if send.send((unit, work(number, item))).is_err() {
                        return;
                    }
                }
            })
        };
        let workers: Vec<_> = (0..threads.max(1)).map(|number| worker(number, send.clone())).collect();
        let source = scope.spawn(move || {
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
        let ended = take_in_order(&results, gate, take);
        drop(stop);
        workers.into_iter().chain([source]).for_each(join);
        ended
    })
}
