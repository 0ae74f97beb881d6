//! Memory and disk of a fit, from the sizes of its modules, and what would need less.

use std::ops::{Add, Mul};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gstore_core::{REUSED_BLOCK, Remedy, available_memory, many};
use gstore_curvature::{Blocks, Module, Strategy};
use gstore_store::vfs::check_room;
use serde::Serialize;

use super::error::FactorJobError;
use super::request::FitRequest;

/// Bytes of a number of the sums.
const NUMBER: u64 = 8;

/// Bytes of a value of a batch.
const SINGLE: u64 = 4;

/// The program, thread stacks and the tokenizer.
const PROCESS: u64 = 64 << 20;

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
    /// Tokens of a batch, and rows of one.
    pub batch: [u64; 2],
    /// How often the gradients of a batch are held while they are used.
    pub gradient_copies: u64,
    /// Whether sums are over several checkpoints: of two there are the weights while one is read, and the
    /// sums over those before one wait.
    pub several: bool,
}

/// Bytes of blocks of memory.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    /// Of those that stay with the thread that had them once they are freed.
    reused: u64,
    /// Of larger ones, which the system has back.
    returned: u64,
}

impl Held {
    /// Bytes in blocks of this size at most.
    fn in_blocks(bytes: u64, block: u64) -> Self {
        match block <= REUSED_BLOCK {
            true => Self { reused: bytes, returned: 0 },
            false => Self { reused: 0, returned: bytes },
        }
    }

    fn block(bytes: u64) -> Self {
        Self::in_blocks(bytes, bytes)
    }

    fn total(self) -> u64 {
        self.reused + self.returned
    }
}

impl Add for Held {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { reused: self.reused + other.reused, returned: self.returned + other.returned }
    }
}

impl Mul<u64> for Held {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self { reused: self.reused * times, returned: self.returned * times }
    }
}

/// Bytes at the peak of phases, in their order: of each, what the calling thread holds and what workers do.
/// Neither gets what the other has freed, unless the system has it back.
fn peak(phases: &[[Held; 2]]) -> u64 {
    let (mut most, mut reused) = (0, [0; 2]);
    for phase in phases {
        for (reused, held) in reused.iter_mut().zip(phase) {
            *reused = held.reused.max(*reused);
        }
        most = most.max(reused.iter().sum::<u64>() + phase.iter().map(|held| held.returned).sum::<u64>());
    }
    most
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
        let sum = |modules: &[Module], of: &dyn Fn(&Module) -> Held| {
            modules.iter().map(of).fold(Held::default(), Held::add)
        };
        let all = |of: &dyn Fn(&Module) -> Held| sum(self.modules, of);
        let largest = |of: &dyn Fn(&Module) -> Held| {
            let groups = super::parts::split(self.modules.len(), partitions[1]);
            let sums = groups.into_iter().map(|group| sum(&self.modules[group], of));
            sums.max_by_key(|held| held.total()).unwrap_or_default()
        };
        let blocks =
            |module: &Module| [module.input, module.out].map(|size| Blocks::new(size, self.max_block));
        let of_sides = |module: &Module, number: u64| {
            blocks(module)
                .map(|side| Held::block(number * side.values() as u64))
                .into_iter()
                .fold(Held::default(), Held::add)
        };
        let covariances = |module: &Module| of_sides(module, NUMBER);
        let of_lambda = |module: &Module| Held::block(NUMBER * module.len() as u64);
        let covariance = if rotates { all(&covariances) } else { Held::default() };
        let lambda = if squares { all(&of_lambda) } else { Held::default() };
        let further = u64::from(self.several);
        let workers = threads as u64;
        let sets = sets(threads) + further;
        let weights = Held { reused: 0, returned: self.weights };
        // A decomposition holds about five matrices of its own.
        let widths = self.modules.iter().flat_map(blocks).map(|side| side.width() as u64);
        let decomposed = Held::block(NUMBER * widths.max().unwrap_or(0).pow(2)) * 5;
        // The eigenbases on a backend, in f32.
        let bases = if squares && rotates {
            all(&|module: &Module| of_sides(module, SINGLE))
        } else {
            Held::default()
        };
        let held = bases * self.devices as u64;
        let activations = self.activations();
        let phases = [
            (
                rotates,
                [
                    weights * (1 + further),
                    (activations + self.packed()) * workers + largest(&covariances) * sets,
                ],
            ),
            // What is finished of partitions is merged and written whole.
            (rotates && partitions != [1, 1], [weights + covariance * 2, Held::default()]),
            // Between the passes the weights stay.
            (rotates, [weights + covariance, covariance + decomposed * workers]),
            // They are read in f64, with the sums over the checkpoints before.
            (rotates && squares, [weights + held + covariance, largest(&of_lambda) * further]),
            (
                squares,
                [
                    weights * (1 + further) + held,
                    (activations + self.gradients()) * workers + largest(&of_lambda) * sets,
                ],
            ),
            (squares && partitions != [1, 1], [weights + held + lambda * 2, Held::default()]),
        ];
        let phases: Vec<[Held; 2]> =
            phases.into_iter().filter(|(is_done, _)| *is_done).map(|(_, phase)| phase).collect();
        let memory = PROCESS + peak(&phases).max(self.weights);
        let (covariance, lambda) = (covariance.total(), lambda.total());
        let model = self.weights * (1 + further) + self.activations * workers;
        FitForecast {
            rows: self.rows,
            modules: self.modules.len(),
            covariances: covariance,
            eigenvectors: covariance,
            lambda,
            model,
            memory,
            disk: 2 * covariance + lambda,
            threads,
            partitions,
        }
    }

    /// Of a worker, in blocks of a layer's widest values.
    fn activations(&self) -> Held {
        Held::in_blocks(self.activations, self.of_tokens(|module| module.input.max(module.out)))
    }

    /// Bytes of a batch's values in the module that has most of them.
    fn of_tokens(&self, values: impl Fn(&Module) -> usize) -> u64 {
        SINGLE * self.batch[0] * self.modules.iter().map(values).max().unwrap_or(0) as u64
    }

    /// Of a worker while covariances are summed: factors as they are packed for products, and products.
    fn packed(&self) -> Held {
        Held::block(self.of_tokens(|module| module.input.max(module.out))) * 2
    }

    /// Of a worker while squares are summed: the gradients of one module for each row of a batch, of two
    /// where fused maps come apart, and the rotated factors that they are formed of.
    fn gradients(&self) -> Held {
        let widest = self.modules.iter().map(Module::len).max().unwrap_or(0) as u64;
        let formed = Held::block(SINGLE * self.batch[1] * widest) * (2 * self.gradient_copies);
        let rotated = Held::block(self.of_tokens(|module| module.input + module.out));
        if self.strategy.rotates() { formed + rotated } else { formed }
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
            None => self.proposal(partitions, limit),
        };
        Err(FactorJobError::Memory { what: "the fit", needed, limit, proposal })
    }

    /// What is said where no partition of the modules fits: what needs less than the best of them, and has not
    /// been asked for already.
    fn proposal(&self, [data, of_modules]: [usize; 2], limit: u64) -> String {
        let always = PROCESS + self.weights;
        if always > limit {
            let megabytes = always.div_ceil(1_000_000);
            return format!("the program and the weights of the model alone take {megabytes} MB");
        }
        let best = |sizes: &FitSizes<'_>| {
            let most = sizes.modules.len();
            let partitions = of_modules.min(most)..=most;
            partitions.map(|count| sizes.forecast(sizes.devices, [data, count]).memory).min()
        };
        let named = |name| Remedy::Option(name, "");
        let (block, batch, length) = (named("max_block"), named("batch_tokens"), named("max_length"));
        let alone =
            self.modules.iter().map(|module| FitSizes { modules: std::slice::from_ref(module), ..*self });
        let mut ways = vec![
            (alone.min_by_key(&best).unwrap_or(*self), "fewer modules".to_owned()),
            (FitSizes { strategy: Strategy::Diagonal, ..*self }, "the diagonal alone".to_owned()),
            (
                FitSizes { activations: 0, batch: [0; 2], ..*self },
                format!("fewer tokens in a batch ({batch} together with {length})"),
            ),
        ];
        if self.max_block >= FitRequest::MAX_BLOCK as usize {
            ways.push((FitSizes { max_block: 1, ..*self }, format!("smaller blocks ({block})")));
        }
        let now = best(self);
        ways.retain(|(sizes, _)| best(sizes) < now);
        let ways: Vec<String> = ways.into_iter().map(|(_, way)| way).collect();
        let nothing = format!("no partition of the {} fits", many(self.modules.len() as u64, "module"));
        match ways.is_empty() {
            true => nothing,
            false => format!("{nothing}; {} would need less", ways.join(", or ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modules(count: usize, size: usize) -> Vec<Module> {
        let module = |at| Module { name: format!("m{at}"), out: size, input: size, bias: false };
        (0..count).map(module).collect()
    }

    fn sizes(modules: &[Module], strategy: Strategy) -> FitSizes<'_> {
        FitSizes {
            modules,
            strategy,
            max_block: 8192,
            rows: 10,
            devices: 1,
            weights: 1000,
            activations: 0,
            batch: [0; 2],
            gradient_copies: 1,
            several: false,
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_partitions_that_do() {
        let modules = modules(8, 100);
        let sizes = FitSizes { activations: 500_000, ..sizes(&modules, Strategy::Ekfac) };
        let whole = sizes.forecast(4, [1, 1]);
        assert_eq!((whole.covariances, whole.lambda), (8 * 2 * 80_000, 8 * 80_000));
        assert!(sizes.forecast(1, [1, 1]).memory < whole.memory);
        assert_eq!(sizes.fitted(4, [1, 1], Some(whole.memory)).expect("fits").threads, 4);
        let least = sizes.forecast(1, [1, 8]).memory;
        let error = sizes.fitted(4, [1, 1], Some(least)).expect_err("too much").to_string();
        assert!(error.contains("partitions of the modules would fit"), "{error}");
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
        let decomposed = whole.covariances + 5 * 80_000;
        let of_four = (4 + 2) * whole.covariances / 2 + decomposed;
        assert_eq!(four.forecast(1, [1, 8]).memory, PROCESS + (1 << 30) + of_four);
        let two = FitSizes { devices: 2, ..sizes };
        let least = two.forecast(2, [1, 1]).memory;
        assert_eq!(
            [1, 4].map(|threads| two.fitted(threads, [1, 1], Some(least)).expect("fits").threads),
            [2, 2]
        );
        assert!(two.fitted(4, [1, 1], Some(least - 1)).is_err());
        let diagonal = FitSizes { strategy: Strategy::Diagonal, ..sizes };
        assert_eq!(diagonal.forecast(1, [1, 1]).covariances, 0);
        // The weights stay while sums of all modules are merged, of which the calling thread keeps the
        // memory, and while covariances are decomposed by others.
        let heavy = FitSizes { weights: 1 << 30, activations: 0, ..sizes };
        let merged = 2 * whole.covariances;
        assert_eq!(heavy.forecast(1, [1, 8]).memory, PROCESS + (1 << 30) + merged + decomposed);
        let heavy = FitSizes { strategy: Strategy::Diagonal, ..heavy };
        let (merged, sums) = (2 * whole.lambda, 2 * 80_000);
        assert_eq!(heavy.forecast(1, [1, 8]).memory, PROCESS + (1 << 30) + merged + sums);
    }

    #[test]
    fn only_what_needs_less_and_is_not_done_is_proposed() {
        let modules = modules(8, 100);
        let refused = |sizes: FitSizes<'_>, limit: u64| {
            sizes.fitted(1, [1, 1], Some(limit)).expect_err("too much").to_string()
        };
        let sizes = FitSizes { activations: 5_000_000, ..sizes(&modules, Strategy::Ekfac) };
        let blocks = "smaller blocks (max_block)";
        let tokens = "fewer tokens in a batch (batch_tokens together with max_length)";
        let all = ["fewer modules", "the diagonal alone", tokens, blocks];
        for (sizes, left_out) in [
            (sizes, &[][..]),
            (FitSizes { max_block: 25, ..sizes }, &[blocks]),
            (FitSizes { strategy: Strategy::Diagonal, ..sizes }, &["the diagonal alone", blocks]),
            // Covariances are decomposed when activations are gone.
            (FitSizes { activations: 1000, ..sizes }, &[tokens]),
        ] {
            let error = refused(sizes, PROCESS + sizes.weights);
            assert!(error.contains("no partition of the 8 modules fits"), "{error}");
            for way in all {
                assert_eq!(error.contains(way), !left_out.contains(&way), "{way}: {error}");
            }
        }
        let error = refused(sizes, PROCESS + sizes.weights - 1);
        assert!(error.ends_with("the weights of the model alone take 68 MB"), "{error}");
        // The gradients of the widest module are the peak, whichever others there are.
        let mut modules = modules;
        modules[0] = Module { out: 3000, input: 3000, ..modules[0].clone() };
        let sizes = FitSizes { batch: [64, 8], ..self::sizes(&modules, Strategy::Diagonal) };
        let error = refused(sizes, PROCESS + sizes.weights);
        assert!(
            error.contains("no partition of the 8 modules fits; fewer modules, or fewer tokens"),
            "{error}"
        );
        let error = refused(FitSizes { modules: &modules[..1], ..sizes }, PROCESS + sizes.weights);
        assert!(error.contains("no partition of the 1 module fits; fewer tokens"), "{error}");
    }

    #[test]
    fn what_is_freed_in_large_blocks_is_there_for_all() {
        let sizes = |modules| sizes(modules, Strategy::Kfac);
        let side = |size: u64| NUMBER * size * size;
        // Sums of the pass stay with its worker, and a decomposition takes place in them.
        let small = modules(1, 1000);
        assert_eq!(
            sizes(&small).forecast(1, [1, 1]).memory,
            PROCESS + 1000 + 2 * side(1000) + 7 * side(1000)
        );
        let large = modules(1, 3000);
        let decomposed = 2 * side(3000) + 2 * side(3000) + 5 * side(3000);
        assert_eq!(sizes(&large).forecast(1, [1, 1]).memory, PROCESS + 1000 + decomposed);
        let many = modules(10, 3000);
        let summed = 2 * 10 * 2 * side(3000);
        let decomposed = 2 * 10 * 2 * side(3000) + 5 * side(3000);
        assert!(summed < decomposed);
        assert_eq!(sizes(&many).forecast(1, [1, 1]).memory, PROCESS + 1000 + decomposed);
        assert_eq!(sizes(&many).forecast(2, [1, 1]).memory, PROCESS + 1000 + summed / 2 * 3);
    }

    #[test]
    fn a_worker_has_the_gradients_of_a_batch() {
        let modules = modules(4, 100);
        let sizes = FitSizes { weights: 0, batch: [64, 8], ..sizes(&modules, Strategy::Diagonal) };
        let gradients = 2 * SINGLE * 8 * 100 * 100;
        let with_sums = |copies: u64, threads: u64| {
            PROCESS + threads * copies * gradients + (threads + 1) * 4 * NUMBER * 100 * 100
        };
        assert_eq!(sizes.forecast(1, [1, 1]).memory, with_sums(1, 1));
        assert_eq!(sizes.forecast(3, [1, 1]).memory, with_sums(1, 3));
        let copied = FitSizes { gradient_copies: 2, ..sizes };
        assert_eq!(copied.forecast(1, [1, 1]).memory, with_sums(2, 1));
        // The factors, rotated.
        let rotated = FitSizes { strategy: Strategy::Ekfac, ..sizes };
        assert_eq!(rotated.gradients().total(), gradients + SINGLE * 64 * 200);
        assert_eq!(rotated.packed().total(), 2 * SINGLE * 64 * 100);
    }
}
