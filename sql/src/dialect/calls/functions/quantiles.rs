//! Quantiles of several shares, and those that are one of the values: `quantile_cont(x, [0.25, 0.5])`,
//! `quantile_disc(x, 0.5)`, also with an order, `quantile_cont(x, 0.25 ORDER BY x DESC)`.
//!
//! The engine takes one share in a call. It has no quantile that is one of the values: that is an element of
//! their sorted list.

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, Expr, Function, Ident, ObjectName, OrderByExpr,
};

use super::{is_ordered, known, plain_args, renamed, set_args};
use crate::dialect::exprs::{binary, call, case, number, take_order, text};
use crate::expanded::number_of;

/// Most digits of a share behind its point: so many times the number of rows is a whole number of 64 bits.
const DIGITS: usize = 9;

/// Puts the order of `quantile_cont(x, 0.25 ORDER BY y DESC)` behind the call, by the name of its function
/// in lower case.
///
/// By a single descending key, whatever it is, DuckDB counts the share from the largest value on. A key next
/// to a share alone is what the quantile is of. Any other order changes nothing, and in a window none does.
pub(super) fn order(function: &mut Function, name: &str) {
    if !matches!(name, "quantile_cont" | "quantile_disc") {
        return;
    }
    let Some(args) = plain_args(function) else { return };
    let Some(keys) = take_order(function) else { return };
    let ([key], None) = (keys.as_slice(), &function.over) else { return };
    let (of, share) = match args.as_slice() {
        [share] => (&key.expr, share),
        [of, share] if key.options.asc == Some(false) => (of, share),
        _ => return,
    };
    function.within_group = vec![OrderByExpr { expr: of.clone(), ..key.clone() }];
    set_args(function, vec![share.clone()]);
}

/// What takes the place of such a call, by the name of its function in lower case.
pub(super) fn written(function: &Function, name: &str) -> Option<Expr> {
    let is_one = matches!(name, "quantile_disc" | "percentile_disc");
    if !is_one && !matches!(known(name), "percentile_cont" | "quantile_cont" | "approx_percentile_cont") {
        return None;
    }
    let place = usize::from(function.within_group.is_empty());
    let args = plain_args(function)?;
    let of_share = |share: &Expr| match is_one {
        true => one_of(function, &args, share),
        false => between(function, &args, place, share),
    };
    let shares = match args.get(place)? {
        Expr::Array(Array { elem, .. }) if !elem.is_empty() => elem,
        share if is_one => return of_share(share),
        _ => return None,
    };
    let each: Vec<Expr> = shares.iter().map(of_share).collect::<Option<_>>()?;
    // Of no values there is no list.
    let condition = Expr::IsNotNull(Box::new(each.first()?.clone()));
    Some(case(condition, call("make_array", each), None))
}

/// The call for one of the shares.
fn between(function: &Function, args: &[Expr], place: usize, share: &Expr) -> Option<Expr> {
    let mut args = args.to_vec();
    *args.get_mut(place)? = share.clone();
    let mut function = function.clone();
    set_args(&mut function, args);
    Some(renamed(&mut function).unwrap_or(Expr::Function(function)))
}

/// The first value below which, or at which, this share of the values is.
fn one_of(function: &Function, args: &[Expr], share: &Expr) -> Option<Expr> {
    let (rest, whole) = rest_of(share)?;
    let (of, is_descending) = match (function.within_group.as_slice(), args) {
        ([], [of, _]) => (of, false),
        ([key], [_]) => (&key.expr, key.options.asc == Some(false)),
        _ => return None,
    };
    let mut of_values = function.clone();
    of_values.within_group.clear();
    set_args(&mut of_values, vec![of.clone()]);
    if is_ordered(&of_values) {
        return None;
    }
    let called = |name: &str| {
        let name = ObjectName::from(vec![Ident::new(name)]);
        Expr::Function(Function { name, ..of_values.clone() })
    };
    let beyond = binary(called("count"), BinaryOperator::Multiply, number(rest));
    let beyond = binary(beyond, BinaryOperator::DuckIntegerDivide, number(whole));
    let place = binary(called("count"), BinaryOperator::Minus, beyond);
    // NULLs stand behind all values, and are not counted.
    let order = text(if is_descending { "DESC" } else { "ASC" });
    let sorted = call("array_sort", vec![called("array_agg"), order, text("NULLS LAST")]);
    Some(call("array_element", vec![sorted, call("greatest", vec![number(1), place])]))
}

/// What a share from 0 to 1 lacks of the whole, and the whole, in units of its last digit: of 0.25 75 of 100.
fn rest_of(share: &Expr) -> Option<(u64, u64)> {
    let written = number_of(share)?;
    let (whole, fraction) = written.split_once('.').unwrap_or((written, ""));
    let is_plain = [whole, fraction].iter().all(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    if !is_plain || fraction.len() > DIGITS || written.len() > 2 * DIGITS {
        return None;
    }
    let units = 10u64.pow(u32::try_from(fraction.len()).ok()?);
    let share: u64 = format!("0{whole}{fraction}").parse().ok()?;
    Some((units.checked_sub(share)?, units))
}

#[cfg(test)]
mod tests {
    use crate::dialect::tests::expression;

    #[test]
    fn each_share_has_a_call() {
        for (sql, expected) in [
            (
                "quantile_cont(x, [0.25, 1]) FILTER (WHERE y)",
                "CASE WHEN quantile_cont(x, 0.25) FILTER (WHERE y) IS NOT NULL THEN make_array(quantile_cont(x, 0.25) FILTER (WHERE y), quantile_cont(x, 1) FILTER (WHERE y)) END",
            ),
            (
                "quantile(x, [0.5]), approx_quantile(x, 0.5)",
                "CASE WHEN percentile_cont(x, 0.5) IS NOT NULL THEN make_array(percentile_cont(x, 0.5)) END, approx_percentile_cont(x, 0.5)",
            ),
            (
                "percentile_cont([0.5]) WITHIN GROUP (ORDER BY x)",
                "CASE WHEN percentile_cont(0.5) WITHIN GROUP (ORDER BY x) IS NOT NULL THEN make_array(percentile_cont(0.5) WITHIN GROUP (ORDER BY x)) END",
            ),
        ] {
            assert_eq!(expression(sql), expected);
        }
    }

    #[test]
    fn one_of_the_values_is_an_element_of_their_list() {
        for (sql, expected) in [
            (
                "quantile_disc(x, 0.25) OVER (ORDER BY y)",
                "array_element(array_sort(array_agg(x) OVER (ORDER BY y), 'ASC', 'NULLS LAST'), greatest(1, count(x) OVER (ORDER BY y) - count(x) OVER (ORDER BY y) * 75 // 100))",
            ),
            (
                "percentile_disc(1) WITHIN GROUP (ORDER BY x DESC)",
                "array_element(array_sort(array_agg(x), 'DESC', 'NULLS LAST'), greatest(1, count(x) - count(x) * 0 // 1))",
            ),
        ] {
            assert_eq!(expression(sql), expected);
        }
        for sql in ["quantile_disc(x, 1.5)", "quantile_disc(x, y)", "percentile_disc(x, 0.5 ORDER BY y)"] {
            assert_eq!(expression(sql), sql);
        }
    }

    #[test]
    fn a_descending_order_counts_from_the_largest_value() {
        for (sql, expected) in [
            ("quantile_cont(x, 0.25 ORDER BY y)", "quantile_cont(x, 0.25)"),
            ("quantile_cont(x, 0.25 ORDER BY x DESC, y)", "quantile_cont(x, 0.25)"),
            ("quantile_cont(x, 0.25 ORDER BY x DESC) OVER ()", "quantile_cont(x, 0.25) OVER ()"),
            (
                "quantile_cont(DISTINCT x, 0.25 ORDER BY -x DESC) FILTER (WHERE y)",
                "quantile_cont(DISTINCT 0.25) WITHIN GROUP (ORDER BY x DESC) FILTER (WHERE y)",
            ),
            ("quantile_cont(0.25 ORDER BY x)", "quantile_cont(0.25) WITHIN GROUP (ORDER BY x)"),
            (
                "quantile_cont(x, [0.5] ORDER BY x DESC)",
                "CASE WHEN quantile_cont(0.5) WITHIN GROUP (ORDER BY x DESC) IS NOT NULL THEN make_array(quantile_cont(0.5) WITHIN GROUP (ORDER BY x DESC)) END",
            ),
            (
                "quantile_disc(x, 0.25 ORDER BY x DESC)",
                "array_element(array_sort(array_agg(x), 'DESC', 'NULLS LAST'), greatest(1, count(x) - count(x) * 75 // 100))",
            ),
        ] {
            assert_eq!(expression(sql), expected);
        }
    }
}
