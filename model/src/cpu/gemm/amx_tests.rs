use super::*;
use crate::cpu::gemm::drawn::values;
use crate::cpu::gemm::weights::round;
use crate::cpu::gemm::{Addend, Kernels, PackedWeights, PanelFormat, linear};
use crate::cpu::level::{Simd, SimdLevel};

#[test]
fn every_size_has_the_products_of_rounded_factors() {
    let Some(simd) = Simd::new(SimdLevel::Avx512).filter(|_| kernel().is_some()) else {
        println!("SKIPPED: this CPU has no AMX");
        return;
    };
    let kernels = Kernels::new(simd);
    for (rows, k, n) in [(1, 1, 1), (5, 31, 33), (16, 32, 32), (17, 34, 16), (33, 96, 70), (140, 129, 65)] {
        let (x, weight, bias) = (values(rows * k, 1), values(n * k, 2), values(n, 3));
        let packed = PackedWeights::pack(&weight, n, k, PanelFormat::Paired);
        let mut found = values(rows * n, 4);
        let added = found.clone();
        linear(&kernels, &mut found, &x, rows, packed.forward(), Some(&bias), Addend::Destination);
        for (i, row) in found.chunks_exact(n).enumerate() {
            for (j, found) in row.iter().enumerate() {
                let factors = x[i * k..][..k].iter().zip(&weight[j * k..][..k]);
                let products = factors.map(|(x, w)| f64::from(round(*x)) * f64::from(round(*w)));
                let exact: f64 = products.sum::<f64>() + f64::from(bias[j]) + f64::from(added[i * n + j]);
                let off = (f64::from(*found) - exact).abs();
                assert!(
                    off <= 1e-6 * (4.0 + k as f64),
                    "{rows} x {k} x {n} at {i}, {j}: {found} and {exact}"
                );
            }
            // The same bits alone.
            let mut alone = added[i * n..][..n].to_vec();
            linear(
                &kernels,
                &mut alone,
                &x[i * k..][..k],
                1,
                packed.forward(),
                Some(&bias),
                Addend::Destination,
            );
            assert!(
                alone.iter().zip(row).all(|(a, b)| a.to_bits() == b.to_bits()),
                "{rows} x {k} x {n}, row {i}"
            );
        }
    }
}

#[test]
fn columns_and_rows_behind_the_matrix_change_nothing() {
    let Some(simd) = Simd::new(SimdLevel::Avx512).filter(|_| kernel().is_some()) else {
        println!("SKIPPED: this CPU has no AMX");
        return;
    };
    let kernels = Kernels::new(simd);
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
