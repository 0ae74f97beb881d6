//! Operands of the attention kernels: tiles of queries and keys, the form of the scores, and the kernels'
//! names by width of a head.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use gstore_model::sizes::check;
use gstore_model::{AttentionDropout, AttentionForm, AttentionPlan};

use super::{CudaTensor, number};
use crate::runtime::{Memory, Result};

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

/// The kernels for heads of a width.
pub(super) struct Instance {
    pub(super) forward: &'static str,
    pub(super) queries: &'static str,
    pub(super) keys: &'static str,
    pub(super) tangent: &'static str,
    /// Rows of a tile.
    pub(super) side: usize,
}

impl Instance {
    /// The kernels for heads of `dim` columns.
    pub(super) fn of(dim: usize) -> Result<Instance> {
        macro_rules! instance {
            ($width:literal, $side:literal) => {
                Instance {
                    forward: concat!("attention_forward_", $width),
                    queries: concat!("attention_queries_", $width),
                    keys: concat!("attention_keys_", $width),
                    tangent: concat!("attention_tangent_", $width),
                    side: $side,
                }
            };
        }
        check(dim <= 256, || format!("heads of {dim} columns; the kernels have up to 256"))?;
        Ok(match dim {
            0..=64 => instance!(64, 64),
            65..=128 => instance!(128, 32),
            _ => instance!(256, 32),
        })
    }

    /// Bytes of shared memory of `tiles` tiles of rows of heads and `products` tiles of their products.
    pub(super) fn shared(&self, dim: usize, tiles: usize, products: usize) -> usize {
        4 * self.side * (tiles * (dim.next_multiple_of(4) + 4) + products * (self.side + 4))
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

/// Tiles of the queries of a plan.
pub(super) fn query_tiles<M: Memory>(
    plan: &AttentionPlan,
    form: AttentionForm,
    [k, v]: [&CudaTensor<M>; 2],
    side: usize,
) -> Vec<QueryTile> {
    let mut tiles = Vec::new();
    for span in &plan.spans {
        let start = span.keys.start;
        let memory = [k.row_address(start), v.row_address(start)];
        let cut = QueryTile::cut(span.queries.clone(), &plan.positions, (memory, start as u32), form, side);
        tiles.extend(cut);
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
