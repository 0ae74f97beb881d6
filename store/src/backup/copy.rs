//! Copying files, each byte compared with its digest on the way.

use super::CopyProgress;
use super::files::{DataFile, Files};
use crate::error::{BackupError, Damage, StorageError};
use crate::layout::Env;
use crate::manifest::{Link, write_replacing};
use crate::store::Snapshot;
use crate::table::Region;
use crate::vfs::{SpanFailure, VfsRead, hash_span, if_there};
use gstore_core::{Cancel, Cancelled};
use std::io::{self, Write};

/// Files and bytes.
type Count = (u64, u64);

pub(super) struct Copier<'a> {
    from: &'a Env,
    to: &'a Env,
    buffer: Vec<u8>,
    progress: &'a mut dyn FnMut(CopyProgress),
    cancel: &'a Cancel,
    state: CopyProgress,
    copied: Count,
    kept: Count,
}

/// Why the bytes of a file were not all passed on.
enum CopyFailure {
    Read(io::Error),
    Write(io::Error),
    Damaged(Damage),
    Cancelled,
}

impl<'a> Copier<'a> {
    pub(super) fn new(
        from: &'a Env,
        to: &'a Env,
        files: &Files<'_>,
        progress: &'a mut dyn FnMut(CopyProgress),
        cancel: &'a Cancel,
    ) -> Self {
        let data: u64 = files.data.iter().map(|f| f.len).sum();
        let state = CopyProgress {
            files_done: 0,
            files_total: (files.data.len() + files.manifests.len()) as u64,
            bytes_done: 0,
            bytes_total: data + files.manifests.iter().map(|l| l.len).sum::<u64>(),
        };
        Copier { from, to, buffer: Vec::new(), progress, cancel, state, copied: (0, 0), kept: (0, 0) }
    }

    /// How many files and bytes were copied, and how many were there.
    pub(super) fn finish(self) -> (Count, Count) {
        (self.copied, self.kept)
    }

    /// A data file: kept if it is there and whole, else copied.
    pub(super) fn data(&mut self, snapshot: &Snapshot, file: &DataFile<'_>) -> Result<(), BackupError> {
        self.start()?;
        let regions = file.regions(snapshot.env(), &file.name)?;
        let kept = self.is_there(file, &regions)?;
        if !kept {
            self.copy(file, &regions)?;
        }
        self.done(file.len, kept);
        Ok(())
    }

    /// A part or page.
    pub(super) fn manifest(&mut self, link: &Link) -> Result<(), BackupError> {
        self.start()?;
        let kept = self.to.manifests().read_bytes(link).is_ok();
        if !kept {
            let (name, bytes) = self.from.manifests().read_bytes(link)?;
            write_replacing(self.to.vfs(), &self.to.at(&name), &self.shown(&name), &bytes)?;
        }
        self.done(link.len, kept);
        Ok(())
    }

    fn is_there(&mut self, file: &DataFile<'_>, regions: &[Region]) -> Result<bool, BackupError> {
        let there = if_there(self.to.vfs().open(&self.to.at(&file.name)));
        let there = there.map_err(Env::io("read", &self.shown(&file.name)))?;
        let Some(there) = there else { return Ok(false) };
        if there.len().ok() != Some(file.len) {
            return Ok(false);
        }
        match self.pass(&*there, file, regions, &mut |_| Ok(())) {
            Ok(()) => Ok(true),
            Err(CopyFailure::Cancelled) => Err(Cancelled.into()),
            // It is written again, next to this one.
            Err(_) => Ok(false),
        }
    }

    /// Writes the file under another name, flushes it and renames it.
    fn copy(&mut self, file: &DataFile<'_>, regions: &[Region]) -> Result<(), BackupError> {
        let source =
            self.from.vfs().open(&self.from.at(&file.name)).map_err(|e| self.unreadable(file, regions, e))?;
        let len = source.len().map_err(|e| self.unreadable(file, regions, e))?;
        if len != file.len {
            let d = Damage::new(&file.name, "length", file.len, len);
            return Err(StorageError::from(affecting(d, regions.first())).into());
        }
        let (path, beside) = (self.to.at(&file.name), self.to.at(&format!("{}.new", file.name)));
        let shown = self.shown(&file.name);
        if_there(self.to.vfs().remove(&beside)).map_err(Env::io("replace", &shown))?;
        let mut target = self.to.vfs().create(&beside).map_err(Env::io("create", &shown))?;
        let passed = self.pass(&*source, file, regions, &mut |bytes| target.write_all(bytes));
        let passed =
            passed.and_then(|()| target.flush().and_then(|()| target.sync()).map_err(CopyFailure::Write));
        drop(target);
        if let Err(stop) = passed {
            let _ = self.to.vfs().remove(&beside);
            return Err(match stop {
                CopyFailure::Read(e) => self.unreadable(file, regions, e),
                CopyFailure::Write(e) => Env::io("write", &shown)(e).into(),
                CopyFailure::Damaged(d) => StorageError::from(d).into(),
                CopyFailure::Cancelled => Cancelled.into(),
            });
        }
        Ok(self.to.vfs().rename(&beside, &path).map_err(Env::io("rename", &shown))?)
    }

    /// Reads a file region by region and passes on what was read. A region's digest is known only at its end,
    /// so what was passed on counts for nothing before this returns.
    fn pass(
        &mut self,
        source: &dyn VfsRead,
        file: &DataFile<'_>,
        regions: &[Region],
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), CopyFailure> {
        let (mut at, mut done) = (0, self.state.bytes_done);
        for region in regions {
            let (start, end) = (at, at + region.len);
            let hash = hash_span(source, start..end, &mut self.buffer, |bytes| {
                if self.cancel.is_raised() {
                    return Err(CopyFailure::Cancelled);
                }
                sink(bytes).map_err(CopyFailure::Write)?;
                done += bytes.len() as u64;
                (self.progress)(CopyProgress { bytes_done: done, ..self.state });
                Ok(())
            });
            let hash = hash.map_err(|stop| match stop {
                SpanFailure::Read(e) => CopyFailure::Read(e),
                SpanFailure::Sink(stop) => stop,
            })?;
            at = end;
            if let Err((expected, found)) = region.digest.compare(&hash) {
                let d = Damage::new(&file.name, format!("digest of {} bytes", region.len), expected, found);
                return Err(CopyFailure::Damaged(affecting(d.at(start), Some(region))));
            }
        }
        if at != file.len {
            return Err(CopyFailure::Damaged(Damage::new(&file.name, "bytes with a digest", file.len, at)));
        }
        Ok(())
    }

    fn unreadable(&self, file: &DataFile<'_>, regions: &[Region], e: io::Error) -> BackupError {
        let lost = regions.first().map(|region| region.lost.clone());
        StorageError::of_lost(&file.name, &format!("{} bytes", file.len), lost, e).into()
    }

    /// A file of the copy, as messages name it.
    fn shown(&self, name: &str) -> String {
        self.to.at(name).display().to_string()
    }

    fn start(&mut self) -> Result<(), BackupError> {
        self.cancel.check()?;
        (self.progress)(self.state);
        Ok(())
    }

    fn done(&mut self, len: u64, kept: bool) {
        let count = if kept { &mut self.kept } else { &mut self.copied };
        count.0 += 1;
        count.1 += len;
        self.state.files_done += 1;
        self.state.bytes_done += len;
        (self.progress)(self.state);
    }
}

fn affecting(damage: Damage, region: Option<&Region>) -> Damage {
    match region {
        Some(region) => damage.affecting(&region.lost),
        None => damage,
    }
}
