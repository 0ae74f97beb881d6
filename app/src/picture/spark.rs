//! A curve in one line of text, of any number of values in bounded memory.

/// Values that are kept apart; more are averaged in pairs.
const MOST: usize = 256;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A curve to which values are added while it is shown.
#[derive(Debug, Clone, Default)]
pub struct Sparkline {
    /// Means of `each` values.
    means: Vec<f64>,
    each: usize,
    /// Sum and number of the values of the next mean.
    open: (f64, usize),
}

impl Sparkline {
    /// Adds a value; one that is not finite is left out.
    pub fn push(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.open = (self.open.0 + value, self.open.1 + 1);
        if self.open.1 < self.each.max(1) {
            return;
        }
        self.means.push(self.open.0 / self.open.1 as f64);
        self.open = (0.0, 0);
        if self.means.len() == MOST {
            self.means =
                self.means.chunks(2).map(|pair| pair.iter().sum::<f64>() / pair.len() as f64).collect();
            self.each = self.each.max(1) * 2;
        }
    }

    /// The curve in at most `width` characters, the lowest value as the lowest block.
    pub fn line(&self, width: usize) -> String {
        let open = (self.open.1 > 0).then(|| self.open.0 / self.open.1 as f64);
        let values: Vec<f64> = self.means.iter().copied().chain(open).collect();
        if values.is_empty() || width == 0 {
            return String::new();
        }
        let columns = width.min(values.len());
        let mean = |i: usize| {
            let part = &values[i * values.len() / columns..(i + 1) * values.len() / columns];
            part.iter().sum::<f64>() / part.len() as f64
        };
        let means: Vec<f64> = (0..columns).map(mean).collect();
        let (low, high) = means.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let block = |v: &f64| match high > low {
            true => BLOCKS[(((v - low) / (high - low) * 7.0).round() as usize).min(7)],
            false => BLOCKS[0],
        };
        means.iter().map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_fits_its_width_and_memory() {
        let mut spark = Sparkline::default();
        assert_eq!(spark.line(10), "");
        for v in [8.0, 4.0, f64::NAN, 1.0] {
            spark.push(v);
        }
        assert_eq!((spark.line(10), spark.line(1)), ("█▄▁".to_owned(), "▁".to_owned()));
        for step in 0..100_000 {
            spark.push(f64::from(100_000 - step));
        }
        assert!(spark.means.len() < MOST, "{}", spark.means.len());
        let line = spark.line(40);
        assert_eq!(line.chars().count(), 40);
        assert!(line.ends_with('▁') && line.contains('█'), "{line}");
    }
}
