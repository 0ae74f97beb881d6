//! Errors of projections.

use super::kind::ProjectionKind;
use gstore_core::Remedy;

/// Why a projection cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// Not one of the kinds.
    #[error("there is no projection {0:?}: use {known}", known = ProjectionKind::NAMED.map(ProjectionKind::name).join(", "))]
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
    /// `ekfac` without the factors of a curvature.
    #[error("a projection to the eigenbasis of a curvature needs its factors")]
    NoFactors,
    /// Modules that are differentiated and have no factors.
    #[error("the factors have none of {modules}: differentiate the modules that they are of")]
    NoFactorsOf {
        /// Their names.
        modules: String,
    },
    /// Modules of the factors that the model does not have.
    #[error("the model has no module {modules}, of which there are factors: they are of another model")]
    ModulesOfFactors {
        /// Their names.
        modules: String,
    },
    /// Factors of another size.
    #[error(
        "the gradient of {module} is {} x {}, and its factors are for {} x {}, where a bias is one more column: differentiate it \
         as the factors have it",
        found.0, found.1, expected.0, expected.1
    )]
    SizeOfFactors {
        /// The tensor of its weight.
        module: String,
        /// Rows and columns of its gradient.
        found: (usize, usize),
        /// Those of the factors.
        expected: (usize, usize),
    },
    /// Factors of a model's own modules for an adapter.
    #[error(
        "factors are of a model's own modules, and what is differentiated of checkpoint `{checkpoint}` is an adapter"
    )]
    FactorsOfAdapter {
        /// The checkpoint.
        checkpoint: String,
    },
    /// Factors of another checkpoint.
    #[error(
        "the factors are stale: they were fitted at checkpoint {factors}, and these are gradients of {checkpoint}. Fit them there, \
         or accept them with {}",
        Remedy::Option("stale", "")
    )]
    StaleFactors {
        /// Id of theirs, shortened.
        factors: String,
        /// Id of the one at hand, shortened.
        checkpoint: String,
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
