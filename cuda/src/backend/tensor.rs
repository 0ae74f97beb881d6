//! Tensors: matrices of f32 on the device.

use std::sync::Arc;

use gstore_model::sizes::check;
use once_cell::sync::OnceCell;

use super::{Cuda, from};
use crate::runtime::{Argument, Memory, Precision, Result, Runtime};

/// Values, and their bf16 roundings once a kernel has made them.
struct Storage<M> {
    values: M,
    rounded: OnceCell<M>,
}

/// An f32 matrix on the device, row-major. Clones share it.
pub struct CudaTensor<M> {
    storage: Arc<Storage<M>>,
    /// The first element.
    offset: usize,
    rows: usize,
    cols: usize,
}

/// A tensor on a backend's device.
pub(super) type Tensor<R> = CudaTensor<<R as Runtime>::Memory>;

impl<M> Clone for CudaTensor<M> {
    fn clone(&self) -> Self {
        CudaTensor { storage: self.storage.clone(), ..*self }
    }
}

impl<M: Memory> CudaTensor<M> {
    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// The memory and the first element.
    pub(super) fn place(&self) -> (&M, usize) {
        (&self.storage.values, self.offset)
    }

    pub(super) fn argument(&self) -> Argument<'_, M> {
        from::<f32, M>(&self.storage.values, self.offset)
    }

    pub(super) fn row_address(&self, row: usize) -> u64 {
        self.storage.values.address() + 4 * (self.offset + row * self.cols) as u64
    }

    /// `count` rows from `first` on, which must exist.
    pub(super) fn slice(&self, first: usize, count: usize) -> CudaTensor<M> {
        let offset = self.offset + first * self.cols;
        CudaTensor { storage: self.storage.clone(), offset, rows: count, cols: self.cols }
    }

    /// An error unless it has this size.
    pub(super) fn expect(&self, rows: usize, cols: usize, what: &str) -> Result<()> {
        check(self.size() == (rows, cols), || {
            format!("{what}: {:?} where {rows} rows of {cols} are due", self.size())
        })
    }
}

impl<R: Runtime> Cuda<R> {
    /// A tensor of unspecified values.
    pub(super) fn unspecified(&self, rows: usize, cols: usize) -> Result<Tensor<R>> {
        let len = rows.checked_mul(cols);
        check(len.is_some(), || format!("a tensor of {rows} rows of {cols}"))?;
        let values = self.allocate::<f32>(len.unwrap_or_default())?;
        let storage = Arc::new(Storage { values, rounded: OnceCell::new() });
        Ok(CudaTensor { storage, offset: 0, rows, cols })
    }

    pub(super) fn zeros(&self, rows: usize, cols: usize) -> Result<Tensor<R>> {
        let x = self.unspecified(rows, cols)?;
        self.runtime.clear(x.place().0, 0, 4 * x.len())?;
        Ok(x)
    }

    /// A tensor of host values, whose number must fit.
    pub(super) fn tensor_of(&self, values: &[f32], rows: usize, cols: usize) -> Result<Tensor<R>> {
        check(rows.checked_mul(cols) == Some(values.len()), || {
            format!("{} values do not fill {rows} rows of {cols}", values.len())
        })?;
        let storage = Arc::new(Storage { values: self.upload(values)?, rounded: OnceCell::new() });
        Ok(CudaTensor { storage, offset: 0, rows, cols })
    }

    /// A deep copy.
    pub(super) fn copied(&self, x: &Tensor<R>) -> Result<Tensor<R>> {
        let copy = self.unspecified(x.rows, x.cols)?;
        let (memory, offset) = x.place();
        if x.len() > 0 {
            self.runtime.copy((memory, 4 * offset), (copy.place().0, 0), 4 * x.len())?;
        }
        Ok(copy)
    }

    /// The tensor for writing: itself if this is the only handle, else a copy.
    pub(super) fn owned(&self, mut x: Tensor<R>) -> Result<Tensor<R>> {
        match Arc::get_mut(&mut x.storage) {
            Some(storage) => {
                storage.rounded = OnceCell::new();
                Ok(x)
            }
            None => self.copied(&x),
        }
    }

    /// The tensor's values rounded to bf16: memory and the first element.
    pub(super) fn rounded<'a>(&self, x: &'a Tensor<R>) -> Result<(&'a R::Memory, usize)> {
        let Storage { values, rounded } = &*x.storage;
        let all = values.bytes() / 4;
        Ok((rounded.get_or_try_init(|| self.to_bf16(values, all))?, x.offset))
    }

    /// Where the kernel that writes a tensor's values, all of them, also rounds them to bf16; null unless
    /// products round their factors. The tensor is new or `owned`: no handle reaches values of its memory that
    /// the kernel does not write.
    pub(super) fn rounding<'a>(&self, x: &'a Tensor<R>) -> Result<Argument<'a, R::Memory>> {
        if self.arithmetic.precision != Precision::Bf16 {
            return Ok(Argument::Null);
        }
        let Storage { values, rounded } = &*x.storage;
        let rounded = rounded.get_or_try_init(|| self.allocate::<u16>(values.bytes() / 4))?;
        Ok(from::<u16, _>(rounded, x.offset))
    }

    /// The first `count` values of memory, rounded to bf16.
    pub(super) fn to_bf16(&self, values: &R::Memory, count: usize) -> Result<R::Memory> {
        let rounded = self.allocate::<u16>(count)?;
        self.each("to_bf16", count, &[Argument::At(values, 0), Argument::At(&rounded, 0)])?;
        Ok(rounded)
    }
}
