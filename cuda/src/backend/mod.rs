//! The backend: operations of the trait as kernel launches and matrix products.
//!
//! Invariants
//! - tensors stay on the device; the host sees losses, sums of spans, and what it explicitly reads
//! - sizes are checked before a kernel is launched
//! - every sum has an order that depends on sizes alone, so the same calls give the same bits

mod attention;
mod cache;
mod elementwise;
mod estimates;
mod factors;
mod features;
mod halves;
mod head;
mod linear;
mod maps;
mod modules;
mod norm;
mod operations;
mod scan;
mod tensor;
mod tiles;
mod uploads;

use std::ops::Range;
use std::sync::{Arc, Mutex};

use gstore_core::locked;
use gstore_model::sizes::{check, check_spans};
use gstore_model::{BackendError, LOGITS_BUDGET, MultiDevice, OutOfMemory};

pub use self::cache::CudaCache;
pub use self::factors::CudaRows;
pub use self::features::{DeviceForm, DeviceSigns, DeviceSums, FormPlace, Formed};
pub use self::linear::CudaLinear;
pub use self::modules::{DeviceModule, ModuleSides};
pub use self::scan::CudaScan;
pub use self::tensor::CudaTensor;

use self::maps::Maps;
use self::tensor::Tensor;
use self::uploads::Uploads;
use crate::Driver;
use crate::runtime::{Argument, Arithmetic, Launch, Memory, Result, Runtime, THREADS};

/// The backend on one device. Clones share it.
pub struct Cuda<R: Runtime> {
    runtime: Arc<R>,
    arithmetic: Arithmetic,
    /// Sparse column maps on the device.
    maps: Arc<Mutex<Maps<R::Memory>>>,
    /// What was copied to the device last.
    uploads: Arc<Mutex<Uploads<R::Memory>>>,
    table_budget: Option<usize>,
    logits_budget: usize,
}

impl<R: Runtime> Clone for Cuda<R> {
    fn clone(&self) -> Self {
        let (runtime, maps, uploads) = (self.runtime.clone(), self.maps.clone(), self.uploads.clone());
        let (table_budget, logits_budget) = (self.table_budget, self.logits_budget);
        Cuda { runtime, arithmetic: self.arithmetic, maps, uploads, table_budget, logits_budget }
    }
}

impl Cuda<Driver> {
    /// The backend on the NVIDIA device with this number.
    ///
    /// # Errors
    /// Those of [`Driver::open`].
    pub fn open(number: usize, arithmetic: impl Into<Arithmetic>) -> Result<Cuda<Driver>> {
        let driver = Driver::open(number).map_err(|error| BackendError::new(error.to_string()))?;
        Ok(Cuda::new(driver, arithmetic))
    }
}

impl MultiDevice for Cuda<Driver> {
    fn beside(&self, number: usize) -> Result<Cuda<Driver>> {
        Cuda::open(number, self.arithmetic)
    }
}

impl<R: Runtime> Cuda<R> {
    /// The backend on a device.
    pub fn new(runtime: R, arithmetic: impl Into<Arithmetic>) -> Cuda<R> {
        let (runtime, maps, uploads) = (Arc::new(runtime), Arc::default(), Arc::default());
        let (arithmetic, logits_budget) = (arithmetic.into(), LOGITS_BUDGET);
        Cuda { runtime, arithmetic, maps, uploads, table_budget: None, logits_budget }
    }

    /// The same device with another precision.
    pub fn with_precision(&self, arithmetic: impl Into<Arithmetic>) -> Cuda<R> {
        Cuda { arithmetic: arithmetic.into(), ..self.clone() }
    }

    /// The same device with another limit on the size of a projection's tables there, in bytes.
    pub fn with_table_budget(&self, bytes: usize) -> Cuda<R> {
        Cuda { table_budget: Some(bytes), ..self.clone() }
    }

    /// The same device with another limit on the size of the head's logits there, in bytes.
    pub fn with_logits_budget(&self, bytes: usize) -> Cuda<R> {
        Cuda { logits_budget: bytes, ..self.clone() }
    }

    /// Bytes that the tables of a projection may take on the device: a quarter of the free memory, unless set
    /// otherwise.
    ///
    /// # Errors
    /// A lost device.
    pub fn table_budget(&self) -> Result<usize> {
        self.table_budget.map_or_else(|| Ok(self.runtime.free()? / 4), Ok)
    }

    /// The device.
    pub fn runtime(&self) -> &R {
        &self.runtime
    }

    fn allocate<T>(&self, len: usize) -> Result<R::Memory> {
        let bytes = len.checked_mul(size_of::<T>());
        check(bytes.is_some(), || {
            format!("{len} elements of {} bytes are more than there can be", size_of::<T>())
        })?;
        // At least one byte, so that memory has an address.
        let bytes = bytes.unwrap_or_default().max(16);
        match self.runtime.allocate(bytes) {
            Err(error) if error.is_out_of_memory() && locked(&self.uploads).clear() => {
                self.runtime.allocate(bytes)
            }
            allocated => allocated,
        }
    }

    fn upload<T: bytemuck::NoUninit>(&self, values: &[T]) -> Result<R::Memory> {
        let memory = self.allocate::<T>(values.len())?;
        if !values.is_empty() {
            self.runtime.write(&memory, 0, bytemuck::cast_slice(values))?;
        }
        Ok(memory)
    }

    fn download<T: bytemuck::Pod>(&self, memory: &R::Memory, first: usize, len: usize) -> Result<Vec<T>> {
        let mut values = vec![T::zeroed(); len];
        if len > 0 {
            self.runtime.read(memory, first * size_of::<T>(), bytemuck::cast_slice_mut(&mut values))?;
        }
        Ok(values)
    }

    /// The first row of each span and the one after its last, in memory of the device that is not written to.
    fn upload_spans(&self, spans: &[Range<usize>], rows: usize) -> Result<Arc<R::Memory>> {
        check_spans(spans, rows)?;
        number(rows)?;
        let ends: Vec<u32> = spans.iter().flat_map(|span| [span.start as u32, span.end as u32]).collect();
        self.uploaded(&ends)
    }

    /// Runs a kernel on a grid of blocks; does nothing if the grid is empty.
    fn launch(
        &self,
        kernel: &'static str,
        grid: [usize; 3],
        threads: u32,
        shared: usize,
        arguments: &[Argument<'_, R::Memory>],
    ) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        let fits = grid[0] <= i32::MAX as usize && grid[1] <= 65_535 && grid[2] <= 65_535;
        check(fits, || format!("{grid:?} blocks of the kernel `{kernel}` are more than a device takes"))?;
        let grid = grid.map(|blocks| blocks as u32);
        self.runtime.launch(&Launch { kernel, grid, threads, shared: number(shared)?, arguments })
    }

    /// Runs an elementwise kernel on `count` elements, four a thread. The count is appended to these
    /// arguments.
    fn each(&self, kernel: &'static str, count: usize, arguments: &[Argument<'_, R::Memory>]) -> Result<()> {
        let arguments = [arguments, &[Argument::U64(count as u64)]].concat();
        self.launch(kernel, [count.div_ceil(4 * THREADS as usize), 1, 1], THREADS, 0, &arguments)
    }

    /// Runs a kernel with a block for each row. The number of columns is appended to these arguments.
    fn each_row(
        &self,
        kernel: &'static str,
        (rows, cols): (usize, usize),
        arguments: &[Argument<'_, R::Memory>],
    ) -> Result<()> {
        let arguments = [arguments, &[Argument::U32(number(cols)?)]].concat();
        self.launch(kernel, [rows, 1, 1], threads_for(cols), 0, &arguments)
    }
}

/// A size as kernels expect it.
fn number(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| BackendError::new(format!("{size} rows or columns are more than 2^32")))
}

/// Threads of a block that covers `width` values: whole warps, a power of two of them.
fn threads_for(width: usize) -> u32 {
    (width.div_ceil(4).clamp(32, 1024) as u32).next_power_of_two()
}

/// Shared memory of sums over a block, in bytes.
const SUM_SCRATCH: usize = 32 * 4;

/// An argument for memory that starts at its element `first` of `T`.
fn from<T, M: Memory>(memory: &M, first: usize) -> Argument<'_, M> {
    Argument::At(memory, first * size_of::<T>())
}
