//! Activations, gated and plain, forward and backward, as fused loops.

use candle_core::Tensor;

use super::super::backend::{Activation, BackendError};
use super::simd::{exp, normal, vectorized};
use super::sizes::{check, size};
use super::slices::{tensor, update, view};

/// An elementwise function.
trait Curve {
    /// Its value.
    fn value(x: f32) -> f32 {
        Self::with_slope(x).0
    }
    /// Its value and its derivative.
    fn with_slope(x: f32) -> (f32, f32);
}

struct Silu;
struct Gelu;
struct GeluTanh;
struct Relu;

impl Curve for Silu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x / (1.0 + exp(-x))
    }

    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        let s = 1.0 / (1.0 + exp(-x));
        (x * s, s + x * s * (1.0 - s))
    }
}

impl Curve for Gelu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * normal(x).1
    }

    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        let (density, below) = normal(x);
        (x * below, below + x * density)
    }
}

/// `(1 + tanh(u)) / 2 = sigmoid(2 u)`, which keeps its relative accuracy where the tanh nears -1.
impl Curve for GeluTanh {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x / (1.0 + exp(-(TWICE * x + TWICE_CUBIC * x * x * x)))
    }

    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        let s = 1.0 / (1.0 + exp(-(TWICE * x + TWICE_CUBIC * x * x * x)));
        (x * s, s + x * s * (1.0 - s) * (TWICE + 3.0 * TWICE_CUBIC * x * x))
    }
}

/// `2 sqrt(2 / pi)`
const TWICE: f32 = 1.595_769_1;
/// `0.044715 * 2 sqrt(2 / pi)`
const TWICE_CUBIC: f32 = 0.071_354_816;

impl Curve for Relu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x.max(0.0)
    }

    #[inline(always)]
    fn with_slope(x: f32) -> (f32, f32) {
        (x.max(0.0), if x > 0.0 { 1.0 } else { 0.0 })
    }
}

/// Runs `$body`, vectorised, with `$curve` naming the type of an activation.
macro_rules! with_curve {
    ($act:expr, $curve:ident => $body:expr) => {
        match $act {
            Activation::Silu => with_curve!(@run Silu, $curve => $body),
            Activation::Gelu => with_curve!(@run Gelu, $curve => $body),
            Activation::GeluTanh => with_curve!(@run GeluTanh, $curve => $body),
            Activation::Relu => with_curve!(@run Relu, $curve => $body),
        }
    };
    (@run $type:ident, $curve:ident => $body:expr) => {{
        type $curve = $type;
        vectorized(
            #[inline(always)]
            || $body,
        )
    }};
}

pub(super) fn gated(act: Activation, gate: &Tensor, up: &Tensor) -> Result<Tensor, BackendError> {
    let (rows, width) = size(gate)?;
    check(size(up)? == (rows, width), "gate and up")?;
    let (gate, up) = (view(gate)?, view(up)?);
    let mut out = vec![0.0; rows * width];
    with_curve!(act, C => for ((out, g), u) in out.iter_mut().zip(&*gate).zip(&*up) {
        *out = C::value(*g) * u;
    });
    tensor(out, rows, width)
}

pub(super) fn gated_backward(
    act: Activation,
    grad: &Tensor,
    gate: &Tensor,
    up: &Tensor,
) -> Result<[Tensor; 2], BackendError> {
    let (rows, width) = size(gate)?;
    check(size(up)? == (rows, width) && size(grad)? == (rows, width), "gate and up")?;
    let (grad, gate, up) = (view(grad)?, view(gate)?, view(up)?);
    let (mut dgate, mut dup) = (vec![0.0; rows * width], vec![0.0; rows * width]);
    with_curve!(act, C => {
        let values = grad.iter().zip(&*gate).zip(&*up).zip(&mut dgate).zip(&mut dup);
        for ((((d, g), u), dgate), dup) in values {
            let (value, slope) = C::with_slope(*g);
            *dgate = d * u * slope;
            *dup = d * value;
        }
    });
    Ok([tensor(dgate, rows, width)?, tensor(dup, rows, width)?])
}

pub(super) fn activate(act: Activation, x: &Tensor) -> Result<Tensor, BackendError> {
    let (rows, width) = size(x)?;
    let x = view(x)?;
    let mut out = vec![0.0; rows * width];
    with_curve!(act, C => for (out, x) in out.iter_mut().zip(&*x) {
        *out = C::value(*x);
    });
    tensor(out, rows, width)
}

pub(super) fn activate_backward(act: Activation, grad: Tensor, x: &Tensor) -> Result<Tensor, BackendError> {
    check(size(&grad)? == size(x)?, "an activation's gradient")?;
    let x = view(x)?;
    update(&grad, |grad| {
        with_curve!(act, C => for (grad, x) in grad.iter_mut().zip(&*x) {
            *grad *= C::with_slope(*x).1;
        });
    })?;
    Ok(grad)
}
