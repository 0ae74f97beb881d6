//! `regexp_extract_all(text, pattern, group)`: the list of all matches of a pattern, or of one group in each;
//! `regexp_extract(..)`: the first.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;
use gstore_core::shortened;
use regex::Regex;

use super::columnar::checked;
use super::types::is_text;
use crate::error::FunctionError;

/// Most characters of a pattern in a message.
const SAID: usize = 100;
/// Most patterns of a batch of rows that are kept compiled.
const KEPT: usize = 16;

pub(super) fn functions() -> [ScalarUDF; 2] {
    let list = DataType::new_list(DataType::Utf8, true);
    [
        checked("regexp_extract_all", coerced, list, |arrays| matched(arrays, all_matches)),
        checked("regexp_extract", coerced, DataType::Utf8, |arrays| matched(arrays, first)),
    ]
}

fn coerced(name: &str, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let text = |ty: &DataType| is_text(ty) || ty.is_null();
    match types {
        [of, pattern] if text(of) && text(pattern) => Ok(vec![DataType::Utf8; 2]),
        [of, pattern, group] if text(of) && text(pattern) && (group.is_integer() || group.is_null()) => {
            Ok(vec![DataType::Utf8, DataType::Utf8, DataType::Int64])
        }
        _ => {
            let why = format!(
                "{name}() is called as {name}(text, 'pattern'), or with the number of a group after that"
            );
            let error = FunctionError::invalid(why);
            Err(match types {
                [_, _, DataType::List(_)] => error.hint(
                    "each group has a call: {'a': regexp_extract(text, 'pattern', 1), 'b': regexp_extract(text, \
                     'pattern', 2)}",
                ),
                [_, _, _, _, ..] => error.hint("'(?i)pattern' matches whatever the case of letters"),
                _ => error,
            }
            .into())
        }
    }
}

/// What is found of texts, patterns and numbers of groups.
type Found = fn(&StringArray, &StringArray, &Int64Array) -> Result<ArrayRef, FunctionError>;

fn matched(arrays: &[ArrayRef], found: Found) -> DfResult<ArrayRef> {
    let text = |place: usize| arrays.get(place).and_then(|array| array.as_string_opt::<i32>());
    let no_types = || FunctionError::internal("types of a pattern's matches");
    let (texts, patterns) = text(0).zip(text(1)).ok_or_else(no_types)?;
    let groups = match arrays.get(2) {
        None => Some(Int64Array::from(vec![0; texts.len()])),
        Some(groups) => groups.as_primitive_opt::<Int64Type>().cloned(),
    };
    Ok(found(texts, patterns, &groups.ok_or_else(no_types)?)?)
}

/// The patterns of a batch of rows that were compiled last.
#[derive(Default)]
struct CompiledPatterns<'a>(HashMap<&'a str, Regex>);

impl<'a> CompiledPatterns<'a> {
    fn regex(&mut self, pattern: &'a str) -> Result<&Regex, FunctionError> {
        if self.0.len() == KEPT && !self.0.contains_key(pattern) {
            self.0.clear();
        }
        Ok(match self.0.entry(pattern) {
            Entry::Occupied(found) => found.into_mut(),
            Entry::Vacant(free) => free.insert(compile(pattern)?),
        })
    }
}

fn all_matches(
    texts: &StringArray,
    patterns: &StringArray,
    groups: &Int64Array,
) -> Result<ArrayRef, FunctionError> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut known = CompiledPatterns::default();
    for ((text, pattern), group) in texts.iter().zip(patterns).zip(groups) {
        let (Some(text), Some(pattern), Some(group)) = (text, pattern, group) else {
            lists.append(false);
            continue;
        };
        let regex = known.regex(pattern)?;
        let groups = regex.captures_len();
        let place = usize::try_from(group).ok().filter(|place| *place < groups);
        match place.ok_or_else(|| no_group(group, groups - 1))? {
            0 => regex.find_iter(text).for_each(|found| lists.values().append_value(found.as_str())),
            place => {
                for found in regex.captures_iter(text) {
                    lists.values().append_option(found.get(place).map(|group| group.as_str()));
                }
            }
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

/// Empty without a match, and where the group has no part in it or is none of the pattern's, as in DuckDB.
fn first(
    texts: &StringArray,
    patterns: &StringArray,
    groups: &Int64Array,
) -> Result<ArrayRef, FunctionError> {
    let mut found = StringBuilder::new();
    let mut known = CompiledPatterns::default();
    for ((text, pattern), group) in texts.iter().zip(patterns).zip(groups) {
        let (Some(text), Some(pattern)) = (text, pattern) else {
            found.append_null();
            continue;
        };
        let regex = known.regex(pattern)?;
        let group = match group.map(usize::try_from) {
            None => None,
            Some(Ok(0)) => regex.find(text),
            Some(Ok(group)) => regex.captures(text).and_then(|captures| captures.get(group)),
            Some(Err(_)) => return Err(no_group(group.unwrap_or_default(), regex.captures_len() - 1)),
        };
        found.append_value(group.map_or("", |group| group.as_str()));
    }
    Ok(Arc::new(found.finish()))
}

fn compile(pattern: &str) -> Result<Regex, FunctionError> {
    Regex::new(pattern).map_err(|error| {
        // The lines before the last show the place in the pattern.
        let error = error.to_string();
        let why = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
        let pattern_said = shortened(pattern, SAID);
        let error = FunctionError::invalid(format!("'{pattern_said}' is not a regular expression: {why}"));
        match pattern.starts_with(['*', '?']) {
            true => error.hint("any number of any characters is written .*"),
            false => error,
        }
    })
}

fn no_group(group: i64, groups: usize) -> FunctionError {
    FunctionError::invalid(format!("the pattern has no group {group}"))
        .hint(format!("0 is the whole match, and it has {groups} of its own"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_has_the_matches_of_its_pattern() {
        let texts = StringArray::from(vec![Some("a1b22"), Some("ab"), None, Some("x"), Some("xay")]);
        let patterns =
            StringArray::from(vec![Some("[0-9]+"), Some("(a)|b"), Some("a"), Some("q"), Some("q*")]);
        let found = all_matches(&texts, &patterns, &Int64Array::from(vec![0, 1, 0, 0, 0])).unwrap();
        let lists = found.as_list::<i32>();
        let list = |row: usize| {
            let values = lists.value(row);
            let values = values.as_string::<i32>();
            values.iter().map(|value| value.map(str::to_owned)).collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(list(0), [some("1"), some("22")]);
        assert_eq!(list(1), [some("a"), None]);
        assert!(lists.is_null(2) && !lists.is_null(3));
        assert!(list(3).is_empty());
        assert_eq!(list(4), [some(""), some(""), some(""), some("")]);
    }

    #[test]
    fn the_first_match_of_nothing_is_nothing_and_without_one_empty() {
        let texts = StringArray::from(vec![Some("a1b22"), Some("b"), Some("b"), None, Some("x"), Some("x")]);
        let patterns = ["[0-9]+", "(a)|(b)", "(a)|(b)", "a", "a", "(x)"].map(Some).to_vec();
        let groups = Int64Array::from(vec![0, 2, 1, 0, 0, 2]);
        let found = first(&texts, &StringArray::from(patterns), &groups).unwrap();
        let found: Vec<_> = found.as_string::<i32>().iter().collect();
        assert_eq!(found, [Some("1"), Some("b"), Some(""), None, Some(""), Some("")]);
    }

    #[test]
    fn a_group_that_is_none_is_refused() {
        let text = StringArray::from(vec!["a"]);
        for (pattern, group) in [("(a)", 2), ("a", -1), ("(", 0)] {
            let pattern = StringArray::from(vec![pattern]);
            assert!(all_matches(&text, &pattern, &Int64Array::from(vec![group])).is_err(), "{pattern:?}");
        }
    }
}
