//! The projector of a model's flattened gradient: all trainable tensors, each with its own matrix.
//!
//! Invariants
//! - the input is the concatenation of the tensors, row-major, in the order given to `new`
//! - `sjlt`, `rademacher`, `gaussian`: the projections of the tensors are summed, one module group
//! - `mask`: outputs are split over the tensors by size; `none`: outputs are the inputs;
//!   module groups are kept
//! - one gradient has the same bits from `project` and from block-aligned `project_slice`s

use std::collections::HashSet;

use gstore_core::Cancel;
use gstore_store::ModuleGroup;

use gstore_model::params::TensorSpec;

use super::error::ProjectionError;
use super::gaussian::Gaussian;
use super::key::MatrixSide;
use super::kind::ProjectionKind;
use super::philox::{RandomWords, StreamTag};
use super::rademacher::Rademacher;
use super::sjlt::Sjlt;
use super::spec::ProjectionSpec;
use super::summed::{KeyedTensor, RandomMatrix, SummedProjection};
use super::{groups, mask};

/// Bytes that a table of drawn entries may take; beyond it entries are drawn again for each gradient.
pub(crate) const TABLE_BUDGET: usize = 256 << 20;

/// Projects concatenated gradients of one list of tensors.
///
/// Non-finite inputs reach the output of every kind but `mask`, which only sees the
/// coordinates that it samples.
pub struct FlatProjector {
    dim: usize,
    inputs: usize,
    groups: Vec<ModuleGroup>,
    layout: FlatForm,
}

enum FlatForm {
    Sum(SummedProjection),
    /// Input index and factor of each output, ascending.
    Sample(Vec<(usize, f64)>),
    Copy,
}

impl FlatProjector {
    /// Prepares the matrices of `tensors`.
    ///
    /// `checkpoint`: the checkpoint's id, used (and needed) when the spec says `per_checkpoint`.
    pub fn new(
        spec: &ProjectionSpec,
        tensors: &[TensorSpec],
        checkpoint: Option<&str>,
    ) -> Result<Self, ProjectionError> {
        Self::with_table_budget(spec, tensors, checkpoint, TABLE_BUDGET)
    }

    /// As [`Self::new`], with another limit on the bytes of the table of drawn entries.
    /// Results have the same bits.
    pub fn with_table_budget(
        spec: &ProjectionSpec,
        tensors: &[TensorSpec],
        checkpoint: Option<&str>,
        budget: usize,
    ) -> Result<Self, ProjectionError> {
        spec.check()?;
        let sizes = sizes(tensors)?;
        let inputs: usize = sizes.iter().sum();
        let checkpoint = spec.scope(checkpoint)?;
        let words = |name: &str, tag| RandomWords::of(tag, name, MatrixSide::Whole, spec.seed, checkpoint);
        let sum = |kind: Box<dyn RandomMatrix>, tag| {
            let mut start = 0;
            let keyed = tensors.iter().zip(&sizes).map(|(tensor, len)| {
                let keyed = KeyedTensor { start, len: *len, words: words(&tensor.name, tag) };
                start += len;
                keyed
            });
            FlatForm::Sum(SummedProjection::new(kind, spec.dim as usize, keyed.collect(), budget))
        };
        let single = groups::single(spec.dim);
        let (layout, groups) = match spec.kind {
            ProjectionKind::Sjlt { s } => (sum(Box::new(Sjlt::new(spec.dim, s)), StreamTag::Sjlt), single),
            ProjectionKind::Rademacher => {
                (sum(Box::new(Rademacher::new(spec.dim)), StreamTag::Rademacher), single)
            }
            ProjectionKind::Gaussian => (sum(Box::new(Gaussian::new(spec.dim)), StreamTag::Gaussian), single),
            ProjectionKind::Mask => {
                let parts = mask_parts(spec.dim, &sizes)?;
                let sampled = sample_all(tensors, &sizes, &parts, |name| words(name, StreamTag::Mask));
                (FlatForm::Sample(sampled), module_groups(tensors, &parts, spec.dim as usize)?)
            }
            ProjectionKind::None => (FlatForm::Copy, module_groups(tensors, &sizes, inputs)?),
            kind => return Err(ProjectionError::NotFlat { kind }),
        };
        let dim = if spec.kind == ProjectionKind::None { inputs } else { spec.dim as usize };
        Ok(Self { dim, inputs, groups, layout })
    }

    /// Output coordinates.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Whether it samples coordinates.
    pub(crate) fn is_mask(&self) -> bool {
        matches!(self.layout, FlatForm::Sample(_))
    }

    /// Input coordinates: the sum of the tensors' sizes.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Module groups of the output, ascending and without gaps.
    pub fn groups(&self) -> Vec<ModuleGroup> {
        self.groups.clone()
    }

    /// Of `sjlt` the entries of coordinates `range`, for devices that have a table of their own: of each the
    /// row and, in the highest bit, the sign of its non-zeros, and how many a coordinate has.
    ///
    /// # Panics
    /// If the coordinates are not all below [`Self::inputs`].
    pub fn sparse_signs(&self, range: std::ops::Range<usize>) -> Option<(Vec<u32>, usize)> {
        assert!(range.end <= self.inputs, "coordinates {range:?} of {}", self.inputs);
        match &self.layout {
            FlatForm::Sum(summed) => summed.sparse(range),
            FlatForm::Sample(_) | FlatForm::Copy => None,
        }
    }

    /// Projects one gradient, until `cancel` is raised: the output is of no use then.
    ///
    /// # Panics
    /// If `grad` has not [`Self::inputs`] values or `out` not [`Self::dim`].
    pub fn project(&self, grad: &[f32], out: &mut [f32], cancel: &Cancel) {
        let lengths = (grad.len(), out.len());
        assert_eq!(lengths, (self.inputs, self.dim), "lengths of the gradient and of the output");
        match &self.layout {
            FlatForm::Sum(summed) => {
                let mut totals = vec![0.0; self.dim];
                summed.add(0, grad, &mut totals, cancel);
                summed.finish(&totals, out);
            }
            FlatForm::Sample(sampled) => {
                for (out, (index, factor)) in out.iter_mut().zip(sampled) {
                    *out = (f64::from(grad[*index]) * factor) as f32;
                }
            }
            FlatForm::Copy => out.copy_from_slice(grad),
        }
    }

    /// Adds coordinates `offset..offset + values.len()` of a gradient to `totals`, to be
    /// closed by [`Self::finish`], until `cancel` is raised: the totals are of no use then.
    ///
    /// Slices cut at multiples of [`super::BLOCK`] and added in order give the bits of [`Self::project`]; any
    /// others agree to f32 rounding.
    ///
    /// # Panics
    /// If the slice leaves the gradient or `totals` has not [`Self::dim`] values.
    pub fn project_slice(&self, offset: usize, values: &[f32], totals: &mut [f64], cancel: &Cancel) {
        assert!(
            offset.checked_add(values.len()).is_some_and(|end| end <= self.inputs)
                && totals.len() == self.dim,
            "a slice of {} values at {offset} in a gradient of {}",
            values.len(),
            self.inputs
        );
        match &self.layout {
            FlatForm::Sum(summed) => summed.add(offset, values, totals, cancel),
            FlatForm::Sample(sampled) => {
                let first = sampled.partition_point(|(index, _)| *index < offset);
                for ((index, factor), total) in sampled.iter().zip(totals).skip(first) {
                    let Some(value) = values.get(index - offset) else { break };
                    *total += f64::from(*value) * factor;
                }
            }
            FlatForm::Copy => {
                for (total, value) in totals[offset..].iter_mut().zip(values) {
                    *total += f64::from(*value);
                }
            }
        }
    }

    /// Turns totals into the projected vector: the matrix's scale, and one rounding.
    pub fn finish(&self, totals: &[f64], out: &mut [f32]) {
        assert_eq!((totals.len(), out.len()), (self.dim, self.dim), "lengths of totals and output");
        match &self.layout {
            FlatForm::Sum(summed) => summed.finish(totals, out),
            _ => out.iter_mut().zip(totals).for_each(|(out, total)| *out = *total as f32),
        }
    }
}

/// Elements of each tensor; refuses what has no well-defined matrix.
fn sizes(tensors: &[TensorSpec]) -> Result<Vec<usize>, ProjectionError> {
    if tensors.is_empty() {
        return Err(ProjectionError::NoTensors);
    }
    let mut names = HashSet::new();
    let mut total = 0usize;
    let mut sizes = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        if !names.insert(&tensor.name) {
            return Err(ProjectionError::SameName { name: tensor.name.clone() });
        }
        let size = tensor.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        let sum = size.and_then(|size| total.checked_add(size));
        match (size, sum) {
            (Some(0), _) => {
                return Err(ProjectionError::EmptyTensor {
                    name: tensor.name.clone(),
                    shape: tensor.shape.clone(),
                });
            }
            (Some(size), Some(sum)) => {
                sizes.push(size);
                total = sum;
            }
            _ => return Err(ProjectionError::TooWide { inputs: u64::MAX }),
        }
    }
    Ok(sizes)
}

/// Outputs of each tensor under `mask`.
fn mask_parts(dim: u32, sizes: &[usize]) -> Result<Vec<usize>, ProjectionError> {
    let inputs: usize = sizes.iter().sum();
    if dim as usize > inputs {
        return Err(ProjectionError::MaskTooWide { dim, inputs: inputs as u64 });
    }
    if (dim as usize) < sizes.len() {
        return Err(ProjectionError::MaskTooNarrow { dim, tensors: sizes.len() });
    }
    Ok(mask::split(dim as usize, sizes))
}

/// The samples of every tensor, as indices into the concatenated vector.
fn sample_all(
    tensors: &[TensorSpec],
    sizes: &[usize],
    parts: &[usize],
    words: impl Fn(&str) -> RandomWords,
) -> Vec<(usize, f64)> {
    let mut sampled = Vec::with_capacity(parts.iter().sum());
    let mut start = 0;
    for ((tensor, size), part) in tensors.iter().zip(sizes).zip(parts) {
        for sample in mask::sample(words(&tensor.name), *size as u64, *part as u64) {
            sampled.push((start + sample.index as usize, (sample.length as f64).sqrt()));
        }
        start += size;
    }
    sampled
}

/// Groups of the tensors' outputs, of which there are `total`.
fn module_groups(
    tensors: &[TensorSpec],
    widths: &[usize],
    total: usize,
) -> Result<Vec<ModuleGroup>, ProjectionError> {
    if u32::try_from(total).is_err() {
        return Err(ProjectionError::TooWide { inputs: total as u64 });
    }
    let names = tensors.iter().map(|t| t.name.as_str());
    Ok(groups::by_module(names.zip(widths.iter().map(|width| *width as u32))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dense_projection_that_is_told_to_stop_draws_no_entries() {
        let tensors = [TensorSpec { name: "a".to_owned(), shape: vec![1 << 20] }];
        let spec = ProjectionSpec::sized(ProjectionKind::Gaussian, 64);
        let flat = FlatProjector::new(&spec, &tensors, None).unwrap();
        let mut out = vec![0.0; 64];
        flat.project(&vec![1.0; 1 << 20], &mut out, &Cancel::raised());
        assert_eq!(out, [0.0; 64]);
    }

    #[test]
    fn sparse_signs_are_those_that_a_gradient_is_projected_by() {
        let tensor = |name: &str, len| TensorSpec { name: name.to_owned(), shape: vec![len] };
        let tensors = [tensor("a", 5), tensor("b", 9)];
        let of = |kind| FlatProjector::new(&ProjectionSpec::sized(kind, 6), &tensors, None).unwrap();
        let flat = of(ProjectionKind::Sjlt { s: 2 });
        let (entries, width) = flat.sparse_signs(3..12).unwrap();
        assert_eq!((entries.len(), width), (18, 2));
        for (coordinate, entries) in (3..12).zip(entries.chunks_exact(width)) {
            let mut expected = vec![0.0; 6];
            for entry in entries {
                expected[(entry & !(1 << 31)) as usize] += if entry >> 31 == 1 { -1.0 } else { 1.0 };
            }
            let mut found = vec![0.0; 6];
            flat.project_slice(coordinate, &[1.0], &mut found, &Cancel::new());
            assert_eq!(found, expected, "{coordinate}");
        }
        assert!(of(ProjectionKind::Rademacher).sparse_signs(0..1).is_none());
    }
}
