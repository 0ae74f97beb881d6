//! Identity of factors: what they are of, kept next to their files and in their artifact.

use std::ffi::OsStr;
use std::path::Path;

use gstore_core::{Cancel, Digest, RowSet, shortened};
use gstore_curvature::{Module, Strategy};
use gstore_model::Device;
use gstore_store::{EncodingSpec, SampleReader, record_columns};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use xxhash_rust::xxh3::Xxh3;

use super::error::FactorJobError;
use super::folder::{is_part, some_names, write_or_read};

/// File of the stamp in a folder of factors.
pub(super) const STAMP: &str = "gstore.json";

/// File that is locked while factors are fitted there. Those of partitions have their numbers behind it.
pub(super) const LOCK: &str = ".lock";

/// Whether a file of this name is there to be locked.
pub(super) fn is_lock(name: &OsStr) -> bool {
    name.to_string_lossy().starts_with(LOCK)
}

/// What factors are of. Two fits with the same stamp have the same factors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FactorStamp {
    /// How curvature is approximated.
    pub strategy: String,
    /// Id of the checkpoint.
    pub checkpoint: String,
    /// Ids of further ones, where sums are over several.
    #[serde(default)]
    pub averaged: Vec<String>,
    /// Precision of the model's matrix products.
    pub compute: String,
    /// The dataset, where it is known.
    pub dataset: Option<String>,
    /// Its rows that were fitted on, as ranges: first, one past the last.
    pub rows: Vec<[u64; 2]>,
    /// Digest of their ids and records.
    pub rows_digest: String,
    /// How they became tokens, where it is known.
    pub encoding: Option<EncodingSpec>,
    /// Whose labels the loss had: `true` for sampled ones, `empirical` for the data's.
    pub fisher: String,
    /// Seed of sampled labels.
    pub seed: Option<u64>,
    /// The modules, in their order.
    pub modules: Vec<Module>,
    /// Partitions of the data and of the modules.
    pub partitions: [usize; 2],
    /// Tokens of a batch, over which sums are rounded to f32.
    pub batch_tokens: usize,
    /// The factors whose sums these go on from.
    pub extends: Option<String>,
    /// What they were then: others may take their name while the fit is not finished.
    #[serde(default)]
    pub extended: Option<ExtendedSums>,
    /// The most rows of a block, where covariances are cut into some.
    #[serde(default)]
    pub max_block: Option<usize>,
    /// The backend that computed the sums: another one rounds otherwise.
    #[serde(default = "cpu")]
    pub backend: String,
}

/// Sums that a fit goes on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExtendedSums {
    /// The rows in them, as ranges: first, one past the last.
    pub rows: Vec<[u64; 2]>,
    /// Digest of the digests of their files.
    pub digest: Digest,
}

/// The backend of stamps of before it was noted.
fn cpu() -> String {
    Device::Cpu.name().to_owned()
}

impl FactorStamp {
    /// The rows that were fitted on.
    pub fn row_set(&self) -> RowSet {
        RowSet::from_pairs(&self.rows)
    }

    /// Whether the dataset has the rows that were fitted on as they were.
    pub(super) fn has_rows(&self, samples: &SampleReader, cancel: &Cancel) -> Result<bool, FactorJobError> {
        Ok(rows_digest(samples, &self.row_set(), cancel)? == self.rows_digest)
    }

    /// Whether the sums are over a checkpoint of this id, or over it among others.
    pub fn is_at(&self, id: &str) -> bool {
        self.checkpoint == id || self.averaged.iter().any(|other| other == id)
    }

    /// What differs from another, with both values; empty where nothing does.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        // Modules are told apart by their names: there are many.
        let value = |stamp: &Self| {
            serde_json::to_value(Self { modules: Vec::new(), ..stamp.clone() }).unwrap_or_default()
        };
        let mut found = Vec::new();
        compare("", &value(self), &value(other), &mut found);
        if self.modules != other.modules {
            found.push(format!("modules: {}", module_differences(&self.modules, &other.modules)));
        }
        found
    }

    /// How curvature is approximated.
    pub(super) fn approximation(&self) -> Result<Strategy, FactorJobError> {
        let name = &self.strategy;
        let unknown = || FactorJobError::Refused(format!("there is no strategy `{name}`"));
        Strategy::parse(name).ok_or_else(unknown)
    }

    /// How curvature is approximated where that is asked for, else as it was fitted. Of those that could be
    /// asked for instead, an error names the ones that `is_use` has a use for.
    pub(super) fn approximated_as(
        &self,
        asked: Option<Strategy>,
        is_use: impl Fn(Strategy) -> bool,
    ) -> Result<Strategy, FactorJobError> {
        let fitted = self.approximation()?;
        match asked {
            None => Ok(fitted),
            Some(asked) if fitted.includes().contains(&asked) => Ok(asked),
            Some(asked) => {
                let known = fitted.includes().iter().filter(|strategy| is_use(**strategy));
                let known: Vec<&str> = known.map(|strategy| strategy.name()).collect();
                let instead = match known[..] {
                    [] => String::new(),
                    _ => format!("ask for {}, or ", known.join(" or ")),
                };
                Err(FactorJobError::Refused(format!(
                    "the factors were fitted as {}, and {asked} needs others: {instead}fit factors as {asked}",
                    fitted.name(),
                    asked = asked.name()
                )))
            }
        }
    }

    /// Reads the stamp of a folder; none where it has no stamp.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, FactorJobError> {
        let path = folder.join(STAMP);
        if !path.exists() {
            return Ok(None);
        }
        let text = fs_err::read(&path)?;
        serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| FactorJobError::Refused(format!("{}: {error}", path.display())))
    }

    /// Takes a folder for these factors: an empty one, or one that has this stamp. Jobs of an array may do so
    /// at the same time; of different fits the first one has it.
    pub(super) fn settle(&self, folder: &Path) -> Result<(), FactorJobError> {
        fs_err::create_dir_all(folder)?;
        // Looked at first: a job writes the stamp before all other files.
        let is_empty = is_empty(folder)?;
        let path = folder.join(STAMP);
        if !is_empty && !path.exists() {
            return Err(FactorJobError::Refused(format!(
                "{} has files but no {STAMP}, which says what they belong to: a fit that was killed may have left them; \
                 remove the folder if you do not need them, or fit factors of another name",
                folder.display()
            )));
        }
        let found: Option<Self> =
            write_or_read(&path, self).map_err(|error| FactorJobError::of_begun(folder, error))?;
        let differences = found.map_or_else(Vec::new, |found| self.differences(&found));
        if differences.is_empty() {
            return Ok(());
        }
        let why = format!("were begun with different arguments: {}", differences.join("; "));
        Err(FactorJobError::OtherFactors { folder: folder.display().to_string(), why })
    }
}

/// Whether a folder has no files but locks, and those that are being written.
fn is_empty(folder: &Path) -> Result<bool, FactorJobError> {
    for entry in fs_err::read_dir(folder)? {
        let name = entry?.file_name();
        if !is_lock(&name) && !is_part(&name.to_string_lossy()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Adds what differs of two values, part by part.
fn compare(name: &str, mine: &Value, theirs: &Value, found: &mut Vec<String>) {
    if mine == theirs {
        return;
    }
    if let (Value::Object(mine), Value::Object(theirs)) = (mine, theirs) {
        let more = theirs.keys().filter(|key| !mine.contains_key(*key));
        for key in mine.keys().chain(more) {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            let of = |map: &Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            compare(&name, &of(mine), &of(theirs), found);
        }
        return;
    }
    let [mine, theirs] = shorten_both([mine.to_string(), theirs.to_string()]);
    found.push(format!("{name} is {theirs} there, {mine} here"));
}

/// The modules that only one side has, with the sizes of those that both have in others.
fn module_differences(mine: &[Module], theirs: &[Module]) -> String {
    let only = |of: &[Module], other: &[Module], place: &str| {
        let alone = of.iter().filter(|module| !other.contains(module));
        let shown = |module: &Module| match other.iter().any(|known| known.name == module.name) {
            true => format!("{} of {} outputs and {} inputs", module.name, module.out, module.input),
            false => module.name.clone(),
        };
        let alone: Vec<String> = alone.map(shown).collect();
        (!alone.is_empty()).then(|| format!("{} only {place}", some_names(&alone)))
    };
    let parts = [only(theirs, mine, "there"), only(mine, theirs, "here")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "the same in another order".to_owned() } else { parts.join(", ") }
}

/// Two texts that are not too long for a message: where one is, from shortly before they differ on.
fn shorten_both(texts: [String; 2]) -> [String; 2] {
    const MOST: usize = 60;
    /// Characters before the first that differs.
    const BEFORE: usize = 10;
    let same = texts[0].chars().zip(texts[1].chars()).take_while(|(a, b)| a == b).count();
    let is_long = texts.iter().any(|text| text.chars().count() > MOST);
    let skipped = if is_long { same.saturating_sub(BEFORE) } else { 0 };
    texts.map(|text| {
        let left: String = text.chars().skip(skipped).collect();
        format!("{}{}", if skipped > 0 { "..." } else { "" }, shortened(&left, MOST))
    })
}

/// Digest of the ids and records of some live rows.
pub(super) fn rows_digest(
    samples: &SampleReader,
    rows: &RowSet,
    cancel: &Cancel,
) -> Result<String, FactorJobError> {
    let mut hash = Xxh3::new();
    for batch in samples.scan_rows(&["row", "id", "record"], rows.clone()) {
        cancel.check()?;
        add(&mut hash, &batch?);
    }
    Ok(Digest::of_hashed(&hash).to_string())
}

fn add(hash: &mut Xxh3, batch: &arrow_array::RecordBatch) {
    // The columns were asked for by these names.
    let Some((_, ids, records)) = record_columns(batch) else { return };
    for at in 0..batch.num_rows() {
        for part in [ids.value(at).as_bytes(), records.value(at)] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::factors::folder::write_document;

    pub(in crate::factors) fn stamp() -> FactorStamp {
        let encoding = EncodingSpec {
            tokenizer: "t".into(),
            template: "plain".into(),
            template_source: None,
            system: None,
            template_digest: None,
            max_length: 8,
        };
        FactorStamp {
            strategy: "ekfac".into(),
            checkpoint: "c".into(),
            averaged: Vec::new(),
            compute: "f32".into(),
            dataset: Some("pool".into()),
            rows: vec![[0, 4]],
            rows_digest: "d".into(),
            encoding: Some(encoding),
            fisher: "true".into(),
            seed: Some(1),
            modules: Vec::new(),
            partitions: [1, 1],
            batch_tokens: 512,
            extends: None,
            extended: None,
            max_block: None,
            backend: "cpu".into(),
        }
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let stamp = stamp();
        assert!(stamp.differences(&stamp).is_empty());
        let other = FactorStamp { seed: Some(2), dataset: Some("other".into()), ..stamp.clone() };
        let differences = stamp.differences(&other);
        assert_eq!(differences, ["dataset is \"other\" there, \"pool\" here", "seed is 2 there, 1 here"]);
        // Of what has parts those, and of what is long where it differs.
        let encoding = stamp.encoding.clone().map(|encoding| EncodingSpec {
            template: format!("{}b", "a".repeat(100)),
            max_length: 9,
            ..encoding
        });
        let long = FactorStamp { encoding: encoding.clone(), ..stamp.clone() };
        let differences = stamp.differences(&long);
        assert!(
            differences.contains(&"encoding.max_length is 9 there, 8 here".to_owned()),
            "{differences:?}"
        );
        let encoding =
            encoding.map(|encoding| EncodingSpec { template: format!("{}c", "a".repeat(100)), ..encoding });
        let differences = FactorStamp { encoding, ..stamp.clone() }.differences(&long);
        assert_eq!(differences, ["encoding.template is ...aaaaaaaaaab\" there, ...aaaaaaaaaac\" here"]);
        assert_eq!(stamp.row_set().len(), 4);
    }

    #[test]
    fn modules_that_differ_are_named_and_no_more_than_a_few() {
        let of = |names: &[&str], out: usize| {
            let module = |name: &&str| Module { name: (*name).to_owned(), out, input: 3, bias: false };
            FactorStamp { modules: names.iter().map(module).collect(), ..stamp() }
        };
        let names = ["a.up", "a.down", "b.up", "b.down", "c.up"];
        let all = of(&names, 2);
        let said = |here: &FactorStamp| here.differences(&all);
        assert_eq!(said(&of(&names[..1], 2)), ["modules: a.down, b.up, b.down, ... (4 in all) only there"]);
        let mut other = of(&names, 2);
        other.modules[0].name = "a.gate".to_owned();
        assert_eq!(said(&other), ["modules: a.up only there, a.gate only here"]);
        other = of(&names, 2);
        other.modules[0].out = 4;
        let sizes = "a.up of 2 outputs and 3 inputs only there, a.up of 4 outputs and 3 inputs only here";
        assert_eq!(said(&other), [format!("modules: {sizes}")]);
        other = of(&names, 2);
        other.modules.reverse();
        assert_eq!(said(&other), ["modules: the same in another order"]);
    }

    #[test]
    fn of_different_fits_that_take_a_folder_at_once_one_has_it() {
        let place = tempfile::tempdir().unwrap();
        let stamps = [stamp(), FactorStamp { seed: Some(2), ..stamp() }];
        for round in 0..20 {
            let (folder, both) = (place.path().join(round.to_string()), Barrier::new(stamps.len()));
            let settle = |stamp: &FactorStamp| {
                both.wait();
                stamp.settle(&folder)
            };
            let settle = &settle;
            let settled = std::thread::scope(|scope| {
                let jobs = stamps.each_ref().map(|stamp| scope.spawn(move || settle(stamp)));
                jobs.map(|job| job.join().unwrap())
            });
            let there = FactorStamp::read(&folder).unwrap();
            for (stamp, settled) in stamps.iter().zip(settled) {
                match settled {
                    Ok(()) => assert_eq!(there.as_ref(), Some(stamp)),
                    Err(error) => assert!(error.is_of_other_factors() && there.as_ref() != Some(stamp)),
                }
            }
        }
    }

    #[test]
    fn a_stamp_that_cannot_be_read_may_be_of_any_factors() {
        let folder = tempfile::tempdir().unwrap();
        for damaged in [&b"{"[..], b"[]", b"\xff"] {
            fs_err::write(folder.path().join(STAMP), damaged).unwrap();
            let error = stamp().settle(folder.path()).unwrap_err();
            assert!(error.is_of_other_factors(), "{error}");
            assert!(
                error.to_string().contains("cannot be gone on with: gstore.json cannot be read: "),
                "{error}"
            );
        }
    }

    #[test]
    fn jobs_take_a_folder_together_and_no_others_do() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("factors_f");
        fs_err::create_dir_all(&folder).unwrap();
        // Of a job that is about to write the stamp, or was killed there.
        for name in
            [".part-1".to_owned(), "gstore.unfinished-1".to_owned(), LOCK.to_owned(), format!("{LOCK}-1")]
        {
            fs_err::write(folder.join(name), "{").unwrap();
        }
        std::thread::scope(|scope| {
            let jobs: Vec<_> = (0..4).map(|_| scope.spawn(|| stamp().settle(&folder))).collect();
            jobs.into_iter().for_each(|job| job.join().unwrap().unwrap());
        });
        assert_eq!(FactorStamp::read(&folder).unwrap(), Some(stamp()));
        // Stamps of before there were blocks, means over checkpoints and other backends do not name any, nor
        // the sums that they extend.
        let mut without = serde_json::to_value(stamp()).unwrap();
        for key in ["max_block", "averaged", "backend", "extended"] {
            without.as_object_mut().unwrap().remove(key).unwrap();
        }
        write_document(&folder.join(STAMP), &without).unwrap();
        stamp().settle(&folder).unwrap();
        let other = FactorStamp { max_block: Some(8), ..stamp() };
        let error = other.settle(&folder).unwrap_err().to_string();
        assert!(error.contains("max_block is null there, 8 here"), "{error}");
        let other = FactorStamp { backend: "candle".into(), ..stamp() };
        let error = other.settle(&folder).unwrap_err().to_string();
        assert!(error.contains("backend is \"cpu\" there, \"candle\" here"), "{error}");
        let other = FactorStamp { averaged: vec!["b".into()], ..stamp() };
        let error = other.settle(&folder).unwrap_err().to_string();
        assert!(error.contains("averaged is [] there"), "{error}");
        assert!(other.is_at("b") && other.is_at("c") && !stamp().is_at("b"));
        let other = FactorStamp { seed: Some(2), ..stamp() };
        assert!(matches!(other.settle(&folder), Err(FactorJobError::OtherFactors { .. })));
        fs_err::rename(folder.join(STAMP), folder.join("notes")).unwrap();
        let error = stamp().settle(&folder).unwrap_err().to_string();
        let says = format!("{} has files but no {STAMP}", folder.display());
        assert!(error.contains(&says) && error.contains("remove the folder"), "{error}");
    }
}
