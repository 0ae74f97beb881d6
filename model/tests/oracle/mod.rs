//! Promise: every operation of every backend agrees with plain loops in f64, and every backward with
//! finite differences of them.

pub mod activations;
pub mod attend;
pub mod gradients;
pub mod heads;
pub mod norms;
pub mod refusals;

use gstore_model::Backend;
use gstore_model::candle::Candle;

/// Hands all functions of the modules here, each of which takes a backend, to a macro that makes tests of
/// them.
macro_rules! every_operation {
    ($tests:ident) => {
        $tests! {
                activations: values_agree, gradients_agree;
                attend: outputs_and_gradients_agree, scores_of_a_single_key_have_no_gradient, tangents_agree;
                gradients: weight_and_table_gradients_are_added, gradients_of_factors_are_added, rows_are_gathered_added_and_summed, columns_are_mapped_like_by_the_matrix, rows_begin_at_zero_in_any_memory;
                heads: losses_and_gradients_agree, a_model_does_not_diverge_from_itself, a_perturbed_loss_begins_at_zero, curvature_along_a_tangent_agrees;
                norms: norms_and_their_gradients_agree, a_partial_rotation_leaves_the_rest_of_a_head;
                refusals: sizes_that_disagree_are_errors, forms_that_make_no_sense_are_errors, no_rows_give_no_rows;
        }
    };
}
pub(crate) use every_operation;

/// Values between -1 and 1 that depend on the seed only.
fn noise(seed: u64, n: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

fn matrix<B: Backend>(on: &B, values: &[f32], rows: usize, cols: usize) -> B::Tensor {
    on.tensor(values.to_vec(), rows, cols).unwrap()
}

fn host<B: Backend>(on: &B, x: &B::Tensor) -> Vec<f32> {
    on.to_host(x).unwrap()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Central differences of `f` at `x` along the coordinates `at`.
fn slopes(x: &[f32], at: impl Iterator<Item = usize>, f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    const STEP: f64 = 1e-5;
    let mut x = wide(x);
    let mut slope = |i: usize| {
        let middle = x[i];
        x[i] = middle + STEP;
        let above = f(&x);
        x[i] = middle - STEP;
        let below = f(&x);
        x[i] = middle;
        (above - below) / (2.0 * STEP)
    };
    at.map(&mut slope).collect()
}

fn all_slopes(x: &[f32], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    slopes(x, 0..x.len(), f)
}

#[track_caller]
fn assert_close(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(*found) - expected).abs();
        assert!(error <= tolerance * (1.0 + expected.abs()), "{i}: {found}, expected {expected}");
    }
}
