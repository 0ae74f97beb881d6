//! Compatibility of shards with this store, and with each other.
//!
//! Only receipts, the catalog and, if need be, samples are looked at.

use super::read::Shard;
use crate::error::AttachError;
use crate::job::JobFeature;
use crate::shard::receipt::FileContent;
use crate::shard::{Receipt, samples};
use crate::store::{Snapshot, Store};
use gstore_core::RowSet;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

pub(super) fn check(snapshot: &Snapshot, shards: &[Shard]) -> Result<(), AttachError> {
    for shard in shards {
        check_store(snapshot, shard)?;
    }
    check_job(shards)?;
    check_runs(shards)?;
    check_overlaps(shards)
}

fn check_store(snapshot: &Snapshot, shard: &Shard) -> Result<(), AttachError> {
    let note = &shard.receipt.note;
    let store = snapshot.root().store;
    if note.store != store {
        return Err(AttachError::OtherStore {
            folder: shard.shown.clone(),
            shard: note.shard.to_string(),
            found: note.store.to_string(),
            store: store.to_string(),
        });
    }
    let dataset = |detail: String| AttachError::Dataset {
        folder: shard.shown.clone(),
        shard: note.shard.to_string(),
        dataset: note.dataset.clone(),
        detail,
    };
    let Ok(part) = snapshot.dataset(&note.dataset) else {
        return Err(dataset("the store has none of this name".into()));
    };
    if part.number != note.dataset_number {
        let detail = format!(
            "that was dataset number {}; it was dropped, and number {} has the name now",
            note.dataset_number, part.number
        );
        return Err(dataset(detail));
    }
    let ends = shard.receipt.files.iter().filter_map(|f| f.row_set().ranges().last().map(|r| r.end));
    match ends.max().filter(|end| *end > part.next_row) {
        Some(end) => Err(dataset(format!("it has rows up to {end}, the dataset ends at {}", part.next_row))),
        None => Ok(()),
    }
}

/// The rows of a shard are still the samples that they were, as far as they are stored. A store that was
/// restored from a backup has the numbers of the one that was lost, for other rows.
pub(super) fn check_samples(store: &Store, snapshot: &Snapshot, shard: &Shard) -> Result<(), AttachError> {
    let Shard { receipt, shown, .. } = shard;
    let note = &receipt.note;
    // A row keeps its sample for ever, so with the very snapshot in the history there is nothing to compare.
    if store.snapshot_at(note.snapshot).is_ok_and(|then| then.info().digest.to_string() == note.root) {
        return Ok(());
    }
    let part = snapshot.dataset(&note.dataset)?;
    match samples::difference(snapshot, part, &receipt.row_set(), &shard.samples)? {
        None => Ok(()),
        Some((row, id)) => Err(AttachError::Dataset {
            folder: shown.clone(),
            shard: note.shard.to_string(),
            dataset: note.dataset.clone(),
            detail: format!(
                "its row {row} was another sample, and is {id:?} here; the shard was made before the store was restored from a backup, or of another copy of it"
            ),
        }),
    }
}

/// All shards are of one job.
fn check_job(shards: &[Shard]) -> Result<(), AttachError> {
    let Some((first, others)) = shards.split_first() else { return Ok(()) };
    for shard in others {
        if let Some(detail) = job_difference(&first.receipt, &shard.receipt) {
            return Err(AttachError::OtherJob { a: first.name(), b: shard.name(), detail });
        }
    }
    Ok(())
}

/// In what the jobs of two shards differ; `None` if it is one job. A feature may have another label in each.
fn job_difference(a: &Receipt, b: &Receipt) -> Option<String> {
    let features = || a.features.iter().zip(&b.features);
    let alike = features().all(|(x, y)| x.desc == y.desc);
    if a.features.len() != b.features.len() || !alike {
        // Where only options differ, the labels are the same.
        let named = |r: &Receipt| r.features.iter().map(JobFeature::name).collect::<Vec<_>>().join(", ");
        let other = features().find(|(x, y)| x.desc != y.desc).filter(|_| named(a) == named(b));
        return Some(match other {
            Some((x, y)) => format!("feature {}, {}", x.name(), description_difference((a, x), (b, y))),
            None => format!("{} against {}", named(a), named(b)),
        });
    }
    if let Some((f, what)) = features().find_map(|(x, y)| Some((x, x.attrs.difference(&y.attrs)?))) {
        return Some(format!("feature {}, {what}", f.name()));
    }
    first_difference("identity", &a.identity, &b.identity)
}

/// The first part of the descriptions of two features that is not the same.
fn description_difference((a, x): (&Receipt, &JobFeature), (b, y): (&Receipt, &JobFeature)) -> String {
    let spec = |r: &Receipt, f: &JobFeature| {
        let encoding = r.encodings.iter().find(|e| e.key == f.desc.encoding);
        encoding.map(|e| json!(e.spec))
    };
    // A receipt describes the encodings whose token counts it has.
    let encodings = spec(a, x).zip(spec(b, y));
    encodings
        .and_then(|(x, y)| first_difference("encoding", &x, &y))
        .or_else(|| first_difference("description", &json!(x.desc), &json!(y.desc)))
        .unwrap_or_default()
}

/// The first field in which two values differ, with both.
fn first_difference(name: &str, a: &Value, b: &Value) -> Option<String> {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            let fields: BTreeSet<&String> = x.keys().chain(y.keys()).collect();
            let of =
                |object: &Map<String, Value>, field: &String| object.get(field).cloned().unwrap_or_default();
            fields.into_iter().find_map(|field| first_difference(field, &of(x, field), &of(y, field)))
        }
        _ => (a != b).then(|| format!("{name} {a} against {b}")),
    }
}

/// Shards that name a checkpoint of a run say the same of it, so that their order does not matter.
fn check_runs(shards: &[Shard]) -> Result<(), AttachError> {
    let mut known: BTreeMap<(String, String), (&Shard, &crate::manifest::RunCheckpoint)> = BTreeMap::new();
    for shard in shards {
        let Some(update) = &shard.receipt.run else { continue };
        for c in &update.checkpoints {
            let key = (update.name.clone(), c.name.clone());
            let (first, before) = *known.entry(key).or_insert((shard, c));
            let detail = if before.checkpoint != c.checkpoint {
                format!("{} against {}", before.checkpoint.short(), c.checkpoint.short())
            } else if before.weight != c.weight || before.step != c.step {
                let show =
                    |c: &crate::manifest::RunCheckpoint| format!("step {:?}, weight {:?}", c.step, c.weight);
                format!("{} against {}", show(before), show(c))
            } else {
                continue;
            };
            return Err(AttachError::Run {
                a: first.name(),
                b: shard.name(),
                run: update.name.clone(),
                checkpoint: c.name.clone(),
                detail,
            });
        }
    }
    Ok(())
}

/// No row of a feature is in different files of two shards.
fn check_overlaps(shards: &[Shard]) -> Result<(), AttachError> {
    // Key of the feature, first row, end and file; feature; shard.
    let mut taken = Vec::new();
    for shard in shards {
        for (file, of) in shard.receipt.contents() {
            let FileContent::Feature(feature, entry) = of else { continue };
            let (key, rows) = (feature.desc.key(), file.row_set());
            let place = |r: &Range<u64>| ((key.clone(), r.start, r.end, entry.uuid), feature, shard);
            taken.extend(rows.ranges().iter().map(place));
        }
    }
    taken.sort_by(|a, b| a.0.cmp(&b.0));
    taken.dedup_by(|a, b| a.0 == b.0);
    for ((a, feature, in_a), (b, _, in_b)) in taken.iter().zip(taken.iter().skip(1)) {
        if a.0 == b.0 && b.1 < a.2 {
            let advice = match in_a.receipt.note.shard == in_b.receipt.note.shard {
                true => "it was computed twice: leave one of the folders out",
                false => "attach shards of one split only",
            };
            return Err(AttachError::Overlap {
                feature: feature.name(),
                a: in_a.name(),
                b: in_b.name(),
                rows: RowSet::from_range(b.1..b.2.min(a.2)),
                advice,
            });
        }
    }
    Ok(())
}
