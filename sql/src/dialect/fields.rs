//! Queries for the structs of a statement, for the error about a field that one does not have, as the engine
//! does not say which it has.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident, Subscript};

use super::exprs::text_of;
use super::lookups::queries_around;
use crate::error::SqlError;
use crate::positions::{self, TextPosition};

/// Most of these queries.
const MOST: usize = 5;

/// A query for each struct that may be the one without the field that an error is about: in a subquery it is
/// of the tables of that, or of those around it.
pub(crate) fn structs(statement: &mut Statement, error: &SqlError) -> Vec<Statement> {
    let (Some(place), Some(field)) = (error.position(), error.missing_field()) else { return Vec::new() };
    queries_around(statement, place, MOST, |expr| struct_of(field, expr, place))
}

/// The key of an access such as `['id']`.
pub(crate) fn field_key(access: &AccessExpr) -> Option<&str> {
    match access {
        AccessExpr::Subscript(Subscript::Index { index }) => text_of(index),
        _ => None,
    }
}

/// The struct of a field, if an expression names both in this place.
fn struct_of(field: &str, expr: &Expr, place: TextPosition) -> Option<Expr> {
    let is_there = |column: &Ident| positions::place(column) == place;
    match expr {
        Expr::CompoundIdentifier(parts) => {
            let (_, of) = parts.split_last()?;
            if !is_there(of.last()?) {
                return None;
            }
            Some(match of {
                [column] => Expr::Identifier(column.clone()),
                of => Expr::CompoundIdentifier(of.to_vec()),
            })
        }
        Expr::CompoundFieldAccess { root, access_chain } => {
            let Expr::Identifier(column) = &**root else { return None };
            let is_key = |access: &AccessExpr| is_there(column) && field_key(access) == Some(field);
            let before = access_chain.get(..access_chain.iter().position(is_key)?)?;
            Some(match before {
                [] => Expr::clone(root),
                before => Expr::CompoundFieldAccess { root: root.clone(), access_chain: before.to_vec() },
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::parse;

    #[test]
    fn structs_are_asked_for_with_the_tables_that_they_are_of() {
        for (sql, column, expected) in [
            ("SELECT t.s.x FROM t WHERE a = 1", 10, &["SELECT t.s FROM t"][..]),
            (
                "WITH c AS (SELECT 1) SELECT 1 FROM c ORDER BY c.s['a']['x'] + 1",
                47,
                &["WITH c AS (SELECT 1) SELECT c.s['a'] FROM c"][..],
            ),
            ("SELECT 1 FROM t UNION SELECT s.x FROM u GROUP BY 1", 30, &["SELECT s FROM u"][..]),
            (
                "SELECT 1 FROM t WHERE a IN (SELECT s.x FROM u)",
                36,
                &["SELECT s FROM u", "SELECT s FROM t"][..],
            ),
            ("SELECT 1 FROM t, LATERAL (SELECT s.x FROM u)", 34, &["SELECT s FROM u", "SELECT s FROM t"][..]),
            ("SELECT s.x, s.y FROM t", 9, &[][..]),
        ] {
            let error = SqlError::unknown("`s` has no field `x`".to_owned()).at((1, column));
            let found = structs(&mut parse(sql).unwrap(), &error);
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{sql}");
        }
    }
}
