//! A small question with its vectors in memory, and its answer written down directly in float64.

use std::collections::BTreeMap;

use gstore_query::influence::*;
use gstore_store::DType;

use super::*;

/// A small question with its vectors in memory.
#[derive(Debug, Clone)]
pub struct World {
    pub weights: Vec<f64>,
    /// `pool[checkpoint][row]`.
    pub pool: Vec<Vec<Row>>,
    /// `target[checkpoint][row]`.
    pub target: Vec<Vec<Row>>,
    pub subtasks: Vec<Option<&'static str>>,
    pub groups: Vec<u32>,
    pub cut: usize,
}

const NAMES: [Option<&str>; 4] = [None, Some("b"), Some("a"), Some("c")];

pub fn world(seed: u64) -> World {
    let mut n = Numbers(seed);
    let checkpoints = 1 + n.below(4);
    let groups: Vec<u32> = match n.below(3) {
        0 => Vec::new(),
        _ => (0..1 + n.below(4)).map(|_| 1 + n.below(9) as u32).collect(),
    };
    let dim = if groups.is_empty() { 1 + n.below(40) } else { groups.iter().sum::<u32>() as usize };
    let (pool_rows, target_rows) = (1 + n.below(30), 1 + n.below(9));
    let rows = |n: &mut Numbers, count: usize, holes: bool| -> Vec<Row> {
        (0..count)
            .map(|_| {
                let hole = n.below(8);
                let scale = [1.0, 1e-3, 300.0][n.below(3)];
                let vector: Vec<f32> = (0..dim).map(|_| n.next() * scale).collect();
                match hole {
                    0 if holes => None,
                    1 if holes => Some((vector, 1)),
                    2 if holes => Some((vec![f32::NAN; dim], 0)),
                    3 => Some((vec![0.0; dim], 0)),
                    4 => Some((vector, 4)),
                    _ => Some((vector, 0)),
                }
            })
            .collect()
    };
    let holes = n.below(2) == 0;
    World {
        weights: (0..checkpoints).map(|_| 0.1 + f64::from(n.next().abs())).collect(),
        pool: (0..checkpoints).map(|_| rows(&mut n, pool_rows, holes)).collect(),
        target: (0..checkpoints).map(|_| rows(&mut n, target_rows, false)).collect(),
        subtasks: (0..target_rows).map(|_| NAMES[n.below(4)]).collect(),
        groups,
        cut: 1 + n.below(12),
    }
}

impl World {
    pub fn store(&self, dtype: DType) -> TestStore {
        let store = TestStore::with(&[("pool", self.pool[0].len())]);
        self.publish(&store, dtype, |c| {
            let mut feature = Feature::new("pool", "grad-adam", c, self.pool[c].clone());
            // A feature needs a vector to have a length.
            if feature.rows.iter().all(Option::is_none) {
                feature.rows[0] = Some((vec![0.0; self.dim()], 0));
            }
            feature
        });
        store
    }

    /// Adds the targets, and for each checkpoint their feature and one of the pool.
    pub fn publish(&self, store: &TestStore, dtype: DType, pool: impl Fn(usize) -> Feature) {
        store.dataset_of("val", &self.subtasks);
        let mut features = Vec::new();
        for c in 0..self.weights.len() {
            for mut feature in [pool(c), Feature::new("val", "grad-sgd", c, self.target[c].clone())] {
                // Targets are not stored as signs, nor are given samples rounded to them.
                let whole = dtype == DType::I1 && feature.dataset == "val";
                feature.dtype = if whole { DType::F32 } else { dtype };
                (feature.groups, feature.cut) = (self.groups.clone(), self.cut);
                features.push(feature);
            }
        }
        let run = store.run("warmup", &self.weights.iter().map(|w| Some(*w)).collect::<Vec<_>>());
        store.features(&features, Some(run));
    }

    pub fn dim(&self) -> usize {
        self.target[0].iter().flatten().next().unwrap().0.len()
    }

    pub fn normal(mut self) -> Self {
        let dim = self.dim();
        for rows in &mut self.pool {
            if rows.iter().all(Option::is_none) {
                rows[0] = Some((vec![0.0; dim], 0));
            }
        }
        self
    }

    /// The same with the coordinates of each module group multiplied by the root of its weight: what a
    /// weighted comparison sees.
    pub fn weighted(&self, modules: &[f64]) -> Self {
        let mut weighted = self.clone();
        let roots: Vec<f32> = self
            .groups
            .iter()
            .zip(modules)
            .flat_map(|(len, weight)| std::iter::repeat_n(weight.sqrt() as f32, *len as usize))
            .collect();
        for (vector, _) in weighted.pool.iter_mut().chain(&mut weighted.target).flatten().flatten() {
            // A row that is not finite is excluded, also where its module counts nothing.
            let finite = vector.iter().all(|x| x.is_finite());
            vector.iter_mut().zip(&roots).filter(|_| finite).for_each(|(x, root)| *x *= root);
        }
        weighted
    }

    /// What rounding errors are relative to: the largest product of two lengths, as often as it can be
    /// summed.
    pub fn magnitude(&self, spec: &InfluenceSpec) -> f64 {
        let longest = |rows: &Vec<Vec<Row>>| {
            let finite = rows.iter().flatten().flatten().filter(|(v, _)| v.iter().all(|x| x.is_finite()));
            finite
                .map(|(v, _)| length(&v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>()))
                .fold(0.0, f64::max)
        };
        let target = if spec.fold == Fold::UnitMean { 1.0 } else { longest(&self.target) };
        let product = if spec.sim == Sim::Dot { longest(&self.pool) * target } else { 1.0 };
        product
            * if spec.within == Within::Sum || spec.across == Across::Sum {
                self.subtasks.len() as f64
            } else {
                1.0
            }
    }

    /// Score and subtask of each row, or why it has none.
    pub fn naive(&self, spec: &InfluenceSpec) -> BTreeMap<u64, Result<(f64, String), Reason>> {
        let mut subtasks: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (row, name) in self.subtasks.iter().enumerate() {
            subtasks.entry(name.unwrap_or("val").to_owned()).or_default().push(row);
        }
        (0..self.pool[0].len()).map(|row| (row as u64, self.naive_row(spec, row, &subtasks))).collect()
    }

    /// Whether the vectors of a subtask all but cancel when they are folded: the direction of what is left is
    /// rounding error, so its cosine has no value to compare with.
    pub fn cancels(&self, spec: &InfluenceSpec) -> bool {
        if spec.fold == Fold::None || spec.sim == Sim::Dot {
            return false;
        }
        let names: std::collections::BTreeSet<_> =
            self.subtasks.iter().map(|name| name.unwrap_or("val")).collect();
        (0..self.weights.len()).any(|c| {
            names.iter().any(|name| {
                let mut sum = vec![0.0; self.dim()];
                let mut longest = 0.0f64;
                for (r, _) in self.subtasks.iter().enumerate().filter(|(_, n)| n.unwrap_or("val") == *name) {
                    let v: Vec<f64> =
                        self.target[c][r].as_ref().unwrap().0.iter().map(|&x| f64::from(x)).collect();
                    let by = if spec.fold == Fold::UnitMean { length(&v) } else { 1.0 };
                    sum.iter_mut().zip(&v).for_each(|(s, x)| *s += x / by);
                    longest = longest.max(length(&v) / by);
                }
                length(&sum) < 0.05 * longest
            })
        })
    }

    fn naive_row(
        &self,
        spec: &InfluenceSpec,
        row: usize,
        subtasks: &BTreeMap<String, Vec<usize>>,
    ) -> Result<(f64, String), Reason> {
        let here: Vec<usize> = (0..self.weights.len()).filter(|&c| self.pool[c][row].is_some()).collect();
        let flags = here.iter().fold(0, |all, &c| {
            let (vector, flags) = self.pool[c][row].as_ref().unwrap();
            all | flags | if vector.iter().all(|x| x.is_finite()) { 0 } else { 2 }
        });
        if flags & 1 != 0 {
            return Err(Reason::NoScored);
        }
        if flags & 2 != 0 {
            return Err(Reason::NonFinite);
        }
        if here.len() < self.weights.len() && (spec.missing == Missing::Exclude || here.is_empty()) {
            return Err(Reason::Missing);
        }
        let total: f64 = here.iter().map(|&c| self.weights[c]).sum();
        let mut values = Vec::new();
        for (name, rows) in subtasks {
            let target = |c: usize, r: usize| -> Vec<f64> {
                self.target[c][r].as_ref().unwrap().0.iter().map(|&x| f64::from(x)).collect()
            };
            let queries: Vec<Vec<Vec<f64>>> = match spec.fold {
                Fold::None => {
                    rows.iter().map(|&r| (0..self.weights.len()).map(|c| target(c, r)).collect()).collect()
                }
                fold => vec![
                    (0..self.weights.len())
                        .map(|c| {
                            let mut mean = vec![0.0; self.dim()];
                            for &r in rows {
                                let v = target(c, r);
                                let by = if fold == Fold::UnitMean { length(&v) } else { 1.0 };
                                mean.iter_mut().zip(&v).for_each(|(m, x)| *m += x / by / rows.len() as f64);
                            }
                            mean
                        })
                        .collect(),
                ],
            };
            let each: Vec<f64> = queries
                .iter()
                .map(|query| {
                    here.iter()
                        .map(|&c| {
                            let x: Vec<f64> =
                                self.pool[c][row].as_ref().unwrap().0.iter().map(|&x| f64::from(x)).collect();
                            let dot: f64 = x.iter().zip(&query[c]).map(|(a, b)| a * b).sum();
                            let by =
                                if spec.sim == Sim::Cosine { length(&x) * length(&query[c]) } else { 1.0 };
                            self.weights[c] / total * dot / by
                        })
                        .sum()
                })
                .collect();
            let value = match spec.within {
                Within::Mean => each.iter().sum::<f64>() / each.len() as f64,
                Within::Sum => each.iter().sum(),
                Within::Max => each.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                Within::Min => each.iter().copied().fold(f64::INFINITY, f64::min),
            };
            values.push((value, name.clone()));
        }
        let pick = |better: fn(f64, f64) -> bool| {
            values
                .iter()
                .fold(values[0].clone(), |best, v| if better(v.0, best.0) { v.clone() } else { best })
        };
        let sum: f64 = values.iter().map(|v| v.0).sum();
        Ok(match spec.across {
            Across::Max => pick(|a, b| a > b),
            Across::Min => pick(|a, b| a < b),
            Across::Mean => (sum / values.len() as f64, pick(|a, b| a > b).1),
            Across::Sum => (sum, pick(|a, b| a > b).1),
        })
    }
}

fn length(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum::<f64>().sqrt().max(1e-12)
}

/// Every combination of terms.
pub fn questions() -> Vec<InfluenceSpec> {
    let mut all = Vec::new();
    for within in [Within::Mean, Within::Max, Within::Min, Within::Sum] {
        for across in [Across::Max, Across::Mean, Across::Sum, Across::Min] {
            for fold in [Fold::None, Fold::Mean, Fold::UnitMean] {
                for sim in [Sim::Cosine, Sim::Dot] {
                    for missing in [Missing::Error, Missing::Exclude, Missing::Renormalise] {
                        all.push(InfluenceSpec { within, across, fold, sim, missing, ..ask("pool", "val") });
                    }
                }
            }
        }
    }
    all
}
