//! Samples that a command line names, and their registration in the store.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Error, Result};
use gstore_core::{Cancel, many};
use gstore_data::cut_records;
use gstore_ingest::pipeline::{
    AddPreview, AddReport, AddRequest, ExistingDataset, IngestError, IngestRequest, add_until, check_data,
    check_texts, preview_add,
};
use gstore_model::hub::{DATA_PREFIX, HubConfig, resolve_data};
use gstore_model::weights::BaseDigests;
use gstore_store::{AppendError, ColumnDef, IfDeleted, Store};
use rustix::fs::{Access, access};
use tempfile::NamedTempFile;

use super::input::{check_input_once, check_room, input_label, spool};
use super::told::add_summary;
use crate::args::SampleArgs;
use crate::context::Context;
use crate::new_store::{NewStore, remove_leftovers};
use crate::stand_ins::{by_their_names, stands_for};

/// The ingest that follows, and the digests of its models' weights that are known already.
type FollowingIngest<'a> = Option<(&'a IngestRequest, &'a mut BaseDigests)>;

/// The samples that a command line names.
pub struct SampleInputs {
    request: AddRequest,
    /// Raised by Ctrl-C.
    cancel: Arc<Cancel>,
    /// Copies of input that can be read only once; deleted when this is dropped.
    copies: Vec<NamedTempFile>,
}

impl SampleInputs {
    /// Reads only what can be read only once, and which columns the dataset has.
    pub fn new(context: &Context, dataset: &str, data: &[PathBuf], samples: &SampleArgs) -> Result<Self> {
        let mut paths = Vec::with_capacity(data.len());
        for path in data {
            if let Some(name) = path.to_str().filter(|text| text.starts_with(DATA_PREFIX)) {
                let mut reporter = context.reporter();
                let found = resolve_data(name, &HubConfig::from_env(), &mut reporter)?;
                let from = found.origin.map_or_else(String::new, |origin| format!(" of {origin}"));
                context.say(&format!("{name}: {}{from}", many(found.files.len() as u64, "file")));
                paths.extend(found.files);
            } else {
                paths.push(path.clone());
            }
        }
        // Only now, so that one Ctrl-C ends a download.
        let cancel = context.cancel_on_interrupt("stopping; press Ctrl-C again to stop at once");
        let mut copies = Vec::new();
        check_input_once(&paths)?;
        for path in &mut paths {
            if let Some(copy) = spool(path, &cancel)? {
                *path = copy.path().to_owned();
                copies.push(copy);
            }
        }
        let request = AddRequest {
            dataset: dataset.to_owned(),
            data: paths,
            fields: samples.fields.clone(),
            layout: samples.layout,
            columns: samples.columns.clone(),
            skip_bad: samples.skip_bad,
            duplicates: samples.duplicates,
            if_changed: samples.if_changed,
            if_deleted: match samples.restore_deleted {
                true => IfDeleted::Restore,
                false => IfDeleted::LeaveOut,
            },
            existing: samples.existing,
            known_columns: known_columns(context, dataset)?,
            command: context.command.clone(),
            source: (!copies.is_empty()).then(|| in_history(data)),
        };
        Ok(Self { request, cancel, copies })
    }

    /// The same, with each long text cut into samples of its own, in a copy of the files: in `scratch`, or next
    /// to the store that they are registered in.
    pub fn in_blocks(
        mut self,
        context: &Context,
        request: &IngestRequest,
        scratch: Option<&Path>,
    ) -> Result<Self> {
        let mut encoder = request.text.encoder(&request.model).map_err(IngestError::from)?;
        encoder.limit_memory(request.max_memory);
        let AddRequest { data, known_columns, .. } = &self.request;
        let fields = self.request.field_names(known_columns)?;
        let folder = match scratch {
            Some(folder) => folder.to_owned(),
            None => folder_beside(context.store_path()?)?,
        };
        check_room(&folder, data)?;
        let copy = tempfile::Builder::new().prefix("gstore-blocks-").suffix(".jsonl").tempfile_in(&folder)?;
        let mut out = BufWriter::new(copy.reopen()?);
        let (read, written) = cut_records(data, &fields, &encoder, &mut out, &self.cancel)?;
        out.flush()?;
        context.say(&format!("{} cut into {}", many(read, "record"), many(written, "sample")));
        let files: Vec<String> = data.iter().map(|path| path.display().to_string()).collect();
        stands_for(copy.path(), by_their_names(format!("{}, its long texts cut", files.join(", "))));
        let source = in_history(data);
        self.request.source.get_or_insert(source);
        (self.request.data, self.request.fields) = (vec![copy.path().to_owned()], Vec::new());
        self.request.layout = None;
        self.copies.push(copy);
        Ok(self)
    }

    /// The request that registers them.
    pub fn request(&self) -> &AddRequest {
        &self.request
    }

    /// Checks that the models of an ingest tokenize their texts alike.
    pub fn check_texts(&self, context: &Context, request: &IngestRequest) -> Result<()> {
        Ok(check_texts(&self.request, request, &mut context.reporter(), &self.cancel)?)
    }

    /// Registers them in a store, if they and the ingest that follows fit on the disk.
    pub fn read(&self, context: &Context, store: &Store, then: FollowingIngest<'_>) -> Result<AddReport> {
        add_until(store, &self.request, then, &mut context.reporter(), &self.cancel)
            .map_err(|error| self.of_name(error))
    }

    /// Registers them in the store of the command line. If it does not exist, it is created at the first
    /// commit: a failure leaves none behind. If another process creates it meanwhile, they are added to that
    /// one.
    pub fn register(&self, context: &Context, mut then: FollowingIngest<'_>) -> Result<(Store, AddReport)> {
        let place = context.store_path()?;
        remove_leftovers(place);
        if let Some(store) = context.open_if_there()? {
            let report = self.read(context, &store, then)?;
            return Ok((store, report));
        }
        check_data(&self.request)?;
        let new = NewStore::at(place)?;
        let first = then.as_mut().map(|(request, bases)| (*request, &mut **bases));
        let report = self.read(context, &new.store, first)?;
        if let Some(store) = new.keep()? {
            context.say(&format!("new store {}", store.path().display()));
            return Ok((store, report));
        }
        context.say(&format!("another process has just made {}: adding to that", place.display()));
        let store = context.open()?;
        let report = self.read(context, &store, then)?;
        Ok((store, report))
    }

    /// What registering them would do, in the store of the command line or one that would be created.
    pub fn preview(&self, context: &Context) -> Result<AddPreview> {
        let preview = |store: &Store| -> Result<AddPreview> {
            preview_add(store, &self.request, &mut context.reporter(), &self.cancel)
                .map_err(|error| self.of_name(error))
        };
        if let Some(store) = context.open_if_there()? {
            return preview(&store);
        }
        check_data(&self.request)?;
        NewStore::check(context.store_path()?)?;
        let folder = tempfile::tempdir()?;
        preview(&Store::create(folder.path().join("store"))?)
    }

    /// An error; it says how the dataset was chosen if only its file's name links it to the samples.
    fn of_name(&self, error: IngestError) -> Error {
        let is_changed = matches!(&error, IngestError::Append { source: AppendError::Changed { .. }, .. });
        let error = Error::from(error);
        match is_changed && self.request.existing == ExistingDataset::Continue {
            true => error.context(format!(
                "the file's name makes this dataset {}; --dataset with another name makes a separate one",
                self.request.dataset
            )),
            false => error,
        }
    }

    /// Prints what was new.
    pub fn tell(&self, context: &Context, report: &AddReport) {
        let dataset = &self.request.dataset;
        context.say(&add_summary(dataset, report));
        if report.added > 0 && dataset.starts_with(|c: char| c.is_ascii_digit()) {
            context.say(&format!(
                "note: in SQL, put a name that begins with a digit in double quotes: \"{dataset}\""
            ));
        }
    }
}

/// The columns of a dataset in the store of the command line; none if it is not there.
fn known_columns(context: &Context, dataset: &str) -> Result<Vec<ColumnDef>> {
    let Some(store) = context.open_if_there()? else { return Ok(Vec::new()) };
    let snapshot = store.snapshot()?;
    Ok(snapshot.dataset(dataset).map(|part| part.columns.clone()).unwrap_or_default())
}

/// The folder next to a store, which will need as much space as a copy of its samples: the one for temporary
/// files, which may be small, only where that cannot be written to.
fn folder_beside(store: &Path) -> Result<PathBuf> {
    let store = std::path::absolute(store)?;
    let folder = store.ancestors().skip(1).find(|folder| folder.is_dir());
    let folder = folder.filter(|folder| access(*folder, Access::WRITE_OK | Access::EXEC_OK).is_ok());
    Ok(folder.map_or_else(std::env::temp_dir, Path::to_owned))
}

/// Name in the history of data that was copied: the last part of the first name.
fn in_history(data: &[PathBuf]) -> String {
    let first =
        data.first().map(|path| Path::new(&input_label(path)).file_name().unwrap_or_default().to_owned());
    let first = first.unwrap_or_default().to_string_lossy().into_owned();
    match data.len() {
        0 | 1 => first,
        n => format!("{first} and {} more", n - 1),
    }
}
