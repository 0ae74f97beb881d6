//! Prompts with completions in a question about conversations.
//!
//! A pool of conversations was encoded with roles around each message, a prompt with its completion is text
//! without any: its gradient points elsewhere, and the ranking is one of other rows. So where the pool's
//! records are conversations, a pair that is given with the question is asked as one: what the user says, and
//! what the assistant answers. Of a stored one a note says so.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use gstore_core::content::{Content, Role};
use gstore_core::{EncodingSpec, Remedy, many};
use gstore_store::{DatasetPart, FeaturePart, RowSet, Snapshot};
use serde_json::{Map, Value, json};

use crate::error::QueryError;
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
        let note = match pools.iter().any(|(dataset, features)| writes_roles(dataset, features)) {
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

/// Whether a dataset's template gives roles to a prompt with its completion, as all that know conversations
/// do but for LESS's.
fn writes_roles(pool: &DatasetPart, features: &[Arc<FeaturePart>]) -> bool {
    let encodings = features.iter().filter_map(|feature| pool.encoding(&feature.desc.encoding));
    encodings.into_iter().any(|encoding| !matches!(encoding.spec.template.as_str(), "tulu" | "plain"))
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

/// What a user should know of stored targets that became text in another form than the pools' conversations:
/// prompts with completions without roles, or with another template. Their vectors are what they are:
/// nothing is asked otherwise.
pub(super) fn notes_of_targets(
    snapshot: &Snapshot,
    pools: &[(&Arc<DatasetPart>, &[Arc<FeaturePart>])],
    targets: &[(&Arc<DatasetPart>, &[Arc<FeaturePart>])],
    run: Option<&str>,
) -> Option<String> {
    let pool = pools.iter().find_map(|(dataset, features)| encoding_of(dataset, features))?;
    let run = run.unwrap_or_default();
    let (mut pairs, mut others, mut unlike) = (Vec::new(), Vec::new(), Vec::new());
    for (dataset, features) in targets {
        let Some(own) = encoding_of(dataset, features) else { continue };
        // Records that cannot be read are the trouble of who reads them: the answer takes vectors.
        let like = match shape_of(snapshot, dataset).unwrap_or_default() {
            (looked_at, Some(Shape::Pairs)) if !writes_roles(dataset, features) => {
                pairs.push(format!("`{}` ({} looked at)", dataset.name, many(looked_at, "sample")));
                with_pairs(pool)
            }
            _ if form(own) == form(pool) => continue,
            (_, Some(shape)) => {
                others.push(format!("`{}` with the template {}", dataset.name, own.template));
                match shape {
                    Shape::Pairs => with_pairs(pool),
                    Shape::Conversations => pool.clone(),
                }
            }
            _ => continue,
        };
        unlike.extend(features.first().map(|feature| (dataset.name.as_str(), feature, like.options())));
    }
    if unlike.is_empty() || !matches!(are_conversations(snapshot, pools), Ok(true)) {
        return None;
    }
    let way = |(dataset, feature, options): &(&str, &Arc<FeaturePart>, Vec<String>)| {
        let kind = feature.desc.kind.name.as_str();
        let command = snapshot.command_of(feature).unwrap_or_default();
        Remedy::IngestAs { dataset, kind, per_token: false, run, options, command: &command }.to_string()
    };
    let ways: Vec<String> = unlike.iter().map(way).collect();
    let mut found = Vec::new();
    if !pairs.is_empty() {
        found.push(format!(
            "those of the target {} are prompts with completions, encoded as text without roles",
            pairs.join(", ")
        ));
    }
    if !others.is_empty() {
        found.push(format!(
            "they were encoded with the template {}, and the target {}",
            pool.template,
            others.join(", ")
        ));
    }
    Some(format!(
        "the pool's samples are conversations, and {}: scores compare texts of two forms; {} computes the target's features as \
         of conversations of the pool's form",
        found.join("; "),
        ways.join(" and ")
    ))
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

/// What a record is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Conversations,
    Pairs,
}

/// How many records of a dataset were looked at, spread over the whole, and the shape that all of them have.
fn shape_of(snapshot: &Snapshot, dataset: &DatasetPart) -> Result<(u64, Option<Shape>), QueryError> {
    let samples = snapshot.samples(dataset)?;
    let batch = samples.get(&spread(samples.rows(), LOOKED_AT), &["record"])?;
    let records = batch.column(0).as_binary_opt::<i32>();
    let (mut count, mut found): (u64, Option<Shape>) = (0, None);
    for record in records.into_iter().flat_map(|records| records.iter().flatten()) {
        let shape = match Content::read(record) {
            Ok(Content::Messages(_)) => Some(Shape::Conversations),
            Ok(Content::PromptCompletion { .. }) => Some(Shape::Pairs),
            _ => None,
        };
        count += 1;
        if shape.is_none() || found.is_some_and(|found| Some(found) != shape) {
            return Ok((count, None));
        }
        found = shape;
    }
    Ok((count, found))
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
