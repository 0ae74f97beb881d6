//! Memory of a training, predicted from sizes, and what is given up to stay below a limit.
//!
//! Nothing that is given up changes a bit: layers are computed twice rather than kept, and fewer threads run,
//! one on each device at least.

use gstore_model::architectures::{Decoder, LinearId, LinearKind, Param};
use gstore_model::{ComputePrecision, Device, HEAD_ROWS, SavedActivations};

/// How a training computes, and what that takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MemoryPlan {
    pub keep: SavedActivations,
    pub threads: usize,
    /// Bytes at the peak of its steps, about.
    pub bytes: u64,
    /// Bytes of these that the process has before it reads weights.
    pub present: u64,
    /// Bytes at the peak of encoding, about. It is over before weights are read: nothing is given up for it.
    pub encoding: u64,
}

impl MemoryPlan {
    /// Bytes at the peak of all, about.
    pub fn peak(&self) -> u64 {
        self.bytes.max(self.encoding)
    }

    /// Bytes at the peak of the steps and bytes that there are for it, where the first are more. What the
    /// process has already is not taken once more from what the machine has `available`.
    pub fn lack(&self, available: Option<u64>) -> Option<(u64, u64)> {
        let available = available?.saturating_add(self.present);
        (self.bytes > available).then_some((self.bytes, available))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TrainedModels {
    /// One model, up to its last checkpoint.
    One,
    /// Copies of a starting point, which stays next to them; how many at once is chosen later.
    Copies,
    /// None: hidden states of a starting point are computed by forward passes.
    States,
}

/// The program, thread stacks, and what allocators hold back.
const PROCESS: u64 = 52 << 20;

/// Bytes of a token in the tables of a tokenizer: its text and number both ways, and its merge.
const OF_VOCABULARY: u64 = 400;

/// Sizes that decide the memory.
pub(crate) struct TrainingSizes<'a> {
    pub decoder: &'a Decoder,
    pub models: TrainedModels,
    /// Devices that compute, each of which has the model.
    pub devices: usize,
    /// The first of them, and the precision of products.
    pub device: Device,
    pub precision: ComputePrecision,
    /// Values that are trained, and whether these are all of the model's.
    pub trained: u64,
    pub is_full: bool,
    /// Maps of layers that have factors next to them.
    pub adapted: Vec<LinearKind>,
    /// Bytes that the optimizer keeps of a trained value.
    pub state: u64,
    /// Tokens of the largest piece.
    pub piece: u64,
    /// Tokens of the largest piece of samples that no step is taken on; all are, for hidden states alone.
    pub watched: u64,
    /// Bytes of the samples, as tokens and as texts: what held these is not always given back.
    pub samples: u64,
    /// Bytes that tokenizers take while the samples are encoded.
    pub encoding: u64,
}

impl TrainingSizes<'_> {
    /// What is kept and how many threads run: all of it, unless that is more than `most` bytes.
    pub fn plan(&self, keep: SavedActivations, threads: usize, most: Option<u64>) -> MemoryPlan {
        let present = self.process_bytes();
        let encoding = present + self.encoding;
        let of = |keep, threads| {
            let bytes = self.bytes(keep, threads);
            MemoryPlan { keep, threads, bytes, present, encoding }
        };
        let mut plan = of(keep, threads.max(self.devices));
        let fits = |plan: &MemoryPlan| most.is_none_or(|most| plan.bytes <= most);
        if !fits(&plan) {
            plan = of(SavedActivations::Inputs, plan.threads);
        }
        while !fits(&plan) && plan.threads > self.devices {
            plan = of(SavedActivations::Inputs, plan.threads - 1);
        }
        plan
    }

    /// How many copies, of `models`, can be trained at once: a thread for each at least, and not more than
    /// `most` bytes; one in any case. They share the weights of their starting point.
    pub fn copies(&self, keep: SavedActivations, threads: usize, models: usize, most: Option<u64>) -> usize {
        let fits = |copies: &usize| most.is_none_or(|most| self.copies_bytes(keep, threads, *copies) <= most);
        (1..=models.min(threads).max(1)).rev().find(fits).unwrap_or(1)
    }

    /// Bytes at the peak of their steps with so many copies at once.
    pub(crate) fn copies_bytes(&self, keep: SavedActivations, threads: usize, copies: usize) -> u64 {
        // Logits of the starting point next to their own, of so many rows on any device.
        let logits = 4 * HEAD_ROWS as u64 * self.decoder.vocab_size as u64;
        let of_threads = threads as u64 * (self.thread_bytes(keep) + logits);
        let own_model = if self.is_full { self.model_bytes() } else { 0 };
        let of_copies = copies as u64 * (self.training_bytes(1) + own_model);
        self.process_bytes() + self.models_bytes() + of_threads + of_copies
    }

    /// Bytes at the peak: of copies, those of one at a time.
    fn bytes(&self, keep: SavedActivations, threads: usize) -> u64 {
        match self.models {
            TrainedModels::Copies => self.copies_bytes(keep, threads, 1),
            TrainedModels::States => {
                // Of all weights the values that each device's model is made from are there too.
                let values = if self.is_full { 4 * self.devices as u64 * self.trained } else { 0 };
                self.process_bytes() + self.models_bytes() + values + threads as u64 * self.thread_bytes(keep)
            }
            TrainedModels::One => {
                let of_threads = threads as u64 * self.thread_bytes(keep);
                let of_training = self.training_bytes(self.devices);
                let training = self.models_bytes() + of_training + self.checkpoint_bytes() + of_threads;
                self.process_bytes() + training
            }
        }
    }

    /// Bytes that are there from the beginning to the end.
    fn process_bytes(&self) -> u64 {
        PROCESS + OF_VOCABULARY * self.decoder.vocab_size as u64 + self.samples
    }

    /// Bytes of the models that are computed with, one on each device.
    fn models_bytes(&self) -> u64 {
        self.devices as u64 * self.model_bytes()
    }

    fn model_bytes(&self) -> u64 {
        self.decoder.weight_bytes(self.device, self.precision)
    }

    /// Bytes of what is trained on some devices: values, gradients and what the optimizer keeps; of LoRA
    /// factors also their packed forms on each device, and a copy while they are packed.
    fn training_bytes(&self, devices: usize) -> u64 {
        let packed = self.device.bytes_per_weight(self.precision);
        let factors = if self.is_full { 0 } else { devices as u64 * (4 + packed) };
        (8 + self.state + factors) * self.trained
    }

    /// Bytes that the end of a training takes in addition: the gradient of the samples that it learned from
    /// last, and after it a copy of all moments that files hold transposed.
    fn checkpoint_bytes(&self) -> u64 {
        let transposed = |param: &&Param| self.is_full && param.transposed;
        let transposed: u64 = self.decoder.params.iter().filter(transposed).map(values_of).sum();
        (4 * self.trained).max(self.state.max(4) * transposed)
    }

    /// Bytes of a thread: activations of its piece, gradients of a layer, logits; of hidden states alone,
    /// what a forward pass takes and gives.
    fn thread_bytes(&self, keep: SavedActivations) -> u64 {
        let decoder = self.decoder;
        let width = |kind| decoder.linear_shape(LinearId::Layer { layer: 0, kind })[0] as u64;
        let hidden = decoder.hidden_size as u64;
        let [query, key, inner] = [LinearKind::Q, LinearKind::K, LinearKind::Up].map(width);
        let layer = 7 * hidden + 3 * query + 3 * key + 3 * inner;
        let layers = decoder.layers as u64;
        let of_value = self.device.bytes_per_activation(self.precision);
        let inside = decoder.values_inside_layer(&self.adapted);
        let of_layer = of_value * (layer - inside) + self.device.bytes_inside_layer(self.precision) * inside;
        // The backward of a layer, which follows where it is computed again, may read its values in f32.
        let kept = match keep {
            SavedActivations::All => layers * of_layer,
            SavedActivations::Inputs => of_value * (layers * hidden + layer),
        };
        // What LoRA factors make of inputs and of gradients: each rank has more trained values than hidden
        // ones.
        let factors = if self.is_full { 0 } else { 2 * self.trained / hidden.max(1) };
        // The layer at work, forward or backward, and rounded inputs and outputs of a weight whose gradient
        // is summed.
        let rounded = if self.is_full { hidden + inner } else { 0 };
        let working = 4 * hidden + 2 * query + 3 * inner + rounded;
        let gradients = match self.is_full {
            false => self.trained,
            true => {
                let of_layers = || decoder.params.iter().filter(|param| param.is_map_of_layer());
                let loose = self.trained.saturating_sub(of_layers().map(values_of).sum());
                // Of a layer, and one of its maps in another order.
                let map = of_layers().map(values_of).max().unwrap_or(0);
                loose + self.trained.saturating_sub(loose) / layers.max(1) + map
            }
        };
        let logits = self.device.logits_bytes(decoder.vocab_size);
        let learning = self.piece * (kept + of_value * (factors + working));
        let watching = self.watched * (2 * of_layer + of_value * working);
        if self.models == TrainedModels::States {
            // No logits; results of two pieces wait until they are written.
            return (watching + 2 * 4 * self.watched * hidden) * 5 / 4;
        }
        let activations = learning.max(watching);
        let gradients = self.device.gradient_copies() * gradients;
        // Sizes of buffers are rounded up, and one may serve where a smaller one is wanted. Those of smaller
        // pieces are not kept next to them.
        (activations + 4 * gradients + logits) * 5 / 4
    }
}

/// Values of a tensor.
pub(crate) fn values_of(param: &Param) -> u64 {
    param.shape.iter().product::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn what_the_process_has_is_not_taken_once_more() {
        let keep = SavedActivations::All;
        let plan = MemoryPlan { keep, threads: 1, bytes: 100, present: 30, encoding: 0 };
        assert_eq!(plan.lack(Some(70)), None);
        assert_eq!(plan.lack(Some(69)), Some((100, 99)));
        assert_eq!(plan.lack(None), None, "a system that does not say");
    }

    fn decoder() -> Decoder {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/fixtures/small_llama.json");
        Decoder::read(Path::new(path)).unwrap()
    }

    fn sizes(decoder: &Decoder) -> TrainingSizes<'_> {
        TrainingSizes {
            decoder,
            models: TrainedModels::One,
            devices: 1,
            device: Device::Cpu,
            precision: ComputePrecision::F32,
            trained: 32,
            is_full: false,
            adapted: Vec::new(),
            state: 8,
            piece: 10,
            watched: 0,
            samples: 0,
            encoding: 0,
        }
    }

    #[test]
    fn nothing_is_given_up_for_what_encoding_has_taken() {
        let decoder = decoder();
        let sizes = TrainingSizes { encoding: 1 << 40, ..sizes(&decoder) };
        let most = Some(1 << 30);
        let plan = sizes.plan(SavedActivations::All, 2, most);
        assert_eq!((plan.keep, plan.threads, plan.lack(most)), (SavedActivations::All, 2, None));
        assert_eq!(plan.peak(), (1 << 40) + plan.present);
        assert_eq!(sizes.copies(SavedActivations::All, 2, 2, most), 2);
    }

    #[test]
    fn copies_are_planned_by_what_one_of_them_takes() {
        use SavedActivations::{All, Inputs};
        let decoder = decoder();
        let of = |models| TrainingSizes { models, is_full: true, ..sizes(&decoder) };
        let copies = of(TrainedModels::Copies);
        let of_copy = |keep, threads| copies.copies_bytes(keep, threads, 1);
        for (limit, keep, threads) in [
            (of_copy(All, 3), All, 3),
            (of_copy(All, 3) - 1, Inputs, 3),
            (of_copy(Inputs, 3) - 1, Inputs, 2),
            (of_copy(Inputs, 1), Inputs, 1),
            (of_copy(Inputs, 1) - 1, Inputs, 1),
        ] {
            let plan = copies.plan(All, 3, Some(limit));
            assert_eq!((plan.keep, plan.threads, plan.bytes), (keep, threads, of_copy(keep, threads)));
            assert_eq!(plan.bytes <= limit, limit >= of_copy(Inputs, 1));
            assert_eq!(plan.lack(Some(0)), Some((plan.bytes, plan.present)));
        }
        // Hidden states alone take no gradients, logits or moments, whatever layers keep.
        let states = of(TrainedModels::States);
        let states = TrainingSizes { watched: states.piece, ..states };
        let of_states = |threads| states.bytes(Inputs, threads);
        assert_eq!(of_states(3) - of_states(2), 10 * (4 * (2 * 292 + 184 + 40) + 8 * 16) * 5 / 4);
        for (limit, threads) in [(of_states(3), 3), (of_states(3) - 1, 2), (of_states(1) - 1, 1)] {
            let plan = states.plan(All, 3, Some(limit));
            assert_eq!((plan.threads, plan.bytes), (threads, of_states(threads)));
        }
        assert!(of_states(1) < of_copy(Inputs, 1));
        // A training of one model has neither the starting point nor its logits next to it.
        let one = of(TrainedModels::One).plan(All, 3, Some(of_copy(All, 3) - 1));
        assert_eq!((one.keep, one.threads), (All, 3));
    }

    #[test]
    fn a_gpu_takes_more_for_logits_and_gradients_and_for_what_it_rounds() {
        let decoder = decoder();
        let thread = |device: Device, precision: ComputePrecision, adapted: &[LinearKind]| {
            let sizes = TrainingSizes { device, precision, adapted: adapted.to_vec(), ..sizes(&decoder) };
            sizes.thread_bytes(SavedActivations::All)
        };
        // Of the two layers, of factors, and of the layer at work.
        let activations = 10 * (2 * 292 + 4 + 184);
        for precision in [ComputePrecision::F32, ComputePrecision::Bf16] {
            assert_eq!(thread(Device::Cpu, precision, &[]), 5 * (activations + 32 + 2 * 128 * 37));
        }
        let of_gpu = 5 * (2 * 32 + 2 * 4096 * 37);
        assert_eq!(thread(Device::Cuda(0), ComputePrecision::F32, &[]), 5 * activations + of_gpu);
        // Of both layers three values of each column inside the MLP are bf16 alone, unless its maps are adapted.
        let rounded = |adapted| thread(Device::Cuda(0), ComputePrecision::Bf16, adapted);
        let [of_attention, of_all] = [&[LinearKind::Q][..], &[LinearKind::Gate, LinearKind::Up]].map(rounded);
        let values = 6 * activations;
        assert_eq!(of_attention, (values - 4 * 10 * 2 * 3 * 24) * 5 / 4 + of_gpu);
        assert_eq!(of_all, values * 5 / 4 + of_gpu);
    }
}
