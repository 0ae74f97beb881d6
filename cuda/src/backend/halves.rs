//! Query vectors in half precision, as the tiles that tensor cores read, with the norms that bound the error
//! of rounding (`estimates.rs` derives the bound).

use std::ops::Range;

use gstore_query::kernel::Queries;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// Queries and coordinates of a tile, and how many values of a row or query a thread holds at a time.
pub(super) const TILE: usize = 64;
pub(super) const STEP: usize = 32;
pub(super) const EIGHT: usize = 8;

/// Terms that the kernel adds up before it starts a new sum (ESTIMATED_CHAIN in kernels/estimates.cu).
const CHAIN: usize = 256;

/// Norms from which sums could overflow.
const HUGE: f64 = (1u64 << 60) as f64;

/// The exponent to which a query's greatest value is scaled, below the greatest of f16, and the least
/// exponent that it is assumed to have.
const GREATEST: i32 = 14;
const LEAST: i32 = -80;

/// Query vectors in f16, as tiles.
pub(super) struct Halves<M> {
    /// Their module groups, one after the other.
    pub(super) groups: Vec<usize>,
    pub(super) tiles: M,
    /// For each query the power of two that its products are multiplied by.
    pub(super) units: M,
    /// Tiles of every 64 queries.
    pub(super) steps: usize,
    pub(super) norms: Vec<Norms>,
}

/// The greatest norms of any query in one module group.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Norms {
    len: usize,
    /// Of the queries.
    exact: f64,
    /// Of the rounded queries.
    rounded: f64,
    /// Of their rounding errors.
    residual: f64,
}

impl Norms {
    /// Includes the squares of one more query.
    fn add(&mut self, squares: [f64; 3]) {
        let [exact, rounded, residual] = squares.map(|sum| above(sum.sqrt()));
        // False for NaN too.
        let [exact, rounded, residual] = match exact < HUGE && rounded < HUGE {
            true => [exact, rounded, residual],
            false => [f64::INFINITY; 3],
        };
        self.exact = self.exact.max(exact);
        self.rounded = self.rounded.max(rounded);
        self.residual = self.residual.max(residual);
    }

    /// The largest error of an estimate, relative to `|s||x|`, where the device and the processor add that many
    /// sums.
    pub(super) fn weight(&self, added: [usize; 2]) -> f32 {
        let terms = self.len as f64;
        let [of_device, of_processor] = added.map(|added| (added + 2) as f64 * f64::exp2(-24.0));
        let (chain, chains) = (self.len.min(CHAIN) as f64, self.len.div_ceil(CHAIN) as f64);
        let units = (chain * f64::exp2(-22.0) + chains * f64::exp2(-24.0) + of_device).exp_m1();
        let processor = ((terms / 16.0 + 6.0) * f64::exp2(-24.0) + of_processor).exp_m1();
        let weight = self.residual + units * self.rounded + processor * self.exact;
        if weight.is_finite() { (above(weight) as f32).next_up() } else { f32::INFINITY }
    }
}

/// An upper bound of a sum of positive terms, despite rounding in double precision.
fn above(value: f64) -> f64 {
    value * (1.0 + f64::exp2(-30.0))
}

/// Query vectors as tiles in f16, units, and norms of each group. Spans have multiples of 8 values.
pub(super) fn narrowed(queries: &Queries, spans: &[Range<usize>]) -> (Vec<f16>, Vec<f32>, Vec<Norms>) {
    debug_assert!(spans.iter().all(|span| span.len().is_multiple_of(EIGHT)), "{spans:?}");
    let (dim, steps) = (queries.dim(), steps_of(spans));
    let padded = queries.len().div_ceil(TILE) * TILE;
    let (mut tiles, mut units) = (vec![f16::ZERO; padded * steps * STEP], vec![1.0; padded]);
    let mut norms: Vec<Norms> =
        spans.iter().map(|span| Norms { len: span.len(), ..Norms::default() }).collect();
    let longest = norms.iter().map(|norms| norms.len).max().unwrap_or(0);
    let (mut scaled, mut rounded, mut back) = (Vec::new(), vec![f16::ZERO; longest], vec![0.0; longest]);
    for (q, vector) in queries.vectors().chunks_exact(dim).enumerate() {
        // The exponent of a normal, finite number.
        let exponent = ((greatest(vector, spans).to_bits() >> 23) as i32 - 127).clamp(LEAST, 127);
        let scale = power(GREATEST - exponent);
        units[q] = power(exponent - GREATEST);
        let mut first = 0;
        for (span, norms) in spans.iter().zip(&mut norms) {
            let exact = &vector[span.clone()];
            let (rounded, back) = (&mut rounded[..exact.len()], &mut back[..exact.len()]);
            scaled.clear();
            scaled.extend(exact.iter().map(|value| value * scale));
            rounded.convert_from_f32_slice(&scaled);
            rounded.convert_to_f32_slice(back);
            norms.add(squares(exact, back, f64::from(units[q])));
            for (at, values) in rounded.chunks(STEP).enumerate() {
                let mut step = [f16::ZERO; STEP];
                step[..values.len()].copy_from_slice(values);
                // Of each of a step's eights each of four threads of a warp holds two values.
                let pairs: [u32; STEP / 2] = bytemuck::cast(step);
                let turned: [u32; STEP / 2] = std::array::from_fn(|i| pairs[i % 4 * 4 + i / 4]);
                let tile = (q / TILE * steps + first + at) * TILE / EIGHT + q % TILE / EIGHT;
                let place = (tile * STEP + q % EIGHT * 4) * EIGHT;
                tiles[place..place + STEP].copy_from_slice(&bytemuck::cast::<_, [f16; STEP]>(turned));
            }
            first += span.len().div_ceil(STEP);
        }
    }
    (tiles, units, norms)
}

/// The greatest magnitude of a vector in some spans.
fn greatest(vector: &[f32], spans: &[Range<usize>]) -> f32 {
    // Eight partial maxima, so that none waits for the one before.
    let mut most = [0.0f32; EIGHT];
    for eight in spans.iter().flat_map(|span| vector[span.clone()].as_chunks::<EIGHT>().0) {
        most.iter_mut().zip(eight).for_each(|(most, value)| *most = most.max(value.abs()));
    }
    most.into_iter().fold(0.0, f32::max)
}

/// Sums of the squares of values, of the values times `unit` to which they were rounded, and of the errors.
fn squares(exact: &[f32], rounded: &[f32], unit: f64) -> [f64; 3] {
    // Eight partial sums of each, for the same reason.
    let mut sums = [[0.0f64; EIGHT]; 3];
    for (exact, rounded) in exact.as_chunks::<EIGHT>().0.iter().zip(rounded.as_chunks::<EIGHT>().0) {
        for (i, (exact, rounded)) in exact.iter().zip(rounded).enumerate() {
            let (exact, rounded) = (f64::from(*exact), f64::from(*rounded) * unit);
            sums[0][i] += exact * exact;
            sums[1][i] += rounded * rounded;
            sums[2][i] += (exact - rounded) * (exact - rounded);
        }
    }
    sums.map(|sums| sums.iter().sum::<f64>())
}

/// 2 to the power of an exponent of a normal number.
fn power(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}

pub(super) fn steps_of(spans: &[Range<usize>]) -> usize {
    spans.iter().map(|span| span.len().div_ceil(STEP)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_adds_up_as_many_terms_as_the_bound_assumes() {
        let kernel = include_str!("../../kernels/estimates.cu");
        assert!(kernel.contains(&format!("#define ESTIMATED_CHAIN {CHAIN}u\n")));
    }

    /// The bound covers rounding of the queries, and of sums of that many terms.
    #[test]
    fn queries_are_rounded_by_no_more_than_their_norms_say() {
        let vector: Vec<f32> =
            (0..128).map(|i| (i as f32 * 0.37).sin() * f32::exp2((i % 30) as f32 - 40.0)).collect();
        let mut all = vector.clone();
        all.extend([0.0; 128]);
        all.extend([f32::INFINITY; 128]);
        let queries = Queries::new(&all, 128, &[0..64, 64..128]);
        let spans = [0..64, 64..128];
        let (tiles, units, norms) = narrowed(&queries, &spans);
        assert_eq!((tiles.len(), units.len()), (TILE * 128, TILE));
        assert!(norms.iter().all(|norms| norms.weight([1, 1]) == f32::INFINITY), "one is not finite");

        let queries = Queries::new(&all[..256], 128, &[0..64, 64..128]);
        let (tiles, units, norms) = narrowed(&queries, &spans);
        for (span, norms) in spans.iter().zip(&norms) {
            let exact =
                vector[span.clone()].iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            assert!(norms.exact >= exact && norms.exact < exact * 1.000_001);
            assert!(norms.residual > 0.0 && norms.residual < norms.exact * f64::exp2(-11.0));
            let weight = f64::from(norms.weight([1, 1]));
            assert!(weight > norms.residual + exact * 64.0 * f64::exp2(-22.0) && weight < exact * 1e-3);
        }
        // The first query's values, where the threads of a warp look for them.
        for (k, exact) in vector.iter().enumerate() {
            let tile = k / STEP * TILE / EIGHT;
            let place = (tile * STEP + k % EIGHT / 2) * EIGHT + k % STEP / EIGHT * 2 + k % 2;
            let found = f64::from(tiles[place].to_f32()) * f64::from(units[0]);
            assert!((found - f64::from(*exact)).abs() <= norms[k / 64].residual, "{k}");
        }
    }
}
