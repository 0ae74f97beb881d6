//! Training-data attribution over a store of features: the front door for programs.
//!
//! - [`Folders`]: models and checkpoints, by path, pattern or name on the Hugging Face Hub
//! - [`Models`]: models at hand for samples that are given with a question
//! - [`indexes`]: sketches that follow the vectors
//! - [`Work`]: how a job is done, and what stops it
#![forbid(unsafe_code)]

mod folders;
pub mod indexes;
mod models;
mod work;

pub use folders::{FolderError, Folders};
pub use models::Models;
pub use work::Work;
