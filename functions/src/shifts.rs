//! Arguments of window functions that are the same for all rows: the offset and the default of `lag` and
//! `lead`, the place of `nth_value`, the number of parts of `ntile`. The engine takes constants only.

use datafusion::common::Span;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::Expr;

use crate::error::FunctionError;

const PARTS: &str = "write each number that there is: CASE WHEN n = 4 THEN ntile(4) OVER (..) \
                     WHEN n = 10 THEN ntile(10) OVER (..) END";
const NUMBERED: &str = "number the rows, row_number() OVER (..) AS n, and join each with the one so far away";

/// Looks for values of rows in such arguments.
///
/// # Errors
/// One of the first that has any.
pub(super) fn check(expr: &Expr) -> Result<(), FunctionError> {
    let Expr::WindowFunction(call) = expr else { return Ok(()) };
    let name = call.fun.name();
    let first = match name {
        "ntile" => 0,
        "lag" | "lead" | "nth_value" => 1,
        _ => return Ok(()),
    };
    let mut given = call.params.args.iter().enumerate().skip(first);
    let found = given.find_map(|(place, arg)| Some((place, of_rows(arg)?)));
    let Some((place, span)) = found else { return Ok(()) };
    let which = ["first", "second"].get(place).unwrap_or(&"third");
    let error = FunctionError::invalid(format!("{name}() takes a constant as its {which} argument"));
    Err(error.hint(otherwise(name, place)).at_span(span))
}

/// How the same is written.
fn otherwise(name: &str, place: usize) -> String {
    match (name, place) {
        ("ntile", _) => PARTS.to_owned(),
        ("nth_value", _) => "write (list(x) OVER (..))[n]".to_owned(),
        (_, 1) => NUMBERED.to_owned(),
        (name, _) => format!(
            "write coalesce({name}(x) OVER (..), y); if x has NULLs, CASE WHEN {name}(true) OVER (..) \
             THEN {name}(x) OVER (..) ELSE y END"
        ),
    }
}

/// The place of the first column in an expression that differs from row to row; `None` of any other.
fn of_rows(expr: &Expr) -> Option<Option<Span>> {
    let mut found = None;
    let _ = expr.apply(|part| {
        match part {
            Expr::Column(column) => found = Some(column.spans.first()),
            Expr::OuterReferenceColumn(..) | Expr::ScalarSubquery(_) => found = Some(None),
            _ => return Ok(TreeNodeRecursion::Continue),
        }
        Ok(TreeNodeRecursion::Stop)
    });
    found
}
