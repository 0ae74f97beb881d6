//! Slices of candle tensors that live on the CPU.

use std::cell::RefCell;
use std::ops::Deref;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Storage, StorageRef, Tensor};

use super::BackendError;

impl From<candle_core::Error> for BackendError {
    fn from(error: candle_core::Error) -> Self {
        BackendError(error.to_string())
    }
}

/// A read lock on the values of a tensor.
pub(super) struct View<'a> {
    storage: StorageRef<'a>,
    start: usize,
    end: usize,
}

/// Locks the values of a tensor for reading.
pub(super) fn view(x: &Tensor) -> Result<View<'_>, BackendError> {
    let (storage, layout) = x.storage_and_layout();
    let (start, end) = contiguous(layout)?;
    match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) if end <= values.len() => Ok(View { storage, start, end }),
        _ => Err(BackendError("a tensor is not f32 on the CPU".into())),
    }
}

impl Deref for View<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            // Excluded by `view`; the lock keeps it so.
            _ => &[],
        }
    }
}

fn contiguous(layout: &Layout) -> Result<(usize, usize), BackendError> {
    layout.contiguous_offsets().ok_or_else(|| BackendError("a tensor is not contiguous".into()))
}

/// Makes a tensor of a vector without copying it.
pub(super) fn tensor(values: Vec<f32>, rows: usize, cols: usize) -> Result<Tensor, BackendError> {
    Ok(Tensor::from_vec(values, (rows, cols), &Device::Cpu)?)
}

/// Changes a tensor in place. All clones see the change, so the caller must hold the only one.
pub(super) fn update(x: &Tensor, f: impl FnOnce(&mut [f32])) -> Result<(), BackendError> {
    struct Update<F>(RefCell<Option<F>>);

    impl<F: FnOnce(&mut [f32])> InplaceOp1 for Update<F> {
        fn name(&self) -> &'static str {
            "update"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
            let (start, end) = layout
                .contiguous_offsets()
                .ok_or_else(|| candle_core::Error::msg("a tensor is not contiguous"))?;
            if let (CpuStorage::F32(values), Some(f)) = (storage, self.0.borrow_mut().take()) {
                f(&mut values[start..end]);
            }
            Ok(())
        }
    }

    Ok(x.inplace_op1(&Update(RefCell::new(Some(f))))?)
}
