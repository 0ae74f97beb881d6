//! Faults: crashes, failing disks and concurrent processes against a store, checked with a model.
//!
//! [`work`] is a workload with its model, [`check`] compares a store with it. [`disk`] is a disk in memory
//! that knows what a power loss may leave behind. The other modules bring the store down, each in its
//! way, and check what is left.

pub mod check;
pub mod disk;
pub mod fail;
mod faulty;
pub mod intent;
pub mod kill;
pub mod power;
pub mod process;
mod random;
mod report;
pub mod serve;
pub mod sim;
pub mod soak;
pub mod suite;
pub mod work;

pub use random::Random;
pub use report::{Report, Stop};

/// What went wrong with a command or a check.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
