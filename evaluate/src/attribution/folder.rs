//! The folder of a ground truth: pool, queries, subsets, and the outputs of each run.
//!
//! ```text
//! manifest.json          what is there, with digests; written last
//! pool.jsonl             the rows, as they are trained on
//! queries.jsonl          the queries
//! subsets.jsonl          rows of each subset by their ids, or those that it leaves out
//! recipe.json            how models are trained; written by the first run
//! outputs/00007.parquet  a run: query, loss, output; one file each
//! models/00007/          a training in work
//! ```
//!
//! Invariants
//! - run `n` trains on subset `n / repeats`; its file appears when it is whole
//! - nothing that a run has read changes: jobs may do different runs of one folder at once

use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray, UInt64Array};
use gstore_core::{Cancel, xxh3_hex};
use gstore_data::{Content, TextSample};
use parquet::arrow::ArrowWriter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::ids::Ids;
use super::read::{number, text_of};
use super::subsets::{Subset, SubsetKind, complement};
use super::truth::{Signal, Truth};
use crate::error::EvaluateError;
use crate::pairs::PairSource;
use crate::records::each_record;

/// Version of the layout.
const VERSION: u32 = 1;

/// A file of the folder and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    count: usize,
    digest: String,
}

/// What the folder has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    pool: Listed,
    queries: Listed,
    subsets: Listed,
    repeats: usize,
    signal: Signal,
    design: Value,
}

/// A subset as a line of `subsets.jsonl`.
#[derive(Serialize, Deserialize)]
struct Line {
    subset: usize,
    #[serde(flatten)]
    kind: SubsetKind,
    /// Its rows, or those that it leaves out, whichever are fewer.
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<Vec<String>>,
    digest: String,
}

/// What is to be retrained, and what is asked of the models.
pub struct TruthPlan<'a> {
    /// The pool.
    pub pool: &'a [TextSample],
    /// The queries.
    pub queries: &'a [TextSample],
    /// What is trained on.
    pub subsets: &'a [Subset],
    /// Runs of each subset.
    pub repeats: usize,
    /// How the subsets were drawn, for people.
    pub design: Value,
}

/// What a model says of a query.
#[derive(Debug, Clone, PartialEq)]
pub struct QueryLoss {
    /// The query.
    pub id: String,
    /// Its mean loss.
    pub loss: f64,
    /// Its scored tokens.
    pub tokens: u64,
}

/// The folder of a ground truth.
#[derive(Debug)]
pub struct TruthFolder {
    folder: PathBuf,
    manifest: Manifest,
    pool: Ids,
    queries: Ids,
    subsets: Vec<Subset>,
}

impl TruthFolder {
    /// Whether there is one.
    pub fn exists(folder: &Path) -> bool {
        folder.join("manifest.json").exists()
    }

    /// Makes the folder, or opens it if it holds the same.
    ///
    /// # Errors
    /// A folder that holds another truth; ids that come twice; a folder that cannot be written.
    pub fn create(folder: &Path, plan: &TruthPlan<'_>) -> Result<TruthFolder, EvaluateError> {
        let ids = |samples: &[TextSample], of| Ids::new(samples.iter().map(|s| s.id.clone()), of);
        let (pool, _) = (ids(plan.pool, "the pool")?, ids(plan.queries, "the queries")?);
        let texts = [lines(plan.pool), lines(plan.queries), of_subsets(plan.subsets, &pool)?];
        let counts = [plan.pool.len(), plan.queries.len(), plan.subsets.len()];
        let listed = |at: usize| Listed { count: counts[at], digest: xxh3_hex(texts[at].as_bytes()) };
        let manifest = Manifest {
            version: VERSION,
            pool: listed(0),
            queries: listed(1),
            subsets: listed(2),
            repeats: plan.repeats.max(1),
            signal: Signal::NegativeLoss,
            design: plan.design.clone(),
        };
        if Self::exists(folder) {
            let found = Self::open(folder)?;
            return match found.manifest == manifest {
                true => Ok(found),
                false => Err(found.bad("manifest.json", "it is the truth of other subsets, queries or rows")),
            };
        }
        fs_err::create_dir_all(folder.join("outputs"))?;
        for (name, text) in ["pool.jsonl", "queries.jsonl", "subsets.jsonl"].into_iter().zip(&texts) {
            place(folder, name, text.as_bytes())?;
        }
        place(folder, "manifest.json", format!("{:#}\n", json!(manifest)).as_bytes())?;
        Self::open(folder)
    }

    /// Opens the folder and checks what it holds.
    ///
    /// # Errors
    /// A folder that is none, or whose files have changed.
    pub fn open(folder: &Path) -> Result<TruthFolder, EvaluateError> {
        let bad = |name: &str, what: String| EvaluateError::File { path: folder.join(name), what };
        let text = fs_err::read(folder.join("manifest.json"))?;
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| bad("manifest.json", error.to_string()))?;
        if manifest.version != VERSION {
            return Err(bad(
                "manifest.json",
                format!("its version is {}; {VERSION} is read", manifest.version),
            ));
        }
        let read = |name: &str, listed: &Listed| -> Result<Vec<Value>, EvaluateError> {
            let text = fs_err::read_to_string(folder.join(name))?;
            if xxh3_hex(text.as_bytes()) != listed.digest {
                return Err(bad(name, "it has changed since the folder was made".to_owned()));
            }
            let values: Result<Vec<Value>, _> = text.lines().map(serde_json::from_str).collect();
            values.map_err(|error| bad(name, error.to_string()))
        };
        let ids = |name: &str, listed: &Listed| {
            let ids = read(name, listed)?.into_iter().filter_map(|record| text_of(record.get("id")));
            Ids::new(ids, name)
        };
        let (pool, queries) = (ids("pool.jsonl", &manifest.pool)?, ids("queries.jsonl", &manifest.queries)?);
        let mut subsets = Vec::new();
        for value in read("subsets.jsonl", &manifest.subsets)? {
            let line: Line =
                serde_json::from_value(value).map_err(|error| bad("subsets.jsonl", error.to_string()))?;
            subsets.push(line.subset_of(&pool).map_err(|what| bad("subsets.jsonl", what))?);
        }
        Ok(TruthFolder { folder: folder.to_owned(), manifest, pool, queries, subsets })
    }

    fn bad(&self, name: &str, what: &str) -> EvaluateError {
        EvaluateError::File { path: self.folder.join(name), what: what.to_owned() }
    }

    /// The file of the rows.
    pub fn pool_file(&self) -> PathBuf {
        self.folder.join("pool.jsonl")
    }

    /// The file of the queries.
    pub fn queries_file(&self) -> PathBuf {
        self.folder.join("queries.jsonl")
    }

    /// Where the training of a run is in work.
    pub fn model_folder(&self, run: usize) -> PathBuf {
        self.folder.join("models").join(format!("{run:05}"))
    }

    /// The rows of the pool.
    pub fn pool(&self) -> &Ids {
        &self.pool
    }

    /// The queries.
    pub fn queries(&self) -> &Ids {
        &self.queries
    }

    /// How many runs there are.
    pub fn runs(&self) -> usize {
        self.subsets.len() * self.manifest.repeats
    }

    /// The number of a run among those of its subset, and the ids of the rows that it trains on.
    pub fn run(&self, run: usize) -> Option<(usize, Vec<String>)> {
        let subset = self.subsets.get(run / self.manifest.repeats)?;
        let ids = subset.rows.iter().map(|row| self.pool.id(*row as usize).to_owned());
        Some((run % self.manifest.repeats, ids.collect()))
    }

    /// Those of some runs that are not done.
    pub fn remaining(&self, runs: Range<usize>) -> Vec<usize> {
        let runs = runs.start..runs.end.min(self.runs());
        runs.filter(|run| !self.output_file(*run).exists()).collect()
    }

    fn output_file(&self, run: usize) -> PathBuf {
        self.folder.join("outputs").join(format!("{run:05}.parquet"))
    }

    /// Notes how models are trained, or compares with how they were.
    ///
    /// # Errors
    /// Another way of training than that of the first run.
    pub fn agree_on_recipe(&self, recipe: &Value) -> Result<(), EvaluateError> {
        let path = self.folder.join("recipe.json");
        if !path.exists() {
            return place(&self.folder, "recipe.json", format!("{recipe:#}\n").as_bytes());
        }
        let text = fs_err::read(&path)?;
        let found: Value =
            serde_json::from_slice(&text).map_err(|error| self.bad("recipe.json", &error.to_string()))?;
        let keys = recipe.as_object().into_iter().flatten();
        match keys.filter(|(key, value)| found.get(key.as_str()) != Some(*value)).map(|(key, _)| key).next() {
            None => Ok(()),
            Some(key) => Err(self.bad(
                "recipe.json",
                &format!("the runs that are done were trained with another {key}; models are compared that differ in their rows alone"),
            )),
        }
    }

    /// Keeps what the model of a run says.
    ///
    /// # Errors
    /// Queries that are not all of them, a loss that is not finite, a file that cannot be written.
    pub fn record(&self, run: usize, losses: &[QueryLoss]) -> Result<(), EvaluateError> {
        let is_all = losses.len() == self.queries.len()
            && losses.iter().all(|of| self.queries.place(&of.id).is_some());
        if let Some(of) = losses.iter().find(|of| !of.loss.is_finite()) {
            return Err(self.bad("outputs", &format!("run {run} has no finite loss for query {:?}", of.id)));
        }
        if !is_all {
            return Err(self.bad("outputs", &format!("run {run} does not say something of every query")));
        }
        let column = |value: fn(&QueryLoss) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(losses.iter().map(value)))
        };
        let columns: [(&str, ArrayRef); 4] = [
            ("query", Arc::new(StringArray::from_iter_values(losses.iter().map(|of| &of.id)))),
            ("loss", column(|of| of.loss)),
            ("output", column(|of| -of.loss)),
            ("tokens", Arc::new(UInt64Array::from_iter_values(losses.iter().map(|of| of.tokens)))),
        ];
        let failed =
            |error: &dyn std::fmt::Display| EvaluateError::Io(std::io::Error::other(error.to_string()));
        let batch = RecordBatch::try_from_iter(columns).map_err(|error| failed(&error))?;
        let mut bytes = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut bytes, batch.schema(), None).map_err(|error| failed(&error))?;
        writer.write(&batch).map_err(|error| failed(&error))?;
        writer.close().map_err(|error| failed(&error))?;
        place(&self.folder.join("outputs"), &format!("{run:05}.parquet"), &bytes)
    }

    /// The subsets and all outputs that there are.
    ///
    /// # Errors
    /// A file that cannot be read or lacks queries.
    pub fn read(&self, cancel: &Cancel) -> Result<Truth, EvaluateError> {
        let mut outputs = Vec::with_capacity(self.subsets.len());
        for subset in 0..self.subsets.len() {
            let runs = subset * self.manifest.repeats..(subset + 1) * self.manifest.repeats;
            let done = self.remaining(runs.clone()).is_empty();
            let runs = runs.filter(|_| done).map(|run| self.outputs_of(run, cancel));
            outputs.push(runs.collect::<Result<Vec<Vec<f64>>, _>>()?);
        }
        Ok(Truth {
            pool: self.pool.clone(),
            queries: self.queries.clone(),
            subsets: self.subsets.clone(),
            signal: self.manifest.signal,
            outputs,
        })
    }

    fn outputs_of(&self, run: usize, cancel: &Cancel) -> Result<Vec<f64>, EvaluateError> {
        let path = self.output_file(run);
        let mut outputs = vec![f64::NAN; self.queries.len()];
        each_record(&PairSource::Files(vec![path.clone()]), cancel, &mut |at, value| {
            let id = text_of(value.get("query")).ok_or_else(|| at.error("an output needs its `query`"))?;
            let place = self.queries.place(&id).and_then(|place| outputs.get_mut(place));
            let place = place.ok_or_else(|| at.error("its query is none of this truth"))?;
            *place = number(&at, "output", value.get("output").unwrap_or(&Value::Null))?;
            Ok(())
        })?;
        match outputs.iter().position(|output| output.is_nan()) {
            None => Ok(outputs),
            Some(place) => {
                let what = format!("it has no output for query {:?}", self.queries.id(place));
                Err(EvaluateError::File { path, what })
            }
        }
    }
}

impl Line {
    fn subset_of(self, pool: &Ids) -> Result<Subset, String> {
        let (ids, is_rest) = match (self.rows, self.without) {
            (Some(rows), None) => (rows, false),
            (None, Some(rows)) => (rows, true),
            _ => return Err(format!("subset {} needs `rows` or `without`", self.subset)),
        };
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids {
            let place = pool.place(&id).ok_or_else(|| format!("{id:?} is no row of the pool"))?;
            rows.push(place as u32);
        }
        rows.sort_unstable();
        rows.dedup();
        let rows = if is_rest { complement(&rows, pool.len()) } else { rows };
        match digest(&rows, pool) == self.digest {
            true => Ok(Subset { kind: self.kind, rows }),
            false => Err(format!("the rows of subset {} are not those of its digest", self.subset)),
        }
    }
}

/// Digest of the ids of some rows, in the order of the pool.
fn digest(rows: &[u32], pool: &Ids) -> String {
    let ids: Vec<&str> = rows.iter().map(|row| pool.id(*row as usize)).collect();
    xxh3_hex(ids.join("\n").as_bytes())
}

/// The lines of `subsets.jsonl`.
fn of_subsets(subsets: &[Subset], pool: &Ids) -> Result<String, EvaluateError> {
    let mut text = String::new();
    for (number, subset) in subsets.iter().enumerate() {
        let ids = |rows: &[u32]| -> Vec<String> {
            rows.iter().map(|row| pool.id(*row as usize).to_owned()).collect()
        };
        let left_out = subset.left_out(pool.len());
        let is_rest = left_out.len() < subset.rows.len();
        let line = Line {
            subset: number,
            kind: subset.kind.clone(),
            rows: (!is_rest).then(|| ids(&subset.rows)),
            without: is_rest.then(|| ids(&left_out)),
            digest: digest(&subset.rows, pool),
        };
        let line = serde_json::to_string(&line)
            .map_err(|error| EvaluateError::Io(std::io::Error::other(error.to_string())))?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Samples as lines of JSON.
fn lines(samples: &[TextSample]) -> String {
    let of = |sample: &TextSample| {
        let mut record = match &sample.content {
            Content::Text(text) => json!({ "id": sample.id, "text": text }),
            Content::PromptCompletion { prompt, completion } => {
                json!({ "id": sample.id, "prompt": prompt, "completion": completion })
            }
            Content::Messages(messages) => {
                let list = messages.iter().map(|m| json!({ "role": m.role.name(), "content": m.content }));
                json!({ "id": sample.id, "messages": list.collect::<Vec<Value>>() })
            }
        }
        .to_string();
        record.push('\n');
        record
    };
    samples.iter().map(of).collect()
}

/// Writes a file that appears when it is whole.
fn place(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), EvaluateError> {
    let open = std::fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new().permissions(open).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(folder.join(name)).map_err(|error| error.error)?;
    Ok(())
}
