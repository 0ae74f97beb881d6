//! Checks of the store that a killed server leaves behind, read from its files.

use super::model::{Found, Model, POOL, What, id, note, text};
use crate::Failure;
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt64Type};
use gstore_store::{BlockBuffer, DatasetPart, FeaturePart, Snapshot, Store, Values};
use std::collections::{BTreeMap, BTreeSet};

/// Piece and index of every row.
type Samples = BTreeMap<u64, (u64, u64)>;

/// Checks that every acknowledged upload is stored once, as it was sent; any other is absent or complete.
pub(super) fn look(model: &Model, store: &Store) -> Result<(), Failure> {
    let snapshot = store.snapshot()?;
    let Some(part) = snapshot.datasets().iter().find(|part| part.name == POOL) else {
        return match model.acknowledged(What::Samples).is_empty() {
            true => Ok(()),
            false => Err("the dataset is not there".into()),
        };
    };
    let samples = samples(&snapshot, part)?;
    let mut found = Found::new();
    for (piece, place) in samples.values() {
        note(&mut found, *piece, *place)?;
    }
    model.compare(What::Samples, &found, &model.acknowledged(What::Samples))?;
    let mut labels = BTreeSet::new();
    for feature in snapshot.features() {
        let label = feature.attrs.label.as_str();
        if !labels.insert(label) {
            return Err(format!("there are two features {label}").into());
        }
        let what = What::ALL.into_iter().find(|what| what.label() == Some(label));
        let what = what.ok_or_else(|| format!("there is a feature {label}, which nobody sent"))?;
        let found = vectors(&snapshot, feature, what, &samples)?;
        model.compare(what, &found, &model.acknowledged(what))?;
    }
    for what in What::ALL {
        let missing = what.label().is_some_and(|label| !labels.contains(label));
        if missing && !model.acknowledged(what).is_empty() {
            return Err(format!("{what:?} were acknowledged, and there is no such feature").into());
        }
    }
    Ok(())
}

fn samples(snapshot: &Snapshot, part: &DatasetPart) -> Result<Samples, Failure> {
    let mut out = Samples::new();
    for batch in snapshot.samples(part)?.scan(&["row", "id", "record", "piece", "place"], None) {
        let batch = batch?;
        let column =
            |name: &str| batch.column_by_name(name).ok_or_else(|| format!("there is no column {name}"));
        let (rows, ids) = (column("row")?.as_primitive::<UInt64Type>(), column("id")?.as_string::<i32>());
        let (pieces, places) =
            (column("piece")?.as_primitive::<Int64Type>(), column("place")?.as_primitive::<Int64Type>());
        let records = column("record")?.as_binary::<i32>();
        for i in 0..batch.num_rows() {
            let (piece, place) = (pieces.value(i).cast_unsigned(), places.value(i).cast_unsigned());
            let record = String::from_utf8_lossy(records.value(i));
            if ids.value(i) != id(piece, place) || !record.contains(&text(piece, place)) {
                let id = ids.value(i);
                return Err(format!("sample {place} of piece {piece} has the id {id} and is {record}").into());
            }
            if out.insert(rows.value(i), (piece, place)).is_some() {
                return Err(format!("row {} was read twice", rows.value(i)).into());
            }
        }
    }
    Ok(out)
}

/// The samples that have a vector of a feature, checked to be theirs.
fn vectors(snapshot: &Snapshot, part: &FeaturePart, what: What, samples: &Samples) -> Result<Found, Failure> {
    let (reader, dim) = (snapshot.open_feature(part)?, part.desc.dim() as usize);
    let live = reader.row_set()?;
    let (mut found, mut scratch) = (Found::new(), BlockBuffer::new());
    for block in reader.blocks() {
        let block = reader.read_block(*block, &mut scratch)?;
        let Values::F32(values) = block.values else { return Err("vectors are not of 32 bits".into()) };
        for (row, vector) in block.rows.iter().zip(values.chunks_exact(dim)) {
            if !live.contains(*row) {
                continue;
            }
            let (piece, place) = samples.get(row).ok_or_else(|| format!("row {row} is no sample"))?;
            if vector != what.vector(*piece, *place) {
                return Err(format!("{what:?} of sample {place} of piece {piece}: {vector:?}").into());
            }
            note(&mut found, *piece, *place)?;
        }
    }
    Ok(found)
}
