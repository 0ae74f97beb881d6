//! `gstore evaluate retrain`: models of subsets of a pool, and what they say of queries.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore::Folders;
use gstore_core::{Cancel, Silent, many};
use gstore_data::{Reading, SampleSource, TextOptions, TextSample};
use gstore_evaluate::attribution::{
    Ids, QueryLoss, Removals, Subset, TruthFolder, TruthPlan, leave_groups_out, leave_one_out,
    random_subsets, removals,
};
use gstore_generate::{PerplexityRequest, Weights, perplexity};
use gstore_model::weights::{ModelFolder, checkpoint_id};
use gstore_train::{Batching, DropoutRates, Method, Quiet, Saving, StepOptions, TrainRequest};
use serde_json::{Value, json};

use super::scores;
use crate::args::{Design, DrawArgs, EvaluateRetrainArgs};
use crate::commands::{gradients, train};
use crate::context::Context;
use crate::failure::{STOPPED, UsageError};
use crate::models::folder_error;
use crate::{output, texts};

/// Random subsets unless another number is asked for.
const SUBSETS: usize = 32;

/// Draws the subsets, and trains the runs that are not done.
pub fn run(context: &Context, args: &EvaluateRetrainArgs) -> Result<ExitCode> {
    output::check_outside(context, &args.truth)?;
    let cancel = context.cancel_on_interrupt("stopping after the step in work; once more to stop at once")?;
    let truth = folder(context, args, &cancel)?;
    let all = 0..truth.runs();
    let runs = args.runs.clone().unwrap_or_else(|| all.clone());
    if runs.start >= all.end {
        bail!(UsageError(format!("--runs {}..{}: there are {} runs", runs.start, runs.end, all.end)));
    }
    let remaining = truth.remaining(runs);
    let (done, count) = (all.end - truth.remaining(all.clone()).len(), all.end);
    context.say(&format!("{done} of {} done, {} to do here", many(count as u64, "run"), remaining.len()));
    let Some(model) = args.model.as_ref().filter(|_| !args.draw_only && !remaining.is_empty()) else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let model = folders.model(model).map_err(|error| folder_error("--model", error))?;
    let text = texts::options(&mut folders, &args.text)?;
    drop(folders);
    let request = request(context, args, &truth, model, text)?;
    truth.agree_on_recipe(&recipe(&request)?)?;
    for run in remaining {
        if !retrain(context, args, &truth, &request, run, &cancel)? {
            context.say("stopped; the runs that are done are kept, and the same command goes on from there");
            return Ok(ExitCode::from(STOPPED));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Trains one run and keeps its losses; false if it was told to stop.
fn retrain(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    request: &TrainRequest,
    run: usize,
    cancel: &Cancel,
) -> Result<bool> {
    let Some((repeat, ids)) = truth.run(run) else { return Ok(true) };
    let output = truth.model_folder(run);
    let mut request = request.clone();
    request.subset.ids = Some(ids.into_iter().collect());
    request.batching.seed = request.batching.seed.wrapping_add(repeat as u64);
    request.output.clone_from(&output);
    let outcome = gstore_train::run(&request, &mut Quiet, cancel)?;
    let Some(checkpoint) = outcome.checkpoints.last().filter(|_| outcome.finished) else {
        return Ok(false);
    };
    let losses = losses(context, args, truth, &request, &checkpoint.folder, cancel)?;
    truth.record(run, &losses)?;
    if !args.keep_models {
        fs_err::remove_dir_all(&output)?;
    }
    let mean = losses.iter().map(|of| of.loss).sum::<f64>() / losses.len().max(1) as f64;
    let samples = many(outcome.samples as u64, "row");
    context.say(&format!("run {run}: {samples}, mean loss of the queries {mean:.4}"));
    Ok(true)
}

/// The mean loss of each query under the model of a checkpoint.
fn losses(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    request: &TrainRequest,
    checkpoint: &Path,
    cancel: &Cancel,
) -> Result<Vec<QueryLoss>> {
    let mut text = request.batching.text.clone();
    text.block = None;
    text.tokenizer.get_or_insert_with(|| request.model.clone());
    let is_adapter = matches!(request.method, Method::Lora(_) | Method::Adapter(_));
    let weights = match is_adapter {
        true => Weights { model: request.model.clone(), adapter: Some(checkpoint.to_owned()), text },
        false => Weights { model: checkpoint.to_owned(), adapter: None, text },
    };
    let request = PerplexityRequest {
        weights,
        texts: SampleSource::Files { paths: vec![truth.queries_file()], fields: Vec::new() },
        compute: gstore_generate::Compute {
            device: args.backend,
            precision: gradients::precision(args.compute),
            threads: context.threads,
            batch: gstore_generate::Compute::BATCH,
        },
    };
    let mut losses = Vec::new();
    let mut without = None;
    perplexity(&request, &mut Silent, cancel, &mut |score| {
        let scored = score.scored();
        match scored.mean() {
            Some(loss) => losses.push(QueryLoss { id: score.id, loss, tokens: scored.tokens }),
            None => without = without.take().or(Some(score.id)),
        }
        Ok(())
    })?;
    if let Some(id) = without {
        bail!("query {id:?} has no scored token, so that no model has a loss of it");
    }
    Ok(losses)
}

/// The training that all runs share.
fn request(
    context: &Context,
    args: &EvaluateRetrainArgs,
    truth: &TruthFolder,
    model: PathBuf,
    text: TextOptions,
) -> Result<TrainRequest> {
    let data = SampleSource::Files { paths: vec![truth.pool_file()], fields: Vec::new() };
    let dropout = DropoutRates { lora: args.weights.lora_dropout, hidden: args.weights.dropout };
    Ok(TrainRequest {
        batching: train::batching(&args.batches, text),
        steps: StepOptions { dropout, ..train::steps(&args.optimizer, &args.batches)? },
        // A run is short, and its only checkpoint is the last.
        saving: Saving { every: Some(u64::MAX), ..Saving::default() },
        compute: gstore_train::Compute {
            device: args.backend,
            precision: gradients::precision(args.compute),
            threads: context.threads,
            piece_tokens: args.batch_tokens,
            ..gstore_train::Compute::default()
        },
        ..TrainRequest::new(model, truth.model_folder(0), train::method(&args.weights), data)
    })
}

/// What decides the bits of a model but for its rows: the same for all runs of a ground truth.
fn recipe(request: &TrainRequest) -> Result<Value> {
    let Batching { epochs, max_steps, text, .. } = &request.batching;
    let id = checkpoint_id(&ModelFolder::open(&request.model)?, None)?;
    let mut recipe = request.identity(0);
    // Steps follow from the number of rows.
    recipe["steps"] = json!(max_steps);
    recipe["epochs"] = json!(max_steps.is_none().then_some(epochs));
    recipe["warm-up share"] = json!(request.steps.warmup_ratio);
    recipe["model"] = json!(id.to_string());
    recipe["template"] = json!(format!("{:?}", text.template));
    recipe["system message"] = json!(text.system);
    recipe["maximum length"] = json!(text.max_length);
    recipe["block"] = json!(text.block);
    Ok(recipe)
}

/// Opens the folder of the ground truth, or makes it.
fn folder(context: &Context, args: &EvaluateRetrainArgs, cancel: &Cancel) -> Result<TruthFolder> {
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
        let ids = train::ids(path)?;
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
    args: &DrawArgs,
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
            Some(gstore_store::MetaValue::Text(text)) => Ok(text.clone()),
            Some(gstore_store::MetaValue::Int(number)) => Ok(number.to_string()),
            Some(gstore_store::MetaValue::Bool(flag)) => Ok(flag.to_string()),
            _ => bail!("{sample} has no group: its record has no text, number or flag as `{key}`"),
        }
    };
    pool.iter().map(of).collect()
}
