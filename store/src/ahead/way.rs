//! The way that spans of files are read: past the system's memory, or through it.
//!
//! Which one is faster depends on the disk, by factors and in both directions. So the first large reads of a file
//! system take turns, and the faster way serves from then on. Where it falls far behind what it gave, both are
//! measured again.
//!
//! Invariants
//! - what is read does not depend on the way
//! - a rate is bytes over the time in which reads of its way were under way: waiting for those that compute is not
//!   counted, and where two ways meet the time counts for both

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that each way is measured with,
const TRIAL: u64 = 64 << 20;
/// and those of a turn.
const TURN: u64 = 32 << 20;

/// Reads of fewer bytes say how long a disk takes to begin, and are not counted.
const LARGE: u64 = 1 << 20;

/// Bytes after which the rate is compared with the one that is known.
const WINDOW: u64 = 256 << 20;

/// Below this part of the known rate both ways are measured again.
const FAR_BEHIND: f64 = 0.5;

/// How spans are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Past the system's memory.
    Direct,
    /// Through it.
    Ordinary,
}

/// What a file system gives by each way, in bytes a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DiskRates {
    /// Past the system's memory.
    pub direct: f64,
    /// Through it.
    pub ordinary: f64,
}

impl DiskRates {
    fn of(&self, way: Way) -> f64 {
        match way {
            Way::Direct => self.direct,
            Way::Ordinary => self.ordinary,
        }
    }

    fn faster(&self) -> Way {
        if self.ordinary > self.direct { Way::Ordinary } else { Way::Direct }
    }

    fn is_sane(&self) -> bool {
        [self.direct, self.ordinary].iter().all(|rate| rate.is_finite() && *rate > 0.0)
    }
}

/// Reads of one way.
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
        let is_done = self.under_way == 0 && self.done >= least && !self.busy.is_zero();
        is_done.then(|| self.done as f64 / self.busy.as_secs_f64())
    }
}

/// A file system.
#[derive(Debug, Default)]
struct Disk {
    known: Option<DiskRates>,
    /// Whether nobody has asked for them since they were measured.
    is_new: bool,
    direct: Meter,
    ordinary: Meter,
    /// Of the meters: reads that began with earlier ones are not counted.
    round: u64,
}

impl Disk {
    fn way(&self) -> Way {
        let (direct, ordinary) = (self.direct.begun, self.ordinary.begun);
        match self.known {
            Some(rates) => rates.faster(),
            None if direct < TRIAL && direct / TURN <= ordinary / TURN => Way::Direct,
            None => Way::Ordinary,
        }
    }

    fn meter(&mut self, way: Way) -> &mut Meter {
        match way {
            Way::Direct => &mut self.direct,
            Way::Ordinary => &mut self.ordinary,
        }
    }

    /// The round that a read counts in, if it does.
    fn begin(&mut self, way: Way, bytes: u64, now: Instant) -> Option<u64> {
        let most = if self.known.is_some() { WINDOW } else { TRIAL };
        let round = self.round;
        let meter = self.meter(way);
        (bytes >= LARGE && meter.begun < most).then(|| {
            meter.begin(bytes, now);
            round
        })
    }

    fn end(&mut self, (way, round): (Way, u64), bytes: u64, is_read: bool, now: Instant) {
        if round != self.round {
            return;
        }
        self.meter(way).end(bytes, is_read, now);
        let Some(known) = self.known else {
            if let (Some(direct), Some(ordinary)) = (self.direct.rate(TRIAL), self.ordinary.rate(TRIAL)) {
                self.measure_from(Some(DiskRates { direct, ordinary }));
                self.is_new = true;
            }
            return;
        };
        if let Some(rate) = self.meter(way).rate(WINDOW) {
            self.measure_from((rate >= FAR_BEHIND * known.of(way)).then_some(known));
        }
    }

    /// Goes on with these rates, or with a trial.
    fn measure_from(&mut self, known: Option<DiskRates>) {
        *self =
            Disk { known, is_new: self.is_new && known.is_some(), round: self.round + 1, ..Disk::default() };
    }
}

/// By their numbers.
static DISKS: Mutex<BTreeMap<u64, Disk>> = Mutex::new(BTreeMap::new());

fn disks() -> MutexGuard<'static, BTreeMap<u64, Disk>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The way for what is read next of a file system; one that is not known is not measured.
pub(super) fn of(disk: Option<u64>) -> Way {
    disk.map_or(Way::Direct, |disk| disks().entry(disk).or_default().way())
}

/// A read that is counted, until it is ended.
pub(super) struct Counted {
    disk: u64,
    began: (Way, u64),
    bytes: u64,
}

impl Counted {
    /// Before a read.
    pub(super) fn begin(disk: Option<u64>, way: Way, bytes: u64) -> Option<Self> {
        let disk = disk?;
        let round = disks().entry(disk).or_default().begin(way, bytes, Instant::now())?;
        Some(Self { disk, began: (way, round), bytes })
    }

    /// After it.
    pub(super) fn end(self, is_read: bool) {
        disks().entry(self.disk).or_default().end(self.began, self.bytes, is_read, Instant::now());
    }
}

/// Takes over what was measured earlier of file systems, by their numbers ([`crate::vfs::Vfs::disk`]), unless this
/// process knows them.
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

    /// A disk on which a read of either way takes so long, four at a time.
    struct Clock {
        disk: Disk,
        now: Instant,
    }

    impl Clock {
        /// Reads so much, 8 MiB at a time; returns the ways in their order.
        fn read(&mut self, bytes: u64, rates: DiskRates) -> Vec<Way> {
            let mut ways = Vec::new();
            for _ in 0..bytes / (32 * MIB) {
                let way = self.disk.way();
                let begun: Vec<_> = (0..4).map(|_| self.disk.begin(way, 8 * MIB, self.now)).collect();
                self.now += Duration::from_secs_f64(32.0 * MIB as f64 / rates.of(way));
                for round in begun.into_iter().flatten() {
                    self.disk.end((way, round), 8 * MIB, true, self.now);
                }
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
        use Way::{Direct, Ordinary};
        for (rates, faster) in [
            (DiskRates { direct: 1.2e9, ordinary: 2.5e9 }, Ordinary),
            (DiskRates { direct: 4.0e9, ordinary: 1.0e9 }, Direct),
            (DiskRates { direct: 1.0e9, ordinary: 1.0e9 }, Direct),
        ] {
            let mut clock = clock();
            assert_eq!(clock.read(128 * MIB, rates), [Direct, Ordinary, Direct, Ordinary]);
            assert!(close(clock.disk.known, rates) && clock.disk.is_new, "{:?}", clock.disk);
            assert!(clock.read(1 << 30, rates).iter().all(|way| *way == faster));
            assert!(close(clock.disk.known, rates));
        }
    }

    #[test]
    fn a_disk_that_falls_far_behind_is_measured_again() {
        let mut clock = clock();
        let before = DiskRates { direct: 1.2e9, ordinary: 2.5e9 };
        clock.disk.known = Some(before);
        // Not far.
        let slower = DiskRates { direct: 0.1e9, ordinary: 1.4e9 };
        assert!(clock.read(1 << 30, slower).iter().all(|way| *way == Way::Ordinary));
        assert_eq!(clock.disk.known, Some(before));
        let after = DiskRates { direct: 0.9e9, ordinary: 0.5e9 };
        let ways = clock.read(1 << 30, after);
        assert!(ways[..8].iter().all(|way| *way == Way::Ordinary));
        assert!(ways[12..].iter().all(|way| *way == Way::Direct));
        assert!(close(clock.disk.known, after) && clock.disk.is_new);
    }

    #[test]
    fn short_and_failed_reads_and_those_of_an_earlier_round_are_not_counted() {
        let Clock { mut disk, now } = clock();
        assert_eq!(disk.begin(Way::Direct, LARGE - 1, now), None);
        let round = disk.begin(Way::Direct, 2 * TURN, now).unwrap();
        assert_eq!(disk.way(), Way::Ordinary);
        disk.end((Way::Direct, round), 2 * TURN, false, now);
        assert_eq!((disk.way(), disk.direct.begun, disk.direct.done), (Way::Direct, 0, 0));
        let round = disk.begin(Way::Ordinary, TURN, now).unwrap();
        disk.measure_from(None);
        disk.end((Way::Ordinary, round), TURN, true, now);
        assert_eq!((disk.ordinary.begun, disk.ordinary.done), (0, 0));
    }

    #[test]
    fn where_there_is_one_way_only_it_is_not_waited_for() {
        let Clock { mut disk, now } = clock();
        for _ in 0..100 {
            // The file system refused the other.
            assert_eq!(disk.way(), Way::Direct);
            if let Some(round) = disk.begin(Way::Ordinary, 8 * MIB, now) {
                disk.end((Way::Ordinary, round), 8 * MIB, true, now + Duration::from_millis(1));
            }
        }
        assert_eq!(disk.known, None);
    }

    #[test]
    fn what_was_measured_earlier_serves_unless_it_is_nonsense() {
        // Numbers that no disk has.
        let [a, b] = [u64::MAX - 1, u64::MAX - 2];
        let rates = DiskRates { direct: 1.0, ordinary: 2.0 };
        expect_disks([(a, rates), (b, DiskRates { direct: f64::NAN, ..rates })]);
        assert_eq!((of(Some(a)), of(Some(b)), of(None)), (Way::Ordinary, Way::Direct, Way::Direct));
        expect_disks([(a, DiskRates { direct: 3.0, ..rates })]);
        assert_eq!(of(Some(a)), Way::Ordinary, "the process knows it");
        assert!(measured_disks().iter().all(|(disk, _)| ![a, b].contains(disk)));
    }
}
