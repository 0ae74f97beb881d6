//! Functions of other databases that have another form here.

use gstore_query::hint::nearest;

/// Their names in lower case, and what is written in their place.
const FORMS: &[(&str, &str)] = &[
    ("add", "a + b"),
    ("age", "a - b"),
    ("aggregate", OF_LIST),
    ("ago", "now() - INTERVAL 1 DAY"),
    ("all_match", ALL_ELEMENTS),
    ("approx_top_k", "SELECT x, count(*) AS n FROM t GROUP BY x ORDER BY n DESC LIMIT k"),
    ("arg_max_null", "max_by(x, y)"),
    ("arg_max_nulls_last", "max_by(x, y)"),
    ("arg_min_null", "min_by(x, y)"),
    ("arg_min_nulls_last", "min_by(x, y)"),
    ("array", "(SELECT list(x) FROM t), and [a, b] for a list of values"),
    ("array_to_json", "to_json(x)"),
    ("average", "avg(x)"),
    ("bitstring_agg", "list_sort(list(DISTINCT x)), the places of the bits that it sets"),
    ("columns", "COLUMNS in the outermost SELECT and its WHERE, elsewhere the names of the columns"),
    ("cosine", SIMILARITY),
    ("cosine_similarity", SIMILARITY),
    ("count_star", "count(*)"),
    ("damerau_levenshtein", "levenshtein(a, b), to which two letters that change places are two changes"),
    ("date_sub", WHOLE),
    ("dateadd", "time + INTERVAL (n) DAY"),
    ("datesub", WHOLE),
    ("divide", "a // b"),
    ("equi_width_bins", "width_bucket(x, low, high, n), the number of the bin in which x is"),
    ("era", "year(time) > 0"),
    ("fill", "coalesce(x, last_value(x IGNORE NULLS) OVER (ORDER BY time)), the value before"),
    ("format_bytes", "round(n / 1e6, 1) || ' MB'"),
    ("from_json", OF_JSON),
    ("gamma", "factorial(n - 1) for a whole number n"),
    ("gen_random_uuid", "uuid()"),
    ("generate_subscripts", "unnest(range(1, len(list) + 1))"),
    ("histogram", RANGES),
    ("histogram_values", RANGES),
    ("json_deep_merge", NEW_JSON),
    (
        "json_each",
        "SELECT unnest(record->'list') for the elements of a list, SELECT unnest(json_keys(record)) for the keys of an object",
    ),
    ("json_group_array", "to_json(list(x))"),
    ("json_group_object", "'{' || string_agg(to_json(k) || ':' || to_json(v), ',') || '}'"),
    ("json_insert", NEW_JSON),
    ("json_merge_patch", NEW_JSON),
    ("json_patch", NEW_JSON),
    ("json_quote", "to_json(x)"),
    ("json_remove", NEW_JSON),
    ("json_replace", NEW_JSON),
    ("json_set", NEW_JSON),
    ("json_strip_nulls", NEW_JSON),
    ("json_structure", "json_keys(record), and DISTINCT unnest(json_keys(record)) for the keys of all rows"),
    ("json_transform", OF_JSON),
    ("json_value", "record->>'$.key'"),
    ("left_grapheme", "left(text, n)"),
    ("list_all", ALL_ELEMENTS),
    ("list_any", "len(list_filter(list, x -> x > 1)) > 0"),
    ("list_select", "[list[1], list[3]] with each place that is meant"),
    (
        "list_where",
        "list_filter(list, x -> x > 1), with the condition in the place of the list of its answers",
    ),
    ("map_contains", "list_contains(map_keys(m), key)"),
    ("map_contains_value", "list_contains(map_values(m), value)"),
    ("map_extract_value", "m['key']"),
    ("map_from_entries", "map(keys, values) of two lists"),
    ("md5_number", HASH),
    ("mismatches", "hamming(a, b)"),
    ("multiply", "a * b"),
    ("nanosecond", "date_part('nanosecond', time)"),
    ("nextafter", "x * (1 + 2.3e-16), of which a DOUBLE is one or two steps away"),
    ("nfc_normalize", "the text in NFC into the records, before they are added"),
    ("none_match", "len(list_filter(list, x -> x > 1)) = 0"),
    ("parse_dirpath", "regexp_extract(path, '^(.*)/', 1)"),
    ("reduce", OF_LIST),
    ("regexp_escape", "contains(text, part), which takes no pattern"),
    ("regexp_split_to_table", "unnest(regexp_split_to_array(text, 'pattern'))"),
    ("reservoir_quantile", "approx_quantile(x, 0.5)"),
    ("right_grapheme", "right(text, n)"),
    ("round_even", EVEN),
    ("roundbankers", EVEN),
    ("row_to_json", "to_json(x)"),
    ("setseed", "ORDER BY hash(id, 7), or USING SAMPLE 10 ROWS REPEATABLE (7): the same each time"),
    ("sha1", HASH),
    ("signbit", "x < 0"),
    (
        "strip_accents",
        "translate(text, 'àáâäçèéêëîïñôöùûü', 'aaaaceeeeiinoouuu') with the letters that there are",
    ),
    ("struct_concat", NEW_STRUCT),
    ("struct_extract_at", "struct_extract(s, 'field')"),
    ("struct_insert", NEW_STRUCT),
    ("struct_keys", "json_keys(to_json(x))"),
    ("struct_update", NEW_STRUCT),
    ("substring_grapheme", "substr(text, from, length)"),
    ("subtract", "a - b"),
    ("switch", CASE),
    ("to_base", "to_hex(n) for base 16, which has four bits a digit"),
    ("try", "TRY_CAST(x AS DOUBLE) of a cast, x / nullif(y, 0) of a division"),
    ("try_strptime", "CASE WHEN text ~ '^[0-9]+-[0-9]+-[0-9]+$' THEN strptime(text, '%Y-%m-%d') END"),
    ("url_decode", URL),
    ("url_encode", URL),
    ("wavg", WEIGHTED),
    ("weighted_avg", WEIGHTED),
];

const ALL_ELEMENTS: &str = "len(list_filter(list, x -> x > 1)) = len(list)";
/// Of a column of a table, for which others have functions in FROM.
const RANGES: &str = "SELECT floor(x / 10) * 10 AS x, count(*) FROM pool GROUP BY ALL ORDER BY ALL";
const EVEN: &str = "CAST(x * 100 AS BIGINT) / 100, whose cast takes halves to the even number";
const URL: &str = "replace(text, ' ', '%20') for each character that is written otherwise in an address";
const WEIGHTED: &str = "sum(x * w) / sum(w) FILTER (WHERE x IS NOT NULL)";
const NEW_STRUCT: &str = "named_struct('a', s.a, 'b', x) with each field that the new struct is to have";
const HASH: &str = "md5(x), sha256(x), or hash(x), a number that is the same for the same values everywhere";
const OF_JSON: &str = "record->>'key' for each key, CAST(record->>'key' AS DOUBLE) where it is a number";
const NEW_JSON: &str = "json_object('a', record->>'a', 'b', x) with each key that the new object is to have";
const CASE: &str = "if(condition, a, b), or CASE WHEN condition THEN a ELSE b END";
const OF_LIST: &str =
    "list_sum(list), list_avg(list), list_min(list), list_max(list), list_product(list) or len(list)";
const SIMILARITY: &str = "1 - cosine_distance(a, b)";
/// DuckDB's `date_sub` counts whole parts, and its `date_diff` the boundaries between them.
const WHOLE: &str = "date_diff('microsecond', a, b) // 86400000000 for whole days, date_diff('day', a, b) for the days between their dates";

/// How a call of such a function is written.
pub(crate) fn written_otherwise(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    FORMS.iter().find(|(known, _)| *known == name).map(|(_, form)| format!("write {form}"))
}

/// What others have tables for, and functions in FROM, by their names in lower case.
const CATALOGS: &[(&str, &str)] = &[
    ("duckdb_columns", OF_COLUMNS),
    ("duckdb_functions", "SHOW FUNCTIONS"),
    ("duckdb_tables", OF_TABLES),
    ("duckdb_views", "SHOW VIEWS"),
    ("pg_tables", OF_TABLES),
    ("pg_views", "SHOW VIEWS"),
    ("pragma_table_info", OF_COLUMNS),
    ("sqlite_master", OF_TABLES),
    ("sqlite_schema", OF_TABLES),
];

const OF_COLUMNS: &str = "DESCRIBE pool, or FROM gstore.columns for those of all datasets";
const OF_TABLES: &str = "SHOW TABLES, or FROM gstore.datasets for the rows and columns of each dataset";

/// What is written in the place of such a table, whatever its schema.
pub(crate) fn catalog_otherwise(table: &str) -> Option<String> {
    let table = table.to_lowercase();
    let table = table.rsplit('.').next()?;
    CATALOGS.iter().find(|(known, _)| *known == table).map(|(_, form)| format!("write {form}"))
}

/// How a call is written whose function has nearly the name of such a one.
pub(crate) fn nearly_written_otherwise(name: &str) -> Option<String> {
    let is_long = |known: &&str| known.len() > 5 && !known.contains("list") && !known.starts_with("array");
    let long = FORMS.iter().map(|(known, _)| *known).filter(is_long);
    written_otherwise(nearest(name, long)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_of_others_have_a_form_here() {
        let said = |name| written_otherwise(name).unwrap_or_default();
        assert_eq!(said("SWITCH"), "write if(condition, a, b), or CASE WHEN condition THEN a ELSE b END");
        assert_eq!(nearly_written_otherwise("avrage").as_deref(), Some("write avg(x)"));
        assert_eq!(nearly_written_otherwise("fooo"), None);
        assert_eq!(said("cosine"), "write 1 - cosine_distance(a, b)");
        assert_eq!(said("cosine"), said("cosine_similarity"));
        assert_eq!(said("ARRAY"), "write (SELECT list(x) FROM t), and [a, b] for a list of values");
        assert_eq!(said("list_any"), "write len(list_filter(list, x -> x > 1)) > 0");
        assert_eq!(catalog_otherwise("pg_catalog.PG_VIEWS").as_deref(), Some("write SHOW VIEWS"));
        assert!(said("json_structure").contains("json_keys(record)"));
        let mut names: Vec<&str> = FORMS.iter().map(|(name, _)| *name).collect();
        names.dedup();
        assert!(names.is_sorted() && names.len() == FORMS.len());
    }
}
