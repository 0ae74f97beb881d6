//! Samples of a training, from files or a dataset, and the choice of some of them.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use gstore_core::Cancel;
use gstore_data::Duplicates;
use gstore_store::Store;
use gstore_train::{DataSource, DataSubset};
use serde_json::Value;

use crate::args::TrainRowsArgs;
use crate::condition::rows_where;
use crate::context::Context;
use crate::failure::refuse;

/// Refuses options of files where neither the samples nor `others` are files.
pub fn check_file_options(args: &TrainRowsArgs, others: &[PathBuf]) -> Result<()> {
    if args.dataset.is_none() || !others.is_empty() {
        return Ok(());
    }
    if args.duplicates != Duplicates::Refuse {
        refuse!("--duplicates applies to files, and none is read: ids of a --dataset are unique");
    }
    if !args.fields.is_empty() {
        refuse!(
            "--field applies to files, and none is read: the keys of a --dataset were named when it was added"
        );
    }
    Ok(())
}

/// Where the samples are.
pub fn source(args: &TrainRowsArgs, store: Option<&Store>) -> Result<DataSource> {
    let (Some(name), Some(store)) = (&args.dataset, store) else {
        return Ok(DataSource::Files { paths: args.data.clone(), fields: args.fields.clone() });
    };
    Ok(DataSource::of_dataset(store.snapshot()?, name)?)
}

/// Which of them are trained on.
pub fn subset(
    context: &Context,
    args: &TrainRowsArgs,
    store: Option<&Store>,
    cancel: &Cancel,
) -> Result<DataSubset> {
    let ids = args.rows.as_deref().map(ids_of).transpose()?;
    let rows = match (store, &args.dataset, &args.filter) {
        (Some(store), Some(name), Some(condition)) => {
            let snapshot = store.snapshot()?;
            Some(rows_where(context, &snapshot, snapshot.dataset(name)?, condition, cancel)?)
        }
        _ => None,
    };
    Ok(DataSubset { rows, ids, repeats: args.duplicates, ..DataSubset::default() })
}

/// The ids of a file of JSON lines.
pub fn ids_of(path: &Path) -> Result<HashSet<String>> {
    let mut ids = HashSet::new();
    for (number, line) in BufReader::new(fs_err::File::open(path)?).lines().enumerate() {
        let line = line?;
        let line = if number == 0 { line.trim_start_matches('\u{feff}') } else { line.as_str() };
        if line.trim().is_empty() {
            continue;
        }
        let place = || format!("{}, line {}", path.display(), number + 1);
        let value: Value = serde_json::from_str(line).map_err(|error| {
            let said = error.to_string();
            let what = said.split(" at line ").next().unwrap_or_default();
            anyhow!("{}: malformed JSON at column {}: {what}", place(), error.column())
        })?;
        let id = match value.get("id") {
            Some(Value::String(id)) => id.clone(),
            Some(Value::Number(id)) => id.to_string(),
            _ => bail!("{}: no `id`, which --rows needs to find samples", place()),
        };
        ids.insert(id);
    }
    if ids.is_empty() {
        bail!("{} has no ids", path.display());
    }
    Ok(ids)
}
