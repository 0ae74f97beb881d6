//! SQL over a store, by DataFusion: datasets and system tables, `influence()` and its relatives.
//!
//! - [`SqlSession`]: one snapshot, read by SQL; [`SqlSession::run`] plans and starts one statement
//! - [`Parameters`]: values for the parameters of a statement; [`Prepared`]: a statement to be run later
//! - [`SqlResources`]: memory and disk that several sessions share
//! - [`SqlRunner`]: the same for a program without an async runtime
//! - [`OwnTable`]: a file of the caller's as a table, which no statement can name by itself
//! - [`statements`]: the statements of a text; [`check_view`]: whether one can be saved as a view
//! - [`output`]: a result as a table, CSV, JSON lines, Parquet or Arrow
//!
//! Invariants
//! - nothing here writes to a store or to any file but the output it is given
//! - what a leaf accepts (filter, order, limit) it applies exactly: pushing work into it
//!   never changes a result

#![forbid(unsafe_code)]

mod args;
mod at_once;
mod blocking;
mod bounds;
mod catalog;
mod caught;
mod cooperative;
mod copies;
mod correlated;
mod counts;
mod describe;
mod dialect;
mod distinct;
mod engine;
mod error;
mod expanded;
mod filter;
mod function;
mod functions;
mod guard;
mod influence;
mod leaf;
mod literals;
mod live;
mod measured;
mod memory;
mod mixed;
mod not_in;
mod notes;
mod ordinals;
pub mod output;
mod own;
mod parameters;
mod planning;
mod predicted;
mod prepared;
mod quotes;
mod runner;
mod samples;
mod scan;
mod session;
mod shown;
mod shows;
mod system;
mod tokens;
mod translate;
mod types;
mod union;
mod vectors;
mod views;
mod virtuals;
mod walk;
mod window;
mod wording;

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use gstore_query::influence::Encoder;
use gstore_store::Snapshot;

pub use catalog::{CATALOG, DATA, SYSTEM};
pub use describe::Description;
pub use engine::{HeldMemory, SqlResources};
pub use error::{SqlError, SqlErrorKind};
pub use guard::{MAX_OPERATORS, MAX_RELATIONS, MAX_SQL_BYTES, check_condition};
pub use live::{Asker, LiveTable};
pub use notes::{InfluenceNote, Notes, RunNotes};
pub use own::OwnTable;
pub use parameters::{MAX_PARAMETERS, Parameters};
pub use prepared::Prepared;
pub use runner::{SqlRows, SqlRunner};
pub use session::{Asked, SqlOptions, SqlResult, SqlSession, SqlStream};
pub use shown::with_whole_views;
pub use window::Window;

/// The statements of a text, in their places; empty ones are left out.
pub fn statements(text: &str) -> Vec<String> {
    dialect::statements(text)
}

/// Whether a text can be saved as a view: one query without parameters.
///
/// # Errors
/// Any other text.
pub fn check_view(sql: &str) -> Result<(), SqlError> {
    views::check(sql)
}

/// The views of a snapshot whose text names this dataset or view.
pub fn views_that_read(snapshot: &Snapshot, table: &str) -> Vec<String> {
    views::that_read(snapshot, table)
}

/// The columns that a table of samples has where a statement names them.
pub fn virtual_columns() -> [&'static str; 6] {
    virtuals::Virtual::ALL.map(virtuals::Virtual::name)
}

/// A text of the engine with types under their names in SQL: `Int64` is `BIGINT`.
pub fn types_in_sql(text: &str) -> String {
    types::in_sql(text)
}

/// The table functions of a session.
fn table_functions(
    snapshot: &Arc<Snapshot>,
    encoder: Option<&Arc<dyn Encoder>>,
) -> [(&'static str, Arc<dyn TableFunctionImpl>); 7] {
    let source = || influence::Source { snapshot: Arc::clone(snapshot), encoder: encoder.map(Arc::clone) };
    [
        ("influence", Arc::new(influence::InfluenceFunction(source()))),
        ("daunce", Arc::new(influence::DaunceFunction(source()))),
        ("self_influence", Arc::new(influence::SelfInfluenceFunction(source()))),
        ("excluded", Arc::new(influence::ExcludedFunction(source()))),
        ("nearest", Arc::new(influence::NearestFunction::new(source()))),
        ("predicted", Arc::new(predicted::PredictedFunction(source()))),
        ("vectors", Arc::new(vectors::VectorsFunction(source()))),
    ]
}

/// The options of a table function, by the names they can be given with.
fn options_of(function: &str) -> Vec<&'static str> {
    use gstore_query::influence::Function;
    match function {
        "vectors" => return vectors::OPTIONS.to_vec(),
        "predicted" => return predicted::OPTIONS.to_vec(),
        _ => {}
    }
    let asked = Function::ALL.into_iter().find(|known| known.name().strip_suffix("()") == Some(function));
    asked.into_iter().flat_map(Function::options).map(|option| option.name).collect()
}
