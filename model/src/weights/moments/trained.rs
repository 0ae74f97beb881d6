//! The tensors that an optimizer trained, and the order in which it numbers them.

use std::borrow::Cow;

use super::super::folder::transpose;
use crate::architectures::{Decoder, Param, TensorRole};
use crate::backend::NormKind;
use crate::params::TensorSpec;

/// Whether the Hugging Face Trainer decays a tensor, which decides the parameter group that it is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightDecay {
    /// Weights of linear maps and tables.
    Yes,
    /// Biases and the weights of layer norms.
    No,
    /// Weights of RMS norms: not decayed, but by older versions where the architecture's
    /// norm was not in a list.
    Norm,
}

/// A tensor that an optimizer trained.
#[derive(Debug, Clone)]
pub struct TrainedTensor {
    /// Canonical name and sizes.
    pub spec: TensorSpec,
    /// Other names that a state may have for it.
    pub aliases: Vec<String>,
    /// The state holds its moments as `[input, out]`.
    pub transposed: bool,
    /// Its parameter group.
    pub decay: WeightDecay,
}

impl TrainedTensor {
    /// A LoRA factor.
    pub fn factor(spec: TensorSpec) -> TrainedTensor {
        TrainedTensor { spec, aliases: Vec::new(), transposed: false, decay: WeightDecay::Yes }
    }

    /// All tensors of a model, in `named_parameters()` order: what a full fine-tune trains.
    pub fn all(decoder: &Decoder) -> Vec<TrainedTensor> {
        let of = |param: &Param| TrainedTensor {
            spec: TensorSpec { name: param.name.clone(), shape: param.shape.clone() },
            aliases: param.aliases.clone(),
            transposed: param.transposed,
            decay: match param.role {
                TensorRole::Embedding | TensorRole::Positions | TensorRole::Weight(_) => WeightDecay::Yes,
                TensorRole::Bias(_) | TensorRole::NormBias(_) => WeightDecay::No,
                TensorRole::NormWeight(_) if decoder.norm.kind == NormKind::Layer => WeightDecay::No,
                TensorRole::NormWeight(_) => WeightDecay::Norm,
            },
        };
        decoder.params.iter().map(of).collect()
    }

    /// Sizes of its moments in the state, and of its values in files.
    pub fn stored_shape(&self) -> Vec<usize> {
        let mut shape = self.spec.shape.clone();
        if self.transposed {
            shape.reverse();
        }
        shape
    }

    /// Values in the order of files, from the canonical one: none of a moment that an optimizer does not
    /// have.
    pub fn stored<'v>(&self, values: &'v [f32]) -> Cow<'v, [f32]> {
        match self.spec.shape[..] {
            [out, input] if self.transposed && !values.is_empty() => {
                Cow::Owned(transpose(values, out, input))
            }
            _ => Cow::Borrowed(values),
        }
    }

    /// Values in the canonical order, from that of files.
    pub(super) fn canonical(&self, values: Vec<f32>) -> Vec<f32> {
        match self.spec.shape[..] {
            [out, input] if self.transposed => transpose(&values, input, out),
            _ => values,
        }
    }
}

/// Which weights of RMS norms versions of the Trainer decay: none; those whose name does not say `layernorm`;
/// all. They differ in number, so the size of the first group tells them apart.
const NORM_RULES: [fn(&str) -> bool; 3] = [|_| false, |name| !name.contains("layernorm"), |_| true];

/// The order in which an optimizer with groups of these sizes has the tensors: indices into
/// `trained`, or why there is none.
///
/// One group has `named_parameters()` order. The Trainer makes two, first the decayed tensors, then the
/// others, each in that order.
pub(super) fn group_order(trained: &[TrainedTensor], sizes: &[usize]) -> Result<Vec<usize>, String> {
    let total: usize = sizes.iter().sum();
    if total != trained.len() {
        return Err(format!("it numbers {total} parameters, {} tensors are trained", trained.len()));
    }
    let sizes: Vec<usize> = sizes.iter().copied().filter(|size| *size > 0).collect();
    let &[first, _] = &sizes[..] else {
        return match sizes.len() {
            0 | 1 => Ok((0..trained.len()).collect()),
            n => Err(format!("its parameters are in {n} groups; one, or the Trainer's two, are understood")),
        };
    };
    for decays in NORM_RULES {
        let decayed = |i: &usize| match trained[*i].decay {
            WeightDecay::Yes => true,
            WeightDecay::No => false,
            WeightDecay::Norm => decays(&trained[*i].spec.name),
        };
        let (mut order, others): (Vec<usize>, Vec<usize>) = (0..trained.len()).partition(decayed);
        if order.len() == first {
            order.extend(others);
            return Ok(order);
        }
    }
    let weights = trained.iter().filter(|t| t.decay == WeightDecay::Yes).count();
    Err(format!(
        "its first group has {first} parameters; the Trainer's has {weights}, all but biases and norms"
    ))
}
