//! Rows and columns moved and summed.

use std::ops::Range;

use candle_core::Tensor;

use super::super::backend::{BackendError, ColumnMap};
use super::sizes::{check, check_spans, size};
use super::slices::{tensor, update, view};

pub(super) fn gather(x: &Tensor, rows: &[u32]) -> Result<Tensor, BackendError> {
    let (have, width) = size(x)?;
    check(rows.iter().all(|r| (*r as usize) < have), "gathered rows")?;
    let values = view(x)?;
    let mut out = Vec::with_capacity(rows.len() * width);
    for row in rows {
        out.extend_from_slice(&values[*row as usize * width..][..width]);
    }
    tensor(out, rows.len(), width)
}

pub(super) fn scatter_add(acc: Tensor, rows: &[u32], x: &Tensor) -> Result<Tensor, BackendError> {
    let (have, width) = size(&acc)?;
    check(size(x)? == (rows.len(), width) && rows.iter().all(|r| (*r as usize) < have), "scattered rows")?;
    let values = view(x)?;
    update(&acc, |acc| {
        for (row, values) in rows.iter().zip(values.chunks_exact(width.max(1))) {
            add_to(&mut acc[*row as usize * width..][..width], values);
        }
    })?;
    Ok(acc)
}

pub(super) fn add(acc: Tensor, x: &Tensor) -> Result<Tensor, BackendError> {
    check(size(&acc)? == size(x)?, "a sum")?;
    let values = view(x)?;
    update(&acc, |acc| add_to(acc, &values))?;
    Ok(acc)
}

#[inline(always)]
pub(super) fn add_to(acc: &mut [f32], x: &[f32]) {
    acc.iter_mut().zip(x).for_each(|(acc, x)| *acc += x);
}

pub(super) fn span_sums(
    x: &Tensor,
    weights: &[f32],
    spans: &[Range<usize>],
) -> Result<Vec<f32>, BackendError> {
    let (rows, width) = size(x)?;
    check(weights.len() == rows, "the weights of a sum")?;
    check_spans(rows, spans)?;
    let values = view(x)?;
    let mut sums = vec![0.0; spans.len() * width];
    for (sum, span) in sums.chunks_exact_mut(width.max(1)).zip(spans) {
        for row in span.clone() {
            let values = &values[row * width..][..width];
            sum.iter_mut().zip(values).for_each(|(sum, v)| *sum += weights[row] * v);
        }
    }
    Ok(sums)
}

pub(super) fn map_columns(x: &Tensor, map: &ColumnMap) -> Result<Tensor, BackendError> {
    let (rows, width) = size(x)?;
    let inside = |(to, from, _): &(u32, u32, f32)| (*to as usize) < map.out && (*from as usize) < map.input;
    let constant_inside = map.constant.is_none_or(|(to, _)| (to as usize) < map.out);
    check(width == map.input && map.entries.iter().all(inside) && constant_inside, "a map of columns")?;
    let values = view(x)?;
    let mut out = vec![0.0; rows * map.out];
    for row in 0..rows {
        let x = &values[row * width..][..width];
        let out = &mut out[row * map.out..][..map.out];
        for (to, from, factor) in &map.entries {
            out[*to as usize] += factor * x[*from as usize];
        }
        if let Some((to, value)) = map.constant {
            out[to as usize] += value;
        }
    }
    tensor(out, rows, map.out)
}
