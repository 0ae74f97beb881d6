//! Promise: power lost at any instant, with any of the changes that were not flushed gone, leaves a ledger
//! that is right or rebuilt, and never one that is called damaged.

use crate::common::altered::{Alter, Altered};
use crate::common::*;
use gstore_store::vfs::*;
use gstore_store::*;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// Takes back one change that was not flushed.
#[derive(Debug)]
enum Undo {
    /// Bytes of a file that is changed in place.
    Bytes { file: PathBuf, offset: u64, old: Vec<u8> },
    /// Its length, and the bytes that were cut off.
    Length { file: PathBuf, old: u64, tail: Vec<u8> },
    /// What a name led to.
    Name { path: PathBuf, old: Option<Vec<u8>> },
}

/// Dies after a number of changes. Files written once are flushed before anything names them, so only
/// names and the ledger count.
#[derive(Debug, Clone)]
struct Power {
    left: Arc<AtomicI64>,
    log: Arc<Mutex<Vec<Undo>>>,
}

impl Power {
    fn new(operations: i64) -> Power {
        Power { left: Arc::new(AtomicI64::new(operations)), log: Arc::default() }
    }
    fn alive(&self) -> io::Result<()> {
        if self.left.load(Ordering::SeqCst) > 0 { Ok(()) } else { Err(io::Error::other("no power")) }
    }
    fn step(&self) -> io::Result<()> {
        self.alive()?;
        self.left.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    }
    fn note(&self, undo: Undo) {
        self.log.lock().unwrap().push(undo);
    }
    fn name(&self, path: &Path) {
        self.note(Undo::Name { path: path.to_owned(), old: fs_err::read(path).ok() });
    }

    /// Each change that was not flushed is lost or not, as `random` has it.
    fn lose(&self, mut random: u64) {
        for undo in self.log.lock().unwrap().drain(..).rev() {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random & 64 == 0 {
                continue;
            }
            match undo {
                Undo::Bytes { file, offset, old } if file.exists() => {
                    let f = OsVfs.open_random(&file).unwrap();
                    let len = f.len().unwrap();
                    if offset + old.len() as u64 <= len {
                        f.write_at(&old, offset).unwrap();
                    }
                }
                Undo::Length { file, old, tail } if file.exists() => {
                    let f = OsVfs.open_random(&file).unwrap();
                    f.set_len(old).unwrap();
                    f.write_at(&tail, old - tail.len() as u64).unwrap();
                }
                Undo::Name { path, old: Some(bytes) } => fs_err::write(path, bytes).unwrap(),
                Undo::Name { path, old: None } => {
                    let _ = fs_err::remove_file(path);
                }
                _ => {}
            }
        }
    }
}

#[derive(Debug)]
struct File(Box<dyn VfsRandom>, PathBuf, Power);

impl VfsRead for File {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.2.alive()?;
        self.0.read_at(buf, offset)
    }
}

impl VfsRandom for File {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.2.step()?;
        let mut old = vec![0; data.len()];
        self.0.read_at(&mut old, offset)?;
        self.2.note(Undo::Bytes { file: self.1.clone(), offset, old });
        self.0.write_at(data, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.2.step()?;
        let old = self.0.len()?;
        let mut tail = vec![0; old.saturating_sub(len) as usize];
        self.0.read_at(&mut tail, old.min(len))?;
        self.2.note(Undo::Length { file: self.1.clone(), old, tail });
        self.0.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.2.step()?;
        self.2.log.lock().unwrap().retain(|undo| match undo {
            Undo::Bytes { file, .. } | Undo::Length { file, .. } => *file != self.1,
            Undo::Name { .. } => true,
        });
        Ok(())
    }
}

impl Alter for Power {
    fn before(&self, operation: &str, path: &Path) -> io::Result<()> {
        match operation {
            "list" | "exists" | "lock" => return Ok(()),
            "open" | "map" => return self.alive(),
            _ => self.step()?,
        }
        if operation == "open_random" && !path.exists() || operation == "remove" && path.exists() {
            self.name(path);
        }
        Ok(())
    }
    fn random(&self, file: Box<dyn VfsRandom>, path: &Path) -> Box<dyn VfsRandom> {
        Box::new(File(file, path.to_owned(), self.clone()))
    }
    fn renamed(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.name(to);
        OsVfs.rename(from, to)
    }
    fn synced(&self, folder: &Path) -> io::Result<()> {
        self.log.lock().unwrap().retain(|undo| match undo {
            Undo::Name { path, .. } => path.parent() != Some(folder),
            _ => true,
        });
        Ok(())
    }
}

/// Appends new rows, and others for some that are there.
pub fn change(store: &Store) -> Result<(), CommitError> {
    let options = AppendOptions { if_changed: IfChanged::Replace, ..options("add") };
    let mut append = store.append(&dataset(), columns(), options)?;
    for i in 15..25u64 {
        let record = if i < 18 { b"changed".to_vec() } else { record(i) };
        let metadata = vec![MetaValue::Null, MetaValue::Int(i as i64)];
        append.push(NewSample { id: &format!("s{i}"), record: Some(&record), metadata })?;
    }
    append.finish().map(|_| ())
}

fn lost_anywhere(base: &Path, at: &Path, least: i64) {
    for n in 0.. {
        let mut through = false;
        for seed in 1..5u64 {
            copy(base, at);
            let power = Power::new(n);
            let done = Store::open_on(Arc::new(Altered(power.clone())), at)
                .map_err(CommitError::from)
                .and_then(|store| change(&store));
            through = done.is_ok() && power.left.load(Ordering::SeqCst) > 0;
            power.lose(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ n as u64);
            let what = format!("after {n} operations, seed {seed}");
            let store = Store::open(at).unwrap();
            if done.is_ok() {
                assert_eq!(store.snapshot().unwrap().dataset("pool").unwrap().rows, 25, "{what}");
            }
            assert_sound(&store, &what);
            change(&store).unwrap_or_else(|e| panic!("{what}: {e}"));
            let snapshot = store.snapshot().unwrap();
            let reader = snapshot.samples(snapshot.dataset("pool").unwrap()).unwrap();
            let mut ids = HashSet::new();
            let mut rows = 0;
            for batch in reader.scan(&["id"], None) {
                use arrow_array::cast::AsArray;
                let batch = batch.unwrap();
                rows += batch.num_rows();
                ids.extend(batch.column(0).as_string::<i32>().iter().map(|s| s.unwrap().to_owned()));
            }
            assert_eq!((rows, ids.len()), (25, 25), "{what}");
            let report = verify(&store);
            assert!(report.is_sound() && report.notes.is_empty(), "{what}: {report:?}");
            fs_err::remove_dir_all(at).unwrap();
        }
        if through {
            assert!(n > least, "{n}");
            return;
        }
    }
}

#[test]
fn a_ledger_that_was_closed_in_order() {
    let dir = tempdir().unwrap();
    let base = dir.path().join("base");
    add(&Store::create(&base).unwrap(), 0..20).unwrap();
    lost_anywhere(&base, &dir.path().join("s"), 40);
}

#[test]
fn a_ledger_that_is_made_anew_because_it_was_damaged() {
    let dir = tempdir().unwrap();
    let base = dir.path().join("base");
    add(&Store::create(&base).unwrap(), 0..20).unwrap();
    fs_err::remove_file(base.join("ledger.sums")).unwrap();
    fs_err::write(base.join("ledger.redb"), b"not a database").unwrap();
    lost_anywhere(&base, &dir.path().join("s"), 50);
}
