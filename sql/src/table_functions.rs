//! The table functions of a session, and their options.

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use gstore_query::influence::{Encoder, Function};
use gstore_store::Snapshot;

use super::influence;
use super::predicted;
use super::vectors;

/// The table functions of a session.
pub(super) fn of_session(
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
pub(super) fn options_of(function: &str) -> Vec<&'static str> {
    match function {
        "vectors" => return vectors::OPTIONS.to_vec(),
        "predicted" => return predicted::OPTIONS.to_vec(),
        _ => {}
    }
    let asked = Function::ALL.into_iter().find(|known| known.name().strip_suffix("()") == Some(function));
    asked.into_iter().flat_map(Function::options).map(|option| option.name).collect()
}
