//! Products of matrices on the calling thread.
//!
//! Invariants
//! - the right factor is a row of panels of [`PANEL`] columns, each `[k][32]`; a panel's
//!   unused columns are zeros
//! - an element's bits depend on its row of the left factor and its column of the right factor alone: not on
//!   how many rows there are, on the row's place, or on how the work is cut into tiles (see `tile`)
//! - f32 kernels with fused multiply-adds (AVX-512, AVX2, NEON) give the same bits; the scalar
//!   one rounds each product
//! - [`Kernel::panel`] is the only access to the unsafe kernels and checks every size

#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod by_column;
#[cfg(target_arch = "aarch64")]
mod neon;
mod operands;
mod pack;
mod pairs;
mod product;
mod scalar;
mod sums;
mod tile;
mod transpose;
mod weights;

pub(super) use self::operands::{Addend, Addends, Destination, Left, Output, Panel, Right};
pub(super) use self::pack::{MatrixPanels, PackedMatrix};
pub(super) use self::product::{linear, multiply, row_stride};
pub(super) use self::sums::{grams, sums};
pub(crate) use self::transpose::transpose;
pub(super) use self::weights::{PackedWeights, PanelFormat};

use std::marker::PhantomData;
use std::ops::Range;

use self::operands::fits;
use self::tile::{MicroKernel, Tile};
use super::level::{Simd, SimdLevel};

/// Multiply-adds of this thread's products.
#[cfg(test)]
pub(crate) mod counted {
    use std::cell::Cell;

    thread_local! {
        static PRODUCTS: Cell<u64> = const { Cell::new(0) };
    }

    pub(super) fn add(products: usize) {
        PRODUCTS.set(PRODUCTS.get() + products as u64);
    }

    /// Those since the thread began.
    pub fn so_far() -> u64 {
        PRODUCTS.get()
    }
}

/// Values of tests.
#[cfg(test)]
pub(super) mod drawn {
    use super::PanelFormat;
    use super::weights::split;

    /// Values between -1 and 1 that depend on the seed only.
    pub fn values(len: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 8_388_608.0 - 1.0
        };
        (0..len).map(|_| next()).collect()
    }

    /// What a format makes of a product.
    pub fn term(format: PanelFormat, a: f32, b: f32) -> f64 {
        let ([a_high, a_low], [b_high, b_low]) = (split(a).map(f64::from), split(b).map(f64::from));
        match format {
            PanelFormat::Single => f64::from(a) * f64::from(b),
            PanelFormat::Rounded | PanelFormat::Paired => a_high * b_high,
            PanelFormat::Split => a_high * b_high + a_high * b_low + a_low * b_high,
        }
    }
}

/// Columns of a panel.
pub(super) const PANEL: usize = 32;

/// Size of a kernel's tile.
#[derive(Clone, Copy)]
pub(super) struct TileShape {
    pub rows: usize,
    /// Columns; divides [`PANEL`].
    pub cols: usize,
    /// Whether there is a variant of half the columns.
    pub half: bool,
    /// Whether tiles are registers of their own kind, as those of AMX. Part of one takes as long as a whole
    /// one, so that rows are cut into whole tiles; rows of a panel lie one after the other; factors may have
    /// two parts, since three products of bf16 take less time than one of f32.
    pub tile_registers: bool,
    /// What is read of a left factor.
    pub left: LeftReads,
}

impl TileShape {
    /// Of vector registers.
    const fn of_vectors(rows: usize, cols: usize, half: bool) -> TileShape {
        TileShape { rows, cols, half, tile_registers: false, left: LeftReads::EXACT }
    }
}

/// What a kernel reads of a left factor beyond its rows and steps.
#[derive(Clone, Copy)]
pub(super) struct LeftReads {
    /// Rows behind the last, with any values.
    pub rows: usize,
    /// Steps are read up to a multiple of this many; zeros are behind the last.
    pub steps: usize,
}

impl LeftReads {
    /// Nothing beyond.
    pub const EXACT: LeftReads = LeftReads { rows: 0, steps: 1 };
}

/// A micro-kernel for every number of rows up to a tile's; the left factor by row and by column.
#[derive(Clone, Copy)]
pub(super) struct Kernel {
    shape: TileShape,
    wide: [&'static [MicroKernel]; 2],
    narrow: [&'static [MicroKernel]; 2],
}

/// A kernel on pairs of bf16. That one exists shows that the CPU has such products.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // made on x86-64 only
pub(super) struct PairedKernel {
    kernel: Kernel,
    begin: fn(),
    end: fn(),
}

/// While this is there, products of pairs may be computed on this thread.
struct PairedSession {
    end: fn(),
    /// Stays on its thread.
    _thread: PhantomData<*const ()>,
}

impl PairedKernel {
    /// Prepares this thread for products.
    fn begin(&self) -> PairedSession {
        (self.begin)();
        PairedSession { end: self.end, _thread: PhantomData }
    }

    /// Pairs of so many values, and the zeros behind them with which the kernel has whole steps.
    fn pairs(&self, values: usize) -> usize {
        values.div_ceil(2).next_multiple_of(self.kernel.shape.left.steps)
    }
}

impl Drop for PairedSession {
    fn drop(&mut self) {
        (self.end)();
    }
}

#[derive(Clone, Copy)]
pub(super) struct Kernels {
    /// On f32.
    pub single: Kernel,
    /// On pairs of bf16, where the CPU has such products.
    pub paired: Option<PairedKernel>,
    /// For loops around the kernels.
    pub simd: Simd,
}

impl Kernels {
    pub fn new(simd: Simd) -> Kernels {
        let (single, paired) = match simd.level() {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => (avx512::f32_kernel(), amx::kernel().or_else(avx512::bf16_kernel)),
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => (avx2::f32_kernel(), None),
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon => (neon::f32_kernel(), None),
            _ => (scalar::f32_kernel(), None),
        };
        Kernels { single, paired, simd }
    }

    /// The kernel on pairs of bf16 that takes factors of two parts, if there is one.
    pub fn splitting(&self) -> Option<&PairedKernel> {
        self.paired.as_ref().filter(|paired| paired.kernel.shape.tile_registers)
    }
}

/// The sizes of equal parts (to within one) of at most `most`.
pub(super) fn cut(len: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = len.div_ceil(most);
    (0..parts).map(move |i| len * i / parts..len * (i + 1) / parts)
}

impl Kernel {
    /// Rows of a tile.
    pub fn rows(&self) -> usize {
        self.shape.rows
    }

    fn tiles(&self, rows: usize) -> impl Iterator<Item = Range<usize>> {
        let TileShape { rows: most, tile_registers, .. } = self.shape;
        let whole = if tile_registers { rows.next_multiple_of(most) } else { rows };
        cut(whole, most).map(move |tile| tile.start..tile.end.min(rows))
    }

    /// How many columns of a right factor are read for `cols` of them.
    fn readable(&self, cols: usize) -> usize {
        let TileShape { cols: tile, half, .. } = self.shape;
        let last = cols % tile;
        if half && last > 0 && last <= tile / 2 {
            cols - last + tile / 2
        } else {
            cols.next_multiple_of(tile)
        }
    }

    /// `to = a b + extra` for one panel.
    ///
    /// Panics if a matrix does not fit its slice.
    pub fn panel(&self, to: Destination<'_>, a: Left<'_>, b: Panel<'_>, extra: Addends<'_>) {
        let (rows, cols) = (a.rows, to.cols);
        assert!(cols <= PANEL && fits(to.data.len(), rows, cols, to.stride), "destination of a product");
        assert!(rows <= 1 || to.stride >= cols, "destination of a product");
        let LeftReads { rows: behind, steps } = self.shape.left;
        let read = Left { rows: if rows == 0 { 0 } else { rows + behind }, ..a };
        assert!(b.stride == PANEL || !self.shape.tile_registers, "panel of a product");
        assert!(a.low == 0 || self.shape.tile_registers, "parts of a product");
        let (last, parts) = if a.low > 0 { (a.low, 2) } else { (0, 1) };
        assert!(read.fits(last + b.k.next_multiple_of(steps), self.shape.rows), "left factor of a product");
        assert!(fits(b.data.len(), parts * b.k, self.readable(cols), b.stride), "right factor of a product");
        assert!(extra.bias.is_none_or(|bias| bias.len() >= cols), "bias of a product");
        #[cfg(test)]
        counted::add(rows * cols * b.k);
        let c = to.data.as_mut_ptr();
        let add = match extra.add {
            Addend::Nothing => std::ptr::null(),
            Addend::Destination => c.cast_const(),
            Addend::Matrix(matrix) => {
                assert!(fits(matrix.len(), rows, cols, to.stride), "addend of a product");
                matrix.as_ptr()
            }
        };
        for first in (0..cols).step_by(self.shape.cols) {
            let width = (cols - first).min(self.shape.cols);
            let narrow = self.shape.half && width <= self.shape.cols / 2;
            let table = if narrow { self.narrow } else { self.wide }[usize::from(a.by_column)];
            for (tile, block) in self.tiles(rows).enumerate() {
                let start = block.start;
                let a_start = match a.tile {
                    Some(apart) => tile * apart,
                    None if a.by_column => start,
                    None => start * a.stride,
                };
                // SAFETY: the assertions keep the elements of all rows and columns of `c`, `a`, `b`, `add`
                // and `bias` inside their slices, those of `b` up to whole tiles, those of `a` as `LeftReads`
                // says; `start` and `first` are below the row and column counts, so the offsets are too. `c`
                // is borrowed mutably and so overlaps none but `add`, which is then `c` itself. `table` has a
                // kernel for each count up to `shape.rows`; `Kernels::new` chose it by a witness that the CPU
                // has its instructions.
                unsafe {
                    let tile = Tile {
                        a: a.data.as_ptr().wrapping_add(a_start),
                        a_stride: a.stride,
                        b: b.data.as_ptr().wrapping_add(first),
                        b_stride: b.stride,
                        k: b.k,
                        low: a.low,
                        cols: width,
                        c: c.add(start * to.stride + first),
                        c_stride: to.stride,
                        bias: extra.bias.map_or(std::ptr::null(), |bias| bias.as_ptr().add(first)),
                        add: if add.is_null() { add } else { add.add(start * to.stride + first) },
                        add_stride: to.stride,
                    };
                    table[block.len() - 1](&tile);
                }
            }
        }
    }
}
