//! `nearest(pool, ...)`: the rows most like a text, a sample or a vector, by the cosine of one feature.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use datafusion::catalog::TableProvider;
use datafusion::error::Result as DfResult;
use gstore_core::Kind;
use gstore_query::QueryError;
use gstore_query::ann::NearestOptions;
use gstore_query::hint::nearest;
use gstore_query::influence::{
    AtHandVector, Function, InfluenceSpec, Missing, Options, Plan, Prepared, named_kind,
};
use gstore_store::Snapshot;

use super::columns::{ExtraColumns, InfluenceColumns};
use super::question::RankedRelation;
use super::search::NearestSearch;
use super::source::{FunctionCall, FunctionSource, argument_error, resolve};
use super::table::InfluenceTable;
use crate::candidates::Candidates;
use crate::distinct::distinct;
use crate::error::SqlError;

/// The kind of vectors that are compared where none is named.
const KIND_OF_VECTORS: &str = Kind::EmbedMean.name();

/// The table function `nearest`.
pub(crate) fn nearest_table(call: &FunctionCall<'_>) -> DfResult<Arc<dyn TableProvider>> {
    let given = call.args.options(Function::Nearest, ["pool"])?;
    let mut spec = InfluenceSpec::from_options(&given).map_err(SqlError::option)?;
    let snapshot = &call.source.snapshot;
    let kind = spec.pool_kind.take().or_else(|| named_kind(snapshot, &spec.features, &spec.pools));
    let kind = kind.unwrap_or_else(|| default_kind(snapshot, &spec.pools));
    (spec.pool_kind, spec.target_kind) = (Some(kind.clone()), Some(kind));
    spec.missing = Missing::Exclude;
    let newest = Plan::default_checkpoint(snapshot, &spec);
    if let Some((name, _)) = &newest {
        spec.checkpoints = Some(vec![name.clone()]);
    }
    let note = newest.map(|(name, count)| {
        format!(
            "neighbours are looked for at `{name}`, the newest of the {count} checkpoints with these vectors; \
             `checkpoint` names another"
        )
    });
    let (about, plan) = plan(call.source, &given, spec)?;
    let candidates = Candidates::read(&given, &plan.spec().pools, call.session)?;
    let count = |name| given.count(name).map_err(SqlError::option);
    let exact = given.flag("exact").map_err(SqlError::option)?;
    let options = NearestOptions { ef: count("ef")?, exact };
    if options.exact == Some(true) && options.ef.is_some() {
        let why =
            "`ef` says how graphs are searched, and with `exact => true` none is; leave one of them out";
        return Err(SqlError::invalid(why.to_owned()).about("ef").into());
    }
    if options.ef == Some(0) {
        return Err(SqlError::invalid("`ef` is at least 1".to_owned()).about("ef").into());
    }
    let k = count("k")?;
    let extra = ExtraColumns { neighbours: true, asked: call.asked, ..ExtraColumns::default() };
    let columns = InfluenceColumns::new(&plan, extra);
    let search = NearestSearch { options, graphs: Arc::clone(&call.source.graphs), about, note };
    let relation = RankedRelation::Nearest { k, search };
    Ok(Arc::new(InfluenceTable::new((plan, candidates), columns, relation)))
}

/// The question, and what it is about.
fn plan(
    source: &FunctionSource,
    given: &Options,
    spec: InfluenceSpec,
) -> Result<(String, Prepared), SqlError> {
    let snapshot = &source.snapshot;
    let id = given.text("id").map_err(SqlError::option)?;
    let vector = given.numbers("vector").map_err(SqlError::option)?;
    let samples = spec.given.len();
    let ways = usize::from(samples > 0) + usize::from(id.is_some()) + usize::from(vector.is_some());
    if ways != 1 || samples > 1 {
        return Err(SqlError::invalid(
            "nearest() takes exactly one thing to find neighbours of: `text` (or `prompt` and `completion`, or `messages`), `id` or `vector`"
                .to_owned(),
        ));
    }
    let about = |vector, argument: &'static str| {
        Prepared::about_vector(snapshot, &spec, vector, source.encoder.clone()).map_err(|error| match error {
            QueryError::Spec(_) => SqlError::from(error).about(argument),
            other => argument_error(&spec, other),
        })
    };
    if let Some(id) = id {
        let (pool, row) = find(snapshot, &spec.pools, &id)?;
        return Ok((format!("id {id:?}"), about(AtHandVector::Row { pool, row }, "id")?));
    }
    if let Some(vector) = vector {
        if vector.iter().all(|x| *x == 0.0) {
            let why = "a vector of zeros has no direction, so nothing is near it";
            return Err(SqlError::invalid(why.to_owned()).about("vector"));
        }
        let text = format!("vector of {}", vector.len());
        return Ok((text, about(AtHandVector::Values(vector), "vector")?));
    }
    let plan = resolve(source, &spec)?;
    plan.plan().check_nearest()?;
    Ok(("text".to_owned(), plan))
}

/// Mean embeddings, or the only embeddings that the first pool has.
fn default_kind(snapshot: &Snapshot, pools: &[String]) -> String {
    let of = pools.first().map(|pool| snapshot.features_of(pool)).unwrap_or_default();
    let kinds = of.iter().map(|f| f.desc.kind.name.as_str()).filter(|kind| Kind::names_embedding(kind));
    match distinct(kinds).as_slice() {
        [only] => (*only).to_owned(),
        _ => KIND_OF_VECTORS.to_owned(),
    }
}

fn find(snapshot: &Snapshot, pools: &[String], id: &str) -> Result<(usize, u64), SqlError> {
    let mut found = Vec::new();
    let mut near: Option<String> = None;
    for (number, name) in pools.iter().enumerate() {
        let dataset = snapshot.dataset(name).map_err(|e| SqlError::lookup(e).about("pool"))?;
        let samples = snapshot.samples(dataset)?;
        for batch in samples.scan(&["row", "id"], None) {
            let batch = batch?;
            let columns =
                batch.column(0).as_primitive_opt::<UInt64Type>().zip(batch.column(1).as_string_opt::<i32>());
            let (rows, ids) = columns.ok_or_else(|| SqlError::internal("rows and ids"))?;
            for (row, own) in rows.values().iter().zip(ids) {
                if own == Some(id) {
                    found.push((number, *row));
                }
            }
            if found.is_empty() {
                let known = near.as_deref().into_iter().chain(ids.iter().flatten());
                near = nearest(id, known).map(str::to_owned);
            }
        }
    }
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(SqlError::unknown(format!("the pool has no sample {id:?}"))
            .maybe_hint(near.map(|near| format!("did you mean {near:?}?")))
            .about("id")),
        several => {
            Err(SqlError::invalid(format!("{} samples of the pool have the id {id:?}", several.len()))
                .about("id"))
        }
    }
}
