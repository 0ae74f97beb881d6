//! Training of an ensemble: several copies at once, each from the same starting point.

mod existing_models;
mod forecast;

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use gstore_core::parallel::{each, ordered};
use gstore_core::{Cancel, CheckpointId, if_there, locked};
use gstore_model::weights::{Adapter, BaseDigest, ModelFolder};
use gstore_model::{Backend, Model, MultiDevice};
use gstore_store::vfs::CreatedFolder;
use serde_json::{Value, json};

use super::member::{Member, MemberOutcome, NOTE, RefusedMember, lock, name};
use super::noise::ModelDraw;
use super::outcome::{EnsembleObserver, EnsembleOutcome, ModelsCallback, PreparedStates};
use super::request::{BaseStates, EnsembleRequest};
use crate::checkpoint::{make_json, write_weights};
use crate::error::TrainError;
use crate::memory::TrainedModels;
use crate::optimizer::Optimizer;
use crate::order::StepPlan;
use crate::parameters::Parameters;
use crate::perturbed::{EnsembleStart, PerturbedHead, PerturbedRow, StatesDescription};
use crate::prepare::PreparedTraining as Training;
use crate::request::TrainMethod;
use crate::schedule::Schedule;
use crate::start::{identity, new_parameters};
use crate::trainer::{Trainer, TrainerOptions};

pub use forecast::EnsembleForecast;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnsembleWork {
    /// Its models.
    Models,
    /// A forecast of them.
    Forecast,
    /// Hidden states of the starting point alone, by forward passes, which take less memory.
    States,
}

impl EnsembleWork {
    /// Whether the host has the memory for this work, before the starting point is read. Without it a
    /// forecast says so, and all else is refused.
    fn fits(self, training: &Training, observer: &mut dyn EnsembleObserver) -> Result<bool, TrainError> {
        match (self, training.check_memory()) {
            (_, Ok(())) => Ok(true),
            (EnsembleWork::Forecast, Err(lack)) => {
                observer.note(&lack.to_string());
                Ok(false)
            }
            (EnsembleWork::Models | EnsembleWork::States, Err(lack)) => Err(lack),
        }
    }
}

/// An ensemble whose data and starting point are loaded.
pub(super) struct Ensemble<B: Backend> {
    request: EnsembleRequest,
    training: Training,
    /// On each device, the same; none for a forecast that the host has not the memory to measure.
    starts: Vec<EnsembleStart<B>>,
    /// Of the base, for the identities of adapters.
    digest: Option<BaseDigest>,
    /// Rows of a model, and the places of each step among them.
    size: usize,
    steps: StepPlan,
    schedule: Schedule,
    asked: Value,
    states: StatesDescription,
    /// Whether the folder says where the starting point is.
    noted: Mutex<bool>,
}

impl<B: MultiDevice> Ensemble<B> {
    /// Reads data and starting point; writes nothing. Where the host has not the memory for the work (one of
    /// the models, or the hidden states), the starting point is not read: a forecast notes it and has none,
    /// all else is refused.
    pub fn load(
        request: &EnsembleRequest,
        work: EnsembleWork,
        backend: B,
        observer: &mut dyn EnsembleObserver,
        cancel: &Cancel,
    ) -> Result<Ensemble<B>, TrainError> {
        request.check()?;
        // Before data is read: one may not be there.
        let others = request.training.compute.others(&backend)?;
        let models = match work {
            EnsembleWork::Models | EnsembleWork::Forecast => TrainedModels::Copies,
            EnsembleWork::States => TrainedModels::States,
        };
        let training = Training::new(&request.training, models, &mut |said| observer.note(said), cancel)?;
        let fits = work.fits(&training, observer)?;
        let mut request = request.clone();
        request.training = training.request.clone();
        let (size, steps) = request.steps(training.samples.len())?;
        let base = training.base.as_ref();
        let (mut asked, _) = identity(&request.training, base, (&training.samples, &[]), &steps)?;
        let more = request.identity(size, &training.rows);
        for (key, value) in more.as_object().into_iter().flatten() {
            asked[key] = value.clone();
        }
        let states = StatesDescription {
            model: format!(
                "{} {} {}",
                asked["model"].as_str().unwrap_or_default(),
                request.training.compute.precision.name(),
                request.training.compute.device.first()
            ),
            texts: asked["samples"].as_str().unwrap_or_default().to_owned(),
            width: training.decoder.hidden_size,
            rows: training.samples.iter().map(|sample| sample.scored_tokens()).collect(),
        };
        let digest = match (&request.training.method, base) {
            (TrainMethod::Lora(_) | TrainMethod::Adapter(_), Some(base)) => Some(BaseDigest::new(base)?),
            _ => None,
        };
        let schedule = request.training.schedule(steps.total());
        request.check_rates(schedule)?;
        let backends = std::iter::once(backend).chain(others).filter(|_| fits);
        Ok(Ensemble {
            starts: each(backends, |backend| start(&request, base, backend))?,
            schedule,
            request,
            training,
            digest,
            size,
            steps,
            asked,
            states,
            noted: Mutex::new(false),
        })
    }

    /// Whether hidden states of the starting point are kept in a file.
    fn wants_states(&self) -> bool {
        match self.request.states {
            BaseStates::Stored => true,
            _ if !self.request.perturbation.needs_base() => false,
            BaseStates::Forward => false,
            BaseStates::Auto => {
                let is_full = self.request.training.method == TrainMethod::Full;
                is_full || self.request.states_file().is_file() || self.states.bytes() <= BaseStates::LARGE
            }
        }
    }

    /// Opens or makes the file of hidden states, where one is wanted.
    fn states(&mut self, cancel: &Cancel) -> Result<(), TrainError> {
        if self.wants_states() {
            let file = self.request.states_file();
            let compute = &self.request.training.compute;
            let computing = (compute.threads, compute.piece_tokens);
            let (states, samples) = (&self.states, &self.training.samples);
            // The first makes the file where it is missing, and the others find it.
            for start in &mut self.starts {
                let stored = match start.store_states(&file, states, samples, computing, cancel) {
                    Err(TrainError::OtherTraining { .. }) if self.request.replaces_states() => {
                        // Another process of the ensemble may have done so.
                        if_there(fs_err::remove_file(&file))?;
                        start.store_states(&file, states, samples, computing, cancel)
                    }
                    stored => stored,
                };
                stored.map_err(|error| error.with_base_table(self.training.base.as_ref()))?;
            }
        }
        Ok(())
    }

    /// Makes the file of hidden states, where it is missing.
    pub fn prepare(mut self, cancel: &Cancel) -> Result<PreparedStates, TrainError> {
        self.states(cancel)?;
        let tokens = self.states.rows.iter().map(|rows| *rows as u64).sum();
        Ok(PreparedStates {
            file: self.request.states_file(),
            rows: self.states.rows.len(),
            tokens,
            bytes: self.states.bytes(),
        })
    }

    pub fn train<E: From<TrainError>>(
        mut self,
        observer: &mut dyn EnsembleObserver,
        after: ModelsCallback<'_, E>,
        cancel: &Cancel,
    ) -> Result<EnsembleOutcome, E> {
        let range = self.request.models.clone();
        let round = self.request.round;
        let at_once = self.at_once()?;
        let mut outcome = EnsembleOutcome {
            finished: true,
            models: Vec::new(),
            start: self.asked["model"].as_str().unwrap_or_default().to_owned(),
            rows: self.training.samples.len(),
            steps: self.steps.total(),
        };
        // Another ensemble in the folder is refused before anything is written.
        let found = self.found(cancel)?;
        self.states(cancel)?;
        // Goes after the locks that are in it, where no model is made.
        let _made = CreatedFolder::of(&self.request.members()).map_err(TrainError::from)?;
        let there = self.remove_replaced(found, cancel)?;
        observer.begin(there, range.end - range.start, at_once);
        let mut first = range.start;
        let mut told = false;
        while first < range.end {
            let models: Vec<u64> = (first..range.end.min(first.saturating_add(round))).collect();
            first += models.len() as u64;
            let before = outcome.models.len();
            // Each thread has its device, which trains a model from its beginning to its end.
            let next = AtomicUsize::new(0);
            let start = || &self.starts[next.fetch_add(1, Ordering::Relaxed) % self.starts.len()];
            let work =
                |start: &mut &EnsembleStart<B>, at: usize| self.model(models[at], start, at_once, cancel);
            let take = |(trained, cut): (MemberOutcome, Option<String>)| {
                // Models take the same memory: what is said of one goes for all.
                if let Some(cut) = cut.filter(|_| !told) {
                    observer.note(&cut);
                    told = true;
                }
                observer.trained(&trained);
                outcome.models.push(trained);
                Ok(ControlFlow::Continue(()))
            };
            match ordered(models.len(), at_once, cancel, start, work, take) {
                Ok(()) => {}
                Err(TrainError::Stopped(_)) => {
                    outcome.finished = false;
                    outcome.models = self.on_record()?;
                    return Ok(outcome);
                }
                Err(error) => return Err(error.into()),
            }
            if after(&outcome.models[before..])?.is_break() {
                break;
            }
        }
        Ok(outcome)
    }

    /// The models of the request that are there: those that were trained beside the one that stopped, and
    /// those of earlier processes, among them.
    fn on_record(&self) -> Result<Vec<MemberOutcome>, TrainError> {
        let members = self.request.members();
        let read = |model| MemberOutcome::read(&members, model, Some(&self.asked)).transpose();
        self.request.models.clone().filter_map(read).collect()
    }

    /// How many models are trained at the same time.
    fn at_once(&self) -> Result<usize, TrainError> {
        let range = &self.request.models;
        let most = self.request.round.min(range.end - range.start);
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        self.training.copies_at_once(self.request.at_once.unwrap_or(most).min(most))
    }

    /// Notes where the starting point is, for those who look at the models later. It comes with the first of
    /// them: a training that is refused notes nothing.
    fn note_start(&self) -> Result<(), TrainError> {
        let mut noted = locked(&self.noted);
        if *noted {
            return Ok(());
        }
        let training = &self.request.training;
        let adapter = training.method.adapter().map(std::path::absolute).transpose()?;
        let model = std::path::absolute(&training.model)?;
        let note = json!({ "version": 1, "start": self.asked["model"], "model": model, "adapter": adapter });
        let there = if_there(fs_err::read(training.output.join(NOTE)))?;
        let there = there.and_then(|there| serde_json::from_slice::<Value>(&there).ok());
        // A folder whose models are on record may be one that can only be read: the same weights may be
        // elsewhere by now.
        let is_of_start = there.as_ref().is_some_and(|there| there["start"] == note["start"]);
        let is_read_only = |error: &std::io::Error| {
            matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
        };
        if there.as_ref() != Some(&note) {
            match make_json(&training.output, NOTE, &note) {
                Err(TrainError::Io(error)) if is_of_start && is_read_only(&error) => {}
                made => made?,
            }
        }
        *noted = true;
        Ok(())
    }

    /// A model: the one on record, or a new one, which is trained along with others, `at_once` in all; and
    /// what is to be said of its batches. One that another process is training or removing is an error.
    fn model(
        &self,
        model: u64,
        start: &EnsembleStart<B>,
        at_once: usize,
        cancel: &Cancel,
    ) -> Result<(MemberOutcome, Option<String>), TrainError> {
        let members = self.request.members();
        let read = || MemberOutcome::read(&members, model, Some(&self.asked));
        // One on record needs no lock: its folder may be one that can only be read.
        let (_lock, there) = match read()? {
            None => (Some(lock(&members, model)?), read()?),
            there => (None, there),
        };
        if let Some(there) = there {
            self.note_start()?;
            return Ok((there, None));
        }
        let training = &self.request.training;
        let draw = ModelDraw::new(training.batching.seed, model, &self.training.rows, self.size)?;
        let threads = (training.compute.threads / at_once).max(1);
        let mut cut = None;
        let trained = match self.run(model, start, (&draw, threads), cancel) {
            Ok((parameters, objective)) => {
                cut = parameters.backoff.note_of(Some("batch_tokens"), at_once);
                write_weights(&members, &name(model), training, &parameters)?;
                let folder = members.join(name(model));
                MemberOutcome::Complete(Member {
                    model,
                    seed: draw.seed,
                    checkpoint: self.checkpoint(&folder)?,
                    folder: Some(folder),
                    rows: draw.samples.len() as u64,
                    rows_digest: draw.digest_of_rows(&self.training.rows),
                    noise_digest: draw.digest_of_noise(),
                    objective,
                    asked: self.asked.clone(),
                })
            }
            Err(TrainError::NotFinite { found, value, .. }) => {
                MemberOutcome::Refused(RefusedMember { model, reason: format!("{found} is {value}") })
            }
            Err(error) => return Err(error),
        };
        self.note_start()?;
        trained.write(&members, &self.asked)?;
        Ok((trained, cut))
    }

    fn checkpoint(&self, folder: &Path) -> Result<CheckpointId, TrainError> {
        Ok(match &self.digest {
            Some(base) => base.checkpoint(Some(&Adapter::open(folder)?))?,
            None => BaseDigest::new(&ModelFolder::open(folder)?)?.checkpoint(None)?,
        })
    }

    /// A trainer of a model that has taken no step, on the device of its start.
    fn trainer(
        &self,
        start: &EnsembleStart<B>,
        draw: &ModelDraw,
        threads: usize,
    ) -> Result<Trainer<B>, TrainError> {
        let training = &self.request.training;
        let choice = match &training.method {
            TrainMethod::Lora(choice) => Some(choice),
            _ => None,
        };
        let parameters = start.copy(choice, draw.seed)?;
        let optimizer = Optimizer::new(training.steps.optimizer, parameters.trained().len());
        let options = TrainerOptions { threads, seed: draw.seed, ..TrainerOptions::of(training) };
        Ok(Trainer::new(parameters, optimizer, options))
    }

    /// The rows of a step, by their places among those of a model.
    fn rows(&self, draw: &ModelDraw, batch: Vec<Vec<usize>>) -> Vec<PerturbedRow<'_>> {
        let row = |place: usize| PerturbedRow {
            sample: &self.training.samples[draw.samples[place]],
            number: draw.samples[place],
            xi: draw.noise[place],
        };
        batch.into_iter().flatten().map(row).collect()
    }

    /// The steps of one model; its parameters and the objective before each step.
    fn run(
        &self,
        model: u64,
        start: &EnsembleStart<B>,
        (draw, threads): (&ModelDraw, usize),
        cancel: &Cancel,
    ) -> Result<(Parameters<B>, Vec<f64>), TrainError> {
        let mut trainer = self.trainer(start, draw, threads)?;
        let begun = trainer.parameters.store().clone();
        let head = PerturbedHead { perturbation: self.request.perturbation, start };
        let mut steps = self.steps.clone();
        let mut objective = Vec::new();
        for step in 0..steps.total() {
            cancel.check()?;
            let rows = self.rows(draw, steps.batch(step));
            let rate = self.request.first_rate.rate(self.schedule, step);
            objective.push(trainer.perturbed_step(&rows, &head, rate, cancel)?.loss);
        }
        let parameters = trainer.parameters;
        let values = parameters.store().values();
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(TrainError::not_finite_after(steps.total(), "a weight", f64::from(*value)));
        }
        if parameters.store() == &begun {
            return Err(TrainError::Option(format!(
                "model {model} is still the one that it started from, as all others will be: nothing was learned from \
                 its rows"
            )));
        }
        Ok((parameters, objective))
    }
}

/// The point that all copies begin at.
fn start<B: Backend + Clone>(
    request: &EnsembleRequest,
    base: Option<&ModelFolder>,
    backend: B,
) -> Result<EnsembleStart<B>, TrainError> {
    let base = base.ok_or_else(|| TrainError::Option("copies need a model to begin at".to_owned()))?;
    Ok(match &request.training.method {
        TrainMethod::Lora(choice) => {
            choice.resolve(base.decoder())?;
            EnsembleStart::of_base(Model::load(base, backend)?)
        }
        // From scratch, copies would begin at random: that is refused before.
        _ => EnsembleStart::new(new_parameters(&request.training, Some(base), base.decoder(), backend)?),
    })
}
