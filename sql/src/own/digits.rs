//! Types of columns whose numbers would lose digits.

use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_schema::{DataType, FieldRef};

use crate::types::field_with_leaves;

/// Integers up to here are exact as floats.
const EXACT: u64 = 1 << 53;

/// Whether a number has zeros in front, which would be lost.
pub(super) fn is_padded(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.strip_prefix('0').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether an integer has more digits than a float, or a number is beyond all of them.
pub(super) fn is_cut(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // The words for infinite numbers have no digits.
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if is_number && digits.parse::<f64>().is_ok_and(f64::is_infinite) {
        return true;
    }
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    whole && digits.parse::<u64>().map_or(true, |number| number > EXACT)
}

/// What the texts of a column are, as far as they were seen.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NumberTexts {
    /// Whether one has digits.
    digits: bool,
    /// Whether one is no number.
    pub(super) other: bool,
}

impl NumberTexts {
    pub(super) fn see<'a>(&mut self, mut texts: impl Iterator<Item = &'a str>) {
        self.other = self.other
            || texts.any(|text| {
                let number = text.strip_prefix('-').unwrap_or(text);
                let begins = number.starts_with(|c: char| c.is_ascii_digit() || c == '.');
                self.digits |= begins;
                let word = ["nan", "inf", "infinity"].iter().any(|word| number.eq_ignore_ascii_case(word));
                !(word || begins && number.parse::<f64>().is_ok())
            });
    }

    /// Whether all are numbers, and not words alone.
    pub(super) fn are_all(self) -> bool {
        self.digits && !self.other
    }
}

/// A column with texts in place of floats, also of those within lists and structs.
pub(super) fn as_text(field: &FieldRef) -> FieldRef {
    field_with_leaves(field, |leaf| match leaf {
        DataType::Float64 => DataType::Utf8,
        other => other.clone(),
    })
}

/// A column with texts in place of those floats that would lose digits, by some of its values as
/// [`as_text`] has them.
pub(super) fn as_exact(field: &FieldRef, values: &dyn Array) -> FieldRef {
    let exact = match field.data_type() {
        DataType::Float64 if values.as_string::<i32>().iter().flatten().any(is_cut) => DataType::Utf8,
        DataType::List(item) => DataType::List(as_exact(item, values.as_list::<i32>().values())),
        DataType::Struct(fields) => {
            let columns = values.as_struct().columns();
            let exact = fields.iter().zip(columns).map(|(field, column)| as_exact(field, column));
            DataType::Struct(exact.collect())
        }
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(exact))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow_array::{ArrayRef, StringArray, StructArray};
    use arrow_schema::Field;

    #[test]
    fn a_float_has_fifteen_digits() {
        for cut in [
            "9007199254740993",
            "-9007199254740993",
            "12345678901234567890",
            "18446744073709551616",
            "1e400",
            "-.5E309",
        ] {
            assert!(is_cut(cut), "{cut}");
        }
        for kept in
            ["9007199254740992", "-1", "0", "1e300", "0.12345678901234567890", "", "-", "-inf", "1e-400"]
        {
            assert!(!is_cut(kept), "{kept}");
        }
    }

    #[test]
    fn infinite_and_no_numbers_are_numbers_beside_others() {
        let all = |texts: &[&str]| {
            let mut numbers = NumberTexts::default();
            numbers.see(texts.iter().copied());
            numbers.are_all()
        };
        assert!(all(&[".5", "1e3", "-Inf", "NAN", "Infinity", "-2"]));
        assert!(!all(&["nan", "inf"]));
        assert!(!all(&["1", "infinite"]) && !all(&["1", "+x"]) && !all(&["1.2.3"]) && !all(&[]));
    }

    #[test]
    fn what_is_within_a_column_is_looked_at() {
        let float = |name: &str| Arc::new(Field::new(name, DataType::Float64, true));
        let text = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
        let pair = |a: FieldRef, b: FieldRef| -> FieldRef {
            Arc::new(Field::new("pair", DataType::Struct([a, b].into_iter().collect()), true))
        };
        let found = pair(float("a"), float("b"));
        assert_eq!(as_text(&found), pair(text("a"), text("b")));
        let written = |value: &str| -> ArrayRef { Arc::new(StringArray::from(vec![value])) };
        let values =
            StructArray::from(vec![(text("a"), written("0.5")), (text("b"), written("9007199254740993"))]);
        assert_eq!(as_exact(&found, &values), pair(float("a"), text("b")));
    }
}
