//! Input of a registration that can be read only once, and room for copies of texts.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use gstore_core::{Cancel, Cancelled};
use gstore_data::DataError;
use gstore_ingest::pipeline::IngestError;
use gstore_store::vfs;
use tempfile::NamedTempFile;

use crate::stand_ins::stands_for;
use crate::streams::is_standard_input;

/// Refuses, before hours of work, a folder without room for the texts of files.
pub(super) fn check_room(folder: &Path, data: &[PathBuf]) -> Result<()> {
    let size = |path: &PathBuf| fs_err::metadata(path).ok().filter(|found| found.is_file()).map(|m| m.len());
    let bytes: u64 = data.iter().filter_map(size).sum();
    vfs::check_room(folder, bytes).map_err(|no_room| anyhow!("the texts are cut into a copy: {no_room}"))
}

/// What data is called in messages and in the history.
pub(super) fn input_label(data: &Path) -> String {
    if is_standard_input(data) { "standard input".to_owned() } else { data.display().to_string() }
}

/// Refuses standard input that is named twice: the first would take all of it.
pub(super) fn check_input_once(data: &[PathBuf]) -> Result<()> {
    match data.iter().filter(|data| is_standard_input(data)).count() {
        0 | 1 => Ok(()),
        _ => bail!(DataError::Twice(PathBuf::from("standard input"))),
    }
}

/// A pipe can be read once and registration reads twice, so what is no regular file is copied first.
pub(super) fn spool(data: &Path, cancel: &Cancel) -> Result<Option<NamedTempFile>> {
    let mut source: Box<dyn Read + Send> = if is_standard_input(data) {
        Box::new(std::io::stdin())
    } else if fs_err::metadata(data).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        Box::new(fs_err::File::open(data)?)
    } else {
        return Ok(None);
    };
    let copy = tempfile::Builder::new().prefix("gstore-input-").suffix(".jsonl").tempfile()?;
    stands_for(copy.path(), input_label(data));
    let mut file = copy.reopen()?;
    // A read may wait forever, so it has its own thread, which ends with the process.
    let (done, copied) = channel();
    std::thread::spawn(move || done.send(std::io::copy(&mut source, &mut file)));
    loop {
        match copied.recv_timeout(Duration::from_millis(50)) {
            // The copy's name is used nowhere else.
            Ok(Ok(0)) => bail!("{} has no samples", input_label(data)),
            Ok(copied) => return copied.map(|_| Some(copy)).map_err(Into::into),
            Err(RecvTimeoutError::Disconnected) => {
                bail!("{} could not be read to its end", input_label(data))
            }
            Err(RecvTimeoutError::Timeout) if cancel.is_raised() => bail!(IngestError::Stopped(Cancelled)),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
