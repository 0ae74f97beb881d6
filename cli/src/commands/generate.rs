//! `gstore generate`: answers prompts, into a file or as a dataset; or scores given texts.

mod model;
mod prompts;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use gstore::{
    AddReport, AddRequest, GenerateRequest, Generated, PerplexityRequest, PromptSource, StopStrings,
    add_answers, begins_with_answer, columns_of_prompts,
};
use gstore_core::{Cancel, many};
use gstore_data::TemplateKind;
use gstore_generate::{ComputeOptions, StoppingCriteria};
use gstore_ingest::pipeline::IngestRequest;
use gstore_sql::output::{ResultWriter, write_below};
use serde_json::{Value, json};

use self::model::{ChosenModel, chosen};
use self::prompts::{are_given, source};
use super::ingest::with_store;
use super::{gradients, perplexity};
use crate::args::{Format, GenerateArgs, PromptArgs};
use crate::context::Context;
use crate::ending::check_lines;
use crate::failure::{STOPPED, UsageError, refuse};
use crate::generating::GenerationProgress;
use crate::options::sampling;
use crate::output::{self, Output, OutputTarget, path_beside};
use crate::statements::style;
use crate::streams::print_json;
use crate::texts;

/// Answers the prompts, or scores the texts.
pub fn run(context: &Context, args: &GenerateArgs) -> Result<ExitCode> {
    let path = args.answers.output.as_deref();
    let looked_at = path.filter(|_| !args.answers.force && !args.perplexity);
    let there = looked_at.map_or(ExistingAnswers::Nothing, ExistingAnswers::of);
    output::check(context, &[path], args.answers.force || there != ExistingAnswers::Nothing)?;
    if !are_given(&args.prompts) {
        refuse!("which prompts? give --prompt, --data or --dataset");
    }
    check_flags(context, args)?;
    let sampling = sampling(&args.sampling)?;
    let ChosenModel { mut weights, base, checkpoint, run, origins } = chosen(context, args)?;
    // Only now, so that one Ctrl-C ends a download.
    let message = "stopping after the current token; press Ctrl-C again to stop at once";
    let cancel = context.cancel_on_interrupt(message);
    let data = args.prompts.data.iter().map(PathBuf::as_path);
    output::check_unread(&[path], data, weights.folders().chain([base.as_path()]))?;
    let within = texts::within_positions(&weights.model, &args.text.text, weights.text.clone())?;
    // A prompt that is too long is refused, and not cut off.
    if args.perplexity {
        weights.text = within;
    }
    let prompts = source(context, &args.prompts, &cancel)?;
    let compute = compute_options(context, args)?;
    if args.perplexity {
        let dataset = args.prompts.dataset.as_deref().unwrap_or_default();
        if args.as_features {
            // The table has the values of the same tokens.
            weights.text = with_store(context, (&args.text, weights.text), (dataset, &run), &base, None)?;
        }
        let stored = IngestRequest {
            run,
            checkpoints: vec![checkpoint],
            text: weights.text.clone(),
            origins,
            ..IngestRequest::new(dataset, base)
        };
        let scored = PerplexityRequest { weights, texts: prompts, compute };
        return perplexity::run(context, args, scored, stored, &cancel);
    }
    if !args.prompts.prompt.is_empty() && !args.prompts.chat && weights.text.template == TemplateKind::Tulu {
        context.say(
            "note: with --template tulu the prompt is text without roles; --chat gives it as a user's message",
        );
    }
    let roleless = matches!(weights.text.template, TemplateKind::Tulu | TemplateKind::Plain);
    let journal = journal(context, args)?;
    let request = GenerateRequest {
        weights,
        prompts,
        sampling,
        stopping: StoppingCriteria {
            max_new_tokens: args.sampling.max_new_tokens,
            strings: StopStrings::new(args.sampling.stop.clone())?,
            ignore_end: args.sampling.ignore_eos,
        },
        compute,
        journal,
        overwrite: args.answers.force,
    };
    let mut live = observer(context, args, &request.prompts, there)?;
    let generated = gstore::generate(&request, &mut live, &cancel);
    live.finish();
    let mut generated = generated?;
    if there == ExistingAnswers::ResultAndKept
        && let Some(file) = path
        && !output::file_holds(file, |out| generated.answers.write_to(out))?
    {
        refuse!("{}", output::exists(file));
    }
    if !generated.finished && request.journal.is_some() {
        context.say("stopped; finished answers are kept: run the same command again to continue");
        return Ok(ExitCode::from(STOPPED));
    }
    if let Some(note) = empty_answers_note(&mut generated, &args.prompts, roleless)? {
        context.say(&note);
    }
    finish(context, args, (generated, there), live.registration, &cancel)
}

/// Refuses flags that do not go together, before anything is read.
fn check_flags(context: &Context, args: &GenerateArgs) -> Result<()> {
    let path = args.answers.output.as_deref();
    if !args.prompts.text.is_empty() && !args.perplexity {
        refuse!(
            "--text requires --perplexity, which scores it as a whole; give what is to be answered as --prompt"
        );
    }
    if args.text.text.block.is_some() && !args.perplexity {
        refuse!("--block requires --perplexity: it cuts texts that are scored");
    }
    if args.perplexity {
        perplexity::format(args)?;
    } else if let Some(path) = path {
        check_lines(path, "answers")?;
    }
    if args.json && path.is_none() && args.answers.dataset_as.is_none() {
        refuse!("--json prints what was done, where the answers would be: give --output or --as");
    }
    if let Some(dataset) = &args.answers.dataset_as {
        context.store_path()?;
        gstore::DatasetName::try_from(dataset.as_str()).map_err(|error| UsageError(error.to_string()))?;
        AddRequest { columns: args.answers.columns.clone(), ..AddRequest::default() }.overrides()?;
    }
    Ok(())
}

fn compute_options(context: &Context, args: &GenerateArgs) -> Result<ComputeOptions> {
    let (device, beside) = gradients::devices(&args.devices)?;
    Ok(ComputeOptions {
        device,
        beside,
        precision: args.compute.unwrap_or(device.default_compute()),
        threads: context.threads,
        batch: args.batch_size,
    })
}

/// The progress on the terminal, which also compares the prompts with the answers that exist already.
fn observer(
    context: &Context,
    args: &GenerateArgs,
    prompts: &PromptSource,
    there: ExistingAnswers,
) -> Result<GenerationProgress> {
    let mut live = GenerationProgress::new(context.quiet);
    if let Some(dataset) = &args.answers.dataset_as {
        live.snapshot = context.open_if_there()?.map(|store| store.snapshot()).transpose()?;
        live.registration = Some(AddRequest {
            columns: args.answers.columns.clone(),
            known_columns: match prompts {
                PromptSource::Dataset { part, .. } => columns_of_prompts(part),
                _ => Vec::new(),
            },
            if_changed: args.answers.if_changed,
            command: context.command.clone(),
            ..AddRequest::new(dataset, [])
        });
    }
    match (there, args.answers.output.as_deref()) {
        (ExistingAnswers::ResultAndKept, Some(file)) => live.file = Some(file.to_owned()),
        (ExistingAnswers::Answers, Some(file)) => live.result = Some(file.to_owned()),
        _ => {}
    }
    Ok(live)
}

/// What is said of answers that have no text: of prompts that the template gave without roles, why.
fn empty_answers_note(
    generated: &mut Generated,
    prompts: &PromptArgs,
    roleless: bool,
) -> Result<Option<String>> {
    let all = generated.answers.answered();
    let (empty, without_roles) = generated.answers.empty()?;
    if empty == 0 {
        return Ok(None);
    }
    let note = format!("note: {empty} of {all} answers {} empty", if empty == 1 { "is" } else { "are" });
    if !roleless || without_roles == 0 {
        return Ok(Some(note));
    }
    let flag = if prompts.prompt.is_empty() { "--template tulu_chat" } else { "--chat" };
    Ok(Some(format!(
        "{note}: the model ends a text without roles where it sees no question; {flag} gives prompts as a user's messages"
    )))
}

/// What is there in the place of the answers before any is made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ExistingAnswers {
    Nothing,
    /// A result that begins with an answer, which may be of the same request.
    Answers,
    /// A result and the answers that were kept for it, as a command leaves them that is killed
    /// when the result has its name.
    ResultAndKept,
}

impl ExistingAnswers {
    fn of(path: &Path) -> Self {
        // A command with --force that is killed at once leaves an empty one.
        let keeps_some = |target: &Path| {
            let kept = fs_err::metadata(path_beside(target, ".part"));
            kept.is_ok_and(|kept| kept.is_file() && kept.len() > 0)
        };
        match OutputTarget::of(Some(path)) {
            OutputTarget::File(target) if !target.is_file() => Self::Nothing,
            OutputTarget::File(target) if keeps_some(&target) => Self::ResultAndKept,
            OutputTarget::File(target) if begins_with_answer(&target) => Self::Answers,
            _ => Self::Nothing,
        }
    }
}

/// Puts the answers where they are to go; a result that is there has them.
fn finish(
    context: &Context,
    args: &GenerateArgs,
    (mut generated, there): (Generated, ExistingAnswers),
    registration: Option<AddRequest>,
    cancel: &Cancel,
) -> Result<ExitCode> {
    let path = args.answers.output.as_deref();
    // First the store, which may refuse an answer: nothing is lost then.
    let added =
        registration.map(|request| register(context, &request, &mut generated, cancel)).transpose()?;
    if there == ExistingAnswers::Nothing && (path.is_some() || added.is_none()) {
        let mut file = Output::create(path, args.answers.force)?;
        match path.is_none() && std::io::stdout().is_terminal() {
            true => print(&mut generated, &mut file)?,
            false => generated.answers.write_to(&mut file)?,
        }
        file.finish()?;
    }
    let Generated { finished, prompts, tokens, model, answers } = generated;
    let answered = answers.answered();
    answers.remove()?;
    if args.json {
        let report = json!({
            "finished": finished, "prompts": prompts, "answers": answered, "tokens": tokens,
            "model": model.to_string(), "dataset": args.answers.dataset_as,
            "snapshot": added.and_then(|report| report.snapshot),
        });
        print_json(&report)?;
    }
    if let Some(file) = path.filter(|path| OutputTarget::of(Some(*path)).is_file()) {
        let answers = many(answered as u64, "answer");
        context.say(&match there {
            ExistingAnswers::Nothing => format!("{answers} written to {}", file.display()),
            ExistingAnswers::Answers | ExistingAnswers::ResultAndKept => {
                format!("nothing to do: {} has the {answers}; --force makes them again", file.display())
            }
        });
    }
    if let (Some(dataset), Some(report)) = (&args.answers.dataset_as, &added) {
        let there = report.unchanged + report.kept;
        let new = report.added + report.replaced;
        context.say(&format!("{dataset}: {} added, {there} there already", many(new, "answer")));
    }
    Ok(if finished { ExitCode::SUCCESS } else { ExitCode::from(STOPPED) })
}

/// Prints answers for reading, each below its id; a single answer is its text alone.
fn print(generated: &mut Generated, out: &mut Output) -> Result<()> {
    let mut lines = Vec::new();
    generated.answers.write_to(&mut lines)?;
    let records = serde_json::Deserializer::from_slice(&lines).into_iter::<Value>();
    let records = records.collect::<Result<Vec<_>, _>>()?;
    let ids: ArrayRef = Arc::new(records.iter().map(|record| record["id"].as_str()).collect::<StringArray>());
    let texts: ArrayRef = Arc::new(records.iter().map(answer).collect::<StringArray>());
    if records.len() > 1 {
        write_below(&RecordBatch::try_from_iter([("id", ids), ("answer", texts)])?, 0, out)?;
        return Ok(());
    }
    let batch = RecordBatch::try_from_iter([("answer", texts)])?;
    let mut writer = ResultWriter::new(Format::Lines, &batch.schema(), out, style())?;
    writer.write(&batch)?;
    writer.finish()?;
    Ok(())
}

/// The text of an answer: the completion, or the last turn of a conversation.
fn answer(record: &Value) -> Option<&str> {
    match record["messages"].as_array() {
        Some(turns) => turns.last()?["content"].as_str(),
        None => record["completion"].as_str(),
    }
}

fn register(
    context: &Context,
    request: &AddRequest,
    generated: &mut Generated,
    cancel: &Cancel,
) -> Result<AddReport> {
    let store = context.open_or_create()?;
    let mut reporter = context.reporter();
    let work = &mut context.work(&mut reporter, cancel);
    Ok(add_answers(&store, request, &mut generated.answers, work)?)
}

/// The file next to the result that keeps answers until all exist; none for a stream.
fn journal(context: &Context, args: &GenerateArgs) -> Result<Option<PathBuf>> {
    if let OutputTarget::File(target) = OutputTarget::of(args.answers.output.as_deref()) {
        return Ok(Some(path_beside(&target, ".part")));
    }
    let Some(dataset) = &args.answers.dataset_as else { return Ok(None) };
    let store = std::path::absolute(context.store_path()?)?;
    Ok(Some(path_beside(&store, &format!(".{dataset}.part"))))
}
