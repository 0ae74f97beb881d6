//! Conditions of a join, and the names of its tables and of their columns.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Select, TableFactor,
};

use crate::expanded::unqualified;

/// The table of a join whose column is the one of both; of several joins the last of these goes for all.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::dialect) enum Side {
    #[default]
    Any,
    /// The one on the left, and no row has columns of the other.
    Alone,
    Left,
    Right,
    /// The first that has a value.
    Either,
}

/// What a join compares.
pub(in crate::dialect) enum JoinColumns {
    /// Columns of these names, by `USING`.
    Names(Vec<String>),
    /// All columns of one name.
    Natural,
    /// What its condition says, or nothing.
    Condition,
    /// A join whose columns are not those of both tables.
    Other,
}

/// A join of a table to those before it.
pub(in crate::dialect) struct TableJoin {
    pub(in crate::dialect) side: Side,
    pub(in crate::dialect) by: JoinColumns,
}

impl TableJoin {
    pub(in crate::dialect) fn of(join: &JoinOperator) -> Self {
        let (side, constraint) = match join {
            JoinOperator::Join(on) | JoinOperator::Inner(on) | JoinOperator::CrossJoin(on) => (Side::Any, on),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (Side::Left, on),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (Side::Right, on),
            JoinOperator::FullOuter(on) => (Side::Either, on),
            JoinOperator::LeftSemi(on) | JoinOperator::LeftAnti(on) => (Side::Alone, on),
            _ => return Self { side: Side::Any, by: JoinColumns::Other },
        };
        let by = match constraint {
            JoinConstraint::Using(columns) => {
                let names = columns.iter().map(unqualified);
                names.collect::<Option<Vec<String>>>().map_or(JoinColumns::Other, JoinColumns::Names)
            }
            JoinConstraint::Natural => JoinColumns::Natural,
            JoinConstraint::On(_) | JoinConstraint::None => JoinColumns::Condition,
        };
        Self { side, by }
    }
}

/// Whether tables of a query are joined in another way than by a condition.
pub(in crate::dialect) fn joins_without_condition(select: &Select) -> bool {
    let mut joins = select.from.iter().flat_map(|from| &from.joins);
    joins.any(|join| !matches!(TableJoin::of(&join.join_operator).by, JoinColumns::Condition))
}

/// The condition of a join that may have `USING`.
pub(crate) fn constraint(join: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match join {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on)
        | JoinOperator::LeftSemi(on)
        | JoinOperator::RightSemi(on)
        | JoinOperator::LeftAnti(on)
        | JoinOperator::RightAnti(on) => Some(on),
        _ => None,
    }
}

/// The name of a table in its statement, if it has one.
pub(in crate::dialect) fn table(factor: &TableFactor) -> Option<ObjectName> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::UNNEST { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => {
            Some(ObjectName::from(vec![alias.name.clone()]))
        }
        TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => Some(name.clone()),
        _ => None,
    }
}

pub(in crate::dialect) fn column(table: &ObjectName, name: &str) -> Option<Expr> {
    let mut parts: Vec<Ident> = table.0.iter().map(|part| part.as_ident().cloned()).collect::<Option<_>>()?;
    parts.push(quoted(name));
    Some(Expr::CompoundIdentifier(parts))
}

/// A name that is read as it is.
pub(in crate::dialect) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
