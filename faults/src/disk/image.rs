//! Images: disk states after a power loss, given a fate for each change that was not durable.

use super::{FileId, Node, Pending, Replay, write_into};
use crate::Random;
use std::collections::{BTreeMap, HashMap};
use std::iter::repeat_with;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Sectors are written whole or not at all.
const SECTOR: u64 = 512;

/// Up to this many changes, all subsets are tried.
pub const EXHAUSTIVE: usize = 12;

/// Names and contents of a disk.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// What each name refers to.
    pub names: BTreeMap<PathBuf, Node>,
    /// Contents.
    pub files: HashMap<FileId, Arc<Vec<u8>>>,
}

/// Fate of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// It is lost.
    Lost,
    /// It is kept.
    Whole,
    /// The length is kept, the bytes are zero.
    Zeros,
    /// Some of its sectors are kept, chosen by this number.
    Torn(u64),
}

impl Image {
    /// Applies a change of a name.
    pub(super) fn rename(&mut self, change: &Pending) {
        match change {
            Pending::Link { path, from, node } => {
                if let Some(from) = from
                    && self.names.get(from) == Some(node)
                {
                    self.names.remove(from);
                }
                // A file has one name at a time: an older one that a lost change would have removed is
                // removed too.
                if let Node::File(_) = node {
                    self.names.retain(|_, other| other != node);
                }
                self.names.insert(path.clone(), *node);
            }
            Pending::Unlink(path) => {
                let full = self.names.range(path.clone()..).nth(1).is_some_and(|(p, _)| p.starts_with(path));
                // A folder that is not empty cannot be removed.
                if !full {
                    self.names.remove(path);
                }
            }
            Pending::Data { .. } | Pending::Len { .. } => {}
        }
    }

    /// The image at a point of a record, given a fate for each pending change.
    pub fn of(replay: &Replay, choices: &[Choice]) -> Image {
        let mut out = Image { names: replay.safe.names.clone(), files: HashMap::new() };
        let mut changed: HashMap<FileId, Vec<u8>> = HashMap::new();
        for (change, choice) in replay.pending.iter().zip(choices).filter(|(_, c)| **c != Choice::Lost) {
            match change {
                Pending::Link { .. } | Pending::Unlink(_) => out.rename(change),
                Pending::Data { id, offset, data, .. } => {
                    let bytes = changed.entry(*id).or_insert_with(|| replay.content(*id).to_vec());
                    write_part(bytes, *offset, data, *choice);
                }
                Pending::Len { id, len } => {
                    let bytes = changed.entry(*id).or_insert_with(|| replay.content(*id).to_vec());
                    bytes.resize(*len as usize, 0);
                }
            }
        }
        out.drop_orphans();
        for node in out.names.values() {
            if let Node::File(id) = node {
                let content = changed.remove(id).map_or_else(|| replay.content(*id), Arc::new);
                out.files.insert(*id, content);
            }
        }
        out
    }

    /// What lies in a missing folder is missing too.
    fn drop_orphans(&mut self) {
        let mut kept: BTreeMap<PathBuf, Node> = BTreeMap::new();
        for (path, node) in std::mem::take(&mut self.names) {
            let above = path.parent().unwrap_or(Path::new("/"));
            if above.parent().is_none() || kept.get(above) == Some(&Node::Folder) {
                kept.insert(path, node);
            }
        }
        self.names = kept;
    }

    /// A digest of names and contents. `known` caches those of contents.
    pub fn digest(&self, known: &mut HashMap<usize, (Arc<Vec<u8>>, u64)>) -> u64 {
        let mut hash = Xxh3::new();
        for (path, node) in &self.names {
            hash.update(path.as_os_str().as_encoded_bytes());
            let content = match node {
                Node::Folder => 1,
                Node::File(id) => self.files.get(id).map_or(0, |c| {
                    // The entry keeps it alive, so its address is not reused.
                    let key = Arc::as_ptr(c) as usize;
                    if Arc::strong_count(c) == 1 {
                        return xxh3_64(c);
                    }
                    known.entry(key).or_insert_with(|| (Arc::clone(c), xxh3_64(c))).1
                }),
            };
            hash.update(&content.to_le_bytes());
        }
        hash.digest()
    }
}

fn write_part(bytes: &mut Vec<u8>, offset: u64, data: &[u8], choice: Choice) {
    let end = offset + data.len() as u64;
    match choice {
        Choice::Lost => {}
        Choice::Whole => write_into(bytes, offset, data),
        Choice::Zeros => {
            if (bytes.len() as u64) < end {
                bytes.resize(end as usize, 0);
            }
        }
        Choice::Torn(number) => {
            let mut random = Random::new(number);
            let sectors = (end.div_ceil(SECTOR)).saturating_sub(offset / SECTOR);
            let prefix = random.chance(50).then(|| random.below(sectors));
            for (i, sector) in (offset / SECTOR..end.div_ceil(SECTOR)).enumerate() {
                let kept = prefix.map_or_else(|| random.chance(50), |p| (i as u64) < p);
                let (from, to) = (offset.max(sector * SECTOR), end.min((sector + 1) * SECTOR));
                if let (true, Some(part)) = (kept, data.get((from - offset) as usize..(to - offset) as usize))
                {
                    write_into(bytes, from, part);
                }
            }
        }
    }
}

/// The fates of image `number` of a point.
///
/// First come all subsets of the pending changes, or some if there are many; then images in which some of the
/// data is torn or zero.
pub fn choices(pending: &[Pending], number: u64, random: &mut Random) -> Vec<Choice> {
    let subsets = if pending.len() <= EXHAUSTIVE { 1u64 << pending.len() } else { 0 };
    let any = |random: &mut Random, change: &Pending| match (change, random.below(8)) {
        (_, 0..3) => Choice::Lost,
        (Pending::Data { .. }, 3) => Choice::Zeros,
        (Pending::Data { data, .. }, 4..6) if data.len() as u64 > SECTOR => Choice::Torn(random.next()),
        _ => Choice::Whole,
    };
    match number {
        n if n < subsets => {
            let bit = |i: usize| if n >> i & 1 == 1 { Choice::Whole } else { Choice::Lost };
            (0..pending.len()).map(bit).collect()
        }
        n if subsets == 0 && n < 4 => pending
            .iter()
            .map(|p| match (n, p.is_name()) {
                (0, _) | (1, false) | (2, true) => Choice::Lost,
                _ => Choice::Whole,
            })
            .collect(),
        _ => pending.iter().map(|p| any(random, p)).collect(),
    }
}

/// The images of a point that are checked: all subsets, and some more if there is data; or, where these are
/// too many, nothing kept, everything kept, and some others.
pub fn numbers(pending: &[Pending], most: u64, random: &mut Random) -> Vec<u64> {
    let (subsets, ends) = match pending.len() {
        few @ ..=EXHAUSTIVE => (1u64 << few, vec![0, (1u64 << few) - 1]),
        // And names alone, and data alone.
        _ => (most, vec![0, 3, 1, 2]),
    };
    let data = pending.iter().filter(|p| !p.is_name()).count() as u64;
    let all = subsets + (data * 6).min(most);
    if all <= most {
        return (0..all).collect();
    }
    let others = repeat_with(|| random.below(all));
    let mut out: Vec<u64> = ends.into_iter().chain(others).take(most as usize).collect();
    out.sort_unstable();
    out.dedup();
    out
}
