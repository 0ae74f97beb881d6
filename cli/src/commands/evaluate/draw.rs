//! Rows, queries and subsets of a ground truth, from flags.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::ValueEnum;
use gstore_core::{Cancel, many_of};
use gstore_data::{Reading, SampleError, SampleSource, TextSample};
use gstore_evaluate::attribution::{
    Ids, Removals, Subset, TruthFolder, TruthPlan, leave_groups_out, leave_one_out, random_subsets, removals,
};
use serde_json::{Value, json};

use super::asked::{RunModel, RunSetup, asked, check_runs, check_training};
use super::scores;
use crate::args::{Design, EvaluateRetrainArgs, RowsAndQueriesArgs};
use crate::commands::train;
use crate::context::Context;
use crate::failure::refuse;
use crate::held::{HiddenName, LockedFolder, remove_leftovers};

/// Number of random subsets unless another is given.
const SUBSETS: usize = 32;

/// The designs that draw a subset of all possibilities.
const DRAWN: &[Design] = &[Design::Random, Design::LeaveOneOut, Design::Removal];

/// Given flags that define a ground truth, each with the designs that it belongs to; none if it fits any.
fn given(args: &EvaluateRetrainArgs) -> Vec<(&'static str, &'static [Design])> {
    let (draw, of, scores) = (&args.draw, &args.draw.of, &args.scores);
    let removal: &[Design] = &[Design::Removal];
    let flags = [
        ("--query-data", !of.query_data.is_empty(), &[][..]),
        // It names the queries of an ensemble as well.
        ("--query-dataset", of.query_dataset.is_some() && args.ensemble.is_none(), &[]),
        ("--field", !of.fields.is_empty(), &[]),
        ("--rows", draw.rows.is_some(), &[]),
        ("--design", draw.design.is_some(), &[]),
        ("--repeats", draw.repeats.is_some(), &[]),
        ("--count", draw.count.is_some(), DRAWN),
        ("--subset-seed", draw.subset_seed.is_some(), DRAWN),
        ("--fraction", draw.fraction.is_some(), &[Design::Random]),
        ("--group", draw.group.is_some(), &[Design::LeaveGroupOut]),
        ("--shares", !draw.shares.is_empty(), removal),
        ("--draws", draw.draws.is_some(), removal),
        ("--scores", !scores.scores.is_empty(), removal),
        ("--sql", !scores.sql.is_empty(), removal),
        ("--negate", !scores.negate.is_empty(), removal),
        ("--missing", scores.missing.is_some(), removal),
    ];
    flags.into_iter().filter(|(_, is_given, _)| *is_given).map(|(flag, _, of)| (flag, of)).collect()
}

fn word(design: Design) -> String {
    design.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Refuses flags without effect: those that define a new ground truth where one exists, which would be taken
/// for what was asked for, and those of another design.
fn check_flags(args: &EvaluateRetrainArgs, is_there: bool) -> Result<()> {
    let given = given(args);
    if is_there && !given.is_empty() {
        let flags: Vec<&str> = given.iter().map(|(flag, _)| *flag).collect();
        refuse!(
            "{} is already a ground truth, whose rows, queries and subsets are fixed: leave out {}, or, to \
             check that they match, also give --data or --dataset and all flags that it was made with",
            args.truth.display(),
            flags.join(", ")
        );
    }
    let design = args.draw.design();
    if let Some((flag, of)) = given.iter().find(|(_, of)| !of.is_empty() && !of.contains(&design)) {
        let of: Vec<String> = of.iter().map(|design| word(*design)).collect();
        refuse!(
            "{flag} has no effect with --design {}: it is for --design {}",
            word(design),
            of.join(" or ")
        );
    }
    Ok(())
}

/// What a ground truth is made of, before it has a folder.
pub struct Drawing {
    pool: Vec<TextSample>,
    queries: Vec<TextSample>,
    subsets: Vec<Subset>,
    repeats: usize,
    design: Value,
}

impl Drawing {
    /// Makes the folder, or opens one that holds the same.
    pub fn create(&self, folder: &Path, cancel: &Cancel) -> Result<TruthFolder> {
        let Self { pool, queries, subsets, repeats, design } = self;
        let plan = TruthPlan { pool, queries, subsets, repeats: *repeats, design: design.clone() };
        Ok(TruthFolder::create(folder, &plan, cancel)?)
    }
}

/// Begins a hidden folder in which a ground truth is made before it has its place. What killed processes left
/// of such folders goes.
pub(super) fn hidden_folder(around: &Path, truth: &Path) -> std::io::Result<LockedFolder> {
    // `TruthFolder::create` knows these names: a folder that is there may have this one in it.
    const HIDDEN: HiddenName<'static> = (".truth.", ".part");
    remove_leftovers(HIDDEN, around);
    LockedFolder::make(around, HIDDEN, truth)
}

/// Opens the folder of the ground truth, or creates it once a training of its models could begin; returns the
/// setup of that training.
pub(super) fn folder(
    context: &Context,
    args: &EvaluateRetrainArgs,
    (drawing, model): (Option<Drawing>, Option<&RunModel>),
    cancel: &Cancel,
) -> Result<(TruthFolder, Option<RunSetup>)> {
    let Some(drawing) = drawing else { return Ok((TruthFolder::open(&args.truth, cancel)?, None)) };
    match model.filter(|_| !TruthFolder::exists(&args.truth)) {
        None => Ok((drawing.create(&args.truth, cancel)?, None)),
        Some(model) => {
            let target = std::path::absolute(&args.truth)?;
            // Within the folder if it exists: its parent may not be writable.
            let around = target.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
            let made = hidden_folder(around, &args.truth)?;
            let new = drawing.create(made.content(), cancel)?;
            let asked = asked(context, args, &new, model, cancel)?;
            check_training(args, &new, asked.clone(), cancel)?;
            let truth = new.put(&args.truth, cancel)?;
            truth.agree_on_recipe(&asked.recipe)?;
            let asked = asked.of_folder(&truth);
            Ok((truth, Some(asked)))
        }
    }
}

/// Whether rows are named.
fn is_given(args: &EvaluateRetrainArgs) -> bool {
    !args.draw.of.data.is_empty() || args.draw.of.dataset.is_some()
}

/// Draws what the flags ask for; none where they go on with the ground truth that is there. Refuses flags
/// without effect, and runs that the ground truth does not have.
pub(super) fn drawn(
    context: &Context,
    args: &EvaluateRetrainArgs,
    cancel: &Cancel,
) -> Result<Option<Drawing>> {
    let is_there = !is_given(args) && TruthFolder::exists(&args.truth);
    check_flags(args, is_there)?;
    if is_there {
        // All of it is read here, and once more where the runs begin.
        if args.runs.is_some() {
            check_runs(args, TruthFolder::open(&args.truth, cancel)?.runs())?;
        }
        return Ok(None);
    }
    let draw = &args.draw;
    let (mut pool, queries) = rows_and_queries(context, &draw.of, cancel)?;
    if let Some(path) = &draw.rows {
        let ids = train::ids_of(path)?;
        keep(&mut pool, &ids, path)?;
    }
    let subsets = subsets(context, args, (&pool, &queries), cancel)?;
    let design = json!({
        "design": format!("{:?}", draw.design()),
        "count": draw.count,
        "fraction": draw.fraction(),
        "repeats": draw.repeats(),
        "seed": draw.subset_seed(),
    });
    let repeats = draw.repeats();
    check_runs(args, subsets.len() * repeats)?;
    Ok(Some(Drawing { pool, queries, subsets, repeats, design }))
}

/// Keeps the samples with the given ids, all of which must exist.
fn keep(pool: &mut Vec<TextSample>, ids: &HashSet<String>, path: &Path) -> Result<()> {
    pool.retain(|sample| ids.contains(&sample.id));
    let found: HashSet<&str> = pool.iter().map(|sample| sample.id.as_str()).collect();
    if let Some(missing) = ids.iter().filter(|id| !found.contains(id.as_str())).min() {
        bail!("{}: no row has the id {missing:?}", path.display());
    }
    Ok(())
}

pub(super) fn rows_and_queries(
    context: &Context,
    args: &RowsAndQueriesArgs,
    cancel: &Cancel,
) -> Result<(Vec<TextSample>, Vec<TextSample>)> {
    let source =
        |files: &[PathBuf], dataset: Option<&String>, flag: &str| source(context, args, files, dataset, flag);
    let pool = source(&args.data, args.dataset.as_ref(), "data")?;
    let queries = source(&args.query_data, args.query_dataset.as_ref(), "query-data")?;
    let pool = samples(&pool, cancel)?;
    let queries = samples(&queries, cancel).map_err(|error| with_layout_hint(args, error))?;
    Ok((pool, queries))
}

/// An error of the queries, with advice where their layout may differ from that of the rows.
fn with_layout_hint(args: &RowsAndQueriesArgs, error: anyhow::Error) -> anyhow::Error {
    let is_of_record = matches!(error.downcast_ref(), Some(SampleError::Record { .. }));
    if !is_of_record || args.fields.is_empty() || args.data.is_empty() {
        return error;
    }
    let said = format!(
        "{error}\n  --field applies to the rows too: if the files have other keys, add each to the store with its own \
         (`gstore add --dataset NAME --data FILE --field ...`), and give --dataset and --query-dataset"
    );
    error.context(said)
}

fn source(
    context: &Context,
    args: &RowsAndQueriesArgs,
    files: &[PathBuf],
    dataset: Option<&String>,
    flag: &str,
) -> Result<SampleSource> {
    if let Some(name) = dataset {
        return Ok(SampleSource::of_dataset(context.open()?.snapshot()?, name)?);
    }
    if files.is_empty() {
        let set = flag.replace("data", "dataset");
        refuse!("rows and queries are needed: give --{flag} or --{set}");
    }
    Ok(SampleSource::Files { paths: files.to_vec(), fields: args.fields.clone() })
}

fn samples(source: &SampleSource, cancel: &Cancel) -> Result<Vec<TextSample>> {
    Ok(source.read(Reading::Whole, &|_, _| true, cancel)?.0)
}

fn subsets(
    context: &Context,
    args: &EvaluateRetrainArgs,
    (pool, queries): (&[TextSample], &[TextSample]),
    cancel: &Cancel,
) -> Result<Vec<Subset>> {
    let draw = &args.draw;
    let (rows, seed) = (pool.len(), draw.subset_seed());
    Ok(match draw.design() {
        Design::Random => random_subsets(rows, draw.count.unwrap_or(SUBSETS), draw.fraction(), seed, cancel)?,
        Design::LeaveOneOut => leave_one_out(rows, draw.count, seed, |row| pool[row].id.as_str(), cancel)?,
        Design::LeaveGroupOut => {
            let Some(key) = &draw.group else {
                refuse!("--design leave-group-out requires --group KEY");
            };
            leave_groups_out(&groups(pool, key)?, cancel)?
        }
        Design::Removal => {
            let ids = |samples: &[TextSample], of| Ids::new(samples.iter().map(|s| s.id.clone()), of);
            let (pool, queries) = (ids(pool, "the rows")?, ids(queries, "the queries")?);
            if args.scores.is_empty() {
                refuse!("--design removal requires --scores or --sql");
            }
            let methods = scores::read(context, &args.scores, (&pool, &queries), None, cancel)?;
            let count = draw.count.unwrap_or(queries.len());
            if count > queries.len() {
                let queries = many_of(queries.len() as u64, "query", "queries");
                refuse!("--count {count}: the ground truth has only {queries} to remove rows for");
            }
            let asked =
                Removals { shares: draw.shares(), queries: (0..count).collect(), draws: draw.draws(), seed };
            removals(pool.len(), &methods, &asked, |query| queries.id(query), cancel)?
        }
    })
}

/// Whether a number is written as a whole one.
fn is_whole(json: &str) -> bool {
    json.strip_prefix('-').unwrap_or(json).bytes().all(|digit| digit.is_ascii_digit())
}

fn groups(pool: &[TextSample], key: &str) -> Result<Vec<String>> {
    let of = |sample: &TextSample| {
        let json = sample.metadata.iter().find(|(known, _)| known == key).map(|(_, json)| json);
        match json.map(|json| (serde_json::from_str::<Value>(json).unwrap_or_default(), json)) {
            Some((Value::String(text), _)) => Ok(text),
            Some((Value::Number(_), json)) if is_whole(json) => Ok(json.clone()),
            Some((Value::Bool(_) | Value::Array(_) | Value::Object(_), json)) => Ok(json.clone()),
            _ => {
                bail!(
                    "{sample} has no group: its record has no text, whole number, boolean, list or object under `{key}`"
                )
            }
        }
    };
    pool.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn groups_are_whole_numbers() {
        assert!(["0", "-7", "340282366920938463463374607431768211456"].into_iter().all(is_whole));
        assert!(!["1.0", "1e3", "1E3", "-2.5"].into_iter().any(is_whole));
    }
}
