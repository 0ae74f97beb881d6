//! An order of its own in an aggregate function over a window: `list(x ORDER BY y) OVER (PARTITION BY g)`.
//!
//! The engine has none there. Over all rows of a partition it is that of the window, with a frame that has
//! all of them.

use datafusion::sql::sqlparser::ast::{
    Function, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowType,
};

use super::exprs::{is_distinct, order_of, take_order};
use crate::error::SqlError;

/// Puts such an order into the window.
///
/// # Errors
/// A window with another order or a frame, one that is named, and DISTINCT, which forgets the order.
pub(super) fn order(function: &mut Function) -> Result<(), SqlError> {
    let (keys, is_distinct) = (order_of(function).map(<[_]>::to_vec), is_distinct(function));
    let (Some(keys), Some(window)) = (keys, &mut function.over) else { return Ok(()) };
    let hint = match window {
        _ if is_distinct => "write list_sort(list(DISTINCT x) OVER (PARTITION BY g))",
        WindowType::WindowSpec(spec) if spec.window_name.is_none() => {
            let is_same = spec.order_by == keys;
            if is_same || spec.order_by.is_empty() && spec.window_frame.is_none() {
                if !is_same {
                    spec.order_by = keys;
                    spec.window_frame = Some(WindowFrame {
                        units: WindowFrameUnits::Rows,
                        start_bound: WindowFrameBound::Preceding(None),
                        end_bound: Some(WindowFrameBound::Following(None)),
                    });
                }
                take_order(function);
                return Ok(());
            }
            "write list_sort(list({'y': y, 'x': x}) OVER (..)), a list in the order of y"
        }
        _ => "write the window where it is used, OVER (PARTITION BY g)",
    };
    let called = function.name.0.last().and_then(|part| part.as_ident());
    let why = "a function over a window takes an order of its own for all rows of a partition only, and not with DISTINCT";
    let error = SqlError::invalid(why.to_owned()).hint(hint);
    Err(called.into_iter().fold(error, SqlError::at_name))
}

#[cfg(test)]
mod tests {
    use crate::dialect::calls::rewritten;

    #[test]
    fn the_order_of_a_function_is_that_of_its_window() {
        for (sql, expected) in [
            (
                "SELECT list(x ORDER BY y DESC) OVER (PARTITION BY g) FROM t",
                "SELECT array_agg(x) OVER (PARTITION BY g ORDER BY y DESC ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM t",
            ),
            (
                "SELECT any_value(x ORDER BY y) OVER () FROM t",
                "SELECT first_value(x) IGNORE NULLS OVER (ORDER BY y ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM t",
            ),
            (
                "SELECT list(x ORDER BY y) OVER (ORDER BY y ROWS 1 PRECEDING), list(x ORDER BY y) FROM t",
                "SELECT array_agg(x) OVER (ORDER BY y ROWS 1 PRECEDING), array_agg(x ORDER BY y) FROM t",
            ),
        ] {
            assert_eq!(rewritten(sql).as_deref(), Ok(expected));
        }
        for (call, says) in [
            ("list(x ORDER BY y) OVER (ORDER BY z)", "list_sort(list({'y': y, 'x': x}) OVER (..))"),
            ("list(x ORDER BY y) OVER w", "OVER (PARTITION BY g)"),
            ("list(DISTINCT x ORDER BY x) OVER (PARTITION BY g)", "list_sort(list(DISTINCT x)"),
        ] {
            let sql = format!("SELECT {call} FROM t WINDOW w AS (PARTITION BY g)");
            let refused = rewritten(&sql).unwrap_err();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
