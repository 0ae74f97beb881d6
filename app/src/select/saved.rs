//! A saved Hugging Face dataset: the folder that `save_to_disk` makes and `load_from_disk` opens.

use std::io::{BufWriter, Write};
use std::path::Path;

use arrow_ipc::writer::StreamWriter;
use gstore_core::{DigestWriter, Unit};
use gstore_query::influence::Scored;
use serde_json::json;

use super::records::{NestedValues, Records};
use super::{ROWS_STAGE, SelectedRows};
use crate::answer::{AnswerError, CHUNK};
use crate::work::JobContext;

/// The one data file.
const DATA: &str = "data-00000-of-00001.arrow";

impl SelectedRows {
    /// Writes the selected rows as a dataset of the library `datasets` into a folder, which is there and
    /// empty.
    ///
    /// # Errors
    /// Records that do not fit into one table, damage, a folder that cannot be written to, and being told to
    /// stop.
    pub fn write_dataset(&self, folder: &Path, work: &mut JobContext<'_>) -> Result<(), AnswerError> {
        let rows = self.rows();
        let mut records = Records::new(&self.pools, rows, NestedValues::Typed, self.with_scores, work)?;
        write(&mut records, rows, folder, work)
    }
}

/// Writes the records of rows as such a dataset.
pub(super) fn write(
    records: &mut Records<'_>,
    rows: &[Scored],
    folder: &Path,
    work: &mut JobContext<'_>,
) -> Result<(), AnswerError> {
    work.progress.start(ROWS_STAGE, rows.len() as u64, Unit::Rows);
    work.cancel.check()?;
    let first = records.batch(0..rows.len().min(CHUNK))?;
    let file = DigestWriter::new(fs_err::File::create(folder.join(DATA))?);
    let mut writer = StreamWriter::try_new(BufWriter::new(file), &first.schema())?;
    writer.write(&first)?;
    work.progress.advance(first.num_rows() as u64);
    for start in (CHUNK..rows.len()).step_by(CHUNK) {
        work.cancel.check()?;
        let next = records.batch(start..rows.len().min(start + CHUNK))?;
        writer.write(&next)?;
        work.progress.advance(next.num_rows() as u64);
    }
    writer.finish()?;
    work.progress.finish();
    let written = writer.into_inner()?.into_inner().map_err(|error| error.into_error())?;
    let (file, digest) = written.finish();
    file.sync_all()?;
    // The library names what it computes of a dataset after this: other values need another.
    let fingerprint: String = digest.to_string().chars().take(16).collect();
    let state = json!({
        "_data_files": [{ "filename": DATA }], "_fingerprint": fingerprint, "_format_columns": null,
        "_format_kwargs": {}, "_format_type": null, "_output_all_columns": false, "_split": null,
    });
    let info = json!({ "citation": "", "description": "", "homepage": "", "license": "" });
    for (name, value) in [("state.json", state), ("dataset_info.json", info)] {
        let mut file = fs_err::File::create(folder.join(name))?;
        writeln!(file, "{value:#}")?;
        file.sync_all()?;
    }
    Ok(())
}
