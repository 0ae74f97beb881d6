//! Values as expressions of a parsed statement.

use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DECIMAL256_MAX_PRECISION;
use datafusion::arrow::array::{Array as _, ArrayRef};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{Array, Expr as Ast, Value as AstValue};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::error::SqlError;

/// Most elements of a list that is the value of a parameter.
const MAX_ELEMENTS: usize = 1 << 18;

pub(crate) fn elements(value: &ScalarValue) -> Option<ArrayRef> {
    match value {
        ScalarValue::List(list) => Some(list.value(0)),
        ScalarValue::LargeList(list) => Some(list.value(0)),
        ScalarValue::FixedSizeList(list) => Some(list.value(0)),
        _ => None,
    }
}

pub(crate) fn literal(value: &ScalarValue) -> Result<Ast, SqlError> {
    if value.is_null() {
        return Ok(Ast::value(AstValue::Null));
    }
    if let Some(Some(text)) = value.try_as_str() {
        return Ok(Ast::value(AstValue::SingleQuotedString(text.to_owned())));
    }
    if let Some(elements) = elements(value) {
        short(elements.len())?;
        let element = |i| literal(&ScalarValue::try_from_array(&elements, i)?);
        let elem = (0..elements.len()).map(element).collect::<Result<_, SqlError>>()?;
        return Ok(Ast::Array(Array { elem, named: false }));
    }
    match value {
        ScalarValue::Boolean(Some(flag)) => Ok(Ast::value(AstValue::Boolean(*flag))),
        ScalarValue::Dictionary(_, inner) => literal(inner),
        ScalarValue::Float16(Some(x)) => float(x.to_f64()),
        ScalarValue::Float32(Some(x)) => float(f64::from(*x)),
        ScalarValue::Float64(Some(x)) => float(*x),
        ScalarValue::Date32(_) | ScalarValue::Date64(_) => {
            let text = literal_text(value)?;
            let date = text.split_once('T').map_or(&*text, |(date, _)| date);
            parse_literal(&format!("CAST('{date}' AS DATE)"))
        }
        ScalarValue::Decimal32(_, digits, scale)
        | ScalarValue::Decimal64(_, digits, scale)
        | ScalarValue::Decimal128(_, digits, scale)
        | ScalarValue::Decimal256(_, digits, scale) => decimal(value, *digits, *scale),
        // The zone says how an instant is shown, not when it is.
        ScalarValue::TimestampSecond(time, zone) => {
            timestamp(&ScalarValue::TimestampSecond(*time, None), zone.as_deref())
        }
        ScalarValue::TimestampMillisecond(time, zone) => {
            timestamp(&ScalarValue::TimestampMillisecond(*time, None), zone.as_deref())
        }
        ScalarValue::TimestampMicrosecond(time, zone) => {
            timestamp(&ScalarValue::TimestampMicrosecond(*time, None), zone.as_deref())
        }
        ScalarValue::TimestampNanosecond(time, zone) => {
            timestamp(&ScalarValue::TimestampNanosecond(*time, None), zone.as_deref())
        }
        ScalarValue::Int64(Some(i64::MIN)) => parse_literal("(-9223372036854775807 - 1)"),
        value if value.data_type().is_integer() => parse_literal(&value.to_string()),
        other => {
            let why = format!("a parameter cannot have the type {}", other.data_type());
            Err(SqlError::invalid(why)
                .hint("it can be text, a number, true or false, a date, a timestamp, or a list"))
        }
    }
}

/// Refuses lists of more than [`MAX_ELEMENTS`]: each element becomes an expression of the statement.
pub(crate) fn short(elements: usize) -> Result<(), SqlError> {
    match elements <= MAX_ELEMENTS {
        true => Ok(()),
        false => Err(SqlError::refused(format!(
            "a parameter is a list of {elements} elements, more than the {MAX_ELEMENTS} allowed"
        ))),
    }
}

fn float(x: f64) -> Result<Ast, SqlError> {
    match x.is_finite() {
        true => parse_literal(&format!("{x:e}")),
        false => parse_literal(&format!("CAST('{x}' AS DOUBLE)")),
    }
}

/// The engine reads no text as a decimal of a negative scale, so the zeros before the point become digits.
fn decimal(value: &ScalarValue, digits: u8, scale: i8) -> Result<Ast, SqlError> {
    let whole = digits.saturating_add(scale.min(0).unsigned_abs());
    if whole > DECIMAL256_MAX_PRECISION {
        let why = format!(
            "a parameter has the type DECIMAL({digits}, {scale}), whose values have up to {whole} digits"
        );
        return Err(SqlError::invalid(why)
            .hint(format!("a decimal has at most {DECIMAL256_MAX_PRECISION}; send a DOUBLE")));
    }
    let text = literal_text(value)?;
    parse_literal(&format!("CAST('{text}' AS DECIMAL({whole}, {}))", scale.max(0)))
}

fn timestamp(time: &ScalarValue, zone: Option<&str>) -> Result<Ast, SqlError> {
    let ty = if zone.is_some() { "TIMESTAMPTZ" } else { "TIMESTAMP" };
    parse_literal(&format!("CAST('{}' AS {ty}{})", literal_text(time)?, precision(time)))
}

/// What follows the name of the type: nothing, which are nanoseconds, or the unit of a time that these do not
/// reach.
fn precision(time: &ScalarValue) -> &'static str {
    let reaches = |time: i64, unit: i64| time.checked_mul(unit).is_some();
    match time {
        ScalarValue::TimestampSecond(Some(time), _) if !reaches(*time, 1_000_000_000) => "(0)",
        ScalarValue::TimestampMillisecond(Some(time), _) if !reaches(*time, 1_000_000) => "(3)",
        ScalarValue::TimestampMicrosecond(Some(time), _) if !reaches(*time, 1000) => "(6)",
        _ => "",
    }
}

/// A number or a time as its digits.
fn literal_text(value: &ScalarValue) -> Result<String, SqlError> {
    let array = value.to_array()?;
    let options = FormatOptions::default();
    let digits = ArrayFormatter::try_new(&array, &options).and_then(|text| text.value(0).try_to_string());
    digits.map_err(|_| {
        SqlError::invalid("a parameter is a time out of range: its year cannot be written".to_owned())
    })
}

/// An expression that we wrote ourselves, of digits and fixed words.
fn parse_literal(text: &str) -> Result<Ast, SqlError> {
    let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
    let expr = parser.and_then(|mut parser| parser.parse_expr());
    expr.map_err(|_| SqlError::internal("a parameter's value is not understood"))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::i256;

    use super::*;

    #[test]
    fn a_time_that_cannot_be_written_is_refused() {
        let text = literal(&ScalarValue::TimestampSecond(Some(0), None)).unwrap().to_string();
        assert_eq!(text, "CAST('1970-01-01T00:00:00' AS TIMESTAMP)");
        for beyond in [
            ScalarValue::TimestampSecond(Some(1 << 60), None),
            ScalarValue::Date32(Some(i32::MAX)),
            ScalarValue::Date64(Some(i64::MIN)),
        ] {
            let error = literal(&beyond).unwrap_err();
            assert!(error.to_string().contains("out of range"), "{error}");
        }
    }

    #[test]
    fn a_time_that_nanoseconds_do_not_reach_keeps_its_unit() {
        let second = 32_503_680_000;
        for (time, text) in [
            (ScalarValue::TimestampSecond(Some(second), None), "CAST('3000-01-01T00:00:00' AS TIMESTAMP(0))"),
            (
                ScalarValue::TimestampMillisecond(Some(second * 1000), Some("UTC".into())),
                "CAST('3000-01-01T00:00:00' AS TIMESTAMPTZ(3))",
            ),
            (
                ScalarValue::TimestampMicrosecond(Some(second * 1_000_000 + 1), None),
                "CAST('3000-01-01T00:00:00.000001' AS TIMESTAMP(6))",
            ),
        ] {
            assert_eq!(literal(&time).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_decimal_of_any_width_has_all_its_digits() {
        let long = i256::from_i128(i128::MAX);
        for (value, text) in [
            (ScalarValue::Decimal32(Some(-150), 9, 2), "CAST('-1.50' AS DECIMAL(9,2))".to_owned()),
            (ScalarValue::Decimal64(Some(150), 18, 1), "CAST('15.0' AS DECIMAL(18,1))".to_owned()),
            (ScalarValue::Decimal256(Some(long), 76, 0), format!("CAST('{}' AS DECIMAL(76,0))", i128::MAX)),
        ] {
            assert_eq!(literal(&value).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_decimal_of_a_negative_scale_is_a_whole_number() {
        for (value, text) in [
            (ScalarValue::Decimal128(Some(-15), 5, -2), "CAST('-1500' AS DECIMAL(7,0))"),
            (ScalarValue::Decimal256(Some(i256::ONE), 70, -6), "CAST('1000000' AS DECIMAL(76,0))"),
        ] {
            assert_eq!(literal(&value).unwrap().to_string(), text);
        }
        let error = literal(&ScalarValue::Decimal128(Some(1), 38, -39)).unwrap_err();
        assert!(error.to_string().contains("DECIMAL(38, -39), whose values have up to 77 digits"), "{error}");
    }

    #[test]
    fn an_instant_is_the_same_one_in_every_zone() {
        for zone in ["UTC", "utc", "Z", "+01:00", "+25:00", "No/Zone"] {
            let text =
                literal(&ScalarValue::TimestampSecond(Some(0), Some(zone.into()))).unwrap().to_string();
            assert_eq!(text, "CAST('1970-01-01T00:00:00' AS TIMESTAMPTZ)", "{zone}");
        }
        let date = literal(&ScalarValue::Date64(Some(86_400_000))).unwrap().to_string();
        assert_eq!(date, "CAST('1970-01-02' AS DATE)");
    }
}
