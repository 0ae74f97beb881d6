//! Types under the names of DuckDB, as `typeof` says them, and as the engine reads them.

use std::sync::Arc;

use arrow_schema::{DataType as ArrowType, Field, FieldRef, TimeUnit};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, ExactNumberInfo, ObjectName, TimezoneInfo,
};
use gstore_functions::UTC;

/// What makes an instant in UTC of TIMESTAMPTZ: the engine gives it the zone of the session, which has none.
#[derive(Debug)]
pub(crate) struct ZonedTypes;

impl TypePlanner for ZonedTypes {
    fn plan_type_field(&self, ty: &DataType) -> DfResult<Option<FieldRef>> {
        let DataType::Timestamp(digits, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) = ty else {
            return Ok(None);
        };
        let unit = match digits {
            Some(0) => TimeUnit::Second,
            Some(3) => TimeUnit::Millisecond,
            Some(6) => TimeUnit::Microsecond,
            None | Some(9) => TimeUnit::Nanosecond,
            // The engine refuses it.
            Some(_) => return Ok(None),
        };
        Ok(Some(Arc::new(Field::new("", ArrowType::Timestamp(unit, Some(UTC.into())), true))))
    }
}

/// Puts a type into the words of the engine, and the types of its parts.
pub(super) fn rename(ty: &mut DataType) {
    match ty {
        DataType::Array(
            ArrayElemTypeDef::AngleBracket(item)
            | ArrayElemTypeDef::SquareBracket(item, _)
            | ArrayElemTypeDef::Parenthesis(item),
        ) => rename(item),
        DataType::Struct(fields, _) => fields.iter_mut().for_each(|field| rename(&mut field.field_type)),
        DataType::UTinyInt => *ty = DataType::TinyIntUnsigned(None),
        DataType::USmallInt => *ty = DataType::SmallIntUnsigned(None),
        DataType::UBigInt => *ty = DataType::BigIntUnsigned(None),
        DataType::HugeInt => *ty = DataType::Decimal(ExactNumberInfo::PrecisionAndScale(38, 0)),
        DataType::Blob(None) | DataType::Binary(None) | DataType::Varbinary(None) => *ty = DataType::Bytea,
        DataType::Datetime(None) => *ty = DataType::Timestamp(None, TimezoneInfo::None),
        DataType::Custom(name, modifiers) if modifiers.is_empty() => {
            if let Some(other) = custom(name) {
                *ty = other;
            }
        }
        _ => {}
    }
}

/// The type of a name that the parser does not know.
fn custom(name: &ObjectName) -> Option<DataType> {
    let [only] = name.0.as_slice() else { return None };
    let only = only.as_ident().filter(|only| only.quote_style.is_none())?;
    Some(match only.value.to_ascii_uppercase().as_str() {
        "UINTEGER" => DataType::IntUnsigned(None),
        "LONG" => DataType::BigInt(None),
        "TIMESTAMP_S" => DataType::Timestamp(Some(0), TimezoneInfo::None),
        "TIMESTAMP_MS" => DataType::Timestamp(Some(3), TimezoneInfo::None),
        "TIMESTAMP_US" => DataType::Timestamp(Some(6), TimezoneInfo::None),
        "TIMESTAMP_NS" => DataType::Timestamp(Some(9), TimezoneInfo::None),
        _ => return None,
    })
}
