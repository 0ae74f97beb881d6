//! Errors of projections.

#![allow(missing_docs, reason = "the message of an error says what its fields are")]

use super::kind::ProjectionKind;
use gstore_core::Remedy;

/// Why a projection cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectionError {
    #[error("there is no projection {0:?}: use {known}", known = ProjectionKind::NAMED.map(ProjectionKind::name).join(", "))]
    UnknownKind(String),
    #[error("a projection to {dim} dimensions is not possible: use 1 to 2147483647")]
    Dim { dim: u32 },
    /// The row blocks of the sparse matrix would not be equal.
    #[error("sjlt with s = {s} needs a dimension that is a multiple of it, but dim is {dim}")]
    Sparsity { s: u32, dim: u32 },
    #[error(
        "{kind} with sides {k_out} x {k_in} cannot give {dim} coordinates per module: the sides of two_sided multiply to the \
         dimension, those of the other factored kinds to 1 to 2147483647"
    )]
    Sides { kind: ProjectionKind, k_out: u32, k_in: u32, dim: u32 },
    /// `ekfac` without the factors of a curvature.
    #[error("a projection to the eigenbasis of a curvature needs its factors")]
    NoFactors,
    #[error("the factors lack {modules}: differentiate only the modules that they have")]
    NoFactorsOf { modules: String },
    #[error("the model has no module {modules}, which the factors have: they are of another model")]
    ModulesOfFactors { modules: String },
    #[error(
        "the gradient of {module} is {} x {}, and its factors are for {} x {}, where a bias is one more column: differentiate it \
         as the factors have it",
        found.0, found.1, expected.0, expected.1
    )]
    SizeOfFactors {
        module: String,
        /// Rows and columns of its gradient.
        found: (usize, usize),
        /// Those of the factors.
        expected: (usize, usize),
    },
    #[error(
        "factors are for a model's own modules, but what is differentiated of checkpoint `{checkpoint}` is an adapter"
    )]
    FactorsOfAdapter { checkpoint: String },
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
    #[error("{kind} projects each module by itself, not a concatenated gradient")]
    NotFlat { kind: ProjectionKind },
    #[error(
        "{kind} projects the concatenated gradient, not single modules: use fact_sjlt, fact_mask or two_sided"
    )]
    NotFactored { kind: ProjectionKind },
    #[error("{modules} modules of {dim} coordinates are more than a vector can hold: use fewer per module")]
    TooManyModules { modules: usize, dim: u32 },
    #[error(
        "mask cannot take {dim} of {inputs} coordinates: use a dimension of at most {inputs}, or {}",
        Remedy::Option("projection", "none")
    )]
    MaskTooWide { dim: u32, inputs: u64 },
    #[error(
        "mask takes at least one coordinate of each of the {tensors} trainable tensors, but dim is {dim}"
    )]
    MaskTooNarrow { dim: u32, tensors: usize },
    #[error("{inputs} trainable parameters are more than a vector can hold; use a projection such as sjlt")]
    TooWide { inputs: u64 },
    #[error("the model has no trainable tensor")]
    NoTensors,
    #[error("trainable tensor {name} has shape {shape:?}, which holds no element")]
    EmptyTensor { name: String, shape: Vec<usize> },
    /// Two tensors with one name would share their matrix.
    #[error("two trainable tensors are named {name}")]
    SameName { name: String },
    /// `per_checkpoint` without a checkpoint.
    #[error("a projection with a matrix per checkpoint needs the checkpoint's id")]
    NoCheckpoint,
}
