//! Rankings by sketch with a certificate against every row's score.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use gstore_query::influence::{
    Each, EachRequest, InfluenceSpec, Mode, Order, Plane, Prepared, RowFilter, RowMask, Scored, Sim,
    SketchMode,
};
use gstore_store::{DType, DeleteOptions, RowFlags, RowSet, Snapshot};
use serde_json::{Value, json};

use super::adversarial::Trouble;
use super::numbers::Numbers;
use super::stored::{Pool, build};
use super::{NEVER, Sketches, bits, by_sketch, first, question, scores, sketches};

/// Comparison counts.
#[derive(Debug, Default)]
pub struct Tally {
    /// Compared rankings by sketch.
    pub trials: u64,
    /// Those that the certificate decided; the others fell back to a scan, and reported it.
    pub certified: u64,
    /// Compared rankings of several targets in one pass, by sketch and without.
    pub each: u64,
    /// Compared rankings without a sketch.
    pub exact: u64,
    /// Rows that could have been scored.
    pub rows: u64,
    /// Rows that were scored.
    pub scored: u64,
    /// Rankings that differ from those of the scores, in words.
    pub wrong: Vec<String>,
}

impl Tally {
    /// As a line of results.
    pub fn report(&self, name: &str) -> Value {
        json!({
            "evidence": "certified", "pool": name, "trials": self.trials, "by_certificate": self.certified, "rankings_of_several": self.each,
            "without_sketch": self.exact,
            "scored_share": self.scored as f64 / self.rows.max(1) as f64, "wrong": self.wrong.len(), "first_wrong": self.wrong.first(),
        })
    }

    /// Adds other counts.
    pub fn merge(&mut self, other: Self) {
        self.trials += other.trials;
        self.certified += other.certified;
        self.each += other.each;
        self.exact += other.exact;
        self.rows += other.rows;
        self.scored += other.scored;
        self.wrong.extend(other.wrong);
    }
}

/// A difficult pool, stored in one way.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// What makes it difficult.
    pub trouble: Trouble,
    /// Number of coordinates.
    pub dim: usize,
    /// Stored type of its vectors.
    pub dtype: DType,
    /// Number of module groups.
    pub groups: usize,
    /// Number of checkpoints.
    pub checkpoints: usize,
    /// Number of rows.
    pub rows: usize,
    /// Scores tokens, which have no sketches.
    pub tokens: bool,
}

/// Asks `targets` questions about a pool of this shape: both similarities, both ends, with and without a
/// filter, before and after a delete.
pub fn adversarial(shape: Shape, targets: usize, seed: u64) -> Result<Tally> {
    let mut numbers = Numbers(seed);
    let queries: Vec<Vec<Vec<f32>>> =
        (0..shape.checkpoints).map(|_| shape.trouble.targets(&mut numbers, targets, shape.dim)).collect();
    let rows: Vec<Vec<Vec<f32>>> =
        queries.iter().map(|q| shape.trouble.rows(&mut numbers, shape.rows, shape.dim, q)).collect();
    let folder = tempfile::tempdir()?;
    let pool = Pool {
        rows: shape.rows,
        vectors: &|c, row| {
            // Every token is a scored one.
            let unscored = row % 41 == 3 && !shape.tokens;
            let flags = if unscored { RowFlags::NO_SCORED } else { RowFlags::default() };
            let mut vector = rows[c][row].clone();
            if row == shape.rows / 2 {
                vector[0] = f32::NAN;
            }
            (vector, flags)
        },
        dtype: shape.dtype,
        groups: cut_groups(shape.dim, shape.groups),
        cut: shape.rows * 2 / 5 + 1,
        checkpoints: shape.checkpoints,
        tokens: shape.tokens,
    };
    let store = build(&folder.path().join("store"), &pool, &queries)?;
    let mut tally = Tally::default();
    let snapshot = store.snapshot()?;
    let all = if shape.tokens { Sketches::new() } else { sketches(&snapshot, seed, 2)? };
    let some: RowMask = (0..shape.rows as u64).filter(|row| row % 7 != 2 && row % 5 < 3).collect();
    let filter = RowFilter::single(some);
    let asked = Asked { name: format!("{shape:?}"), tokens: shape.tokens, planes: true };
    asked.compare(&snapshot, &all, targets, None, seed, &mut tally)?;
    asked.compare(&snapshot, &all, targets, Some(&filter), seed + 1, &mut tally)?;
    let gone = RowSet::from_rows((0..shape.rows as u64).filter(|row| row % 9 == 4));
    store.delete(store.snapshot().unwrap().dataset("pool").unwrap(), &gone, DeleteOptions::default())?;
    asked.compare(&store.snapshot()?, &all, targets, None, seed + 2, &mut tally)?;
    Ok(tally)
}

fn cut_groups(dim: usize, groups: usize) -> Vec<u32> {
    let mut left = dim as u32;
    let mut cut: Vec<u32> = Vec::new();
    for i in (1..groups.min(dim) as u32).rev() {
        let len = (left / (i + 2)).max(1);
        cut.push(len);
        left -= len;
    }
    cut.push(left);
    cut
}

/// Questions to one store.
pub struct Asked {
    /// Its name.
    pub name: String,
    /// Whether tokens are scored.
    pub tokens: bool,
    /// Reads the certified plane even if no savings are expected.
    pub planes: bool,
}

impl Asked {
    /// Asks about each of the subtasks `t0..`, by both similarities, from both ends, and about all of them in
    /// one pass.
    pub fn compare(
        &self,
        snapshot: &Arc<Snapshot>,
        sketches: &Sketches,
        targets: usize,
        filter: Option<&RowFilter>,
        seed: u64,
        tally: &mut Tally,
    ) -> Result<()> {
        let names: Vec<String> = (0..targets).map(|i| format!("val:t{i}")).collect();
        for sim in [Sim::Cosine, Sim::Dot] {
            let mut truth: HashMap<String, Vec<Scored>> = HashMap::new();
            for (i, name) in names.iter().enumerate() {
                let spec = InfluenceSpec { sim, per_token: self.tokens, ..question(name) };
                let every = scores(&Prepared::new(snapshot, &spec)?, filter)?;
                let plan = by_sketch(snapshot, &spec, self.mode(), sketches)?;
                for order in [Order::Best, Order::Worst] {
                    let k = [1, 3, 10, 40][(i + seed as usize) % 4];
                    self.one(&plan, &every, order, k, filter, tally)?;
                }
                truth.insert(name["val:".len()..].to_owned(), every);
            }
            let spec = InfluenceSpec { sim, per_token: self.tokens, ..question("val") };
            let exact = Prepared::new(snapshot, &spec)?;
            let every = scores(&exact, filter)?;
            for plan in [&by_sketch(snapshot, &spec, self.mode(), sketches)?, &exact] {
                for order in [Order::Best, Order::Worst] {
                    self.one(plan, &every, order, 10, filter, tally)?;
                    self.several(plan, &truth, order, filter, tally)?;
                }
            }
        }
        Ok(())
    }

    fn mode(&self) -> Mode {
        let planes = self.planes.then(|| vec![Plane::Certified]);
        Mode::Sketch(SketchMode { certified: true, planes, ..SketchMode::default() })
    }

    fn one(
        &self,
        plan: &Prepared,
        every: &[Scored],
        order: Order,
        k: usize,
        filter: Option<&RowFilter>,
        tally: &mut Tally,
    ) -> Result<()> {
        let got = plan.top_k(order, k, filter, 2, &NEVER)?;
        let want = first(every, order, k);
        match plan.spec().mode {
            Mode::Exact => tally.exact += 1,
            Mode::Sketch(_) => tally.trials += 1,
        }
        let by_certificate = got.summary.guarantee != "exact";
        tally.certified += u64::from(by_certificate);
        if by_certificate {
            tally.rows += got.summary.eligible;
            tally.scored += got.summary.rows_scored;
        }
        if bits(&got.rows) != bits(&want) || got.summary.eligible != every.len() as u64 {
            let spec = plan.spec();
            tally.wrong.push(format!(
                "{} {} target {} {} {order} k {k} filter {}: {:?} is not {want:?}; eligible {} of {}",
                self.name,
                spec.mode,
                spec.target_names().join(","),
                spec.sim,
                filter.is_some(),
                got.rows,
                got.summary.eligible,
                every.len()
            ));
        }
        Ok(())
    }

    /// One pass for all target samples: rows with a score for all of them are ranked as for each alone.
    fn several(
        &self,
        plan: &Prepared,
        truth: &HashMap<String, Vec<Scored>>,
        order: Order,
        filter: Option<&RowFilter>,
        tally: &mut Tally,
    ) -> Result<()> {
        let place = |s: &Scored| (s.row, s.pos);
        let mut common: Option<HashSet<(u64, Option<u32>)>> = None;
        for every in truth.values() {
            let own: HashSet<_> = every.iter().map(place).collect();
            common = Some(common.map_or(own.clone(), |common| common.intersection(&own).copied().collect()));
        }
        let common = common.unwrap_or_default();
        for each in [Each::Sample, Each::Subtask] {
            let request = EachRequest { each, order, k: 10, filter, threads: 2, memory: 1 << 30 };
            let found = plan.top_k_each(&request, &NEVER)?;
            ensure!(found.rankings.len() == truth.len(), "{} rankings", found.rankings.len());
            for ranking in &found.rankings {
                let every = truth.get(&ranking.name).context("a subtask of the target")?;
                let ranked: Vec<Scored> =
                    every.iter().filter(|s| common.contains(&place(s))).copied().collect();
                tally.each += 1;
                if bits(&ranking.rows) != bits(&first(&ranked, order, 10)) {
                    tally.wrong.push(format!(
                        "{} {} each {each} {} {} {order}: {:?}",
                        self.name,
                        plan.spec().mode,
                        ranking.name,
                        plan.spec().sim,
                        ranking.rows
                    ));
                }
            }
        }
        Ok(())
    }
}
