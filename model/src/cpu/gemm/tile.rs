//! The micro-kernel: a tile of a product in registers, written once for all vector types.
//!
//! Invariant: every element of the tile is one chain of multiply-adds over ascending k, started at zero,
//! whatever the size of the tile; then the bias is added, then the addend. So an element has the same bits in
//! every tile that covers it.

/// What a micro-kernel multiplies: `c = a b + bias + addend`.
pub(super) struct Tile {
    /// Element (i, p) lies at `i * a_stride + p`, or at `i + p * a_stride` for a kernel by column.
    pub a: *const f32,
    pub a_stride: usize,
    /// Element (p, j) lies at `p * b_stride + j`.
    pub b: *const f32,
    pub b_stride: usize,
    /// Length of the chains. For pairs of bf16, elements of `a` and `b` are pairs and this counts pairs.
    pub k: usize,
    /// Pairs from the high part of a row of `a` to its low part, if factors have two; the low part of `b`
    /// lies `k` rows behind the high one. Zero: they have one.
    pub low: usize,
    /// Columns of `c`; those of `b` are readable up to whole vectors.
    pub cols: usize,
    pub c: *mut f32,
    pub c_stride: usize,
    /// One value per column, or null.
    pub bias: *const f32,
    /// Element (i, j) lies at `i * add_stride + j`; or null. May be `c`.
    pub add: *const f32,
    pub add_stride: usize,
}

/// A micro-kernel for a fixed number of rows and vectors.
///
/// Its safety contract is [`run`]'s, and that the CPU has the kernel's instructions.
pub(super) type MicroKernel = unsafe fn(&Tile);

/// A vector of f32 accumulators.
pub(super) trait Vector: Copy {
    /// Values in a vector.
    const LANES: usize;
    /// Zeros.
    unsafe fn zero() -> Self;
    /// Reads a vector.
    unsafe fn load(from: *const f32) -> Self;
    /// Writes a vector.
    unsafe fn store(self, to: *mut f32);
    /// One element (for pairs of bf16: one pair) in every lane.
    unsafe fn splat(from: *const f32) -> Self;
    /// `self + a * b`
    unsafe fn multiply_add(self, a: Self, b: Self) -> Self;
    /// `self + a`
    unsafe fn add(self, a: Self) -> Self;
}

/// A type of vectors that are registers of an instruction set, by its instructions; `splat` and
/// `multiply_add` are expressions, since sets differ in the arguments of these.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! vector {
    (
        $(#[$about:meta])*
        $name:ident($register:ident), lanes: $lanes:literal, zero: $zero:expr, load: $load:ident, store: $store:ident,
        splat: |$from:ident| $splat:expr,
        multiply_add: |$sum:ident, $a:ident, $b:ident| $multiply_add:expr,
        add: $add:ident
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy)]
        struct $name($register);

        impl Vector for $name {
            const LANES: usize = $lanes;

            // SAFETY (all): the caller has the instructions, and passes pointers to whole vectors, or to one
            // element (of pairs of bf16: to one pair) for `splat`.
            #[inline(always)]
            unsafe fn zero() -> Self {
                unsafe { Self($zero) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                unsafe { Self($load(from)) }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                unsafe { $store(to, self.0) }
            }
            #[inline(always)]
            unsafe fn splat($from: *const f32) -> Self {
                unsafe { Self($splat) }
            }
            #[inline(always)]
            unsafe fn multiply_add(self, a: Self, b: Self) -> Self {
                let ($sum, $a, $b) = (self.0, a.0, b.0);
                unsafe { Self($multiply_add) }
            }
            #[inline(always)]
            unsafe fn add(self, a: Self) -> Self {
                unsafe { Self($add(self.0, a.0)) }
            }
        }
    };
}
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) use vector;

/// Widest tile of any kernel in values.
pub(super) const WIDEST: usize = 32;

/// Computes a tile of `M` rows and up to `N` vectors.
///
/// # Safety
/// For `M` rows, `t.cols <= N * V::LANES` columns and `t.k` steps, every element of `t` lies in memory that
/// is valid for reading, and `c`'s for writing; rows of `b` are readable for `N` whole vectors. `c` overlaps
/// nothing but `add`, element by element. The CPU has `V`'s instructions.
#[inline(always)]
pub(super) unsafe fn run<V: Vector, const M: usize, const N: usize, const BY_COLUMN: bool>(t: &Tile) {
    // SAFETY: all reads and writes are of elements whose bounds the caller guarantees;
    // tails go through `edge`.
    unsafe {
        let mut c = [[V::zero(); N]; M];
        let (a, b) = (t.a, t.b);
        let (a_stride, b_stride) = (t.a_stride, t.b_stride);
        for p in 0..t.k {
            let row = b.add(p * b_stride);
            let mut bv = [V::zero(); N];
            for v in 0..N {
                bv[v] = V::load(row.add(v * V::LANES));
            }
            for i in 0..M {
                let at = if BY_COLUMN { p * a_stride + i } else { i * a_stride + p };
                let av = V::splat(a.add(at));
                for v in 0..N {
                    c[i][v] = c[i][v].multiply_add(av, bv[v]);
                }
            }
        }
        if t.cols != N * V::LANES {
            // Stored first: accumulators that are indexed at run time would not stay in registers.
            let mut rows = [[0f32; WIDEST]; M];
            for i in 0..M {
                for v in 0..N {
                    c[i][v].store(rows[i].as_mut_ptr().add(v * V::LANES));
                }
            }
            return edge(t, &rows);
        }
        for i in 0..M {
            for v in 0..N {
                let at = v * V::LANES;
                let mut sum = c[i][v];
                if !t.bias.is_null() {
                    sum = sum.add(V::load(t.bias.add(at)));
                }
                if !t.add.is_null() {
                    sum = sum.add(V::load(t.add.add(i * t.add_stride + at)));
                }
                sum.store(t.c.add(i * t.c_stride + at));
            }
        }
    }
}

/// Writes the rows of a tile whose sums are in memory.
///
/// # Safety
/// As of [`run`], for as many rows as are given.
#[inline(always)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // of the kernel for AMX
pub(super) unsafe fn write<V: Vector>(t: &Tile, rows: &[[f32; WIDEST]]) {
    // SAFETY: the caller's promise; a row of `t` has all columns of one of `rows`.
    unsafe {
        if t.cols != WIDEST {
            return edge(t, rows);
        }
        for (i, row) in rows.iter().enumerate() {
            for at in (0..WIDEST).step_by(V::LANES) {
                let mut sum = V::load(row.as_ptr().add(at));
                if !t.bias.is_null() {
                    sum = sum.add(V::load(t.bias.add(at)));
                }
                if !t.add.is_null() {
                    sum = sum.add(V::load(t.add.add(i * t.add_stride + at)));
                }
                sum.store(t.c.add(i * t.c_stride + at));
            }
        }
    }
}

/// Writes the columns of a tile whose last vectors are partial.
///
/// # Safety
/// As of [`run`], for as many rows as are given.
unsafe fn edge(t: &Tile, rows: &[[f32; WIDEST]]) {
    for (i, row) in rows.iter().enumerate() {
        for (j, sum) in row.iter().enumerate().take(t.cols) {
            // SAFETY: column j is below `t.cols`; the caller guarantees such elements.
            unsafe {
                let mut sum = *sum;
                if !t.bias.is_null() {
                    sum += *t.bias.add(j);
                }
                if !t.add.is_null() {
                    sum += *t.add.add(i * t.add_stride + j);
                }
                *t.c.add(i * t.c_stride + j) = sum;
            }
        }
    }
}

/// Lists a kernel for 1 to as many rows as numbers are given; `$kernel` takes rows, vectors and
/// whether `a` lies by column.
macro_rules! rows {
    ($kernel:ident, $vectors:literal, $by_column:literal, [$($rows:literal)*]) => {
        &[$($kernel::<$rows, $vectors, $by_column> as $crate::cpu::gemm::tile::MicroKernel),*]
    };
}
pub(super) use rows;
