//! Loss and gradient of a step's samples, summed in an order that threads do not change.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use gstore_core::parallel::{in_turn, unordered};
use gstore_core::{Cancel, Cancelled, locked};
use gstore_model::gradients::{BatchSumSink, FormedSink, GradientBuffers, LoraSink};
use gstore_model::{
    Backend, ForwardOptions, Layout, Model, Objective, OutOfMemory, PackedSample, Reduction,
    SavedActivations, Sink,
};

use crate::dropout::DropoutRates;
use crate::error::TrainError;
use crate::parameters::{ParameterForm, Parameters};
use crate::perturbed::{PerturbedHead, PieceHead};
use crate::pieces::{SCORING, cut};
use crate::random::RandomStream;
use crate::sample::{Sample, WeightedSample};
use crate::sums::GradientSums;
use crate::turns::{StopOnDrop, Turns};

#[derive(Clone, Copy)]
pub(crate) struct GradientOptions<'a> {
    pub threads: usize,
    /// About as many tokens as a piece has at most.
    pub piece_tokens: usize,
    pub keep: SavedActivations,
    /// Shares that are dropped, and the step's stream of random numbers.
    pub dropout: Option<(DropoutRates, RandomStream)>,
    pub cancel: &'a Cancel,
}

impl<B: Backend + Clone> Parameters<B> {
    /// The weighted sum of the losses, cross-entropies unless a head says otherwise, and its gradient: one
    /// vector for each tensor, in the memory of `old`.
    ///
    /// Pieces are divided among the devices, and added on the host: in their order, whichever device computed
    /// them. Where a device has too little memory it is computed again: on fewer threads, which changes no
    /// bit, and where one on each device is too many, with smaller pieces, as they would have been asked for.
    pub(crate) fn gradient(
        &self,
        samples: &[WeightedSample<'_>],
        head: Option<&PerturbedHead<'_, B>>,
        computing: GradientOptions<'_>,
        mut old: Vec<Vec<f32>>,
    ) -> Result<(f64, Vec<Vec<f32>>), TrainError> {
        let lengths: Vec<usize> = samples.iter().map(|w| w.sample.ids.len()).collect();
        let devices = self.models.len().max(1);
        self.backoff.retry(|attempt| {
            let most = computing.piece_tokens.min(attempt.most);
            let pieces = cut(&lengths, most);
            let tokens = |piece: &Range<usize>| lengths[piece.clone()].iter().sum::<usize>();
            let several = pieces.iter().filter(|piece| piece.len() > 1).map(tokens).max();
            attempt.tried = several.map(|tokens| tokens.min(most));
            loop {
                let threads = computing.threads.min(self.backoff.calls()).max(devices).min(pieces.len());
                let computing = GradientOptions { threads, ..computing };
                match self.in_pieces(samples, &pieces, head, computing, std::mem::take(&mut old)) {
                    Err(error) if threads > devices && error.is_out_of_memory() => {
                        self.backoff.halve_calls(threads)
                    }
                    done => return done,
                }
            }
        })
    }

    fn in_pieces(
        &self,
        samples: &[WeightedSample<'_>],
        pieces: &[Range<usize>],
        head: Option<&PerturbedHead<'_, B>>,
        computing: GradientOptions<'_>,
        mut old: Vec<Vec<f32>>,
    ) -> Result<(f64, Vec<Vec<f32>>), TrainError> {
        let places = self.places();
        old.resize(self.store().specs().len(), Vec::new());
        let sums = GradientSums {
            tensors: old.into_iter().map(Mutex::new).collect(),
            turns: Turns::new(places.len()),
            places,
        };
        let losses: Vec<Mutex<f64>> = pieces.iter().map(|_| Mutex::new(0.0)).collect();
        // What fails first makes others fail, and only the first says why.
        let failure = Mutex::new(None);
        let work = |(device, scratch): &mut (usize, GradientBuffers<B>), piece: usize| {
            let mut guard = StopOnDrop { turns: &sums.turns, done: false };
            let of_piece = |()| {
                let (samples, start) = (&samples[pieces[piece].clone()], pieces[piece].start);
                self.piece((piece, *device), samples, head, (start, computing), &sums, scratch)
            };
            match computing.cancel.check().map_err(TrainError::from).and_then(of_piece) {
                Ok(loss) => *locked(&losses[piece]) = loss,
                Err(error) => {
                    locked(&failure).get_or_insert(error);
                    return Err(Cancelled);
                }
            }
            guard.done = true;
            Ok(())
        };
        let kept = || locked(&self.scratch);
        let device = in_turn(self.models.len());
        let scratch = || (device(), kept().pop().unwrap_or_default());
        // A piece that is taken must be done or stop the turns, so the flag is looked at in it alone.
        let done = unordered(pieces.len(), computing.threads, &Cancel::new(), scratch, work);
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        let done = done?;
        if self.model()?.backend().on_host() {
            kept().extend(done.into_iter().map(|(_, scratch)| scratch));
        }
        let tensor = |tensor: Mutex<Vec<f32>>| tensor.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((sum_losses(losses), sums.tensors.into_iter().map(tensor).collect()))
    }

    /// One piece on a device: forward, backward, and its gradients added when it is its turn.
    fn piece(
        &self,
        (piece, device): (usize, usize),
        samples: &[WeightedSample<'_>],
        head: Option<&PerturbedHead<'_, B>>,
        (first, GradientOptions { keep, dropout, .. }): (usize, GradientOptions<'_>),
        sums: &GradientSums,
        scratch: &mut GradientBuffers<B>,
    ) -> Result<f64, TrainError> {
        let model = self.model_on(device)?;
        let packed: Vec<PackedSample<'_>> = samples.iter().map(|w| w.sample.packed()).collect();
        let mut layout = Layout::new(&packed, false, Reduction::Sum);
        for (span, weighted) in layout.scored_spans.iter().zip(samples) {
            layout.weights[span.clone()].fill(weighted.weight);
        }
        layout.dropout = dropout.map(|(rates, stream)| rates.of_rows(self.decoder(), &layout, first, stream));
        if layout.scored_rows.is_empty() {
            (0..sums.places.len()).for_each(|sum| sums.pass(sum, piece));
            return Ok(0.0);
        }
        let weights = layout.weights.clone();
        let mut head = match head {
            Some(head) => head.of_piece(samples)?,
            None => None,
        };
        let losses = match &self.form {
            ParameterForm::Lora { factors, .. } => {
                let width = self.store().values().len();
                let mut rows = model.backend().rows(1, width, scratch.layer.take())?;
                let factors = &factors[device];
                let mut sink = BatchSumSink(LoraSink { factors, out: Some(&mut rows), entropies: None });
                let losses = forward_backward(model, layout, keep, head.as_mut(), &mut sink)?;
                sums.add(0, piece, model.backend().host_rows(&mut rows)?)?;
                scratch.layer = Some(rows);
                losses
            }
            ParameterForm::Full { layout: grad } => {
                // A layer is added when it is complete and the piece's turn: one is in memory.
                let sink = FormedSink::new(grad, None, scratch, |backend, group, rows| match rows {
                    Some(rows) => sums.add(group, piece, backend.host_rows(rows)?),
                    None => sums.add(group, piece, &[]),
                });
                forward_backward(model, layout, keep, head.as_mut(), &mut BatchSumSink(sink))?
            }
        };
        let weighted =
            losses.iter().zip(&weights).map(|(loss, weight)| f64::from(*loss) * f64::from(*weight));
        let surplus = head.map_or(0.0, |head| head.surplus());
        Ok(weighted.fold(0.0, |sum, loss| sum + loss) - surplus)
    }

    /// The losses of all scored tokens of samples, summed, without dropout.
    pub(crate) fn losses(
        &self,
        samples: &[Sample],
        computing: GradientOptions<'_>,
    ) -> Result<f64, TrainError> {
        let lengths: Vec<usize> = samples.iter().map(|sample| sample.ids.len()).collect();
        let pieces = cut(&lengths, computing.piece_tokens);
        let losses: Vec<Mutex<f64>> = pieces.iter().map(|_| Mutex::new(0.0)).collect();
        let of_piece = |device: &mut usize, piece: usize| -> Result<(), TrainError> {
            let model = self.model_on(*device)?;
            let range = pieces[piece].clone();
            let samples = &samples[range.clone()];
            // Token by token, so that parts have the sum of the whole.
            let mut total = 0.0;
            self.backoff.in_parts(&lengths[range], |part| {
                let packed: Vec<PackedSample<'_>> = samples[part].iter().map(Sample::packed).collect();
                let layout = Layout::new(&packed, false, Reduction::Sum);
                if layout.scored_rows.is_empty() {
                    return Ok(());
                }
                let forward = model.forward(layout, SCORING)?;
                let of_tokens = model.losses(&forward, Objective::CrossEntropy { smoothing: 0.0 })?;
                of_tokens.iter().for_each(|loss| total += f64::from(*loss));
                Ok::<(), TrainError>(())
            })?;
            *locked(&losses[piece]) = total;
            Ok(())
        };
        let threads = computing.threads.max(self.models.len());
        unordered(pieces.len(), threads, computing.cancel, in_turn(self.models.len()), of_piece)?;
        Ok(sum_losses(losses))
    }
}

/// The losses of pieces, added in their order.
fn sum_losses(losses: Vec<Mutex<f64>>) -> f64 {
    let value = |loss: Mutex<f64>| loss.into_inner().unwrap_or_else(PoisonError::into_inner);
    losses.into_iter().map(value).fold(0.0, |sum, loss| sum + loss)
}

fn forward_backward<B: Backend>(
    model: &Model<B>,
    layout: Layout,
    keep: SavedActivations,
    head: Option<&mut PieceHead<'_, B>>,
    sink: &mut dyn Sink<B>,
) -> Result<Vec<f32>, TrainError> {
    let keep_from = model.lowest_wanted(sink);
    let forward = model.forward(layout, ForwardOptions { keep_from, keep, ..SCORING })?;
    match head {
        Some(head) => head.backward(model, forward, sink),
        None => Ok(model.backward(forward, Objective::CrossEntropy { smoothing: 0.0 }, sink)?),
    }
}
