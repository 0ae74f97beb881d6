//! Loss, learning rate and gradient norm of trainings, from their logs.

use std::path::{Path, PathBuf};

use gstore_model::weights::{LogEntry, TrainerError, TrainerState, numbered_checkpoints};

use super::super::scale::number;
use super::super::{Axis, Body, Panel, Picture, Series};
use super::{count, drawable, too_large};

/// Points of a line; of more, the lowest and the highest of each stretch are kept.
const POINTS: usize = 1000;

/// Steps from which on single losses stand behind their running mean.
const MANY: usize = 40;

/// Why a training has no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of an error says what its fields are")]
pub enum LogError {
    #[error("{}; give the output folder of a training, or a checkpoint in it", no_folder(.0))]
    NoFolder(PathBuf),
    #[error(
        "{0} has no log of a training: neither it nor a folder checkpoint-N in it has a trainer_state.json with losses"
    )]
    None(PathBuf),
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn no_folder(path: &Path) -> String {
    let why = if path.exists() { "it is a file" } else { "there is no such folder" };
    format!("{} has no log of a training: {why}", path.display())
}

/// The log of a training, of gstore or of the Hugging Face Trainer.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainingLog {
    /// Name of its folder.
    pub name: String,
    /// Steps that were taken.
    pub steps: u64,
    /// Steps in all, where the log says it.
    pub total: Option<u64>,
    entries: Vec<LogEntry>,
}

impl TrainingLog {
    /// Reads the log of a checkpoint, or of the newest checkpoint in a folder.
    ///
    /// # Errors
    /// A folder without a log, and a log that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, LogError> {
        if !folder.is_dir() {
            return Err(LogError::NoFolder(folder.to_owned()));
        }
        let none = || LogError::None(folder.to_owned());
        let state = match TrainerState::read(folder)? {
            Some(state) => state,
            None => TrainerState::read(&newest(folder)?.ok_or_else(none)?)?.ok_or_else(none)?,
        };
        if state.log_history.iter().all(|entry| entry.loss.is_none() && entry.eval_loss.is_none()) {
            return Err(none());
        }
        let whole = fs_err::canonicalize(folder)?;
        let name = whole.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let total = state.max_steps.filter(|total| *total > 0);
        Ok(Self { name, steps: state.global_step, total, entries: state.log_history })
    }

    fn points(&self, value: impl Fn(&LogEntry) -> Option<f64>) -> Vec<[f64; 2]> {
        self.entries.iter().filter_map(|entry| Some([entry.step as f64, value(entry)?])).collect()
    }

    /// What the log says of the loss, in a sentence.
    fn sentence(&self) -> Option<String> {
        let losses = self.points(|entry| entry.loss);
        let (first, last) = (losses.first()?, losses.last()?);
        let lowest = losses.iter().copied().reduce(|a, b| if b[1] < a[1] { b } else { a })?;
        let of = self.total.map_or_else(String::new, |total| format!(" of {}", count(total)));
        Some(format!(
            "{}: {}{of} steps, loss {} at first, {} at last, lowest {} at step {}.",
            self.name,
            count(self.steps),
            number(first[1]),
            number(last[1]),
            number(lowest[1]),
            number(lowest[0])
        ))
    }
}

/// The checkpoint with the highest step that has a log.
fn newest(folder: &Path) -> Result<Option<PathBuf>, std::io::Error> {
    let mut found = numbered_checkpoints(folder)?.into_iter().rev().map(|(_, path)| path);
    Ok(found.find(|path| path.join("trainer_state.json").is_file()))
}

/// Loss, learning rate and gradient norm by step, of all trainings in the same axes.
pub fn training(logs: &[TrainingLog]) -> Picture {
    let mut losses = Vec::new();
    for (colour, log) in logs.iter().enumerate() {
        losses.extend(with_mean(&log.name, colour, log.points(|entry| entry.loss)));
        let held_out = log.points(|entry| entry.eval_loss);
        if !held_out.is_empty() {
            let name = format!("{}, held out", log.name);
            losses.push(line(&name, logs.len() + colour, held_out));
        }
    }
    let entries = || logs.iter().flat_map(|log| &log.entries);
    let mut notes: Vec<String> = logs.iter().filter_map(TrainingLog::sentence).collect();
    let names: Vec<&str> = logs.iter().map(|log| log.name.as_str()).collect();
    let about = format!("Loss, learning rate and gradient norm by step. {}", notes.join(" "));
    let all_losses = entries().flat_map(|entry| [entry.loss, entry.eval_loss]).flatten();
    notes.extend(too_large("the loss", all_losses));
    let mut panels = vec![panel("loss", Axis::linear("loss"), losses, notes)];
    for (name, value) in [
        ("learning rate", (|entry| entry.learning_rate) as fn(&LogEntry) -> Option<f64>),
        ("gradient norm", |entry| entry.grad_norm),
    ] {
        let lines: Vec<Series> = logs
            .iter()
            .enumerate()
            .map(|(colour, log)| line(&log.name, colour, log.points(value)))
            .filter(|line| !line.points.is_empty())
            .collect();
        if !lines.is_empty() {
            let is_log = name == "gradient norm" && is_wide(&lines);
            let axis = if is_log { Axis::log(name) } else { Axis::linear(name) };
            let beyond = too_large(&format!("the {name}"), entries().filter_map(value));
            panels.push(panel(name, axis, lines, beyond.into_iter().collect()));
        }
    }
    Picture { title: format!("Training {}", names.join(", ")), about, panels }
}

fn panel(heading: &str, y: Axis, mut series: Vec<Series>, notes: Vec<String>) -> Panel {
    series.iter_mut().flat_map(|line| &mut line.points).for_each(|point| point[1] = drawable(point[1]));
    Panel { heading: heading.to_owned(), body: Body::Lines { x: Axis::linear("step"), y, series }, notes }
}

fn line(name: &str, colour: usize, points: Vec<[f64; 2]>) -> Series {
    Series::new(name, colour, thinned(points))
}

/// The values, where there are many of them behind their running mean.
fn with_mean(name: &str, colour: usize, points: Vec<[f64; 2]>) -> Vec<Series> {
    if points.len() < MANY {
        return if points.is_empty() { Vec::new() } else { vec![line(name, colour, points)] };
    }
    let reach = (points.len() / 40).max(2);
    // Each sum by itself: the difference of two running ones would lose all values behind a very large one.
    let mean = |i: usize| {
        let window = &points[i.saturating_sub(reach)..(i + reach + 1).min(points.len())];
        [points[i][0], window.iter().map(|point| point[1]).sum::<f64>() / window.len() as f64]
    };
    // The mean changes little over a small part of its window, so that not every one of many is needed.
    let (last, every) = (points.len() - 1, points.len().div_ceil(POINTS - 1));
    let means = (0..last).step_by(every).chain([last]).map(mean).collect();
    let behind = line(name, colour, points.clone()).faint();
    vec![behind, line(name, colour, means)]
}

/// Whether values differ so much that equal ratios show more than equal steps.
fn is_wide(lines: &[Series]) -> bool {
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|point| point[1]));
    let low = values().fold(f64::INFINITY, f64::min);
    low > 0.0 && values().fold(0.0, f64::max) / low > 30.0
}

/// At most [`POINTS`] points, with the lowest and the highest of each stretch.
fn thinned(points: Vec<[f64; 2]>) -> Vec<[f64; 2]> {
    if points.len() <= POINTS {
        return points;
    }
    let mut kept = Vec::with_capacity(POINTS);
    for part in points.chunks(points.len().div_ceil(POINTS / 2)) {
        let by = |better: fn(f64, f64) -> bool| {
            (1..part.len()).fold(0, |best, i| if better(part[i][1], part[best][1]) { i } else { best })
        };
        let (low, high) = (by(|a, b| a < b), by(|a, b| a > b));
        kept.push(part[low.min(high)]);
        if low != high {
            kept.push(part[low.max(high)]);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_has_no_log() {
        let missing = TrainingLog::read(Path::new("no such folder"));
        assert!(matches!(missing, Err(LogError::NoFolder(_))), "{missing:?}");
    }

    #[test]
    fn values_that_are_too_large_are_left_out_and_counted() {
        let entry = |step: u64, loss: f64, eval_loss: Option<f64>| LogEntry {
            step,
            epoch: None,
            learning_rate: Some(0.1),
            loss: Some(loss),
            grad_norm: Some(1e305),
            eval_loss,
        };
        let entries = vec![entry(1, 2.0, None), entry(2, 1.5e300, Some(-1e301)), entry(3, 1e300, Some(3.0))];
        let log = TrainingLog { name: "a".to_owned(), steps: 3, total: None, entries };
        let picture = training(&[log.clone(), log]);
        let last = |panel: usize| picture.panels[panel].notes.last().map(String::as_str);
        assert_eq!(last(0), Some("Left out: 4 values of the loss beyond 1e300."));
        assert_eq!((last(1), last(2)), (None, Some("Left out: 6 values of the gradient norm beyond 1e300.")));
        let Body::Lines { series, .. } = &picture.panels[0].body else { panic!("{picture:?}") };
        assert_eq!(series[0].points, [[1.0, 2.0], [2.0, f64::INFINITY], [3.0, 1e300]]);
        assert!(picture.svg().contains("4 values of the loss"), "{}", picture.svg());
    }

    #[test]
    fn one_very_large_loss_spoils_no_mean_far_from_it() {
        for n in [100, 5000] {
            let mut points: Vec<[f64; 2]> = (0..n).map(|i| [f64::from(i), 1.0]).collect();
            points[10][1] = 1e30;
            let mean = &with_mean("a", 0, points)[1].points;
            assert_eq!(mean.last(), Some(&[f64::from(n - 1), 1.0]));
            assert!(mean.iter().filter(|point| point[1] == 1.0).count() > mean.len() / 2, "{n}");
        }
    }
}
