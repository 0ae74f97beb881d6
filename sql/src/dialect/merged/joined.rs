//! Tables that a join compares by `USING`, and their columns.

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, TableFactor,
};

use crate::expanded::name;

/// The table of a join whose column is the one of both; of several joins the last of these goes for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Any,
    /// The one on the left, and no row has columns of the other.
    Alone,
    Left,
    Right,
    /// The first that has a value.
    Either,
}

/// A table that is joined to those before it, by columns of one name.
pub(super) struct Joined {
    pub(super) table: ObjectName,
    pub(super) side: Side,
    pub(super) names: Vec<String>,
}

impl Joined {
    /// Of a join that is written with `USING`.
    pub(super) fn of(join: &Join) -> Option<Self> {
        let (side, constraint) = match &join.join_operator {
            JoinOperator::Join(on) | JoinOperator::Inner(on) => (Side::Any, on),
            JoinOperator::Left(on) | JoinOperator::LeftOuter(on) => (Side::Left, on),
            JoinOperator::Right(on) | JoinOperator::RightOuter(on) => (Side::Right, on),
            JoinOperator::FullOuter(on) => (Side::Either, on),
            JoinOperator::LeftSemi(on) | JoinOperator::LeftAnti(on) => (Side::Alone, on),
            _ => return None,
        };
        let JoinConstraint::Using(names) = constraint else { return None };
        let names = names.iter().map(|column| match column.0.as_slice() {
            [only] => only.as_ident().map(name),
            _ => None,
        });
        Some(Self { table: table(&join.relation)?, side, names: names.collect::<Option<_>>()? })
    }
}

/// The condition of a join of one of these sides.
pub(super) fn constraint(join: &mut JoinOperator) -> Option<&mut JoinConstraint> {
    match join {
        JoinOperator::Join(on)
        | JoinOperator::Inner(on)
        | JoinOperator::Left(on)
        | JoinOperator::LeftOuter(on)
        | JoinOperator::Right(on)
        | JoinOperator::RightOuter(on)
        | JoinOperator::FullOuter(on)
        | JoinOperator::LeftSemi(on)
        | JoinOperator::LeftAnti(on) => Some(on),
        _ => None,
    }
}

/// The name of a table in its statement, if it has one.
pub(super) fn table(factor: &TableFactor) -> Option<ObjectName> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. }
        | TableFactor::Derived { alias: Some(alias), .. }
        | TableFactor::Function { alias: Some(alias), .. } => {
            Some(ObjectName::from(vec![alias.name.clone()]))
        }
        TableFactor::Table { name, .. } | TableFactor::Function { name, .. } => Some(name.clone()),
        _ => None,
    }
}

/// A column of a table.
pub(super) fn column(table: &ObjectName, name: &str) -> Option<Expr> {
    let mut parts: Vec<Ident> = table.0.iter().map(|part| part.as_ident().cloned()).collect::<Option<_>>()?;
    parts.push(quoted(name));
    Some(Expr::CompoundIdentifier(parts))
}

/// A name that is read as it is.
pub(super) fn quoted(name: &str) -> Ident {
    Ident::with_quote('"', name)
}
