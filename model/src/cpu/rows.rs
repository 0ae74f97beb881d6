//! Rows picked, added and summed, and sparse maps of columns.

use std::ops::Range;

use super::Cpu;
use super::pool::Buffer;
use super::tensor::CpuTensor;
use crate::backend::{BackendError, ColumnMap, check, check_rows, check_spans};

/// Rows whose columns a map handles together, one in each lane.
const LANES: usize = 16;

impl Cpu {
    pub(super) fn gather_rows(&self, x: &CpuTensor, rows: &[u32]) -> Result<CpuTensor, BackendError> {
        check_rows(rows, x.rows())?;
        let width = x.cols();
        let mut out = CpuTensor::unspecified(rows.len(), width);
        let from = x.values();
        for (to, row) in out.values_mut().chunks_exact_mut(width).zip(rows) {
            to.copy_from_slice(&from[*row as usize * width..][..width]);
        }
        Ok(out)
    }

    pub(super) fn scatter_rows(
        &self,
        mut acc: CpuTensor,
        rows: &[u32],
        x: &CpuTensor,
    ) -> Result<CpuTensor, BackendError> {
        let width = acc.cols();
        x.expect(rows.len(), width, "rows to add")?;
        check_rows(rows, acc.rows())?;
        let to = acc.values_mut();
        vectorised!(self.kernels.simd, {
            for (from, row) in x.values().chunks_exact(width).zip(rows) {
                add_to(&mut to[*row as usize * width..][..width], from);
            }
        });
        Ok(acc)
    }

    pub(super) fn add_tensors(&self, mut acc: CpuTensor, x: &CpuTensor) -> Result<CpuTensor, BackendError> {
        x.expect(acc.rows(), acc.cols(), "addend")?;
        let to = acc.values_mut();
        vectorised!(self.kernels.simd, add_to(to, x.values()));
        Ok(acc)
    }

    pub(super) fn sums_of_spans(
        &self,
        x: &CpuTensor,
        weights: &[f32],
        spans: &[Range<usize>],
    ) -> Result<Vec<f32>, BackendError> {
        let (rows, width) = x.size();
        check_spans(spans, rows)?;
        check(weights.len() == rows, || format!("{} weights of {rows} rows", weights.len()))?;
        let mut sums = vec![0.0; spans.len() * width];
        vectorised!(self.kernels.simd, {
            for (sum, span) in sums.chunks_exact_mut(width).zip(spans) {
                let rows = x.values()[span.start * width..span.end * width].chunks_exact(width);
                for (row, weight) in rows.zip(&weights[span.clone()]) {
                    add_scaled(sum, row, *weight);
                }
            }
        });
        Ok(sums)
    }

    pub(super) fn map_all_columns(&self, x: &CpuTensor, map: &ColumnMap) -> Result<CpuTensor, BackendError> {
        let (rows, input) = x.size();
        let out = map.out;
        map.check(input)?;
        let mut result = CpuTensor::unspecified(rows, out);
        let to = result.values_mut();
        // Rows lie in lanes: each entry is one multiply-add of LANES rows.
        let (mut from, mut sums) = (Buffer::take(input * LANES), Buffer::take(out * LANES));
        vectorised!(self.kernels.simd, {
            let blocks = x.values().chunks(LANES * input).zip(to.chunks_mut(LANES * out));
            for (x, to) in blocks {
                let (columns, _) = from.as_chunks_mut::<LANES>();
                for (lane, row) in x.chunks_exact(input).enumerate() {
                    for (column, v) in columns.iter_mut().zip(row) {
                        column[lane] = *v;
                    }
                }
                let (sums, _) = sums.as_chunks_mut::<LANES>();
                sums.fill([0.0; LANES]);
                for (o, i, factor) in &map.entries {
                    for (sum, v) in sums[*o as usize].iter_mut().zip(&columns[*i as usize]) {
                        *sum += factor * v;
                    }
                }
                if let Some((o, value)) = map.constant {
                    sums[o as usize].iter_mut().for_each(|sum| *sum += value);
                }
                for (lane, row) in to.chunks_exact_mut(out).enumerate() {
                    for (to, sum) in row.iter_mut().zip(sums.iter()) {
                        *to = sum[lane];
                    }
                }
            }
        });
        Ok(result)
    }
}

#[inline(always)]
pub(super) fn add_to(to: &mut [f32], from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

#[inline(always)]
pub(super) fn add_scaled(to: &mut [f32], from: &[f32], factor: f32) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += factor * from;
    }
}
