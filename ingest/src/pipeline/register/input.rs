//! Files of a registration, and how their records are read.

use gstore_core::Cancel;

use gstore_data::{DataFile, FieldNames, Place, Record, RecordSource, find};

use super::super::{IngestError, Progress};
use super::AddRequest;

/// Files, and how their records are read.
pub(super) struct InputFiles {
    pub(super) files: Vec<DataFile>,
    pub(super) fields: FieldNames,
}

impl InputFiles {
    pub(super) fn find(request: &AddRequest) -> Result<Self, IngestError> {
        let fields = request.field_names(&request.known_columns)?;
        Ok(Self { files: find(&request.data)?, fields })
    }

    pub(super) fn bytes(&self) -> Result<u64, IngestError> {
        let length = |file: &DataFile| Ok(fs_err::metadata(file.path()).map_err(IngestError::File)?.len());
        self.files.iter().map(length).sum()
    }

    /// What the history calls them.
    pub(super) fn name(&self) -> Option<String> {
        let name = self.files.first()?.path().file_name()?.to_string_lossy().into_owned();
        Some(match self.files.len() {
            1 => name,
            n => format!("{name} and {} more", n - 1),
        })
    }

    /// Calls `f` with place, stored text and content of every record. Errors of a single record, which name
    /// the file and the line or row, go to `bad`, which says whether to go on.
    pub(super) fn each(
        &self,
        progress: &mut dyn Progress,
        cancel: &Cancel,
        bad: &mut dyn FnMut(IngestError) -> Result<(), IngestError>,
        mut f: impl FnMut(Place, &[u8], Record) -> Result<(), IngestError>,
    ) -> Result<(), IngestError> {
        for file in &self.files {
            self.each_of(file, progress, cancel, bad, &mut f)?;
        }
        Ok(())
    }

    /// The same of one of the files. Gives its columns, if it is a table.
    pub(super) fn each_of(
        &self,
        file: &DataFile,
        progress: &mut dyn Progress,
        cancel: &Cancel,
        bad: &mut dyn FnMut(IngestError) -> Result<(), IngestError>,
        mut f: impl FnMut(Place, &[u8], Record) -> Result<(), IngestError>,
    ) -> Result<Vec<String>, IngestError> {
        let mut source = file.open(&self.fields)?;
        let mut done = 0;
        loop {
            match self.next(source.as_mut(), &mut f) {
                Ok(true) => {}
                Ok(false) => return Ok(source.columns()),
                Err(error) if error.is_of_record() => bad(error)?,
                Err(error) => return Err(error),
            }
            let read = source.bytes_read();
            progress.advance(read.saturating_sub(done));
            done = done.max(read);
            cancel.check()?;
        }
    }

    /// Adds the keys that a file brought to the order of the columns: those of a table as its header or
    /// schema has them, since the first rows may lack some.
    pub(super) fn order(&self, columns: &[String], new: &[&str], order: &mut Vec<String>) {
        for column in columns {
            match self.fields.metadata_of(column) {
                Some(key) => order.push(key.to_owned()),
                // A key whose place is taken has a `_` at its end.
                None => {
                    let is_it = |key: &&&str| {
                        key.trim_end_matches('_') == column && !columns.iter().any(|c| c == **key)
                    };
                    order.extend(new.iter().filter(is_it).map(|key| (*key).to_owned()));
                }
            }
        }
        order.extend(new.iter().map(|key| (*key).to_owned()));
    }

    /// Calls `f` for the next record of a file, if there is one, and says so.
    pub(super) fn next(
        &self,
        source: &mut dyn RecordSource,
        f: impl FnOnce(Place, &[u8], Record) -> Result<(), IngestError>,
    ) -> Result<bool, IngestError> {
        let Some(raw) = source.next_record().transpose()? else { return Ok(false) };
        let place = raw.place;
        match self.fields.read(raw.json) {
            Ok((json, record)) => f(place, &json, record).map(|()| true),
            Err(error) => {
                let error = self.fields.error_in(source.columns(), &source.nulls(), error);
                Err(IngestError::Record { place, source: error })
            }
        }
    }
}
