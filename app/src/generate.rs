//! Answers of a model as a dataset, and perplexities as a table.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt32Array, UInt64Array,
};
use arrow_schema::ArrowError;
use gstore_core::Cancel;
use gstore_data::{DataFile, FieldNames, SampleError, SchemaBuilder};
use gstore_generate::{
    GenerateError, Journal, Perplexity, PerplexityRequest, Prompt, TextScore, TokenScore, perplexity,
};
use gstore_ingest::pipeline::{self, AddReport, AddRequest, IngestError};
use gstore_sql::SqlError;
use gstore_sql::output::{Format, ResultWriter, TableStyle};
use gstore_store::{
    AppendError, ColumnDef, ColumnType, DatasetPart, IfChanged, ReadError, RecordDifference, Snapshot, Store,
    record_columns,
};
use serde_json::Value;

use crate::answer::nullable_table;
use crate::work::JobContext;

/// Stored records that are compared at a time.
const RECORDS_AT_ONCE: usize = 1024;

/// Refuses prompts whose answers `request` could not register after all of them were made: their keys fit
/// into no columns; or, where it refuses what has changed, the dataset has their ids, and under one of them
/// anything but an answer of the same model to the same prompt with the same options. `snapshot` is the
/// state of the store, if there is one.
///
/// `begun` gives the JSON of the record of a prompt's answer without the answer:
/// [`gstore_generate::GenerateObserver::check`].
///
/// # Errors
/// The first such row or key; samples that cannot be read; being told to stop.
pub fn check_answers(
    snapshot: Option<&Snapshot>,
    request: &AddRequest,
    prompts: &[Prompt],
    begun: &dyn Fn(&Prompt) -> String,
    cancel: &Cancel,
) -> Result<(), GenerateError> {
    let part = snapshot.and_then(|snapshot| snapshot.dataset(&request.dataset).ok());
    if let (Some(snapshot), Some(part), IfChanged::Refuse) = (snapshot, part, request.if_changed) {
        check_ids(snapshot, part, prompts, begun, cancel)?;
    }
    check_columns(&request.columns_with(part.map(|part| &**part)), request, prompts, begun)
}

/// Refuses answers whose keys fit into no columns, beside those that are known.
fn check_columns(
    known: &[ColumnDef],
    request: &AddRequest,
    prompts: &[Prompt],
    begun: &dyn Fn(&Prompt) -> String,
) -> Result<(), GenerateError> {
    let overrides = request.overrides().map_err(|error| GenerateError::Option(error.to_string()))?;
    let mut builder = SchemaBuilder::new(overrides, known);
    let fields = FieldNames::default();
    let refused = |source| GenerateError::Columns { dataset: request.dataset.clone(), source };
    for (line, prompt) in (1u64..).zip(prompts) {
        let json = begun(prompt);
        // What is no sample is left to the registration.
        let Ok((_, record)) = fields.read(json.as_bytes()) else { continue };
        builder.observe(line, &record).map_err(refused)?;
    }
    builder.finish().map(drop).map_err(refused)
}

/// Keys of the record of an answer that its prompt's sample has no say in.
const OWN_KEYS: [&str; 4] = ["finish", "new_tokens", "model", "generation"];

/// The columns of a dataset that are texts for answers to its samples too, whatever the values of these are.
/// The types of others follow from the values.
pub fn columns_of_prompts(part: &DatasetPart) -> Vec<ColumnDef> {
    let is_text =
        |column: &&ColumnDef| column.ty == ColumnType::Text && !OWN_KEYS.contains(&column.key.as_str());
    part.columns.iter().filter(is_text).cloned().collect()
}

fn check_ids(
    snapshot: &Snapshot,
    part: &DatasetPart,
    prompts: &[Prompt],
    begun: &dyn Fn(&Prompt) -> String,
    cancel: &Cancel,
) -> Result<(), GenerateError> {
    let by_id: HashMap<&str, &Prompt> = prompts.iter().map(|prompt| (prompt.id.as_str(), prompt)).collect();
    let failed = |error: ReadError| GenerateError::from(SampleError::from(error));
    let samples = snapshot.samples(part).map_err(failed)?;
    // Ids first: of many records hardly one may be asked about.
    let mut taken = Vec::new();
    let visit = |row, id: &str| {
        if let Some(prompt) = by_id.get(id) {
            taken.push((row, *prompt));
        }
    };
    samples.each_id(cancel, visit).map_err(failed)??;
    for some in taken.chunks(RECORDS_AT_ONCE) {
        let rows: Vec<u64> = some.iter().map(|(row, _)| *row).collect();
        let batch = samples.get(&rows, &["row", "id", "record"]).map_err(failed)?;
        // What is stored in another form is left to the registration.
        let Some((_, _, records)) = record_columns(&batch) else { continue };
        for (at, (row, prompt)) in some.iter().enumerate() {
            let stored = if records.is_valid(at) { records.value(at) } else { b"null".as_slice() };
            if !is_answer_to(stored, &begun(prompt)) {
                let (dataset, id) = (part.name.clone(), prompt.id.clone());
                let differs = RecordDifference::Otherwise;
                let changed = AppendError::Changed { dataset, id, row: *row, differs };
                return Err(GenerateError::Taken(Box::new(changed)));
            }
        }
    }
    Ok(())
}

/// Whether a stored record can be the answer that a record begins.
fn is_answer_to(stored: &[u8], begun: &str) -> bool {
    let parsed = |json: &[u8]| serde_json::from_slice::<Value>(json).unwrap_or_default();
    let (stored, begun) = (parsed(stored), parsed(begun.as_bytes()));
    let asked = |record: &Value| {
        let turns = record.get("messages").and_then(Value::as_array);
        turns.and_then(|turns| turns.split_last()).map(|(_, before)| before.to_vec())
    };
    let same = |key: &&str| stored.get(*key) == begun.get(*key);
    asked(&stored) == asked(&begun) && ["prompt", "expected", "model", "generation"].iter().all(same)
}

/// Bytes in which the first line of a file of answers ends: that of another program may have gigabytes.
const LONGEST_FIRST: u64 = 1 << 20;

/// Whether a file begins with the record of an answer, so that [`answers_in`] may find the others.
pub fn begins_with_answer(path: &Path) -> bool {
    let Ok(bytes) = DataFile::detect(path).and_then(|file| file.bytes()) else { return false };
    let first = BufReader::new(bytes.take(LONGEST_FIRST)).lines().next();
    let record = first.and_then(|line| serde_json::from_str::<Value>(&line.ok()?).ok());
    record.is_some_and(|record| record["finish"].is_string() && record["generation"].is_object())
}

/// The lines of a file, if they are the records of answers to all of some prompts, in their order: beside the
/// answer each says what `begun` does, as in [`check_answers`], and nothing else.
pub fn answers_in(path: &Path, prompts: &[Prompt], begun: &dyn Fn(&Prompt) -> String) -> Option<Vec<String>> {
    let bytes = DataFile::detect(path).and_then(|file| file.bytes()).ok()?;
    let mut lines = BufReader::new(bytes).lines();
    let mut records = Vec::with_capacity(prompts.len());
    for prompt in prompts {
        let line = lines.next()?.ok()?;
        if without_answer(&line)? != without_answer(&begun(prompt))? {
            return None;
        }
        records.push(line);
    }
    lines.next().is_none().then_some(records)
}

fn without_answer(record: &str) -> Option<Value> {
    let mut record: Value = serde_json::from_str(record).ok()?;
    let keys = record.as_object_mut()?;
    for key in ["completion", "finish", "new_tokens"] {
        keys.remove(key);
    }
    if let Some(turns) = keys.get_mut("messages").and_then(Value::as_array_mut) {
        turns.pop();
    }
    Some(record)
}

/// An error in registering answers, with their dataset in place of the file that they were read from.
fn answers_error(mut error: IngestError, dataset: &str, path: &Path) -> IngestError {
    let name = format!("the answers for {dataset}");
    match &mut error {
        IngestError::Append { place, .. }
        | IngestError::RepeatedId { place, .. }
        | IngestError::Record { place, .. } => place.file = Arc::from(Path::new(&name)),
        IngestError::Schema { path, .. } => *path = PathBuf::from(name),
        IngestError::BadRecords { list, .. } => *list = list.replace(&path.display().to_string(), &name),
        _ => {}
    }
    error
}

/// Registers answers as samples, by the same code as those of files; `request` names the dataset, types of
/// columns, and what happens to an answer whose id is there already, its files are not looked at.
///
/// # Errors
/// As [`crate::add`].
pub fn add_answers(
    store: &Store,
    request: &AddRequest,
    answers: &mut Journal,
    work: &mut JobContext<'_>,
) -> Result<AddReport, IngestError> {
    let folder = tempfile::tempdir().map_err(IngestError::File)?;
    let path = folder.path().join("answers.jsonl");
    let write = |answers: &mut Journal| {
        let mut file = BufWriter::new(fs_err::File::create(&path)?);
        answers.write_to(&mut file)?;
        file.flush()
    };
    write(answers).map_err(IngestError::File)?;
    let request = AddRequest { data: vec![path.clone()], fields: Vec::new(), ..request.clone() };
    let added = pipeline::add_until(store, &request, None, work.progress, work.cancel);
    added.map_err(|error| answers_error(error, &request.dataset, &path))
}

/// What a row of a table of perplexities is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PerplexityRows {
    /// A text.
    Texts,
    /// A token.
    Tokens,
}

/// Scores texts and writes a table: of texts their mean losses, perplexities and entropies, of tokens their
/// log-probabilities. Returns the sums over the scored tokens and over all tokens but the first of each text.
///
/// # Errors
/// As [`gstore_generate::perplexity()`], and an output that fails.
pub fn perplexity_table<W: Write + Send>(
    request: &PerplexityRequest,
    rows: PerplexityRows,
    out: W,
    format: Format,
    work: &mut JobContext<'_>,
) -> Result<[Perplexity; 2], GenerateError> {
    let style = TableStyle { width: None, column: None };
    let batch = |scores: &[TextScore]| match rows {
        PerplexityRows::Texts => texts(scores),
        PerplexityRows::Tokens => tokens(scores),
    };
    let failed = |error: SqlError| std::io::Error::other(error.to_string());
    let of_arrow = |error: ArrowError| std::io::Error::other(error.to_string());
    let schema = batch(&[]).map_err(of_arrow)?.schema();
    // A format without a place for the columns is refused now. The output has not even a header until the
    // first texts are scored: of what cannot be used nothing is written.
    ResultWriter::new(format, &schema, std::io::sink(), style).map_err(failed)?;
    let (mut out, mut writer) = (Some(out), None);
    let mut write = |scores: &[TextScore]| -> std::io::Result<()> {
        if let Some(out) = out.take() {
            writer = Some(ResultWriter::new(format, &schema, out, style).map_err(failed)?);
        }
        let Some(writer) = &mut writer else { return Ok(()) };
        writer.write(&batch(scores).map_err(of_arrow)?).map_err(failed)
    };
    let mut waiting = Vec::new();
    let mut take = |score: TextScore| {
        waiting.push(score);
        if waiting.len() < CHUNK {
            return Ok(());
        }
        write(&std::mem::take(&mut waiting))
    };
    let sums = perplexity(request, work.progress, work.cancel, &mut take)?;
    if !waiting.is_empty() {
        write(&waiting)?;
    }
    if let Some(writer) = writer {
        writer.finish().map_err(failed)?;
    }
    Ok(sums)
}

/// Texts whose rows are written together.
const CHUNK: usize = 256;

/// `id, row, tokens, truncated`, and of the scored tokens and of all but the first their number, mean loss,
/// perplexity and mean entropy.
fn texts(scores: &[TextScore]) -> Result<RecordBatch, ArrowError> {
    let (scored, all): (Vec<Perplexity>, Vec<Perplexity>) =
        scores.iter().map(|score| (score.scored(), score.all())).unzip();
    let number = |of: &[Perplexity], value: fn(&Perplexity) -> Option<f64>| -> ArrayRef {
        Arc::new(of.iter().map(value).collect::<Float64Array>())
    };
    let count = |values: Vec<u64>| -> ArrayRef { Arc::new(UInt64Array::from(values)) };
    nullable_table(vec![
        ("id", Arc::new(StringArray::from_iter_values(scores.iter().map(|score| &score.id)))),
        ("row", count(scores.iter().map(|score| score.row).collect())),
        ("tokens", count(scores.iter().map(|score| score.tokens as u64).collect())),
        ("truncated", Arc::new(scores.iter().map(|score| Some(score.truncated)).collect::<BooleanArray>())),
        ("scored_tokens", count(scored.iter().map(|sum| sum.tokens).collect())),
        ("loss", number(&scored, Perplexity::mean)),
        ("perplexity", number(&scored, Perplexity::perplexity)),
        ("entropy", number(&scored, Perplexity::mean_entropy)),
        ("loss_all", number(&all, Perplexity::mean)),
        ("perplexity_all", number(&all, Perplexity::perplexity)),
        ("entropy_all", number(&all, Perplexity::mean_entropy)),
    ])
}

/// `id, row, pos, token, text, scored, logprob, entropy` of every token but the first of each text.
fn tokens(scores: &[TextScore]) -> Result<RecordBatch, ArrowError> {
    let all: Vec<(&TextScore, &TokenScore)> =
        scores.iter().flat_map(|text| text.scores.iter().map(move |token| (text, token))).collect();
    nullable_table(vec![
        ("id", Arc::new(StringArray::from_iter_values(all.iter().map(|(text, _)| &text.id)))),
        ("row", Arc::new(UInt64Array::from_iter_values(all.iter().map(|(text, _)| text.row)))),
        ("pos", Arc::new(UInt32Array::from_iter_values(all.iter().map(|(_, t)| t.position as u32)))),
        ("token", Arc::new(UInt32Array::from_iter_values(all.iter().map(|(_, t)| t.token)))),
        ("text", Arc::new(StringArray::from_iter_values(all.iter().map(|(_, t)| &t.text)))),
        ("scored", Arc::new(all.iter().map(|(_, t)| Some(t.scored)).collect::<BooleanArray>())),
        ("logprob", Arc::new(Float64Array::from_iter_values(all.iter().map(|(_, t)| t.log_probability)))),
        ("entropy", Arc::new(Float64Array::from_iter_values(all.iter().map(|(_, t)| t.entropy)))),
    ])
}
