//! Activation functions and their derivatives.

use std::f64::consts::{FRAC_1_SQRT_2, PI};

use candle_core::{DType, Tensor};

use super::Result;
use crate::backend::Activation;

/// The factor of the cubic term in the tanh form of GELU.
const CUBIC: f64 = 0.044715;

pub(super) fn value(act: Activation, x: &Tensor) -> Result<Tensor> {
    Ok(match act {
        Activation::Relu => x.relu()?,
        act => (x * gate_and_slope(act, x)?.0)?,
    })
}

pub(super) fn slope(act: Activation, x: &Tensor) -> Result<Tensor> {
    Ok(match act {
        Activation::Relu => x.gt(&x.zeros_like()?)?.to_dtype(DType::F32)?,
        act => {
            let (share, slope) = gate_and_slope(act, x)?;
            (share + (x * slope)?)?
        }
    })
}

/// The share of x that a smooth activation lets through, and its derivative.
fn gate_and_slope(act: Activation, x: &Tensor) -> Result<(Tensor, Tensor)> {
    if act == Activation::Gelu {
        let below = x.affine(FRAC_1_SQRT_2, 0.0)?.erf()?.affine(0.5, 0.5)?;
        let density = x.sqr()?.affine(-0.5, 0.0)?.exp()?.affine((2.0 * PI).sqrt().recip(), 0.0)?;
        return Ok((below, density));
    }
    // (1 + tanh(u)) / 2 = sigmoid(2 u), which keeps its relative accuracy where the tanh nears -1.
    let cubic = if act == Activation::GeluTanh { CUBIC } else { 0.0 };
    let twice = if act == Activation::GeluTanh { (8.0 / PI).sqrt() } else { 1.0 };
    let inner = (x * x.sqr()?.affine(twice * cubic, twice)?)?;
    let sigmoid = inner.neg()?.exp()?.affine(1.0, 1.0)?.recip()?;
    let within = x.sqr()?.affine(3.0 * twice * cubic, twice)?;
    let slope = ((&sigmoid * sigmoid.affine(-1.0, 1.0)?)? * within)?;
    Ok((sigmoid, slope))
}
