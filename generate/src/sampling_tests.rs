use super::*;

const NEG: f32 = f32::NEG_INFINITY;

fn sampling() -> SamplingOptions {
    SamplingOptions { temperature: 1.0, ..SamplingOptions::default() }
}

fn distribution(sampling: SamplingOptions, logits: &[f32], context: &[u32]) -> Vec<(u32, f64)> {
    sampling.check().unwrap();
    Sampler::new(sampling).distribution(&mut logits.to_vec(), context).unwrap().to_vec()
}

fn ids(distribution: &[(u32, f64)]) -> Vec<u32> {
    distribution.iter().map(|(id, _)| *id).collect()
}

#[test]
fn a_penalty_counts_each_token_once() {
    let mut sampler = Sampler::new(SamplingOptions { repetition_penalty: 2.0, ..SamplingOptions::default() });
    let mut logits = vec![4.0, -1.0, 3.0, 0.0];
    sampler.penalise(&mut logits, &[0, 1, 0, 1, 3]).unwrap();
    assert_eq!(logits, [2.0, -2.0, 3.0, 0.0]);
    // Of the next call nothing is left over.
    let mut logits = vec![4.0, -1.0, 3.0, 0.0];
    sampler.penalise(&mut logits, &[2]).unwrap();
    assert_eq!(logits, [4.0, -1.0, 1.5, 0.0]);
    let next = sampler.next(&mut [4.0, -1.0, 3.0, 0.0], &[0], || 0.0).unwrap();
    assert_eq!(next, Some(2));
}

#[test]
fn the_first_of_the_largest_logits_is_taken() {
    let mut logits: Vec<f32> = (0..100).map(|i| (i * 37 % 100) as f32 - 200.0).collect();
    // 27 * 37 = 999
    assert_eq!(argmax(&logits), Some(27));
    for (id, z) in [(98, -1.5), (64, -0.0), (31, 0.0), (5, 0.0)] {
        logits[id] = z;
        assert_eq!(argmax(&logits), Some(id as u32));
    }
    assert_eq!(argmax(&[NEG, -f32::MAX, NEG]), Some(1));
    assert_eq!((argmax(&[NEG; 40]), argmax(&[])), (None, None));
    for bad in [f32::NAN, f32::INFINITY] {
        let mut logits = vec![0.0; 40];
        logits[33] = bad;
        assert!(Sampler::new(SamplingOptions::default()).next(&mut logits, &[], || 0.0).is_err());
    }
}

#[test]
fn ngrams_do_not_come_twice() {
    let banned = |context: &[u32], n| {
        let mut logits = vec![0.0; 5];
        leave_out_ngrams(&mut logits, context, n);
        (0..5u32).filter(|id| logits[*id as usize] == NEG).collect::<Vec<_>>()
    };
    assert_eq!(banned(&[1, 2, 3, 1, 2], 3), [3]);
    assert_eq!(banned(&[1, 2, 3, 1, 2, 4, 1, 2], 3), [3, 4]);
    assert_eq!(banned(&[1, 2, 1], 2), [2]);
    assert_eq!(banned(&[1, 3], 1), [1, 3]);
    assert!(banned(&[1, 2], 0).is_empty() && banned(&[1], 3).is_empty() && banned(&[], 2).is_empty());
    // What overlaps itself counts, too.
    assert_eq!(banned(&[2, 2, 2], 3), [2]);
}

#[test]
fn temperature_stretches_logits() {
    let found = distribution(SamplingOptions { temperature: 0.5, ..sampling() }, &[0.0, 1.0], &[]);
    let expected = 1.0 / (1.0 + (-2f64).exp());
    assert!((found[1].1 - expected).abs() < 1e-12, "{found:?}");
}

#[test]
fn top_k_keeps_what_is_equal() {
    let top =
        |k| ids(&distribution(SamplingOptions { top_k: Some(k), ..sampling() }, &[1.0, 3.0, 2.0, 2.0], &[]));
    assert_eq!((top(1), top(2), top(3), top(9)), (vec![1], vec![1, 2, 3], vec![1, 2, 3], vec![0, 1, 2, 3]));
}

#[test]
fn top_p_keeps_the_token_that_reaches_it() {
    let logits: Vec<f32> = [0.1f32, 0.5, 0.3, 0.1].iter().map(|p| p.ln()).collect();
    let top = |p| ids(&distribution(SamplingOptions { top_p: Some(p), ..sampling() }, &logits, &[]));
    assert_eq!(top(0.01), [1]);
    assert_eq!(top(0.49), [1]);
    assert_eq!(top(0.51), [1, 2]);
    assert_eq!(top(0.79), [1, 2]);
    // Of equal ones the last stays longest.
    assert_eq!(top(0.85), [1, 2, 3]);
    assert_eq!(top(1.0), [0, 1, 2, 3]);
    let found = distribution(SamplingOptions { top_p: Some(0.51), ..sampling() }, &logits, &[]);
    assert!((found[0].1 - 0.625).abs() < 1e-6, "{found:?}");
}

/// The share is found by parts; a full order must give the same.
#[test]
fn top_p_of_many_tokens_is_that_of_a_full_order() {
    let logits: Vec<f32> = (0..3000u64).map(|id| (5.0 * crate::uniform(1, id, 0) - 2.0) as f32).collect();
    for p in [0.05, 0.5, 0.9, 0.999] {
        let found = ids(&distribution(SamplingOptions { top_p: Some(p), ..sampling() }, &logits, &[]));
        let mut order: Vec<u32> = (0..3000).collect();
        order.sort_by(|a, b| logits[*a as usize].total_cmp(&logits[*b as usize]));
        let weights: Vec<f64> = order.iter().map(|id| f64::from(logits[*id as usize]).exp()).collect();
        let total: f64 = weights.iter().sum();
        let mut below = 0.0;
        let mut expected: Vec<u32> = order
            .iter()
            .zip(&weights)
            .filter(|(_, weight)| {
                below += *weight / total;
                below > 1.0 - p
            })
            .map(|(id, _)| *id)
            .collect();
        expected.sort_unstable();
        assert_eq!(found, expected, "{p}");
    }
}

#[test]
fn top_p_is_of_what_top_k_leaves() {
    let logits: Vec<f32> = [0.4f32, 0.3, 0.2, 0.1].iter().map(|p| p.ln()).collect();
    let options = SamplingOptions { top_k: Some(2), top_p: Some(0.55), ..sampling() };
    assert_eq!(ids(&distribution(options.clone(), &logits, &[])), [0]);
    assert_eq!(ids(&distribution(SamplingOptions { top_p: Some(0.6), ..options }, &logits, &[])), [0, 1]);
}

#[test]
fn a_token_is_drawn_by_its_cumulative_probability() {
    let distribution = [(3, 0.25), (5, 0.5), (9, 0.25)];
    let drawn = |u| draw_token(&distribution, u);
    assert_eq!([drawn(0.0), drawn(0.24), drawn(0.25), drawn(0.74)], [Some(3), Some(3), Some(5), Some(5)]);
    assert_eq!([drawn(0.75), drawn(1.0)], [Some(9), Some(9)]);
    assert_eq!(super::draw_token(&[], 0.5), None);
}

#[test]
fn greedy_takes_the_first_of_equals_and_asks_for_no_number() {
    let mut sampler = Sampler::new(SamplingOptions::default());
    let never = || -> f64 { panic!("asked") };
    assert_eq!(sampler.next(&mut [1.0, 2.0, 2.0], &[], never).unwrap(), Some(1));
    assert_eq!(sampler.next(&mut [NEG, NEG], &[], never).unwrap(), None);
    assert!(sampler.next(&mut [1.0, f32::NAN], &[], never).is_err());
}

#[test]
fn numbers_that_cannot_be_used_are_refused() {
    let bad = [
        SamplingOptions { temperature: -1.0, ..sampling() },
        SamplingOptions { temperature: f64::NAN, ..sampling() },
        SamplingOptions { top_k: Some(0), ..sampling() },
        SamplingOptions { top_p: Some(0.0), ..sampling() },
        SamplingOptions { top_p: Some(1.1), ..sampling() },
        SamplingOptions { repetition_penalty: 0.0, ..sampling() },
        SamplingOptions { top_p: Some(0.5), ..SamplingOptions::default() },
    ];
    assert!(bad.iter().all(|sampling| sampling.check().is_err()));
    let most = SamplingOptions { temperature: 1e30, repetition_penalty: 1e30, ..SamplingOptions::default() };
    assert!(most.check().is_ok());
}
