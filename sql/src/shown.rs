//! Names in the text of views: the views that read a table, and the views that a client sees, which are those
//! whose tables, datasets, artifacts and ensembles it can see.
//!
//! The store hides views by the words of their text, and knows the names of the datasets that there are. One
//! that was dropped may be one that the client was never to see.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableFactor, Value,
};
use gstore_store::{Snapshot, View};

use super::dialect::{self, visit_outer_tables_mut};
use super::expanded;
use super::names::{DATA, TABLE_FUNCTIONS, TableFunctionInfo};
use super::walk::inner;

/// What an argument names.
#[derive(Clone, Copy)]
enum ArgumentKind {
    Datasets,
    Artifact,
    Ensemble,
}

impl ArgumentKind {
    /// Of an argument by its name.
    fn by_name(name: &str) -> Option<Self> {
        match name.to_lowercase().as_str() {
            "pool" | "target" | "dataset" => Some(Self::Datasets),
            "precondition" | "prefilter" => Some(Self::Artifact),
            "ensemble" => Some(Self::Ensemble),
            _ => None,
        }
    }

    /// Of an argument of a function by its place, with how many of the first are datasets.
    fn by_place(function: &str, place: usize, datasets: usize) -> Option<Self> {
        match function {
            _ if place < datasets => Some(Self::Datasets),
            "predicted" if place == datasets => Some(Self::Artifact),
            _ => None,
        }
    }
}

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
    let has = |name: &String| {
        snapshot.datasets().iter().any(|dataset| dataset.name.eq_ignore_ascii_case(name))
            || snapshot.views().iter().any(|view| view.name.eq_ignore_ascii_case(name))
    };
    ViewNames::of(view).is_some_and(|names| {
        !names.is_open
            && names.tables.iter().all(has)
            && names.artifacts.iter().all(|name| snapshot.artifact(name).is_ok())
            && names.ensembles.iter().all(|name| snapshot.ensemble(name).is_ok())
    })
}

/// The views of a snapshot that name this dataset or view.
pub fn that_read(snapshot: &Snapshot, table: &str) -> Vec<String> {
    let is_read = |view: &&View| ViewNames::of(view).is_some_and(|names| names.tables.contains(table));
    snapshot.views().iter().filter(is_read).map(|view| view.name.clone()).collect()
}

/// What a view names.
#[derive(Default)]
struct ViewNames {
    /// Datasets and views, in FROM and in arguments of functions.
    tables: BTreeSet<String>,
    artifacts: Vec<String>,
    ensembles: Vec<String>,
    /// Whether some names are known only once they are computed.
    is_open: bool,
}

impl ViewNames {
    /// `None` of a text that cannot be parsed.
    fn of(view: &View) -> Option<Self> {
        let mut statement = dialect::parse(&view.sql).ok()?;
        let sql = inner(&mut statement)?;
        let mut names = Self::default();
        visit_outer_tables_mut(sql, |factor| names.add(factor));
        Some(names)
    }

    fn add(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { name, args: None, .. } => self.add_table(name),
            TableFactor::Table { name, args: Some(args), .. } => self.add_arguments(name, &args.args),
            TableFactor::Function { name, args, .. } => self.add_arguments(name, args),
            // A call in brackets.
            TableFactor::TableFunction { .. } => self.is_open = true,
            _ => {}
        }
    }

    /// Tables of other schemas are the same for all.
    fn add_table(&mut self, name: &ObjectName) {
        let parts = idents(name);
        match parts.split_last() {
            Some((table, schemas)) => {
                let schema = schemas.last();
                if schema.is_none_or(|schema| schema.value.eq_ignore_ascii_case(DATA)) {
                    self.tables.insert(expanded::name(table));
                }
            }
            None => self.is_open = true,
        }
    }

    fn add_arguments(&mut self, function: &ObjectName, args: &[FunctionArg]) {
        let name = idents(function).last().map(|name| name.value.to_lowercase());
        let known = TABLE_FUNCTIONS.into_iter().find(|known| name.as_deref() == Some(known.name));
        let Some(TableFunctionInfo { name: function, datasets, .. }) = known else { return };
        for (place, arg) in args.iter().enumerate() {
            let (kind, value) = match arg {
                FunctionArg::Named { name, arg, .. } => (ArgumentKind::by_name(&name.value), arg),
                FunctionArg::ExprNamed { name, arg, .. } => (ArgumentKind::by_name(&name.to_string()), arg),
                FunctionArg::Unnamed(arg) => (ArgumentKind::by_place(function, place, datasets), arg),
            };
            let Some(kind) = kind else { continue };
            match texts(value) {
                Some(texts) => texts.into_iter().for_each(|text| self.add_argument(kind, text)),
                None => self.is_open = true,
            }
        }
    }

    fn add_argument(&mut self, kind: ArgumentKind, text: &str) {
        match kind {
            // Several with commas, each with its subtask after a colon.
            ArgumentKind::Datasets => {
                let names = text.split(',').map(|part| part.split_once(':').map_or(part, |(name, _)| name));
                self.tables.extend(names.map(|name| name.trim().to_owned()));
            }
            ArgumentKind::Artifact => self.artifacts.push(text.trim().to_owned()),
            ArgumentKind::Ensemble => self.ensembles.push(text.trim().to_owned()),
        }
    }
}

fn idents(name: &ObjectName) -> Vec<&Ident> {
    name.0.iter().filter_map(|part| part.as_ident()).collect()
}

/// The texts of an argument; `None` where they are known only once it is computed.
fn texts(value: &FunctionArgExpr) -> Option<Vec<&str>> {
    match value {
        FunctionArgExpr::Expr(expr) => of_expr(expr),
        _ => None,
    }
}

fn of_expr(expr: &Expr) -> Option<Vec<&str>> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(vec![text.as_str()]),
            Value::Null => Some(Vec::new()),
            _ => None,
        },
        Expr::Array(array) => {
            let each: Option<Vec<_>> = array.elem.iter().map(of_expr).collect();
            each.map(|texts| texts.concat())
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
            ("whole", "WITH a AS (SELECT 1 AS x) SELECT x FROM a JOIN range(3) ON range = x"),
            ("system", "SELECT name FROM gstore.tags UNION SELECT table_name FROM information_schema.tables"),
            ("upon", "SELECT x FROM Whole"),
            ("table_gone", "SELECT id FROM (SELECT * FROM store.data.gone)"),
            ("upon_gone", "SELECT id FROM table_gone"),
            ("pool_gone", "SELECT row FROM vectors('gone', 'grad-adam')"),
            ("target_gone", "SELECT id FROM influence(target => 'gone:task=x', pool => 'gone')"),
            ("second_gone", "SELECT id FROM influence('a', 'a:x,gone:y')"),
            ("list_gone", "SELECT id FROM influence('a', ['b', 'gone'])"),
            ("computed", "SELECT id FROM influence('a', 'go' || 'ne')"),
            ("of_none", "SELECT id FROM influence('a', 'b', precondition => NULL, ensemble => NULL)"),
            ("sums_gone", "SELECT id FROM influence('a', 'b', Precondition => 'gone')"),
            ("models_gone", "SELECT id FROM daunce('a', 'b', ensemble => 'gone')"),
            ("prefilter_gone", "SELECT id FROM predicted('a', 'gone')"),
            ("named_gone", "SELECT id FROM predicted(dataset => 'a', prefilter => 'gone')"),
            ("inside", "SELECT 1 AS x WHERE EXISTS (SELECT 1 FROM gone)"),
            ("own_gone", "WITH gone AS (SELECT id FROM gone) SELECT id FROM gone"),
        ] {
            let name = DatasetName::try_from(name).unwrap();
            store.create_view(&name, sql, ViewOptions::default()).unwrap();
        }
        let snapshot = store.snapshot().unwrap().only(|_| true);
        assert_eq!(
            that_read(&snapshot, "gone"),
            ["inside", "list_gone", "own_gone", "pool_gone", "second_gone", "table_gone", "target_gone"]
        );
        let shown = with_whole_views(snapshot);
        let names: Vec<&str> = shown.views().iter().map(|view| view.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "listed", "of_none", "subtask_of", "system", "upon", "whole"]);
    }
}
