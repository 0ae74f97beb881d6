//! Scans of what is not in memory: some threads read ahead of those that compute, past the system's memory or
//! through it, whichever is faster on that disk.
//!
//! Invariants
//! - what is found does not depend on where bytes come from
//! - memory: what is read and not yet done with has some [`ALL`] bytes, with more than 58 threads 1 MiB for
//!   each group; at most [`MOST_OF_ALL`] where the rows of one window are long or many. Later stages use it
//!   again, and it is given back when a question ends while no other reads
//! - of the rankings of a process at most [`MOST`] read ahead at a time; the others take pages as the system
//!   brings them
//! - what was read past the system's memory is read into it behind the answer, where it fits; what was read
//!   through it is there

use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use gstore_core::fetch::{self, Pace};
use gstore_core::{Cancel, MIX_STEP, locked, mix, parallel};
use gstore_store::{MOST_READ_AHEAD, ReadAhead, SpanRequests, UncachedSpans, fill_behind, is_busy};

use super::rates;
use crate::error::QueryError;
use crate::influence::result::DiskSummary;

/// Threads that read, so the reads in flight.
const READERS: usize = 4;

/// Groups that wait between those that read and those that compute.
const WAITING: usize = 2;

/// Bytes of all groups that are read and not yet done with.
const ALL: u64 = 64 << 20;
/// The same at most, where the rows of one window are long or many.
const MOST_OF_ALL: u64 = 256 << 20;

/// Bytes that are read at a time, at least and at most: with fewer, a disk takes longer to begin than to
/// read.
const LEAST_GROUP: u64 = 1 << 20;
const GROUP: u64 = 8 << 20;
const _: () = assert!(GROUP <= MOST_READ_AHEAD);

/// Units of a group at most.
const MOST_UNITS: usize = 256;
/// Units of a group of which only small parts are read.
const SMALL_UNITS: usize = 16;

/// Units that tell whether the others are in memory: of a tenth that is not, they miss all in one case of
/// six.
const SAMPLE: usize = 16;

/// Rankings that read ahead at a time: more would not make a disk faster, and each has memory of its own.
const MOST: usize = 4;

/// How many do.
static READING: AtomicUsize = AtomicUsize::new(0);

/// Memory that was read into and is not in use.
static SPARE: Mutex<Vec<Arc<ReadAhead>>> = Mutex::new(Vec::new());

fn spare() -> MutexGuard<'static, Vec<Arc<ReadAhead>>> {
    locked(&SPARE)
}

/// The right to read ahead, given back when it is dropped.
struct ReadAheadPermit;

impl ReadAheadPermit {
    fn take() -> Option<Self> {
        let next = |count: usize| (count < MOST).then_some(count + 1);
        READING.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next).ok().map(|_| Self)
    }
}

impl Drop for ReadAheadPermit {
    fn drop(&mut self) {
        READING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Least milliseconds of reads that have a note.
const SHORT: u64 = 2000;

/// Bytes or milliseconds of reads that have a note: one of the two is reached.
const LARGE: u64 = 1_000_000_000;
const LONG: u64 = 10_000;

/// Least bytes of reads that have a note; with fewer the time went into computing.
const FEW: u64 = 10_000_000;

/// What questions read ahead.
#[derive(Default)]
pub(crate) struct Disk {
    direct: AtomicU64,
    ordinary: AtomicU64,
    nanoseconds: AtomicU64,
    behind: Mutex<UncachedSpans>,
}

impl Disk {
    /// Runs every unit once, as [`parallel::unordered`] does. `wants` says what units read, and `see` shows a
    /// state what was read ahead for the units that follow.
    pub(crate) fn unordered<'a, S: Send>(
        &self,
        units: usize,
        (threads, cancel): (usize, &Cancel),
        state: impl Fn() -> S + Sync,
        see: impl Fn(&mut S, Option<&Arc<ReadAhead>>) + Sync,
        wants: &(dyn Fn(Range<usize>, &mut SpanRequests<'a>) + Sync),
        work: impl Fn(&mut S, usize) -> Result<(), QueryError> + Sync,
    ) -> Result<Vec<S>, QueryError> {
        // Asked once: there are no more threads than places.
        let places = parallel::threads_for(threads, units);
        let states: Vec<Mutex<Option<S>>> = (0..places).map(|_| Mutex::new(None)).collect();
        let own = |place: usize| locked(&states[place]);
        self.each(
            units,
            (places, cancel),
            &|place, ahead| see(own(place).get_or_insert_with(&state), ahead),
            wants,
            &|place, unit| work(own(place).get_or_insert_with(&state), unit),
        )?;
        let known = |state: Mutex<Option<S>>| state.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(states.into_iter().filter_map(known).collect())
    }

    /// The same, each thread with a number of its own in the place of a state. Knows nothing of what states
    /// are: it would be compiled again for each.
    fn each<'a>(
        &self,
        units: usize,
        (threads, cancel): (usize, &Cancel),
        see: &(dyn Fn(usize, Option<&Arc<ReadAhead>>) + Sync),
        wants: &(dyn Fn(Range<usize>, &mut SpanRequests<'a>) + Sync),
        work: &(dyn Fn(usize, usize) -> Result<(), QueryError> + Sync),
    ) -> Result<(), QueryError> {
        let next = AtomicUsize::new(0);
        let place = || next.fetch_add(1, Ordering::Relaxed);
        let plan = sample(units, wants).map(|each| Plan::new(units, threads, each));
        let Some((plan, _turn)) = plan.and_then(|plan| Some((plan, ReadAheadPermit::take()?))) else {
            return parallel::unordered(units, threads, cancel, place, |own, unit| work(*own, unit))
                .map(drop);
        };
        rates::expect();
        let begun = Instant::now();
        let _busy = is_busy();
        let units_of = |at: usize| at * plan.units..((at + 1) * plan.units).min(units);
        let pace = Pace { threads, fetchers: READERS, ahead: plan.ahead };
        let mut memory = {
            let mut spare = spare();
            let others = spare.len().saturating_sub(plan.ahead);
            spare.split_off(others)
        };
        fetch::unordered(
            units.div_ceil(plan.units),
            pace,
            cancel,
            &mut memory,
            place,
            |at, ahead: &mut Arc<ReadAhead>| {
                let mut wanted = SpanRequests::new();
                wants(units_of(at), &mut wanted);
                // Those who saw it before have let go of it.
                if let Some(ahead) = Arc::get_mut(ahead) {
                    let read = ahead.read_at_most(wanted, plan.bytes);
                    self.direct.fetch_add(read.direct, Ordering::Relaxed);
                    self.ordinary.fetch_add(read.ordinary, Ordering::Relaxed);
                }
            },
            |own, at, ahead| {
                see(*own, Some(ahead));
                units_of(at).try_for_each(|unit| work(*own, unit))?;
                see(*own, None);
                if let Some(ahead) = Arc::get_mut(ahead) {
                    let mut behind = locked(&self.behind);
                    behind.merge(ahead.take_behind());
                }
                Ok::<_, QueryError>(())
            },
        )?;
        memory.retain_mut(|ahead| Arc::get_mut(ahead).map(ReadAhead::clear).is_some());
        spare().append(&mut memory);
        let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(took, Ordering::Relaxed);
        Ok(())
    }

    /// Ends a question: what it read is read into the system's memory in the background, and what was
    /// measured of disks is kept. Returns what was read since the last one ended.
    pub(crate) fn finish(&self) -> DiskSummary {
        let behind = std::mem::take(&mut *locked(&self.behind));
        fill_behind(behind);
        if READING.load(Ordering::SeqCst) == 0 {
            *spare() = Vec::new();
        }
        rates::keep();
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        DiskSummary {
            direct: take(&self.direct),
            ordinary: take(&self.ordinary),
            milliseconds: take(&self.nanoseconds) / 1_000_000,
        }
    }
}

/// What the user should know of it, if it was much or took long.
pub(crate) fn note(read: &DiskSummary) -> Option<String> {
    let (bytes, milliseconds) = (read.bytes(), read.milliseconds);
    if bytes < FEW || milliseconds < SHORT || (bytes < LARGE && milliseconds < LONG) {
        return None;
    }
    let seconds = milliseconds as f64 / 1e3;
    let way = match read {
        DiskSummary { ordinary: 0, .. } => "direct reads".to_owned(),
        DiskSummary { direct: 0, .. } => "ordinary reads".to_owned(),
        DiskSummary { direct, .. } => format!("{} of them by direct reads", amount(*direct as f64)),
    };
    let (all, rate) = (amount(bytes as f64), amount(bytes as f64 / seconds));
    Some(format!("{all} were not in memory and were read from disk in {seconds:.1} s ({rate}/s, {way})"))
}

fn amount(bytes: f64) -> String {
    let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
    match units.into_iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, name)) => format!("{:.2} {name}", bytes / unit),
        None => format!("{bytes:.0} bytes"),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Plan {
    /// Units of a group.
    units: usize,
    /// Groups that are read and not yet done with.
    ahead: usize,
    /// Bytes of a group at most.
    bytes: u64,
}

impl Plan {
    /// For units of which `each` has so many bytes to read; 0 where only small parts are.
    fn new(units: usize, threads: usize, each: u64) -> Self {
        // None of the threads waits for another to be done with its group.
        let ahead = READERS + parallel::threads_for(threads, units) + WAITING;
        let group = match each {
            0 => SMALL_UNITS,
            each => {
                let bytes = (ALL / ahead as u64).clamp(LEAST_GROUP, GROUP);
                usize::try_from(bytes / each).unwrap_or(MOST_UNITS).clamp(1, MOST_UNITS)
            }
        };
        // Where there is little to read, every thread gets a part of it.
        let group = group.min(units.div_ceil(ahead)).max(1);
        let fit = (MOST_OF_ALL / (each * group as u64).clamp(1, MOST_READ_AHEAD)) as usize;
        let ahead = ahead.min(fit);
        Self { units: group, ahead, bytes: (MOST_OF_ALL / ahead as u64).min(MOST_READ_AHEAD) }
    }
}

/// Bytes that a unit reads from disk, of those that do; `None` where units seem to be in memory.
fn sample<'a>(units: usize, wants: &dyn Fn(Range<usize>, &mut SpanRequests<'a>)) -> Option<u64> {
    let (mut out, mut bytes) = (0u64, 0u64);
    for unit in sampled(units) {
        let mut wanted = SpanRequests::new();
        wants(unit..unit + 1, &mut wanted);
        out += u64::from(!wanted.is_empty());
        bytes += wanted.bytes();
    }
    bytes.checked_div(out)
}

/// One unit of each of [`SAMPLE`] equal parts, at no regular distance: what is in memory may have one.
fn sampled(units: usize) -> impl Iterator<Item = usize> {
    let parts = SAMPLE.min(units);
    (0..parts).map(move |part| {
        let (start, end) = (part * units / parts, (part + 1) * units / parts);
        start + mix(MIX_STEP.wrapping_mul(part as u64 + 1)) as usize % (end - start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_read_is_noted_with_its_rate_and_way() {
        let read = |direct, ordinary, milliseconds| DiskSummary { direct, ordinary, milliseconds };
        assert_eq!(note(&read(0, 0, 9000)), None);
        assert_eq!(note(&read(8_200_000_000, 0, 1999)), None);
        // Little, in a few seconds or however long its rows were computed with.
        assert_eq!(note(&read(999_999_999, 0, 9999)), None);
        assert_eq!(note(&read(0, 3_000_000, 30_000)), None);
        assert_eq!(
            note(&read(0, 20_000_000, 10_000)).unwrap(),
            "20.00 MB were not in memory and were read from disk in 10.0 s (2.00 MB/s, ordinary reads)"
        );
        for (direct, ordinary, way) in [
            (8_200_000_000, 0, "direct reads"),
            (0, 8_200_000_000, "ordinary reads"),
            (130_000_000, 8_070_000_000, "130.00 MB of them by direct reads"),
        ] {
            assert_eq!(
                note(&read(direct, ordinary, 4000)).unwrap(),
                format!("8.20 GB were not in memory and were read from disk in 4.0 s (2.05 GB/s, {way})")
            );
        }
    }

    #[test]
    fn only_some_rankings_read_ahead_at_a_time() {
        // Other tests of this process may read ahead.
        let turns: Vec<ReadAheadPermit> = (0..2 * MOST).map_while(|_| ReadAheadPermit::take()).collect();
        assert!(turns.len() <= MOST && ReadAheadPermit::take().is_none());
        drop(turns);
        assert!(ReadAheadPermit::take().is_some());
    }

    #[test]
    fn every_thread_has_a_group_and_all_together_stay_in_their_memory() {
        const MIB: u64 = 1 << 20;
        for (threads, each, units, ahead) in [
            (2, MIB, 8, 8),
            (2, 20 * MIB, 1, 8),
            (2, 32 * MIB, 1, 8),
            (16, MIB / 4, 11, 22),
            (16, 3 * MIB, 1, 22),
            (16, 16 * MIB, 1, 16),
            (16, 32 * MIB, 1, 8),
            (16, 50 * MIB, 1, 8),
            (64, MIB / 2, 2, 70),
            (64, 8 * MIB, 1, 32),
        ] {
            let plan = Plan::new(100_000, threads, each);
            assert_eq!((plan.units, plan.ahead), (units, ahead), "{threads} threads, {each} bytes each");
            assert!(plan.ahead as u64 * plan.bytes <= MOST_OF_ALL);
            assert!(plan.units as u64 * each <= plan.bytes || each > MOST_READ_AHEAD);
        }
        let little = |units| Plan::new(units, 16, 1).units;
        assert_eq!([1, 22, 23, 44].map(little), [1, 1, 2, 2]);
        assert_eq!(Plan::new(100_000, 16, 0).units, SMALL_UNITS);
    }

    #[test]
    fn the_sample_is_of_all_parts_and_at_no_regular_distance() {
        for units in [0, 1, 5, SAMPLE] {
            assert!(sampled(units).eq(0..units));
        }
        let units = 1_000 * SAMPLE;
        let all: Vec<usize> = sampled(units).collect();
        assert!(all.iter().enumerate().all(|(part, unit)| unit / 1_000 == part));
        for every in [2, 3, 4] {
            let met: std::collections::HashSet<usize> = all.iter().map(|unit| unit % every).collect();
            assert_eq!(met.len(), every, "every {every}th unit");
        }
    }

    #[test]
    fn every_unit_runs_once_in_the_state_of_a_thread() {
        let (disk, never) = (Disk::default(), Cancel::new());
        let nothing = |_: Range<usize>, _: &mut SpanRequests<'_>| {};
        for (units, threads) in [(0, 3), (1, 3), (100, 1), (100, 3)] {
            let work = |own: &mut Vec<usize>, unit: usize| {
                own.push(unit);
                Ok(())
            };
            let states = disk.unordered(units, (threads, &never), Vec::new, |_, _| {}, &nothing, work);
            let states: Vec<Vec<usize>> = states.unwrap();
            assert!(states.len() <= threads && states.iter().all(|own| own.is_sorted()));
            let mut all = states.concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..units), "{units} units on {threads} threads");
        }
    }

    #[test]
    fn units_in_memory_are_not_read_ahead() {
        let nothing = |_: Range<usize>, _: &mut SpanRequests<'_>| {};
        for units in [0, 1, 2, 100] {
            assert_eq!(sample(units, &nothing), None);
        }
    }
}
