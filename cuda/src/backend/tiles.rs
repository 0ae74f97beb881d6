//! Operands of the attention kernels: tiles of queries and keys, the form of the scores, and the kernels'
//! names by width of a head.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use gstore_model::sizes::check;
use gstore_model::{AttentionDropout, AttentionForm, AttentionPlan, BackendError};

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

/// A kernel for heads of up to some width.
pub(super) struct Kernel {
    pub(super) name: &'static str,
    /// Rows of a tile.
    pub(super) side: usize,
    /// Threads of a block.
    pub(super) threads: u32,
    /// Bytes of shared memory of a block.
    pub(super) shared: usize,
}

/// The kernels of outputs and gradients for heads of a width.
pub(super) struct Instance {
    pub(super) forward: Kernel,
    pub(super) along: &'static str,
    pub(super) queries: Kernel,
    pub(super) keys: Kernel,
    /// Whether queries, keys, values and gradients are read in bf16.
    pub(super) is_bf16: bool,
}

/// Rows of a tile in bf16, and the values between two of them (kernels/attention_bf16.cuh).
const BF16_SIDE: usize = 64;
const BF16_GAP: usize = 8;

/// Columns of heads that kernels have at most, in the order of their names.
const WIDTHS: [usize; 3] = [64, 128, 256];

/// The place of the narrowest kernels for heads of `dim` columns.
fn place_of(dim: usize) -> Result<usize> {
    let place = WIDTHS.iter().position(|width| dim <= *width);
    place.ok_or_else(|| BackendError::new(format!("heads of {dim} columns; the kernels have up to 256")))
}

/// Names of a kernel by the width of heads.
macro_rules! names {
    ($start:literal) => {
        [concat!($start, "_64"), concat!($start, "_128"), concat!($start, "_256")]
    };
}

impl Kernel {
    /// In f32, with `tiles` tiles of rows of heads and `products` tiles of their products in the shared
    /// memory of a block, of which there are `available` bytes. Where tiles of 64 rows do not fit there,
    /// heads of up to 64 columns go through the kernel for 128, whose tiles have 32.
    fn single(
        names: [&'static str; 3],
        dim: usize,
        available: usize,
        [tiles, products]: [usize; 2],
    ) -> Result<Kernel> {
        let kernel = |place: usize| {
            let side = if place == 0 { 64 } else { 32 };
            let shared = 4 * side * (tiles * (dim.next_multiple_of(4) + 4) + products * (side + 4));
            Kernel { name: names[place], side, threads: 256, shared }
        };
        let place = place_of(dim)?;
        let narrowest = kernel(place);
        Ok(if place == 0 && narrowest.shared > available { kernel(1) } else { narrowest })
    }

    /// The kernel of tangents, in f32.
    pub(super) fn of_tangents(dim: usize, available: usize) -> Result<Kernel> {
        Kernel::single(names!("attention_tangent"), dim, available, [4, 2])
    }
}

impl Instance {
    /// The kernels in f32 for heads of `dim` columns, on a device whose blocks may have `available` bytes of
    /// shared memory.
    pub(super) fn of(dim: usize, available: usize) -> Result<Instance> {
        let kernel = |names, operands| Kernel::single(names, dim, available, operands);
        Ok(Instance {
            forward: kernel(names!("attention_forward"), [2, 1])?,
            along: "attention_along",
            queries: kernel(names!("attention_queries"), [4, 1])?,
            keys: kernel(names!("attention_keys"), [4, 2])?,
            is_bf16: false,
        })
    }

    /// The kernels in bf16, for heads of a multiple of 8 columns.
    pub(super) fn of_bf16(dim: usize) -> Result<Instance> {
        let place = place_of(dim)?;
        let width = WIDTHS[place];
        let rows = |rows: usize| 2 * rows * (width + BF16_GAP);
        // Keys that the gradient of queries takes at a time.
        let at_a_time = if width == 256 { 32 } else { 64 };
        let (side, products) = (BF16_SIDE, 2 * 2 * BF16_SIDE * (BF16_SIDE + BF16_GAP));
        let kernel =
            |names: [&'static str; 3], threads, shared| Kernel { name: names[place], side, threads, shared };
        Ok(Instance {
            forward: kernel(names!("attention_forward_bf16"), 128, rows(3 * side)),
            along: "attention_along_bf16",
            queries: kernel(names!("attention_queries_bf16"), 128, rows(2 * side + 2 * at_a_time)),
            keys: kernel(names!("attention_keys_bf16"), 256, rows(4 * side) + products),
            is_bf16: true,
        })
    }
}

/// An error if one of these kernels for heads of `dim` columns takes more shared memory than a block has.
pub(super) fn check_shared(kernels: &[&Kernel], dim: u32, available: usize, is_bf16: bool) -> Result<()> {
    let most = kernels.iter().map(|kernel| kernel.shared).max().unwrap_or(0);
    check(most <= available, || {
        format!(
            "heads of {dim} columns need {} KB of shared memory for a block in {} and this GPU has {} KB",
            most.div_ceil(1 << 10),
            if is_bf16 { "bf16" } else { "f32" },
            available >> 10
        )
    })
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
