//! Live tables, of the program around a session: their rows are those of the moment when a statement reads
//! them, and only what the asking client may see.

use std::fmt::Debug;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::at_once;
use super::error::SqlError;

/// The client that asks, as the program around the session knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requester {
    /// The id that their own rows have.
    pub id: String,
    /// Whether they may see the rows of others.
    pub sees_all: bool,
}

/// A table in the schema `gstore` whose rows the program around the session has.
pub trait LiveTable: Debug + Send + Sync {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Its columns.
    fn schema(&self) -> SchemaRef;
    /// The rows that this asker may see, now.
    ///
    /// # Errors
    /// Rows that do not have the columns.
    fn rows(&self, asker: &Requester) -> Result<RecordBatch, SqlError>;
}

/// A [`LiveTable`] as a table of the engine. A statement that says nothing of who asks finds it empty.
#[derive(Debug)]
pub(crate) struct LiveProvider(pub(crate) Arc<dyn LiveTable>);

impl LiveProvider {
    fn planned(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let batch = match session.config().get_extension::<Requester>() {
            Some(asker) => self.0.rows(&asker)?,
            None => RecordBatch::new_empty(self.0.schema()),
        };
        let schema = batch.schema();
        Ok(MemorySourceConfig::try_new_exec(&[vec![batch]], schema, projection.cloned())?)
    }
}

impl TableProvider for LiveProvider {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    at_once::scan!();
}
