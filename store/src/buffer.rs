//! Memory that files are read into.

use std::ops::Range;

/// What reads past the system's memory begin and end at multiples of, in the file and in memory. No disk has
/// larger sectors.
pub(crate) const SECTOR: usize = 4096;

/// Bytes that start on a 64-byte boundary, as the kernels and the views of blocks need them, if what was
/// read into it starts on one in its file.
#[derive(Debug, Default)]
pub struct AlignedBuffer {
    sectors: Vec<Sector>,
    start: usize,
    len: usize,
}

#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(4096))]
struct Sector([u8; SECTOR]);

impl AlignedBuffer {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes it `len` bytes long and hands it out; old content may remain.
    pub fn resize(&mut self, len: usize) -> &mut [u8] {
        (self.start, self.len) = (0, len);
        self.whole(len).split_at_mut(len).0
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        let all: &[u8] = bytemuck::cast_slice(&self.sectors);
        all.get(self.start..self.start + self.len).unwrap_or_default()
    }

    /// Bytes of memory that it has.
    pub(crate) fn capacity(&self) -> usize {
        self.sectors.capacity() * SECTOR
    }

    /// Makes it a span of a file, and hands out the whole sectors around it with their place in the file.
    pub(crate) fn around(&mut self, span: &Range<u64>) -> Option<(&mut [u8], u64)> {
        let before = span.start % SECTOR as u64;
        let len = usize::try_from(span.end.checked_sub(span.start)?).ok()?;
        // Less than a sector.
        self.start = before as usize;
        self.len = len;
        let whole = self.start.checked_add(len)?.checked_next_multiple_of(SECTOR)?;
        Some((self.whole(whole).split_at_mut(whole).0, span.start - before))
    }

    /// All of its memory, of `len` bytes or more.
    fn whole(&mut self, len: usize) -> &mut [u8] {
        if self.sectors.len() < len.div_ceil(SECTOR) {
            self.sectors.reserve_exact(len.div_ceil(SECTOR) - self.sectors.len());
            self.sectors.resize(len.div_ceil(SECTOR), Sector([0; SECTOR]));
        }
        bytemuck::cast_slice_mut(&mut self.sectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_keep_the_place_that_they_have_in_a_sector() {
        let mut buffer = AlignedBuffer::new();
        let (sectors, from) = buffer.around(&(5000..13_000)).unwrap();
        assert_eq!((sectors.len(), from), (3 * SECTOR, 4096));
        assert_eq!(sectors.as_ptr() as usize % SECTOR, 0);
        sectors.iter_mut().enumerate().for_each(|(i, byte)| *byte = ((4096 + i) % 251) as u8);
        let expected: Vec<u8> = (5000..13_000).map(|i| (i % 251) as u8).collect();
        assert_eq!(buffer.as_bytes(), expected);
        assert_eq!(buffer.resize(3).len(), 3);
        assert_eq!(buffer.as_bytes().as_ptr() as usize % SECTOR, 0);
        assert_eq!(buffer.around(&(7..7)).unwrap().1, 0);
        assert!(buffer.as_bytes().is_empty());
        let backwards = Range { start: 2, end: 1 };
        assert!(buffer.around(&backwards).is_none());
    }
}
