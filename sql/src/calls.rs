//! Names in the arguments of table functions, in the text of a statement: datasets, artifacts and ensembles,
//! and the conditions that name tables.

use datafusion::sql::sqlparser::ast::{
    DollarQuotedString, Expr, FunctionArg, FunctionArgExpr, ObjectName, Statement, TableFactor, Value,
};

use super::dialect;
use super::expanded::last_name;
use super::names::{TABLE_FUNCTIONS, TableFunctionInfo};
use super::positions::{TextPosition, start};
use super::walk::visit_tables;

/// What an argument names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArgumentKind {
    Datasets,
    Artifact,
    Ensemble,
    /// Tables, in an expression.
    Condition,
}

impl ArgumentKind {
    fn by_name(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "pool" | "target" | "dataset" => Some(Self::Datasets),
            "precondition" | "prefilter" => Some(Self::Artifact),
            "ensemble" => Some(Self::Ensemble),
            "where" => Some(Self::Condition),
            _ => None,
        }
    }

    /// Of an argument of a function by its place, with how many of the first are datasets.
    fn by_place(function: &str, place: usize, datasets: usize) -> Option<Self> {
        match function {
            _ if place < datasets => Some(Self::Datasets),
            "predicted" if place == datasets => Some(Self::Artifact),
            _ => None,
        }
    }
}

/// An argument that names something.
pub(crate) struct NamingArgument<'a> {
    pub(crate) kind: ArgumentKind,
    /// `None` where they are known only once they are computed.
    pub(crate) texts: Option<Vec<&'a str>>,
    place: TextPosition,
}

pub(crate) fn arguments(table: &TableFactor) -> Vec<NamingArgument<'_>> {
    match table {
        TableFactor::Table { name, args: Some(args), .. } => of_call(name, &args.args),
        TableFactor::Function { name, args, .. } => of_call(name, args),
        _ => Vec::new(),
    }
}

fn of_call<'a>(function: &ObjectName, args: &'a [FunctionArg]) -> Vec<NamingArgument<'a>> {
    let name = last_name(function).map(|name| name.to_lowercase());
    let known = TABLE_FUNCTIONS.into_iter().find(|known| name.as_deref() == Some(known.name));
    let Some(TableFunctionInfo { name: function, datasets, .. }) = known else { return Vec::new() };
    let argument = |(place, arg): (usize, &'a FunctionArg)| {
        let (kind, value) = match arg {
            FunctionArg::Named { name, arg, .. } => (ArgumentKind::by_name(&name.value), arg),
            FunctionArg::ExprNamed { name, arg, .. } => (ArgumentKind::by_name(&name.to_string()), arg),
            FunctionArg::Unnamed(arg) => (ArgumentKind::by_place(function, place, datasets), arg),
        };
        Some(NamingArgument { kind: kind?, texts: texts(value), place: start(arg) })
    };
    args.iter().enumerate().filter_map(argument).collect()
}

fn texts(value: &FunctionArgExpr) -> Option<Vec<&str>> {
    match value {
        FunctionArgExpr::Expr(expr) => of_expr(expr),
        _ => None,
    }
}

fn of_expr(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text)
            | Value::DollarQuotedString(DollarQuotedString { value: text, .. }) => Some(vec![text.as_str()]),
            Value::Null => Some(Vec::new()),
            _ => None,
        },
        Expr::Array(array) => {
            let each: Option<Vec<_>> = array.elem.iter().map(of_expr).collect();
            each.map(|texts| texts.concat())
        }
        Expr::Nested(inner) => of_expr(inner),
        _ => None,
    }
}

/// Where a condition stands in a statement; `None` of one that several rankings have: an error may be that of
/// any of them.
pub(crate) fn place_of_condition(sql: &Statement, condition: &str) -> Option<TextPosition> {
    let is_it = |argument: &NamingArgument<'_>| {
        argument.kind == ArgumentKind::Condition && argument.texts.as_deref() == Some(&[condition])
    };
    let mut places = Vec::new();
    visit_tables(sql, |table| places.extend(arguments(table).iter().filter(|a| is_it(a)).map(|a| a.place)));
    match places.as_slice() {
        [only] => Some(*only),
        _ => None,
    }
}

/// A condition as a statement that names the same tables.
pub(crate) fn query_of_condition(condition: &str) -> String {
    format!("SELECT 1 {}", dialect::where_clause(condition))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::inner;

    #[test]
    fn a_condition_has_a_place_if_it_stands_in_one_only() {
        let place = |sql: &str| {
            let mut statement = dialect::parse(sql).unwrap();
            place_of_condition(inner(&mut statement).unwrap(), "a = 1")
        };
        let with = |first: &str, second: &str| {
            place(&format!(
                "SELECT 1 FROM influence('p', 't', where => '{first}'), influence('q', 't', where => '{second}')"
            ))
        };
        assert_eq!(with("a = 1", "a = 2"), Some((1, 35)));
        assert_eq!(with("a = 1", "a = 1"), None);
        assert_eq!(with("a = 3", "a = 2"), None);
    }
}
