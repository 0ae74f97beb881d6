//! Features that a cascade computes: gradients like those of its targets, forward passes of their base.

use std::sync::Arc;
use std::time::Instant;

use gstore_core::{Cancelled, Kind};
use gstore_ingest::gradient::{LossForm, ModuleSelection};
use gstore_ingest::pipeline::{
    self, CheckpointArg, IngestError, IngestPlan, IngestRequest, PlannedFeature, ProjectionChoice, RunEnding,
    SampleEncoderOptions, request_like,
};
use gstore_model::Reduction;
use gstore_query::QueryError;
use gstore_query::influence::{
    InfluenceSpec, Missing, Mode, Prepared, named_kind, names_for, names_of, rows_in_targets,
};
use gstore_store::{
    DType, DatasetPart, EncodeFeature, FeatureDesc, FeatureState, JobError, Lease, RowSet, SignRotation,
    Snapshot, Store,
};

use super::stages::Stage;
use super::twins::check_twins;
use crate::answer::AnswerError;
use crate::folders::Folders;
use crate::work::JobContext;

/// The question of a cascade, and how its pool's features are computed.
pub(super) struct CascadeSource {
    /// The question, of rows that have gradients.
    pub(super) spec: InfluenceSpec,
    /// The same among the targets, which have their gradients before the pool has any.
    among: InfluenceSpec,
    /// The gradients of the pool at all checkpoints.
    gradients: IngestRequest,
    /// The checkpoints, the largest weight first.
    by_weight: Vec<WeightedCheckpoint>,
    /// The run of the base model's forward passes.
    base: String,
    /// Key of the encoding of all that is computed.
    pub(super) encoding: String,
    /// The pool and the targets as they were found.
    datasets: Vec<Arc<DatasetPart>>,
}

struct WeightedCheckpoint {
    name: String,
    weight: f64,
    /// What the targets' vectors can be compared with.
    space: String,
    /// Those of the question's named features that are of it.
    features: Vec<String>,
}

/// What a step computed, and how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct StepTime {
    /// Rows, once for each checkpoint.
    pub(super) rows: u64,
    pub(super) seconds: f64,
}

impl StepTime {
    /// Seconds of a row; none where none was computed.
    pub(super) fn each(&self) -> Option<f64> {
        (self.rows > 0).then(|| self.seconds / self.rows as f64)
    }

    /// Adds what another step took.
    pub(super) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.seconds += other.seconds;
    }
}

/// What the pool lacks of a cascade's features; what it has of every row costs nothing.
pub(super) struct MissingFeatures {
    /// Of each stage, whether a forward pass has something to compute.
    pub(super) forward: Vec<bool>,
    /// Whether gradients are missing, by checkpoint: the largest weight first.
    pub(super) gradients: Vec<bool>,
}

impl MissingFeatures {
    pub(super) fn all(stages: &[Stage], checkpoints: usize) -> Self {
        let forward = stages.iter().map(|stage| !stage.kinds.is_empty()).collect();
        Self { forward, gradients: vec![true; checkpoints] }
    }
}

/// A step's time, the rows of which it computed something, and the keys of its features.
pub(super) struct ComputedFeatures {
    pub(super) measured: StepTime,
    pub(super) rows: RowSet,
    pub(super) keys: Vec<String>,
}

/// The store as it is now; the lease keeps it while it is read.
pub(super) fn open_newest(
    store: &Store,
    work: &JobContext<'_>,
) -> Result<(Arc<Snapshot>, Option<Lease>), AnswerError> {
    store.snapshot_leased(None, work.command).map_err(|error| QueryError::from(error).into())
}

/// The storage type in which the pool has the most of the planned embeddings, where that is not that of the
/// plan. All of a step are stored in one type.
fn stored_dtype(plan: &IngestPlan) -> Option<DType> {
    let own = plan.snapshot.features_of(&plan.request.dataset);
    let embeddings: Vec<&PlannedFeature> =
        plan.features().filter(|planned| planned.kind.is_embedding()).collect();
    let has = |planned: &PlannedFeature, dtype: DType| {
        let stored = FeatureDesc { dtype, rotation: SignRotation::of(dtype), ..planned.desc.clone() };
        own.iter().any(|part| part.desc == stored)
    };
    let count = |dtype: DType| embeddings.iter().filter(|planned| has(planned, dtype)).count();
    let planned = embeddings.first()?.desc.dtype;
    let others = own.iter().map(|part| part.desc.dtype);
    let best = others.max_by_key(|dtype| count(*dtype))?;
    (count(best) > count(planned)).then_some(best)
}

fn refuse(why: &str) -> AnswerError {
    AnswerError::Refused(format!("a cascade {why}"))
}

/// The kinds of the gradients of the pool and of these targets.
fn gradient_kinds(
    snapshot: &Snapshot,
    spec: &InfluenceSpec,
    targets: &[String],
) -> Result<(String, String), AnswerError> {
    let names = &spec.features;
    let kind = spec.pool_kind.clone().or_else(|| named_kind(snapshot, names, &spec.pools));
    let kind = kind.unwrap_or_else(|| Kind::GradAdam.name().to_owned());
    let of_targets = spec.target_kind.clone().or_else(|| named_kind(snapshot, names, targets));
    let of_targets = of_targets.unwrap_or_else(|| Kind::GradSgd.name().to_owned());
    if spec.covariance.is_some() {
        return Err(AnswerError::no_labels_of_losses("gradients"));
    }
    if spec.preconditions() {
        return Err(refuse(
            "does not take a preconditioner: its matrices need the gradients of the whole pool",
        ));
    }
    if let Some(other) = [&kind, &of_targets].into_iter().find(|kind| !Kind::names_gradient(kind)) {
        return Err(refuse(&format!(
            "ends with products of gradients, and {other} is not a gradient: select by it without a cascade"
        )));
    }
    if !spec.given.is_empty() || spec.per_token {
        return Err(refuse(
            "ends with products of the gradients of stored samples, not of given ones or of tokens",
        ));
    }
    Ok((kind, of_targets))
}

impl CascadeSource {
    /// Finds run, checkpoints, projection and texts by the stored gradients of the targets.
    pub(super) fn find(
        snapshot: &Arc<Snapshot>,
        spec: &InfluenceSpec,
        models: &SampleEncoderOptions,
        work: &mut JobContext<'_>,
    ) -> Result<Self, AnswerError> {
        let [pool] = spec.pools.as_slice() else { return Err(refuse("is over one pool")) };
        let Some(first) = spec.targets.first() else { return Err(refuse("needs a target")) };
        let names = &spec.features;
        let targets: Vec<String> = spec.targets.iter().map(|target| target.dataset.clone()).collect();
        let (kind, of_targets) = gradient_kinds(snapshot, spec, &targets)?;
        // The targets among themselves: the pool has nothing yet, and what is named of it is for later.
        let among = InfluenceSpec {
            pools: vec![first.dataset.clone()],
            pool_kind: Some(of_targets.clone()),
            target_kind: Some(of_targets.clone()),
            features: names_for(snapshot, names, &targets, &spec.pools),
            exclude_target: false,
            missing: Missing::Exclude,
            mode: Mode::Exact,
            ..spec.clone()
        };
        let prepared = Prepared::new(snapshot, &among)?;
        // Without rows that can be compared, what is computed of the pool is for nothing.
        prepared.target_samples(work.cancel)?;
        let (Some(run), Some(side)) = (prepared.run(), prepared.pools().first()) else {
            return Err(refuse("needs targets of a run: no run of the store has their checkpoints"));
        };
        let at = || prepared.checkpoints().iter().zip(&side.features);
        let wanted: Vec<EncodeFeature<'_>> = at()
            .map(|(at, part)| EncodeFeature { checkpoint: &at.name, run: Some(run), pool: part, kind: &kind })
            .collect();
        let like = request_like(snapshot, &wanted, pool, models.clone())?;
        let mut by_weight: Vec<WeightedCheckpoint> = at()
            .map(|(at, part)| WeightedCheckpoint {
                name: at.name.clone(),
                weight: at.weight,
                space: part.desc.space.id(),
                features: names_of(snapshot, names, |f| f.desc.checkpoint.as_ref() == Some(&at.id)),
            })
            .collect();
        let is_of_none = |name: &&String| !by_weight.iter().any(|at| at.features.contains(name));
        if let Some(name) = names.iter().find(is_of_none) {
            return Err(refuse(&format!(
                "takes features at the checkpoints of its targets, and `{name}` is at none of them: leave it out of `features`"
            )));
        }
        // Equal ones stay in the order of the run.
        by_weight.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        let base = Folders::new(work.progress, false).run_name(&like.model, &[]);
        let encoding = like.text.encoder(&like.model).map_err(IngestError::from)?.spec().key();
        let run = run.to_owned();
        let spec = InfluenceSpec {
            pool_kind: Some(kind),
            target_kind: Some(of_targets),
            run: Some(run.clone()),
            partial: true,
            missing: Missing::Exclude,
            mode: Mode::Exact,
            ..spec.clone()
        };
        let named = [pool].into_iter().chain(&targets);
        let datasets = named.map(|name| snapshot.dataset(name).cloned()).collect::<Result<_, _>>()?;
        let gradients = IngestRequest { run, ..like };
        Ok(Self { spec, among, gradients, by_weight, base, encoding, datasets })
    }

    /// As [`open_newest`].
    ///
    /// # Errors
    /// The pool or a target is another dataset than when the cascade began: the row numbers that it keeps are
    /// those of other samples there.
    pub(super) fn open_newest(
        &self,
        store: &Store,
        work: &JobContext<'_>,
    ) -> Result<(Arc<Snapshot>, Option<Lease>), AnswerError> {
        let (snapshot, lease) = open_newest(store, work)?;
        self.check_datasets(&snapshot)?;
        Ok((snapshot, lease))
    }

    fn check_datasets(&self, snapshot: &Snapshot) -> Result<(), IngestError> {
        for seen in &self.datasets {
            snapshot.same_dataset(seen).map_err(JobError::from)?;
        }
        Ok(())
    }

    /// The plan of a request. Embeddings that the pool has in another storage type are taken as they are.
    fn plan(
        &self,
        store: &Store,
        request: IngestRequest,
        work: &mut JobContext<'_>,
    ) -> Result<IngestPlan, AnswerError> {
        let mut plan = IngestPlan::new(store, request, work.progress)?;
        if let Some(dtype) = stored_dtype(&plan) {
            plan = IngestPlan::new(store, IngestRequest { dtype, ..plan.request.clone() }, work.progress)?;
        }
        self.check_datasets(&plan.snapshot)?;
        Ok(plan)
    }

    /// The rows of the pool that occur in the target, where the question leaves them out.
    pub(super) fn in_target(
        &self,
        snapshot: &Arc<Snapshot>,
        work: &JobContext<'_>,
    ) -> Result<RowSet, AnswerError> {
        if !self.spec.exclude_target {
            return Ok(RowSet::new());
        }
        let prepared = Prepared::new(snapshot, &self.among)?;
        Ok(rows_in_targets(&[&prepared], snapshot.dataset(self.pool())?, work.cancel)?)
    }

    pub(super) fn pool(&self) -> &str {
        &self.gradients.dataset
    }

    pub(super) fn checkpoints(&self) -> usize {
        self.by_weight.len()
    }

    /// The question at the checkpoints with the largest weights.
    pub(super) fn spec_at(&self, count: usize) -> InfluenceSpec {
        let used = &self.by_weight[..count.min(self.by_weight.len())];
        let is_used = |name: &&String| used.iter().any(|checkpoint| checkpoint.features.contains(name));
        InfluenceSpec {
            checkpoints: Some(used.iter().map(|checkpoint| checkpoint.name.clone()).collect()),
            weights: Some(used.iter().map(|checkpoint| checkpoint.weight).collect()),
            features: self.spec.features.iter().filter(is_used).cloned().collect(),
            ..self.spec.clone()
        }
    }

    /// The gradients at the checkpoints with the largest weights.
    pub(super) fn gradients_at(&self, count: usize) -> IngestRequest {
        let used = &self.by_weight[..count.min(self.by_weight.len())];
        let mut request = self.gradients.clone();
        request.checkpoints.retain(|arg| used.iter().any(|checkpoint| checkpoint.name == arg.name));
        request
    }

    /// One forward pass of the base model.
    pub(super) fn forward(&self, kinds: &[Kind]) -> IngestRequest {
        IngestRequest {
            checkpoints: vec![CheckpointArg::base()],
            kinds: kinds.to_vec(),
            run: self.base.clone(),
            modules: ModuleSelection::default(),
            loss: LossForm::default(),
            reduction: Reduction::default(),
            projection: ProjectionChoice::default(),
            ..self.gradients.clone()
        }
    }

    /// What the pool lacks of some rows. Only complete features count as there, which ingests of the whole
    /// pool leave: those of cascades stay `building`, and so the same command decides the same whatever an
    /// earlier one has computed.
    ///
    /// # Errors
    /// Also gradients that could not be used once they were computed.
    pub(super) fn missing(
        &self,
        (store, snapshot): (&Store, &Arc<Snapshot>),
        stages: &[Stage],
        rows: &RowSet,
        work: &mut JobContext<'_>,
    ) -> Result<MissingFeatures, AnswerError> {
        let own = snapshot.features_of(self.pool());
        let complete = own.iter().filter(|part| part.state == FeatureState::Complete);
        let complete: Vec<&str> = complete.map(|part| part.desc.kind.name.as_str()).collect();
        // A plan reads weights, so that of forward passes is only made where it may find something.
        let may_have =
            |kinds: &[Kind]| !kinds.is_empty() && kinds.iter().all(|kind| complete.contains(&kind.name()));
        let lacks = |features: &[PlannedFeature]| {
            features.iter().any(|of| !of.complete || !rows.difference(&of.published).is_empty())
        };
        let mut missing = MissingFeatures::all(stages, self.checkpoints());
        for (stage, is_missing) in stages.iter().zip(&mut missing.forward) {
            if may_have(&stage.kinds) {
                let plan = self.plan(store, self.forward(&stage.kinds), work)?;
                *is_missing = plan.checkpoints.iter().any(|at| lacks(&at.features));
            }
        }
        // Also where all are missing: what cannot be computed is refused here, before the first stage. That
        // reads the weights once more.
        let gradients = IngestRequest { rows: Some(rows.clone()), ..self.gradients.clone() };
        let plan = self.plan(store, gradients, work)?;
        self.check(&plan)?;
        for (checkpoint, is_missing) in self.by_weight.iter().zip(&mut missing.gradients) {
            let planned = plan.checkpoints.iter().find(|at| at.arg.name == checkpoint.name);
            *is_missing = planned.is_none_or(|at| lacks(&at.features));
        }
        Ok(missing)
    }

    /// Computes and publishes what these rows lack. What an earlier run left is taken over.
    pub(super) fn compute(
        &self,
        store: &Store,
        request: IngestRequest,
        rows: &RowSet,
        work: &mut JobContext<'_>,
    ) -> Result<ComputedFeatures, AnswerError> {
        let request = IngestRequest {
            rows: Some(rows.clone()),
            threads: work.threads,
            command: work.command.to_owned(),
            ..request
        };
        let plan = self.plan(store, request, work)?;
        let keys = plan.features().map(|feature| feature.desc.key()).collect();
        let begun = Instant::now();
        let report = match rows.is_empty() {
            true => pipeline::IngestReport::default(),
            false => pipeline::ingest(store, &plan, work.progress, work.cancel)?,
        };
        if report.ending == RunEnding::Stopped {
            work.progress.note("what was computed is kept: run the same cascade again to continue");
            return Err(Cancelled.into());
        }
        let seconds = begun.elapsed().as_secs_f64();
        Ok(ComputedFeatures {
            measured: StepTime { rows: report.computed, seconds },
            rows: report.rows,
            keys,
        })
    }

    /// Refuses gradients that could not be compared with those of the targets, or told from others of the
    /// pool.
    fn check(&self, plan: &IngestPlan) -> Result<(), AnswerError> {
        for at in &plan.checkpoints {
            let wanted = self.by_weight.iter().find(|checkpoint| checkpoint.name == at.arg.name);
            let Some(wanted) = wanted else { continue };
            for feature in at.features.iter().filter(|feature| feature.kind.is_gradient()) {
                if feature.desc.space.id() != wanted.space {
                    return Err(AnswerError::Refused(format!(
                        "the targets' gradients at {} are of other modules or another projection than at the first checkpoint",
                        wanted.name
                    )));
                }
            }
        }
        check_twins(plan, &self.spec.features)
    }
}
