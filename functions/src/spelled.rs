//! Texts of times, intervals and lists as in DuckDB: `[a, NULL, '', 'b,c']`, quoted where needed.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_cast::CastOptions;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;

use super::spans::{self, is_span};
use super::types::is_binary;
use crate::error::FunctionError;

/// Signs that have a meaning in such a text.
const SIGNS: [char; 12] = ['\'', '"', ',', '[', ']', '{', '}', '(', ')', '=', ':', '\\'];

/// Whether a type is of lists that are written here: not of structs and maps.
pub(super) fn is_list(ty: &DataType) -> bool {
    item(ty).is_some_and(|item| match item.data_type() {
        DataType::Struct(_) | DataType::Map(..) => false,
        of => self::item(of).is_none() || is_list(of),
    })
}

/// An element of a list, as a field.
pub(super) fn item(ty: &DataType) -> Option<&FieldRef> {
    match ty {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

/// The type of the elements of a list, or of lists in it; any other type itself.
pub(super) fn innermost(of: &DataType) -> &DataType {
    item(of).map_or(of, |item| innermost(item.data_type()))
}

/// The texts of what the engine writes in another way: times, spans of time and lists; and those that bytes
/// are. For bytes that are none, and lists with such, they are NULL if the cast is `safe`, and else an error.
pub(super) fn texts(values: &ArrayRef, safe: bool) -> DfResult<Option<StringArray>> {
    Ok(match values.data_type() {
        of if is_span(of) => Some(spans::texts(values)?),
        of if is_list(of) => Some(of_lists(values, safe)?),
        of if is_binary(of) => Some(of_bytes(values, safe)?),
        DataType::Timestamp(..) => {
            let times = arrow_cast::cast(values, &DataType::Utf8)?;
            let times =
                times.as_string_opt::<i32>().ok_or_else(|| FunctionError::internal("type of a time"))?;
            Some(times.iter().map(|time| time.map(usual)).collect())
        }
        _ => None,
    })
}

/// A time in the manner of DuckDB: `2024-05-29T10:46:11.500` as `2024-05-29 10:46:11.5`. Its fraction has up
/// to nine digits, where DuckDB's TIMESTAMP has six.
fn usual(time: &str) -> String {
    let blank = time.replacen('T', " ", 1);
    let (time, zone) = match blank.strip_suffix('Z') {
        Some(time) => (time, "+00"),
        None => (blank.as_str(), ""),
    };
    let time = match time.rsplit_once('.') {
        Some((_, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
            time.trim_end_matches('0').trim_end_matches('.')
        }
        _ => time,
    };
    format!("{time}{zone}")
}

fn of_bytes(bytes: &ArrayRef, safe: bool) -> DfResult<StringArray> {
    let bytes = arrow_cast::cast(bytes, &DataType::Binary)?;
    let options = CastOptions { safe, ..CastOptions::default() };
    let texts = arrow_cast::cast_with_options(&bytes, &DataType::Utf8, &options)?;
    let texts = texts.as_string_opt::<i32>().cloned();
    Ok(texts.ok_or_else(|| FunctionError::internal("type of a text"))?)
}

fn of_lists(lists: &ArrayRef, safe: bool) -> DfResult<StringArray> {
    let no_list = || FunctionError::internal("type of a list");
    let item = item(lists.data_type()).ok_or_else(no_list)?;
    let lists = arrow_cast::cast(lists, &DataType::List(Arc::clone(item)))?;
    let each = lists.as_list_opt::<i32>().ok_or_else(no_list)?.iter();
    let text = |list: Option<ArrayRef>| -> DfResult<Option<String>> {
        let Some(list) = list else { return Ok(None) };
        Ok(elements(&list, safe)?.map(|elements| format!("[{}]", elements.join(", "))))
    };
    each.map(text).collect()
}

/// The texts of the elements of a list; `None` where one of them has none.
fn elements(values: &ArrayRef, safe: bool) -> DfResult<Option<Vec<String>>> {
    let is_nested = is_list(values.data_type());
    let quoted = |text: &str| if is_nested { text.to_owned() } else { quoted(text) };
    if let Some(texts) = texts(values, safe)? {
        let has_all = texts.null_count() == values.null_count();
        let texts = texts.iter().map(|text| text.map_or_else(|| "NULL".to_owned(), quoted));
        return Ok(has_all.then(|| texts.collect()));
    }
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(values, &options)?;
    let text = |row: usize| -> DfResult<String> {
        if values.is_null(row) || values.data_type().is_null() {
            return Ok("NULL".to_owned());
        }
        Ok(quoted(&formatter.value(row).try_to_string()?))
    };
    (0..values.len()).map(text).collect::<DfResult<_>>().map(Some)
}

/// A text as an element of a list.
fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty()
        && text.trim() == text
        && !text.contains(SIGNS)
        && !text.eq_ignore_ascii_case("null");
    match is_plain {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_blank_and_no_zeros_behind() {
        for (engine, written) in [
            ("2024-05-29T10:46:11", "2024-05-29 10:46:11"),
            ("2024-05-29T10:46:10.500", "2024-05-29 10:46:10.5"),
            ("2024-05-29T10:46:10.120Z", "2024-05-29 10:46:10.12+00"),
            ("2024-05-29T10:46:10.500+01:00", "2024-05-29 10:46:10.500+01:00"),
        ] {
            assert_eq!(usual(engine), written);
        }
    }
}
