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

/// Memory, disk and files that a session may use.
pub(super) fn runtime_env(options: &SqlOptions) -> Result<Arc<RuntimeEnv>, SqlError> {
    let stores = DefaultObjectStoreRegistry::new();
    stores.deregister_store(ObjectStoreUrl::local_filesystem().as_ref()).map_err(plain)?;
    let disk = match &options.spill {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::Disabled,
    };
    RuntimeEnvBuilder::new()
        .with_memory_limit(options.memory_limit, 1.0)
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
        .with_object_store_registry(Arc::new(stores))
        .build_arc()
        .map_err(plain)
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
