//! Mean learning rates from the logs of trainings: the weights of checkpoints in the reference results.

use std::f64::consts::PI;
use std::path::PathBuf;

use gstore_model::weights::{TrainerState, peak_rate, trainer_folder};

use crate::golden::Manifest;
use crate::shared::Warmup;

/// How far two derivations of a mean rate may be apart, as a part of it.
const SAME: f64 = 1e-9;

/// The same where the log has a few rates of a schedule that they do not confirm: a mean that may be another by
/// more than a tenth counts as a guess.
const ROUGHLY: f64 = 0.1;

/// As many rates of a falling schedule confirm it, whichever they are.
const ENOUGH: usize = 3;

/// The mean rate of the epoch that ends at a checkpoint, as far as the log determines it.
#[derive(Debug, Clone, Copy)]
pub struct LoggedRate {
    /// The mean; none where it could only be guessed.
    pub mean: Option<f64>,
    /// How far that may be from the true one, as a part of it.
    pub leeway: f64,
}

impl LoggedRate {
    /// Whether the log has to tell the true mean: that of a line or half a cosine, of which it has enough rates.
    pub fn is_exact(&self) -> bool {
        self.leeway <= SAME
    }
}

/// What the logs of the warm-up tell, checkpoint by checkpoint.
pub fn logged_rates(manifest: &Manifest, warmup: &Warmup) -> Vec<LoggedRate> {
    let read = |(_, checkpoint): &(u64, PathBuf)| {
        let folder = trainer_folder(checkpoint);
        let state = TrainerState::read(&folder).expect("a state").expect("a checkpoint of the Trainer");
        (folder, state)
    };
    let trained: Vec<(PathBuf, TrainerState)> = warmup.checkpoints.iter().map(read).collect();
    let falling = falling(manifest, &trained);
    let of = |(folder, state): &(PathBuf, TrainerState)| {
        let state = state.clone().with_longest_log(trained.iter().map(|(_, state)| state));
        let found = state.weight(folder).expect("rates");
        let is_due = falling.is_some_and(|falling| falling.rates(&state) >= ENOUGH);
        LoggedRate {
            mean: found.filter(|found| !found.is_guess).map(|found| found.mean),
            leeway: if is_due { SAME } else { ROUGHLY },
        }
    };
    trained.iter().map(of).collect()
}

/// A schedule that falls to 0 at the end of its run.
#[derive(Clone, Copy)]
struct Falling {
    peak: f64,
    /// Steps before it falls.
    warmup: u64,
}

impl Falling {
    /// How many rates of the fall are in a log, without those that hardly differ from the peak or from 0.
    fn rates(self, state: &TrainerState) -> usize {
        let falls = 0.02 * self.peak..0.98 * self.peak;
        let entries = state.log_history.iter().filter(|entry| entry.step > self.warmup + 1);
        entries.filter_map(|entry| entry.learning_rate).filter(|rate| falls.contains(rate)).count()
    }
}

/// The schedule that falls in a line or along half a cosine, after a linear warm-up, and has the means of the
/// manifest, if there is such a one.
fn falling(manifest: &Manifest, trained: &[(PathBuf, TrainerState)]) -> Option<Falling> {
    let (folder, state) = trained.first()?;
    let (peak, total) = (peak_rate(folder).expect("a scheduler")?, state.max_steps?);
    let curves: [fn(f64) -> f64; 2] = [|part: f64| 1.0 - part, |part: f64| 0.5 * (1.0 + (PI * part).cos())];
    let fits = |warmup: u64, curve: fn(f64) -> f64| {
        let rate = |step: u64| match step - 1 {
            done if done < warmup => peak * done as f64 / warmup as f64,
            done => peak * curve((done - warmup) as f64 / (total - warmup) as f64),
        };
        trained.iter().zip(&manifest.mean_lr).all(|((_, state), due)| {
            let Some((first, last)) = state.epoch_steps() else { return false };
            let mean = (first..=last).map(&rate).sum::<f64>() / (last - first + 1) as f64;
            (mean / due - 1.0).abs() <= SAME
        })
    };
    let warmup = (0..total).find(|warmup| curves.iter().any(|curve| fits(*warmup, *curve)))?;
    Some(Falling { peak, warmup })
}
