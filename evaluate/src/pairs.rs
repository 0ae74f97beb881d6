//! Predictions of one or several systems, joined with their references: from files or datasets of a store.

use std::collections::{HashMap, HashSet};

use gstore_core::{Cancel, Remedy};
use serde_json::{Value, json};

use crate::error::EvaluateError;
use crate::keys::{COMPLETION, PREDICTION, REFERENCE};
use crate::records::{PairSource, RecordId, RecordLocation, each_record, text_of};
use crate::report::{RunParameters, files};

/// A system whose predictions are compared with references.
#[derive(Clone)]
pub struct SystemSource {
    /// Its name; none: that of what is read.
    pub name: Option<String>,
    /// Its predictions.
    pub source: PairSource,
}

/// What is to be compared.
#[derive(Clone)]
pub struct PairsRequest {
    /// The systems; a single source may hold the predictions of several.
    pub systems: Vec<SystemSource>,
    /// Where the references are, by the ids of the predictions; none: in the records of the predictions.
    pub references: Option<PairSource>,
    /// Key of the predictions, or several as system and key; empty: see [`read_pairs`].
    pub predictions: Vec<(Option<String>, String)>,
    /// Key of the references.
    pub reference: Option<String>,
}

impl PairsRequest {
    /// Where the texts of a report come from, and the keys that were asked for.
    ///
    /// # Errors
    /// Files that are not there any more.
    pub fn made(&self) -> Result<RunParameters, EvaluateError> {
        let system = |system: &SystemSource| -> Result<Value, EvaluateError> {
            Ok(json!({ "name": system.name, "data": source_parameters(&system.source)? }))
        };
        let systems: Result<Vec<Value>, EvaluateError> = self.systems.iter().map(system).collect();
        let references = self.references.as_ref().map(source_parameters).transpose()?;
        let keys = self.predictions.iter().map(|(name, key)| match name {
            Some(name) => format!("{name}={key}"),
            None => key.clone(),
        });
        let keys: Vec<String> = keys.collect();
        let made = [
            ("systems", Value::Array(systems?)),
            ("references", json!(references)),
            ("prediction", json!((!keys.is_empty()).then_some(keys))),
            ("reference", json!(self.reference)),
        ];
        Ok(made.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// Files with their digests, or a dataset with the snapshot that it was read in.
fn source_parameters(source: &PairSource) -> Result<Value, EvaluateError> {
    match source {
        PairSource::Files(paths) => files(paths),
        PairSource::Dataset { snapshot, part } => {
            Ok(json!({ "dataset": part.name, "snapshot": snapshot.number() }))
        }
    }
}

/// A row: what each system says, and what is right.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Its id, or its number from 0.
    pub id: String,
    /// What was asked, where the record says it.
    pub prompt: Option<String>,
    /// At least one.
    pub references: Vec<String>,
    /// One for each system.
    pub predictions: Vec<String>,
}

/// The rows, and the names of the systems.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs {
    /// Names, in the order of the predictions.
    pub systems: Vec<String>,
    /// The rows, in the order of the first source.
    pub rows: Vec<Pair>,
    /// References that no prediction is compared with; none where they are in the records of the predictions.
    pub unanswered: Option<usize>,
}

/// Reads the rows.
///
/// Without named keys a prediction is what a record has as `prediction`, `completion` or the assistant's last
/// message; a record with `expected_completion` has a system for each other key that ends in `_completion`.
/// A reference is `reference`, `references`, `expected`, `expected_completion` or `answers`, a text or a list
/// of texts; in a source of references also what a prediction would be.
///
/// Memory: all texts.
///
/// # Errors
/// Records that lack one of them, systems with other rows, none or other references, an id that comes twice.
pub fn read_pairs(request: &PairsRequest, cancel: &Cancel) -> Result<Pairs, EvaluateError> {
    let references = request.references.as_ref();
    let references = references.map(|source| references_of(source, request.reference.as_deref(), cancel));
    let references = references.transpose()?;
    let mut pairs = Pairs { systems: Vec::new(), rows: Vec::new(), unanswered: None };
    let mut places: HashMap<RecordId, usize> = HashMap::new();
    let mut answered: HashSet<usize> = HashSet::new();
    for system in &request.systems {
        let first = pairs.systems.is_empty();
        let (mut seen, mut ids): (HashSet<RecordId>, _) = (HashSet::new(), JoinedBy::default());
        let mut names: Vec<String> = Vec::new();
        // A source of several files is one system, called after the first.
        let mut source_name = system.name.clone();
        let before = pairs.systems.len();
        each_record(&system.source, cancel, &mut |at, mut record| {
            let row_id = at.id_of(&record);
            let id = row_id.to_string();
            ids.note(&row_id, &at)?;
            if !seen.insert(row_id.clone()) {
                return Err(EvaluateError::RepeatedId { id, of: at.source() });
            }
            let of_source = source_name.get_or_insert_with(|| at.name());
            let said = predictions(&record, &request.predictions, of_source, &at)?;
            if names.is_empty() {
                names = said.iter().map(|(name, _)| name.clone()).collect();
            }
            let texts = texts_by_name(&names, said)
                .ok_or_else(|| at.error("it has other completions than the first record"))?;
            if first {
                let expected = match &references {
                    Some(references) => references.of(&row_id, &at, &mut answered)?,
                    None => reference(&record, request.reference.as_deref()).unwrap_or_default(),
                };
                if expected.is_empty() {
                    let key = request.reference.clone().filter(|_| references.is_none());
                    return Err(EvaluateError::NoReference { id, key });
                }
                places.insert(row_id, pairs.rows.len());
                let prompt = prompt(&mut record);
                pairs.rows.push(Pair { id, prompt, references: expected, predictions: texts });
            } else if let Some(row) = places.get(&row_id).and_then(|place| pairs.rows.get_mut(*place)) {
                let own = reference(&record, request.reference.as_deref()).filter(|_| references.is_none());
                if own.is_some_and(|own| !is_same(&own, &row.references)) {
                    let (first, other) = (source_of(&request.systems[0].source), at.source());
                    return Err(EvaluateError::OtherReference { id, first, other });
                }
                row.predictions.extend(texts);
            } else if places.keys().any(|other| is_stated(other) != is_stated(&row_id)) {
                return Err(unlike(&row_id, &at, &source_of(&request.systems[0].source)));
            } else {
                let (system, base) = (pairs.systems[0].clone(), at.source());
                return Err(EvaluateError::Missing { system, id, base });
            }
            Ok(())
        })?;
        if names.is_empty() {
            return Err(EvaluateError::Nothing(format!("{}: it has no rows", named(system))));
        }
        pairs.systems.extend(names);
        let short = pairs.rows.iter().find(|row| row.predictions.len() < pairs.systems.len());
        if let Some(row) = short {
            let (system, base) = (pairs.systems[before].clone(), pairs.systems[0].clone());
            return Err(EvaluateError::Missing { system, id: row.id.clone(), base });
        }
    }
    pairs.unanswered = references.map(|references| references.texts.len() - answered.len());
    check(pairs)
}

/// Whether the records of a source state their ids: all of them do, or none does, as a position among records
/// with ids says nothing.
#[derive(Default)]
struct JoinedBy {
    ids: bool,
    /// What is wrong with the first record without one, if another has one.
    without: Option<EvaluateError>,
}

impl JoinedBy {
    fn note(&mut self, id: &RecordId, at: &RecordLocation<'_>) -> Result<(), EvaluateError> {
        if is_stated(id) {
            self.ids = true;
        } else if self.without.is_none() {
            self.without =
                Some(at.error("it has no id, and others have one: give one to all records, or to none"));
        }
        match self.without.take() {
            Some(mixed) if self.ids => Err(mixed),
            without => {
                self.without = without;
                Ok(())
            }
        }
    }
}

fn is_stated(id: &RecordId) -> bool {
    matches!(id, RecordId::Stated(_))
}

/// A record with an id cannot be joined with `others` that have none, nor the other way round.
fn unlike(id: &RecordId, at: &RecordLocation<'_>, others: &str) -> EvaluateError {
    let (this, they) = if is_stated(id) { ("an id", "none") } else { ("no id", "ids") };
    at.error(&format!(
        "it has {this}, and the records of {others} have {they}: give both the same ids, or leave out the ids of \
         both, which joins them by their position"
    ))
}

/// Whether two lists have the same texts, in whatever order.
fn is_same(one: &[String], other: &[String]) -> bool {
    let within = |some: &[String], all: &[String]| some.iter().all(|text| all.contains(text));
    within(one, other) && within(other, one)
}

/// A system as an error names it: what is read, and what it is called.
fn named(system: &SystemSource) -> String {
    let source = source_of(&system.source);
    match &system.name {
        Some(name) => format!("{source} ({name})"),
        None => source,
    }
}

/// The files or the dataset, for a message.
fn source_of(source: &PairSource) -> String {
    match source {
        PairSource::Files(paths) => {
            let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
            paths.join(", ")
        }
        PairSource::Dataset { part, .. } => part.name.clone(),
    }
}

fn check(pairs: Pairs) -> Result<Pairs, EvaluateError> {
    if pairs.rows.is_empty() {
        return Err(EvaluateError::Nothing("what was given: it has no rows".to_owned()));
    }
    let mut names = HashSet::new();
    match pairs.systems.iter().find(|name| !names.insert(name.as_str())) {
        Some(name) => Err(EvaluateError::SameName { name: name.clone() }),
        None => Ok(pairs),
    }
}

/// The texts in the order of the names, which a record may have in another; none unless it has these names.
fn texts_by_name(names: &[String], mut said: Vec<(String, String)>) -> Option<Vec<String>> {
    let of = |name: &String| {
        let place = said.iter().position(|(other, _)| other == name)?;
        Some(said.swap_remove(place).1)
    };
    let texts: Option<Vec<String>> = names.iter().map(of).collect();
    texts.filter(|_| said.is_empty())
}

/// What each system says in a record, with its name.
fn predictions(
    record: &Value,
    keys: &[(Option<String>, String)],
    of_source: &str,
    at: &RecordLocation<'_>,
) -> Result<Vec<(String, String)>, EvaluateError> {
    let text = |key: &str| record.get(key).and_then(Value::as_str).map(str::to_owned);
    if !keys.is_empty() {
        let of = |(system, key): &(Option<String>, String)| {
            let text = text(key).ok_or_else(|| at.error(&format!("there is no text under {key:?}")))?;
            let alone = keys.len() == 1;
            let system =
                system.clone().unwrap_or_else(|| if alone { of_source.to_owned() } else { key.clone() });
            Ok((system, text))
        };
        return keys.iter().map(of).collect();
    }
    if let (Some(entries), Some(_)) = (record.as_object(), record.get("expected_completion")) {
        let several = entries.iter().filter_map(|(key, value)| {
            let system = key.strip_suffix(COMPLETION).filter(|system| *system != "expected")?;
            Some((system.to_owned(), value.as_str()?.to_owned()))
        });
        let several: Vec<(String, String)> = several.collect();
        if !several.is_empty() {
            return Ok(several);
        }
    }
    let said = PREDICTION.iter().find_map(|key| text(key)).or_else(|| last_said(record));
    match said {
        Some(said) => Ok(vec![(of_source.to_owned(), said)]),
        None => {
            Err(at.error("there is no prediction: a text under `prediction` or `completion`, or `messages`"))
        }
    }
}

/// What is right according to a record.
fn reference(record: &Value, key: Option<&str>) -> Option<Vec<String>> {
    match key {
        Some(key) => texts(record.get(key)?),
        None => REFERENCE.iter().find_map(|key| texts(record.get(*key)?)),
    }
}

/// A text or a number, or a list of them; of SQuAD's lists the texts of the answers.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(_) | Value::Number(_) => Some(vec![text_of(Some(value))?]),
        Value::Array(items) => {
            items.iter().map(|item| text_of(Some(item)).or_else(|| text_of(item.get("text")))).collect()
        }
        Value::Object(_) => texts(value.get("text")?),
        _ => None,
    }
}

/// What the assistant says last.
fn last_said(record: &Value) -> Option<String> {
    let last = record.get("messages")?.as_array()?.last()?;
    (last.get("role")?.as_str()? == "assistant").then(|| last.get("content")?.as_str().map(str::to_owned))?
}

/// What was asked: the prompt, or what a user says last.
fn prompt(record: &mut Value) -> Option<String> {
    if let Some(Value::String(prompt)) = record.get_mut("prompt").map(Value::take) {
        return Some(prompt);
    }
    let messages = record.get("messages")?.as_array()?;
    let asked =
        messages.iter().rev().find(|message| message.get("role").is_some_and(|role| role == "user"))?;
    asked.get("content")?.as_str().map(str::to_owned)
}

fn without_reference(record: &Value) -> String {
    let keys = record.as_object().into_iter().flat_map(serde_json::Map::keys);
    let keys: Vec<String> = keys.map(|key| format!("`{key}`")).collect();
    let option = Remedy::Option("reference", "KEY");
    format!("there is no reference; {option} names the key that holds it, of {}", keys.join(", "))
}

/// References by id, and those of records without one by the ids that answers to them have; where no record has
/// one, also by their places.
struct References {
    /// What they are read from, for messages.
    source: String,
    /// Of each id the number of its record.
    by_id: HashMap<String, usize>,
    /// The texts of each record.
    texts: Vec<Vec<String>>,
    /// Whether a record states its id.
    ids: bool,
}

impl References {
    /// Those of an id, whose record is noted as answered; empty where there is none.
    fn of(
        &self,
        id: &RecordId,
        at: &RecordLocation<'_>,
        answered: &mut HashSet<usize>,
    ) -> Result<Vec<String>, EvaluateError> {
        let number = match id {
            RecordId::Stated(id) => self.by_id.get(id).copied(),
            RecordId::Number(number) if !self.ids => usize::try_from(*number).ok(),
            RecordId::Number(_) => None,
        };
        match number.and_then(|number| Some((number, self.texts.get(number)?))) {
            Some((number, texts)) => {
                answered.insert(number);
                Ok(texts.clone())
            }
            None if is_stated(id) != self.ids => Err(unlike(id, at, &self.source)),
            None => Ok(Vec::new()),
        }
    }
}

fn references_of(
    source: &PairSource,
    key: Option<&str>,
    cancel: &Cancel,
) -> Result<References, EvaluateError> {
    let mut found =
        References { source: source_of(source), by_id: HashMap::new(), texts: Vec::new(), ids: false };
    each_record(source, cancel, &mut |at, record| {
        let id = at.id_of(&record);
        let said = || PREDICTION.iter().find_map(|key| texts(record.get(*key)?));
        let texts = reference(&record, key).or_else(|| match key {
            Some(_) => None,
            None => said().or_else(|| last_said(&record).map(|text| vec![text])),
        });
        let texts = texts.filter(|texts| !texts.is_empty());
        let texts = texts.ok_or_else(|| at.error(&without_reference(&record)))?;
        found.ids |= is_stated(&id);
        let id = match id {
            RecordId::Stated(id) => Some(id),
            RecordId::Number(_) => at.made.clone(),
        };
        if let Some(id) = id
            && found.by_id.insert(id.clone(), found.texts.len()).is_some()
        {
            return Err(EvaluateError::RepeatedId { id, of: at.source() });
        }
        found.texts.push(texts);
        Ok(())
    })?;
    Ok(found)
}
