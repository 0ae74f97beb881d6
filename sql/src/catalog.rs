//! The names a query can use: a table for each dataset, and the system tables in the schema `gstore`.
//!
//! Tables are made when a statement names them, so a session over thousands of datasets opens as
//! fast as one over none. Views are no tables here: a statement that names one has its text put in (`views`).

use std::sync::Arc;

use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProviderList, SchemaProvider, TableProvider,
};
use datafusion::error::Result as DfResult;
use gstore_core::Remedy;
use gstore_store::Snapshot;

use super::at_once;
use super::error::SqlError;
use super::live::{LiveProvider, LiveTable};
use super::names::{CATALOG, DATA};
use super::own::OwnTable;
use super::samples::SampleTable;
use super::scan::RowsTable;
use super::system;
use super::virtuals::NamedVirtuals;

/// The schema of the system tables.
pub const SYSTEM: &str = "gstore";

/// What the tables of a session are made from.
#[derive(Clone)]
pub(crate) struct Tables {
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) live: Vec<Arc<dyn LiveTable>>,
    /// Files of the user who opened the session.
    pub(crate) own: Vec<OwnTable>,
}

impl Tables {
    /// Refuses names that two tables have.
    pub(crate) fn check(&self) -> Result<(), SqlError> {
        for (i, own) in self.own.iter().enumerate() {
            let name = own.name();
            let known = self.snapshot.datasets().iter().any(|d| d.name == name)
                || self.snapshot.views().iter().any(|v| v.name == name)
                || self.own.iter().take(i).any(|other| other.name() == name);
            if known {
                let why = format!("the name `{name}` of {} is taken", own.path().display());
                return Err(
                    SqlError::invalid(why).hint(format!("give the table another name: {}", Remedy::OwnTable))
                );
            }
        }
        Ok(())
    }

    /// Every table and view by the name a query would use, for hints.
    pub(crate) fn names(&self) -> Vec<String> {
        let qualified = |(schema, name): (&str, String)| match schema {
            DATA => name,
            _ => format!("{schema}.{name}"),
        };
        let views = self.snapshot.views().iter().map(|view| view.name.clone());
        self.all().into_iter().map(qualified).chain(views).collect()
    }

    /// Every table by the name of its schema and its own.
    pub(crate) fn all(&self) -> Vec<(&'static str, String)> {
        let datasets = self.snapshot.datasets().iter().map(|d| (DATA, d.name.clone()));
        let own = self.own.iter().map(|own| (DATA, own.name().to_owned()));
        datasets.chain(own).chain(system_names(&self.live).map(|name| (SYSTEM, name.to_owned()))).collect()
    }

    /// The catalogs of a session, or of a statement that names virtual columns.
    pub(crate) fn catalogs(&self, asked: NamedVirtuals) -> Arc<dyn CatalogProviderList> {
        let list = MemoryCatalogProviderList::new();
        let Self { snapshot, live, own } = self.clone();
        let catalog = StoreCatalog {
            data: Arc::new(DataSchema { snapshot: Arc::clone(&snapshot), own, asked }),
            system: Arc::new(SystemSchema { snapshot, live }),
        };
        list.register_catalog(CATALOG.to_string(), Arc::new(catalog));
        Arc::new(list)
    }
}

fn system_names(live: &[Arc<dyn LiveTable>]) -> impl Iterator<Item = &'static str> {
    system::names().chain(live.iter().map(|table| table.name()))
}

#[derive(Debug)]
struct StoreCatalog {
    data: Arc<DataSchema>,
    system: Arc<SystemSchema>,
}

impl CatalogProvider for StoreCatalog {
    fn schema_names(&self) -> Vec<String> {
        vec![DATA.to_string(), SYSTEM.to_string()]
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        match name {
            DATA => Some(Arc::clone(&self.data) as _),
            SYSTEM => Some(Arc::clone(&self.system) as _),
            _ => None,
        }
    }
}

#[derive(Debug)]
struct DataSchema {
    snapshot: Arc<Snapshot>,
    own: Vec<OwnTable>,
    asked: NamedVirtuals,
}

#[derive(Debug)]
struct SystemSchema {
    snapshot: Arc<Snapshot>,
    live: Vec<Arc<dyn LiveTable>>,
}

impl DataSchema {
    fn found(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        if let Some(own) = self.own.iter().find(|own| own.name() == name) {
            return Ok(Some(Arc::new(RowsTable(Arc::new(own.clone())))));
        }
        let dataset = self.snapshot.datasets().iter().find(|d| d.name == name);
        Ok(dataset.map(|dataset| {
            let table = SampleTable::of_dataset(Arc::clone(&self.snapshot), Arc::clone(dataset), self.asked);
            Arc::new(RowsTable(Arc::new(table))) as _
        }))
    }
}

impl SchemaProvider for DataSchema {
    fn table_names(&self) -> Vec<String> {
        let own = self.own.iter().map(|own| own.name().to_owned());
        self.snapshot.datasets().iter().map(|d| d.name.clone()).chain(own).collect()
    }

    at_once::table!();

    fn table_exist(&self, name: &str) -> bool {
        self.snapshot.datasets().iter().any(|d| d.name == name) || self.own.iter().any(|o| o.name() == name)
    }
}

impl SystemSchema {
    fn found(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        match self.live.iter().find(|table| table.name() == name) {
            Some(table) => Ok(Some(Arc::new(LiveProvider(Arc::clone(table))))),
            // A session with tables of the program answers clients.
            None => Ok(system::table(&self.snapshot, name, !self.live.is_empty())?),
        }
    }
}

impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        system_names(&self.live).map(str::to_owned).collect()
    }

    at_once::table!();

    fn table_exist(&self, name: &str) -> bool {
        system_names(&self.live).any(|known| known == name)
    }
}
