//! Checks of scores before any work: their form, and whether factors belong to the model and the pool.

use gstore_core::{Cancel, CheckpointId, Remedy};
use gstore_curvature::{Damping, Filter, Module, SolveLimits, Strategy};
use gstore_ingest::gradient::ModuleSelection;
use gstore_ingest::pipeline::{IngestRequest, RowBatches};

use super::request::{HeldOutputs, ScoreForm, ScorePer, ScoreRequest, ScoreSegment, ScoreTarget};
use crate::factors::engine;
use crate::factors::error::FactorJobError;
use crate::factors::stamp::FactorStamp;
use crate::factors::stored::StoredFactors;

/// Refuses forms of scores that there are not.
pub(super) fn check(request: &ScoreRequest, held: HeldOutputs) -> Result<(), FactorJobError> {
    let refuse = |text: &str| Err(FactorJobError::Option(text.to_owned()));
    let own = request.target.is_own();
    if request.ingest.checkpoints.len() > 1 {
        return refuse("scores are of one checkpoint; name one");
    }
    let mut filters = request.filters.iter().enumerate();
    if let Some((_, filter)) = filters.find(|(at, filter)| request.filters[..*at].contains(filter)) {
        let damping = match filter.damping() {
            Some(Damping::Value(damping)) => format!(" with a damping of {damping}"),
            Some(Damping::OfMean) => " with the damping auto".to_owned(),
            None => String::new(),
        };
        return refuse(&format!(
            "the filter {filter}{damping} is named twice, and its scores would be too: name it once"
        ));
    }
    if own && !request.segments.is_empty() {
        return refuse("scores of rows for themselves are of one checkpoint, and have no segments");
    }
    if request.segments.iter().any(|segment| segment.filter.decay().is_none()) {
        return refuse("a segment of training has steps at a learning rate");
    }
    if let Some(segment) = request.segments.iter().find(|segment| segment.checkpoints.is_empty()) {
        return refuse(&format!("the segment of factors `{}` has no checkpoint", segment.factors));
    }
    if own && (request.rank.is_some() || request.form.per == ScorePer::Token || request.form.summed) {
        return refuse("scores of rows for themselves are whole, or by module: they have no rank and no sum");
    }
    let per = match request.form.per {
        ScorePer::Row => None,
        ScorePer::Module => Some("per_module"),
        ScorePer::Token => Some("per_token"),
    };
    let summed = request.form.summed.then_some("sum_pool");
    let ranked = request.top.map(|_| "top");
    let pairs = [(summed, per), (ranked, per), (ranked, summed)];
    if let Some((of_rows, other)) = pairs.into_iter().find_map(|(a, b)| a.zip(b)) {
        let [of_rows, other] = [of_rows, other].map(|name| Remedy::Option(name, ""));
        return refuse(&format!(
            "{of_rows} is for scores of whole rows, and {other} gives others: leave one of them out"
        ));
    }
    check_held(request, held)?;
    check_solve(request)
}

/// Refuses scores that a report, or files of Kronfluence's, do not have.
fn check_held(request: &ScoreRequest, held: HeldOutputs) -> Result<(), FactorJobError> {
    let refuse = |text: &str| Err(FactorJobError::Option(text.to_owned()));
    let has_queries = matches!(request.target, ScoreTarget::Samples { summed: false, .. });
    if held.report && (!has_queries || request.form != ScoreForm::default()) {
        return refuse("a report is of the scores of whole rows for each query");
    }
    if held.any() && request.segments.is_empty() && request.filters.len() > 1 {
        return refuse("Kronfluence's files and reports have scores of one filter and one damping");
    }
    if held.any() && request.form.per == ScorePer::Token {
        let (per, table) = (Remedy::Option("per_token", ""), Remedy::Option("output", "FILE.parquet"));
        return refuse(&format!(
            "Kronfluence's files have scores of tokens only where all rows have the same number of them, and are not \
             written with {per}: {table} has such scores of any rows"
        ));
    }
    Ok(())
}

/// Refuses an iterative solve of what is not one inverse for whole queries.
fn check_solve(request: &ScoreRequest) -> Result<(), FactorJobError> {
    let refuse = |text: &str| Err(FactorJobError::Option(text.to_owned()));
    let Some(solve) = &request.solve else { return Ok(()) };
    let SolveLimits { tolerance, iterations } = solve.limits;
    let own = request.target.is_own();
    if !request.segments.is_empty() {
        return refuse("an iterative solve is with the curvature of one checkpoint, and has no segments");
    }
    if own || request.rank.is_some() {
        return refuse(
            "an iterative solve is of queries, each a whole matrix: without a rank, not of rows for themselves",
        );
    }
    if !matches!(request.filters[..], [Filter::Inverse(_)]) {
        return refuse("an iterative solve is the inverse with one damping: name one, and no other filter");
    }
    let sound = tolerance > 0.0 && tolerance < 1.0 && iterations > 0 && solve.rows != Some(0);
    if !sound {
        return refuse("an iterative solve has a tolerance between 0 and 1, iterations and rows");
    }
    Ok(())
}

/// How curvature is approximated.
pub(super) fn strategy(
    request: &ScoreRequest,
    stamp: Option<&FactorStamp>,
) -> Result<Strategy, FactorJobError> {
    let found = match (stamp, request.strategy) {
        (Some(stamp), asked) => stamp.approximated_as(asked, |_| true)?,
        (None, None | Some(Strategy::Identity)) => Strategy::Identity,
        (None, Some(other)) => {
            return Err(FactorJobError::Option(format!("{} needs factors", other.name())));
        }
    };
    if found == Strategy::Identity && request.solve.is_some() {
        let why = "an iterative solve needs factors of curvature, which precondition it and say its damping";
        return Err(FactorJobError::Option(why.to_owned()));
    }
    let is_number = |filter: &Filter| matches!(filter.damping(), Some(Damping::Value(_)));
    if found == Strategy::Identity && request.filters.iter().any(is_number) {
        let why =
            "a damping is added to eigenvalues that are inverted, and the identity has none: leave it out";
        return Err(FactorJobError::Option(why.to_owned()));
    }
    Ok(found)
}

/// The modules that are asked for, else those of the factors, else the engine's own choice.
pub(super) fn selection(ingest: &IngestRequest, stamp: Option<&FactorStamp>) -> ModuleSelection {
    match stamp {
        Some(stamp) if ingest.modules.patterns.is_empty() => {
            let modules = stamp.modules.iter();
            ModuleSelection { patterns: modules.map(|module| module.name.clone()).collect(), biases: false }
        }
        _ => ingest.modules.clone(),
    }
}

/// Why a model cannot be loaded with the modules of factors: it lacks one, if it does.
pub(super) fn of_another_model(
    stored: &StoredFactors,
    ingest: &IngestRequest,
    selection: &ModuleSelection,
) -> Option<FactorJobError> {
    let modules = &stored.content.stamp.modules;
    if !modules.iter().map(|module| &module.name).eq(&selection.patterns) {
        return None;
    }
    let Module { name, .. } = engine::unknown_module(ingest, modules).ok()??;
    let (factors, model) = (&stored.part.name, ingest.model.display());
    Some(FactorJobError::Refused(format!(
        "factors `{factors}` are of another model: {model} has no module `{name}`, which they have"
    )))
}

/// Refuses modules that the factors do not have as they are.
pub(super) fn check_modules(stamp: &FactorStamp, modules: &[Module]) -> Result<(), FactorJobError> {
    // Files of other programs do not say which module has a bias.
    let same = |a: &Module, b: &Module| (&a.name, a.out, a.input) == (&b.name, b.out, b.input);
    let is_known = |module: &&Module| stamp.modules.iter().any(|known| same(known, module));
    match modules.iter().find(|module| !is_known(module)) {
        None => Ok(()),
        Some(Module { name, out, input, .. }) => Err(FactorJobError::Refused(format!(
            "the factors have no module `{name}` of {out} outputs and {input} inputs: they are of another model, or of other modules"
        ))),
    }
}

/// Refuses segments whose factors are not of the same modules, or not fitted in the same way.
pub(super) fn check_segments(stored: &[StoredFactors], strategy: Strategy) -> Result<(), FactorJobError> {
    let shapes = |stored: &StoredFactors| -> Vec<(String, usize, usize)> {
        let modules = stored.content.stamp.modules.iter();
        modules.map(|module| (module.name.clone(), module.out, module.input)).collect()
    };
    let Some(first) = stored.first() else { return Ok(()) };
    let expected = shapes(first);
    for other in stored {
        let (name, of) = (&other.part.name, &first.part.name);
        if shapes(other) != expected {
            return Err(FactorJobError::Refused(format!(
                "factors `{name}` and `{of}` have different modules, and segments need the same ones: fit both over the same modules"
            )));
        }
        let fitted = other.content.stamp.approximation()?;
        // Eigenvalues of K-FAC are of a token, and those of EK-FAC of a row: one rate is not for both.
        if strategy != Strategy::Identity && fitted != strategy {
            return Err(FactorJobError::Refused(format!(
                "factors `{name}` are fitted as {}, and not as {}: ask for a strategy that all segments have",
                fitted.name(),
                strategy.name()
            )));
        }
    }
    Ok(())
}

/// Whether factors are of a checkpoint: a segment's also of those that they are averaged over.
fn is_of(stamp: &FactorStamp, segments: &[ScoreSegment], id: &CheckpointId) -> bool {
    let id = id.to_string();
    if segments.is_empty() { stamp.checkpoint == id } else { stamp.is_at(&id) }
}

/// Why factors do not belong to what is scored, if they do not: rows are at one of the checkpoints.
pub(super) fn stale(
    request: &ScoreRequest,
    stamp: &FactorStamp,
    (checkpoints, batches): (&[CheckpointId], &RowBatches),
    cancel: &Cancel,
) -> Result<Option<String>, FactorJobError> {
    let pool = &request.ingest.dataset;
    let mut why = Vec::new();
    if !checkpoints.iter().any(|id| is_of(stamp, &request.segments, id)) {
        why.push(format!(
            "they were fitted at checkpoint {}, and this is {}",
            stamp.checkpoint.get(..8).unwrap_or(&stamp.checkpoint),
            checkpoints.iter().map(CheckpointId::short).collect::<Vec<_>>().join(", ")
        ));
    }
    match &stamp.dataset {
        Some(dataset) if dataset != pool => {
            why.push(format!("they were fitted on dataset `{dataset}`, and `{pool}` is scored"));
        }
        Some(dataset) if !stamp.has_rows(batches.samples(), cancel)? => {
            why.push(format!("rows of `{dataset}` that they were fitted on have changed"));
        }
        _ => {}
    }
    if stamp.encoding.as_ref().is_some_and(|encoding| *encoding != batches.encoding()) {
        why.push("texts became other tokens then: another tokenizer, template or length".to_owned());
    }
    Ok((!why.is_empty()).then(|| why.join("; ")))
}
