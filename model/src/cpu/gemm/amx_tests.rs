use super::*;
use crate::backend::ComputePrecision;
use crate::cpu::Cpu;
use crate::cpu::gemm::drawn::{term, values};
use crate::cpu::gemm::{Addend, Kernels, PackedWeights, PanelFormat, linear};
use crate::cpu::level::{Simd, SimdLevel};

/// The kernels of a CPU that has AMX; of another one it is said that a test is skipped.
fn kernels() -> Option<Kernels> {
    let simd = Simd::new(SimdLevel::Avx512).filter(|_| kernel().is_some());
    if simd.is_none() {
        println!("SKIPPED: this CPU has no AMX");
    }
    simd.map(Kernels::new)
}

#[test]
fn every_size_has_the_products_of_rounded_factors() {
    let Some(kernels) = kernels() else { return };
    for format in [PanelFormat::Paired, PanelFormat::Split] {
        for (rows, k, n) in
            [(1, 1, 1), (5, 31, 33), (16, 32, 32), (17, 34, 16), (33, 96, 70), (140, 129, 65), (64, 2048, 64)]
        {
            let (x, weight, bias) = (values(rows * k, 1), values(n * k, 2), values(n, 3));
            let packed = PackedWeights::pack(&weight, n, k, format);
            let before = values(rows * n, 4);
            // With what is added, and without, where whole tiles go to the result itself.
            for (bias, add) in [(Some(&bias[..]), Addend::Destination), (None, Addend::Nothing)] {
                let product = |x: &[f32], to: &mut [f32]| {
                    linear(&kernels, to, x, x.len() / k, packed.forward(), bias, add);
                };
                let mut found = before.clone();
                product(&x, &mut found);
                for (i, row) in found.chunks_exact(n).enumerate() {
                    let about = format!("{rows} x {k} x {n} {format:?}, row {i}");
                    let x = &x[i * k..][..k];
                    for (j, found) in row.iter().enumerate() {
                        let products = x.iter().zip(&weight[j * k..][..k]).map(|(x, w)| term(format, *x, *w));
                        let added =
                            bias.map_or(0.0, |bias| f64::from(bias[j]) + f64::from(before[i * n + j]));
                        let off = (f64::from(*found) - products.sum::<f64>() - added).abs();
                        assert!(off <= 1e-6 * (4.0 + k as f64), "{about}, {j}: {found}, off by {off}");
                    }
                    // The same bits alone.
                    let mut alone = before[i * n..][..n].to_vec();
                    product(x, &mut alone);
                    assert!(alone.iter().zip(row).all(|(a, b)| a.to_bits() == b.to_bits()), "{about}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_number_stays_none_in_two_parts() {
    let Some(kernels) = kernels() else { return };
    let (k, n) = (40, 3);
    let product = |x: f32, w: f32| {
        let (mut row, mut weight) = (vec![0.0; k], vec![0.0; n * k]);
        (row[k - 1], weight[k - 1]) = (x, w);
        let packed = PackedWeights::pack(&weight, n, k, PanelFormat::Split);
        let mut found = vec![0.0; n];
        linear(&kernels, &mut found, &row, 1, packed.forward(), None, Addend::Nothing);
        [found[0], found[1]]
    };
    // An infinity times the low part of a factor is no number.
    for (x, w) in [(f32::INFINITY, 1.0), (-2.0, f32::INFINITY), (f32::NAN, 1.0), (1.0, f32::NAN)] {
        assert!(!product(x, w)[0].is_finite(), "{x} times {w}");
    }
    // A value that has no more than 16 bits is itself.
    assert_eq!(product(1.0 + 1.0 / 32768.0, 1.0), [1.0 + 1.0 / 32768.0, 0.0]);
}

#[test]
fn columns_and_rows_behind_the_matrix_change_nothing() {
    let Some(kernels) = kernels() else { return };
    // The second panel has nothing finite: what is read beyond the first must not reach its sums.
    let (rows, k, n) = (3, 6, 64);
    let mut weight = values(n * k, 5);
    weight[32 * k..].fill(f32::INFINITY);
    let packed = PackedWeights::pack(&weight, n, k, PanelFormat::Paired);
    let mut found = vec![0.0; rows * n];
    linear(&kernels, &mut found, &values(rows * k, 6), rows, packed.forward(), None, Addend::Nothing);
    assert!(found.chunks_exact(n).all(|row| row[..32].iter().all(|v| v.is_finite())));
    assert!(found.chunks_exact(n).all(|row| row[32..].iter().all(|v| !v.is_finite())));
}

#[test]
fn bf16x3_is_in_two_parts_where_this_kernel_is() {
    for level in SimdLevel::available() {
        let expected = match level == SimdLevel::Avx512 && kernel().is_some() {
            true => PanelFormat::Split,
            false => PanelFormat::Single,
        };
        assert_eq!(Cpu::with_level(ComputePrecision::Bf16x3, level).unwrap().format(), expected, "{level:?}");
    }
}
