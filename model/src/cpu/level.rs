//! SIMD levels: the vector instructions that kernels are compiled for, chosen once.
//!
//! Invariants
//! - a [`Simd`] exists only for a level that this CPU has
//! - loops run by [`Simd::run`] do the same IEEE operations in the same order at every level, so their
//!   results have the same bits at all of them: Rust never fuses a product and a sum by itself, and sums keep
//!   a fixed number of partial sums

#![allow(unsafe_code)]

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use gstore_core::instructions::Instructions;

/// A set of vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SimdLevel {
    /// x86-64 with AVX-512 (F, BW, DQ, VL); with bf16 products where the CPU has them.
    Avx512,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// 64-bit ARM.
    Neon,
    /// What every CPU of the architecture has. Products are not fused with sums.
    Scalar,
}

impl SimdLevel {
    /// The levels that this CPU has, widest first.
    pub fn available() -> Vec<SimdLevel> {
        let all = [SimdLevel::Avx512, SimdLevel::Avx2, SimdLevel::Neon, SimdLevel::Scalar];
        all.into_iter().filter(|level| level.is_available()).collect()
    }

    /// Whether this CPU has the instructions.
    pub(crate) fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => {
                Instructions::Widest.may_be_used()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && SimdLevel::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => {
                Instructions::Avx2.may_be_used()
                    && is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
            }
            #[cfg(target_arch = "aarch64")]
            SimdLevel::Neon => true,
            SimdLevel::Scalar => true,
            #[allow(unreachable_patterns)] // which levels are left depends on the architecture
            _ => false,
        }
    }
}

/// A level that this CPU has.
#[derive(Clone, Copy)]
pub(super) struct Simd {
    level: SimdLevel,
}

impl Simd {
    /// The level's witness; none if this CPU lacks it.
    pub fn new(level: SimdLevel) -> Option<Simd> {
        level.is_available().then_some(Simd { level })
    }

    /// That of the widest instructions that this CPU has.
    pub fn widest() -> Simd {
        static WIDEST: OnceLock<Simd> = OnceLock::new();
        let find = || SimdLevel::available().into_iter().find_map(Simd::new);
        *WIDEST.get_or_init(|| find().unwrap_or(Simd { level: SimdLevel::Scalar }))
    }

    pub fn level(self) -> SimdLevel {
        self.level
    }

    /// Runs a loop compiled for the level. The closure and what it calls must be `#[inline(always)]`
    /// to be compiled so too.
    #[inline(always)]
    pub fn run<R>(self, f: impl FnOnce() -> R) -> R {
        match self.level {
            // SAFETY (both): a `Simd` of the level exists, so `Simd::new` has found the
            // instructions on this CPU.
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx512 => unsafe { avx512(f) },
            #[cfg(target_arch = "x86_64")]
            SimdLevel::Avx2 => unsafe { avx2(f) },
            _ => f(),
        }
    }
}

/// Runs a loop compiled for the widest instructions that this CPU has; its results have the bits that they
/// would have without. The closure and what it calls must be `#[inline(always)]` to be compiled so too.
#[inline(always)]
pub fn vectorised<R>(f: impl FnOnce() -> R) -> R {
    Simd::widest().run(f)
}

/// Runs an expression by way of the function `cpu::vectorised`, or compiled for the level that the first
/// argument is the witness of. What it calls must be `#[inline(always)]` to be compiled so too.
#[macro_export]
macro_rules! vectorised {
    ($simd:expr, $body:expr) => {
        $simd.run(
            #[inline(always)]
            || $body,
        )
    };
    ($body:expr) => {
        $crate::cpu::vectorised(
            #[inline(always)]
            || $body,
        )
    };
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}
