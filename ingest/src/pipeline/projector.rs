//! The projection of a checkpoint's gradients, and the moments that enter them.

use gstore_core::Kind;
use gstore_store::ModuleGroup;

use super::IngestError;
use super::request::{CheckpointArg, CheckpointWeights};
use crate::gradient::{GradForm, Projector, module_shapes};
use crate::projection::{
    FactoredProjector, FlatProjector, ModuleShape, NOMINAL_TOKENS, ProjectionRoute, ProjectionSpec,
    choose_module, tensor_modules,
};
use gstore_model::architectures::Decoder;
use gstore_model::gradients::gradient_width;
use gstore_model::params::TensorSpec;
use gstore_model::weights::{Moments, MomentsFile, TrainedTensor};

pub(crate) struct ProjectorInputs<'a> {
    spec: &'a ProjectionSpec,
    tensors: &'a [TensorSpec],
    /// Modules of a factored kind.
    modules: Vec<ModuleShape>,
    /// Without an adapter gradients can be projected from factors.
    has_factors: bool,
}

impl<'a> ProjectorInputs<'a> {
    /// `tracked`: the differentiated tensors of the model itself, none with an adapter.
    pub fn new(
        decoder: &Decoder,
        tracked: &[usize],
        tensors: &'a [TensorSpec],
        spec: &'a ProjectionSpec,
    ) -> Self {
        let modules = module_shapes(decoder, tracked, tensors);
        Self { spec, tensors, modules, has_factors: !tracked.is_empty() }
    }

    /// The modules, as a projection module by module sees them.
    pub fn modules(&self) -> &[ModuleShape] {
        &self.modules
    }

    /// Length and module groups of a projected vector; draws no matrix.
    pub fn shape(&self, checkpoint: &str) -> Result<(usize, Vec<ModuleGroup>), IngestError> {
        if self.spec.kind.is_factored() {
            let projector = FactoredProjector::new(self.spec, &self.modules, Some(checkpoint))?;
            return Ok((projector.dim(), projector.groups()));
        }
        // A projector without tables only says what its vectors look like.
        let projector = FlatProjector::with_table_budget(self.spec, self.tensors, Some(checkpoint), 0)?;
        Ok((projector.dim(), projector.groups()))
    }

    /// How the plain gradient of each module of a factored kind is projected.
    pub fn routes(&self) -> Vec<ProjectionRoute> {
        let way = |module: &ModuleShape| match self.has_factors {
            true => choose_module(self.spec, module, NOMINAL_TOKENS, false),
            false => ProjectionRoute::Formed,
        };
        self.modules.iter().map(way).collect()
    }

    /// Values of a sample's gradient that exist at the same time while some forms of it are made: tensors
    /// that are formed, and sums of projected factors.
    pub fn held(&self, decoder: &Decoder, tracked: &[usize], forms: &[GradForm]) -> usize {
        let factored = self.spec.kind.is_factored();
        let routes = self.routes();
        let modules = tensor_modules(&self.modules);
        let linear = forms.iter().all(|form| form.is_linear());
        let plain = forms.iter().any(|form| form.is_linear());
        let from_factors = |module: usize| factored && routes.get(module) == Some(&ProjectionRoute::Factors);
        let formed = gradient_width(decoder, tracked, self.tensors, |tensor| {
            !linear || !modules.get(tensor).is_some_and(|module| from_factors(*module))
        });
        let (k_out, k_in) = self.spec.kind.sides().unwrap_or((0, 0));
        let cells = |module: &ModuleShape| match self.spec.block(module) {
            Some(block) => block.lambda().len(),
            None => k_out as usize * k_in as usize,
        };
        let summed = self.modules.iter().enumerate().filter(|(at, _)| plain && from_factors(*at));
        formed + summed.map(|(_, module)| cells(module)).sum::<usize>()
    }

    /// The projection itself.
    pub fn projector(&self, checkpoint: &str) -> Result<Projector, IngestError> {
        Ok(match self.spec.kind.is_factored() {
            true => Projector::Factored {
                projector: FactoredProjector::new(self.spec, &self.modules, Some(checkpoint))?,
                routes: self.routes(),
            },
            false => Projector::Flat(FlatProjector::new(self.spec, self.tensors, Some(checkpoint))?),
        })
    }
}

/// The optimizer's moments of the differentiated tensors, opened and checked.
pub fn moments(
    arg: &CheckpointArg,
    kind: Kind,
    decoder: &Decoder,
    tensors: &[TensorSpec],
) -> Result<MomentsFile, IngestError> {
    let (found, trained) = match &arg.weights {
        CheckpointWeights::Base => {
            return Err(IngestError::NoMoments { checkpoint: arg.name.clone(), kind: kind.name() });
        }
        CheckpointWeights::Adapter(folder) => {
            (Moments::find_of_adapter(folder), tensors.iter().cloned().map(TrainedTensor::factor).collect())
        }
        CheckpointWeights::Model(folder) => (Moments::find(folder), TrainedTensor::all(decoder)),
    };
    let path = found.map_err(|source| IngestError::MissingMoments { kind: kind.name(), source })?;
    let file = MomentsFile::open(&path, trained, |spec| tensors.contains(spec))?;
    // Adafactor without momentum has the second moment only, which is all that the normaliser needs.
    if kind == Kind::GradAdam && !file.has_first() {
        return Err(IngestError::NoFirstMoment { checkpoint: arg.name.clone() });
    }
    if kind == Kind::GradAdam && file.is_maximizing() {
        return Err(IngestError::Maximizing { checkpoint: arg.name.clone() });
    }
    Ok(file)
}
