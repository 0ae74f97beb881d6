//! Cells of a table on their way into a temporary file, in any order.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use crate::daunce::DaunceError;

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
    waiting: Vec<(u64, f64)>,
    bytes: Vec<u8>,
    /// Of two values of a cell the later one counts.
    replaces: bool,
    /// Values in whose place another one came.
    pub replaced: u64,
}

impl CellWriter {
    pub fn new(file: File, (examples, models): (usize, usize), replaces: bool) -> Result<Self, DaunceError> {
        file.set_len(examples as u64 * models as u64 * 8)?;
        Ok(Self { file, waiting: Vec::new(), bytes: Vec::new(), replaces, replaced: 0 })
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
        self.file.seek(SeekFrom::Start(first * 8))?;
        self.file.read_exact(&mut self.bytes)?;
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
        self.file.seek(SeekFrom::Start(first * 8))?;
        self.file.write_all(&self.bytes)?;
        Ok(None)
    }
}
