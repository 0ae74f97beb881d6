//! Elementwise functions of MLPs, alone and gated.
//!
//! Values have a relative error below 1e-6 where they are normal numbers; slopes an absolute one below 1e-6.

use super::Cpu;
use super::math::{exp, normal_cdf, sigmoid};
use super::tensor::CpuTensor;
use crate::backend::{Activation, BackendError};

trait ActivationFunction: Copy {
    fn value(self, x: f32) -> f32;
    /// Value and slope.
    fn both(self, x: f32) -> (f32, f32);
}

#[derive(Clone, Copy)]
struct Silu;
#[derive(Clone, Copy)]
struct Gelu;
#[derive(Clone, Copy)]
struct GeluTanh;
#[derive(Clone, Copy)]
struct Relu;

impl ActivationFunction for Silu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * sigmoid(x)
    }

    #[inline(always)]
    fn both(self, x: f32) -> (f32, f32) {
        let s = sigmoid(x);
        (x * s, s + x * s * (1.0 - s))
    }
}

impl ActivationFunction for Gelu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * normal_cdf(x)
    }

    #[inline(always)]
    fn both(self, x: f32) -> (f32, f32) {
        const DENSITY: f32 = 0.398_942_3; // 1 / sqrt(2 pi)
        let p = normal_cdf(x);
        (x * p, p + x * DENSITY * exp(-0.5 * x * x))
    }
}

/// `1 + tanh(u) = 2 sigmoid(2 u)`, which keeps its digits where the tanh nears -1.
impl GeluTanh {
    const LINEAR: f32 = 1.595_769_1; // 2 sqrt(2 / pi)
    const CUBIC: f32 = 0.044_715;

    #[inline(always)]
    fn share(x: f32) -> f32 {
        sigmoid(Self::LINEAR * (x + Self::CUBIC * x * x * x))
    }
}

impl ActivationFunction for GeluTanh {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        x * Self::share(x)
    }

    #[inline(always)]
    fn both(self, x: f32) -> (f32, f32) {
        let s = Self::share(x);
        let inner = Self::LINEAR * (1.0 + 3.0 * Self::CUBIC * x * x);
        // At |x| so large that the cube overflows, s (1 - s) is zero and the product must be too.
        let bend = if x.abs() < 16.0 { x * s * (1.0 - s) * inner } else { 0.0 };
        (x * s, s + bend)
    }
}

impl ActivationFunction for Relu {
    #[inline(always)]
    fn value(self, x: f32) -> f32 {
        if x < 0.0 { 0.0 } else { x }
    }

    #[inline(always)]
    fn both(self, x: f32) -> (f32, f32) {
        (self.value(x), if x > 0.0 { 1.0 } else { 0.0 })
    }
}

/// Runs a block with the function that an [`Activation`] names, by the CPU's vector instructions.
macro_rules! with {
    ($cpu:expr, $act:expr, $f:ident => $body:block) => {
        with!($cpu, $act, $f => $body; Silu Gelu GeluTanh Relu)
    };
    ($cpu:expr, $act:expr, $f:ident => $body:block; $($name:ident)*) => {
        match $act {
            $(Activation::$name => {
                let $f = $name;
                vectorised!($cpu.kernels.simd, $body)
            })*
        }
    };
}

impl Cpu {
    pub(super) fn gated_forward(
        &self,
        act: Activation,
        gate: &CpuTensor,
        up: &CpuTensor,
    ) -> Result<CpuTensor, BackendError> {
        let (rows, width) = gate.size();
        up.expect(rows, width, "second half of a gate")?;
        let mut out = CpuTensor::unspecified(rows, width);
        let to = out.values_mut();
        with!(self, act, f => {
            for ((to, g), u) in to.iter_mut().zip(gate.values()).zip(up.values()) {
                *to = f.value(*g) * u;
            }
        });
        Ok(out)
    }

    pub(super) fn gated_gradient(
        &self,
        act: Activation,
        grad: &CpuTensor,
        gate: &CpuTensor,
        up: &CpuTensor,
    ) -> Result<[CpuTensor; 2], BackendError> {
        let (rows, width) = gate.size();
        up.expect(rows, width, "second half of a gate")?;
        grad.expect(rows, width, "gradient of a gate")?;
        let mut out = [CpuTensor::unspecified(rows, width), CpuTensor::unspecified(rows, width)];
        let [dgate, dup] = &mut out;
        let (dgate, dup) = (dgate.values_mut(), dup.values_mut());
        with!(self, act, f => {
            let inputs = grad.values().iter().zip(gate.values()).zip(up.values());
            for (((d, g), u), (dgate, dup)) in inputs.zip(dgate.iter_mut().zip(dup)) {
                let (value, slope) = f.both(*g);
                *dgate = d * u * slope;
                *dup = d * value;
            }
        });
        Ok(out)
    }

    pub(super) fn activate_forward(&self, act: Activation, x: &CpuTensor) -> CpuTensor {
        let mut out = CpuTensor::unspecified(x.rows(), x.cols());
        let to = out.values_mut();
        with!(self, act, f => {
            for (to, x) in to.iter_mut().zip(x.values()) {
                *to = f.value(*x);
            }
        });
        out
    }

    pub(super) fn activate_gradient(
        &self,
        act: Activation,
        mut grad: CpuTensor,
        x: &CpuTensor,
    ) -> Result<CpuTensor, BackendError> {
        grad.expect(x.rows(), x.cols(), "gradient of an activation")?;
        let to = grad.values_mut();
        with!(self, act, f => {
            for (to, x) in to.iter_mut().zip(x.values()) {
                *to *= f.both(*x).1;
            }
        });
        Ok(grad)
    }
}
