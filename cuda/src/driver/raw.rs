//! Unsafe calls of the CUDA driver: copies and launches.
//!
//! Soundness: kernels read and write device memory only, which Rust code never dereferences. That a
//! kernel stays within its operands is ensured by the callers, who check sizes, and by the tests, which
//! run every kernel between guards.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex};

use cudarc::cublas::CudaBlas;
use cudarc::cublas::sys::{cublasMath_t, cublasSetMathMode};
use cudarc::driver::{CudaContext, CudaFunction, CudaStream, DriverError, result, sys};
use cudarc::nvrtc::Ptx;
use gstore_model::BackendError;

use super::lt::Lt;
use super::memory::{DeviceMemory, failed};
use super::pinned::Pinned;
use crate::kernels::kernel_names;
use crate::runtime::{Launch, Product, Result, Runtime, Word};

/// Capabilities of a machine.
pub(super) struct Machine {
    pub(super) has_driver: bool,
    /// The version of CUDA that its driver supports, as 13010 for 13.1.
    pub(super) cuda: i32,
    pub(super) devices: usize,
}

/// Whether any of these libraries can be loaded. It stays loaded: cuBLAS takes a while.
fn loads(names: &[&str]) -> bool {
    // SAFETY: these are NVIDIA's libraries, whose initialisation has no preconditions.
    names.iter().any(|name| unsafe { libloading::Library::new(*name) }.map(std::mem::forget).is_ok())
}

pub(super) fn has_blas() -> bool {
    loads(&["libcublas.so", "libcublas.so.13", "cublas64_13.dll"])
        && loads(&["libcublasLt.so", "libcublasLt.so.13", "cublasLt64_13.dll"])
}

pub(super) fn has_nvrtc() -> bool {
    loads(&["libnvrtc.so", "libnvrtc.so.13", "nvrtc64_130_0.dll"])
}

pub(super) fn machine() -> Machine {
    let has_driver = loads(&["libcuda.so.1", "libcuda.so", "nvcuda.dll"]);
    let mut machine = Machine { has_driver, cuda: 0, devices: 0 };
    if has_driver {
        // SAFETY: the pointer is to a live number.
        let _ = unsafe { sys::cuDriverGetVersion(&raw mut machine.cuda) };
        if result::init().is_ok() {
            machine.devices =
                result::device::get_count().map_or(0, |count| usize::try_from(count).unwrap_or(0));
        }
    }
    machine
}

/// Name of the device with this number.
pub(super) fn name(number: usize) -> Result<String> {
    let number = c_int::try_from(number).map_err(|_| BackendError::new("its number is too large"))?;
    result::device::get(number).and_then(result::device::get_name).map_err(failed)
}

pub(super) fn context(number: usize) -> Result<Arc<CudaContext>> {
    CudaContext::new(number).map_err(failed)
}

/// Name and compute capability of a context's device.
pub(super) fn describe(context: &CudaContext) -> Result<(String, (i32, i32))> {
    Ok((context.name().map_err(failed)?, context.compute_capability().map_err(failed)?))
}

/// Has cuBLAS add parts of a product in f32, also those of one that is written in bf16.
fn sum_in_f32(blas: &CudaBlas) -> Result<()> {
    let mode = cublasMath_t::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
    // SAFETY: the handle is alive.
    let set = unsafe { cublasSetMathMode(*blas.handle(), mode) };
    set.result().map_err(|error| BackendError::new(format!("cuBLAS: {error}")))
}

/// An NVIDIA device with one stream.
pub struct Driver {
    functions: HashMap<&'static str, CudaFunction>,
    pub(super) blas: Mutex<CudaBlas>,
    pub(super) lt: Mutex<Lt>,
    pinned: Pinned,
    pub(super) stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    /// Bytes of shared memory that a block may have.
    shared: usize,
}

impl Driver {
    /// The device of a context, without kernels.
    pub(super) fn of(context: Arc<CudaContext>) -> Result<Driver> {
        if !context.has_async_alloc() {
            return Err(BackendError::new("its driver has no pools of memory"));
        }
        let stream = context.new_stream().map_err(failed)?;
        let blas =
            CudaBlas::new(stream.clone()).map_err(|error| BackendError::new(format!("cuBLAS: {error}")))?;
        sum_in_f32(&blas)?;
        context.bind_to_thread().map_err(failed)?;
        let lt = Lt::new(DeviceMemory::new(Lt::WORKSPACE, &stream)?)?;
        // The program keeps freed memory, so that allocating it again costs nothing.
        let mut all = u64::MAX;
        // SAFETY: the device is open; the attribute is a number of 64 bits.
        unsafe {
            let pool = result::device::get_default_mem_pool(context.cu_device()).map_err(failed)?;
            let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut all).cast()).result().map_err(failed)?;
        }
        let shared = context
            .attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)
            .map_err(failed)?;
        let shared = usize::try_from(shared).unwrap_or(0);
        let (functions, pinned) = (HashMap::new(), Pinned::new().map_err(failed)?);
        let (blas, lt) = (Mutex::new(blas), Mutex::new(lt));
        Ok(Driver { functions, blas, lt, pinned, stream, context, shared })
    }

    /// Loads the kernels of a module.
    pub(super) fn load(&mut self, ptx: Ptx) -> Result<()> {
        let module = self.context.load_module(ptx).map_err(failed)?;
        let most = c_int::try_from(self.shared).unwrap_or(c_int::MAX);
        for name in kernel_names() {
            let function = module.load_function(name).map_err(failed)?;
            let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let fixed = function.shared_size_bytes().map_err(failed)?;
            function.set_attribute(attribute, most - fixed).map_err(failed)?;
            if ["attention_", "row_"].iter().any(|kernels| name.starts_with(kernels)) {
                // As much of it as there is, so that several blocks run at a time.
                let share = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT;
                function.set_attribute(share, 100).map_err(failed)?;
            }
            self.functions.insert(name, function);
        }
        Ok(())
    }

    /// The device's name, and its free and total memory in bytes.
    ///
    /// # Errors
    /// A lost device.
    pub fn describe(&self) -> Result<(String, usize, usize)> {
        let (free, all) = self.context.mem_get_info().map_err(failed)?;
        Ok((self.context.name().map_err(failed)?, free, all))
    }

    /// Unused bytes that the pool keeps for this program.
    fn given_back(&self) -> Result<usize> {
        let read = |attribute: sys::CUmemPool_attribute| -> std::result::Result<u64, DriverError> {
            let mut bytes = 0u64;
            // SAFETY: the device is open; the attributes below are numbers of 64 bits.
            unsafe {
                let pool = result::device::get_default_mem_pool(self.context.cu_device())?;
                sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()).result()?;
            }
            Ok(bytes)
        };
        let kept = read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT).map_err(failed)?;
        let used = read(sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT).map_err(failed)?;
        Ok(usize::try_from(kept.saturating_sub(used)).unwrap_or(usize::MAX))
    }

    /// Waits until all launched work is done.
    ///
    /// # Errors
    /// A failed kernel.
    pub fn synchronize(&self) -> Result<()> {
        self.stream.synchronize().map_err(failed)
    }

    pub(super) fn bind(&self) -> Result<()> {
        self.context.bind_to_thread().map_err(failed)
    }
}

impl Runtime for Driver {
    type Memory = DeviceMemory;

    fn free(&self) -> Result<usize> {
        Ok(self.describe()?.1.saturating_add(self.given_back()?))
    }

    fn shared(&self) -> usize {
        self.shared
    }

    fn allocate(&self, bytes: usize) -> Result<DeviceMemory> {
        self.bind()?;
        DeviceMemory::new(bytes, &self.stream)
    }

    fn write(&self, to: &DeviceMemory, at: usize, from: &[u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: the range is checked, and the context is bound.
        unsafe { self.pinned.write(to.at(at, from.len())?, from, &self.stream) }.map_err(failed)
    }

    fn read(&self, from: &DeviceMemory, at: usize, to: &mut [u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: the range is checked, and the context is bound.
        unsafe { self.pinned.read(from.at(at, to.len())?, to, &self.stream) }.map_err(failed)
    }

    fn copy(&self, from: (&DeviceMemory, usize), to: (&DeviceMemory, usize), bytes: usize) -> Result<()> {
        self.bind()?;
        let (from, to) = (from.0.at(from.1, bytes)?, to.0.at(to.1, bytes)?);
        // SAFETY: both ranges were checked.
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.stream.cu_stream()) }.map_err(failed)
    }

    fn clear(&self, memory: &DeviceMemory, at: usize, bytes: usize) -> Result<()> {
        self.bind()?;
        let to = memory.at(at, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the range was checked.
        unsafe { result::memset_d8_async(to, 0, bytes, self.stream.cu_stream()) }.map_err(failed)
    }

    fn launch(&self, launch: &Launch<'_, DeviceMemory>) -> Result<()> {
        let Some(function) = self.functions.get(launch.kernel) else {
            return Err(BackendError::new(format!("there is no kernel `{}`", launch.kernel)));
        };
        self.bind()?;
        let mut words: Vec<Word> = launch.arguments.iter().map(|argument| argument.word()).collect();
        let mut pointers: Vec<*mut c_void> =
            words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let [x, y, z] = launch.grid;
        // SAFETY: the kernel takes these arguments, of the types that the caller gives them, as the tests on
        // the emulator check, and reaches only the memory that they name.
        let done = unsafe {
            result::launch_kernel(
                function.cu_function(),
                (x, y, z),
                (launch.threads, 1, 1),
                launch.shared,
                self.stream.cu_stream(),
                &mut pointers,
            )
        };
        done.map_err(|error| failed(error).within(format_args!("the kernel `{}`", launch.kernel)))
    }

    fn multiply(&self, product: &Product<'_, DeviceMemory>) -> Result<()> {
        self.product(product)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.bind().is_ok() && self.stream.synchronize().is_ok() {
            // SAFETY: the context is bound, and all copies are done.
            unsafe { self.pinned.free() };
        }
    }
}
