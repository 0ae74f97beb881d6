//! Names of types in SQL, as DuckDB has them: what `typeof`, `DESCRIBE` and `SUMMARIZE` say.

mod said;

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{DescribeTable, LogicalPlan, LogicalPlanBuilder, col, lit};

pub use self::said::in_sql;
use crate::bounds::check_part_count;

/// The type with plain arrays in the place of views of texts and bytes, at any depth.
pub(crate) fn without_views(ty: &DataType) -> DataType {
    use DataType as D;
    let of =
        |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(without_views(field.data_type())));
    match ty {
        D::Utf8View => D::Utf8,
        D::BinaryView => D::Binary,
        D::List(item) => D::List(of(item)),
        D::LargeList(item) => D::LargeList(of(item)),
        D::ListView(item) => D::ListView(of(item)),
        D::LargeListView(item) => D::LargeListView(of(item)),
        D::FixedSizeList(item, length) => D::FixedSizeList(of(item), *length),
        D::Struct(fields) => D::Struct(fields.iter().map(of).collect()),
        D::Map(entries, sorted) => D::Map(of(entries), *sorted),
        other => other.clone(),
    }
}

/// The name of a type.
pub(crate) fn name(ty: &DataType) -> String {
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

/// `DESCRIBE` with these names in the place of the engine's.
pub(crate) fn with_sql_types(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let LogicalPlan::DescribeTable(DescribeTable { schema, output_schema }) = &plan else { return Ok(plan) };
    if schema.fields().is_empty() {
        return Ok(plan);
    }
    // The name of a type is as long as the type.
    schema.fields().iter().try_for_each(|field| check_part_count(field.data_type()))?;
    let row = |field: &FieldRef| {
        let is_nullable = if field.is_nullable() { "YES" } else { "NO" };
        vec![lit(field.name().as_str()), lit(name(field.data_type())), lit(is_nullable)]
    };
    let rows = schema.fields().iter().map(row).collect();
    let headings = output_schema.fields().iter().enumerate();
    let headings: Vec<_> =
        headings.map(|(place, field)| col(format!("column{}", place + 1)).alias(field.name())).collect();
    LogicalPlanBuilder::values_with_schema(rows, output_schema)?.project(headings)?.build()
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn views_are_replaced_at_any_depth() {
        let of = |text: DataType, bytes: DataType| {
            let item = |ty: DataType| Arc::new(Field::new_list_field(ty, true));
            let fields = |names: [&str; 2]| {
                let [a, b] = names;
                Fields::from(vec![
                    Field::new(a, text.clone(), false),
                    Field::new(b, DataType::FixedSizeList(item(bytes.clone()), 2), true),
                ])
            };
            let map = DataType::Struct(fields(["key", "value"]));
            let map = DataType::Map(Arc::new(Field::new("entries", map, false)), false);
            let list = DataType::LargeList(item(DataType::Struct(fields(["a", "b"]))));
            [text.clone(), bytes.clone(), DataType::List(item(text.clone())), list, map]
        };
        let viewed = of(DataType::Utf8View, DataType::BinaryView);
        assert_eq!(viewed.each_ref().map(without_views), of(DataType::Utf8, DataType::Binary));
        let others = of(DataType::LargeUtf8, DataType::LargeBinary);
        assert_eq!(others.each_ref().map(without_views), others);
    }
}
