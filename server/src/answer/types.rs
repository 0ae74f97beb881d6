//! Type info of Flight SQL (`GetXdbcTypeInfo`): the SQL types that a client may meet, by the numbers of ODBC.

use arrow_array::RecordBatch;
use arrow_flight::error::Result;
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType};

/// The types, or the one of a number.
pub(crate) fn batch(data_type: Option<i32>) -> Result<RecordBatch> {
    let mut types = XdbcTypeInfoDataBuilder::new();
    for (name, data_type, size, quote, unsigned) in [
        ("BIGINT", XdbcDataType::XdbcBigint, 19, None, Some(false)),
        ("BIGINT UNSIGNED", XdbcDataType::XdbcBigint, 20, None, Some(true)),
        ("INTEGER", XdbcDataType::XdbcInteger, 10, None, Some(false)),
        ("INTEGER UNSIGNED", XdbcDataType::XdbcInteger, 10, None, Some(true)),
        ("SMALLINT", XdbcDataType::XdbcSmallint, 5, None, Some(false)),
        ("TINYINT", XdbcDataType::XdbcTinyint, 3, None, Some(false)),
        ("BOOLEAN", XdbcDataType::XdbcBit, 1, None, None),
        ("REAL", XdbcDataType::XdbcReal, 7, None, Some(false)),
        ("DOUBLE", XdbcDataType::XdbcDouble, 15, None, Some(false)),
        ("VARCHAR", XdbcDataType::XdbcVarchar, i32::MAX, Some("'"), None),
        ("BYTEA", XdbcDataType::XdbcVarbinary, i32::MAX, Some("'"), None),
        ("DATE", XdbcDataType::XdbcDate, 10, Some("'"), None),
        ("TIMESTAMP", XdbcDataType::XdbcTimestamp, 29, Some("'"), None),
    ] {
        let numeric = unsigned.is_some();
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
            sql_data_type: data_type,
            num_prec_radix: numeric.then_some(10),
            ..XdbcTypeInfo::default()
        });
    }
    types.build()?.record_batch(data_type)
}
