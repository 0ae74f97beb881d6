//! A decoder's weights on a backend.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use gstore_core::parallel::map;
use gstore_core::{Cancel, Cancelled};

use super::load::{LoadError, ReadParam, incomplete};
use super::map::{LinearMap, LoraWeights};
use super::parts::{PackedTensors, TensorPacker};
use super::rope::Rope;
use crate::architectures::{
    Decoder, LinearId, LinearKind, NormId, NormPlace, Param, PositionEncoding, TensorRole,
};
use crate::backend::{AttentionForm, Backend, BackendError, NormForm, NormWeights};
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

pub(super) struct Layer<B: Backend> {
    /// All but the gate, and that where the MLP has one.
    pub maps: BTreeMap<LinearKind, LinearMap<B>>,
    pub norms: BTreeMap<NormPlace, NormWeights<B::Tensor>>,
    pub attention: AttentionForm,
}

impl<B: Backend> Model<B> {
    /// Reads and packs the weights of a checked folder.
    ///
    /// Memory at the peak: what the backend keeps of the weights, and one weight in f32 twice.
    pub fn load(folder: &ModelFolder, backend: B) -> Result<Model<B>, LoadError> {
        Model::build(folder.decoder(), backend, &mut |param| folder.read(param))
    }

    /// Packs weights that `read` gives, each in the sizes of its [`Param::shape`].
    pub fn build(decoder: &Decoder, backend: B, read: ReadParam<'_>) -> Result<Model<B>, LoadError> {
        let mut parts = PackedTensors::none();
        let packing = TensorPacker { decoder, backend: &backend, old: Mutex::default() };
        for param in &decoder.params {
            let part = packing.part(param, &mut |param| read(param).map(Cow::Owned))?;
            parts.take(&backend, param, part)?;
        }
        drop(packing);
        Model::assemble(decoder, backend, parts, None)
    }

    /// Packs weights that are in memory already, each in the sizes of its [`Param::shape`], on `threads`
    /// threads, which change no bit; maps in the memory of those of an `old` model of the same decoder, as
    /// far as it shares them with no other. LoRA factors of the old model are left out.
    pub fn from_values<'v>(
        decoder: &Decoder,
        backend: B,
        old: Option<Model<B>>,
        values: impl Fn(&Param) -> Result<&'v [f32], ModelError> + Sync,
        threads: usize,
    ) -> Result<Model<B>, LoadError> {
        let (old, rope) = old.map(Model::into_linears).unwrap_or_default();
        let packing = TensorPacker { decoder, backend: &backend, old: Mutex::new(old) };
        let of_param = |param: &Param| -> Result<_, Cancelled> {
            Ok(packing.part(param, &mut |param| values(param).map(Cow::Borrowed)))
        };
        // Nothing cancels it.
        let found = map(&decoder.params, 1, threads, &Cancel::new(), of_param).unwrap_or_default();
        drop(packing);
        let mut parts = PackedTensors::none();
        for (param, part) in decoder.params.iter().zip(found) {
            parts.take(&backend, param, part?)?;
        }
        Model::assemble(decoder, backend, parts, rope)
    }

    /// The model of all parts; rotary angles are computed unless they are given.
    fn assemble(
        decoder: &Decoder,
        backend: B,
        parts: PackedTensors<B>,
        angles: Option<Rope>,
    ) -> Result<Model<B>, LoadError> {
        let PackedTensors { embedding, positions, mut linears, mut norms } = parts;
        let decoder = decoder.clone();
        let mut layers = Vec::with_capacity(decoder.layers);
        for layer in 0..decoder.layers {
            let of = |kind| Some((kind, LinearMap::new(linears.remove(&LinearId::Layer { layer, kind })?)));
            let maps: BTreeMap<_, LinearMap<B>> = LinearKind::ALL.into_iter().filter_map(of).collect();
            if LinearKind::ALL.iter().any(|kind| *kind != LinearKind::Gate && !maps.contains_key(kind)) {
                return Err(incomplete(&decoder, "a linear map of a layer"));
            }
            layers.push(Layer {
                maps,
                norms: layer_norms(&mut norms, layer),
                attention: AttentionForm {
                    heads: decoder.heads,
                    scale: decoder.attention_scale_of(layer),
                    softcap: decoder.attention_softcap,
                    window: decoder.windows.get(layer).copied().flatten(),
                },
            });
        }
        Ok(Model {
            rope: angles.or_else(|| rope(&decoder)),
            norm: norms.remove(&NormId::Final).ok_or_else(|| incomplete(&decoder, "a final norm"))?,
            head: Arc::new(linears.remove(&LinearId::Head).ok_or_else(|| incomplete(&decoder, "a head"))?),
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
        for (layer, Layer { maps, .. }) in self.layers.into_iter().enumerate() {
            let of = |(kind, map): (_, LinearMap<B>)| (LinearId::Layer { layer, kind }, map.into_weight());
            weights.extend(maps.into_iter().map(of));
        }
        let own = |(id, weight): (LinearId, Arc<B::Linear>)| Some((id, Arc::into_inner(weight)?));
        (weights.into_iter().filter_map(own).collect(), self.rope)
    }

    /// Attaches LoRA factors to the weight of a layer's map, in place of earlier ones.
    ///
    /// # Errors
    /// Factors of other sizes than the map's, and a map that the model lacks.
    pub(crate) fn set_lora(&mut self, id: LinearId, lora: LoraWeights) -> Result<(), BackendError> {
        let is_of = |param: &Param| match &param.role {
            TensorRole::Weight(pieces) => pieces.iter().any(|piece| piece.linear == id),
            _ => false,
        };
        let module = self.decoder.params.iter().position(is_of).unwrap_or(0);
        let map = match id {
            LinearId::Layer { layer, kind } => self.layers.get_mut(layer).and_then(|l| l.maps.get_mut(&kind)),
            LinearId::Head => None,
        };
        let map =
            map.ok_or_else(|| BackendError::new(format!("the model has no {id:?} that can be adapted")))?;
        map.adapt(&self.backend, self.decoder.linear_shape(id), lora, module)
    }

    /// What the model computes.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The backend.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    pub(super) fn norm_form(&self) -> NormForm {
        self.decoder.norm
    }
}

impl<B: Backend> Layer<B> {
    /// A map; an error where the layer lacks it.
    pub(super) fn map(&self, kind: LinearKind) -> Result<&LinearMap<B>, BackendError> {
        self.maps.get(&kind).ok_or_else(|| BackendError::new(format!("a layer has no {kind:?}")))
    }
}

impl<B: Backend + Clone> Model<B> {
    /// The same weights, in the same memory, without LoRA factors: those that either model gets are its own.
    pub fn share(&self) -> Model<B> {
        let layer = |layer: &Layer<B>| Layer {
            maps: layer.maps.iter().map(|(kind, map)| (*kind, map.share())).collect(),
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
        PositionEncoding::Rotary { theta, scaling, dims } => {
            Some(Rope::new(*theta, scaling, *dims, decoder.max_positions))
        }
        PositionEncoding::Learned => None,
    }
}
