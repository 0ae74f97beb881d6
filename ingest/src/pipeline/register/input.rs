//! Files of a registration, and how their records are read.

use gstore_core::Cancel;

use gstore_data::{DataFile, FieldNames, Place, Record, RecordSource, find};

use super::super::{IngestError, Progress};
use super::AddRequest;

/// Files, and how their records are read.
pub(super) struct Input {
    pub(super) files: Vec<DataFile>,
    pub(super) fields: FieldNames,
}

impl Input {
    pub(super) fn find(request: &AddRequest) -> Result<Self, IngestError> {
        Ok(Self {
            fields: FieldNames::parse(&request.fields)
                .and_then(|fields| fields.with_layout(request.layout))
                .map_err(|source| IngestError::FieldOption { source })?,
            files: find(&request.data)?,
        })
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
    /// the file and the line or row, go to `bad`, which says whether to go on. Gives the columns of the tables among
    /// the files.
    pub(super) fn each(
        &self,
        progress: &mut dyn Progress,
        cancel: &Cancel,
        bad: &mut dyn FnMut(IngestError) -> Result<(), IngestError>,
        mut f: impl FnMut(Place, &[u8], Record) -> Result<(), IngestError>,
    ) -> Result<Vec<String>, IngestError> {
        let mut columns = Vec::new();
        for file in &self.files {
            let mut source = file.open(&self.fields)?;
            let mut done = 0;
            loop {
                match self.next(source.as_mut(), &mut f) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) if error.is_of_record() => bad(error)?,
                    Err(error) => return Err(error),
                }
                let read = source.bytes_read();
                progress.advance(read.saturating_sub(done));
                done = done.max(read);
                if cancel.is_raised() {
                    return Err(IngestError::Stopped);
                }
            }
            columns.extend(source.columns());
        }
        Ok(columns)
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
            Err(error) => Err(IngestError::Record { place, source: error.with_nulls(&source.nulls()) }),
        }
    }
}
