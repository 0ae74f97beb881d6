//! A decoder's weights on a backend.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::map::Map;
use super::rope::Rope;
use crate::architectures::{Decoder, LinearId, LinearKind, NormId, NormPlace, Param, Piece, Positions, Role};
use crate::backend::{AttentionForm, Backend, BackendError, LinearWeights, NormForm, NormWeights};
use crate::weights::{ModelError, ModelFolder};

/// A decoder, loaded and packed.
pub struct Model<B: Backend> {
    pub(super) backend: B,
    pub(super) decoder: Decoder,
    /// Rotary angles; none with learned positions.
    pub(super) rope: Option<Rope>,
    /// Scaled as the model scales it.
    pub(super) embedding: B::Tensor,
    pub(super) positions: Option<B::Tensor>,
    pub(super) layers: Vec<Layer<B>>,
    pub(super) norm: NormWeights<B::Tensor>,
    pub(super) head: Arc<B::Linear>,
}

/// The weights of one decoder layer.
pub(super) struct Layer<B: Backend> {
    pub q: Map<B>,
    pub k: Map<B>,
    pub v: Map<B>,
    pub o: Map<B>,
    /// None where the MLP has no gate.
    pub gate: Option<Map<B>>,
    pub up: Map<B>,
    pub down: Map<B>,
    pub norms: BTreeMap<NormPlace, NormWeights<B::Tensor>>,
    pub attention: AttentionForm,
}

/// Why a model could not be put on a backend.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The folder is not usable.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The backend refused.
    #[error("the backend could not take the weights: {0}")]
    Backend(#[from] BackendError),
    /// A form of the gradient without the optimizer's moments that it needs.
    #[error("a form of the gradient needs moments of {values} values, {found} are there")]
    Moments {
        /// Values of the differentiated tensors.
        values: usize,
        /// Values of a moment.
        found: usize,
    },
    /// Hidden states of a layer that the model lacks.
    #[error("the model has {layers} layers, so there are no hidden states after {layer}")]
    NoLayer {
        /// The layer asked for.
        layer: usize,
        /// What there is.
        layers: usize,
    },
}

/// Gives the values of a tensor.
pub type Read<'a> = &'a mut dyn FnMut(&Param) -> Result<Vec<f32>, ModelError>;

/// Changes the weight `[out, input]` of a module before it is packed, e.g. merges an adapter into it.
/// Gets the module's name.
pub type Merge<'a> = &'a mut dyn FnMut(&str, &mut LinearWeights) -> Result<(), ModelError>;

impl<B: Backend> Model<B> {
    /// Reads and packs the weights of a checked folder.
    ///
    /// Memory at the peak: what the backend keeps of the weights, and one weight in f32 twice.
    pub fn load(folder: &ModelFolder, backend: B, merge: Merge<'_>) -> Result<Model<B>, LoadError> {
        Model::build(folder.decoder(), backend, &mut |param| folder.read(param), merge)
    }

    /// Packs weights that `read` gives, each in the sizes of its [`Param::shape`].
    pub fn build(
        decoder: &Decoder,
        backend: B,
        read: Read<'_>,
        merge: Merge<'_>,
    ) -> Result<Model<B>, LoadError> {
        let decoder = decoder.clone();
        let mut parts =
            Parts { read, backend: &backend, merge, linears: BTreeMap::new(), norms: BTreeMap::new() };
        let (mut embedding, mut positions) = (None, None);
        for param in &decoder.params {
            match &param.role {
                Role::Embedding => embedding = Some((parts.read)(param)?),
                Role::Positions => positions = Some(table(&backend, param, (parts.read)(param)?)?),
                Role::Weight(pieces) => parts.weight(&decoder, param, pieces)?,
                Role::NormWeight(id) => parts.norm(&decoder, param, *id)?,
                // Read with the weight that they belong to.
                Role::Bias(_) | Role::NormBias(_) => {}
            }
        }
        let Parts { mut linears, mut norms, .. } = parts;
        let embedding = embedding.ok_or_else(|| incomplete(&decoder, "an embedding"))?;
        let (vocab, hidden) = (decoder.vocab_size, decoder.hidden_size);
        if decoder.tied {
            let weights = LinearWeights { weight: embedding.clone(), out: vocab, input: hidden, bias: None };
            linears.insert(LinearId::Head, backend.pack(weights)?);
        }
        let mut linear = |id| linears.remove(&id);
        let mut layers = Vec::with_capacity(decoder.layers);
        for layer in 0..decoder.layers {
            let mut at = |kind| linear(LinearId::Layer { layer, kind });
            let gate = at(LinearKind::Gate).map(Map::new);
            let mut required =
                |kind| at(kind).map(Map::new).ok_or_else(|| incomplete(&decoder, "a linear map of a layer"));
            layers.push(Layer {
                q: required(LinearKind::Q)?,
                k: required(LinearKind::K)?,
                v: required(LinearKind::V)?,
                o: required(LinearKind::O)?,
                gate,
                up: required(LinearKind::Up)?,
                down: required(LinearKind::Down)?,
                norms: layer_norms(&mut norms, layer),
                attention: AttentionForm {
                    heads: decoder.heads,
                    scale: decoder.attention_scale,
                    softcap: decoder.attention_softcap,
                    window: decoder.windows.get(layer).copied().flatten(),
                },
            });
        }
        let scaled = match decoder.embedding_scale {
            1.0 => embedding,
            scale => embedding.into_iter().map(|v| v * scale).collect(),
        };
        Ok(Model {
            rope: rope(&decoder),
            norm: norms.remove(&NormId::Final).ok_or_else(|| incomplete(&decoder, "a final norm"))?,
            head: Arc::new(linear(LinearId::Head).ok_or_else(|| incomplete(&decoder, "a head"))?),
            embedding: backend.tensor(scaled, vocab, hidden)?,
            positions,
            layers,
            backend,
            decoder,
        })
    }

    /// What the model computes.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The form of a norm.
    pub(super) fn norm_form(&self) -> NormForm {
        self.decoder.norm
    }
}

impl<B: Backend + Clone> Model<B> {
    /// The same weights, in the same memory, without LoRA factors: those that either model gets are its own.
    pub fn share(&self) -> Model<B> {
        let layer = |layer: &Layer<B>| Layer {
            q: layer.q.share(),
            k: layer.k.share(),
            v: layer.v.share(),
            o: layer.o.share(),
            gate: layer.gate.as_ref().map(Map::share),
            up: layer.up.share(),
            down: layer.down.share(),
            norms: layer.norms.clone(),
            attention: layer.attention,
        };
        Model {
            backend: self.backend.clone(),
            decoder: self.decoder.clone(),
            rope: self.rope.clone(),
            embedding: self.embedding.clone(),
            positions: self.positions.clone(),
            layers: self.layers.iter().map(layer).collect(),
            norm: self.norm.clone(),
            head: Arc::clone(&self.head),
        }
    }
}

/// Weights on their way from the file to the backend.
struct Parts<'a, B: Backend> {
    read: Read<'a>,
    backend: &'a B,
    merge: Merge<'a>,
    linears: BTreeMap<LinearId, B::Linear>,
    norms: BTreeMap<NormId, NormWeights<B::Tensor>>,
}

impl<B: Backend> Parts<'_, B> {
    /// Reads a weight with its bias and packs the linear maps that it holds.
    fn weight(&mut self, decoder: &Decoder, param: &Param, pieces: &[Piece]) -> Result<(), LoadError> {
        let [out, input] = param.shape[..] else { return Err(incomplete(decoder, "a matrix")) };
        let bias = match decoder.param(&format!("{}.bias", param.module())) {
            Some(bias) => Some((self.read)(bias)?),
            None => None,
        };
        let mut whole = LinearWeights { weight: (self.read)(param)?, out, input, bias };
        (self.merge)(param.module(), &mut whole)?;
        for piece in pieces {
            let rows = || piece.rows.iter();
            let [_, expected] = decoder.linear_shape(piece.linear);
            if expected != input {
                return Err(incomplete(decoder, "a weight of the right width"));
            }
            let part = match (piece.rows.len() == out, &whole) {
                (true, whole) => whole.clone(),
                (false, LinearWeights { weight, bias, .. }) => LinearWeights {
                    weight: rows().flat_map(|r| &weight[r * input..(r + 1) * input]).copied().collect(),
                    out: piece.rows.len(),
                    input,
                    bias: bias.as_ref().map(|bias| rows().map(|r| bias[r]).collect()),
                },
            };
            self.linears.insert(piece.linear, self.backend.pack(part)?);
        }
        Ok(())
    }

    fn norm(&mut self, decoder: &Decoder, param: &Param, id: NormId) -> Result<(), LoadError> {
        let width = param.shape.iter().product();
        let whole = |values: Vec<f32>| self.backend.tensor(values, 1, width);
        let mut weight = (self.read)(param)?;
        weight.iter_mut().for_each(|w| *w += decoder.norm_offset);
        let bias = match decoder.param(&format!("{}.bias", param.module())) {
            Some(bias) => Some(whole((self.read)(bias)?)?),
            None => None,
        };
        let weights = NormWeights { weight: whole(weight)?, bias };
        self.norms.insert(id, weights);
        Ok(())
    }
}

fn layer_norms<T>(
    norms: &mut BTreeMap<NormId, NormWeights<T>>,
    layer: usize,
) -> BTreeMap<NormPlace, NormWeights<T>> {
    const PLACES: [NormPlace; 6] = [
        NormPlace::BeforeAttention,
        NormPlace::Query,
        NormPlace::Key,
        NormPlace::AfterAttention,
        NormPlace::BeforeMlp,
        NormPlace::AfterMlp,
    ];
    PLACES
        .into_iter()
        .filter_map(|place| Some((place, norms.remove(&NormId::Layer { layer, place })?)))
        .collect()
}

fn table<B: Backend>(backend: &B, param: &Param, values: Vec<f32>) -> Result<B::Tensor, LoadError> {
    let [rows, cols] = param.shape[..] else {
        return Err(BackendError("a table has two axes".into()).into());
    };
    Ok(backend.tensor(values, rows, cols)?)
}

fn rope(decoder: &Decoder) -> Option<Rope> {
    match &decoder.positions {
        Positions::Rotary { theta, scaling, dims } => {
            Some(Rope::new(*theta, scaling, *dims, decoder.max_positions))
        }
        Positions::Learned => None,
    }
}

/// A family's description that lacks a part: a defect of the description, not of the user's files.
fn incomplete(decoder: &Decoder, what: &str) -> LoadError {
    BackendError(format!("the description of {} lacks {what}", decoder.architecture)).into()
}
