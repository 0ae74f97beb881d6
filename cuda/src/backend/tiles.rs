//! Operands of the attention kernels: tiles of queries and keys, the form of the scores, and the kernels'
//! names by width of a head.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use gstore_model::sizes::check;
use gstore_model::{AttentionDropout, AttentionForm, AttentionPlan};

use super::number;
use crate::runtime::Result;

/// `AttentionShape` of kernels/attention.cuh.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct AttentionShape {
    pub(super) query_heads: u32,
    kv_heads: u32,
    pub(super) dim: u32,
    window: u32,
    scale: f32,
    cap: f32,
    drop_scale: f32,
    unused: u32,
    drop_limit: u64,
}

/// `AttentionTile` of kernels/attention.cuh.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct QueryTile {
    keys: u64,
    values: u64,
    first_query: u32,
    queries: u32,
    from: u32,
    to: u32,
    key_row: u32,
    unused: u32,
}

impl QueryTile {
    /// Its queries.
    pub(super) fn rows(&self) -> Range<usize> {
        self.first_query as usize..(self.first_query + self.queries) as usize
    }

    /// Tiles of up to `side` of the queries of one sequence, whose keys and values start at two addresses,
    /// and at row `key_row` of all keys.
    pub(super) fn cut(
        queries: Range<usize>,
        positions: &[u32],
        ([keys, values], key_row): ([u64; 2], u32),
        form: AttentionForm,
        side: usize,
    ) -> impl Iterator<Item = QueryTile> {
        queries.clone().step_by(side).map(move |first| {
            let end = queries.end.min(first + side);
            QueryTile {
                keys,
                values,
                first_query: first as u32,
                queries: (end - first) as u32,
                from: form.visible_keys(positions[first]).start as u32,
                to: form.visible_keys(positions[end - 1]).end as u32,
                key_row,
                unused: 0,
            }
        })
    }
}

/// `KeyTile` of kernels/attention.cuh.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct KeyTile {
    key_row: u32,
    keys: u32,
    place: u32,
    first_query: u32,
    end_query: u32,
    unused: u32,
}

impl KeyTile {
    /// Its keys.
    pub(super) fn rows(&self) -> Range<usize> {
        self.key_row as usize..(self.key_row + self.keys) as usize
    }
}

/// The kernels for heads of a width.
pub(super) struct Instance {
    pub(super) forward: &'static str,
    pub(super) along: &'static str,
    pub(super) queries: &'static str,
    pub(super) keys: &'static str,
    /// Rows of a tile.
    pub(super) side: usize,
    /// Threads of a block of the forward pass and of the queries' gradient, and of the keys' gradient.
    pub(super) threads: [u32; 2],
    /// Bytes of shared memory of the three.
    pub(super) shared: [usize; 3],
    /// Whether queries, keys, values and gradients are read in bf16.
    pub(super) is_bf16: bool,
}

/// Bytes of shared memory of `tiles` f32 tiles of rows of heads and `products` tiles of their products.
fn shared(side: usize, dim: usize, tiles: usize, products: usize) -> usize {
    4 * side * (tiles * (dim.next_multiple_of(4) + 4) + products * (side + 4))
}

/// Rows of a tile in f32, by the width of the kernels.
fn single_side(width: usize) -> usize {
    if width == 64 { 64 } else { 32 }
}

/// Rows of a tile in bf16, and the values between two of them (kernels/attention_bf16.cuh).
const BF16_SIDE: usize = 64;
const BF16_GAP: usize = 8;

/// The width of the kernels for heads of `dim` columns.
fn width_of(dim: usize) -> Result<usize> {
    check(dim <= 256, || format!("heads of {dim} columns; the kernels have up to 256"))?;
    Ok(dim.next_power_of_two().max(64))
}

/// Names of kernels by the width of heads.
macro_rules! names {
    ($width:expr, $($start:literal),+) => {
        match $width {
            64 => [$(concat!($start, "_64")),+],
            128 => [$(concat!($start, "_128")),+],
            _ => [$(concat!($start, "_256")),+],
        }
    };
}

impl Instance {
    /// The kernels in f32 for heads of `dim` columns.
    pub(super) fn of(dim: usize) -> Result<Instance> {
        let width = width_of(dim)?;
        let [forward, queries, keys] =
            names!(width, "attention_forward", "attention_queries", "attention_keys");
        let (side, along) = (single_side(width), "attention_along");
        let shared = [shared(side, dim, 2, 1), shared(side, dim, 4, 1), shared(side, dim, 4, 2)];
        Ok(Instance { forward, along, queries, keys, side, threads: [256; 2], shared, is_bf16: false })
    }

    /// The kernels in bf16, for heads of a multiple of 8 columns.
    pub(super) fn of_bf16(dim: usize) -> Result<Instance> {
        let width = width_of(dim)?;
        let [forward, queries, keys] =
            names!(width, "attention_forward_bf16", "attention_queries_bf16", "attention_keys_bf16");
        let (side, along) = (BF16_SIDE, "attention_along_bf16");
        let rows = |rows: usize| 2 * rows * (width + BF16_GAP);
        // Keys that the gradient of queries takes at a time.
        let at_a_time = if width == 256 { 32 } else { 64 };
        let products = 2 * 2 * side * (side + BF16_GAP);
        let shared = [rows(3 * side), rows(2 * side + 2 * at_a_time), rows(4 * side) + products];
        Ok(Instance { forward, along, queries, keys, side, threads: [128, 256], shared, is_bf16: true })
    }

    /// The kernel of tangents, in f32, and its bytes of shared memory. Its tiles are those of [`Instance::of`].
    pub(super) fn tangent(dim: usize) -> Result<(&'static str, usize)> {
        let width = width_of(dim)?;
        let [kernel] = names!(width, "attention_tangent");
        Ok((kernel, shared(single_side(width), dim, 4, 2)))
    }
}

impl AttentionShape {
    pub(super) fn new(form: AttentionForm, dropout: Option<AttentionDropout<'_>>) -> Result<AttentionShape> {
        let (drop_limit, drop_scale) = dropout.map_or((0, 1.0), |dropout| dropout.limit_and_scale());
        Ok(AttentionShape {
            query_heads: number(form.heads.query)?,
            kv_heads: number(form.heads.kv)?,
            dim: number(form.heads.dim)?,
            window: form.window.map_or(u32::MAX, |window| u32::try_from(window).unwrap_or(u32::MAX)),
            scale: form.scale,
            cap: form.softcap.unwrap_or(0.0),
            drop_scale,
            unused: 0,
            drop_limit,
        })
    }
}

/// Tiles of the queries of a plan. `rows` gives the addresses of a row of keys and of values.
pub(super) fn query_tiles(
    plan: &AttentionPlan,
    form: AttentionForm,
    rows: impl Fn(usize) -> [u64; 2],
    side: usize,
) -> Vec<QueryTile> {
    let mut tiles = Vec::new();
    for span in &plan.spans {
        let start = span.keys.start;
        let memory = (rows(start), start as u32);
        tiles.extend(QueryTile::cut(span.queries.clone(), &plan.positions, memory, form, side));
    }
    tiles
}

/// Tiles of the keys of a plan, including those that no query sees.
pub(super) fn key_tiles(plan: &AttentionPlan, side: usize) -> Vec<KeyTile> {
    let mut tiles = Vec::new();
    for span in &plan.spans {
        for first in span.keys.clone().step_by(side) {
            tiles.push(KeyTile {
                key_row: first as u32,
                keys: (span.keys.end.min(first + side) - first) as u32,
                place: (first - span.keys.start) as u32,
                first_query: span.queries.start as u32,
                end_query: span.queries.end as u32,
                unused: 0,
            });
        }
    }
    tiles
}
