//! `gstore add`: registers the samples of data files.

use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Result, bail};
use gstore_core::{Cancel, many, many_of};
use gstore_data::{FieldNames, cut_records};
use gstore_ingest::pipeline::{
    self, AddReport, AddRequest, IngestError, IngestRequest, add_until, check_data, check_texts,
};
use gstore_model::hub::{DATA_PREFIX, HubConfig, resolve_data};
use gstore_store::vfs::free_space;
use gstore_store::{IfDeleted, Store};
use indicatif::HumanBytes;
use rustix::fs::{Access, access};
use serde_json::{Map, Value};
use tempfile::NamedTempFile;

use crate::args::{AddArgs, Duplicates, IfChanged, SampleArgs};
use crate::context::{Context, command_line};
use crate::datasets;
use crate::new_store::NewStore;
use crate::output::out;

/// The snapshot that the first samples of a store make.
const FIRST: u64 = 1;

/// Registers the samples.
pub fn run(context: &Context, args: &AddArgs) -> Result<ExitCode> {
    // Before a pipe is read to its end.
    context.store_path()?;
    let (mut reports, mut added) = (Map::new(), Vec::new());
    let as_given = args.samples.for_dataset(args.dataset.as_deref());
    for (dataset, data) in datasets::each(args.dataset.as_deref(), &args.data)? {
        let done = Samples::new(context, &dataset, &data, &as_given)
            .and_then(|samples| samples.register(context, None).map(|(_, report)| (samples, report)));
        let (samples, report) = done.inspect_err(|_| tell_kept(context, &added))?;
        added.push(dataset.clone());
        if args.json {
            reports.insert(dataset, serde_json::to_value(report)?);
        } else {
            samples.tell(context, &report);
            if report.snapshot == Some(FIRST) {
                context.say(&format!(
                    "next: `gstore ingest --dataset {dataset} --model DIR --features KIND` runs a model over it"
                ));
            }
        }
    }
    if args.json {
        let report = match (args.dataset.as_ref(), reports.len()) {
            (Some(_), 1) => reports.into_iter().next().map(|(_, report)| report).unwrap_or_default(),
            _ => Value::Object(reports),
        };
        out!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(ExitCode::SUCCESS)
}

/// Says which datasets an error leaves added: each is a commit of its own.
fn tell_kept(context: &Context, added: &[String]) {
    if !added.is_empty() {
        context.say(&format!(
            "added before and kept: {}; the same command again passes over what is there and goes on",
            added.join(", ")
        ));
    }
}

/// The samples that a command line names.
pub struct Samples {
    request: AddRequest,
    /// Raised by Ctrl-C.
    cancel: Arc<Cancel>,
    /// Copies of what can be read only once; they go with this.
    copies: Vec<NamedTempFile>,
    /// The files whose texts were cut, where the request names a copy.
    cut: Option<String>,
}

impl Samples {
    /// Reads no file but those that can be read only once.
    pub fn new(context: &Context, dataset: &str, data: &[PathBuf], samples: &SampleArgs) -> Result<Self> {
        let cancel = context.cancel_on_interrupt("stopping; once more to stop at once")?;
        let mut copies = Vec::new();
        let mut paths = Vec::with_capacity(data.len());
        for path in data {
            if let Some(name) = path.to_str().filter(|text| text.starts_with(DATA_PREFIX)) {
                let mut reporter = context.reporter();
                let found = resolve_data(name, &HubConfig::from_env(), &mut reporter)?;
                let from = found.origin.map_or_else(String::new, |origin| format!(" of {origin}"));
                context.say(&format!("{name}: {}{from}", many(found.files.len() as u64, "file")));
                paths.extend(found.files);
                continue;
            }
            let copy = spool(path, &cancel)?;
            paths.push(copy.as_ref().map_or(path.as_path(), |copy| copy.path()).to_owned());
            copies.extend(copy);
        }
        let request = AddRequest {
            dataset: dataset.to_owned(),
            data: paths,
            fields: samples.fields.clone(),
            layout: samples.layout,
            columns: samples.columns.clone(),
            skip_bad: samples.skip_bad,
            duplicates: match samples.duplicates {
                Duplicates::Refuse => pipeline::Duplicates::Refuse,
                Duplicates::First => pipeline::Duplicates::First,
            },
            if_changed: match samples.if_changed {
                IfChanged::Refuse => gstore_store::IfChanged::Refuse,
                IfChanged::Keep => gstore_store::IfChanged::Keep,
                IfChanged::Replace => gstore_store::IfChanged::Replace,
            },
            if_deleted: match samples.restore_deleted {
                true => IfDeleted::Restore,
                false => IfDeleted::LeaveOut,
            },
            existing: samples.existing,
            command: command_line(),
        };
        Ok(Self { request, cancel, copies, cut: None })
    }

    /// The same with each long text cut into samples of its own, in a copy of the files.
    pub fn in_blocks(mut self, context: &Context, request: &IngestRequest) -> Result<Self> {
        let encoder = request.text.encoder(&request.model).map_err(IngestError::from)?;
        let AddRequest { data, fields, layout, .. } = &self.request;
        let fields = FieldNames::parse(fields).and_then(|fields| fields.with_layout(*layout));
        let fields = fields.map_err(|source| IngestError::FieldOption { source })?;
        // Beside the store, which will hold as much: the folder for temporary files may be small.
        let store = std::path::absolute(context.store_path()?)?;
        let folder = store.ancestors().skip(1).find(|folder| folder.is_dir());
        let folder = folder.filter(|folder| access(*folder, Access::WRITE_OK | Access::EXEC_OK).is_ok());
        let folder = folder.map_or_else(std::env::temp_dir, Path::to_owned);
        check_room(&folder, data)?;
        let copy = tempfile::Builder::new().prefix("gstore-blocks-").suffix(".jsonl").tempfile_in(&folder)?;
        let mut out = BufWriter::new(copy.reopen()?);
        let (read, written) = cut_records(data, &fields, &encoder, &mut out, &self.cancel)?;
        out.flush()?;
        context.say(&format!("{} cut into {}", many(read, "record"), many(written, "sample")));
        let files: Vec<String> = data.iter().map(|path| path.display().to_string()).collect();
        self.cut = Some(files.join(", "));
        (self.request.data, self.request.fields) = (vec![copy.path().to_owned()], Vec::new());
        self.request.layout = None;
        self.copies.push(copy);
        Ok(self)
    }

    /// An error once Ctrl-C was pressed.
    pub fn check_stopped(&self) -> Result<()> {
        if self.cancel.is_raised() { bail!(IngestError::Stopped) } else { Ok(()) }
    }

    /// What registers them.
    pub fn request(&self) -> &AddRequest {
        &self.request
    }

    /// Checks that the models of an ingest read their texts alike.
    pub fn check_texts(&self, context: &Context, request: &IngestRequest) -> Result<()> {
        let checked = check_texts(&self.request, request, &mut context.reporter(), &self.cancel);
        checked.map_err(|error| self.named(error))
    }

    /// Registers them in a store, if the ingest that follows fits on the disk with them.
    pub fn read(&self, context: &Context, store: &Store, then: Option<&IngestRequest>) -> Result<AddReport> {
        let added = add_until(store, &self.request, then, &mut context.reporter(), &self.cancel);
        added.map_err(|error| self.named(error))
    }

    /// An error that may name a line of a copy, with the files that it is a copy of.
    fn named(&self, error: IngestError) -> anyhow::Error {
        match &self.cut {
            Some(files) if !matches!(error, IngestError::Stopped) => {
                anyhow::Error::from(error).context(format!("{files}, its long texts cut"))
            }
            _ => error.into(),
        }
    }

    /// Registers them in the store of the command line. Where there is none yet, one is made at the first
    /// commit: a failure leaves none behind.
    pub fn register(&self, context: &Context, then: Option<&IngestRequest>) -> Result<(Store, AddReport)> {
        if let Some(store) = context.open_if_there()? {
            let report = self.read(context, &store, then)?;
            return Ok((store, report));
        }
        check_data(&self.request).map_err(|error| self.named(error))?;
        let new = NewStore::at(context.store_path()?)?;
        let report = self.read(context, &new.store, then)?;
        let store = new.keep()?;
        context.say(&format!("new store {}", store.path().display()));
        Ok((store, report))
    }

    /// Says what was new.
    pub fn tell(&self, context: &Context, report: &AddReport) {
        let dataset = &self.request.dataset;
        let added = format!("{} added", many(report.added, "sample"));
        let mut text = match (report.added + report.replaced, report.unchanged) {
            (0, 1) if report.left_out == 0 => {
                format!("{dataset}: nothing to add; the 1 sample is there already")
            }
            (0, 0) if report.left_out == 0 => format!("{dataset}: nothing to add"),
            (0, unchanged) if report.left_out == 0 => {
                format!("{dataset}: nothing to add; all {unchanged} samples are there already")
            }
            (_, 0) if report.left_out == 0 => format!("{dataset}: {added}"),
            (_, unchanged) => {
                format!("{dataset}: {added}, {} there already", many_of(unchanged, "was", "were"))
            }
        };
        match report.left_out {
            0 => {}
            1 => text.push_str(", 1 was deleted before and left out (--restore-deleted adds it)"),
            n => text
                .push_str(&format!(", {n} were deleted before and left out (--restore-deleted adds them)")),
        }
        if report.replaced > 0 {
            text.push_str(&format!(", {} replaced", report.replaced));
        }
        if report.duplicates > 0 {
            let left_out = many_of(report.duplicates, "repeats", "repeat");
            text.push_str(&format!(", {left_out} an earlier id and {} left out", was(report.duplicates)));
        }
        if report.skipped > 0 {
            text.push_str(&format!(", {} that cannot be read left out", many(report.skipped, "record")));
        }
        if report.kept > 0 {
            let kept = many(report.kept, "changed line");
            text.push_str(&format!("; {kept} skipped, as stored samples are kept"));
        }
        context.say(&text);
    }
}

fn was(n: u64) -> &'static str {
    if n == 1 { "was" } else { "were" }
}

/// Refuses, before hours of work, a folder without room for the texts of files.
fn check_room(folder: &Path, data: &[PathBuf]) -> Result<()> {
    let size = |path: &PathBuf| fs_err::metadata(path).ok().filter(|found| found.is_file()).map(|m| m.len());
    let bytes: u64 = data.iter().filter_map(size).sum();
    match free_space(folder) {
        Some(free) if free < bytes => bail!(
            "the texts are cut into a copy of {}, and {} has {} left",
            HumanBytes(bytes),
            folder.display(),
            HumanBytes(free)
        ),
        _ => Ok(()),
    }
}

/// A pipe can be read once and registration reads twice, so what is no regular file is copied first.
fn spool(data: &Path, cancel: &Cancel) -> Result<Option<NamedTempFile>> {
    let mut source: Box<dyn Read + Send> = if data == Path::new("-") {
        Box::new(std::io::stdin())
    } else if fs_err::metadata(data).is_ok_and(|m| !m.is_file() && !m.is_dir()) {
        Box::new(fs_err::File::open(data)?)
    } else {
        return Ok(None);
    };
    let copy = tempfile::Builder::new().prefix("gstore-input-").suffix(".jsonl").tempfile()?;
    let mut file = copy.reopen()?;
    // A read may wait forever, so it has its own thread, which ends with the process.
    let (done, copied) = channel();
    std::thread::spawn(move || done.send(std::io::copy(&mut source, &mut file)));
    loop {
        match copied.recv_timeout(Duration::from_millis(50)) {
            // The copy's name is used nowhere else.
            Ok(Ok(0)) => bail!("{} has no samples", data.display()),
            Ok(copied) => return copied.map(|_| Some(copy)).map_err(Into::into),
            Err(RecvTimeoutError::Disconnected) => bail!("{} could not be read to its end", data.display()),
            Err(RecvTimeoutError::Timeout) if cancel.is_raised() => bail!(IngestError::Stopped),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
