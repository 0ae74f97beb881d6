//! Trainable parameters in f32, LoRA factors or all tensors, and the model that computes with them.

use std::path::PathBuf;
use std::sync::Mutex;

use gstore_core::parallel::each;
use gstore_model::architectures::{Decoder, Param, TensorRole};
use gstore_model::gradients::{
    GradLayout, GradientBuffers, HostFactors, HostModule, LoraFactors, TensorSlice,
};
use gstore_model::params::{ParamStore, TensorSpec};
use gstore_model::weights::{Adapter, ModelError, ModelFolder, TrainedTensor, check_finite};
use gstore_model::{Backend, LoadError, LoraWeights, Model, OomBackoff};

use crate::error::TrainError;
use crate::lora::LoraChoice;
use crate::random::RandomStream;

/// The factors of one module, by their places among the parameters.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AdaptedModule {
    /// Canonical name.
    pub module: String,
    pub rank: usize,
    pub scaling: f64,
}

pub(crate) enum ParameterForm<B: Backend> {
    /// Factors of these modules, as each device has them now.
    Lora { modules: Vec<AdaptedModule>, factors: Vec<LoraFactors<B>> },
    /// All tensors.
    Full { layout: GradLayout },
}

/// Parameters with the models that compute with their present values, one on each device.
pub struct Parameters<B: Backend> {
    pub(crate) store: ParamStore,
    pub(crate) form: ParameterForm<B>,
    pub(crate) trained: Vec<TrainedTensor>,
    decoder: Decoder,
    /// Of each device; there is at least one.
    backends: Vec<B>,
    /// On each device; none only while they are packed again.
    pub(crate) models: Vec<Model<B>>,
    /// Memory that threads use again from step to step; of backends on the host alone.
    pub(crate) scratch: Mutex<Vec<GradientBuffers<B>>>,
    /// Of all devices, which are of one model.
    pub(crate) backoff: OomBackoff,
}

impl<B: Backend + Clone> Parameters<B> {
    /// New LoRA factors: A uniform within `1 / sqrt(input)` of zero, as PEFT draws it, and B zero.
    pub fn new_lora(
        base: &ModelFolder,
        choice: &LoraChoice,
        seed: u64,
        backend: B,
    ) -> Result<Parameters<B>, TrainError> {
        // Before the weights are read.
        choice.resolve(base.decoder())?;
        Parameters::new_factors(Model::load(base, backend)?, choice, seed)
    }

    /// The same next to a model that has no factors.
    pub(crate) fn new_factors(
        model: Model<B>,
        choice: &LoraChoice,
        seed: u64,
    ) -> Result<Parameters<B>, TrainError> {
        let (mut store, mut modules) = (ParamStore::default(), Vec::new());
        for param in choice.resolve(model.decoder())? {
            let [out, input] = param.shape[..] else { continue };
            let module = param.module().to_owned();
            let [a, b] = factor_specs(&module, choice.rank, [out, input]);
            let stream = RandomStream::new(seed, &a.name, 0);
            let bound = 1.0 / (input as f64).sqrt();
            let draw = |index| ((2.0 * stream.uniform(index) - 1.0) * bound) as f32;
            let values: Vec<f32> = (0..a.numel() as u64).map(draw).collect();
            store.push(a, &values);
            let zeros = vec![0.0; b.numel()];
            store.push(b, &zeros);
            modules.push(AdaptedModule {
                module,
                rank: choice.rank,
                scaling: choice.alpha / choice.rank as f64,
            });
        }
        Parameters::lora(model, modules, store)
    }

    /// The factors of an adapter that fits the base.
    pub fn from_adapter(
        base: &ModelFolder,
        adapter: &Adapter,
        backend: B,
    ) -> Result<Parameters<B>, TrainError> {
        let (mut store, mut modules) = (ParamStore::default(), Vec::new());
        for fitted in adapter.fit(base)? {
            let [out, input] = fitted.param.shape[..] else { continue };
            let module = fitted.param.module().to_owned();
            let [a, b] = factor_specs(&module, fitted.lora.rank, [out, input]);
            for (spec, name) in [(a, &fitted.lora.a), (b, &fitted.lora.b)] {
                store.push(spec, &adapter.factor(name)?);
            }
            modules.push(AdaptedModule { module, rank: fitted.lora.rank, scaling: fitted.lora.scaling });
        }
        Parameters::lora(Model::load(base, backend)?, modules, store)
    }

    /// The same values on `more` devices, like the first, which compute pieces of a gradient as that does.
    /// `base` is what LoRA factors are next to. For plain steps: the start of a perturbed one is on one
    /// device.
    ///
    /// # Errors
    /// Weights that cannot be read, and what the backends refuse.
    pub fn beside(mut self, base: Option<&ModelFolder>, more: Vec<B>) -> Result<Parameters<B>, TrainError> {
        if more.is_empty() {
            return Ok(self);
        }
        match (&self.form, base) {
            (ParameterForm::Full { .. }, _) => {}
            (ParameterForm::Lora { .. }, Some(base)) => {
                let load = |backend: B| Model::load(base, backend);
                self.models.extend(each(more.iter().cloned(), load)?);
            }
            (ParameterForm::Lora { .. }, None) => {
                return Err(TrainError::Option("which model are the factors next to?".to_owned()));
            }
        }
        self.backends.extend(more);
        self.refresh(1)?;
        Ok(self)
    }

    /// The same values once more, to be changed on their own; of LoRA factors the base is shared.
    pub(crate) fn duplicate(&self) -> Result<Parameters<B>, TrainError> {
        match &self.form {
            ParameterForm::Lora { modules, .. } => {
                Parameters::lora(self.model()?.share(), modules.clone(), self.store.clone())
            }
            ParameterForm::Full { .. } => {
                let backend = self.model()?.backend().clone();
                Parameters::of_all(&self.decoder, self.store.clone(), backend)
            }
        }
    }

    fn lora(
        mut model: Model<B>,
        modules: Vec<AdaptedModule>,
        store: ParamStore,
    ) -> Result<Parameters<B>, TrainError> {
        let factors = host_factors(&modules, &store).attach(&mut model)?;
        let trained = store.specs().iter().cloned().map(TrainedTensor::factor).collect();
        Ok(Parameters {
            store,
            form: ParameterForm::Lora { modules, factors: vec![factors] },
            trained,
            decoder: model.decoder().clone(),
            backends: vec![model.backend().clone()],
            models: vec![model],
            scratch: Mutex::default(),
            backoff: OomBackoff::default(),
        })
    }

    /// All tensors of a model.
    pub fn full(folder: &ModelFolder, backend: B) -> Result<Parameters<B>, TrainError> {
        let mut store = ParamStore::default();
        for param in &folder.decoder().params {
            let values = folder.read(param)?;
            check_finite(folder.path(), &param.name, &values)?;
            store.push(spec_of(param), &values);
        }
        Parameters::of_all(folder.decoder(), store, backend)
    }

    /// All tensors of an untrained model: weights and tables normal with deviation `deviation`,
    /// norms one, biases and the embedding's row of padding zero. GPT-2's weights that add to the hidden
    /// states have less, as transformers begins them: the deviation over the root of how many they are
    /// (Radford et al. 2019, 2.3).
    pub fn random(
        decoder: &Decoder,
        deviation: f64,
        seed: u64,
        backend: B,
    ) -> Result<Parameters<B>, TrainError> {
        let mut store = ParamStore::default();
        for param in &decoder.params {
            let len = param.shape.iter().product();
            let mut values = match &param.role {
                TensorRole::NormWeight(_) => vec![1.0 - decoder.norm_offset; len],
                TensorRole::Bias(_) | TensorRole::NormBias(_) => vec![0.0; len],
                TensorRole::Embedding | TensorRole::Positions | TensorRole::Weight(_) => {
                    let stream = RandomStream::new(seed, &param.name, 0);
                    let added = if param.name.ends_with(".c_proj.weight") { 2 * decoder.layers } else { 1 };
                    let deviation = deviation / (added as f64).sqrt();
                    (0..len as u64).map(|index| (deviation * stream.normal(index)) as f32).collect()
                }
            };
            if let (TensorRole::Embedding, Some(row)) = (&param.role, decoder.padding_row) {
                let width = decoder.hidden_size;
                values[row as usize * width..][..width].fill(0.0);
            }
            store.push(spec_of(param), &values);
        }
        Parameters::of_all(decoder, store, backend)
    }

    fn of_all(decoder: &Decoder, store: ParamStore, backend: B) -> Result<Parameters<B>, TrainError> {
        let all: Vec<usize> = (0..decoder.params.len()).collect();
        let layout = GradLayout::new(decoder, &all, |_| true);
        let mut parameters = Parameters {
            store,
            form: ParameterForm::Full { layout },
            trained: TrainedTensor::all(decoder),
            decoder: decoder.clone(),
            backends: vec![backend],
            models: Vec::new(),
            scratch: Mutex::default(),
            backoff: OomBackoff::default(),
        };
        parameters.refresh(1)?;
        Ok(parameters)
    }

    /// Changes the values, then packs them again on threads, which change no bit.
    ///
    /// # Errors
    /// What the backend refuses; the parameters cannot be computed with then.
    pub fn change<T>(
        &mut self,
        threads: usize,
        change: impl FnOnce(&mut ParamStore) -> T,
    ) -> Result<T, TrainError> {
        let result = change(&mut self.store);
        self.refresh(threads)?;
        Ok(result)
    }

    /// Puts the values onto the devices.
    fn refresh(&mut self, threads: usize) -> Result<(), LoadError> {
        let store = &self.store;
        match &mut self.form {
            ParameterForm::Lora { modules, factors } => {
                let modules = &*modules;
                let attach = |model: &mut Model<B>| host_factors(modules, store).attach(model);
                *factors = each(&mut self.models, attach)?;
            }
            ParameterForm::Full { .. } => {
                let decoder = &self.decoder;
                let values = |param: &Param| {
                    store.get(&param.name).ok_or_else(|| ModelError::MissingTensor {
                        folder: PathBuf::new(),
                        name: param.name.clone(),
                    })
                };
                let threads = threads / self.backends.len();
                let pack = |(backend, old): (B, Option<Model<B>>)| {
                    let threads = if backend.on_host() { threads.max(1) } else { 1 };
                    Model::from_values(decoder, backend, old, values, threads)
                };
                let mut old = std::mem::take(&mut self.models).into_iter();
                let replaced = self.backends.iter().map(|backend| (backend.clone(), old.next()));
                self.models = each(replaced, pack)?;
            }
        }
        Ok(())
    }

    /// The values.
    pub fn store(&self) -> &ParamStore {
        &self.store
    }

    /// What the model computes.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The tensors with their state in an optimizer's file.
    pub fn trained(&self) -> &[TrainedTensor] {
        &self.trained
    }

    /// The model on the first device.
    pub(crate) fn model(&self) -> Result<&Model<B>, TrainError> {
        self.model_on(0)
    }

    pub(crate) fn model_on(&self, device: usize) -> Result<&Model<B>, TrainError> {
        let model = self.models.get(device);
        model.ok_or_else(|| TrainError::Option("the weights could not be packed".into()))
    }

    /// Where each tensor's gradient lies in the sums of a batch: one list for each sum.
    pub(crate) fn places(&self) -> Vec<Vec<TensorSlice>> {
        match &self.form {
            ParameterForm::Full { layout } => layout.groups.clone(),
            ParameterForm::Lora { factors, .. } => {
                factors.iter().take(1).map(|factors| factors.places(self.store.specs())).collect()
            }
        }
    }
}

fn spec_of(param: &Param) -> TensorSpec {
    TensorSpec { name: param.name.clone(), shape: param.shape.clone() }
}

fn factor_specs(module: &str, rank: usize, [out, input]: [usize; 2]) -> [TensorSpec; 2] {
    [("A", vec![rank, input]), ("B", vec![out, rank])]
        .map(|(factor, shape)| TensorSpec { name: format!("{module}.lora_{factor}.weight"), shape })
}

/// The factors as they are now.
fn host_factors(modules: &[AdaptedModule], store: &ParamStore) -> HostFactors {
    let value = |module: &str, factor: &str| {
        store.get(&format!("{module}.lora_{factor}.weight")).unwrap_or_default().to_vec()
    };
    let modules = modules.iter().map(|AdaptedModule { module, rank, scaling }| HostModule {
        name: module.clone(),
        lora: LoraWeights { a: value(module, "A"), b: value(module, "B"), rank: *rank, scaling: *scaling },
    });
    HostFactors::new(modules.collect())
}
