//! Calls of functions that are short for an expression.

use datafusion::sql::sqlparser::ast::{Expr, Interval, UnaryOperator, Value};
use datafusion::sql::sqlparser::parser::Parser;
use gstore_functions::is_of_elements;
use gstore_functions::spans::has_months;

use crate::dialect::exprs::{call, nested, number, text, text_of, unnested};
use crate::dialect::grammar::Grammar;
use crate::expanded::number_of;
use crate::names::SHORTHANDS;
use crate::walk::{visit_expressions, visit_expressions_mut};

/// Where buckets of time begin that are counted in months, and others: on a Monday.
const MONTHS_FROM: &str = "2000-01-01";
const DAYS_FROM: &str = "2000-01-03";

/// What takes the place of such a call, by its name in lower case.
pub(super) fn written(name: &str, args: &[Expr]) -> Option<Expr> {
    match (name, args) {
        ("time_bucket", [span, time]) => {
            let from = text(if is_of_months(span) { MONTHS_FROM } else { DAYS_FROM });
            Some(call("date_bin", vec![span.clone(), time.clone(), call("to_timestamp", vec![from])]))
        }
        ("list_aggregate" | "list_aggr" | "array_aggregate" | "array_aggr", [list, of, rest @ ..]) => {
            aggregate(list, text_of(of)?, rest)
        }
        ("list_string_agg", [list]) => aggregate(list, "string_agg", &[]),
        // Of a number it is the time.
        ("epoch_ms", [of]) if is_number(of) => Some(call("to_timestamp_millis", vec![of.clone()])),
        ("make_timestamp", [microseconds]) => Some(call("to_timestamp_micros", vec![microseconds.clone()])),
        _ => {
            let (.., form) = SHORTHANDS.iter().find(|(known, ..)| *known == name)?;
            expression(form, args)
        }
    }
}

/// Whether an interval, or one that it is computed from, is written with months.
fn is_of_months(span: &Expr) -> bool {
    visit_expressions(span, |part: &Expr| match part {
        Expr::Interval(Interval { value, leading_field: Some(unit), .. }) => {
            let count = text_of(value).or_else(|| number_of(value)).unwrap_or("1");
            has_months(&format!("{count} {unit}"))
        }
        Expr::Function(function) => {
            let name = function.name.to_string().to_ascii_lowercase();
            name.strip_prefix("to_").is_some_and(|units| has_months(&format!("1 {units}")))
        }
        other => text_of(other).is_some_and(has_months),
    })
}

/// Whether an expression is a written number, also one with a sign.
fn is_number(expr: &Expr) -> bool {
    match unnested(expr) {
        Expr::UnaryOp { op: UnaryOperator::Minus | UnaryOperator::Plus, expr } => number_of(expr).is_some(),
        other => number_of(other).is_some(),
    }
}

/// An aggregate function of the elements of a list, by its name.
fn aggregate(list: &Expr, of: &str, rest: &[Expr]) -> Option<Expr> {
    let whole = |name: &str| Some(call(name, vec![list.clone()]));
    let element = |place| Some(call("array_element", vec![list.clone(), place]));
    match (of.to_ascii_lowercase().as_str(), rest) {
        ("sum", []) => whole("array_sum"),
        ("avg" | "mean", []) => whole("array_avg"),
        ("min", []) => whole("array_min"),
        ("max", []) => whole("array_max"),
        ("product", []) => whole("array_product"),
        ("count", []) => Some(call("len", vec![call("array_compact", vec![list.clone()])])),
        ("string_agg", []) => Some(call("list_string_agg", vec![list.clone(), text(",")])),
        ("string_agg", [between]) => Some(call("list_string_agg", vec![list.clone(), between.clone()])),
        ("first", []) => element(number(1)),
        ("last", []) => element(number(-1)),
        (name @ ("stddev" | "variance"), []) => {
            whole(if name == "stddev" { "list_stddev_samp" } else { "list_var_samp" })
        }
        (name, []) => {
            Some(format!("list_{name}")).filter(|name| is_of_elements(name)).and_then(|name| whole(&name))
        }
        _ => None,
    }
}

/// The expression with the arguments in their places; `None` if it has places for more or fewer.
fn expression(form: &str, args: &[Expr]) -> Option<Expr> {
    let parser = Parser::new(&Grammar).try_with_sql(form);
    let mut expr = parser.and_then(|mut parser| parser.parse_expr()).ok()?;
    let mut places = 0;
    let lacks_one = visit_expressions_mut(&mut expr, |part: &mut Expr| {
        if let Expr::Value(value) = part
            && let Value::Placeholder(place) = &value.value
        {
            let place = place.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
            let Some((place, arg)) = place.and_then(|place| Some((place, args.get(place.checked_sub(1)?)?)))
            else {
                return true;
            };
            places = places.max(place);
            *part = match arg {
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Function(_) | Expr::Value(_) => {
                    arg.clone()
                }
                other => *nested(other.clone()),
            };
        }
        false
    });
    (!lacks_one && places == args.len()).then(|| *nested(expr))
}

#[cfg(test)]
mod tests {
    use crate::dialect::tests::expression;

    #[test]
    fn calls_are_the_expressions_that_they_are_short_for() {
        for (sql, expected) in [
            ("last_day(t)", "(CAST(date_trunc('month', t) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE))"),
            ("iif(a > 1, 'x', NULL)", "(CASE WHEN (a > 1) THEN 'x' ELSE NULL END)"),
            ("list_aggregate(l, 'sum')", "array_sum(l)"),
            ("array_aggr(l, 'string_agg', '-')", "list_string_agg(l, '-')"),
            ("list_string_agg(l)", "list_string_agg(l, ',')"),
            ("list_aggregate(l, 'median')", "list_median(l)"),
            ("list_aggregate(l, 'stddev')", "list_stddev_samp(l)"),
            ("list_aggregate(l, 'distinct')", "list_aggregate(l, 'distinct')"),
            ("epoch_ms(-1500)", "to_timestamp_millis(-1500)"),
            ("time_bucket(INTERVAL '2 mon', t)", "date_bin(INTERVAL '2 mon', t, to_timestamp('2000-01-01'))"),
            (
                "time_bucket(INTERVAL 1 DECADE, t)",
                "date_bin(INTERVAL '1' DECADE, t, to_timestamp('2000-01-01'))",
            ),
            ("time_bucket(to_years(2), t)", "date_bin(to_years(2), t, to_timestamp('2000-01-01'))"),
            ("time_bucket(INTERVAL 3 DAY, t)", "date_bin(INTERVAL '3' DAY, t, to_timestamp('2000-01-03'))"),
            ("iif(a)", "iif(a)"),
            ("array_first(l, x)", "array_first(l, x)"),
            ("struct_pack(a := 1, B := x)", "named_struct('a', 1, 'b', x)"),
        ] {
            assert_eq!(expression(sql), expected);
        }
    }

    #[test]
    fn every_shorthand_is_an_expression() {
        for (name, call, _) in crate::names::SHORTHANDS {
            let found = expression(call);
            assert!(!found.starts_with(&format!("{name}(")), "{found}");
        }
    }
}
