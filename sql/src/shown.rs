//! Visibility of views: a client is shown those that name no table or dataset which its snapshot lacks.
//!
//! The store hides views by the words of their text, and knows the names of the datasets that there are. One that was
//! dropped may be one that the client was never to see.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableFactor, Value, Visit, Visitor,
};
use gstore_store::{Snapshot, View};

use super::catalog::DATA;
use super::guard;
use super::parameters::inner;
use super::views::OwnNames;

/// Table functions, and how many of their first arguments are datasets.
const FUNCTIONS: [(&str, usize); 7] = [
    ("influence", 2),
    ("daunce", 2),
    ("excluded", 2),
    ("self_influence", 1),
    ("nearest", 1),
    ("predicted", 1),
    ("vectors", 1),
];
/// Names of these arguments.
const DATASETS: [&str; 3] = ["pool", "target", "dataset"];

/// The snapshot of a client without the views that name a table or dataset that it lacks, and those that name
/// such a view in turn.
pub fn with_whole_views(mut snapshot: Snapshot) -> Snapshot {
    loop {
        let views = snapshot.views().iter().filter(|view| !is_whole(&snapshot, view));
        let gone: Vec<String> = views.map(|view| view.name.clone()).collect();
        if gone.is_empty() {
            return snapshot;
        }
        snapshot = snapshot.without_views(&gone);
    }
}

fn is_whole(snapshot: &Snapshot, view: &View) -> bool {
    let Ok(mut statement) = guard::parse(&view.sql) else { return false };
    let Some(sql) = inner(&mut statement) else { return false };
    let mut own = OwnNames::default();
    let _ = sql.visit(&mut own);
    sql.visit(&mut Whole { snapshot, own: own.0 }).is_continue()
}

/// Ends at a name that the snapshot does not have.
struct Whole<'a> {
    snapshot: &'a Snapshot,
    /// Names that the statement gives itself.
    own: HashSet<String>,
}

impl Visitor for Whole<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        let is_there = match factor {
            TableFactor::Table { name, args: None, .. } => self.has_table(name),
            TableFactor::Table { name, args: Some(args), .. } => self.has_datasets(name, &args.args),
            TableFactor::Function { name, args, .. } => self.has_datasets(name, args),
            // A call in brackets.
            TableFactor::TableFunction { .. } => false,
            _ => true,
        };
        if is_there { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

impl Whole<'_> {
    fn has(&self, name: &str) -> bool {
        self.snapshot.datasets().iter().any(|dataset| dataset.name.eq_ignore_ascii_case(name))
            || self.snapshot.views().iter().any(|view| view.name.eq_ignore_ascii_case(name))
    }

    /// Tables of other schemas are the same for all.
    fn has_table(&self, name: &ObjectName) -> bool {
        let parts = idents(name);
        let Some((table, schemas)) = parts.split_last() else { return false };
        schemas.last().is_some_and(|schema| !schema.value.eq_ignore_ascii_case(DATA))
            || self.own.contains(&table.value.to_lowercase())
            || self.has(&table.value)
    }

    fn has_datasets(&self, function: &ObjectName, args: &[FunctionArg]) -> bool {
        let name = idents(function).last().map(|name| name.value.to_lowercase());
        let known = FUNCTIONS.iter().find(|(known, _)| name.as_deref() == Some(*known));
        let Some((_, places)) = known else { return true };
        args.iter().enumerate().all(|(place, arg)| {
            let (is_dataset, value) = match arg {
                FunctionArg::Named { name, arg, .. } => (is_named(&name.value), arg),
                FunctionArg::ExprNamed { name, arg, .. } => (is_named(&name.to_string()), arg),
                FunctionArg::Unnamed(arg) => (place < *places, arg),
            };
            !is_dataset || named(value).is_some_and(|names| names.iter().all(|name| self.has(name)))
        })
    }
}

fn idents(name: &ObjectName) -> Vec<&Ident> {
    name.0.iter().filter_map(|part| part.as_ident()).collect()
}

fn is_named(name: &str) -> bool {
    DATASETS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The datasets that an argument names; `None` where they are known only once it is computed.
fn named(value: &FunctionArgExpr) -> Option<Vec<&str>> {
    match value {
        FunctionArgExpr::Expr(expr) => of_expr(expr),
        _ => None,
    }
}

fn of_expr(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Value(value) => match &value.value {
            // Several datasets with commas, each with its subtask after a colon.
            Value::SingleQuotedString(text) => {
                let dataset = text.split(',').map(|part| part.split_once(':').map_or(part, |(name, _)| name));
                Some(dataset.map(str::trim).collect())
            }
            Value::Null => Some(Vec::new()),
            _ => None,
        },
        Expr::Array(array) => {
            let each: Option<Vec<_>> = array.elem.iter().map(of_expr).collect();
            each.map(|names| names.concat())
        }
        Expr::Nested(inner) => of_expr(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use gstore_store::{DatasetName, Store, ViewOptions};

    use super::*;

    #[test]
    fn a_view_that_names_what_is_not_there_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path().join("s")).unwrap();
        // A view is looked up where a dataset is, and is there to see.
        for (name, sql) in [
            ("a", "SELECT 1 AS x"),
            ("b", "SELECT 2 AS x"),
            ("listed", "SELECT id FROM influence('a, b', ['a:x', 'b'])"),
            ("subtask_of", "SELECT id FROM influence(pool => ('a'), target => 'a:x,b:y', k => 5)"),
            ("whole", "WITH a AS (SELECT 1 AS x) SELECT x FROM a JOIN generate_series(1, 3) ON value = x"),
            ("system", "SELECT name FROM gstore.tags UNION SELECT table_name FROM information_schema.tables"),
            ("upon", "SELECT x FROM Whole"),
            ("table_gone", "SELECT id FROM (SELECT * FROM store.data.gone)"),
            ("upon_gone", "SELECT id FROM table_gone"),
            ("pool_gone", "SELECT row FROM vectors('gone', 'grad-adam')"),
            ("target_gone", "SELECT id FROM influence(target => 'gone:task=x', pool => 'gone')"),
            ("second_gone", "SELECT id FROM influence('a', 'a:x,gone:y')"),
            ("list_gone", "SELECT id FROM influence('a', ['b', 'gone'])"),
            ("computed", "SELECT id FROM influence('a', 'go' || 'ne')"),
            ("inside", "SELECT 1 AS x WHERE EXISTS (SELECT 1 FROM gone)"),
        ] {
            let name = DatasetName::try_from(name).unwrap();
            store.create_view(&name, sql, ViewOptions::default()).unwrap();
        }
        let snapshot = store.snapshot().unwrap().only(|_| true);
        let shown = with_whole_views(snapshot);
        let names: Vec<&str> = shown.views().iter().map(|view| view.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "listed", "subtask_of", "system", "upon", "whole"]);
    }
}
