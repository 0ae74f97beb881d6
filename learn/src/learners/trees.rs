//! Gradient-boosted regression trees over histograms (Friedman 2001; splits as in LightGBM and scikit-learn's
//! histogram booster), least squares on ranks.
//!
//! Written here because no crate that was found has both a release that others have used for long and results
//! that are promised to repeat (docs/prefilter.md names those that were looked at).

use gstore_core::Cancel;
use serde::{Deserialize, Serialize};

use super::bins::Binned;
use crate::error::LearnError;
use crate::matrix::Matrix;

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
    x: &Matrix,
    y: &[f64],
    options: &TreeOptions,
    cancel: &Cancel,
) -> Result<Boosted, LearnError> {
    let binned = Binned::of(x);
    let start = y.iter().sum::<f64>() / y.len().max(1) as f64;
    let mut residual: Vec<f64> = y.iter().map(|y| y - start).collect();
    let mut trees = Vec::with_capacity(options.trees);
    for _ in 0..options.trees {
        cancel.check()?;
        let tree = TreeGrower { binned: &binned, residual: &residual, options }.tree();
        for (leaf, rows) in &tree.leaves {
            let value = tree.nodes[*leaf].value;
            rows.iter().for_each(|row| residual[*row as usize] -= value);
        }
        trees.push(tree.nodes);
    }
    Ok(Boosted { start, trees })
}

/// Sum of residuals and number of rows of each interval of each column.
type Histogram = Vec<Vec<(f64, u32)>>;

struct TreeGrower<'a> {
    binned: &'a Binned,
    residual: &'a [f64],
    options: &'a TreeOptions,
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
            let (left, right) = self.split(&parent.rows, split);
            // The smaller half is counted, the other is what is left.
            let (left_histogram, right_histogram) = if left.len() <= right.len() {
                let counted = self.histogram(&left);
                let rest = difference(parent.histogram, &counted);
                (counted, rest)
            } else {
                let counted = self.histogram(&right);
                let rest = difference(parent.histogram, &counted);
                (rest, counted)
            };
            let at = nodes.len();
            let end = self.binned.ends[split.feature][split.place];
            let (feature, children) = (split.feature as u32, [at as u32, at as u32 + 1]);
            nodes[parent.node] = Node { feature, end, left: children[0], right: children[1], value: 0.0 };
            nodes.extend([self.leaf(&left), self.leaf(&right)]);
            open.push(self.open(at, left, left_histogram));
            open.push(self.open(at + 1, right, right_histogram));
        }
        Tree { nodes, leaves: open.into_iter().map(|open| (open.node, open.rows)).collect() }
    }

    fn leaf(&self, rows: &[u32]) -> Node {
        let sum: f64 = rows.iter().map(|row| self.residual[*row as usize]).sum();
        let value = self.options.rate * sum / rows.len().max(1) as f64;
        Node { feature: 0, end: 0.0, left: 0, right: 0, value }
    }

    fn histogram(&self, rows: &[u32]) -> Histogram {
        let of_column = |(places, ends): (&Vec<u8>, &Vec<f64>)| {
            let mut found = vec![(0.0, 0); ends.len() + 1];
            for row in rows {
                let slot = &mut found[usize::from(places[*row as usize])];
                slot.0 += self.residual[*row as usize];
                slot.1 += 1;
            }
            found
        };
        self.binned.places.iter().zip(&self.binned.ends).map(of_column).collect()
    }

    fn open(&self, node: usize, rows: Vec<u32>, histogram: Histogram) -> OpenLeaf {
        let split = self.best(&rows, &histogram);
        OpenLeaf { node, rows, histogram, split }
    }

    /// The split that lowers the squares most; of equal ones the first.
    fn best(&self, rows: &[u32], histogram: &Histogram) -> Option<Split> {
        let (n, least) = (rows.len(), self.options.least.max(1));
        if n < 2 * least {
            return None;
        }
        let total: f64 = rows.iter().map(|row| self.residual[*row as usize]).sum();
        let whole = total * total / n as f64;
        let mut best: Option<Split> = None;
        for (feature, column) in histogram.iter().enumerate() {
            let (mut sum, mut count) = (0.0, 0usize);
            for (place, (of_place, rows)) in column.iter().enumerate().take(column.len().saturating_sub(1)) {
                sum += of_place;
                count += *rows as usize;
                if count < least {
                    continue;
                }
                if n - count < least {
                    break;
                }
                let rest = total - sum;
                let gain = sum * sum / count as f64 + rest * rest / (n - count) as f64 - whole;
                if gain > 1e-12 * whole.max(1e-300) && best.is_none_or(|best| gain > best.gain) {
                    best = Some(Split { gain, feature, place });
                }
            }
        }
        best
    }

    fn split(&self, rows: &[u32], split: Split) -> (Vec<u32>, Vec<u32>) {
        let places = &self.binned.places[split.feature];
        rows.iter().partition(|row| usize::from(places[**row as usize]) <= split.place)
    }
}

fn difference(mut whole: Histogram, part: &Histogram) -> Histogram {
    for (whole, part) in whole.iter_mut().zip(part) {
        for (whole, part) in whole.iter_mut().zip(part) {
            whole.0 -= part.0;
            whole.1 -= part.1;
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    static RUN: Cancel = Cancel::new();

    #[test]
    fn steps_that_no_line_has_are_learned() {
        let x = Matrix::new(2, (0..800).map(|i| f64::from(i * 37 % 401)).collect());
        let y: Vec<f64> = (0..400)
            .map(|row| f64::from(u8::from((x.row(row)[0] > 200.0) != (x.row(row)[1] > 100.0))))
            .collect();
        let fit = boost(&x, &y, &TreeOptions::default(), &RUN).unwrap();
        let error: f64 = (0..400).map(|row| (fit.predict(x.row(row)) - y[row]).powi(2)).sum::<f64>() / 400.0;
        assert!(error < 0.02, "{error}");
        assert_eq!(fit, boost(&x, &y, &TreeOptions::default(), &RUN).unwrap());
    }

    #[test]
    fn few_rows_and_constant_columns_give_the_mean() {
        let fit = boost(&Matrix::new(1, vec![1.0; 50]), &[0.5; 50], &TreeOptions::default(), &RUN).unwrap();
        assert_eq!(fit.predict(&[3.0]), 0.5);
        let few = Matrix::new(1, vec![1.0, 2.0, 3.0]);
        let fit = boost(&few, &[1.0, 2.0, 6.0], &TreeOptions::default(), &RUN).unwrap();
        assert!((fit.predict(&[9.0]) - 3.0).abs() < 1e-12);
    }
}
