//! Journal of finished answers, in the order in which they were done, until all are there.
//!
//! Invariants
//! - a line is an answer: a digest of the rest, the number of its prompt, its record, with spaces between
//!   them; the first line says to which request
//! - a line that a crash cut short is worth nothing and is written over; one that has another digest is
//!   counted and passed over
//! - one process at a time writes

use std::fmt::Display;
use std::fs::TryLockError;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs_err::{File, OpenOptions};
use gstore_core::{Digest, many_of};
use serde_json::{Value, json};

use crate::error::GenerateError;

/// Records of answers by the number of their prompt.
pub struct Journal {
    kept: JournalStorage,
    answered: usize,
    damaged: u64,
}

enum JournalStorage {
    Memory(Vec<Option<String>>),
    File { file: File, path: PathBuf, places: Vec<Option<(u64, usize)>>, end: u64 },
}

/// What the first line says in addition to the request.
const VERSION: u64 = 2;

impl Journal {
    /// The answers that there are, in the order of their prompts.
    pub(crate) fn of(records: Vec<Option<String>>) -> Journal {
        let answered = records.iter().flatten().count();
        Journal { kept: JournalStorage::Memory(records), answered, damaged: 0 }
    }

    /// Answers to a request of so many prompts: those that the file has, or none.
    pub(crate) fn open(
        path: Option<&Path>,
        prompts: usize,
        identity: &Value,
        overwrite: bool,
    ) -> Result<Journal, GenerateError> {
        let Some(path) = path else { return Ok(Journal::of(vec![None; prompts])) };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(GenerateError::Busy(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let header = format!("{}\n", json!({ "version": VERSION, "request": identity }));
        let lines = JournalContents::read(&mut file, prompts, LONGEST_HEADER.max(header.len()))?;
        let same = lines.header.as_ref().map(|header| difference(header, identity));
        let (places, end, damaged) = match same {
            Some(None) => (lines.places, lines.end, lines.damaged),
            Some(Some(what)) if !overwrite => {
                return Err(GenerateError::OtherRequest { path: path.to_owned(), what });
            }
            None if !lines.cut_header && !overwrite => {
                return Err(GenerateError::OtherRequest {
                    path: path.to_owned(),
                    what: NO_HEADER.to_owned(),
                });
            }
            _ => {
                file.set_len(0)?;
                file.seek(SeekFrom::Start(0))?;
                file.write_all(header.as_bytes())?;
                (vec![None; prompts], header.len() as u64, 0)
            }
        };
        file.set_len(end)?;
        let answered = places.iter().flatten().count();
        Ok(Journal {
            kept: JournalStorage::File { file, path: path.to_owned(), places, end },
            answered,
            damaged,
        })
    }

    /// What is to be said of answers in the file that are not as they were written.
    pub(crate) fn note(&self) -> Option<String> {
        let JournalStorage::File { path, .. } = &self.kept else { return None };
        let lines = many_of(self.damaged, "line is", "lines are");
        (self.damaged > 0).then(|| {
            format!(
                "{}: {lines} damaged or edited; prompts that have no other answer there are answered again",
                path.display()
            )
        })
    }

    /// Answers that are there.
    pub fn answered(&self) -> usize {
        self.answered
    }

    /// Whether a prompt was answered.
    pub fn has(&self, prompt: usize) -> bool {
        match &self.kept {
            JournalStorage::Memory(lines) => lines.get(prompt).is_some_and(Option::is_some),
            JournalStorage::File { places, .. } => places.get(prompt).is_some_and(Option::is_some),
        }
    }

    /// Keeps the answer to a prompt, a record in JSON.
    pub(crate) fn push(&mut self, prompt: usize, record: &dyn Display) -> Result<(), GenerateError> {
        let record = record.to_string();
        match &mut self.kept {
            JournalStorage::Memory(lines) => {
                if let Some(line) = lines.get_mut(prompt) {
                    *line = Some(record);
                }
            }
            JournalStorage::File { file, places, end, .. } => {
                let answer = format!("{prompt} {record}");
                let line = format!("{} {answer}\n", Digest::of(answer.as_bytes()));
                file.seek(SeekFrom::Start(*end))?;
                file.write_all(line.as_bytes())?;
                *end += line.len() as u64;
                if let Some(place) = places.get_mut(prompt) {
                    *place = Some((*end - 1 - record.len() as u64, record.len()));
                }
            }
        }
        self.answered += 1;
        Ok(())
    }

    /// Writes the records that are there, in the order of the prompts, each ended by a line break.
    ///
    /// # Errors
    /// An output that fails, and a file that cannot be read.
    pub fn write_to(&mut self, out: &mut dyn Write) -> std::io::Result<()> {
        self.each(|record| {
            out.write_all(record)?;
            out.write_all(b"\n")
        })
    }

    /// How many of the answers that are there have no text, and how many of those are no turn of a
    /// conversation.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn empty(&mut self) -> std::io::Result<(usize, usize)> {
        let (mut empty, mut without_roles) = (0, 0);
        self.each(|record| {
            let record: Value = serde_json::from_slice(record)?;
            let turns = record.get("messages").and_then(Value::as_array);
            let answer = match turns {
                Some(turns) => turns.last().and_then(|turn| turn.get("content")),
                None => record.get("completion"),
            };
            if answer.and_then(Value::as_str) == Some("") {
                empty += 1;
                without_roles += usize::from(turns.is_none());
            }
            Ok(())
        })?;
        Ok((empty, without_roles))
    }

    /// The records that are there, in the order of the prompts.
    fn each(&mut self, mut visit: impl FnMut(&[u8]) -> std::io::Result<()>) -> std::io::Result<()> {
        match &mut self.kept {
            JournalStorage::Memory(lines) => {
                lines.iter().flatten().try_for_each(|line| visit(line.as_bytes()))
            }
            JournalStorage::File { file, places, .. } => {
                let mut line = Vec::new();
                for (at, len) in places.iter().flatten() {
                    line.resize(*len, 0);
                    file.seek(SeekFrom::Start(*at))?;
                    file.read_exact(&mut line)?;
                    visit(&line)?;
                }
                Ok(())
            }
        }
    }

    /// Removes the file: what it held is elsewhere.
    ///
    /// # Errors
    /// A file that cannot be removed.
    pub fn remove(self) -> std::io::Result<()> {
        match self.kept {
            JournalStorage::Memory(_) => Ok(()),
            JournalStorage::File { path, .. } => fs_err::remove_file(path),
        }
    }
}

/// Bytes that are read of a first line, or as many as that of the request has: another program's may go on
/// for gigabytes.
const LONGEST_HEADER: usize = 1 << 20;

/// What is said of a file whose first line names no request that could be this one.
const NO_HEADER: &str =
    "it is not work of this command, its request has longer texts, or an earlier version wrote it";

/// Whether a file whose first line this is, is empty or was left while that line was written.
fn is_cut_header(line: &[u8]) -> bool {
    const START: &[u8] = br#"{"version":"#;
    !line.contains(&b'\n') && line.iter().zip(START).all(|(a, b)| a == b)
}

struct JournalContents {
    header: Option<Value>,
    /// Whether the file ends within its first line.
    cut_header: bool,
    places: Vec<Option<(u64, usize)>>,
    /// Lines that are not as they were written.
    damaged: u64,
    /// Where the last line that has an end ends.
    end: u64,
}

impl JournalContents {
    /// Reads a file from its start, one line at a time. A first line of more than `longest` bytes is no
    /// header.
    fn read(file: &mut File, prompts: usize, longest: usize) -> std::io::Result<JournalContents> {
        let mut lines = JournalContents {
            header: None,
            cut_header: false,
            places: vec![None; prompts],
            damaged: 0,
            end: 0,
        };
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        reader.by_ref().take(longest as u64).read_until(b'\n', &mut line)?;
        // One that goes on was not cut short by a crash: answers may stand behind it.
        lines.cut_header = line.len() < longest && is_cut_header(&line);
        let header = ended_line(&line).and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(header) =
            header.filter(|header| header.get("version").and_then(Value::as_u64) == Some(VERSION))
        else {
            return Ok(lines);
        };
        lines.header = Some(header["request"].clone());
        lines.end = line.len() as u64;
        loop {
            line.clear();
            reader.read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                return Ok(lines);
            }
            lines.end += line.len() as u64;
            let found = ended_line(&line).and_then(answer);
            match found.and_then(|(number, len)| Some((lines.places.get_mut(number)?, len))) {
                Some((place, len)) => *place = Some((lines.end - 1 - len as u64, len)),
                None => lines.damaged += 1,
            }
        }
    }
}

fn ended_line(line: &[u8]) -> Option<&str> {
    std::str::from_utf8(line.strip_suffix(b"\n")?).ok()
}

/// The number of a line's prompt and the length of its record, which ends it, if it is as it was written.
fn answer(text: &str) -> Option<(usize, usize)> {
    let (digest, answer) = text.split_once(' ')?;
    let (number, record) = answer.split_once(' ')?;
    let is_whole = digest == Digest::of(answer.as_bytes()).to_string();
    Some((number.parse().ok()?, record.len())).filter(|_| is_whole)
}

/// The first thing that differs between two requests.
fn difference(stored: &Value, asked: &Value) -> Option<String> {
    let entries = asked.as_object().into_iter().flatten();
    let mut differing = entries.filter(|(key, value)| stored.get(*key) != Some(*value));
    let (key, value) = differing.next()?;
    match key.as_str() {
        "model" | "prompts" => Some(format!("its {key} differ from those given")),
        _ => Some(format!("its {key} are {}, not {value}", stored.get(key).unwrap_or(&Value::Null))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(journal: &mut Journal) -> String {
        let mut out = Vec::new();
        journal.write_to(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn answers_are_there_after_a_crash_and_in_the_order_of_the_prompts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.part");
        let identity = json!({ "model": "m", "prompts": "p", "options": 1 });
        let open = |identity: &Value, overwrite| Journal::open(Some(&path), 4, identity, overwrite);
        let mut journal = open(&identity, false).unwrap();
        for prompt in [2, 0] {
            journal.push(prompt, &json!({ "id": prompt, "completion": "ä\n" })).unwrap();
        }
        assert!(matches!(open(&identity, false), Err(GenerateError::Busy(_))));
        let all = "{\"id\":0,\"completion\":\"ä\\n\"}\n{\"id\":2,\"completion\":\"ä\\n\"}\n";
        assert_eq!(text(&mut journal), all);
        drop(journal);

        // Every length that a crash can leave behind.
        let bytes = fs_err::read(&path).unwrap();
        for len in 0..bytes.len() {
            fs_err::write(&path, &bytes[..len]).unwrap();
            let mut journal = open(&identity, false).unwrap();
            let before = journal.answered();
            assert!(before <= 2 && (len < bytes.len() - 1 || before == 1), "{len}: {before}");
            for prompt in (0..4).filter(|prompt| [0, 2].contains(prompt)) {
                if !journal.has(prompt) {
                    journal.push(prompt, &json!({ "id": prompt, "completion": "ä\n" })).unwrap();
                }
            }
            assert_eq!(text(&mut journal), all, "{len}");
        }

        // What was edited is no answer, and what stands behind it is one.
        let written = String::from_utf8(bytes).unwrap();
        for (edit, left) in [("\"id\":2", vec![0]), ("\"id\":0", vec![2]), (" 2 {", vec![0])] {
            fs_err::write(&path, written.replacen(edit, &edit.replace(['0', '2'], "1"), 1)).unwrap();
            let mut journal = open(&identity, false).unwrap();
            assert_eq!((0..4).filter(|prompt| journal.has(*prompt)).collect::<Vec<_>>(), left, "{edit}");
            let note = journal.note().expect("told");
            assert!(note.contains("answers.part: 1 line is damaged or edited"), "{note}");
            for prompt in [0, 2].into_iter().filter(|prompt| !left.contains(prompt)) {
                journal.push(prompt, &json!({ "id": prompt, "completion": "ä\n" })).unwrap();
            }
            assert_eq!(text(&mut journal), all, "{edit}");
        }
        fs_err::write(&path, &written).unwrap();
        assert_eq!(open(&identity, false).unwrap().note(), None);

        let other = json!({ "model": "m", "prompts": "p", "options": 2 });
        let error = open(&other, false).err().expect("refused").to_string();
        assert!(error.contains("options are 1, not 2"), "{error}");
        assert_eq!(open(&other, true).unwrap().answered(), 0);
        for foreign in ["my own notes\n", "no line at all", "{\"version\":9}\n"] {
            fs_err::write(&path, foreign).unwrap();
            assert!(open(&identity, false).is_err(), "{foreign}");
        }
        open(&identity, true).unwrap().remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_request_with_long_texts_goes_on_and_others_leave_its_answers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.part");
        let identity = |len: usize| json!({ "options": { "system": "a".repeat(len) } });
        let open = |len, overwrite| Journal::open(Some(&path), 1, &identity(len), overwrite);
        let long = LONGEST_HEADER + 5;
        open(long, false).unwrap().push(0, &json!({ "id": 0 })).unwrap();
        let bytes = fs_err::read(&path).unwrap();
        for other in [1, LONGEST_HEADER - 1, long - 1, long + 1] {
            let error = open(other, false).err().expect("refused");
            assert!(matches!(error, GenerateError::OtherRequest { .. }), "{other}");
            assert!(fs_err::read(&path).unwrap() == bytes, "{other}");
        }
        assert_eq!(open(long, false).unwrap().answered(), 1);
        // A crash within its first line, behind the bytes that are read of any.
        fs_err::write(&path, &bytes[..long]).unwrap();
        assert_eq!(open(long, false).unwrap().answered(), 0);
        assert_eq!(open(1, true).unwrap().answered(), 0);
    }

    #[test]
    fn without_a_file_answers_are_in_memory() {
        let mut journal = Journal::open(None, 2, &json!({}), false).unwrap();
        journal.push(1, &json!({ "id": 1 })).unwrap();
        assert!(journal.has(1) && !journal.has(0));
        assert_eq!((journal.answered(), text(&mut journal).as_str()), (1, "{\"id\":1}\n"));
        journal.remove().unwrap();
    }

    #[test]
    fn answers_without_text_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.part");
        for path in [None, Some(path.as_path())] {
            let mut journal = Journal::open(path, 5, &json!({}), false).unwrap();
            let turns = |answer| json!({ "messages": [{ "content": "" }, { "content": answer }] });
            let records = [json!({ "completion": "" }), json!({ "completion": " " }), turns(""), turns("a")];
            for (prompt, record) in records.iter().enumerate() {
                journal.push(prompt, record).unwrap();
            }
            assert_eq!(journal.empty().unwrap(), (2, 1), "{path:?}");
            assert_eq!(text(&mut journal).lines().count(), 4);
        }
    }
}
