//! The trainable parameters of a checkpoint, in the order in which every flat gradient vector holds them.

/// One trainable tensor: its canonical name and shape.
///
/// A slice of these describes a flat vector: the tensors follow each other in `named_parameters()` order, each flattened row-major.
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
