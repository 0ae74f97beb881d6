//! Attention scores of a block of queries.

use std::ops::Range;

use super::super::gemm::{Addends, Destination, Kernel, Left, MatrixPanels, PANEL, Panel, cut};
use super::super::math::{dot, exp, exp_sum, max, tanh};
use super::super::pool::Buffer;
use super::QueryBlock;
use crate::backend::AttentionForm;

/// `to = left * right` for the keys of a block, skipping panels that none of a tile's rows sees.
///
/// `left` holds the block's rows of a head side by side; `right` is the transpose of the sequence's keys or
/// values. Elements of a row beyond its own position are unspecified.
pub(super) fn against_keys(
    kernel: &Kernel,
    to: &mut [f32],
    block: &QueryBlock,
    left: &[f32],
    right: MatrixPanels<'_>,
    positions: &[u32],
) {
    let (stride, dim) = (block.stride(), left.len() / block.rows.len());
    // A panel meets all tiles while it is in the first-level cache.
    for panel in block.panels() {
        for tile in cut(block.rows.len(), kernel.rows()) {
            if panel * PANEL >= block.end(&tile, positions) {
                continue;
            }
            let rows = Left::by_row(&left[tile.start * dim..], tile.len(), dim);
            let start = tile.start * stride + panel * PANEL - block.keys.start;
            let to = Destination { data: &mut to[start..], stride, cols: PANEL };
            kernel.panel(to, rows, Panel::packed(right.panel(panel)), Addends::default());
        }
    }
}

/// `to = weights * right` for a block's rows of weights of the keys; `right` is the
/// sequence's keys or values.
///
/// The rows of `to` start `width` values apart. Weights beyond a row's own position are zeros.
pub(super) fn multiply_over_keys(
    kernel: &Kernel,
    to: &mut [f32],
    width: usize,
    block: &QueryBlock,
    weights: &[f32],
    right: MatrixPanels<'_>,
    positions: &[u32],
) {
    let stride = block.stride();
    for tile in cut(block.rows.len(), kernel.rows()) {
        let end = block.end(&tile, positions);
        let left = Left::by_row(&weights[tile.start * stride..], tile.len(), stride);
        for (first, cols, panel) in right.panels() {
            let to = Destination { data: &mut to[tile.start * width + first..], stride: width, cols };
            let part = Panel::packed(&panel[block.keys.start * PANEL..end * PANEL]);
            kernel.panel(to, left, part, Addends::default());
        }
    }
}

/// One head of rows that start `width` values apart, side by side. Rows a power of two apart
/// would share cache sets.
pub(super) fn pack_head_rows(rows: &[f32], width: usize, count: usize, dim: usize) -> Buffer {
    let mut copy = Buffer::take(count * dim);
    for (i, to) in copy.chunks_exact_mut(dim).enumerate() {
        to.copy_from_slice(&rows[i * width..i * width + dim]);
    }
    copy
}

/// Values that a loop over scores takes at a time. Rows are a multiple of it, so none is left over.
const STEP: usize = 16;

/// The part of a row of scores that its query sees, and that part widened to whole steps.
#[inline(always)]
fn visible(block: &QueryBlock, position: u32, form: &AttentionForm) -> (Range<usize>, Range<usize>) {
    let keys = form.visible_keys(position);
    let visible = keys.start - block.keys.start..keys.end - block.keys.start;
    let whole = visible.start / STEP * STEP..visible.end.next_multiple_of(STEP);
    (visible, whole)
}

/// Sets what a query does not see to zero.
#[inline(always)]
fn zero_hidden(row: &mut [f32], visible: &Range<usize>) {
    row[..visible.start].fill(0.0);
    row[visible.end..].fill(0.0);
}

/// Turns products into scores.
#[inline(always)]
fn score(row: &mut [f32], form: &AttentionForm) {
    match form.softcap {
        None => row.iter_mut().for_each(|s| *s *= form.scale),
        Some(cap) => {
            let inner = form.scale / cap;
            row.iter_mut().for_each(|s| *s = cap * tanh(*s * inner));
        }
    }
}

/// Turns rows of products into `e^(score - largest)`, zero where a query does not see; gives each row's sum
/// of them and log-sum-exp.
#[inline(always)]
pub(super) fn softmax_weights(
    scores: &mut [f32],
    block: &QueryBlock,
    positions: &[u32],
    form: &AttentionForm,
    sums: &mut [f32],
    mut log_sum: impl FnMut(usize, f32),
) {
    for (i, row) in scores.chunks_exact_mut(block.stride()).take(block.rows.len()).enumerate() {
        let (visible, whole) = visible(block, positions[block.rows.start + i], form);
        score(&mut row[whole.clone()], form);
        row[whole.start..visible.start].fill(f32::NEG_INFINITY);
        row[visible.end..whole.end].fill(f32::NEG_INFINITY);
        let largest = max(&row[whole.clone()]);
        sums[i] = exp_sum(&mut row[whole], largest);
        zero_hidden(row, &visible);
        log_sum(i, largest + sums[i].ln());
    }
}

/// Turns rows of products into probabilities, and rows of `grads` (of the probabilities) into gradients of
/// the products; zero where a query does not see.
///
/// `log_sum` and `along` give a row's log-sum-exp and its sum of probabilities times their gradients.
#[inline(always)]
pub(super) fn probabilities(
    scores: &mut [f32],
    grads: &mut [f32],
    block: &QueryBlock,
    positions: &[u32],
    form: &AttentionForm,
    log_sum: impl Fn(usize) -> f32,
    along: impl Fn(usize) -> f32,
) {
    let stride = block.stride();
    let inner = form.softcap.map_or(form.scale, |cap| form.scale / cap);
    let rows = scores.chunks_exact_mut(stride).zip(grads.chunks_exact_mut(stride));
    for (i, (row, grad)) in rows.take(block.rows.len()).enumerate() {
        let (visible, whole) = visible(block, positions[block.rows.start + i], form);
        let (log_sum, along) = (log_sum(i), along(i));
        let (scores, _) = row[whole.clone()].as_chunks_mut::<STEP>();
        let (grads, _) = grad[whole].as_chunks_mut::<STEP>();
        for (scores, grads) in scores.iter_mut().zip(grads) {
            for (s, d) in scores.iter_mut().zip(grads) {
                let (score, slope) = score_and_slope(*s, inner, form);
                let p = exp(score - log_sum);
                *d = p * (*d - along) * slope;
                *s = p;
            }
        }
        zero_hidden(row, &visible);
        match visible.len() {
            // The only key has the weight 1 for any score: what is left of the difference is rounding.
            1 => grad.fill(0.0),
            _ => zero_hidden(grad, &visible),
        }
    }
}

/// Turns rows of products into probabilities, and tangents of the products, in two terms, into those of the
/// probabilities, in place of the first term; zero where a query does not see.
#[inline(always)]
pub(super) fn probability_tangents(
    scores: &mut [f32],
    [tangents, others]: [&mut [f32]; 2],
    block: &QueryBlock,
    positions: &[u32],
    form: &AttentionForm,
    log_sum: impl Fn(usize) -> f32,
) {
    let stride = block.stride();
    let inner = form.softcap.map_or(form.scale, |cap| form.scale / cap);
    let rows = scores.chunks_exact_mut(stride).zip(tangents.chunks_exact_mut(stride));
    let rows = rows.zip(others.chunks_exact(stride)).take(block.rows.len());
    for (i, ((row, tangent), other)) in rows.enumerate() {
        let (visible, whole) = visible(block, positions[block.rows.start + i], form);
        let log_sum = log_sum(i);
        let terms = tangent[whole.clone()].iter_mut().zip(&other[whole.clone()]);
        for (s, (t, other)) in row[whole.clone()].iter_mut().zip(terms) {
            let (score, slope) = score_and_slope(*s, inner, form);
            *s = exp(score - log_sum);
            *t = (*t + other) * slope;
        }
        zero_hidden(row, &visible);
        zero_hidden(tangent, &visible);
        let (row, tangent) = (&row[whole.clone()], &mut tangent[whole]);
        let along = dot(row, tangent);
        for (p, t) in row.iter().zip(tangent) {
            *t = p * (*t - along);
        }
    }
}

/// The score of a product, and its slope; `inner` is the scale, or the scale over the cap.
#[inline(always)]
fn score_and_slope(product: f32, inner: f32, form: &AttentionForm) -> (f32, f32) {
    match form.softcap {
        None => (product * inner, form.scale),
        Some(cap) => {
            let share = tanh(product * inner);
            (cap * share, form.scale * (1.0 - share * share))
        }
    }
}
