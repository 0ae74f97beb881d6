//! Promise: products of codes are the exact sums of decoded values times the query's, on
//! every instruction set.

use super::*;
use proptest::prelude::*;

/// The decoded value of one coordinate, read bit by bit.
fn value(codes: Codes<'_>, dim: usize, row: usize, k: usize) -> i64 {
    let bytes = &codes.bytes[row * codes.kind.row_bytes(dim)..];
    match codes.kind {
        CodeKind::Sign => i64::from(bytes[k / 8] >> (k % 8) & 1) * 2 - 1,
        CodeKind::Nibble => i64::from(bytes[k / 2] >> (4 * (k % 2)) & 15) * 2 - 15,
        CodeKind::Int8 => i64::from(bytes[k] as i8),
    }
}

fn check(codes: Codes<'_>, vectors: &[i8], dim: usize) {
    let rows = codes.bytes.len() / codes.kind.row_bytes(dim);
    let queries = CodeQueries::new(vectors, dim);
    let decoded: Vec<i64> = (0..rows * dim).map(|i| value(codes, dim, i / dim, i % dim)).collect();
    let dot = |row: usize, q: usize| {
        let pairs = decoded[row * dim..][..dim].iter().zip(&vectors[q * dim..][..dim]);
        pairs.map(|(x, q)| x * i64::from(*q)).sum::<i64>()
    };
    let want: Vec<i64> =
        (0..rows).flat_map(|r| (0..queries.len()).map(move |q| (r, q))).map(|(r, q)| dot(r, q)).collect();
    // Not in order, and as many as rows at least.
    let chosen: Vec<u32> = (0..rows as u32).rev().step_by(3).chain(0..rows as u32).collect();
    for kernel in Kernel::available() {
        let mut out = vec![i32::MIN; want.len()];
        kernel.code_dots(codes, &queries, &mut out);
        for (i, (got, want)) in out.iter().zip(&want).enumerate() {
            let (r, q) = (i / queries.len(), i % queries.len());
            assert_eq!(i64::from(*got), *want, "{} {:?} row {r} query {q}", kernel.name(), codes.kind);
        }
        let mut out = vec![i32::MIN; chosen.len() * queries.len()];
        kernel.code_dots_at(codes, &chosen, &queries, &mut out);
        for (i, got) in out.iter().enumerate() {
            let (r, q) = (chosen[i / queries.len()] as usize, i % queries.len());
            assert_eq!(
                i64::from(*got),
                want[r * queries.len() + q],
                "{} {:?} row {r} query {q}",
                kernel.name(),
                codes.kind
            );
        }
    }
}

fn all_kinds(bytes: &[u8], rows: usize, vectors: &[i8], dim: usize) {
    for kind in [CodeKind::Sign, CodeKind::Nibble, CodeKind::Int8] {
        let small: Vec<i8>;
        let vectors = match kind {
            CodeKind::Sign => {
                small = vectors.iter().map(|value| value % (MAX_SIGN_VALUE + 1)).collect();
                &small
            }
            CodeKind::Nibble | CodeKind::Int8 => vectors,
        };
        check(Codes { kind, bytes: &bytes[..rows * kind.row_bytes(dim)] }, vectors, dim);
    }
}

proptest! {
    #[test]
    fn any_codes(
        steps in 1usize..30,
        rows in 0usize..30,
        count in 0usize..40,
        bytes in proptest::collection::vec(any::<u8>(), 211),
        values in proptest::collection::vec(-127i8..=127, 223),
    ) {
        let dim = steps * CODE_STEP;
        let bytes: Vec<u8> = (0..rows * dim).map(|i| bytes[(i * 7 + i / 211) % 211]).collect();
        let vectors: Vec<i8> = (0..count * dim).map(|i| values[(i * 11 + i / 223) % 223]).collect();
        all_kinds(&bytes, rows, &vectors, dim);
        // Sums of nibbles stay narrow for longer.
        let half: Vec<i8> = vectors.iter().map(|value| value / 2).collect();
        all_kinds(&bytes, rows, &half, dim);
    }
}

/// Values that are looked up, in several parts with a short last one, and rows that do not fill registers and
/// blocks.
#[test]
fn signs_of_several_parts() {
    let most = MAX_SIGN_VALUE;
    for (dim, rows, count) in [(64, 1, 3), (2048, 33, 4), (2048 + 64, 65, 5), (3 * 2048, 300, 18)] {
        let bytes: Vec<u8> = (0..rows * dim).map(|i| (i * i % 251) as u8).collect();
        let vectors: Vec<i8> = (0..count * dim).map(|i| (i * 29 % 31) as i8 - most).collect();
        all_kinds(&bytes, rows, &vectors, dim);
        for (code, value) in [(0u8, most), (0xff, most), (0, -most), (0xff, -most)] {
            all_kinds(&vec![code; rows * dim], rows, &vec![value; count * dim], dim);
        }
    }
}

#[test]
fn a_thousand_queries() {
    let (dim, rows, count) = (192, 101, 1024);
    let bytes: Vec<u8> = (0..rows * dim).map(|i| (i * i % 251) as u8).collect();
    let vectors: Vec<i8> = (0..count * dim).map(|i| (i * 31 % 255) as i8).map(|v| v.max(-127)).collect();
    all_kinds(&bytes, rows, &vectors, dim);
}

#[test]
fn the_largest_sums() {
    for (code, value) in
        [(0x80u8, 127i8), (0x80, -127), (0x7f, 127), (0x7f, -127), (0, 127), (0xff, -127), (0xff, 127)]
    {
        // The last: more steps than are unpacked at a time, for as many queries as they are unpacked for.
        for (dim, count) in [(MAX_CODE_DIM, 1), (MAX_CODE_DIM, 9), (65 * CODE_STEP, 17)] {
            let rows = 4;
            all_kinds(&vec![code; rows * dim], rows, &vec![value; count * dim], dim);
        }
    }
}

#[test]
fn long_rows() {
    // The last is taken in segments where queries are side by side.
    for (dim, count) in [(16_448, 1), (16_448, 2), (16_448, 3), (16_448, 5), (16_448, 17), (32_832, 17)] {
        let rows = 13;
        let bytes: Vec<u8> = (0..rows * dim).map(|i| (i * 37 % 256) as u8).collect();
        let vectors: Vec<i8> = (0..count * dim).map(|i| (i * 29 % 255) as i8).map(|v| v.max(-127)).collect();
        all_kinds(&bytes, rows, &vectors, dim);
    }
}

#[test]
#[should_panic(expected = "-127..=127")]
fn a_query_of_minus_128_is_refused() {
    CodeQueries::new(&[i8::MIN; 64], 64);
}

#[test]
#[should_panic(expected = "values up to 15")]
fn signs_are_not_multiplied_with_more_than_tables_hold() {
    let queries = CodeQueries::new(&[16; 64], 64);
    Kernel::detect().code_dots(Codes { kind: CodeKind::Sign, bytes: &[0; 8] }, &queries, &mut [0]);
}

#[test]
#[should_panic(expected = "no codes of")]
fn more_coordinates_than_a_sum_holds_are_refused() {
    CodeQueries::new(&[], MAX_CODE_DIM + 64);
}
