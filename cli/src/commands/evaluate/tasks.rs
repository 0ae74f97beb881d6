//! `gstore evaluate tasks`: models answer questions and are compared.

use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use gstore::Folders;
use gstore_core::{Cancel, is_of_cancel, many, visible};
use gstore_data::{TemplateKind, TextOptions};
use gstore_evaluate::tasks::{
    AnswerRule, Ask, Choices, Layout, Question, TasksSource, pattern, read, targets, too_few_examples,
};
use gstore_evaluate::{RunParameters, System, TasksRequest, evaluate_tasks};
use gstore_generate::{ComputeOptions, ModelSource};
use gstore_ingest::pipeline::CheckpointArg;

use super::kept::WorkFolder;
use super::{base, bootstrap, result};
use crate::args::{EvaluateTasksArgs, TaskArgs};
use crate::commands::ingest::{check_run, model_of_run, with_run};
use crate::context::Context;
use crate::ending::check_lines;
use crate::failure::refuse;
use crate::models::folders_of;
use crate::output::{self, Output};
use crate::texts;

/// Lets the models answer, or writes target samples.
pub fn run(context: &Context, args: &EvaluateTasksArgs) -> Result<()> {
    if let Some(path) = &args.tasks.targets {
        return write_targets(context, args, path);
    }
    check_options(&args.tasks)?;
    let format = result::check(context, &args.result)?;
    result::check_combined(&args.combine, "tasks")?;
    let source = source(&args.tasks)?;
    let questions = read(&source, &Cancel::new())?;
    check_used(&args.tasks, &questions)?;
    if let Some(note) = too_few_examples(&source, &questions) {
        context.say(&format!("note: {note}"));
    }
    let systems = systems(context, args)?;
    // Only now, so that one Ctrl-C ends a download.
    let message = "stopping after the current answers; press Ctrl-C again to stop at once";
    let cancel = context.cancel_on_interrupt(message);
    let data = args.tasks.data.iter().chain(&args.tasks.shots);
    let folders = systems.iter().flat_map(|system| system.weights.folders());
    result::check_unread((&args.result, Some(&args.combine)), data, folders)?;
    for System { weights, .. } in &systems {
        texts::within_positions(&weights.model, &args.text, weights.text.clone())?;
    }
    let names: Vec<&str> = systems.iter().map(|system| system.name.as_str()).collect();
    let base = base(&args.comparison, &names)?;
    let precision = args.compute.unwrap_or(args.backend.default_compute());
    let mut made = match systems.first() {
        Some(first) => source.made(&questions, &first.weights.text)?,
        None => RunParameters::new(),
    };
    made.insert("compute".to_owned(), precision.name().into());
    context.say(&format!("{} for {}", many(questions.len() as u64, "question"), visible(&names.join(", "))));
    let kept = WorkFolder::next_to(&args.result)?;
    let request = TasksRequest {
        benchmark: benchmark(&args.tasks),
        questions,
        systems,
        base,
        bootstrap: bootstrap(&args.comparison),
        compute: ComputeOptions {
            device: args.backend,
            beside: Vec::new(),
            precision,
            threads: context.threads,
            batch: args.batch_size,
        },
        journal: kept.0.clone(),
        overwrite: args.result.force,
    };
    let mut found = match evaluate_tasks(request, &mut context.reporter(), &cancel) {
        Err(error) if is_of_cancel(&error) && kept.0.is_some() => {
            context.say("finished answers are kept: run the same command again to continue");
            return Err(error.into());
        }
        found => found.inspect_err(|_| kept.remove_unused())?,
    };
    made.extend(std::mem::take(&mut found.report.made));
    found.report.made = made;
    let to = (&args.result, Some(&args.combine));
    let written = result::write(context, to, format, &found.report, || found.rows(), || found.files());
    if let (Err(_), Some(folder)) = (&written, &kept.0) {
        context.say(&format!("the answers are kept in {}", folder.display()));
    }
    written?;
    kept.remove()
}

fn write_targets(context: &Context, args: &EvaluateTasksArgs, path: &Path) -> Result<()> {
    output::check(context, &[Some(path)], args.result.force)?;
    let [folder] = args.tasks.data.as_slice() else {
        refuse!("--targets needs exactly one folder as --data");
    };
    output::check_unread(&[Some(path)], [folder.as_path()], [])?;
    check_lines(path, "target samples")?;
    let records = targets(args.tasks.layout, folder, args.text.template != TemplateKind::Plain)?;
    let mut file = Output::create(Some(path), args.result.force)?;
    for record in &records {
        writeln!(file, "{record}")?;
    }
    file.finish()?;
    context.say(&many(records.len() as u64, "target sample"));
    Ok(())
}

/// Refuses options that have no meaning for the layout.
fn check_options(args: &TaskArgs) -> Result<()> {
    use Layout::{Bbh, Harness, Mmlu, Own, Tydiqa};
    const GENERATED: &[Layout] = &[Own, Harness, Bbh, Tydiqa];
    if let Some(name @ ("" | "." | "..")) = args.benchmark.as_deref() {
        refuse!("--benchmark {name:?} cannot be the name of a folder of the report; give another name");
    }
    let options: [(&str, bool, &[Layout]); 7] = [
        ("--shots", !args.shots.is_empty(), &[Own]),
        ("--choices letters", args.choices == Choices::Letters, &[Own]),
        ("--few-shot", args.few_shot.is_some(), &[Own, Mmlu, Bbh, Tydiqa]),
        ("--no-cot", args.no_cot, &[Bbh]),
        ("--stop", !args.stop.is_empty(), GENERATED),
        ("--max-new-tokens", args.max_new_tokens.is_some(), GENERATED),
        ("--pattern", args.pattern.is_some(), GENERATED),
    ];
    for (option, given, layouts) in options {
        if given && !layouts.contains(&args.layout) {
            let names: Vec<&str> = layouts.iter().map(|of| of.name()).collect();
            let (layout, names) = (args.layout.name(), names.join(", "));
            refuse!("{option} has no effect with --layout {layout}; it is for {names}");
        }
    }
    Ok(())
}

/// Refuses options about kinds of answers that no question has.
fn check_used(args: &TaskArgs, questions: &[Question]) -> Result<()> {
    let has_choices = questions.iter().any(|question| matches!(question.ask, Ask::Choose { .. }));
    let has_answers = questions.iter().any(|question| matches!(question.ask, Ask::Answer { .. }));
    let of_answers = "each question has choices, and no answer is generated";
    for (option, given, is_used, why) in [
        ("--stop", !args.stop.is_empty(), has_answers, of_answers),
        ("--max-new-tokens", args.max_new_tokens.is_some(), has_answers, of_answers),
        ("--pattern", args.pattern.is_some(), has_answers, of_answers),
        ("--choices letters", args.choices == Choices::Letters, has_choices, "no question has choices"),
    ] {
        if given && !is_used {
            refuse!("{option} has no effect here: {why}");
        }
    }
    Ok(())
}

fn source(args: &TaskArgs) -> Result<TasksSource> {
    let pattern = args.pattern.as_deref().map(pattern).transpose()?;
    Ok(TasksSource {
        shots: args.shots.clone(),
        few_shot: args.few_shot,
        choices: args.choices,
        rule: AnswerRule {
            stop: (!args.stop.is_empty()).then(|| args.stop.clone()),
            max_new_tokens: args.max_new_tokens,
            pattern,
        },
        without_thoughts: args.no_cot,
        limit: args.limit,
        ..TasksSource::new(args.layout, args.data.clone())
    })
}

fn benchmark(args: &TaskArgs) -> String {
    let of_file = || args.data.first().and_then(|path| path.file_stem());
    let named = match args.layout {
        Layout::Own | Layout::Harness => of_file().map(|name| name.to_string_lossy().into_owned()),
        other => Some(other.name().to_owned()),
    };
    args.benchmark.clone().or(named).unwrap_or_else(|| "tasks".to_owned())
}

/// The base model, unless it is left out, and the checkpoints.
fn systems(context: &Context, args: &EvaluateTasksArgs) -> Result<Vec<System>> {
    if args.text.block.is_some() {
        refuse!("--block cuts texts to train on; a question is one text");
    }
    let (text, args) = (&args.text, &args.models);
    let mut reporter = context.reporter();
    let mut folders = Folders::new(&mut reporter, false);
    let (base, mut checkpoints) = match (&args.model, &args.run) {
        (Some(model), _) => folders_of(&mut folders, model, ("--checkpoints", &args.checkpoints))?,
        (None, Some(run)) => {
            let (base, found) = model_of_run(context, run, &[])?;
            check_run(context, run, (&base, &found))?;
            (base, found)
        }
        (None, None) => refuse!("which model? give --model, or --run of a run of the store"),
    };
    let text = texts::options(&mut folders, text)?;
    let text = with_run(context, text, (args.model.as_ref(), args.run.as_ref()), &base)?;
    // Of the base there is one, and it comes first.
    let of_base = CheckpointArg::base();
    checkpoints.retain(|checkpoint| checkpoint.weights != of_base.weights);
    if !args.no_base {
        checkpoints.insert(0, of_base);
    }
    if checkpoints.is_empty() {
        refuse!("--no-base leaves no model: give --checkpoints");
    }
    let mut names = std::collections::HashSet::new();
    if let Some(twice) = checkpoints.iter().find(|checkpoint| !names.insert(checkpoint.name.as_str())) {
        refuse!("two models are called {}: give names, as in --checkpoints first=DIR second=DIR", twice.name);
    }
    checkpoints.iter().map(|checkpoint| system(&base, checkpoint, text.clone())).collect()
}

fn system(base: &Path, checkpoint: &CheckpointArg, mut text: TextOptions) -> Result<System> {
    let model = checkpoint.model(base).to_owned();
    let own = model.join("tokenizer.json");
    let has_tokenizer = own.try_exists().with_context(|| own.display().to_string())?;
    if text.tokenizer.is_none() && !has_tokenizer {
        text.tokenizer = Some(base.to_owned());
    }
    let weights = ModelSource { adapter: checkpoint.adapter().map(Path::to_owned), text, model };
    Ok(System { name: checkpoint.name.clone(), weights })
}
