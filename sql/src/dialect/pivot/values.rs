//! `PIVOT t ON x` without IN: its values are those that `x` has, found by a query before the statement is
//! planned.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::ControlFlow;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_schema::DataType;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    DataType as SqlType, Expr, ExprWithAlias, Ident, PivotValueSource, Query, SelectItem, Statement as Sql,
    TableFactor, TableWithJoins, VisitorMut,
};
use futures::future::BoxFuture;

use super::{MOST_COLUMNS, derived, only, parsed, put_query, select};
use crate::dialect::exprs::{cast, text};
use crate::dialect::scopes::{Scopes, Stop, question};
use crate::error::SqlError;
use crate::walk::{VisitMut, inner};

/// Most PIVOTs of a statement whose values are looked up.
const MOST: usize = 10;

/// What answers the query for values.
type RowsOf<'a> = dyn Fn(Statement) -> BoxFuture<'a, Result<Vec<RecordBatch>, SqlError>> + Sync + 'a;

/// The values that were found, by the text of their query: a statement is planned again where its names get
/// other letters.
#[derive(Default)]
pub(crate) struct PivotValues(HashMap<String, Values>);

/// Puts queries in the place of these.
pub(crate) async fn expand(
    statement: &mut Statement,
    known: &mut PivotValues,
    rows_of: &RowsOf<'_>,
) -> Result<(), SqlError> {
    let (mut values, mut probes) = (None, 0);
    let Some(sql) = inner(statement) else { return Ok(()) };
    loop {
        let walk = || sql.visit(&mut Open { values: values.take(), scopes: Scopes::default() });
        let Some(Probe { on, query }) = question(walk)? else { return Ok(()) };
        probes += 1;
        if probes > MOST {
            return Err(SqlError::refused(format!(
                "the statement has more than {MOST} PIVOT without values"
            )));
        }
        let answer = match known.0.entry(query.to_string()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(found(&on, query, rows_of).await?),
        };
        values = Some(answer.clone());
    }
}

/// The values of a column, as texts in its order.
#[derive(Clone)]
struct Values {
    names: Vec<String>,
    are_texts: bool,
}

async fn found(on: &Expr, query: Box<Query>, rows_of: &RowsOf<'_>) -> Result<Values, SqlError> {
    let probe = Statement::Statement(Box::new(Sql::Query(query)));
    let mut values = Values { names: Vec::new(), are_texts: false };
    for batch in rows_of(probe).await? {
        let [value, name] = batch.columns() else { return Err(SqlError::internal("the values of a PIVOT")) };
        values.are_texts = value.data_type().is_string();
        let name = arrow_cast::cast(name, &DataType::Utf8)
            .map_err(|_| SqlError::internal("the names of the values of a PIVOT"))?;
        values.names.extend(name.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    values.names.dedup();
    if values.names.len() > MOST_COLUMNS {
        let why = format!("PIVOT makes at most {MOST_COLUMNS} columns, and {on} has more values");
        let hint = "name those that are meant: ON x IN ('a', 'b')";
        return Err(SqlError::refused(why).at_start_of(on).hint(hint));
    }
    Ok(values)
}

/// The query for the values of one.
struct Probe {
    on: Expr,
    query: Box<Query>,
}

struct Open {
    /// Those of the first PIVOT that has none.
    values: Option<Values>,
    scopes: Scopes,
}

impl Open {
    fn factor(&mut self, factor: &mut TableFactor) -> Result<Stop<Probe>, SqlError> {
        if let TableFactor::Pivot { table, value_column, value_source, .. } = factor {
            let on = only(value_column)?;
            let Some(values) = self.values.take() else {
                let query = self.probe(on, table)?;
                return Ok(Stop::Ask(Box::new(Probe { on: on.clone(), query })));
            };
            if !values.are_texts {
                *value_column = vec![cast(on.clone(), SqlType::Varchar(None))];
            }
            let value = |name: &String| ExprWithAlias { expr: text(name), alias: None };
            *value_source = PivotValueSource::List(values.names.iter().map(value).collect());
        }
        put_query(factor)?;
        Ok(Stop::Again)
    }

    /// The query for the values of a column: one more than there may be.
    fn probe(&self, on: &Expr, table: &TableFactor) -> Result<Box<Query>, SqlError> {
        let mut distinct = parsed("SELECT DISTINCT v FROM t")?;
        let of_column = select(&mut distinct)?;
        of_column.projection =
            vec![SelectItem::ExprWithAlias { expr: on.clone(), alias: Ident::with_quote('"', "v") }];
        of_column.from = vec![TableWithJoins { relation: table.clone(), joins: Vec::new() }];
        let mut query = parsed(&format!(
            "SELECT v, CAST(v AS VARCHAR) AS name FROM t WHERE v IS NOT NULL ORDER BY v LIMIT {}",
            MOST_COLUMNS + 1
        ))?;
        let of_values = select(&mut query)?;
        of_values.from = vec![TableWithJoins { relation: derived(distinct, None), joins: Vec::new() }];
        query.with = self.scopes.with();
        Ok(query)
    }
}

impl VisitorMut for Open {
    type Break = Stop<Probe>;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        self.scopes.enter(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Self::Break> {
        self.scopes.leave();
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if !matches!(factor, TableFactor::Pivot { .. }) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(self.factor(factor).unwrap_or_else(Stop::from))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow_array::{ArrayRef, StringArray};
    use arrow_schema::{Field, Schema};
    use futures::FutureExt;
    use futures::executor::block_on;
    use futures::future::ready;

    use super::*;
    use crate::dialect::parse;

    #[test]
    fn the_query_for_values_runs_once_for_each_text() {
        let runs = AtomicUsize::new(0);
        let rows_of = |_: Statement| {
            runs.fetch_add(1, Ordering::Relaxed);
            let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
            let fields = ["v", "name"].map(|name| Field::new(name, DataType::Utf8, true));
            let schema = Arc::new(Schema::new(fields.to_vec()));
            let batch = RecordBatch::try_new(schema, vec![Arc::clone(&names), names]).unwrap();
            ready(Ok::<_, SqlError>(vec![batch])).boxed()
        };
        let mut known = PivotValues::default();
        for (sql, expected) in [
            ("PIVOT t ON k USING sum(x)", 1),
            ("PIVOT t ON k USING sum(\"X\")", 1),
            ("PIVOT t ON \"K\" USING sum(x)", 2),
        ] {
            let mut statement = parse(sql).unwrap();
            block_on(expand(&mut statement, &mut known, &rows_of)).unwrap();
            assert!(statement.to_string().contains("= 'b') AS \"b\""), "{statement}");
            assert_eq!(runs.load(Ordering::Relaxed), expected, "{sql}");
        }
    }
}
