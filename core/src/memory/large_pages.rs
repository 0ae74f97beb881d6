//! The allocator of the system, with large pages for large blocks.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

/// Blocks from this size on are asked for in large pages: three of 2 MiB fit, wherever a block begins.
const LARGE: usize = 8 << 20;

/// Bytes of a small page, or a multiple.
const PAGE: usize = 1 << 16;

static WANTED: AtomicBool = AtomicBool::new(false);

/// Asks for large pages for the blocks that are allocated from now on, where the program's allocator is
/// [`LargePages`]: for programs whose blocks are filled from the beginning on, as sums and gradients are.
pub fn use_large_pages() {
    WANTED.store(true, Ordering::Relaxed);
}

/// The system's allocator, which asks for large pages where a block is large, once [`use_large_pages`] was
/// called: the first touch of each page interrupts the program, and there are 512 times fewer of 2 MiB than of
/// 4 KiB. Where the system has none, or its user has turned them off, nothing changes.
///
/// Memory: a page is there as a whole once one of its bytes is touched. So a block that is filled from its
/// beginning on takes up to 2 MiB more than is filled, and one that is touched here and there may take all of
/// its size.
pub struct LargePages;

// SAFETY: every block is the system's, and advice about the pages inside one changes none of its values.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise, passed on; so below.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        advised(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }
}

/// A block, after the system was told that its pages may be large ones.
fn advised(block: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if size >= LARGE && !block.is_null() && WANTED.load(Ordering::Relaxed) {
        let skipped = block.align_offset(PAGE).min(size);
        // SAFETY: the range begins on a page and lies in a block that is there; what else may be on its last
        // page keeps its values too. Failure, as on a system without large pages, is no error.
        unsafe {
            libc::madvise(block.add(skipped).cast(), size - skipped, libc::MADV_HUGEPAGE);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (size, LARGE, PAGE, &WANTED);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_all_sizes_keep_their_values() {
        use_large_pages();
        for size in [1, 100, LARGE - 1, LARGE, LARGE + 4097, 3 * LARGE] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: the layouts are those of the blocks, whose bytes are written before they are read.
            unsafe {
                let block = LargePages.alloc(layout);
                assert!(!block.is_null() && block.align_offset(64) == 0);
                block.write(7);
                block.add(size - 1).write(7);
                let grown = LargePages.realloc(block, layout, size + LARGE);
                assert_eq!((grown.read(), grown.add(size - 1).read()), (7, 7));
                LargePages.dealloc(grown, Layout::from_size_align(size + LARGE, 64).unwrap());
                let zeros = LargePages.alloc_zeroed(layout);
                assert!(std::slice::from_raw_parts(zeros, size).iter().all(|byte| *byte == 0));
                LargePages.dealloc(zeros, layout);
            }
        }
    }
}
