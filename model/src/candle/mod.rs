//! The candle backend: tensor operations of candle alone, on any device that candle has.
//!
//! It is short rather than fast, and shares no arithmetic with [`crate::cpu`]: what both agree on is not one
//! mistake made twice.
//!
//! Invariants
//! - tensors stay on the device; the host sees losses, embeddings and what it asks for by name
//! - the same calls give the same bits on the CPU; another cut of the batch may change the last bits, because
//!   products block by size
//! - sizes that disagree are an error, never a panic

mod attention;
mod cache;
mod curve;
mod head;
mod norm;
mod ops;
mod rope;

use std::ops::Range;

pub use self::cache::CandleCache;

use candle_core::{DType, Device, Tensor};

use crate::backend::{BackendError, MultiDevice, check, check_spans};

type Result<T> = std::result::Result<T, BackendError>;

impl From<candle_core::Error> for BackendError {
    fn from(error: candle_core::Error) -> Self {
        BackendError::new(error.to_string())
    }
}

/// The candle backend on one device.
#[derive(Debug, Clone)]
pub struct Candle {
    device: Device,
}

impl MultiDevice for Candle {
    fn beside(&self, number: usize) -> Result<Candle> {
        Ok(Candle::new(match self.device {
            Device::Cpu => Device::Cpu,
            Device::Cuda(_) => Device::new_cuda(number)?,
            Device::Metal(_) => Device::new_metal(number)?,
        }))
    }
}

/// A linear layer of [`Candle`].
pub struct CandleLinear {
    /// `[out, input]`
    weight: Tensor,
    /// `[1, out]`
    bias: Option<Tensor>,
}

/// Vectors of the samples of a batch.
pub struct CandleRows {
    /// `[samples, width]`
    values: Tensor,
    /// The copy that the host was given.
    host: Vec<f32>,
}

impl Candle {
    /// The backend on a device of candle.
    pub fn new(device: Device) -> Candle {
        Candle { device }
    }

    /// The backend on the CPU.
    pub fn cpu() -> Candle {
        Candle::new(Device::Cpu)
    }

    fn zeros(&self, rows: usize, cols: usize) -> Result<Tensor> {
        Ok(Tensor::zeros((rows, cols), DType::F32, &self.device)?)
    }

    fn indices(&self, indices: &[u32]) -> Result<Tensor> {
        Ok(Tensor::from_slice(indices, indices.len(), &self.device)?)
    }

    fn column(&self, values: &[f32]) -> Result<Tensor> {
        Ok(Tensor::from_slice(values, (values.len(), 1), &self.device)?)
    }

    /// What `row` makes of each span's first row and number of rows, one row of `width` values for each span;
    /// zeros for an empty one.
    fn by_span(
        &self,
        spans: &[Range<usize>],
        rows: usize,
        width: usize,
        row: impl Fn(usize, usize) -> Result<Tensor>,
    ) -> Result<Tensor> {
        check_spans(spans, rows)?;
        let of_span = |span: &Range<usize>| match span.is_empty() {
            true => self.zeros(1, width),
            false => Ok(row(span.start, span.len())?.reshape((1, width))?),
        };
        Ok(Tensor::cat(&spans.iter().map(of_span).collect::<Result<Vec<_>>>()?, 0)?)
    }

    fn sums(&self, x: &Tensor, spans: &[Range<usize>]) -> Result<Tensor> {
        let (rows, width) = size(x);
        self.by_span(spans, rows, width, |at, len| Ok(x.narrow(0, at, len)?.sum_keepdim(0)?))
    }

    /// Adds a row for each sample to the samples' vectors, from `offset` on.
    fn add_rows(&self, x: &Tensor, out: &mut CandleRows, offset: usize) -> Result<()> {
        let (samples, len) = size(x);
        let (have, width) = size(&out.values);
        let fits = samples == have && offset.checked_add(len).is_some_and(|end| end <= width);
        check(fits, || format!("{samples} parts of {len} values at {offset} of {have} vectors of {width}"))?;
        if samples * len > 0 {
            let sum = (out.values.narrow(1, offset, len)? + x)?;
            out.values.slice_set(&sum.contiguous()?, 1, offset)?;
        }
        Ok(())
    }
}

/// Rows and columns; every tensor that this backend makes is a matrix.
fn size(x: &Tensor) -> (usize, usize) {
    x.dims2().unwrap_or_default()
}

/// An error unless a tensor has this size.
fn expect(x: &Tensor, rows: usize, cols: usize, what: &str) -> Result<()> {
    check(size(x) == (rows, cols), || format!("{what}: {:?} where {rows} rows of {cols} are due", size(x)))
}

fn add_optional(acc: Option<Tensor>, x: Tensor) -> Result<Tensor> {
    match acc {
        Some(acc) => Ok((acc + x)?),
        None => Ok(x),
    }
}

/// `cap * tanh(x / cap)` and its derivative.
fn softcap_with_slope(x: &Tensor, cap: f32) -> Result<(Tensor, Tensor)> {
    let cap = f64::from(cap);
    let bent = x.affine(1.0 / cap, 0.0)?.tanh()?;
    Ok((bent.affine(cap, 0.0)?, bent.sqr()?.affine(-1.0, 1.0)?))
}
