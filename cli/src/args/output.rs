//! Arguments of output: format, file, and whether it may be replaced.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Arg, Args};
pub use gstore_sql::output::Format;
use gstore_store::SnapshotName;

/// Where and how to write a result.
#[derive(Args, Debug, Clone)]
pub struct OutputArgs {
    /// Format of the result [default: by the file's ending; without a file a table on a terminal, else csv]
    #[arg(long, value_parser = formats())]
    pub format: Option<Format>,
    /// File to write: .csv, .tsv, .json or .jsonl (one object a line), .parquet, .arrow, also with .gz or
    /// .zst; .txt for a table, .md for a Markdown table, .html for a page [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it exists
    #[arg(long)]
    pub force: bool,
}

/// The short form of `--format json`. It stands behind the arguments that have `--format`, and sets it.
#[derive(Args, Debug, Clone)]
#[command(mut_arg("format", or_json))]
pub struct JsonArgs {
    /// The result as JSON, as with --format json
    #[arg(long = "json", conflicts_with = "format")]
    pub as_json: bool,
}

/// `--format`, which is JSON with the short form. A flag that is not given has the value false.
fn or_json(format: Arg) -> Arg {
    format.default_value_if("as_json", "true", "json")
}

/// Where and how to write a list that a command keeps, such as that of snapshots.
#[derive(Args, Debug, Clone)]
pub struct ListOutputArgs {
    #[command(flatten)]
    pub to: OutputArgs,
    #[command(flatten)]
    pub json: JsonArgs,
}

/// A list of what a state of the store has, such as that of factors.
#[derive(Args, Debug)]
pub struct ListOfStateArgs {
    /// The state of the store to read: a number or a tag [default: the current one]
    #[arg(long, value_name = "N|TAG")]
    pub snapshot: Option<SnapshotName>,
    #[command(flatten)]
    pub output: ListOutputArgs,
}

pub(super) fn formats() -> impl TypedValueParser<Value = Format> {
    const ABOUT: [&str; Format::WORDS.len()] = [
        "For reading: floats have six digits, long text is cut to fit a terminal",
        "Comma separated, with a header",
        "Tab separated, with a header",
        "One object a line",
        "Parquet",
        "Arrow IPC",
        "The only column as it is, one value a line",
        "A Markdown table",
        "A page with the table, for a browser",
    ];
    let words = Format::WORDS.into_iter().zip(ABOUT);
    let words = words.map(|(word, about)| PossibleValue::new(word).help(about));
    PossibleValuesParser::new(words).try_map(|word| word.parse::<Format>())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Line {
        #[command(flatten)]
        list: ListOutputArgs,
    }

    #[test]
    fn the_short_form_is_the_format() {
        let format = |words: &[&str]| {
            Line::try_parse_from([&["line"], words].concat()).map(|line| line.list.to.format)
        };
        assert_eq!(format(&["--json"]).expect("parsed"), Some(Format::Json));
        assert_eq!(format(&["--format", "csv"]).expect("parsed"), Some(Format::Csv));
        assert_eq!(format(&[]).expect("parsed"), None);
        assert!(format(&["--json", "--format", "csv"]).is_err());
        // Each word is that of its format.
        for word in Format::WORDS {
            assert_eq!(format(&["--format", word]).expect("parsed").map(Format::name), Some(word));
        }
    }
}
