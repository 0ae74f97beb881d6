//! Columns of the records, found in the first pass, with what else it finds.

use std::collections::BTreeSet;

use gstore_core::content::REASONING;
use gstore_core::{Cancel, Digest as Xxh3Digest, Remedy, first_of, many};
use sha2::{Digest, Sha256};

use gstore_data::{Duplicates, Field, Layout, Schema, SchemaBuilder};
use gstore_store::{ColumnDef, ColumnType, DatasetPart};

use super::super::bad_records::{BadRecords, UnscorableRecords};
use super::super::{IngestError, Progress};
use super::AddRequest;
use super::input::InputFiles;
use super::repeated::NewTexts;

/// Columns without values that are named.
const SHOWN: usize = 10;

/// Digest of the records of a file in their order.
#[derive(Default, PartialEq, Eq)]
pub(super) struct RecordsDigest(u128);

impl RecordsDigest {
    pub(super) fn add(&mut self, json: &[u8]) {
        let mut both = [0; 32];
        both[..16].copy_from_slice(&self.0.to_le_bytes());
        both[16..].copy_from_slice(&Xxh3Digest::of(json).number().to_le_bytes());
        self.0 = Xxh3Digest::of(&both).number();
    }
}

#[derive(Default)]
pub(super) struct RecordFindings {
    pub(super) records: u64,
    /// Of each file.
    pub(super) contents: Vec<RecordsDigest>,
    pub(super) skipped: u64,
    pub(super) duplicates: u64,
    pub(super) unscorable: u64,
    /// Number of records with reasoning outside of their content.
    pub(super) reasoning: u64,
    /// The layouts of records that have none of gstore's own, in the order in which they came.
    pub(super) layouts: Vec<Layout>,
    pub(super) notes: Vec<String>,
    /// What they are told of made ids, if there are new samples.
    pub(super) of_new: Option<String>,
    /// Texts of new samples, if the dataset has rows that may have the same.
    pub(super) new_texts: Option<NewTexts>,
}

/// The columns of the records. `content` hashes all that decides what becomes of them.
pub(super) fn find_columns(
    request: &AddRequest,
    input: &InputFiles,
    existing: Vec<ColumnDef>,
    mut content: Option<&mut Sha256>,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<(Schema, RecordFindings), IngestError> {
    let mut builder = SchemaBuilder::new(request.overrides()?, &existing);
    let mut has_id = false;
    let (mut found, mut bad, mut unscorable) =
        (RecordFindings::default(), BadRecords::allowing(request.skip_bad), UnscorableRecords::default());
    let mut records = 0u64;
    if let Some(content) = content.as_deref_mut() {
        hash_options(request, content);
    }
    let (mut named, mut order) = (Vec::new(), Vec::new());
    for file in &input.files {
        found.notes.extend(file.note());
        let (before, mut of_file) = (builder.keys().count(), RecordsDigest::default());
        let read =
            input.each_of(file, progress, cancel, &mut |error| bad.note(error), |place, json, record| {
                records += 1;
                of_file.add(json);
                let new = record.layout.filter(|layout| !found.layouts.contains(layout));
                found.layouts.extend(new);
                unscorable.look(&place, &record.content);
                if let Some(content) = &mut content {
                    // With its length, so that nothing can be cut elsewhere.
                    content.update((json.len() as u64).to_le_bytes());
                    content.update(json);
                }
                has_id |= record.id.is_some();
                let path = place.file.to_path_buf();
                builder.observe(place, &record).map_err(|source| IngestError::Schema { path, source })
            });
        bad.good = records;
        found.contents.push(of_file);
        match read {
            Ok(columns) => {
                let new: Vec<&str> = builder.keys().skip(before).collect();
                input.order(&columns, &new, &mut order);
                named.extend(columns);
            }
            Err(error) => {
                // What is no record may be what the columns differ by.
                if matches!(error, IngestError::Schema { .. }) {
                    bad.check()?;
                }
                return Err(error);
            }
        }
    }
    found.notes.extend(bad.told());
    found.skipped = bad.count();
    bad.check_left()?;
    if request.layout.is_none() {
        found.notes.extend(said_of(&found.layouts));
    }
    (found.records, found.unscorable) = (records, unscorable.count());
    found.notes.extend(unscorable.told(records));
    let path = request.data.first().cloned().unwrap_or_default();
    for (field, seen) in [(Field::Id, has_id), (Field::Subtask, builder.has_seen(Field::Subtask.name()))] {
        if let (Some(key), false) = (input.fields.key_of(field), seen) {
            let keys = builder.keys().map(str::to_owned).collect();
            return Err(IngestError::FieldNever { path, field, key: key.to_owned(), keys });
        }
    }
    if !has_id && found.layouts.is_empty() {
        found.of_new = made_ids_note(&builder);
    }
    let is_text = |key: &str| found.layouts.iter().any(|layout| layout.may_read(key));
    let named =
        named.iter().filter_map(|column| input.fields.metadata_of(column)).filter(|key| !is_text(key));
    named.for_each(|key| builder.name(key));
    builder.arrange(&order);
    found.notes.extend(empty(&builder));
    let schema = builder.finish().map_err(|source| IngestError::Schema { path, source })?;
    Ok((schema, found))
}

/// Hashes the options that decide what becomes of records.
fn hash_options(request: &AddRequest, content: &mut Sha256) {
    let AddRequest { fields, columns, if_changed, if_deleted, .. } = request;
    content.update(format!("{fields:?} {columns:?} {if_changed:?} {if_deleted:?}"));
    let AddRequest { layout, skip_bad, duplicates, .. } = request;
    // Requests without these options keep the digest that earlier versions gave them.
    if layout.is_some() || *skip_bad > 0 || *duplicates != Duplicates::Refuse {
        content.update(format!(" {layout:?} {skip_bad} {duplicates:?}"));
    }
}

/// What people are told where every id is made, if the records have a key that may hold their own.
fn made_ids_note(builder: &SchemaBuilder) -> Option<String> {
    builder.keys().any(|key| key != Field::Subtask.name()).then(|| {
        let option = Remedy::Option("field", &format!("{}=KEY", Field::Id)).to_string();
        format!(
            "no record has an `id`, so ids are made from their contents: one that is changed later is another sample; \
             {option} names a key that has ids"
        )
    })
}

/// What people are told of columns that the table will not have.
fn empty(builder: &SchemaBuilder) -> Option<String> {
    let first = builder.without_values().next()?;
    let option = Remedy::Option("column", &format!("{first}:utf8")).to_string();
    let names = first_of(builder.without_values().map(|key| format!("`{key}`")), SHOWN);
    Some(format!(
        "no record has a value of {names}, so its type is not known and it is not a column; {option} makes it one"
    ))
}

/// The note about records with reasoning outside of their content, which no template writes.
pub(super) fn reasoning_note(count: u64) -> Option<String> {
    let keys = REASONING.map(|key| format!("`{key}`")).join(" or ");
    let (have, their) = if count == 1 { ("has", "its") } else { ("have", "their") };
    (count > 0).then(|| {
        format!(
            "{} {have} {keys} in a message, which is not part of {their} text: no template writes it. What \
             is to be trained on must be in `content`",
            many(count, "sample")
        )
    })
}

/// What people are told of new columns that are not called like their keys.
pub(super) fn renamed_columns_note(columns: &[ColumnDef], before: Option<&DatasetPart>) -> Option<String> {
    let is_new = |key: &str| before.is_none_or(|part| part.columns.iter().all(|known| known.key != key));
    let renamed: Vec<String> = columns
        .iter()
        .filter(|column| column.name != column.key && is_new(&column.key))
        .map(|column| format!("`{}` is the column `{}` of the table", column.key, column.name))
        .collect();
    let said = renamed.join(", ");
    (!renamed.is_empty()).then(|| format!("{said}: tables have something else under the name of the key"))
}

/// What people are told of stored columns whose type changes.
pub(super) fn widened_columns_note(columns: &[ColumnDef], before: Option<&DatasetPart>) -> Option<String> {
    let change = |known: &ColumnDef| {
        let now = columns.iter().find(|column| column.key == known.key && column.ty != known.ty)?.ty;
        let order = match now {
            ColumnType::Text => "all values are text, also in the order of rows (10 before 7)",
            _ => "the new values are floats",
        };
        Some(format!("`{}` changes from {} to {now} in all rows: {order}", known.name, known.ty))
    };
    let changes: Vec<String> = before?.columns.iter().filter_map(change).collect();
    (!changes.is_empty()).then(|| changes.join("; "))
}

/// The layouts that were recognised, and the keys under which their records are stored.
fn said_of(layouts: &[Layout]) -> Option<String> {
    let (first, others) = layouts.split_first()?;
    let option = Remedy::Option("layout", first.name());
    let others: String = others.iter().map(|other| format!(", others as {other} data")).collect();
    let stored: BTreeSet<&str> = layouts.iter().map(|layout| layout.stored_as()).collect();
    let stored = stored.into_iter().collect::<Vec<_>>().join(" or ");
    Some(format!(
        "the records are read as {first} data ({option}){others} and are stored and exported as {stored}"
    ))
}
