//! The trainable parameters of a checkpoint, in the order in which every flat gradient vector holds them.

use std::collections::BTreeMap;
use std::ops::Range;

/// One trainable tensor: its canonical name and shape.
///
/// A slice of these describes a flat vector: the tensors follow each other in `named_parameters()` order,
/// each flattened row-major.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorSpec {
    /// Name in the plain causal-LM state dict, e.g. `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub name: String,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// Number of values.
    pub fn numel(&self) -> usize {
        self.shape.iter().product()
    }
}

/// Length of the flat vector that `params` describes.
pub fn total_len(params: &[TensorSpec]) -> usize {
    params.iter().map(TensorSpec::numel).sum()
}

/// The part of each tensor in the flat vector that `params` describes.
pub fn tensor_ranges(params: &[TensorSpec]) -> impl Iterator<Item = Range<usize>> {
    params.iter().scan(0, |end, tensor| {
        let start = *end;
        *end += tensor.numel();
        Some(start..*end)
    })
}

/// Trainable tensors in f32 whose values may change: one vector, in which they follow each other in
/// `named_parameters()` order.
///
/// Weights of linear maps are `[out, input]`, whatever the files' order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParamStore {
    specs: Vec<TensorSpec>,
    /// Start of each tensor.
    starts: BTreeMap<String, Range<usize>>,
    values: Vec<f32>,
}

impl ParamStore {
    /// Adds a tensor behind the others.
    ///
    /// # Panics
    /// With another number of values than its sizes mean.
    pub fn push(&mut self, spec: TensorSpec, values: &[f32]) {
        assert_eq!(spec.numel(), values.len(), "values of {}", spec.name);
        let start = self.values.len();
        self.values.extend_from_slice(values);
        self.starts.insert(spec.name.clone(), start..self.values.len());
        self.specs.push(spec);
    }

    /// The tensors, in their order.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Each tensor and its part of the vector.
    pub fn places(&self) -> impl Iterator<Item = (&TensorSpec, Range<usize>)> {
        self.specs.iter().zip(tensor_ranges(&self.specs))
    }

    /// The tensor of a name.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.values.get(self.starts.get(name)?.clone())
    }

    /// All values.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values, to change them.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}
