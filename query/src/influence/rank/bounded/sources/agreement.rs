//! Promise: a loop over rows and one over queries say the same of codes, and no less than double precision
//! does.

use super::bounds::{CodeFactors, Measure};
use super::found::FoundVectors;
use super::sums::{AddMany, AddOne, EstimateSums, Finish, LEAST_VARIANCE, OneQuery, QueryParts, share};
use crate::sketch::{ByteFactors, Factor, Query, Residual, RowRecord};

/// Rows and queries of any kind, by a loop over rows and by one over queries.
#[test]
fn both_loops_say_the_same() {
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let query = Query { norm: 1.7, byte_step: 0.003, fine_step: 0.002, fine_error: 1e-6, ..Query::default() };
    let count = 101;
    let records: Vec<RowRecord> = (0..count)
        .map(|_| RowRecord { length: 3.0 * next(), norm: next(), ..RowRecord::default() })
        .collect();
    let factors: Vec<ByteFactors> = (0..count)
        .map(|_| ByteFactors {
            residual: Residual { scale: next(), residual: 0.01 * next() },
            factor: Factor { factor: next(), spread: 0.01 * next() },
        })
        .collect();
    let dots: Vec<i32> = (0..2 * count as i32).map(|i| (i * i * 7919) % 40_001 - 20_000).collect();
    for cosine in [true, false] {
        let measure = Measure { cosine, dot_scale: 0.3, slack: 1e-5, freedom: 60.0 };
        compare::<1>(&measure, &query, &records, &factors, &dots[..count]);
        compare::<2>(&measure, &query, &records, &factors, &dots);
    }
}

fn compare<const N: usize>(
    measure: &Measure,
    query: &Query,
    records: &[RowRecord],
    factors: &[ByteFactors],
    dots: &[i32],
) where
    ByteFactors: CodeFactors<N>,
{
    let (unit, count) = (0.5, records.len());
    let step: fn(&Query) -> f64 = if N == 2 { |query| query.fine_step } else { |query| query.byte_step };
    let arch = gstore_core::instructions::arch();
    // In a stretch, and with places of their own.
    let all: Vec<u32> = (0..count as u32).collect();
    let stretch = FoundVectors { vectors: all.clone(), places: all.clone() };
    let apart =
        FoundVectors { vectors: all.iter().copied().filter(|i| i % 3 != 1).collect(), places: Vec::new() };
    let apart = FoundVectors { places: apart.vectors.clone(), ..apart };
    let some: Vec<i32> =
        dots.chunks_exact(N).zip(0..).filter(|(_, i)| i % 3 != 1).flat_map(|(d, _)| d.to_vec()).collect();
    let run = |many: bool, found: &FoundVectors, dots: &[i32]| {
        let mut all = [vec![0.0f32; count], vec![0.0f32; count], vec![LEAST_VARIANCE; count]];
        let [values, errors, variances] = &mut all;
        let sums = EstimateSums { values, errors, variances, share: share(1) };
        if many {
            let mut parts = QueryParts::default();
            parts.set((std::slice::from_ref(query), step), unit, N == 2);
            let of = |(record, factors): (&RowRecord, &ByteFactors)| {
                CodeFactors::<N>::of(factors, measure, record).narrow()
            };
            let rows: Vec<_> = records.iter().zip(factors).map(of).collect();
            arch.dispatch(AddMany::<N> { parts: &parts, rows: &rows, dots, places: &found.places, sums });
        } else {
            let (dots, _) = dots.as_chunks::<N>();
            let query = OneQuery::new((query, step(query)), unit, share(1));
            arch.dispatch(AddOne { measure, query, records, factors, found, dots, sums });
        }
        let [values, errors, variances] = &mut all;
        let sums =
            EstimateSums { values, errors, variances: if N == 2 { &mut [] } else { variances }, share: 0.0 };
        arch.dispatch(Finish { sums, z: 5.0, unit, checkpoints: 1 });
        all
    };
    let (one, many) = (run(false, &stretch, dots), run(true, &stretch, dots));
    let scattered = run(false, &apart, &some);
    for i in 0..count {
        assert!(i % 3 == 1 || (0..3).all(|part| scattered[part][i].to_bits() == one[part][i].to_bits()));
        let row = CodeFactors::<N>::of(&factors[i], measure, &records[i]);
        let step = step(query);
        let dot = match N {
            2 => f64::from(dots[2 * i]) + f64::from(dots[2 * i + 1]) / 254.0,
            _ => f64::from(dots[i]),
        };
        let variance =
            if N == 2 { 0.0 } else { row.across * query.norm.powi(2) + row.rounded * 0.25 * step * step };
        let value = row.of_dot * step * dot;
        let error = row.certain * query.norm + row.fine * query.fine_error + 5.0 * variance.sqrt();
        for [values, errors, _] in [&one, &many] {
            let off = (f64::from(values[i]) - value).abs();
            assert!(f64::from(errors[i]) >= error + off, "{N} {i}");
            assert!(f64::from(errors[i]) <= error * 1.001 + 1e-5 * value.abs() + 1e-30, "{N} {i}");
        }
    }
}
