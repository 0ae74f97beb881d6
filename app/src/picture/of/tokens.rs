//! The tokens of one sample, with the value of a feature or the score for a target of each.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use gstore_core::{Cancel, Kind, Remedy};
use gstore_model::Reduction;
use gstore_query::influence::Encoder;
use gstore_sql::{Parameters, SqlOptions, SqlRunner};
use gstore_store::{Family, FeaturePart, Granularity, Snapshot};
use serde_json::Value;

use super::super::scale::number;
use super::super::{Body, Panel, Picture, Token};
use super::count;
use crate::answer::AnswerError;
use crate::rows::{RowNames, find_rows};
use crate::work::JobContext;

/// Tokens that are drawn of a sample.
const MOST: usize = 4096;

/// What is drawn.
#[derive(Debug, Clone)]
pub struct TokensRequest {
    /// The dataset.
    pub dataset: String,
    /// The id of the sample.
    pub id: String,
    /// What the values are.
    pub values: TokenValues,
}

/// What the values of tokens are.
#[derive(Debug, Clone)]
pub enum TokenValues {
    /// What a feature of tokens has: a loss, an entropy, or the length of a vector. Its label or number;
    /// none: the loss of the newest checkpoint, else the first there is.
    Feature(Option<String>),
    /// The influence of each token on targets, with these options of `influence()`.
    Target(Vec<String>, Vec<(&'static str, Value)>),
}

/// The text of a sample, each token coloured by its value; `models` find the tokenizer.
///
/// # Errors
/// A dataset, sample or feature that is not there, a sample whose tokens have no values, damage, and being
/// told to stop.
pub fn tokens(
    snapshot: &Arc<Snapshot>,
    request: &TokensRequest,
    models: Option<Arc<dyn Encoder>>,
    work: &JobContext<'_>,
) -> Result<Picture, AnswerError> {
    let row = row_of(snapshot, request, work)?;
    let mut values = Parameters::default();
    let mut is_share = false;
    let (sql, what) = match &request.values {
        TokenValues::Feature(label) => {
            let feature = feature_of(snapshot, &request.dataset, label.as_deref())?;
            let space = &feature.desc.space;
            // A loss or an entropy.
            let is_number = space.family == Family::Loss && feature.desc.dim() == 1;
            is_share = is_number && space.reduction == Reduction::Mean.name();
            values.add(Some("dataset"), &request.dataset.as_str().into())?;
            values.add(Some("feature"), &feature.number.to_string().into())?;
            let what = if is_number { &*feature.desc.kind.name } else { "length of the vector" };
            let what = format!("{what} ({})", feature.attrs.label);
            (format!("pos, token, vector FROM vectors($dataset, $feature) WHERE row = {row}"), what)
        }
        TokenValues::Target(targets, options) => {
            values.add(Some("pool"), &request.dataset.as_str().into())?;
            values.add(Some("target"), &targets.clone().into())?;
            let mut call = "influence($pool, $target, per_token => true".to_owned();
            for (name, value) in options {
                values.add(Some(name), value)?;
                call += &format!(", {name} => ${name}");
            }
            let what = format!("influence on {}", targets.join(", "));
            (format!("pos, token, score FROM {call}) WHERE row = {row}"), what)
        }
    };
    let options = SqlOptions { threads: work.threads, encoder: models, ..SqlOptions::default() };
    let runner = SqlRunner::new(Arc::clone(snapshot), options)?;
    let mut found = read(&runner, &format!("SELECT {sql} ORDER BY pos"), &values, work.cancel)?;
    if is_share {
        // Stored is a token's share of the sample's mean, shown its own loss or entropy.
        let tokens = found.len() as f64;
        found.iter_mut().for_each(|(.., value)| *value *= tokens);
    }
    if found.is_empty() {
        return Err(AnswerError::Refused(format!(
            "no token of {:?} in `{}` has a value, as where none is scored",
            request.id, request.dataset
        )));
    }
    Ok(picture(request, found, &what))
}

/// Positions, texts and values of tokens.
type TokenPoints = Vec<(u32, Option<String>, f64)>;

fn read(
    runner: &SqlRunner,
    sql: &str,
    values: &Parameters,
    cancel: &Cancel,
) -> Result<TokenPoints, AnswerError> {
    let mut found = Vec::new();
    for batch in runner.run_with(sql, values, cancel)? {
        let batch = batch?;
        let (Some(places), Some(texts)) =
            (batch.column(0).as_primitive_opt::<UInt32Type>(), batch.column(1).as_string_opt::<i32>())
        else {
            return Err(AnswerError::Refused("tokens have no positions or no texts".to_owned()));
        };
        for i in 0..batch.num_rows() {
            let text = texts.is_valid(i).then(|| texts.value(i).to_owned());
            found.push((places.value(i), text, value(&batch, i)));
        }
    }
    Ok(found)
}

/// A score, the only value of a vector, or the length of one of several values.
fn value(batch: &RecordBatch, row: usize) -> f64 {
    let column = batch.column(2);
    if let Some(scores) = column.as_primitive_opt::<Float32Type>() {
        return f64::from(scores.value(row));
    }
    let vector = match (column.as_fixed_size_list_opt(), column.as_list_opt::<i32>()) {
        (Some(list), _) => list.value(row),
        (None, Some(list)) => list.value(row),
        (None, None) => return f64::NAN,
    };
    let Some(values) = vector.as_primitive_opt::<Float32Type>() else { return f64::NAN };
    match values.values()[..] {
        [only] => f64::from(only),
        _ => values.values().iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt(),
    }
}

fn row_of(
    snapshot: &Arc<Snapshot>,
    request: &TokensRequest,
    work: &JobContext<'_>,
) -> Result<u64, AnswerError> {
    let names = RowNames { ids: [request.id.clone()].into(), condition: None };
    let dataset = snapshot.dataset(&request.dataset)?;
    let found = find_rows(snapshot, dataset, &names, work.threads, work.cancel)?;
    let row = found.rows.ranges().first().map(|range| range.start);
    row.ok_or_else(|| {
        AnswerError::Refused(format!(
            "dataset `{}` has no sample with the id {:?}",
            request.dataset, request.id
        ))
    })
}

/// The feature of tokens that is asked for.
fn feature_of(
    snapshot: &Arc<Snapshot>,
    dataset: &str,
    label: Option<&str>,
) -> Result<Arc<FeaturePart>, AnswerError> {
    let of_tokens = |part: &&Arc<FeaturePart>| part.desc.granularity == Granularity::Token;
    let features: Vec<&Arc<FeaturePart>> =
        snapshot.features_of(dataset).into_iter().filter(of_tokens).collect();
    let known = || features.iter().map(|part| part.attrs.label.as_str()).collect::<Vec<_>>().join(", ");
    let fits = |part: &&&Arc<FeaturePart>| {
        label.is_none_or(|label| part.attrs.label == label || part.number.to_string() == label)
    };
    let found: Vec<&&Arc<FeaturePart>> = features.iter().filter(fits).collect();
    // As the column `loss` of a dataset is of the newest checkpoint.
    let newest = |part: &&&Arc<FeaturePart>| {
        (part.desc.checkpoint.as_ref().and_then(|id| snapshot.step_of(id)), part.number)
    };
    let losses = found.iter().copied().filter(|part| part.desc.kind.name == Kind::Loss.name());
    let loss = losses.max_by_key(newest);
    match (label, found.as_slice()) {
        (None, [first, ..]) => Ok(Arc::clone(loss.unwrap_or(first))),
        (Some(_), [one]) => Ok(Arc::clone(one)),
        (Some(label), [_, ..]) => {
            let numbers: Vec<String> = found.iter().map(|part| part.number.to_string()).collect();
            Err(AnswerError::Refused(format!(
                "dataset `{dataset}` has several features `{label}`; name one by its number: {}",
                numbers.join(", ")
            )))
        }
        (Some(label), []) if !features.is_empty() => Err(AnswerError::Refused(format!(
            "dataset `{dataset}` has no feature of tokens `{label}`; it has {}",
            known()
        ))),
        (_, []) => Err(AnswerError::Refused(format!(
            "dataset `{dataset}` has no feature with a vector for each token; {} computes one",
            ingest(snapshot, dataset)?
        ))),
    }
}

/// The ingest that computes losses of tokens as the dataset's newest feature of a run was computed; without
/// one, at the newest run.
fn ingest(snapshot: &Snapshot, dataset: &str) -> Result<String, AnswerError> {
    let part = snapshot.dataset(dataset)?;
    let run_of = |feature: &FeaturePart| snapshot.run_with(feature.desc.checkpoint.as_ref()?);
    let encoding_of = |feature: &FeaturePart| part.encoding(&feature.desc.encoding);
    let features = snapshot.features_of(dataset).into_iter();
    let like = features
        .max_by_key(|feature| (run_of(feature).is_some(), encoding_of(feature).is_some(), feature.number));
    let run = like
        .and_then(|feature| run_of(feature))
        .or_else(|| snapshot.runs().iter().max_by_key(|run| run.number));
    let encoding = like.and_then(|feature| encoding_of(feature)).or_else(|| part.encodings.last());
    let options = encoding.map_or_else(Vec::new, |encoding| encoding.spec.options());
    let remedy = Remedy::IngestAs {
        dataset,
        kind: Kind::Loss.name(),
        per_token: true,
        run: run.map_or("", |run| &run.name),
        options: &options,
        command: "",
    };
    Ok(remedy.to_string())
}

fn picture(request: &TokensRequest, mut found: TokenPoints, what: &str) -> Picture {
    let all = found.len();
    found.truncate(MOST);
    let mut notes = Vec::new();
    if all > MOST {
        notes.push(format!("The first {} of {} tokens.", count(MOST as u64), count(all as u64)));
    }
    if found.iter().all(|(_, text, _)| text.is_none()) {
        notes.push("The tokenizer was not found, so tokens are shown by their positions.".to_owned());
    }
    let strongest = found.iter().max_by(|a, b| a.2.abs().total_cmp(&b.2.abs()));
    let about = strongest.map_or_else(String::new, |(pos, text, value)| {
        let shown = text.clone().unwrap_or_else(|| pos.to_string());
        format!(" The largest is {} of {shown:?}.", number(*value))
    });
    let mut tokens: Vec<Token> = Vec::new();
    let mut next = found.first().map_or(0, |(pos, ..)| *pos);
    for (pos, text, value) in found {
        if pos != next {
            tokens.push(Token { text: "…".to_owned(), value: None });
        }
        next = pos + 1;
        tokens.push(Token { text: text.unwrap_or_else(|| pos.to_string()), value: Some(value) });
    }
    let between = match tokens.iter().any(|token| token.value.is_none()) {
        true => "; … stands for those between",
        false => "",
    };
    notes.push(format!("Only scored tokens have a value{between}."));
    Picture {
        title: format!("Tokens of {} in {}", request.id, request.dataset),
        about: format!("The tokens of a sample, coloured by {what}.{about}"),
        panels: vec![Panel { heading: what.to_owned(), body: Body::Tokens(tokens), notes }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_explains_the_sign_for_tokens_between_where_there_is_one() {
        let request = TokensRequest {
            dataset: "pool".to_owned(),
            id: "a".to_owned(),
            values: TokenValues::Feature(None),
        };
        for (places, note) in [
            ([3, 4, 5], "Only scored tokens have a value."),
            ([3, 4, 9], "Only scored tokens have a value; … stands for those between."),
        ] {
            let found = places.map(|pos| (pos, Some("…".to_owned()), 1.0)).to_vec();
            assert_eq!(picture(&request, found, "loss").panels[0].notes, [note]);
        }
    }
}
