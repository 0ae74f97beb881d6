//! `gstore generate`: answers prompts, into a file or as a dataset; or scores given texts.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Result, bail};
use gstore::{
    AddReport, AddRequest, Folders, GenerateRequest, Generated, PerplexityRequest, PromptSource, RowNames,
    Sampling, StopStrings, add_answers, find_rows,
};
use gstore_core::{Cancel, many};
use gstore_data::{Content, Message, Role};
use gstore_generate::{Compute, Stopping, Weights};
use gstore_ingest::pipeline::{CheckpointArg, IngestRequest};
use serde_json::json;

use super::ingest::{of_run, with_run};
use super::{gradients, perplexity};
use crate::args::{GenerateArgs, IfChanged, PromptArgs, SamplingArgs};
use crate::context::{Context, command_line};
use crate::ending::format_of_name;
use crate::failure::{STOPPED, UsageError, of_condition};
use crate::generating::Live;
use crate::models::folder_error;
use crate::output::{self, Output, Place, out};
use crate::texts;

/// Answers the prompts, or scores the texts.
pub fn run(context: &Context, args: &GenerateArgs) -> Result<ExitCode> {
    let path = args.answers.output.as_deref();
    output::check(context, &[path], args.answers.force)?;
    let Some(what) = wanted(&args.prompts) else {
        bail!(UsageError("which prompts? give --prompt, --data or --dataset".to_owned()));
    };
    if !args.prompts.text.is_empty() && !args.perplexity {
        let why = "--text is scored as a whole, with --perplexity; what is answered is given as --prompt";
        bail!(UsageError(why.to_owned()));
    }
    if args.text.block.is_some() && !args.perplexity {
        bail!(UsageError("--block cuts texts that are scored: it goes with --perplexity".to_owned()));
    }
    if args.json && path.is_none() && args.answers.dataset_as.is_none() {
        bail!(UsageError(
            "--json prints what was done, where the answers would be: give --output or --as".to_owned()
        ));
    }
    if let Some(dataset) = &args.answers.dataset_as {
        context.store_path()?;
        gstore::DatasetName::try_from(dataset.as_str()).map_err(|error| UsageError(error.to_string()))?;
    }
    let message = "stopping after the token in work; once more to stop at once";
    let cancel = context.cancel_on_interrupt(message)?;
    let Chosen { weights, base, checkpoint, run, origins } = chosen(context, args)?;
    let prompts = source(context, &args.prompts, what, &cancel)?;
    let compute = Compute {
        device: args.backend,
        precision: gradients::precision(args.compute),
        threads: context.threads,
        batch: args.batch_size,
    };
    if args.perplexity {
        let stored = IngestRequest {
            run,
            checkpoints: vec![checkpoint],
            text: weights.text.clone(),
            origins,
            ..IngestRequest::new(args.prompts.dataset.as_deref().unwrap_or_default(), base)
        };
        let scored = PerplexityRequest { weights, texts: prompts, compute };
        return perplexity::run(context, args, scored, stored, &cancel);
    }
    if let Some(path) =
        path.filter(|path| !matches!(format_of_name(path), Ok(None | Some(crate::args::Format::Json))))
    {
        bail!(UsageError(format!(
            "{}: answers are JSON lines; a name ends in .jsonl, also with .gz or .zst",
            path.display()
        )));
    }
    let sampling = sampling(&args.sampling)?;
    let journal = journal(context, args)?;
    let request = GenerateRequest {
        weights,
        prompts,
        sampling,
        stopping: Stopping {
            max_new_tokens: args.sampling.max_new_tokens,
            strings: StopStrings::new(args.sampling.stop.clone())?,
            ignore_end: args.sampling.ignore_eos,
        },
        compute,
        journal,
        overwrite: args.answers.force,
    };
    let mut live = Live::new(context.quiet);
    if let Some(dataset) = &args.answers.dataset_as
        && args.answers.if_changed == IfChanged::Refuse
        && let Some(store) = context.open_if_there()?
    {
        live.for_dataset(store.snapshot()?, dataset);
    }
    let generated = gstore::generate(&request, &mut live, &cancel);
    live.finish();
    finish(context, args, generated?, request.journal.is_some(), &cancel)
}

/// What a command line names.
enum Wanted {
    Given,
    Files,
    Dataset,
}

fn wanted(args: &PromptArgs) -> Option<Wanted> {
    match args {
        PromptArgs { dataset: Some(_), .. } => Some(Wanted::Dataset),
        _ if !args.data.is_empty() => Some(Wanted::Files),
        _ if !args.prompt.is_empty() || !args.text.is_empty() => Some(Wanted::Given),
        _ => None,
    }
}

/// Puts the answers where they are to go.
fn finish(
    context: &Context,
    args: &GenerateArgs,
    mut generated: Generated,
    kept: bool,
    cancel: &Cancel,
) -> Result<ExitCode> {
    let path = args.answers.output.as_deref();
    if !generated.finished && kept {
        context.say("stopped; the answers that are done are kept, and the same command goes on from there");
        return Ok(ExitCode::from(STOPPED));
    }
    // First the store, which may refuse an answer: nothing is lost then.
    let added = match &args.answers.dataset_as {
        Some(dataset) => Some(register(context, args, dataset, &mut generated, cancel)?),
        None => None,
    };
    if path.is_some() || added.is_none() {
        let mut file = Output::create(path, args.answers.force)?;
        output::noted(generated.answers.write_to(&mut file))?;
        file.finish()?;
    }
    let Generated { finished, prompts, tokens, model, answers } = generated;
    let answered = answers.answered();
    answers.remove()?;
    if args.json {
        let report = json!({
            "finished": finished,
            "prompts": prompts,
            "answers": answered,
            "tokens": tokens,
            "model": model.to_string(),
            "dataset": args.answers.dataset_as,
            "snapshot": added.and_then(|report| report.snapshot),
        });
        out!("{}", serde_json::to_string_pretty(&report)?);
    }
    if let Some(file) = path.filter(|path| Place::of(Some(*path)).is_file()) {
        context.say(&format!("{} written to {}", many(answered as u64, "answer"), file.display()));
    }
    if let (Some(dataset), Some(report)) = (&args.answers.dataset_as, &added) {
        let there = report.unchanged + report.kept;
        let new = report.added + report.replaced;
        context.say(&format!("{dataset}: {} added, {there} there already", many(new, "answer")));
    }
    Ok(if finished { ExitCode::SUCCESS } else { ExitCode::from(STOPPED) })
}

/// The answers as samples of a dataset.
fn register(
    context: &Context,
    args: &GenerateArgs,
    dataset: &str,
    generated: &mut Generated,
    cancel: &Cancel,
) -> Result<AddReport> {
    let store = context.open_or_create()?;
    let request = AddRequest {
        if_changed: match args.answers.if_changed {
            IfChanged::Refuse => gstore_store::IfChanged::Refuse,
            IfChanged::Keep => gstore_store::IfChanged::Keep,
            IfChanged::Replace => gstore_store::IfChanged::Replace,
        },
        command: command_line(),
        ..AddRequest::new(dataset, [])
    };
    let (command, mut reporter) = (command_line(), context.reporter());
    let mut work = context.work(&command, &mut reporter, cancel);
    Ok(add_answers(&store, &request, &mut generated.answers, &mut work)?)
}

/// File beside the result that keeps answers until all are there; none for a stream.
fn journal(context: &Context, args: &GenerateArgs) -> Result<Option<PathBuf>> {
    let beside = |path: &Path, ending: &str| {
        let mut name = OsString::from(path.file_name().unwrap_or_default());
        name.push(ending);
        path.with_file_name(name)
    };
    if let Place::File(target) = Place::of(args.answers.output.as_deref()) {
        return Ok(Some(beside(&target, ".part")));
    }
    let Some(dataset) = &args.answers.dataset_as else { return Ok(None) };
    let store = std::path::absolute(context.store_path()?)?;
    Ok(Some(beside(&store, &format!(".{dataset}.part"))))
}

fn sampling(args: &SamplingArgs) -> Result<Sampling> {
    let draws = args.top_k.is_some() || args.top_p.is_some();
    let sampling = Sampling {
        temperature: args.temperature.unwrap_or(if draws { 1.0 } else { 0.0 }),
        top_k: args.top_k,
        top_p: args.top_p,
        repetition_penalty: args.repetition_penalty,
        no_repeat_ngram: args.no_repeat_ngram_size,
        seed: args.seed.unwrap_or(Sampling::SEED),
    };
    sampling.check()?;
    if args.seed.is_some() && !sampling.draws() {
        bail!(UsageError(
            "--seed is that of draws, and without --temperature, --top-k or --top-p the most likely token is taken"
                .to_owned()
        ));
    }
    Ok(sampling)
}

/// The model that was named.
struct Chosen {
    weights: Weights,
    base: PathBuf,
    checkpoint: CheckpointArg,
    /// The run that its features belong to.
    run: String,
    origins: BTreeMap<PathBuf, String>,
}

/// The folders of the model, its adapter and its tokenizer.
fn chosen(context: &Context, args: &GenerateArgs) -> Result<Chosen> {
    let (text, args) = (&args.text, &args.weights);
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let (base, checkpoint) = match (&args.model, &args.run) {
        (Some(model), _) => {
            let base = folders.model(model).map_err(|error| folder_error("--model", error))?;
            let given: Vec<String> = args.adapter.iter().cloned().collect();
            let mut found = folders.checkpoints(&given).map_err(|error| folder_error("--adapter", error))?;
            match (found.pop(), found.is_empty()) {
                (Some(only), true) => (base, only),
                _ => bail!(UsageError("--adapter names several folders; one model answers".to_owned())),
            }
        }
        (None, Some(run)) => {
            let (base, checkpoints) = of_run(context, run, &[])?;
            (base, checkpoint_of(run, checkpoints, args.checkpoint.as_deref())?)
        }
        (None, None) => {
            bail!(UsageError("which model? give --model, or --run of a run of the store".to_owned()))
        }
    };
    let model = checkpoint.model(&base).to_owned();
    let text = texts::options(&mut folders, text)?;
    let mut text = with_run(context, text, (args.model.as_ref(), args.run.as_ref()), &base)?;
    if text.tokenizer.is_none() && !model.join("tokenizer.json").exists() {
        text.tokenizer = Some(base.clone());
    }
    let weights = Weights { adapter: checkpoint.adapter().map(Path::to_owned), text, model };
    let named = std::slice::from_ref(&checkpoint);
    let run = args.run.clone().unwrap_or_else(|| folders.run_name(&base, named));
    Ok(Chosen { weights, run, origins: folders.origins(), base, checkpoint })
}

/// The checkpoint of a run that is named, else its last.
fn checkpoint_of(
    run: &str,
    mut checkpoints: Vec<CheckpointArg>,
    name: Option<&str>,
) -> Result<CheckpointArg> {
    let names: Vec<String> = checkpoints.iter().map(|checkpoint| checkpoint.name.clone()).collect();
    let found = match name {
        None => checkpoints.pop(),
        Some(name) => checkpoints.into_iter().find(|checkpoint| checkpoint.name == name),
    };
    Ok(found.ok_or_else(|| {
        UsageError(format!("run {run} has no such checkpoint; it has {}", names.join(", ")))
    })?)
}

/// Prompts, or texts.
fn source(context: &Context, args: &PromptArgs, what: Wanted, cancel: &Cancel) -> Result<PromptSource> {
    Ok(match what {
        Wanted::Files => PromptSource::Files { paths: args.data.clone(), fields: args.fields.clone() },
        Wanted::Given => {
            let prompt = |text: &String| match args.chat {
                true => Content::Messages(vec![Message { role: Role::User, content: text.clone() }]),
                false => Content::PromptCompletion { prompt: text.clone(), completion: String::new() },
            };
            let texts = args.text.iter().cloned().map(Content::Text);
            PromptSource::Given(args.prompt.iter().map(prompt).chain(texts).collect())
        }
        Wanted::Dataset => {
            let snapshot = context.open()?.snapshot()?;
            let part = Arc::clone(snapshot.dataset(args.dataset.as_deref().unwrap_or_default())?);
            let rows = match &args.filter {
                None => None,
                Some(condition) => {
                    let names = RowNames { ids: HashSet::new(), condition: Some(condition.clone()) };
                    let found = find_rows(&snapshot, &part, &names, context.threads, cancel);
                    Some(found.map_err(of_condition)?.rows)
                }
            };
            PromptSource::Dataset { snapshot, part, rows }
        }
    })
}
