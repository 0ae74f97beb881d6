//! Generation jobs: prompts, the answers that are there already, and those that are not.

use std::sync::{Mutex, mpsc};

use gstore_core::{Cancel, CheckpointId};
use gstore_model::{Backend, cut_note, with_backend};
use gstore_store::EncodingSpec;
use serde_json::{Value, json};

use crate::batch::{Answer, AnswerBatch, AnswerTask, Place, PromptQueue};
use crate::error::GenerateError;
use crate::journal::Journal;
use crate::load::{Loaded, encoder};
use crate::prompts::{Prompt, prompts};
use crate::request::GenerateRequest;

/// Hears how a generation goes on.
pub trait GenerateObserver {
    /// Something the user should know, which is no error.
    fn note(&mut self, _message: &str) {}
    /// Answers that were there are not as they were written, so that they are made again.
    fn damaged(&mut self, message: &str) {
        self.note(message);
    }
    /// Called once, after the prompts are read and before the first is answered. An error ends the generation
    /// before anything is written. `begun` gives the JSON of the record of a prompt's answer with what is
    /// known before it: the answer and `finish` are empty, and `new_tokens` is 0.
    ///
    /// # Errors
    /// What keeps the answers from being of use; being told to stop.
    fn check(
        &mut self,
        _prompts: &[Prompt],
        _begun: &dyn Fn(&Prompt) -> String,
        _cancel: &Cancel,
    ) -> Result<(), GenerateError> {
        Ok(())
    }
    /// The records of the answers to all prompts, in their order, if there are some of the same request: then
    /// none is answered, and the request's journal is not looked at. `begun`: as in
    /// [`GenerateObserver::check`].
    ///
    /// # Errors
    /// What is there in the place of the answers, and has others.
    fn made(
        &mut self,
        _prompts: &[Prompt],
        _begun: &dyn Fn(&Prompt) -> String,
    ) -> Result<Option<Vec<String>>, GenerateError> {
        Ok(None)
    }
    /// Prompts are about to be answered; `answered` of `total` were before.
    ///
    /// # Errors
    /// What keeps those that are missing from being of use.
    fn begin(&mut self, _answered: u64, _total: u64) -> Result<(), GenerateError> {
        Ok(())
    }
    /// So many tokens were chosen, and so many answers are done, since the last call.
    fn advance(&mut self, _tokens: u64, _answers: u64) {}
}

/// Says nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct SilentObserver;

impl GenerateObserver for SilentObserver {}

/// How a generation ended.
pub struct GenerateOutcome {
    /// Whether every prompt has its answer; otherwise it was told to stop, and the same request goes on.
    pub finished: bool,
    /// Prompts.
    pub prompts: usize,
    /// Tokens that were chosen this time.
    pub tokens: u64,
    /// The weights.
    pub model: CheckpointId,
    /// The answers.
    pub answers: Journal,
}

/// Answers prompts, or goes on where the same request was stopped.
///
/// Memory: the weights once on each device, and for each prompt that is answered at a time its keys and
/// values (8 bytes for each layer, key head, coordinate of a head and token, up to half of it more while it
/// grows) and its logits; the prompts themselves.
///
/// # Errors
/// A request, model or prompt that cannot be used, which shows before any prompt is answered; answers to
/// another request in the journal; logits that are not numbers. Answers that were done stay in the journal.
pub fn generate(
    request: &GenerateRequest,
    observer: &mut dyn GenerateObserver,
    cancel: &Cancel,
) -> Result<GenerateOutcome, GenerateError> {
    let (device, precision) = (request.compute.device, request.compute.precision);
    with_backend!(
        (device, precision), GenerateError::from,
        backend => generate_on(request, request.compute.backends(backend)?, observer, cancel),
    )
}

/// As [`generate`], on backends that the caller has opened: one for each device of the request.
///
/// # Errors
/// As [`generate`].
pub fn generate_on<B: Backend>(
    request: &GenerateRequest,
    backends: Vec<B>,
    observer: &mut dyn GenerateObserver,
    cancel: &Cancel,
) -> Result<GenerateOutcome, GenerateError> {
    request.check()?;
    let opened = request.weights.open()?;
    let (encoder, notes) = encoder(&request.weights, &opened)?;
    notes.iter().for_each(|note| observer.note(note));
    let (decoder, threads) = (opened.decoder(), request.compute.threads.max(1));
    let most = request.weights.text.max_length as usize;
    let prompts = prompts(&request.prompts, &encoder, most, decoder, (threads, cancel))?;
    let ends = match request.stopping.ignore_end {
        true => Vec::new(),
        false => encoder.end_tokens(opened.path())?,
    };
    let model = opened.id()?;
    let encoding = encoder.spec();
    let options = request.options(&encoding);
    let identity = identity((&model, &options, &encoding), (&prompts, &ends));
    let begun =
        |prompt: &Prompt| prompt.answered("", &answer_fields((json!(""), json!(0)), &model, &options));
    observer.check(&prompts, &begun, cancel)?;
    let mut answers = match observer.made(&prompts, &begun)? {
        Some(records) => Journal::of(records.into_iter().map(Some).collect()),
        None => Journal::open(request.journal.as_deref(), prompts.len(), &identity, request.overwrite)?,
    };
    if let Some(note) = answers.note() {
        observer.damaged(&note);
    }
    let left: Vec<usize> = (0..prompts.len()).filter(|prompt| !answers.has(*prompt)).collect();
    observer.begin(answers.answered() as u64, prompts.len() as u64)?;
    let mut tokens = 0;
    if !left.is_empty() {
        cancel.check()?;
        // No more at a time than the batch has, which bounds the memory.
        let slots = request.compute.batch.max(backends.len()).min(left.len());
        let models = opened.load(request.compute.devices().zip(backends).take(slots))?;
        let places = Place::all(models.len(), threads.max(models.len()).min(slots), slots);
        let task = AnswerTask {
            prompts: &prompts,
            left: &left,
            queue: Mutex::new(PromptQueue::new(&places)),
            encoder: &encoder,
            sampling: &request.sampling,
            stopping: &request.stopping,
            ends: &ends,
            cancel,
            failed: Cancel::new(),
        };
        let take = |step: u64, done: Vec<Answer>| {
            tokens += step;
            for answer in &done {
                answers.push(answer.prompt, &answer_record(&prompts, answer, &model, &options))?;
            }
            observer.advance(step, done.len() as u64);
            Ok(())
        };
        match answer(&task, &models, &places, take) {
            Ok(()) | Err(GenerateError::Stopped(_)) => {}
            Err(error) => return Err(opened.with_table(error)),
        }
        let kept = task.queue().slots();
        if kept < slots {
            let done = format!("prompts were answered {kept} at a time");
            observer.note(&cut_note(&done, Some(("batch_size", kept))));
        }
    }
    let finished = answers.answered() == prompts.len();
    Ok(GenerateOutcome { finished, prompts: prompts.len(), tokens, model, answers })
}

/// What the answers to prompts follow from: a journal of another identity has other answers.
fn identity(
    (model, options, encoding): (&CheckpointId, &Value, &EncodingSpec),
    (prompts, ends): (&[Prompt], &[u32]),
) -> Value {
    json!({
        "model": model.to_string(),
        "options": options,
        // The encoding decides where answers end too, and how they are written.
        "tokenizer": encoding.tokenizer,
        "template_digest": encoding.template_digest,
        "prompts": digest(prompts, ends),
    })
}

fn answer_record(prompts: &[Prompt], answer: &Answer, model: &CheckpointId, options: &Value) -> String {
    let more = answer_fields((json!(answer.finish.name()), json!(answer.ids.len())), model, options);
    prompts.get(answer.prompt).map(|prompt| prompt.answered(&answer.text, &more)).unwrap_or_default()
}

fn answer_fields(
    (finish, new_tokens): (Value, Value),
    model: &CheckpointId,
    options: &Value,
) -> [(&'static str, Value); 4] {
    [
        ("finish", finish),
        ("new_tokens", new_tokens),
        ("model", json!(model.to_string())),
        ("generation", options.clone()),
    ]
}

fn digest(prompts: &[Prompt], ends: &[u32]) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let little = |ids: &[u32]| ids.iter().flat_map(|id| id.to_le_bytes()).collect::<Vec<u8>>();
    add(&little(ends));
    for prompt in prompts {
        add(&prompt.row.to_le_bytes());
        add(&little(&prompt.ids));
        add(prompt.answered("", &[]).as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

/// Answers the prompts that are left on threads, one at each place; `take` hears of their steps on this one.
fn answer<B: Backend>(
    task: &AnswerTask<'_>,
    models: &[Loaded<B>],
    places: &[Place],
    mut take: impl FnMut(u64, Vec<Answer>) -> Result<(), GenerateError>,
) -> Result<(), GenerateError> {
    std::thread::scope(|scope| {
        let (send, said) = mpsc::channel::<Result<(u64, Vec<Answer>), GenerateError>>();
        for place in places {
            let (send, Loaded { model, device, .. }) = (send.clone(), &models[place.device]);
            scope.spawn(move || {
                // Where the receiver is gone the thread is told to stop, too.
                let tell = |tokens, answers| drop(send.send(Ok((tokens, answers))));
                if let Err(error) = AnswerBatch::new(task, model, *place).run(tell) {
                    let _ = send.send(Err(error.on(*device)));
                }
            });
        }
        drop(send);
        let mut first = Ok(());
        for said in said {
            let result = match said {
                // After Ctrl-C the other threads still end the token in work, and answers with it.
                Ok((tokens, answers)) if matches!(first, Ok(()) | Err(GenerateError::Stopped(_))) => {
                    take(tokens, answers)
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                task.failed.raise();
                // What failed first makes others stop, and only the first says why.
                if matches!(first, Ok(()) | Err(GenerateError::Stopped(_))) {
                    first = Err(error);
                }
            }
        }
        first
    })
}
