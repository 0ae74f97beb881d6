//! The boundary to a device: memory, launches of kernels, products of matrices.
//!
//! Invariants
//! - work runs in the order of the calls, and is done from the host's point of view when [`Runtime::read`]
//!   returns
//! - memory may be dropped before work that uses it has run
//! - callers check sizes: a runtime accesses any memory that it is given

use gstore_model::{BackendError, ComputePrecision};

pub(crate) type Result<T> = std::result::Result<T, BackendError>;

/// Bytes that are written at a time where they are many: as many as go through pinned memory at once.
pub(crate) const MOST_WRITTEN: usize = 1 << 20;

/// Memory of a device.
pub trait Memory: Send + Sync + 'static {
    /// Its start address for kernels.
    fn address(&self) -> u64;
    /// Its size.
    fn bytes(&self) -> usize;
}

/// A device, or its emulator.
pub trait Runtime: Send + Sync + Sized + 'static {
    /// Its memory.
    type Memory: Memory;

    /// Bytes of memory that can be allocated.
    fn free(&self) -> Result<usize>;
    /// Bytes of shared memory that a block of a kernel may have.
    fn shared(&self) -> usize;
    /// Memory with unspecified values.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory>;
    /// Copies from the host to memory from byte `at` on.
    fn write(&self, to: &Self::Memory, at: usize, from: &[u8]) -> Result<()>;
    /// Copies memory from byte `at` on to the host.
    fn read(&self, from: &Self::Memory, at: usize, to: &mut [u8]) -> Result<()>;
    /// Copies device memory from one place (and byte) to another.
    fn copy(&self, from: (&Self::Memory, usize), to: (&Self::Memory, usize), bytes: usize) -> Result<()>;
    /// Sets memory from byte `at` on to zero.
    fn clear(&self, memory: &Self::Memory, at: usize, bytes: usize) -> Result<()>;
    /// Runs a kernel.
    fn launch(&self, launch: &Launch<'_, Self::Memory>) -> Result<()>;
    /// Multiplies matrices.
    fn multiply(&self, product: &Product<'_, Self::Memory>) -> Result<()>;
}

/// How the factors of a product are stored and multiplied. Sums are in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// As they are.
    #[default]
    Single,
    /// Rounded to 10 bits of mantissa by the tensor cores.
    Tf32,
    /// Rounded to bf16 in memory.
    Bf16,
}

/// Precisions of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arithmetic {
    /// Of products.
    pub precision: Precision,
    /// Whether the weights of a model's layers are stored as bytes, with a scale for each output.
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
            // bf16x3 is of CPUs: `Device::check` refuses it before a backend is made.
            ComputePrecision::F32 | ComputePrecision::Bf16x3 => (Precision::Single, false),
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

/// Storage of an argument, with the size and alignment of the largest.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Word([u64; 8]);

impl<M: Memory> Argument<'_, M> {
    /// The argument in the form that a kernel takes.
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

/// A kernel launch.
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

/// A factor of a product.
pub struct Factor<'a, M> {
    /// Where it is.
    pub memory: &'a M,
    /// Its first element.
    pub offset: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Whether it is the transpose of the stored matrix.
    pub transposed: bool,
}

/// `to = scale * left * right + added + bias`. All matrices are row-major.
pub struct Product<'a, M> {
    /// Rows and columns of the product, and terms of each sum.
    pub size: [usize; 3],
    /// `[rows, terms]`
    pub left: Factor<'a, M>,
    /// `[terms, columns]`
    pub right: Factor<'a, M>,
    /// The product's memory, first element, and elements from one row to the next.
    pub to: (&'a M, usize, usize),
    /// Factor of the product.
    pub scale: f32,
    /// What is added to the product: nothing if it is narrow.
    pub added: Added<'a, M>,
    /// Memory and first element of a row, one value for each column and of the product's type, that is added to
    /// every row of a product without gaps.
    pub bias: Option<(&'a M, usize)>,
    /// Both factors are in bf16 memory if it is [`Precision::Bf16`], else in f32.
    pub precision: Precision,
    /// Whether the product is written in bf16, to which its values are rounded; else in f32.
    pub narrow: bool,
}

/// A matrix that is added to a product in f32.
pub enum Added<'a, M> {
    /// None.
    Nothing,
    /// The values that are there. Without a bias.
    There,
    /// Memory and first element of a matrix of the product's size. Neither has gaps.
    Matrix(&'a M, usize),
}

// Not derived: memory need not be `Copy`.
impl<M> Clone for Added<'_, M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Added<'_, M> {}

/// Threads of a block of elementwise kernels.
pub(crate) const THREADS: u32 = 256;

impl<M: Memory> Product<'_, M> {
    /// Bytes of a value of the product.
    pub(crate) fn width(&self) -> usize {
        if self.narrow { 2 } else { 4 }
    }

    /// An error if what is added to it does not fit its type or its layout.
    pub(crate) fn check(&self) -> Result<()> {
        let is_dense = self.to.2 == self.size[1];
        let is_sound = match self.added {
            Added::Nothing => self.bias.is_none() || is_dense,
            Added::There => !self.narrow && self.bias.is_none(),
            Added::Matrix(..) => !self.narrow && is_dense,
        };
        match is_sound {
            true => Ok(()),
            false => Err(BackendError::new(format!("a product of {:?} and what does not fit it", self.size))),
        }
    }

    /// Writes what is added to where the product goes, for a device that does not add it as it multiplies. Returns
    /// whether the product is then added to what is there. The product was checked.
    pub(crate) fn write_added(&self, device: &impl Runtime<Memory = M>) -> Result<bool> {
        let ([rows, cols, _], (memory, offset, _), width) = (self.size, self.to, self.width());
        let (added, (bias, first)) = match (self.added, self.bias) {
            (Added::There, _) => return Ok(true),
            (Added::Nothing, None) => return Ok(false),
            (Added::Matrix(from, first), None) => {
                device.copy((from, first * 4), (memory, offset * 4), rows * cols * 4)?;
                return Ok(true);
            }
            (Added::Nothing, Some(bias)) => (Argument::Null, bias),
            (Added::Matrix(from, first), Some(bias)) => (Argument::At(from, first * 4), bias),
        };
        let (bias, to) = (Argument::At(bias, first * width), Argument::At(memory, offset * width));
        let cols = Argument::U32(cols as u32);
        let (kernel, arguments) = match self.narrow {
            true => ("repeat_row", vec![bias, to, cols]),
            false => ("add_row", vec![added, bias, to, cols]),
        };
        let (grid, arguments) = ([rows as u32, 1, 1], &arguments[..]);
        device.launch(&Launch { kernel, grid, threads: THREADS, shared: 0, arguments })?;
        Ok(true)
    }
}
