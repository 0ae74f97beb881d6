//! Files under wrong names: the content of a damaged file is looked for in the folders of its kind.
//!
//! Invariants
//! - content is known by the length and the digests that the catalog has, whatever its name
//! - at any instant every content that was found has a name there: copies are flushed before a listed name
//!   changes, and what had that name gets another one, which `gc` leaves while a needed file of the kind is
//!   missing

use super::Repair;
use super::parts::list;
use crate::backup::{DataFile, data_files};
use crate::error::{StorageError, VerifyError, if_sound, is_medium};
use crate::layout::Env;
use crate::layout::names::{NUMBERED, unfinished};
use crate::table::{Expected, Region};
use crate::verify::Catalog;
use crate::vfs::{SpanFailure, VfsRead, hash_span};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// A damaged file, and the name under which its content is.
type Misplaced<'a, 'f> = (&'f DataFile<'a>, String);

/// Puts the content of damaged files back under their names, where another file has it. They count as sound
/// from then on.
pub(super) fn put_back(work: &mut Repair<'_>, catalog: &Catalog) -> Result<(), VerifyError> {
    if work.bad.is_empty() {
        return Ok(());
    }
    let datasets = catalog.datasets.iter().map(|d| &d.part);
    let files = data_files(datasets, catalog.features.iter().map(|f| &f.part), &catalog.artifacts);
    let sound: HashSet<&str> = files.iter().map(|f| f.name.as_str()).filter(|n| !work.is_bad(n)).collect();
    let mut known = HashSet::new();
    let damaged = files.iter().filter(|f| !sound.contains(f.name.as_str()) && known.insert(&f.name));
    let damaged: Vec<&DataFile<'_>> = damaged.collect();
    let kinds: BTreeSet<&str> = damaged.iter().map(|f| kind(&f.name)).collect();
    let mut misplaced = Vec::new();
    for top in kinds {
        let mut others =
            Others { env: work.env, files: others(work.env, top, &sound)?, marks: HashMap::new() };
        for file in damaged.iter().filter(|f| kind(&f.name) == top) {
            misplaced.extend(others.place_of(file)?.map(|place| (*file, place)));
        }
    }
    if !work.options.dry_run {
        restore(work, &misplaced)?;
    }
    for (file, place) in misplaced {
        work.bad.remove(&file.name);
        work.report.rebuilt(&file.name, format!("{place}, which has its content"));
        if work.options.dry_run {
            work.places.insert(file.name.clone(), place);
        }
    }
    Ok(())
}

/// The folder of all files of the kind of a file.
fn kind(name: &str) -> &str {
    name.split('/').next().unwrap_or_default()
}

fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Length and name of each file of a kind that is not in its place and sound there.
fn others(env: &Env, top: &str, sound: &HashSet<&str>) -> Result<Vec<(u64, String)>, VerifyError> {
    let folders: Vec<String> = match NUMBERED.iter().any(|(numbered, ..)| *numbered == top) {
        true => list(env, top)?.iter().map(|number| format!("{top}/{number}")).collect(),
        false => vec![top.to_owned()],
    };
    let mut out = Vec::new();
    for folder in folders {
        let names = list(env, &folder)?.into_iter().map(|file| format!("{folder}/{file}"));
        for name in names.filter(|name| !sound.contains(name.as_str())) {
            match env.len_of(&name) {
                Ok(len) => out.push((len, name)),
                // It has no content.
                Err(e) if is_medium(&e) || e.kind() == ErrorKind::IsADirectory => {}
                Err(e) => return Err(Env::io("read", &name)(e).into()),
            }
        }
    }
    Ok(out)
}

/// The files of a kind that are not in their places and sound there.
struct Others<'e> {
    env: &'e Env,
    /// With their lengths.
    files: Vec<(u64, String)>,
    /// Those of a length by the digest of a span, so that each is read once for all damaged files alike.
    marks: HashMap<(u64, Range<u64>), HashMap<Expected, Vec<String>>>,
}

impl Others<'_> {
    /// The one that has the content of a damaged file. If its own bytes are right, what is wrong is what they
    /// say.
    fn place_of(&mut self, file: &DataFile<'_>) -> Result<Option<String>, StorageError> {
        let mut alike = self.like(file)?;
        alike.retain(|name| *name != file.name);
        if alike.is_empty() || has_content(self.env, file, &file.name)? {
            return Ok(None);
        }
        for name in alike {
            if has_content(self.env, file, &name)? {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Those that may have the content of a file.
    fn like(&mut self, file: &DataFile<'_>) -> Result<Vec<String>, StorageError> {
        let alike = self.files.iter().filter(|(len, _)| *len == file.len).map(|(_, name)| name);
        let Some((span, digest)) = file.mark() else { return Ok(alike.cloned().collect()) };
        let marks = match self.marks.entry((file.len, span.clone())) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let mut marks: HashMap<Expected, Vec<String>> = HashMap::new();
                for name in alike {
                    let Some(other) = open(self.env, name)? else { continue };
                    let hash = hash_sound(&*other, name, span.clone(), &mut |_| Ok(()))?;
                    if let Some(hash) = hash {
                        marks.entry(digest.of_hashed(&hash)).or_default().push(name.clone());
                    }
                }
                new.insert(marks)
            }
        };
        Ok(marks.get(&digest).cloned().unwrap_or_default())
    }
}

fn has_content(env: &Env, file: &DataFile<'_>, at: &str) -> Result<bool, StorageError> {
    if !env.len_of(at).is_ok_and(|len| len == file.len) {
        return Ok(false);
    }
    let regions = if_sound(file.regions(env, at))?;
    regions.map_or(Ok(false), |regions| pass(env, at, &regions, &mut |_| Ok(())))
}

/// Reads a file, passes on what was read, and compares each region with its digest. Bytes that the medium
/// does not give have none.
fn pass(
    env: &Env,
    name: &str,
    regions: &[Region],
    sink: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<bool, StorageError> {
    let Some(file) = open(env, name)? else { return Ok(false) };
    let mut at = 0;
    for region in regions {
        let end = at + region.len;
        let Some(hash) = hash_sound(&*file, name, at..end, sink)? else { return Ok(false) };
        if region.digest.compare(&hash).is_err() {
            return Ok(false);
        }
        at = end;
    }
    Ok(true)
}

/// Opens a file; `None` if the medium does not give it.
fn open(env: &Env, name: &str) -> Result<Option<Box<dyn VfsRead>>, StorageError> {
    if_sound(env.vfs().open(&env.at(name)).map_err(Env::io("read", name)))
}

/// Hashes a span of a file, and passes it on; `None` if the medium does not give all of it.
fn hash_sound(
    file: &dyn VfsRead,
    name: &str,
    span: Range<u64>,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), StorageError>,
) -> Result<Option<Xxh3>, StorageError> {
    match hash_span(file, span, &mut Vec::new(), sink) {
        Ok(hash) => Ok(Some(hash)),
        Err(SpanFailure::Read(e)) => if_sound(Err(Env::io("read", name)(e))),
        Err(SpanFailure::Sink(e)) => Err(e),
    }
}

/// Gives what was found the listed names. Only of a place that several files have, and of a link, copies are
/// made. They get their names first, so that what they are copies of has one until then.
fn restore(work: &mut Repair<'_>, misplaced: &[Misplaced<'_, '_>]) -> Result<(), StorageError> {
    let env = work.env;
    let mut taken: HashSet<&str> = HashSet::new();
    let (mut copies, mut moves) = (Vec::new(), Vec::new());
    for (file, place) in misplaced {
        let link = env.vfs().is_link(&env.at(place)).map_err(Env::io("read", place))?;
        if !link && taken.insert(place) {
            moves.push((*file, place.as_str()));
        } else {
            copies.push((env.at(&copy_beside(work, file, place)?), file.name.clone()));
        }
    }
    // All listed names are free before one is given: while some content has another name, one is missing.
    let mut aside: HashMap<&str, String> = HashMap::new();
    for (file, _) in misplaced {
        if env.exists(&file.name)? {
            let to = unfinished(&file.name);
            env.rename(&env.at(&file.name), &to)?;
            aside.insert(&file.name, to);
        }
    }
    let folders: BTreeSet<&str> = aside.keys().map(|name| folder(name)).collect();
    folders.into_iter().try_for_each(|folder| env.sync_folder(folder))?;
    env.move_all(&copies)?;
    for (file, place) in moves {
        let from = aside.get(place).map_or(place, String::as_str);
        give_name(work, file, from)?;
    }
    Ok(())
}

/// Gives a file its listed name, which is flushed before the loss of the other one is.
fn give_name(work: &mut Repair<'_>, file: &DataFile<'_>, from: &str) -> Result<(), StorageError> {
    let (env, name) = (work.env, file.name.as_str());
    env.make_folder(folder(name))?;
    match env.vfs().rename(&env.at(from), &env.at(name)) {
        // One of the folders is a link to another file system.
        Err(e) if e.kind() == ErrorKind::CrossesDevices => {
            let copy = copy_beside(work, file, from)?;
            env.rename(&env.at(&copy), name)?;
        }
        renamed => renamed.map_err(Env::io("move a file to", name))?,
    }
    env.sync_folder(folder(name))?;
    if folder(from) == folder(name) { Ok(()) } else { env.sync_folder(folder(from)) }
}

/// Copies the content of a file to a new name beside its place.
fn copy_beside(work: &mut Repair<'_>, file: &DataFile<'_>, from: &str) -> Result<String, StorageError> {
    let copy = unfinished(&file.name);
    // It goes unless it gets its name.
    work.files.placed(vec![copy.clone()]);
    copy_checked(work.env, file, from, &copy)?;
    Ok(copy)
}

/// Copies the content of a file and flushes the copy.
fn copy_checked(env: &Env, file: &DataFile<'_>, from: &str, to: &str) -> Result<(), StorageError> {
    let regions = file.regions(env, from)?;
    env.make_folder(folder(to))?;
    let mut target = env.vfs().create(&env.at(to)).map_err(Env::io("create", to))?;
    let mut write = |bytes: &[u8]| target.write_all(bytes).map_err(Env::io("write", to));
    if !pass(env, from, &regions, &mut write)? {
        let changed = io::Error::other("it changed while it was copied");
        return Err(Env::io("read", from)(changed));
    }
    target.flush().and_then(|()| target.sync()).map_err(Env::io("write", to))
}
