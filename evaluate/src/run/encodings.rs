//! Encodings of prompts: each model has its own tokenizer and template, unless one is given for all.

use gstore_core::{Cancel, Progress};
use gstore_data::TextEncoder;
use gstore_generate::{GenerateError, ModelSource, OpenedModel};
use serde_json::{Value, json};

use super::System;
use crate::error::EvaluateError;
use crate::report::RunParameters;
use crate::tasks::{Encoding, FittedPrompt};

pub(super) struct Encodings {
    /// Each once, that of the first model first.
    pub all: Vec<Encoding>,
    /// By model the number of its own.
    of: Vec<usize>,
    opened: Vec<OpenedModel>,
}

impl Encodings {
    /// Opens the models; weights are not read.
    pub fn new(systems: &[System], progress: &mut dyn Progress) -> Result<Encodings, EvaluateError> {
        let mut found = Encodings { all: Vec::new(), of: Vec::new(), opened: Vec::new() };
        for (number, system) in systems.iter().enumerate() {
            let failed = |source: GenerateError| EvaluateError::Model { system: system.name.clone(), source };
            let ModelSource { model, text, .. } = &system.weights;
            let opened = system.weights.open().map_err(failed)?;
            let is_same = |other: &System| {
                let ModelSource { model: own, text: options, .. } = &other.weights;
                text == options && (text.tokenizer.is_some() || model == own)
            };
            // Adapters share the files of their base, which are read once.
            let place = match systems[..number].iter().position(is_same) {
                Some(earlier) => found.of[earlier],
                None => found.add(text.encoder(model).map_err(|error| failed(error.into()))?),
            };
            let encoding = &mut found.all[place];
            for note in opened.notes(&encoding.encoder).map_err(failed)? {
                progress.note(&format!("{}: {note}", system.name));
            }
            encoding.positions = encoding.positions.iter().copied().chain(opened.positions()).min();
            found.of.push(place);
            found.opened.push(opened);
        }
        Ok(found)
    }

    fn add(&mut self, encoder: TextEncoder) -> usize {
        let spec = encoder.spec();
        if let Some(place) = self.all.iter().position(|own| own.encoder.spec() == spec) {
            return place;
        }
        self.all.push(Encoding { encoder, max_length: spec.max_length as usize, positions: None });
        self.all.len() - 1
    }

    /// Refuses models that share a tokenizer and would be asked in different words. Gives the names of those
    /// that have another tokenizer than the first.
    pub fn check(
        &self,
        systems: &[System],
        prompts: &[FittedPrompt],
        cancel: &Cancel,
    ) -> Result<Vec<String>, EvaluateError> {
        let mut others = Vec::new();
        for (place, own) in self.all.iter().enumerate() {
            for (earlier, other) in self.all[..place].iter().enumerate() {
                if !own.encoder.shares_tokenizer(&other.encoder)? {
                    if earlier == 0 {
                        others.extend(self.names(systems, place));
                    }
                } else if differ(&own.encoder, &other.encoder, prompts, cancel)? {
                    let name = |place| self.names(systems, place).next().unwrap_or_default();
                    return Err(EvaluateError::OtherTemplate { system: name(place), base: name(earlier) });
                }
            }
        }
        Ok(others)
    }

    /// Refuses weights that cannot be used, before the first model answers for hours: changed since they were
    /// written, not finite, or adapters of another model.
    pub fn check_weights(&self, systems: &[System], cancel: &Cancel) -> Result<(), EvaluateError> {
        let mut bases = Default::default();
        for (system, opened) in systems.iter().zip(&self.opened) {
            cancel.check()?;
            let failed = |source| EvaluateError::Model { system: system.name.clone(), source };
            opened.check_among(&mut bases).map_err(failed)?;
        }
        Ok(())
    }

    /// The models of an encoding.
    fn names(&self, systems: &[System], place: usize) -> impl Iterator<Item = String> {
        let own = systems.iter().zip(&self.of).filter(move |(_, of)| **of == place);
        own.map(|(system, _)| system.name.clone())
    }

    /// By model its tokenizer and template, where they are not the same for all.
    pub fn made(&self, systems: &[System]) -> RunParameters {
        let mut made = RunParameters::new();
        if self.all.len() > 1 {
            let of = |(system, place): (&System, &usize)| {
                let ModelSource { model, text, .. } = &system.weights;
                let spec = self.all[*place].encoder.spec();
                json!({
                    "system": system.name,
                    "tokenizer": text.tokenizer.as_ref().unwrap_or(model).display().to_string(),
                    "tokenizer_digest": spec.tokenizer,
                    "template_digest": spec.template_digest,
                })
            };
            let all = systems.iter().zip(&self.of).map(of).collect();
            made.insert("encodings".to_owned(), Value::Array(all));
        }
        made
    }
}

/// Whether two templates write a prompt differently.
fn differ(
    one: &TextEncoder,
    other: &TextEncoder,
    prompts: &[FittedPrompt],
    cancel: &Cancel,
) -> Result<bool, EvaluateError> {
    for FittedPrompt { content, begun, .. } in prompts {
        cancel.check()?;
        if one.prompt_text(content, begun)? != other.prompt_text(content, begun)? {
            return Ok(true);
        }
    }
    Ok(false)
}
