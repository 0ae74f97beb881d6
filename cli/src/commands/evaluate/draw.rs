//! Rows, queries and subsets of a ground truth, as flags name them.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore_core::Cancel;
use gstore_data::{Reading, SampleSource, TextSample};
use gstore_evaluate::attribution::{
    Ids, Removals, Subset, TruthFolder, TruthPlan, leave_groups_out, leave_one_out, random_subsets, removals,
};
use gstore_store::MetaValue;
use serde_json::json;

use super::scores;
use crate::args::{Design, EvaluateRetrainArgs, SubsetDrawArgs};
use crate::commands::train;
use crate::context::Context;
use crate::failure::UsageError;

/// Random subsets unless another number is asked for.
const SUBSETS: usize = 32;

/// Opens the folder of the ground truth, or makes it.
pub fn folder(context: &Context, args: &EvaluateRetrainArgs, cancel: &Cancel) -> Result<TruthFolder> {
    let draw = &args.draw;
    let is_given = !draw.data.is_empty() || draw.dataset.is_some();
    if !is_given && TruthFolder::exists(&args.truth) {
        return Ok(TruthFolder::open(&args.truth)?);
    }
    let source =
        |files: &[PathBuf], dataset: Option<&String>, flag: &str| source(context, draw, files, dataset, flag);
    let mut pool = samples(&source(&draw.data, draw.dataset.as_ref(), "data")?, cancel)?;
    let queries = samples(&source(&draw.query_data, draw.query_dataset.as_ref(), "query-data")?, cancel)?;
    if let Some(path) = &draw.rows {
        let ids = train::ids_of(path)?;
        keep(&mut pool, &ids, path)?;
    }
    let subsets = subsets(context, args, (&pool, &queries), cancel)?;
    let design = json!({
        "design": format!("{:?}", draw.design),
        "count": draw.count,
        "fraction": draw.fraction,
        "repeats": draw.repeats,
        "seed": draw.subset_seed,
    });
    let plan = TruthPlan { pool: &pool, queries: &queries, subsets: &subsets, repeats: draw.repeats, design };
    Ok(TruthFolder::create(&args.truth, &plan)?)
}

/// Keeps the samples whose ids are among some, which all have to be there.
fn keep(pool: &mut Vec<TextSample>, ids: &HashSet<String>, path: &Path) -> Result<()> {
    pool.retain(|sample| ids.contains(&sample.id));
    let found: HashSet<&str> = pool.iter().map(|sample| sample.id.as_str()).collect();
    if let Some(missing) = ids.iter().filter(|id| !found.contains(id.as_str())).min() {
        bail!("{}: no row has the id {missing:?}", path.display());
    }
    Ok(())
}

fn source(
    context: &Context,
    args: &SubsetDrawArgs,
    files: &[PathBuf],
    dataset: Option<&String>,
    flag: &str,
) -> Result<SampleSource> {
    if let Some(name) = dataset {
        let snapshot = context.open()?.snapshot()?;
        let part = Arc::clone(snapshot.dataset(name)?);
        return Ok(SampleSource::Dataset { snapshot, part, rows: None });
    }
    if files.is_empty() {
        let set = flag.replace("data", "dataset");
        bail!(UsageError(format!("a new ground truth needs rows and queries: give --{flag} or --{set}")));
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
    let given = !args.scores.scores.is_empty() || !args.scores.sql.is_empty() || args.scores.random.is_some();
    if given && draw.design != Design::Removal {
        bail!(UsageError("scores say which rows are removed: they belong to --design removal".to_owned()));
    }
    let (rows, seed) = (pool.len(), draw.subset_seed);
    Ok(match draw.design {
        Design::Random => random_subsets(rows, draw.count.unwrap_or(SUBSETS), draw.fraction, seed)?,
        Design::LeaveOneOut => leave_one_out(rows, draw.count, seed, |row| pool[row].id.as_str())?,
        Design::LeaveGroupOut => {
            let Some(key) = &draw.group else {
                bail!(UsageError("--design leave-group-out: of which groups? give --group KEY".to_owned()));
            };
            leave_groups_out(&groups(pool, key)?)?
        }
        Design::Removal => {
            let ids = |samples: &[TextSample], of| Ids::new(samples.iter().map(|s| s.id.clone()), of);
            let (pool, queries) = (ids(pool, "the rows")?, ids(queries, "the queries")?);
            let methods = scores::read(context, &args.scores, (&pool, &queries), cancel)?;
            let asked = Removals {
                shares: draw.shares.clone(),
                queries: (0..draw.count.unwrap_or(queries.len()).min(queries.len())).collect(),
                draws: draw.draws,
                seed,
            };
            removals(pool.len(), &methods, &asked, |query| queries.id(query))?
        }
    })
}

/// The group of each row, by a key of its record.
fn groups(pool: &[TextSample], key: &str) -> Result<Vec<String>> {
    let of = |sample: &TextSample| {
        let value = sample.metadata.iter().find(|(known, _)| known == key).map(|(_, value)| value);
        match value {
            Some(MetaValue::Text(text)) => Ok(text.clone()),
            Some(MetaValue::Int(number)) => Ok(number.to_string()),
            Some(MetaValue::Bool(flag)) => Ok(flag.to_string()),
            _ => bail!("{sample} has no group: its record has no text, number or flag as `{key}`"),
        }
    };
    pool.iter().map(of).collect()
}
