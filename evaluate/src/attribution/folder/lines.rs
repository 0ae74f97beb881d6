//! Lines of the files of a ground truth: samples, and subsets by the ids of their rows.

use gstore_core::{Cancel, xxh3_hex};
use gstore_data::{Content, Message, TextSample};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::ids::Ids;
use super::super::subsets::{NO_MULTISET, Subset, SubsetKind, complement};
use crate::error::EvaluateError;
use crate::records::text_of;

/// A subset as a line of `subsets.jsonl`.
#[derive(Serialize, Deserialize)]
struct SubsetLine {
    subset: usize,
    #[serde(flatten)]
    kind: SubsetKind,
    /// Its rows, or those that it leaves out, whichever are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<Vec<String>>,
    digest: String,
}

impl SubsetLine {
    /// The subset, if its rows are those of its digest.
    fn subset_of(self, pool: &Ids) -> Result<Subset, String> {
        let (ids, is_rest) = match (self.rows, self.without) {
            (Some(rows), None) => (rows, false),
            (None, Some(rows)) => (rows, true),
            _ => return Err(format!("subset {} needs `rows` or `without`", self.subset)),
        };
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            let place = pool.place(&id).ok_or_else(|| format!("{id:?} is not a row of the pool"))?;
            rows.push(place as u32);
        }
        rows.sort_unstable();
        if let Some(twice) = rows.windows(2).find(|pair| pair[0] == pair[1]) {
            let id = pool.id(twice[0] as usize);
            return Err(format!("subset {} lists row {id:?} twice: {NO_MULTISET}", self.subset));
        }
        let rows = if is_rest { complement(&rows, pool.len()) } else { rows };
        match digest(&rows, pool) == self.digest {
            true => Ok(Subset { kind: self.kind, rows }),
            false => Err(format!("the rows of subset {} are not those of its digest", self.subset)),
        }
    }
}

/// Converts each line of JSON; `bad` makes an error of what is wrong with one.
fn parse_lines<L: DeserializeOwned, T>(
    text: &str,
    bad: impl Fn(String) -> EvaluateError,
    cancel: &Cancel,
    of_line: impl Fn(L) -> Result<T, String>,
) -> Result<Vec<T>, EvaluateError> {
    let mut found = Vec::new();
    for line in text.lines() {
        cancel.check()?;
        let line = serde_json::from_str(line).map_err(|error| bad(error.to_string()))?;
        found.push(of_line(line).map_err(&bad)?);
    }
    Ok(found)
}

/// The ids of lines of JSON; `bad` makes an error of what is wrong with one.
pub(super) fn ids_in(
    text: &str,
    bad: impl Fn(String) -> EvaluateError,
    cancel: &Cancel,
) -> Result<Vec<String>, EvaluateError> {
    let ids = parse_lines(text, bad, cancel, |record: Value| Ok(text_of(record.get("id"))))?;
    Ok(ids.into_iter().flatten().collect())
}

/// The subsets of lines of `subsets.jsonl`.
pub(super) fn subsets_in(
    text: &str,
    pool: &Ids,
    bad: impl Fn(String) -> EvaluateError,
    cancel: &Cancel,
) -> Result<Vec<Subset>, EvaluateError> {
    parse_lines(text, bad, cancel, |line: SubsetLine| line.subset_of(pool))
}

/// Digest of the ids of some rows, in the order of the pool.
pub(super) fn digest(rows: &[u32], pool: &Ids) -> String {
    let ids: Vec<&str> = rows.iter().map(|row| pool.id(*row as usize)).collect();
    xxh3_hex(ids.join("\n").as_bytes())
}

/// The lines of `subsets.jsonl`.
pub(super) fn subset_lines(subsets: &[Subset], pool: &Ids, cancel: &Cancel) -> Result<String, EvaluateError> {
    let mut text = String::new();
    for (number, subset) in subsets.iter().enumerate() {
        cancel.check()?;
        let ids = |rows: &[u32]| -> Vec<String> {
            rows.iter().map(|row| pool.id(*row as usize).to_owned()).collect()
        };
        let left_out = subset.left_out(pool.len());
        let is_rest = left_out.len() < subset.rows.len();
        let line = SubsetLine {
            subset: number,
            kind: subset.kind.clone(),
            rows: (!is_rest).then(|| ids(&subset.rows)),
            without: is_rest.then(|| ids(&left_out)),
            digest: digest(&subset.rows, pool),
        };
        text.push_str(&serde_json::to_string(&line).map_err(std::io::Error::from)?);
        text.push('\n');
    }
    Ok(text)
}

/// Samples as lines of JSON.
pub(super) fn sample_lines(samples: &[TextSample], cancel: &Cancel) -> Result<String, EvaluateError> {
    let mut text = String::new();
    for sample in samples {
        cancel.check()?;
        text.push_str(&sample_json(sample));
        text.push('\n');
    }
    Ok(text)
}

pub(super) fn sample_json(sample: &TextSample) -> String {
    match &sample.content {
        Content::Text(text) => json!({ "id": sample.id, "text": text }),
        Content::PromptCompletion { prompt, completion } => {
            json!({ "id": sample.id, "prompt": prompt, "completion": completion })
        }
        Content::Messages(messages) => {
            let list = messages.iter().map(Message::to_json);
            json!({ "id": sample.id, "messages": list.collect::<Vec<Value>>() })
        }
    }
    .to_string()
}
