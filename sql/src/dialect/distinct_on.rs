//! `DISTINCT ON (k, k)` and its order, `ORDER BY k, k, x`, with each key once.
//!
//! The engine wants the two lists to begin alike, key by key, and takes one that comes again for another.

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{Distinct, OrderByKind, Query, SetExpr};

use super::twice::key;

/// Leaves out keys that come again, which decide nothing, in whatever direction.
pub(super) fn keys_once(query: &mut Query) {
    let Query { body, order_by, .. } = query;
    let SetExpr::Select(select) = &mut **body else { return };
    let Some(Distinct::On(on)) = &mut select.distinct else { return };
    let mut known = HashSet::new();
    on.retain(|expr| known.insert(key(expr, false)));
    if let Some(OrderByKind::Expressions(keys)) = order_by.as_mut().map(|order| &mut order.kind) {
        known.clear();
        keys.retain(|by| known.insert(key(&by.expr, false)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::tests::changed;
    use crate::walk::visit_queries_mut;

    #[test]
    fn keys_come_once() {
        for (sql, expected) in [
            (
                "SELECT DISTINCT ON (a, B, b) c FROM t ORDER BY a, A DESC, b, c",
                "SELECT DISTINCT ON (a, B) c FROM t ORDER BY a, b, c",
            ),
            ("SELECT DISTINCT ON (a, a::INT) c FROM t", "SELECT DISTINCT ON (a, a::INT) c FROM t"),
            ("SELECT c FROM t ORDER BY a, a", "SELECT c FROM t ORDER BY a, a"),
        ] {
            assert_eq!(changed(sql, |sql| visit_queries_mut(sql, keys_once)).1, expected);
        }
    }
}
