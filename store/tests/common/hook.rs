//! A file system that asks before each operation: a test can fail it, or do something else first.

use super::altered::{Alter, Altered};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

type Ask = dyn Fn(&str, &Path) -> io::Result<()> + Send + Sync;

pub struct Hook(Box<Ask>);

pub type HookVfs = Altered<Hook>;

impl HookVfs {
    /// `ask` gets the operation's name and its (first) path.
    pub fn new(ask: impl Fn(&str, &Path) -> io::Result<()> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Altered(Hook(Box::new(ask))))
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}

impl Alter for Hook {
    fn before(&self, operation: &str, path: &Path) -> io::Result<()> {
        (self.0)(operation, path)
    }
}

/// A file system on which nothing below one folder can be changed, or locked.
pub fn read_only(folder: &Path, kind: io::ErrorKind) -> Arc<HookVfs> {
    let folder = folder.to_owned();
    HookVfs::new(move |operation, path| match operation {
        "open" | "map" | "list" | "exists" => Ok(()),
        _ if path.starts_with(&folder) => Err(io::Error::new(kind, "injected")),
        _ => Ok(()),
    })
}
