//! The table functions of a session, and their options.

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use gstore_query::influence::{Encoder, Function};
use gstore_store::Snapshot;

use super::influence;
use super::names::TABLE_FUNCTIONS;
use super::predicted;
use super::vectors;

/// The table functions of a session.
pub(super) fn session_functions(
    snapshot: &Arc<Snapshot>,
    encoder: Option<&Arc<dyn Encoder>>,
) -> [(&'static str, Arc<dyn TableFunctionImpl>); TABLE_FUNCTIONS.len()] {
    let source =
        || influence::FunctionSource { snapshot: Arc::clone(snapshot), encoder: encoder.map(Arc::clone) };
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
        assert_eq!(functions.map(|(name, _)| name), TABLE_FUNCTIONS.map(|(name, _)| name));
    }
}
