//! Clients that read in every way, and check that an answer is from one snapshot with everything
//! acknowledged.

use super::client::Client;
use super::clients::{Disk, Life, Stopped};
use super::model::{DIM, Found, Model, POOL, What, note};
use crate::Random;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Int64Type};
use arrow_array::{Array, RecordBatch};
use serde_json::{Value, json};
use std::time::Duration;
use tonic::Code;

/// Reads in every way, until the server is gone.
pub(super) async fn read(life: &Life, model: &Model, seed: u64) {
    let work = async {
        let client = life.connect().await?;
        let mut random = Random::of(&[seed, 13]);
        while !life.is_gone() {
            let way = WAYS.get(random.below(WAYS.len() as u64) as usize).unwrap_or(&Way::Dataset);
            look(life, model, &client, *way).await?;
        }
        Ok::<(), Stopped>(())
    };
    life.ended("reader", work.await);
}

/// A way to read.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// The table of the dataset.
    Dataset,
    /// The vectors of the feature.
    Vectors,
    /// A statement that counts samples.
    Samples,
    /// A statement that counts samples with a vector, or a loss.
    Joined(What),
}

const WAYS: [Way; 5] =
    [Way::Dataset, Way::Vectors, Way::Samples, Way::Joined(What::Vectors), Way::Joined(What::Losses)];

impl Way {
    fn what(self) -> What {
        match self {
            Way::Dataset | Way::Samples => What::Samples,
            Way::Vectors => What::Vectors,
            Way::Joined(what) => what,
        }
    }

    fn ask(self) -> Value {
        let counted = "SELECT p.piece, count(*) AS n, count(DISTINCT p.place) AS d FROM pool AS p";
        match self {
            Way::Dataset => json!({"dataset": POOL}),
            Way::Vectors => {
                json!({"vectors": {"dataset": POOL, "feature": What::Vectors.label(), "type": "f32"}})
            }
            Way::Samples => json!({"sql": format!("{counted} GROUP BY p.piece")}),
            Way::Joined(what) => {
                let label = what.label().unwrap_or_default();
                let joined = format!("JOIN vectors('{POOL}', '{label}') AS v ON p.row = v.row");
                json!({"sql": format!("{counted} {joined} GROUP BY p.piece")})
            }
        }
    }

    /// The samples of an answer.
    fn found(self, model: &Model, rows: &[RecordBatch]) -> Result<Found, String> {
        let mut found = Found::new();
        for batch in rows {
            match self {
                Way::Dataset => samples(batch, &mut found)?,
                Way::Vectors => vectors(batch, &mut found)?,
                Way::Samples | Way::Joined(_) => counts(model, batch, &mut found)?,
            }
        }
        Ok(found)
    }
}

/// Reads once and checks that what was acknowledged before is there: all of each piece, once.
async fn look(life: &Life, model: &Model, client: &Client, way: Way) -> Result<(), Stopped> {
    let least = model.acknowledged(way.what());
    match client.get(&way.ask()).await {
        Ok(rows) => {
            let found = way.found(model, &rows);
            found
                .and_then(|found| model.compare(way.what(), &found, &least))
                .map_err(|why| format!("{way:?}: {why}"))?;
            life.count("answers");
        }
        // None of it may exist yet.
        Err(status)
            if least.is_empty() && [Code::NotFound, Code::InvalidArgument].contains(&status.code()) =>
        {
            life.count("questions for what was not there yet");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(status) if life.disk == Disk::Failing && status.code() == Code::Internal => {
            life.count("answers refused by a failing disk");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Err(status) => return Err(life.broken(&format!("{way:?}"), &status).await),
    }
    Ok(())
}

/// A column of numbers.
fn numbers<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a [i64], String> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.map(|column| &**column.values()).ok_or_else(|| format!("no numbers {name} in {}", batch.schema()))
}

fn samples(batch: &RecordBatch, found: &mut Found) -> Result<(), String> {
    for (piece, place) in numbers(batch, "piece")?.iter().zip(numbers(batch, "place")?) {
        note(found, piece.cast_unsigned(), place.cast_unsigned())?;
    }
    Ok(())
}

/// Pieces with all of their samples, each at a place of its own.
fn counts(model: &Model, batch: &RecordBatch, found: &mut Found) -> Result<(), String> {
    let (pieces, n, d) = (numbers(batch, "piece")?, numbers(batch, "n")?, numbers(batch, "d")?);
    for ((piece, n), d) in pieces.iter().zip(n).zip(d) {
        let piece = piece.cast_unsigned();
        let rows = model.rows(piece);
        if [*n, *d].iter().any(|count| count.cast_unsigned() != rows) {
            return Err(format!("piece {piece} has {n} rows of {d} places, and not {rows}"));
        }
        found.insert(piece, (0..rows).collect());
    }
    Ok(())
}

fn vectors(batch: &RecordBatch, found: &mut Found) -> Result<(), String> {
    let column = batch.column_by_name("vector").ok_or("no vectors")?;
    let lists = column.as_fixed_size_list_opt().map(|lists| lists.values());
    let values = lists.or_else(|| column.as_list_opt::<i32>().map(|lists| lists.values()));
    let values = values.and_then(|values| values.as_primitive_opt::<Float32Type>());
    let values = values.ok_or_else(|| format!("vectors are {}", column.data_type()))?.values();
    if values.len() != batch.num_rows() * DIM as usize {
        return Err(format!("{} values for {} vectors", values.len(), batch.num_rows()));
    }
    for vector in values.chunks_exact(DIM as usize) {
        let [piece, place, ..] = vector else { continue };
        let (piece, place) = (*piece as u64, *place as u64);
        if vector != What::Vectors.vector(piece, place) {
            return Err(format!("no sample has the vector {vector:?}"));
        }
        note(found, piece, place)?;
    }
    Ok(())
}
