//! Name resolution: datasets, and the features that each side has.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use glob::{Pattern, PatternError};
use gstore_core::{Kind, Remedy};
use gstore_store::{
    CheckpointId, CoverageState, DatasetPart, Family, FeaturePart, Granularity, LookupError, RunCheckpoint,
    RunPart, Snapshot,
};

use super::conversation::{LazyShapes, SideTexts};
use super::named::{SCORES_TOKENS, is_named};
use crate::error::{QueryError, SideOf, ToCompute};
use crate::influence::spec::{InfluenceSpec, Sim, TargetRef};

/// The features of a dataset that a question needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct NeededFeatures<'a> {
    of: SideOf,
    dataset: &'a str,
    kind: &'a str,
    granularity: Granularity,
}

impl<'a> NeededFeatures<'a> {
    pub(super) fn new(of: SideOf, dataset: &'a DatasetPart, kind: &'a str, spec: &InfluenceSpec) -> Self {
        Self { of, dataset: &dataset.name, kind, granularity: spec.granularity_of(of) }
    }
}

/// A dataset of the question and the features of the wanted kind that it has, by checkpoint.
pub(super) struct QuestionDataset {
    pub(super) of: SideOf,
    pub(super) dataset: Arc<DatasetPart>,
    pub(super) kind: String,
    pub(super) features: BTreeMap<CheckpointId, Vec<Arc<FeaturePart>>>,
    /// Whether the question names some of them.
    pub(super) named: bool,
    pub(super) shapes: LazyShapes,
}

impl QuestionDataset {
    /// What its texts are told by, with the features that were chosen of it.
    pub(super) fn texts<'a>(&'a self, features: &'a [Arc<FeaturePart>]) -> SideTexts<'a> {
        SideTexts { of: self.of, dataset: &self.dataset, features, shapes: &self.shapes }
    }

    pub(super) fn lacks_feature(&self, checkpoint: &str, hint: &str) -> QueryError {
        QueryError::NoFeature {
            side: self.of,
            dataset: self.dataset.name.clone(),
            kind: self.kind.clone(),
            place: format!(" at {checkpoint}"),
            hint: hint.to_owned(),
            compute: None,
        }
    }
}

/// A target dataset and the subtasks that are asked about (`None`: all its rows).
pub(super) type NamedTarget = (Arc<DatasetPart>, Option<BTreeSet<String>>);

/// The pools, each named once.
pub(super) fn pools(snapshot: &Snapshot, names: &[String]) -> Result<Vec<Arc<DatasetPart>>, QueryError> {
    let mut found: Vec<Arc<DatasetPart>> = Vec::new();
    for name in names {
        let dataset = snapshot.dataset(name)?;
        if found.iter().any(|other| other.name == dataset.name) {
            return Err(QueryError::Spec(format!("pool `{name}` is named twice")));
        }
        found.push(dataset.clone());
    }
    if found.is_empty() {
        return Err(QueryError::Spec("a question needs at least one pool".into()));
    }
    Ok(found)
}

/// The targets, with the datasets that a pattern matches in its place.
///
/// # Errors
/// A text that is no pattern, and a pattern that no dataset matches.
pub fn named_targets(snapshot: &Snapshot, targets: &[TargetRef]) -> Result<Vec<TargetRef>, QueryError> {
    let mut named = Vec::with_capacity(targets.len());
    for target in targets {
        if !target.is_pattern() {
            named.push(target.clone());
            continue;
        }
        let refuse = |error: PatternError| QueryError::Spec(format!("target `{target}`: {error}"));
        let pattern = Pattern::new(&target.dataset).map_err(refuse)?;
        let names = || snapshot.datasets().iter().map(|dataset| &dataset.name);
        let of = |name: &String| TargetRef { dataset: name.clone(), ..target.clone() };
        let before = named.len();
        named.extend(names().filter(|name| pattern.matches(name)).map(of));
        if named.len() == before {
            return Err(QueryError::Lookup(LookupError::Unknown {
                what: "dataset like",
                name: target.dataset.clone(),
                nearest: None,
                known: names().cloned().collect(),
            }));
        }
    }
    Ok(named)
}

/// Refuses targets of which no row is left, as the catalog tells before any of several questions is answered.
///
/// # Errors
/// Those of [`named_targets`], and a dataset that is not there or has no row.
pub fn check_targets(snapshot: &Snapshot, targets: &[TargetRef]) -> Result<(), QueryError> {
    for target in named_targets(snapshot, targets)? {
        if snapshot.dataset(&target.dataset)?.rows == 0 {
            return Err(QueryError::empty_target(&target.to_string(), 0, ""));
        }
    }
    Ok(())
}

/// The targets by dataset, in the order of their first mention.
pub(super) fn targets(snapshot: &Snapshot, refs: &[TargetRef]) -> Result<Vec<NamedTarget>, QueryError> {
    let mut found: Vec<NamedTarget> = Vec::new();
    for (at, target) in refs.iter().enumerate() {
        if refs.iter().take(at).any(|other| other == target) {
            return Err(QueryError::Spec(format!("target `{target}` is named twice")));
        }
        let dataset = snapshot.dataset(&target.dataset)?;
        let known = found.iter().position(|(other, _)| other.name == dataset.name);
        let own = known.unwrap_or_else(|| {
            found.push((dataset.clone(), Some(BTreeSet::new())));
            found.len() - 1
        });
        match (&target.subtask, &mut found[own].1) {
            (Some(subtask), Some(set)) => {
                set.insert(subtask.clone());
            }
            (None, subtasks) => *subtasks = None,
            (Some(_), None) => {}
        }
    }
    if found.is_empty() {
        return Err(QueryError::Spec("a question needs at least one target".into()));
    }
    Ok(found)
}

pub(super) fn features_of_kind<'a>(
    snapshot: &'a Snapshot,
    dataset: &'a str,
    kind: &'a str,
    granularity: Granularity,
) -> impl Iterator<Item = &'a Arc<FeaturePart>> {
    let fits = move |f: &FeaturePart| f.desc.kind.name == kind && f.desc.granularity == granularity;
    let of_dataset = snapshot.features_of(dataset).into_iter();
    of_dataset.filter(move |f| fits(f) && f.desc.checkpoint.is_some())
}

/// The datasets of the question, in step with what is needed of them.
pub(super) fn sides<'a>(
    snapshot: &Snapshot,
    datasets: impl IntoIterator<Item = &'a Arc<DatasetPart>>,
    needed: &[NeededFeatures<'_>],
    spec: &InfluenceSpec,
) -> Result<Vec<QuestionDataset>, QueryError> {
    let of = |(dataset, own): (_, &NeededFeatures<'_>)| side(snapshot, dataset, *own, needed, spec);
    datasets.into_iter().zip(needed).map(of).collect()
}

/// The features of one kind that a dataset has for its side of the question, of which `all` are needed. Where
/// the question names some, the others are left out, but at checkpoints that it asks for and of which it
/// names none.
fn side(
    snapshot: &Snapshot,
    dataset: &Arc<DatasetPart>,
    needed: NeededFeatures<'_>,
    all: &[NeededFeatures<'_>],
    spec: &InfluenceSpec,
) -> Result<QuestionDataset, QueryError> {
    let NeededFeatures { of, kind, granularity, .. } = needed;
    let mut features: BTreeMap<CheckpointId, Vec<Arc<FeaturePart>>> = BTreeMap::new();
    for feature in features_of_kind(snapshot, &dataset.name, kind, granularity) {
        if let Some(checkpoint) = &feature.desc.checkpoint {
            features.entry(checkpoint.clone()).or_default().push(feature.clone());
        }
    }
    if features.is_empty() {
        return Err(missing_kind(snapshot, needed, all, spec));
    }
    if features.values().flatten().any(|f| f.desc.space.family == Family::Loss) {
        return Err(QueryError::Spec(format!(
            "`{kind}` of dataset `{}` holds single numbers, not vectors that can be compared",
            dataset.name
        )));
    }
    let is_named = |feature: &Arc<FeaturePart>| is_named(feature, &spec.features);
    let named = features.values().flatten().any(is_named);
    for list in features.values_mut() {
        if list.iter().any(is_named) || named && spec.checkpoints.is_none() {
            list.retain(is_named);
        }
    }
    features.retain(|_, list| !list.is_empty());
    let (dataset, kind) = (dataset.clone(), kind.to_owned());
    Ok(QuestionDataset { of, dataset, kind, features, named, shapes: LazyShapes::default() })
}

/// The error for a dataset without a feature of this kind and granularity, with what it has instead.
fn missing_kind(
    snapshot: &Snapshot,
    needed: NeededFeatures<'_>,
    all: &[NeededFeatures<'_>],
    spec: &InfluenceSpec,
) -> QueryError {
    let run = run_for(snapshot, needed, all, spec);
    let NeededFeatures { of, dataset, granularity, .. } = needed;
    let kind = computable(snapshot, needed, spec, run);
    let stored = || snapshot.features().iter().map(|f| f.desc.kind.name.as_str());
    let is_uploaded = !Kind::names_computed(kind);
    let is_unknown = is_uploaded && !stored().any(|known| known == kind);
    let known: BTreeSet<&str> = Kind::ALL.iter().map(|kind| kind.name()).chain(stored()).collect();
    if is_unknown && gstore_store::nearest(kind, known.iter().copied()).is_some() {
        return QueryError::unknown("feature kind", kind, known);
    }
    let kinds = |granularity: Granularity| -> BTreeSet<&str> {
        let own = snapshot.features_of(dataset).into_iter().filter(|f| f.desc.ensemble.is_none());
        own.filter(|f| f.desc.granularity == granularity).map(|f| f.desc.kind.name.as_str()).collect()
    };
    let has = kinds(granularity);
    let instead = instead(snapshot, &has, spec);
    let missing =
        MissingKind { of, kind, is_uploaded, is_unknown, of_tokens: kinds(Granularity::Token), has, instead };
    let (place, hint) = match granularity {
        Granularity::Token => (OF_TOKENS, missing.hint_of_tokens()),
        Granularity::Sample if missing.has_of_tokens() => {
            (" of samples", missing.hint_besides_tokens(spec.unscored))
        }
        Granularity::Sample => ("", missing.hint_of_samples()),
    };
    QueryError::NoFeature {
        side: of,
        dataset: dataset.to_owned(),
        kind: kind.to_owned(),
        place: place.to_owned(),
        hint,
        compute: (!missing.is_enough() && !is_uploaded)
            .then(|| ToCompute { per_token: granularity == Granularity::Token, run: run.to_owned() }),
    }
}

/// A kind of which a dataset has no feature, and what it has.
struct MissingKind<'a> {
    of: SideOf,
    kind: &'a str,
    /// Whether no model computes it, and whether no dataset has one of it.
    is_uploaded: bool,
    is_unknown: bool,
    /// Kinds that the dataset has of the granularity that is needed.
    has: BTreeSet<&'a str>,
    of_tokens: BTreeSet<&'a str>,
    /// Those by which the question can be asked.
    instead: Vec<&'a str>,
}

impl MissingKind<'_> {
    /// Whether what is there is what the question is about, as nothing was computed here.
    fn is_enough(&self) -> bool {
        self.of == SideOf::Pool
            && !self.instead.is_empty()
            && self.of_tokens.is_empty()
            && self.has.iter().all(|kind| !Kind::names_computed(kind))
    }

    /// Whether vectors of tokens are what there is in place of those of samples.
    fn has_of_tokens(&self) -> bool {
        !self.of_tokens.is_empty() && (self.has.is_empty() || self.of_tokens.contains(self.kind))
    }

    /// How `which` features come to be; of a kind that is uploaded, those of samples.
    fn compute(&self, which: &str) -> String {
        match (self.is_uploaded, self.is_unknown) {
            (false, _) => format!("compute {which}"),
            (true, true) => format!(
                "{} computes the kinds {}, and vectors of any other are uploaded (docs/server.md, Uploads)",
                Remedy::Ingest,
                Kind::names()
            ),
            (true, false) => {
                "an upload of vectors of that kind makes one (docs/server.md, Uploads)".to_owned()
            }
        }
    }

    fn hint_of_tokens(&self) -> String {
        let compute = |which| match self.is_uploaded && !self.is_unknown {
            true => "vectors of that kind are uploaded, and uploads are of samples".to_owned(),
            false => self.compute(which),
        };
        match self.has.is_empty() {
            true => format!("it has none of tokens at all; {}", compute("some")),
            false => format!("of tokens it has {}; {}", listed(&self.has), compute("others")),
        }
    }

    /// `unscored`: whether the question is not about scores.
    fn hint_besides_tokens(&self, unscored: bool) -> String {
        let tokens = listed(&self.of_tokens);
        let has = match self.has.is_empty() {
            true => format!("it has features of tokens only ({tokens})"),
            false => format!("of tokens it has {tokens}"),
        };
        let scores = match self.of {
            _ if unscored => String::new(),
            SideOf::Pool => format!("{SCORES_TOKENS}; "),
            SideOf::Target => "a target is always one of samples; ".to_owned(),
        };
        format!("{has}; {scores}{}", self.compute("those of samples"))
    }

    fn hint_of_samples(&self) -> String {
        if self.has.is_empty() {
            return format!("it has no features yet: {}", self.compute("some"));
        }
        let instead: Vec<String> = self.instead.iter().map(|kind| format!("`kind => '{kind}'`")).collect();
        let rank = format!("rank by {}", instead.join(" or "));
        let way = match (instead.is_empty(), self.is_enough()) {
            (true, _) => self.compute("others"),
            (false, true) => rank,
            (false, false) => format!("{rank}, or {}", self.compute("others")),
        };
        format!("it has {}; {way}", listed(&self.has))
    }
}

fn listed(kinds: &BTreeSet<&str>) -> String {
    Vec::from_iter(kinds.iter().copied()).join(", ")
}

/// The kind that is missing: plain gradients in the place of the usual kind, which takes an optimizer's
/// moments, where the run (empty: any run) has none.
pub(super) fn computable<'a>(
    snapshot: &Snapshot,
    needed: NeededFeatures<'a>,
    spec: &InfluenceSpec,
    run: &str,
) -> &'a str {
    let NeededFeatures { of, dataset, kind, granularity } = needed;
    let plain = Kind::GradSgd.name();
    let is_usual = of == SideOf::Pool && spec.pool_kind.is_none() && kind == Kind::GradAdam.name();
    let lacks_plain = || features_of_kind(snapshot, dataset, plain, granularity).next().is_none();
    let mut known = snapshot.runs().iter().filter(|known| run.is_empty() || known.name == run);
    let untrained = |run: &Arc<RunPart>| !run.checkpoints.iter().any(is_trained);
    let no_moments = !snapshot.runs().is_empty() && known.all(untrained);
    if is_usual && no_moments && lacks_plain() { plain } else { kind }
}

/// Whether a checkpoint can have an optimizer's moments: one of no folder is the model as it was before
/// training.
pub(super) fn is_trained(known: &RunCheckpoint) -> bool {
    known.step.is_some() || ["adapter", "weights"].iter().any(|key| known.provenance.contains_key(*key))
}

/// The run at whose checkpoints a dataset lacks features: the question's, else the only one, else the best by
/// these in turn: the number of checkpoints at which all that the question needs of the other datasets is
/// complete, so that nothing else is missing then; the number at which the dataset has complete vectors; the
/// newest feature of the dataset; the newest of the others. Where no dataset has a feature of a run, the
/// newest run; empty where there is none.
pub(super) fn run_for<'a>(
    snapshot: &'a Snapshot,
    lacking: NeededFeatures<'_>,
    all: &[NeededFeatures<'_>],
    spec: &InfluenceSpec,
) -> &'a str {
    if let Some(Ok(run)) = spec.run.as_deref().map(|name| snapshot.run(name)) {
        return &run.name;
    }
    let is_complete = |feature: &FeaturePart| {
        snapshot.coverage(feature).is_ok_and(|coverage| coverage.state == CoverageState::Complete)
    };
    let complete = |needed: &NeededFeatures<'_>| -> BTreeSet<CheckpointId> {
        let features = features_of_kind(snapshot, needed.dataset, needed.kind, needed.granularity);
        features.filter(|f| is_complete(f)).filter_map(|f| f.desc.checkpoint.clone()).collect()
    };
    let others: Vec<BTreeSet<CheckpointId>> =
        all.iter().filter(|other| **other != lacking).map(complete).collect();
    let vectors = snapshot.features_of(lacking.dataset).into_iter();
    let vectors = vectors.filter(|f| f.desc.space.family != Family::Loss && is_complete(f));
    let own: BTreeSet<CheckpointId> = vectors.filter_map(|f| f.desc.checkpoint.clone()).collect();
    let rank = |run: &RunPart| {
        let at = || run.checkpoints.iter().map(|known| &known.checkpoint);
        let newest = |dataset: &str| {
            let features = snapshot.features_of(dataset).into_iter();
            let of_run = features.filter(|f| at().any(|id| f.desc.checkpoint.as_ref() == Some(id)));
            of_run.map(|f| f.number).max()
        };
        let ready = at().filter(|id| !others.is_empty() && others.iter().all(|have| have.contains(*id)));
        (
            ready.count(),
            at().filter(|id| own.contains(*id)).count(),
            newest(lacking.dataset),
            all.iter().map(|other| newest(other.dataset)).max().flatten(),
        )
    };
    match snapshot.runs() {
        [only] => &only.name,
        runs => {
            let ranked = runs.iter().map(|run| (rank(run), run));
            let known = ranked.filter(|(rank, _)| rank.2.max(rank.3).is_some());
            let best = known.rev().max_by_key(|(rank, _)| *rank).map(|(_, run)| run);
            best.or_else(|| runs.iter().max_by_key(|run| run.number)).map_or("", |run| &run.name)
        }
    }
}

/// Of some kinds those by which the question can be asked where it names none: embeddings and gradients that
/// were computed elsewhere, if all its datasets have them. Dot products of embeddings are no influence: that
/// of a row with itself is its squared length.
fn instead<'a>(snapshot: &Snapshot, kinds: &BTreeSet<&'a str>, spec: &InfluenceSpec) -> Vec<&'a str> {
    if spec.pool_kind.is_some() || spec.target_kind.is_some() || spec.per_token {
        return Vec::new();
    }
    let targets = spec.targets.iter().map(|target| target.dataset.as_str());
    let datasets: Vec<&str> = spec.pools.iter().map(String::as_str).chain(targets).collect();
    let is_embedding = |kind: &str| spec.sim != Sim::Dot && Kind::names_embedding(kind);
    let is_gradient = |kind: &str| Kind::names_gradient(kind) && !Kind::names_computed(kind);
    let mut found: Vec<&str> = Vec::from_iter(kinds.iter().copied());
    found.retain(|kind| is_embedding(kind) || is_gradient(kind));
    // Of samples that are given with the question only what models compute is known.
    found.retain(|kind| spec.given.is_empty() || Kind::names_computed(kind));
    found.retain(|kind| {
        let has = |dataset| features_of_kind(snapshot, dataset, kind, Granularity::Sample).next().is_some();
        datasets.iter().copied().all(has)
    });
    found
}

/// Where a feature is missing that has a vector for each token.
const OF_TOKENS: &str = " of tokens";
