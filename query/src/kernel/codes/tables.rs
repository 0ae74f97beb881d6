//! Tables of the products of four signs with a query's values, for products by a byte shuffle.
//!
//! Four signs have 16 products with four values. A query whose values are small has each of them in a byte,
//! so that one instruction looks up the products of as many rows as a register has bytes (Fast Scan; André,
//! Kermarrec and Le Scouarnec 2015).

use super::super::packing::CacheLine;

/// The largest magnitude of a query's values that signs are multiplied with: two entries of its tables fit
/// into a byte.
pub(crate) const MAX_SIGN_VALUE: i8 = 15;

/// Coordinates of a table.
const WIDTH: usize = 4;

/// Entries of a table, by the signs of its coordinates, the first in the lowest bit.
pub(super) const ENTRIES: usize = 1 << WIDTH;

/// What is added to an entry, so that none is negative.
const OFFSET: i32 = WIDTH as i32 * MAX_SIGN_VALUE as i32;

/// Coordinates whose entries are added up in 16 bits: 512 of up to 120.
const PART: usize = 2048;

/// Most bytes of signs of a part.
pub(super) const PART_BYTES: usize = PART / 8;

const LINE_TABLES: usize = size_of::<CacheLine>() / ENTRIES;

/// Queries that are multiplied together; tables of zeros fill the last ones up.
pub(super) const TOGETHER: usize = 4;

/// Tables of some queries: `[part][query][table][entry]`.
#[derive(Debug, Clone)]
pub(super) struct SignTables {
    dim: usize,
    /// With those that fill up.
    queries: usize,
    lines: Vec<CacheLine>,
}

impl SignTables {
    /// Of vectors of `dim` values of magnitudes up to [`MAX_SIGN_VALUE`].
    pub(super) fn new(vectors: &[i8], dim: usize) -> Self {
        let count = vectors.len() / dim;
        let queries = count.next_multiple_of(TOGETHER);
        let mut lines = Vec::with_capacity(queries * dim / (LINE_TABLES * WIDTH));
        for start in (0..dim).step_by(PART) {
            let part = start..dim.min(start + PART);
            for query in 0..queries {
                let of_lines = part.clone().step_by(LINE_TABLES * WIDTH);
                lines.extend(of_lines.map(|at| {
                    let mut line = CacheLine([0; 64]);
                    let values = vectors.get(query * dim + at..query * dim + at + LINE_TABLES * WIDTH);
                    let values = values.unwrap_or(&[0; LINE_TABLES * WIDTH]).as_chunks::<WIDTH>().0;
                    line.0.as_chunks_mut().0.iter_mut().zip(values).for_each(|(to, of)| *to = table(*of));
                    line
                }));
            }
        }
        Self { dim, queries, lines }
    }

    /// The parts of the coordinates: where each starts in bytes of signs, how many it has, and its tables by
    /// query.
    pub(super) fn parts(&self) -> impl Iterator<Item = (usize, usize, &[CacheLine])> {
        let of_part = PART / (LINE_TABLES * WIDTH) * self.queries;
        self.lines.chunks(of_part).enumerate().map(|(part, lines)| {
            let start = part * PART;
            (start / 8, (self.dim.min(start + PART) - start) / 8, lines)
        })
    }

    /// What all offsets add to a sum.
    pub(super) fn offset(&self) -> i32 {
        (self.dim / WIDTH) as i32 * OFFSET
    }
}

/// The products of all signs with some values.
fn table(values: [i8; WIDTH]) -> [u8; ENTRIES] {
    let least = OFFSET - values.iter().map(|value| i32::from(*value)).sum::<i32>();
    let mut table = [least as u8; ENTRIES];
    for (bit, value) in values.iter().enumerate() {
        for (signs, entry) in table.iter_mut().enumerate() {
            // The sum of all fits, so that one on the way may wrap.
            let set = (signs >> bit & 1) as i8;
            *entry = entry.wrapping_add((set * 2 * value) as u8);
        }
    }
    table
}
