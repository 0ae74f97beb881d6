//! Virtual columns, computed only where a statement names them: `prompt`, `completion` and `text` of a
//! record, and `loss`, `entropy` and `norm` of stored features.
//!
//! A table has such a column where the statement names it and the samples have no column of that name. So
//! `SELECT *` is what it always was, and nothing is read for columns that are not asked for.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringArray};
use arrow_schema::DataType;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, ObjectName, Select, SelectItem, SelectItemQualifiedWildcardKind,
    VisitorMut, WildcardAdditionalOptions,
};
use gstore_core::Kind;
use gstore_core::content::CALLS;
use gstore_functions::path::{Step, find, parts, text};
use serde_json::Value;

use super::error::SqlError;
use super::expanded::{excluded, excluded_mut, last_name, name, tables};
use super::walk::inner;
use crate::walk::VisitMut;

/// A column that is computed from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VirtualColumn {
    Prompt,
    Completion,
    Text,
    Loss,
    Entropy,
    Norm,
}

impl VirtualColumn {
    pub(crate) const ALL: [Self; 6] =
        [Self::Prompt, Self::Completion, Self::Text, Self::Loss, Self::Entropy, Self::Norm];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Completion => "completion",
            Self::Text => "text",
            Self::Loss => "loss",
            Self::Entropy => "entropy",
            Self::Norm => "norm",
        }
    }

    /// The kinds of features that it may be read from, the usual one first; none for a part of a record.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Prompt | Self::Completion | Self::Text => &[],
            Self::Loss => &[Kind::Loss],
            Self::Entropy => &[Kind::Entropy],
            Self::Norm => &[Kind::GradSgd, Kind::GradAdam],
        }
    }

    /// Whether it is read from a record, as opposed to a feature.
    pub(crate) fn is_of_record(self) -> bool {
        self.kinds().is_empty()
    }

    pub(crate) fn data_type(self) -> DataType {
        if self.is_of_record() { DataType::Utf8 } else { DataType::Float32 }
    }

    pub(crate) fn of_name(name: &Ident) -> Option<Self> {
        let same = |known: &str| match name.quote_style {
            Some(_) => name.value == known,
            None => name.value.eq_ignore_ascii_case(known),
        };
        Self::ALL.into_iter().find(|column| same(column.name()))
    }
}

/// The virtual columns that a statement names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NamedVirtuals([bool; VirtualColumn::ALL.len()]);

impl NamedVirtuals {
    /// Those of a statement. A name that the statement itself gives to something is not one, and what `*`
    /// leaves out is not asked for. Where a column is named next to `*`, it is taken out of that.
    pub(crate) fn of(statement: &mut Statement) -> Self {
        let mut names = VirtualNames::default();
        if let Some(sql) = inner(statement) {
            let _ = sql.visit(&mut names);
        }
        Self(
            VirtualColumn::ALL
                .map(|column| names.used.contains(column.name()) && !names.given.contains(column.name())),
        )
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }

    pub(crate) fn columns(self) -> impl Iterator<Item = VirtualColumn> {
        VirtualColumn::ALL.into_iter().zip(self.0).filter(|(_, asked)| *asked).map(|(column, _)| column)
    }
}

#[derive(Default)]
struct VirtualNames {
    used: HashSet<&'static str>,
    /// Names that columns of the statement are given with AS.
    given: HashSet<&'static str>,
}

impl VisitorMut for VirtualNames {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        self.used.extend(virtual_of(expr).map(VirtualColumn::name));
        ControlFlow::Continue(())
    }

    /// `SELECT *, prompt`: the table has the column where it is named, and `*` is to leave it out.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let tables = tables(select);
        let mut named = Vec::new();
        for item in &select.projection {
            match item {
                SelectItem::ExprWithAlias { expr, alias } => match VirtualColumn::of_name(alias) {
                    // `prompt AS prompt` is what it is without a name.
                    Some(own) if virtual_of(expr) == Some(own) => named.extend(named_column(expr, &tables)),
                    other => self.given.extend(other.map(VirtualColumn::name)),
                },
                SelectItem::UnnamedExpr(expr) => named.extend(named_column(expr, &tables)),
                _ => {}
            }
        }
        for item in &mut select.projection {
            let (star, options) = match item {
                SelectItem::Wildcard(options) => (None, options),
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(table),
                    options,
                ) => (last_name(table), options),
                _ => continue,
            };
            let of_star = |table: &Option<String>| match (&star, table) {
                (None, _) => true,
                (Some(_), None) => tables.len() == 1,
                (star, table) => *star == *table,
            };
            named
                .iter()
                .filter(|(table, _)| of_star(table))
                .for_each(|(_, column)| exclude(options, *column));
        }
        ControlFlow::Continue(())
    }
}

/// A column that is named as one of a SELECT with these tables, and the table that it is named with.
fn named_column(expr: &Expr, tables: &[String]) -> Option<(Option<String>, VirtualColumn)> {
    let column = virtual_of(expr)?;
    let Expr::CompoundIdentifier(parts) = expr else { return Some((None, column)) };
    // Of a struct it is a field.
    let table = parts.iter().rev().nth(1).map(name).filter(|table| tables.contains(table))?;
    Some((Some(table), column))
}

/// Takes a column out of `*`, where nothing else does.
fn exclude(options: &mut WildcardAdditionalOptions, column: VirtualColumn) {
    let is_out = excluded_mut(options).any(|name| VirtualColumn::of_name(name) == Some(column));
    if !is_out {
        let mut names = excluded(options).to_vec();
        names.push(ObjectName::from(vec![Ident::new(column.name())]));
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    }
}

/// The virtual column that an expression is, if it is nothing more.
fn virtual_of(expr: &Expr) -> Option<VirtualColumn> {
    match expr {
        Expr::Identifier(name) => VirtualColumn::of_name(name),
        Expr::CompoundIdentifier(parts) => parts.last().and_then(VirtualColumn::of_name),
        _ => None,
    }
}

/// Whether an expression is nothing but a column of such a name.
pub(crate) fn is_virtual(expr: &Expr) -> bool {
    virtual_of(expr).is_some()
}

/// Whether a name that is left out of these columns is one of a virtual column that they are without, so
/// that nothing is to be left out.
pub(crate) fn is_absent<'a>(name: &str, mut columns: impl Iterator<Item = &'a String>) -> bool {
    let is_virtual = VirtualColumn::ALL.iter().any(|column| column.name() == name);
    // A column with other letters is the one that is meant.
    is_virtual && !columns.any(|column| column.eq_ignore_ascii_case(name))
}

/// A column of texts, one for each record; null where the record has none.
pub(crate) fn virtual_texts(column: VirtualColumn, records: &ArrayRef) -> Result<ArrayRef, SqlError> {
    let records = records.as_string_opt::<i32>().ok_or_else(|| SqlError::internal("type of a record"))?;
    let texts: Vec<Option<String>> = records.iter().map(|record| virtual_text(column, record?)).collect();
    Ok(Arc::new(StringArray::from(texts)))
}

fn virtual_text(column: VirtualColumn, record: &str) -> Option<String> {
    let key = |key: &str| find(record, &[Step::Key(key.to_owned())]);
    let messages = || key("messages").map(|list| messages(&list)).filter(|all| !all.is_empty());
    match column {
        VirtualColumn::Prompt => match key("prompt") {
            Some(prompt) => content_text(&prompt),
            None => {
                let all = messages()?;
                let last = all.iter().rposition(|(role, _)| role == "assistant")?;
                let (before, _) = all.split_at(last);
                match before {
                    [] => None,
                    [(_, only)] => Some(only.clone()),
                    several => Some(messages_text(several)),
                }
            }
        },
        VirtualColumn::Completion => match key("completion") {
            Some(completion) => content_text(&completion),
            None => messages()?.into_iter().rfind(|(role, _)| role == "assistant").map(|(_, text)| text),
        },
        _ => match key("text") {
            Some(whole) => content_text(&whole),
            None => match messages() {
                Some(all) => Some(messages_text(&all)),
                None => {
                    let prompt = key("prompt").and_then(|part| content_text(&part));
                    let completion = key("completion").and_then(|part| content_text(&part));
                    match (prompt, completion) {
                        (Some(prompt), Some(completion)) => Some(format!("{prompt}\n{completion}")),
                        (one, other) => one.or(other),
                    }
                }
            },
        },
    }
}

/// Messages one a line, each after its role.
fn messages_text(messages: &[(String, String)]) -> String {
    let lines: Vec<String> = messages.iter().map(|(role, text)| format!("{role}: {text}")).collect();
    lines.join("\n")
}

/// Role and text of each message, and the calls of tools that it makes as a message of their own: as a model
/// reads them.
fn messages(list: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (_, message) in parts(list) {
        let value = |key: &str| find(message, &[Step::Key(key.to_owned())]);
        let said = value("content").and_then(|said| content_text(&said)).unwrap_or_default();
        let calls = CALLS.into_iter().find_map(|key| calls(&value(key)?));
        if calls.is_none() || !said.is_empty() {
            all.push((value("role").and_then(|role| content_text(&role)).unwrap_or_default(), said));
        }
        all.extend(calls.map(|calls| ("tool".to_owned(), calls)));
    }
    all
}

/// Calls of tools, as they are read; none where there are none in what holds them.
fn calls(json: &str) -> Option<String> {
    let calls: Value = serde_json::from_str(json).ok()?;
    let any = match &calls {
        Value::Null => false,
        Value::Array(calls) => !calls.is_empty(),
        _ => true,
    };
    any.then(|| calls.to_string())
}

/// A text as it is, or the texts of its parts where it is a list of them.
fn content_text(value: &str) -> Option<String> {
    match value.starts_with('[') {
        true => {
            let part = |part: &str| match part.starts_with('{') {
                true => {
                    find(part, &[Step::Key("text".to_owned())]).and_then(|t| text(&t).map(|t| t.into_owned()))
                }
                false => text(part).map(|text| text.into_owned()),
            };
            Some(parts(value).filter_map(|(_, p)| part(p)).collect())
        }
        false => text(value).map(|text| text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_record_are_found_in_each_layout() {
        let pair = r#"{"prompt": "Q\"?", "completion": "A"}"#;
        let chat = r#"{"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
            {"role": "assistant", "content": [{"type": "text", "text": "A"}, "B"]}]}"#;
        let short =
            r#"{"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": "A"}]}"#;
        for (record, prompt, completion, text) in [
            (pair, Some("Q\"?"), Some("A"), Some("Q\"?\nA")),
            (chat, Some("system: S\nuser: U"), Some("AB"), Some("system: S\nuser: U\nassistant: AB")),
            (short, Some("U"), Some("A"), Some("user: U\nassistant: A")),
            (
                r#"{"messages": [{"role": "user", "content": "U"}, {"role": "assistant", "content": null,
                    "tool_calls": [{"name": "f"}]}, {"role": "tool", "content": "R"},
                    {"role": "assistant", "content": "A", "tool_calls": []}]}"#,
                Some("user: U\ntool: [{\"name\":\"f\"}]\ntool: R"),
                Some("A"),
                Some("user: U\ntool: [{\"name\":\"f\"}]\ntool: R\nassistant: A"),
            ),
            (r#"{"text": "T"}"#, None, None, Some("T")),
            (r#"{"messages": []}"#, None, None, None),
            ("no JSON", None, None, None),
        ] {
            let get = |column| virtual_text(column, record);
            assert_eq!(get(VirtualColumn::Prompt).as_deref(), prompt, "{record}");
            assert_eq!(get(VirtualColumn::Completion).as_deref(), completion, "{record}");
            assert_eq!(get(VirtualColumn::Text).as_deref(), text, "{record}");
        }
    }
}
