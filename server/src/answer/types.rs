//! Type info of Flight SQL (`GetXdbcTypeInfo`): the SQL types that a client may meet, by the numbers of ODBC
//! and the names that `typeof` and `DESCRIBE` say.

use arrow_array::RecordBatch;
use arrow_flight::error::Result;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

/// The type of instants.
const ZONED: &str = "TIMESTAMP WITH TIME ZONE";

/// The types, or those of a number.
pub(crate) fn batch(data_type: Option<i32>) -> Result<RecordBatch> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, size, quote, unsigned) in [
        ("BIGINT", XdbcDataType::XdbcBigint, 19, None, Some(false)),
        ("UBIGINT", XdbcDataType::XdbcBigint, 20, None, Some(true)),
        ("INTEGER", XdbcDataType::XdbcInteger, 10, None, Some(false)),
        ("UINTEGER", XdbcDataType::XdbcInteger, 10, None, Some(true)),
        ("SMALLINT", XdbcDataType::XdbcSmallint, 5, None, Some(false)),
        ("USMALLINT", XdbcDataType::XdbcSmallint, 5, None, Some(true)),
        ("TINYINT", XdbcDataType::XdbcTinyint, 3, None, Some(false)),
        ("UTINYINT", XdbcDataType::XdbcTinyint, 3, None, Some(true)),
        ("BOOLEAN", XdbcDataType::XdbcBit, 1, None, None),
        ("DECIMAL", XdbcDataType::XdbcDecimal, 38, None, Some(false)),
        ("FLOAT", XdbcDataType::XdbcReal, 7, None, Some(false)),
        ("DOUBLE", XdbcDataType::XdbcDouble, 15, None, Some(false)),
        ("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX, Some("'"), None),
        ("BLOB", XdbcDataType::XdbcVarbinary, i32::MAX, Some("'"), None),
        ("DATE", XdbcDataType::XdbcDate, 10, Some("'"), None),
        ("TIME", XdbcDataType::XdbcTime, 18, Some("'"), None),
        ("TIMESTAMP", XdbcDataType::XdbcTimestamp, 29, Some("'"), None),
        (ZONED, XdbcDataType::XdbcTimestamp, 35, Some("'"), None),
        // Months, days and nanoseconds, for which the protocol has no subcode.
        ("INTERVAL", XdbcDataType::XdbcInterval, i32::MAX, Some("'"), None),
    ] {
        let numeric = unsigned.is_some();
        let scaled = data_type == XdbcDataType::XdbcDecimal;
        let datetime_subcode = match data_type {
            // The number of a date in ODBC; the protocol has no name for it.
            XdbcDataType::XdbcDate => Some(XdbcDatetimeSubcode::XdbcSubcodeYear),
            XdbcDataType::XdbcTime => Some(XdbcDatetimeSubcode::XdbcSubcodeTime),
            XdbcDataType::XdbcTimestamp if name == ZONED => {
                Some(XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone)
            }
            XdbcDataType::XdbcTimestamp => Some(XdbcDatetimeSubcode::XdbcSubcodeTimestamp),
            _ => None,
        };
        types.append(XdbcTypeInfo {
            type_name: name.to_owned(),
            data_type,
            column_size: Some(size),
            literal_prefix: quote.map(str::to_owned),
            literal_suffix: quote.map(str::to_owned),
            nullable: Nullable::NullabilityNullable,
            case_sensitive: quote.is_some(),
            searchable: Searchable::Full,
            unsigned_attribute: unsigned,
            auto_increment: numeric.then_some(false),
            local_type_name: Some(name.to_owned()),
            minimum_scale: scaled.then_some(0),
            maximum_scale: scaled.then_some(38),
            sql_data_type: datetime_subcode.map_or(data_type, |_| XdbcDataType::XdbcDatetime),
            datetime_subcode,
            num_prec_radix: numeric.then_some(10),
            ..XdbcTypeInfo::default()
        });
    }
    types.build()?.record_batch(data_type)
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;
    use arrow_array::types::Int32Type;

    use super::*;

    #[test]
    fn dates_and_times_are_one_type_of_sql_told_apart_by_subcodes() {
        for (data_type, sql_data_type, subcodes) in [
            (91, 9, &[Some(1)][..]),
            (92, 9, &[Some(2)]),
            (93, 9, &[Some(3), Some(5)]),
            (3, 3, &[None]),
            (10, 10, &[None]),
        ] {
            let found = batch(Some(data_type)).unwrap();
            let values = |name| -> Vec<Option<i32>> {
                found.column_by_name(name).unwrap().as_primitive::<Int32Type>().iter().collect()
            };
            assert_eq!(values("sql_data_type"), vec![Some(sql_data_type); subcodes.len()], "{data_type}");
            assert_eq!(values("datetime_subcode"), subcodes, "{data_type}");
        }
    }
}
