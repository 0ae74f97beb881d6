//! The engine as a session has it: memory and disk within limits, no files by name, rules of plans.

use std::sync::Arc;

use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry, ObjectStoreUrl};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::limit_pushdown::LimitPushdown;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;

use super::error::SqlError;
use super::session::SqlOptions;

/// Memory and disk for operators; the sessions that are made with it share its limits.
#[derive(Debug, Clone)]
pub struct SqlResources(Arc<RuntimeEnv>);

impl SqlResources {
    /// As much as the options allow, for all sessions together.
    ///
    /// # Errors
    /// A folder for what does not fit into memory that cannot be used.
    pub fn new(options: &SqlOptions) -> Result<Self, SqlError> {
        let stores = DefaultObjectStoreRegistry::new();
        stores.deregister_store(ObjectStoreUrl::local_filesystem().as_ref()).map_err(plain)?;
        let disk = match &options.spill {
            Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
            None => DiskManagerMode::Disabled,
        };
        let env = RuntimeEnvBuilder::new()
            .with_memory_limit(options.memory_limit, 1.0)
            .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
            .with_object_store_registry(Arc::new(stores))
            .build_arc()
            .map_err(plain)?;
        Ok(Self(env))
    }

    /// What the engine has them in.
    pub(super) fn env(&self) -> Arc<RuntimeEnv> {
        Arc::clone(&self.0)
    }
}

/// The engine's rules, and the limit pushed once more after sorts have gone into the leaves: a limit above a
/// computed projection reaches them only then.
pub(super) fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    if let Some(sort) = rules.iter().position(|r| r.name() == "PushdownSort") {
        rules.insert(sort + 1, Arc::new(LimitPushdown::new()));
    }
    rules
}

/// An error of the engine that no statement is to blame for.
pub(super) fn plain(error: DataFusionError) -> SqlError {
    SqlError::from_datafusion(error, &[])
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::MemoryConsumer;
    use futures::StreamExt;
    use gstore_store::Store;

    use super::*;
    use crate::{SqlErrorKind, SqlSession};

    async fn sorted(session: &SqlSession) -> Result<usize, SqlError> {
        let sql = "SELECT value FROM generate_series(1, 100000) ORDER BY value % 7";
        let mut rows = session.run(sql).await?.stream;
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            count += batch?.num_rows();
        }
        Ok(count)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn sessions_that_share_resources_have_one_limit() {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Store::create(folder.path().join("s")).unwrap().snapshot().unwrap();
        let options = SqlOptions { threads: 1, ..SqlOptions::default() };
        let resources = SqlResources::new(&options).unwrap();
        let session = SqlSession::with_tables(snapshot, options.clone(), &resources, Vec::new()).unwrap();
        let other = MemoryConsumer::new("another session").register(&resources.0.memory_pool);
        other.try_grow(options.memory_limit).unwrap();
        assert_eq!(sorted(&session).await.unwrap_err().kind(), SqlErrorKind::Memory);
        drop(other);
        assert_eq!(sorted(&session).await.unwrap(), 100_000);
    }
}
