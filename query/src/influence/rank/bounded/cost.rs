//! The cost model: what it takes to read a row and to multiply it, for every source. It decides speed, and
//! of answers only which row is missing where one may be.

use serde::{Deserialize, Serialize};

use super::exact::row_bytes;
use super::sources::{EstimateSource, sections};
use crate::influence::scan::ScanPool;
use crate::influence::spec::mode::Plane;
use crate::kernel::Rounding;
use crate::sketch::Section;

/// Single rows cost this much more than rows in a stream.
pub(super) const SCATTERED: f64 = 2.0;

/// However few queries there are, rows of so few bytes as those of signs are not read at the speed of memory:
/// what is done for each row takes longer.
const SHORT_ROWS: f64 = 1.7;

/// What of reading and multiplying the other one does not hide.
const SEEN: f64 = 0.25;

/// Estimates pay if they cost this part of all exact values at most.
pub(super) const WORTH: f64 = 0.9;

/// Fewer queries than this are never many.
const LEAST_MANY: usize = 4;

/// Where reading is a smaller part of multiplying than this, products are all that counts.
const NEGLIGIBLE: f64 = 1.0 / 11.0;

/// Of the cost of all exact values, what those take that rows rounded to bytes usually leave.
const LEFT_BY_BYTES: f64 = 0.15;

/// Costs in any unit, of which the ratios count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Costs {
    /// Of a byte that a core reads in a stream while the others do.
    pub(super) byte: f64,
    /// Of a multiply-add, by the number of queries: as many as [`QUERIES`] says, or fewer.
    pub(super) products: [Products; QUERIES.len()],
}

/// Queries for each of [`Costs::products`], the last of which are for more as well: the kernels have three
/// forms, and what is done once for each row counts for less where there are many.
pub(super) const QUERIES: [usize; 6] = [2, 8, 16, 32, 64, 256];

/// Queries that are multiplied together with rounded rows, however few there are.
pub(super) const TOGETHER: usize = 16;

/// Costs of a multiply-add of a core.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Products {
    pub(super) exact: f64,
    /// Of rows as the kernel's filter rounds them; queries are multiplied [`TOGETHER`] at a time.
    pub(super) rounded: f64,
    /// By plane; of certified bytes two are one.
    pub(super) codes: [f64; 4],
}

/// Those of a recent processor of two cores that multiplies bytes and bf16, where nothing is measured.
pub(super) const TYPICAL: Costs = {
    let two = Products { exact: 0.35, rounded: 0.172, codes: [0.068, 0.117, 0.132, 0.264] };
    let some = Products { codes: [0.04, 0.117, 0.132, 0.264], ..two };
    let many = Products { codes: [0.03, 0.117, 0.09, 0.18], ..two };
    Costs { byte: 1.0, products: [two, some, many, many, many, many] }
};

/// Those of one without products of bf16: AVX-VNNI, or AVX-512 before them.
pub(super) const WITHOUT_BF16: Costs = {
    let [two, some, many, ..] = TYPICAL.products;
    let (two, some) = (Products { rounded: 0.28, ..two }, Products { rounded: 0.28, ..some });
    let of_16 = Products { rounded: 0.28, ..many };
    let of_32 = Products { rounded: 0.19, ..many };
    let of_64 = Products { rounded: 0.14, ..many };
    let most = Products { rounded: 0.12, ..many };
    Costs { byte: 1.0, products: [two, some, of_16, of_32, of_64, most] }
};

/// Those of one that multiplies neither: AVX2 without AVX-VNNI, and others.
pub(super) const WITHOUT_BYTES: Costs = {
    let two = Products { exact: 0.35, rounded: 0.3, codes: [0.25, 0.23, 0.23, 0.46] };
    let some = Products { codes: [0.068, 0.165, 0.207, 0.414], ..two };
    let of_16 = Products { codes: [0.038, 0.118, 0.19, 0.38], ..two };
    let of_32 = Products { rounded: 0.21, ..of_16 };
    let of_64 = Products { rounded: 0.17, ..of_16 };
    let most = Products { rounded: 0.14, ..of_16 };
    Costs { byte: 1.0, products: [two, some, of_16, of_32, of_64, most] }
};

impl Costs {
    /// Queries from which on multiplying int8 codes costs more than reading them: then all values are
    /// estimated at once.
    pub(super) fn many(&self) -> usize {
        let int8 = self.products[2].codes[Plane::Int8 as usize];
        (self.byte / int8).ceil().clamp(LEAST_MANY as f64, 64.0) as usize
    }

    /// Queries below which certified codes pay against rounded rows, as they are fewer bytes.
    pub(super) fn certified_below(&self) -> usize {
        let each = self.products[2].codes[Plane::Certified as usize];
        (self.byte / each / NEGLIGIBLE).ceil().clamp(16.0, 1024.0) as usize
    }

    fn of_queries(&self, queries: usize) -> &Products {
        let at = QUERIES.iter().position(|most| queries <= *most).unwrap_or(QUERIES.len() - 1);
        &self.products[at]
    }

    fn time(&self, bytes: f64, multiplied: f64) -> f64 {
        let read = self.byte * bytes;
        read.max(multiplied) + SEEN * read.min(multiplied)
    }

    /// Of a row that is scored.
    pub(super) fn exact(&self, pools: &[ScanPool]) -> f64 {
        self.rows_themselves(pools, |products, queries| products.exact * queries as f64)
    }

    fn rows_themselves(&self, pools: &[ScanPool], each: impl Fn(&Products, usize) -> f64) -> f64 {
        let of = |pool: &ScanPool| {
            let multiplied = pool
                .queries
                .iter()
                .map(|queries| each(self.of_queries(queries.len()), queries.len()) * queries.dim() as f64);
            self.time(row_bytes(&pool.readers) as f64, multiplied.sum())
        };
        pools.iter().map(of).fold(0.0, f64::max)
    }

    /// Of a row that a source estimates, with what has to be computed of it afterwards where that is known to
    /// be more than little.
    pub(super) fn source(&self, source: &EstimateSource<'_>, pools: &[ScanPool]) -> f64 {
        let is_bytes =
            matches!(source, EstimateSource::Rounded(filter, _) if filter.rounding() == Rounding::Bytes);
        let left = if is_bytes { LEFT_BY_BYTES * self.exact(pools) } else { 0.0 };
        self.estimate(source, pools) + left
    }

    /// Of the estimate alone.
    pub(super) fn estimate(&self, source: &EstimateSource<'_>, pools: &[ScanPool]) -> f64 {
        let reading = match source {
            EstimateSource::Codes(reading) => reading,
            EstimateSource::Rounded(..) => {
                let each = |products: &Products, queries: usize| {
                    products.rounded * queries.next_multiple_of(TOGETHER) as f64
                };
                return self.rows_themselves(pools, each);
            }
            // What a device takes is not known here.
            EstimateSource::Device(_) => return self.exact(pools),
        };
        let (_, codes, factors) = sections(reading.plane);
        let short = if reading.plane == Plane::Sign { SHORT_ROWS } else { 1.0 };
        let each = reading.sides.iter().zip(pools).map(|(sides, pool)| {
            let of_checkpoints = sides.iter().zip(&pool.queries).map(|(side, queries)| {
                let padded = side.sketch.padded();
                let sections = [Section::Rows, codes, factors];
                let bytes: usize = sections.iter().map(|section| section.vector_bytes(padded)).sum();
                let each = self.of_queries(queries.len()).codes[reading.plane as usize];
                self.time(short * bytes as f64, each * (padded * queries.len()) as f64)
            });
            of_checkpoints.sum::<f64>()
        });
        each.fold(0.0, f64::max)
    }
}

/// The cost of reading this share of the rows, in parts of reading them all.
pub(super) fn scattered(share: f64) -> f64 {
    (share * SCATTERED).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typical_costs_give_the_numbers_of_the_documents() {
        assert_eq!((TYPICAL.many(), TYPICAL.certified_below()), (12, 62));
        assert_eq!((WITHOUT_BYTES.many(), WITHOUT_BYTES.certified_below()), (6, 29));
    }
}
