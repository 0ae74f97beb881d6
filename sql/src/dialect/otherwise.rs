//! Functions of other databases that have another form here.

use gstore_query::hint::nearest;

/// Their names in lower case, and what is written in their place.
const FORMS: &[(&str, &str)] = &[
    ("age", "a - b"),
    ("average", "avg(x)"),
    ("date_add", "time + INTERVAL (n) DAY"),
    ("date_format", TO_CHAR),
    ("date_sub", "date_diff('day', a, b)"),
    ("epoch_ms", "CAST(epoch(time) * 1000 AS BIGINT), or to_timestamp_millis(n)"),
    ("fmod", "a % b"),
    ("format", TEXT),
    ("from_json", OF_JSON),
    ("geomean", "exp(avg(ln(x)))"),
    ("if", CASE),
    ("iff", CASE),
    ("iif", CASE),
    ("json_each", OF_JSON_LIST),
    ("json_transform", OF_JSON),
    ("last_day", "date_trunc('month', time) + INTERVAL '1 month' - INTERVAL '1 day'"),
    ("list_aggregate", OF_LIST),
    ("list_avg", OF_LIST),
    ("list_sum", OF_LIST),
    ("mad", "median(abs(x - m)) FROM t, (SELECT median(x) AS m FROM t)"),
    ("md5", HASH),
    ("printf", TEXT),
    ("product", "exp(sum(ln(x)))"),
    ("regexp_full_match", "regexp_like(text, '^(?:pattern)$', options)"),
    ("regexp_split_to_table", "unnest(regexp_split_to_array(text, 'pattern'))"),
    ("sem", "stddev(x) / sqrt(count(x))"),
    ("setseed", "ORDER BY hash(id, 7), or USING SAMPLE 10 ROWS REPEATABLE (7): the same each time"),
    ("sha1", HASH),
    ("sha256", HASH),
    ("strftime", TO_CHAR),
    ("strptime", "to_timestamp(text, '%Y-%m-%d')"),
    ("struct_pack", "named_struct('a', 1, 'b', 2)"),
    ("time_bucket", "date_bin(INTERVAL '1 hour', time)"),
];

const HASH: &str = "hash(x), a number that is the same for the same values everywhere";
const OF_JSON: &str = "record->>'key' for each key, CAST(record->>'key' AS DOUBLE) where it is a number";
const OF_JSON_LIST: &str = "unnest(record->'list')";
const CASE: &str = "CASE WHEN condition THEN a ELSE b END";
const TO_CHAR: &str = "to_char(time, '%Y-%m-%d')";
const TEXT: &str = "a || ', ' || round(b, 2)";
const OF_LIST: &str = "SELECT sum(x) FROM (SELECT unnest(list) AS x)";

/// How a call of such a function is written.
pub(crate) fn written_otherwise(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    FORMS.iter().find(|(known, _)| *known == name).map(|(_, form)| format!("write {form}"))
}

/// How a call is written whose function has nearly the name of such a one.
pub(crate) fn nearly_written_otherwise(name: &str) -> Option<String> {
    let long =
        FORMS.iter().map(|(known, _)| *known).filter(|known| known.len() > 5 && !known.contains("list"));
    written_otherwise(nearest(name, long)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_others_have_a_form_here() {
        let said = |name| written_otherwise(name).unwrap_or_default();
        assert_eq!(said("IF"), "write CASE WHEN condition THEN a ELSE b END");
        assert_eq!(nearly_written_otherwise("avrage").as_deref(), Some("write avg(x)"));
        assert_eq!(nearly_written_otherwise("fooo"), None);
    }
}
