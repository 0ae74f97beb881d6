//! Names in the text of statements: the tables of any, the views that read a table, and the views that a client
//! sees, which are those whose tables, datasets, artifacts and ensembles it can see.
//!
//! The store hides views by the words of their text, and knows the names of the datasets that there are. One
//! that was dropped may be one that the client was never to see.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{ObjectName, Statement as Sql, TableFactor};
use gstore_store::{Snapshot, View};

use super::calls::{ArgumentKind, NamingArgument, arguments, query_of_condition};
use super::candidates::MOST_NESTED;
use super::dialect::{self, visit_outer_tables_mut};
use super::names::DATA;
use super::views;
use super::walk::{inner, visit_relations};

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
    ViewNames::of(&view.sql).is_some_and(|names| {
        !names.is_open
            && names.tables.iter().all(has)
            && names.artifacts.iter().all(|name| snapshot.artifact(name).is_ok())
            && names.ensembles.iter().all(|name| snapshot.ensemble(name).is_ok())
    })
}

/// The views of a snapshot that name this dataset or view.
pub fn that_read(snapshot: &Snapshot, table: &str) -> Vec<String> {
    let is_read = |view: &&View| ViewNames::of(&view.sql).is_some_and(|names| names.tables.contains(table));
    snapshot.views().iter().filter(is_read).map(|view| view.name.clone()).collect()
}

/// The datasets and views that a statement names where a table stands, in the conditions of rankings too; one
/// that cannot be parsed names none.
pub fn named_tables(sql: &str) -> BTreeSet<String> {
    ViewNames::of(sql).map(|names| names.from).unwrap_or_default()
}

/// Whether a view of this name and text would name itself, in whatever way.
pub fn names_itself(snapshot: &Snapshot, name: &str, text: &str) -> bool {
    let mut known = named_tables(text);
    while !known.contains(name) {
        let before = known.len();
        let views = snapshot.views().iter().filter(|view| known.contains(&view.name));
        let named: Vec<String> = views.flat_map(|view| named_tables(&view.sql)).collect();
        known.extend(named);
        if known.len() == before {
            return false;
        }
    }
    true
}

/// What a view, or another statement, names.
#[derive(Default)]
struct ViewNames {
    /// Datasets and views where a table stands.
    from: BTreeSet<String>,
    /// Datasets and views, in FROM and in arguments of functions.
    tables: BTreeSet<String>,
    artifacts: Vec<String>,
    ensembles: Vec<String>,
    /// Whether some names are known only once they are computed.
    is_open: bool,
    /// Conditions around the text that is read.
    depth: usize,
}

impl ViewNames {
    /// `None` of a text that cannot be parsed.
    fn of(sql: &str) -> Option<Self> {
        let mut names = Self::default();
        names.add_all(sql).then_some(names)
    }

    /// Adds what a text names; false of one that cannot be parsed.
    fn add_all(&mut self, sql: &str) -> bool {
        let Ok(mut statement) = dialect::parse(sql) else { return false };
        let Some(sql) = inner(&mut statement) else { return false };
        match sql {
            Sql::Query(_) | Sql::Explain { .. } => visit_outer_tables_mut(sql, |factor| self.add(factor)),
            // A table that is described stands in no query.
            _ => visit_relations(&*sql, |name| self.from.extend(views::table_name(name))),
        }
        true
    }

    fn add(&mut self, factor: &TableFactor) {
        match factor {
            TableFactor::Table { name, args: None, .. } => self.add_table(name),
            // A call in brackets.
            TableFactor::TableFunction { .. } => self.is_open = true,
            _ => {}
        }
        for NamingArgument { kind, texts, .. } in arguments(factor) {
            match texts {
                Some(texts) => texts.into_iter().for_each(|text| self.add_argument(kind, text)),
                None => self.is_open = true,
            }
        }
    }

    /// Tables of other schemas are the same for all.
    fn add_table(&mut self, name: &ObjectName) {
        self.from.extend(views::table_name(name));
        let parts = views::parts(name).unwrap_or_default();
        let Some((table, schemas)) = parts.split_last() else {
            self.is_open = true;
            return;
        };
        if schemas.last().is_none_or(|schema| schema.eq_ignore_ascii_case(DATA)) {
            self.tables.insert(table.clone());
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
            // Those further inside cannot run.
            ArgumentKind::Condition if self.depth == MOST_NESTED => self.is_open = true,
            ArgumentKind::Condition => {
                self.depth += 1;
                self.is_open |= !self.add_all(&query_of_condition(text));
                self.depth -= 1;
            }
        }
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
            ("of_some", "SELECT id FROM influence('a', 'b', where => 'id IN (SELECT x FROM b)')"),
            ("of_gone", "SELECT id FROM influence('a', 'b', where => $$id IN (SELECT id FROM gone)$$)"),
            (
                "deep_gone",
                "SELECT id FROM nearest('a', id => 'x', where => $$id IN (SELECT id FROM \
                 influence('a', 'b', where => 'id IN (SELECT id FROM gone)'))$$)",
            ),
            ("of_escaped", "SELECT id FROM influence('a', 'b', where => E'id IN (SELECT id FROM g\\x6fne)')"),
            ("of_open", "SELECT id FROM self_influence('a', where => 'id' || ' IN (SELECT id FROM gone)')"),
        ] {
            let name = DatasetName::try_from(name).unwrap();
            store.create_view(None, &name, sql, ViewOptions::default()).unwrap();
        }
        let snapshot = store.snapshot().unwrap().only(|_| true);
        assert_eq!(
            that_read(&snapshot, "gone"),
            [
                "deep_gone",
                "inside",
                "list_gone",
                "of_gone",
                "own_gone",
                "pool_gone",
                "second_gone",
                "table_gone",
                "target_gone"
            ]
        );
        let shown = with_whole_views(snapshot);
        let names: Vec<&str> = shown.views().iter().map(|view| view.name.as_str()).collect();
        assert_eq!(
            names,
            ["a", "b", "listed", "of_none", "of_some", "subtask_of", "system", "upon", "whole"]
        );
    }
}
