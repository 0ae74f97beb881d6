//! Trainable parameters as the rest of the crate sees them: a canonical name and a shape, in `named_parameters()` order.

/// One trainable tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// Canonical name, for example `model.layers.0.self_attn.q_proj.lora_A.weight`.
    pub name: String,
    /// Row-major shape.
    pub shape: Vec<usize>,
}
