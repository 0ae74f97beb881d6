//! Miss rates of bit planes over random rotations.
//!
//! Rows are made level ([`level`]): the scores of all rows are equal up to a spread far below the error of
//! any plane, so that each row of the true first k that a bound excludes wrongly counts as a miss. In
//! ordinary pools most such rows are still far above the threshold, and misses are too rare to be counted.

use anyhow::Result;
use gstore_query::influence::{InfluenceSpec, Mode, Order, Plane, Prepared, Scored, Sim, SketchMode};
use gstore_store::{DType, RowFlags};
use serde_json::{Value, json};

use super::adversarial::{level, orthogonal};
use super::numbers::Numbers;
use super::statistics::{least_likely, most_likely};
use super::stored::{Pool, build};
use super::{NEVER, bits, by_sketch, first, question, scores, sketches};

/// Rows of the answers.
const K: usize = 10;
/// Rows of a pool: those with the best estimates are scored anyway ([`K`] and 156 more), so there are more
/// than twice as many.
const ROWS: usize = 448;
/// Spread of scores around the level.
const SPREAD: f64 = 1e-4;

/// Where rows and queries come from.
pub enum Family<'a> {
    /// Normal coordinates.
    Gaussian,
    /// The length is concentrated in a few coordinates.
    Heavy,
    /// Eight non-zero coordinates.
    Sparse,
    /// Given vectors: rows, queries.
    Given(&'a [Vec<f32>], &'a [Vec<f32>]),
}

/// One experiment.
pub struct Count<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where vectors come from.
    pub family: Family<'a>,
    /// Number of coordinates; that of the given vectors.
    pub dim: usize,
    /// The planes that are used.
    pub planes: &'a [Plane],
    /// The stated probability.
    pub miss: f64,
    /// Trials, at least.
    pub trials: u64,
    /// Orthogonal queries of a pool, each asked alone; with `together` they are the subtasks of one question.
    pub queries: usize,
    /// Asks about all queries as one target: the largest (or smallest) of their scores counts.
    pub together: bool,
    /// The level of scores, as cosines.
    pub level: f64,
    /// Pools that the trials are spread over.
    pub pools: u64,
}

/// Results: misses and trials by (similarity, order), and by seed.
#[derive(Debug, Default)]
struct Counted {
    by: Vec<(Sim, Order, u64, u64)>,
    seeds: Vec<(u64, u64)>,
}

impl Count<'_> {
    /// Runs the trials on as many threads as there are cores, and returns the results.
    pub fn run(&self) -> Result<Value> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let parts: Vec<Result<Counted>> = std::thread::scope(|scope| {
            let runs: Vec<_> = (0..self.pools.min(cores))
                .map(|worker| {
                    scope.spawn(move || {
                        let mut counted = Counted::default();
                        for pool in (worker..self.pools).step_by(cores as usize) {
                            self.pool(pool, &mut counted)?;
                        }
                        Ok(counted)
                    })
                })
                .collect();
            runs.into_iter().map(|run| run.join().expect("a thread that does not panic")).collect()
        });
        let mut counted = Counted::default();
        for part in parts {
            let part = part?;
            counted.seeds.extend(part.seeds);
            for (sim, order, missed, trials) in part.by {
                counted.add(sim, order, missed, trials);
            }
        }
        Ok(self.report(&counted))
    }

    fn vectors(&self, pool: u64) -> (Vec<Vec<f32>>, Vec<Vec<f32>>) {
        let mut numbers = Numbers(pool * 1_000_003 + self.dim as u64);
        let (dim, count) = (self.dim, self.queries);
        let directions: Vec<Vec<f32>> = match self.family {
            Family::Gaussian => (0..count).map(|_| numbers.gaussian(dim)).collect(),
            Family::Heavy => (0..count).map(|_| numbers.heavy(dim)).collect(),
            // Queries and rows share no coordinate, so that levelling keeps them sparse.
            Family::Sparse => {
                let each = dim / 2 / count;
                (0..count).map(|i| numbers.sparse(dim, i * each..(i + 1) * each)).collect()
            }
            Family::Given(_, queries) => {
                (0..count).map(|_| queries[numbers.below(queries.len())].clone()).collect()
            }
        };
        let queries = orthogonal(&directions);
        let rows: Vec<Vec<f32>> = (0..ROWS)
            .map(|_| match self.family {
                Family::Gaussian => numbers.gaussian(dim),
                Family::Heavy => numbers.heavy(dim),
                Family::Sparse => numbers.sparse(dim, dim / 2..dim),
                Family::Given(rows, _) => rows[numbers.below(rows.len())].clone(),
            })
            .collect();
        let rows = level(&mut numbers, rows, &queries, self.level, SPREAD);
        (rows, queries)
    }

    fn pool(&self, pool: u64, counted: &mut Counted) -> Result<()> {
        let (rows, queries) = self.vectors(pool);
        let folder = tempfile::tempdir()?;
        let stored = Pool {
            rows: rows.len(),
            vectors: &|_, row| (rows[row].clone(), RowFlags::default()),
            dtype: DType::F32,
            groups: Vec::new(),
            cut: usize::MAX,
            checkpoints: 1,
            tokens: false,
        };
        let store = build(&folder.path().join("store"), &stored, &[queries])?;
        let snapshot = store.snapshot()?;
        let mode =
            SketchMode { miss: self.miss, planes: Some(self.planes.to_vec()), ..SketchMode::default() };
        let names: Vec<String> = match self.together {
            true => vec!["val".to_owned()],
            false => (0..self.queries).map(|i| format!("val:t{i}")).collect(),
        };
        let mut asked: Vec<(InfluenceSpec, [Vec<Scored>; 2])> = Vec::new();
        for (i, name) in names.iter().enumerate() {
            // Rows have one length, so the codes of a row fail for both similarities at once: each query is
            // asked with one of them.
            let sim = [Sim::Cosine, Sim::Dot][(i + pool as usize) % 2];
            let spec = InfluenceSpec { sim, ..question(name) };
            let every = scores(&Prepared::new(&snapshot, &spec)?, None)?;
            let want = [Order::Best, Order::Worst].map(|order| first(&every, order, K));
            asked.push((spec, want));
        }
        let each_seed = 2 * asked.len() as u64;
        let seeds = self.trials.div_ceil(each_seed * self.pools);
        for seed in 0..seeds {
            let all = sketches(&snapshot, pool << 32 | (seed + 1), 1)?;
            let (mut missed, mut trials) = (0, 0);
            for (spec, want) in &asked {
                let plan = by_sketch(&snapshot, spec, Mode::Sketch(mode.clone()), &all)?;
                for (order, want) in [Order::Best, Order::Worst].into_iter().zip(want) {
                    let got = plan.top_k(order, K, None, 1, &NEVER)?;
                    let miss = u64::from(bits(&got.rows) != bits(want));
                    (missed, trials) = (missed + miss, trials + 1);
                    counted.add(spec.sim, order, miss, 1);
                }
            }
            counted.seeds.push((missed, trials));
        }
        Ok(())
    }

    fn report(&self, counted: &Counted) -> Value {
        let missed: u64 = counted.seeds.iter().map(|(missed, _)| missed).sum();
        let trials: u64 = counted.seeds.iter().map(|(_, trials)| trials).sum();
        let rate = missed as f64 / trials as f64;
        // Questions with one rotation share its draw: how much more the misses vary between seeds than those
        // of independent trials would.
        let spread: f64 = counted.seeds.iter().map(|(m, n)| (*m as f64 - rate * *n as f64).powi(2)).sum();
        let expected: f64 = counted.seeds.iter().map(|(_, n)| *n as f64 * rate * (1.0 - rate)).sum();
        let by: Vec<Value> = counted
            .by
            .iter()
            .map(|(sim, order, missed, trials)| {
                json!({ "sim": sim.word(), "order": order.word(), "missed": missed, "trials": trials,
                    "upper95": most_likely(*missed, *trials, 0.95) })
            })
            .collect();
        let upper = most_likely(missed, trials, 0.95);
        json!({
            "evidence": "planes", "rows": self.name, "dim": self.dim, "planes": self.planes.iter().map(|p| p.word()).collect::<Vec<_>>(),
            "stated": self.miss, "together": self.together, "seeds": counted.seeds.len(), "missed": missed, "trials": trials,
            "lower95": least_likely(missed, trials, 0.95), "upper95": upper, "kept": upper <= self.miss,
            "variance_over_independent": if missed > 0 { spread / expected } else { 1.0 }, "by": by,
        })
    }
}

impl Counted {
    fn add(&mut self, sim: Sim, order: Order, missed: u64, trials: u64) {
        match self.by.iter_mut().find(|(s, o, ..)| (*s, *o) == (sim, order)) {
            Some((.., m, t)) => (*m, *t) = (*m + missed, *t + trials),
            None => self.by.push((sim, order, missed, trials)),
        }
    }
}
