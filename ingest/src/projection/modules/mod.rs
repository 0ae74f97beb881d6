//! Modules as projections take them: shapes, the matrices of both sides, kept blocks of an eigenbasis.

mod eigen;
mod module;
mod side;

pub use eigen::{EigenBasis, EigenBlock};
pub(crate) use module::tensor_modules;
pub use module::{GradientShape, ModuleShape, modules_of};
pub use side::{SideEntries, SideEntry, SideMatrices, SideMatrix};
