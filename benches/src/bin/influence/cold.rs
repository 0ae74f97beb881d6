//! Cold starts: dropping the store from the page cache, how much of it is cached, and the speed of the disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use rustix::fs::{Advice, OFlags, fadvise};

/// Bytes of a direct read, and its alignment.
const PIECE: usize = 1 << 20;
const ALIGN: usize = 4096;
/// Direct reads in flight.
const IN_FLIGHT: usize = 4;

/// The files below a folder, with their lengths.
pub fn files(folder: &Path) -> Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            if meta.is_dir() {
                folders.push(entry.path());
            } else if meta.len() > 0 {
                found.push((entry.path(), meta.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Drops files from the page cache, changed pages after they are written.
pub fn evict(files: &[(PathBuf, u64)]) -> Result<()> {
    for (path, _) in files {
        let file = fs_err::File::open(path)?;
        file.sync_all()?;
        fadvise(file.file(), 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Bytes of files in the page cache, according to `fincore`; none if that program is missing.
pub fn resident(files: &[(PathBuf, u64)]) -> Option<u64> {
    let paths = files.iter().map(|(path, _)| path);
    let out =
        Command::new("fincore").args(["--bytes", "--noheadings", "--raw", "-o", "RES"]).args(paths).output();
    let text = String::from_utf8(out.ok().filter(|out| out.status.success())?.stdout).ok()?;
    text.lines().map(|line| line.trim().parse::<u64>().ok()).sum()
}

/// GB/s of the disk past the page cache, for up to `most` bytes: direct reads of 1 MiB, four at a time.
pub fn disk(files: &[(PathBuf, u64)], most: u64) -> Result<f64> {
    let mut pieces = Vec::new();
    let mut opened: Vec<File> = Vec::new();
    let flags = i32::try_from(OFlags::DIRECT.bits())?;
    for (path, len) in files.iter().filter(|(_, len)| *len >= PIECE as u64) {
        let file =
            fs_err::os::unix::fs::OpenOptionsExt::custom_flags(fs_err::OpenOptions::new().read(true), flags)
                .open(path)?;
        pieces.extend((0..len / PIECE as u64).map(|i| (opened.len(), i * PIECE as u64)));
        opened.push(file.into_parts().0);
    }
    pieces.truncate(usize::try_from(most)? / PIECE);
    let next = AtomicU64::new(0);
    let begun = Instant::now();
    std::thread::scope(|scope| -> Result<()> {
        let readers: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                scope.spawn(|| -> std::io::Result<()> {
                    let mut buffer = vec![0u8; PIECE + ALIGN];
                    let start = buffer.as_ptr().align_offset(ALIGN);
                    let aligned = &mut buffer[start..start + PIECE];
                    while let Some((file, offset)) = pieces.get(next.fetch_add(1, Ordering::Relaxed) as usize)
                    {
                        opened[*file].read_exact_at(aligned, *offset)?;
                    }
                    Ok(())
                })
            })
            .collect();
        for reader in readers {
            reader.join().ok().context("a reader of the disk panicked")??;
        }
        Ok(())
    })?;
    Ok((pieces.len() * PIECE) as f64 / begun.elapsed().as_secs_f64() / 1e9)
}
