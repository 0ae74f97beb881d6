//! Log-probabilities of the tokens of given texts, and their perplexity.
//!
//! Sums are in f64 over the model's logits in f32. A token is scored as in training: what the assistant says,
//! a completion, a text as a whole.

use std::ops::ControlFlow;

use gstore_core::parallel::{in_turn, ordered};
use gstore_core::{Cancel, Progress, Silent, Unit};
use gstore_data::{Encoded, Reading, SampleSource, TextEncoder, TextSample, encode_each};
use gstore_model::{Backend, HEAD_ROWS, Layout, Model, PackedSample, Reduction, with_backend};

use crate::error::GenerateError;
use crate::load::{OpenedModel, SCORING, check_length, check_tokens, encoder, note_of, pieces};
use crate::prompts::read;
use crate::request::{ComputeOptions, ModelSource};

/// Texts to score.
#[derive(Clone)]
pub struct PerplexityRequest {
    /// The model.
    pub weights: ModelSource,
    /// The texts.
    pub texts: SampleSource,
    /// What computes.
    pub compute: ComputeOptions,
}

/// A token behind the first of a text.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenScore {
    /// Its place in the text; the first token has none, nothing predicts it.
    pub position: usize,
    /// The token.
    pub token: u32,
    /// As the vocabulary writes it.
    pub text: String,
    /// Whether it counts for the loss.
    pub scored: bool,
    /// Natural logarithm of its probability.
    pub log_probability: f64,
    /// Entropy of the prediction that it was chosen from, in nats.
    pub entropy: f64,
}

/// A text.
#[derive(Debug, Clone, PartialEq)]
pub struct TextScore {
    /// Row of the dataset, or place among the texts of the request, from 0.
    pub row: u64,
    /// Its id.
    pub id: String,
    /// Its tokens.
    pub tokens: usize,
    /// Whether tokens beyond the maximum length were left out.
    pub truncated: bool,
    /// The tokens but the first.
    pub scores: Vec<TokenScore>,
}

/// Sums over tokens.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Perplexity {
    /// Tokens.
    pub tokens: u64,
    /// Sum of their losses.
    pub loss: f64,
    /// Sum of the entropies of their predictions.
    pub entropy: f64,
}

impl Perplexity {
    /// Mean loss; none without tokens.
    pub fn mean(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.loss / self.tokens as f64)
    }

    /// `e` to the mean loss; none without tokens.
    pub fn perplexity(&self) -> Option<f64> {
        self.mean().map(f64::exp)
    }

    /// Mean entropy; none without tokens.
    pub fn mean_entropy(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.entropy / self.tokens as f64)
    }

    fn add(&mut self, other: Perplexity) {
        self.tokens += other.tokens;
        self.loss += other.loss;
        self.entropy += other.entropy;
    }
}

impl TextScore {
    /// Of the scored tokens.
    pub fn scored(&self) -> Perplexity {
        self.of(|score| score.scored)
    }

    /// Of all tokens but the first.
    pub fn all(&self) -> Perplexity {
        self.of(|_| true)
    }

    fn of(&self, counts: impl Fn(&TokenScore) -> bool) -> Perplexity {
        let mut sum = Perplexity::default();
        for score in self.scores.iter().filter(|score| counts(score)) {
            sum.add(Perplexity { tokens: 1, loss: -score.log_probability, entropy: score.entropy });
        }
        sum
    }
}

/// Scores texts in their order; `take` gets each. Returns the sums over the scored tokens and over all tokens
/// but the first of each text.
///
/// Memory: the weights once on each device, the texts' tokens, and for each thread the activations of about a
/// thousand tokens (at least one text).
///
/// # Errors
/// A model or text that cannot be used, which shows before any is scored; logits that are not numbers; what
/// `take` gives; being told to stop.
pub fn perplexity(
    request: &PerplexityRequest,
    progress: &mut dyn Progress,
    cancel: &Cancel,
    take: &mut dyn FnMut(TextScore) -> std::io::Result<()>,
) -> Result<[Perplexity; 2], GenerateError> {
    let ComputeOptions { device, precision, .. } = request.compute;
    with_backend!(
        (device, precision), GenerateError::from,
        backend => run(request, request.compute.backends(backend)?, progress, cancel, take),
    )
}

/// Refuses texts that [`perplexity()`] refuses, before anything else is done with them.
///
/// # Errors
/// A text that cannot be used; texts of which none has a second token; being told to stop.
pub fn check_texts(request: &PerplexityRequest, cancel: &Cancel) -> Result<(), GenerateError> {
    ScorableTexts::new(request, &mut Silent, cancel).map(drop)
}

/// Texts that a model can score.
struct ScorableTexts {
    opened: OpenedModel,
    encoder: TextEncoder,
    samples: Vec<TextSample>,
    texts: Vec<Encoded>,
}

impl ScorableTexts {
    /// Reads no weights.
    fn new(
        request: &PerplexityRequest,
        progress: &mut dyn Progress,
        cancel: &Cancel,
    ) -> Result<ScorableTexts, GenerateError> {
        let opened = request.weights.open()?;
        let (encoder, notes) = encoder(&request.weights, &opened)?;
        notes.iter().for_each(|note| progress.note(note));
        let threads = request.compute.threads.max(1);
        let samples = read(&request.texts, Reading::Whole, &encoder, (threads, cancel))?;
        let texts = encode_each(&samples, |sample| encoder.encode(&sample.content), threads, cancel)?;
        for (sample, text) in samples.iter().zip(&texts) {
            let (sample, decoder) = (sample.to_string(), opened.decoder());
            check_tokens(&sample, &text.ids, decoder)?;
            check_length(&sample, text.ids.len(), usize::MAX, decoder)?;
        }
        if texts.iter().all(|text| text.ids.len() < 2) {
            return Err(GenerateError::NothingPredicted);
        }
        Ok(ScorableTexts { opened, encoder, samples, texts })
    }
}

fn run<B: Backend>(
    request: &PerplexityRequest,
    backends: Vec<B>,
    progress: &mut dyn Progress,
    cancel: &Cancel,
    take: &mut dyn FnMut(TextScore) -> std::io::Result<()>,
) -> Result<[Perplexity; 2], GenerateError> {
    let ScorableTexts { opened, encoder, samples, texts } = ScorableTexts::new(request, progress, cancel)?;
    opened.check_weights()?;
    let models = opened.load(request.compute.devices().zip(backends))?;
    let threads = request.compute.threads.max(models.len());
    let texts: Vec<(&TextSample, &Encoded)> = samples.iter().zip(&texts).collect();
    let pieces = pieces(&texts, |(_, text)| text.ids.len());
    progress.start("scoring", texts.iter().map(|(_, text)| text.ids.len() as u64).sum(), Unit::Tokens);
    let mut sums = [Perplexity::default(); 2];
    let of_piece = |device: &mut usize, piece: usize| {
        let texts = pieces[piece];
        let lengths: Vec<usize> = texts.iter().map(|(_, text)| text.ids.len()).collect();
        models[*device].in_parts(&lengths, |model, part| score(model, &encoder, &texts[part]))
    };
    let scored = ordered(pieces.len(), threads, cancel, in_turn(models.len()), of_piece, |scores| {
        for score in scores {
            sums[0].add(score.scored());
            sums[1].add(score.all());
            progress.advance(score.tokens as u64);
            take(score)?;
        }
        Ok(ControlFlow::Continue(()))
    });
    if let Err(GenerateError::NotFiniteAt { .. }) = &scored {
        // A tensor that is at fault says more than the text that met it.
        opened.id()?;
    }
    scored.map_err(|error| opened.with_table(error))?;
    progress.finish();
    if let Some(note) = note_of(&models) {
        progress.note(&note);
    }
    Ok(sums)
}

/// A piece's texts.
fn score<B: Backend>(
    model: &Model<B>,
    encoder: &TextEncoder,
    texts: &[(&TextSample, &Encoded)],
) -> Result<Vec<TextScore>, GenerateError> {
    let packed: Vec<PackedSample<'_>> =
        texts.iter().map(|(_, text)| PackedSample::new(&text.ids, &text.scored)).collect();
    let layout = Layout::new(&packed, true, Reduction::Sum);
    let spans = layout.spans.clone();
    let predicting: Vec<u32> =
        spans.iter().flat_map(|span| span.start..span.end.saturating_sub(1)).map(|row| row as u32).collect();
    let targets: Vec<u32> =
        predicting.iter().filter_map(|row| layout.ids.get(*row as usize + 1)).copied().collect();
    let mut found = Vec::with_capacity(predicting.len());
    if !predicting.is_empty() {
        let forward = model.forward(layout, SCORING)?;
        let vocab = model.decoder().vocab_size;
        for (rows, targets) in predicting.chunks(HEAD_ROWS).zip(targets.chunks(HEAD_ROWS)) {
            let logits = model.logits(&model.backend().gather(&forward.hidden, rows)?)?;
            found.extend(logits.chunks_exact(vocab).zip(targets).map(|(logits, token)| {
                let distribution = TokenDistribution::new(logits);
                (distribution.log_probability(*token), distribution.entropy)
            }));
        }
    }
    let mut found = found.into_iter();
    let of_text = |(sample, text): &(&TextSample, &Encoded)| {
        let scores = (1..text.ids.len()).zip(&mut found).map(|(position, (log_probability, entropy))| {
            let token = text.ids[position];
            TokenScore {
                position,
                token,
                text: encoder.token(token).unwrap_or_default(),
                scored: text.scored[position],
                log_probability,
                entropy,
            }
        });
        let scores: Vec<TokenScore> = scores.collect();
        if let Some(score) = scores.iter().find(|score| !score.log_probability.is_finite()) {
            let sample = format!("{sample}, token {} of it", score.position + 1);
            return Err(GenerateError::not_finite_at(sample));
        }
        let (row, id, tokens) = (sample.row, sample.id.clone(), text.ids.len());
        Ok(TextScore { row, id, tokens, truncated: text.truncated, scores })
    };
    texts.iter().map(of_text).collect()
}

/// The distribution of the next token.
pub(crate) struct TokenDistribution<'a> {
    logits: &'a [f32],
    top: f64,
    /// Logarithm of the sum of the exponentials of the logits less `top`.
    log_total: f64,
    entropy: f64,
}

impl TokenDistribution<'_> {
    pub(crate) fn new(logits: &[f32]) -> TokenDistribution<'_> {
        let top = f64::from(logits.iter().fold(f32::NEG_INFINITY, |top, z| top.max(*z)));
        // Apart from the largest logits: beside their 1, most digits of what the others add would be lost.
        let (mut largest, mut others, mut mean) = (0.0_f64, 0.0, 0.0);
        for z in logits {
            let z = f64::from(*z) - top;
            let weight = z.exp();
            *(if z < 0.0 { &mut others } else { &mut largest }) += weight;
            mean += weight * z;
        }
        let log_total = (others + (largest - 1.0)).ln_1p();
        TokenDistribution { logits, top, log_total, entropy: log_total - mean / (largest + others) }
    }

    /// NaN of a token that there is not.
    pub(crate) fn log_probability(&self, token: u32) -> f64 {
        let z = self.logits.get(token as usize).map_or(f64::NAN, |z| f64::from(*z));
        z - self.top - self.log_total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token_log_probability(logits: &[f32], token: u32) -> (f64, f64) {
        let distribution = TokenDistribution::new(logits);
        (distribution.log_probability(token), distribution.entropy)
    }

    #[test]
    fn a_row_of_equal_logits_is_uniform() {
        let (log_probability, entropy) = token_log_probability(&[3.0; 8], 5);
        assert!((log_probability + 8f64.ln()).abs() < 1e-12 && (entropy - 8f64.ln()).abs() < 1e-12);
        let (log_probability, entropy) = token_log_probability(&[0.0, 100.0], 1);
        assert!(log_probability.abs() < 1e-12 && entropy.abs() < 1e-12);
        assert!(!token_log_probability(&[f32::NAN, 1.0], 1).0.is_finite());
        assert!((token_log_probability(&[1000.0; 4], 1).0 + 4f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn what_is_nearly_certain_keeps_its_digits() {
        let other = (-30f64).exp();
        let (log_probability, entropy) = token_log_probability(&[0.0, 30.0], 1);
        assert!((log_probability / -other - 1.0).abs() < 1e-12, "{log_probability}");
        assert!((entropy / (31.0 * other) - 1.0).abs() < 1e-12, "{entropy}");
    }
}
