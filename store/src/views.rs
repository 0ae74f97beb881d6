//! Views: queries that are saved under names.
//!
//! Invariants
//! - saving or removing one is a publish of its own, so each snapshot has the views of its time
//! - the store keeps the text and does not read it; the caller that saves one has checked it

use crate::error::ChangeError;
use crate::layout::now;
use crate::manifest::{Extra, View};
use crate::store::{Snapshot, Store, WriterLock, change_of, publish};
use gstore_core::DatasetName;
use std::sync::Arc;

/// How a view is saved.
#[derive(Debug, Clone, Default)]
pub struct ViewOptions {
    /// The command, for the history.
    pub command: String,
    /// Whether it may take the place of one with another statement.
    pub replace: bool,
}

impl Store {
    /// Saves a query under a name. `planned`: the snapshot on which it was planned, if it was. Returns the
    /// snapshot that has it, which is the current one if it does already.
    ///
    /// # Errors
    /// A dataset or another query has the name; a view that was saved or dropped since it was planned, which
    /// may read the one of this name.
    pub fn create_view(
        &self,
        planned: Option<&Snapshot>,
        name: &DatasetName,
        sql: &str,
        options: ViewOptions,
    ) -> Result<Arc<Snapshot>, ChangeError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        planned.map_or(Ok(()), |planned| base.same_views(planned))?;
        let name: &str = name.as_ref();
        if base.datasets().iter().any(|dataset| dataset.name == name) {
            return Err(ChangeError::ViewDataset { name: name.to_owned() });
        }
        let mut views = base.views().to_vec();
        let view = View { name: name.to_owned(), sql: sql.to_owned(), created: now(), extra: Extra::new() };
        let mut change = change_of(&base, &options.command);
        match views.binary_search_by(|view| view.name.as_str().cmp(name)) {
            Err(place) => {
                views.insert(place, view);
                change.changes.push(format!("view {name} created"));
            }
            Ok(place) => {
                let Some(old) = views.get_mut(place) else { return Ok(base) };
                if old.sql == view.sql {
                    return Ok(base);
                }
                if !options.replace {
                    return Err(ChangeError::ViewExists { name: name.to_owned() });
                }
                *old = view;
                change.changes.push(format!("view {name} replaced"));
            }
        }
        change.views = Some(views);
        Ok(publish(self, &lock, &base, change)?)
    }

    /// Removes a view, as the caller found it in a snapshot.
    ///
    /// # Errors
    /// It was dropped or replaced since.
    pub fn drop_view(&self, view: &View, command: &str) -> Result<Arc<Snapshot>, ChangeError> {
        let lock = WriterLock::take(self)?;
        let base = self.snapshot()?;
        base.same_view(view)?;
        let mut change = change_of(&base, command);
        change.views = Some(base.views().iter().filter(|other| other.name != view.name).cloned().collect());
        change.changes.push(format!("view {} dropped", view.name));
        Ok(publish(self, &lock, &base, change)?)
    }
}
