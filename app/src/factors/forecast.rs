//! Memory and disk of a fit, from the sizes of its modules, and what would need less.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gstore_core::{available_memory, many};
use gstore_curvature::{Blocks, Module, Strategy};
use gstore_store::vfs::check_room;
use serde::Serialize;

use super::error::FactorJobError;

/// Bytes of a number of the sums.
const NUMBER: u64 = 8;

/// What a fit takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FitForecast {
    /// Rows.
    pub rows: u64,
    /// Modules.
    pub modules: usize,
    /// Bytes of all covariances, of inputs and of gradients.
    pub covariances: u64,
    /// Bytes of their eigenvectors.
    pub eigenvectors: u64,
    /// Bytes of all squares of gradients.
    pub lambda: u64,
    /// Bytes of the weights and of all workers' activations.
    pub model: u64,
    /// Bytes at the peak.
    pub memory: u64,
    /// Bytes of the artifact's files.
    pub disk: u64,
    /// Worker threads.
    pub threads: usize,
    /// Partitions of the data and of the modules.
    pub partitions: [usize; 2],
}

impl FitForecast {
    /// Refuses disks without room for the files of a whole fit: those that its folder lacks, and their copies
    /// in the store.
    pub(super) fn check_room(&self, folder: &Path, store: &Path) -> Result<(), FactorJobError> {
        let lengths = fs_err::read_dir(folder)?.map(|entry| entry?.metadata().map(|found| found.len()));
        let missing = self.disk.saturating_sub(lengths.sum::<std::io::Result<u64>>()?);
        let disk = |place: &Path| fs_err::metadata(place).ok().map(|found| found.dev());
        let needs = match disk(folder) == disk(store) {
            true => vec![(folder, missing + self.disk)],
            false => vec![(folder, missing), (store, self.disk)],
        };
        for (place, needed) in needs {
            check_room(place, needed).map_err(FactorJobError::NoRoom)?;
        }
        Ok(())
    }
}

/// Sizes that a forecast is computed from.
#[derive(Debug, Clone, Copy)]
pub(super) struct FitSizes<'a> {
    pub modules: &'a [Module],
    pub strategy: Strategy,
    /// The most rows of a block of a covariance.
    pub max_block: usize,
    pub rows: u64,
    /// Devices, each of which has a worker at least, and the eigenbases.
    pub devices: usize,
    /// Bytes of the weights of all devices.
    pub weights: u64,
    /// Bytes of a worker's activations.
    pub activations: u64,
    /// Whether sums are over several checkpoints: of two there are the weights while one is read, and the
    /// sums over those before one wait.
    pub several: bool,
}

/// Sets of sums that exist at once: those of the units that are worked on or wait for
/// their turn, and their sum.
pub(super) fn sets(threads: usize) -> u64 {
    ahead(threads) as u64 + 1
}

/// Units that may be in front of the one whose sums are added next. They are of one size, so that a thread
/// hardly waits for another; each more would take the memory of all sums.
pub(super) fn ahead(threads: usize) -> usize {
    threads
}

impl FitSizes<'_> {
    /// The peak with so many threads and partitions.
    pub fn forecast(&self, threads: usize, partitions: [usize; 2]) -> FitForecast {
        let rotates = self.strategy.rotates();
        let squares = matches!(self.strategy, Strategy::Diagonal | Strategy::Ekfac);
        let all = |of: &dyn Fn(&Module) -> u64| self.modules.iter().map(of).sum::<u64>();
        let largest = |of: &dyn Fn(&Module) -> u64| {
            let groups = super::parts::split(self.modules.len(), partitions[1]);
            groups.into_iter().map(|group| self.modules[group].iter().map(of).sum::<u64>()).max().unwrap_or(0)
        };
        let blocks =
            |module: &Module| [module.input, module.out].map(|size| Blocks::new(size, self.max_block));
        let covariances =
            |module: &Module| blocks(module).map(|side| NUMBER * side.values() as u64).iter().sum::<u64>();
        let of_lambda = |module: &Module| NUMBER * module.len() as u64;
        let covariance = if rotates { all(&covariances) } else { 0 };
        let lambda = if squares { all(&of_lambda) } else { 0 };
        let further = u64::from(self.several);
        let model = self.weights * (1 + further) + self.activations * threads as u64;
        let sets = sets(threads) + further;
        // A decomposition holds about five matrices of its own.
        let widest = self.modules.iter().flat_map(blocks).map(|side| NUMBER * (side.width() as u64).pow(2));
        let widest = widest.max().unwrap_or(0);
        // The eigenbases on a backend, in f32.
        let bases = if squares { covariance / 2 } else { 0 };
        let held = self.devices as u64 * bases;
        let passes = [
            if rotates { model + sets * largest(&covariances) } else { 0 },
            if squares { model + held + sets * largest(&of_lambda) } else { 0 },
            // Between the passes the weights stay.
            if rotates { self.weights + 2 * covariance + 5 * widest * threads as u64 } else { 0 },
            // They are read in f64, with the sums over the checkpoints before.
            self.weights + held + 2 * bases + further * largest(&of_lambda),
            // What is finished is merged and written whole.
            self.weights + 2 * covariance,
            self.weights + held + 2 * lambda,
        ];
        FitForecast {
            rows: self.rows,
            modules: self.modules.len(),
            covariances: covariance,
            eigenvectors: covariance,
            lambda,
            model,
            memory: passes.into_iter().max().unwrap_or(0),
            disk: 2 * covariance + lambda,
            threads,
            partitions,
        }
    }

    /// The forecast with as many of the threads as the memory allows, at least one for each device; without a
    /// limit, what is available.
    ///
    /// # Errors
    /// These are too many; says which partitions of the modules would fit, or what to leave out.
    pub fn fitted(
        &self,
        threads: usize,
        partitions: [usize; 2],
        limit: Option<u64>,
    ) -> Result<FitForecast, FactorJobError> {
        let (least, threads) = (self.devices, threads.max(self.devices));
        let Some(limit) = limit.or_else(available_memory) else {
            return Ok(self.forecast(threads, partitions));
        };
        let fits = |forecast: &FitForecast| forecast.memory <= limit;
        if let Some(found) = (least..=threads).rev().map(|n| self.forecast(n, partitions)).find(fits) {
            return Ok(found);
        }
        let needed = self.forecast(least, partitions).memory;
        let mut more = partitions[1] + 1..=self.modules.len();
        let enough = more.find(|count| fits(&self.forecast(least, [partitions[0], *count])));
        let proposal = match enough {
            Some(count) => {
                format!("{count} partitions of the modules would fit, with as many passes over the data")
            }
            None => format!(
                "no partition of the {} fits; fit fewer of them, in smaller blocks, or the diagonal alone",
                many(self.modules.len() as u64, "module")
            ),
        };
        Err(FactorJobError::Memory { what: "the fit", needed, limit, proposal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(count: usize, size: usize) -> Vec<Module> {
        let module = |at| Module { name: format!("m{at}"), out: size, input: size, bias: false };
        (0..count).map(module).collect()
    }

    #[test]
    fn what_does_not_fit_is_refused_with_partitions_that_do() {
        let modules = modules(8, 100);
        let sizes = FitSizes {
            modules: &modules,
            strategy: Strategy::Ekfac,
            max_block: 100,
            rows: 10,
            devices: 1,
            weights: 1000,
            activations: 500_000,
            several: false,
        };
        let whole = sizes.forecast(4, [1, 1]);
        assert_eq!((whole.covariances, whole.lambda), (8 * 2 * 80_000, 8 * 80_000));
        assert!(sizes.forecast(1, [1, 1]).memory < whole.memory);
        assert_eq!(sizes.fitted(4, [1, 1], Some(whole.memory)).expect("fits").threads, 4);
        let least = sizes.forecast(1, [1, 8]).memory;
        let error = sizes.fitted(4, [1, 1], Some(least)).expect_err("too much").to_string();
        assert!(error.contains("partitions of the modules would fit"), "{error}");
        let error = sizes.fitted(4, [1, 1], Some(1)).expect_err("too much").to_string();
        assert!(error.contains("fit fewer of them"), "{error}");
        // Four blocks of 25 in place of one of 100.
        let cut = FitSizes { max_block: 25, ..sizes }.forecast(4, [1, 1]);
        assert_eq!((cut.covariances, cut.lambda), (8 * 2 * 20_000, whole.lambda));
        assert!(cut.memory < whole.memory && cut.disk == 2 * cut.covariances + cut.lambda);
        let several = FitSizes { several: true, ..sizes }.forecast(4, [1, 1]);
        assert_eq!((several.model, several.disk), (whole.model + 1000, whole.disk));
        // The pass of covariances is the largest: one more set of them.
        assert_eq!(several.memory, whole.memory + 1000 + whole.covariances);
        // Each device has the eigenbases while they are read in f64, and a thread whatever the limit.
        let four = FitSizes { devices: 4, weights: 1 << 30, activations: 0, ..sizes };
        assert_eq!(four.forecast(1, [1, 8]).memory, (1 << 30) + (4 + 2) * whole.covariances / 2);
        let two = FitSizes { devices: 2, ..sizes };
        let least = two.forecast(2, [1, 1]).memory;
        assert_eq!(
            [1, 4].map(|threads| two.fitted(threads, [1, 1], Some(least)).expect("fits").threads),
            [2, 2]
        );
        assert!(two.fitted(4, [1, 1], Some(least - 1)).is_err());
        let diagonal = FitSizes { strategy: Strategy::Diagonal, ..sizes };
        assert_eq!(diagonal.forecast(1, [1, 1]).covariances, 0);
        // The weights stay while covariances are decomposed, which is the peak of wide modules and a small
        // batch, and while sums of all modules are merged.
        let heavy = FitSizes { weights: 1 << 30, activations: 0, ..sizes };
        let decomposed = 2 * whole.covariances + 5 * 80_000;
        assert_eq!(heavy.forecast(1, [1, 8]).memory, (1 << 30) + decomposed);
        let heavy = FitSizes { strategy: Strategy::Diagonal, ..heavy };
        assert_eq!(heavy.forecast(1, [1, 8]).memory, (1 << 30) + 2 * whole.lambda);
    }
}
