//! Whole models on a backend, compared with the CPU backend: losses and every weight gradient of
//! samples of different lengths.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::backends::{Draw, assert_close};
use gstore_model::architectures::NormId;
use gstore_model::cpu::Cpu;
use gstore_model::weights::ModelFolder;
use gstore_model::{
    Backend, BackendError, ComputePrecision, ForwardOptions, LastRows, Layout, LinearFactors, Model,
    NormFactors, Objective, PackedSample, Reduction, SavedActivations, Sink, Slot, TableFactors,
};
use gstore_tests::shared;

/// The gradients of all weights, in the order of a pass.
#[derive(Default)]
struct Gradients(Vec<(String, Vec<f32>)>);

/// What an operation adds to vectors of this width, one for each sample.
fn added<B: Backend>(
    backend: &B,
    (samples, width): (usize, usize),
    add: impl FnOnce(&mut B::Rows) -> Result<(), BackendError>,
) -> Result<Vec<f32>, BackendError> {
    let mut rows = backend.rows(samples, width, None)?;
    add(&mut rows)?;
    Ok(backend.host_rows(&mut rows)?.to_vec())
}

impl<B: Backend> Sink<B> for Gradients {
    fn wants(&self, _: Slot) -> bool {
        true
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let LinearFactors { x, grads, spans } = *maps;
        for (id, grad) in grads {
            let width = backend.size(x).1 * backend.size(grad).1;
            let values =
                added(backend, (spans.len(), width), |rows| backend.weight_grads(x, grad, spans, rows, 0))?;
            self.0.push((format!("{id:?}"), values));
        }
        Ok(())
    }

    fn norm(
        &mut self,
        backend: &B,
        id: NormId,
        factors: &NormFactors<'_, B::Tensor>,
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        // The statistics of groups show how wide a group is.
        let kept = factors.form.stat_columns(1);
        let width = backend.size(factors.x).1 / (backend.size(factors.stats).1 / kept);
        let values = added(backend, (spans.len(), 2 * width), |rows| {
            backend.norm_grads(factors, width, spans, rows, [Some(0), Some(width)])
        })?;
        self.0.push((format!("{id:?}"), values));
        Ok(())
    }

    fn table(&mut self, backend: &B, factors: &TableFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        let spans = factors.spans;
        let rows = factors.ids.iter().max().map_or(0, |id| *id as usize + 1);
        let width = rows * backend.size(factors.grad).1;
        let values = added(backend, (spans.len(), width), |rows| {
            backend.table_grads(factors.ids, factors.grad, factors.scale, spans, rows, 0)
        })?;
        self.0.push((format!("{:?}", factors.slot), values));
        Ok(())
    }
}

/// Losses and gradients of three samples.
fn computed<B: Backend>(folder: &ModelFolder, backend: B) -> Vec<(String, Vec<f32>)> {
    let model = Model::load(folder, backend).unwrap();
    let vocab = folder.decoder().vocab_size;
    let mut draw = Draw::new(7);
    let samples: Vec<(Vec<u32>, Vec<bool>)> = [40, 3, 17]
        .map(|len| {
            let ids = (0..len).map(|_| (draw.size(vocab) - 1) as u32).collect();
            (ids, (0..len).map(|_| draw.pick(&[true, true, false])).chain([true]).take(len).collect())
        })
        .into();
    let mut packed: Vec<PackedSample<'_>> =
        samples.iter().map(|(ids, scored)| PackedSample::new(ids, scored)).collect();
    packed.retain(|sample| sample.scored_tokens() > 0);
    let mut gradients = Gradients::default();
    let keep_from = model.lowest_wanted(&gradients);
    let pass =
        ForwardOptions { last_rows: LastRows::Scored, keep_from, keep: SavedActivations::Inputs, tap: None };
    let forward = model.forward(Layout::new(&packed, false, Reduction::Mean), pass).unwrap();
    let objective = Objective::CrossEntropy { smoothing: 0.0 };
    let losses = model.backward(forward, objective, &mut gradients).unwrap();
    gradients.0.push(("losses".to_owned(), losses));
    gradients.0
}

/// The largest of the models.
pub const LARGEST: &str = "tiny-llama";

/// The model folders; none without the reference results.
pub fn folders() -> Vec<PathBuf> {
    let models = shared::root().join("models");
    let mut zoo: Vec<PathBuf> = fs_err::read_dir(models.join("zoo"))
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default();
    zoo.sort();
    zoo.insert(0, models.join(LARGEST));
    zoo.retain(|folder| folder.join("config.json").is_file());
    zoo
}

/// Checks a model on a backend against the CPU backend.
pub fn agree<B: Backend>(path: &Path, backend: B, tolerance: f32) {
    let folder = ModelFolder::open(path).unwrap();
    let (expected, found) = (computed(&folder, Cpu::new(ComputePrecision::F32)), computed(&folder, backend));
    assert_eq!(expected.len(), found.len());
    for ((name, expected), (same, found)) in expected.iter().zip(&found) {
        assert_eq!(name, same);
        assert_close(found, expected, tolerance, &format!("{name} of {}", path.display()));
    }
}
