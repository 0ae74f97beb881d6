//! Types of CSV columns: boolean, integer, float or text.

use serde_json::{Number, Value};

/// Integers up to here are exact as floats.
const EXACT: u64 = 1 << 53;

/// What every field seen so far could be. Nothing seen: anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cells {
    int: bool,
    float: bool,
    bool: bool,
}

impl Default for Cells {
    fn default() -> Self {
        Self { int: true, float: true, bool: true }
    }
}

impl Cells {
    /// Whether the fields have nothing in common but that they are text.
    pub(super) fn is_text(self) -> bool {
        !(self.int || self.float || self.bool)
    }

    /// Takes a field into account; an empty one says nothing.
    pub(super) fn see(&mut self, field: &[u8]) {
        if field.is_empty() || self.is_text() {
            return;
        }
        let text = std::str::from_utf8(field).unwrap_or("?");
        let int = int(text);
        self.int &= int.is_some();
        self.float &= match int {
            Some(int) => int.unsigned_abs() <= EXACT,
            None => float(text).is_some(),
        };
        self.bool &= boolean(text).is_some();
    }
}

/// The value of a field that is not empty, in a column of such fields.
pub(super) fn cell_value(field: &str, cells: Cells) -> Value {
    let int_as_float = || Some(int(field)? as f64);
    let number = || float(field).or_else(int_as_float).and_then(Number::from_f64).map(Value::from);
    let int = if cells.int { int(field).map(Value::from) } else { None };
    let float = || if cells.float { number() } else { None };
    let boolean = || if cells.bool { boolean(field).map(Value::from) } else { None };
    int.or_else(float).or_else(boolean).unwrap_or_else(|| field.into())
}

/// The value of a field that is not empty, in a column that is said to be text: a number or bool only where
/// that is written like the field, so that the text of the value is the field.
pub(super) fn text_value(field: &str) -> Value {
    let value = cell_value(field, Cells::default());
    let written = value.to_string();
    if written == field { value } else { field.into() }
}

/// An integer written as numbers are: no sign but minus, no zeros in front. `-0` is 0.
fn int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.bytes().all(|b| b.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// A number with a fraction or an exponent. Before the point or behind it there may be no digits.
fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let mantissa = digits.split(['e', 'E']).next().unwrap_or(digits);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let is_padded = whole != "0" && whole.starts_with('0');
    let sound = plain(whole) && plain(fraction) && !is_padded && !matches!(mantissa, "" | ".");
    if !sound || mantissa == digits && !digits.contains('.') {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn column(fields: &[&str]) -> Vec<Value> {
        let mut cells = Cells::default();
        fields.iter().for_each(|field| cells.see(field.as_bytes()));
        fields.iter().filter(|field| !field.is_empty()).map(|field| cell_value(field, cells)).collect()
    }

    #[test]
    fn a_column_has_the_type_of_all_its_fields() {
        assert_eq!(column(&["1", "", "-20", "0"]), [json!(1), json!(-20), json!(0)]);
        assert_eq!(column(&["1", "2.50", "1e3"]), [json!(1.0), json!(2.5), json!(1000.0)]);
        assert_eq!(column(&[".5", "-.25", "5.", "1"]), [json!(0.5), json!(-0.25), json!(5.0), json!(1.0)]);
        assert_eq!(column(&[".5e1", "-0.0", "1E+5"]), [json!(5.0), json!(-0.0), json!(1e5)]);
        assert_eq!(
            [column(&["1", "-0"]), column(&["0.5", "-0"])],
            [[json!(1), json!(0)], [json!(0.5), json!(0.0)]]
        );
        assert_eq!(column(&["True", "false"]), [json!(true), json!(false)]);
        assert_eq!(column(&["1984", "Dune"]), [json!("1984"), json!("Dune")]);
        assert_eq!(column(&["true", "1"]), [json!("true"), json!("1")]);
    }

    /// Of a column that is said to be of another type.
    #[test]
    fn each_field_is_what_it_is_by_itself() {
        let by_itself = |field| cell_value(field, Cells::default());
        assert_eq!(["5", "2.5", "True"].map(by_itself), [json!(5), json!(2.5), json!(true)]);
        assert_eq!([".5", "-.5", "-0"].map(by_itself), [json!(0.5), json!(-0.5), json!(0)]);
        for text in ["n/a", "007", "+1", "+.5", "1e999", "18446744073709551615"] {
            assert_eq!(by_itself(text), json!(text));
        }
    }

    #[test]
    fn a_field_of_a_text_column_keeps_its_text() {
        for text in ["1.10", ".5", "5.", "+5", "-0", "1e5", "1.0E2", "True", "FALSE", "007", "\"5\"", "n/a"] {
            assert_eq!(text_value(text), json!(text));
        }
        // As such fields were stored when all numbers of text columns were numbers.
        assert_eq!(["5", "-20", "2.5"].map(text_value), [json!(5), json!(-20), json!(2.5)]);
        assert_eq!(["2.0", "-0.0", "true"].map(text_value), [json!(2.0), json!(-0.0), json!(true)]);
    }

    #[test]
    fn what_would_not_read_back_is_text() {
        for fields in [
            &["007"][..],
            &["1", "007"],
            &["+1"],
            &["+.5"],
            &["-007"],
            &["00.5"],
            &["18446744073709551615"],
            &["9007199254740993", "0.5"],
            &["1e999"],
            &["nan"],
            &["inf"],
            &["."],
            &["-."],
            &[".e1"],
            &["1 "],
        ] {
            let want: Vec<Value> = fields.iter().map(|field| json!(field)).collect();
            assert_eq!(column(fields), want);
        }
        assert_eq!(column(&["9223372036854775807"]), [json!(i64::MAX)]);
    }
}
