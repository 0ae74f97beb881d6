//! Every operation of a backend on a batch of samples, each on its own values, and the results cut by sample.

use std::ops::Range;

use gstore_model::{
    Attention, AttentionDropout, AttentionPlan, AttentionSpan, Backend, BackendError, ColumnMap, HeadTask,
    LinearWeights, LoraOperands, NormFactors, NormWeights, Objective,
};

use super::{Draw, Sample, Shape, assert_close};

/// Samples side by side. Some rows of each are scored: the queries of attention and the rows of the head.
pub struct Batch {
    samples: Vec<Sample>,
    spans: Vec<Range<usize>>,
    scored: Vec<Vec<u32>>,
}

/// What an operation gave: values, and where those of each sample end.
#[derive(Clone)]
pub struct Outcome {
    pub name: &'static str,
    pub values: Vec<f32>,
    ends: Vec<usize>,
}

/// Fails unless two backends gave the same but for a tolerance, relative to the largest value of a result.
pub fn compare(expected: &[Outcome], found: &[Outcome], tolerance: f32, about: &str) {
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(found) {
        assert_eq!(expected.name, found.name);
        assert_close(&found.values, &expected.values, tolerance, &format!("{} {about}", found.name));
    }
}

impl Outcome {
    /// The values of a sample.
    pub fn of(&self, sample: usize) -> &[f32] {
        let start = sample.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.values[start..self.ends[sample]]
    }
}

impl Batch {
    pub fn of(_: &Shape, samples: &[Sample]) -> Batch {
        let mut start = 0;
        let mut spans = Vec::new();
        let mut scored = Vec::new();
        for sample in samples {
            spans.push(start..start + sample.len);
            start += sample.len;
            let mut draw = Draw::new(sample.seed ^ 0xabcd);
            let some = (0..sample.len as u32).filter(|_| draw.pick(&[true, true, false]));
            scored.push(some.collect());
        }
        Batch { samples: samples.to_vec(), spans, scored }
    }

    fn rows(&self) -> usize {
        self.spans.last().map_or(0, |span| span.end)
    }

    /// Rows of the batch that are scored.
    fn scored_rows(&self) -> Vec<u32> {
        let shifted = |(span, rows): (&Range<usize>, &Vec<u32>)| {
            rows.iter().map(|row| row + span.start as u32).collect::<Vec<_>>()
        };
        self.spans.iter().zip(&self.scored).flat_map(shifted).collect()
    }

    /// Values of all rows; those of a sample depend on the sample and `salt` only.
    fn values(&self, width: usize, salt: u64) -> Vec<f32> {
        self.samples.iter().flat_map(|s| Draw::new(s.seed * 77 + salt).values(s.len * width)).collect()
    }

    /// The same for the scored rows.
    fn scored_values(&self, width: usize, salt: u64) -> Vec<f32> {
        let of = |(s, rows): (&Sample, &Vec<u32>)| Draw::new(s.seed * 77 + salt).values(rows.len() * width);
        self.samples.iter().zip(&self.scored).flat_map(of).collect()
    }

    fn ends(&self, width: usize) -> Vec<usize> {
        self.spans.iter().map(|span| span.end * width).collect()
    }

    fn scored_ends(&self, width: usize) -> Vec<usize> {
        let sum = self.scored.iter().scan(0, |sum, rows| {
            *sum += rows.len();
            Some(*sum)
        });
        sum.map(|rows| rows * width).collect()
    }

    fn even_ends(&self, width: usize) -> Vec<usize> {
        (1..=self.samples.len()).map(|i| i * width).collect()
    }
}

/// Collects outcomes.
struct Run<'a, B: Backend> {
    b: &'a B,
    shape: &'a Shape,
    batch: &'a Batch,
    outcomes: Vec<Outcome>,
}

/// Runs every operation.
pub fn everything<B: Backend>(b: &B, shape: &Shape, batch: &Batch) -> Vec<Outcome> {
    let mut run = Run { b, shape, batch, outcomes: Vec::new() };
    run.rows();
    run.linear();
    run.norm();
    run.attention();
    run.elementwise();
    run.head();
    run.factors();
    run.outcomes
}

impl<B: Backend> Run<'_, B> {
    fn all(&self, width: usize, salt: u64) -> B::Tensor {
        self.b.tensor(self.batch.values(width, salt), self.batch.rows(), width).unwrap()
    }

    fn scored(&self, width: usize, salt: u64) -> B::Tensor {
        let rows = self.batch.scored_rows().len();
        self.b.tensor(self.batch.scored_values(width, salt), rows, width).unwrap()
    }

    /// A tensor that all samples share.
    fn shared(&self, rows: usize, cols: usize, salt: u64) -> B::Tensor {
        self.b.tensor(Draw::new(self.shape.seed + salt).values(rows * cols), rows, cols).unwrap()
    }

    fn layer(&self, out: usize, input: usize, salt: u64) -> B::Linear {
        let mut draw = Draw::new(self.shape.seed + salt);
        let weight = draw.values(out * input);
        let bias = self.shape.bias.then(|| draw.values(out));
        self.b.pack(LinearWeights { weight, out, input, bias }).unwrap()
    }

    fn note(&mut self, name: &'static str, x: &B::Tensor) {
        let (rows, width) = self.b.size(x);
        let (values, ends) = (self.b.to_host(x).unwrap(), self.batch.ends(width));
        assert_eq!(rows, self.batch.rows(), "{name}");
        self.outcomes.push(Outcome { name, values, ends });
    }

    fn note_scored(&mut self, name: &'static str, x: &B::Tensor) {
        let (rows, width) = self.b.size(x);
        let (values, ends) = (self.b.to_host(x).unwrap(), self.batch.scored_ends(width));
        assert_eq!(rows, self.batch.scored_rows().len(), "{name}");
        self.outcomes.push(Outcome { name, values, ends });
    }

    fn note_vectors(&mut self, name: &'static str, values: Vec<f32>, width: usize) {
        let ends = self.batch.even_ends(width);
        assert_eq!(ends.last(), Some(&values.len()), "{name}");
        self.outcomes.push(Outcome { name, values, ends });
    }

    /// What an operation adds, twice, to vectors of this width.
    fn added(&self, width: usize, mut add: impl FnMut(&mut B::Rows) -> Result<(), BackendError>) -> Vec<f32> {
        let mut rows = self.b.rows(self.batch.samples.len(), width, None).unwrap();
        for _ in 0..2 {
            add(&mut rows).unwrap();
        }
        self.b.host_rows(&mut rows).unwrap().to_vec()
    }

    fn rows(&mut self) {
        let width = self.shape.width;
        let (x, y) = (self.all(width, 1), self.all(width, 2));
        let rows = self.batch.scored_rows();
        self.note_scored("gather", &self.b.gather(&x, &rows).unwrap());
        let scored = self.scored(width, 3);
        self.note("scatter_add", &self.b.scatter_add(self.all(width, 1), &rows, &scored).unwrap());
        self.note("add", &self.b.add(self.all(width, 1), &y).unwrap());
        let weights = self.batch.values(1, 4);
        let sums = self.b.span_sums(&x, &weights, &self.batch.spans).unwrap();
        self.note_vectors("span_sums", sums, width);
        let out = self.shape.out;
        let mut draw = Draw::new(self.shape.seed + 5);
        let entry = |i: usize| ((draw.size(out) - 1) as u32, (i / 3) as u32, draw.value());
        let entries = (0..3 * width).map(entry).collect();
        let constant = self.shape.bias.then_some(((out / 2) as u32, 0.7));
        let map = ColumnMap { input: width, out, entries, constant };
        self.note("map_columns", &self.b.map_columns(&x, &map).unwrap());
    }

    fn linear(&mut self) {
        let (width, out) = (self.shape.width, self.shape.out);
        let layer = self.layer(out, width, 10);
        let (x, grad) = (self.all(width, 11), self.all(out, 12));
        self.note("linear", &self.b.linear(&layer, &x, None).unwrap());
        self.note("linear with residual", &self.b.linear(&layer, &x, Some(&grad)).unwrap());
        self.note("linear_backward", &self.b.linear_backward(&layer, &grad, None).unwrap());
        let summed = self.b.linear_backward(&layer, &grad, Some(self.all(width, 11))).unwrap();
        self.note("linear_backward with sum", &summed);
        self.note("linear_tangent", &self.b.linear_tangent(&layer, &x, None).unwrap());
        let summed = self.b.linear_tangent(&layer, &x, Some(self.all(out, 12))).unwrap();
        self.note("linear_tangent with sum", &summed);
        // What is inside a layer, and the operations that read it.
        let other = self.layer(out, width, 13);
        let inside = || self.b.linear_inside(&layer, &x).unwrap();
        let backward = self.b.linear_backward_inside(&layer, &grad).unwrap();
        let act = self.shape.act;
        let (y, activated) = (inside(), self.b.activate(act, &inside()).unwrap());
        let gradient = self.b.activate_backward(act, inside(), &y).unwrap();
        let gated = self.b.gated(act, &y, &self.b.linear_inside(&other, &x).unwrap()).unwrap();
        let [dgate, dup] =
            self.b.gated_backward(act, &gated, &y, &self.b.linear_inside(&other, &x).unwrap()).unwrap();
        let again = self.b.linear_backward_inside(&layer, &gradient).unwrap();
        let turned = (out >= 2).then(|| {
            let (cos, sin) = (self.all(1, 34), self.all(1, 35));
            self.b.rope(inside(), &cos, &sin, out, false).unwrap()
        });
        self.note("linear_inside", &y);
        self.note("linear_backward_inside", &backward);
        self.note("activate inside", &activated);
        self.note("activate_backward inside", &gradient);
        self.note("linear_backward_inside of that", &again);
        self.note("gated inside", &gated);
        self.note("gradient of a gate inside", &dgate);
        self.note("gradient of what is gated inside", &dup);
        turned.into_iter().for_each(|turned| self.note("rope inside", &turned));
    }

    fn norm(&mut self) {
        let width = self.shape.width;
        let (cols, form) = (width * self.shape.groups, self.shape.norm);
        let bias = self.shape.bias.then(|| self.shared(1, width, 21));
        let weights = NormWeights { weight: self.shared(1, width, 20), bias };
        let (x, grad, acc) = (self.all(cols, 22), self.all(cols, 23), self.all(cols, 24));
        let (y, stats) = self.b.norm(&x, &weights, form).unwrap();
        self.note("norm", &y);
        self.note("norm's statistics", &stats);
        let factors = NormFactors { grad: &grad, x: &x, stats: &stats, form };
        let dx = self.b.norm_backward(&factors, &weights, None).unwrap();
        self.note("norm_backward", &dx);
        let dx = self.b.norm_backward(&factors, &weights, Some(acc)).unwrap();
        self.note("norm_backward with sum", &dx);
        let vector = 2 * width + 3;
        let (b, spans) = (self.b, &self.batch.spans);
        let added =
            self.added(vector, |out| b.norm_grads(&factors, width, spans, out, [Some(1), Some(width + 2)]));
        self.note_vectors("norm_grads", added, vector);
    }

    fn plan(&self) -> AttentionPlan {
        let mut plan = AttentionPlan::default();
        for (keys, scored) in self.batch.spans.iter().zip(&self.batch.scored) {
            let start = plan.positions.len();
            plan.positions.extend(scored);
            plan.spans.push(AttentionSpan { keys: keys.clone(), queries: start..plan.positions.len() });
        }
        plan
    }

    fn attention(&mut self) {
        let (form, plan) = (self.shape.attention, self.plan());
        let heads = form.heads;
        let q = self.scored(heads.query * heads.dim, 30);
        let (k, v) = (self.all(heads.kv * heads.dim, 31), self.all(heads.kv * heads.dim, 32));
        let grad = self.scored(heads.query * heads.dim, 33);
        let of = |(s, rows): (&Sample, &Vec<u32>)| -> Vec<u64> {
            rows.iter().map(|row| s.seed << 16 | u64::from(*row)).collect()
        };
        let keys: Vec<u64> = self.batch.samples.iter().zip(&self.batch.scored).flat_map(of).collect();
        let dropped = AttentionDropout { rate: 0.3, keys: &keys };
        let plain = [
            "attention",
            "attention's log-sums",
            "gradient of queries",
            "gradient of keys",
            "gradient of values",
        ];
        let with = ["attention with dropout", "its log-sums", "its queries", "its keys", "its values"];
        for ([name, sums, queries, of_keys, values], dropout) in [(plain, None), (with, Some(dropped))] {
            let of = Attention { q: &q, k: &k, v: &v, form, plan: &plan, dropout };
            let (out, log_sum) = self.b.attention(&of).unwrap();
            self.note_scored(name, &out);
            self.note_scored(sums, &log_sum);
            let [dq, dk, dv] = self.b.attention_backward(&of, &grad, &out, &log_sum).unwrap();
            self.note_scored(queries, &dq);
            self.note(of_keys, &dk);
            self.note(values, &dv);
        }
        let of = Attention { q: &q, k: &k, v: &v, form, plan: &plan, dropout: None };
        let (_, log_sum) = self.b.attention(&of).unwrap();
        let (dk, dv) = (self.all(heads.kv * heads.dim, 37), self.all(heads.kv * heads.dim, 38));
        let moved = self.b.attention_tangent(&of, [&grad, &dk, &dv], &log_sum).unwrap();
        self.note_scored("attention_tangent", &moved);
        let half = self.shape.rotated;
        let (cos, sin) = (self.all(half, 34), self.all(half, 35));
        for (name, inverse) in [("rope", false), ("rope, inverse", true)] {
            let x = self.all(heads.kv * heads.dim, 36);
            self.note(name, &self.b.rope(x, &cos, &sin, heads.dim, inverse).unwrap());
        }
    }

    fn elementwise(&mut self) {
        let (width, act) = (self.shape.width, self.shape.act);
        let stretched = |x: Vec<f32>| x.into_iter().map(|v| 6.0 * v).collect::<Vec<_>>();
        let rows = self.batch.rows();
        let gate = self.b.tensor(stretched(self.batch.values(width, 40)), rows, width).unwrap();
        let (up, grad) = (self.all(width, 41), self.all(width, 42));
        self.note("gated", &self.b.gated(act, &gate, &up).unwrap());
        let [dgate, dup] = self.b.gated_backward(act, &grad, &gate, &up).unwrap();
        self.note("gradient of a gate", &dgate);
        self.note("gradient of what is gated", &dup);
        self.note("activate", &self.b.activate(act, &gate).unwrap());
        self.note("activate_backward", &self.b.activate_backward(act, grad, &gate).unwrap());
    }

    fn head(&mut self) {
        let (width, vocab) = (self.shape.width.min(100), self.shape.vocab);
        let layer = self.layer(vocab, width, 50);
        let (x, reference) = (self.scored(width, 51), self.scored(width, 52));
        let weights = self.batch.scored_values(1, 53);
        let targets: Vec<u32> =
            self.batch.scored_values(1, 54).iter().map(|v| (v.abs() * vocab as f32) as u32).collect();
        let targets: Vec<u32> = targets.iter().map(|target| (*target).min(vocab as u32 - 1)).collect();
        let smoothing = self.shape.smoothing;
        let start = self.scored(vocab, 55);
        let factors = self.batch.scored_values(2, 56);
        let factors: Vec<[f32; 2]> = factors.chunks_exact(2).map(|both| [both[0], both[1]]).collect();
        let perturbed = Objective::Perturbed { start: &start, factors: &factors };
        let tangent = self.scored(vocab, 57);
        let objectives = [
            ("curvature", "product with the curvature", Objective::GaussNewton { tangent: &tangent }),
            ("perturbed loss", "gradient of a perturbed loss", perturbed),
            ("cross-entropy", "gradient of cross-entropy", Objective::CrossEntropy { smoothing }),
            ("margin", "gradient of a margin", Objective::Margin),
            ("divergence", "gradient of divergence", Objective::Kl { reference: &reference }),
        ];
        for (name, gradient, objective) in objectives {
            let softcap = self.shape.head_cap;
            let entropies = true;
            let task = HeadTask { targets: &targets, weights: Some(&weights), softcap, objective, entropies };
            let (mut inputs, mut dlogits) = (Vec::new(), Vec::new());
            let mut tap = |_: Range<usize>, x: &B::Tensor, grad: &B::Tensor| {
                inputs.extend(self.b.to_host(x)?);
                dlogits.extend(self.b.to_host(grad)?);
                Ok(())
            };
            let found = self.b.head(&layer, &x, &task, Some(&mut tap)).unwrap();
            let task = HeadTask { weights: None, ..task };
            let without = self.b.head(&layer, &x, &task, None).unwrap();
            assert!(without.grad.is_none());
            let rows = self.batch.scored_rows().len();
            let of_rows =
                [(name, found.losses), ("losses alone", without.losses), ("entropies", found.entropies)];
            for (name, values) in of_rows {
                self.note_scored(name, &self.b.tensor(values, rows, 1).unwrap());
            }
            self.note_scored(gradient, &found.grad.unwrap());
            self.note_scored("inputs of the tap", &self.b.tensor(inputs, rows, width).unwrap());
            self.note_scored("gradient of logits", &self.b.tensor(dlogits, rows, vocab).unwrap());
        }
    }

    fn factors(&mut self) {
        let (width, out, rank) = (self.shape.width, self.shape.out, self.shape.rank);
        let x = self.all(width, 60);
        let outs = [out, out + 5];
        let grads: Vec<_> = outs.iter().map(|out| self.all(*out, *out as u64 + 61)).collect();
        let ranks = [rank, rank + 2];
        let a: Vec<_> = ranks.iter().map(|rank| self.shared(*rank, width, 62)).collect();
        let ups: Vec<_> = outs.iter().zip(ranks).map(|(out, rank)| self.shared(*out, rank, 63)).collect();
        let mut vector = 1;
        let mut parts = Vec::new();
        for i in 0..2 {
            let a_offset = vector;
            let b_offset = a_offset + ranks[i] * width;
            vector = b_offset + outs[i] * ranks[i];
            let scaling = 0.5 + i as f32;
            parts.push(LoraOperands { grad: &grads[i], a: &a[i], b: &ups[i], scaling, a_offset, b_offset });
        }
        let (b, spans) = (self.b, &self.batch.spans);
        let added = self.added(vector, |out| b.lora_grads(&x, &parts, spans, out));
        self.note_vectors("lora_grads", added, vector);

        let vector = width * out + 2;
        let added = self.added(vector, |out| b.weight_grads(&x, &grads[0], spans, out, 2));
        self.note_vectors("weight_grads", added, vector);
        let energies = b.weight_energies(&x, &grads[0], spans).unwrap();
        self.note_vectors("weight_energies", energies.into_iter().map(|value| value as f32).collect(), 1);

        let ids: Vec<u32> = self.batch.values(1, 64).iter().map(|v| (v.abs() * 9.9) as u32).collect();
        let vector = 10 * width + 1;
        let added = self.added(vector, |out| b.table_grads(&ids, &x, 1.5, spans, out, 1));
        self.note_vectors("table_grads", added, vector);
    }
}
