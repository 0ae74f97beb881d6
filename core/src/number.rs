//! Integers as floating-point numbers.

/// An integer as a float, if the float is exactly the integer.
pub fn exact_float(integer: i64) -> Option<f64> {
    let float = integer as f64;
    (float as i128 == i128::from(integer)).then_some(float)
}

#[cfg(test)]
mod tests {
    use super::exact_float;

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
