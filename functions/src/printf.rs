//! `printf('%d of %s', n, x)` and `format('{} of {}', n, x)`: values put into a text.

mod conversion;
mod rendered;

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringArray, UInt64Array,
};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::ScalarUDF;

pub use self::conversion::MAX_PRINTED;
use self::conversion::{FormatPart, FormatSyntax};
use self::rendered::Printed;
use super::columnar::checked;
use super::types::is_text;
use crate::error::FunctionError;

pub(super) fn functions() -> [ScalarUDF; 2] {
    use FormatSyntax as F;
    [
        checked(
            F::Percent.function(),
            |_, types| coerced(F::Percent, types),
            DataType::Utf8,
            |arrays| Ok(Arc::new(texts(F::Percent, arrays)?)),
        ),
        checked(
            F::Braces.function(),
            |_, types| coerced(F::Braces, types),
            DataType::Utf8,
            |arrays| Ok(Arc::new(texts(F::Braces, arrays)?)),
        ),
    ]
}

fn coerced(syntax: FormatSyntax, types: &[DataType]) -> DfResult<Vec<DataType>> {
    let format = types.split_first().filter(|(format, _)| is_text(format) || format.is_null());
    let (_, values) = format.ok_or_else(|| FunctionError::invalid(syntax.usage().to_owned()))?;
    let name = syntax.function();
    let values = values.iter().map(|of| {
        taken(of).ok_or_else(|| {
            let why =
                format!("{name}() takes texts, numbers, booleans and dates, not {of}: write x::VARCHAR");
            FunctionError::invalid(why).into()
        })
    });
    std::iter::once(Ok(DataType::Utf8)).chain(values).collect()
}

/// The type as which a value of a type is taken.
fn taken(of: &DataType) -> Option<DataType> {
    Some(match of {
        DataType::UInt64 | DataType::Boolean | DataType::Decimal128(_, 0) => of.clone(),
        of if of.is_integer() => DataType::Int64,
        of if of.is_numeric() => DataType::Float64,
        DataType::Date32 | DataType::Date64 | DataType::Null => DataType::Utf8,
        of if is_text(of) => DataType::Utf8,
        _ => return None,
    })
}

enum PrintColumn<'a> {
    Signed(&'a Int64Array),
    Unsigned(&'a UInt64Array),
    Decimal(&'a Decimal128Array),
    Double(&'a Float64Array),
    Flag(&'a BooleanArray),
    Text(&'a StringArray),
}

impl<'a> PrintColumn<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self, FunctionError> {
        let column = match array.data_type() {
            DataType::Int64 => array.as_primitive_opt::<Int64Type>().map(Self::Signed),
            DataType::UInt64 => array.as_primitive_opt::<UInt64Type>().map(Self::Unsigned),
            DataType::Decimal128(..) => array.as_primitive_opt::<Decimal128Type>().map(Self::Decimal),
            DataType::Float64 => array.as_primitive_opt::<Float64Type>().map(Self::Double),
            DataType::Boolean => array.as_boolean_opt().map(Self::Flag),
            _ => array.as_string_opt::<i32>().map(Self::Text),
        };
        column.ok_or_else(|| FunctionError::internal("type of a value that is put into a text"))
    }

    fn at(&self, row: usize) -> Printed<'a> {
        match self {
            Self::Signed(numbers) => Printed::Whole(numbers.value(row).into()),
            Self::Unsigned(numbers) => Printed::Whole(numbers.value(row).into()),
            Self::Decimal(numbers) => Printed::Whole(numbers.value(row)),
            Self::Double(numbers) => Printed::Double(numbers.value(row)),
            Self::Flag(flags) => Printed::Flag(flags.value(row)),
            Self::Text(texts) => Printed::Text(texts.value(row)),
        }
    }
}

/// The text of each row; null where any argument is.
fn texts(syntax: FormatSyntax, arrays: &[ArrayRef]) -> Result<StringArray, FunctionError> {
    let formats = arrays.first().and_then(|formats| formats.as_string_opt::<i32>());
    let formats = formats.ok_or_else(|| FunctionError::internal("type of a format"))?;
    let columns = arrays.iter().skip(1).map(PrintColumn::of).collect::<Result<Vec<_>, _>>()?;
    let mut read: Option<(&str, Vec<FormatPart>)> = None;
    let (mut made, mut text) = (StringBuilder::new(), String::new());
    for row in 0..formats.len() {
        if arrays.iter().any(|array| array.is_null(row)) {
            made.append_null();
            continue;
        }
        let format = formats.value(row);
        if read.as_ref().is_none_or(|(known, _)| *known != format) {
            read = Some((format, syntax.parts(format)?));
        }
        text.clear();
        for part in read.iter().flat_map(|(_, parts)| parts) {
            match part {
                FormatPart::Text(literal) => text.push_str(literal),
                FormatPart::Value(conversion) => {
                    let value = columns.get(conversion.place).map(|column| column.at(row));
                    let value = value.ok_or_else(|| conversion.no_value(columns.len()))?;
                    conversion.put(value, &mut text)?;
                }
            }
        }
        made.append_value(&text);
    }
    Ok(made.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(n: i64) -> ArrayRef {
        Arc::new(Int64Array::from(vec![n]))
    }

    fn double(x: f64) -> ArrayRef {
        Arc::new(Float64Array::from(vec![x]))
    }

    fn text(text: &str) -> ArrayRef {
        Arc::new(StringArray::from(vec![text]))
    }

    fn put(syntax: FormatSyntax, format: &str, values: Vec<ArrayRef>) -> Result<String, String> {
        let arrays: Vec<ArrayRef> = std::iter::once(text(format)).chain(values).collect();
        texts(syntax, &arrays).map(|made| made.value(0).to_owned()).map_err(|error| error.to_string())
    }

    #[test]
    fn percent_signs_are_those_of_duckdb() {
        let numbers = || vec![whole(42); 5];
        for (format, values, expected) in [
            ("%5d|%-5d|%05d|%+d|% d|", numbers(), "   42|42   |00042|+42| 42|"),
            ("%x %X %o", vec![whole(255), whole(-1), whole(8)], "ff FFFFFFFFFFFFFFFF 10"),
            ("%f %.2f %8.2f|%-8.2f|", vec![double(2.5); 4], "2.500000 2.50     2.50|2.50    |"),
            ("%e %E %g %G", vec![double(12345.678); 4], "1.234568e+04 1.234568E+04 12345.7 12345.7"),
            ("%g %g %g", vec![double(1e5), double(1e6), double(1e-5)], "100000 1e+06 1e-05"),
            ("%.0f %.0f", vec![double(0.5), double(2.5)], "0 2"),
            ("100%% of %s, %5s|%-5s|%.2s", vec![text("abc"); 4], "100% of abc,   abc|abc  |ab"),
            ("%i %u %c %ld", vec![whole(3), whole(4), whole(65), whole(1)], "3 4 A 1"),
            ("%i %u %.f", vec![whole(-1), whole(-1), double(1.5)], "-1 18446744073709551615 2"),
            ("%,d", vec![whole(-1_234_567)], "-1,234,567"),
            ("%s %s %.1f", vec![whole(3), double(3.0), whole(3)], "3 3.0 3.0"),
            ("no value", vec![whole(1)], "no value"),
        ] {
            assert_eq!(put(FormatSyntax::Percent, format, values).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn braces_are_those_of_duckdb() {
        let doubles = |all: &[f64]| all.iter().map(|x| double(*x)).collect::<Vec<_>>();
        for (format, values, expected) in [
            ("{} {:d} {:.2f}", vec![text("a"), whole(1), double(2.5)], "a 1 2.50"),
            ("{:>5}|{:<5}|{:^7}|{:*^9}|{:5}|", vec![text("x"); 5], "    x|x    |   x   |****x****|x    |"),
            (
                "{:,} {:_} {:,} {:,}",
                [1_234_567, 1_234_567, 12, -1234].map(whole).into(),
                "1,234,567 1_234_567 12 -1,234",
            ),
            ("{:05d} {:x} {:X} {:b} {:o}", [42, -1, 255, 5, 8].map(whole).into(), "00042 -1 FF 101 10"),
            ("{:,.2f}|{:08.2f}|{:+.1f}", doubles(&[1_234_567.891, 2.5, 2.0]), "1,234,567.89|00002.50|+2.0"),
            ("{} {} {} {}", doubles(&[1.0, 1e20, 1e-7, 1e15]), "1.0 1e+20 1e-07 1000000000000000.0"),
            ("{} {} {}", doubles(&[f64::NAN, f64::NEG_INFINITY, -0.0]), "nan -inf 0.0"),
            ("{:e} {:g} {:.3} {:.3}", doubles(&[1.5, 0.5, 2.0 / 3.0, 100.0]), "1.500000e+00 0.5 0.667 100.0"),
            ("{:.5} {:.5} {:.5} {:.3}", doubles(&[1.5, 0.5, 100.0, 0.0]), "1.5000 0.5 100.00 0.00"),
            ("{1} {0} {{}}", vec![text("a"), text("b")], "b a {}"),
        ] {
            assert_eq!(put(FormatSyntax::Braces, format, values).as_deref(), Ok(expected));
        }
        let flag: ArrayRef = Arc::new(BooleanArray::from(vec![true]));
        assert_eq!(put(FormatSyntax::Braces, "{} {0:d}", vec![flag]).as_deref(), Ok("true 1"));
    }

    #[test]
    fn what_is_no_conversion_is_named() {
        for (syntax, format, says) in [
            (FormatSyntax::Percent, "%d %q", "printf() has no conversion `%q`"),
            (FormatSyntax::Percent, "50%", "printf() has no conversion `%`"),
            (FormatSyntax::Percent, "%*d", "printf() has no conversion `%*`"),
            (FormatSyntax::Percent, "%d %d", "printf() is asked for a second value, but has 1"),
            (FormatSyntax::Percent, "%.2d", "`%.2d` of printf() is not for a whole number"),
            (FormatSyntax::Percent, "%501d", "`%501d` of printf() has more than 500 characters"),
            (FormatSyntax::Braces, "{:z}", "format() has no conversion `{:z`"),
            (FormatSyntax::Braces, "{:.}", "format() has no conversion `{:.`"),
            (
                FormatSyntax::Braces,
                "{99999999999999999999}",
                "format() is asked for value 18446744073709551615",
            ),
            (FormatSyntax::Braces, "{name}", "format() has no conversion `{n`"),
            (FormatSyntax::Braces, "{", "format() has no conversion `{`"),
            (FormatSyntax::Braces, "}", "format() has no conversion `}`"),
        ] {
            let error = put(syntax, format, vec![whole(1)]).unwrap_err();
            assert!(error.starts_with(says), "{error}");
        }
        let error = put(FormatSyntax::Percent, "%d", vec![text("a")]).unwrap_err();
        assert!(error.starts_with("`%d` of printf() is not for a text"), "{error}");
    }

    #[test]
    fn a_row_with_a_null_has_none() {
        let formats: ArrayRef = Arc::new(StringArray::from(vec![Some("<{}>"), None, Some("({})")]));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), None]));
        let made = texts(FormatSyntax::Braces, &[formats, values]).unwrap();
        assert_eq!(made.iter().collect::<Vec<_>>(), [Some("<1>"), None, None]);
    }
}
