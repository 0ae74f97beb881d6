//! The shell of `gstore query`: input, SQL and dot commands, apart from any terminal.
//!
//! - `lexer`, `colour`, `complete`, `call`: pieces of SQL, their colours, and what may stand at the cursor
//! - `words`, `relations`: the words that completion offers, and the tables of the statement that is typed
//! - `dot`, `settings`, `shown`: dot commands, what they set, and the line below a result

mod call;
pub mod colour;
pub mod complete;
pub mod dot;
pub mod lexer;
mod relations;
pub mod settings;
pub mod shown;
pub mod words;
