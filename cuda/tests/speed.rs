//! Speed of passes for features: forward, backward, and factors of every linear map that are projected to 16 x 16 a
//! map, on models of Pythia's shapes with random weights.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use crate::backends::Draw;
use gstore_model::architectures::{Decoder, LinearId, Role};
use gstore_model::{
    Backend, BackendError, ColumnMap, Keep, LastRows, Layout, LinearWeights, Model, Objective, PackedSample,
    Pass, Reduction, Sink, Slot,
};

/// A shape of the family.
#[derive(Debug, Clone, Copy)]
pub struct Pythia {
    pub name: &'static str,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub vocab: usize,
    /// Tokens per second that bergson states for one GH200.
    pub stated: f64,
}

pub const SHAPES: [Pythia; 4] = [
    Pythia { name: "pythia-14m", width: 128, layers: 6, heads: 4, vocab: 50_304, stated: 81e3 },
    Pythia { name: "pythia-160m", width: 768, layers: 12, heads: 12, vocab: 50_304, stated: 37e3 },
    Pythia { name: "pythia-1b", width: 2048, layers: 16, heads: 8, vocab: 50_304, stated: 28e3 },
    Pythia { name: "pythia-6.9b", width: 4096, layers: 32, heads: 32, vocab: 50_432, stated: 13e3 },
];

impl Pythia {
    fn decoder(&self) -> Decoder {
        let Pythia { width, layers, heads, vocab, .. } = self;
        let config = format!(
            r#"{{"architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "hidden_act": "gelu",
            "hidden_size": {width}, "intermediate_size": {}, "num_hidden_layers": {layers},
            "num_attention_heads": {heads}, "vocab_size": {vocab}, "max_position_embeddings": 2048,
            "layer_norm_eps": 1e-5, "rotary_pct": 0.25, "rotary_emb_base": 10000,
            "use_parallel_residual": true, "tie_word_embeddings": false}}"#,
            4 * width
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        fs_err::write(&path, config).unwrap();
        Decoder::read(&path).unwrap()
    }
}

/// Values of a random model, a few of them again and again: drawing billions would take longer than the passes.
fn values(len: usize, scale: f32) -> Vec<f32> {
    let some: Vec<f32> = Draw::new(3).values(len.min(1 << 20)).into_iter().map(|v| v * scale).collect();
    let mut all = Vec::with_capacity(len);
    while all.len() < len {
        all.extend_from_slice(&some[..some.len().min(len - all.len())]);
    }
    all
}

/// Projects factors of every map but the head's, and adds them up by sample.
struct Projected<B: Backend> {
    maps: BTreeMap<usize, ColumnMap>,
    rows: Option<B::Rows>,
    at: usize,
}

/// Columns of a projected factor.
const SIDE: usize = 16;

impl<B: Backend> Projected<B> {
    fn map(&mut self, width: usize) -> &ColumnMap {
        self.maps.entry(width).or_insert_with(|| {
            let mut draw = Draw::new(width as u64);
            let entry = |i: usize| ((draw.size(SIDE) - 1) as u32, i as u32, draw.pick(&[1.0, -1.0]));
            let entries = (0..width).map(entry).collect();
            ColumnMap { input: width, out: SIDE, entries, constant: None }
        })
    }
}

impl<B: Backend> Sink<B> for Projected<B> {
    fn wants(&self, slot: Slot) -> bool {
        matches!(slot, Slot::Linear(LinearId::Layer { .. }))
    }

    fn linear(
        &mut self,
        backend: &B,
        x: &B::Tensor,
        grads: &[(LinearId, &B::Tensor)],
        spans: &[Range<usize>],
    ) -> Result<(), BackendError> {
        let x = backend.map_columns(x, self.map(backend.size(x).1))?;
        for (_, grad) in grads {
            let grad = backend.map_columns(grad, self.map(backend.size(grad).1))?;
            if let Some(rows) = &mut self.rows {
                backend.weight_grads(&x, &grad, spans, rows, self.at)?;
            }
            self.at += SIDE * SIDE;
        }
        Ok(())
    }
}

/// What was measured of a shape.
#[derive(Debug)]
pub struct Measured {
    pub tokens_per_second: f64,
    /// Operations of products per second, over forward and backward.
    pub pass_rate: f64,
    /// The same of the products alone.
    pub product_rate: f64,
}

/// Measures passes over `samples` samples of `len` tokens. `wait` waits for the device.
pub fn measure<B: Backend + Clone>(
    backend: &B,
    shape: &Pythia,
    (samples, len, repeats): (usize, usize, u32),
    wait: &dyn Fn(&B),
) -> Measured {
    let decoder = shape.decoder();
    let scale = 1.0 / (shape.width as f32).sqrt();
    let mut read = |param: &gstore_model::architectures::Param| {
        let count = param.shape.iter().product();
        Ok(match param.role {
            Role::NormWeight(_) => vec![1.0; count],
            Role::Bias(_) | Role::NormBias(_) => vec![0.0; count],
            _ => values(count, scale),
        })
    };
    let model = Model::build(&decoder, backend.clone(), &mut read, &mut |_, _| Ok(())).unwrap();
    let mut draw = Draw::new(11);
    let ids: Vec<u32> = (0..samples * len).map(|_| (draw.size(shape.vocab) - 1) as u32).collect();
    let scored = vec![true; len];
    let packed: Vec<PackedSample<'_>> = ids.chunks(len).map(|ids| PackedSample::new(ids, &scored)).collect();
    let width = SIDE * SIDE * 8 * shape.layers;
    let mut sink = Projected::<B> { maps: BTreeMap::new(), rows: None, at: 0 };
    let mut pass = |keep: Keep| {
        let old = sink.rows.take();
        sink.rows = Some(backend.rows(samples, width, old).unwrap());
        sink.at = 0;
        let keep_from = model.lowest_wanted(&sink);
        let pass = Pass { last_rows: LastRows::Scored, keep_from, keep, tap: None };
        let forward = model.forward(Layout::new(&packed, false, Reduction::Mean), pass).unwrap();
        let objective = Objective::CrossEntropy { smoothing: 0.0 };
        let losses = model.backward(forward, objective, &mut sink).unwrap();
        assert!(losses.iter().all(|loss| loss.is_finite()), "{shape:?}");
        let rows = sink.rows.as_mut().unwrap();
        assert!(backend.host_rows(rows).unwrap().iter().all(|v| v.is_finite()), "{shape:?}");
    };
    pass(Keep::All);
    wait(backend);
    let begun = Instant::now();
    for _ in 0..repeats {
        pass(Keep::All);
    }
    wait(backend);
    let seconds = begun.elapsed().as_secs_f64() / f64::from(repeats);
    // A product of the forward pass and one of the backward for each weight and token.
    let weights = 12 * shape.width * shape.width * shape.layers + shape.width * shape.vocab;
    let operations = 4.0 * (weights * samples * len) as f64;
    drop(model);
    Measured {
        tokens_per_second: (samples * len) as f64 / seconds,
        pass_rate: operations / seconds,
        product_rate: products(backend, shape, samples * len, repeats, wait),
    }
}

/// Operations per second of the products of a layer, forward and backward.
fn products<B: Backend>(backend: &B, shape: &Pythia, rows: usize, repeats: u32, wait: &dyn Fn(&B)) -> f64 {
    let width = shape.width;
    let (mut operations, mut seconds) = (0.0, 0.0);
    for (out, input) in [(3 * width, width), (width, width), (4 * width, width), (width, 4 * width)] {
        let weight = values(out * input, 0.02);
        let layer = backend.pack(LinearWeights { weight, out, input, bias: None }).unwrap();
        let x = backend.tensor(values(rows * input, 1.0), rows, input).unwrap();
        let grad = backend.tensor(values(rows * out, 1.0), rows, out).unwrap();
        let both = || {
            backend.linear_tangent(&layer, &x, None).unwrap();
            backend.linear_backward(&layer, &grad, None).unwrap();
        };
        // Factors are rounded once.
        both();
        wait(backend);
        let begun = Instant::now();
        for _ in 0..repeats {
            both();
        }
        wait(backend);
        seconds += begun.elapsed().as_secs_f64();
        operations += 4.0 * (rows * out * input) as f64 * f64::from(repeats);
    }
    operations / seconds
}

/// A line of the table.
pub fn line(shape: &Pythia, precision: &str, found: &Measured) -> String {
    format!(
        "table | {:<12} | {precision:<6} | {:>9.0} tokens/s | {:>5.2} x stated | {:>6.1} TFLOP/s | {:>6.1} of products | {:>4.0} %",
        shape.name,
        found.tokens_per_second,
        found.tokens_per_second / shape.stated,
        found.pass_rate / 1e12,
        found.product_rate / 1e12,
        100.0 * found.pass_rate / found.product_rate,
    )
}
