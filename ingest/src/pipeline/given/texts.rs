//! Tokens as text: the tokenizer of an encoding, found again by its digest.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gstore_data::{EncodeError, TextEncoder, TextOptions, parse_record};
use gstore_store::{EncodingSpec, Snapshot};

use super::SampleEncoderError;
use crate::pipeline::IngestError;

/// Tokenizers that are kept for the next question.
const KEPT: usize = 4;

/// Tokenizers by the encoding that they give.
#[derive(Default)]
pub(super) struct Tokenizers(Vec<(EncodingSpec, Arc<TextEncoder>)>);

impl Tokenizers {
    /// The tokenizer of an encoding: in the folder that the user gives, or where the runs of the store had
    /// their models. What decides is its digest, so a folder that has another one by now is passed over.
    pub(super) fn find(
        &mut self,
        snapshot: &Snapshot,
        encoding: &EncodingSpec,
        given: Option<&Path>,
    ) -> Option<Arc<TextEncoder>> {
        if let Some((_, kept)) = self.0.iter().find(|(of, _)| of == encoding) {
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
        if self.0.len() >= KEPT {
            self.0.remove(0);
        }
        self.0.push((encoding.clone(), Arc::clone(&found)));
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
