//! Numbers of the copies of a model, and of the rows that each is trained on.

use std::ops::Range;

use clap::Args;
use gstore_train::daunce::{EnsembleRequest, SubsetSize};

use super::super::{at_least, fraction};

/// Which copies, and how many rows each is trained on.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Copies")]
pub struct DaunceModelsArgs {
    /// How many copies, or those with the numbers from A up to B, without B
    #[arg(long, value_name = "K|A..B", value_parser = models, required_unless_present = "until", conflicts_with = "until")]
    pub models: Option<ModelRange>,
    /// Train copies until two halves of them rank alike: `agreement=X`, a rank correlation up to 1
    #[arg(long, value_name = "agreement=X", value_parser = parse_horizon, requires_all = ["max_models", "target", "dataset"])]
    pub until: Option<f64>,
    /// With --until: copies at most
    #[arg(long, value_name = "N", requires = "until", conflicts_with = "models", value_parser = at_least::<u64>(2))]
    pub max_models: Option<u64>,
    /// With --until: dataset whose queries rank the rows
    #[arg(long, value_name = "NAME", requires = "until", conflicts_with = "models")]
    pub target: Option<String>,
    /// Copies after which losses are computed, --until is looked at and the store is told
    #[arg(long, value_name = "N", default_value_t = EnsembleRequest::ROUND, value_parser = at_least::<u64>(1))]
    pub round: u64,
    /// Copies that are trained at the same time [default: as many as threads and memory allow]; the same bits
    #[arg(long, value_name = "N", value_parser = at_least::<usize>(1))]
    pub at_once: Option<usize>,
    /// Steps of each copy
    #[arg(long, alias = "max-steps", value_name = "N", value_parser = at_least::<u64>(1))]
    pub steps: Option<u64>,
    /// Rows of a step
    #[arg(long, alias = "per-device-train-batch-size", value_name = "N", default_value_t = 16, value_parser = at_least::<usize>(1))]
    pub batch_size: usize,
    /// Rows of each copy, drawn without replacement: a number, or a share up to 1.0 or 100% [default: as
    /// many as its steps take once; without --steps all]
    #[arg(long, value_name = "N|SHARE", value_parser = subset)]
    pub subset: Option<SubsetSize>,
    /// Passes over a copy's rows, where --steps does not say how many steps
    #[arg(long, value_name = "X", default_value_t = 1.0, conflicts_with = "steps")]
    pub epochs: f64,
    /// Seed of rows, noise and new factors of all copies
    #[arg(long, value_name = "N", default_value_t = 42)]
    pub seed: u64,
}

/// Numbers of the copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRange {
    /// From the first, without the last.
    pub range: Range<u64>,
    /// Whether they are a part of an ensemble.
    pub is_part: bool,
}

/// `K`, or `A..B`.
fn models(text: &str) -> Result<ModelRange, String> {
    let number = |text: &str| text.parse::<u64>().map_err(|_| "expected K or A..B, whole numbers".to_owned());
    match text.split_once("..") {
        None => match number(text)? {
            0 | 1 => {
                Err("expected at least 2 models, as one has no covariance; scores take 3 unless --min-models says otherwise, \
                     and a stable ranking about 100"
                    .to_owned())
            }
            count => Ok(ModelRange { range: 0..count, is_part: false }),
        },
        Some((first, end)) => {
            let range = number(first)?..number(end)?;
            if range.is_empty() {
                return Err(format!("{text} contains no model: A..B starts at A and ends before B"));
            }
            Ok(ModelRange { range, is_part: true })
        }
    }
}

fn parse_horizon(text: &str) -> Result<f64, String> {
    let wanted = text.strip_prefix("agreement=").and_then(|value| value.parse().ok());
    let wanted = wanted.filter(|value: &f64| *value > 0.0 && *value <= 1.0);
    wanted.ok_or_else(|| "expected agreement=X with X above 0 and at most 1".to_owned())
}

fn subset(text: &str) -> Result<SubsetSize, String> {
    let found = match text.parse::<usize>() {
        Ok(rows) => (rows > 0).then_some(SubsetSize::Rows(rows)),
        Err(_) => fraction(text).filter(|share| *share > 0.0 && *share <= 1.0).map(SubsetSize::Share),
    };
    found.ok_or_else(|| {
        "expected a number of rows, or a share above 0 and at most 1.0, such as 0.5 or 50%".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_a_number_or_a_range() {
        assert_eq!(models("32"), Ok(ModelRange { range: 0..32, is_part: false }));
        assert_eq!(models("25..50"), Ok(ModelRange { range: 25..50, is_part: true }));
        assert!(models("3..4").is_ok());
        for bad in ["", "1", "0", "x", "4..4", "5..4", "1..", "-1"] {
            assert!(models(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn subsets_are_rows_or_a_share() {
        assert_eq!(subset("256"), Ok(SubsetSize::Rows(256)));
        assert_eq!(subset("1"), Ok(SubsetSize::Rows(1)));
        for (text, share) in [("0.3", 0.3), ("50%", 0.5), ("1.0", 1.0), ("100%", 1.0)] {
            assert_eq!(subset(text), Ok(SubsetSize::Share(share)), "{text}");
        }
        for bad in ["0", "-1", "1.5", "nan", "0.0", "all", "0%", "101%", "%"] {
            assert!(subset(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_end_is_an_agreement() {
        assert_eq!(parse_horizon("agreement=0.8"), Ok(0.8));
        for bad in ["0.8", "agreement=0", "agreement=2", "agreement=", "overlap=0.5"] {
            assert!(parse_horizon(bad).is_err(), "{bad}");
        }
    }
}
