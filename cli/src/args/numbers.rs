//! Numbers of a command line that do not parse: what is expected, in place of what the parser met.

use std::error::Error;
use std::num::{IntErrorKind, ParseFloatError, ParseIntError};

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What would do in place of a number that does not fit.
pub(super) const SMALLER: &str = "a smaller whole number";

/// What is said of an error, which says of a number what would do.
pub fn with_expected_number(error: &clap::Error) -> String {
    let text = error.to_string();
    let Some(source) = error.source().filter(|_| error.kind() == ErrorKind::ValueValidation) else {
        return text;
    };
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value.as_str(),
        _ => "",
    };
    let found = source.to_string();
    let said = expected(source, &found, value).zip(text.rsplit_once(found.as_str()));
    let said = said.map(|(expected, (before, after))| format!("{before}expected {expected}{after}"));
    said.unwrap_or(text)
}

/// What would do in place of a value, of which an error is `found`; `None` where the error says it.
fn expected(source: &(dyn Error + 'static), found: &str, value: &str) -> Option<String> {
    if source.is::<ParseFloatError>() {
        return Some("a number".to_owned());
    }
    if let Some(error) = source.downcast_ref::<ParseIntError>() {
        let is_negative =
            value.strip_prefix('-').is_some_and(|rest| rest.chars().all(|c| c.is_ascii_digit()));
        return Some(match error.kind() {
            IntErrorKind::PosOverflow => SMALLER.to_owned(),
            // A number that may be negative has no such error.
            IntErrorKind::InvalidDigit if is_negative => "a whole number of at least 0".to_owned(),
            _ => "a whole number".to_owned(),
        });
    }
    // The words of clap's own ranges.
    let (_, range) = found.split_once(" is not in ")?;
    let (least, most) = range.split_once("..=")?;
    Some(format!("a whole number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::command;

    #[test]
    fn a_number_that_does_not_parse_is_told_what_would_do() {
        let ingest = ["gstore", "ingest", "--model", "m", "--dataset", "d", "--features", "loss"];
        let train = ["gstore", "train", "--model", "m", "--data", "d", "--output", "o"];
        for (words, option, says) in [
            (
                &train[..],
                "--data-seed=x",
                "invalid value 'x' for '--data-seed <N>': expected a whole number\n",
            ),
            (&train, "--data-seed=-1", ": expected a whole number of at least 0\n"),
            (&train, "--data-seed=99999999999999999999", ": expected a smaller whole number\n"),
            (&ingest, "--dim=-1", ": expected a whole number from 1 to 16777216\n"),
            (&ingest, "--batch-tokens=-1", ": expected a whole number of at least 1\n"),
            (&ingest, "--batch-tokens=4294967296", ": expected a smaller whole number\n"),
            (&train, "--learning-rate=fast", ": expected a number\n"),
            (&train, "--learning-rate=0.1.2", ": expected a number\n"),
            // Options with words of their own keep them.
            (&train, "--batch-size=x", ": expected a whole number of at least 1\n"),
            (&train, "--max-steps=0", ": expected a whole number of at least 1\n"),
            (&train, "--max-steps=18446744073709551616", ": expected a smaller whole number\n"),
            (&train, "--lr-cycles=4294967296", ": expected a smaller whole number\n"),
        ] {
            let error = command().try_get_matches_from(words.iter().chain([&option])).expect_err("refused");
            let text = with_expected_number(&error);
            assert!(text.contains(says), "{option}: {text}");
        }
        let error = command().try_get_matches_from(["gstore", "ls", "--nothing"]).expect_err("refused");
        assert_eq!(with_expected_number(&error), error.to_string());
    }
}
