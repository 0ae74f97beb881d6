//! Replay of recorded changes: at each point, which are durable and which are pending.

use super::{Choice, FileId, Image, Node, Op, write_into};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A change that a power loss may or may not leave behind.
#[derive(Debug, Clone)]
pub enum Pending {
    /// Bytes of a file.
    Data {
        /// The file.
        id: FileId,
        /// Where.
        offset: u64,
        /// The bytes.
        data: Vec<u8>,
        /// Whether a neighbouring write is merged with this one.
        stream: bool,
    },
    /// A file's length.
    Len {
        /// The file.
        id: FileId,
        /// The length.
        len: u64,
    },
    /// A name refers to something; the file's old name, if any, is removed.
    Link {
        /// The name.
        path: PathBuf,
        /// The file's old name.
        from: Option<PathBuf>,
        /// What it refers to.
        node: Node,
    },
    /// A name is removed.
    Unlink(PathBuf),
}

impl Pending {
    /// A few words, for reports.
    pub fn describe(&self) -> String {
        match self {
            Pending::Data { id, offset, data, .. } => {
                format!("{} bytes at {offset} of file {id}", data.len())
            }
            Pending::Len { id, len } => format!("length {len} of file {id}"),
            Pending::Link { path, from: Some(from), .. } => {
                format!("rename {} to {}", from.display(), path.display())
            }
            Pending::Link { path, from: None, .. } => format!("name {}", path.display()),
            Pending::Unlink(path) => format!("removal of {}", path.display()),
        }
    }

    /// Whether it changes a name.
    pub fn is_name(&self) -> bool {
        matches!(self, Pending::Link { .. } | Pending::Unlink(_))
    }

    fn of_file(&self, wanted: FileId) -> bool {
        matches!(self, Pending::Data { id, .. } | Pending::Len { id, .. } if *id == wanted)
    }

    fn in_folder(&self, folder: &Path) -> bool {
        let inside = |p: &Path| p.parent() == Some(folder);
        match self {
            Pending::Link { path, from, .. } => inside(path) || from.as_deref().is_some_and(inside),
            Pending::Unlink(path) => inside(path),
            Pending::Data { .. } | Pending::Len { .. } => false,
        }
    }
}

/// The disk at a point of a record.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// What is durable.
    pub safe: Image,
    /// What is pending, in order.
    pub pending: Vec<Pending>,
    /// Number of acknowledged steps.
    pub acknowledged: usize,
    /// What processes see.
    live: Image,
    /// Contents by file, including those whose name is not durable yet.
    contents: HashMap<FileId, Arc<Vec<u8>>>,
}

impl Replay {
    /// A disk whose content is all durable.
    pub fn new(image: Image, acknowledged: usize) -> Self {
        let contents = image.files.clone();
        Replay { live: image.clone(), safe: image, pending: Vec::new(), acknowledged, contents }
    }

    /// What processes see.
    pub fn live(&self) -> Image {
        let named = |n: &Node| if let Node::File(id) = n { Some(*id) } else { None };
        let files = self.live.names.values().filter_map(named);
        let content = |id: FileId| (id, self.live.files.get(&id).cloned().unwrap_or_default());
        Image { names: self.live.names.clone(), files: files.map(content).collect() }
    }

    /// What is left when everything that is not durable is lost.
    pub fn nothing_kept(&self) -> Image {
        Image::of(self, &vec![Choice::Lost; self.pending.len()])
    }

    /// The disk some changes later.
    pub fn after<'a>(mut self, ops: impl IntoIterator<Item = &'a Op>) -> Self {
        ops.into_iter().for_each(|op| self.apply(op));
        self
    }

    /// Applies the next change.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Create { path, id } => {
                self.live.files.insert(*id, Arc::default());
                self.contents.insert(*id, Arc::default());
                self.link(path, None, Node::File(*id));
            }
            Op::Write { id, offset, data, stream } => self.write(*id, *offset, data, *stream),
            Op::SetLen { id, len } => {
                Arc::make_mut(self.live.files.entry(*id).or_default()).resize(*len as usize, 0);
                self.pending.push(Pending::Len { id: *id, len: *len });
            }
            Op::Sync(id) => {
                self.pending.retain(|p| !p.of_file(*id));
                let now = self.live.files.get(id).cloned().unwrap_or_default();
                self.contents.insert(*id, now);
            }
            Op::Forget(id) => {
                self.pending.retain(|p| !p.of_file(*id));
                let old = self.contents.get(id).cloned().unwrap_or_default();
                self.live.files.insert(*id, old);
            }
            Op::Rename { from, to } => {
                let node = self.live.names.get(from).copied();
                if let Some(node) = node {
                    self.link(to, Some(from), node);
                }
            }
            Op::Remove(path) | Op::RemoveFolder(path) => {
                self.live.names.remove(path);
                self.pending.push(Pending::Unlink(path.clone()));
            }
            Op::MakeFolder(path) => self.link(path, None, Node::Folder),
            Op::SyncFolder(path) => {
                self.sync_folder(path);
            }
            Op::Mark(steps) => self.acknowledged = *steps,
        }
    }

    fn sync_folder(&mut self, path: &Path) {
        // Once a folder is durably removed, so are its contents.
        let gone: Vec<PathBuf> = self.gone_from(path);
        let mut later: Vec<Pending> = Vec::new();
        for change in std::mem::take(&mut self.pending) {
            if !change.in_folder(path) && !gone.iter().any(|g| change.in_folder(g)) {
                later.push(change);
                continue;
            }
            if let Pending::Link { node: node @ Node::File(_), .. } = &change {
                // Once a file durably has this name, its earlier ones are no longer possible.
                later.retain(|p| !matches!(p, Pending::Link { node: earlier, .. } if earlier == node));
            }
            self.safe.rename(&change);
        }
        self.pending = later;
    }

    fn gone_from(&self, folder: &Path) -> Vec<PathBuf> {
        let removed = |p: &Pending| match p {
            Pending::Unlink(path) if path.parent() == Some(folder) => Some(path.clone()),
            _ => None,
        };
        self.pending.iter().filter_map(removed).filter(|p| !self.live.names.contains_key(p)).collect()
    }

    fn link(&mut self, path: &Path, from: Option<&PathBuf>, node: Node) {
        if let Some(from) = from {
            self.live.names.remove(from);
        }
        self.live.names.insert(path.to_owned(), node);
        self.pending.push(Pending::Link { path: path.to_owned(), from: from.cloned(), node });
    }

    fn write(&mut self, id: FileId, offset: u64, data: &[u8], stream: bool) {
        write_into(Arc::make_mut(self.live.files.entry(id).or_default()), offset, data);
        let last = self.pending.iter_mut().rev().find(|p| p.of_file(id));
        if let Some(Pending::Data { offset: start, data: before, stream: true, .. }) = last
            && stream
            && *start + before.len() as u64 == offset
        {
            before.extend_from_slice(data);
            return;
        }
        self.pending.push(Pending::Data { id, offset, data: data.to_vec(), stream });
    }

    /// The durable content of a file.
    pub(super) fn content(&self, id: FileId) -> Arc<Vec<u8>> {
        self.contents.get(&id).cloned().unwrap_or_default()
    }
}
