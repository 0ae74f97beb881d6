//! Functions of DuckDB that are short for an expression.

/// Their names, how they are called, and the expression in the words of the engine: `$1` is the first
/// argument.
///
/// Each argument stands once in it, so calls within calls do not grow.
pub(crate) const SHORTHANDS: &[(&str, &str, &str)] = &[
    ("array_cosine_similarity", "array_cosine_similarity(a, b)", SIMILARITY),
    ("array_first", "array_first(list)", FIRST),
    ("base64", "base64(x)", "encode($1, 'base64pad')"),
    ("bin", "bin(n)", BITS),
    ("century", "century(time)", "(date_part('year', $1) + 99) // 100"),
    ("date_add", "date_add(time, span)", "$1 + $2"),
    ("days_in_month", "days_in_month(time)", DAYS),
    ("decade", "decade(time)", "date_part('year', $1) // 10"),
    ("epoch_ms", "epoch_ms(time)", "date_diff('millisecond', CAST('1970-01-01' AS TIMESTAMP), $1)"),
    ("epoch_ns", "epoch_ns(time)", "date_diff('nanosecond', CAST('1970-01-01' AS TIMESTAMP), $1)"),
    ("epoch_us", "epoch_us(time)", "date_diff('microsecond', CAST('1970-01-01' AS TIMESTAMP), $1)"),
    ("fdiv", "fdiv(a, b)", "floor($1 / $2)"),
    ("from_base64", "from_base64(text)", "decode($1, 'base64pad')"),
    ("from_hex", "from_hex(text)", "decode($1, 'hex')"),
    ("iff", "iff(condition, a, b)", EITHER),
    ("iif", "iif(condition, a, b)", EITHER),
    ("isfinite", "isfinite(x)", "abs(CAST($1 AS DOUBLE)) < CAST('inf' AS DOUBLE)"),
    ("json", "json(text)", "as_json($1)"),
    ("last_day", "last_day(time)", LAST_DAY),
    ("list_cosine_similarity", "list_cosine_similarity(a, b)", SIMILARITY),
    ("list_count", "list_count(list)", "len(array_compact($1))"),
    ("list_first", "list_first(list)", FIRST),
    ("list_last", "list_last(list)", "array_element($1, -1)"),
    ("make_timestamp", "make_timestamp(year, month, day, hour, minute, second)", MOMENT),
    ("millennium", "millennium(time)", "(date_part('year', $1) + 999) // 1000"),
    ("parse_filename", "parse_filename(path)", "regexp_extract($1, '[^/]*$')"),
    ("parse_path", "parse_path(path)", "string_to_array($1, '/')"),
    ("to_base64", "to_base64(x)", "encode($1, 'base64pad')"),
    ("to_binary", "to_binary(n)", BITS),
    ("unhex", "unhex(text)", "decode($1, 'hex')"),
    ("yearweek", "yearweek(time)", "CAST(to_char($1, '%G%V') AS BIGINT)"),
];

const BITS: &str = "printf('%b', $1)";
const DAYS: &str =
    "date_part('day', CAST(date_trunc('month', $1) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE))";
const EITHER: &str = "CASE WHEN $1 THEN $2 ELSE $3 END";
const FIRST: &str = "array_element($1, 1)";
const LAST_DAY: &str = "CAST(date_trunc('month', $1) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)";
/// The casts refuse what is no number, and `to_timestamp` what is no time. Of second 60, which 59.9999999 is
/// in six digits, it makes the next minute, as DuckDB does here.
const MOMENT: &str = "to_timestamp(printf('%04d-%02d-%02d %02d:%02d:%09.6f', CAST($1 AS BIGINT), CAST($2 AS BIGINT), \
     CAST($3 AS BIGINT), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS DOUBLE)))";
const SIMILARITY: &str = "1 - cosine_distance($1, $2)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_argument_stands_once() {
        for (name, call, form) in SHORTHANDS {
            let arguments = call.matches(',').count() + 1;
            for place in 1..=9 {
                let expected = usize::from(place <= arguments);
                assert_eq!(form.matches(&format!("${place}")).count(), expected, "{name}");
            }
        }
        assert!(SHORTHANDS.is_sorted_by_key(|(name, ..)| *name));
    }
}
