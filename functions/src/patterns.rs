//! Regular expressions in the form in which the engine is right about them.
//!
//! - it makes `x IS NOT NULL` of `x ~ '.*'`, which is false of NULL, but a comparison of `x ~ ''`
//! - it makes LIKE of a pattern of plain characters, where a backslash is no such one; of a pattern that begins
//!   with `()` it makes nothing

use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::expr::{BinaryExpr, Cast};
use datafusion::logical_expr::{Expr, Operator};
use datafusion::scalar::ScalarValue;
use regex::Regex;

/// How a pattern may have a plain backslash.
const BACKSLASHES: [&str; 4] = [r"\\", r"\x", r"\u", r"\U"];

pub(super) fn rewrite(mut expr: Expr, _: &DFSchema) -> DfResult<Transformed<Expr>> {
    use Operator as O;
    let pattern = match &mut expr {
        Expr::BinaryExpr(BinaryExpr {
            op: O::RegexMatch | O::RegexIMatch | O::RegexNotMatch | O::RegexNotIMatch,
            right,
            ..
        }) => written(right),
        Expr::ScalarFunction(call) if call.func.name() == "regexp_like" => {
            call.args.get_mut(1).and_then(written)
        }
        _ => None,
    };
    let changed = pattern.is_some_and(|pattern| match plain(pattern) {
        Some(other) => {
            *pattern = other;
            true
        }
        None => false,
    });
    Ok(if changed { Transformed::yes(expr) } else { Transformed::no(expr) })
}

/// The text of a pattern that is written.
fn written(pattern: &mut Expr) -> Option<&mut String> {
    match pattern {
        Expr::Literal(
            ScalarValue::Utf8(Some(text))
            | ScalarValue::LargeUtf8(Some(text))
            | ScalarValue::Utf8View(Some(text)),
            _,
        ) => Some(text),
        Expr::Cast(Cast { expr, .. }) => written(expr),
        _ => None,
    }
}

/// Another pattern that matches the same, if this one is not to stay.
fn plain(pattern: &str) -> Option<String> {
    match pattern {
        ".*" => Some(String::new()),
        // One that is none is shown as it is written.
        pattern if BACKSLASHES.iter().any(|of| pattern.contains(of)) && !pattern.starts_with("()") => {
            Regex::new(pattern).is_ok().then(|| format!("(){pattern}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_a_backslash_or_of_anything_are_written_otherwise() {
        for (pattern, other) in [
            (".*", Some("")),
            (r"a\\b", Some(r"()a\\b")),
            (r"a|\x5c", Some(r"()a|\x5c")),
            (r"()a\\b", None),
            (r"a\\(", None),
            (r"\d+\.", None),
            ("^a$", None),
        ] {
            assert_eq!(plain(pattern).as_deref(), other, "{pattern}");
        }
    }
}
