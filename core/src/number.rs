//! Integers as floating-point numbers, and these as texts.

/// An integer as a float, if the float is exactly the integer.
pub fn exact_float(integer: i64) -> Option<f64> {
    let float = integer as f64;
    (float as i128 == i128::from(integer)).then_some(float)
}

/// A number as a person would write it: with an exponent where its digits would be many.
pub fn written_number(number: f64) -> String {
    let has_few_digits = number == 0.0 || (1e-6..1e15).contains(&number.abs());
    if has_few_digits || !number.is_finite() { number.to_string() } else { format!("{number:e}") }
}

#[cfg(test)]
mod tests {
    use super::{exact_float, written_number};

    #[test]
    fn numbers_of_many_digits_have_an_exponent() {
        let numbers = [0.0, 1.0, -0.25, 1e-6, 1e14, 1e-7, 1e15, -1e38, 1e-300, 1e-320, f64::INFINITY];
        let written = [
            "0",
            "1",
            "-0.25",
            "0.000001",
            "100000000000000",
            "1e-7",
            "1e15",
            "-1e38",
            "1e-300",
            "1e-320",
            "inf",
        ];
        assert_eq!(numbers.map(written_number), written);
    }

    #[test]
    fn rounded_integers_are_no_floats() {
        let largest = 1 << 53;
        assert_eq!(
            [largest, -largest, 0].map(exact_float),
            [Some(largest as f64), Some(-largest as f64), Some(0.0)]
        );
        assert_eq!(exact_float(largest + 2), Some((largest + 2) as f64));
        assert_eq!([largest + 1, -largest - 1, i64::MAX].map(exact_float), [None; 3]);
        assert!(exact_float(i64::MIN).is_some());
    }
}
