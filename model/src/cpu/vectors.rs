//! Dot products of rows with vectors that stay, such as preconditioned queries.
//!
//! Invariant: the bits of a product depend on its row and its vector alone.

use super::Cpu;
use super::gemm::{Addend, Addends, Destination, Left, PackedMatrix, Panel, row_stride};
use super::pool::Buffer;
use crate::backend::steps;

/// Coordinates whose products are summed in f32; such sums are added in f64.
const CHUNK: usize = 4096;

/// Coordinates of a chunk that are multiplied at a time: those of a panel of rows and of a tile of vectors stay
/// in the caches. Their sums are added in f32.
const PART: usize = 512;

/// Vectors of one width, one after the other. They start so far apart that those which are multiplied at a
/// time do not share cache sets.
#[derive(Debug, Clone, Default)]
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
        self.values.len() / row_stride(self.width).max(1)
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
    /// Adds the dot products of rows, as wide as the vectors, to `sums`: that of row `r` and vector `v` to
    /// `sums[r * stride + v]`. Products are of f32 at any precision of this backend.
    ///
    /// # Panics
    /// When the rows are not whole, or a sum is missing.
    pub fn add_dots(&self, rows: &[f32], vectors: &Vectors, sums: &mut [f64], stride: usize) {
        let (width, count) = (vectors.width, vectors.count());
        if rows.is_empty() || count == 0 {
            return;
        }
        assert!(rows.len().is_multiple_of(width), "rows of dot products");
        let (n, apart) = (rows.len() / width, row_stride(width));
        assert!(count <= stride && sums.len() >= (n - 1) * stride + count, "sums of dot products");
        let kernel = &self.kernels.single;
        let mut part = Buffer::take(count * n);
        for chunk in steps(width, CHUNK) {
            for (at, span) in steps(chunk.len(), PART).enumerate() {
                let start = chunk.start + span.start;
                // Few vectors are read once for each panel, many rows once in all.
                let left = Left::by_row(&vectors.values[start..], count, apart);
                let panels = PackedMatrix::transposed(&rows[start..], width, span.len(), n);
                let add = if at == 0 { Addend::Nothing } else { Addend::Destination };
                for (first, cols, values) in panels.view().panels() {
                    let to = Destination { data: &mut part[first..], stride: n, cols };
                    kernel.panel(to, left, Panel::packed(values), Addends { bias: None, add });
                }
            }
            for (r, sums) in sums.chunks_mut(stride).enumerate() {
                for (v, sum) in sums[..count].iter_mut().enumerate() {
                    *sum += f64::from(part[v * n + r]);
                }
            }
        }
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
    fn sums_grow_by_the_products_of_every_row_and_vector_at_every_size_and_level() {
        for level in SimdLevel::available() {
            let cpu = Cpu::with_level(ComputePrecision::F32, level).unwrap();
            for (n, count, width) in [(1, 1, 1), (33, 1, 7), (5, 17, 513), (40, 65, 1024), (3, 2, 9000)] {
                let (rows, fixed) = (drawn(n * width, 1), drawn(count * width, 2));
                let stride = count + 1;
                let mut sums = vec![0.5; n * stride];
                cpu.add_dots(&rows, &vectors(&fixed, width), &mut sums, stride);
                for (r, row) in rows.chunks(width).enumerate() {
                    assert!(sums[r * stride + count] == 0.5, "what lies between the sums");
                    for (v, vector) in fixed.chunks(width).enumerate() {
                        let products = row.iter().zip(vector).map(|(a, b)| f64::from(*a) * f64::from(*b));
                        let exact = 0.5 + products.sum::<f64>();
                        let off = (sums[r * stride + v] - exact).abs();
                        assert!(off < 2e-6 * (width as f64).sqrt(), "{level:?} {n} {count} {width}: {off}");
                    }
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
            let mut all = vec![0.0; n * count];
            cpu.add_dots(&rows, &vectors(&fixed, width), &mut all, count);
            for (r, v) in [(0, 0), (36, 18), (20, 7)] {
                let (row, vector) = (&rows[r * width..][..width], &fixed[v * width..][..width]);
                let mut alone = [0.0];
                cpu.add_dots(row, &vectors(vector, width), &mut alone, 1);
                assert_eq!(alone[0].to_bits(), all[r * count + v].to_bits(), "{level:?} {r} {v}");
            }
        }
    }

    #[test]
    fn nothing_has_no_products() {
        let cpu = Cpu::new(ComputePrecision::F32);
        let mut sums = [1.0];
        cpu.add_dots(&[], &vectors(&[1.0, 2.0], 2), &mut sums, 1);
        cpu.add_dots(&[1.0, 2.0], &Vectors::new(2), &mut sums, 1);
        assert_eq!(sums, [1.0]);
    }
}
