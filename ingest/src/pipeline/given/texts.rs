//! Tokens as text: the tokenizer of an encoding, found again by its digest.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use gstore_core::locked;
use gstore_data::{EncodeError, TextEncoder, TextOptions, parse_record};
use gstore_store::{EncodingSpec, Snapshot};

use super::SampleEncoderError;
use crate::pipeline::IngestError;

/// Tokenizers that are kept for the next question.
const KEPT: usize = 4;

/// Tokenizers by the encoding that they give. No question waits while one is loaded for another.
#[derive(Default)]
pub(super) struct Tokenizers(Mutex<Vec<(EncodingSpec, Arc<TextEncoder>)>>);

impl Tokenizers {
    /// The tokenizer of an encoding: in the folder that the user gives, or where the runs of the store had
    /// their models. What decides is its digest, so a folder that has another one by now is passed over.
    pub(super) fn find(
        &self,
        snapshot: &Snapshot,
        encoding: &EncodingSpec,
        given: Option<&Path>,
    ) -> Option<Arc<TextEncoder>> {
        if let Some((_, kept)) = locked(&self.0).iter().find(|(of, _)| of == encoding) {
            return Some(Arc::clone(kept));
        }
        let options = TextOptions::of_spec(encoding)?;
        let load = |folder: &PathBuf| options.encoder(folder).ok();
        let mut folders: Vec<PathBuf> = given.map(Path::to_owned).into_iter().collect();
        for checkpoint in snapshot.runs().iter().flat_map(|run| &run.checkpoints) {
            let noted = |key| checkpoint.provenance.get(key).and_then(|folder| folder.as_str());
            folders
                .extend(["tokenizer", "model", "weights"].into_iter().filter_map(noted).map(PathBuf::from));
        }
        let of_features =
            snapshot.features().iter().filter_map(|part| part.attrs.provenance.get("tokenizer"));
        folders.extend(of_features.filter_map(|folder| folder.as_str()).map(PathBuf::from));
        let mut seen = HashSet::new();
        folders.retain(|folder| seen.insert(folder.clone()));
        let found = folders.iter().filter_map(load).find(|tokenizer| tokenizer.spec() == *encoding);
        let found = Arc::new(found?);
        let mut kept = locked(&self.0);
        // Another question may have loaded it, too.
        kept.retain(|(of, _)| of != encoding);
        if kept.len() >= KEPT {
            kept.remove(0);
        }
        kept.push((encoding.clone(), Arc::clone(&found)));
        Some(found)
    }
}

/// The text of each token of records; none of one that cannot be cut.
pub(super) fn of_records(
    tokenizer: &TextEncoder,
    records: &[&str],
) -> Result<Vec<Vec<String>>, SampleEncoderError> {
    let texts = |record: &&str| {
        let Ok(record) = parse_record(record.as_bytes()) else { return Ok(Vec::new()) };
        match tokenizer.encode(&record.content) {
            Ok(encoded) => tokenizer.texts(&encoded),
            Err(error @ (EncodeError::Tokenizer(_) | EncodeError::TooLarge { .. })) => Err(error),
            Err(_) => Ok(Vec::new()),
        }
    };
    let all: Result<Vec<_>, EncodeError> = records.iter().map(texts).collect();
    all.map_err(|error| IngestError::from(error).into())
}

#[cfg(all(test, unix))]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::time::Duration;

    use gstore_store::Store;

    use super::*;

    #[test]
    fn a_tokenizer_that_is_kept_is_found_while_another_is_loaded() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path();
        let store = Store::create(folder.join("store")).unwrap();
        let snapshot = store.snapshot().unwrap();
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo/model");
        let kept = TextOptions::default().encoder(&model).unwrap().spec();
        let other = EncodingSpec { max_length: 7, ..kept.clone() };
        let tokenizers = Tokenizers::default();
        let find = |encoding: &EncodingSpec, given: &Path| {
            tokenizers.find(&snapshot, encoding, Some(given)).is_some()
        };
        assert!(find(&kept, &model));
        let pipe = folder.join("tokenizer.json");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        std::thread::scope(|scope| {
            let loading = scope.spawn(|| find(&other, folder));
            // Opened once the other side is, which then reads until this one is closed.
            let open = fs_err::OpenOptions::new().write(true).open(&pipe).unwrap();
            let (tell, told) = mpsc::channel();
            let (find, kept) = (&find, &kept);
            scope.spawn(move || tell.send(find(kept, folder)));
            let found = told.recv_timeout(Duration::from_secs(20));
            drop(open);
            assert_eq!(found, Ok(true));
            assert!(!loading.join().unwrap());
        });
    }
}
