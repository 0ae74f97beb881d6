//! Methods of the engine's async traits that have their answer at once.
//!
//! Of each `async` method of such a trait the compiler proves by itself that its future is `Send`, through
//! all types of statements and plans, which takes it seconds. Functions that give a finished future need no
//! proof.

/// `TableProvider::scan`, by the method `planned`.
macro_rules! scan {
    () => {
        fn scan<'s, 'e, 'p, 'f, 'a>(
            &'s self,
            session: &'e dyn ::datafusion::catalog::Session,
            projection: Option<&'p Vec<usize>>,
            filters: &'f [::datafusion::logical_expr::Expr],
            limit: Option<usize>,
        ) -> ::futures::future::BoxFuture<'a, $crate::at_once::PlanResult>
        where
            's: 'a,
            'e: 'a,
            'p: 'a,
            'f: 'a,
            Self: 'a,
        {
            Box::pin(::futures::future::ready(self.planned(session, projection, filters, limit)))
        }
    };
}

/// `SchemaProvider::table`, by the method `found`.
macro_rules! table {
    () => {
        fn table<'s, 'n, 'a>(
            &'s self,
            name: &'n str,
        ) -> ::futures::future::BoxFuture<'a, $crate::at_once::TableResult>
        where
            's: 'a,
            'n: 'a,
            Self: 'a,
        {
            Box::pin(::futures::future::ready(self.found(name)))
        }
    };
}

pub(crate) use {scan, table};

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::error::Result as DfResult;
use datafusion::physical_plan::ExecutionPlan;

/// The plan that reads a table.
pub(crate) type PlanResult = DfResult<Arc<dyn ExecutionPlan>>;
/// The table of a name.
pub(crate) type TableResult = DfResult<Option<Arc<dyn TableProvider>>>;
