//! What is projected of one module: its shape, the matrices of both sides, what is kept of its eigenbasis.

mod eigen;
mod module;
mod side;

pub use eigen::{EigenBasis, EigenBlock};
pub use module::{ModuleShape, Shape, modules_of, tensor_modules};
pub use side::{SideEntries, SideEntry, SideMatrix, Sides};
