//! Compacting: small files become large ones, and rows that are not live leave the files.
//!
//! Invariants
//! - what a snapshot shows does not change by it: same rows, same values, same content digests
//! - files are written without the writer lock; they are published under it, if all files that they
//!   replace are still in the part then, and discarded otherwise. So it runs concurrently with appends,
//!   jobs, deletes and readers
//! - one process at a time compacts or purges: `tmp/compact.lock`
//! - a lease keeps the snapshot that the files are of
//! - damaged files are left alone with the others of their group, and reported; an error of the
//!   medium ends the work

mod group;
mod options;
mod plan;
mod publish;

pub use options::{CompactOptions, CompactProgress, CompactReport, CompactedPart, SkippedFiles};

use crate::error::{ChangeError, RewriteError};
use crate::layout::HeldFolder;
use crate::manifest::FileEntry;
use crate::rewrite::{Watch, lock_compact, merge_counts, merge_samples, merge_segments, work_folder};
use crate::samples::FILE_BYTES;
use crate::store::Store;
use crate::tombstones::ids;
use gstore_core::{Cancel, RowSet};
use plan::{Group, Unit};
use publish::Replacement;
use uuid::Uuid;

/// Pieces that are published at once at most, so that a crash of a long compaction loses little.
const PIECES: usize = 64;

impl Store {
    /// Merges small adjacent segments, sample files and files of token counts, and leaves out
    /// rows that are not live.
    ///
    /// One commit for each dataset or feature that changes (more for very large ones). Runs concurrently with
    /// readers and writers; refused while another process compacts. After an error, and when it is stopped,
    /// what was published before stays. The same call again with nothing left to do publishes nothing. Older
    /// snapshots keep their files until `gc`.
    ///
    /// Memory: one block (8 MiB) or batch of samples (32 MiB and a row group); where segments interleave, the
    /// rows of one cell. Dropped rows take up to about 160 bytes each: their ids are remembered until they are
    /// published (24 to 48), and a row that lies alone is a range in each set of rows. Needs room for the new
    /// files of one dataset or feature in addition to the old ones.
    pub fn compact(
        &self,
        options: CompactOptions,
        progress: &mut dyn FnMut(CompactProgress),
    ) -> Result<CompactReport, ChangeError> {
        let Some(_only) = lock_compact(self.env())? else { return Err(ChangeError::Compacting) };
        // What is dropped and collected meanwhile stays until we are done with it.
        let (base, _lease) = self.snapshot_leased(None, &options.command)?;
        let units = plan::plan(self, &base, &options)?;
        let mut report = CompactReport { stopped: units.is_none(), ..CompactReport::default() };
        let units = units.unwrap_or_default();
        if units.is_empty() {
            return Ok(report);
        }
        let cancel = options.cancel.clone();
        let mut work = Compaction {
            store: self,
            folder: work_folder(self.env())?,
            meter: Meter::new(&units, progress),
            cancel: cancel.as_deref(),
            report: &mut report,
            options,
        };
        for unit in &units {
            if !work.unit(unit)? {
                break;
            }
        }
        Ok(report)
    }

    /// What [`Store::compact`] would do, by the sizes, rows and footers of the files; nothing if it is
    /// stopped while it looks at them. Writes nothing and takes no lock.
    ///
    /// # Errors
    /// A dataset or feature that is not there, and deletions that cannot be read.
    pub fn forecast_compact(&self, options: &CompactOptions) -> Result<CompactReport, ChangeError> {
        let snapshot = self.snapshot()?;
        let mut report = CompactReport { dry_run: true, ..CompactReport::default() };
        let stopped = CompactReport { stopped: true, ..report.clone() };
        let Some(units) = plan::plan(self, &snapshot, options)? else { return Ok(stopped) };
        for unit in &units {
            for group in &unit.groups {
                if options.is_stopped() {
                    return Ok(stopped);
                }
                report.add(CompactedPart { of: unit.name.clone(), ..group.expected(self.env()) });
            }
        }
        Ok(report)
    }
}

/// A compaction under way.
struct Compaction<'a> {
    store: &'a Store,
    folder: HeldFolder,
    options: CompactOptions,
    meter: Meter<'a>,
    cancel: Option<&'a Cancel>,
    report: &'a mut CompactReport,
}

impl Compaction<'_> {
    /// Does what is to be done about a dataset or feature. Returns false if it was asked to stop.
    fn unit(&mut self, unit: &Unit) -> Result<bool, ChangeError> {
        let salt = unit.salt();
        let mut pieces = Vec::new();
        let mut goes_on = true;
        for group in &unit.groups {
            if self.cancel.is_some_and(|flag| flag.is_raised()) {
                goes_on = false;
                break;
            }
            self.meter.start(&unit.name);
            match self.merge(unit, group, salt) {
                Ok(piece) => pieces.push(piece),
                Err(RewriteError::Stopped(_)) => {
                    goes_on = false;
                    break;
                }
                Err(RewriteError::Source(e)) if e.is_damage() => {
                    let (of, files) = (unit.name.clone(), group.names());
                    self.report.skipped.push(SkippedFiles { of, files, reason: e.to_string() });
                }
                // Without a lease: nothing is lost by it.
                Err(RewriteError::Source(e)) if e.is_collected() => self.report.discarded += 1,
                Err(RewriteError::Source(e)) => return Err(e.into()),
                Err(RewriteError::Target(e)) => return Err(e.into()),
            }
            self.meter.finish(group.bytes());
            if pieces.len() >= PIECES {
                self.publish(unit, std::mem::take(&mut pieces), salt)?;
            }
        }
        self.publish(unit, pieces, salt)?;
        self.report.stopped |= !goes_on;
        Ok(goes_on)
    }

    fn merge(&mut self, unit: &Unit, group: &Group, salt: Uuid) -> Result<Replacement, RewriteError> {
        let mut read = |bytes| self.meter.read(bytes);
        let mut watch = Watch { read: &mut read, cancel: self.cancel };
        let (folder, live) = (&self.folder, &*unit.live);
        let limit = self.options.target_bytes.clamp(1, FILE_BYTES);
        Ok(match group {
            Group::Segments(part, merge) => {
                let inputs: Vec<_> = merge.files().cloned().collect();
                let output = merge_segments(folder, part, &inputs, live, &mut watch)?;
                Replacement::Segments { inputs, output: output.map(|s| s.entry) }
            }
            Group::Samples(part, merge) => {
                let inputs: Vec<_> = merge.files().cloned().collect();
                let ids = ids::digests_of(&folder.env, part, &inputs, &unit.deleted, salt);
                let own = RowSet::from_ranges(inputs.iter().map(FileEntry::range));
                let ids = ids.map_err(|e| RewriteError::source(e).affecting(&own, &unit.name))?;
                let outputs = merge_samples(folder, part, &inputs, live, limit, &mut watch)?;
                Replacement::Samples { inputs, outputs, ids }
            }
            Group::Counts(part, encoding, merge) => {
                let inputs: Vec<_> = merge.files().cloned().collect();
                let outputs = merge_counts(folder, &part.name, encoding, &inputs, live, &mut watch)?;
                Replacement::Counts { encoding: encoding.number, inputs, outputs }
            }
        })
    }
}

/// How far the work is.
struct Meter<'a> {
    progress: &'a mut dyn FnMut(CompactProgress),
    now: CompactProgress,
    /// Bytes of the groups that are done.
    done: u64,
}

impl<'a> Meter<'a> {
    fn new(units: &[Unit], progress: &'a mut dyn FnMut(CompactProgress)) -> Self {
        let bytes_total = units.iter().flat_map(|u| &u.groups).map(Group::bytes).sum();
        let now = CompactProgress { of: String::new(), bytes_done: 0, bytes_total };
        Meter { progress, now, done: 0 }
    }

    fn start(&mut self, of: &str) {
        of.clone_into(&mut self.now.of);
        (self.progress)(self.now.clone());
    }

    fn read(&mut self, bytes: u64) {
        self.now.bytes_done = (self.now.bytes_done + bytes).min(self.now.bytes_total);
        (self.progress)(self.now.clone());
    }

    fn finish(&mut self, bytes: u64) {
        self.done += bytes;
        self.now.bytes_done = self.done;
        (self.progress)(self.now.clone());
    }
}
