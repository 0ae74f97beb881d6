//! Number of rows that a top such as `5%` or `500` asks for.

use gstore_core::many;

use crate::error::QueryError;

/// The k of `"5%"` (of the live rows) or `"500"`.
///
/// A percentage is divided by 100 and then multiplied in float64 and truncated, as LESS does: 5 % of 270,679
/// is 13,533 and 29 % of 100 is 28. One that is less than a row is refused, unless there is no row at all.
pub fn resolve_top(spec: &str, live: u64) -> Result<usize, QueryError> {
    let wrong = |why: &str| QueryError::Top { given: spec.to_owned(), why: why.to_owned() };
    let text = spec.trim();
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| wrong("the percentage is not a number"))?;
        if !(percent > 0.0 && percent <= 100.0) {
            return Err(wrong("a percentage must be above 0 and at most 100"));
        }
        let k = (percent / 100.0 * live as f64) as usize;
        return match (k, live) {
            (0, 1..) => Err(wrong(&format!("of {} that is less than one", many(live, "row")))),
            _ => Ok(k),
        };
    }
    let k: usize = text.parse().map_err(|_| wrong("it is neither a number of rows nor a percentage"))?;
    if k == 0 { Err(wrong("it asks for no rows")) } else { Ok(k) }
}

/// The k of a percentage of so many rows, such as those of another dataset; a number is a share of nothing.
///
/// # Errors
/// As [`resolve_top`], and a number of rows.
pub fn resolve_share(spec: &str, rows: u64) -> Result<usize, QueryError> {
    if !spec.trim_end().ends_with('%') {
        let why = "only a percentage can be of another dataset's rows".to_owned();
        return Err(QueryError::Top { given: spec.to_owned(), why });
    }
    resolve_top(spec, rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage() {
        assert_eq!(resolve_share("5 % ", 4480).unwrap(), 224);
        for wrong in ["224", "", "0%", "five"] {
            assert!(resolve_share(wrong, 4480).is_err(), "{wrong}");
        }
    }

    #[test]
    fn percentages_truncate_as_less_does() {
        assert_eq!(resolve_top("5%", 270_679).unwrap(), 13_533);
        assert_eq!(resolve_top("29%", 100).unwrap(), 28);
        assert_eq!(resolve_top("67 %", 3).unwrap(), 2);
        assert_eq!(resolve_top("100%", 7).unwrap(), 7);
        assert_eq!(resolve_top("2%", 50).unwrap(), 1);
        assert_eq!(resolve_top("1%", 0).unwrap(), 0);
        assert_eq!(resolve_top(" 500 ", 3).unwrap(), 500);
    }

    #[test]
    fn what_is_neither_is_refused() {
        for wrong in ["", "%", "0", "0%", "-1", "-5%", "101%", "nan%", "inf%", "five", "5.5", "5 percent"] {
            assert!(resolve_top(wrong, 100).is_err(), "{wrong}");
        }
        let less = resolve_top("0.1%", 40).unwrap_err().to_string();
        assert_eq!(less, "cannot take the top `0.1%`: of 40 rows that is less than one (say `500` or `5%`)");
    }
}
