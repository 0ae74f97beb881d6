//! `strftime`: texts of times by the formats of DuckDB, which the engine has with other letters.

use datafusion::sql::sqlparser::ast::Expr;
use gstore_functions::engine_format;

use crate::dialect::exprs::{call, text, text_of};

/// The text of a time; its format stands on either side of it.
pub(super) fn strftime(left: &Expr, right: &Expr) -> Option<Expr> {
    let (time, format) = match (text_of(left), text_of(right)) {
        (_, Some(format)) => (left, format),
        (Some(format), None) => (right, format),
        (None, None) => return None,
    };
    Some(call("to_char", vec![time.clone(), text(&engine_format(format, false))]))
}

#[cfg(test)]
mod tests {
    use crate::dialect::tests::expression;

    #[test]
    fn formats_have_the_letters_of_the_engine() {
        for (sql, expected) in [
            ("strftime(d, '%Y-%m')", "to_char(d, '%Y-%m')"),
            ("strftime('%-d %c', d)", "to_char(d, '%-d %Y-%m-%d %H:%M:%S')"),
            ("strftime(d, '%X.%g %f%%f %n')", "to_char(d, '%H:%M:%S.%3f %6f%%f %9f')"),
            ("strftime(d, f)", "strftime(d, f)"),
        ] {
            assert_eq!(expression(sql), expected);
        }
    }
}
