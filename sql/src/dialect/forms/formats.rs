//! `strftime` and `strptime`: texts of times by the formats of DuckDB, which the engine has with other
//! letters, and times in such texts.

use datafusion::sql::sqlparser::ast::{Array, DataType, Expr, TimezoneInfo};
use gstore_functions::{engine_format, has_zone};

use crate::dialect::exprs::{call, cast, text, text_of, unnested};

/// The text of a time; its format stands on either side of it.
pub(super) fn strftime(left: &Expr, right: &Expr) -> Option<Expr> {
    let (time, format) = match (text_of(left), text_of(right)) {
        (_, Some(format)) => (left, format),
        (Some(format), None) => (right, format),
        (None, None) => return None,
    };
    Some(call("to_char", vec![time.clone(), text(&engine_format(format))]))
}

/// The instant in a text, by formats of which one has a zone; `None` of others, which read times without one.
pub(super) fn strptime(of: &Expr, format: &Expr) -> Option<Expr> {
    let formats = match unnested(format) {
        Expr::Array(Array { elem, .. }) => elem.as_slice(),
        one => std::slice::from_ref(one),
    };
    if !formats.iter().filter_map(text_of).any(has_zone) {
        return None;
    }
    // The function gives it in UTC.
    let time = call("strptime", vec![of.clone(), format.clone()]);
    Some(cast(time, DataType::Timestamp(None, TimezoneInfo::Tz)))
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
            ("strftime(d, '%H %z')", "to_char(d, '%H %#z')"),
            ("strftime(d, f)", "strftime(d, f)"),
        ] {
            assert_eq!(expression(sql), expected);
        }
    }

    #[test]
    fn times_with_a_zone_are_instants() {
        for (sql, expected) in [
            ("strptime(x, '%H %z')", "CAST(strptime(x, '%H %z') AS TIMESTAMPTZ)"),
            ("strptime(x, ['%H', '%H %Z'])", "CAST(strptime(x, ['%H', '%H %Z']) AS TIMESTAMPTZ)"),
            ("strptime(x, '%H %%z')", "strptime(x, '%H %%z')"),
            ("strptime(x, f)", "strptime(x, f)"),
        ] {
            assert_eq!(expression(sql), expected);
        }
    }
}
