//! Functions that the dialect rewrites: the engine has them under other names, or in another form.

use super::shorthand::SHORTHANDS;

/// Names of other databases, and those of the same functions here.
pub(crate) const RENAMED: &[(&str, &str)] = &[
    ("approx_count_distinct", "approx_distinct"),
    ("approx_quantile", "approx_percentile_cont"),
    ("arbitrary", "any_value"),
    ("array_apply", "array_transform"),
    ("array_cosine_distance", "cosine_distance"),
    ("array_dot_product", "inner_product"),
    ("array_inner_product", "inner_product"),
    ("array_value", "make_array"),
    ("array_zip", "arrays_zip"),
    ("ceiling", "ceil"),
    ("countif", "count_if"),
    ("editdist3", "levenshtein"),
    ("favg", "avg"),
    ("first", "first_value"),
    ("fsum", "sum"),
    ("get_current_timestamp", "now"),
    ("greatest_common_divisor", "gcd"),
    ("group_concat", "string_agg"),
    ("grouping_id", "grouping"),
    ("ifnull", "coalesce"),
    ("json_extract_path_string", "json_extract_string"),
    ("kahan_sum", "sum"),
    ("last", "last_value"),
    ("lcase", "lower"),
    ("least_common_multiple", "lcm"),
    ("length_grapheme", "length"),
    ("list", "array_agg"),
    ("list_apply", "array_transform"),
    ("list_cosine_distance", "cosine_distance"),
    ("list_dot_product", "inner_product"),
    ("list_filter", "array_filter"),
    ("list_inner_product", "inner_product"),
    ("list_max", "array_max"),
    ("list_min", "array_min"),
    ("list_pack", "make_array"),
    ("list_transform", "array_transform"),
    ("list_value", "make_array"),
    ("listagg", "string_agg"),
    ("ord", "ascii"),
    ("pg_typeof", "typeof"),
    ("prefix", "starts_with"),
    ("quantile", "percentile_cont"),
    ("regexp_matches", "regexp_like"),
    ("sign", "signum"),
    ("split", "string_to_array"),
    ("str_split", "string_to_array"),
    ("string_split", "string_to_array"),
    ("strlen", "octet_length"),
    ("struct_extract", "get_field"),
    ("suffix", "ends_with"),
    ("sum_no_overflow", "sum"),
    ("sumkahan", "sum"),
    ("transaction_timestamp", "now"),
    ("ucase", "upper"),
    ("unicode", "ascii"),
    ("variance", "var"),
];

/// Functions of a time, and the parts of it that they give.
pub(crate) const PARTS: &[(&str, &str)] = &[
    ("day", "day"),
    ("dayofmonth", "day"),
    ("dayofweek", "dow"),
    ("dayofyear", "doy"),
    ("epoch", "epoch"),
    ("hour", "hour"),
    ("isodow", "isodow"),
    ("isoyear", "isoyear"),
    ("microsecond", "microsecond"),
    ("millisecond", "millisecond"),
    ("minute", "minute"),
    ("month", "month"),
    ("quarter", "quarter"),
    ("second", "second"),
    ("week", "week"),
    ("weekday", "dow"),
    ("weekofyear", "week"),
    ("year", "year"),
];

/// Those of another form: their names, their kinds, and how they are called.
const CALLS: [(&str, &str, &str); 34] = [
    ("apply", SCALAR, TRANSFORM),
    ("array_aggr", SCALAR, OF_ELEMENTS),
    ("array_aggregate", SCALAR, OF_ELEMENTS),
    ("array_apply", SCALAR, TRANSFORM),
    ("array_filter", SCALAR, FILTER),
    ("array_reverse_sort", SCALAR, "array_reverse_sort(list)"),
    ("array_transform", SCALAR, TRANSFORM),
    ("array_unique", SCALAR, "array_unique(list)"),
    ("count_if", "AGGREGATE", "count_if(condition)"),
    ("date", SCALAR, "date(time)"),
    ("dayname", SCALAR, "dayname(time)"),
    ("filter", SCALAR, FILTER),
    ("if", SCALAR, "if(condition, a, b)"),
    ("list_aggr", SCALAR, OF_ELEMENTS),
    ("list_aggregate", SCALAR, OF_ELEMENTS),
    ("list_apply", SCALAR, TRANSFORM),
    ("list_filter", SCALAR, FILTER),
    ("list_reverse_sort", SCALAR, "list_reverse_sort(list)"),
    ("list_string_agg", SCALAR, "list_string_agg(list)"),
    ("list_transform", SCALAR, TRANSFORM),
    ("list_unique", SCALAR, "list_unique(list)"),
    ("mod", SCALAR, "mod(a, b)"),
    ("monthname", SCALAR, "monthname(time)"),
    (
        "percentile_disc",
        "AGGREGATE",
        "percentile_disc(0.5) WITHIN GROUP (ORDER BY x), with a number from 0 to 1",
    ),
    ("quantile_disc", "AGGREGATE", "quantile_disc(x, 0.5), with a number from 0 to 1"),
    (
        "regexp_full_match",
        SCALAR,
        "regexp_full_match(text, 'pattern'), with options regexp_like(text, '^(?:pattern)$', options)",
    ),
    ("regexp_split_to_array", SCALAR, "regexp_split_to_array(text, 'pattern')"),
    ("str_split_regex", SCALAR, "str_split_regex(text, 'pattern')"),
    ("strftime", SCALAR, "strftime(time, '%Y-%m-%d'), with the format as it is"),
    ("string_split_regex", SCALAR, "string_split_regex(text, 'pattern')"),
    ("struct_pack", SCALAR, "struct_pack(a := 1, b := 2)"),
    ("time_bucket", SCALAR, "time_bucket(INTERVAL '1 hour', time)"),
    ("unnest", SCALAR, "unnest(list)"),
    ("xor", SCALAR, "xor(a, b)"),
];

const SCALAR: &str = "SCALAR";
const OF_ELEMENTS: &str = "list_aggregate(list, 'sum'), or with avg, min, max, product, count, string_agg, first, last, median, mode, stddev_pop and the like in the place of sum";
const TRANSFORM: &str = "list_transform(list, x -> x + 1)";
const FILTER: &str = "list_filter(list, x -> x > 1)";

/// Functions of another form: their names, their kinds, and how they are called.
pub(crate) fn calls() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let calls = CALLS.into_iter().map(|(name, kind, call)| (name, kind, call.to_owned()));
    let short = SHORTHANDS.iter().map(|(name, call, _)| (*name, SCALAR, (*call).to_owned()));
    calls.chain(short).chain(PARTS.iter().map(|(part, _)| (*part, SCALAR, format!("{part}(time)"))))
}

/// Functions that the engine has under another name, with that name.
pub(crate) fn renamed() -> impl Iterator<Item = (&'static str, &'static str)> {
    RENAMED.iter().copied().filter(|(name, _)| !CALLS.iter().any(|(call, ..)| call == name))
}

/// How a function of another form is called.
pub(crate) fn call_of(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    calls().find(|(known, ..)| *known == name).map(|(.., call)| call)
}
