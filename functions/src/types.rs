//! Types in SQL, and their names as DuckDB has them.

use arrow_schema::{DataType, FieldRef};

pub(super) fn is_text(ty: &DataType) -> bool {
    match ty {
        DataType::Dictionary(_, values) => values.is_string(),
        ty => ty.is_string(),
    }
}

pub(super) fn is_binary(ty: &DataType) -> bool {
    use DataType as D;
    matches!(ty, D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_))
}

/// The name of a type.
pub fn name(ty: &DataType) -> String {
    use DataType as D;
    let known = match ty {
        D::Null => "NULL",
        D::Boolean => "BOOLEAN",
        D::Int8 => "TINYINT",
        D::Int16 => "SMALLINT",
        D::Int32 => "INTEGER",
        D::Int64 => "BIGINT",
        D::UInt8 => "UTINYINT",
        D::UInt16 => "USMALLINT",
        D::UInt32 => "UINTEGER",
        D::UInt64 => "UBIGINT",
        // DuckDB has no such type.
        D::Float16 => "HALF",
        D::Float32 => "FLOAT",
        D::Float64 => "DOUBLE",
        D::Utf8 | D::LargeUtf8 | D::Utf8View => "VARCHAR",
        D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_) => "BLOB",
        D::Date32 | D::Date64 => "DATE",
        D::Time32(_) | D::Time64(_) => "TIME",
        D::Timestamp(_, None) => "TIMESTAMP",
        D::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        D::Interval(_) | D::Duration(_) => "INTERVAL",
        D::Decimal32(digits, scale)
        | D::Decimal64(digits, scale)
        | D::Decimal128(digits, scale)
        | D::Decimal256(digits, scale) => return format!("DECIMAL({digits},{scale})"),
        D::List(item) | D::LargeList(item) | D::ListView(item) | D::LargeListView(item) => {
            return format!("{}[]", name(item.data_type()));
        }
        D::FixedSizeList(item, length) => return format!("{}[{length}]", name(item.data_type())),
        D::Struct(fields) => {
            let fields: Vec<String> = fields.iter().map(field).collect();
            return format!("STRUCT({})", fields.join(", "));
        }
        D::Map(entries, _) => {
            return match entries.data_type() {
                D::Struct(fields) => {
                    let types: Vec<String> = fields.iter().map(|field| name(field.data_type())).collect();
                    format!("MAP({})", types.join(", "))
                }
                other => format!("MAP({})", name(other)),
            };
        }
        D::Dictionary(_, values) => return name(values),
        other => return other.to_string(),
    };
    known.to_owned()
}

/// A field of a struct, its name in quotes where it needs them.
fn field(field: &FieldRef) -> String {
    let (called, ty) = (field.name(), name(field.data_type()));
    let is_plain = called.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && called.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match is_plain {
        true => format!("{called} {ty}"),
        false => format!("\"{}\" {ty}", called.replace('"', "\"\"")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_schema::{Field, Fields, TimeUnit};

    use super::*;

    #[test]
    fn types_have_the_names_of_duckdb() {
        let item = |ty: DataType| Arc::new(Field::new_list_field(ty, true));
        let fields = Fields::from(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b \"c\"", DataType::List(item(DataType::Utf8View)), true),
        ]);
        for (ty, called) in [
            (DataType::UInt64, "UBIGINT"),
            (DataType::Float32, "FLOAT"),
            (DataType::Decimal128(5, 2), "DECIMAL(5,2)"),
            (DataType::Timestamp(TimeUnit::Nanosecond, None), "TIMESTAMP"),
            (DataType::Timestamp(TimeUnit::Second, Some("UTC".into())), "TIMESTAMP WITH TIME ZONE"),
            (DataType::FixedSizeList(item(DataType::Float32), 3), "FLOAT[3]"),
            (DataType::Struct(fields), "STRUCT(a BIGINT, \"b \"\"c\"\"\" VARCHAR[])"),
            (DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)), "VARCHAR"),
        ] {
            assert_eq!(name(&ty), called);
        }
    }
}
