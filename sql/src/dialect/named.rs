//! Functions that statements get from the dialect alone: the engine has them under other names, or in another form.

use super::calls::NAMES;
use super::forms;

/// Those of another form: their names, their kinds, and how they are called.
const CALLS: [(&str, &str, &str); 14] = [
    ("array_reverse_sort", SCALAR, "array_reverse_sort(list)"),
    ("array_unique", SCALAR, "array_unique(list)"),
    ("count_if", "AGGREGATE", "count_if(condition)"),
    ("dayname", SCALAR, "dayname(time)"),
    ("list_reverse_sort", SCALAR, "list_reverse_sort(list)"),
    ("list_unique", SCALAR, "list_unique(list)"),
    ("mod", SCALAR, "mod(a, b)"),
    ("monthname", SCALAR, "monthname(time)"),
    (
        "regexp_full_match",
        SCALAR,
        "regexp_full_match(text, 'pattern'), with options regexp_like(text, '^(?:pattern)$', options)",
    ),
    ("regexp_split_to_array", SCALAR, "regexp_split_to_array(text, 'pattern')"),
    ("str_split_regex", SCALAR, "str_split_regex(text, 'pattern')"),
    ("string_split_regex", SCALAR, "string_split_regex(text, 'pattern')"),
    ("unnest", SCALAR, "unnest(list)"),
    ("xor", SCALAR, "xor(a, b)"),
];

const SCALAR: &str = "SCALAR";

/// Functions of another form: their names, their kinds, and how they are called.
pub(crate) fn calls() -> impl Iterator<Item = (&'static str, &'static str, String)> {
    let calls = CALLS.into_iter().map(|(name, kind, call)| (name, kind, call.to_owned()));
    calls.chain(forms::parts_of_times().map(|part| (part, SCALAR, format!("{part}(time)"))))
}

/// Functions that the engine has under another name, with that name.
pub(crate) fn renamed() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMES.iter().copied().filter(|(name, _)| !CALLS.iter().any(|(call, ..)| call == name))
}

/// How a function of another form is called.
pub(crate) fn call_of(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    calls().find(|(known, ..)| *known == name).map(|(.., call)| call)
}
