//! The names of a store for completion, read when they are first needed.

use std::cell::RefCell;
use std::rc::Rc;

use anyhow::Result;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use gstore_core::{Cancel, Digest};
use gstore_sql::{DATA, OwnTable, SqlOptions, SqlRunner, types_in_sql};
use gstore_store::{SnapshotName, Store};

use crate::context::Context;
use crate::shell::words::{CompletionNames, CompletionTable};
use crate::statements::session;

/// The names of the newest snapshot, read when they are first needed.
pub struct SnapshotNames<'a> {
    context: &'a Context,
    store: &'a Store,
    snapshot: Option<&'a SnapshotName>,
    /// Tables of the user's own.
    pub own: Vec<OwnTable>,
    read: RefCell<Option<(Digest, Rc<CompletionNames>)>>,
}

impl<'a> SnapshotNames<'a> {
    /// Reads nothing yet.
    pub fn new(
        context: &'a Context,
        store: &'a Store,
        snapshot: Option<&'a SnapshotName>,
        own: Vec<OwnTable>,
    ) -> Self {
        Self { context, store, snapshot, own, read: RefCell::new(None) }
    }

    /// The names of the snapshot that the next statement reads.
    pub fn words(&self) -> Result<Rc<CompletionNames>> {
        let (snapshot, _lease) = self.context.snapshot(self.store, self.snapshot)?;
        let digest = snapshot.digest();
        if let Some((read, words)) = self.read.borrow().as_ref()
            && *read == digest
        {
            return Ok(Rc::clone(words));
        }
        let options = SqlOptions { own: self.own.clone(), ..SqlOptions::default() };
        let words = Rc::new(words_of(&session(self.context, snapshot, options)?)?);
        *self.read.borrow_mut() = Some((digest, Rc::clone(&words)));
        Ok(words)
    }
}

const COLUMNS: &str =
    "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns";
const FUNCTIONS: &str = "SHOW FUNCTIONS";
const VIEWS: &str = "SELECT name FROM gstore.views ORDER BY 1";
const FEATURES: &str = "SELECT DISTINCT dataset, label FROM gstore.features ORDER BY 1, 2";
const CHECKPOINTS: &str = "SELECT run, name FROM gstore.checkpoints ORDER BY 1, 2";

fn words_of(runner: &SqlRunner) -> Result<CompletionNames> {
    let mut words = CompletionNames::default();
    for [schema, table, column, kind] in texts::<4>(runner, COLUMNS)? {
        if schema == "information_schema" {
            continue;
        }
        let is_dataset = schema == DATA;
        let name = if is_dataset { table } else { format!("{schema}.{table}") };
        let column = (column, types_in_sql(&kind));
        match words.tables.iter_mut().rfind(|known| known.name == name) {
            Some(known) => known.columns.push(column),
            None => words.tables.push(CompletionTable { name, is_dataset, columns: vec![column] }),
        }
    }
    for [name] in texts::<1>(runner, VIEWS)? {
        // A view may be of what is not there any more: then its columns are not known.
        let columns = texts::<2>(runner, &format!("DESCRIBE \"{name}\"")).unwrap_or_default();
        let columns = columns.into_iter().map(|[column, kind]| (column, types_in_sql(&kind))).collect();
        words.tables.push(CompletionTable { name, is_dataset: false, columns });
    }
    let is_name = |name: &String| name.chars().all(|c| c.is_alphanumeric() || c == '_');
    words.functions = texts::<1>(runner, FUNCTIONS)?.into_iter().map(|[name]| name).filter(is_name).collect();
    // One of rows and of windows is there twice.
    words.functions.dedup();
    words.features =
        texts::<2>(runner, FEATURES)?.into_iter().map(|[dataset, label]| (dataset, label)).collect();
    for [run, name] in texts::<2>(runner, CHECKPOINTS)? {
        words.checkpoints.push(name);
        if words.runs.last() != Some(&run) {
            words.runs.push(run);
        }
    }
    words.checkpoints.sort();
    words.checkpoints.dedup();
    Ok(words)
}

/// The rows of a statement whose columns are texts.
pub fn texts<const N: usize>(runner: &SqlRunner, sql: &str) -> Result<Vec<[String; N]>> {
    let cancel = Cancel::new();
    let mut found = Vec::new();
    for batch in runner.run(sql, &cancel)? {
        let batch = batch?;
        for row in 0..batch.num_rows() {
            let cell = |i: usize| batch.columns().get(i).map(|column| text(column, row)).unwrap_or_default();
            found.push(std::array::from_fn(cell));
        }
    }
    Ok(found)
}

fn text(column: &ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    let plain = column.as_string_opt::<i32>().map(|texts| texts.value(row));
    plain.or_else(|| column.as_string_view_opt().map(|texts| texts.value(row))).unwrap_or_default().to_owned()
}
