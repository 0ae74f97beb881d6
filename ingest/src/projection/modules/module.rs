//! Module descriptions for factored projections.

use crate::projection::groups::module_of;
use crate::projection::kind::ProjectionKind;
use gstore_model::params::TensorSpec;

/// How a module's gradient arises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GradientShape {
    /// A linear layer, or anything whose gradient is a sum of outer products: `[out, input]`.
    Linear {
        /// Outputs.
        out: usize,
        /// Inputs, without the constant one of a bias.
        input: usize,
        /// Whether there is a bias, the column after the inputs.
        bias: bool,
    },
    /// A table that tokens index: `[vocab, hidden]`. The output side is the token id, the input
    /// side the hidden gradient.
    Embedding {
        /// Rows of the table.
        vocab: usize,
        /// Values in a row.
        hidden: usize,
    },
    /// A tensor of one axis, such as the weight of a norm.
    Vector {
        /// Values.
        len: usize,
    },
}

impl GradientShape {
    /// Rows and columns of the gradient, the column of a bias included. A vector is one column.
    pub fn matrix(self) -> (usize, usize) {
        match self {
            GradientShape::Linear { out, input, bias } => (out, input.saturating_add(usize::from(bias))),
            GradientShape::Embedding { vocab, hidden } => (vocab, hidden),
            GradientShape::Vector { len } => (len, 1),
        }
    }

    /// Whether the gradient has a column of a bias.
    pub fn bias(self) -> bool {
        matches!(self, GradientShape::Linear { bias: true, .. })
    }

    /// Trainable values.
    pub(crate) fn numel(self) -> u64 {
        let (rows, columns) = self.matrix();
        (rows as u64).saturating_mul(columns as u64)
    }

    /// Rows of the projected sides: those of the kind, but a mask takes no more than there is. None of a
    /// vector or a flat kind.
    pub(in crate::projection) fn sides(self, kind: ProjectionKind) -> Option<(usize, usize)> {
        let (k_out, k_in) = kind.sides()?;
        let (k_out, k_in) = (k_out as usize, k_in as usize);
        let (rows, columns) = self.matrix();
        match (self, kind) {
            (GradientShape::Vector { .. }, _) => None,
            (_, ProjectionKind::FactMask { .. }) => Some((k_out.min(rows), k_in.min(columns))),
            _ => Some((k_out, k_in)),
        }
    }
}

/// A module: the canonical name of its weight, from which keys derive, and its shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleShape {
    /// Name of the tensor, e.g. `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// How its gradient arises.
    pub shape: GradientShape,
}

impl ModuleShape {
    /// A linear layer.
    pub fn linear(name: impl Into<String>, out: usize, input: usize, bias: bool) -> Self {
        Self { name: name.into(), shape: GradientShape::Linear { out, input, bias } }
    }

    /// A tensor of one axis.
    pub fn vector(name: impl Into<String>, len: usize) -> Self {
        Self { name: name.into(), shape: GradientShape::Vector { len } }
    }

    /// Its tensors, as a flat projection takes them: a bias is one of its own.
    pub(in crate::projection) fn tensors(&self) -> Vec<ModuleShape> {
        let GradientShape::Linear { out, input, bias: true } = self.shape else { return vec![self.clone()] };
        let stem = self.name.strip_suffix("weight").unwrap_or(&self.name);
        vec![Self::linear(&self.name, out, input, false), Self::vector(format!("{stem}bias"), out)]
    }

    /// Values of the weight alone, as a formed gradient has them before those of the bias.
    pub fn weight_len(&self) -> usize {
        match self.shape {
            GradientShape::Linear { out, input, .. } => out.saturating_mul(input),
            other => usize::try_from(other.numel()).unwrap_or(usize::MAX),
        }
    }
}

/// The modules of a list of trainable tensors, each taken as `[out, input]`.
///
/// A `bias` that follows the `weight` of its module is its last column. Of more than two axes, all but the
/// first are inputs. A table of embeddings cannot be told from a linear layer here; both have the same
/// projection, only other costs.
pub fn modules_of(tensors: &[TensorSpec]) -> Vec<ModuleShape> {
    let mut modules = Vec::new();
    let mut rest = tensors;
    while let [tensor, after @ ..] = rest {
        rest = after;
        let module = match tensor.shape.as_slice() {
            [] => ModuleShape::vector(&tensor.name, 1),
            [len] => ModuleShape::vector(&tensor.name, *len),
            [out, inputs @ ..] => {
                let bias = after.first().is_some_and(|next| is_bias_of(next, tensor));
                rest = if bias { &after[1..] } else { after };
                let input = inputs.iter().fold(1usize, |n, d| n.saturating_mul(*d));
                ModuleShape::linear(&tensor.name, *out, input, bias)
            }
        };
        modules.push(module);
    }
    modules
}

/// For each tensor that [`modules_of`] took, the number of its module: a bias follows its weight.
pub(crate) fn tensor_modules(modules: &[ModuleShape]) -> Vec<usize> {
    let tensors = |module: &ModuleShape| 1 + usize::from(module.shape.bias());
    modules.iter().enumerate().flat_map(|(at, module)| std::iter::repeat_n(at, tensors(module))).collect()
}

fn is_bias_of(bias: &TensorSpec, weight: &TensorSpec) -> bool {
    bias.name.ends_with(".bias")
        && weight.name.ends_with(".weight")
        && module_of(&bias.name) == module_of(&weight.name)
        && bias.shape == weight.shape[..1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_tensors() {
        let tensor = |name: &str, shape: &[usize]| TensorSpec { name: name.into(), shape: shape.into() };
        let tensors = [
            tensor("wte.weight", &[50, 8]),
            tensor("h.0.ln_1.weight", &[8]),
            tensor("h.0.ln_1.bias", &[8]),
            tensor("h.0.attn.weight", &[24, 8]),
            tensor("h.0.attn.bias", &[24]),
            tensor("h.0.q.lora_A.weight", &[4, 8]),
            tensor("h.0.q.lora_B.weight", &[8, 4]),
            tensor("conv.weight", &[6, 3, 2, 2]),
        ];
        let want = [
            ModuleShape::linear("wte.weight", 50, 8, false),
            ModuleShape::vector("h.0.ln_1.weight", 8),
            ModuleShape::vector("h.0.ln_1.bias", 8),
            ModuleShape::linear("h.0.attn.weight", 24, 8, true),
            ModuleShape::linear("h.0.q.lora_A.weight", 4, 8, false),
            ModuleShape::linear("h.0.q.lora_B.weight", 8, 4, false),
            ModuleShape::linear("conv.weight", 6, 12, false),
        ];
        assert_eq!(modules_of(&tensors), want);
    }

    #[test]
    fn only_a_mask_is_cut_to_the_module() {
        let shape = GradientShape::Linear { out: 3, input: 9, bias: true };
        assert_eq!(shape.sides(ProjectionKind::FactMask { k_out: 8, k_in: 16 }), Some((3, 10)));
        assert_eq!(shape.sides(ProjectionKind::FactSjlt { k_out: 8, k_in: 16 }), Some((8, 16)));
        assert_eq!(shape.sides(ProjectionKind::TwoSided { k_out: 8, k_in: 16 }), Some((8, 16)));
        assert_eq!(shape.sides(ProjectionKind::Mask), None);
        assert_eq!(
            GradientShape::Vector { len: 9 }.sides(ProjectionKind::FactMask { k_out: 8, k_in: 16 }),
            None
        );
    }
}
