//! Probes of the machine's current speed: on a shared machine it changes from second to second.

use std::time::Instant;

use pulp::{Arch, Simd, WithSimd};

/// GB/s at which `threads` threads sum up memory, with the processor's widest loads: with loads half as wide,
/// the core is the bottleneck instead of memory.
pub fn bandwidth(memory: &[u64], threads: usize) -> f64 {
    let start = Instant::now();
    let share = memory.len().div_ceil(threads.max(1));
    std::thread::scope(|scope| {
        for part in memory.chunks(share) {
            scope.spawn(move || std::hint::black_box(Arch::new().dispatch(Sum(part))));
        }
    });
    size_of_val(memory) as f64 / start.elapsed().as_secs_f64() / 1e9
}

struct Sum<'a>(&'a [u64]);

impl WithSimd for Sum<'_> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> u64 {
        const CHAINS: usize = 4;
        let (vectors, rest) = S::as_simd_u64s(self.0);
        let mut sums = [simd.splat_u64s(0); CHAINS];
        let (lines, tail) = vectors.as_chunks::<CHAINS>();
        for line in lines {
            for (sum, vector) in sums.iter_mut().zip(line) {
                *sum = simd.add_u64s(*sum, *vector);
            }
        }
        for vector in tail {
            sums[0] = simd.add_u64s(sums[0], *vector);
        }
        let all: &[u64] = pulp::bytemuck::cast_slice(&sums);
        all.iter().chain(rest).fold(0, |sum, word| sum.wrapping_add(*word))
    }
}

/// Single-precision multiply-adds per second, in 10^9, of `threads` threads that do nothing else, in
/// registers of the instruction set with a kernel's name.
pub fn products(threads: usize, isa: &str) -> f64 {
    let arch = arch(isa);
    let start = Instant::now();
    let done: usize = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..threads.max(1)).map(|_| scope.spawn(move || arch.dispatch(Products))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0)).sum()
    });
    done as f64 / start.elapsed().as_secs_f64() / 1e9
}

/// The widest registers that the instruction set has.
fn arch(isa: &str) -> Arch {
    #[cfg(target_arch = "x86_64")]
    if let ("avx2" | "avxvnni", Some(simd)) = (isa, pulp::x86::V3::try_new()) {
        return Arch::V3(simd);
    }
    match isa {
        "portable" => Arch::Scalar,
        _ => Arch::new(),
    }
}

struct Products;

impl WithSimd for Products {
    /// How many were computed.
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> usize {
        /// Enough chains of additions to hide their latency.
        const CHAINS: usize = 12;
        const ROUNDS: usize = 400_000;
        let x = simd.splat_f32s(std::hint::black_box(0.999));
        let y = simd.splat_f32s(std::hint::black_box(1e-3));
        let mut sums = [y; CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = simd.mul_add_e_f32s(*sum, x, y);
            }
        }
        std::hint::black_box(sums);
        ROUNDS * CHAINS * S::F32_LANES
    }
}
