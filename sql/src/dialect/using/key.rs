//! A column that the tables of a join have by `USING`, and its value.

use datafusion::sql::sqlparser::ast::Expr;

use super::joined::Side;
use crate::dialect::exprs::call;
use crate::error::SqlError;
use crate::expanded::is_plain_name;

/// A column of several tables.
pub(in crate::dialect) struct MergedColumn {
    pub(in crate::dialect) name: String,
    /// The columns of which the first that is there is its value; none if the tables are not known.
    sides: Vec<Expr>,
    /// The places of its tables, in the order of the text.
    pub(in crate::dialect) tables: Vec<usize>,
    side: Side,
    /// Whether it is known that no other table has a column of this name.
    pub(in crate::dialect) is_only: bool,
}

impl MergedColumn {
    /// Of these columns, each of the table in its place.
    pub(in crate::dialect) fn new(name: &str, sides: Vec<Expr>, tables: Vec<usize>) -> Self {
        Self { name: name.to_owned(), sides, tables, side: Side::Any, is_only: false }
    }

    pub(in crate::dialect) fn is_known(&self) -> bool {
        !self.sides.is_empty()
    }

    pub(in crate::dialect) fn value(&self) -> Expr {
        match self.sides.as_slice() {
            [only] => only.clone(),
            sides => call("coalesce", sides.to_vec()),
        }
    }

    /// Expressions of its value.
    pub(in crate::dialect) fn size(&self) -> usize {
        self.sides.len() + 1
    }

    /// Whether its value is another than that of the first table.
    pub(in crate::dialect) fn is_moved(&self) -> bool {
        self.side > Side::Left
    }

    /// How it is written without `USING`.
    pub(in crate::dialect) fn written(&self) -> String {
        match self.sides.is_empty() {
            true => format!("coalesce(a.{0}, b.{0}) with the names of the tables", self.name),
            false if is_plain_name(&self.name) => self.value().to_string().replace('"', ""),
            false => self.value().to_string(),
        }
    }

    /// The refusal to take it for one column.
    pub(in crate::dialect) fn refused(&self) -> SqlError {
        let why = "of RIGHT or FULL JOIN .. USING is one column only where all tables are joined by it";
        SqlError::invalid(format!("column `{}` {why}", self.name)).hint(format!("write {}", self.written()))
    }

    pub(in crate::dialect) fn join(&mut self, side: Side, other: Expr, place: usize) {
        match side {
            Side::Alone => return,
            Side::Any | Side::Left => {}
            Side::Right => self.sides = vec![other],
            Side::Either => self.sides.push(other),
        }
        self.tables.push(place);
        self.side = self.side.max(side);
    }

    /// A table that has it is not known.
    pub(in crate::dialect) fn forget(&mut self, side: Side) {
        self.sides.clear();
        self.tables.clear();
        self.side = self.side.max(side);
    }
}
