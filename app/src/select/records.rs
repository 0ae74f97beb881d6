//! Selected records as a table: id, text, and metadata columns with the types of the datasets.
//!
//! Invariants
//! - the table has all that a record has, so that it can be added again; a record that does not fit is an
//!   error, never cut down
//! - lists and objects are columns of lists and structs where their values have one type, else JSON text

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    UInt64Array,
};
use arrow_schema::{DataType, Field};
use gstore_core::{Unit, exact_float};
use gstore_data::{Content, parse_record};
use gstore_query::influence::Scored;
use gstore_store::{ColumnDef, ColumnType, ReadError};
use serde_json::Value;

use super::nested::{self, NestedShape};
use super::scored::{RANK, SCORE, check_keys};
use crate::answer::{AnswerError, CHUNK, Pool, RowWindow, id_column, nullable_table, record, written_record};
use crate::work::JobContext;

/// A table of selected records.
pub(super) struct Records<'a> {
    pools: &'a [Pool],
    rows: &'a [Scored],
    with_scores: bool,
    /// Their ids, their records, and the metadata that is neither lists nor objects.
    window: RowWindow<'a>,
    /// Keys of the records' text, in the order of the columns; none of them is a key of the metadata.
    texts: Vec<&'static str>,
    /// What messages with weights are; none where no message has one.
    weighed: Option<NestedValues>,
    /// With the type of a column of lists or objects.
    metadata: Vec<(ColumnDef, Option<DataType>)>,
}

/// What lists and objects are in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NestedValues {
    /// Lists and structs, where their values have one type.
    Typed,
    /// JSON text: the format has no such types.
    Text,
}

impl<'a> Records<'a> {
    /// Finds the columns of these rows; `with_scores`: with rank and score as the last ones.
    pub(super) fn new<'w: 'a>(
        pools: &'a [Pool],
        rows: &'a [Scored],
        nested: NestedValues,
        with_scores: bool,
        work: &mut JobContext<'w>,
    ) -> Result<Self, AnswerError> {
        let metadata = metadata_columns(pools)?;
        if with_scores {
            for pool in pools {
                let own = &pool.samples.part().columns;
                check_keys(&format!("dataset `{}`", pool.name), |key| own.iter().any(|own| own.key == key))?;
            }
        }
        // Of texts nothing but the records says whether they are lists and objects.
        let is_open = |own: &ColumnDef| nested == NestedValues::Typed && own.ty == ColumnType::Text;
        let mut shapes: Vec<Option<NestedShape>> =
            metadata.iter().map(|own| is_open(own).then_some(NestedShape::Null)).collect();
        let order = ["messages", "prompt", "completion", "text"];
        let (mut found, mut beside, mut has_weights) = (BTreeSet::new(), BTreeSet::new(), false);
        let mut window = RowWindow::new(pools, rows, |_| vec![Some("record")], work.cancel);
        work.progress.start("reading records", rows.len() as u64, Unit::Rows);
        for start in (0..rows.len()).step_by(CHUNK) {
            work.cancel.check()?;
            let places = start..rows.len().min(start + CHUNK);
            window.hold(&places)?;
            let records = window.column(0, &places).into_iter().flatten();
            for (scored, record) in rows[places.clone()].iter().zip(records) {
                let record = written_record(&record, scored.row)?;
                let values = values(record)?;
                has_weights |= has_weight(&values, scored)?;
                for (own, shape) in metadata.iter().zip(&mut shapes) {
                    *shape = shape.take().and_then(|seen| match values.get(&own.key) {
                        None => Some(seen),
                        Some(value) if value.is_null() || value.is_array() || value.is_object() => {
                            seen.with(value)
                        }
                        Some(_) => None,
                    });
                }
                let texts = texts(record)?;
                let is_metadata = |key: &&str| {
                    values.get(*key).is_some_and(|value| !value.is_null())
                        && texts.iter().all(|(text, _)| text != key)
                };
                beside.extend(order.into_iter().filter(is_metadata));
                found.extend(texts.into_iter().map(|(key, _)| key));
            }
            work.progress.advance(places.len() as u64);
        }
        work.progress.finish();
        // Before another one is made.
        drop(window);
        if let Some(key) = beside.intersection(&found).next() {
            return Err(AnswerError::Refused(format!(
                "`{key}` is text to train on in one record and metadata in another, so they do not fit into \
                 one table; write .jsonl"
            )));
        }
        let texts = order.into_iter().filter(|key| found.contains(key)).collect();
        let types = shapes.into_iter().map(|shape| shape?.nested());
        // A key that is text in these records is metadata of others only.
        let metadata = metadata.into_iter().zip(types).filter(|(own, _)| !found.contains(own.key.as_str()));
        let metadata: Vec<(ColumnDef, Option<DataType>)> = metadata.collect();
        let names = |pool: &'a Pool| -> Vec<Option<&'a str>> {
            let own = &pool.samples.part().columns;
            let stored = metadata.iter().filter(|(_, nested)| nested.is_none());
            let name = |key: &str| Some(own.iter().find(|own| own.key == key)?.name.as_str());
            let stored = stored.map(|(wanted, _)| name(&wanted.key));
            [Some("id"), Some("record")].into_iter().chain(stored).collect()
        };
        let window = RowWindow::new(pools, rows, names, work.cancel);
        Ok(Self { pools, rows, with_scores, window, texts, weighed: has_weights.then_some(nested), metadata })
    }

    /// The records of the rows at these places.
    pub(super) fn batch(&mut self, places: Range<usize>) -> Result<RecordBatch, AnswerError> {
        self.window.hold(&places)?;
        let rows = &self.rows[places.clone()];
        let stored =
            |column| self.window.column(column, &places).into_iter().flatten().collect::<Vec<ArrayRef>>();
        let ids = id_column(&stored(0));
        let records = stored(1);
        self.check_length(&records)?;
        let contents =
            rows.iter().zip(&records).map(|(scored, record)| texts(written_record(record, scored.row)?));
        let contents = contents.collect::<Result<Vec<_>, _>>()?;
        let is_nested = self.weighed.is_some() || self.metadata.iter().any(|(_, nested)| nested.is_some());
        let objects = rows.iter().zip(&records).filter(|_| is_nested);
        let objects = objects.map(|(scored, record)| values(written_record(record, scored.row)?));
        let objects = objects.collect::<Result<Vec<Value>, AnswerError>>()?;
        let mut columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(ids))];
        for key in &self.texts {
            let cells =
                contents.iter().map(|texts| texts.iter().find(|(own, _)| own == key).map(|(_, text)| text));
            let column = match (*key, self.weighed) {
                // A list would have a null for each message without weight.
                ("messages", Some(NestedValues::Text)) => json_column(key, &objects),
                ("messages", weighed) => messages_column(cells, weighed.map(|_| &objects[..])),
                _ => text_column(cells),
            };
            columns.push((key, column));
        }
        let mut stored = 2..;
        for (own, nested) in &self.metadata {
            let column = match nested {
                None => {
                    let cells = stored.next().map(|column| self.window.column(column, &places));
                    metadata_column(cells.unwrap_or_default(), own)?
                }
                Some(ty) => {
                    let cells: Vec<Option<&Value>> =
                        objects.iter().map(|object| object.get(&own.key)).collect();
                    nested::column(ty, &cells)?
                }
            };
            columns.push((&own.key, column));
        }
        if self.with_scores {
            let ranks = places.map(|place| place as u64 + 1);
            columns.push((RANK, Arc::new(UInt64Array::from_iter_values(ranks))));
            let scores = rows.iter().map(|row| row.score);
            columns.push((SCORE, Arc::new(Float32Array::from_iter_values(scores))));
        }
        Ok(nullable_table(columns)?)
    }

    /// Refuses records with more text than a column takes.
    fn check_length(&self, records: &[ArrayRef]) -> Result<(), AnswerError> {
        let bytes: usize = records.iter().filter_map(record).map(<[u8]>::len).sum();
        if i32::try_from(bytes).is_ok() {
            return Ok(());
        }
        let names: Vec<&str> = self.pools.iter().map(|pool| pool.name.as_str()).collect();
        Err(ReadError::TooLarge { dataset: names.join(", "), rows: records.len() }.into())
    }
}

/// The metadata columns of the pools, with types that hold all values.
fn metadata_columns(pools: &[Pool]) -> Result<Vec<ColumnDef>, AnswerError> {
    let mut metadata: Vec<ColumnDef> = Vec::new();
    for pool in pools {
        for own in &pool.samples.part().columns {
            match metadata.iter_mut().find(|seen| seen.key == own.key) {
                Some(seen) if is_number(seen.ty) && is_number(own.ty) => {
                    if own.ty == ColumnType::Float {
                        seen.ty = ColumnType::Float;
                    }
                }
                Some(seen) if seen.ty != own.ty => {
                    return Err(AnswerError::Refused(format!(
                        "`{}` is {} in one pool and {} in `{}`, so they do not fit into one table; write .jsonl",
                        own.key, seen.ty, own.ty, pool.name
                    )));
                }
                Some(_) => {}
                None => metadata.push(own.clone()),
            }
        }
    }
    Ok(metadata)
}

/// A metadata column; null where a pool has none.
fn metadata_column(cells: Vec<Option<ArrayRef>>, wanted: &ColumnDef) -> Result<ArrayRef, AnswerError> {
    let cells = cells.iter().map(|cell| cell.as_ref().filter(|cell| cell.is_valid(0)));
    Ok(match wanted.ty {
        ColumnType::Bool => {
            Arc::new(cells.map(|c| Some(c?.as_boolean_opt()?.value(0))).collect::<BooleanArray>())
        }
        ColumnType::Int => Arc::new(
            cells.map(|c| Some(c?.as_primitive_opt::<Int64Type>()?.value(0))).collect::<Int64Array>(),
        ),
        ColumnType::Float => {
            let floats = cells.map(|c| c.map_or(Ok(None), |c| float(c, &wanted.key)));
            Arc::new(floats.collect::<Result<Float64Array, _>>()?)
        }
        ColumnType::Text => {
            Arc::new(cells.map(|c| Some(c?.as_string_opt::<i32>()?.value(0))).collect::<StringArray>())
        }
    })
}

/// Whether a column of integers or floats becomes one of floats beside the other.
fn is_number(ty: ColumnType) -> bool {
    matches!(ty, ColumnType::Int | ColumnType::Float)
}

/// A number as a float. An integer of another pool that a float would round is refused.
fn float(cell: &ArrayRef, key: &str) -> Result<Option<f64>, AnswerError> {
    if let Some(floats) = cell.as_primitive_opt::<Float64Type>() {
        return Ok(Some(floats.value(0)));
    }
    let Some(whole) = cell.as_primitive_opt::<Int64Type>().map(|integers| integers.value(0)) else {
        return Ok(None);
    };
    let Some(float) = exact_float(whole) else {
        return Err(AnswerError::Refused(format!(
            "`{key}` is int in one pool and float in another, and {whole} is not exact as a float: write .jsonl instead of a table"
        )));
    };
    Ok(Some(float))
}

enum RecordText {
    Plain(String),
    /// Role and content of each message.
    Messages(Vec<(&'static str, String)>),
}

/// The texts of a record, by their keys.
fn texts(record: &[u8]) -> Result<Vec<(&'static str, RecordText)>, AnswerError> {
    Ok(match parse_record(record)?.content {
        Content::Messages(messages) => {
            let messages = messages.into_iter().map(|message| (message.role.name(), message.content));
            vec![("messages", RecordText::Messages(messages.collect()))]
        }
        Content::PromptCompletion { prompt, completion } => {
            vec![("prompt", RecordText::Plain(prompt)), ("completion", RecordText::Plain(completion))]
        }
        Content::Text(text) => vec![("text", RecordText::Plain(text))],
    })
}

/// The values of a record, by their keys.
fn values(record: &[u8]) -> Result<Value, AnswerError> {
    serde_json::from_slice(record).map_err(|error| AnswerError::Refused(error.to_string()))
}

/// Whether a message has a weight. Refuses messages that say more than that, who speaks and what.
fn has_weight(record: &Value, scored: &Scored) -> Result<bool, AnswerError> {
    let messages = record.get("messages").and_then(Value::as_array).into_iter().flatten();
    let mut found = false;
    for (key, value) in messages.filter_map(Value::as_object).flatten() {
        match key.as_str() {
            "role" | "content" => {}
            "weight" if value.is_null() => {}
            "weight" if value.is_i64() => found = true,
            _ => {
                return Err(AnswerError::Refused(format!(
                    "a message of row {} has `{key}`, which has no place in a table; write .jsonl",
                    scored.row
                )));
            }
        }
    }
    Ok(found)
}

fn text_column<'t>(cells: impl Iterator<Item = Option<&'t RecordText>>) -> ArrayRef {
    let texts = cells.map(|cell| match cell {
        Some(RecordText::Plain(text)) => Some(text.as_str()),
        _ => None,
    });
    Arc::new(texts.collect::<StringArray>())
}

fn json_column(key: &str, records: &[Value]) -> ArrayRef {
    Arc::new(records.iter().map(|record| record.get(key).map(Value::to_string)).collect::<StringArray>())
}

/// A list of `{role, content}` for each cell, with the `weight` that a message has in the record where the
/// records are given.
fn messages_column<'t>(
    cells: impl Iterator<Item = Option<&'t RecordText>>,
    weighed: Option<&[Value]>,
) -> ArrayRef {
    let mut fields = ["role", "content"].map(|name| Field::new(name, DataType::Utf8, false)).to_vec();
    fields.extend(weighed.map(|_| Field::new("weight", DataType::Int64, true)));
    let mut lists = ListBuilder::new(StructBuilder::from_fields(fields, 0));
    for (row, cell) in cells.enumerate() {
        let messages = match cell {
            Some(RecordText::Messages(messages)) => messages.as_slice(),
            _ => &[],
        };
        for (at, (role, content)) in messages.iter().enumerate() {
            for (i, text) in [*role, content.as_str()].into_iter().enumerate() {
                if let Some(field) = lists.values().field_builder::<StringBuilder>(i) {
                    field.append_value(text);
                }
            }
            if let Some(records) = weighed
                && let Some(field) = lists.values().field_builder::<Int64Builder>(2)
            {
                // Messages that call tools are refused, so each is one of the record's.
                field.append_option(records[row]["messages"][at]["weight"].as_i64());
            }
            lists.values().append(true);
        }
        lists.append(cell.is_some());
    }
    Arc::new(lists.finish())
}
