//! The table functions of a session, and their options.

use std::sync::Arc;

use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result as DfResult;
use gstore_query::ann::Graphs;
use gstore_query::influence::{Encoder, Function};
use gstore_store::Snapshot;

use super::args::Arguments;
use super::influence::{self, FunctionCall, FunctionSource};
use super::names::TABLE_FUNCTIONS;
use super::predicted;
use super::vectors;
use super::virtuals::NamedVirtuals;

/// The table of a call.
type TableOf = fn(&FunctionCall<'_>) -> DfResult<Arc<dyn TableProvider>>;

const FUNCTIONS: [(&str, TableOf); TABLE_FUNCTIONS.len()] = [
    ("influence", influence::influence_table),
    ("daunce", influence::daunce_table),
    ("self_influence", influence::self_influence_table),
    ("excluded", influence::excluded_table),
    ("nearest", influence::nearest_table),
    ("predicted", predicted::table),
    ("vectors", vectors::table),
];

#[derive(Debug)]
struct TableFunction {
    name: &'static str,
    table: TableOf,
    source: FunctionSource,
}

impl TableFunctionImpl for TableFunction {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let asked = args.session().config().get_extension::<NamedVirtuals>();
        (self.table)(&FunctionCall {
            source: &self.source,
            session: args.session(),
            args: Arguments::read(self.name, args.exprs())?,
            asked: asked.map_or_else(NamedVirtuals::default, |asked| *asked),
        })
    }
}

pub(super) fn session_functions(
    snapshot: &Arc<Snapshot>,
    encoder: Option<&Arc<dyn Encoder>>,
) -> [(&'static str, Arc<dyn TableFunctionImpl>); TABLE_FUNCTIONS.len()] {
    let source = FunctionSource {
        snapshot: Arc::clone(snapshot),
        encoder: encoder.map(Arc::clone),
        graphs: Arc::new(Graphs::new()),
    };
    FUNCTIONS.map(|(name, table)| {
        let function: Arc<dyn TableFunctionImpl> =
            Arc::new(TableFunction { name, table, source: source.clone() });
        (name, function)
    })
}

/// The options of a table function, by the names they can be given with.
pub(super) fn options_of(function: &str) -> Vec<&'static str> {
    match function {
        "vectors" => return vectors::OPTIONS.to_vec(),
        "predicted" => return predicted::OPTIONS.to_vec(),
        _ => {}
    }
    let asked = Function::ALL.into_iter().find(|known| known.name().strip_suffix("()") == Some(function));
    asked.into_iter().flat_map(Function::options).map(|option| option.name).collect()
}

#[cfg(test)]
mod tests {
    use gstore_store::Store;

    use super::*;

    /// What is not in that table is neither suggested nor looked into before a view is shown.
    #[test]
    fn every_table_function_is_in_the_table_of_names() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path().join("s")).unwrap();
        let functions = session_functions(&store.snapshot().unwrap(), None);
        assert_eq!(functions.map(|(name, _)| name), TABLE_FUNCTIONS.map(|function| function.name));
    }
}
