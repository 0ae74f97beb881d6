//! The boundary to a device: memory, launches of kernels, products of matrices.
//!
//! Invariants
//! - what is asked for runs in the order of the calls, and is done for the host when
//!   [`Runtime::read`] returns
//! - memory may be dropped while what uses it is still to run
//! - callers check sizes: a runtime reaches whatever memory it is told to

use gstore_model::{BackendError, ComputePrecision};

pub(crate) type Result<T> = std::result::Result<T, BackendError>;

/// Memory of a device.
pub trait Memory: Send + Sync + 'static {
    /// Where it starts, as kernels see it.
    fn address(&self) -> u64;
    /// How much it is.
    fn bytes(&self) -> usize;
}

/// A device, or its emulator.
pub trait Runtime: Send + Sync + Sized + 'static {
    /// Its memory.
    type Memory: Memory;

    /// How much memory can be allocated, in bytes.
    fn free(&self) -> Result<usize>;
    /// Memory of unspecified values.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory>;
    /// Copies from the host to memory from byte `at` on.
    fn write(&self, to: &Self::Memory, at: usize, from: &[u8]) -> Result<()>;
    /// Copies memory from byte `at` on to the host.
    fn read(&self, from: &Self::Memory, at: usize, to: &mut [u8]) -> Result<()>;
    /// Copies memory of the device from one place (and byte) to another.
    fn copy(&self, from: (&Self::Memory, usize), to: (&Self::Memory, usize), bytes: usize) -> Result<()>;
    /// Sets memory from byte `at` on to zero.
    fn clear(&self, memory: &Self::Memory, at: usize, bytes: usize) -> Result<()>;
    /// Runs a kernel.
    fn launch(&self, launch: &Launch<'_, Self::Memory>) -> Result<()>;
    /// Multiplies matrices.
    fn multiply(&self, product: &Product<'_, Self::Memory>) -> Result<()>;
}

/// How factors of a product are held and multiplied. Sums are in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// As they are.
    #[default]
    Single,
    /// Rounded to 10 bits of mantissa by the tensor cores.
    Tf32,
    /// Rounded to bf16 in memory.
    Bf16,
}

/// How a backend computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arithmetic {
    /// Of products.
    pub precision: Precision,
    /// Whether weights of a model's layers are bytes in memory, with a scale for each output.
    pub bytes: bool,
}

impl From<Precision> for Arithmetic {
    fn from(precision: Precision) -> Arithmetic {
        Arithmetic { precision, bytes: false }
    }
}

impl From<ComputePrecision> for Arithmetic {
    fn from(compute: ComputePrecision) -> Arithmetic {
        let (precision, bytes) = match compute {
            ComputePrecision::F32 => (Precision::Single, false),
            ComputePrecision::Tf32 => (Precision::Tf32, false),
            ComputePrecision::Bf16 => (Precision::Bf16, false),
            ComputePrecision::I8 => (Precision::Bf16, true),
        };
        Arithmetic { precision, bytes }
    }
}

/// An argument of a kernel.
pub enum Argument<'a, M> {
    /// The address of a byte of memory.
    At(&'a M, usize),
    /// A null pointer.
    Null,
    /// A number of 32 bits.
    U32(u32),
    /// A number of 64 bits.
    U64(u64),
    /// A number of single precision.
    F32(f32),
    /// The bytes of a structure.
    Bytes(&'a [u8]),
}

// Not derived: memory need not be `Copy`.
impl<M> Clone for Argument<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Argument<'_, M> {}

/// Storage of an argument, as wide and as aligned as any.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Word([u64; 8]);

impl<M: Memory> Argument<'_, M> {
    /// The argument as a kernel takes it.
    pub fn word(&self) -> Word {
        let mut word = [0u64; 8];
        match self {
            Argument::At(memory, at) => word[0] = memory.address() + *at as u64,
            Argument::Null => {}
            Argument::U32(value) => word[0] = u64::from(*value),
            Argument::U64(value) => word[0] = *value,
            Argument::F32(value) => word[0] = u64::from(value.to_bits()),
            Argument::Bytes(bytes) => {
                bytemuck::cast_slice_mut(&mut word)[..bytes.len()].copy_from_slice(bytes)
            }
        }
        Word(word)
    }
}

/// A kernel and what it runs on.
pub struct Launch<'a, M> {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of shared memory of a block.
    pub shared: u32,
    /// Its arguments.
    pub arguments: &'a [Argument<'a, M>],
}

/// A matrix that is multiplied.
pub struct Factor<'a, M> {
    /// Where it is.
    pub memory: &'a M,
    /// Its first element.
    pub offset: usize,
    /// Elements from a row to the next.
    pub stride: usize,
    /// Whether the matrix is the transpose of what is there.
    pub transposed: bool,
}

/// `to = scale * left * right`, added to `to` if `sums`. All matrices are row-major.
pub struct Product<'a, M> {
    /// Rows of the product, its columns, and the terms of a sum.
    pub size: [usize; 3],
    /// `[rows, terms]`
    pub left: Factor<'a, M>,
    /// `[terms, columns]`
    pub right: Factor<'a, M>,
    /// The product's memory, first element, and elements from a row to the next; f32.
    pub to: (&'a M, usize, usize),
    /// Factor of the product.
    pub scale: f32,
    /// Whether the product is added to what is there.
    pub sums: bool,
    /// Both factors are in bf16 memory if it is [`Precision::Bf16`], else in f32.
    pub precision: Precision,
}
