//! Functions of other databases that have another form here.

use gstore_query::hint::nearest;

/// Their names in lower case, and what is written in their place.
const FORMS: &[(&str, &str)] = &[
    ("average", "avg(x)"),
    ("date_format", TO_CHAR),
    ("format", TEXT),
    ("if", CASE),
    ("iff", CASE),
    ("iif", CASE),
    ("list_aggregate", OF_LIST),
    ("list_avg", OF_LIST),
    ("list_max", OF_LIST),
    ("list_min", OF_LIST),
    ("list_sum", OF_LIST),
    ("printf", TEXT),
    ("strftime", TO_CHAR),
    ("strptime", "to_timestamp(text, '%Y-%m-%d')"),
    ("struct_pack", "named_struct('a', 1, 'b', 2)"),
];

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
