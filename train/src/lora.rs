//! The choice of modules that get LoRA factors.

use gstore_core::{Remedy, written_number};
use gstore_model::architectures::{Decoder, LinearId, LinearKind, Param, TensorRole};

use crate::error::TrainError;

/// Which LoRA factors are made.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraChoice {
    /// Rows of A, columns of B.
    pub rank: usize,
    /// The update is `alpha / rank * B A`.
    pub alpha: f64,
    /// Ends of module names, or `all-linear`; empty: the maps of attention.
    pub targets: Vec<String>,
}

impl LoraChoice {
    /// The adapted weights of a decoder.
    pub(crate) fn resolve<'d>(&self, decoder: &'d Decoder) -> Result<Vec<&'d Param>, TrainError> {
        self.check()?;
        let maps = || decoder.params.iter().filter(|param| param.is_map_of_layer());
        let matches = |param: &Param, target: &str| {
            target == "all-linear"
                || param.module() == target
                || param.module().strip_suffix(target).is_some_and(|stem| stem.ends_with('.'))
        };
        for target in &self.targets {
            if !maps().any(|param| matches(param, target)) {
                let mut known: Vec<&str> =
                    maps().map(|p| p.module().rsplit('.').next().unwrap_or_default()).collect();
                known.sort_unstable();
                known.dedup();
                return Err(TrainError::Option(format!(
                    "no linear map of a layer of {} ends in {target}; there are {}, and all-linear means all of them",
                    decoder.architecture,
                    known.join(", ")
                )));
            }
        }
        let of_attention = |param: &Param| match &param.role {
            TensorRole::Weight(pieces) => pieces.iter().all(|piece| match piece.linear {
                LinearId::Layer { kind, .. } => {
                    matches!(kind, LinearKind::Q | LinearKind::K | LinearKind::V | LinearKind::O)
                }
                LinearId::Head => false,
            }),
            _ => false,
        };
        let chosen = |param: &&Param| match self.targets.as_slice() {
            [] => of_attention(param),
            targets => targets.iter().any(|target| matches(param, target)),
        };
        let chosen: Vec<&Param> = maps().filter(chosen).collect();
        let most = chosen.iter().filter_map(|param| param.shape.iter().min().copied()).max();
        if let Some(most) = most.filter(|most| self.rank > *most) {
            return Err(TrainError::Option(format!(
                "a LoRA rank of {} is too high: no adapted weight of this model has a rank above {most}; use at most {}",
                self.rank,
                Remedy::Option("lora_rank", &most.to_string())
            )));
        }
        Ok(chosen)
    }

    /// An error unless factors of this rank and alpha can change the model.
    fn check(&self) -> Result<(), TrainError> {
        if self.rank == 0 {
            return Err(TrainError::Option("a LoRA adapter needs a rank of at least 1".into()));
        }
        let scaling = (self.alpha / self.rank as f64) as f32;
        if scaling > 0.0 && scaling.is_finite() {
            return Ok(());
        }
        Err(TrainError::Option(format!(
            "a LoRA alpha of {} cannot be used, as the adapter's update is alpha / rank times its factors: give a finite \
             number above 0, such as {}",
            written_number(self.alpha),
            Remedy::Option("lora_alpha", &(2 * self.rank).to_string())
        )))
    }
}
