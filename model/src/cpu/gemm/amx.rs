//! Kernel for AMX: pairs of bf16 in the tile registers of Intel's processors, 32 rows and columns at a time.
//!
//! The sums of an element go by blocks of 32 factors, from the first on: in a block the products at even
//! places and those at odd places are added up apart, then both sums, then the block to the blocks before. So
//! bits depend on a row and a column alone here too, but are others than those of the kernel for AVX-512.
//! Factors of two parts have three such sums a block: high parts with low ones, high with high, low with
//! high.
//!
//! The instructions are written as assembly: those of the standard library are not stable yet
//! (<https://github.com/rust-lang/rust/issues/126622>).

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::tile::{MicroKernel, Tile, WIDEST, rows};
use super::{Kernel, LeftReads, PANEL, PairedKernel, TileShape, avx512};

/// Rows of a register, and pairs of a row.
const SIDE: usize = 16;
/// Rows of a kernel's tile: two registers of the left factor.
const ROWS: usize = 2 * SIDE;

/// Palette 1 with eight registers of 16 rows of 64 bytes, as `ldtilecfg` reads it.
#[repr(C, align(64))]
struct TileConfig([u8; 64]);

static LAYOUT: TileConfig = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut register = 0;
    while register < 8 {
        bytes[16 + 2 * register] = 64;
        bytes[48 + register] = SIDE as u8;
        register += 1;
    }
    TileConfig(bytes)
};

static TABLE: &[MicroKernel; ROWS] = rows!(tiled, 2, false, [
    1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
]);

/// The kernel, if the CPU has it and the system lets this process use it. Takes `a` by row only.
pub(super) fn kernel() -> Option<PairedKernel> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // What else is done on pairs is done with AVX-512.
    avx512::bf16_kernel()?;
    FOUND.get_or_init(|| has_instructions() && is_permitted()).then_some(PairedKernel {
        kernel: Kernel {
            shape: TileShape {
                rows: ROWS,
                cols: PANEL,
                half: false,
                tile_registers: true,
                left: LeftReads { rows: SIDE - 1, steps: SIDE },
            },
            wide: [TABLE, &[]],
            narrow: [&[], &[]],
        },
        begin,
        end,
    })
}

fn has_instructions() -> bool {
    /// Bits of `edx` for bf16 and for the registers.
    const WANTED: u32 = 1 << 22 | 1 << 24;
    __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & WANTED == WANTED
}

/// Asks the system for the registers, which it saves for processes that asked only.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: takes two numbers, and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Lays the registers of this thread out.
fn begin() {
    // SAFETY: `kernel` alone hands this out, and has found the instructions.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const LAYOUT, options(nostack, preserves_flags)) }
}

/// Gives them back: threads whose registers are in use take longer to be switched.
fn end() {
    // SAFETY: as of `begin`.
    unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
}

/// # Safety
/// As of [`super::tile::run`]; elements of `a` and `b` are pairs, `a` lies by row and is readable as
/// [`LeftReads`] says, with zeros behind its `k` pairs (of each part, if there are two); rows of `b` start
/// [`PANEL`] pairs apart. Between `begin` and `end`.
unsafe fn tiled<const M: usize, const N: usize, const BY_COLUMN: bool>(t: &Tile) {
    // SAFETY: the caller's promise.
    unsafe { product(t, M) }
}

/// # Safety
/// As of [`tiled`], for this many rows.
unsafe fn product(t: &Tile, rows: usize) {
    #[repr(align(64))]
    struct Aligned<T>(T);

    let mut sums = Aligned(MaybeUninit::<[[f32; WIDEST]; ROWS]>::uninit());
    // Whole registers go to `c` itself, if nothing is added.
    let in_place = rows.is_multiple_of(SIDE) && t.cols == PANEL && t.bias.is_null() && t.add.is_null();
    let (to, to_stride) = if in_place { (t.c, t.c_stride) } else { (sums.0.as_mut_ptr().cast(), WIDEST) };
    let to_apart = to_stride * size_of::<f32>();
    // Rows of `b` behind the last are those of another part or panel, or none: zeros are in their place.
    let (whole, rest) = (t.k / SIDE, t.k % SIDE);
    let mut copy = Aligned(MaybeUninit::<[[[f32; PANEL]; SIDE]; 2]>::uninit());
    let mut last = std::ptr::null();
    if rest > 0 {
        let parts = if t.low > 0 { 2 } else { 1 };
        let copy = copy.0.write([[[0.0; PANEL]; SIDE]; 2]);
        for (part, copy) in copy.iter_mut().take(parts).enumerate() {
            // SAFETY: `rest` rows of `b`, whole panels wide.
            unsafe {
                let from = t.b.add((part * t.k + whole * SIDE) * PANEL);
                from.copy_to_nonoverlapping(copy.as_mut_ptr().cast(), rest * PANEL);
            }
        }
        last = copy.as_ptr().cast::<f32>();
    }
    let bytes = t.a_stride * size_of::<f32>();
    let wide = PANEL * size_of::<f32>();
    let (a_low, b_low) = (t.low * size_of::<f32>(), t.k * wide);
    let below = t.a.wrapping_add(SIDE * t.a_stride);
    // The loop over blocks of `SIDE` pairs, the last of which comes from a copy, with the steps of a block, and
    // what else the copy changes. `a` is the place in the upper rows of the left factor, `below` in the lower.
    macro_rules! sums {
        (both $step:tt $last:tt $($operands:tt)*) => {
            sums!(
                ["tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3"]
                $step ["add {below}, 64"] $last
                [
                    "tilestored [{to} + {to_apart}*1], tmm0"
                    "tilestored [{to} + {to_apart}*1 + 64], tmm1"
                    "mov {n}, {to_apart}"
                    "shl {n}, 4"
                    "add {to}, {n}"
                    "tilestored [{to} + {to_apart}*1], tmm2"
                    "tilestored [{to} + {to_apart}*1 + 64], tmm3"
                ]
                below = inout(reg) below => _, $($operands)*
            )
        };
        (upper $step:tt $last:tt $($operands:tt)*) => {
            sums!(
                ["tilezero tmm0" "tilezero tmm1"]
                $step [] $last
                ["tilestored [{to} + {to_apart}*1], tmm0" "tilestored [{to} + {to_apart}*1 + 64], tmm1"]
                $($operands)*
            )
        };
        (
            [$($zero:literal)*] [$($step:literal)*] [$($next:literal)*] [$($last:literal)*] [$($store:literal)*]
            $($operands:tt)*
        ) => {
            asm!(
                $($zero,)*
                "test {n}, {n}",
                "jz 3f",
                "2:",
                $($step,)*
                $($next,)*
                "add {a}, 64", "add {b}, 2048",
                "dec {n}",
                "jnz 2b",
                "3:",
                "test {last}, {last}",
                "jz 4f",
                "mov {b}, {last}",
                $($last,)*
                "xor {last:e}, {last:e}",
                "mov {n:e}, 1",
                "jmp 2b",
                "4:",
                $($store,)*
                a = inout(reg) t.a => _, apart = in(reg) bytes,
                b = inout(reg) t.b => _, wide = in(reg) wide,
                n = inout(reg) whole => _, last = inout(reg) last => _,
                to = inout(reg) to => _, to_apart = in(reg) to_apart,
                $($operands)*
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            )
        };
    }
    // SAFETY: reads rows of `a` and `b` that the caller guarantees, and writes 16 or 32 rows of `sums`, or of
    // `c` where it has as many and all their columns. The registers are laid out.
    unsafe {
        match (rows > SIDE, t.low > 0) {
            (true, false) => sums!(
                both [
                    "tileloadd tmm4, [{a} + {apart}*1]"
                    "tileloadd tmm6, [{b} + {wide}*1]"
                    "tileloadd tmm7, [{b} + {wide}*1 + 64]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm5, [{below} + {apart}*1]"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ]
                []
            ),
            (false, false) => sums!(
                upper [
                    "tileloadd tmm4, [{a} + {apart}*1]"
                    "tileloadd tmm6, [{b} + {wide}*1]"
                    "tileloadd tmm7, [{b} + {wide}*1 + 64]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                ]
                []
            ),
            // Of two parts: high rows with low columns, with high columns, then low rows with these.
            (true, true) => sums!(
                both [
                    "tileloadd tmm4, [{a} + {apart}*1]"
                    "lea {at}, [{b} + {b_low}]"
                    "tileloadd tmm6, [{at} + {wide}*1]"
                    "tileloadd tmm7, [{at} + {wide}*1 + 64]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tileloadd tmm5, [{below} + {apart}*1]"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tdpbf16ps tmm3, tmm5, tmm7"
                    "tileloadd tmm6, [{b} + {wide}*1]"
                    "tileloadd tmm7, [{b} + {wide}*1 + 64]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tdpbf16ps tmm3, tmm5, tmm7"
                    "lea {at}, [{a} + {a_low}]"
                    "tileloadd tmm4, [{at} + {apart}*1]"
                    "lea {at}, [{below} + {a_low}]"
                    "tileloadd tmm5, [{at} + {apart}*1]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tdpbf16ps tmm2, tmm5, tmm6"
                    "tdpbf16ps tmm3, tmm5, tmm7"
                ]
                ["mov {b_low:e}, 2048"]
                a_low = in(reg) a_low, b_low = inout(reg) b_low => _, at = out(reg) _,
            ),
            (false, true) => sums!(
                upper [
                    "tileloadd tmm4, [{a} + {apart}*1]"
                    "lea {at}, [{b} + {b_low}]"
                    "tileloadd tmm6, [{at} + {wide}*1]"
                    "tileloadd tmm7, [{at} + {wide}*1 + 64]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "tileloadd tmm6, [{b} + {wide}*1]"
                    "tileloadd tmm7, [{b} + {wide}*1 + 64]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                    "lea {at}, [{a} + {a_low}]"
                    "tileloadd tmm4, [{at} + {apart}*1]"
                    "tdpbf16ps tmm0, tmm4, tmm6"
                    "tdpbf16ps tmm1, tmm4, tmm7"
                ]
                ["mov {b_low:e}, 2048"]
                a_low = in(reg) a_low, b_low = inout(reg) b_low => _, at = out(reg) _,
            ),
        }
        if !in_place {
            avx512::write(t, std::slice::from_raw_parts(to.cast_const().cast(), rows));
        }
    }
}

#[cfg(test)]
#[path = "amx_tests.rs"]
mod tests;
