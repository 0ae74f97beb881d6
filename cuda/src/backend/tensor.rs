//! Tensors: matrices on the device, in f32 or bf16.

use std::sync::Arc;

use gstore_model::sizes::check;
use once_cell::sync::OnceCell;

use super::linear::Place;
use super::{Cuda, from};
use crate::runtime::{Argument, Memory, Precision, Result, Runtime};

/// The values in f32, in bf16, or in both: each is made from the other once it is needed.
struct Storage<M> {
    wide: OnceCell<M>,
    narrow: OnceCell<M>,
    len: usize,
}

/// A matrix on the device, row-major. Clones share it.
///
/// It is *narrow* if its values are bf16: those between the operations of a layer at that precision, which are
/// factors of products, or read by elementwise kernels.
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
    fn new(wide: Option<M>, narrow: Option<M>, rows: usize, cols: usize) -> CudaTensor<M> {
        let cell = |memory: Option<M>| memory.map_or_else(OnceCell::new, OnceCell::with_value);
        let storage = Storage { wide: cell(wide), narrow: cell(narrow), len: rows * cols };
        CudaTensor { storage: Arc::new(storage), offset: 0, rows, cols }
    }

    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    pub(super) fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Its values in f32, unless it is narrow.
    fn wide(&self) -> Option<&M> {
        self.storage.wide.get()
    }

    /// Whether its values are in bf16 alone.
    pub(super) fn is_narrow(&self) -> bool {
        self.wide().is_none()
    }

    /// Its values for a kernel that takes f32 or bf16: one of both is null.
    pub(super) fn either(&self) -> [Argument<'_, M>; 2] {
        match (self.wide(), self.storage.narrow.get()) {
            (Some(wide), _) => [from::<f32, M>(wide, self.offset), Argument::Null],
            (None, Some(narrow)) => [Argument::Null, from::<u16, M>(narrow, self.offset)],
            (None, None) => unreachable!("a tensor has values"),
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
        let wide = self.allocate::<f32>(Self::elements(rows, cols)?)?;
        Ok(CudaTensor::new(Some(wide), None, rows, cols))
    }

    /// A narrow tensor of unspecified values.
    pub(super) fn unspecified_narrow(&self, rows: usize, cols: usize) -> Result<Tensor<R>> {
        let narrow = self.allocate::<u16>(Self::elements(rows, cols)?)?;
        Ok(CudaTensor::new(None, Some(narrow), rows, cols))
    }

    /// A tensor of unspecified values, narrow if products round their factors.
    pub(super) fn unspecified_factor(&self, rows: usize, cols: usize) -> Result<Tensor<R>> {
        match self.arithmetic.precision {
            Precision::Bf16 => self.unspecified_narrow(rows, cols),
            Precision::Single | Precision::Tf32 => self.unspecified(rows, cols),
        }
    }

    pub(super) fn zeros(&self, rows: usize, cols: usize) -> Result<Tensor<R>> {
        self.cleared(self.unspecified(rows, cols)?)
    }

    /// A new tensor with zeros in place of its values.
    pub(super) fn cleared(&self, x: Tensor<R>) -> Result<Tensor<R>> {
        for (memory, bytes) in [(&x.storage.wide, 4), (&x.storage.narrow, 2)] {
            if let Some(memory) = memory.get() {
                self.runtime.clear(memory, 0, bytes * x.len())?;
            }
        }
        Ok(x)
    }

    /// A tensor of host values, whose number must fit.
    pub(super) fn tensor_of(&self, values: &[f32], rows: usize, cols: usize) -> Result<Tensor<R>> {
        check(rows.checked_mul(cols) == Some(values.len()), || {
            format!("{} values do not fill {rows} rows of {cols}", values.len())
        })?;
        Ok(CudaTensor::new(Some(self.upload(values)?), None, rows, cols))
    }

    /// A deep copy, in f32.
    pub(super) fn copied(&self, x: &Tensor<R>) -> Result<Tensor<R>> {
        let copy = self.unspecified(x.rows, x.cols)?;
        let to = self.values(&copy)?.0;
        match x.wide() {
            _ if x.len() == 0 => {}
            Some(wide) => self.runtime.copy((wide, 4 * x.offset), (to, 0), 4 * x.len())?,
            None => {
                let (narrow, first) = self.rounded(x)?;
                self.each("from_bf16", x.len(), &[from::<u16, _>(narrow, first), Argument::At(to, 0)])?;
            }
        }
        Ok(copy)
    }

    /// The tensor in f32 for writing: itself if this is the only handle, else a copy.
    pub(super) fn owned(&self, mut x: Tensor<R>) -> Result<Tensor<R>> {
        match Arc::get_mut(&mut x.storage) {
            Some(storage) if storage.wide.get().is_some() => {
                storage.narrow = OnceCell::new();
                Ok(x)
            }
            _ => self.copied(&x),
        }
    }

    /// The same, but narrow if it is: for kernels that take both.
    pub(super) fn owned_either(&self, mut x: Tensor<R>) -> Result<Tensor<R>> {
        if x.wide().is_some() {
            return self.owned(x);
        }
        if Arc::get_mut(&mut x.storage).is_some() {
            return Ok(x);
        }
        let copy = self.unspecified_narrow(x.rows, x.cols)?;
        let ((memory, first), to) = (self.rounded(&x)?, self.rounded(&copy)?.0);
        if x.len() > 0 {
            self.runtime.copy((memory, 2 * first), (to, 0), 2 * x.len())?;
        }
        Ok(copy)
    }

    /// The tensor's values in f32: memory and the first element.
    pub(super) fn values<'a>(&self, x: &'a Tensor<R>) -> Result<Place<'a, R::Memory>> {
        let Storage { wide, narrow, len } = &*x.storage;
        let made = wide.get_or_try_init(|| {
            let made = self.allocate::<f32>(*len)?;
            let narrow = narrow.get().map_or(Argument::Null, |narrow| Argument::At(narrow, 0));
            self.each("from_bf16", *len, &[narrow, Argument::At(&made, 0)])?;
            Ok::<_, gstore_model::BackendError>(made)
        })?;
        Ok((made, x.offset))
    }

    /// The same as an argument of a kernel.
    pub(super) fn argument<'a>(&self, x: &'a Tensor<R>) -> Result<Argument<'a, R::Memory>> {
        let (memory, first) = self.values(x)?;
        Ok(from::<f32, _>(memory, first))
    }

    /// The tensor's values rounded to bf16: memory and the first element.
    pub(super) fn rounded<'a>(&self, x: &'a Tensor<R>) -> Result<Place<'a, R::Memory>> {
        let Storage { wide, narrow, len } = &*x.storage;
        let made = narrow.get_or_try_init(|| match wide.get() {
            Some(wide) => self.to_bf16(wide, *len),
            None => unreachable!("a tensor has values"),
        })?;
        Ok((made, x.offset))
    }

    /// Where the kernel that writes a tensor's values in f32, all of them, also rounds them to bf16; null unless
    /// products round their factors. The tensor is new or `owned`: no handle reaches values of its memory that
    /// the kernel does not write.
    pub(super) fn rounding<'a>(&self, x: &'a Tensor<R>) -> Result<Argument<'a, R::Memory>> {
        if self.arithmetic.precision != Precision::Bf16 {
            return Ok(Argument::Null);
        }
        let Storage { narrow, len, .. } = &*x.storage;
        let rounded = narrow.get_or_try_init(|| self.allocate::<u16>(*len))?;
        Ok(from::<u16, _>(rounded, x.offset))
    }

    /// The first `count` values of memory, rounded to bf16.
    pub(super) fn to_bf16(&self, values: &R::Memory, count: usize) -> Result<R::Memory> {
        let rounded = self.allocate::<u16>(count)?;
        self.each("to_bf16", count, &[Argument::At(values, 0), Argument::At(&rounded, 0)])?;
        Ok(rounded)
    }
}
