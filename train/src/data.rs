//! Samples to train on: all of a source or some of them, as tokens.

use std::collections::HashSet;

use gstore_core::{Cancel, RowSet};
use gstore_data::{
    Reading, SampleSource, TextEncoder, TextSample, check_block, check_system, encode_each, in_blocks,
};

use crate::error::TrainError;
use crate::gradient::Sample;
use crate::random::Stream;

/// Which samples are used; all unless something is given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Subset {
    /// These rows: of a file, counted from 0.
    pub rows: Option<RowSet>,
    /// Those with these ids.
    pub ids: Option<HashSet<String>>,
    /// A random share of them, in (0, 1], rounded down but at least one.
    pub share: Option<f64>,
    /// Seed of the random share.
    pub seed: u64,
}

/// Samples as tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    pub samples: Vec<Sample>,
    /// Number of each in the data: row of the dataset, or place among the records of the files.
    pub rows: Vec<u64>,
    /// Chosen samples that are left out because none of their tokens is scored.
    pub without_scored: usize,
    /// Samples of which tokens beyond the maximum length were left out.
    pub truncated: usize,
}

/// Reads, chooses and encodes samples.
///
/// # Errors
/// A file or sample that cannot be read, ids or rows that are not there, and options that change no sample of the
/// source.
pub(crate) fn load(
    source: &SampleSource,
    subset: &Subset,
    encoder: &TextEncoder,
    threads: usize,
    cancel: &Cancel,
) -> Result<Samples, TrainError> {
    let Subset { rows, ids, share, seed } = subset;
    let keep = |row: u64, id: &str| {
        rows.as_ref().is_none_or(|rows| rows.contains(row)) && ids.as_ref().is_none_or(|ids| ids.contains(id))
    };
    let (mut chosen, all) = match encoder.block().is_some() || encoder.spec().system.is_some() {
        false => source.read(Reading::Whole, &keep, cancel)?,
        // A subset alone may have no place for what others of the source get.
        true => {
            let (mut whole, all) = source.read(Reading::Whole, &|_, _| true, cancel)?;
            check_block(&whole, encoder)?;
            check_system(&whole, encoder)?;
            whole.retain(|sample| keep(sample.row, &sample.id));
            (whole, all)
        }
    };
    let last = rows.as_ref().and_then(|rows| rows.ranges().last());
    if let (Some(last), SampleSource::Files { .. }) = (last.filter(|last| last.end > all), source) {
        return Err(TrainError::Option(format!("there is no row {}: the data has {all}", last.end - 1)));
    }
    if let Some(ids) = ids {
        let found: HashSet<&str> = chosen.iter().map(|sample| sample.id.as_str()).collect();
        if let Some(missing) = ids.iter().filter(|id| !found.contains(id.as_str())).min() {
            return Err(TrainError::Option(format!("no sample has the id {missing:?}")));
        }
    }
    if let Some(share) = share {
        chosen = drawn(chosen, *share, *seed)?;
    }
    let chosen = in_blocks(chosen, encoder, threads, cancel)?;
    let mut samples = Samples::default();
    let encoded = encode_each(&chosen, |sample| encoder.encode(&sample.content), threads, cancel)?;
    for (encoded, TextSample { row, .. }) in encoded.into_iter().zip(&chosen) {
        samples.truncated += usize::from(encoded.truncated);
        match encoded.scored_tokens() {
            0 => samples.without_scored += 1,
            _ => {
                samples.samples.push(Sample { ids: encoded.ids, scored: encoded.scored });
                samples.rows.push(*row);
            }
        }
    }
    Ok(samples)
}

/// A random share, in the order of the data.
fn drawn(mut chosen: Vec<TextSample>, share: f64, seed: u64) -> Result<Vec<TextSample>, TrainError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(TrainError::Option(format!(
            "a share of {share} of the samples is none: above 0, at most 1; 0.05 is 5 %"
        )));
    }
    let count = ((chosen.len() as f64 * share) as usize).max(1).min(chosen.len());
    let kept: HashSet<usize> =
        Stream::new(seed, "share of samples", 0).order(chosen.len()).into_iter().take(count).collect();
    let mut index = 0;
    chosen.retain(|_| {
        index += 1;
        kept.contains(&(index - 1))
    });
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gstore_data::{Content, Message, Role, SampleError, TextOptions};

    use super::*;

    /// A conversation in row 0, a text in row 1.
    fn mixed() -> Vec<Content> {
        let message = |role, content: &str| Message { role, content: content.to_owned() };
        let turns = vec![message(Role::User, "Is 7 odd?"), message(Role::Assistant, "Yes.")];
        vec![Content::Messages(turns), Content::Text("A text that is longer than a block. ".repeat(9))]
    }

    fn loaded(contents: Vec<Content>, subset: &Subset, text: &TextOptions) -> Result<Samples, TrainError> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
        let encoder = text.encoder(&model).unwrap();
        load(&SampleSource::Given(contents), subset, &encoder, 1, &Cancel::new())
    }

    #[test]
    fn options_are_of_the_whole_source_and_not_of_a_subset() {
        let blocks = TextOptions { block: Some(16), ..TextOptions::default() };
        let system = TextOptions { system: Some("Be brief.".to_owned()), ..TextOptions::default() };
        let row = |row| Subset { rows: Some(RowSet::from_rows([row])), ..Subset::default() };
        for (text, without) in [(&blocks, 0), (&system, 1)] {
            assert_eq!(loaded(mixed(), &row(without), text).unwrap().rows, [without]);
            let alone = vec![mixed().swap_remove(without as usize)];
            let refused = loaded(alone, &Subset::default(), text).err();
            assert!(matches!(
                refused,
                Some(TrainError::Samples(SampleError::NothingToCut | SampleError::NoSystem))
            ));
        }
        // By chance as well: one of the two, whichever.
        let shared = |seed| Subset { share: Some(0.5), seed, ..Subset::default() };
        for seed in 0..4 {
            loaded(mixed(), &shared(seed), &blocks).unwrap();
            loaded(mixed(), &shared(seed), &system).unwrap();
        }
    }
}
