//! Tensors: matrices on the device, in f32 or bf16.

use std::sync::Arc;

use gstore_model::BackendError;
use gstore_model::sizes::check;
use once_cell::sync::OnceCell;

use super::linear::Place;
use super::{Cuda, from};
use crate::runtime::{Argument, Memory, Precision, Result, Runtime};

/// A tensor's own values.
enum Own<M> {
    /// In f32.
    Wide(M),
    /// In bf16.
    Narrow(M),
}

/// A tensor's values, and the same in the other type once they are needed.
struct Storage<M> {
    own: Own<M>,
    other: OnceCell<M>,
    len: usize,
}

/// A matrix on the device, row-major. Clones share it.
///
/// It is *narrow* if its values are bf16: those inside the layers of a model at that precision.
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
    fn new(own: Own<M>, rows: usize, cols: usize) -> CudaTensor<M> {
        let storage = Storage { own, other: OnceCell::new(), len: rows * cols };
        CudaTensor { storage: Arc::new(storage), offset: 0, rows, cols }
    }

    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether its own values are in bf16.
    pub(super) fn is_narrow(&self) -> bool {
        matches!(self.storage.own, Own::Narrow(_))
    }

    /// Its own values for a kernel that takes f32 or bf16: the other argument is null.
    pub(super) fn either(&self) -> [Argument<'_, M>; 2] {
        match &self.storage.own {
            Own::Wide(memory) => [from::<f32, M>(memory, self.offset), Argument::Null],
            Own::Narrow(memory) => [Argument::Null, from::<u16, M>(memory, self.offset)],
        }
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
    fn elements(rows: usize, cols: usize) -> Result<usize> {
        let len = rows.checked_mul(cols);
        check(len.is_some(), || format!("a tensor of {rows} rows of {cols}"))?;
        Ok(len.unwrap_or_default())
    }

    /// A tensor of unspecified values in f32.
    pub(super) fn unspecified(&self, rows: usize, cols: usize) -> Result<Tensor<R>> {
        let memory = self.allocate::<f32>(Self::elements(rows, cols)?)?;
        Ok(CudaTensor::new(Own::Wide(memory), rows, cols))
    }

    /// A tensor of unspecified values, in bf16 if it is narrow.
    pub(super) fn unspecified_in(&self, is_narrow: bool, rows: usize, cols: usize) -> Result<Tensor<R>> {
        if !is_narrow {
            return self.unspecified(rows, cols);
        }
        let memory = self.allocate::<u16>(Self::elements(rows, cols)?)?;
        Ok(CudaTensor::new(Own::Narrow(memory), rows, cols))
    }

    /// A tensor of another's size and type, of unspecified values.
    pub(super) fn unspecified_as(&self, x: &Tensor<R>) -> Result<Tensor<R>> {
        self.unspecified_in(x.is_narrow(), x.rows, x.cols)
    }

    pub(super) fn zeros(&self, rows: usize, cols: usize) -> Result<Tensor<R>> {
        self.cleared(self.unspecified(rows, cols)?)
    }

    /// A new tensor, with zeros in place of its values.
    pub(super) fn cleared(&self, x: Tensor<R>) -> Result<Tensor<R>> {
        let (memory, bytes) = match &x.storage.own {
            Own::Wide(memory) => (memory, 4),
            Own::Narrow(memory) => (memory, 2),
        };
        self.runtime.clear(memory, 0, bytes * x.len())?;
        Ok(x)
    }

    /// A tensor of host values, whose number must fit.
    pub(super) fn tensor_of(&self, values: &[f32], rows: usize, cols: usize) -> Result<Tensor<R>> {
        check(rows.checked_mul(cols) == Some(values.len()), || {
            format!("{} values do not fill {rows} rows of {cols}", values.len())
        })?;
        Ok(CudaTensor::new(Own::Wide(self.upload(values)?), rows, cols))
    }

    /// A deep copy, in f32.
    pub(super) fn copied(&self, x: &Tensor<R>) -> Result<Tensor<R>> {
        let copy = self.unspecified(x.rows, x.cols)?;
        let to = self.values(&copy)?.0;
        match &x.storage.own {
            _ if x.len() == 0 => {}
            Own::Wide(memory) => self.runtime.copy((memory, 4 * x.offset), (to, 0), 4 * x.len())?,
            Own::Narrow(memory) => {
                self.each("from_bf16", x.len(), &[from::<u16, _>(memory, x.offset), Argument::At(to, 0)])?;
            }
        }
        Ok(copy)
    }

    /// The tensor in f32 for writing: itself if this is the only handle, else a copy.
    pub(super) fn owned(&self, x: Tensor<R>) -> Result<Tensor<R>> {
        if x.is_narrow() { self.copied(&x) } else { self.owned_either(x) }
    }

    /// The same, but narrow if it is and this is the only handle: for kernels that write both.
    pub(super) fn owned_either(&self, mut x: Tensor<R>) -> Result<Tensor<R>> {
        match Arc::get_mut(&mut x.storage) {
            Some(storage) => {
                storage.other = OnceCell::new();
                Ok(x)
            }
            None => self.copied(&x),
        }
    }

    /// The tensor's values in f32: memory and the first element.
    pub(super) fn values<'a>(&self, x: &'a Tensor<R>) -> Result<Place<'a, R::Memory>> {
        let Storage { own, other, len } = &*x.storage;
        let memory = match own {
            Own::Wide(memory) => memory,
            Own::Narrow(narrow) => other.get_or_try_init(|| {
                let wide = self.allocate::<f32>(*len)?;
                self.each("from_bf16", *len, &[Argument::At(narrow, 0), Argument::At(&wide, 0)])?;
                Ok::<_, BackendError>(wide)
            })?,
        };
        Ok((memory, x.offset))
    }

    /// The same as an argument of a kernel.
    pub(super) fn argument<'a>(&self, x: &'a Tensor<R>) -> Result<Argument<'a, R::Memory>> {
        let (memory, first) = self.values(x)?;
        Ok(from::<f32, _>(memory, first))
    }

    /// The tensor's values rounded to bf16: memory and the first element.
    pub(super) fn rounded<'a>(&self, x: &'a Tensor<R>) -> Result<Place<'a, R::Memory>> {
        let Storage { own, other, len } = &*x.storage;
        let memory = match own {
            Own::Wide(wide) => other.get_or_try_init(|| self.to_bf16(wide, *len))?,
            Own::Narrow(memory) => memory,
        };
        Ok((memory, x.offset))
    }

    /// Where the kernel that writes a tensor's values in f32, all of them, also rounds them to bf16; null unless
    /// products round their factors. The tensor is new or `owned`: no handle reaches values of its memory that
    /// the kernel does not write.
    pub(super) fn rounding<'a>(&self, x: &'a Tensor<R>) -> Result<Argument<'a, R::Memory>> {
        let Storage { other, len, .. } = &*x.storage;
        if self.arithmetic.precision != Precision::Bf16 {
            return Ok(Argument::Null);
        }
        debug_assert!(!x.is_narrow(), "roundings of values that are rounded");
        let rounded = other.get_or_try_init(|| self.allocate::<u16>(*len))?;
        Ok(from::<u16, _>(rounded, x.offset))
    }

    /// The first `count` values of memory, rounded to bf16.
    pub(super) fn to_bf16(&self, values: &R::Memory, count: usize) -> Result<R::Memory> {
        let rounded = self.allocate::<u16>(count)?;
        self.each("to_bf16", count, &[Argument::At(values, 0), Argument::At(&rounded, 0)])?;
        Ok(rounded)
    }
}
