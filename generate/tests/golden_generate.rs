//! Promise: prompts, greedy tokens, logits, processed distributions, draws, log-probabilities and
//! perplexities are those of transformers.
//!
//! Which cases there are comes from the manifest of `golden/generate`, and tolerances where it states some.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::{Case, Golden, load};
use gstore_core::{Cancel, Silent};
use gstore_data::{FieldNames, find};
use gstore_generate::{
    ComputeOptions, GenerateOutcome, GenerateRequest, Perplexity, PerplexityRequest, PromptSource, Sampler,
    SamplingOptions, SilentObserver, StoppingCriteria, TextScore, generate, perplexity,
};
use gstore_model::NextTokens;
use serde_json::Value;

/// Tolerance of logits where the manifest states none.
const LOGITS: f64 = 1e-4;

/// The same of probabilities.
const PROBABILITIES: f64 = 1e-5;

/// The same of log-probabilities and mean losses: sums of terms in f32.
const LOSSES: f64 = 1e-4;

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
        for (case, record) in answers.filter(|(case, _)| case.undecided().is_none()) {
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

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_generate_logits_of_greedy_steps() {
    let golden = Golden::read();
    let tolerance = golden.tolerance("logits", LOGITS);
    for cases in by_model(golden.cases("greedy")).into_values() {
        let model = load(&golden.weights(&cases[0]));
        let vocab = model.decoder().vocab_size;
        let mut cache = model.key_values();
        let answers: Vec<Vec<u32>> = cases.iter().map(|case| case.ids("new_tokens")).collect();
        let prompts: Vec<Vec<u32>> = cases.iter().map(|case| case.ids("prompt_tokens")).collect();
        let longest = answers.iter().map(Vec::len).max().unwrap();
        let (mut worst, mut sampler) = (0f64, Sampler::new(SamplingOptions::default()));
        for step in 0..longest {
            // Sequences that are over go on no more.
            let going: Vec<usize> = (0..cases.len()).filter(|i| step < answers[*i].len()).collect();
            let ids = |i: usize| if step == 0 { &prompts[i][..] } else { &answers[i][step - 1..step] };
            let feed = |i: &usize| {
                let (slot, ids) = (*i, ids(*i));
                NextTokens { slot, ids, length: prompts[slot].len() + step, wanted: true }
            };
            let feeds: Vec<NextTokens<'_>> = going.iter().map(feed).collect();
            let mut logits = model.extend(&mut cache, &feeds).unwrap();
            for (i, logits) in going.iter().zip(logits.chunks_exact_mut(vocab)) {
                let name = cases[*i].text("name");
                let ids = golden.ids(&format!("{name}.top_ids"));
                let (expected, cols) = golden.tensor(&format!("{name}.top_logits"));
                for at in step * cols..(step + 1) * cols {
                    let off = (f64::from(logits[ids[at] as usize]) - expected[at]).abs();
                    worst = worst.max(off);
                    assert!(off <= tolerance, "{name} step {step}: {off}");
                }
                let top = logits.iter().fold(f32::NEG_INFINITY, |top, z| top.max(*z));
                let sum: f64 = logits.iter().map(|z| (f64::from(*z) - f64::from(top)).exp()).sum();
                let (log_sum, _) = golden.tensor(&format!("{name}.logsumexp"));
                let off = (f64::from(top) + sum.ln() - log_sum[step]).abs();
                assert!(off <= tolerance, "{name} step {step}: log-sum-exp is off by {off}");
                let next = sampler.next(logits, &[], || 0.0).unwrap();
                let is_decided = cases[*i].undecided() != Some(step);
                assert!(!is_decided || next == Some(answers[*i][step]), "{name} step {step}: {next:?}");
            }
        }
        println!("{} cases: logits are off by {worst:.1e} at most", cases.len());
    }
}

#[test]
#[cfg_attr(not(reference_results), ignore = "needs the reference results; set GSTORE_SHARED")]
fn golden_generate_distributions_and_draws() {
    let golden = Golden::read();
    let tolerance = golden.tolerance("probabilities", PROBABILITIES);
    let mut compared = 0;
    for case in golden.cases("sampled") {
        let name = case.text("name");
        let model = load(&golden.weights(&case));
        let some = |value: f64| (value > 0.0).then_some(value);
        let sampling = SamplingOptions {
            temperature: case.number("temperature"),
            top_k: some(case.number("top_k")).map(|k| k as usize),
            top_p: some(case.number("top_p")),
            repetition_penalty: case.number("repetition_penalty"),
            no_repeat_ngram: case.number("no_repeat_ngram_size") as usize,
            seed: 0,
        };
        let top_p = sampling.top_p;
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
            let next = sampler.next(&mut logits, &context, || uniform[step]).unwrap();
            let is_drawn = next == Some(*token) || cut.may_draw(*token, uniform[step]);
            assert!(is_drawn, "{stem}: {next:?} is drawn, not {token}");
            context.push(*token);
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
    let tolerance = golden.tolerance("losses", LOSSES);
    let pool = contents(golden.pool());
    // Where a case names no model, it is that of the first greedy case.
    let usual = golden.cases("greedy")[0].0["model"].clone();
    let named = |mut case: Case| {
        if case.0["model"].is_null() {
            case.0["model"] = usual.clone();
        }
        case
    };
    let mut corpus = [Perplexity::default(); 2];
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
            check_score(&golden, case, score, tolerance);
        }
    }
    for (key, sum) in ["perplexity_scored", "perplexity_all"].into_iter().zip(corpus) {
        near(sum.perplexity().unwrap(), golden.manifest["corpus"][key].as_f64().unwrap(), tolerance, key);
    }
}

/// Compares the numbers of a text with those of its case.
fn check_score(golden: &Golden, case: &Case, score: &TextScore, tolerance: f64) {
    let row = case.number("row");
    let (expected, _) = golden.tensor(&format!("logprob.{row}"));
    assert_eq!(score.scores.len(), expected.len(), "row {row}");
    for (found, expected) in score.scores.iter().zip(&expected) {
        let off = (found.log_probability - expected).abs();
        assert!(off <= tolerance, "row {row} position {}: {off}", found.position);
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
        near(found.unwrap(), case.number(key), tolerance, &format!("row {row} {key}"));
    }
}

#[track_caller]
fn near(found: f64, expected: f64, tolerance: f64, name: &str) {
    let off = (found - expected).abs() / expected.abs().max(1.0);
    assert!(off <= tolerance, "{name}: {found} instead of {expected}");
}
