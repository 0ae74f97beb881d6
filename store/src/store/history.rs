//! The history of a snapshot, which is the chain of roots before it.

use super::snapshot::{Snapshot, SnapshotInfo};
use crate::error::{Damage, OpenError};
use crate::layout::Env;
use crate::manifest::{Current, FeaturePart, Link, Root, Tag, root_number};

impl Snapshot {
    /// This snapshot and those before it, newest first, then older ones that tags keep. Reads their roots.
    pub fn history(&self) -> Result<Vec<SnapshotInfo>, OpenError> {
        let mut all = self.whole_history()?;
        if !self.is_whole() {
            for info in &mut all {
                (info.command, info.changes) = (String::new(), Vec::new());
            }
        }
        Ok(all)
    }

    /// The command that last added rows to a feature, if the history has it.
    pub fn command_of(&self, feature: &FeaturePart) -> Option<String> {
        if !self.is_whole() {
            return None;
        }
        let name = feature.display_name();
        let feature = (feature.number, name.as_str());
        let said = |root: Root| (!root.command.is_empty()).then_some(root.command);
        let mut root = self.root().clone();
        for before in Chain::new(self.env(), self) {
            let (_, before) = before.ok()?;
            if adds_rows(&root, Some(&before), feature) {
                return said(root);
            }
            root = before;
        }
        if adds_rows(&root, None, feature) {
            return said(root);
        }
        let older = self.older_tags().into_iter().map(|tag| self.env().manifests().read::<Root>(&tag.root));
        said(older.map_while(Result::ok).find(|root| adds_rows(root, None, feature))?)
    }

    fn whole_history(&self) -> Result<Vec<SnapshotInfo>, OpenError> {
        let tags = self.all_tags();
        let mut out = vec![self.info()];
        for link in Chain::new(self.env(), self) {
            let (link, root) = link?;
            out.push(SnapshotInfo::new(&link, &root, tags));
        }
        for tag in self.older_tags() {
            let root: Root = self.env().manifests().read(&tag.root)?;
            out.push(SnapshotInfo::new(&tag.root, &root, tags));
        }
        Ok(out)
    }

    /// One tag of each snapshot that is older than the history, newest first.
    fn older_tags(&self) -> Vec<&Tag> {
        let mut older: Vec<&Tag> = self.all_tags().iter().filter(|t| t.snapshot < self.oldest()).collect();
        older.sort_by_key(|t| std::cmp::Reverse(t.snapshot));
        older.dedup_by_key(|t| t.snapshot);
        older
    }
}

/// Whether a snapshot added rows to a feature, given by its number and as `dataset/label`. Its words may mean
/// another of this label: so the part has to differ from that in `before`, the snapshot before it, where that
/// is known. The words are those of `job::changes`: nothing else in a root says whether rows were added, or
/// only files were merged.
pub(crate) fn adds_rows(root: &Root, before: Option<&Root>, (number, name): (u32, &str)) -> bool {
    let part =
        |root: &Root| root.features.iter().find(|link| link.number == number).map(|link| link.link.clone());
    let (now, begin) = (part(root), format!("feature {name}: "));
    now.is_some()
        && before.is_none_or(|before| part(before) != now)
        && root.changes.iter().any(|change| change.starts_with(&begin) && change.contains(" added"))
}

/// The roots before a snapshot, newest first, down to the first one of the history.
pub(crate) struct Chain<'a> {
    env: &'a Env,
    next: Option<Link>,
    below: u64,
    oldest: u64,
}

impl<'a> Chain<'a> {
    pub(crate) fn new(env: &'a Env, from: &Snapshot) -> Self {
        Self { oldest: from.oldest(), ..Self::before(env, from.root()) }
    }

    /// The same of a root.
    pub(crate) fn before(env: &'a Env, root: &Root) -> Self {
        Chain { env, next: root.parent.clone(), below: root.snapshot, oldest: root.oldest }
    }
}

impl Chain<'_> {
    /// Whether a root left the history after the snapshot was loaded whose history this is.
    fn was_collected(&self, link: &Link) -> bool {
        let Some(number) = root_number(&link.file) else { return false };
        let root = Current::read(self.env).ok().and_then(|c| self.env.manifests().read::<Root>(&c.root).ok());
        root.is_some_and(|root| number < root.oldest)
    }
}

impl Iterator for Chain<'_> {
    type Item = Result<(Link, Root), OpenError>;

    fn next(&mut self) -> Option<Self::Item> {
        // What is older may be gone, or waits to be collected.
        let link = self.next.take().filter(|_| self.below > self.oldest)?;
        let root: Root = match self.env.manifests().read(&link) {
            Ok(root) => root,
            Err(_) if self.was_collected(&link) => return None,
            Err(e) => return Some(Err(e.into())),
        };
        if root.snapshot >= self.below {
            let d = Damage::new(
                format!("manifests/{}", link.file),
                "number of the snapshot",
                format!("below {}", self.below),
                root.snapshot,
            );
            return Some(Err(d.into()));
        }
        self.below = root.snapshot;
        self.next = root.parent.clone();
        Some(Ok((link, root)))
    }
}
