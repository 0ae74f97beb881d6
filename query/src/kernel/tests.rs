//! Promise: a dot product has the bits of the portable order on every instruction set, together with
//! any other row or query.

use std::ops::Range;

use super::*;
use gstore_store::Signs;
use proptest::prelude::*;

/// The order written down once more, one pair at a time.
fn naive(row: &[f32], query: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    for k in 0..row.len().next_multiple_of(16) {
        let (x, q) = if k < row.len() { (row[k], query[k]) } else { (0.0, 0.0) };
        lanes[k % 16] = x.mul_add(q, lanes[k % 16]);
    }
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
    }
    lanes[0]
}

fn widen(rows: Values<'_>, dim: usize, groups: &[Range<usize>]) -> Vec<f32> {
    match rows {
        Values::I1(signs) => {
            let mut all = Vec::new();
            for words in signs.words().chunks_exact(signs.each()) {
                let mut first = 0;
                for group in groups {
                    let value =
                        |i: usize| if words[first + i / 64] >> (i % 64) & 1 == 1 { -1.0 } else { 1.0 };
                    all.extend((0..group.len()).map(value));
                    first += group.len().div_ceil(64);
                }
            }
            assert_eq!(all.len(), signs.vectors() * dim);
            all
        }
        Values::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
        Values::F32(v) => v.to_vec(),
        Values::I8(v) => v.iter().map(|&x| f32::from(x)).collect(),
    }
}

/// Products of each group by themselves, and their scaled sums over all groups and over every other one.
fn check(rows: Values<'_>, vectors: &[f32], dim: usize, groups: &[Range<usize>]) {
    let queries = Queries::new(vectors, dim, groups);
    let spans: Vec<_> = if groups.is_empty() { vec![0..dim] } else { groups.to_vec() };
    let wide = widen(rows, dim, &spans);
    let (count, len) = (wide.len() / dim, queries.len());
    let mut want = vec![vec![0.0; count * len]; spans.len()];
    for (want, span) in want.iter_mut().zip(&spans) {
        for (i, want) in want.iter_mut().enumerate() {
            *want = naive(&wide[i / len * dim..][span.clone()], &vectors[i % len * dim..][span.clone()]);
        }
    }
    let factors: Vec<f32> =
        (0..count * spans.len()).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.013).collect();
    let mut scratch = Scratch::default();
    for kernel in Kernel::available() {
        let same = |what: &str, got: &[f32], want: &[f32]| {
            for (i, (got, want)) in got.iter().zip(want).enumerate() {
                assert!(
                    got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan()),
                    "{} row {} query {} {what}: {got} is not {want}",
                    kernel.name(),
                    i / len,
                    i % len
                );
            }
        };
        for (g, want) in want.iter().enumerate() {
            let (ones, mut out) = (vec![1.0; count * spans.len()], vec![f32::NAN; want.len()]);
            kernel.scaled_dots(rows, &queries, &[g], &ones, &mut scratch, &mut out);
            // A sum that began with +0 is never -0.
            let want: Vec<f32> = want.iter().map(|want| 0.0 + want).collect();
            same(&format!("group {g}"), &out, &want);
        }
        for every in [1, 2] {
            let chosen: Vec<usize> = (0..spans.len()).step_by(every).collect();
            let mut sums = vec![0.0f32; count * len];
            for &g in &chosen {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum += want[g][i] * factors[i / len * spans.len() + g];
                }
            }
            let mut out = vec![f32::NAN; sums.len()];
            kernel.scaled_dots(rows, &queries, &chosen, &factors, &mut scratch, &mut out);
            same("summed", &out, &sums);
            // Here and there, and all but one.
            for wanted in [|row: usize| row % 7 % 3 != 1, |row| row != 9] {
                let some: Vec<usize> = (0..count).filter(|row| wanted(*row)).collect();
                let of = |all: &[f32], each: usize| -> Vec<f32> {
                    some.iter().flat_map(|row| &all[row * each..(row + 1) * each]).copied().collect()
                };
                let mut out = vec![f32::NAN; some.len() * len];
                let factors = of(&factors, spans.len());
                kernel.scaled_dots_at(rows, &some, &queries, &chosen, &factors, &mut scratch, &mut out);
                same("of some rows", &out, &of(&sums, len));
            }
        }
    }
}

fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -2.0f32..2.0,
        1 => Just(-0.0f32),
        1 => (-30i32..30, -1.0f32..1.0).prop_map(|(e, m)| m * 2f32.powi(e * 4)),
        1 => (0u32..0x0080_0000).prop_map(f32::from_bits),
    ]
}

fn half_value() -> impl Strategy<Value = f16> {
    any::<u16>()
        .prop_map(f16::from_bits)
        .prop_map(|h| if h.is_finite() { h } else { f16::from_bits(h.to_bits() & 0x03ff) })
}

prop_compose! {
    fn shape()(dim in 1usize..140, rows in 0usize..11, queries in 0usize..36, cut in 0usize..140)
        -> (usize, usize, usize, Vec<Range<usize>>) {
        let cut = cut.min(dim);
        let groups = if cut == 0 { vec![] } else { vec![0..cut, cut..dim] };
        (dim, rows, queries, groups)
    }
}

proptest! {
    #[test]
    fn half_rows((dim, rows, count, groups) in shape(), seed in proptest::collection::vec((half_value(), value()), 200)) {
        let x: Vec<f16> = (0..rows * dim).map(|i| seed[(i * 7 + i / 200) % 200].0).collect();
        let q: Vec<f32> = (0..count * dim).map(|i| seed[(i * 11 + i / 200) % 200].1).collect();
        check(Values::F16(&x), &q, dim, &groups);
    }

    #[test]
    fn single_rows((dim, rows, count, groups) in shape(), seed in proptest::collection::vec(value(), 200)) {
        let x: Vec<f32> = (0..rows * dim).map(|i| seed[(i * 7 + i / 200) % 200]).collect();
        let q: Vec<f32> = (0..count * dim).map(|i| seed[(i * 11 + i / 200) % 200]).collect();
        check(Values::F32(&x), &q, dim, &groups);
    }

    #[test]
    fn byte_rows((dim, rows, count, groups) in shape(), seed in proptest::collection::vec((any::<i8>(), value()), 200)) {
        let x: Vec<i8> = (0..rows * dim).map(|i| seed[(i * 7 + i / 200) % 200].0).collect();
        let q: Vec<f32> = (0..count * dim).map(|i| seed[(i * 11 + i / 200) % 200].1).collect();
        check(Values::I8(&x), &q, dim, &groups);
    }
}

/// The words of `rows` vectors whose groups cover every coordinate, with bits of a hash, beyond the end of a
/// group too: products are of coordinates alone.
fn words(rows: usize, dim: usize, groups: &[Range<usize>]) -> (Vec<u64>, usize) {
    let spans = if groups.is_empty() { vec![0..dim] } else { groups.to_vec() };
    let each: usize = spans.iter().map(|span| span.len().div_ceil(64)).sum();
    let mut words = Vec::new();
    for row in 0..rows {
        for (g, span) in spans.iter().enumerate() {
            for start in (0..span.len()).step_by(64) {
                words.push(gstore_core::mix(((row * 31 + g) * 1009 + start) as u64 + 1));
            }
        }
    }
    (words, each)
}

proptest! {
    #[test]
    fn sign_rows((dim, rows, count, groups) in shape(), seed in proptest::collection::vec(value(), 200)) {
        let (words, each) = words(rows, dim, &groups);
        let q: Vec<f32> = (0..count * dim).map(|i| seed[(i * 11 + i / 200) % 200]).collect();
        check(Values::I1(Signs::new(&words, each)), &q, dim, &groups);
    }
}

#[test]
fn long_rows_of_signs() {
    let dim = 8192 + 5;
    for (rows, count) in [(61, 1), (61, 2), (50, 9), (13, 40), (1, 1), (0, 3)] {
        let q: Vec<f32> = (0..count * dim).map(|i| (i as f32 * 0.71).cos()).collect();
        for groups in [&[][..], &[0..1000, 1000..1000, 1000..3009, 3009..3011, 3011..dim]] {
            let (words, each) = words(rows, dim, groups);
            check(Values::I1(Signs::new(&words, each)), &q, dim, groups);
        }
    }
}

#[test]
#[should_panic(expected = "rows of 3 words for 2")]
fn rows_of_other_groups_are_refused() {
    let queries = Queries::new(&[1.0; 70], 70, &[]);
    let rows = Values::I1(Signs::new(&[0; 3], 3));
    Kernel::detect().scaled_dots(rows, &queries, &[0], &[1.0], &mut Scratch::default(), &mut [0.0]);
}

#[test]
fn every_half_is_widened_exactly() {
    let all: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).filter(|h| h.is_finite()).collect();
    check(Values::F16(&all), &[1.0], 1, &[]);
}

#[test]
fn products_that_underflow_and_overflow() {
    let tiny = [-1.0e-30f32, 1.0e-30, -1.0e-45, 0.0, -0.0];
    let x: Vec<f32> = (0..5 * 37).map(|i| tiny[i % 5]).collect();
    let q: Vec<f32> = (0..3 * 37).map(|i| tiny[(i * 3 + 1) % 5]).collect();
    check(Values::F32(&x), &q, 37, &[]);
    let huge: Vec<f32> = (0..3 * 40).map(|i| if i % 2 == 0 { f32::MAX } else { -f32::MAX }).collect();
    check(Values::F32(&huge), &[2.0; 40], 40, &[]);
}

#[test]
fn long_rows_beside_many_queries() {
    let dim = 8192 + 5;
    let x: Vec<f16> = (0..9 * dim).map(|i| f16::from_f32((i as f32 * 0.37).sin() * 3e4)).collect();
    let q: Vec<f32> = (0..13 * dim).map(|i| (i as f32 * 0.71).cos()).collect();
    check(Values::F16(&x), &q, dim, &[0..4096, 4096..dim]);
}

#[test]
fn long_rows_beside_one_query() {
    let (dim, rows) = (4096 + 21, 7);
    let x: Vec<f32> = (0..rows * dim).map(|i| (i as f32 * 0.37).sin() * 3e4).collect();
    let halves: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
    let q: Vec<f32> = (0..dim).map(|i| (i as f32 * 0.71).cos()).collect();
    for groups in [&[][..], &[0..1000, 1000..1000, 1000..3009, 3009..3011, 3011..dim]] {
        check(Values::F16(&halves), &q, dim, groups);
        check(Values::F32(&x), &q, dim, groups);
    }
}

#[test]
fn any_number_of_queries_beside_any_number_of_rows() {
    let dim = 3 * 16 + 7;
    for (rows, count) in
        [(1, 1024), (97, 259), (49, 64), (48, 65), (50, 1000), (5, 5), (100, 9), (99, 13), (7, 4), (23, 1)]
    {
        let x: Vec<f16> = (0..rows * dim).map(|i| f16::from_f32((i as f32 * 0.61).sin() * 9e3)).collect();
        let q: Vec<f32> = (0..count * dim).map(|i| (i as f32 * 0.17).cos()).collect();
        check(Values::F16(&x), &q, dim, &[]);
        let x: Vec<i8> = (0..rows * dim).map(|i| (i * 71 % 255) as i8).collect();
        check(Values::I8(&x), &q, dim, &[0..16, 16..16, 16..40, 40..dim]);
    }
}

#[test]
fn tiles_of_every_width_beside_panels_of_every_remainder() {
    let dim = 3 * 16 + 5;
    for count in 4..=25 {
        for rows in [1, 2, 3, 4, 5, 7, 13] {
            let x: Vec<f32> = (0..rows * dim).map(|i| (i as f32 * 0.61).sin() * 9e3).collect();
            let halves: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
            let bytes: Vec<i8> = (0..rows * dim).map(|i| (i * 71 % 255) as i8).collect();
            let q: Vec<f32> = (0..count * dim).map(|i| (i as f32 * 0.17).cos()).collect();
            for rows in [Values::F16(&halves), Values::F32(&x), Values::I8(&bytes)] {
                check(rows, &q, dim, &[0..33, 33..dim]);
            }
        }
    }
}

#[test]
fn rows_of_several_cuts_beside_many_queries() {
    let dim = 2 * 1024 + 3 * 16 + 5;
    for (rows, count) in [(53, 5), (50, 11), (50, 33), (13, 24), (7, 270)] {
        let x: Vec<f32> = (0..rows * dim).map(|i| (i as f32 * 0.37).sin()).collect();
        let q: Vec<f32> = (0..count * dim).map(|i| (i as f32 * 0.71).cos()).collect();
        check(Values::F32(&x), &q, dim, &[0..1024, 1024..2048 + 17, 2048 + 17..dim]);
        check(Values::F32(&x), &q, dim, &[]);
    }
}

#[test]
fn many_small_groups() {
    let (dim, rows) = (64 * 12, 37);
    let groups: Vec<Range<usize>> = (0..12).map(|g| g * 64..(g + 1) * 64).collect();
    for count in [1, 2, 3, 4, 7, 16] {
        let x: Vec<f16> = (0..rows * dim).map(|i| f16::from_f32((i as f32 * 0.37).sin() * 3e4)).collect();
        let q: Vec<f32> = (0..count * dim).map(|i| (i as f32 * 0.71).cos()).collect();
        check(Values::F16(&x), &q, dim, &groups);
    }
}

#[test]
fn reduces_as_the_naive_tree() {
    let lanes: [f32; 16] = std::array::from_fn(|i| (i as f32 + 0.3).exp());
    let mut want = lanes;
    for width in [8, 4, 2, 1] {
        for i in 0..width {
            want[i] += want[i + width];
        }
    }
    assert_eq!(reduce(&lanes).to_bits(), want[0].to_bits());
}

#[test]
fn packed_vectors_come_back() {
    let dim = 83;
    for count in [0, 1, 8, 9, 21] {
        let vectors: Vec<f32> = (0..count * dim).map(|i| (i as f32 * 0.71).cos()).collect();
        for groups in [vec![], vec![0..17, 17..17, 17..50, 50..dim]] {
            assert_eq!(Queries::new(&vectors, dim, &groups).vectors(), vectors);
        }
    }
}
