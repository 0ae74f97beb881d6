//! Many queries: rows are widened once, and all tiles of queries pass over them in cache.
//!
//! All instruction sets share this structure. Each is a type that names its registers and sizes ([`Panels`]).
//!
//! Invariants
//! - a cut of a row ends at a multiple of the step, or with its module group; sums that go on in the next cut
//!   are kept lane by lane, so where a row is cut does not show in its products
//! - while one cut is multiplied, the bytes of the next are fetched, and the next tile of queries

mod pieces;
mod shape;
mod tile;

pub(super) use shape::Shape;
pub(super) use tile::{multiply, unpack};

use super::Element;
use super::ahead::RowPrefetch;
use super::job::Job;
use super::packing::CacheLine;
use pieces::Pieces;

/// The registers of an instruction set, and what it does with them.
pub(super) trait Panels {
    /// Some of the 16 lanes of a sum.
    type Register: Copy;

    /// How many.
    const WIDTH: usize;

    /// Registers that hold sums, without those of a panel's rows and of one query: 24 or 12.
    const SUMS: usize;

    /// What is multiplied at a time with `tiles` tiles of queries.
    fn shape(tiles: usize) -> Shape;

    /// Zeros.
    ///
    /// # Safety
    /// The processor has the instructions; so for all that follow.
    unsafe fn zero() -> Self::Register;

    /// # Safety
    /// A register's values are readable at `from`, which is aligned to its size.
    unsafe fn load(from: *const f32) -> Self::Register;

    /// # Safety
    /// A register's values are writable at `to`, which is aligned to its size.
    unsafe fn store(to: *mut f32, values: Self::Register);

    /// `sum` + `x` x `query`, rounded once.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn add(sum: Self::Register, x: Self::Register, query: Self::Register) -> Self::Register;

    /// Writes 16 stored values as f32.
    ///
    /// # Safety
    /// They are readable at `from` and writable at `to`, which is aligned to a line.
    unsafe fn widen<T: Element>(from: *const T, to: *mut f32);

    /// [`unpack`], compiled for the instructions.
    ///
    /// # Safety
    /// As there.
    unsafe fn unpack<T: Element>(values: &[T], to: *mut CacheLine, stride: usize);

    /// [`multiply`], compiled for the instructions: adds the products of `R` rows and `Q` queries to the sums
    /// `[row][query]`, which are zero before where `fresh`.
    ///
    /// # Safety
    /// The pointers of `at` are good for what its fields say, `sums` for `R` x `Q` lines.
    unsafe fn multiply<const R: usize, const Q: usize>(
        at: &mut Operands<'_>,
        sums: *mut CacheLine,
        fresh: bool,
    );

    /// The products from their sums, by the tree of `kernel::reduce`; both have the same length.
    ///
    /// # Safety
    /// The processor has the instructions.
    unsafe fn reduce(sums: &[CacheLine], products: &mut [f32]);
}

/// The methods of [`Panels`] that are one instruction each, and those that are compiled for the instructions.
macro_rules! instructions {
    (
        $features:literal, $register:ty:
        $zero:expr, $load:ident, $store:ident, |$sum:ident, $x:ident, $query:ident| $add:expr
    ) => {
        type Register = $register;

        #[inline(always)]
        unsafe fn zero() -> $register {
            // SAFETY: the caller's promise; so below.
            unsafe { $zero }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> $register {
            unsafe { $load(from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, values: $register) {
            unsafe { $store(to, values) }
        }

        #[inline(always)]
        unsafe fn add($sum: $register, $x: $register, $query: $register) -> $register {
            unsafe { $add }
        }

        #[target_feature(enable = $features)]
        unsafe fn unpack<T: $crate::kernel::Element>(
            values: &[T],
            to: *mut $crate::kernel::packing::CacheLine,
            stride: usize,
        ) {
            // SAFETY: the caller's promise, passed on; so below.
            unsafe { $crate::kernel::panels::unpack::<Self, T>(values, to, stride) }
        }

        #[target_feature(enable = $features)]
        unsafe fn multiply<const R: usize, const Q: usize>(
            at: &mut $crate::kernel::panels::Operands<'_>,
            sums: *mut $crate::kernel::packing::CacheLine,
            fresh: bool,
        ) {
            unsafe { $crate::kernel::panels::multiply::<Self, R, Q>(at, sums, fresh) }
        }
    };
}
pub(super) use instructions;

/// What one call of the inner kernel multiplies.
pub(super) struct Operands<'a> {
    /// `steps` lines of each row of a panel, step by step.
    rows: *const CacheLine,
    /// `steps` lines of each query of a tile, step by step.
    queries: *const CacheLine,
    steps: usize,
    /// What is fetched meanwhile, this many lines at a time.
    rows_ahead: &'a mut RowPrefetch,
    queries_ahead: &'a mut RowPrefetch,
    at_a_time: [usize; 2],
}

/// Memory that a thread uses again for every call.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) unpacked: Vec<CacheLine>,
    pub(super) sums: Vec<CacheLine>,
    /// Rows of signs as bytes.
    pub(super) bytes: Vec<i8>,
}

/// Hands out the products of all rows, groups and queries: for each row and query the groups in their order.
///
/// # Safety
/// The processor has the instructions of `P`, and `Job::check` passed.
pub(super) unsafe fn run<P: Panels, T: Element>(job: &Job<'_, T>, scratch: &mut Scratch, out: &mut [f32]) {
    let width = job.queries.packing().tile_width();
    // As many rows as their sums fit the registers together with the rows' values and a query; of scattered
    // rows there is one at a time. SAFETY: the caller's promise, passed on.
    unsafe {
        if job.rows() == 1 {
            Pieces::<P, T, 1>::of(job).run(scratch, out);
        } else if tile::parts::<P>(4, width) == tile::parts::<P>(3, width) {
            Pieces::<P, T, 4>::of(job).run(scratch, out);
        } else {
            Pieces::<P, T, 3>::of(job).run(scratch, out);
        }
    }
}
