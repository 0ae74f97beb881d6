//! Prompts with completions in a question about conversations.
//!
//! A pool of conversations was encoded with roles around each message, a prompt with its completion is text
//! without any: its gradient points elsewhere, and the ranking is one of other rows. So where the pool's
//! records are conversations, a pair that is given with the question is asked as one: what the user says, and
//! what the assistant answers. Of a stored one a note says so.

use std::collections::BTreeSet;
use std::slice::from_ref;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use gstore_core::content::{Content, Role};
use gstore_core::{EncodingSpec, FeatureDesc, Remedy, many};
use gstore_store::{DatasetPart, FeaturePart, Granularity, RowSet, Snapshot};
use serde_json::{Map, Value, json};

use crate::error::{QueryError, SideOf};
use crate::influence::spec::InfluenceSpec;

/// Records of a dataset that are looked at.
const LOOKED_AT: u64 = 64;

/// The given samples of a question about these pools, each with its features; their pairs are conversations
/// where the pools are, unless the question says `raw`. With what a user should know of it.
pub(super) fn resolve(
    snapshot: &Snapshot,
    pools: &[(&Arc<DatasetPart>, &[Arc<FeaturePart>])],
    spec: &InfluenceSpec,
) -> Result<(Vec<String>, Vec<String>), QueryError> {
    let contents = || spec.given.iter().filter_map(|record| Content::read(record.as_bytes()).ok());
    let mut notes = Vec::new();
    if contents().any(|content| ends_empty(&content)) {
        notes.push("the completion is empty: nothing but the end of the answer is asked about".to_owned());
    }
    let talks: Vec<Option<String>> = spec.given.iter().map(|record| conversation(record)).collect();
    let has_text = contents().any(|content| matches!(content, Content::Text(_)));
    if (talks.iter().all(Option::is_none) && !has_text) || !are_conversations(snapshot, pools)? {
        return Ok((spec.given.clone(), notes));
    }
    if has_text {
        notes.push(
            "the pool's samples are conversations, and the text is asked as it is, without roles; `prompt => '..'` with \
             `completion => '..'` is asked as a conversation"
                .to_owned(),
        );
    }
    if talks.iter().all(Option::is_none) {
        return Ok((spec.given.clone(), notes));
    }
    if spec.raw {
        let mut encodings = pools.iter().filter_map(|(dataset, features)| encoding_of(dataset, features));
        let note = match encodings.any(writes_roles) {
            true => {
                "the pool's template writes a prompt with its completion as a conversation, also with `raw => true`; give `text => '..'` for text without roles"
            }
            false => {
                "the pool's samples are conversations, and the prompt with its completion is asked as text without roles"
            }
        };
        notes.push(note.to_owned());
        return Ok((spec.given.clone(), notes));
    }
    let given = spec.given.iter().zip(talks).map(|(record, talk)| talk.unwrap_or_else(|| record.clone()));
    let note = "the pool's samples are conversations, so the prompt with its completion is asked as one; `raw => true` asks it as text without roles";
    notes.push(note.to_owned());
    Ok((given.collect(), notes))
}

/// Whether nothing is said where the answer is.
fn ends_empty(content: &Content) -> bool {
    match content {
        Content::Messages(messages) => {
            messages.last().is_some_and(|last| last.role == Role::Assistant && last.content.trim().is_empty())
        }
        Content::PromptCompletion { completion, .. } => completion.trim().is_empty(),
        Content::Text(_) => false,
    }
}

/// The record with its prompt as the user's message and its completion as the assistant's; `None`
/// for one of another shape.
fn conversation(record: &str) -> Option<String> {
    let mut object: Map<String, Value> = serde_json::from_str(record).ok()?;
    let Ok(Content::PromptCompletion { prompt, completion }) = Content::take(&mut object) else {
        return None;
    };
    let messages =
        json!([{ "role": "user", "content": prompt }, { "role": "assistant", "content": completion }]);
    object.insert("messages".to_owned(), messages);
    Some(Value::Object(object).to_string())
}

/// Whether a template gives roles to a prompt with its completion, as all that know conversations do but for
/// LESS's.
pub(super) fn writes_roles(spec: &EncodingSpec) -> bool {
    !matches!(spec.template.as_str(), "tulu" | "plain")
}

/// The template that writes conversations like this one, and prompts with their completions as conversations.
fn with_pairs(spec: &EncodingSpec) -> EncodingSpec {
    match spec.template.as_str() {
        "tulu" => EncodingSpec { template: "tulu_chat".to_owned(), ..spec.clone() },
        _ => spec.clone(),
    }
}

/// How conversations become text: what two encodings that write them alike share.
pub(super) fn form(spec: &EncodingSpec) -> (String, Option<String>) {
    let EncodingSpec { template, template_source, .. } = with_pairs(spec);
    (template, template_source)
}

/// Whether the samples of a dataset are prompts with completions.
pub(super) fn are_pairs(snapshot: &Snapshot, dataset: &DatasetPart) -> bool {
    // Records that cannot be read are the trouble of who reads them: the answer takes vectors.
    shape_of(snapshot, dataset).unwrap_or_default().1 == Some(Shape::Pairs)
}

/// A dataset of the question, with its feature at the first checkpoint and how its samples became text.
struct EncodedDataset<'a> {
    of: SideOf,
    dataset: &'a DatasetPart,
    feature: &'a FeaturePart,
    spec: &'a EncodingSpec,
    looked_at: u64,
    shape: Shape,
}

impl<'a> EncodedDataset<'a> {
    /// `None` for texts alone, which every template leaves as they are.
    fn new(
        snapshot: &Snapshot,
        of: SideOf,
        (dataset, features): &(&'a Arc<DatasetPart>, &'a [Arc<FeaturePart>]),
    ) -> Option<Self> {
        let (feature, spec) = (features.first()?, encoding_of(dataset, features)?);
        let (looked_at, shape) = shape_of(snapshot, dataset).unwrap_or_default();
        Some(Self { of, dataset, feature, spec, looked_at, shape: shape? })
    }

    fn has_roles(&self) -> bool {
        match self.shape {
            Shape::Conversations => self.spec.template != "plain",
            Shape::Pairs => writes_roles(self.spec),
            Shape::Mixed => false,
        }
    }

    fn name(&self) -> String {
        let of = if self.of == SideOf::Pool { "pool" } else { "target" };
        format!("the {of} `{}`", self.dataset.name)
    }

    /// The command that computes its features as text in the form of others.
    fn way(&self, snapshot: &Snapshot, like: &Self, run: &str) -> String {
        let spec = match self.shape {
            Shape::Pairs if like.has_roles() => with_pairs(like.spec),
            _ => like.spec.clone(),
        };
        Remedy::IngestAs {
            dataset: &self.dataset.name,
            kind: &self.feature.desc.kind.name,
            per_token: self.feature.desc.granularity == Granularity::Token,
            run,
            options: &spec.options(),
            command: &snapshot.command_of(self.feature).unwrap_or_default(),
        }
        .to_string()
    }
}

/// What a user should know of pools and stored targets that became text in another form than the first pool
/// of conversations: prompts with completions without roles, or with another template. Their vectors are what
/// they are: nothing is asked otherwise.
pub(super) fn note_of_forms(
    snapshot: &Snapshot,
    pools: &[(&Arc<DatasetPart>, &[Arc<FeaturePart>])],
    targets: &[(&Arc<DatasetPart>, &[Arc<FeaturePart>])],
    run: Option<&str>,
) -> Option<String> {
    let specs = pools.iter().chain(targets).filter_map(|(dataset, features)| encoding_of(dataset, features));
    let forms: BTreeSet<_> = specs.map(form).collect();
    let are_bare = |(dataset, features): &(&Arc<DatasetPart>, &[Arc<FeaturePart>])| {
        encoding_of(dataset, features).is_some_and(|spec| !writes_roles(spec) && are_pairs(snapshot, dataset))
    };
    // Records of pools are read only where something may differ.
    if forms.len() < 2 && !targets.iter().any(are_bare) {
        return None;
    }
    let is_only = pools.len() == 1;
    let pools = pools.iter().filter_map(|pool| EncodedDataset::new(snapshot, SideOf::Pool, pool));
    let pools: Vec<EncodedDataset<'_>> = pools.collect();
    let targets = targets.iter().filter_map(|target| EncodedDataset::new(snapshot, SideOf::Target, target));
    let targets: Vec<EncodedDataset<'_>> = targets.collect();
    let is_talk = |pool: &&EncodedDataset<'_>| pool.shape == Shape::Conversations && pool.has_roles();
    let first = pools.iter().find(is_talk).or(pools.first())?;
    let (mut pairs, mut others, mut ways) = (Vec::new(), Vec::new(), Vec::new());
    for other in targets.iter().chain(&pools) {
        let has_own_template = form(other.spec) != form(first.spec);
        if !has_own_template && other.of == SideOf::Pool {
            continue;
        }
        if other.shape == Shape::Pairs && !other.has_roles() && first.shape != Shape::Mixed {
            if !first.has_roles() {
                continue;
            }
            pairs.push(format!("{} ({} looked at)", other.name(), many(other.looked_at, "sample")));
        } else if has_own_template {
            others.push(format!("{} with the template {}", other.name(), other.spec.template));
        } else {
            continue;
        }
        let way = other.way(snapshot, first, run.unwrap_or_default());
        if !ways.contains(&way) {
            ways.push(way);
        }
    }
    let mut found = Vec::new();
    if !pairs.is_empty() {
        let of = pairs.join(" and ");
        found.push(format!("those of {of} are prompts with completions, encoded as text without roles"));
    }
    if !others.is_empty() {
        let (own, others) = (&first.spec.template, others.join(" and "));
        found.push(format!("they were encoded with the template {own}, and {others}"));
    }
    if found.is_empty() {
        return None;
    }
    let (whose, form_of) = match is_only {
        true => ("the pool's samples".to_owned(), "the pool's form".to_owned()),
        false => (format!("the samples of {}", first.name()), format!("the form of {}", first.name())),
    };
    let are = match first.shape {
        Shape::Conversations => "conversations",
        Shape::Pairs => "prompts with completions",
        Shape::Mixed => "of several shapes",
    };
    let computes = if ways.len() == 1 { "computes" } else { "compute" };
    Some(format!(
        "{whose} are {are}, and {}: scores compare texts of two forms; {} {computes} features of {form_of}",
        found.join("; "),
        ways.join(" and ")
    ))
}

/// What a user should know of a dataset that has a new feature: the note that a question about it has whose
/// pool is the largest dataset with features in the same space. None where features of both fit each other,
/// and of the largest one itself.
pub fn note_of_target(snapshot: &Snapshot, new: &FeatureDesc) -> Option<String> {
    let fits = |other: &&Arc<FeaturePart>| {
        other.desc.checkpoint == new.checkpoint && other.desc.space.id() == new.space.id()
    };
    let target = snapshot.dataset(&new.dataset).ok()?;
    let datasets = snapshot.features().iter().filter(fits).map(|feature| &feature.desc.dataset);
    let pool = datasets.filter_map(|name| snapshot.dataset(name).ok()).max_by_key(|part| part.rows)?;
    // One value, such as a loss, is no vector that is compared.
    if new.dim() < 2 || pool.rows <= target.rows {
        return None;
    }
    let run = new.checkpoint.as_ref().and_then(|id| snapshot.run_with(id)).map(|run| run.name.as_str());
    let mut notes = Vec::new();
    for of_pool in snapshot.features_of(&pool.name).into_iter().filter(fits) {
        for of_target in snapshot.features_of(&target.name).into_iter().filter(fits) {
            let pools = [(pool, from_ref(of_pool))];
            notes.push(note_of_forms(snapshot, &pools, &[(target, from_ref(of_target))], run)?);
        }
    }
    notes.pop()
}

/// The encoding of a dataset's features at the first checkpoint.
fn encoding_of<'a>(dataset: &'a DatasetPart, features: &[Arc<FeaturePart>]) -> Option<&'a EncodingSpec> {
    let encoding = dataset.encoding(&features.first()?.desc.encoding)?;
    Some(&encoding.spec)
}

/// Whether the pools' records are conversations, as far as it shows in some of each. The store does not keep
/// the shape of records.
fn are_conversations(
    snapshot: &Snapshot,
    pools: &[(&Arc<DatasetPart>, &[Arc<FeaturePart>])],
) -> Result<bool, QueryError> {
    let mut all = 0;
    for (dataset, features) in pools {
        let encodings = features.iter().filter_map(|feature| dataset.encoding(&feature.desc.encoding));
        if encodings.into_iter().any(|encoding| encoding.spec.template == "plain") {
            return Ok(false);
        }
        match shape_of(snapshot, dataset)? {
            (0, _) => {}
            (count, Some(Shape::Conversations)) => all += count,
            _ => return Ok(false),
        }
    }
    Ok(all > 0)
}

/// What the records of a dataset are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Conversations,
    Pairs,
    /// Not all of them are the same, or texts.
    Mixed,
}

/// How many records of a dataset were looked at, spread over the whole, and their shape; none of texts alone.
fn shape_of(snapshot: &Snapshot, dataset: &DatasetPart) -> Result<(u64, Option<Shape>), QueryError> {
    let samples = snapshot.samples(dataset)?;
    let batch = samples.get(&spread(samples.rows(), LOOKED_AT), &["record"])?;
    let records = batch.column(0).as_binary_opt::<i32>();
    let (mut count, mut found) = (0, None);
    for record in records.into_iter().flat_map(|records| records.iter().flatten()) {
        let shape = match Content::read(record) {
            Ok(Content::Messages(_)) => Some(Shape::Conversations),
            Ok(Content::PromptCompletion { .. }) => Some(Shape::Pairs),
            _ => None,
        };
        count += 1;
        match found {
            Some(found) if found != shape => return Ok((count, Some(Shape::Mixed))),
            _ => found = Some(shape),
        }
    }
    Ok((count, found.flatten()))
}

/// So many rows of a set, the first and the last among them, at even distances.
fn spread(rows: &RowSet, count: u64) -> Vec<u64> {
    let all = rows.len();
    let count = count.min(all);
    let mut places = (0..count).map(|i| i * (all - 1) / (count - 1).max(1)).peekable();
    let mut found = Vec::new();
    let mut before = 0;
    for range in rows.ranges() {
        let len = range.end - range.start;
        while let Some(place) = places.next_if(|place| *place < before + len) {
            found.push(range.start + place - before);
        }
        before += len;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_over_the_whole() {
        let rows = RowSet::from_ranges([0..3, 10..11, 100..200]);
        assert_eq!(spread(&rows, 4), [0, 130, 164, 199]);
        assert_eq!(spread(&rows, 1), [0]);
        assert_eq!(spread(&rows, 1000), rows.iter().collect::<Vec<_>>());
        assert_eq!(spread(&RowSet::new(), 4), [0; 0]);
    }

    #[test]
    fn only_pairs_become_conversations() {
        let talk = conversation(r#"{"prompt":"q","completion":"a","n":1}"#).unwrap();
        assert_eq!(
            talk,
            r#"{"n":1,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#
        );
        for other in [r#"{"text":"t"}"#, r#"{"messages":[{"role":"user","content":"q"}]}"#, "{}", "["] {
            assert_eq!(conversation(other), None);
        }
    }
}
