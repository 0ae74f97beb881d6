//! Labels of a prefilter: scores of the rows whose gradients are there, and how noisy they are.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use gstore_core::content::Content;
use gstore_core::{Digest, Kind, Remedy, first_of, many, many_of};
use gstore_learn::judge::Reliability;
use gstore_learn::{Matrix, Passes};
use gstore_query::influence::{
    InfluenceSpec, Missing, Prepared, Scored, TargetRef, names_for, rows_in_targets,
};
use gstore_store::{RowSet, Snapshot};
use serde::Serialize;
use serde_json::{Map, Value};

use super::scored::scoring_options;
use crate::answer::{AnswerError, CHUNK, ids_of, note_of_target, tell_notes};
use crate::ceiling::{ScoreReliability, noise_of, notes_of};
use crate::rows::{draw_key, random_rows};
use crate::work::JobContext;

/// Ids in a message.
const MOST_IDS: usize = 5;

/// How the labelled rows of a pool were drawn: what a bound may count on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelDraw {
    /// At random from all rows of the pool: they are those that the seed gives.
    BySeed,
    /// At random from all rows of the pool, as the caller says.
    AsStated,
    /// In a way that nothing is known of: the first rows, those of another dataset, those that were kept
    /// before.
    Unknown,
}

/// Where labels come from.
#[derive(Debug, Clone)]
pub struct LabelRequest {
    /// How rows are scored; its pools, targets and treatment of rows without all checkpoints are not looked
    /// at.
    pub spec: InfluenceSpec,
    /// The dataset whose rows with gradients are labelled: the pool, or a sample of it with the same ids.
    pub dataset: String,
    /// A dataset or `dataset:subtask` each.
    pub targets: Vec<String>,
    /// How many rows are taken at most; the seed draws them from those with gradients.
    pub most: u64,
    /// Seed of the draw.
    pub seed: u64,
    /// How the rows with gradients were drawn, as the caller states it.
    pub drawn: LabelDraw,
}

impl LabelRequest {
    /// How the labels were drawn from the pool.
    pub(super) fn drawn_of(&self, found: &Labels) -> LabelDraw {
        if found.is_seeded { LabelDraw::BySeed } else { self.drawn }
    }
}

/// Which rows of a dataset can be labels.
#[derive(Clone, Copy)]
pub(super) struct LabelFilter<'a> {
    /// The dataset that is filtered: rows that it lacks are no labels.
    pub(super) pool: &'a str,
    /// Rows of the pool, with their ids, that are of no use: those that were learned from.
    pub(super) is_known: &'a dyn Fn(u64, &str) -> bool,
}

/// Rows with gradients, and those of them that can be labels.
#[derive(Debug, Default)]
struct Candidates {
    with_vectors: RowSet,
    rows: RowSet,
    /// Of rows of another dataset than the pool those with the same ids in it.
    in_pool: HashMap<u64, u64>,
    /// How many are of no use because they were learned from.
    known: u64,
    /// How many are of no use because the pool lacks their ids.
    elsewhere: u64,
}

impl Candidates {
    /// Refuses rows of which none is left to judge by, where others were learned from.
    fn check_left(&self, left: u64) -> Result<(), AnswerError> {
        if left > 0 || self.known == 0 {
            return Ok(());
        }
        Err(AnswerError::Refused(format!(
            "the prefilter has learned from all {} labelled rows; others are needed to judge it",
            self.known
        )))
    }

    /// The row of the pool with the id of a row that can be a label.
    fn in_pool(&self, row: u64) -> u64 {
        self.in_pool.get(&row).copied().unwrap_or(row)
    }
}

/// Scores by id.
pub(super) struct Labels {
    pub(super) ids: Vec<String>,
    /// The rows of the pool with these ids, ascending, each with the place of its id.
    pub(super) rows: Vec<(u64, usize)>,
    /// A row for each id, a column for each target; NaN where a row has no score.
    pub(super) scores: Matrix,
    /// Of each target.
    pub(super) noise: Vec<ScoreReliability>,
    /// How the rows were scored for each target.
    pub(super) scored: Vec<Map<String, Value>>,
    /// The stored vectors of a row that its scores are computed from.
    pub(super) vectors: LabelVectors,
    /// Whether they are rows of the pool that the seed gives, for each target.
    pub(super) is_seeded: bool,
    /// Of the rows that were drawn for the target where most lack a score: those that lack it, and all.
    pub(super) unscored: (u64, u64),
    /// Rows with gradients that were not drawn, of the target that has most of them.
    pub(super) unused: u64,
    /// The same of rows whose ids are not in the pool.
    pub(super) elsewhere: u64,
    /// Rows of the pool that are left out since they occur in a target.
    pub(super) in_target: u64,
    /// What is said of rows that are a conversation where those of the pool are none, or the other way round.
    other_form: Option<String>,
}

/// Vectors that a question is asked of: by key the model, and whether it is passed through backwards.
#[derive(Debug, Default)]
pub(super) struct LabelVectors(BTreeMap<String, (String, bool)>);

impl LabelVectors {
    /// Adds those of a question's pools.
    fn add(&mut self, prepared: &Prepared) {
        for feature in prepared.pools().iter().flat_map(|pool| &pool.features) {
            let desc = &feature.desc;
            let model = desc.checkpoint.as_ref().map_or_else(|| desc.space.id(), ToString::to_string);
            self.0.insert(desc.key(), (model, Kind::names_gradient(&desc.kind.name)));
        }
    }

    /// Forward passes that they take of a row where those with some keys are there. A vector of another
    /// dataset, kind or projection has another key: it comes of a pass of its own.
    pub(super) fn passes(&self, there: &[String]) -> f64 {
        let mut passes = Passes::default();
        let wanted = self.0.iter().filter(|(key, _)| !there.contains(key));
        wanted.for_each(|(_, (model, is_gradient))| passes.add(model, *is_gradient));
        passes.count()
    }
}

impl Labels {
    /// How much of the labels of each target is not noise, as far as it is known.
    pub(super) fn reliability(&self) -> Vec<Option<Reliability>> {
        self.noise.iter().map(|noise| noise.ok()).collect()
    }

    /// How many of some rows have scores, if they are like the labelled ones: a row without a scored token
    /// has none.
    pub(super) fn scored_of(&self, rows: u64) -> u64 {
        let (unscored, drawn) = self.unscored;
        rows - (rows as f64 * unscored as f64 / drawn.max(1) as f64).round() as u64
    }

    /// What is said of noise that is not known, and of gradients that are there and no labels.
    pub(super) fn notes(&self, dataset: &str) -> Vec<String> {
        let elsewhere = (self.elsewhere > 0).then(|| {
            let are = many_of(self.elsewhere, "labelled id is", "labelled ids are");
            format!("{are} not in the pool")
        });
        let unused = (self.unused > 0).then(|| {
            format!(
                "{} of `{dataset}` with gradients {} not drawn as labels, though nothing is left to compute for them: a \
                 higher number as {} takes more",
                many(self.unused, "row"),
                if self.unused == 1 { "was" } else { "were" },
                Remedy::Option("labels", "")
            )
        });
        let unscored = (self.unscored.0 > 0).then(|| {
            many_of(
                self.unscored.0,
                "labelled row lacks a score: it is left out, as it is never selected",
                "labelled rows lack a score: they are left out, as they are never selected",
            )
        });
        let besides = elsewhere.into_iter().chain(self.other_form.clone()).chain(unused).chain(unscored);
        notes_of(&self.noise).chain(note_of_target(self.in_target)).chain(besides).collect()
    }
}

/// Scores rows of the dataset for each target, those that are wanted alone: also their noise is measured on
/// no others.
pub(super) fn labels(
    snapshot: &Arc<Snapshot>,
    (request, wanted): (&LabelRequest, LabelFilter<'_>),
    work: &mut JobContext<'_>,
) -> Result<Labels, AnswerError> {
    let asked = prepare_targets(snapshot, request)?;
    // Before any is scored.
    asked.iter().try_for_each(|prepared| prepared.target_samples(work.cancel).map(drop))?;
    // By row of the dataset: that of the pool, and a score for each target.
    let mut by_row: BTreeMap<u64, (u64, Vec<f64>)> = BTreeMap::new();
    let mut noise = Vec::with_capacity(request.targets.len());
    let mut questions = Vec::with_capacity(request.targets.len());
    let mut vectors = LabelVectors::default();
    let (mut unused, mut elsewhere) = (0, 0);
    let mut candidates = Candidates::default();
    let mut is_seeded = wanted.pool == request.dataset;
    let mut unscored = (0, 0);
    let in_target = in_targets(snapshot, &asked, &request.dataset, work)?;
    let of_pool = match wanted.pool == request.dataset {
        true => in_target.len(),
        false => in_targets(snapshot, &asked, wanted.pool, work)?.len(),
    };
    for (number, prepared) in asked.into_iter().enumerate() {
        tell_notes(&prepared, work);
        let with_vectors = with_vectors(snapshot, &prepared)?.difference(&in_target);
        if is_seeded {
            let live = snapshot.live_rows(snapshot.dataset(&request.dataset)?)?;
            is_seeded = is_draw(&live.difference(&in_target), request.seed, &with_vectors);
        }
        if candidates.with_vectors != with_vectors {
            candidates = candidates_of(snapshot, &request.dataset, wanted, with_vectors, work)?;
        }
        let taken = random_rows(&candidates.rows, request.most, request.seed);
        unused = unused.max(candidates.rows.len() - taken.len());
        elsewhere = elsewhere.max(candidates.elsewhere);
        questions.push(scoring_options(&prepared));
        vectors.add(&prepared);
        let mut own: Vec<Scored> = Vec::new();
        prepared.scores(None, work.threads, work.cancel, |rows| {
            own.extend(rows.iter().filter(|scored| taken.contains(scored.row)));
            ControlFlow::Continue(())
        })?;
        let scored = own.iter().filter(|scored| scored.score.is_finite()).count() as u64;
        // Rows without a scored token are no others than those that were learned from.
        candidates.check_left(scored + (candidates.rows.len() - taken.len()))?;
        unscored = unscored.max((taken.len().saturating_sub(scored), taken.len()));
        for scored in &own {
            let none = || (candidates.in_pool(scored.row), vec![f64::NAN; request.targets.len()]);
            by_row.entry(scored.row).or_insert_with(none).1[number] = f64::from(scored.score);
        }
        noise.push(noise_of(&prepared, &own, request.seed, work)?);
    }
    let own: Vec<u64> = by_row.keys().copied().collect();
    let ids = ids_of(snapshot, &request.dataset, &own)?;
    let mut rows: Vec<(u64, usize)> = by_row.values().map(|(row, _)| *row).zip(0..).collect();
    rows.sort_unstable();
    let other_form = match wanted.pool == request.dataset {
        true => None,
        false => check_texts(snapshot, (&request.dataset, &own, &ids), (wanted.pool, &rows), work)?,
    };
    let scores = by_row.into_values().flat_map(|(_, scores)| scores).collect();
    let scores = Matrix::new(request.targets.len(), scores);
    Ok(Labels {
        ids,
        rows,
        scores,
        noise,
        scored: questions,
        vectors,
        is_seeded,
        unscored,
        unused,
        elsewhere,
        in_target: of_pool,
        other_form,
    })
}

/// The question of each target, which scores the rows of the dataset for it.
fn prepare_targets(snapshot: &Arc<Snapshot>, request: &LabelRequest) -> Result<Vec<Prepared>, AnswerError> {
    if request.targets.is_empty() {
        return Err(AnswerError::Usage("labels need a target".to_owned()));
    }
    if let Some(twice) = request.targets.iter().enumerate().find(|(i, t)| request.targets[..*i].contains(t)) {
        return Err(AnswerError::Usage(format!("the target `{}` is named twice", twice.1)));
    }
    if request.spec.covariance.is_some() {
        return Err(AnswerError::no_labels_of_losses("gradients or embeddings"));
    }
    let refs: Vec<TargetRef> = request.targets.iter().map(|target| TargetRef::parse(target)).collect();
    let datasets: Vec<String> = refs.iter().map(|target| target.dataset.clone()).collect();
    let of_target = |target: &TargetRef| {
        let own = [request.dataset.clone(), target.dataset.clone()];
        let spec = InfluenceSpec {
            features: names_for(snapshot, &request.spec.features, &own, &datasets),
            pools: vec![request.dataset.clone()],
            targets: vec![target.clone()],
            given: Vec::new(),
            missing: Missing::Exclude,
            partial: true,
            ..request.spec.clone()
        };
        Prepared::new(snapshot, &spec)
    };
    Ok(refs.iter().map(of_target).collect::<Result<_, _>>()?)
}

/// The live rows of a dataset that occur in any of the targets, where the questions leave them out.
fn in_targets(
    snapshot: &Snapshot,
    asked: &[Prepared],
    dataset: &str,
    work: &JobContext<'_>,
) -> Result<RowSet, AnswerError> {
    let part = snapshot.dataset(dataset)?;
    let asked: Vec<&Prepared> = asked.iter().filter(|prepared| prepared.spec().exclude_target).collect();
    Ok(rows_in_targets(&asked, part, work.cancel)?.intersection(&*snapshot.live_rows(part)?))
}

/// The rows of the pool of a question that have a vector at each checkpoint, those without a scored token
/// among them.
fn with_vectors(snapshot: &Snapshot, prepared: &Prepared) -> Result<RowSet, AnswerError> {
    let mut rows: Option<RowSet> = None;
    for feature in prepared.pools().iter().flat_map(|pool| &pool.features) {
        let own = snapshot.open_feature(feature)?.row_set()?;
        rows = Some(rows.map_or_else(|| own.clone(), |rows| rows.intersection(&own)));
    }
    Ok(rows.unwrap_or_default())
}

/// Tells those of the rows with gradients that can be labels from the others: rows are joined by id.
///
/// # Errors
/// None can be one.
fn candidates_of(
    snapshot: &Snapshot,
    dataset: &str,
    LabelFilter { pool, is_known }: LabelFilter<'_>,
    with_vectors: RowSet,
    work: &JobContext<'_>,
) -> Result<Candidates, AnswerError> {
    let mut places: HashMap<String, u64> = HashMap::new();
    let mut in_pool: HashMap<u64, u64> = HashMap::new();
    let (mut rows, mut known) = (Vec::new(), 0);
    let mut take = |row: u64, of_pool: u64, id: &str| match is_known(of_pool, id) {
        true => known += 1,
        false => rows.push(row),
    };
    snapshot.samples(snapshot.dataset(dataset)?)?.each_id(work.cancel, |row, id| {
        if with_vectors.contains(row) && pool == dataset {
            take(row, row, id);
        } else if with_vectors.contains(row) {
            places.insert(id.to_owned(), row);
        }
    })??;
    if pool != dataset {
        snapshot.samples(snapshot.dataset(pool)?)?.each_id(work.cancel, |of_pool, id| {
            if let Some(row) = places.remove(id) {
                in_pool.insert(row, of_pool);
                take(row, of_pool, id);
            }
        })??;
    }
    let (rows, elsewhere) = (RowSet::from_rows(rows), places.len() as u64);
    let candidates = Candidates { with_vectors, rows, in_pool, known, elsewhere };
    candidates.check_left(candidates.rows.len())?;
    if candidates.rows.is_empty() && elsewhere > 0 {
        return Err(AnswerError::Refused(format!(
            "none of the {elsewhere} labelled ids of `{dataset}` is in `{pool}`: rows are joined by id"
        )));
    }
    Ok(candidates)
}

/// What a row says, as far as its gradients depend on it.
struct RecordDigest {
    words: Digest,
    /// Of each of its parts whether it is scored.
    scored: Vec<bool>,
    is_conversation: bool,
}

impl RecordDigest {
    /// What a record says; none of one that has no text.
    fn of(record: &[u8]) -> Option<Self> {
        let content = Content::read(record).ok()?;
        let words = content.digest();
        let (scored, is_conversation) = match content {
            Content::Messages(messages) => (messages.iter().map(|message| message.scored).collect(), true),
            Content::PromptCompletion { .. } => (vec![false, true], false),
            Content::Text(_) => (vec![true], false),
        };
        Some(Self { words, scored, is_conversation })
    }
}

/// Refuses labels of other texts than the pool has under their ids, or of other parts of them; returns what
/// is said of texts that are the same in another form. `own`: rows of the dataset, with their `ids`; `rows`:
/// those of the pool, each with the place of its id. Where a row has no text, as one that was stored without
/// its record, the id alone counts.
fn check_texts(
    snapshot: &Snapshot,
    (dataset, own, ids): (&str, &[u64], &[String]),
    (pool, rows): (&str, &[(u64, usize)]),
    work: &JobContext<'_>,
) -> Result<Option<String>, AnswerError> {
    let of_labels = texts_of(snapshot, dataset, own, work)?;
    let in_pool: Vec<u64> = rows.iter().map(|(row, _)| *row).collect();
    let of_pool = texts_of(snapshot, pool, &in_pool, work)?;
    let ids_where = |is_other: fn(&RecordDigest, &RecordDigest) -> bool| -> Vec<&str> {
        let both = rows.iter().zip(&of_pool);
        let differs = |place: usize, said: &Option<RecordDigest>| {
            of_labels[place].as_ref().zip(said.as_ref()).is_some_and(|(own, said)| is_other(own, said))
        };
        both.filter(|((_, place), said)| differs(*place, said))
            .map(|((_, place), _)| ids[*place].as_str())
            .collect()
    };
    let all = many(rows.len() as u64, "labelled row");
    let refuse = |others: Vec<&str>, what: &str, why: &str| {
        Err(AnswerError::Refused(format!(
            "{} of the {all} of `{dataset}` {} {what} in `{pool}` under the same id, as {}: {why}; delete these rows of \
             `{dataset}`, or give them ids that `{pool}` does not have",
            others.len(),
            if others.len() == 1 { "has" } else { "have" },
            first_of(others, MOST_IDS)
        )))
    };
    let others = ids_where(|own, said| own.words != said.words);
    if !others.is_empty() {
        return refuse(others, "another text", "scores of one text are not labels of another");
    }
    let others = ids_where(|own, said| own.scored != said.scored);
    if !others.is_empty() {
        return refuse(others, "other messages of weight 0", "what is not scored has no gradient");
    }
    let others = ids_where(|own, said| own.is_conversation != said.is_conversation);
    Ok((!others.is_empty()).then(|| {
        format!(
            "{} of the {all} of `{dataset}` {} `messages` where `{pool}` has `prompt` with `completion` under the same id, or \
             the other way round, as {}: unless both were encoded with the template `chat`, their gradients differ",
            others.len(),
            if others.len() == 1 { "has" } else { "have" },
            first_of(others, MOST_IDS)
        )
    }))
}

/// What rows of a dataset say; none of a row without a record, or whose record has no text.
fn texts_of(
    snapshot: &Snapshot,
    dataset: &str,
    rows: &[u64],
    work: &JobContext<'_>,
) -> Result<Vec<Option<RecordDigest>>, AnswerError> {
    let samples = snapshot.samples(snapshot.dataset(dataset)?)?;
    let mut texts = Vec::with_capacity(rows.len());
    for chunk in rows.chunks(CHUNK) {
        work.cancel.check()?;
        let batch = samples.get(chunk, &["record"])?;
        let records = batch.column(0).as_binary_opt::<i32>();
        let text = |at: usize| -> Option<RecordDigest> {
            let records = records.filter(|records| records.is_valid(at))?;
            RecordDigest::of(records.value(at))
        };
        texts.extend((0..batch.num_rows()).map(text));
    }
    Ok(texts)
}

/// Whether some rows are the first of all live ones in the order of a seed, as those of a cascade's sample
/// are. So are all rows.
fn is_draw(live: &RowSet, seed: u64, rows: &RowSet) -> bool {
    let last = rows.iter().map(|row| draw_key(seed, row)).max();
    let until = |last: u64| live.iter().filter(|row| draw_key(seed, *row) <= last).count() as u64;
    last.is_some_and(|last| until(last) == rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_there_where_all_that_is_wanted_of_it_is() {
        let of = [("a", "first", true), ("b", "first", true), ("c", "last", true), ("d", "base", false)];
        let of = of.map(|(key, model, is_gradient)| (key.to_owned(), (model.to_owned(), is_gradient)));
        let vectors = LabelVectors(of.into_iter().collect());
        for (there, passes) in [
            (&[] as &[&str], 7.0),
            // As of another dataset, or with another projection.
            (&["x"], 7.0),
            (&["a"], 7.0),
            (&["a", "b"], 4.0),
            (&["c", "d"], 3.0),
        ] {
            let there: Vec<String> = there.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(vectors.passes(&there), passes, "{there:?}");
        }
    }

    #[test]
    fn a_draw_is_known_by_its_rows() {
        let live = RowSet::from_ranges([0..500, 700..1200]);
        let is_seeded = |rows: &RowSet, seed: u64| is_draw(&live, seed, rows);
        let sample = crate::rows::random_rows(&live, 200, 7);
        assert!(is_seeded(&sample, 7) && is_seeded(&live, 7) && !is_seeded(&sample, 8));
        assert!(!is_seeded(&RowSet::from_range(0..200), 7) && !is_seeded(&RowSet::new(), 7));
        // One row that was added to it afterwards.
        let other = live.difference(&sample).iter().last().unwrap();
        assert!(!is_seeded(&sample.union(&RowSet::from_range(other..other + 1)), 7));
    }
}
