//! Dot products of rows with vectors that stay, such as preconditioned queries.
//!
//! Invariant: the bits of a product depend on its row and its vector alone.

use super::Cpu;
use super::gemm::{Addend, Addends, Destination, Left, PackedMatrix, Panel, row_stride};
use super::pool::{Buffer, LINE};
use crate::backend::steps;

/// Coordinates whose products are summed in f32; such sums are added in f64.
const CHUNK: usize = 4096;

/// Coordinates of a chunk that are multiplied at a time: those of a panel of rows and of a tile of vectors
/// stay in the caches. Their sums are added in f32.
const PART: usize = 512;

/// Vectors of one width, one after the other. They start so far apart that those which are multiplied at a
/// time do not share cache sets.
#[derive(Debug, Clone)]
pub struct Vectors {
    width: usize,
    values: Vec<f32>,
}

impl Vectors {
    /// None yet, of so many values.
    pub fn new(width: usize) -> Vectors {
        Vectors { width, values: Vec::new() }
    }

    /// Bytes that a vector takes.
    pub fn bytes_of(width: usize) -> usize {
        row_stride(width) * size_of::<f32>()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len() / row_stride(self.width)
    }

    /// Makes room for exactly so many more.
    pub fn reserve(&mut self, count: usize) {
        self.values.reserve_exact(count * row_stride(self.width));
    }

    /// Adds a vector of zeros, whose values are to be replaced.
    pub fn push(&mut self) -> &mut [f32] {
        let start = self.values.len();
        self.values.resize(start + row_stride(self.width), 0.0);
        &mut self.values[start..start + self.width]
    }
}

impl Cpu {
    /// The dot products of rows with vectors that are as wide, `[rows, vectors]`; of several lists the
    /// vectors follow one another. Products are of f32 at any precision of this backend.
    ///
    /// # Panics
    /// When the vectors have other widths, or the rows are not whole.
    pub fn dots(&self, rows: &[f32], vectors: &[&Vectors]) -> Vec<f64> {
        let count: usize = vectors.iter().map(|list| list.count()).sum();
        let Some(Vectors { width, .. }) = vectors.first().filter(|_| count > 0 && !rows.is_empty()) else {
            return Vec::new();
        };
        let is_whole = *width > 0 && rows.len().is_multiple_of(*width);
        assert!(is_whole && vectors.iter().all(|list| list.width == *width), "operands of dot products");
        let n = rows.len() / width;
        let (mut sums, mut part) = (vec![0.0; n * count], Buffer::take(count * n));
        for chunk in steps(*width, CHUNK) {
            for (at, span) in steps(chunk.len(), PART).enumerate() {
                let start = chunk.start + span.start;
                let panels = PackedMatrix::transposed(&rows[start..], *width, span.len(), n);
                let add = if at == 0 { Addend::Nothing } else { Addend::Destination };
                let mut part = &mut part[..];
                for list in vectors.iter().filter(|list| list.count() > 0) {
                    let left = Left::by_row(&list.values[start..], list.count(), row_stride(*width));
                    for (first, cols, values) in panels.view().panels() {
                        let to = Destination { data: &mut part[first..], stride: n, cols };
                        let extra = Addends { bias: None, add };
                        self.kernels.single.panel(to, left, Panel::packed(values), extra);
                    }
                    part = &mut part[list.count() * n..];
                }
            }
            // Of few vectors at a time, so that the lines of `part` are read once.
            for block in steps(count, LINE) {
                for (r, sums) in sums.chunks_exact_mut(count).enumerate() {
                    for v in block.clone() {
                        sums[v] += f64::from(part[v * n + r]);
                    }
                }
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::super::gemm::drawn::values as drawn;
    use super::super::level::SimdLevel;
    use super::*;
    use crate::backend::ComputePrecision;

    fn vectors(values: &[f32], width: usize) -> Vectors {
        let mut all = Vectors::new(width);
        values.chunks_exact(width).for_each(|vector| all.push().copy_from_slice(vector));
        all
    }

    #[test]
    fn products_are_those_of_every_row_and_vector_at_every_size_and_level() {
        for level in SimdLevel::available() {
            let cpu = Cpu::with_level(ComputePrecision::F32, level).unwrap();
            for (n, count, width) in [(1, 1, 1), (33, 1, 7), (5, 17, 513), (40, 65, 1024), (3, 2, 9000)] {
                let (rows, fixed) = (drawn(n * width, 1), drawn(count * width, 2));
                // One list of all vectors, and lists of the first, of none and of the others.
                let [all, first, none, rest] = [0..count, 0..1, 0..0, 1..count]
                    .map(|of| vectors(&fixed[of.start * width..of.end * width], width));
                let found = cpu.dots(&rows, &[&all]);
                assert_eq!(found, cpu.dots(&rows, &[&first, &none, &rest]), "{level:?} {n} {count} {width}");
                assert_eq!(found.len(), n * count);
                for (at, found) in found.iter().enumerate() {
                    let (row, vector) = (&rows[at / count * width..], &fixed[at % count * width..][..width]);
                    let products = row.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b));
                    let off = (found - products.sum::<f64>()).abs();
                    assert!(off < 2e-6 * (width as f64).sqrt(), "{level:?} {n} {count} {width}: {off}");
                }
            }
        }
    }

    #[test]
    fn a_product_has_the_same_bits_with_any_other_row_and_vector() {
        let (n, count, width) = (37, 19, 5000);
        let (rows, fixed) = (drawn(n * width, 3), drawn(count * width, 4));
        for level in SimdLevel::available() {
            let cpu = Cpu::with_level(ComputePrecision::F32, level).unwrap();
            let all = cpu.dots(&rows, &[&vectors(&fixed, width)]);
            for (r, v) in [(0, 0), (36, 18), (20, 7)] {
                let (row, vector) = (&rows[r * width..][..width], &fixed[v * width..][..width]);
                let alone = cpu.dots(row, &[&vectors(vector, width)]);
                assert_eq!(alone[0].to_bits(), all[r * count + v].to_bits(), "{level:?} {r} {v}");
            }
        }
    }

    #[test]
    fn nothing_has_no_products() {
        let cpu = Cpu::new(ComputePrecision::F32);
        assert!(cpu.dots(&[], &[&vectors(&[1.0, 2.0], 2)]).is_empty());
        assert!(cpu.dots(&[1.0, 2.0], &[&Vectors::new(2)]).is_empty());
        assert!(cpu.dots(&[1.0, 2.0], &[]).is_empty());
    }
}
