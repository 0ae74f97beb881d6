//! Cells of a table on their way into a temporary file, in any order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use gstore_core::many;
use gstore_store::vfs::check_room;

use crate::daunce::DaunceError;
use crate::scratch::in_folder;

/// Cells that are sorted at a time.
const BATCH: usize = 1 << 20;

/// A cell that has two values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DuplicateCell {
    pub key: u64,
    pub values: [f64; 2],
}

/// Cells on their way into a file, at places that follow from their keys. The file begins as one hole.
pub(super) struct CellWriter {
    pub file: File,
    /// Where the file is, which has no name.
    folder: PathBuf,
    waiting: Vec<(u64, f64)>,
    bytes: Vec<u8>,
    /// Of two values of a cell the later one counts.
    replaces: bool,
    /// Values in whose place another one came.
    pub replaced: u64,
}

impl CellWriter {
    /// A file in a folder whose disk has room for all cells of the table `of`.
    pub fn new(
        folder: &Path,
        of: &Path,
        (examples, models): (usize, usize),
        replaces: bool,
    ) -> Result<Self, DaunceError> {
        let (examples, models) = (examples as u64, models as u64);
        let needed = examples.saturating_mul(models).saturating_mul(8);
        check_room(folder, needed).map_err(|no_room| {
            let size = format!("{} x {}", many(examples, "sample"), many(models, "model"));
            let detail = format!(
                "the temporary file of its losses ({size}): {no_room}, or import a part of the samples or models at a time"
            );
            DaunceError::file(of, detail)
        })?;
        let file = tempfile::tempfile_in(folder).and_then(|file| file.set_len(needed).map(|()| file));
        let file = file.map_err(|error| in_folder(folder, error))?;
        let (folder, waiting, bytes) = (folder.to_owned(), Vec::new(), Vec::new());
        Ok(Self { file, folder, waiting, bytes, replaces, replaced: 0 })
    }

    /// Takes a cell. Gives one that has two values, if one was found and none of them counts.
    pub fn push(&mut self, key: u64, value: f64) -> Result<Option<DuplicateCell>, DaunceError> {
        // One that is missing stays a hole.
        if !value.is_nan() {
            self.waiting.push((key, value));
        }
        if self.waiting.len() < BATCH { Ok(None) } else { self.flush() }
    }

    pub fn flush(&mut self) -> Result<Option<DuplicateCell>, DaunceError> {
        let mut cells = std::mem::take(&mut self.waiting);
        // Values of one cell stay in their order.
        cells.sort_by_key(|(key, _)| *key);
        // The same record twice says the same.
        cells.dedup();
        for run in cells.chunk_by(|(a, _), (b, _)| *b - *a <= 1) {
            if let Some(twice) = self.write(run)? {
                return Ok(Some(twice));
            }
        }
        cells.clear();
        self.waiting = cells;
        Ok(None)
    }

    /// Writes cells that lie one after the other.
    fn write(&mut self, run: &[(u64, f64)]) -> Result<Option<DuplicateCell>, DaunceError> {
        let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { return Ok(None) };
        self.bytes.clear();
        self.bytes.resize((last - first + 1) as usize * 8, 0);
        let start = SeekFrom::Start(first * 8);
        let read = self.file.seek(start).and_then(|_| self.file.read_exact(&mut self.bytes));
        read.map_err(|error| in_folder(&self.folder, error))?;
        let (cells, _) = self.bytes.as_chunks_mut::<8>();
        for (key, value) in run {
            let Some(cell) = cells.get_mut((key - first) as usize) else { continue };
            let there = f64::from_bits(!u64::from_le_bytes(*cell));
            if !there.is_nan() && there != *value {
                if !self.replaces {
                    return Ok(Some(DuplicateCell { key: *key, values: [there, *value] }));
                }
                self.replaced += 1;
            }
            *cell = (!value.to_bits()).to_le_bytes();
        }
        let written = self.file.seek(start).and_then(|_| self.file.write_all(&self.bytes));
        written.map_err(|error| in_folder(&self.folder, error))?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_for_the_cells_is_named_before_the_first_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |folder: &Path, sizes: (usize, usize)| {
            CellWriter::new(folder, Path::new("losses.csv"), sizes, false).map(drop).unwrap_err().to_string()
        };
        let error = refused(folder.path(), (1 << 40, 1 << 20));
        assert!(error.starts_with("losses.csv: the temporary file of its losses (1099511627776 "), "{error}");
        assert!(error.contains(&format!("{} will take", folder.path().display())), "{error}");
        let missing = folder.path().join("none");
        let error = refused(&missing, (1, 1));
        assert!(error.starts_with(&format!("temporary file in {}: ", missing.display())), "{error}");
    }
}
