//! Types in the messages of the engine, under their names in SQL.

use arrow_schema::DataType;

use super::name;

/// Names of types in messages, but for those that are words of other meanings too.
const NAMES: [&str; 31] = [
    "Boolean",
    "Date32",
    "Date64",
    "Decimal128",
    "Decimal256",
    "Decimal32",
    "Decimal64",
    "Dictionary",
    "Duration",
    "FixedSizeList",
    "Float16",
    "Float32",
    "Float64",
    "Int16",
    "Int32",
    "Int64",
    "Int8",
    "Interval",
    "LargeList",
    "LargeUtf8",
    "List",
    "Map",
    "Struct",
    "Time32",
    "Time64",
    "Timestamp",
    "UInt16",
    "UInt32",
    "UInt64",
    "UInt8",
    "Utf8",
];

/// A message with types and values as they are in SQL: `Utf8 + Int64(1)` is `VARCHAR + 1`. What stands in
/// quotes is left as it is.
pub fn in_sql(message: &str) -> String {
    let mut said = String::with_capacity(message.len());
    let mut rest = message;
    let mut is_quoted = false;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (word, after) = rest.split_at(length.max(first.len_utf8()));
        rest = after;
        is_quoted ^= first == '`';
        if is_quoted || said.ends_with(['\'', '"', '.']) || !is_name(word) {
            said.push_str(word);
            continue;
        }
        let (brackets, behind) = bracketed(after).unwrap_or(("", after));
        if let Ok(ty) = format!("{word}{brackets}").parse::<DataType>() {
            said.push_str(&name(&ty));
            rest = behind;
        } else if let Ok(ty) = word.parse::<DataType>() {
            match value(brackets) {
                Some(value) => {
                    said.push_str(&value);
                    rest = behind;
                }
                None => said.push_str(&name(&ty)),
            }
        } else {
            said.push_str(word);
        }
    }
    said
}

fn is_name(word: &str) -> bool {
    word == "Utf8View" || NAMES.contains(&word)
}

/// The brackets at the beginning of a text with what is in them, and what is behind them.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_usize;
    for (place, sign) in text.char_indices() {
        match sign {
            '(' => depth += 1,
            _ if depth == 0 => return None,
            ')' if depth == 1 => return Some(text.split_at(place + 1)),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A written value, by the brackets that the engine puts it into behind its type.
fn value(brackets: &str) -> Option<String> {
    let value = brackets.strip_prefix('(')?.strip_suffix(')').filter(|value| !value.is_empty())?;
    let text = value.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    Some(text.map_or_else(|| value.to_owned(), |text| format!("'{text}'")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_messages_are_those_of_sql() {
        for (message, said) in [
            ("types: Utf8 + Interval(MonthDayNano)", "types: VARCHAR + INTERVAL"),
            ("f(List(Float64), Utf8View) (line 1)", "f(DOUBLE[], VARCHAR) (line 1)"),
            ("from Struct(\"a\": Int64) to Utf8", "from STRUCT(a BIGINT) to VARCHAR"),
            ("Decimal128(22, 2) and Utf8 in LIKE", "DECIMAL(22,2) and VARCHAR in LIKE"),
            ("string_agg(t.g, Utf8(\",\")) > Int64(1)", "string_agg(t.g, ',') > 1"),
            ("Timestamp(ns) = Boolean", "TIMESTAMP = BOOLEAN"),
            (
                "no column `Utf8 or Int64` of 'Date32', t.Utf8",
                "no column `Utf8 or Int64` of 'Date32', t.Utf8",
            ),
            ("Interval, List and Utf8(", "Interval, List and VARCHAR("),
            ("größer Utf8ß", "größer Utf8ß"),
        ] {
            assert_eq!(in_sql(message), said);
        }
    }
}
