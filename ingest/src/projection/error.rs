//! Errors of projections.

use super::kind::ProjectionKind;
use gstore_core::Remedy;

/// Why a projection cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// Not one of the kinds.
    #[error(
        "there is no projection {0:?}: use sjlt, rademacher, gaussian, mask, none, fact_sjlt, fact_mask or two_sided"
    )]
    UnknownKind(String),
    /// No output, or too many.
    #[error("a projection to {dim} dimensions is not possible: use 1 to 2147483647")]
    Dim {
        /// Asked for.
        dim: u32,
    },
    /// The row blocks of the sparse matrix would not be equal.
    #[error("sjlt with s = {s} needs a dimension that is a multiple of it, but dim is {dim}")]
    Sparsity {
        /// Non-zeros per column.
        s: u32,
        /// Output coordinates.
        dim: u32,
    },
    /// Sides that do not make the module's dimension, or too many cells.
    #[error(
        "{kind} with sides {k_out} x {k_in} cannot give {dim} coordinates per module: the sides of two_sided multiply to the \
         dimension, those of the other factored kinds to 1 to 2147483647"
    )]
    Sides {
        /// Kind.
        kind: ProjectionKind,
        /// Rows of the output side.
        k_out: u32,
        /// Rows of the input side.
        k_in: u32,
        /// Coordinates per module.
        dim: u32,
    },
    /// A factored kind was asked to project a concatenated gradient.
    #[error("{kind} projects each module by itself, not a concatenated gradient")]
    NotFlat {
        /// Kind.
        kind: ProjectionKind,
    },
    /// A flat kind was asked to project modules.
    #[error(
        "{kind} projects the concatenated gradient, not single modules: use fact_sjlt, fact_mask or two_sided"
    )]
    NotFactored {
        /// Kind.
        kind: ProjectionKind,
    },
    /// Modules times coordinates per module do not fit a vector.
    #[error("{modules} modules of {dim} coordinates are more than a vector can hold: use fewer per module")]
    TooManyModules {
        /// Modules.
        modules: usize,
        /// Coordinates of each.
        dim: u32,
    },
    /// A mask samples without replacement.
    #[error(
        "mask cannot take {dim} of {inputs} coordinates: use a dimension of at most {inputs}, or {}",
        Remedy::Option("projection", "none")
    )]
    MaskTooWide {
        /// Output coordinates.
        dim: u32,
        /// Input coordinates.
        inputs: u64,
    },
    /// A mask takes at least one coordinate of each tensor.
    #[error(
        "mask takes at least one coordinate of each of the {tensors} trainable tensors, but dim is {dim}"
    )]
    MaskTooNarrow {
        /// Output coordinates.
        dim: u32,
        /// Trainable tensors.
        tensors: usize,
    },
    /// More coordinates than a vector may have.
    #[error("{inputs} trainable parameters are more than a vector can hold; use a projection such as sjlt")]
    TooWide {
        /// Input coordinates.
        inputs: u64,
    },
    /// Nothing to project.
    #[error("the model has no trainable tensor")]
    NoTensors,
    /// A tensor without elements.
    #[error("trainable tensor {name} has shape {shape:?}, which holds no element")]
    EmptyTensor {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// Two tensors with one name would share their matrix.
    #[error("two trainable tensors are named {name}")]
    SameName {
        /// The name.
        name: String,
    },
    /// `per_checkpoint` without a checkpoint.
    #[error("a projection with a matrix per checkpoint needs the checkpoint's id")]
    NoCheckpoint,
}
