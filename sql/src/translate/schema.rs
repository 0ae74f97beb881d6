//! Errors about unknown and ambiguous column names.

use std::collections::HashSet;

use arrow_schema::Fields;
use datafusion::common::{Column, SchemaError, TableReference};
use gstore_core::Remedy;
use gstore_query::hint::{did_you_mean, listing, nearest};

use crate::error::SqlError;
use crate::expanded::is_plain_name;
use crate::names::SERIES;
use crate::virtuals::VirtualColumn;
use crate::wording::{AS_WRITTEN, OCCURS};

/// Where rows have scores.
const SCORED: &str =
    "rows have scores in influence(): SELECT id, score FROM influence('pool', 'target') WHERE score > 0.1";

/// Columns that scores have with `explain => true`.
const EXPLAINED: [&str; 6] =
    ["checkpoint_scores", "ignored", "noise_floor", "stderr", "target_id", "target_score"];

/// Columns that a dataset has of its only encoding.
const COUNTED: [&str; 3] = ["tokens", "scored_tokens", "truncated"];

pub(super) fn schema_error(error: SchemaError) -> SqlError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => unknown_column(&field, &valid_fields),
        // A column of a table and one that is computed; of several tables none is named.
        SchemaError::AmbiguousReference { field } if field.relation.is_some() => ambiguous_name(&field.name),
        SchemaError::AmbiguousReference { field } => SqlError::invalid(format!(
            "column `{}` exists in several tables here: write the table's name before it",
            field.name
        )),
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => ambiguous_name(&name),
    }
}

/// The error about a name that none of these columns has.
pub(crate) fn no_column<'a>(name: &str, columns: impl IntoIterator<Item = &'a String>) -> SqlError {
    let columns: Vec<Column> = columns.into_iter().map(Column::from_name).collect();
    unknown_column(&Column::from_name(name), &columns)
}

/// The error about a field that a struct does not have, with those that it has.
pub(crate) fn with_fields(error: SqlError, fields: &Fields) -> SqlError {
    let names = || fields.iter().map(|field| field.name().as_str());
    let all = listing(names().take(40));
    let hint = match error.missing_field().and_then(|missing| nearest(missing, names())) {
        Some(name) if is_plain_name(name) => format!("{} It has {all}", did_you_mean(name)),
        Some(name) => format!("did you mean \"{name}\", in double quotes after a dot? It has {all}"),
        None => format!("it has {all}"),
    };
    error.hint(hint)
}

/// The error about a column that does not exist, with the best guess of what was meant.
fn unknown_column(field: &Column, valid_fields: &[Column]) -> SqlError {
    let mut seen = HashSet::new();
    let names = valid_fields.iter().map(|c| c.name.as_str());
    let names: Vec<&str> = names.filter(|name| seen.insert(*name)).collect();
    let unknown = SqlError::unknown(format!("there is no column `{}`", field.name));
    let lower = field.name.to_lowercase();
    let exact = only_like(field, valid_fields).filter(|exact| *exact != field.name);
    // Only a name in double quotes has capitals here.
    if let Some(column) = known_column(&names, &lower).filter(|_| lower != field.name) {
        let unknown = unknown.hint(format!("did you mean {column}? {AS_WRITTEN}"));
        return match exact {
            Some(exact) => unknown.exactly(exact.to_owned()),
            None => unknown,
        };
    }
    if let Some(dotted) = dotted(field, &names) {
        return unknown.hint(meant_in_quotes(dotted));
    }
    if let Some(exact) = exact {
        return unknown.hint(in_quotes(exact)).exactly(exact.to_owned());
    }
    if let Some(exact) = names.iter().find(|n| n.to_lowercase() == lower) {
        if *exact != field.name {
            return unknown.hint(in_quotes(exact));
        }
        let known = valid_fields.iter().find(|c| c.name == field.name);
        let hint = match known.and_then(|c| c.relation.as_ref()) {
            Some(relation) => match wrong_table(field, relation, valid_fields) {
                Some(wrong) => return wrong,
                None => format!("it is a column of {relation}, which has no other name here"),
            },
            None => "it is a column without a table here".to_owned(),
        };
        return unknown.hint(format!("{hint}: write `{}` alone", field.name));
    }
    if valid_fields.iter().filter_map(|c| c.relation.as_ref()).any(|table| table.table() == field.name) {
        let table = &field.name;
        return unknown.hint(format!(
            "`{table}` is a table here: {table}.* are all its columns, {table}.{} is one",
            names.first().unwrap_or(&"name")
        ));
    }
    if let Some(series) = names.iter().find(|name| SERIES.contains(*name)).filter(|_| lower == "value") {
        return unknown.hint(format!("the column of {series}(..) is called `{series}`"));
    }
    if let Some(hint) = computed(&field.name) {
        return unknown.hint(hint);
    }
    if field.name == "score" && names.contains(&"similarity") {
        return unknown.hint("nearest() calls it `similarity`");
    }
    // Of a table of samples.
    if field.name == "score" && names.contains(&"record") {
        return unknown.hint(SCORED);
    }
    if EXPLAINED.contains(&field.name.as_str()) && names.contains(&"score") {
        let name = &field.name;
        return unknown.hint(format!("`{name}` exists with explain => true, after the other arguments"));
    }
    if COUNTED.contains(&field.name.as_str()) && names.contains(&"record") {
        return unknown.hint(uncounted(&field.name));
    }
    if names.is_empty() {
        let text = &field.name;
        return unknown.hint(format!("there is no table here: write FROM, or '{text}' if it is a text"));
    }
    unknown.hint(match nearest(&field.name, names.iter().copied()) {
        Some(name) if is_plain_name(name) => did_you_mean(name),
        // Without quotes it is found in any case.
        Some(name) if lower == field.name && is_plain_name(&name.to_lowercase()) => {
            did_you_mean(&name.to_lowercase())
        }
        Some(name) => meant_in_quotes(name),
        None => format!("there are {}", listing(names.iter().copied().take(40))),
    })
}

fn meant_in_quotes(name: &str) -> String {
    format!("did you mean \"{name}\"? Write such a name in double quotes")
}

/// The column whose name has the dot that was read as the one between a table and its column.
fn dotted<'a>(field: &Column, names: &[&'a str]) -> Option<&'a str> {
    let written = format!("{}.{}", field.relation.as_ref()?, field.name).to_lowercase();
    names.iter().copied().find(|name| name.to_lowercase() == written)
}

fn in_quotes(exact: &str) -> String {
    format!("names are read in lower case unless quoted: write \"{exact}\"")
}

/// The only name of a column that differs from another in nothing but the case of letters, in its table where
/// one is named.
fn only_like<'a>(field: &Column, all: &'a [Column]) -> Option<&'a str> {
    let lower = field.name.to_lowercase();
    let is_in = |column: &Column| match (&field.relation, &column.relation) {
        (Some(own), Some(other)) => own.table() == other.table(),
        (Some(_), None) => false,
        (None, _) => true,
    };
    let mut alike = all.iter().filter(|column| column.name.to_lowercase() == lower && is_in(column));
    let first = alike.next()?;
    alike.all(|column| column.name == first.name).then_some(first.name.as_str())
}

/// The error about a column that is named as one of a table here, and is one of another, `relation`.
fn wrong_table(field: &Column, relation: &TableReference, valid_fields: &[Column]) -> Option<SqlError> {
    let own = field.relation.as_ref()?;
    let tables = valid_fields.iter().filter_map(|c| c.relation.as_ref());
    let name = &field.name;
    tables.map(TableReference::table).any(|table| table == own.table()).then(|| {
        SqlError::unknown(format!("`{own}` has no column `{name}`"))
            .hint(format!("it is a column of {relation}: write {relation}.{name}"))
    })
}

/// The column of a table, or one that is computed, with this name in lower case; in quotes where it needs
/// them.
fn known_column(names: &[&str], lower: &str) -> Option<String> {
    let computed = VirtualColumn::ALL.map(VirtualColumn::name);
    let computed = computed.iter().filter(|_| !names.is_empty());
    let name = names.iter().chain(computed).find(|name| name.to_lowercase() == lower)?;
    Some(if is_plain_name(name) { format!("`{name}`") } else { format!("\"{name}\"") })
}

fn ambiguous_name(name: &str) -> SqlError {
    SqlError::invalid(format!("column `{name}`{OCCURS}"))
}

/// Why a dataset has none of the columns of token counts, and where they are.
fn uncounted(column: &str) -> String {
    format!(
        "a dataset has `{column}` where tokens were counted in one encoding (template, maximum length, ..), and here they were \
         counted in none yet, or in several; gstore.samples has those of each: SELECT encoding, avg(tokens) FROM gstore.samples GROUP \
         BY encoding; dropping an encoding's last feature drops its counts ({})",
        Remedy::DropFeature("NAME")
    )
}

/// How a column that is computed comes to be there.
fn computed(column: &str) -> Option<String> {
    let of = VirtualColumn::ALL.into_iter().find(|of| of.name() == column)?;
    let kind = of.kinds().first()?.name();
    Some(format!(
        "`{column}` exists once {} has computed it",
        Remedy::IngestKind { kind, per_token: false, dataset: "", run: "" }
    ))
}
