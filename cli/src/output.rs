//! Destinations of results: standard output, a stream, or a file that appears only when it is complete.
//!
//! Invariants
//! - a file that exists is replaced only with `--force`, and in one step; its name never shows a part of a
//!   result
//! - a wrong place is refused before the work whose result is to go there
//! - a file that is not finished is locked by its process: one whose lock is free is a leftover of a process
//!   that was killed, and goes when another puts a file of its name there

use std::ffi::OsString;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use gstore_core::Digest;
use gstore_data::find;
pub use gstore_store::vfs::parent;
use gstore_store::vfs::{self, resolve};
use tempfile::NamedTempFile;

use crate::context::{Context, unwritable};
use crate::failure::{UsageError, refuse};
use crate::held::{RANDOM, is_random};
use crate::new_store::{refuse_in, store_around};
use crate::packing::{Packing, packing_of};
use crate::streams::{UntilClosed, is_standard_output, note_closed_pipe};

/// Where an output goes.
#[derive(Debug, PartialEq, Eq)]
pub enum OutputTarget {
    /// Standard output.
    Stdout,
    /// A device, a pipe or an open file: it is written to, never replaced.
    Stream(PathBuf),
    /// A file, behind the symlinks that lead to it.
    File(PathBuf),
}

impl OutputTarget {
    /// The place that a path names; `None` and `-` are standard output.
    pub fn of(path: Option<&Path>) -> Self {
        let Some(path) = path.filter(|path| !is_standard_output(path)) else {
            return Self::Stdout;
        };
        // Descriptors of this process are links to files that others hold open.
        let open =
            path == Path::new("/dev/stderr") || path.starts_with("/dev/fd") || path.starts_with("/proc");
        if open || fs_err::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
            return Self::Stream(path.to_owned());
        }
        Self::File(resolve(path))
    }

    /// Whether the output is a file with its own name.
    pub fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Whether both are the same file or stream, under whatever names.
    fn is(&self, other: &Self) -> bool {
        let (Self::File(a) | Self::Stream(a), Self::File(b) | Self::Stream(b)) = (self, other) else {
            return self == other;
        };
        let file = |path| fs_err::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        a != Path::new("/dev/null") && (a == b || file(a).is_some_and(|one| file(b) == Some(one)))
    }
}

/// Refuses outputs of a command that cannot be written: inside a store, without a folder, twice the same,
/// or in place of what is there without `force`.
pub fn check(context: &Context, outputs: &[Option<&Path>], force: bool) -> Result<()> {
    for (path, place) in check_apart(outputs.iter().map(|path| path.unwrap_or(Path::new("-"))))? {
        if let OutputTarget::File(target) = place {
            check_outside(context, path)?;
            check_file(path, &target, force)?;
        }
    }
    Ok(())
}

/// Refuses two results of a command in one place. Gives the place of each.
pub fn check_apart<'a>(outputs: impl IntoIterator<Item = &'a Path>) -> Result<Vec<(&'a Path, OutputTarget)>> {
    let mut others: Vec<(&Path, OutputTarget)> = Vec::new();
    for path in outputs {
        let place = OutputTarget::of(Some(path));
        if let Some((other, _)) = others.iter().find(|(_, other)| other.is(&place)) {
            if place == OutputTarget::Stdout {
                refuse!("two results would go to standard output: name a file for one of them");
            }
            refuse!(
                "{} and {} are the same file, and each result needs its own",
                other.display(),
                path.display()
            );
        }
        others.push((path, place));
    }
    Ok(others)
}

/// A path in a report.
pub fn path_text(path: &Path) -> String {
    path.display().to_string()
}

/// Refuses `--json` where one of the results goes to standard output, on which one object is all that is
/// printed then.
pub fn check_json<'a>(results: impl IntoIterator<Item = &'a Path>) -> Result<()> {
    match results.into_iter().any(|path| OutputTarget::of(Some(path)) == OutputTarget::Stdout) {
        true => refuse!("--json prints its report on standard output: name a file for the result"),
        false => Ok(()),
    }
}

/// Refuses a file that cannot be written, or that is there without `force`.
fn check_file(path: &Path, target: &Path, force: bool) -> Result<()> {
    let refuse = |why: String| Err(UsageError(format!("{} {why}", path.display())).into());
    if target.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return refuse("is not a file name".to_owned());
    }
    if target.is_dir() {
        return refuse("is a folder; name a file".to_owned());
    }
    check_folder(path, parent(target))?;
    if target.exists() && !force {
        refuse!("{}", exists(path));
    }
    if has_long_name(target) {
        return refuse(LONG_NAME.to_owned());
    }
    Ok(())
}

/// What is said of a result whose name is too long.
pub const LONG_NAME: &str = "has too long a name: give a shorter one";

/// Whether a result has too long a name: the hidden one that it has until it is complete is longer.
pub fn has_long_name(target: &Path) -> bool {
    let mut unfinished = hidden(target);
    unfinished.push("0".repeat(RANDOM));
    unfinished.push(UNFINISHED);
    let looked = fs_err::symlink_metadata(parent(target).join(unfinished));
    looked.is_err_and(|error| error.kind() == ErrorKind::InvalidFilename)
}

/// What is said of a file that is there and is not to be replaced.
pub fn exists(path: &Path) -> String {
    format!("{} exists; --force replaces it", path.display())
}

/// Whether a file holds what `write` writes, packed as its name says.
pub fn file_holds(path: &Path, write: impl FnOnce(&mut Output) -> std::io::Result<()>) -> Result<bool> {
    let mut output = Output::create(Some(path), true)?;
    write(&mut output)?;
    let made = output.seal()?;
    let Some((made, target)) = made.places() else { return Ok(false) };
    is_same(made, target)
}

fn is_same(one: &Path, other: &Path) -> Result<bool> {
    let digest = |path: &Path| Digest::of_read(fs_err::File::open(path)?);
    Ok(digest(one)? == digest(other)?)
}

/// Refuses a result whose folder is not there, or in which nothing can be made.
pub fn check_folder(path: &Path, folder: &Path) -> Result<()> {
    // The name that was given says more than what it was resolved to.
    let given = if path.is_symlink() { folder } else { parent(path) };
    let is_working = given == Path::new(".");
    let (path, given) = (path.display(), given.display());
    if !folder.is_dir() {
        refuse!("{path} would be in {given}, and there is no such folder");
    }
    match unwritable(folder) {
        Some(why) if is_working => bail!("{path} cannot be written: {why}"),
        Some(why) => bail!("{path} cannot be written: {given}: {why}"),
        None => Ok(()),
    }
}

/// Refuses, whatever may be replaced, a result in the place of what the command reads: of `data`, which are
/// files, patterns, and folders with all that is below them, and of the files that lie in the `folders` of
/// models.
pub fn check_unread<'a>(
    outputs: &[Option<&Path>],
    data: impl IntoIterator<Item = &'a Path>,
    folders: impl IntoIterator<Item = &'a Path>,
) -> Result<()> {
    // What cannot be found or listed is an error of reading it, which comes before any result.
    let mut read: Vec<PathBuf> = Vec::new();
    for path in data {
        match path.exists() {
            true => read.push(path.to_owned()),
            false => {
                let files = find(&[path.to_owned()]).unwrap_or_default();
                read.extend(files.iter().map(|file| file.path().to_owned()));
            }
        }
    }
    for folder in folders {
        let entries = fs_err::read_dir(folder).into_iter().flatten().flatten();
        read.extend(entries.map(|entry| entry.path()).filter(|path| path.is_file()));
    }
    let read: Vec<PathBuf> = read.iter().filter_map(|path| fs_err::canonicalize(path).ok()).collect();
    let is_read = |path: &&&Path| {
        let Ok(found) = fs_err::canonicalize(path) else { return false };
        // A link that is in a folder of data is read there, wherever it leads.
        let folder = fs_err::canonicalize(parent(path)).unwrap_or_default();
        let is_of =
            |one: &PathBuf| found.starts_with(one) || folder.starts_with(one) || one.starts_with(&found);
        read.iter().any(is_of)
    };
    match outputs.iter().flatten().filter(|path| OutputTarget::of(Some(path)).is_file()).find(is_read) {
        None => Ok(()),
        Some(path) => refuse!("{} is read by this command: give its result another name", path.display()),
    }
}

/// The folder of an output that is a file.
pub fn folder_of(path: Option<&Path>) -> Option<PathBuf> {
    match OutputTarget::of(path) {
        OutputTarget::File(path) => Some(parent(&path).to_owned()),
        OutputTarget::Stdout | OutputTarget::Stream(_) => None,
    }
}

/// The place next to a path that has its name with an ending behind it; of a folder too, whether its path
/// ends with a slash or not.
pub fn path_beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

/// Notes a closed pipe of the writer below.
struct ClosedPipeNote<W>(W);

impl<W: Write> Write for ClosedPipeNote<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        note_closed_pipe(self.0.write(bytes))
    }

    fn flush(&mut self) -> std::io::Result<()> {
        note_closed_pipe(self.0.flush())
    }
}

/// A place for a result. Nothing is visible under the file's name before [`Output::finish`].
pub struct Output {
    writer: OutputWriter,
    file: Option<UnpublishedFile>,
}

/// What begins a result at a place, which it replaces if the flag says so.
pub type Create = fn(Option<&Path>, bool) -> Result<Output>;

/// The way of the bytes.
enum OutputWriter {
    Plain(PlainWriter),
    Gzip(flate2::write::GzEncoder<PlainWriter>),
    Zstd(zstd::stream::write::Encoder<'static, PlainWriter>),
}

type PlainWriter = BufWriter<Box<dyn Write + Send>>;

struct UnpublishedFile {
    /// Removed when it is dropped.
    temporary: NamedTempFile,
    target: PathBuf,
    force: bool,
}

impl Output {
    /// Begins a result for a place that [`check`] found right.
    pub fn create(path: Option<&Path>, force: bool) -> Result<Self> {
        Self::begin(path, force, |out| Box::new(ClosedPipeNote(out)))
    }

    /// The same of one of several results: a reader that leaves ends neither it nor the command, and the others
    /// appear.
    pub fn create_among(path: Option<&Path>, force: bool) -> Result<Self> {
        Self::begin(path, force, |out| Box::new(UntilClosed(out)))
    }

    /// What begins the results of a command, of which those are true that are `wanted`.
    pub fn creating(wanted: &[bool]) -> Create {
        match wanted.iter().filter(|is_wanted| **is_wanted).count() {
            0 | 1 => Self::create,
            _ => Self::create_among,
        }
    }

    fn begin(
        path: Option<&Path>,
        force: bool,
        piped: fn(Box<dyn Write + Send>) -> Box<dyn Write + Send>,
    ) -> Result<Self> {
        let mut pending = None;
        let writer: Box<dyn Write + Send> = match OutputTarget::of(path) {
            OutputTarget::Stdout => Box::new(std::io::stdout()),
            OutputTarget::Stream(stream) => Box::new(fs_err::OpenOptions::new().append(true).open(stream)?),
            OutputTarget::File(target) => {
                let begun = UnpublishedFile::new(target, force)?;
                let file = begun.temporary.as_file().try_clone()?;
                let file = fs_err::File::from_parts(file, &begun.target);
                pending = Some(begun);
                Box::new(file)
            }
        };
        let plain: PlainWriter = BufWriter::new(piped(writer));
        let writer = match path.map_or(Packing::None, packing_of) {
            Packing::None => OutputWriter::Plain(plain),
            Packing::Gzip => {
                OutputWriter::Gzip(flate2::write::GzEncoder::new(plain, flate2::Compression::default()))
            }
            Packing::Zstd => OutputWriter::Zstd(zstd::stream::write::Encoder::new(plain, 0)?),
        };
        Ok(Self { writer, file: pending })
    }

    /// Flushes the result and lets a file appear under its name.
    pub fn finish(self) -> Result<()> {
        self.seal()?.place()
    }

    /// Puts the result on the medium; a file does not appear yet.
    pub fn seal(self) -> Result<FinishedOutput> {
        let Self { writer, file } = self;
        let mut plain = match writer {
            OutputWriter::Plain(plain) => plain,
            OutputWriter::Gzip(gzip) => gzip.finish()?,
            OutputWriter::Zstd(zstd) => zstd.finish()?,
        };
        plain.flush()?;
        if let Some(file) = &file {
            file.seal()?;
        }
        Ok(FinishedOutput(file))
    }
}

/// A result that is complete. A file has not appeared under its name.
pub struct FinishedOutput(Option<UnpublishedFile>);

impl FinishedOutput {
    /// Where the bytes of a file are, and where they are to be.
    pub fn places(&self) -> Option<(&Path, &Path)> {
        self.0.as_ref().map(|pending| (pending.temporary.path(), pending.target.as_path()))
    }

    /// Replaces what is there only where `may` says so of its place.
    pub fn replacing(mut self, may: impl Fn(&Path) -> bool) -> Self {
        if let Some(pending) = &mut self.0 {
            pending.force = may(&pending.target);
        }
        self
    }

    /// Lets a file appear under its name.
    pub fn place(self) -> Result<()> {
        self.0.map_or(Ok(()), UnpublishedFile::publish)
    }
}

/// The end of the name of a file that is not finished, with random characters before it.
const UNFINISHED: &str = ".part";

/// How the name of a file begins that is not finished.
fn hidden(target: &Path) -> OsString {
    let mut hidden = OsString::from(".");
    hidden.push(target.file_name().unwrap_or_default());
    hidden.push(".");
    hidden
}

/// A file that is not finished, with a lock that is held until it has its name or is gone.
fn unfinished_file(target: &Path) -> std::io::Result<NamedTempFile> {
    let make = || {
        tempfile::Builder::new()
            .prefix(&hidden(target))
            .rand_bytes(RANDOM)
            .suffix(UNFINISHED)
            .permissions(std::fs::Permissions::from_mode(0o666))
            .tempfile_in(parent(target))
    };
    vfs::unfinished_file(make, |made| (made.as_file(), made.path()))
}

/// Removes what killed processes left of a file that they had not finished.
fn remove_leftovers(target: &Path) {
    let begin = hidden(target);
    vfs::remove_leftovers(target, |name| {
        let rest = name.strip_prefix(begin.as_encoded_bytes());
        let random = rest.and_then(|rest| rest.strip_suffix(UNFINISHED.as_bytes()));
        random.is_some_and(is_random)
    });
}

impl UnpublishedFile {
    fn new(target: PathBuf, force: bool) -> Result<Self> {
        let temporary = unfinished_file(&target)?;
        // Who could not read the old file cannot read the new one.
        if let Ok(found) = fs_err::metadata(&target) {
            temporary.as_file().set_permissions(found.permissions())?;
        }
        Ok(Self { temporary, target, force })
    }

    fn seal(&self) -> Result<()> {
        let named = |error: std::io::Error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", self.target.display()))
        };
        self.temporary.as_file().sync_all().map_err(named)?;
        Ok(())
    }

    /// Puts the file under its name; leftovers of that name go.
    fn publish(self) -> Result<()> {
        let placed = match self.force {
            true => self.temporary.persist(&self.target),
            false => self.temporary.persist_noclobber(&self.target),
        };
        let Err(failed) = placed else {
            remove_leftovers(&self.target);
            return Ok(());
        };
        let taken = failed.error.kind() == ErrorKind::AlreadyExists;
        let (_, path) = failed.file.keep()?;
        // Not under the name of a leftover, as which it would go.
        let kept = path.with_extension("result");
        let kept = fs_err::rename(&path, &kept).map_or(path, |()| kept);
        match taken {
            true => {
                bail!("{} exists and was kept; the result is in {}", self.target.display(), kept.display())
            }
            false => bail!(
                "the result is in {}, and cannot become {}: {}",
                kept.display(),
                self.target.display(),
                failed.error
            ),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match &mut self.writer {
            OutputWriter::Plain(plain) => plain.write(bytes),
            OutputWriter::Gzip(gzip) => gzip.write(bytes),
            OutputWriter::Zstd(zstd) => zstd.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match &mut self.writer {
            OutputWriter::Plain(plain) => plain.flush(),
            OutputWriter::Gzip(gzip) => gzip.flush(),
            OutputWriter::Zstd(zstd) => zstd.flush(),
        }
    }
}

/// Refuses an output inside a store, that of the command or any other: every file there is the store's own.
pub fn check_outside(context: &Context, path: &Path) -> Result<()> {
    let place = resolve(path);
    let named = context.named_store().filter(|store| place.starts_with(resolve(store)));
    refuse_in(named.or_else(|| store_around(&place)), path)
}
