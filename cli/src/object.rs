//! Objects of JSON whose keys are names of variables.

/// `object!(rows, total_steps: steps)` has the keys `rows` and `total_steps`, with the values of `rows` and
/// `steps`.
macro_rules! object {
    (@value $name:ident) => { $name };
    (@value $name:ident $value:expr) => { $value };
    ($($name:ident $(: $value:expr)?),+ $(,)?) => {
        ::serde_json::json!({ $((stringify!($name)): $crate::object::object!(@value $name $($value)?)),+ })
    };
}
pub(crate) use object;

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn keys_are_names() {
        let (rows, steps) = (3, "four");
        assert_eq!(
            object!(rows, total: steps, half: rows as f64 / 2.0),
            json!({ "rows": 3, "total": "four", "half": 1.5 })
        );
    }
}
