//! Files of operators for what does not fit into memory: they have no name, so a process that is killed
//! leaves none, and who cleans the folder takes none away.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;
use gstore_core::{is_full, without_path};

use super::error::{SqlError, SqlErrorKind};

/// Bytes of all files of a folder together.
const MOST: u64 = 100 << 30;
/// Bytes that are read at once.
const READ: usize = 128 << 10;

/// The folder that the files are in, which is made again where it is gone.
pub(super) struct Spill(Arc<Folder>);

struct Folder {
    path: PathBuf,
    /// Bytes of its files.
    used: AtomicU64,
}

impl Spill {
    /// Files in this folder.
    ///
    /// # Errors
    /// A folder in which no file can be made.
    pub(super) fn new(path: PathBuf) -> Result<Self, SqlError> {
        let spill = Self(Arc::new(Folder { path, used: AtomicU64::new(0) }));
        spill.0.file().map_err(|error| spill.0.error(&error))?;
        Ok(spill)
    }
}

impl TempFileFactory for Spill {
    fn create_temp_file(&self, _what: &str) -> DfResult<Arc<dyn SpillFile>> {
        let file = self.0.file().map_err(|error| self.0.error(&error))?;
        let spilled = Spilled { file, bytes: AtomicU64::new(0), folder: Arc::clone(&self.0) };
        Ok(Arc::new(Handle(Arc::new(spilled))))
    }
}

impl Folder {
    fn file(&self) -> io::Result<File> {
        match tempfile::tempfile_in(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // Not by `fs_err`: the path is not for a client, and the log has it anyway.
                DirBuilder::new().recursive(true).create(&self.path)?;
                tempfile::tempfile_in(&self.path)
            }
            made => made,
        }
    }

    /// What a client may know about a failure; the rest is for a log.
    fn error(&self, error: &io::Error) -> SqlError {
        let found = match is_full(error) {
            true => full("no space is left in the spill folder".to_owned()),
            false => {
                let reason = without_path(error);
                SqlError::new(SqlErrorKind::Spill, format!("the spill folder cannot be used: {reason}"))
            }
        };
        found.detail(format!("{}: {error}", self.path.display()))
    }
}

fn full(message: String) -> SqlError {
    SqlError::new(SqlErrorKind::SpillFull, message)
        .hint("select fewer rows or columns before sorting, joining or grouping")
}

/// A file, which is gone with the last that holds it.
struct Spilled {
    file: File,
    bytes: AtomicU64,
    folder: Arc<Folder>,
}

impl Spilled {
    /// The bytes from a place on: none at the end.
    fn read(&self, from: u64) -> Result<Bytes, SqlError> {
        let mut bytes = vec![0; READ];
        let count = self.file.read_at(&mut bytes, from).map_err(|error| self.folder.error(&error))?;
        bytes.truncate(count);
        Ok(bytes.into())
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        self.folder.used.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// One of those that read or write a file. Each reads at places of its own while another writes at the end.
struct Handle(Arc<Spilled>);

impl SpillFile for Handle {
    fn size(&self) -> Option<u64> {
        Some(self.0.bytes.load(Ordering::Relaxed))
    }

    fn read_stream(&self) -> DfResult<Pin<Box<dyn Stream<Item = DfResult<Bytes>> + Send>>> {
        let start = (Arc::clone(&self.0), 0u64);
        Ok(Box::pin(futures::stream::try_unfold(start, |(file, from)| async move {
            let reader = Arc::clone(&file);
            let read = tokio::task::spawn_blocking(move || reader.read(from)).await;
            let bytes = read.map_err(|error| DataFusionError::ExecutionJoin(Box::new(error)))??;
            let to = from + bytes.len() as u64;
            Ok::<_, DataFusionError>((!bytes.is_empty()).then_some((bytes, (file, to))))
        })))
    }

    fn open_writer(&self) -> DfResult<Box<dyn SpillWriter>> {
        Ok(Box::new(Self(Arc::clone(&self.0))))
    }
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Spilled { file, bytes: written, folder } = &*self.0;
        let more = bytes.len() as u64;
        if folder.used.load(Ordering::Relaxed).saturating_add(more) > MOST {
            let message =
                format!("statements have {} GiB in the spill folder, which is the most", MOST >> 30);
            return Err(io::Error::other(full(message)));
        }
        let mut file: &File = file;
        file.write_all(bytes).map_err(|error| io::Error::other(folder.error(&error)))?;
        written.fetch_add(more, Ordering::Relaxed);
        folder.used.fetch_add(more, Ordering::Relaxed);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SpillWriter for Handle {
    fn finish(&mut self) -> DfResult<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::error::ArrowError;
    use futures::TryStreamExt;

    use super::*;

    async fn read(file: &dyn SpillFile) -> Vec<u8> {
        let parts: Vec<Bytes> = file.read_stream().unwrap().try_collect().await.unwrap();
        parts.iter().flatten().copied().collect()
    }

    #[tokio::test]
    async fn files_have_no_name_and_are_read_while_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::new(folder.path().to_owned()).unwrap();
        let file = spill.create_temp_file("a sort").unwrap();
        let mut writer = file.open_writer().unwrap();
        let bytes: Vec<u8> = (0..READ + 5).map(|i| i as u8).collect();
        writer.write_all(&bytes).unwrap();
        for _ in 0..2 {
            assert_eq!(read(&*file).await, bytes);
        }
        writer.write_all(&[7]).unwrap();
        assert_eq!(read(&*file).await.len(), bytes.len() + 1);
        assert_eq!(file.size(), Some(bytes.len() as u64 + 1));
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);
        drop((file, writer));
        assert_eq!(spill.0.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_folder_that_is_gone_is_made_again_and_one_that_cannot_be_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spill");
        let spill = Spill::new(path.clone()).unwrap();
        fs_err::remove_dir(&path).unwrap();
        assert!(spill.create_temp_file("a sort").is_ok() && path.is_dir());
        fs_err::remove_dir(&path).unwrap();
        fs_err::write(&path, "").unwrap();
        let error = SqlError::from(spill.create_temp_file("a sort").err().unwrap());
        assert_eq!(error.kind(), SqlErrorKind::Spill);
        let shown = error.to_string();
        assert!(shown.starts_with("the spill folder cannot be used: ") && !shown.contains('/'), "{shown}");
        assert!(error.for_log().unwrap().starts_with(&path.display().to_string()));
    }

    #[test]
    fn a_full_disk_is_told_on_every_way_through_the_engine() {
        let folder = Folder { path: "spill".into(), used: AtomicU64::new(0) };
        let failed = || io::Error::other(folder.error(&ErrorKind::StorageFull.into()));
        let by_writer = || DataFusionError::from(ArrowError::from(failed()));
        let kept = Arc::new(by_writer());
        let shared = DataFusionError::Shared(Arc::clone(&kept));
        for error in [DataFusionError::from(failed()), by_writer(), shared] {
            let error = SqlError::from(error);
            assert_eq!(error.kind(), SqlErrorKind::SpillFull);
            assert!(error.to_string().starts_with("no space is left in the spill folder\n"), "{error}");
        }
    }
}
