//! `gstore info`: describes the store, a dataset, a run, an ensemble or a feature.

mod ensemble;
mod features;

use anyhow::{Result, bail};
use gstore_core::did_you_mean;
use gstore_store::{ColumnDef, DatasetPart, FeaturePart, RunPart, Snapshot, Store};
use serde_json::{Value, json};

use crate::args::InfoArgs;
use crate::context::Context;
use crate::streams::{out, print_json};

pub fn run(context: &Context, args: &InfoArgs) -> Result<()> {
    let store = context.open()?;
    let (snapshot, _lease) = context.snapshot(&store, args.snapshot.as_ref())?;
    let value = match args.name.as_deref() {
        None => describe_store(&store, &snapshot)?,
        Some(name) => describe_named(context, &snapshot, name)?,
    };
    if args.json {
        print_json(&value)?;
    } else if value.get("ensemble").is_some() {
        ensemble::print(value)?;
    } else {
        print(&value, 0)?;
    }
    Ok(())
}

fn describe_named(context: &Context, snapshot: &Snapshot, name: &str) -> Result<Value> {
    if let Ok(part) = snapshot.dataset(name) {
        return dataset(snapshot, part);
    }
    if let Ok(part) = snapshot.run(name) {
        return Ok(run_of(part));
    }
    if let Ok(part) = snapshot.ensemble(name) {
        return Ok(ensemble::describe(snapshot, part));
    }
    let features: Vec<&FeaturePart> = snapshot
        .features()
        .iter()
        .map(AsRef::as_ref)
        .filter(|f| {
            f.attrs.label == name
                || f.display_name() == name
                || f.number.to_string() == name
                || f.key.starts_with(name) && name.len() >= 8
        })
        .collect();
    if !features.is_empty() {
        return Ok(match features.as_slice() {
            [one] => feature(snapshot, one, true)?,
            several => {
                let all: Vec<Value> =
                    several.iter().map(|f| feature(snapshot, f, false)).collect::<Result<_>>()?;
                json!({ "features": all })
            }
        });
    }
    let known = snapshot
        .datasets()
        .iter()
        .map(|d| d.name.as_str())
        .chain(snapshot.runs().iter().map(|r| r.name.as_str()))
        .chain(snapshot.ensembles().iter().map(|e| e.name.as_str()))
        .chain(snapshot.features().iter().map(|f| f.attrs.label.as_str()));
    let near = did_you_mean(name, known);
    let store = context.at_store();
    bail!("there is no dataset, run, ensemble or feature `{name}`{near} (`gstore ls{store}` lists them)")
}

fn describe_store(store: &Store, snapshot: &Snapshot) -> Result<Value> {
    let bytes: u64 = snapshot.features().iter().map(|f| f.bytes()).sum();
    let samples: u64 = snapshot.datasets().iter().flat_map(|d| &d.files).map(|f| f.len).sum();
    let artifacts: u64 = snapshot.artifacts()?.iter().map(|name| snapshot.artifact_bytes(name)).sum();
    Ok(json!({
        "store": store.path().display().to_string(),
        "snapshot": snapshot.number(),
        "datasets": snapshot.datasets().iter().map(|d| d.name.clone()).collect::<Vec<_>>(),
        "runs": snapshot.runs().iter().map(|r| r.name.clone()).collect::<Vec<_>>(),
        "features": snapshot.features().len(),
        "bytes_of_vectors": bytes,
        "bytes_of_samples": samples,
        "bytes_of_artifacts": artifacts,
    }))
}

fn dataset(snapshot: &Snapshot, part: &DatasetPart) -> Result<Value> {
    let features: Vec<Value> = snapshot
        .features_of(&part.name)
        .into_iter()
        .filter(|f| f.desc.ensemble.is_none())
        .map(|f| feature(snapshot, f, false))
        .collect::<Result<_>>()?;
    let live = snapshot.live_rows(part)?;
    Ok(json!({
        "dataset": part.name,
        "rows": part.rows,
        "columns": part.columns.iter().map(column).collect::<Vec<_>>(),
        "encodings": part.encodings.iter().map(|e| json!({
            "label": part.encoding_label(e), "template": e.spec.template, "max_length": e.spec.max_length, "rows": e.rows().intersection(&live).len(),
        })).collect::<Vec<_>>(),
        "features": features,
    }))
}

fn column(column: &ColumnDef) -> Value {
    json!({ "name": column.name, "type": column.ty.to_string() })
}

fn run_of(part: &RunPart) -> Value {
    json!({
        "run": part.name,
        "checkpoints": part.checkpoints.iter().map(|c| json!({
            "name": c.name, "step": c.step, "weight": c.weight, "base": c.base, "checkpoint": c.checkpoint.to_string(),
            "provenance": c.provenance,
        })).collect::<Vec<_>>(),
    })
}

fn feature(snapshot: &Snapshot, part: &FeaturePart, whole: bool) -> Result<Value> {
    let coverage = snapshot.coverage(part)?;
    // A checkpoint may belong to several runs, of which the first is named.
    let named = part.desc.checkpoint.as_ref().and_then(|id| {
        let run = snapshot.run_with(id)?;
        let known = run.checkpoints.iter().find(|known| known.checkpoint == *id)?;
        Some((run.name.clone(), known.name.clone()))
    });
    let (run, checkpoint) = named.unzip();
    let mut value = json!({
        "feature": part.attrs.label,
        "number": part.number,
        "dataset": part.desc.dataset,
        "run": run,
        "checkpoint": checkpoint,
        "kind": part.desc.kind.name,
        "granularity": part.desc.granularity.name(),
        "dimension": part.desc.dim(),
        "type": part.desc.dtype.name(),
        "state": coverage.state,
        "rows": coverage.rows,
        "missing": coverage.missing,
        "vectors": snapshot.stored_vectors(part),
        "bytes": part.bytes(),
    });
    if whole && let Some(object) = value.as_object_mut() {
        object.insert("rotation".to_owned(), json!(part.desc.rotation.name()));
        object.insert("segments".to_owned(), json!(part.segments.len()));
        object.insert("module_groups".to_owned(), json!(part.attrs.groups.len()));
        object.insert("parameters".to_owned(), Value::Object(part.desc.kind.params.clone()));
        object.insert("space".to_owned(), json!(part.desc.space));
        object.insert("encoding".to_owned(), json!(part.desc.encoding));
        object.insert("key".to_owned(), json!(part.key));
        object.insert("provenance".to_owned(), Value::Object(part.attrs.provenance.clone()));
    }
    Ok(value)
}

fn print(value: &Value, indent: usize) -> Result<()> {
    let Value::Object(fields) = value else { return Ok(()) };
    let blank = " ".repeat(indent);
    let width = fields.keys().map(String::len).max().unwrap_or(0);
    for (key, value) in fields {
        let key = heading(key);
        match value {
            Value::Array(items) if key == "features" && !items.is_empty() => {
                out!("{blank}{key}");
                let columns = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
                for line in features::lines(items, columns) {
                    out!("{blank}{line}");
                }
            }
            Value::Array(items)
                if items.iter().any(|item| item.is_object() && column_text(item).is_none()) =>
            {
                out!("{blank}{key}");
                for (i, item) in items.iter().enumerate() {
                    if i > 0 && item.as_object().is_some_and(|o| o.len() > 4) {
                        out!("");
                    }
                    print(item, indent + 2)?;
                }
            }
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(text).collect();
                let items = if items.is_empty() { "none".to_owned() } else { items.join(", ") };
                out!("{blank}{key:width$}  {items}");
            }
            Value::Object(_) => {
                out!("{blank}{key}");
                print(value, indent + 2)?;
            }
            value => out!("{blank}{key:width$}  {}", text(value)),
        }
    }
    Ok(())
}

/// Columns, each with its heading, as indented lines.
fn aligned(columns: &[Vec<String>]) -> Vec<String> {
    let width = |column: &Vec<String>| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(width).collect();
    let line = |row: usize| {
        let mut line = String::from(" ");
        for (column, width) in columns.iter().zip(widths.iter().copied()) {
            line.push_str(&format!(" {:width$} ", column.get(row).map_or("", String::as_str)));
        }
        line.trim_end().to_owned()
    };
    (0..columns.iter().map(Vec::len).max().unwrap_or(0)).map(line).collect()
}

/// A key of ours as people read it; keys that users gave stay as they are.
fn heading(key: &str) -> String {
    match key {
        "bytes_of_vectors" | "bytes_of_samples" | "bytes_of_artifacts" | "max_length" | "module_groups" => {
            key.replace('_', " ")
        }
        key => key.to_owned(),
    }
}

/// A column in one piece: its name and its type.
fn column_text(value: &Value) -> Option<String> {
    match (value.get("name")?.as_str()?, value.get("type")?.as_str()?) {
        (name, ty) if value.as_object()?.len() == 2 => Some(format!("{name} {ty}")),
        _ => None,
    }
}

fn text(value: &Value) -> String {
    if let Some(column) = column_text(value) {
        return column;
    }
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}
