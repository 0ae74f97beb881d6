//! Near-duplicates: candidates whose vectors have nearly the direction of a row taken before.

use std::collections::VecDeque;

use gstore_store::Values;

use super::{Operands, Prepared, Scored};
use crate::error::QueryError;
use crate::influence::spec::modules;
use crate::kernel::{Kernel, Queries, Scratch};
use crate::size::needed_and_allowed;
use crate::values::MIN_NORM;

/// From this cosine on two vectors are the same: products and sums are of 32-bit floats, so that of two
/// copies it may be a little less than 1.
const SAME: f64 = 1.0 - 1e-5;

/// Candidates that are compared with the taken rows at once, so that these are passed over once
/// for all of them.
const BATCH: usize = 8;

pub(super) struct TakenRows<'a> {
    prepared: &'a Prepared,
    operands: &'a Operands,
    kernel: Kernel,
    limit: f64,
    /// Coordinates of the vectors of all checkpoints together.
    dim: usize,
    /// One vector for each row: the checkpoints' one after another, each of length root of its weight, so
    /// that a product of two rows is the weighted sum of their cosines.
    rows: Vec<f32>,
    /// For each row which checkpoints it has.
    has: Vec<Vec<bool>>,
    /// Candidates that were compared ahead of their turn.
    ahead: VecDeque<ComparedCandidate>,
}

impl Prepared {
    /// Bytes of memory that the vectors of one row take where near-duplicates are passed over.
    pub fn vector_bytes(&self) -> usize {
        let dim: usize = self.pools()[0].features.iter().map(|f| f.desc.dim() as usize).sum();
        dim.saturating_mul(size_of::<f32>())
    }
}

/// A candidate with its largest similarity to the rows taken when it was compared.
struct ComparedCandidate {
    scored: Scored,
    vector: Vec<f32>,
    has: Vec<bool>,
    largest: f64,
}

impl<'a> TakenRows<'a> {
    pub(super) fn new(
        prepared: &'a Prepared,
        operands: &'a Operands,
        limit: f64,
        k: usize,
        memory: usize,
    ) -> Result<Self, QueryError> {
        if !(-1.0..=1.0).contains(&limit) {
            return Err(QueryError::Spec(format!("distinct => {limit}: a cosine lies between -1 and 1")));
        }
        let bytes = prepared.vector_bytes();
        let needed = k.saturating_mul(bytes);
        if needed > memory {
            let (needed, allowed) = needed_and_allowed(needed as u64, memory as u64);
            return Err(QueryError::Spec(format!(
                "to pass over near-duplicates, the vectors of {k} rows are held, which are {needed}, and {allowed} are allowed; ask for \
                 fewer rows, name fewer checkpoints, or allow more memory",
            )));
        }
        Ok(Self {
            prepared,
            operands,
            kernel: Kernel::detect(),
            limit: limit.min(SAME),
            dim: bytes / size_of::<f32>(),
            rows: Vec::new(),
            has: Vec::new(),
            ahead: VecDeque::new(),
        })
    }

    /// Takes a row unless it is too much like one taken before. `next` are the candidates that may follow.
    pub(super) fn take(&mut self, scored: &Scored, next: &VecDeque<Scored>) -> Result<bool, QueryError> {
        while self.ahead.front().is_some_and(|ahead| ahead.scored != *scored) {
            self.ahead.pop_front();
        }
        if self.ahead.is_empty() {
            self.compare(scored, next)?;
        }
        let Some(ahead) = self.ahead.pop_front() else { return Ok(false) };
        if ahead.largest > self.limit {
            return Ok(false);
        }
        let query = Queries::new(&ahead.vector, self.dim, &[]);
        for other in &mut self.ahead {
            let product = products(self.kernel, &other.vector, &query)[0];
            let similarity = similarity(&self.operands.weights, product, &other.has, &ahead.has);
            other.largest = other.largest.max(similarity);
        }
        self.rows.extend_from_slice(&ahead.vector);
        self.has.push(ahead.has);
        Ok(true)
    }

    /// Compares a candidate and some that may follow with all rows taken.
    fn compare(&mut self, scored: &Scored, next: &VecDeque<Scored>) -> Result<(), QueryError> {
        let batch: Vec<Scored> =
            std::iter::once(*scored).chain(next.iter().copied().take(BATCH - 1)).collect();
        let mut vectors = Vec::with_capacity(batch.len() * self.dim);
        let mut has = Vec::with_capacity(batch.len());
        for scored in &batch {
            has.push(self.read(scored, &mut vectors)?);
        }
        let queries = Queries::new(&vectors, self.dim, &[]);
        let products = products(self.kernel, &self.rows, &queries);
        for (i, (scored, has)) in batch.iter().zip(has).enumerate() {
            let similar = |(taken, products): (&Vec<bool>, &[f32])| {
                similarity(&self.operands.weights, products[i], &has, taken)
            };
            let all = self.has.iter().zip(products.chunks_exact(batch.len()));
            let largest = all.map(similar).fold(f64::NEG_INFINITY, f64::max);
            let vector = vectors[i * self.dim..(i + 1) * self.dim].to_vec();
            self.ahead.push_back(ComparedCandidate { scored: *scored, vector, has, largest });
        }
        Ok(())
    }

    /// Appends a row's vector to `out`; says which checkpoints it has.
    fn read(&self, scored: &Scored, out: &mut Vec<f32>) -> Result<Vec<bool>, QueryError> {
        let pool = &self.operands.pools[scored.pool as usize];
        let spec = self.prepared.spec();
        let mut has = Vec::with_capacity(pool.readers.len());
        for (reader, weight) in pool.readers.iter().zip(&self.operands.weights) {
            let stored = reader.row_vectors(scored.row)?.into_iter().find(|stored| stored.pos == scored.pos);
            has.push(stored.is_some());
            let Some(stored) = stored else {
                out.resize(out.len() + reader.part().desc.dim() as usize, 0.0);
                continue;
            };
            let modules = modules::weights(spec.modules.as_ref(), reader.part());
            let groups = reader.part().attrs.groups.iter().zip(&modules);
            let roots = groups.flat_map(|(group, w)| std::iter::repeat_n(w.sqrt(), group.len as usize));
            let weighed: Vec<f64> = stored.vector.iter().zip(roots).map(|(x, w)| f64::from(*x) * w).collect();
            // The stored length is that before the values were rounded, by which a vector would not be
            // quite like its copy.
            let length = weighed.iter().map(|x| x * x).sum::<f64>().sqrt();
            let factor = weight.sqrt() / length.max(MIN_NORM);
            out.extend(weighed.iter().map(|x| (x * factor) as f32));
        }
        Ok(has)
    }
}

fn products(kernel: Kernel, rows: &[f32], queries: &Queries) -> Vec<f32> {
    let count = rows.len() / queries.dim();
    let (ones, mut found) = (vec![1.0; count], vec![0.0; count * queries.len()]);
    kernel.scaled_dots(Values::F32(rows), queries, &[0], &ones, &mut Scratch::default(), &mut found);
    found
}

/// The cosine of two rows over the checkpoints that both have; 0 where there is none.
fn similarity(weights: &[f64], product: f32, a: &[bool], b: &[bool]) -> f64 {
    if a.iter().chain(b).all(|has| *has) {
        return f64::from(product);
    }
    let common: f64 =
        weights.iter().zip(a).zip(b).filter(|((_, a), b)| **a && **b).map(|((w, _), _)| w).sum();
    if common > 0.0 { f64::from(product) / common } else { 0.0 }
}
