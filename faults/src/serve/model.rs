//! Expected content of a store while clients write to its server: what they send, and what they were told.

use crate::Random;
use arrow_array::builder::{FixedSizeListBuilder, Float32Builder};
use arrow_array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use gstore_core::locked;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// The only dataset.
pub(super) const POOL: &str = "pool";
/// Coordinates of a vector.
pub(super) const DIM: i32 = 4;
/// Most samples of a piece.
const MOST: u64 = 150;
/// Rows of a batch.
const BATCH: usize = 40;

/// An upload of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Samples,
    Vectors,
    Losses,
}

impl What {
    /// All of them, in the order in which a piece is sent: vectors need their samples.
    pub(super) const ALL: [What; 3] = [What::Samples, What::Vectors, What::Losses];

    /// The label of the feature that it creates, if any.
    pub(super) fn label(self) -> Option<&'static str> {
        match self {
            What::Samples => None,
            What::Vectors => Some("embed-sent"),
            What::Losses => Some("loss"),
        }
    }

    /// The vector of a sample.
    pub(super) fn vector(self, piece: u64, place: u64) -> Vec<f32> {
        let (p, i) = (piece as f32, place as f32);
        match self {
            What::Samples => Vec::new(),
            What::Vectors => vec![p, i, p - i / 4.0, ((piece * 31 + place * 7) % 101) as f32],
            What::Losses => vec![p + i / 1024.0],
        }
    }
}

/// The id of a sample.
pub(super) fn id(piece: u64, place: u64) -> String {
    format!("p{piece}-{place}")
}

/// The text of a sample.
pub(super) fn text(piece: u64, place: u64) -> String {
    format!("text {place} of piece {piece}.")
}

/// Progress of an upload.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Sending has begun.
    sent: bool,
    /// The server acknowledged it.
    acknowledged: bool,
}

/// Samples found, by their pieces.
pub(super) type Found = BTreeMap<u64, BTreeSet<u64>>;

/// The uploads of a store.
#[derive(Debug)]
pub(super) struct Model {
    seed: u64,
    /// Number of pieces.
    pub(super) pieces: u64,
    states: Mutex<BTreeMap<(What, u64), State>>,
}

impl Model {
    pub(super) fn new(seed: u64, pieces: u64) -> Self {
        Model { seed, pieces, states: Mutex::default() }
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<(What, u64), State>> {
        locked(&self.states)
    }

    /// Samples of a piece.
    pub(super) fn rows(&self, piece: u64) -> u64 {
        Random::of(&[self.seed, 12, piece]).from(1..MOST)
    }

    /// A client's name for an upload.
    pub(super) fn command(&self, what: What, piece: u64) -> Value {
        match what {
            What::Samples => json!({"samples": {"dataset": POOL}, "key": format!("s{piece}")}),
            What::Vectors => {
                json!({"vectors": {"dataset": POOL, "kind": "embed-sent"}, "key": format!("v{piece}")})
            }
            What::Losses => json!({"losses": {"dataset": POOL}, "key": format!("l{piece}")}),
        }
    }

    /// The content of an upload.
    pub(super) fn batches(&self, what: What, piece: u64) -> Result<Vec<RecordBatch>, ArrowError> {
        let places: Vec<u64> = (0..self.rows(piece)).collect();
        places.chunks(BATCH).map(|places| batch(what, piece, places)).collect()
    }

    /// Records that an upload is being sent. Returns whether it was before.
    pub(super) fn begin(&self, what: What, piece: u64) -> bool {
        std::mem::replace(&mut self.states().entry((what, piece)).or_default().sent, true)
    }

    /// Records that it is acknowledged.
    pub(super) fn end(&self, what: What, piece: u64) {
        self.states().entry((what, piece)).or_default().acknowledged = true;
    }

    /// Whether the server acknowledged it.
    pub(super) fn is_there(&self, what: What, piece: u64) -> bool {
        self.states().get(&(what, piece)).is_some_and(|state| state.acknowledged)
    }

    /// The pieces whose uploads were acknowledged.
    pub(super) fn acknowledged(&self, what: What) -> BTreeSet<u64> {
        let states = self.states();
        let there = states.iter().filter(|((other, _), state)| *other == what && state.acknowledged);
        there.map(|((_, piece), _)| *piece).collect()
    }

    /// Whether all are acknowledged.
    pub(super) fn is_complete(&self) -> bool {
        let there = self.states().values().filter(|state| state.acknowledged).count();
        there as u64 == self.pieces * What::ALL.len() as u64
    }

    /// Checks that each piece that was found is complete and was sent, and that those of `least` were found.
    pub(super) fn compare(&self, what: What, found: &Found, least: &BTreeSet<u64>) -> Result<(), String> {
        for (piece, places) in found {
            let rows = self.rows(*piece);
            if places.len() as u64 != rows || places.last().is_none_or(|last| last + 1 != rows) {
                return Err(format!("{what:?} of piece {piece}: {} of {rows} rows are there", places.len()));
            }
            if !self.states().get(&(what, *piece)).is_some_and(|state| state.sent) {
                return Err(format!("{what:?} of piece {piece} are there, which were never sent"));
            }
        }
        match least.iter().find(|piece| !found.contains_key(*piece)) {
            Some(piece) => Err(format!("{what:?} of piece {piece} were acknowledged and are not there")),
            None => Ok(()),
        }
    }
}

/// Adds a sample that was found; an error if it was added before.
pub(super) fn note(found: &mut Found, piece: u64, place: u64) -> Result<(), String> {
    match found.entry(piece).or_default().insert(place) {
        true => Ok(()),
        false => Err(format!("sample {place} of piece {piece} is there twice")),
    }
}

fn batch(what: What, piece: u64, places: &[u64]) -> Result<RecordBatch, ArrowError> {
    let ids = StringArray::from_iter_values(places.iter().map(|place| id(piece, *place)));
    let mut columns: Vec<(&str, ArrayRef)> = vec![("id", Arc::new(ids))];
    match what {
        What::Samples => {
            let texts = StringArray::from_iter_values(places.iter().map(|place| text(piece, *place)));
            let pieces = Int64Array::from(vec![piece as i64; places.len()]);
            let places = Int64Array::from_iter_values(places.iter().map(|place| *place as i64));
            columns.push(("text", Arc::new(texts)));
            columns.push(("piece", Arc::new(pieces)));
            columns.push(("place", Arc::new(places)));
        }
        What::Vectors => {
            let mut list = FixedSizeListBuilder::new(Float32Builder::new(), DIM);
            for place in places {
                list.values().append_slice(&what.vector(piece, *place));
                list.append(true);
            }
            columns.push(("vector", Arc::new(list.finish())));
        }
        What::Losses => {
            let losses = places.iter().flat_map(|place| what.vector(piece, *place));
            columns.push(("loss", Arc::new(Float32Array::from_iter_values(losses))));
        }
    }
    RecordBatch::try_from_iter(columns)
}
