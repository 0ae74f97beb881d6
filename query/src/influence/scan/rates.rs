//! Rates of disks, kept from one process to the next.
//!
//! A disk is known by its number, which another one may get, and it may become faster or slower. So what is
//! old is measured again, as is a disk that falls far behind its rate (`store/src/ahead/way.rs`).

use std::sync::{Mutex, Once};
use std::time::{Duration, SystemTime};

use gstore_core::locked;
use gstore_store::{DiskRates, expect_disks, measured_disks};
use serde::{Deserialize, Serialize};

use crate::measured::{KeptFile, MeasurementKind, MeasurementsLocation};

/// What is older is measured again.
const LASTS: u64 = 7 * 24 * 60 * 60;

/// A disk in the file.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct DiskRecord {
    disk: u64,
    /// Bytes a second.
    rates: DiskRates,
    /// Seconds since 1970.
    measured: u64,
}

/// Takes over the rates that are kept, once: before the first read ahead of the process.
pub(super) fn expect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Some(file) = MeasurementsLocation::of(MeasurementKind::Disks).file() {
            expect_disks(read(&file, seconds()).into_iter().map(|kept| (kept.disk, kept.rates)));
        }
    });
}

/// Keeps what reads ahead have measured since the last call.
pub(super) fn keep() {
    // Questions that end at once would each write what the file had before the other.
    static WRITES: Mutex<()> = Mutex::new(());
    let new = measured_disks();
    if new.is_empty() {
        return;
    }
    let _one = locked(&WRITES);
    if let Some(file) = MeasurementsLocation::of(MeasurementKind::Disks).file() {
        // Measured again next time, if it cannot be kept.
        let _ = write(&file, &new, seconds());
    }
}

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.as_ref().map_or(0, Duration::as_secs)
}

/// What is neither old nor from the future.
fn read(file: &KeptFile, now: u64) -> Vec<DiskRecord> {
    let mut all: Vec<DiskRecord> = file.read().unwrap_or_default();
    all.retain(|kept| kept.measured <= now && now - kept.measured < LASTS);
    all
}

/// Adds what is new, in place of what was known of the same disks.
fn write(file: &KeptFile, new: &[(u64, DiskRates)], now: u64) -> std::io::Result<()> {
    let mut all = read(file, now);
    all.retain(|kept| new.iter().all(|(disk, _)| *disk != kept.disk));
    all.extend(new.iter().map(|&(disk, rates)| DiskRecord { disk, rates, measured: now }));
    file.write(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_kept_for_each_disk_until_they_are_old() {
        let folder = tempfile::tempdir().unwrap();
        let file = KeptFile { path: folder.path().join("disks.json"), machine: "here".into() };
        let rates = |direct| DiskRates { direct, ordinary: 2e9 };
        let known = |now| -> Vec<(u64, f64)> {
            read(&file, now).iter().map(|kept| (kept.disk, kept.rates.direct)).collect()
        };
        assert!(known(1000).is_empty());
        write(&file, &[(7, rates(1e9)), (8, rates(3e9))], 1000).unwrap();
        assert_eq!(known(1000), [(7, 1e9), (8, 3e9)]);
        write(&file, &[(7, rates(4e9))], 2000).unwrap();
        assert_eq!(known(2000), [(8, 3e9), (7, 4e9)]);
        // Of a clock that was set back nothing is believed.
        assert_eq!(known(1500), [(8, 3e9)]);
        assert_eq!(known(1000 + LASTS), [(7, 4e9)]);
        write(&file, &[(9, rates(5e9))], 2000 + LASTS).unwrap();
        assert_eq!(known(2000 + LASTS), [(9, 5e9)]);
    }
}
