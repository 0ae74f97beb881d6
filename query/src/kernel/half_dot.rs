//! Dot products of two f16 vectors, in the order of all dot products.
//!
//! That is lane = k mod 16, ascending k, fused.

use half::f16;

use super::{Isa, Kernel, LANES, reduce};

impl Kernel {
    /// The dot product of two vectors of f16, the same bits on every instruction set.
    ///
    /// # Panics
    /// When they differ in length.
    pub(crate) fn half_dot(self, a: &[f16], b: &[f16]) -> f32 {
        assert_eq!(a.len(), b.len(), "vectors of one length");
        match self.0 {
            Isa::Portable => portable(a, b),
            // SAFETY: every 64-bit ARM has NEON, and the lengths are equal.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe { neon(a, b) },
            // SAFETY: `available` found the instructions, and the lengths are equal.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 | Isa::AvxVnni => unsafe { avx2(a, b) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { avx512(a, b) },
        }
    }
}

fn portable(a: &[f16], b: &[f16]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = a.to_f32().mul_add(b.to_f32(), *lane);
        }
    }
    reduce(&lanes)
}

/// # Safety
/// Both have the same length.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
unsafe fn neon(a: &[f16], b: &[f16]) -> f32 {
    use super::neon::{Load, add, load_part, over_lanes, zero};
    let (steps, tails) = (a.len() / LANES, a.len() / LANES * LANES);
    let mut sum = zero();
    for i in 0..steps {
        // SAFETY: step i ends within both slices.
        let (a, b) = unsafe { (f16::step(a.as_ptr().add(i * LANES)), f16::step(b.as_ptr().add(i * LANES))) };
        add(&mut sum, &a, &b);
    }
    if tails < a.len() {
        add(&mut sum, &load_part(&a[tails..]), &load_part(&b[tails..]));
    }
    over_lanes(&sum)
}

/// # Safety
/// The processor has AVX2, FMA and F16C; both have the same length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn avx2(a: &[f16], b: &[f16]) -> f32 {
    use std::arch::x86_64::*;

    use super::avx2::{Load, load_part};
    let (steps, tails) = (a.len() / LANES, a.len() / LANES * LANES);
    let mut sums = [_mm256_setzero_ps(); 2];
    for i in 0..steps {
        // SAFETY: step i ends within both slices.
        let (a, b) =
            unsafe { (f16::halves(a.as_ptr().add(i * LANES)), f16::halves(b.as_ptr().add(i * LANES))) };
        sums = [_mm256_fmadd_ps(a[0], b[0], sums[0]), _mm256_fmadd_ps(a[1], b[1], sums[1])];
    }
    if tails < a.len() {
        let (a, b) = (load_part(&a[tails..]), load_part(&b[tails..]));
        sums = [_mm256_fmadd_ps(a[0], b[0], sums[0]), _mm256_fmadd_ps(a[1], b[1], sums[1])];
    }
    let mut lanes = [0.0f32; LANES];
    // SAFETY: two stores of 8 values into 16.
    unsafe {
        _mm256_storeu_ps(lanes.as_mut_ptr(), sums[0]);
        _mm256_storeu_ps(lanes.as_mut_ptr().add(8), sums[1]);
    }
    reduce(&lanes)
}

/// # Safety
/// The processor has AVX-512F; both have the same length.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn avx512(a: &[f16], b: &[f16]) -> f32 {
    use std::arch::x86_64::*;

    use super::avx512::{Load, load_part};
    let (steps, tails) = (a.len() / LANES, a.len() / LANES * LANES);
    let mut sum = _mm512_setzero_ps();
    for i in 0..steps {
        // SAFETY: step i ends within both slices.
        let (a, b) = unsafe { (f16::load(a.as_ptr().add(i * LANES)), f16::load(b.as_ptr().add(i * LANES))) };
        sum = _mm512_fmadd_ps(a, b, sum);
    }
    if tails < a.len() {
        sum = _mm512_fmadd_ps(load_part(&a[tails..]), load_part(&b[tails..]), sum);
    }
    let mut lanes = [0.0f32; LANES];
    // SAFETY: 16 values.
    unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), sum) };
    reduce(&lanes)
}

/// 1 minus the dot product, as usearch calls it on two of its vectors, which have `dim` values each.
#[cfg(feature = "ann")]
pub(crate) fn usearch_metric(dim: usize) -> Metric {
    let kernel = Kernel::detect();
    Box::new(move |a, b| {
        // SAFETY: usearch hands over vectors that it keeps, or the one that is being added; its index was
        // made for `dim` values of this type, and `f16` is 16 bits without further meaning to both crates.
        // Nothing writes to a vector after it was added.
        let (a, b) = unsafe {
            (
                std::slice::from_raw_parts(a.cast::<f16>(), dim),
                std::slice::from_raw_parts(b.cast::<f16>(), dim),
            )
        };
        1.0 - kernel.half_dot(a, b)
    })
}

/// What usearch calls for a distance.
#[cfg(feature = "ann")]
pub(crate) type Metric = Box<dyn Fn(*const usearch::f16, *const usearch::f16) -> f32 + Send + Sync>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_gives_the_same_bits() {
        for len in [1, 2, 15, 16, 17, 31, 32, 33, 100, 1024, 1031] {
            let value = |i: usize, by: f32| f16::from_f32(((i * 37 + 11) % 101) as f32 * by - 0.5);
            let a: Vec<f16> = (0..len).map(|i| value(i, 0.01)).collect();
            let b: Vec<f16> = (0..len).map(|i| value(i * 3 + 1, 0.0123)).collect();
            let exact: f64 = a.iter().zip(&b).map(|(a, b)| a.to_f64() * b.to_f64()).sum();
            let all: Vec<f32> = Kernel::available().iter().map(|kernel| kernel.half_dot(&a, &b)).collect();
            assert!(all.iter().all(|x| x.to_bits() == all[0].to_bits()), "{len}: {all:?}");
            assert!((f64::from(all[0]) - exact).abs() < 1e-5 * (1.0 + exact.abs()), "{len}");
        }
    }
}
