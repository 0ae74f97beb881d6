//! Differentiated tensors of a checkpoint, and the sizes that follow.

use std::path::Path;

use gstore_core::Kind;
use gstore_store::ModuleGroup;

use super::IngestError;
use super::lengths::VectorLengths;
use super::memory::{self, MemoryPlan, MemorySizes};
use super::projector::{self, ProjectorInputs};
use super::request::{CheckpointArg, CheckpointWeights, IngestRequest};
use super::window::BatchLimits;
use crate::gradient::{LossForm, ModuleSelection, tensor_specs};
use crate::projection::{ProjectionError, ProjectionSpec};
use gstore_model::architectures::{Decoder, PositionEncoding, TensorRole};
use gstore_model::params::{TensorSpec, total_len};
use gstore_model::weights::{Adapter, ModelFolder, MomentsFile};

pub(super) struct TrackedTensors {
    pub folder: ModelFolder,
    pub adapter: Option<Adapter>,
    /// The model's own tensors, as indices into its params; none with an adapter.
    pub indices: Vec<usize>,
    pub tensors: Vec<TensorSpec>,
    /// Projection of their gradients.
    pub projection: ProjectionSpec,
}

/// Sizes that follow from what is differentiated.
pub(super) struct GradientSizes {
    pub lengths: VectorLengths,
    /// Module groups of a projected gradient.
    pub gradient_groups: Vec<ModuleGroup>,
    pub limits: BatchLimits,
    /// Peak memory, and how the checkpoint is computed.
    pub memory: MemoryPlan,
}

impl TrackedTensors {
    /// Opens a checkpoint and checks that it can do what is asked.
    pub fn find(
        request: &IngestRequest,
        base: &ModelFolder,
        arg: &CheckpointArg,
    ) -> Result<TrackedTensors, IngestError> {
        let folder = checkpoint_folder(base, arg)?;
        let decoder = folder.decoder();
        check_request(request, decoder)?;
        let adapter = arg.adapter().map(Adapter::open).transpose()?;
        if adapter.is_none() && request.loss == LossForm::KlToBase {
            return Err(IngestError::NoBase { checkpoint: arg.name.clone() });
        }
        let projection = request.projection.spec(adapter.is_some());
        if projection.basis.is_none() && request.kinds.contains(&Kind::Residual) {
            return Err(IngestError::ResidualOfNoBasis { checkpoint: arg.name.clone() });
        }
        let (indices, tensors) = match &adapter {
            Some(_) if projection.basis.is_some() && !request.forms().is_empty() => {
                return Err(ProjectionError::FactorsOfAdapter { checkpoint: arg.name.clone() }.into());
            }
            Some(_) if request.modules != ModuleSelection::default() => {
                return Err(IngestError::ModulesOfAdapter { checkpoint: arg.name.clone() });
            }
            Some(adapter) => (Vec::new(), adapter.params(&folder)?),
            None if !request.forms().is_empty() => {
                let indices = match &projection.basis {
                    Some(basis) if request.modules == ModuleSelection::default() => basis.tracked(decoder)?,
                    _ => request.modules.resolve(decoder)?,
                };
                let tensors = tensor_specs(decoder, &indices);
                (indices, tensors)
            }
            None => (Vec::new(), Vec::new()),
        };
        Ok(TrackedTensors { folder, adapter, indices, tensors, projection })
    }

    /// The row of the embedding whose lookups have no gradient; none where the embedding itself has none.
    pub fn padding_row(&self) -> Option<u32> {
        let decoder = self.folder.decoder();
        let mut tracked = self.indices.iter().filter_map(|index| decoder.params.get(*index));
        decoder.padding_row.filter(|_| tracked.any(|param| param.role == TensorRole::Embedding))
    }

    /// Sizes of vectors, of batches and of memory. `checkpoint` is the checkpoint's id, or
    /// anything if only sizes matter.
    ///
    /// # Errors
    /// A projection that does not fit the tensors, and a limit on memory that cannot be kept.
    pub fn measure(
        &self,
        request: &IngestRequest,
        arg: &CheckpointArg,
        checkpoint: &str,
    ) -> Result<GradientSizes, IngestError> {
        let decoder = self.folder.decoder();
        let source = ProjectorInputs::new(decoder, &self.indices, &self.tensors, &self.projection);
        let forms = request.forms();
        let (held, (dim, gradient_groups)) = match forms.is_empty() {
            true => (0, (0, Vec::new())),
            false => (source.held(decoder, &self.indices, &forms), source.shape(checkpoint)?),
        };
        let length = |values: usize| u32::try_from(values).map_err(|_| IngestError::TooWide);
        let lengths = VectorLengths {
            hidden: length(decoder.hidden_size)?,
            gradient: length(dim)?,
            groups: length(gradient_groups.len())?,
        };
        let sizes = MemorySizes {
            checkpoint: &arg.name,
            decoder,
            tracked: total_len(&self.tensors) as u64,
            modules: source.modules(),
            projection: &self.projection,
            lengths,
            held,
        };
        let memory = memory::plan(request, &sizes)?;
        Ok(GradientSizes { lengths, gradient_groups, limits: sizes.limits(request), memory })
    }

    /// The optimizer's moments of the tensors.
    pub fn moments(
        &self,
        request: &IngestRequest,
        arg: &CheckpointArg,
    ) -> Result<Option<MomentsFile>, IngestError> {
        // Of several kinds that need moments the Adam form needs most.
        let kinds = || request.kinds.iter().filter(|kind| kind.needs_moments());
        let Some(kind) = kinds().find(|kind| **kind == Kind::GradAdam).or_else(|| kinds().next()) else {
            return Ok(None);
        };
        projector::moments(arg, *kind, self.folder.decoder(), &self.tensors).map(Some)
    }
}

/// The folder of a checkpoint's whole weights, which is the base's for an adapter.
///
/// # Errors
/// [`IngestError::OtherModel`] for weights of another architecture or of other sizes than the base's.
pub fn checkpoint_folder(base: &ModelFolder, arg: &CheckpointArg) -> Result<ModelFolder, IngestError> {
    let CheckpointWeights::Model(folder) = &arg.weights else { return Ok(base.clone()) };
    let folder = ModelFolder::open(folder)?;
    match first_difference(folder.decoder(), base.decoder()) {
        None => Ok(folder),
        Some(difference) => Err(IngestError::OtherModel {
            checkpoint: arg.name.clone(),
            folder: folder.path().to_owned(),
            model: base.path().to_owned(),
            difference,
        }),
    }
}

/// Why a fine-tune cannot have come from a base: the first difference in architecture and sizes, but for a
/// vocabulary that grew.
fn first_difference(tuned: &Decoder, base: &Decoder) -> Option<String> {
    let settings = |decoder: &Decoder| {
        let heads = decoder.heads;
        [
            ("the architecture", decoder.architecture.to_owned()),
            ("num_hidden_layers", decoder.layers.to_string()),
            ("hidden_size", decoder.hidden_size.to_string()),
            ("intermediate_size", decoder.intermediate_size.to_string()),
            ("num_attention_heads", heads.query.to_string()),
            ("num_key_value_heads", heads.kv.to_string()),
            ("head_dim", heads.dim.to_string()),
        ]
    };
    let mut pairs = settings(tuned).into_iter().zip(settings(base));
    let ((name, there), (_, of_base)) = pairs.find(|(tuned, base)| tuned != base)?;
    Some(format!("{name} is {there} there, {of_base} in the base"))
}

/// How many positions a model has a table of, which may have no weights yet; none if it can go on as far as
/// one likes.
///
/// # Errors
/// A folder that is no model.
pub fn positions(model: &Path) -> Result<Option<u32>, IngestError> {
    let config = model.join("config.json");
    let decoder = match config.is_file() {
        true => Decoder::read(&config)?,
        // What it is instead is told as for any other use.
        false => ModelFolder::open(model)?.decoder().clone(),
    };
    let learned = decoder.positions == PositionEncoding::Learned;
    Ok(learned.then(|| u32::try_from(decoder.max_positions).unwrap_or(u32::MAX)))
}

/// Refuses layers and lengths that the model lacks.
fn check_request(request: &IngestRequest, decoder: &Decoder) -> Result<(), IngestError> {
    let layers = decoder.layers;
    if let Some(layer) = request.embedding.layer.filter(|layer| *layer > layers) {
        return Err(IngestError::NoLayer { layer, layers });
    }
    let positions = decoder.max_positions;
    if decoder.positions == PositionEncoding::Learned && request.text.max_length as usize > positions {
        return Err(IngestError::TooLong { max_length: request.text.max_length, positions });
    }
    Ok(())
}
