//! `gstore view`: saves statements under names, lists them, or drops them.

use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_core::Cancel;
use gstore_query::hint::listing;
use gstore_sql::SqlOptions;
use gstore_store::{ChangeError, DatasetName, Snapshot, Store, ViewOptions};
use serde_json::json;

use crate::args::{ViewArgs, ViewWhat};
use crate::context::Context;
use crate::failure::{UsageError, refuse};
use crate::statements::{list, session};
use crate::streams::{out, print_json};

/// Times that a statement is planned and saved, where other processes change the views in between.
const ATTEMPTS: usize = 10;

/// Does what the flags say.
pub fn run(context: &Context, args: &ViewArgs) -> Result<()> {
    let store = context.open()?;
    match &args.what {
        ViewWhat::Create { name, sql, force, json } => {
            let name = DatasetName::try_from(name.as_str()).map_err(|error| UsageError(error.to_string()))?;
            let statements = gstore_sql::statements(sql);
            let [sql] = statements.as_slice() else {
                refuse!("a view is one statement; there are {}", statements.len());
            };
            let sql = sql.trim();
            gstore_sql::check_view(sql)?;
            let snapshot = create(context, &store, &name, sql, *force)?;
            match json {
                true => print_json(&json!({ "view": name, "snapshot": snapshot.number() }))?,
                false => {
                    out!("{name}: saved in snapshot {}; write SELECT * FROM {name}", snapshot.number());
                }
            }
        }
        ViewWhat::List { output } => {
            list(context, store.snapshot()?, "SHOW VIEWS", &output.to)?;
        }
        ViewWhat::Drop { name, json } => {
            let seen = store.snapshot()?;
            let readers = gstore_sql::views_that_read(&seen, name);
            let snapshot = store.drop_view(seen.view(name)?, &context.command)?;
            match json {
                true => {
                    let report = json!({ "view": name, "snapshot": snapshot.number(), "readers": readers });
                    print_json(&report)?;
                }
                false => out!("{name}: dropped in snapshot {}", snapshot.number()),
            }
            note_readers(context, name, &readers);
        }
    }
    Ok(())
}

/// Saves a statement. Where another process has changed the views in between, it is planned again.
fn create(
    context: &Context,
    store: &Store,
    name: &DatasetName,
    sql: &str,
    force: bool,
) -> Result<Arc<Snapshot>> {
    for _ in 0..ATTEMPTS {
        // What cannot be planned now is refused now, by the place in it.
        let seen = store.snapshot()?;
        session(context, Arc::clone(&seen), SqlOptions::default())?.columns(sql, &Cancel::new())?;
        // It was planned with the view that it takes the place of.
        let replaces = force && seen.view(name).is_ok();
        if replaces && gstore_sql::view_names_itself(&seen, name, sql) {
            refuse!("the view {name} would name itself; put its old statement in the place of its name");
        }
        let options = ViewOptions { command: context.command.clone(), replace: force };
        match store.create_view(Some(&seen), name, sql, options) {
            Err(ChangeError::Changed(changed)) if changed.can_repeat() => {}
            saved => return Ok(saved?),
        }
    }
    bail!(
        "the views were changed by other processes each of the {ATTEMPTS} times that the statement was planned; \
         {name} is not saved\n  try again when less is written to the store"
    )
}

/// Says which views cannot be read any more without a table that is gone.
pub fn note_readers(context: &Context, table: &str, readers: &[String]) {
    if readers.is_empty() {
        return;
    }
    let noun = if readers.len() == 1 { "the view" } else { "the views" };
    let names = listing(readers.iter().map(String::as_str));
    context.say(&format!("note: {noun} {names} cannot be read until there is a table {table} again"));
}
