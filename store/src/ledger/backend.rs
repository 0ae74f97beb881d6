//! redb on top of the store's `Vfs`, so that injected faults reach the ledger as well.

use crate::vfs::VfsRandom;
use redb::StorageBackend;
use std::io;

#[derive(Debug)]
pub(crate) struct Backend(pub(crate) Box<dyn VfsRandom>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}
