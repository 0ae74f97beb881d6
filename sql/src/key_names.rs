//! Names of computed join keys: `ON a.day::DATE = b.day::DATE`.
//!
//! The engine adds such keys to the columns of their side, under names of their own only if they are casts. The
//! functions in the place of casts are called as their argument, as casts are.

use std::collections::{HashMap, HashSet};

use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, Join, LogicalPlan};

/// An optimised plan whose joins have no key with the name of a column or of another key of its side.
pub(super) fn with_key_names(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let named = plan.transform_up_with_subqueries(|node| {
        let LogicalPlan::Join(mut join) = node else { return Ok(Transformed::no(node)) };
        let Join { left, right, on, .. } = &mut join;
        let mut sides = [left, right].map(|side| (names_of(side.schema()), HashMap::new()));
        let mut changed = false;
        for (number, (of_left, of_right)) in on.iter_mut().enumerate() {
            for (key, (taken, known)) in [of_left, of_right].into_iter().zip(&mut sides) {
                if matches!(key, Expr::Column(_) | Expr::Cast(_) | Expr::TryCast(_)) {
                    continue;
                }
                // One that stands in several conditions is computed once.
                let named = known.entry(key.clone()).or_insert_with(|| {
                    let is_free = taken.insert(key.schema_name().to_string());
                    if is_free {
                        key.clone()
                    } else {
                        key.clone().alias(format!("{key}, key {}", number + 1))
                    }
                });
                changed |= named != key;
                *key = named.clone();
            }
        }
        let node = LogicalPlan::Join(join);
        Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
    });
    named.data()
}

/// Names of columns, with and without that of their table.
fn names_of(side: &DFSchema) -> HashSet<String> {
    let columns = side.iter().flat_map(|(table, column)| {
        let whole = table.map(|table| format!("{table}.{}", column.name()));
        whole.into_iter().chain([column.name().clone()])
    });
    columns.collect()
}
