//! Names of types in SQL, as DuckDB has them: what `typeof`, `DESCRIBE` and `SUMMARIZE` say.

mod said;

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef};
use datafusion::common::DFSchema;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{DescribeTable, LogicalPlan, LogicalPlanBuilder, col, lit};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{DescribeAlias, Statement as Sql};
pub(crate) use gstore_functions::type_name as name;

pub use self::said::in_sql;
use crate::bounds::check_part_count;
use crate::common_types;

/// The type with plain arrays in the place of views of texts and bytes, at any depth.
pub(crate) fn without_views(ty: &DataType) -> DataType {
    with_leaves(ty, |leaf| match leaf {
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    })
}

/// The type with others in the place of its leaves, at any depth: of all that is no list, struct, map or run of
/// values. A dictionary is a leaf, and so is a union, which cannot be cast into another one.
pub(crate) fn with_leaves(ty: &DataType, other: fn(&DataType) -> DataType) -> DataType {
    use DataType as D;
    let of = |field: &FieldRef| field_with_leaves(field, other);
    match ty {
        D::List(item) => D::List(of(item)),
        D::LargeList(item) => D::LargeList(of(item)),
        D::ListView(item) => D::ListView(of(item)),
        D::LargeListView(item) => D::LargeListView(of(item)),
        D::FixedSizeList(item, length) => D::FixedSizeList(of(item), *length),
        D::Struct(fields) => D::Struct(fields.iter().map(of).collect()),
        D::Map(entries, sorted) => D::Map(of(entries), *sorted),
        D::RunEndEncoded(ends, values) => D::RunEndEncoded(Arc::clone(ends), of(values)),
        leaf => other(leaf),
    }
}

/// The field with a type as [`with_leaves`] gives it.
pub(crate) fn field_with_leaves(field: &FieldRef, other: fn(&DataType) -> DataType) -> FieldRef {
    Arc::new(field.as_ref().clone().with_data_type(with_leaves(field.data_type(), other)))
}

/// Puts the query in the place of `DESCRIBE` of it; false of any other statement.
pub(crate) fn take_described(statement: &mut Statement) -> bool {
    let Statement::Statement(sql) = statement else { return false };
    let query = match &**sql {
        Sql::Explain {
            describe_alias: DescribeAlias::Describe | DescribeAlias::Desc,
            statement: query,
            ..
        } if matches!(**query, Sql::Query(_)) => query.clone(),
        _ => return false,
    };
    *sql = query;
    true
}

/// `DESCRIBE` of the rows of a plan; of its query the engine would take types that it has not made agree yet.
pub(crate) fn described(rows: LogicalPlan) -> DfResult<LogicalPlan> {
    let rows = common_types::resolve(rows)?;
    let schema = Arc::clone(rows.schema().inner());
    let output_schema = Arc::new(DFSchema::try_from(LogicalPlan::describe_schema())?);
    Ok(LogicalPlan::DescribeTable(DescribeTable { schema, output_schema }))
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
    use arrow_schema::{Field, Fields, UnionFields, UnionMode};

    use super::*;

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
        // A column that has a union too can be cast.
        let union = UnionFields::from_fields(vec![Field::new("v", DataType::Utf8View, true)]);
        let union = Field::new("union", DataType::Union(union, UnionMode::Sparse), false);
        let [text, plain] = [DataType::Utf8View, DataType::Utf8]
            .map(|text| DataType::Struct(Fields::from(vec![Field::new("text", text, true), union.clone()])));
        assert_eq!(without_views(&text), plain);
        assert!(arrow_cast::can_cast_types(&text, &plain));
    }
}
