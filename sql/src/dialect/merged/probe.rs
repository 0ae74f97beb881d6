//! A query for the columns of the tables of another, with the table expressions that it can name.

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    Cte, GroupByExpr, ObjectName, Query, Select, SelectItem, SetExpr, Statement as Sql,
    WildcardAdditionalOptions, With,
};

use super::wildcard::of_table;
use crate::expanded::name;

/// Table expressions of a query, and how many of the queries in it were entered: its table expressions first.
struct Scope {
    recursive: bool,
    tables: Vec<Cte>,
    entered: usize,
}

/// Those of the queries around a place in a statement.
#[derive(Default)]
pub(in crate::dialect) struct Scopes(Vec<Scope>);

impl Scopes {
    pub(in crate::dialect) fn enter(&mut self, query: &Query) {
        if let Some(around) = self.0.last_mut() {
            around.entered += 1;
        }
        let (recursive, tables) = match &query.with {
            Some(with) => (with.recursive, with.cte_tables.clone()),
            None => (false, Vec::new()),
        };
        self.0.push(Scope { recursive, tables, entered: 0 });
    }

    pub(in crate::dialect) fn leave(&mut self) {
        self.0.pop();
    }

    /// A query for all columns of the tables of another.
    pub(super) fn probe(&self, select: &Select, tables: &[ObjectName]) -> Statement {
        let of_table = |table| of_table(table, WildcardAdditionalOptions::default());
        let all = of_from(select, tables.iter().map(of_table).collect());
        let query = Query {
            with: self.with(),
            body: Box::new(SetExpr::Select(Box::new(all))),
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

    /// The table expressions that a query can name: those of a query around it end before the one that it is in.
    pub(in crate::dialect) fn with(&self) -> Option<With> {
        let mut cte_tables: Vec<Cte> = Vec::new();
        for (depth, scope) in self.0.iter().rev().enumerate() {
            let before = if depth == 0 { scope.tables.len() } else { scope.entered.saturating_sub(1) };
            let hidden =
                |table: &Cte| cte_tables.iter().any(|own| name(&own.alias.name) == name(&table.alias.name));
            let known: Vec<Cte> =
                scope.tables.iter().take(before).filter(|table| !hidden(table)).cloned().collect();
            drop(cte_tables.splice(0..0, known));
        }
        let recursive = self.0.iter().any(|scope| scope.recursive);
        (!cte_tables.is_empty()).then(|| With { with_token: AttachedToken::empty(), recursive, cte_tables })
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
