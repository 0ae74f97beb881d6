//! Ensembles: models of one origin, and the losses of samples under each of them.
//!
//! Invariants
//! - a member's place in its ensemble never changes, and is what its losses are stored under
//! - appending a member writes a feature of its own, and no file that is there
//! - losses of a table are differences to one offset a row, which never changes once it is published
//! - readers see rows x members; how these are cut into features they do not

mod columns;
mod reader;
mod table;
mod update;

pub use columns::LossColumns;
pub use reader::{LossBlock, LossReader};
pub use table::{LossTable, LossWanted};
pub use update::EnsembleUpdate;
