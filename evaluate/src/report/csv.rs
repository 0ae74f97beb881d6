//! Reports as CSV: one line for each group, metric and system.

use super::Report;
use crate::error::EvaluateError;

/// Lines of CSV in memory.
pub(crate) struct Csv(csv::Writer<Vec<u8>>);

impl Csv {
    /// A table with these columns.
    pub fn new<T: AsRef<[u8]>>(header: impl IntoIterator<Item = T>) -> Result<Csv, EvaluateError> {
        let mut table = Csv(csv::Writer::from_writer(Vec::new()));
        table.line(header)?;
        Ok(table)
    }

    /// One more line.
    pub fn line<T: AsRef<[u8]>>(&mut self, cells: impl IntoIterator<Item = T>) -> Result<(), EvaluateError> {
        Ok(self.0.write_record(cells).map_err(std::io::Error::from)?)
    }

    /// The bytes.
    pub fn finish(self) -> Result<Vec<u8>, EvaluateError> {
        Ok(self.0.into_inner().map_err(|error| error.into_error())?)
    }
}

const HEADER: [&str; 15] = [
    "group",
    "metric",
    "system",
    "rows",
    "mean",
    "low",
    "high",
    "interval",
    "corpus",
    "against",
    "difference",
    "relative_percent",
    "difference_low",
    "difference_high",
    "p",
];

impl Report {
    /// The report as CSV; numbers have all their digits.
    ///
    /// # Errors
    /// None that can be expected: it is written to memory.
    pub fn csv(&self) -> Result<Vec<u8>, EvaluateError> {
        let mut table = Csv::new(HEADER)?;
        let optional = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
        for measure in &self.measures {
            for value in &measure.values {
                let compared = measure.differences.iter().find(|d| d.system == value.system);
                table.line([
                    measure.group.clone(),
                    measure.metric.name().to_owned(),
                    value.system.clone(),
                    measure.rows.to_string(),
                    value.mean.to_string(),
                    optional(value.low),
                    optional(value.high),
                    value.interval.to_owned(),
                    optional(value.corpus),
                    compared.map(|difference| difference.against.clone()).unwrap_or_default(),
                    optional(compared.map(|difference| difference.difference)),
                    optional(compared.and_then(|difference| difference.relative_percent)),
                    optional(compared.and_then(|difference| difference.low)),
                    optional(compared.and_then(|difference| difference.high)),
                    optional(compared.and_then(|difference| difference.p)),
                ])?;
            }
        }
        table.finish()
    }
}
