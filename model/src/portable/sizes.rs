//! Checks of sizes. What they refuse would be a panic or a wrong result further down.

use std::ops::Range;

use candle_core::Tensor;

use super::super::backend::{BackendError, SampleRows};

/// Rows and columns of a matrix.
pub(super) fn size(x: &Tensor) -> Result<(usize, usize), BackendError> {
    Ok(x.dims2()?)
}

pub(super) fn check(holds: bool, what: &str) -> Result<(), BackendError> {
    if holds { Ok(()) } else { Err(BackendError(format!("sizes of {what} disagree"))) }
}

/// The spans lie inside `rows` rows.
pub(super) fn check_spans(rows: usize, spans: &[Range<usize>]) -> Result<(), BackendError> {
    check(spans.iter().all(|s| s.start <= s.end && s.end <= rows), "spans")
}

/// `out` has a vector for each of `samples`.
pub(super) fn check_samples(samples: usize, out: &SampleRows<'_>) -> Result<(), BackendError> {
    check(samples.checked_mul(out.width).is_some_and(|n| n <= out.values.len()), "sample vectors")
}

/// A sample's vector has room for a matrix of `rows` rows and `cols` columns at `offset`.
pub(super) fn check_part(
    out: &SampleRows<'_>,
    offset: usize,
    rows: usize,
    cols: usize,
) -> Result<(), BackendError> {
    let end = rows.checked_mul(cols).and_then(|len| len.checked_add(offset));
    check(end.is_some_and(|end| end <= out.width), "a part of a sample's vector")
}

/// A cap of scores or logits is positive.
pub(super) fn check_cap(cap: Option<f32>) -> Result<(), BackendError> {
    match cap {
        Some(cap) if !(cap > 0.0 && cap.is_finite()) => {
            Err(BackendError(format!("a softcap of {cap} is not positive")))
        }
        _ => Ok(()),
    }
}
