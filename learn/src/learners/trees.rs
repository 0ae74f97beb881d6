//! Gradient-boosted regression trees over histograms (Friedman 2001; splits as in LightGBM and scikit-learn's
//! histogram booster), least squares on ranks.
//!
//! Written here because no crate that was found has both a release that others have used for long and results
//! that are promised to repeat (docs/prefilter.md names those that were looked at).

use gstore_core::Cancel;
use serde::{Deserialize, Serialize};

use super::bins::Binned;
use crate::error::LearnError;

/// How trees are grown.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TreeOptions {
    /// Trees of a target.
    pub trees: usize,
    /// How much of its prediction each tree adds.
    pub rate: f64,
    /// Leaves of a tree at most.
    pub leaves: usize,
    /// Rows of a leaf at least.
    pub least: usize,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self { trees: 100, rate: 0.1, leaves: 31, least: 20 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Boosted {
    /// The mean of the target.
    start: f64,
    trees: Vec<Vec<Node>>,
}

/// A split or a leaf. The root is node 0, so a leaf has 0 for its children.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Node {
    feature: u32,
    /// Values up to here go left.
    end: f64,
    left: u32,
    right: u32,
    value: f64,
}

impl Boosted {
    /// The prediction of a row.
    pub fn predict(&self, row: &[f64]) -> f64 {
        let of_tree = |tree: &Vec<Node>| {
            let mut node = tree.first()?;
            while node.left != 0 {
                let value = row.get(node.feature as usize)?;
                let next = if *value <= node.end { node.left } else { node.right };
                node = tree.get(next as usize)?;
            }
            Some(node.value)
        };
        self.start + self.trees.iter().filter_map(of_tree).sum::<f64>()
    }
}

/// Fits one target.
pub(super) fn boost(
    binned: &Binned,
    y: &[f64],
    options: &TreeOptions,
    cancel: &Cancel,
) -> Result<Boosted, LearnError> {
    let start = y.iter().sum::<f64>() / y.len().max(1) as f64;
    let mut residual: Vec<f64> = y.iter().map(|y| y - start).collect();
    let shares: Vec<f64> = (0..=y.len()).map(|rows| 1.0 / rows as f64).collect();
    let mut trees = Vec::with_capacity(options.trees);
    for _ in 0..options.trees {
        cancel.check()?;
        let tree = TreeGrower { binned, residual: &residual, options, shares: &shares }.tree();
        for (leaf, rows) in &tree.leaves {
            let value = tree.nodes[*leaf].value;
            rows.iter().for_each(|row| residual[*row as usize] -= value);
        }
        trees.push(tree.nodes);
    }
    Ok(Boosted { start, trees })
}

/// Sum of residuals and number of rows of each interval, column after column.
type Histogram = Vec<(f64, u32)>;

struct TreeGrower<'a> {
    binned: &'a Binned,
    residual: &'a [f64],
    options: &'a TreeOptions,
    /// One over each number of rows: splits are looked for in all intervals, and divisions would take most of that.
    shares: &'a [f64],
}

struct Tree {
    nodes: Vec<Node>,
    /// Nodes that are leaves, with their rows.
    leaves: Vec<(usize, Vec<u32>)>,
}

/// A leaf that may be split.
struct OpenLeaf {
    node: usize,
    rows: Vec<u32>,
    histogram: Histogram,
    split: Option<Split>,
}

#[derive(Clone, Copy)]
struct Split {
    gain: f64,
    feature: usize,
    /// The last interval that goes left.
    place: usize,
}

impl TreeGrower<'_> {
    /// Splits the leaf that gains most until there are enough, or none gains.
    fn tree(&self) -> Tree {
        let all: Vec<u32> = (0..self.residual.len() as u32).collect();
        let mut nodes = vec![self.leaf(&all)];
        let histogram = self.histogram(&all);
        let mut open = vec![self.open(0, all, histogram)];
        while open.len() < self.options.leaves {
            // Of equal gains the leaf that was made first.
            let best = (0..open.len()).filter(|i| open[*i].split.is_some()).reduce(|a, b| {
                let gain = |i: usize| open[i].split.map_or(0.0, |split| split.gain);
                if gain(b) > gain(a) { b } else { a }
            });
            let Some(best) = best else { break };
            let parent = open.remove(best);
            let Some(split) = parent.split else { break };
            let children = self.children(parent.rows, parent.histogram, split);
            let at = nodes.len();
            let end = self.binned.ends[split.feature][split.place];
            let (feature, [left, right]) = (split.feature as u32, [at as u32, at as u32 + 1]);
            nodes[parent.node] = Node { feature, end, left, right, value: 0.0 };
            for (rows, histogram) in children {
                nodes.push(self.leaf(&rows));
                open.push(self.open(nodes.len() - 1, rows, histogram));
            }
        }
        Tree { nodes, leaves: open.into_iter().map(|open| (open.node, open.rows)).collect() }
    }

    fn leaf(&self, rows: &[u32]) -> Node {
        let sum: f64 = rows.iter().map(|row| self.residual[*row as usize]).sum();
        let value = self.options.rate * sum / rows.len().max(1) as f64;
        Node { feature: 0, end: 0.0, left: 0, right: 0, value }
    }

    fn histogram(&self, rows: &[u32]) -> Histogram {
        let mut found = vec![(0.0, 0); self.binned.ends.iter().map(|ends| ends.len() + 1).sum()];
        let mut columns = &mut found[..];
        for (places, ends) in self.binned.places.iter().zip(&self.binned.ends) {
            let (column, others) = columns.split_at_mut(ends.len() + 1);
            for row in rows {
                let slot: &mut (f64, u32) = &mut column[usize::from(places[*row as usize])];
                slot.0 += self.residual[*row as usize];
                slot.1 += 1;
            }
            columns = others;
        }
        found
    }

    fn open(&self, node: usize, rows: Vec<u32>, histogram: Histogram) -> OpenLeaf {
        let split = self.best(&rows, &histogram);
        OpenLeaf { node, rows, histogram, split }
    }

    /// The split that lowers the squares most; of equal ones the first.
    fn best(&self, rows: &[u32], histogram: &Histogram) -> Option<Split> {
        if !self.is_large(rows) {
            return None;
        }
        let (n, least) = (rows.len(), self.options.least.max(1));
        let total: f64 = rows.iter().map(|row| self.residual[*row as usize]).sum();
        let whole = total * total / n as f64;
        let mut best = None;
        let mut least_gain = 1e-12 * whole.max(1e-300);
        let mut columns = &histogram[..];
        for (feature, ends) in self.binned.ends.iter().enumerate() {
            let (column, others) = columns.split_at(ends.len() + 1);
            columns = others;
            let (mut sum, mut count) = (0.0, 0usize);
            for (place, (of_place, rows)) in column[..ends.len()].iter().enumerate() {
                sum += of_place;
                count += *rows as usize;
                if count < least {
                    continue;
                }
                if n - count < least {
                    break;
                }
                let rest = total - sum;
                let gain = sum * sum * self.shares[count] + rest * rest * self.shares[n - count] - whole;
                // An interval without rows splits as the one before it; what a difference left there is rounding.
                if gain > least_gain && *rows > 0 {
                    least_gain = gain;
                    best = Some(Split { gain, feature, place });
                }
            }
        }
        best
    }

    /// The left half and the right one.
    fn children(&self, rows: Vec<u32>, whole: Histogram, split: Split) -> [(Vec<u32>, Histogram); 2] {
        let places = &self.binned.places[split.feature];
        let (left, right): (Vec<u32>, Vec<u32>) =
            rows.into_iter().partition(|row| usize::from(places[*row as usize]) <= split.place);
        if !self.is_large(&left) && !self.is_large(&right) {
            return [left, right].map(|rows| (rows, Histogram::new()));
        }
        // The smaller half is counted, the other is what is left.
        let is_left_smaller = left.len() <= right.len();
        let counted = self.histogram(if is_left_smaller { &left } else { &right });
        let rest = difference(whole, &counted);
        if is_left_smaller { [(left, counted), (right, rest)] } else { [(left, rest), (right, counted)] }
    }

    /// Whether rows can be split: only then is their histogram read.
    fn is_large(&self, rows: &[u32]) -> bool {
        rows.len() >= 2 * self.options.least.max(1)
    }
}

fn difference(mut whole: Histogram, part: &Histogram) -> Histogram {
    for (whole, part) in whole.iter_mut().zip(part) {
        whole.0 -= part.0;
        whole.1 -= part.1;
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::Matrix;

    static RUN: Cancel = Cancel::new();

    #[test]
    fn steps_that_no_line_has_are_learned() {
        let x = Matrix::new(2, (0..800).map(|i| f64::from(i * 37 % 401)).collect());
        let y: Vec<f64> = (0..400)
            .map(|row| f64::from(u8::from((x.row(row)[0] > 200.0) != (x.row(row)[1] > 100.0))))
            .collect();
        let fit = boost(&Binned::of(&x), &y, &TreeOptions::default(), &RUN).unwrap();
        let error: f64 = (0..400).map(|row| (fit.predict(x.row(row)) - y[row]).powi(2)).sum::<f64>() / 400.0;
        assert!(error < 0.02, "{error}");
        assert_eq!(fit, boost(&Binned::of(&x), &y, &TreeOptions::default(), &RUN).unwrap());
    }

    #[test]
    fn few_rows_and_constant_columns_give_the_mean() {
        let fit =
            boost(&Binned::of(&Matrix::new(1, vec![1.0; 50])), &[0.5; 50], &TreeOptions::default(), &RUN)
                .unwrap();
        assert_eq!(fit.predict(&[3.0]), 0.5);
        let few = Matrix::new(1, vec![1.0, 2.0, 3.0]);
        let fit = boost(&Binned::of(&few), &[1.0, 2.0, 6.0], &TreeOptions::default(), &RUN).unwrap();
        assert!((fit.predict(&[9.0]) - 3.0).abs() < 1e-12);
    }
}
