//! A query for the columns of the tables of another, with the table expressions that it can name.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    GroupByExpr, ObjectName, Query, Select, SelectItem, SetExpr, Statement as Sql, WildcardAdditionalOptions,
};

use super::wildcard::of_table;
use crate::dialect::scopes::Scopes;

impl Scopes {
    /// A query for all columns of the tables of another.
    pub(super) fn probe(&self, select: &Select, tables: &[ObjectName]) -> Statement {
        let of_table = |table| of_table(table, WildcardAdditionalOptions::default());
        self.query(of_from(select, tables.iter().map(of_table).collect()))
    }

    /// A query with the table expressions that it can name here.
    pub(in crate::dialect) fn query(&self, select: Select) -> Statement {
        let query = Query {
            with: self.with(),
            body: Box::new(SetExpr::Select(Box::new(select))),
            order_by: None,
            limit_clause: None,
            fetch: None,
            locks: Vec::new(),
            for_clause: None,
            settings: None,
            format_clause: None,
            pipe_operators: Vec::new(),
        };
        Statement::Statement(Box::new(Sql::Query(Box::new(query))))
    }
}

/// Columns of the tables of a SELECT, without its other clauses.
pub(in crate::dialect) fn of_from(select: &Select, projection: Vec<SelectItem>) -> Select {
    Select {
        projection,
        distinct: None,
        group_by: GroupByExpr::Expressions(Vec::new(), Vec::new()),
        having: None,
        qualify: None,
        selection: None,
        named_window: Vec::new(),
        ..select.clone()
    }
}
