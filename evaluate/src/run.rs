//! Tasks on several models: the choices of each question scored, answers generated, and the models compared.

mod answers;
mod encodings;
mod files;

use std::ops::Range;
use std::path::PathBuf;

use gstore_core::{Cancel, Progress, many_of};
use gstore_data::{TemplateKind, TextEncoder, TextSample, check_system};
use gstore_generate::{ComputeOptions, ModelSource};

use self::answers::ModelRun;
use self::encodings::Encodings;
use crate::error::EvaluateError;
use crate::metrics::Metric;
use crate::report::{Column, ComparisonSetup, Report, SystemInfo};
use crate::statistics::Bootstrap;
use crate::tasks::{Ask, FittedPrompt, Question, fit};

/// A model to evaluate.
#[derive(Debug, Clone)]
pub struct System {
    /// Its name.
    pub name: String,
    /// Its weights.
    pub weights: ModelSource,
}

/// Questions and the models that are to answer them.
pub struct TasksRequest {
    /// Name of the benchmark.
    pub benchmark: String,
    /// The questions, those of a task next to each other.
    pub questions: Vec<Question>,
    /// The models; all are asked the same. Those that share a tokenizer see the same prompts, one with
    /// another reads them by its own tokenizer and template.
    pub systems: Vec<System>,
    /// Number of the model that others are compared with.
    pub base: usize,
    /// How intervals are found.
    pub bootstrap: Bootstrap,
    /// What computes.
    pub compute: ComputeOptions,
    /// Folder that keeps what is done, so that the same request goes on; none: it is kept in memory.
    pub journal: Option<PathBuf>,
    /// Whether results of another request in that folder are thrown away.
    pub overwrite: bool,
}

/// A model's answer to a question.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelAnswer {
    /// The choice, or what counts of the answer.
    pub prediction: String,
    /// What the model said; of choices their log-likelihoods.
    pub raw: String,
    /// Of choices [`Metric::Acc`] and [`Metric::AccNorm`], of answers [`Metric::ExactMatch`] and
    /// [`Metric::F1`].
    pub values: [f64; 2],
}

/// What was found of tasks.
pub struct TaskOutcome {
    /// Name of the benchmark.
    pub benchmark: String,
    /// Means and differences.
    pub report: Report,
    /// The questions.
    pub questions: Vec<Question>,
    /// Their prompts.
    pub prompts: Vec<FittedPrompt>,
    /// By system and question.
    pub answers: Vec<Vec<ModelAnswer>>,
    /// Number of the model that others are compared with.
    pub base: usize,
}

/// Lets every model answer every question, and compares the models; goes on where the same request was
/// stopped.
///
/// Memory: one model's weights at a time, the questions with their tokens, what generation and scoring take,
/// and the answers.
///
/// # Errors
/// A model, tokenizer or question that cannot be used; models of one tokenizer whose templates write other
/// prompts; results of another request in the folder; being told to stop, after which the folder has what was
/// done.
pub fn evaluate_tasks(
    request: TasksRequest,
    progress: &mut dyn Progress,
    cancel: &Cancel,
) -> Result<TaskOutcome, EvaluateError> {
    let Some(first) = request.systems.first().filter(|_| request.base < request.systems.len()) else {
        return Err(EvaluateError::Option("there is no model to evaluate".to_owned()));
    };
    let metrics = metrics(&request.questions)?;
    let encodings = Encodings::new(&request.systems, progress)?;
    let chat = first.weights.text.template != TemplateKind::Plain;
    let threads = request.compute.threads.max(1);
    let prompts = fit(&request.questions, &encodings.all, chat, (threads, cancel))?;
    check_told(&prompts, &encodings.all[0].encoder)?;
    let others = encodings.check(&request.systems, &prompts, cancel)?;
    if !others.is_empty() {
        let (first, others) = (&first.name, others.join(", "));
        progress.note(&format!(
            "{others}: other tokenizers than that of {first}; each model reads the prompts as tokens of its own"
        ));
    }
    let left_out = prompts.iter().filter(|prompt| prompt.left_out > 0).count();
    if left_out > 0 {
        let have = many_of(left_out as u64, "question has", "questions have");
        progress.note(&format!("{have} fewer examples than asked for, as many as fit"));
    }
    encodings.check_weights(&request.systems, cancel)?;
    let (mut answers, mut systems) = (Vec::new(), Vec::new());
    for (number, system) in request.systems.iter().enumerate() {
        let folder = request.journal.as_ref().map(|folder| folder.join(number.to_string()));
        let of = ModelRun { request: &request, prompts: &prompts, system, folder: folder.as_deref() };
        let (found, model) = of.answers(progress, cancel)?;
        systems.push(SystemInfo { name: system.name.clone(), model: Some(model) });
        answers.push(found);
    }
    let comparing = ComparisonSetup {
        kind: "tasks",
        systems,
        base: request.base,
        rows: request.questions.len(),
        bootstrap: request.bootstrap,
        threads,
        cancel,
    };
    let columns = columns(&answers, &metrics);
    let mut report = Report::new(&comparing, &columns)?;
    report.made = encodings.made(&request.systems);
    let TasksRequest { benchmark, questions, base, .. } = request;
    Ok(TaskOutcome { benchmark, report, questions, prompts, answers, base })
}

/// Refuses a system message that no prompt gets. All tasks share it, so that none is refused alone.
fn check_told(prompts: &[FittedPrompt], encoder: &TextEncoder) -> Result<(), EvaluateError> {
    if encoder.spec().system.is_none() {
        return Ok(());
    }
    let sample = |prompt: &FittedPrompt| TextSample::begun(String::new(), &prompt.content, &prompt.begun);
    let samples: Vec<TextSample> = prompts.iter().map(sample).collect();
    Ok(check_system(&samples, encoder)?)
}

/// A task's questions, and the two metrics that it has.
type Group = (String, Range<usize>, [Metric; 2]);

/// The tasks with their metrics.
fn metrics(questions: &[Question]) -> Result<Vec<Group>, EvaluateError> {
    let mut groups: Vec<Group> = Vec::new();
    for (row, question) in questions.iter().enumerate() {
        let metrics = match question.ask {
            Ask::Choose { .. } => [Metric::Acc, Metric::AccNorm],
            Ask::Answer { .. } => [Metric::ExactMatch, Metric::F1],
        };
        match groups.last_mut().filter(|(task, ..)| **task == *question.task) {
            None => groups.push((question.task.to_string(), row..row + 1, metrics)),
            Some((_, rows, own)) if *own == metrics => rows.end = row + 1,
            Some(_) => {
                return Err(EvaluateError::Option(format!(
                    "task {} has questions with choices and others without; give them different tasks",
                    question.task
                )));
            }
        }
    }
    Ok(groups)
}

/// The values of each metric over the tasks that have it.
fn columns(answers: &[Vec<ModelAnswer>], groups: &[Group]) -> Vec<Column> {
    let mut columns = Vec::new();
    for metric in [Metric::Acc, Metric::AccNorm, Metric::ExactMatch, Metric::F1] {
        let mut own: Vec<(String, Range<usize>)> = Vec::new();
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); answers.len()];
        let mut rows = 0;
        for (task, range, metrics) in groups {
            let Some(at) = metrics.iter().position(|own| *own == metric) else { continue };
            own.push((task.clone(), rows..rows + range.len()));
            rows += range.len();
            for (values, answers) in values.iter_mut().zip(answers) {
                values.extend(answers[range.clone()].iter().map(|answer| answer.values[at]));
            }
        }
        if rows > 0 {
            columns.push(Column { metric, values, groups: own, corpus: None });
        }
    }
    columns
}
