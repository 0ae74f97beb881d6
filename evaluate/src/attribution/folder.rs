//! The folder of a ground truth: pool, queries, subsets, and the outputs of each run.
//!
//! ```text
//! manifest.json          what is there, with digests; written last
//! pool.jsonl             the rows, as they are trained on
//! queries.jsonl          the queries
//! subsets.jsonl          rows of each subset by their ids, or those that it leaves out
//! recipe.json            how models are trained; written by the first run
//! outputs/00007.parquet  a run: query, loss, output, tokens; one file each, which says what it is of
//! models/00007/          a training in work
//! ```
//!
//! Invariants
//! - run `n` trains on subset `n / repeats`; its file appears when it is whole
//! - outputs say of which run, rows, queries and recipe they are: those of others are not read
//! - nothing that a run has read changes: jobs may do different runs of one folder at once

mod artifact;
mod files;
mod identity;
mod lines;
mod members;
mod outputs;
mod recipe;
mod replaced;
mod stored;
mod texts;

use std::ops::Range;
use std::path::{Path, PathBuf};

use gstore_core::{Cancel, Remedy, many_of, xxh3_hex};
use gstore_data::TextSample;
use gstore_train::difference;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::files::{check_unused, place_new};
use self::lines::{ids_in, sample_lines, subset_lines, subsets_in};
use super::ids::Ids;
use super::subsets::{Subset, SubsetKind};
use super::truth::{Signal, Truth};
use crate::error::EvaluateError;
use crate::records::read_json;

pub use self::artifact::artifacts_naming;
pub use self::outputs::{PendingRun, QueryLoss};
pub use self::recipe::Recipe;
pub use self::texts::TruthTexts;

/// Version of the layout.
const VERSION: u32 = 1;

/// A file of the folder and its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct ListedFile {
    count: usize,
    digest: String,
}

/// What the folder has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Manifest {
    version: u32,
    pool: ListedFile,
    queries: ListedFile,
    subsets: ListedFile,
    repeats: usize,
    signal: Signal,
    design: Value,
}

/// The options that say a design's keys.
const OF_DESIGN: [(&str, &str); 5] = [
    ("design", "design"),
    ("count", "count"),
    ("fraction", "fraction"),
    ("repeats", "repeats"),
    ("seed", "subset_seed"),
];

impl Manifest {
    /// What differs from what is asked for; that subsets do only where nothing that they follow from does.
    fn unlike(&self, asked: &Manifest) -> String {
        let mut all: Vec<String> = Vec::new();
        for (what, differ) in [("rows", self.pool != asked.pool), ("queries", self.queries != asked.queries)]
        {
            all.extend(differ.then(|| format!("its {what} differ from those given")));
        }
        all.extend(difference(&in_words(&self.design), &in_words(&asked.design), &OF_DESIGN));
        match all.is_empty() {
            true => "its subsets differ from those given".to_owned(),
            false => all.join("; "),
        }
    }
}

/// Writes the [`DRAWN`] files in their order. Of two ground truths that are begun in a folder at once, the
/// one that comes second to a file that they differ in writes no more, so that the manifest lists what is
/// there.
fn place_drawn(folder: &Path, files: &[(&str, &str)]) -> Result<(), EvaluateError> {
    for ((name, text), what) in files.iter().zip(["rows", "queries", "subsets", "manifest"]) {
        if place_new(folder, name, text.as_bytes())? {
            continue;
        }
        // A manifest says more.
        if TruthFolder::exists(folder) {
            return Ok(());
        }
        let differ = format!("its {what} differ from those given");
        let way_out = format!("give another folder with {}", Remedy::Option("truth", ""));
        return Err(EvaluateError::File { path: folder.join(name), what: of_another(&differ, &way_out) });
    }
    Ok(())
}

/// What is said of a ground truth that is another than the one that is asked for.
fn of_another(differ: &str, way_out: &str) -> String {
    format!("it is the truth of other subsets, queries or rows: {differ}\n  {way_out}")
}

/// A design with its name as the option has it: `LeaveOneOut` as `leave-one-out`.
fn in_words(design: &Value) -> Value {
    let mut design = design.clone();
    if let Some(name) = design.get_mut("design")
        && let Some(variant) = name.as_str()
    {
        let mut word = String::new();
        for letter in variant.chars() {
            word.extend((letter.is_uppercase() && !word.is_empty()).then_some('-'));
            word.extend(letter.to_lowercase());
        }
        *name = json!(word);
    }
    design
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

/// The folder of a ground truth.
#[derive(Debug)]
pub struct TruthFolder {
    folder: PathBuf,
    manifest: Manifest,
    pool: Ids,
    queries: Ids,
    subsets: Vec<Subset>,
}

/// The files of a drawn ground truth, the manifest last.
const DRAWN: [&str; 4] = ["pool.jsonl", "queries.jsonl", "subsets.jsonl", "manifest.json"];

impl TruthFolder {
    /// Whether there is one.
    pub fn exists(folder: &Path) -> bool {
        folder.join("manifest.json").exists()
    }

    /// Makes the folder, or opens it if it holds the same.
    ///
    /// # Errors
    /// A folder that holds another truth, or files of no truth; ids that come twice; a folder that cannot be
    /// written; being told to stop.
    pub fn create(
        folder: &Path,
        plan: &TruthPlan<'_>,
        cancel: &Cancel,
    ) -> Result<TruthFolder, EvaluateError> {
        let ids = |samples: &[TextSample], of| Ids::new(samples.iter().map(|s| s.id.clone()), of);
        let (pool, _) = (ids(plan.pool, "the pool")?, ids(plan.queries, "the queries")?);
        let texts = [
            sample_lines(plan.pool, cancel)?,
            sample_lines(plan.queries, cancel)?,
            subset_lines(plan.subsets, &pool, cancel)?,
        ];
        let counts = [plan.pool.len(), plan.queries.len(), plan.subsets.len()];
        let listed = |at: usize| ListedFile { count: counts[at], digest: xxh3_hex(texts[at].as_bytes()) };
        let manifest = Manifest {
            version: VERSION,
            pool: listed(0),
            queries: listed(1),
            subsets: listed(2),
            repeats: plan.repeats.max(1),
            signal: Signal::NegativeLoss,
            design: plan.design.clone(),
        };
        let listing = format!("{:#}\n", json!(manifest));
        let [pool, queries, subsets] = texts.each_ref().map(String::as_str);
        Self::made(folder, [pool, queries, subsets, &listing], &manifest, cancel)
    }

    /// Writes the [`DRAWN`] files unless the folder has some; opens what is there then.
    fn made(
        folder: &Path,
        texts: [&str; DRAWN.len()],
        manifest: &Manifest,
        cancel: &Cancel,
    ) -> Result<TruthFolder, EvaluateError> {
        if !Self::exists(folder) {
            let files: Vec<(&str, &str)> = DRAWN.into_iter().zip(texts).collect();
            check_unused(folder, &files)?;
            fs_err::create_dir_all(folder.join("outputs"))?;
            place_drawn(folder, &files)?;
        }
        // Another process may have made it meanwhile.
        let found = Self::open(folder, cancel)?;
        if found.manifest == *manifest {
            return Ok(found);
        }
        Err(found.bad("manifest.json", &of_another(&found.manifest.unlike(manifest), &found.remedy())))
    }

    /// Opens the folder and checks what it holds.
    ///
    /// # Errors
    /// A folder of something else, or whose files have changed; being told to stop.
    pub fn open(folder: &Path, cancel: &Cancel) -> Result<TruthFolder, EvaluateError> {
        let bad = |name: &str, what: String| EvaluateError::File { path: folder.join(name), what };
        let manifest: Manifest = read_json(&folder.join("manifest.json"))?;
        if manifest.version != VERSION {
            return Err(bad(
                "manifest.json",
                format!("its version is {}; {VERSION} is read", manifest.version),
            ));
        }
        let read = |name: &str, listed: &ListedFile| -> Result<String, EvaluateError> {
            cancel.check()?;
            let text = fs_err::read_to_string(folder.join(name))?;
            match xxh3_hex(text.as_bytes()) == listed.digest {
                true => Ok(text),
                false => Err(bad(name, "it has changed since the folder was made".to_owned())),
            }
        };
        let ids = |name: &str, listed: &ListedFile| {
            let ids = ids_in(&read(name, listed)?, |what| bad(name, what), cancel)?;
            Ids::new(ids, name)
        };
        let (pool, queries) = (ids("pool.jsonl", &manifest.pool)?, ids("queries.jsonl", &manifest.queries)?);
        let text = read("subsets.jsonl", &manifest.subsets)?;
        let subsets = subsets_in(&text, &pool, |what| bad("subsets.jsonl", what), cancel)?;
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

    /// Refuses outputs of the folder among which there are none of the whole pool, with the runs that are
    /// missing for that.
    ///
    /// # Errors
    /// There are none.
    pub fn check_full(&self, read: &Truth) -> Result<(), EvaluateError> {
        let Err(error) = read.full() else { return Ok(()) };
        let full = self.subsets.iter().position(|subset| subset.kind == SubsetKind::Full);
        let (EvaluateError::Truth(what), Some(full)) = (&error, full) else { return Err(error) };
        let repeats = self.manifest.repeats;
        let (first, end) = (full * repeats, (full + 1) * repeats);
        let runs: Vec<String> = self.remaining(first..end).iter().map(usize::to_string).collect();
        Err(EvaluateError::Truth(format!(
            "{what}; {} in {} ({}): retraining with that folder and {} does what is missing",
            many_of(runs.len() as u64, "run of it is missing", "runs of it are missing"),
            self.folder.display(),
            runs.join(", "),
            Remedy::Option("runs", &format!("{first}..{end}"))
        )))
    }

    fn output_file(&self, run: usize) -> PathBuf {
        self.folder.join("outputs").join(format!("{run:05}.parquet"))
    }

    /// The subsets and all outputs that there are.
    ///
    /// # Errors
    /// A file that cannot be read, lacks queries, or is of another run, other rows or another recipe.
    pub fn read(&self, cancel: &Cancel) -> Result<Truth, EvaluateError> {
        let repeats = self.manifest.repeats;
        let of_subset = |subset: usize| subset * repeats..(subset + 1) * repeats;
        let is_done = |subset: usize| self.remaining(of_subset(subset)).is_empty();
        let done: Vec<bool> = (0..self.subsets.len()).map(is_done).collect();
        let subsets = (0..done.len()).filter(|subset| done[*subset]);
        let runs: Vec<usize> = subsets.flat_map(of_subset).collect();
        let mut read = self.outputs_of(&runs, cancel)?.into_iter();
        let of_runs = |done: &bool| read.by_ref().take(if *done { repeats } else { 0 }).collect::<Vec<_>>();
        let outputs = done.iter().map(of_runs).collect();
        Ok(Truth {
            pool: self.pool.clone(),
            queries: self.queries.clone(),
            subsets: self.subsets.clone(),
            signal: self.manifest.signal,
            outputs,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_truths_that_are_begun_in_a_folder_at_once_leave_one_that_is_whole() {
        let of = |queries: &'static str| {
            [("pool.jsonl", "rows"), ("queries.jsonl", queries), ("subsets.jsonl", queries)]
        };
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let (first, second) = (of("one"), of("two"));
        let text = |name: &str| fs_err::read_to_string(folder.join(name)).unwrap();
        // Both have found the folder empty.
        place_drawn(folder, &first[..2]).unwrap();
        let error = place_drawn(folder, &[&second[..], &[("manifest.json", "two")]].concat()).unwrap_err();
        let says = "queries.jsonl: it is the truth of other subsets, queries or rows: its queries differ";
        assert!(error.to_string().contains(says), "{error}");
        assert!(!folder.join("subsets.jsonl").exists() && !TruthFolder::exists(folder));
        place_drawn(folder, &[&first[..], &[("manifest.json", "one")]].concat()).unwrap();
        // A later one is compared by its manifest.
        place_drawn(folder, &second).unwrap();
        assert_eq!(["queries.jsonl", "subsets.jsonl", "manifest.json"].map(text), ["one"; 3]);
    }
}
