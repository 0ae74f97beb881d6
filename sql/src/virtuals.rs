//! Virtual columns, computed only where a statement names them: `prompt`, `completion` and `text` of a
//! record, and `loss`, `entropy` and `norm` of stored features.
//!
//! A table has such a column where the statement names it and the samples have no column of that name. So
//! `SELECT *` is what it always was, and nothing is read for columns that are not asked for.

use std::collections::HashSet;

use arrow_schema::DataType;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, ObjectName, Select, SelectItem, WildcardAdditionalOptions,
};
use gstore_core::Kind;
use gstore_functions::RecordPart;

use super::expanded::{column, excluded, excluded_mut, name, star, tables};
use super::walk::{inner, visit_expressions, visit_selects_mut};

/// A column that is computed from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum VirtualColumn {
    Of(RecordPart),
    Loss,
    Entropy,
    Norm,
}

impl VirtualColumn {
    pub(crate) const ALL: [Self; 6] = [
        Self::Of(RecordPart::Prompt),
        Self::Of(RecordPart::Completion),
        Self::Of(RecordPart::Text),
        Self::Loss,
        Self::Entropy,
        Self::Norm,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Of(RecordPart::Prompt) => "prompt",
            Self::Of(RecordPart::Completion) => "completion",
            Self::Of(RecordPart::Text) => "text",
            Self::Loss => "loss",
            Self::Entropy => "entropy",
            Self::Norm => "norm",
        }
    }

    /// The kinds of features that it may be read from, the usual one first; none for a part of a record.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Of(_) => &[],
            Self::Loss => &[Kind::Loss],
            Self::Entropy => &[Kind::Entropy],
            Self::Norm => &[Kind::GradSgd, Kind::GradAdam],
        }
    }

    /// Whether it is read from the record, and not from a feature.
    pub(crate) fn is_of_record(self) -> bool {
        matches!(self, Self::Of(_))
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
            visit_expressions(&*sql, |expr| names.used.extend(virtual_of(expr).map(VirtualColumn::name)));
            visit_selects_mut(sql, |select| names.select(select));
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

impl VirtualNames {
    /// `SELECT *, prompt`: the table has the column where it is named, and `*` is to leave it out.
    fn select(&mut self, select: &mut Select) {
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
        for (own, options) in select.projection.iter_mut().filter_map(star) {
            let of_star = |table: &Option<String>| match (&own, table) {
                (None, _) => true,
                (Some(_), None) => tables.len() == 1,
                (own, table) => *own == *table,
            };
            named
                .iter()
                .filter(|(table, _)| of_star(table))
                .for_each(|(_, column)| exclude(options, *column));
        }
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
    column(expr).and_then(VirtualColumn::of_name)
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
