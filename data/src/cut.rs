//! Files of records rewritten with their long texts cut: each part a record of its own.

use std::io::Write;
use std::path::PathBuf;

use gstore_core::Cancel;
use gstore_core::json::parts;
use serde_json::{Map, Value, json};

use crate::encode::TextEncoder;
use crate::fields::FieldNames;
use crate::samples::{Reading, SampleError, each_record, part_id};

/// Why files could not be cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum CutError {
    #[error(transparent)]
    Samples(#[from] SampleError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Writes the records of files as JSON lines, under gstore's own names of fields. A text that is longer than
/// the encoder's blocks becomes several records, which have its other keys and its id with `#` and their
/// number from 0. Returns how many records were read and written.
///
/// # Errors
/// A file or record that cannot be read, an output that fails, the flag raised.
pub fn cut_records(
    paths: &[PathBuf],
    fields: &FieldNames,
    encoder: &TextEncoder,
    out: &mut dyn Write,
    cancel: &Cancel,
) -> Result<(u64, u64), CutError> {
    let (mut read, mut written) = (0, 0);
    each_record(paths, fields, Reading::Whole, cancel, &mut |id, record, bytes| {
        let failed = |source| SampleError::Encode { sample: format!("sample {id:?}"), source };
        let cut = encoder.cut(&record.content).map_err(failed)?;
        read += 1;
        if cut.is_empty() {
            written += 1;
            out.write_all(bytes)?;
            out.write_all(b"\n")?;
            return Ok::<(), CutError>(());
        }
        let whole: Map<String, Value> = serde_json::from_slice(bytes).map_err(std::io::Error::from)?;
        let text = String::from_utf8_lossy(bytes);
        let values: Vec<(Option<&str>, &str)> = parts(&text).collect();
        for (number, part) in cut.into_iter().enumerate() {
            let mut line = format!("{{\"id\":{}", json!(part_id(&id, number)));
            // Values as they stand: a number is what its digits say.
            for (key, (_, value)) in whole.keys().zip(&values) {
                match key.as_str() {
                    "id" => {}
                    "text" => line.push_str(&format!(",\"text\":{}", json!(part))),
                    _ => line.push_str(&format!(",{}:{value}", json!(key))),
                }
            }
            writeln!(out, "{line}}}")?;
            written += 1;
        }
        Ok(())
    })?;
    Ok((read, written))
}

#[cfg(test)]
mod tests {
    use gstore_store::MetaValue;

    use super::*;
    use crate::{TemplateKind, TextOptions, parse_record};

    #[test]
    fn long_texts_become_records_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("texts.jsonl");
        let long = "one two three four five ".repeat(30);
        let lines = format!(
            "{{\"id\": \"a\", \"body\": \"{long}\", \"source\": 123456789012345678901234567890}}\n{{\"id\": \"b\", \"body\": \"short\"}}\n"
        );
        fs_err::write(&path, lines).unwrap();
        let model = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../demo/model"));
        let block = Some(40);
        let options = TextOptions { block, ..TextOptions::new(TemplateKind::Plain, 64) };
        let encoder = options.encoder(model).unwrap();
        let mut out = Vec::new();
        let fields = FieldNames::parse(&["text=body"]).unwrap();
        let (read, written) =
            cut_records(std::slice::from_ref(&path), &fields, &encoder, &mut out, &Cancel::new()).unwrap();
        assert!(read == 2 && written > 3, "{written}");
        let out = String::from_utf8(out).unwrap();
        let records: Vec<_> = out.lines().map(|line| parse_record(line.as_bytes()).unwrap()).collect();
        let ids: Vec<_> = records.iter().map(|record| record.id.clone().unwrap()).collect();
        assert_eq!((ids[0].as_str(), ids[1].as_str(), ids.last().unwrap().as_str()), ("a#0", "a#1", "b"));
        let mut joined = String::new();
        for record in records.iter().filter(|record| record.id.as_deref() != Some("b")) {
            let crate::Content::Text(text) = &record.content else { panic!("{record:?}") };
            assert!(encoder.encode(&record.content).unwrap().ids.len() <= 40);
            let digits = MetaValue::Text("123456789012345678901234567890".to_owned());
            assert_eq!(record.metadata, [("source".to_owned(), digits)]);
            joined.push_str(text);
        }
        assert_eq!(joined, long);

        let long = TextOptions { block: Some(65), ..TextOptions::new(TemplateKind::Plain, 64) };
        assert!(long.encoder(model).is_err());
    }
}
