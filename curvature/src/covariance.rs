//! Sums that curvature is made of: outer products of tokens, squares of gradients.
//!
//! Sums and counts are kept, not means, so that parts of the data can be fitted apart and added.

/// Sum of the outer products `v v^T` of tokens: inputs with the constant of a bias, or gradients of outputs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Covariance {
    /// Rows and columns.
    pub size: usize,
    /// The sum, `[size, size]`.
    pub sums: Vec<f64>,
    /// Tokens.
    pub count: u64,
}

impl Covariance {
    /// Of no token.
    pub fn new(size: usize) -> Self {
        Self { size, sums: vec![0.0; size * size], count: 0 }
    }

    /// Adds the sum over `count` tokens.
    pub fn add(&mut self, part: &[f32], count: u64) {
        self.sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += f64::from(*part));
        self.count += count;
    }

    /// Adds what was summed over other data.
    pub fn merge(&mut self, other: &Covariance) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, part)| *sum += part);
        self.count += other.count;
    }

    /// The mean, made symmetric.
    pub fn mean(&self) -> Vec<f64> {
        let n = self.size;
        let scale = 0.5 / self.count.max(1) as f64;
        (0..n * n)
            .map(|at| {
                let (row, col) = (at / n, at % n);
                (self.sums[at] + self.sums[col * n + row]) * scale
            })
            .collect()
    }
}

/// Sum over samples of the squared values of a gradient `[out, input]`, as it is or in an eigenbasis.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Squares {
    /// The sum.
    pub sums: Vec<f64>,
    /// Samples.
    pub count: u64,
}

impl Squares {
    /// Of no sample.
    pub fn new(len: usize) -> Self {
        Self { sums: vec![0.0; len], count: 0 }
    }

    /// Adds a sample's gradient.
    pub fn add(&mut self, gradient: &[f32]) {
        for (sum, value) in self.sums.iter_mut().zip(gradient) {
            *sum += f64::from(*value) * f64::from(*value);
        }
        self.count += 1;
    }

    /// Adds what was summed over other data.
    pub fn merge(&mut self, other: &Squares) {
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, part)| *sum += part);
        self.count += other.count;
    }

    /// The mean.
    pub fn mean(&self) -> Vec<f64> {
        let count = self.count.max(1) as f64;
        self.sums.iter().map(|sum| sum / count).collect()
    }
}
