//! Prefetching: the next bytes of rows are fetched while others are multiplied.

use super::packing::CacheLine;

/// Steps of an inner loop between two fetches: a burst of them would hold the processor up.
pub(super) const FETCH_STEPS: usize = 4;

/// Bytes of rows to come.
#[derive(Clone, Copy)]
pub(super) struct RowPrefetch {
    at: *const u8,
    /// Bytes of a row.
    bytes: usize,
    /// Bytes from row to row.
    row_bytes: usize,
    rows: usize,
    /// Bytes of the first row that were fetched.
    done: usize,
}

impl RowPrefetch {
    /// `bytes` bytes of each of `rows` rows, `row_bytes` apart.
    pub(super) fn new(at: *const u8, bytes: usize, row_bytes: usize, rows: usize) -> Self {
        Self { at, bytes, row_bytes, rows, done: 0 }
    }

    /// Nothing.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn none() -> Self {
        Self::new(std::ptr::null(), 0, 0, 0)
    }

    /// Lines that are fetched.
    pub(super) fn lines(&self) -> usize {
        self.rows * self.bytes.div_ceil(size_of::<CacheLine>())
    }

    /// Has the next lines brought to the second-level cache.
    #[inline(always)]
    pub(super) fn fetch(&mut self, lines: usize) {
        for _ in 0..lines {
            if self.rows == 0 {
                return;
            }
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a hint reads nothing.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T1>(self.at.wrapping_add(self.done).cast());
            }
            self.done += size_of::<CacheLine>();
            if self.done >= self.bytes {
                (self.done, self.rows) = (0, self.rows - 1);
                self.at = self.at.wrapping_add(self.row_bytes);
            }
        }
    }
}

/// Has a stretch that is read next brought to the first-level cache: one so short has ended before the
/// processor notices that it goes on.
#[inline(always)]
pub(super) fn near(at: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..bytes).step_by(size_of::<CacheLine>()) {
        // SAFETY: a hint reads nothing.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(line).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (at, bytes);
}
