//! The sink that puts the factors of linear maps together to those of whole modules.

use std::ops::Range;

use gstore_model::architectures::LinearId;
use gstore_model::{Backend, BackendError, LinearFactors, Sink, Slot};

use super::error::{PassError, not_finite};
use super::head::HeadRows;
use super::modules::LinearModules;

/// Gradients of a module's outputs, at the rows of the call.
pub(super) struct OutputGradients<B: Backend> {
    pub module: usize,
    /// How many of its maps they are of; at the outputs of others they are 0.
    pub pieces: usize,
    /// `[rows, out]`
    pub grad: B::Tensor,
}

/// Modules with the same inputs, all with a bias or all without.
pub(super) struct ModuleFactorRows<'a, B: Backend> {
    pub backend: &'a B,
    pub modules: &'a LinearModules,
    /// Inputs without the constant of a bias.
    pub x: &'a B::Tensor,
    /// At least one.
    pub parts: &'a [OutputGradients<B>],
    /// Rows of each sample.
    pub spans: &'a [Range<usize>],
}

impl<B: Backend> ModuleFactorRows<'_, B> {
    /// Inputs of all the modules, with the constant of a bias.
    pub fn inputs(&self) -> Result<B::Tensor, BackendError> {
        match self.parts.first() {
            Some(part) => self.modules.inputs(self.backend, part.module, self.x),
            None => Ok(self.x.clone()),
        }
    }

    /// An error that names the sample of whose rows a value is not finite.
    pub fn check(
        &self,
        module: usize,
        what: &'static str,
        width: usize,
        values: &[f32],
    ) -> Result<(), PassError> {
        for (sample, span) in self.spans.iter().enumerate() {
            let of_sample = values.get(span.start * width..span.end * width).unwrap_or_default();
            if let Some(value) = not_finite(of_sample) {
                let module = self.modules.list[module].name.clone();
                return Err(PassError::NotFinite { module, what, sample, value });
            }
        }
        Ok(())
    }
}

pub(super) trait FactorConsumer<B: Backend> {
    /// Whether they are needed at every row, also where the gradient is zero.
    fn every_row(&self) -> bool;

    /// Takes those of some modules. A module may come in several calls, each with others of its maps.
    fn take(&mut self, call: &ModuleFactorRows<'_, B>) -> Result<(), PassError>;
}

/// Hands the factors of wanted modules to a consumer.
pub(super) struct ModuleSink<'a, B: Backend, C> {
    modules: &'a LinearModules,
    wanted: &'a [bool],
    consumer: C,
    /// The head's factors, which come in pieces; none if they are not wanted.
    pub head: Option<HeadRows<B>>,
    /// Why the pass was given up.
    pub failed: Option<PassError>,
}

impl<'a, B: Backend, C: FactorConsumer<B>> ModuleSink<'a, B, C> {
    /// `wanted`: for each module.
    pub fn new(modules: &'a LinearModules, wanted: &'a [bool], consumer: C) -> Self {
        Self { modules, wanted, consumer, head: None, failed: None }
    }

    fn wants_module(&self, module: usize) -> bool {
        self.wanted.get(module).copied().unwrap_or(false)
    }

    fn hand_on(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), PassError> {
        let LinearFactors { x, grads, spans } = *maps;
        let mut parts: Vec<OutputGradients<B>> = Vec::new();
        for (id, grad) in grads {
            let Some(place) = self.modules.place(*id).filter(|place| self.wants_module(place.module)) else {
                continue;
            };
            let (module, widened) = (place.module, place.widened(backend, grad)?);
            let part = match parts.iter().position(|part| part.module == module) {
                Some(at) => {
                    let OutputGradients { pieces, grad, .. } = parts.swap_remove(at);
                    OutputGradients { module, pieces: pieces + 1, grad: backend.add(grad, &widened)? }
                }
                None => OutputGradients { module, pieces: 1, grad: widened },
            };
            parts.push(part);
        }
        let modules = self.modules;
        let (biased, plain): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| modules.list[part.module].bias);
        for parts in [plain, biased].iter().filter(|parts| !parts.is_empty()) {
            self.consumer.take(&ModuleFactorRows { backend, modules, x, parts, spans })?;
        }
        Ok(())
    }

    /// Keeps an error, and gives the one that ends the pass.
    fn fail(&mut self, error: PassError) -> BackendError {
        let ends = BackendError::new(error.to_string());
        self.failed = Some(error);
        ends
    }
}

impl<B: Backend, C: FactorConsumer<B>> Sink<B> for ModuleSink<'_, B, C> {
    fn wants(&self, slot: Slot) -> bool {
        let Slot::Linear(id) = slot else { return false };
        self.modules.place(id).is_some_and(|place| self.wants_module(place.module))
    }

    fn every_row(&self) -> bool {
        self.consumer.every_row()
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        if let ([(LinearId::Head, grad)], Some(head)) = (maps.grads, &mut self.head) {
            return head.add(backend, grad);
        }
        self.hand_on(backend, maps).map_err(|error| self.fail(error))
    }

    fn finished(&mut self, backend: &B, layer: Option<usize>) -> Result<(), BackendError> {
        match self.head.take_if(|_| layer.is_none()).and_then(HeadRows::finish) {
            Some((x, grad, spans)) => {
                let grads = &[(LinearId::Head, &grad)];
                let maps = LinearFactors { x: &x, grads, spans: &spans };
                self.hand_on(backend, &maps).map_err(|error| self.fail(error))
            }
            None => Ok(()),
        }
    }
}
