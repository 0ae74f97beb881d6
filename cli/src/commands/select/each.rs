//! A selection for each target: the same flags, with files of its own.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::args::{CascadeArgs, SelectArgs};
use crate::failure::UsageError;
use crate::output::Place;

/// What stands for the target's name in that of a file.
const PLACE: &str = "{target}";

/// The flags of each selection.
pub(super) fn targets(args: &SelectArgs) -> Result<Vec<SelectArgs>> {
    if !Place::of(Some(&args.output)).is_file() {
        bail!(UsageError("--each target writes files of their own: name one with --output".to_owned()));
    }
    let one = |target: &String| {
        let scores = args.scores.as_deref().map(|path| named(path, target));
        let report = args.cascade.report.as_deref().map(|path| named(path, target));
        let cascade = CascadeArgs { report, ..args.cascade.clone() };
        let (output, target) = (named(&args.output, target), vec![target.clone()]);
        SelectArgs { target, output, scores, cascade, each: None, ..args.clone() }
    };
    let all: Vec<SelectArgs> = args.target.iter().map(one).collect();
    for (at, args) in all.iter().enumerate() {
        if all[..at].iter().any(|other| other.output == args.output) {
            bail!(UsageError(format!("two targets would be written to {}", args.output.display())));
        }
    }
    Ok(all)
}

/// The name of a target's file: the target's name in its place, or before the ending.
fn named(path: &Path, target: &str) -> PathBuf {
    let target: String =
        target.chars().map(|c| if c.is_alphanumeric() || "_.-".contains(c) { c } else { '-' }).collect();
    let text = path.to_string_lossy();
    if text.contains(PLACE) {
        return PathBuf::from(text.replace(PLACE, &target));
    }
    if let Some(folder) = text.strip_suffix('/') {
        return PathBuf::from(format!("{folder}.{target}/"));
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let packed = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
    // Behind a dot it would be an ending, and one that says no format.
    let (stem, sign) = packed.rsplit_once('.').map_or((packed, '-'), |(stem, _)| (stem, '.'));
    path.with_file_name(format!("{stem}{sign}{target}{}", &name[stem.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_stands_before_the_ending_or_in_its_place() {
        for (path, want) in [
            ("out/best.jsonl", "out/best.gsm8k.jsonl"),
            ("best.v2.jsonl.gz", "best.v2.gsm8k.jsonl.gz"),
            ("best", "best-gsm8k"),
            ("out/{target}/rows.csv", "out/gsm8k/rows.csv"),
            ("saved/", "saved.gsm8k/"),
        ] {
            assert_eq!(named(Path::new(path), "gsm8k").as_os_str(), want);
        }
        assert_eq!(named(Path::new("a.jsonl"), "bbh:dates/x"), Path::new("a.bbh-dates-x.jsonl"));
    }
}
