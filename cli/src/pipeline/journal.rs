//! The journal of a pipeline: what each stage was asked, what it read and wrote, and how it ended.
//!
//! Invariants
//! - the file under its name is always a whole journal: it is written under another name, flushed and renamed
//! - a stage is noted as running before it starts, so that one that was killed is never taken for done

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, bail};
use gstore_core::if_there;
use gstore_store::vfs::write_whole;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Layout of the journal. One that is read by another version of gstore and has the same number means the
/// same.
const FORMAT: u32 = 2;

/// What is known of a pipeline's stages.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Journal {
    format: u32,
    /// Number of the last ending of a stage.
    last: u64,
    /// By name.
    pub stages: BTreeMap<String, StageRecord>,
    /// Versions of resources after the last stage that could change them.
    pub current: BTreeMap<String, String>,
    /// Digests of files, by path.
    pub files: BTreeMap<String, FileNote>,
}

/// A stage's last run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRecord {
    pub state: StageState,
    pub asked: StageRequest,
    /// The store that it ran in; empty: it uses none. Earlier versions of gstore did not note it.
    #[serde(default)]
    pub store: Option<String>,
    /// Versions of what it wrote.
    pub outputs: BTreeMap<String, String>,
    /// Versions of what the run before, which was asked something else, had written.
    pub before: BTreeMap<String, String>,
    /// The last of the runs before that ended well.
    #[serde(default)]
    pub done: Option<FinishedRun>,
    /// Whether it was allowed to replace a training: what is left of that may still be there until it ends
    /// well.
    #[serde(default)]
    pub overwrites: bool,
    /// Names of files and runs that it may replace: it made them, or they were not there when it began. What
    /// others had put there is never among them.
    pub own: BTreeSet<String>,
    /// Number of its ending; a stage that ended later has a higher one.
    pub number: u64,
    /// Its process, while it runs.
    pub process: Option<u32>,
    pub ran: StageRun,
}

/// A run that ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FinishedRun {
    pub asked: StageRequest,
    /// Versions of what it wrote.
    pub outputs: BTreeMap<String, String>,
}

impl StageRecord {
    /// The last run that ended well: this one, or one before.
    pub fn last_done(&self) -> Option<FinishedRun> {
        match self.state {
            StageState::Done => {
                Some(FinishedRun { asked: self.asked.clone(), outputs: self.outputs.clone() })
            }
            _ => self.done.clone(),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StageState {
    /// It was started, and nothing is known of its end.
    #[default]
    Running,
    /// It ended well.
    Done,
    Failed,
    /// It was told to stop.
    Stopped,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageRequest {
    /// Words of its command line.
    pub arguments: Vec<String>,
    /// Versions of what it read.
    pub inputs: BTreeMap<String, String>,
}

/// How a stage's run went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageRun {
    /// When it began, in seconds since 1970.
    pub began: u64,
    /// How long it took.
    pub seconds: f64,
    /// Its exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// What it printed, if that is JSON.
    pub summary: Option<Value>,
    /// Its error with what to do about it, else the last line that it said.
    pub said: Option<String>,
}

/// A file as it was when it was read last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNote {
    /// Its length in bytes.
    pub len: u64,
    pub inode: u64,
    /// When its bytes and when its inode were changed, in nanoseconds since 1970: a program may set the
    /// former to what it was before, not the latter.
    pub changed: String,
    /// Digest of its bytes.
    pub digest: String,
}

impl Journal {
    /// Reads a journal; one that is not there is empty.
    pub fn read(path: &Path) -> Result<Self> {
        let Some(bytes) = if_there(fs_err::read(path))? else { return Ok(Self::empty()) };
        let about = || {
            format!(
                "{} is not a journal of a pipeline; if you remove it, all stages run again",
                path.display()
            )
        };
        let value: Value = serde_json::from_slice(&bytes).with_context(about)?;
        let Some(format) = value.get("format").and_then(Value::as_u64) else { bail!(about()) };
        if format != u64::from(FORMAT) {
            bail!(
                "{} has format {format}, and this version of gstore reads {FORMAT}; if you remove it, all stages run again",
                path.display()
            );
        }
        serde_json::from_value(value).with_context(about)
    }

    fn empty() -> Self {
        Self { format: FORMAT, ..Self::default() }
    }

    /// Writes it in one step.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(write_whole(path, &bytes)?)
    }

    /// The number of an ending.
    pub fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_journal_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("journal.json");
        let mut journal = Journal::read(&path).expect("none yet");
        let record = StageRecord {
            state: StageState::Done,
            asked: StageRequest { arguments: vec!["ls".into()], inputs: BTreeMap::new() },
            store: Some("st".into()),
            overwrites: true,
            own: BTreeSet::from(["x".into()]),
            number: journal.next_number(),
            process: Some(1),
            ran: StageRun {
                seconds: 0.1,
                summary: Some(serde_json::json!({"x": 1.5})),
                ..StageRun::default()
            },
            ..StageRecord::default()
        };
        journal.stages.insert("a".into(), record);
        journal.write(&path).expect("written");
        assert_eq!(Journal::read(&path).expect("read"), journal);
        assert_eq!(fs_err::read_dir(dir.path()).expect("a folder").count(), 1);
        let other =
            "has format 1, and this version of gstore reads 2; if you remove it, all stages run again";
        let none = "is not a journal of a pipeline; if you remove it, all stages run again";
        for (bad, why) in [
            (&b""[..], none),
            (b"{}", none),
            (b"[1]", none),
            (b"{\"format\": \"\xff\"}", none),
            (b"{\"format\": 1}", other),
        ] {
            fs_err::write(&path, bad).expect("written");
            let error = Journal::read(&path).expect_err("no journal").to_string();
            assert!(error.ends_with(why), "{bad:?}: {error}");
        }
    }
}
