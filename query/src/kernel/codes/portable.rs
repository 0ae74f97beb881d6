//! The definition in plain Rust, and the fallback.

use super::{CODE_STEP, CodeKind, CodeQueries, CodeRows};

pub(super) fn rows(rows: CodeRows<'_>, queries: &CodeQueries, out: &mut [i32]) {
    if queries.is_empty() {
        return;
    }
    let mut decoded = vec![0i8; queries.dim()];
    for (i, out) in out.chunks_exact_mut(queries.len()).enumerate() {
        decode(rows.codes.kind, rows.row(i), &mut decoded);
        for tile in 0..queries.tiles() {
            let range = queries.tile_queries(tile);
            let out = &mut out[range.clone()];
            out.fill(0);
            let steps = decoded.chunks_exact(CODE_STEP);
            for (step, packed) in steps.zip(queries.tile(tile).chunks_exact(range.len())) {
                for (sum, query) in out.iter_mut().zip(packed) {
                    *sum += step.iter().zip(query).map(|(x, q)| i32::from(*x) * i32::from(*q)).sum::<i32>();
                }
            }
        }
    }
}

pub(super) fn decode(kind: CodeKind, codes: &[u8], values: &mut [i8]) {
    match kind {
        CodeKind::Sign => {
            for (values, byte) in values.chunks_exact_mut(8).zip(codes) {
                for (bit, value) in values.iter_mut().enumerate() {
                    *value = if byte >> bit & 1 == 1 { 1 } else { -1 };
                }
            }
        }
        CodeKind::Nibble => {
            for (values, byte) in values.chunks_exact_mut(2).zip(codes) {
                values[0] = 2 * (byte & 15) as i8 - 15;
                values[1] = 2 * (byte >> 4) as i8 - 15;
            }
        }
        CodeKind::Int8 => values.copy_from_slice(bytemuck::cast_slice(codes)),
    }
}
