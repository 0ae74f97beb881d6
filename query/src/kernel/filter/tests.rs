//! Promise: the filter is no further from the exact kernel than its bound says, whatever
//! the rows and queries are.

use gstore_store::Signs;
use half::f16;
use proptest::prelude::*;

use std::ops::Range;

use super::super::Queries;
use super::*;

/// The largest share of a bound that was used, of the filters that round to the same.
fn check(rows: Values<'_>, vectors: &[f32], dim: usize, groups: &[Range<usize>], factor: f32) -> [f32; 2] {
    let mut used = [0.0f32; 2];
    for filter in Filter::all() {
        let of = &mut used[filter.rounding() as usize];
        *of = of.max(check_filter(filter, rows, vectors, (dim, groups), factor));
    }
    used
}

fn check_filter(
    filter: Filter,
    rows: Values<'_>,
    vectors: &[f32],
    (dim, groups): (usize, &[Range<usize>]),
    factor: f32,
) -> f32 {
    let kernel = Kernel::detect();
    let (exact, narrow) =
        (Queries::new(vectors, dim, groups), FilterQueries::new(filter, vectors, dim, groups));
    let len = match rows {
        Values::F16(values) => values.len(),
        Values::F32(values) => values.len(),
        Values::I8(values) => values.len(),
        Values::I1(rows) => rows.vectors() * dim,
    };
    let (count, queries) = (len / dim, exact.len());
    let chosen: Vec<usize> = (0..exact.groups()).collect();
    let factors: Vec<f32> = (0..count * chosen.len()).map(|i| factor * (1.0 + (i % 7) as f32)).collect();
    let mut scratch = Scratch::default();
    let (mut want, mut got) = (vec![0.0; count * queries], vec![f32::NAN; count * queries]);
    let mut norms = vec![RowNorms::default(); count];
    kernel.scaled_dots(rows, &exact, &chosen, &factors, &mut scratch, &mut want);
    filter.scaled_dots(rows, &narrow, &chosen, &factors, &mut scratch, &mut got, &mut norms);
    let bound = narrow.bound(&chosen, 1);
    let mut errors = vec![0.0; count * queries];
    norms.iter().zip(errors.chunks_mut(queries.max(1))).for_each(|(row, errors)| bound.add_to(*row, errors));
    let mut used = 0.0f32;
    for (i, ((got, want), most)) in got.iter().zip(&want).zip(errors).enumerate() {
        let (row, query) = (i / queries, i % queries);
        if !most.is_finite() {
            continue;
        }
        let off = (f64::from(*got) - f64::from(*want)).abs();
        assert!(
            off <= f64::from(most),
            "row {row} query {query}: {got} is {off:e} from {want}, bound {most:e}"
        );
        used = used.max((off / f64::from(most)) as f32);
    }
    used
}

/// Numbers in -1..1, always the same.
fn numbers(len: usize, mut seed: u64) -> Vec<f32> {
    let next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn halves(values: &[f32]) -> Vec<f16> {
    values.iter().map(|value| f16::from_f32(*value)).collect()
}

#[test]
fn bounds_of_ordinary_rows_are_small() {
    Filter::all().into_iter().for_each(bounds_are_small);
}

fn bounds_are_small(filter: Filter) {
    let (dim, rows, count) = (4096, 20, 9);
    let (x, q) = (halves(&numbers(rows * dim, 1)), numbers(count * dim, 2));
    let queries = FilterQueries::new(filter, &q, dim, &[]);
    // Of bytes the step is 1 or 2 % of the largest value, and most errors are up to half of it.
    let range = match filter.0 {
        Multiply::Bf16 => 0.002..0.006,
        Multiply::Avx2 => 0.01..0.02,
        Multiply::AvxVnni | Multiply::Avx512Vnni => 0.005..0.01,
    };
    let (mut out, mut norms) = (vec![0.0; rows * count], vec![RowNorms::default(); rows]);
    let factors = vec![1.0; rows];
    filter.scaled_dots(
        Values::F16(&x),
        &queries,
        &[0],
        &factors,
        &mut Scratch::default(),
        &mut out,
        &mut norms,
    );
    let bound = queries.bound(&[0], 1);
    for (row, norms) in norms.iter().enumerate() {
        let mut errors = vec![0.0; count];
        bound.add_to(*norms, &mut errors);
        let square: f64 = x[row * dim..][..dim].iter().map(|x| x.to_f64().powi(2)).sum();
        assert!((f64::from(norms.norm) / square.sqrt() - 1.0).abs() < 1e-3, "{norms:?} {square}");
        for (query, error) in errors.iter().enumerate() {
            let of_query: f64 = q[query * dim..][..dim].iter().map(|q| f64::from(*q).powi(2)).sum();
            let relative = f64::from(*error) / (square * of_query).sqrt();
            assert!(range.contains(&relative), "{relative}");
        }
    }
}

#[test]
fn errors_that_all_point_the_same_way() {
    // Just above the middle between two numbers of bf16: every coordinate is rounded up by nearly half a
    // unit.
    let up = 1.0 + f32::exp2(-8.0) + f32::exp2(-10.0);
    let dim = 4096;
    let rows = halves(&vec![up; 5 * dim]);
    for count in [1, 7, 40, 300] {
        let [_, used] = check(Values::F16(&rows), &vec![up; count * dim], dim, &[], 0.5);
        assert!(used == 0.0 || used > 0.9, "the bound of bf16 is met to {used}");
        check(Values::F16(&rows), &vec![-up; count * dim], dim, &[0..1024, 1024..dim], 0.5);
    }
    // A part of a step of bytes above the next one, but for the largest value.
    let mut q = vec![126.2; 9 * dim];
    q.iter_mut().step_by(dim).for_each(|largest| *largest = 127.0);
    let [used, _] = check(Values::F32(&q), &q, dim, &[], 0.5);
    assert!(used == 0.0 || used > 0.9, "the bound of bytes is met to {used}");
    let rows = vec![up + f32::exp2(-20.0); 3 * dim];
    check(Values::F32(&rows), &vec![up; 9 * dim], dim, &[], 1.0);
    // Rows and queries that bf16 holds: what is left is the rounding of the sums.
    check(Values::I8(&vec![127; 3 * dim]), &vec![1.0 + f32::exp2(-7.0); 9 * dim], dim, &[], 1.0);
}

#[test]
fn sums_of_16_bits_are_full_and_hold() {
    // Rows at their largest; of the queries only the values of one sum are not zero, all at the largest that
    // it allows. Were others added to it, they would not fit.
    let dim = 200;
    let rows = halves(&vec![1.0; 5 * dim]);
    for at in NARROW_SUMS.into_iter().chain([[0, 1, 2, 3], [4, 5, 6, 7], [0, 2, 4, 6], [1, 3, 5, 7]]) {
        for groups in [vec![], vec![0..7, 7..90, 90..dim]] {
            let one = |k: usize| {
                let start =
                    groups.iter().rfind(|group: &&Range<usize>| group.start <= k).map_or(0, |g| g.start);
                if at.contains(&((k - start) % 8)) { 1.0 } else { 0.0 }
            };
            let q: Vec<f32> = (0..3 * dim).map(|i| one(i % dim)).collect();
            check(Values::F16(&rows), &q, dim, &groups, 1.0);
        }
    }
}

#[test]
fn rows_that_are_taken_in_segments() {
    let dim = 16_384 + 33;
    let rows = halves(&numbers(11 * dim, 5));
    let used = check(Values::F16(&rows), &numbers(17 * dim, 6), dim, &[0..9000, 9000..9001, 9001..dim], 0.5);
    assert!(used.iter().all(|used| *used < 0.5), "bounds are met to {used:?}");
}

#[test]
fn sums_that_cancel() {
    let dim = 16_384;
    let big = |i: usize| if i.is_multiple_of(2) { 3e4 } else { -3e4 };
    let x: Vec<f32> = numbers(5 * dim, 3).iter().enumerate().map(|(i, x)| big(i / 16) + x).collect();
    let q: Vec<f32> = numbers(6 * dim, 4).iter().map(|q| 1.0 + q * 1e-3).collect();
    check(Values::F16(&halves(&x)), &q, dim, &[], 1e-4);
    check(Values::F32(&x), &q, dim, &[0..5000, 5000..dim], 1e-4);
}

#[test]
fn rows_of_any_magnitude() {
    let dim = 999;
    let (x, q) = (numbers(40 * dim, 5), numbers(8 * dim, 6));
    for (rows, queries) in [
        (-140, 0),
        (-126, -1),
        (-70, -70),
        (-60, 100),
        (100, -120),
        (59, 50),
        (70, 0),
        (127, 0),
        (0, 127),
        (120, 120),
    ] {
        let x: Vec<f32> = x.iter().map(|x| x * f32::exp2(rows as f32)).collect();
        let q: Vec<f32> = q.iter().map(|q| q * f32::exp2(queries as f32)).collect();
        check(Values::F32(&x), &q, dim, &[0..500, 500..dim], 1.0);
        check(Values::F32(&x), &q, dim, &[], f32::exp2(-rows as f32 * 0.9));
    }
    // One coordinate outweighs all others, rows of zeros, equal rows.
    let mut one = numbers(6 * dim, 7);
    one.iter_mut().step_by(dim).for_each(|x| *x = 1e9);
    check(Values::F32(&one), &q, dim, &[], 1.0);
    check(Values::F32(&vec![0.0; 6 * dim]), &q, dim, &[], 1.0);
    check(Values::F16(&vec![f16::from_bits(1); 6 * dim]), &q, dim, &[], 1.0);
}

#[test]
fn nothing_is_said_of_rows_that_overflow() {
    for filter in Filter::all() {
        for (row, query) in
            [(f32::MAX, 1.0), (1e30, 1e-30), (1.0, f32::MAX), (f32::NAN, 1.0), (1.0, f32::INFINITY)]
        {
            nothing_is_said(filter, row, query);
        }
    }
}

fn nothing_is_said(filter: Filter, row: f32, query: f32) {
    let dim = 64;
    let queries = FilterQueries::new(filter, &vec![query; 5 * dim], dim, &[]);
    let (mut out, mut norms) = ([0.0; 5], [RowNorms::default()]);
    let rows = vec![row; dim];
    filter.scaled_dots(
        Values::F32(&rows),
        &queries,
        &[0],
        &[1.0],
        &mut Scratch::default(),
        &mut out,
        &mut norms,
    );
    let mut errors = [0.0; 5];
    queries.bound(&[0], 1).add_to(norms[0], &mut errors);
    assert!(errors.iter().all(|error| !error.is_finite()), "{errors:?}");
}

proptest! {
    #[test]
    fn any_rows(
        dim in 1usize..200,
        rows in 0usize..60,
        count in 0usize..30,
        cut in 0usize..200,
        factor in -3.0f32..3.0,
        seed in proptest::collection::vec((any::<f32>(), -2.0f32..2.0, any::<i8>(), any::<u16>()), 173),
    ) {
        let cut = cut.min(dim);
        let groups = if cut == 0 { vec![] } else { vec![0..cut, cut..dim] };
        let at = |i: usize| seed[(i * 7 + i / 173) % 173];
        let finite = |x: f32| if x.is_finite() { x } else { 1.0 };
        let q: Vec<f32> = (0..count * dim).map(|i| at(i * 3 + 1).1).collect();
        let wild: Vec<f32> = (0..count * dim).map(|i| finite(at(i * 5 + 2).0)).collect();
        let x: Vec<f32> = (0..rows * dim).map(|i| finite(at(i).0)).collect();
        check(Values::F32(&x), &q, dim, &groups, factor);
        check(Values::F32(&x), &wild, dim, &groups, factor);
        let x: Vec<i8> = (0..rows * dim).map(|i| at(i).2).collect();
        check(Values::I8(&x), &q, dim, &groups, factor);
        let spans = if groups.is_empty() { vec![0..dim] } else { groups.clone() };
        let each: usize = spans.iter().map(|span| span.len().div_ceil(64)).sum();
        let words: Vec<u64> = (0..rows * each).map(|i| gstore_core::mix(u64::from(at(i).3))).collect();
        check(Values::I1(Signs::new(&words, each)), &q, dim, &groups, factor);
        let x: Vec<f16> = (0..rows * dim).map(|i| f16::from_bits(at(i).3)).map(|x| if x.is_finite() { x } else { f16::ONE }).collect();
        check(Values::F16(&x), &q, dim, &groups, factor);
        check(Values::F16(&x), &wild, dim, &groups, factor);
    }
}
