//! Buffer pool: memory of tensors and scratch, reused by the thread that gave it back.
//!
//! Invariants
//! - a buffer's values are initialised memory that starts on a cache line
//! - the memory that a thread keeps for reuse never exceeds [`KEPT_BYTES`] and is freed when the thread ends;
//!   what would exceed it replaces the largest buffers
//! - a buffer is allocated only if no kept one of up to twice its size fits, so batches of similar size soon
//!   cause no page faults
//! - a buffer that is allocated takes the place of a kept one that is too small for it, if there is one of
//!   half its size: batches that grow keep no set of buffers for each size

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

/// Free bytes that a thread keeps at most. What it keeps was in use at once before, so small
/// models stay far below.
const KEPT_BYTES: usize = 2 << 30;

/// Values in a cache line.
pub(super) const LINE: usize = 16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
pub(super) struct CacheLine([f32; LINE]);

impl CacheLine {
    /// Enough lines of zeros for `len` values.
    pub fn zeros(len: usize) -> Vec<CacheLine> {
        vec![CacheLine([0.0; LINE]); len.div_ceil(LINE)]
    }
}

/// Values on cache line boundaries; their memory goes back to the pool of the thread that drops them.
pub(super) struct Buffer {
    lines: Vec<CacheLine>,
    len: usize,
}

impl Buffer {
    /// A buffer of unspecified values.
    pub fn take(len: usize) -> Buffer {
        let wanted = class(len.div_ceil(LINE));
        let kept = POOL.try_with(|pool| pool.borrow_mut().take(wanted)).ok().flatten();
        Buffer { lines: kept.unwrap_or_else(|| CacheLine::zeros(wanted * LINE)), len }
    }

    pub fn zeroed(len: usize) -> Buffer {
        let mut buffer = Buffer::take(len);
        buffer.fill(0.0);
        buffer
    }

    pub(crate) fn copy_of(values: &[f32]) -> Buffer {
        let mut buffer = Buffer::take(values.len());
        buffer.copy_from_slice(values);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        Buffer::copy_of(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // A thread that is ending has no pool any more; the memory is freed then.
        let _ = POOL.try_with(|pool| pool.borrow_mut().keep(lines));
    }
}

/// The least size of at least `lines` that has three significant bits below its highest,
/// so that few sizes exist.
fn class(lines: usize) -> usize {
    let step = (lines.max(8).ilog2() - 3) as usize;
    lines.div_ceil(1 << step) << step
}

thread_local! {
    static POOL: RefCell<BufferPool> = const { RefCell::new(BufferPool { free: BTreeMap::new(), bytes: 0 }) };
}

/// Free buffers by their number of lines. A thread takes thousands a batch, so finding one must
/// not look at all of them.
struct BufferPool {
    free: BTreeMap<usize, Vec<Vec<CacheLine>>>,
    bytes: usize,
}

impl BufferPool {
    /// Of the tightest that fit the one given back last: its values are likeliest to be in a cache. If none
    /// fits, the largest that is too small is freed, unless it is of less than half the size.
    fn take(&mut self, wanted: usize) -> Option<Vec<CacheLine>> {
        let fitting = self.free.range_mut(wanted..=2 * wanted).find_map(|(_, kept)| kept.pop());
        if let Some(lines) = fitting {
            self.bytes -= size_of_val(&*lines);
            return Some(lines);
        }
        let smaller = self.free.range_mut(wanted.div_ceil(2)..wanted).rev().find_map(|(_, kept)| kept.pop());
        if let Some(lines) = smaller {
            self.bytes -= size_of_val(&*lines);
        }
        None
    }

    fn keep(&mut self, lines: Vec<CacheLine>) {
        let size = size_of_val(&*lines);
        if size == 0 || size > KEPT_BYTES {
            return;
        }
        while self.bytes + size > KEPT_BYTES {
            let Some(largest) = self.free.values_mut().rev().find_map(Vec::pop) else { break };
            self.bytes -= size_of_val(&*largest);
        }
        self.bytes += size;
        self.free.entry(lines.len()).or_default().push(lines);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::architectures::{Decoder, Param};
    use crate::cpu::Cpu;
    use crate::{ComputePrecision, Model};

    /// Bytes that this thread keeps.
    fn kept_bytes() -> usize {
        POOL.with_borrow(|pool| pool.bytes)
    }

    /// A small model whose head is its embedding.
    fn tied() -> Decoder {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/small_llama.json");
        Decoder::read(Path::new(path)).unwrap()
    }

    /// What a replaced model gives back is what the next one is made of.
    #[test]
    fn replacing_weights_again_and_again_keeps_no_more_memory() {
        let decoder = tied();
        let len = |param: &Param| param.shape.iter().product::<usize>();
        let longest = decoder.params.iter().map(len).max();
        let values = vec![0.5f32; longest.unwrap_or(0)];
        let replace = |old: Option<Model<Cpu>>, threads: usize| {
            let lent = |param: &Param| Ok(&values[..len(param)]);
            Model::from_values(&decoder, Cpu::new(ComputePrecision::F32), old, lent, threads).unwrap()
        };
        for threads in [1, 3] {
            // On a thread whose pool is empty.
            let run = || -> Vec<usize> {
                let mut model = None;
                let step = |_| {
                    model = Some(replace(model.take(), threads));
                    kept_bytes()
                };
                (0..20).map(step).collect()
            };
            let kept = std::thread::scope(|scope| scope.spawn(run).join().unwrap());
            assert!(kept[2..].iter().all(|bytes| *bytes <= kept[2]), "{threads} threads: {kept:?}");
        }
    }

    #[test]
    fn memory_is_reused_by_the_thread() {
        let first = Buffer::take(1000);
        let address = first.as_ptr();
        assert_eq!(address as usize % 64, 0);
        drop(first);
        assert_eq!(Buffer::take(999).as_ptr(), address);
        assert_eq!(Buffer::zeroed(700)[..], [0.0; 700]);
    }

    /// The activations of batches of more and more rows, whose buffers are of two widths.
    #[test]
    fn growing_batches_keep_the_buffers_of_the_largest_alone() {
        let batch = |rows: usize| -> usize {
            let widths = [192, 512, 192, 512, 192, 512];
            let buffers: Vec<Buffer> = widths.iter().map(|width| Buffer::take(rows * width)).collect();
            buffers.iter().map(|buffer| size_of_val(&*buffer.lines)).sum()
        };
        let run = || -> (usize, usize) {
            let sizes: Vec<usize> = (500..=1000).step_by(50).collect();
            let used = sizes.iter().map(|rows| batch(*rows)).max().unwrap_or(0);
            // In any order after that.
            for rows in sizes.iter().rev().chain(&sizes) {
                batch(*rows);
            }
            (used, kept_bytes())
        };
        // On a thread whose pool is empty.
        let (used, kept) = std::thread::scope(|scope| scope.spawn(run).join().unwrap());
        assert!(kept <= used, "{kept} bytes are kept of {used} that were used at once");
    }

    #[test]
    fn sizes_of_buffers_fall_into_few_classes() {
        for lines in 0..5000 {
            let class = class(lines);
            assert!(class >= lines && class <= lines + lines / 8 + 1, "{lines} {class}");
            assert_eq!(super::class(class), class);
        }
    }
}
