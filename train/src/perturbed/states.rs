//! Final hidden states of an ensemble's starting point at the scored positions of its texts, in one file.
//!
//! Logits of the starting point are rebuilt from them, a chunk at a time: hidden states are narrower than
//! logits by the vocabulary over the hidden size.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `gsthid01` |
//! | 4 for each value | of each text in turn a row of f32 for each scored token, little-endian |
//! | 40 for each text | number of its rows (u64), BLAKE3 of its values |
//! | JSON | `model` and `texts` by digest, `width`, `count` of texts, `index`: BLAKE3 of what is before |
//! | 8 | length of the JSON (u64) |
//!
//! Invariants
//! - the file is complete or missing: it is written under another name and renamed
//! - a writer holds a lock on its file until that is complete: an unlocked one was left by a killed process
//! - a text's values are compared with their digest whenever they are read

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use gstore_core::{if_there, locked};
use gstore_store::vfs::{CreatedFolder, PendingFile};
use serde_json::{Value, json};

use crate::error::TrainError;

const MAGIC: &[u8; 8] = b"gsthid01";

/// Bytes of a line of the index.
const LINE: usize = 40;

/// What a file has the hidden states of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StatesDescription {
    /// Digest of the model, and how it computes.
    pub model: String,
    /// Digest of the texts.
    pub texts: String,
    /// Values of a row.
    pub width: usize,
    /// Rows of each text.
    pub rows: Vec<usize>,
}

impl StatesDescription {
    /// Bytes of the file, about.
    pub fn bytes(&self) -> u64 {
        let rows: u64 = self.rows.iter().map(|rows| *rows as u64).sum();
        4 * rows * self.width as u64 + (LINE * self.rows.len()) as u64
    }

    fn footer(&self, index: &[u8]) -> Value {
        json!({
            "version": 1,
            "model": self.model,
            "texts": self.texts,
            "width": self.width,
            "count": self.rows.len(),
            "index": blake3::hash(index).to_hex().to_string(),
        })
    }
}

/// A file that is open.
pub(crate) struct StatesFile {
    path: PathBuf,
    file: Mutex<fs_err::File>,
    width: usize,
    /// First byte, rows and digest of each text.
    places: Vec<(u64, usize, [u8; 32])>,
}

impl StatesFile {
    /// The file at `path`; none if it is missing.
    ///
    /// # Errors
    /// A damaged file, and one of another model or other texts.
    pub fn open(path: &Path, of: &StatesDescription) -> Result<Option<StatesFile>, TrainError> {
        let Some(found) = if_there(fs_err::metadata(path))? else { return Ok(None) };
        if !found.is_file() {
            // To open a pipe would be to wait for its other end.
            return Err(other_file_error(path));
        }
        let mut file = fs_err::File::open(path)?;
        let (index, footer) = read_end(path, &mut file)?;
        let expected = of.footer(&index);
        for (key, what) in [("model", "another model"), ("texts", "other texts"), ("width", "another model")]
        {
            if footer.get(key) != expected.get(key) {
                return Err(TrainError::OtherTraining {
                    folder: path.to_owned(),
                    what: format!("these are hidden states of {what}"),
                });
            }
        }
        if footer != expected || index.len() != LINE * of.rows.len() {
            return Err(damaged_states_error(path, "its index does not fit its end"));
        }
        let mut places = Vec::with_capacity(of.rows.len());
        let mut at = MAGIC.len() as u64;
        for (line, rows) in index.chunks_exact(LINE).zip(&of.rows) {
            let (count, digest) = line.split_at(8);
            if count != (*rows as u64).to_le_bytes() {
                return Err(damaged_states_error(path, "a text has another number of scored tokens"));
            }
            places.push((at, *rows, digest.try_into().unwrap_or_default()));
            at += 4 * (*rows * of.width) as u64;
        }
        Ok(Some(StatesFile { path: path.to_owned(), file: Mutex::new(file), width: of.width, places }))
    }

    /// Adds the rows of text `text` to `to`.
    ///
    /// # Errors
    /// A file that cannot be read, or whose bytes changed.
    pub fn read(&self, text: usize, to: &mut Vec<f32>) -> Result<(), TrainError> {
        let Some((at, rows, digest)) = self.places.get(text) else {
            return Err(damaged_states_error(&self.path, "it lacks a text"));
        };
        let mut bytes = vec![0; 4 * rows * self.width];
        {
            let mut file = locked(&self.file);
            file.seek(SeekFrom::Start(*at))?;
            file.read_exact(&mut bytes)?;
        }
        if blake3::hash(&bytes).as_bytes() != digest {
            return Err(damaged_states_error(
                &self.path,
                &format!("values of text {text} differ from their digest"),
            ));
        }
        to.extend(bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)));
        Ok(())
    }
}

/// The index and what stands behind it, of a file that begins as one of hidden states.
fn read_end(path: &Path, file: &mut fs_err::File) -> Result<(Vec<u8>, Value), TrainError> {
    let mut begin = [0; MAGIC.len()];
    if file.read_exact(&mut begin).is_err() || begin != *MAGIC {
        return Err(other_file_error(path));
    }
    read_index(file).map_err(|what| damaged_states_error(path, &what))
}

fn read_index(file: &mut fs_err::File) -> Result<(Vec<u8>, Value), String> {
    let io = |error: std::io::Error| error.to_string();
    let length = file.seek(SeekFrom::End(0)).map_err(io)?;
    let mut part = |at: u64, bytes: u64| -> Result<Vec<u8>, String> {
        if at.checked_add(bytes).is_none_or(|end| end > length) {
            return Err("it is too short".to_owned());
        }
        let mut buffer = vec![0; usize::try_from(bytes).map_err(|_| "it is too long".to_owned())?];
        file.seek(SeekFrom::Start(at)).map_err(io)?;
        file.read_exact(&mut buffer).map_err(io)?;
        Ok(buffer)
    };
    let short = || "it is too short".to_owned();
    let end = length.checked_sub(8).ok_or_else(short)?;
    let bytes = u64::from_le_bytes(part(end, 8)?.try_into().unwrap_or_default());
    let start = end.checked_sub(bytes).ok_or_else(short)?;
    let footer: Value = serde_json::from_slice(&part(start, bytes)?).map_err(|error| error.to_string())?;
    let count = footer.get("count").and_then(Value::as_u64).ok_or("its end has no count")?;
    let lines = count.checked_mul(LINE as u64).ok_or_else(short)?;
    let index = part(start.checked_sub(lines).ok_or_else(short)?, lines)?;
    Ok((index, footer))
}

fn other_file_error(path: &Path) -> TrainError {
    TrainError::checkpoint(path, "this is not a file of hidden states; give another name")
}

fn damaged_states_error(path: &Path, what: &str) -> TrainError {
    let what = format!(
        "the file of hidden states is damaged: {what}\n  remove it, and the same command makes it again"
    );
    TrainError::checkpoint(path, what)
}

/// A file that is being written.
pub(crate) struct StatesWriter {
    file: BufWriter<PendingFile>,
    index: Vec<u8>,
    /// Its folder, unless it is in the working one. Goes after the file, where that is not completed.
    _made: Option<CreatedFolder>,
}

impl StatesWriter {
    /// A file that will stand at `path`.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn new(path: &Path) -> Result<StatesWriter, TrainError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let made = folder.map(CreatedFolder::of).transpose()?;
        // Several processes may make the same file; each that finishes has all of it.
        let mut file = BufWriter::new(PendingFile::new(path)?);
        file.write_all(MAGIC)?;
        Ok(StatesWriter { file, index: Vec::new(), _made: made })
    }

    /// The rows of the next text.
    ///
    /// # Errors
    /// A full disk; values that are not numbers.
    pub fn push(&mut self, values: &[f32], rows: usize) -> Result<(), TrainError> {
        let text = self.index.len() / LINE;
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            let found = format!("the hidden state of text {text}");
            return Err(TrainError::not_finite_before_training(found, f64::from(*value)));
        }
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.file.write_all(&bytes)?;
        self.index.extend((rows as u64).to_le_bytes());
        self.index.extend(blake3::hash(&bytes).as_bytes());
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// A full disk.
    pub fn finish(mut self, of: &StatesDescription) -> Result<(), TrainError> {
        self.file.write_all(&self.index)?;
        let footer = of.footer(&self.index).to_string();
        self.file.write_all(footer.as_bytes())?;
        self.file.write_all(&(footer.len() as u64).to_le_bytes())?;
        let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        Ok(file.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of() -> StatesDescription {
        StatesDescription { model: "m".into(), texts: "t".into(), width: 2, rows: vec![1, 0, 2] }
    }

    fn written(folder: &Path) -> PathBuf {
        let path = folder.join("base").join("states");
        let mut writer = StatesWriter::new(&path).unwrap();
        for (values, rows) in [(&[1.0, 2.0][..], 1), (&[], 0), (&[3.0, 4.0, 5.0, 6.0], 2)] {
            writer.push(values, rows).unwrap();
        }
        writer.finish(&of()).unwrap();
        path
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let states = StatesFile::open(&path, &of()).unwrap().unwrap();
        let mut values = Vec::new();
        for text in [2, 0, 1] {
            states.read(text, &mut values).unwrap();
        }
        assert_eq!(values, [3.0, 4.0, 5.0, 6.0, 1.0, 2.0]);
        assert!(StatesFile::open(&folder.path().join("none"), &of()).unwrap().is_none());
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn damage_and_strangers_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = written(folder.path());
        let bytes = fs_err::read(&path).unwrap();
        let other = StatesDescription { model: "n".into(), ..of() };
        let error = StatesFile::open(&path, &other).map(|_| ()).unwrap_err();
        assert!(matches!(error, TrainError::OtherTraining { .. }), "{error}");
        for length in 0..bytes.len() {
            fs_err::write(&path, &bytes[..length]).unwrap();
            let error = StatesFile::open(&path, &of()).map(|_| ()).unwrap_err().to_string();
            // What is not known to be a file of hidden states is somebody's own, and not to be removed.
            assert_eq!(error.contains("remove it"), length >= MAGIC.len(), "{length}: {error}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs_err::write(&path, &changed).unwrap();
            let read_all = |states: Option<StatesFile>| {
                let states = states.expect("it is there");
                (0..3).try_for_each(|text| states.read(text, &mut Vec::new()))
            };
            let result = StatesFile::open(&path, &of()).and_then(read_all);
            assert!(result.is_err(), "byte {at}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_opening_it() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [pipe.as_path(), folder.path()] {
            let error = StatesFile::open(path, &of()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("not a file of hidden states"), "{error}");
        }
    }

    /// As two processes of one number do, which containers may have.
    #[test]
    fn several_make_the_same_file_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("base").join("states");
        let mut writers = [(); 2].map(|()| StatesWriter::new(&path).unwrap());
        for (values, rows) in [(&[1.0, 2.0][..], 1), (&[], 0), (&[3.0, 4.0, 5.0, 6.0], 2)] {
            for writer in &mut writers {
                writer.push(values, rows).unwrap();
            }
        }
        for writer in writers {
            writer.finish(&of()).unwrap();
            let states = StatesFile::open(&path, &of()).unwrap().unwrap();
            (0..3).try_for_each(|text| states.read(text, &mut Vec::new())).unwrap();
        }
        assert_eq!(fs_err::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = StatesWriter::new(&folder.path().join("states")).unwrap();
        assert!(writer.push(&[1.0, f32::NAN], 1).is_err());
        drop(writer);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
    }
}
