//! Curvature engine of one checkpoint, loaded and merged.

use gstore_core::CheckpointId;
use gstore_curvature::{Covariance, CurvatureError, Module, ModuleFactors, Squares};
use gstore_model::architectures::Decoder;
use gstore_model::gradients::HostFactors;
use gstore_model::weights::{Adapter, ModelFolder, checkpoint_id};
use gstore_model::{Backend, LoadError, OomBackoff, SavedActivations};

use super::bases::ModuleBases;
use super::batch::{CurvatureBatch, Labels, Measurement, TargetSample};
use super::covariances::CovarianceSums;
use super::directions::Directions;
use super::error::{CurvatureLoadError, PassError, not_finite};
use super::gradients::GradientVisitor;
use super::modules::LinearModules;
use super::pass::BatchRunner;
use super::runner::{Runner, Wanted};
use super::tokens::{FactorVisitor, TokenFactors};
use crate::gradient::{CheckpointSource, ModuleSelection, SelectionError};

/// The chosen linear layers, of which there is one at least.
fn linear(decoder: &Decoder, selection: &ModuleSelection) -> Result<LinearModules, CurvatureLoadError> {
    let chosen = selection.resolve(decoder).map_err(|error| match error {
        SelectionError::TiedHead { embedding } => CurvatureLoadError::TiedHead { embedding },
        error => error.into(),
    })?;
    let modules = LinearModules::new(decoder, &chosen);
    match modules.list.is_empty() {
        true => Err(CurvatureLoadError::NoLinear(selection.to_string())),
        false => Ok(modules),
    }
}

/// One checkpoint. Calls may run side by side from any number of threads; each runs on its own thread only.
pub struct CurvatureEngine {
    id: CheckpointId,
    decoder: Decoder,
    modules: Vec<Module>,
    layers: Vec<Vec<usize>>,
    backoff: OomBackoff,
    runner: Box<dyn Runner>,
}

impl CurvatureEngine {
    /// Loads a model, merges the adapter into it and computes the checkpoint's identity. The modules are the
    /// chosen linear layers, each with its bias, chosen or not; what else a pattern chooses with them is left
    /// out, and so is `source.tracked`.
    ///
    /// # Errors
    /// A model or a selection that cannot be used, and a pattern without a linear layer.
    pub fn load<B: Backend>(
        source: &CheckpointSource,
        backend: B,
        selection: &ModuleSelection,
        keep: SavedActivations,
    ) -> Result<Self, CurvatureLoadError> {
        let folder = ModelFolder::open(&source.model).map_err(LoadError::from)?;
        let decoder = folder.decoder().clone();
        for pattern in &selection.patterns {
            let alone = ModuleSelection { patterns: vec![pattern.clone()], biases: false };
            linear(&decoder, &alone)?;
        }
        let modules = linear(&decoder, selection)?;
        let adapter = source.adapter.as_deref().map(Adapter::open).transpose().map_err(LoadError::from)?;
        let id = checkpoint_id(&folder, adapter.as_ref()).map_err(LoadError::from)?;
        let host = adapter.as_ref().map(|adapter| HostFactors::read(adapter, &folder)).transpose();
        let host = host.map_err(LoadError::from)?;
        let model = HostFactors::load_merged(&folder, backend, host.as_ref())?;
        let (list, layers) = (modules.list.clone(), modules.by_layer());
        let runner = BatchRunner { model, keep, modules, bases: ModuleBases::none() };
        let backoff = OomBackoff::default();
        Ok(Self { id, decoder, modules: list, layers, backoff, runner: Box::new(runner) })
    }

    /// Identity of the checkpoint.
    pub fn checkpoint_id(&self) -> &CheckpointId {
        &self.id
    }

    /// What the model computes.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The modules in `named_parameters()` order, by which the methods number them.
    pub fn modules(&self) -> &[Module] {
        &self.modules
    }

    /// The modules of each layer that has some, in the order in which [`CurvatureEngine::gradients`] and the
    /// like hand them on. A pass for a few layers goes back no further than the first of them.
    pub fn layers(&self) -> &[Vec<usize>] {
        &self.layers
    }

    /// How much is computed at once: who computes a batch that a device has too little memory for does so
    /// again, in parts. What was handed on of it until then is to be forgotten.
    pub fn backoff(&self) -> &OomBackoff {
        &self.backoff
    }

    /// Puts eigenbases on the backend, in place of earlier ones: of each module that has both; one entry for
    /// each of [`CurvatureEngine::modules`]. They are held as the backend holds weights.
    ///
    /// # Errors
    /// Factors of other modules.
    pub fn set_bases(&mut self, factors: &[ModuleFactors]) -> Result<(), PassError> {
        self.runner.set_bases(factors)
    }

    /// Adds the outer products of a batch to `out[module]` for each of the modules `wanted`: of inputs to the
    /// first, of output gradients to the second, in the blocks that those are in: the same of inputs that
    /// modules have in common. They are added from the diagonal on; after the last batch
    /// [`Covariance::mirror`] fills what is below it. Returns the samples' losses.
    ///
    /// # Errors
    /// Samples that the model cannot compute, sums of other sizes, and values that are not finite.
    pub fn covariances(
        &self,
        batch: &[TargetSample<'_>],
        labels: &Labels<'_>,
        wanted: &[usize],
        out: &mut [(Covariance, Covariance)],
    ) -> Result<Vec<f32>, PassError> {
        let none = (Covariance::default(), Covariance::default());
        for (index, module) in self.chosen(wanted) {
            let (activation, gradient) = out.get(index).unwrap_or(&none);
            activation.blocks_of(module.input, &module.name, "activation covariance")?;
            gradient.blocks_of(module.out, &module.name, "gradient covariance")?;
        }
        let batch = CurvatureBatch { labels: *labels, ..self.batch(batch, wanted) };
        self.runner.pass(&batch, Wanted::Covariances(CovarianceSums { out }))
    }

    /// Adds the squares of the gradients of a batch's samples to `out[module]` for each of the modules
    /// `wanted`: as they are, or `rotated` into the bases of [`CurvatureEngine::set_bases`]. Returns the
    /// samples' losses.
    ///
    /// # Errors
    /// As [`CurvatureEngine::covariances`], and a module without bases where they are needed.
    pub fn squares(
        &self,
        batch: &[TargetSample<'_>],
        labels: &Labels<'_>,
        wanted: &[usize],
        rotated: bool,
        out: &mut [Squares],
    ) -> Result<Vec<f32>, PassError> {
        for (index, module) in self.chosen(wanted) {
            let found = out.get(index).map_or(0, |squares| squares.sums.len());
            check_size(module, "squares of gradients", found, module.len())?;
        }
        let batch = CurvatureBatch { labels: *labels, ..self.batch(batch, wanted) };
        let each: GradientVisitor<'_> = &mut |module, gradients| {
            self.check_gradients(module, gradients)?;
            let len = self.modules[module].len().max(1);
            gradients.chunks_exact(len).for_each(|gradient| out[module].add(gradient));
            Ok(())
        };
        self.runner.pass(&batch, Wanted::Gradients { rotated, each })
    }

    /// Hands the gradients of a batch's samples to `each`, for each of the modules `wanted`, the last layer
    /// first and the head last: as they are, or `rotated`. Returns what they are gradients of.
    ///
    /// `each` is also given values that are not finite: it takes the error of
    /// [`CurvatureEngine::check_gradients`], before it uses them or when what it computes of them is not finite.
    ///
    /// Memory: a gradient of one module for each sample, or of two.
    ///
    /// # Errors
    /// As [`CurvatureEngine::squares`], and those of `each`.
    pub fn gradients(
        &self,
        batch: &[TargetSample<'_>],
        measurement: Measurement,
        wanted: &[usize],
        rotated: bool,
        each: GradientVisitor<'_>,
    ) -> Result<Vec<f32>, PassError> {
        let batch = CurvatureBatch { measurement, ..self.batch(batch, wanted) };
        self.runner.pass(&batch, Wanted::Gradients { rotated, each })
    }

    /// An error that names the module and the sample if a value of a module's gradients, of one sample after
    /// the other, is not finite.
    ///
    /// # Errors
    /// [`PassError::NotFinite`].
    pub fn check_gradients(&self, module: usize, gradients: &[f32]) -> Result<(), PassError> {
        let module = &self.modules[module];
        for (sample, gradient) in gradients.chunks_exact(module.len().max(1)).enumerate() {
            if let Some(value) = not_finite(gradient) {
                let module = module.name.clone();
                return Err(PassError::NotFinite { module, what: "the gradient", sample, value });
            }
        }
        Ok(())
    }

    /// Hands the factors of the gradients of a batch to `each`, for each of the modules `wanted`, in the
    /// same order: every token of every sample has a row.
    ///
    /// # Errors
    /// Samples that the model cannot compute, values that are not finite, and those of `each`.
    pub fn factors(
        &self,
        batch: &[TargetSample<'_>],
        measurement: Measurement,
        wanted: &[usize],
        each: FactorVisitor<'_>,
    ) -> Result<Vec<f32>, PassError> {
        let batch = CurvatureBatch { measurement, ..self.batch(batch, wanted) };
        self.runner.pass(&batch, Wanted::Factors(TokenFactors { every_row: true, each }))
    }

    /// The same for whole samples: rows at which a gradient is 0 may be left out, and a module may come
    /// several times, with the rows and parts of its outputs that are not 0 there. The outer products of all
    /// add up to [`CurvatureEngine::gradients`].
    ///
    /// # Errors
    /// As [`CurvatureEngine::factors`].
    pub fn outer_products(
        &self,
        batch: &[TargetSample<'_>],
        measurement: Measurement,
        wanted: &[usize],
        each: FactorVisitor<'_>,
    ) -> Result<Vec<f32>, PassError> {
        let batch = CurvatureBatch { measurement, ..self.batch(batch, wanted) };
        self.runner.pass(&batch, Wanted::Factors(TokenFactors { every_row: false, each }))
    }

    /// Directions of the modules' weights, for products with the Gauss-Newton matrix: of each the values of
    /// all [`CurvatureEngine::modules`], one after the other, `[out, input]` each. They are held as the
    /// backend holds weights.
    ///
    /// # Errors
    /// Values of other modules.
    pub fn directions(&self, values: &[&[f64]]) -> Result<Box<dyn Directions + '_>, PassError> {
        let expected = self.modules.iter().map(Module::len).sum();
        for found in values {
            if let (Some(module), true) = (self.modules.first(), found.len() != expected) {
                check_size(module, "a direction of all modules", found.len(), expected)?;
            }
        }
        self.runner.directions(values)
    }

    fn batch<'a>(&self, samples: &'a [TargetSample<'a>], wanted: &[usize]) -> CurvatureBatch<'a> {
        CurvatureBatch::new(samples, wanted, self.modules.len())
    }

    fn chosen(&self, wanted: &[usize]) -> impl Iterator<Item = (usize, &Module)> {
        wanted.iter().filter_map(move |index| Some((*index, self.modules.get(*index)?)))
    }
}

fn check_size(
    module: &Module,
    what: &'static str,
    found: usize,
    expected: usize,
) -> Result<(), CurvatureError> {
    match found == expected {
        true => Ok(()),
        false => Err(CurvatureError::Size { module: module.name.clone(), what, found, expected }),
    }
}
