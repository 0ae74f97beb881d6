//! Statements: the session that runs them, what they are given, and where their results and notes go.

mod engine;
mod input;
mod report;
mod write;

pub use engine::{Engine, STOPPING};
pub use input::{own_tables, parameters, statement_text};
pub use report::report;
pub use write::{BLANK, NULL, check_place, style, write, write_result};
