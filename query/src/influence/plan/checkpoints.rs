//! Checkpoints of a question, and their weights.

use std::collections::BTreeSet;
use std::sync::Arc;

use gstore_core::{Kind, Remedy, Space, first_of, many};
use gstore_store::{CheckpointId, RunCheckpoint, RunPart, Snapshot};

use super::projection::ingest_options;
use super::resolve::{NeededFeatures, QuestionDataset, computable, is_trained, run_for};
use crate::error::{QueryError, SideOf};
use crate::hint::quoted;
use crate::influence::spec::InfluenceSpec;

/// Checkpoints and weights in a message.
const FEW: usize = 12;

/// A checkpoint of a plan.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanCheckpoint {
    /// Its name in the run; the start of its id where no run has it.
    pub name: String,
    /// Its training step, if the run knows it.
    pub step: Option<u64>,
    /// The weights it stands for.
    pub id: CheckpointId,
    /// Its share: the weights of a plan sum to 1.
    pub weight: f64,
}

/// The run (if any), its checkpoints in the run's order, and what a user should know about the choice.
pub(super) struct ChosenCheckpoints {
    pub(super) run: Option<String>,
    pub(super) checkpoints: Vec<PlanCheckpoint>,
    pub(super) notes: Vec<String>,
}

pub(super) fn choose(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    sides: &[QuestionDataset],
    needed: &[NeededFeatures<'_>],
) -> Result<ChosenCheckpoints, QueryError> {
    let everywhere = |id: &CheckpointId| sides.iter().all(|side| side.features.contains_key(id));
    if let Some(several) =
        spec.checkpoints.as_deref().and_then(|names| of_several_runs(snapshot, spec, names))
    {
        return Err(QueryError::Spec(several));
    }
    let run = find_run(snapshot, spec, &everywhere)?;
    let known: Vec<RunCheckpoint> = match &run {
        Some(run) => run.checkpoints.clone(),
        None => sides.iter().flat_map(anonymous).fold(Vec::new(), |mut all, entry| {
            if !all.contains(&entry) {
                all.push(entry);
            }
            all
        }),
    };
    let mut notes = Vec::new();
    let used: Vec<usize> = match &spec.checkpoints {
        Some(names) => named(names, &known, sides)?,
        None => {
            let (used, skipped): (Vec<usize>, Vec<usize>) =
                (0..known.len()).partition(|&i| everywhere(&known[i].checkpoint));
            let skipped: Vec<&RunCheckpoint> = skipped.into_iter().map(|i| &known[i]).collect();
            notes.extend(not_used(sides, &skipped, run.as_deref(), spec.per_token));
            used
        }
    };
    if used.is_empty() {
        return Err(nothing_common(snapshot, spec, (sides, needed), run.as_deref()));
    }
    let weights = weights(spec, &known, &used, &mut notes)?;
    let mut checkpoints: Vec<(usize, PlanCheckpoint)> = used
        .iter()
        .zip(weights)
        .map(|(&i, weight)| {
            let RunCheckpoint { name, step, checkpoint: id, .. } = known[i].clone();
            (i, PlanCheckpoint { name, step, id, weight })
        })
        .collect();
    // The run's order, so that scores do not depend on the order in which checkpoints are named.
    checkpoints.sort_unstable_by_key(|(i, _)| *i);
    let checkpoints = checkpoints.into_iter().map(|(_, checkpoint)| checkpoint).collect();
    Ok(ChosenCheckpoints { run: run.map(|run| run.name.clone()), checkpoints, notes })
}

/// What is said of checkpoints that a question leaves out: of each the first dataset that lacks its feature
/// there. A checkpoint at which no dataset has its feature is not part of the question.
fn not_used(
    sides: &[QuestionDataset],
    skipped: &[&RunCheckpoint],
    run: Option<&RunPart>,
    per_token: bool,
) -> Vec<String> {
    let has = |side: &QuestionDataset, at: &RunCheckpoint| side.features.contains_key(&at.checkpoint);
    let lacking: Vec<(&QuestionDataset, &RunCheckpoint)> = skipped
        .iter()
        .filter(|at| sides.iter().any(|side| has(side, at)))
        .filter_map(|at| Some((sides.iter().find(|side| !has(side, at))?, *at)))
        .collect();
    let note = |&(side, at): &(&QuestionDataset, &RunCheckpoint)| {
        let why = match side.named {
            true => format!("`features` names none of dataset `{}` there", side.dataset.name),
            false => {
                let of_side = lacking.iter().filter(|(other, _)| std::ptr::eq(*other, side));
                let of_side: Vec<&RunCheckpoint> = of_side.map(|(_, at)| *at).collect();
                let way = run.and_then(|run| way_to(side, run, (at, &of_side), per_token));
                format!(
                    "dataset `{}` has no {} feature there{}",
                    side.dataset.name,
                    side.kind,
                    way.unwrap_or_default()
                )
            }
        };
        format!("{} is not used: {why}", at.name)
    };
    lacking.iter().map(note).collect()
}

/// How to compute the feature that a dataset lacks at a checkpoint of a run, with those that it lacks at
/// others, like those that it has. `None` where no ingest computes it, or its options are not all known.
fn way_to(
    side: &QuestionDataset,
    run: &RunPart,
    (at, all): (&RunCheckpoint, &[&RunCheckpoint]),
    per_token: bool,
) -> Option<String> {
    let kind: Kind = side.kind.parse().ok()?;
    let is_computed = |at: &RunCheckpoint| !kind.needs_moments() || is_trained(at);
    if !is_computed(at) {
        return None;
    }
    let names: Vec<&str> = all.iter().filter(|at| is_computed(at)).map(|at| at.name.as_str()).collect();
    let mut options = ingest_options(&side.dataset, side.features.values().flatten().next()?)?;
    options.push(Remedy::Option("checkpoints", &names.join(",")).to_string());
    let remedy = Remedy::IngestAs {
        dataset: &side.dataset.name,
        kind: &side.kind,
        per_token: side.of == SideOf::Pool && per_token,
        run: &run.name,
        options: &options,
        command: "",
    };
    Some(format!("; {remedy} computes it"))
}

/// Checkpoints of features that no run has, by the number of the feature.
fn anonymous(side: &QuestionDataset) -> Vec<RunCheckpoint> {
    let mut all: Vec<_> =
        side.features.iter().map(|(id, list)| (list.iter().map(|f| f.number).min(), id.clone())).collect();
    all.sort_unstable();
    let unnamed = |(_, id): (_, CheckpointId)| RunCheckpoint {
        name: id.short().to_owned(),
        step: None,
        weight: None,
        checkpoint: id,
        base: String::new(),
        provenance: Default::default(),
        extra: Default::default(),
    };
    all.into_iter().map(unnamed).collect()
}

/// The checkpoints that a question names, itself or by their run; `None` where it names none that a run has.
pub(super) fn asked(snapshot: &Snapshot, spec: &InfluenceSpec) -> Option<BTreeSet<CheckpointId>> {
    let names = spec.checkpoints.as_deref();
    let runs = match (&spec.run, names) {
        (Some(run), _) => vec![snapshot.run(run).ok()?],
        (None, Some(names)) => runs_with(snapshot, names),
        (None, None) => Vec::new(),
    };
    let of_run = |run: &Arc<RunPart>| -> Vec<CheckpointId> {
        let known = &run.checkpoints;
        let at: Vec<usize> = match names {
            Some(names) => names.iter().filter_map(|name| position(name, known)).collect(),
            None => (0..known.len()).collect(),
        };
        at.into_iter().map(|i| known[i].checkpoint.clone()).collect()
    };
    let found: BTreeSet<CheckpointId> = runs.into_iter().flat_map(of_run).collect();
    (!found.is_empty()).then_some(found)
}

fn has(run: &RunPart, name: &str) -> bool {
    position(name, &run.checkpoints).is_some()
}

/// The runs that have checkpoints of all these names.
fn runs_with<'a>(snapshot: &'a Snapshot, names: &[String]) -> Vec<&'a Arc<RunPart>> {
    snapshot.runs().iter().filter(|run| names.iter().all(|name| has(run, name))).collect()
}

/// The run that is named, or of those with the named checkpoints the one that has the most checkpoints of
/// every side; none where no run has one.
fn find_run(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    everywhere: &impl Fn(&CheckpointId) -> bool,
) -> Result<Option<Arc<RunPart>>, QueryError> {
    if let Some(name) = &spec.run {
        return Ok(Some(snapshot.run(name)?.clone()));
    }
    let mut fitting = runs_with(snapshot, spec.checkpoints.as_deref().unwrap_or_default());
    // Of a named checkpoint it is said what lacks there; else what is compared chooses the run.
    if spec.checkpoints.is_none() || fitting.is_empty() {
        fitting = snapshot.runs().iter().collect();
        fitting.retain(|run| run.checkpoints.iter().any(|c| everywhere(&c.checkpoint)));
    }
    // A run that has some of another's checkpoints is no rival to it.
    let covered = |run: &&Arc<RunPart>| run.checkpoints.iter().filter(|c| everywhere(&c.checkpoint)).count();
    let most = fitting.iter().map(covered).max();
    // Runs with the same checkpoints and weights give the same scores: of these it is the last, whose folders
    // are known best.
    let used = |run: &RunPart| -> Vec<(CheckpointId, Option<f64>)> {
        let used = run.checkpoints.iter().filter(|c| everywhere(&c.checkpoint));
        used.map(|c| (c.checkpoint.clone(), c.weight.filter(|_| !spec.unscored))).collect()
    };
    let mut distinct: Vec<&Arc<RunPart>> = Vec::new();
    for run in fitting.into_iter().filter(|run| Some(covered(run)) == most) {
        distinct.retain(|other| used(other) != used(run));
        distinct.push(run);
    }
    match distinct.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some((*only).clone())),
        several => Err(QueryError::Spec(format!(
            "runs {} all have checkpoints of both sides; name one with `run => 'NAME'`",
            quoted(several.iter().map(|run| &run.name))
        ))),
    }
}

/// The position of the checkpoint with a name, a step or the start of an id.
fn position(name: &str, known: &[RunCheckpoint]) -> Option<usize> {
    let by_name = known.iter().position(|c| c.name == name);
    let by_step = || name.parse().ok().and_then(|step: u64| known.iter().position(|c| c.step == Some(step)));
    let by_id =
        || (name.len() >= 8).then(|| known.iter().position(|c| c.checkpoint.starts_with(name))).flatten();
    by_name.or_else(by_step).or_else(by_id)
}

/// What is said of names whose checkpoints are of several runs; none where the run of the question has all of
/// them (without one: any run), or no run has one of them.
fn of_several_runs(snapshot: &Snapshot, spec: &InfluenceSpec, names: &[String]) -> Option<String> {
    let is_asked = |run: &RunPart| spec.run.as_deref().is_none_or(|asked| asked == run.name);
    let with_all = runs_with(snapshot, names);
    if !snapshot.runs().iter().any(|run| is_asked(run)) || with_all.iter().any(|run| is_asked(run)) {
        return None;
    }
    let runs_of = |name: &String| {
        let having = snapshot.runs().iter().filter(|run| has(run, name));
        let having: Vec<String> = having.map(|run| format!("`{}`", run.name)).collect();
        (!having.is_empty()).then(|| format!("`{name}` is of {}", having.join(" and ")))
    };
    let found: Vec<String> = names.iter().map(runs_of).collect::<Option<_>>()?;
    let lacking = match &spec.run {
        Some(run) => format!("run `{run}` lacks some of these"),
        None => "no run has all of these".to_owned(),
    };
    Some(format!("a question uses the checkpoints of one run, and {lacking}: {}", found.join(", ")))
}

/// Positions of the checkpoints named by name, step or the start of their id.
fn named(
    names: &[String],
    known: &[RunCheckpoint],
    sides: &[QuestionDataset],
) -> Result<Vec<usize>, QueryError> {
    let mut used = Vec::new();
    for name in names {
        let at = position(name, known)
            .ok_or_else(|| QueryError::unknown("checkpoint", name, known.iter().map(|c| c.name.as_str())))?;
        if used.contains(&at) {
            return Err(QueryError::Spec(format!("checkpoint `{name}` is named twice")));
        }
        if let Some(side) = sides.iter().find(|side| !side.features.contains_key(&known[at].checkpoint)) {
            let hint = "leave the checkpoint out, or ingest the feature";
            return Err(side.lacks_feature(&known[at].name, hint));
        }
        used.push(at);
    }
    if used.is_empty() {
        return Err(QueryError::Spec("`checkpoints` names none".into()));
    }
    Ok(used)
}

/// The error for sides without a common checkpoint, with what they have.
fn nothing_common(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    (sides, needed): (&[QuestionDataset], &[NeededFeatures<'_>]),
    run: Option<&RunPart>,
) -> QueryError {
    let has: Vec<String> = sides
        .iter()
        .map(|side| {
            // Labels name checkpoints that no run has, too.
            let labels: Vec<&str> =
                side.features.values().flatten().map(|feature| feature.attrs.label.as_str()).collect();
            format!("dataset `{}` has {}", side.dataset.name, labels.join(", "))
        })
        .collect();
    let within = run.map_or_else(String::new, |run| format!(" of run `{}`", run.name));
    if sides.iter().any(|side| side.named) {
        return QueryError::Spec(format!(
            "no checkpoint{within} has features of every pool and target: with those that `features` names, {}; name \
             features of the same checkpoints, or leave some out",
            has.join("; ")
        ));
    }
    let is_known =
        |id: &CheckpointId| run.is_none_or(|run| run.checkpoints.iter().any(|c| c.checkpoint == *id));
    // The first without a checkpoint in common with all before it: features of another would not help.
    let at_fault = sides.iter().enumerate().zip(needed).find(|((at, _), _)| {
        let of_all = |id: &CheckpointId| sides.iter().take(at + 1).all(|side| side.features.contains_key(id));
        !sides.iter().take(1).flat_map(|first| first.features.keys()).any(|id| is_known(id) && of_all(id))
    });
    let way = match (sides, at_fault) {
        ([first, _, ..], Some(((_, side), lacking))) => {
            let has = |run: &&Arc<RunPart>| {
                run.checkpoints.iter().any(|known| first.features.contains_key(&known.checkpoint))
            };
            let best = run_for(snapshot, *lacking, needed, spec);
            let found = snapshot.runs().iter().rev().filter(has).max_by_key(|run| run.name == best);
            let (of_run, place) = match (run, found) {
                (Some(run), _) => (run.name.as_str(), format!("of run `{}`", run.name)),
                (None, found) => {
                    let place = format!("where `{}` has its own", first.dataset.name);
                    (found.map_or("", |run| run.name.as_str()), place)
                }
            };
            let remedy = Remedy::IngestAs {
                dataset: &side.dataset.name,
                kind: computable(snapshot, *lacking, spec, of_run),
                per_token: side.of == SideOf::Pool && spec.per_token,
                run: of_run,
                options: &[],
                command: "",
            };
            way_from_elsewhere(first, side)
                .unwrap_or_else(|| format!("{remedy} computes those of `{}` {place}, or ", side.dataset.name))
        }
        _ => String::new(),
    };
    QueryError::Spec(format!(
        "no checkpoint{within} has features of every pool and target: {}; {way}name other kinds with \
         `pool_kind => 'KIND'` and `target_kind => 'KIND'`",
        has.join("; ")
    ))
}

/// What helps where vectors of one of two sides were computed elsewhere: no ingest computes what fits to
/// them, and without a checkpoint each space of theirs is of weights of its own.
fn way_from_elsewhere(first: &QuestionDataset, side: &QuestionDataset) -> Option<String> {
    let spaces = |side: &QuestionDataset| {
        let mut spaces = side.features.values().flatten().map(|feature| &feature.desc.space.projection);
        spaces.find(|name| name.starts_with(Space::EXTERNAL)).cloned()
    };
    let (of, space, others) = match (spaces(first), spaces(side)) {
        (Some(space), _) => (first, space, side),
        (None, Some(space)) => (side, space, first),
        (None, None) => return None,
    };
    let apart = match spaces(others).filter(|other| *other != space) {
        Some(other) => format!(", those of `{}` in {other}", others.dataset.name),
        None => String::new(),
    };
    Some(format!(
        "those of `{}` were computed elsewhere, in the space {space}{apart}: store vectors of `{}` with that \
         `space`, at the same checkpoint and under a label of their own, or ",
        of.dataset.name, others.dataset.name
    ))
}

/// Weights of the used checkpoints, in the order of `used`, with sum 1.
fn weights(
    spec: &InfluenceSpec,
    known: &[RunCheckpoint],
    used: &[usize],
    notes: &mut Vec<String>,
) -> Result<Vec<f64>, QueryError> {
    let raw: Vec<f64> = match &spec.weights {
        Some(weights) if weights.len() != used.len() => {
            return Err(QueryError::Spec(format!(
                "{} for {} ({})",
                many(weights.len() as u64, "weight"),
                many(used.len() as u64, "checkpoint"),
                first_of(used.iter().map(|&i| known[i].name.as_str()), FEW)
            )));
        }
        Some(weights) => weights.clone(),
        None if used.len() == 1 || spec.unscored => vec![1.0; used.len()],
        None if used.iter().all(|&i| known[i].weight.is_none()) => {
            notes.push(
                "no run has weights for these checkpoints, so all count the same; `weights` sets others"
                    .into(),
            );
            vec![1.0; used.len()]
        }
        None => {
            let mut raw = Vec::new();
            for &i in used {
                raw.push(known[i].weight.ok_or_else(|| {
                    QueryError::Spec(format!("{} has no weight, others have; give `weights`", known[i].name))
                })?);
            }
            raw
        }
    };
    let sum: f64 = raw.iter().sum();
    let is_wrong = |w: &&f64| !w.is_finite() || **w < 0.0;
    let wrong = first_of(raw.iter().filter(is_wrong).map(|w| format!("{w:?}")), FEW);
    if !wrong.is_empty() {
        return Err(QueryError::Spec(format!(
            "weights must be finite and not negative; these are not: {wrong}"
        )));
    }
    if sum <= 0.0 {
        return Err(QueryError::Spec("weights must not be all zero; give others with `weights`".into()));
    }
    if !sum.is_finite() {
        let why = "the sum of the weights is too large: use smaller ones with the same ratios";
        return Err(QueryError::Spec(why.into()));
    }
    Ok(raw.into_iter().map(|w| w / sum).collect())
}
