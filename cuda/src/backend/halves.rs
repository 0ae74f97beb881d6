//! Query vectors in half precision, as the tiles that tensor cores read, with the norms that bound the error
//! of rounding (`estimates.rs` derives the bound).

use gstore_query::kernel::{HUGE_NORM, Queries, sum_upper_bound};
use half::f16;

use super::{Cuda, THREADS, from, number};
use crate::runtime::{Argument, Result, Runtime};

/// Queries and coordinates of a tile, and how many values of a row or query a thread holds at a time.
pub(super) const TILE: usize = 64;
const STEP: usize = 32;
pub(super) const EIGHT: usize = 8;

/// Terms that the kernel adds up before it starts a new sum (ESTIMATED_CHAIN in kernels/estimates.cu).
const CHAIN: usize = 256;

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
        let [exact, rounded, residual] = squares.map(|sum| sum_upper_bound(sum.sqrt()));
        // False for NaN too.
        let [exact, rounded, residual] = match exact < HUGE_NORM && rounded < HUGE_NORM {
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
        if weight.is_finite() { (sum_upper_bound(weight) as f32).next_up() } else { f32::INFINITY }
    }
}

/// Rounds query vectors, which are at `vectors` in f32.
pub(super) fn narrowed<R: Runtime>(
    on: &Cuda<R>,
    queries: &Queries,
    vectors: &R::Memory,
    groups: &[usize],
) -> Result<Halves<R::Memory>> {
    let (count, used) = (queries.len(), groups.len());
    let padded = count.div_ceil(TILE) * TILE;
    let (mut steps, mut spans, mut norms) = (0, Vec::new(), Vec::new());
    for group in groups {
        let span = queries.span(*group);
        spans.extend([number(span.start)?, number(span.end)?, number(steps)?]);
        norms.push(Norms { len: span.len(), ..Norms::default() });
        steps += span.len().div_ceil(STEP);
    }
    let spans = on.upload(&spans)?;
    let tiles = on.allocate::<f16>(padded.saturating_mul(steps * STEP))?;
    let (units, squares) = (on.allocate::<f32>(padded)?, on.allocate::<f64>(count * used * 3)?);
    let arguments = [
        from::<f32, _>(vectors, 0),
        Argument::U32(number(queries.dim())?),
        Argument::U32(number(count)?),
        from::<u32, _>(&spans, 0),
        Argument::U32(number(used)?),
        Argument::U32(number(steps)?),
        from::<u32, _>(&tiles, 0),
        from::<f32, _>(&units, 0),
        from::<f64, _>(&squares, 0),
    ];
    let sums = 3 * THREADS as usize * size_of::<f64>();
    on.launch("narrow_queries", [padded, used, 1], THREADS, sums, &arguments)?;
    for of_query in on.download::<[f64; 3]>(&squares, 0, count * used)?.chunks_exact(used.max(1)) {
        norms.iter_mut().zip(of_query).for_each(|(norms, squares)| norms.add(*squares));
    }
    Ok(Halves { groups: groups.to_vec(), tiles, units, steps, norms })
}

#[cfg(all(test, feature = "emulate"))]
mod tests {
    use super::*;
    use crate::{Emulator, Precision};

    #[test]
    fn the_kernel_adds_up_as_many_terms_as_the_bound_assumes() {
        let kernel = include_str!("../../kernels/estimates.cu");
        assert!(kernel.contains(&format!("#define ESTIMATED_CHAIN {CHAIN}u\n")));
    }

    /// Tiles, units and norms of vectors of 128 values in two groups.
    fn rounded(vectors: &[f32]) -> (Vec<f16>, Vec<f32>, Vec<Norms>) {
        let on = Cuda::new(Emulator::default(), Precision::Single);
        let queries = Queries::new(vectors, 128, &[0..64, 64..128]);
        let halves = narrowed(&on, &queries, &on.upload(vectors).unwrap(), &[0, 1]).unwrap();
        let tiles = on.download(&halves.tiles, 0, TILE * 128).unwrap();
        (tiles, on.download(&halves.units, 0, TILE).unwrap(), halves.norms)
    }

    /// The bound covers rounding of the queries, and of sums of that many terms.
    #[test]
    fn queries_are_rounded_by_no_more_than_their_norms_say() {
        let vector: Vec<f32> =
            (0..128).map(|i| (i as f32 * 0.37).sin() * f32::exp2((i % 30) as f32 - 40.0)).collect();
        let mut all = vector.clone();
        all.extend([0.0; 128]);
        let (tiles, units, norms) = rounded(&all);
        for (span, norms) in [0..64, 64..128].into_iter().zip(&norms) {
            let exact =
                vector[span.clone()].iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt();
            assert!(norms.exact >= exact && norms.exact < exact * 1.000_001);
            assert!(norms.residual > 0.0 && norms.residual < norms.exact * f64::exp2(-11.0));
            let weight = f64::from(norms.weight([1, 1]));
            assert!(weight > norms.residual + exact * 64.0 * f64::exp2(-22.0) && weight < exact * 1e-3);
        }
        // The first query's values, where the threads of a warp look for them, and zeros of the others.
        let mut places = vec![false; tiles.len()];
        for (k, exact) in vector.iter().enumerate() {
            let tile = k / STEP * TILE / EIGHT;
            let place = (tile * STEP + k % EIGHT / 2) * EIGHT + k % STEP / EIGHT * 2 + k % 2;
            places[place] = true;
            let nearest = f16::from_f32(exact / units[0]);
            assert_eq!(tiles[place].to_bits(), nearest.to_bits(), "{k}");
            let found = f64::from(nearest.to_f32()) * f64::from(units[0]);
            assert!((found - f64::from(*exact)).abs() <= norms[k / 64].residual, "{k}");
        }
        assert!(tiles.iter().zip(places).all(|(tile, is_first)| is_first || tile.to_bits() == 0));
    }

    #[test]
    fn what_is_not_finite_or_too_large_has_no_bound() {
        let mut vectors = vec![1.0f32; 256];
        for (value, bounded) in
            [(f32::INFINITY, false), (f32::NAN, false), (1e30, false), (1e15, true), (0.0, true)]
        {
            vectors[70] = value;
            let (_, _, norms) = rounded(&vectors);
            assert!(norms[0].weight([1, 1]).is_finite(), "the other group, {value}");
            assert_eq!(norms[1].weight([1, 1]).is_finite(), bounded, "{value}");
        }
    }
}
