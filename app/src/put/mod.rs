//! Vectors and losses that were computed elsewhere, stored as a feature of a dataset.
//!
//! Invariants
//! - nothing is visible before [`VectorPut::finish`]; one that is dropped before leaves nothing behind, one
//!   that is killed a job's folder, which the next put of the feature clears and `gc` can take
//! - a write with a key is done once: what is sent again under it is compared with what was sent first, and
//!   changes nothing, as long as the feature is there
//! - memory: the vectors of one push, a block of the file, and a bit for each row of the dataset

mod error;
mod ids;
mod spec;
mod work;

use gstore_core::{DType, Digest, canonical_json};
use gstore_store::{ClientWrite, Snapshot, Store, WriteNote, check_key};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

pub use error::PutError;
pub use spec::{SpaceSpec, VectorSpec};

use work::PutJob;

/// What the command of an upload begins with, by which its job is told from others.
pub const UPLOAD: &str = "put ";

/// Which samples vectors belong to.
#[derive(Debug, Clone, Copy)]
pub enum VectorSamples<'a> {
    /// By their rows.
    Rows(&'a [u64]),
    /// By their ids.
    Ids(&'a [&'a str]),
}

/// What one vector is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VectorShape {
    /// How many values it has.
    pub dim: usize,
    /// How a new feature stores them, unless something else is stated.
    pub dtype: DType,
}

/// What came of a put.
#[derive(Debug, Clone, PartialEq)]
pub struct PutReport {
    /// What the client is told: dataset, feature, space, rows, snapshot.
    pub told: Map<String, Value>,
    /// It was done before, under the same key.
    pub repeated: bool,
}

/// Vectors on their way into a store.
pub struct VectorPut {
    spec: VectorSpec,
    key: Option<String>,
    dim: usize,
    /// Of the description and all that was pushed.
    content: Xxh3,
    /// `None` where the key is known: then what comes is only compared.
    work: Option<PutJob>,
    snapshot: Arc<Snapshot>,
    rows: u64,
}

impl VectorPut {
    /// Starts to take vectors. With a key, sending the same once more changes nothing. Without `add_runs`, a
    /// run or checkpoint that the store lacks is refused and not added.
    ///
    /// # Errors
    /// A description that cannot be, or does not fit to the feature that is there; a put of the same feature
    /// that is under way.
    pub fn start(
        store: &Store,
        spec: &VectorSpec,
        shape: VectorShape,
        key: Option<&str>,
        command: &str,
        add_runs: bool,
    ) -> Result<Self, PutError> {
        if let Some(key) = key {
            check_key(key)?;
        }
        let mut snapshot = store.snapshot()?;
        let known = |snapshot: &Snapshot| -> Result<bool, PutError> {
            let part = snapshot.dataset(&spec.dataset)?;
            Ok(key.and_then(|key| part.written_among(key, snapshot.features())).is_some())
        };
        let mut content = Xxh3::new();
        let described = serde_json::to_value(spec).unwrap_or(Value::Null);
        content.update(format!("{} {}", canonical_json(&described), shape.dim).as_bytes());
        let mut work = None;
        if !known(&snapshot)? {
            let resolved = spec.resolve(&snapshot, shape, key)?;
            if resolved.run.is_some() && !add_runs {
                return Err(PutError::Run);
            }
            let started = PutJob::start((store, &snapshot), &spec.dataset, resolved, command)?;
            // The same write may have been done before this one had the feature for itself.
            snapshot = started.base(&snapshot);
            if !known(&snapshot)? {
                work = Some(started);
            }
        }
        let (spec, key) = (spec.clone(), key.map(str::to_owned));
        Ok(Self { spec, key, dim: shape.dim, content, work, snapshot, rows: 0 })
    }

    /// Adds vectors, one after the other in `values`; without `flags` they have none. Rows may come in any
    /// order, and at best ascend.
    ///
    /// # Errors
    /// Samples that there are not, vectors that are there already or twice, and a store that cannot be
    /// written.
    pub fn push(
        &mut self,
        samples: VectorSamples<'_>,
        values: &[f32],
        flags: Option<&[u8]>,
    ) -> Result<(), PutError> {
        let count = match samples {
            VectorSamples::Rows(rows) => rows.len(),
            VectorSamples::Ids(ids) => ids.len(),
        };
        if count.checked_mul(self.dim) != Some(values.len()) || flags.is_some_and(|f| f.len() != count) {
            return Err(PutError::Spec("the numbers of samples, vectors and flags differ".to_owned()));
        }
        self.hash(samples, values, flags);
        self.rows += count as u64;
        match &mut self.work {
            Some(work) => work.push(&self.snapshot, &self.spec.dataset, samples, values, flags),
            None => Ok(()),
        }
    }

    /// Each vector by itself, so that it does not matter how a stream was cut.
    fn hash(&mut self, samples: VectorSamples<'_>, values: &[f32], flags: Option<&[u8]>) {
        for (at, vector) in values.chunks_exact(self.dim.max(1)).enumerate() {
            match samples {
                VectorSamples::Rows(rows) => {
                    self.content.update(&rows.get(at).copied().unwrap_or_default().to_le_bytes());
                }
                VectorSamples::Ids(ids) => {
                    let id = ids.get(at).copied().unwrap_or_default();
                    self.content.update(&(id.len() as u64).to_le_bytes());
                    self.content.update(id.as_bytes());
                }
            }
            self.content.update(&[flags.and_then(|f| f.get(at)).copied().unwrap_or_default()]);
            for value in vector {
                self.content.update(&value.to_bits().to_le_bytes());
            }
        }
    }

    /// Publishes what was pushed, with its key: all in one commit.
    ///
    /// # Errors
    /// Nothing was pushed; the key was used for other content; what was published meanwhile does not go with
    /// it.
    pub fn finish(self) -> Result<PutReport, PutError> {
        let digest = Digest::of_hashed(&self.content).to_string();
        let write = self.key.clone().map(|key| ClientWrite::new(key, digest)).transpose()?;
        let part = |snapshot: &Snapshot| -> Result<Option<WriteNote>, PutError> {
            let Some(write) = &write else { return Ok(None) };
            Ok(write.done(snapshot.dataset(&self.spec.dataset)?, snapshot.features())?)
        };
        let Some(work) = self.work else {
            // The note was there when this began, and only a thousand later ones or a drop take it away.
            let note = part(&self.snapshot)?;
            let note = note.ok_or_else(|| PutError::Spec("the key is no longer known".to_owned()))?;
            return Ok(PutReport { told: note.result, repeated: true });
        };
        if self.rows == 0 {
            return Err(PutError::Empty);
        }
        let mut told = Map::new();
        told.insert("dataset".to_owned(), json!(self.spec.dataset));
        told.insert("feature".to_owned(), json!(work.resolved.feature.attrs.label));
        told.insert("space".to_owned(), json!(work.resolved.feature.desc.space.projection));
        told.insert("rows".to_owned(), json!(self.rows));
        told.insert("not_finite".to_owned(), json!(work.not_finite()));
        let named = write.clone().map(|write| (write, told.clone()));
        let after = work.publish(&self.spec.dataset, named)?;
        if let Some(note) = part(&after)? {
            // Somebody with the same key may have been faster.
            let repeated = note.snapshot != after.number();
            return Ok(PutReport { told: note.result, repeated });
        }
        told.insert("snapshot".to_owned(), json!(after.number()));
        Ok(PutReport { told, repeated: false })
    }
}
