//! The kernels on the CPU: the same source compiled as C++, blocks one after the other, threads as fibers.
//!
//! Memory starts as NaN and has guards on both sides, to catch kernels that read before writing or write
//! outside their operands.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ffi::{CString, c_char, c_int, c_uint, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use half::bf16;

use crate::runtime::{Factor, Launch, Memory, Precision, Product, Result, Runtime, Word};
use gstore_model::BackendError;

unsafe extern "C" {
    fn gstore_emulate(
        name: *const c_char,
        grid: *const c_uint,
        threads: c_uint,
        shared: usize,
        arguments: *mut *mut c_void,
        count: usize,
    ) -> c_int;
}

/// Bytes on each side of memory that nothing may touch.
const GUARD: usize = 256;
const GUARD_BYTE: u8 = 0xa5;

/// Host memory that stands for a device's.
#[derive(Debug)]
pub struct EmulatedMemory {
    /// Start of the guard before the memory.
    start: NonNull<u8>,
    bytes: usize,
    held: Arc<Held>,
}

/// Bytes of memory in use, their peak and their limit.
#[derive(Debug)]
struct Held {
    now: AtomicUsize,
    most: AtomicUsize,
    limit: usize,
}

impl Held {
    fn take(&self, bytes: usize) -> Result<()> {
        let now = self.now.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        if now > self.limit {
            self.now.fetch_sub(bytes, Ordering::Relaxed);
            return Err(BackendError::out_of_memory("the emulated device is out of memory"));
        }
        self.most.fetch_max(now, Ordering::Relaxed);
        Ok(())
    }
}

// SAFETY: it owns the memory, which is reached through the runtime only, as plain bytes.
unsafe impl Send for EmulatedMemory {}
// SAFETY: as on a device, callers order reads and writes; shared tensors are only read.
unsafe impl Sync for EmulatedMemory {}

impl EmulatedMemory {
    fn layout(bytes: usize) -> Result<Layout> {
        let size = bytes.checked_add(2 * GUARD).filter(|size| isize::try_from(*size).is_ok());
        let layout = size.and_then(|size| Layout::from_size_align(size, 64).ok());
        layout.ok_or_else(|| BackendError::new(format!("{bytes} bytes are more than there can be")))
    }

    fn new(bytes: usize, held: &Arc<Held>) -> Result<EmulatedMemory> {
        let layout = EmulatedMemory::layout(bytes)?;
        held.take(bytes)?;
        // SAFETY: the layout has guards, so it is not of size zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: these ranges are within the allocation.
        unsafe {
            start.write_bytes(GUARD_BYTE, GUARD);
            start.add(GUARD).write_bytes(0xff, bytes);
            start.add(GUARD + bytes).write_bytes(GUARD_BYTE, GUARD);
        }
        Ok(EmulatedMemory { start, bytes, held: held.clone() })
    }

    /// The address of byte `at`, with at least `len` bytes after it.
    fn at(&self, at: usize, len: usize) -> *mut u8 {
        assert!(at.checked_add(len).is_some_and(|end| end <= self.bytes), "{at} + {len} of {}", self.bytes);
        // SAFETY: inside the allocation, as checked.
        unsafe { self.start.add(GUARD + at).as_ptr() }
    }

    fn check_guards(&self) {
        for first in [0, GUARD + self.bytes] {
            // SAFETY: the guards are part of the allocation and were written when it was created.
            let guard = unsafe { std::slice::from_raw_parts(self.start.add(first).as_ptr(), GUARD) };
            let untouched = guard.iter().all(|byte| *byte == GUARD_BYTE);
            assert!(
                untouched || std::thread::panicking(),
                "a kernel wrote beside memory of {} bytes",
                self.bytes
            );
        }
    }

    /// The elements of a factor, dense and row-major, `[rows, cols]`.
    fn dense(
        &self,
        factor: &Factor<'_, EmulatedMemory>,
        precision: Precision,
        rows: usize,
        cols: usize,
    ) -> Vec<f32> {
        let bytes = if precision == Precision::Bf16 { 2 } else { 4 };
        let value = |i: usize, j: usize| {
            let place = if factor.transposed { j * factor.stride + i } else { i * factor.stride + j };
            let from = self.at((factor.offset + place) * bytes, bytes);
            // SAFETY: `at` checked that the element lies inside; elements are aligned to their size.
            match precision {
                Precision::Single | Precision::Tf32 => unsafe { from.cast::<f32>().read() },
                Precision::Bf16 => f32::from(bf16::from_bits(unsafe { from.cast::<u16>().read() })),
            }
        };
        (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))).map(|(i, j)| value(i, j)).collect()
    }
}

impl Drop for EmulatedMemory {
    fn drop(&mut self) {
        self.check_guards();
        self.held.now.fetch_sub(self.bytes, Ordering::Relaxed);
        if let Ok(layout) = EmulatedMemory::layout(self.bytes) {
            // SAFETY: it was allocated with this layout.
            unsafe { dealloc(self.start.as_ptr(), layout) }
        }
    }
}

impl Memory for EmulatedMemory {
    fn address(&self) -> u64 {
        self.at(0, 0) as u64
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The kernels on the CPU.
#[derive(Debug)]
pub struct Emulator {
    bytes_read: AtomicUsize,
    bytes_written: AtomicUsize,
    launches: AtomicUsize,
    held: Arc<Held>,
    shared: usize,
}

/// Bytes of shared memory of a block, as on an H100.
const SHARED: usize = 227 << 10;

impl Default for Emulator {
    fn default() -> Self {
        Emulator::with_memory(usize::MAX)
    }
}

impl Emulator {
    /// With a limit of that many bytes of memory.
    pub fn with_memory(limit: usize) -> Emulator {
        let held = Held { now: AtomicUsize::new(0), most: AtomicUsize::new(0), limit };
        let [bytes_read, bytes_written, launches] = [0; 3].map(AtomicUsize::new);
        Emulator { bytes_read, bytes_written, launches, held: Arc::new(held), shared: SHARED }
    }

    /// The same with that many bytes of shared memory for a block.
    pub fn with_shared(self, shared: usize) -> Emulator {
        Emulator { shared, ..self }
    }

    /// The peak of memory in use, in bytes.
    pub fn most_held(&self) -> usize {
        self.held.most.load(Ordering::Relaxed)
    }

    /// Bytes copied from the host so far.
    pub fn bytes_written(&self) -> usize {
        self.bytes_written.load(Ordering::Relaxed)
    }

    /// Number of kernels run so far.
    pub fn launches(&self) -> usize {
        self.launches.load(Ordering::Relaxed)
    }

    /// Bytes copied to the host so far.
    pub fn bytes_read(&self) -> usize {
        self.bytes_read.load(Ordering::Relaxed)
    }
}

impl Runtime for Emulator {
    type Memory = EmulatedMemory;

    fn free(&self) -> Result<usize> {
        Ok(self.held.limit.saturating_sub(self.held.now.load(Ordering::Relaxed)))
    }

    fn shared(&self) -> usize {
        self.shared
    }

    fn allocate(&self, bytes: usize) -> Result<EmulatedMemory> {
        EmulatedMemory::new(bytes, &self.held)
    }

    fn write(&self, to: &EmulatedMemory, at: usize, from: &[u8]) -> Result<()> {
        self.bytes_written.fetch_add(from.len(), Ordering::Relaxed);
        // SAFETY: `at` checked the range, and host memory does not overlap it.
        unsafe { to.at(at, from.len()).copy_from_nonoverlapping(from.as_ptr(), from.len()) }
        Ok(())
    }

    fn read(&self, from: &EmulatedMemory, at: usize, to: &mut [u8]) -> Result<()> {
        from.check_guards();
        self.bytes_read.fetch_add(to.len(), Ordering::Relaxed);
        // SAFETY: as for `write`.
        unsafe { from.at(at, to.len()).copy_to_nonoverlapping(to.as_mut_ptr(), to.len()) }
        Ok(())
    }

    fn copy(&self, from: (&EmulatedMemory, usize), to: (&EmulatedMemory, usize), bytes: usize) -> Result<()> {
        // SAFETY: both ranges were checked.
        unsafe { from.0.at(from.1, bytes).copy_to(to.0.at(to.1, bytes), bytes) }
        Ok(())
    }

    fn clear(&self, memory: &EmulatedMemory, at: usize, bytes: usize) -> Result<()> {
        // SAFETY: the range was checked.
        unsafe { memory.at(at, bytes).write_bytes(0, bytes) }
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_, EmulatedMemory>) -> Result<()> {
        if launch.shared as usize > self.shared {
            let reason =
                format!("the kernel `{}` takes {} bytes of shared memory", launch.kernel, launch.shared);
            return Err(BackendError::new(reason));
        }
        self.launches.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(launch.kernel).map_err(|_| BackendError::new("a kernel's name"))?;
        let mut words: Vec<Word> = launch.arguments.iter().map(|argument| argument.word()).collect();
        let mut pointers: Vec<*mut c_void> =
            words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        // SAFETY: the kernel takes these arguments, whose number the emulator checks, of the types that the
        // caller gives them, and reaches only the memory that they name.
        let code = unsafe {
            gstore_emulate(
                name.as_ptr(),
                launch.grid.as_ptr(),
                launch.threads,
                launch.shared as usize,
                pointers.as_mut_ptr(),
                pointers.len(),
            )
        };
        match code {
            0 => Ok(()),
            1 => Err(BackendError::new(format!("there is no kernel `{}`", launch.kernel))),
            _ => Err(BackendError::new(format!("the kernel `{}` takes other arguments", launch.kernel))),
        }
    }

    fn multiply(&self, product: &Product<'_, EmulatedMemory>) -> Result<()> {
        product.check()?;
        let ([rows, cols, terms], precision) = (product.size, product.precision);
        let mut left = product.left.memory.dense(&product.left, precision, rows, terms);
        let mut right = product.right.memory.dense(&product.right, precision, terms, cols);
        if precision == Precision::Tf32 {
            left.iter_mut().chain(&mut right).for_each(|value| *value = as_tf32(*value));
        }
        let is_sum = product.write_added(self)?;
        let (memory, offset, stride) = product.to;
        let width = product.width();
        let mut sums = vec![0.0f32; cols];
        for i in 0..rows {
            sums.fill(0.0);
            for (k, row) in right.chunks_exact(cols.max(1)).enumerate() {
                let factor = left[i * terms + k];
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
            }
            let to = memory.at((offset + i * stride) * width, cols * width);
            for (j, sum) in sums.iter().enumerate() {
                let sum = product.scale * sum;
                // SAFETY: `at` checked that the row lies inside.
                unsafe {
                    if product.narrow {
                        let to = to.cast::<bf16>().add(j);
                        to.write(bf16::from_f32(if is_sum { f32::from(to.read()) + sum } else { sum }));
                    } else {
                        let to = to.cast::<f32>().add(j);
                        to.write(if is_sum { to.read() + sum } else { sum });
                    }
                }
            }
        }
        Ok(())
    }
}

/// The nearest value with 10 bits of mantissa.
fn as_tf32(value: f32) -> f32 {
    match value.is_finite() {
        true => f32::from_bits((value.to_bits() + 0x1000) & !0x1fff),
        false => value,
    }
}
