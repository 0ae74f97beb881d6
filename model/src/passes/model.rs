//! A decoder's weights on a backend.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gstore_core::parallel::map;
use gstore_core::{Cancel, Cancelled};

use super::map::Map;
use super::parts::{Packing, Parts};
use super::rope::Rope;
use crate::architectures::{Decoder, LinearId, LinearKind, NormId, NormPlace, Param, Positions};
use crate::at_once::OutOfMemory;
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

impl OutOfMemory for LoadError {
    fn is_out_of_memory(&self) -> bool {
        matches!(self, LoadError::Backend(error) if error.is_out_of_memory())
    }
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
        let mut parts = Parts::none();
        let packing = Packing { decoder, backend: &backend, old: Mutex::default() };
        for param in &decoder.params {
            let part = packing.part(param, &mut |param| read(param).map(Cow::Owned), Some(&mut *merge))?;
            parts.take(&backend, param, part)?;
        }
        drop(packing);
        Model::assemble(decoder, backend, parts, None)
    }

    /// Packs weights that are in memory already, each in the sizes of its [`Param::shape`], on `threads`
    /// threads, which change no bit; maps in the memory of those of an `old` model of the same decoder, as far as
    /// it shares them with no other. LoRA factors of the old model are left out.
    pub fn of_values<'v>(
        decoder: &Decoder,
        backend: B,
        old: Option<Model<B>>,
        values: impl Fn(&Param) -> Result<&'v [f32], ModelError> + Sync,
        threads: usize,
    ) -> Result<Model<B>, LoadError> {
        let (old, rope) = old.map(Model::into_linears).unwrap_or_default();
        let packing = Packing { decoder, backend: &backend, old: Mutex::new(old) };
        let of_param = |param: &Param| -> Result<_, Cancelled> {
            Ok(packing.part(param, &mut |param| values(param).map(Cow::Borrowed), None))
        };
        // Nothing cancels it.
        let found = map(&decoder.params, 1, threads, &Cancel::new(), of_param).unwrap_or_default();
        drop(packing);
        let mut parts = Parts::none();
        for (param, part) in decoder.params.iter().zip(found) {
            parts.take(&backend, param, part?)?;
        }
        Model::assemble(decoder, backend, parts, rope)
    }

    /// The model of all parts; rotary angles are computed unless they are given.
    fn assemble(
        decoder: &Decoder,
        backend: B,
        parts: Parts<B>,
        angles: Option<Rope>,
    ) -> Result<Model<B>, LoadError> {
        let Parts { embedding, positions, mut linears, mut norms } = parts;
        let decoder = decoder.clone();
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
        Ok(Model {
            rope: angles.or_else(|| rope(&decoder)),
            norm: norms.remove(&NormId::Final).ok_or_else(|| incomplete(&decoder, "a final norm"))?,
            head: Arc::new(linear(LinearId::Head).ok_or_else(|| incomplete(&decoder, "a head"))?),
            embedding: embedding.ok_or_else(|| incomplete(&decoder, "an embedding"))?,
            positions,
            layers,
            backend,
            decoder,
        })
    }

    /// The maps that no other model shares, and the rotary angles.
    fn into_linears(self) -> (BTreeMap<LinearId, B::Linear>, Option<Rope>) {
        let mut weights = vec![(LinearId::Head, self.head)];
        for (layer, Layer { q, k, v, o, gate, up, down, .. }) in self.layers.into_iter().enumerate() {
            let mut of =
                |kind, map: Map<B>| weights.push((LinearId::Layer { layer, kind }, map.into_weight()));
            of(LinearKind::Q, q);
            of(LinearKind::K, k);
            of(LinearKind::V, v);
            of(LinearKind::O, o);
            of(LinearKind::Up, up);
            of(LinearKind::Down, down);
            if let Some(gate) = gate {
                of(LinearKind::Gate, gate);
            }
        }
        let own = |(id, weight): (LinearId, Arc<B::Linear>)| Some((id, Arc::into_inner(weight)?));
        (weights.into_iter().filter_map(own).collect(), self.rope)
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

fn rope(decoder: &Decoder) -> Option<Rope> {
    match &decoder.positions {
        Positions::Rotary { theta, scaling, dims } => {
            Some(Rope::new(*theta, scaling, *dims, decoder.max_positions))
        }
        Positions::Learned => None,
    }
}

/// A family's description that lacks a part: a defect of the description, not of the user's files.
pub(super) fn incomplete(decoder: &Decoder, what: &str) -> LoadError {
    BackendError::new(format!("the description of {} lacks {what}", decoder.architecture)).into()
}
