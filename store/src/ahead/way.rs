//! Choice between direct reads of files (past the system's memory) and ordinary ones (through it).
//!
//! Some disks give several times as much by direct reads, others more by ordinary ones. So the first large
//! reads of a file system take turns, and the way that pays serves from then on. Where it falls far behind
//! what it gave, both are measured again.
//!
//! Invariants
//! - what is read does not depend on the way
//! - while ways take turns, a turn begins when the counted reads of the one before have ended: side by side
//!   each would be measured by what the other leaves
//! - a rate is bytes over the time in which reads were under way: waiting for those that compute
//!   is not counted

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes of a turn that are counted.
const TURN: u64 = 64 << 20;
/// Bytes of a turn before those that are counted. The system reads ahead of ordinary reads, for nothing at
/// the end of a turn; so a turn counts from where the reads ahead of what is not counted help it.
const WARM: u64 = 32 << 20;
/// Turns, of both ways together. The better one of each way counts: other work may have disturbed the other.
const TURNS: usize = 4;

/// Reads of fewer bytes say how long a disk takes to begin, and are not counted.
const LARGE: u64 = 1 << 20;

/// Bytes after which the rate is compared with the one that is known.
const WINDOW: u64 = 256 << 20;

/// How many times as fast direct reads have to be to be taken. They leave nothing in the system's memory, so
/// the next question reads from disk too, until what fills it behind the answer has read everything once
/// more; and turns tell less of ordinary reads than these give in a long scan, where the system also reads
/// between two of them (0.47 of 1.1 GB/s on one disk, where direct reads gave 0.63 of 0.9).
const DIRECT_PAYS: f64 = 1.6;

/// Below this part of the known rate both ways are measured again.
const FAR_BEHIND: f64 = 0.5;

/// How spans are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadMode {
    /// Past the system's memory.
    Direct,
    /// Through it.
    Ordinary,
}

/// What a file system gives by each way, in bytes a second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DiskRates {
    /// Past the system's memory.
    pub direct: f64,
    /// Through it.
    pub ordinary: f64,
}

impl DiskRates {
    fn of(&mut self, way: ReadMode) -> &mut f64 {
        match way {
            ReadMode::Direct => &mut self.direct,
            ReadMode::Ordinary => &mut self.ordinary,
        }
    }

    fn faster(&self) -> ReadMode {
        if self.direct > DIRECT_PAYS * self.ordinary { ReadMode::Direct } else { ReadMode::Ordinary }
    }

    fn is_sane(&self) -> bool {
        [self.direct, self.ordinary].iter().all(|rate| rate.is_finite() && *rate > 0.0)
    }
}

/// Reads that are counted.
#[derive(Debug, Default)]
struct Meter {
    begun: u64,
    done: u64,
    under_way: usize,
    since: Option<Instant>,
    busy: Duration,
}

impl Meter {
    fn begin(&mut self, bytes: u64, now: Instant) {
        self.begun += bytes;
        self.under_way += 1;
        self.since.get_or_insert(now);
    }

    fn end(&mut self, bytes: u64, is_read: bool, now: Instant) {
        match is_read {
            true => self.done += bytes,
            false => self.begun -= bytes,
        }
        self.under_way -= 1;
        if self.under_way == 0
            && let Some(since) = self.since.take()
        {
            self.busy += now.saturating_duration_since(since);
        }
    }

    /// Bytes a second, once there are so many and none is under way.
    fn rate(&self, least: u64) -> Option<f64> {
        let seconds = self.busy.max(Duration::from_nanos(1)).as_secs_f64();
        (self.under_way == 0 && self.done >= least).then(|| self.done as f64 / seconds)
    }
}

/// A file system.
#[derive(Debug, Default)]
struct Disk {
    known: Option<DiskRates>,
    /// Whether they were not yet handed out since they were measured.
    is_new: bool,
    /// Turns that have ended, and the best rates of them.
    turns: usize,
    best: DiskRates,
    /// Bytes of the turn before those that count.
    warm: u64,
    /// Of the turn, or of what is read by the faster way.
    meter: Meter,
}

impl Disk {
    fn way(&self) -> ReadMode {
        match self.known {
            Some(rates) => rates.faster(),
            None if self.turns.is_multiple_of(2) => ReadMode::Direct,
            None => ReadMode::Ordinary,
        }
    }

    /// Bytes that are counted together.
    fn most(&self) -> u64 {
        if self.known.is_some() { WINDOW } else { TURN }
    }

    /// Whether the next read has to wait for the end of a turn.
    fn waits(&self) -> bool {
        self.known.is_none() && self.meter.begun >= TURN
    }

    /// Before a read; whether it counts.
    fn begin(&mut self, way: ReadMode, bytes: u64, now: Instant) -> bool {
        // Where a file system refuses one way, the other is not measured in its place.
        if bytes < LARGE || way != self.way() || self.meter.begun >= self.most() {
            return false;
        }
        if self.known.is_none() && self.warm < WARM {
            self.warm += bytes;
            return false;
        }
        self.meter.begin(bytes, now);
        true
    }

    /// After one that counts.
    fn end(&mut self, bytes: u64, is_read: bool, now: Instant) {
        self.meter.end(bytes, is_read, now);
        let Some(rate) = self.meter.rate(self.most()) else { return };
        let way = self.way();
        (self.warm, self.meter) = (0, Meter::default());
        match self.known {
            // Compared with what the way in use gave, which may be the slower one: direct reads have to pay.
            Some(mut known) => {
                if rate < FAR_BEHIND * *known.of(way) {
                    *self = Disk::default();
                }
            }
            None => {
                let best = self.best.of(way);
                *best = best.max(rate);
                self.turns += 1;
                if self.turns == TURNS {
                    *self = Disk { known: Some(self.best), is_new: true, ..Disk::default() };
                }
            }
        }
    }
}

/// By their numbers.
static DISKS: Mutex<BTreeMap<u64, Disk>> = Mutex::new(BTreeMap::new());
/// A counted read has ended.
static ENDED: Condvar = Condvar::new();

fn disks() -> MutexGuard<'static, BTreeMap<u64, Disk>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way for what is read next of a file system, as soon as the turn before has ended; one that is not
/// known is not measured. The caller has no counted read under way.
pub(super) fn of(disk: Option<u64>) -> ReadMode {
    let Some(number) = disk else { return ReadMode::Direct };
    let mut disks = disks();
    loop {
        let disk = disks.entry(number).or_default();
        if !disk.waits() {
            return disk.way();
        }
        disks = ENDED.wait(disks).unwrap_or_else(PoisonError::into_inner);
    }
}

/// A read that is counted while it is under way.
pub(super) struct CountedRead {
    disk: u64,
    bytes: u64,
    is_read: bool,
}

impl CountedRead {
    /// Before a read, if it counts.
    pub(super) fn begin(disk: Option<u64>, way: ReadMode, bytes: u64) -> Option<Self> {
        let disk = disk?;
        let counts = disks().entry(disk).or_default().begin(way, bytes, Instant::now());
        // One that is not made is not ended.
        counts.then(|| Self { disk, bytes, is_read: false })
    }

    /// After it.
    pub(super) fn end(mut self, is_read: bool) {
        self.is_read = is_read;
    }
}

impl Drop for CountedRead {
    /// Also where the read panics: others wait for its end.
    fn drop(&mut self) {
        disks().entry(self.disk).or_default().end(self.bytes, self.is_read, Instant::now());
        ENDED.notify_all();
    }
}

/// Takes over what was measured earlier of file systems, by their numbers ([`crate::vfs::Vfs::disk`]), unless
/// this process knows them.
pub fn expect_disks(rates: impl IntoIterator<Item = (u64, DiskRates)>) {
    let mut disks = disks();
    for (disk, rates) in rates.into_iter().filter(|(_, rates)| rates.is_sane()) {
        disks.entry(disk).or_insert_with(|| Disk { known: Some(rates), ..Disk::default() });
    }
}

/// What this process has measured of file systems since it was last asked.
pub fn measured_disks() -> Vec<(u64, DiskRates)> {
    let mut disks = disks();
    let new = disks.iter_mut().filter_map(|(number, disk)| {
        let is_new = std::mem::take(&mut disk.is_new);
        Some((*number, disk.known.filter(|_| is_new)?))
    });
    new.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A disk, and the time.
    struct Clock {
        disk: Disk,
        now: Instant,
    }

    impl Clock {
        /// Reads so much at these rates, four times 8 MiB at a time; returns the ways in their order.
        fn read(&mut self, bytes: u64, mut rates: DiskRates) -> Vec<ReadMode> {
            let mut ways = Vec::new();
            for _ in 0..bytes / (32 * MIB) {
                let way = self.disk.way();
                let counted: Vec<bool> = (0..4).map(|_| self.disk.begin(way, 8 * MIB, self.now)).collect();
                self.now += Duration::from_secs_f64(32.0 * MIB as f64 / *rates.of(way));
                for _ in counted.into_iter().filter(|counts| *counts) {
                    self.disk.end(8 * MIB, true, self.now);
                }
                assert!(!self.disk.waits(), "nothing is under way");
                ways.push(way);
                // Those that compute take a while: that says nothing of the disk.
                self.now += Duration::from_secs(1);
            }
            ways
        }
    }

    fn clock() -> Clock {
        Clock { disk: Disk::default(), now: Instant::now() }
    }

    fn close(found: Option<DiskRates>, want: DiskRates) -> bool {
        found.is_some_and(|found| {
            (found.direct / want.direct - 1.0).abs() < 1e-6
                && (found.ordinary / want.ordinary - 1.0).abs() < 1e-6
        })
    }

    #[test]
    fn both_ways_take_turns_and_the_faster_serves_from_then_on() {
        use ReadMode::{Direct, Ordinary};
        for (rates, faster) in [
            (DiskRates { direct: 1.2e9, ordinary: 2.5e9 }, Ordinary),
            (DiskRates { direct: 4.0e9, ordinary: 1.0e9 }, Direct),
            (DiskRates { direct: 1.5e9, ordinary: 1.0e9 }, Ordinary),
            (DiskRates { direct: 1.7e9, ordinary: 1.0e9 }, Direct),
        ] {
            let mut clock = clock();
            let turns = clock.read(384 * MIB, rates);
            assert_eq!(turns, [Direct, Direct, Direct, Ordinary, Ordinary, Ordinary].repeat(2));
            assert!(close(clock.disk.known, rates) && clock.disk.is_new, "{:?}", clock.disk);
            assert!(clock.read(1 << 30, rates).iter().all(|way| *way == faster));
            assert!(close(clock.disk.known, rates));
        }
    }

    #[test]
    fn a_turn_that_other_work_disturbs_does_not_count() {
        let mut clock = clock();
        let rates = DiskRates { direct: 1.2e9, ordinary: 2.5e9 };
        clock.read(192 * MIB, DiskRates { direct: 1.2e9, ordinary: 0.3e9 });
        clock.read(192 * MIB, rates);
        assert!(close(clock.disk.known, rates), "{:?}", clock.disk);
    }

    #[test]
    fn a_turn_begins_when_the_one_before_has_ended() {
        let Clock { mut disk, now } = clock();
        assert!(!disk.begin(ReadMode::Direct, WARM, now) && !disk.waits());
        assert!(disk.begin(ReadMode::Direct, TURN / 2, now) && disk.begin(ReadMode::Direct, TURN / 2, now));
        assert!(disk.waits() && !disk.begin(ReadMode::Direct, TURN / 2, now));
        disk.end(TURN / 2, true, now);
        assert!(disk.waits() && disk.way() == ReadMode::Direct);
        // A read that fails is made up for.
        disk.end(TURN / 2, false, now);
        assert!(!disk.waits() && disk.way() == ReadMode::Direct);
        assert!(disk.begin(ReadMode::Direct, TURN / 2, now));
        disk.end(TURN / 2, true, now);
        assert!(!disk.waits() && disk.way() == ReadMode::Ordinary);
    }

    #[test]
    fn a_disk_that_falls_far_behind_is_measured_again() {
        let mut clock = clock();
        let before = DiskRates { direct: 1.2e9, ordinary: 2.5e9 };
        clock.disk.known = Some(before);
        // Not far.
        let slower = DiskRates { direct: 0.1e9, ordinary: 1.4e9 };
        assert!(clock.read(1 << 30, slower).iter().all(|way| *way == ReadMode::Ordinary));
        assert_eq!(clock.disk.known, Some(before));
        let after = DiskRates { direct: 0.9e9, ordinary: 0.5e9 };
        let ways = clock.read(1 << 30, after);
        assert!(ways[..8].iter().all(|way| *way == ReadMode::Ordinary));
        assert!(ways[20..].iter().all(|way| *way == ReadMode::Direct));
        assert!(close(clock.disk.known, after) && clock.disk.is_new);
    }

    #[test]
    fn short_reads_and_those_of_the_other_way_are_not_counted() {
        let Clock { mut disk, now } = clock();
        assert!(!disk.begin(ReadMode::Direct, LARGE - 1, now));
        // As of a file system that refuses direct reads.
        for _ in 0..100 {
            assert!(!disk.waits() && disk.way() == ReadMode::Direct);
            assert!(!disk.begin(ReadMode::Ordinary, 8 * MIB, now));
        }
    }

    #[test]
    fn a_read_that_panics_lets_the_others_go_on() {
        // A number that no disk has.
        let disk = Some(u64::MAX - 3);
        assert!(CountedRead::begin(disk, ReadMode::Direct, WARM).is_none());
        let counted = CountedRead::begin(disk, ReadMode::Direct, TURN).unwrap();
        let other = std::thread::spawn(move || of(disk));
        assert!(std::thread::spawn(move || counted.panics()).join().is_err());
        assert_eq!(other.join().unwrap(), ReadMode::Direct);
    }

    impl CountedRead {
        fn panics(self) {
            panic!("on purpose, after {}", self.bytes);
        }
    }

    #[test]
    fn what_was_measured_earlier_serves_unless_it_is_nonsense() {
        // Numbers that no disk has.
        let [a, b] = [u64::MAX - 1, u64::MAX - 2];
        let rates = DiskRates { direct: 1.0, ordinary: 2.0 };
        expect_disks([(a, rates), (b, DiskRates { direct: f64::NAN, ..rates })]);
        assert_eq!(
            (of(Some(a)), of(Some(b)), of(None)),
            (ReadMode::Ordinary, ReadMode::Direct, ReadMode::Direct)
        );
        expect_disks([(a, DiskRates { direct: 3.0, ..rates })]);
        assert_eq!(of(Some(a)), ReadMode::Ordinary, "the process knows it");
        assert!(measured_disks().iter().all(|(disk, _)| ![a, b].contains(disk)));
    }
}
