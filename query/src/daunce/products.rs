//! Scores of many rows with many queries, in tiles.
//!
//! The product of a row and a query is one sum in ascending order of the models, whatever rows and queries
//! are in its tile, so its bits depend on nothing else.
//!
//! A covariance is centred on the side of the queries alone: `sum (a - mean a)(b - mean b) = sum a (b - mean
//! b)`, and a model's mean m is subtracted as `sum m (b - mean b)`. Rows are read as they are stored.

use gstore_core::correlation::is_constant;

use super::centring::{Centring, sum};
use super::how::{Center, Score};
use super::pair::{Pair, correlation};

/// Queries of a tile.
const WIDE: usize = 8;

/// Rows of a tile: their sums with the queries fit into 16 registers of 256 bits, with room for the factors.
const TALL: usize = 4;

/// Values of rows that are widened at a time: they stay in the second cache.
const VALUES: usize = 16 * 1024;

/// Queries, centred and packed.
#[derive(Debug, Clone)]
pub struct Products {
    centring: Centring,
    /// As they are, missing cells NaN.
    given: Vec<f64>,
    count: usize,
    /// By panel of [`WIDE`] queries: for each model their centred losses.
    panels: Vec<[f64; WIDE]>,
    /// Of each query what the subtracted means of the models come to.
    shifts: Vec<f64>,
    /// Sum of squares of each query.
    squares: Vec<f64>,
    /// Whether each query has all cells.
    whole: Vec<bool>,
    /// The fewest models of a score where cells are missing, and one more than its dimensions.
    least: usize,
}

/// Memory of one thread.
#[derive(Debug, Default)]
pub struct ProductScratch {
    rows: Vec<f64>,
    squares: Vec<f64>,
}

impl Products {
    /// `queries`: their losses, one query after the other. Where cells are missing, a score is taken over the
    /// models that have both, if those are at least `least` and their centred losses have a dimension less.
    ///
    /// # Panics
    /// When there is not a loss for each model and query.
    pub fn new(centring: Centring, queries: Vec<f64>, least: usize) -> Self {
        let models = centring.models().len();
        assert!(models > 0 && queries.len().is_multiple_of(models), "a loss for each model and query");
        let count = queries.len() / models;
        let mut panels = vec![[0.0; WIDE]; count.div_ceil(WIDE) * models];
        let (mut shifts, mut squares, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        for (q, query) in queries.chunks_exact(models).enumerate() {
            let has_all = query.iter().all(|x| x.is_finite());
            let mut centred = query.to_vec();
            centring.centre(&mut centred);
            if !has_all {
                centred.fill(0.0);
            }
            let panel = &mut panels[q / WIDE * models..][..models];
            panel.iter_mut().zip(&centred).for_each(|(line, x)| line[q % WIDE] = *x);
            shifts.push(sum(centred.iter().zip(&centring.means).map(|(x, mean)| x * mean)));
            squares.push(sum(centred.iter().map(|x| x * x)));
            whole.push(has_all);
        }
        Self { centring, given: queries, count, panels, shifts, squares, whole, least }
    }

    /// How many queries there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no query.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What is subtracted.
    pub fn centring(&self) -> &Centring {
        &self.centring
    }

    /// The losses of a query, as they were given.
    pub fn query(&self, query: usize) -> &[f64] {
        let models = self.centring.models().len();
        &self.given[query * models..(query + 1) * models]
    }

    /// Scores of rows: `out[r * len() + q]` is that of row r with query q, NaN where there is none: for a
    /// correlation with what does not vary, or with too few models.
    ///
    /// `rows` has `width` values for each row; those of the models stand at `columns`, or are all of them.
    ///
    /// # Panics
    /// When a column lies beyond the width, or `out` has not a place for each score.
    pub fn scores<T: Copy + Into<f64>>(
        &self,
        (rows, width): (&[T], usize),
        columns: Option<&[usize]>,
        work: &mut ProductScratch,
        out: &mut [f64],
    ) {
        let models = self.centring.models().len();
        let count = rows.len().checked_div(width).unwrap_or(0);
        assert_eq!(out.len(), count * self.count, "a place for each score");
        let at_once = (VALUES / models).max(TALL);
        for (part, out) in
            rows.chunks(at_once * width.max(1)).zip(out.chunks_mut((at_once * self.count).max(1)))
        {
            work.rows.clear();
            for row in part.chunks_exact(width) {
                match columns {
                    None => work.rows.extend(row.iter().map(|x| (*x).into())),
                    Some(columns) => work.rows.extend(columns.iter().map(|k| row[*k].into())),
                }
            }
            self.part(work, out);
        }
    }

    fn part(&self, work: &mut ProductScratch, out: &mut [f64]) {
        let models = self.centring.models().len();
        let how = self.centring.how();
        let ProductScratch { rows, squares } = work;
        let lacks = |row: &[f64]| !row.iter().all(|x| x.is_finite());
        // Rows that lack cells are scored one by one, from what was given.
        let mut odd: Vec<(usize, Vec<f64>)> = Vec::new();
        for (r, row) in rows.chunks_exact_mut(models).enumerate() {
            if lacks(row) || self.whole.contains(&false) {
                odd.push((r, row.to_vec()));
                if lacks(row) {
                    row.fill(0.0);
                }
            }
        }
        squares.clear();
        for row in rows.chunks_exact_mut(models) {
            if how.score == Score::Corr {
                self.centring.centre(row);
                squares.push(sum(row.iter().map(|x| x * x)));
            } else if how.center == Center::Row && self.is_constant(row) {
                row.fill(0.0);
            }
        }
        gstore_core::instructions::arch().dispatch(Tiles {
            rows,
            models,
            panels: &self.panels,
            count: self.count,
            out,
        });
        self.finish(squares, out);
        for (r, row) in odd {
            let whole = !lacks(&row);
            for q in (0..self.count).filter(|q| !whole || !self.whole[*q]) {
                out[r * self.count + q] = self.of_pair(&row, q);
            }
        }
    }

    /// Makes scores of products.
    fn finish(&self, squares: &[f64], out: &mut [f64]) {
        let degrees = self.centring.degrees();
        let score = self.centring.how().score;
        for (r, line) in out.chunks_exact_mut(self.count.max(1)).enumerate() {
            for (q, value) in line.iter_mut().enumerate() {
                *value = match score {
                    _ if degrees <= 0.0 => f64::NAN,
                    Score::Cov => (*value - self.shifts[q]) / degrees,
                    Score::Corr => correlation(*value, squares[r], self.squares[q]).unwrap_or(f64::NAN),
                };
            }
        }
    }

    fn of_pair(&self, row: &[f64], query: usize) -> f64 {
        let pair = Pair::new(&self.centring, row, self.query(query));
        if pair.models().min(pair.dimensions + 1) < self.least {
            return f64::NAN;
        }
        pair.score(self.centring.how().score).unwrap_or(f64::NAN)
    }

    /// Whether a row does not vary over the models of any group.
    fn is_constant(&self, row: &[f64]) -> bool {
        let models = self.centring.models();
        if models.groups() <= 1 {
            return is_constant(row);
        }
        let first = |k: usize| models.group().iter().position(|g| *g == models.group()[k]).unwrap_or(k);
        (0..row.len()).all(|k| row[first(k)] == row[k])
    }
}

/// Products of rows with all panels, compiled for what the processor has. None of them is fused, so they have
/// the same bits everywhere.
struct Tiles<'a> {
    rows: &'a [f64],
    models: usize,
    panels: &'a [[f64; WIDE]],
    count: usize,
    out: &'a mut [f64],
}

impl pulp::WithSimd for Tiles<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) {
        let Self { rows, models, panels, count, out } = self;
        for (p, panel) in panels.chunks_exact(models).enumerate() {
            let own = p * WIDE..((p + 1) * WIDE).min(count);
            let mut put = |r: usize, sums: &[f64; WIDE]| {
                let line = &mut out[r * count + own.start..r * count + own.end];
                line.iter_mut().zip(sums).for_each(|(out, sum)| *out = *sum);
            };
            let tall = rows.chunks_exact(models * TALL);
            let rest = tall.remainder();
            let done = (rows.len() - rest.len()) / models;
            for (t, four) in tall.enumerate() {
                let row = |r: usize| &four[r * models..(r + 1) * models];
                let sums = tile([row(0), row(1), row(2), row(3)], panel);
                sums.iter().enumerate().for_each(|(r, sums)| put(t * TALL + r, sums));
            }
            for (r, row) in rest.chunks_exact(models).enumerate() {
                let [sums] = tile([row], panel);
                put(done + r, &sums);
            }
        }
    }
}

/// The sums of some rows with the queries of a panel.
#[inline(always)]
fn tile<const R: usize>(rows: [&[f64]; R], panel: &[[f64; WIDE]]) -> [[f64; WIDE]; R] {
    let mut sums = [[0.0; WIDE]; R];
    let rows = rows.map(|row| &row[..panel.len()]);
    for (k, line) in panel.iter().enumerate() {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let x = row[k];
            for (sum, y) in sums.iter_mut().zip(line) {
                *sum += x * y;
            }
        }
    }
    sums
}
