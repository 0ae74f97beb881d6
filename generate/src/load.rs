//! The model of a request, merged with its adapter, on its devices; and its tokenizer.

use std::ops::Range;
use std::path::Path;

use gstore_core::CheckpointId;
use gstore_core::parallel::each;
use gstore_data::TextEncoder;
use gstore_model::architectures::{Decoder, PositionEncoding};
use gstore_model::gradients::HostFactors;
use gstore_model::weights::{Adapter, BaseDigests, ModelFolder, check_written, unsound_model};
use gstore_model::{Backend, Device, ForwardOptions, LastRows, Model, OomBackoff, SavedActivations};

use crate::error::GenerateError;
use crate::request::ModelSource;

/// A model folder and an adapter that fits it.
pub struct OpenedModel {
    folder: ModelFolder,
    adapter: Option<Adapter>,
}

impl OpenedModel {
    pub(crate) fn decoder(&self) -> &Decoder {
        self.folder.decoder()
    }

    /// The weights' digest; an error if a weight that every text reads is no number.
    pub(crate) fn id(&self) -> Result<CheckpointId, GenerateError> {
        let mut bases = BaseDigests::default();
        let id = bases.checkpoint(&self.folder, self.adapter.as_ref())?;
        bases.check_finite(&self.folder)?;
        Ok(id)
    }

    /// An error if the weights are not those which were written, or the adapter says that it was trained on
    /// another model.
    pub(crate) fn check_weights(&self) -> Result<(), GenerateError> {
        match self.adapter {
            Some(_) => self.id().map(drop),
            None => Ok(check_written(self.path())?),
        }
    }

    /// The same of one of several models, before any computes, and that its weights are finite, an adapter's
    /// and its base's. `bases` keeps what was read of a model for the next adapter on it.
    ///
    /// # Errors
    /// Such weights; files that cannot be read.
    pub fn check_among(&self, bases: &mut BaseDigests) -> Result<(), GenerateError> {
        if let Some(adapter) = &self.adapter {
            bases.checkpoint(&self.folder, Some(adapter))?;
            HostFactors::read(adapter, &self.folder)?;
        }
        Ok(bases.check_finite(&self.folder)?)
    }

    /// Positions that the model has, if that is a limit.
    pub fn positions(&self) -> Option<usize> {
        positions(self.decoder())
    }

    /// What is to be said of the model's weights and of a tokenizer next to it.
    ///
    /// # Errors
    /// A tokenizer that was made for a larger model.
    pub fn notes(&self, encoder: &TextEncoder) -> Result<Vec<String>, GenerateError> {
        let of_tokenizer = encoder.check_vocabulary(self.decoder().vocab_size)?;
        Ok(self.folder.unused_note().into_iter().chain(of_tokenizer).collect())
    }

    pub(crate) fn load<B: Backend>(
        &self,
        devices: impl Iterator<Item = (Device, B)>,
    ) -> Result<Vec<Loaded<B>>, GenerateError> {
        each(devices, |(device, backend)| {
            let model = self.load_on(backend).map_err(|error| error.on(device))?;
            Ok(Loaded { model, device, backoff: OomBackoff::default() })
        })
    }

    fn load_on<B: Backend>(&self, backend: B) -> Result<Model<B>, GenerateError> {
        let adapter = self.adapter.as_ref();
        let factors = adapter.map(|adapter| HostFactors::read(adapter, &self.folder)).transpose()?;
        Ok(HostFactors::load_merged(&self.folder, backend, factors.as_ref())?)
    }

    /// An error of values that are no numbers, with the table of the model that has some.
    pub(crate) fn with_table(&self, error: GenerateError) -> GenerateError {
        match error {
            GenerateError::NotFiniteAt { sample, .. } => {
                GenerateError::NotFiniteAt { sample, model: unsound_model(&self.folder) }
            }
            other => other,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) struct Loaded<B: Backend> {
    pub model: Model<B>,
    pub device: Device,
    backoff: OomBackoff,
}

impl<B: Backend> Loaded<B> {
    /// Values of the samples of a batch, given by their tokens, computed in parts that fit the device.
    pub fn in_parts<T>(
        &self,
        lengths: &[usize],
        mut compute: impl FnMut(&Model<B>, Range<usize>) -> Result<Vec<T>, GenerateError>,
    ) -> Result<Vec<T>, GenerateError> {
        let computed = self.backoff.values_in_parts(lengths, |part| compute(&self.model, part));
        computed.map_err(|error| error.on(self.device))
    }
}

/// A forward pass that gives the hidden states of all rows and keeps nothing for a backward one.
pub(crate) const SCORING: ForwardOptions =
    ForwardOptions { last_rows: LastRows::All, keep_from: None, keep: SavedActivations::Inputs, tap: None };

/// Tokens that a thread computes at a time, about.
const PIECE_TOKENS: usize = 1024;

/// Runs of samples of about as many tokens.
pub(crate) fn pieces<T>(samples: &[T], tokens: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let (mut pieces, mut start, mut sum) = (Vec::new(), 0, 0);
    for (i, sample) in samples.iter().enumerate() {
        let own = tokens(sample);
        if i > start && sum + own > PIECE_TOKENS {
            pieces.push(&samples[start..i]);
            (start, sum) = (i, 0);
        }
        sum += own;
    }
    pieces.push(&samples[start..]);
    pieces
}

/// What a user should know of devices that had too little memory for batches.
pub(crate) fn note_of<B: Backend>(models: &[Loaded<B>]) -> Option<String> {
    models.iter().find_map(|loaded| loaded.backoff.note_of(None, models.len()))
}

impl ModelSource {
    /// Opens the model and its adapter, which have to fit; reads no weights.
    ///
    /// # Errors
    /// A model or an adapter that cannot be opened, or do not fit each other.
    pub fn open(&self) -> Result<OpenedModel, GenerateError> {
        let folder = ModelFolder::open(&self.model)?;
        let adapter = self.adapter.as_deref().map(Adapter::open).transpose()?;
        if let Some(adapter) = &adapter {
            adapter.fit(&folder)?;
        }
        Ok(OpenedModel { folder, adapter })
    }
}

/// The tokenizer of a request, and what is to be said of it and of the model.
pub(crate) fn encoder(
    weights: &ModelSource,
    opened: &OpenedModel,
) -> Result<(TextEncoder, Vec<String>), GenerateError> {
    let encoder = weights.text.encoder(&weights.model)?;
    let notes = opened.notes(&encoder)?;
    Ok((encoder, notes))
}

/// Positions that a model has, if that is a limit.
pub(crate) fn positions(decoder: &Decoder) -> Option<usize> {
    (decoder.positions == PositionEncoding::Learned).then_some(decoder.max_positions)
}

/// An error if there are more tokens than the model has positions, or else than `max_length`: only then does
/// a larger one help.
pub(crate) fn check_length(
    sample: &str,
    tokens: usize,
    max_length: usize,
    decoder: &Decoder,
) -> Result<(), GenerateError> {
    let of_model = positions(decoder).filter(|most| tokens > *most);
    match of_model.or((tokens > max_length).then_some(max_length)) {
        None => Ok(()),
        Some(most) => {
            let (sample, by_model) = (sample.to_owned(), of_model.is_some());
            Err(GenerateError::TooLong { sample, tokens, most, by_model })
        }
    }
}

/// An error unless the model knows every token.
pub(crate) fn check_tokens(sample: &str, ids: &[u32], decoder: &Decoder) -> Result<(), GenerateError> {
    let vocab = decoder.vocab_size;
    match ids.iter().find(|id| **id as usize >= vocab) {
        Some(token) => Err(GenerateError::UnknownToken { sample: sample.to_owned(), token: *token, vocab }),
        None => Ok(()),
    }
}
