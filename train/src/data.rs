//! Samples to train on: all of a source or some of them, as tokens.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};

use gstore_core::{Cancel, Remedy, RowSet, first_of, many_of};
use gstore_data::{
    Content, Duplicates, Reading, SampleSource, TextEncoder, TextSample, check_block, check_system,
    encode_each, in_blocks,
};

use crate::error::TrainError;
use crate::random::RandomStream;
use crate::sample::Sample;

/// Which samples are used; all unless something is given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataSubset {
    /// These rows: of a file, counted from 0.
    pub rows: Option<RowSet>,
    /// Those with these ids.
    pub ids: Option<HashSet<String>>,
    /// A random share of them, in (0, 1], rounded down but at least one.
    pub share: Option<f64>,
    /// Seed of the random share.
    pub seed: u64,
    /// What becomes of samples of files whose id an earlier one has.
    pub repeats: Duplicates,
}

/// Samples as tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrainingSamples {
    pub samples: Vec<Sample>,
    /// Number of each in the data: row of the dataset, or place among the records of the files.
    pub rows: Vec<u64>,
    /// Chosen samples that are left out because none of their tokens is scored.
    pub without_scored: usize,
    /// Samples of which tokens beyond the maximum length were left out.
    pub truncated: usize,
    /// Samples that are left out because an earlier one has their id.
    pub repeated: usize,
    /// Texts that were read, those that are not chosen among them where all are looked at.
    pub texts: TextSizes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TextSizes {
    pub number: u64,
    pub bytes: u64,
    /// Bytes of the longest.
    pub longest: u64,
}

impl TextSizes {
    pub fn of(samples: &[TextSample]) -> TextSizes {
        let bytes = || samples.iter().map(|sample| content_bytes(&sample.content));
        TextSizes { number: samples.len() as u64, bytes: bytes().sum(), longest: bytes().max().unwrap_or(0) }
    }

    pub fn and(self, other: TextSizes) -> TextSizes {
        TextSizes {
            number: self.number + other.number,
            bytes: self.bytes + other.bytes,
            longest: self.longest.max(other.longest),
        }
    }
}

fn content_bytes(content: &Content) -> u64 {
    let bytes = match content {
        Content::Text(text) => text.len(),
        Content::PromptCompletion { prompt, completion } => prompt.len() + completion.len(),
        Content::Messages(messages) => messages.iter().map(|message| message.content.len()).sum(),
    };
    bytes as u64
}

/// Reads, chooses and encodes samples.
pub(crate) fn load(
    source: &SampleSource,
    subset: &DataSubset,
    encoder: &TextEncoder,
    threads: usize,
    cancel: &Cancel,
) -> Result<TrainingSamples, TrainError> {
    let DataSubset { rows, ids, share, seed, repeats } = subset;
    let keep = |row: u64, id: &str| {
        rows.as_ref().is_none_or(|rows| rows.contains(row)) && ids.as_ref().is_none_or(|ids| ids.contains(id))
    };
    let (mut chosen, all, texts) = match encoder.block().is_some() || encoder.spec().system.is_some() {
        false => {
            let (chosen, all) = source.read(Reading::Whole, &keep, cancel)?;
            let texts = TextSizes::of(&chosen);
            (chosen, all, texts)
        }
        // A subset alone may have no place for what others of the source get.
        true => {
            let (mut whole, all) = source.read(Reading::Whole, &|_, _| true, cancel)?;
            check_block(&whole, encoder)?;
            check_system(&whole, encoder)?;
            let texts = TextSizes::of(&whole);
            whole.retain(|sample| keep(sample.row, &sample.id));
            (whole, all, texts)
        }
    };
    check_records(source, all)?;
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
    let repeated =
        leave_out_repeated(source, &mut chosen, *repeats, "a training would learn twice from each")?;
    if let Some(share) = share {
        chosen = random_share(chosen, *share, *seed)?;
    }
    Ok(TrainingSamples { repeated, texts, ..encode_samples(chosen, encoder, threads, cancel)? })
}

/// Reads and encodes samples that no step is taken on: all of a source.
pub(crate) fn load_held_out(
    source: &SampleSource,
    repeats: Duplicates,
    encoder: &TextEncoder,
    threads: usize,
    cancel: &Cancel,
) -> Result<TrainingSamples, TrainError> {
    let (mut all, number) = source.read(Reading::Whole, &|_, _| true, cancel)?;
    check_records(source, number)?;
    let texts = TextSizes::of(&all);
    let repeated = leave_out_repeated(source, &mut all, repeats, "the held-out loss would count each twice")?;
    Ok(TrainingSamples { repeated, texts, ..encode_samples(all, encoder, threads, cancel)? })
}

/// An error if files have no record.
fn check_records(source: &SampleSource, records: u64) -> Result<(), TrainError> {
    match source {
        SampleSource::Files { paths, .. } if records == 0 => {
            let files = first_of(paths.iter().map(|path| path.display().to_string()), 3);
            Err(TrainError::NoRecords { files, several: paths.len() > 1 })
        }
        _ => Ok(()),
    }
}

/// Samples as tokens, those that have a scored one.
fn encode_samples(
    chosen: Vec<TextSample>,
    encoder: &TextEncoder,
    threads: usize,
    cancel: &Cancel,
) -> Result<TrainingSamples, TrainError> {
    let chosen = in_blocks(chosen, encoder, threads, cancel)?;
    let mut samples = TrainingSamples::default();
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

/// Leaves out samples whose id an earlier one has, if that is asked for; how many. `what` they would do.
fn leave_out_repeated(
    source: &SampleSource,
    chosen: &mut Vec<TextSample>,
    repeats: Duplicates,
    what: &str,
) -> Result<usize, TrainError> {
    if !matches!(source, SampleSource::Files { .. }) {
        // Ids of a dataset are unique, and given contents have none of their own.
        return Ok(0);
    }
    let repeated = repeated_samples(chosen);
    if repeats == Duplicates::Refuse && !repeated.is_empty() {
        let named = repeated
            .iter()
            .map(|(TextSample { id, row, .. }, earlier)| format!("{id:?} in rows {earlier} and {row}"));
        return Err(TrainError::Option(format!(
            "{}, and {what}: {} (counted from 0 over all files); {} keeps the first",
            many_of(
                repeated.len() as u64,
                "sample has the id of an earlier one",
                "samples have the ids of earlier ones"
            ),
            first_of(named, 3),
            Remedy::Option("duplicates", "first")
        )));
    }
    let rows: HashSet<u64> = repeated.iter().map(|(sample, _)| sample.row).collect();
    chosen.retain(|sample| !rows.contains(&sample.row));
    Ok(rows.len())
}

/// The samples whose id an earlier one has, each with the row of that one.
fn repeated_samples(samples: &[TextSample]) -> Vec<(&TextSample, u64)> {
    let mut first: HashMap<&str, u64> = HashMap::new();
    let mut repeated = Vec::new();
    for sample in samples {
        match first.entry(sample.id.as_str()) {
            Entry::Occupied(earlier) => repeated.push((sample, *earlier.get())),
            Entry::Vacant(entry) => {
                entry.insert(sample.row);
            }
        }
    }
    repeated
}

/// A random share, in the order of the data.
fn random_share(mut chosen: Vec<TextSample>, share: f64, seed: u64) -> Result<Vec<TextSample>, TrainError> {
    if !(share > 0.0 && share <= 1.0) {
        return Err(TrainError::Option(format!(
            "a share of the samples must be above 0 and at most 1, not {share}; 0.05 is 5 %"
        )));
    }
    let count = ((chosen.len() as f64 * share) as usize).max(1).min(chosen.len());
    let order = RandomStream::new(seed, "share of samples", 0).order(chosen.len());
    let kept: HashSet<u64> = order.into_iter().take(count).map(|place| chosen[place].row).collect();
    chosen.retain(|sample| kept.contains(&sample.row));
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gstore_data::{Message, Role, SampleError, TextOptions};

    use super::*;

    /// A conversation in row 0, a text in row 1.
    fn mixed() -> Vec<Content> {
        let message = Message::new;
        let turns = vec![message(Role::User, "Is 7 odd?"), message(Role::Assistant, "Yes.")];
        vec![Content::Messages(turns), Content::Text("A text that is longer than a block. ".repeat(9))]
    }

    fn loaded(
        contents: Vec<Content>,
        subset: &DataSubset,
        text: &TextOptions,
    ) -> Result<TrainingSamples, TrainError> {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
        let encoder = text.encoder(&model).unwrap();
        load(&SampleSource::Given(contents), subset, &encoder, 1, &Cancel::new())
    }

    #[test]
    fn an_id_of_several_files_is_trained_once_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let line = |id: &str| format!("{{\"id\": {id:?}, \"text\": \"Some words about {id}.\"}}\n");
        let paths = ["a.jsonl", "b.jsonl"].map(|name| folder.path().join(name));
        fs_err::write(&paths[0], line("x") + &line("y")).unwrap();
        fs_err::write(&paths[1], line("y") + &line("z")).unwrap();
        let source = SampleSource::Files { paths: paths.to_vec(), fields: Vec::new() };
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
        let encoder = TextOptions::default().encoder(&model).unwrap();
        let of = |repeats| {
            let subset = DataSubset { repeats, ..DataSubset::default() };
            load(&source, &subset, &encoder, 1, &Cancel::new())
        };
        let refused = of(Duplicates::Refuse).unwrap_err().to_string();
        assert!(refused.contains("\"y\" in rows 1 and 2"), "{refused}");
        let first = of(Duplicates::First).unwrap();
        assert_eq!((first.rows, first.repeated), (vec![0, 1, 3], 1));
    }

    #[test]
    fn files_without_a_record_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a.jsonl", "b.jsonl"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| fs_err::write(path, "\n").unwrap());
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
        let encoder = TextOptions::default().encoder(&model).unwrap();
        for (files, says) in [(&paths[..1], "a.jsonl: there is no record in it"), (&paths[..], "in them")] {
            let source = SampleSource::Files { paths: files.to_vec(), fields: Vec::new() };
            let trained = load(&source, &DataSubset::default(), &encoder, 1, &Cancel::new());
            let held_out = load_held_out(&source, Duplicates::Refuse, &encoder, 1, &Cancel::new());
            for refused in [trained, held_out] {
                let refused = refused.unwrap_err().to_string();
                assert!(refused.contains(says), "{refused}");
            }
        }
    }

    #[test]
    fn options_are_of_the_whole_source_and_not_of_a_subset() {
        let blocks = TextOptions { block: Some(16), ..TextOptions::default() };
        let system = TextOptions { system: Some("Be brief.".to_owned()), ..TextOptions::default() };
        let row = |row| DataSubset { rows: Some(RowSet::from_rows([row])), ..DataSubset::default() };
        for (text, without) in [(&blocks, 0), (&system, 1)] {
            assert_eq!(loaded(mixed(), &row(without), text).unwrap().rows, [without]);
            let alone = vec![mixed().swap_remove(without as usize)];
            let refused = loaded(alone, &DataSubset::default(), text).err();
            assert!(matches!(
                refused,
                Some(TrainError::Samples(SampleError::NothingToCut | SampleError::NoSystem))
            ));
        }
        // By chance as well: one of the two, whichever.
        let shared = |seed| DataSubset { share: Some(0.5), seed, ..DataSubset::default() };
        for seed in 0..4 {
            loaded(mixed(), &shared(seed), &blocks).unwrap();
            loaded(mixed(), &shared(seed), &system).unwrap();
        }
    }
}
