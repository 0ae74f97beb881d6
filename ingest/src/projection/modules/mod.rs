//! Modules as projections take them: shapes, the matrices of both sides, kept blocks of an eigenbasis.

mod eigen;
mod module;
mod side;

pub use eigen::{EigenBasis, EigenBlock};
pub use module::{GradientShape, ModuleShape, modules_of, tensor_modules};
pub use side::{SideEntries, SideEntry, SideMatrices, SideMatrix};
