//! Activations, gated and plain.

use std::any::TypeId;

use super::*;
use gstore_model::{Activation, Backend};

const ALL: [Activation; 4] = [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::Relu];

/// `1 - Phi(a)` for `a >= 0`: the series of the integral near zero, else Laplace's continued fraction.
fn tail(a: f64) -> f64 {
    let density = (-a * a / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if a > 3.0 {
        return density / (1..200).rev().fold(a, |f, k| a + f64::from(k) / f);
    }
    let (mut term, mut sum) = (a, 0.0);
    for k in 1..200 {
        sum += term;
        term *= a * a / f64::from(2 * k + 1);
    }
    0.5 - density * sum
}

fn distribution(x: f64) -> f64 {
    if x < 0.0 { tail(-x) } else { 1.0 - tail(x) }
}

fn reference(act: Activation, x: f64) -> f64 {
    match act {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Gelu => x * distribution(x),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            x / 2.0 * (1.0 + inner.tanh())
        }
        Activation::Relu => x.max(0.0),
    }
}

pub fn values_agree<B: Backend>(on: &B) {
    let x: Vec<f32> = (-800..=800).map(|i| i as f32 * 0.01).collect();
    for act in ALL {
        let found = host(on, &on.activate(act, &matrix(on, &x, 1, x.len())).unwrap());
        for (x, found) in x.iter().zip(found) {
            let expected = reference(act, f64::from(*x));
            let error = (f64::from(found) - expected).abs();
            let slack = match act {
                // The tail of the tanh form is an exponential of a rounded cubic: a rounding of its argument,
                // which is up to 12 where the value is not yet below the absolute part, is a relative error.
                Activation::GeluTanh => 4e-6 * expected.abs() + 1e-10,
                // Candle has no complementary error function: where the distribution nears 0 its error is
                // that of 1.
                Activation::Gelu if TypeId::of::<B>() == TypeId::of::<Candle>() => 1e-6,
                // The far tail is an exponential of a rounded square.
                Activation::Gelu => 1e-10,
                _ => 0.0,
            };
            assert!(error <= 1e-6 * expected.abs() + slack, "{act:?}({x}) = {found}, expected {expected}");
        }
    }
}

pub fn gradients_agree<B: Backend>(on: &B) {
    let (rows, cols) = (7, 19);
    let scaled = |seed: u64| -> Vec<f32> { noise(seed, rows * cols).iter().map(|v| v * 5.0).collect() };
    let (gate, up, grad) = (scaled(1), scaled(2), noise(3, rows * cols));
    let [tgate, tup, tgrad] = [&gate, &up, &grad].map(|x| matrix(on, x, rows, cols));
    for act in ALL {
        let loss = |gate: &[f64], up: &[f64]| -> f64 {
            gate.iter().zip(up).zip(&grad).map(|((g, u), d)| reference(act, *g) * u * f64::from(*d)).sum()
        };
        let expected: Vec<f64> =
            gate.iter().zip(&up).map(|(g, u)| reference(act, f64::from(*g)) * f64::from(*u)).collect();
        assert_close(&host(on, &on.gated(act, &tgate, &tup).unwrap()), &expected, 1e-6);
        let [dgate, dup] = on.gated_backward(act, &tgrad, &tgate, &tup).unwrap();
        assert_close(&host(on, &dgate), &all_slopes(&gate, |gate| loss(gate, &wide(&up))), 2e-6);
        assert_close(&host(on, &dup), &all_slopes(&up, |up| loss(&wide(&gate), up)), 2e-6);

        let ones = vec![1.0; gate.len()];
        let found = on.activate_backward(act, matrix(on, &grad, rows, cols), &tgate).unwrap();
        assert_close(&host(on, &found), &all_slopes(&gate, |gate| loss(gate, &ones)), 2e-6);
    }
}
