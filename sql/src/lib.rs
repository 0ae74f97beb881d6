//! SQL over a store, by DataFusion: datasets and system tables, `influence()` and its relatives.
//!
//! - [`SqlSession`]: one snapshot, read by SQL; [`SqlSession::run`] plans and starts one statement
//! - [`Parameters`]: values for the parameters of a statement; [`PreparedStatement`]: a
//!   statement to be run later
//! - [`SqlResources`]: memory and disk that several sessions share
//! - [`SqlRunner`]: the same for a program without an async runtime
//! - [`OwnTable`]: a file of the caller's as a table, which no statement can name by itself
//! - [`statements`]: the statements of a text; [`check_view`]: whether one can be saved as a view
//! - [`output`]: a result as a table, CSV, JSON lines, Parquet or Arrow
//!
//! Invariants
//! - nothing here writes to a store or to any file but the output it is given, and to those without a name for
//!   what does not fit into memory
//! - what a leaf accepts (filter, order, limit) it applies exactly: pushing work into it
//!   never changes a result

#![forbid(unsafe_code)]

mod args;
mod arity;
mod at_once;
mod best_groups;
mod blocking;
mod bounds;
mod branches;
mod calls;
mod candidates;
mod cases;
mod catalog;
mod caught;
mod common_types;
mod conditions;
mod cooperative;
mod copies;
mod correlated;
mod describe;
mod dialect;
mod distinct;
mod elements;
mod embedded;
mod engine;
mod equal_nulls;
mod error;
mod exists;
mod expanded;
mod filter;
mod formats;
mod full_sorts;
mod function;
mod guard;
mod influence;
mod join_filters;
mod key_names;
mod lasting;
mod lateral;
mod leaf;
mod limited;
mod literals;
mod live;
mod measured;
mod memory;
mod mixed;
mod names;
mod no_keys;
mod no_row;
mod not_in;
mod notes;
mod one_row;
mod options;
mod ordinals;
mod outer_types;
pub mod output;
mod own;
mod parameters;
mod passing;
mod planning;
mod plans;
mod positions;
mod predicted;
mod prepared;
mod projections;
mod pull_up;
mod push_down;
mod quotes;
mod runner;
mod samples;
mod scan;
mod semi_keys;
mod session;
mod set_keys;
mod shares;
mod shown;
mod shows;
mod sorted_inputs;
mod spill;
mod stable;
mod system;
mod table_functions;
mod tokens;
mod translate;
mod types;
mod union;
mod unordered;
mod vectors;
mod views;
mod virtuals;
mod walk;
mod window;
mod wording;

pub use catalog::SYSTEM;
pub use datafusion::arrow::ARROW_VERSION;
pub use describe::Description;
pub use dialect::{check_condition, statements, where_clause};
pub use engine::{HeldMemory, SqlResources};
pub use error::{SqlError, SqlErrorKind};
pub use guard::{MAX_OPERATORS, MAX_RELATIONS, MAX_SQL_BYTES};
pub use live::{LiveTable, Requester};
pub use names::{CATALOG, DATA, TableFunctionInfo, quoted};
pub use notes::{InfluenceNote, Notes, RunNotes};
pub use options::SqlOptions;
pub use own::OwnTable;
pub use parameters::{MAX_PARAMETERS, Parameters};
pub use prepared::PreparedStatement;
pub use runner::{SqlRows, SqlRunner};
pub use session::{SqlResult, SqlSession, SqlStream, StatementOptions};
pub use shown::{
    named_tables, names_itself as view_names_itself, that_read as views_that_read, with_whole_views,
};
pub use types::in_sql as types_in_sql;
pub use views::check as check_view;
pub use window::RowWindow;

/// The table functions over a store.
pub fn table_functions() -> impl Iterator<Item = TableFunctionInfo> {
    names::TABLE_FUNCTIONS.into_iter()
}

/// The columns that a table of samples has where a statement names them.
pub fn virtual_columns() -> [&'static str; virtuals::VirtualColumn::ALL.len()] {
    virtuals::VirtualColumn::ALL.map(virtuals::VirtualColumn::name)
}
