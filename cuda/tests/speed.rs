//! Speed of passes for features: forward, backward, and factors of every linear map projected to 16 x 16
//! each, on models of Pythia's shapes with random weights.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::time::Instant;

use crate::backends::Draw;
use crate::check::{Device, Table};
use crate::ingested;
use gstore_cuda::Cuda;
use gstore_ingest::gradient::RequestedOutputs;
use gstore_model::architectures::{Decoder, LinearId, Param, TensorRole};
use gstore_model::{
    Backend, BackendError, ForwardOptions, LastRows, Layout, LinearFactors, LinearWeights, Model, Objective,
    PackedSample, Reduction, SavedActivations, Sink, Slot,
};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// A shape of the family.
#[derive(Debug, Clone, Copy)]
pub struct Pythia {
    pub name: &'static str,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub vocab: usize,
    /// Samples of a pass: 16,384 tokens; fewer where the activations of all layers would not fit.
    pub samples: usize,
    /// Tokens per second that bergson reports for one GH200.
    pub stated: f64,
    pub asked: Asked,
}

/// Required speed of a shape.
#[derive(Debug, Clone, Copy)]
pub enum Asked {
    /// This multiple of bergson's tokens per second, for the engine that features are ingested with.
    Times(f64),
    /// This share of the rate of products alone, for forward and backward together.
    Part(f64),
}

/// The share of a pass that projections and copies may take, where a share of the rate of products is
/// required.
const PROJECTED: f64 = 0.1;

pub const SHAPES: [Pythia; 4] = [
    Pythia {
        name: "pythia-14m",
        width: 128,
        layers: 6,
        heads: 4,
        vocab: 50_304,
        samples: 16,
        stated: 81e3,
        asked: Asked::Times(2.0),
    },
    Pythia {
        name: "pythia-160m",
        width: 768,
        layers: 12,
        heads: 12,
        vocab: 50_304,
        samples: 16,
        stated: 37e3,
        asked: Asked::Times(2.0),
    },
    Pythia {
        name: "pythia-1b",
        width: 2048,
        layers: 16,
        heads: 8,
        vocab: 50_304,
        samples: 16,
        stated: 28e3,
        asked: Asked::Part(0.45),
    },
    Pythia {
        name: "pythia-6.9b",
        width: 4096,
        layers: 32,
        heads: 32,
        vocab: 50_432,
        samples: 4,
        stated: 13e3,
        asked: Asked::Part(0.45),
    },
];

impl Pythia {
    fn config(&self) -> String {
        let Pythia { width, layers, heads, vocab, .. } = self;
        format!(
            r#"{{"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_act": "gelu",
            "hidden_size": {width}, "intermediate_size": {}, "num_hidden_layers": {layers},
            "num_attention_heads": {heads}, "vocab_size": {vocab}, "max_position_embeddings": 4096,
            "layer_norm_eps": 1e-5, "rotary_pct": 0.25, "rotary_emb_base": 10000,
            "use_parallel_residual": true, "tie_word_embeddings": false}}"#,
            4 * width
        )
    }

    /// The shape of a model with random weights.
    fn decoder(&self) -> Decoder {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs_err::write(&path, self.config()).unwrap();
        Decoder::read(&path).unwrap()
    }

    /// Random weights of a tensor.
    fn weights(&self, param: &Param) -> Vec<f32> {
        let count = param.shape.iter().product();
        match param.role {
            TensorRole::NormWeight(_) => vec![1.0; count],
            TensorRole::Bias(_) | TensorRole::NormBias(_) => vec![0.0; count],
            _ => values(count, 1.0 / (self.width as f32).sqrt()),
        }
    }

    /// Writes a folder of a model.
    fn write(&self, folder: &Path) {
        let config = folder.join("config.json");
        fs_err::write(&config, self.config()).unwrap();
        let decoder = Decoder::read(&config).unwrap();
        let weights: Vec<Vec<f32>> = decoder.params.iter().map(|param| self.weights(param)).collect();
        let views = decoder.params.iter().zip(&weights).map(|(param, values)| {
            let bytes = bytemuck::cast_slice::<f32, u8>(values);
            (param.name.as_str(), TensorView::new(Dtype::F32, param.shape.clone(), bytes).unwrap())
        });
        fs_err::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap())
            .unwrap();
    }

    /// Tokens of samples, one after the other.
    fn tokens(&self, samples: usize, len: usize) -> Vec<u32> {
        let mut draw = Draw::new(11);
        (0..samples * len).map(|_| (draw.size(self.vocab) - 1) as u32).collect()
    }
}

/// A few values of a random model, repeated: drawing billions would take longer than the passes.
fn values(len: usize, scale: f32) -> Vec<f32> {
    let some: Vec<f32> = Draw::new(3).values(len.min(1 << 20)).into_iter().map(|v| v * scale).collect();
    let mut all = Vec::with_capacity(len);
    while all.len() < len {
        all.extend_from_slice(&some[..some.len().min(len - all.len())]);
    }
    all
}

/// Mean seconds of the calls that begin within that many seconds, after one that is not timed.
pub fn seconds(budget: f64, call: &mut dyn FnMut()) -> f64 {
    call();
    let (begun, mut calls) = (Instant::now(), 0u32);
    while calls == 0 || begun.elapsed().as_secs_f64() < budget {
        call();
        calls += 1;
    }
    begun.elapsed().as_secs_f64() / f64::from(calls)
}

/// Columns of a projected factor.
const SIDE: usize = 16;

/// Takes the factors of every map except the head's: projects both sides with dense signs, as `two_sided`
/// does, and sums the products by sample; or ignores them.
struct Projected<B: Backend> {
    projects: bool,
    maps: BTreeMap<usize, B::Linear>,
    rows: Option<B::Rows>,
    at: usize,
}

impl<B: Backend> Projected<B> {
    fn map(&mut self, backend: &B, input: usize) -> Result<&B::Linear, BackendError> {
        match self.maps.entry(input) {
            Entry::Occupied(kept) => Ok(&*kept.into_mut()),
            Entry::Vacant(free) => {
                let mut draw = Draw::new(input as u64);
                let scale = 1.0 / (SIDE as f32).sqrt();
                let weight = (0..SIDE * input).map(|_| draw.pick(&[scale, -scale])).collect();
                let map = backend.pack(LinearWeights { weight, out: SIDE, input, bias: None })?;
                Ok(&*free.insert(map))
            }
        }
    }
}

impl<B: Backend> Sink<B> for Projected<B> {
    fn wants(&self, slot: Slot) -> bool {
        matches!(slot, Slot::Linear(LinearId::Layer { .. }))
    }

    fn linear(&mut self, backend: &B, maps: &LinearFactors<'_, B::Tensor>) -> Result<(), BackendError> {
        if !self.projects {
            return Ok(());
        }
        let x = backend.linear(self.map(backend, backend.size(maps.x).1)?, maps.x, None)?;
        for (_, grad) in maps.grads {
            let grad = backend.linear(self.map(backend, backend.size(grad).1)?, grad, None)?;
            if let Some(rows) = &mut self.rows {
                backend.weight_grads(&x, &grad, maps.spans, rows, self.at)?;
            }
            self.at += SIDE * SIDE;
        }
        Ok(())
    }
}

/// A model with a shape, and samples of one length.
pub struct Loaded<B: Backend> {
    model: Model<B>,
    sink: Projected<B>,
    shape: Pythia,
    ids: Vec<u32>,
    len: usize,
}

impl<B: Backend + Clone> Loaded<B> {
    pub fn new(backend: &B, shape: &Pythia, samples: usize, len: usize) -> Loaded<B> {
        let decoder = shape.decoder();
        let mut read = |param: &Param| Ok(shape.weights(param));
        let model = Model::build(&decoder, backend.clone(), &mut read).unwrap();
        let sink = Projected { projects: true, maps: BTreeMap::new(), rows: None, at: 0 };
        Loaded { model, sink, shape: *shape, ids: shape.tokens(samples, len), len }
    }

    /// Forward, backward and, on request, projections and the copy of the vectors.
    pub fn pass(&mut self, keep: SavedActivations, projects: bool) -> Result<(), BackendError> {
        let Loaded { model, sink, shape, ids, len } = self;
        let backend = model.backend();
        let scored = vec![true; *len];
        let packed: Vec<PackedSample<'_>> =
            ids.chunks(*len).map(|ids| PackedSample::new(ids, &scored)).collect();
        // At most as many maps as a layer has.
        let width = SIDE * SIDE * 8 * shape.layers;
        (sink.projects, sink.at) = (projects, 0);
        if projects {
            let old = sink.rows.take();
            sink.rows = Some(backend.rows(packed.len(), width, old)?);
        }
        let keep_from = model.lowest_wanted(&*sink);
        let pass = ForwardOptions { last_rows: LastRows::Scored, keep_from, keep, tap: None };
        let forward = model.forward(Layout::new(&packed, false, Reduction::Mean), pass)?;
        let losses = model.backward(forward, Objective::CrossEntropy { smoothing: 0.0 }, sink)?;
        assert!(losses.iter().all(|loss| loss.is_finite()), "{shape:?}: a loss is not finite");
        if let Some(rows) = sink.rows.as_mut().filter(|_| projects) {
            let vectors = backend.host_rows(rows)?;
            assert!(vectors.iter().all(|value| value.is_finite()), "{shape:?}: a vector is not finite");
        }
        Ok(())
    }
}

/// Measurements of a shape.
#[derive(Debug)]
pub struct Measured {
    pub tokens_per_second: f64,
    /// Operations of products per second, over forward and backward.
    pub pass_rate: f64,
    /// The same of the products alone.
    pub product_rate: f64,
    /// The share of a pass that projections and copies take.
    pub projected: f64,
}

/// Measures passes over samples of `len` tokens, that many seconds for each time.
pub fn measure<R: Device>(on: &Cuda<R>, shape: &Pythia, len: usize, budget: f64) -> Measured {
    let tokens = shape.samples * len;
    let mut loaded = Loaded::new(on, shape, shape.samples, len);
    let [whole, bare] = [true, false].map(|projects| {
        seconds(budget, &mut || {
            loaded.pass(SavedActivations::All, projects).unwrap();
            on.runtime().wait();
        })
    });
    drop(loaded);
    // One product of the forward pass and one of the backward pass for each weight and token.
    let weights = 12 * shape.width * shape.width * shape.layers + shape.width * shape.vocab;
    Measured {
        tokens_per_second: tokens as f64 / whole,
        pass_rate: 4.0 * (weights * tokens) as f64 / whole,
        product_rate: product_rate(on, shape, tokens, budget / 4.0),
        projected: (1.0 - bare / whole).max(0.0),
    }
}

/// Products of a map between two waits: a wait costs as much as a small product.
const TOGETHER: usize = 4;

/// Operations per second of the products of a model alone, forward and backward: those of one layer times the
/// number of layers, and the head's.
fn product_rate<R: Device>(on: &Cuda<R>, shape: &Pythia, rows: usize, budget: f64) -> f64 {
    let Pythia { width, layers, vocab, .. } = *shape;
    let maps = [
        (3 * width, width, layers),
        (width, width, layers),
        (4 * width, width, layers),
        (width, 4 * width, layers),
        (vocab, width, 1),
    ];
    let (mut operations, mut needed) = (0.0, 0.0);
    for (out, input, times) in maps {
        let weight = values(out * input, 0.02);
        let layer = on.pack(LinearWeights { weight, out, input, bias: None }).unwrap();
        let x = on.tensor(values(rows * input, 1.0), rows, input).unwrap();
        let grad = on.tensor(values(rows * out, 1.0), rows, out).unwrap();
        // The first call rounds the factors once.
        let each = seconds(budget, &mut || {
            for _ in 0..TOGETHER {
                on.linear_tangent(&layer, &x, None).unwrap();
                on.linear_backward(&layer, &grad, None).unwrap();
            }
            on.runtime().wait();
        });
        needed += each / TOGETHER as f64 * times as f64;
        operations += 4.0 * (rows * out * input * times) as f64;
    }
    operations / needed
}

/// Tokens per second of the engine that features are ingested with: plain gradients,
/// `two_sided` to 16 x 16 a module.
fn engine_speed<R: Device>(on: &Cuda<R>, shape: &Pythia, len: usize, budget: f64) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    shape.write(folder.path());
    let engine = ingested::engine_of_layers(folder.path(), on.clone(), (SIDE * SIDE) as u32);
    let (ids, scored) = (shape.tokens(shape.samples, len), vec![true; len]);
    let packed: Vec<PackedSample<'_>> = ids.chunks(len).map(|ids| PackedSample::new(ids, &scored)).collect();
    let want = RequestedOutputs { grad: true, ..RequestedOutputs::default() };
    let each = seconds(budget, &mut || {
        let mut found = 0;
        engine.run(&packed, want, &mut |_, of| found += usize::from(!of.grads.is_empty())).unwrap();
        assert_eq!(found, packed.len());
    });
    (shape.samples * len) as f64 / each
}

/// Rows of the table: how fast passes of a shape are.
pub fn rows<R: Device>(table: &mut Table, on: &Cuda<R>, shape: &Pythia, len: usize, budget: f64) {
    let Pythia { name, stated, .. } = shape;
    if let Asked::Times(times) = shape.asked {
        let asked = stated * times;
        let what = format!("{name}: tokens a second, features by the engine");
        table.attempt(&what, |table| {
            let found = engine_speed(on, shape, len, budget);
            let asked = (format!("at least {asked:.0}, {times} x bergson's"), found >= asked);
            table.row(&what, format!("{found:.0}"), asked);
        });
    }
    table.attempt(&format!("{name}: passes"), |table| {
        let found = measure(on, shape, len, budget);
        let part = found.pass_rate / found.product_rate;
        let rates = format!(
            "{:.0} % ({:.1} of {:.1} Tflop/s)",
            100.0 * part,
            found.pass_rate / 1e12,
            found.product_rate / 1e12
        );
        let (speed, projected) = (
            format!("{:.0}", found.tokens_per_second),
            format!("{:.1} % of a pass", 100.0 * found.projected),
        );
        let [what_speed, what_rate, what_projected] = [
            "tokens a second of passes",
            "rate of products, of that of products alone",
            "projections and copies",
        ]
        .map(|what| format!("{name}: {what}"));
        table.told(&what_speed, speed, format!("bergson's: {stated:.0}"));
        match shape.asked {
            Asked::Part(least) => {
                let asked = format!("at least {:.0} %", 100.0 * least);
                table.row(&what_rate, rates, (asked, part >= least));
                let asked = format!("below {:.0} %", 100.0 * PROJECTED);
                table.row(&what_projected, projected, (asked, found.projected < PROJECTED));
            }
            Asked::Times(_) => {
                table.told(&what_rate, rates, String::new());
                table.told(&what_projected, projected, String::new());
            }
        }
    });
}

/// Rows of the table: whether a sample of `len` tokens fits, with layers recomputed and with all kept.
pub fn long_rows<R: Device>(table: &mut Table, on: &Cuda<R>, shape: &Pythia, len: usize) {
    let mut loaded = None;
    for (keep, how, is_asked) in [
        (SavedActivations::Inputs, "layers computed again", true),
        (SavedActivations::All, "all layers kept", false),
    ] {
        let what = format!("{}: a row of {len} tokens, {how}", shape.name);
        table.attempt(&what, |table| {
            let done = loaded.get_or_insert_with(|| Loaded::new(on, shape, 1, len)).pass(keep, true);
            on.runtime().wait();
            let [most, all] = on.runtime().most_taken().map(|bytes| bytes as f64 / (1u64 << 30) as f64);
            let found = match &done {
                Ok(()) => format!("fits: {most:.1} of {all:.1} GiB at most"),
                Err(error) => format!("does not fit: {error}"),
            };
            match is_asked {
                true => table.row(&what, found, ("fits".to_owned(), done.is_ok())),
                false => table.told(&what, found, String::new()),
            }
        });
    }
}
