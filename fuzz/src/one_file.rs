//! A read-only file system with one file.

use gstore_store::FileMap;
use gstore_store::vfs::{Vfs, VfsRead};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

/// Every path leads to the same bytes.
#[derive(Debug, Clone)]
pub struct OneFile(pub Arc<[u8]>);

impl VfsRead for OneFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        match self.0.get(start..).and_then(|rest| rest.get(..buf.len())) {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Vfs for OneFile {
    fn open(&self, _: &Path) -> io::Result<Box<dyn VfsRead>> {
        Ok(Box::new(self.clone()))
    }
    fn map(&self, _: &Path, len: u64) -> io::Result<FileMap> {
        if len == self.0.len() as u64 {
            Ok(FileMap::from_bytes(&self.0))
        } else {
            Err(ErrorKind::InvalidData.into())
        }
    }
    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }
    fn exists(&self, _: &Path) -> io::Result<bool> {
        Ok(true)
    }
}
