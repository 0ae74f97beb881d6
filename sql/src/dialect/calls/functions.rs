//! Names of functions, and calls of them.

mod quantiles;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArguments,
    Ident, NullTreatment, ObjectName, Statement, Value,
};

use crate::dialect::exprs::{self, arguments, binary, call, is_distinct, nested, order_of, take_order, text};
use crate::dialect::forms;
use crate::error::SqlError;
use crate::expanded::{self, number_of};
use crate::names::{RENAMED, called, is_aggregate, is_scalar};
use crate::walk::{visit_expressions, visit_expressions_mut};

/// Most calls of `max_by` and `min_by` in a value that is written twice: of calls in one another each doubles
/// those within.
const MOST_WITHIN: usize = 7;

/// The name of a function here, by a name in lower case that it has somewhere.
pub(crate) fn known(name: &str) -> &str {
    RENAMED.iter().find(|(other, _)| *other == name).map_or(name, |(_, known)| known)
}

/// Gives a function its name here; returns what takes its place where it is no function here.
pub(super) fn renamed(function: &mut Function) -> Option<Expr> {
    let name = match function.name.0.as_slice() {
        [only] => only.as_ident().filter(|ident| ident.quote_style.is_none())?.clone(),
        _ => return None,
    };
    let lower = name.value.to_ascii_lowercase();
    quantiles::order(function, &lower);
    if let Some(other) = quantiles::written(function, &lower) {
        return Some(other);
    }
    let known = known(&lower);
    if let Some(aggregate) = aggregate(function, known) {
        set_name(function, &name, aggregate);
        return None;
    }
    match known {
        "struct_pack" => Some(call("named_struct", named_args(function)?)),
        "count_if" => {
            let [condition]: [Expr; 1] = plain_args(function)?.try_into().ok()?;
            // False counts as little as null.
            let flag = call("nullif", vec![condition, Expr::value(Value::Boolean(false))]);
            set_args(function, vec![flag]);
            set_name(function, &name, "count");
            None
        }
        // The values of the n best rows by themselves.
        "max" | "min" => {
            let [of, count]: [Expr; 2] = plain_args(function)?.try_into().ok()?;
            if number_of(&count).is_some() && best_within(&of) <= MOST_WITHIN {
                set_args(function, vec![of.clone(), of, count]);
                set_name(function, &name, if known == "max" { "max_by" } else { "min_by" });
            }
            None
        }
        "mod" => {
            let [left, right]: [Expr; 2] = plain_args(function)?.try_into().ok()?;
            Some(*nested(binary(*nested(left), BinaryOperator::Modulo, *nested(right))))
        }
        "apply" | "filter" if takes_lambda(function) => {
            set_name(function, &name, if lower == "apply" { "array_transform" } else { "array_filter" });
            None
        }
        "regexp_replace" => {
            let mut args = plain_args(function)?;
            let by = args.get_mut(2)?;
            *by = forms::replacement(by)?;
            set_args(function, args);
            None
        }
        _ => {
            let other = plain_args(function).and_then(|args| forms::written(&lower, &args));
            if other.is_some() {
                return other;
            }
            if known != lower {
                set_name(function, &name, known);
            }
            None
        }
    }
}

/// Gives a function the IGNORE NULLS behind its arguments, `first_value(abs(x) IGNORE NULLS) OVER (..)`: the
/// parser takes it for that of a call at their end. One of a window there has its own before OVER; an aggregate
/// function there keeps it unless the outer one is a function of windows that takes it.
pub(super) fn take_null_treatment(function: &mut Function) {
    let FunctionArguments::List(list) = &mut function.args else { return };
    let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(last))) = list.args.last_mut() else { return };
    let Some(inner) = last_call(last).filter(|inner| inner.over.is_none()) else { return };
    let is_outer = |name: &ObjectName| TAKES_NULLS.contains(&known(&name.to_string().to_ascii_lowercase()));
    let goes_out = match function.over {
        Some(_) => is_outer(&function.name),
        None => is_scalar(known(&inner.name.to_string().to_ascii_lowercase())),
    };
    if goes_out && function.null_treatment.is_none() {
        function.null_treatment = inner.null_treatment.take();
    }
}

/// Functions of windows that take IGNORE NULLS.
const TAKES_NULLS: [&str; 5] = ["first_value", "last_value", "nth_value", "lag", "lead"];

fn last_call(expr: &mut Expr) -> Option<&mut Function> {
    match expr {
        Expr::Function(call) => Some(call),
        Expr::BinaryOp { right: last, .. }
        | Expr::UnaryOp { expr: last, .. }
        | Expr::Between { high: last, .. }
        | Expr::Like { pattern: last, .. }
        | Expr::ILike { pattern: last, .. }
        | Expr::IsDistinctFrom(_, last)
        | Expr::IsNotDistinctFrom(_, last) => last_call(last),
        _ => None,
    }
}

/// Gives aggregate functions the names that they have in plans: by another one the engine calls a column by
/// its arguments alone, and takes `mean(x)` and `mean(x) FILTER (WHERE ok)` for two of one name.
pub(in crate::dialect) fn name_aggregates(sql: &mut Statement) {
    visit_expressions_mut(sql, |part: &mut Expr| {
        if let Expr::Function(function) = part
            && let [only] = function.name.0.as_slice()
            && let Some(ident) = only.as_ident().cloned()
        {
            let written = expanded::name(&ident);
            let known = called(&written);
            if known != written && is_aggregate(&written) {
                set_name(function, &ident, known);
            }
        }
    });
}

/// How many calls of `max_by` and `min_by` are in an expression.
fn best_within(of: &Expr) -> usize {
    let mut number = 0;
    visit_expressions(of, |part: &Expr| {
        let is_best = |function: &Function| matches!(&*function.name.to_string(), "max_by" | "min_by");
        number += usize::from(matches!(part, Expr::Function(function) if is_best(function)));
    });
    number
}

/// The aggregate function that a call means by such a name, where it is another one or has other arguments.
fn aggregate<'a>(function: &mut Function, known: &'a str) -> Option<&'a str> {
    Some(match known {
        // The first that is not null.
        "any_value" if is_ordered(function) => {
            function.null_treatment = Some(NullTreatment::IgnoreNulls);
            "first_value"
        }
        // The engine would take the order for what the quantile is of.
        "percentile_cont" | "quantile_cont" | "approx_percentile_cont" if is_ordered(function) => {
            if matches!(&function.args, FunctionArguments::List(list) if list.args.len() > 1) {
                take_order(function);
            }
            known
        }
        // The engine has these two in windows from the first row on only.
        "bool_or" if function.over.is_some() => "max",
        "bool_and" if function.over.is_some() => "min",
        // By its own values, which is how it chooses without an order.
        "mode" if is_ordered(function) => {
            if let FunctionArguments::List(list) = &mut function.args {
                list.clauses.clear();
            }
            known
        }
        "string_agg" => {
            if let FunctionArguments::List(list) = &mut function.args
                && list.args.len() == 1
            {
                list.args.extend(arguments(vec![text(",")]));
            }
            known
        }
        _ => return None,
    })
}

/// The error about an order of rows in a function that takes the value of one of them by itself.
pub(super) fn not_ordered(function: &Function) -> Option<SqlError> {
    let name = function.name.0.last()?.as_ident().filter(|_| is_ordered(function))?;
    let (takes, hint) = match name.value.to_ascii_lowercase().as_str() {
        "max_by" | "arg_max" | "argmax" => (SMALLEST_OF_BEST, BY_LARGEST),
        "min_by" | "arg_min" | "argmin" => (SMALLEST_OF_BEST, BY_SMALLEST),
        "mode" if !is_by_value(function) => (SMALLEST_OF_FREQUENT, BY_COUNT),
        _ => return None,
    };
    let error = SqlError::invalid(format!("{}() takes no ORDER BY: {takes}", name.value));
    Some(error.at_name(name).hint(hint))
}

const SMALLEST_OF_BEST: &str = "of rows with the same y it takes the smallest x";
const BY_LARGEST: &str = "write first(x ORDER BY y DESC, z) to choose by z";
const BY_SMALLEST: &str = "write first(x ORDER BY y, z) to choose by z";
const SMALLEST_OF_FREQUENT: &str = "of values that are equally frequent it takes the smallest";
const BY_COUNT: &str = "write SELECT first(x ORDER BY n DESC, y) FROM (SELECT x, count(*) AS n, min(y) AS y FROM t WHERE x IS NOT NULL GROUP BY x) \
    for mode(x ORDER BY y)";

/// Whether `mode(x ORDER BY x)` is what it is without the order: the smallest of equally frequent values.
fn is_by_value(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    let [FunctionArgumentClause::OrderBy(keys)] = list.clauses.as_slice() else { return false };
    let is_value = |key: &Expr| exprs::plain_args(function).is_some_and(|args| args == [key]);
    keys.first().is_some_and(|key| key.options.asc != Some(false) && is_value(&key.expr))
}

/// The error about WITHIN GROUP behind a function that takes what is in it as arguments.
pub(super) fn not_within(function: &Function) -> Option<SqlError> {
    let name = function.name.0.last()?.as_ident().filter(|_| !function.within_group.is_empty())?;
    let call = match name.value.to_ascii_lowercase().as_str() {
        "mode" => "mode(x)",
        "string_agg" | "listagg" | "group_concat" => "string_agg(x, ',' ORDER BY y)",
        "array_agg" | "list" => "list(x ORDER BY y)",
        _ => return None,
    };
    let error = SqlError::invalid(format!("{}() takes no WITHIN GROUP", name.value));
    Some(error.at_name(name).hint(format!("write {call}")))
}

/// The error about DISTINCT in a function of pairs of values, of a rank or of an approximate quantile: the engine
/// would take no note of it, or fail.
pub(super) fn not_distinct(function: &Function) -> Option<SqlError> {
    let name = function.name.0.last()?.as_ident().filter(|_| is_distinct(function))?;
    let (called, lower) = (&name.value, name.value.to_ascii_lowercase());
    let hint = match lower.as_str() {
        "approx_quantile" | "approx_percentile_cont" => "write quantile_cont(DISTINCT x, 0.5)".to_owned(),
        "nth_value" => "write list(DISTINCT x ORDER BY x)[2]".to_owned(),
        "max_by" | "min_by" | "arg_max" | "arg_min" if has_two(function) => {
            "leave it out: the value is the same".to_owned()
        }
        of_pairs if OF_PAIRS.contains(&of_pairs) || of_pairs.starts_with("regr_") => {
            format!("write SELECT {called}(a, b) FROM (SELECT DISTINCT a, b FROM t)")
        }
        _ => return None,
    };
    Some(SqlError::invalid(format!("{called}() takes no DISTINCT")).at_name(name).hint(hint))
}

fn has_two(function: &Function) -> bool {
    matches!(&function.args, FunctionArguments::List(list) if list.args.len() == 2)
}

/// Functions of pairs of values, but for those that begin with `regr_`.
const OF_PAIRS: [&str; 4] = ["corr", "covar", "covar_pop", "covar_samp"];

/// The error about FILTER, a window, DISTINCT or an order of rows in a function of the values of one row: the
/// engine would take no note of them.
pub(super) fn not_of_rows(function: &Function) -> Option<SqlError> {
    let FunctionArguments::List(_) = &function.args else { return None };
    let [only] = function.name.0.as_slice() else { return None };
    let is_of_rows = is_distinct(function)
        || is_ordered(function)
        || function.filter.is_some()
        || function.over.is_some()
        || function.null_treatment.is_some()
        || !function.within_group.is_empty();
    let name = only.as_ident().filter(|_| is_of_rows)?;
    let why = format!(
        "{}() works on the values of one row: it takes no FILTER, OVER, DISTINCT, ORDER BY or IGNORE NULLS",
        name.value
    );
    let error = SqlError::invalid(why).at_name(name);
    let hint = "write them in the aggregate function, round(avg(x) FILTER (WHERE ok), 1)";
    is_scalar(known(&name.value.to_lowercase())).then(|| error.hint(hint))
}

fn is_ordered(function: &Function) -> bool {
    order_of(function).is_some()
}

/// The names and values of `struct_pack(a := 1, b := 2)`.
fn named_args(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let mut args = Vec::new();
    for arg in &list.args {
        let FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } = arg else { return None };
        args.extend([text(&expanded::name(name)), value.clone()]);
    }
    Some(args)
}

fn takes_lambda(function: &Function) -> bool {
    exprs::plain_args(function).is_some_and(|args| matches!(args.as_slice(), [_, Expr::Lambda(_)]))
}

fn plain_args(function: &Function) -> Option<Vec<Expr>> {
    exprs::plain_args(function).map(|args| args.into_iter().cloned().collect())
}

fn set_args(function: &mut Function, args: Vec<Expr>) {
    if let FunctionArguments::List(list) = &mut function.args {
        list.args = arguments(args);
    }
}

/// Another name in the same place of the text.
fn set_name(function: &mut Function, old: &Ident, name: &str) {
    function.name = ObjectName::from(vec![Ident { value: name.to_owned(), ..old.clone() }]);
}
