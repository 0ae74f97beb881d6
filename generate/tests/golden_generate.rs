//! Promise: prompts, greedy tokens, logits, processed distributions, draws, log-probabilities and
//! perplexities are those of transformers.
//!
//! Which cases there are comes from the manifest of `golden/generate`, and tolerances where it states some.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::common::{Case, Errors, Golden, LOGITS, largest, load};
use gstore_core::{Cancel, Silent};
use gstore_data::{FieldNames, find};
use gstore_generate::{
    ComputeOptions, GenerateOutcome, GenerateRequest, Perplexity, PerplexityRequest, PromptSource, Sampler,
    SamplingOptions, SilentObserver, StoppingCriteria, TextScore, generate, perplexity,
};
use gstore_model::NextTokens;
use serde_json::Value;

/// Tolerance of log-probabilities and mean losses where the manifest states none: sums of terms in f32.
const LOSSES: f64 = 1e-4;

/// The same of probabilities, from logits of such a size at a temperature: errors of logits grow with them,
/// and are divided by it.
fn of_probabilities(size: f64, temperature: f64) -> f64 {
    (1e-5 + 2e-6 * size) / temperature.min(1.0)
}

/// The rows of a file.
fn contents(file: PathBuf) -> Vec<gstore_data::Content> {
    let files = find(&[file]).unwrap();
    let mut source = files[0].open(&FieldNames::default()).unwrap();
    let mut contents = Vec::new();
    while let Some(record) = source.next_record() {
        contents.push(gstore_data::parse_record(record.unwrap().json).unwrap().content);
    }
    contents
}

/// Cases by their model.
fn by_model(cases: Vec<Case>) -> BTreeMap<String, Vec<Case>> {
    let mut groups: BTreeMap<String, Vec<Case>> = BTreeMap::new();
    for case in cases {
        groups.entry(case.text("model").to_owned()).or_default().push(case);
    }
    groups
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_generate_prompts_and_greedy_tokens_by_the_job() {
    let golden = Golden::read();
    for cases in by_model(golden.cases("greedy")).into_values() {
        let weights = golden.weights(&cases[0]);
        let encoder = weights.text.encoder(&weights.model).unwrap();
        let mut prompts = Vec::new();
        for case in &cases {
            let file = golden.target(case.text("target"));
            let content = contents(file).swap_remove(case.number("row") as usize);
            let ids = encoder.encode_begun(&content, "").unwrap();
            assert_eq!(ids, case.ids("prompt_tokens"), "{}", case.text("name"));
            prompts.push(content);
        }
        let request = GenerateRequest {
            weights,
            stopping: StoppingCriteria {
                max_new_tokens: golden.manifest["max_new_tokens"].as_u64().unwrap() as usize,
                ..StoppingCriteria::default()
            },
            compute: ComputeOptions { threads: 2, ..ComputeOptions::default() },
            ..GenerateRequest::new("", PromptSource::Given(prompts))
        };
        let mut outcome = generate(&request, &mut SilentObserver, &Cancel::new()).unwrap();
        assert!(outcome.finished);
        let answers = cases.iter().zip(records(&mut outcome));
        for (case, record) in answers.filter(|(case, _)| golden.undecided(case).is_empty()) {
            let name = case.text("name");
            assert_eq!(record["new_tokens"], case.ids("new_tokens").len(), "{name}");
            let answer = record["messages"].as_array().unwrap().last().unwrap()["content"].clone();
            assert_eq!(answer, case.text("text"), "{name}");
        }
    }
}

fn records(outcome: &mut GenerateOutcome) -> Vec<Value> {
    let mut out = Vec::new();
    outcome.answers.write_to(&mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What there is of a greedy answer.
struct GreedyCase {
    name: String,
    prompt: Vec<u32>,
    answer: Vec<u32>,
    top_ids: Vec<u32>,
    /// Logits of these, `cols` a step.
    top: Vec<f64>,
    cols: usize,
    log_sums: Vec<f64>,
    undecided: BTreeSet<usize>,
    errors: Errors,
}

impl GreedyCase {
    fn read(golden: &Golden, case: &Case) -> GreedyCase {
        let name = case.text("name");
        let (top, cols) = golden.tensor(&format!("{name}.top_logits"));
        GreedyCase {
            prompt: case.ids("prompt_tokens"),
            answer: case.ids("new_tokens"),
            top_ids: golden.ids(&format!("{name}.top_ids")),
            cols,
            log_sums: golden.tensor(&format!("{name}.logsumexp")).0,
            undecided: golden.undecided(case),
            errors: golden.errors("logits", LOGITS, largest(&top)),
            name: name.to_owned(),
            top,
        }
    }

    /// Compares the logits of a step, and the token that is taken.
    fn check(&mut self, step: usize, logits: &mut [f32], sampler: &mut Sampler) {
        let name = format!("{} step {step}", self.name);
        for at in step * self.cols..(step + 1) * self.cols {
            self.errors.add(f64::from(logits[self.top_ids[at] as usize]) - self.top[at], &name);
        }
        let top = logits.iter().fold(f32::NEG_INFINITY, |top, z| top.max(*z));
        let sum: f64 = logits.iter().map(|z| (f64::from(*z) - f64::from(top)).exp()).sum();
        self.errors.add(f64::from(top) + sum.ln() - self.log_sums[step], &format!("{name}, log-sum-exp"));
        let next = sampler.next(logits, &[], || 0.0).unwrap();
        let is_right = next == Some(self.answer[step]) || self.undecided.contains(&step);
        assert!(is_right, "{name}: {next:?}");
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_generate_logits_of_greedy_steps() {
    let golden = Golden::read();
    for cases in by_model(golden.cases("greedy")).into_values() {
        let model = load(&golden.weights(&cases[0]));
        let vocab = model.decoder().vocab_size;
        let mut cache = model.key_values();
        let mut cases: Vec<GreedyCase> = cases.iter().map(|case| GreedyCase::read(&golden, case)).collect();
        let longest = cases.iter().map(|case| case.answer.len()).max().unwrap();
        let mut sampler = Sampler::new(SamplingOptions::default());
        for step in 0..longest {
            // Sequences that are over go on no more.
            let going: Vec<usize> = (0..cases.len()).filter(|i| step < cases[*i].answer.len()).collect();
            let feed = |i: &usize| {
                let case = &cases[*i];
                let ids = if step == 0 { &case.prompt[..] } else { &case.answer[step - 1..step] };
                NextTokens { slot: *i, ids, length: case.prompt.len() + step, wanted: true }
            };
            let feeds: Vec<NextTokens<'_>> = going.iter().map(feed).collect();
            let mut logits = model.extend(&mut cache, &feeds).unwrap();
            for (i, logits) in going.iter().zip(logits.chunks_exact_mut(vocab)) {
                cases[*i].check(step, logits, &mut sampler);
            }
        }
        let worst = cases.iter().map(|case| case.errors.worst(&case.name)).fold(0.0, f64::max);
        println!("{} cases: logits are off by {worst:.1e} at most", cases.len());
    }
}

/// The options of a sampled case.
fn sampling(case: &Case) -> SamplingOptions {
    let some = |key: &str| Some(case.option(key, 0.0)).filter(|value| *value > 0.0);
    SamplingOptions {
        temperature: case.option("temperature", 1.0),
        top_k: some("top_k").map(|k| k as usize),
        top_p: some("top_p"),
        repetition_penalty: case.option("repetition_penalty", 1.0),
        no_repeat_ngram: case.option("no_repeat_ngram_size", 0.0) as usize,
        seed: 0,
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_generate_distributions_and_draws() {
    let golden = Golden::read();
    let mut compared = 0;
    for case in golden.cases("sampled") {
        let name = case.text("name");
        let weights = golden.weights(&case);
        let model = load(&weights);
        let sampling = sampling(&case);
        let (temperature, top_p) = (sampling.temperature, sampling.top_p);
        let mut before_top_p = Sampler::new(SamplingOptions { top_p: None, ..sampling.clone() });
        let mut sampler = Sampler::new(sampling);
        let answer = case.ids("new_tokens");
        let uniform: Vec<f64> =
            case.0["uniform"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        let mut context = case.ids("prompt_tokens");
        let mut cache = model.key_values();
        let mut fed = 0;
        for (step, token) in answer.iter().enumerate() {
            let feed = NextTokens { slot: 0, ids: &context[fed..], length: context.len(), wanted: true };
            let mut logits = model.extend(&mut cache, &[feed]).unwrap();
            fed = context.len();
            let stem = format!("{name}.{step}");
            let size = logits.iter().fold(0f32, |size, z| size.max(z.abs()));
            let usual = of_probabilities(size.into(), temperature);
            let tolerance = golden.tolerance("probabilities", usual);
            let whole = before_top_p.distribution(&mut logits.clone(), &context).unwrap();
            let kept = sampler.distribution(&mut logits.clone(), &context).unwrap().to_vec();
            let cut = Cut { whole, kept: &kept, top_p, tolerance };
            if golden.tensors.get(&format!("{stem}.ids")).is_some() {
                let ids = golden.ids(&format!("{stem}.ids"));
                let (expected, _) = golden.tensor(&format!("{stem}.probabilities"));
                let expected: Vec<(u32, f64)> = ids.into_iter().zip(expected).collect();
                cut.check(&stem, &expected);
                compared += 1;
            }
            if let Some(count) = case.0["kept"][step].as_u64() {
                cut.check_count(&stem, count as usize);
            }
            let next = sampler.next(&mut logits, &context, || uniform[step]).unwrap();
            let is_drawn = next == Some(*token) || cut.may_draw(*token, uniform[step]);
            assert!(is_drawn, "{stem}: {next:?} is drawn, not {token}");
            context.push(*token);
        }
        let encoder = weights.text.encoder(&weights.model).unwrap();
        if let Some(text) = case.0["text"].as_str() {
            assert_eq!(encoder.decode(&answer).unwrap(), text, "{name}");
        }
    }
    assert!(compared > 0);
}

/// A distribution before top-p and behind it.
struct Cut<'a> {
    whole: &'a [(u32, f64)],
    kept: &'a [(u32, f64)],
    top_p: Option<f64>,
    tolerance: f64,
}

impl Cut<'_> {
    /// Whether rounding decides if top-p keeps a token: those before it make up the share, to the tolerance.
    /// Others whose probability is the same to `alike` may stand before it.
    fn is_border(&self, token: u32, alike: f64) -> bool {
        let Some(share) = self.top_p else { return false };
        let of = |id: u32| self.whole.iter().find(|(own, _)| *own == id).map_or(0.0, |(_, own)| *own);
        let own = of(token);
        let sum = |before: &dyn Fn(f64) -> bool| -> f64 {
            let others = self.whole.iter().filter(|(id, _)| *id != token).map(|(_, of)| *of);
            others.filter(|of| before(*of)).sum()
        };
        let (least, most) = (sum(&|of| of > own + alike), sum(&|of| of >= own - alike));
        least - self.tolerance <= share && share <= most + self.tolerance
    }

    /// Asserts that what is kept is a distribution, but for tokens on the border, which may fall on either
    /// side: the others then share what such a token has.
    fn check(&self, name: &str, expected: &[(u32, f64)]) {
        let mut all: BTreeMap<u32, [Option<f64>; 2]> = BTreeMap::new();
        for (id, probability) in self.kept {
            all.entry(*id).or_default()[0] = Some(*probability);
        }
        for (id, probability) in expected {
            all.entry(*id).or_default()[1] = Some(*probability);
        }
        let mut both = Vec::new();
        for (id, of) in all {
            match of {
                [Some(found), Some(expected)] => both.push((id, found, expected)),
                [found, expected] => {
                    let alone = found.or(expected).unwrap_or_default();
                    let may_be = alone <= self.tolerance || self.is_border(id, self.tolerance);
                    assert!(may_be, "{name}: token {id} has {found:?}, not {expected:?}");
                }
            }
        }
        let sum = |of: fn(&(u32, f64, f64)) -> f64| both.iter().map(of).sum::<f64>();
        let (all_found, all_expected) = (sum(|of| of.1), sum(|of| of.2));
        for (id, found, expected) in &both {
            let (found, expected) = (found / all_found, expected / all_expected);
            let off = (found - expected).abs();
            assert!(off <= self.tolerance, "{name}: token {id} has {found}, not {expected}");
        }
    }

    /// Asserts that as many tokens are kept, or as many as make up the share to the tolerance.
    fn check_count(&self, name: &str, expected: usize) {
        let found = self.kept.iter().filter(|(_, probability)| *probability > 0.0).count();
        if found == expected {
            return;
        }
        let mut falling: Vec<f64> = self.whole.iter().map(|(_, probability)| *probability).collect();
        falling.sort_by(|a, b| b.total_cmp(a));
        let count = |share: f64| {
            let mut sum = 0.0;
            let is_short = |probability: &&f64| {
                sum += **probability;
                sum < share
            };
            1 + falling.iter().take_while(is_short).count()
        };
        let may_be = self.top_p.is_some_and(|share| {
            let counts = count(share - self.tolerance)..=count(share + self.tolerance);
            counts.contains(&found) && counts.contains(&expected)
        });
        assert!(may_be, "{name}: {found} tokens are kept, not {expected}");
    }

    /// Whether a uniform number may draw a token: it is among its cumulative probabilities or within the
    /// tolerance of them, with the tokens on the border or without.
    fn may_draw(&self, token: u32, uniform: f64) -> bool {
        let kept = |id: u32| self.kept.iter().any(|(own, _)| *own == id);
        let border: Vec<u32> =
            self.whole.iter().map(|(id, _)| *id).filter(|id| self.is_border(*id, 0.0)).collect();
        let draws = |left: &dyn Fn(u32) -> bool| {
            let left: Vec<&(u32, f64)> = self.whole.iter().filter(|(id, _)| left(*id)).collect();
            let total: f64 = left.iter().map(|(_, probability)| probability).sum();
            let mut sum = 0.0;
            left.into_iter().any(|(id, probability)| {
                let from = sum;
                sum += probability / total;
                *id == token && from - self.tolerance <= uniform && uniform < sum + self.tolerance
            })
        };
        draws(&kept)
            || draws(&|id| kept(id) || border.contains(&id))
            || draws(&|id| kept(id) && !border.contains(&id))
    }
}

const WHOLE: [(u32, f64); 5] = [(0, 0.5), (3, 0.3), (4, 0.1), (5, 0.06), (9, 0.04)];

/// The most likely of [`WHOLE`], as what is left.
fn first(count: usize) -> Vec<(u32, f64)> {
    let total: f64 = WHOLE[..count].iter().map(|(_, probability)| probability).sum();
    WHOLE[..count].iter().map(|(id, probability)| (*id, probability / total)).collect()
}

#[test]
fn a_token_on_the_border_of_top_p_falls_on_either_side() {
    let refused = |top_p: f64, kept: usize, expected: &[(u32, f64)]| {
        let (whole, kept, expected) = (WHOLE.to_vec(), first(kept), expected.to_vec());
        let check = move || {
            Cut { whole: &whole, kept: &kept, top_p: Some(top_p), tolerance: 1e-5 }.check("cut", &expected);
        };
        std::panic::catch_unwind(check).is_err()
    };
    // Three tokens make up 0.9: whether there is a fourth is rounding.
    assert!([(3, 4), (4, 3), (3, 3)].into_iter().all(|(kept, other)| !refused(0.9, kept, &first(other))));
    assert!(refused(0.91, 4, &first(3)) && refused(0.9, 2, &first(3)) && refused(0.9, 3, &first(5)));
    let mut other = first(4);
    other[0].1 -= 1e-4;
    other[3].1 += 1e-4;
    assert!(refused(0.9, 4, &other));
    let miscounted = |top_p: Option<f64>, kept: usize, expected: usize| {
        let kept = first(kept);
        let check = move || {
            Cut { whole: &WHOLE, kept: &kept, top_p, tolerance: 1e-5 }.check_count("cut", expected);
        };
        std::panic::catch_unwind(check).is_err()
    };
    assert!(!miscounted(Some(0.9), 3, 4) && !miscounted(Some(0.9), 4, 3) && !miscounted(None, 4, 4));
    assert!(miscounted(Some(0.91), 3, 4) && miscounted(Some(0.9), 4, 5) && miscounted(None, 3, 4));
}

#[test]
fn many_large_errors_are_refused_and_single_ones_are_not() {
    let refused = |size: f64, errors: Vec<f64>| {
        let mut all = Errors::new(None, 1e-4, size);
        let check = move || {
            errors.into_iter().for_each(|off| all.add(off, "a logit"));
            all.worst("logits");
        };
        std::panic::catch_unwind(check).is_err()
    };
    let one = |off: f64| [vec![1e-6; 99], vec![off]].concat();
    assert!(!refused(5.0, one(-9e-4)) && refused(5.0, one(1.1e-3)) && refused(5.0, vec![1.1e-4; 100]));
    assert!(!refused(20.0, vec![-1.1e-4; 100]) && refused(20.0, vec![2.1e-4; 100]));
    assert!(refused(5.0, vec![f64::NAN]));
}

#[test]
fn a_uniform_number_next_to_a_border_draws_either_token() {
    let (kept, tolerance) = (first(4), 1e-5);
    let may = |top_p: f64, token: u32, uniform: f64| {
        Cut { whole: &WHOLE, kept: &kept, top_p: Some(top_p), tolerance }.may_draw(token, uniform)
    };
    let border = 0.5 / 0.96;
    for (token, off, is_drawn) in [
        (0, -5e-6, true),
        (3, -5e-6, true),
        (0, 5e-6, true),
        (3, 5e-6, true),
        (0, 2e-5, false),
        (3, -2e-5, false),
        (4, 0.0, false),
    ] {
        assert_eq!(may(0.93, token, border + off), is_drawn, "token {token}, {off} from the border");
    }
    // Without the fourth token, which is on the border, the others have more.
    let uniform = 0.5 / 0.93;
    assert!(may(0.9, 0, uniform) && may(0.9, 3, uniform) && !may(0.93, 0, uniform));
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_generate_perplexity_of_given_texts() {
    let golden = Golden::read();
    let pool = contents(golden.pool());
    let named = |mut case: Case| {
        if case.0["model"].is_null() {
            case.0["model"] = golden.usual_model().into();
        }
        case
    };
    let (mut corpus, mut tolerance) = ([Perplexity::default(); 2], 0f64);
    for cases in by_model(golden.cases("perplexity").into_iter().map(named).collect()).into_values() {
        let texts = cases.iter().map(|case| pool[case.number("row") as usize].clone()).collect();
        let request = PerplexityRequest {
            weights: golden.weights(&cases[0]),
            texts: PromptSource::Given(texts),
            compute: ComputeOptions { threads: 2, ..ComputeOptions::default() },
        };
        let mut scores: Vec<TextScore> = Vec::new();
        let mut take = |score| {
            scores.push(score);
            Ok(())
        };
        let of_model = perplexity(&request, &mut Silent, &Cancel::new(), &mut take).unwrap();
        for (sum, of_model) in corpus.iter_mut().zip(of_model) {
            sum.tokens += of_model.tokens;
            sum.loss += of_model.loss;
        }
        assert_eq!(scores.len(), cases.len());
        for (case, score) in cases.iter().zip(&scores) {
            tolerance = tolerance.max(check_score(&golden, case, score));
        }
    }
    if let Some(tokens) = golden.manifest["corpus"]["tokens"].as_u64() {
        assert_eq!(corpus[1].tokens, tokens, "corpus");
    }
    for (key, sum) in ["perplexity_scored", "perplexity_all"].into_iter().zip(corpus) {
        near(sum.perplexity().unwrap(), golden.manifest["corpus"][key].as_f64().unwrap(), tolerance, key);
    }
}

/// Compares the numbers of a text with those of its case, and returns their tolerance.
fn check_score(golden: &Golden, case: &Case, score: &TextScore) -> f64 {
    let row = case.number("row");
    let (expected, _) = golden.tensor(&format!("logprob.{row}"));
    assert_eq!(score.scores.len(), expected.len(), "row {row}");
    let mut errors = golden.errors("losses", LOSSES, largest(&expected));
    for (found, expected) in score.scores.iter().zip(&expected) {
        errors.add(found.log_probability - expected, &format!("row {row} position {}", found.position));
    }
    errors.worst(&format!("row {row}"));
    if let Some(first) = case.0["first_scored"].as_u64() {
        let found = score.scores.iter().position(|score| score.scored);
        assert_eq!(found, Some(first as usize), "row {row}");
    }
    assert_eq!(score.tokens as f64, case.number("tokens"), "row {row}");
    assert_eq!(score.scored().tokens as f64, case.number("scored"), "row {row}");
    let values = [
        ("loss_scored", score.scored().mean()),
        ("perplexity_scored", score.scored().perplexity()),
        ("mean_entropy_scored", score.scored().mean_entropy()),
        ("loss_all", score.all().mean()),
        ("perplexity_all", score.all().perplexity()),
    ];
    for (key, found) in values {
        near(found.unwrap(), case.number(key), errors.mean, &format!("row {row} {key}"));
    }
    errors.mean
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64, name: &str) {
    let off = (found - expected).abs() / expected.abs().max(1.0);
    assert!(off <= tolerance, "{name}: {found} instead of {expected}");
}
