//! Comparisons of text with numbers and times, texts that are read as times, and casts to DECIMAL, for the
//! place of the error about a value that cannot be read so.
//!
//! Texts are read as numbers and times where the two meet. That fails at the first that is none, and does not
//! say where in the statement that is; nor does a cast of a number that a DECIMAL has no room for.

use arrow_schema::DataType;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Column, ExprSchema};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, CastKind, ExactNumberInfo};
use gstore_functions::TIMES;

use super::error::SqlError;
use super::expanded::{column, is_plain_name};
use super::plans::visit_exprs;
use super::positions::start;
use super::walk::{inner, visit_expressions};
use super::wording::NO_ROOM;

/// Comparisons of a statement that are looked at.
const MOST: usize = 100;

/// Functions that read texts as times.
const OF_TIMES: [&str; 4] = ["date_bin", "date_diff", "date_part", "date_trunc"];

/// A column that is compared with a value of another type, or read as one; or what is cast to a DECIMAL.
#[derive(Debug, Clone)]
pub(super) struct MixedComparison {
    /// Empty where what is cast to a DECIMAL is no column.
    column: String,
    /// Line and column in the statement.
    place: Option<(u64, u64)>,
    value: ComparedWith,
}

/// What a column is compared with.
#[derive(Debug, Clone)]
enum ComparedWith {
    /// One of numbers, with this text.
    Text(String),
    /// One of texts, with this number.
    Number(String),
    /// One of times or dates, with this text.
    Time(&'static str, String),
    /// It has texts, which are read as times.
    Read,
    /// It is cast to a DECIMAL of so many digits, of which so many stand behind the point.
    Decimal(u64, i64),
}

impl MixedComparison {
    fn new(column: &Column, value: ComparedWith) -> Self {
        let place = column.spans.first().map(|span| (span.start.line, span.start.column));
        Self { column: column.name.clone(), place, value }
    }

    /// Those of a statement before its types are made to agree.
    pub(super) fn of(plan: &LogicalPlan) -> Vec<Self> {
        let mut found = Vec::new();
        let _ = visit_exprs(plan, |node, expr| {
            let room = MOST.saturating_sub(found.len());
            let pairs = pairs(expr).into_iter().filter_map(|(a, b)| mixed_comparison(node, a, b));
            found.extend(pairs.chain(read(node, expr)).take(room));
            Ok(if found.len() < MOST { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        });
        found
    }

    /// The casts to DECIMAL of a statement; TRY_CAST has no error.
    pub(super) fn decimals(statement: &mut Statement) -> Vec<Self> {
        let mut found = Vec::new();
        let Some(sql) = inner(statement) else { return found };
        visit_expressions(&*sql, |expr: &ast::Expr| {
            if let ast::Expr::Cast {
                kind: CastKind::Cast | CastKind::DoubleColon, expr: of, data_type, ..
            } = expr
                && let Some((digits, behind)) = decimal(data_type)
                && found.len() < MOST
            {
                let value = ComparedWith::Decimal(digits, behind);
                let column = column(of).map(|name| name.value.clone()).unwrap_or_default();
                found.push(Self { column, place: Some(start(expr)), value });
            }
        });
        found
    }

    /// The error about a value that is no number or no time, or that a DECIMAL has no room for, by the
    /// comparison or cast that it is of.
    pub(super) fn explain(all: &[Self], error: SqlError) -> SqlError {
        if let Some((value, end)) = error.message().split_once(NO_ROOM) {
            let mut casts = all.iter().filter(|mixed| mixed.value.ends_at(end));
            let (Some(cast), None) = (casts.next(), casts.next()) else { return error };
            let of = if cast.column.is_empty() { String::new() } else { format!(" of `{}`", cast.column) };
            let worded = format!("{value}{of}{NO_ROOM}{end}");
            return error.worded(worded).at(cast.place);
        }
        let is_meant = |mixed: &&Self| match (&mixed.value, error.text_of_number(), error.text_of_time()) {
            (ComparedWith::Text(value), Some(text), _) => value == text,
            (ComparedWith::Time(_, value), _, Some(text)) => value == text,
            _ => false,
        };
        let of_number = |mixed: &&Self| {
            error.text_of_number().is_some() && matches!(mixed.value, ComparedWith::Number(_))
        };
        let meant = all.iter().find(is_meant).or_else(|| all.iter().find(of_number));
        let Some(mixed) = meant.or_else(|| error.text_of_time().and_then(|_| only_read(all))) else {
            return error;
        };
        let text = error.text_of_number().or(error.text_of_time()).unwrap_or_default();
        let column = &mixed.column;
        let named = if is_plain_name(column) { column.clone() } else { format!("\"{column}\"") };
        let escaped = text.replace('\'', "''");
        let (why, hint) = match &mixed.value {
            ComparedWith::Text(_) => (
                format!("`{column}` is a number, but '{text}' is not"),
                format!("CAST({named} AS VARCHAR) = '{escaped}' compares texts"),
            ),
            ComparedWith::Number(number) => (
                format!(
                    "`{column}` is text, and its value '{text}' is not a number to compare with {number}"
                ),
                format!(
                    "write {named} = '{number}' to compare texts; TRY_CAST({named} AS DOUBLE) is null for it"
                ),
            ),
            ComparedWith::Time(what, value) => {
                (format!("`{column}` is a {what}, but '{value}' is not"), TIMES.to_owned())
            }
            ComparedWith::Decimal(..) => return error,
            ComparedWith::Read => (
                format!(
                    "`{column}` is text, and its value '{text}' is not a {}",
                    if error.message().ends_with("date") { "date" } else { "time" }
                ),
                format!(
                    "to_timestamp({named}, '%d.%m.%Y %H:%M') reads times of another form, and \
                     TRY_CAST({named} AS TIMESTAMP) is null for it"
                ),
            ),
        };
        SqlError::invalid(why).at(mixed.place).hint(hint)
    }
}

impl ComparedWith {
    /// Whether it is a DECIMAL whose largest or smallest value this is.
    fn ends_at(&self, end: &str) -> bool {
        let Self::Decimal(digits, behind) = self else { return false };
        let point = end.split_once('.').map_or(0, |(_, behind)| behind.len());
        end.matches('9').count() as u64 == *digits && i64::try_from(point) == Ok(*behind)
    }
}

/// The digits of a type that is a DECIMAL, and those behind the point.
fn decimal(ty: &ast::DataType) -> Option<(u64, i64)> {
    use ast::DataType as D;
    match ty {
        D::Decimal(digits) | D::Numeric(digits) | D::Dec(digits) => match digits {
            ExactNumberInfo::None => None,
            ExactNumberInfo::Precision(digits) => Some((*digits, 0)),
            ExactNumberInfo::PrecisionAndScale(digits, behind) => Some((*digits, *behind)),
        },
        _ => None,
    }
}

/// The column of texts that are read as times, if there is only one: of several it is not known which has the
/// text.
fn only_read(all: &[MixedComparison]) -> Option<&MixedComparison> {
    let mut read = all.iter().filter(|mixed| matches!(mixed.value, ComparedWith::Read));
    let first = read.next()?;
    read.all(|other| other.column == first.column).then_some(first)
}

/// The columns of texts that an expression reads as times.
fn read(node: &LogicalPlan, expr: &Expr) -> Vec<MixedComparison> {
    let read: &[Expr] = match expr {
        Expr::Cast(Cast { expr: of, field }) if field.data_type().is_temporal() => {
            std::slice::from_ref(&**of)
        }
        Expr::ScalarFunction(call) if OF_TIMES.contains(&call.func.name()) => &call.args,
        _ => return Vec::new(),
    };
    let column = |of: &Expr| match of {
        Expr::Column(column) if type_of(node, column)?.is_string() => {
            Some(MixedComparison::new(column, ComparedWith::Read))
        }
        _ => None,
    };
    read.iter().filter_map(column).collect()
}

/// What is compared in an expression.
fn pairs(expr: &Expr) -> Vec<(&Expr, &Expr)> {
    match expr {
        Expr::BinaryExpr(binary) if binary.op.supports_propagation() => {
            vec![(&*binary.left, &*binary.right), (&*binary.right, &*binary.left)]
        }
        Expr::InList(list) => list.list.iter().map(|value| (&*list.expr, value)).collect(),
        Expr::Between(between) => vec![(&*between.expr, &*between.low), (&*between.expr, &*between.high)],
        _ => Vec::new(),
    }
}

fn mixed_comparison(node: &LogicalPlan, column: &Expr, value: &Expr) -> Option<MixedComparison> {
    let Expr::Column(column) = column else { return None };
    let of = type_of(node, column)?;
    let value = match value {
        Expr::Literal(value, _) => match value.try_as_str() {
            Some(Some(text)) if of.is_numeric() => ComparedWith::Text(text.to_owned()),
            Some(Some(text)) if matches!(of, DataType::Timestamp(..)) => {
                ComparedWith::Time("time", text.to_owned())
            }
            Some(Some(text)) if matches!(of, DataType::Date32 | DataType::Date64) => {
                ComparedWith::Time("date", text.to_owned())
            }
            None if of.is_string() && value.data_type().is_numeric() => {
                ComparedWith::Number(value.to_string())
            }
            None if of.is_string() && value.data_type().is_temporal() => ComparedWith::Read,
            _ => return None,
        },
        Expr::Cast(Cast { field, .. }) if of.is_string() && field.data_type().is_temporal() => {
            ComparedWith::Read
        }
        Expr::Column(other) if of.is_string() && type_of(node, other)?.is_temporal() => ComparedWith::Read,
        _ => return None,
    };
    Some(MixedComparison::new(column, value))
}

fn type_of(node: &LogicalPlan, column: &Column) -> Option<DataType> {
    let field = |input: &&LogicalPlan| input.schema().field_from_column(column).ok().cloned();
    node.inputs().iter().find_map(field).map(|field| field.data_type().clone())
}
