//! Columns that `GROUP BY` and `DISTINCT ON` have twice but for their casts: `GROUP BY x, x::VARCHAR`.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{Distinct, GroupByExpr, Select};

use crate::dialect::exprs::of_item;
use crate::dialect::twice::{cast_of, column_name, key};
use crate::expanded::single_keys;

/// The columns that a query groups by alone and as casts, as the engine calls them.
pub(super) fn unclear(select: &Select) -> HashSet<String> {
    let mut keys = Vec::new();
    let mut is_grouped = false;
    match &select.group_by {
        GroupByExpr::All(_) => is_grouped = true,
        GroupByExpr::Expressions(by, _) => keys.extend(by.iter().flat_map(single_keys)),
    }
    if let Some(Distinct::On(on)) = &select.distinct {
        keys.extend(on.iter().flat_map(single_keys));
    }
    if is_grouped || !keys.is_empty() {
        // A key may be the name or the place of a column of the result.
        keys.extend(select.projection.iter().filter_map(of_item));
    }
    let plain: HashSet<String> = keys.iter().filter_map(|key| column_name(key)).collect();
    let casts = keys.into_iter().filter(|cast| {
        let column = cast_of(cast).and_then(column_name);
        column.is_some_and(|column| plain.contains(&column))
    });
    casts.map(|cast| key(cast, true)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::name_grouped;
    use crate::dialect::tests::changed;

    #[test]
    fn casts_of_columns_that_are_grouped_too_have_names() {
        for (sql, expected) in [
            (
                "SELECT x, x::TEXT, count(*) FROM t GROUP BY x, x::TEXT ORDER BY X::TEXT",
                "SELECT x, as_type(x::TEXT, 'VARCHAR'), count(*) FROM t GROUP BY x, as_type(x::TEXT, 'VARCHAR') ORDER BY as_type(X::TEXT, 'VARCHAR')",
            ),
            (
                "SELECT t.x AS k, (x)::INT AS m FROM t GROUP BY ALL",
                "SELECT t.x AS k, as_type((x)::INT, 'INTEGER') AS m FROM t GROUP BY ALL",
            ),
            (
                "SELECT count(*) FROM t GROUP BY ROLLUP (x, CAST(x AS INT))",
                "SELECT count(*) FROM t GROUP BY ROLLUP (x, as_type(CAST(x AS INT), 'INTEGER'))",
            ),
            (
                "SELECT DISTINCT ON (x, x::INT) y FROM t",
                "SELECT DISTINCT ON (x, as_type(x::INT, 'INTEGER')) y FROM t",
            ),
        ] {
            // What has a name gets no second one.
            let (_, found) = changed(sql, |sql| {
                name_grouped(sql);
                name_grouped(sql);
            });
            assert_eq!(found, expected);
        }
        for sql in [
            "SELECT x, x::INT FROM t ORDER BY x::INT",
            "SELECT x::INT, max(x) FROM t GROUP BY x::INT",
            "SELECT y, avg(x::DOUBLE), avg(x) FROM t GROUP BY y",
        ] {
            assert_eq!(changed(sql, name_grouped).1, sql);
        }
    }
}
