//! Statements: the sessions that run them, what they are given, and where their results and notes go.

mod input;
mod report;
mod session;
mod write;

pub use input::{own_tables, parameters, statement_text};
pub use report::report;
pub use session::{STOPPING, list, session};
pub use write::{BLANK, NULL, check_place, style, write, write_result};
