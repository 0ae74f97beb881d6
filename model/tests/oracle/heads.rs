//! The head: softcap, smoothing, divergence from another model, and what its tap is given.

use std::ops::Range;

use super::*;
use gstore_model::{Backend, BackendError, HeadTask, LinearWeights, Objective};

// More rows than one chunk.
const ROWS: usize = 150;
const HIDDEN: usize = 9;
const VOCAB: usize = 37;

struct Head {
    weight: Vec<f32>,
    bias: Vec<f32>,
    softcap: Option<f32>,
}

impl Head {
    fn log_probabilities(&self, x: &[f64]) -> Vec<f64> {
        self.of_logits(&self.logits(x))
    }

    fn logits(&self, x: &[f64]) -> Vec<f64> {
        let rows = self.weight.chunks(HIDDEN).zip(&self.bias);
        rows.map(|(w, b)| dot(x, &wide(w)) + f64::from(*b)).collect()
    }

    fn of_logits(&self, logits: &[f64]) -> Vec<f64> {
        let cap = |z: &f64| self.softcap.map_or(*z, |cap| f64::from(cap) * (z / f64::from(cap)).tanh());
        let capped: Vec<f64> = logits.iter().map(cap).collect();
        let total = capped.iter().map(|z| z.exp()).sum::<f64>().ln();
        capped.iter().map(|z| z - total).collect()
    }
}

enum Goal {
    Smoothed(f32),
    Margin,
    Kl(Vec<f32>),
    /// Logits of the starting point, and factors of each row.
    Perturbed(Vec<f32>, Vec<[f32; 2]>),
}

impl Goal {
    fn loss(&self, head: &Head, row: usize, log_q: &[f64], target: usize) -> f64 {
        match self {
            Goal::Smoothed(smoothing) => {
                let smoothing = f64::from(*smoothing);
                let uniform = log_q.iter().sum::<f64>() / VOCAB as f64;
                -(1.0 - smoothing) * log_q[target] - smoothing * uniform
            }
            Goal::Margin => {
                let others = log_q.iter().enumerate().filter(|(i, _)| *i != target);
                others.map(|(_, z)| z.exp()).sum::<f64>().ln() - log_q[target]
            }
            Goal::Kl(reference) => {
                let other = head.log_probabilities(&wide(&reference[row * HIDDEN..][..HIDDEN]));
                log_q.iter().zip(other).map(|(p, q)| p.exp() * (p - q)).sum()
            }
            // The logits' own level cancels in the linear term, whose slopes sum to zero.
            Goal::Perturbed(start, factors) => {
                let start = wide(&start[row * VOCAB..][..VOCAB]);
                let total = start.iter().map(|z| z.exp()).sum::<f64>().ln();
                let log_p: Vec<f64> = start.iter().map(|z| z - total).collect();
                let slope = |i: usize| log_p[i].exp() - if i == target { 1.0 } else { 0.0 };
                let moved: f64 = (0..VOCAB).map(|i| (log_q[i] - log_p[i]) * slope(i)).sum();
                let [change, linear] = factors[row].map(f64::from);
                change * (log_p[target] - log_q[target]) - linear * moved
            }
        }
    }
}

pub fn losses_and_gradients_agree<B: Backend>(on: &B) {
    let factors = || noise(11, 2 * ROWS).chunks(2).map(|both| [both[0], both[1]]).collect();
    let goals = || {
        [
            Goal::Smoothed(0.0),
            Goal::Smoothed(0.15),
            Goal::Margin,
            Goal::Kl(noise(9, ROWS * HIDDEN)),
            Goal::Perturbed(noise(10, ROWS * VOCAB), factors()),
        ]
    };
    for softcap in [None, Some(2.0)] {
        for goal in goals() {
            check_goal(on, softcap, &goal);
        }
    }
}

fn check_goal<B: Backend>(on: &B, softcap: Option<f32>, goal: &Goal) {
    let weight: Vec<f32> = noise(1, VOCAB * HIDDEN).iter().map(|v| v * 3.0).collect();
    let head = Head { weight, bias: noise(2, VOCAB), softcap };
    let layer = on
        .pack(LinearWeights {
            weight: head.weight.clone(),
            out: VOCAB,
            input: HIDDEN,
            bias: Some(head.bias.clone()),
        })
        .unwrap();
    let (x, weights) = (noise(3, ROWS * HIDDEN), noise(4, ROWS));
    let targets: Vec<u32> = (0..ROWS as u32).map(|i| i * 7 % VOCAB as u32).collect();
    let reference = match goal {
        Goal::Smoothed(_) | Goal::Margin => None,
        Goal::Kl(reference) => Some(matrix(on, reference, ROWS, HIDDEN)),
        Goal::Perturbed(start, _) => Some(matrix(on, start, ROWS, VOCAB)),
    };
    let objective = match (goal, &reference) {
        (Goal::Kl(_), Some(reference)) => Objective::Kl { reference },
        (Goal::Perturbed(_, factors), Some(start)) => Objective::Perturbed { start, factors },
        (Goal::Margin, _) => Objective::Margin,
        (Goal::Smoothed(smoothing), _) => Objective::CrossEntropy { smoothing: *smoothing },
        _ => unreachable!(),
    };
    let mut task =
        HeadTask { targets: &targets, weights: Some(&weights), softcap, objective, entropies: true };
    let tx = matrix(on, &x, ROWS, HIDDEN);
    let mut tapped = Vec::new();
    let mut tap = |rows: Range<usize>, inputs: &B::Tensor, grad: &B::Tensor| -> Result<(), BackendError> {
        assert_eq!(host(on, inputs), &x[rows.start * HIDDEN..rows.end * HIDDEN]);
        tapped.extend(host(on, grad));
        Ok(())
    };
    let output = on.head(&layer, &tx, &task, Some(&mut tap)).unwrap();
    let (mut losses, mut entropies, mut dx, mut dlogits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (row, x) in x.chunks(HIDDEN).enumerate() {
        let loss = |log_q: &[f64]| goal.loss(&head, row, log_q, targets[row] as usize);
        let log_q = head.log_probabilities(&wide(x));
        losses.push(loss(&log_q));
        entropies.push(-log_q.iter().map(|z| z.exp() * z).sum::<f64>());
        let weight = f64::from(weights[row]);
        dx.extend(all_slopes(x, |x| weight * loss(&head.log_probabilities(x))));
        let logits = head.logits(&wide(x));
        for i in 0..VOCAB {
            let at = |step: f64| {
                let mut logits = logits.clone();
                logits[i] += step;
                weight * loss(&head.of_logits(&logits))
            };
            dlogits.push((at(1e-5) - at(-1e-5)) / 2e-5);
        }
    }
    assert_close(&output.losses, &losses, 2e-6);
    assert_close(&output.entropies, &entropies, 2e-6);
    assert_close(&host(on, &output.grad.unwrap()), &dx, 5e-6);
    assert_close(&tapped, &dlogits, 2e-6);

    task.weights = None;
    let output = on.head(&layer, &tx, &task, None).unwrap();
    assert_close(&output.losses, &losses, 2e-6);
    assert!(output.grad.is_none());
    task.entropies = false;
    let alone = on.head(&layer, &tx, &task, None).unwrap();
    assert_eq!(alone.losses, output.losses, "entropies change no loss");
    assert!(alone.entropies.is_empty());
}

pub fn a_model_does_not_diverge_from_itself<B: Backend>(on: &B) {
    let weight = noise(1, VOCAB * HIDDEN);
    let layer = on.pack(LinearWeights { weight, out: VOCAB, input: HIDDEN, bias: None }).unwrap();
    let x = matrix(on, &noise(2, ROWS * HIDDEN), ROWS, HIDDEN);
    let weights = vec![1.0; ROWS];
    let objective = Objective::Kl { reference: &x };
    let task = HeadTask { targets: &[], weights: Some(&weights), softcap: None, objective, entropies: false };
    let output = on.head(&layer, &x, &task, None).unwrap();
    assert!(output.losses.iter().chain(&host(on, &output.grad.unwrap())).all(|v| v.abs() < 1e-7));
}

/// Where nothing has moved, value and gradient are zero.
pub fn a_perturbed_loss_begins_at_zero<B: Backend>(on: &B) {
    let weight = noise(1, VOCAB * HIDDEN);
    let layer = on.pack(LinearWeights { weight, out: VOCAB, input: HIDDEN, bias: None }).unwrap();
    let x = matrix(on, &noise(2, ROWS * HIDDEN), ROWS, HIDDEN);
    let start = on.linear(&layer, &x, None).unwrap();
    let (weights, factors) = (vec![1.0; ROWS], vec![[1.0, 1.0]; ROWS]);
    let targets: Vec<u32> = (0..ROWS as u32).map(|i| i * 7 % VOCAB as u32).collect();
    let objective = Objective::Perturbed { start: &start, factors: &factors };
    let task =
        HeadTask { targets: &targets, weights: Some(&weights), softcap: None, objective, entropies: false };
    let output = on.head(&layer, &x, &task, None).unwrap();
    let largest = |values: &[f32]| values.iter().fold(0f32, |most, v| most.max(v.abs()));
    assert!(largest(&output.losses) < 1e-6, "{}", largest(&output.losses));
    let grad = host(on, &output.grad.unwrap());
    assert!(largest(&grad) < 1e-6, "{}", largest(&grad));
}

pub fn curvature_along_a_tangent_agrees<B: Backend>(on: &B) {
    let weight: Vec<f32> = noise(1, VOCAB * HIDDEN).iter().map(|v| v * 3.0).collect();
    let (bias, x, weights) = (noise(2, VOCAB), noise(3, ROWS * HIDDEN), noise(4, ROWS));
    let packed =
        LinearWeights { weight: weight.clone(), out: VOCAB, input: HIDDEN, bias: Some(bias.clone()) };
    let layer = on.pack(packed).unwrap();
    let (tx, moved) = (matrix(on, &x, ROWS, HIDDEN), noise(5, ROWS * VOCAB));
    let tangent = matrix(on, &moved, ROWS, VOCAB);
    for softcap in [None, Some(2.0f32)] {
        let head = Head { weight: weight.clone(), bias: bias.clone(), softcap };
        let objective = Objective::GaussNewton { tangent: &tangent };
        let task = HeadTask { targets: &[], weights: Some(&weights), softcap, objective, entropies: false };
        let mut tapped = Vec::new();
        let mut tap = |_: Range<usize>, _: &B::Tensor, grad: &B::Tensor| -> Result<(), BackendError> {
            tapped.extend(host(on, grad));
            Ok(())
        };
        let output = on.head(&layer, &tx, &task, Some(&mut tap)).unwrap();
        let (mut values, mut products, mut dx) = (Vec::new(), Vec::new(), Vec::new());
        for (row, x) in x.chunks(HIDDEN).enumerate() {
            let logits = head.logits(&wide(x));
            let p: Vec<f64> = head.of_logits(&logits).iter().map(|z| z.exp()).collect();
            let slope = |z: &f64| softcap.map_or(1.0, |cap| 1.0 - (z / f64::from(cap)).tanh().powi(2));
            let slopes: Vec<f64> = logits.iter().map(slope).collect();
            let moved = wide(&moved[row * VOCAB..][..VOCAB]);
            let t: Vec<f64> = moved.iter().zip(&slopes).map(|(t, slope)| t * slope).collect();
            let mean = dot(&p, &t);
            let product: Vec<f64> = (0..VOCAB).map(|i| p[i] * (t[i] - mean)).collect();
            values.push(0.5 * dot(&t, &product));
            let weight = f64::from(weights[row]);
            let of_logits: Vec<f64> = (0..VOCAB).map(|i| weight * product[i] * slopes[i]).collect();
            let w = wide(&head.weight);
            dx.extend((0..HIDDEN).map(|j| (0..VOCAB).map(|i| of_logits[i] * w[i * HIDDEN + j]).sum::<f64>()));
            products.extend(of_logits);
        }
        assert_close(&output.losses, &values, 2e-6);
        assert_close(&tapped, &products, 2e-6);
        assert_close(&host(on, &output.grad.unwrap()), &dx, 5e-6);
        let few = Objective::GaussNewton { tangent: &tx };
        let task = HeadTask { targets: &[], weights: None, softcap, objective: few, entropies: false };
        assert!(on.head(&layer, &tx, &task, None).is_err());
    }

    // The tangent of a linear layer has no bias.
    let expected: Vec<f64> = x
        .chunks(HIDDEN)
        .flat_map(|x| weight.chunks(HIDDEN).map(|w| dot(&wide(x), &wide(w))).collect::<Vec<_>>())
        .collect();
    let found = on.linear_tangent(&layer, &tx, None).unwrap();
    assert_close(&host(on, &found), &expected, 2e-6);
    let sum: Vec<f64> = expected.iter().zip(&moved).map(|(x, y)| x + f64::from(*y)).collect();
    let found = on.linear_tangent(&layer, &tx, Some(tangent.clone())).unwrap();
    assert_close(&host(on, &found), &sum, 2e-6);
    assert!(on.linear_tangent(&layer, &tangent, None).is_err());
}
