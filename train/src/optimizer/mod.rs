//! Optimizers: AdamW and SGD with momentum, in the arithmetic of torch.
//!
//! Invariant: a step is elementwise, so neither threads nor the cut of the work change a bit.

mod adamw;
mod sgd;

use std::iter::repeat_with;
use std::str::FromStr;
use std::sync::Mutex;

use gstore_core::{Cancel, Cancelled, parallel::unordered};

pub use adamw::AdamW;
pub use sgd::Sgd;

use crate::error::TrainError;

/// Which optimizer, with its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum OptimizerKind {
    /// Adam with decoupled weight decay.
    AdamW(AdamW),
    /// Stochastic gradient descent.
    Sgd(Sgd),
}

impl OptimizerKind {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            OptimizerKind::AdamW(_) => "adamw",
            OptimizerKind::Sgd(_) => "sgd",
        }
    }

    /// Bytes that it keeps of a trained value.
    pub(crate) fn bytes_of_value(&self) -> u64 {
        4 * self.keeps().into_iter().filter(|keeps| *keeps).count() as u64
    }

    /// Whether it keeps each of the vectors of a [`TensorState`].
    fn keeps(&self) -> [bool; 2] {
        match self {
            OptimizerKind::AdamW(_) => [true, true],
            OptimizerKind::Sgd(sgd) => [sgd.momentum != 0.0, false],
        }
    }
}

impl FromStr for OptimizerKind {
    type Err = TrainError;

    fn from_str(name: &str) -> Result<Self, TrainError> {
        match name {
            "adamw" | "adamw_torch" | "adamw_torch_fused" => Ok(OptimizerKind::AdamW(AdamW::default())),
            "sgd" => Ok(OptimizerKind::Sgd(Sgd::default())),
            _ => Err(TrainError::Option(format!("there is no optimizer {name:?}; there are adamw and sgd"))),
        }
    }
}

/// Values that a thread takes at a time.
pub(crate) const CHUNK: usize = 1 << 16;

/// Chunks of what is kept of each value, which may be nothing.
fn chunks(kept: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
    kept.chunks_mut(CHUNK).chain(repeat_with(Default::default))
}

/// One tensor's part of a step, or a chunk of it.
pub(crate) struct TensorUpdate<'a> {
    /// Its values.
    pub values: &'a mut [f32],
    /// Its gradient.
    pub grad: &'a [f32],
    /// Factor of the gradient.
    pub scale: f32,
    /// Whether it decays.
    pub decays: bool,
}

/// What the optimizer keeps of one tensor.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TensorState {
    /// AdamW: first moment. SGD: momentum. Empty before the first step, and where there is none.
    pub first: Vec<f32>,
    /// AdamW: second moment.
    pub second: Vec<f32>,
}

/// An optimizer with its state.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimizer {
    kind: OptimizerKind,
    /// Steps taken.
    step: u64,
    state: Vec<TensorState>,
}

impl Optimizer {
    /// An optimizer of `tensors` tensors that has taken no step.
    pub fn new(kind: OptimizerKind, tensors: usize) -> Optimizer {
        Optimizer { kind, step: 0, state: vec![TensorState::default(); tensors] }
    }

    pub(crate) fn resumed(kind: OptimizerKind, step: u64, state: Vec<TensorState>) -> Optimizer {
        Optimizer { kind, step, state }
    }

    /// Which one it is.
    pub fn kind(&self) -> &OptimizerKind {
        &self.kind
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// What it keeps of each tensor.
    pub fn state(&self) -> &[TensorState] {
        &self.state
    }

    /// Changes the tensors at rate `rate`.
    pub(crate) fn step(&mut self, rate: f64, parts: Vec<TensorUpdate<'_>>, threads: usize) {
        self.step += 1;
        let (kind, step) = (self.kind, self.step);
        let mut work = Vec::new();
        for (state, TensorUpdate { values, grad, scale, decays }) in self.state.iter_mut().zip(parts) {
            let [first, second] = kind.keeps().map(|keeps| if keeps { values.len() } else { 0 });
            state.first.resize(first, 0.0);
            state.second.resize(second, 0.0);
            let kept = chunks(&mut state.first).zip(chunks(&mut state.second));
            for ((values, grad), kept) in values.chunks_mut(CHUNK).zip(grad.chunks(CHUNK)).zip(kept) {
                work.push(Mutex::new(Some((TensorUpdate { values, grad, scale, decays }, kept))));
            }
        }
        // Nothing cancels it.
        let _: Result<Vec<()>, Cancelled> = unordered(
            work.len(),
            threads,
            &Cancel::new(),
            || (),
            |(), unit| {
                let taken = work[unit].lock().ok().and_then(|mut slot| slot.take());
                if let Some((part, (first, second))) = taken {
                    match &kind {
                        OptimizerKind::AdamW(adamw) => adamw.apply((rate, step), part, first, second),
                        OptimizerKind::Sgd(sgd) => sgd.apply(rate, part, first),
                    }
                }
                Ok(())
            },
        );
    }
}
